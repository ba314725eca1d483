"""Ways to several answers to one input: dropout, ensembles, augmentation.

The samples are drawn one after the other: that takes the memory of one forward pass,
and on CPU it is several times faster than all of them at once.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from trustjax import _validate
from trustjax.scores._disagreement import SampledLogits, negative_predictive_entropy
from trustjax.typing import ApplyFn, Params

ScoreOfSamples = Callable[[jax.Array], jax.Array]


def mc_dropout(
    stochastic_apply_fn: Callable[[Params, Any, jax.Array], jax.Array],
    params: Params,
    x: Any,
    *,
    key: jax.Array,
    num_samples: int = 50,
    index: Int[Array, " batch"] | None = None,
    score_fn: ScoreOfSamples = negative_predictive_entropy,
) -> Float[Array, " batch"]:
    r"""Monte-Carlo dropout: the uncertainty of the mean over random dropout masks.

    Args:
      stochastic_apply_fn: `(params, x, key) -> logits` with dropout on, as
        `bridge.stochastic_from_nnx` makes it; each example is passed by itself, with
        a key of its own.
      params: what the network takes first.
      x: inputs, `[batch, ...]`.
      key: where the masks come from; the same key gives the same scores.
      num_samples: :math:`S`, forward passes.
      index: a number for each example: what its masks are drawn by, so that they do
        not depend on the batch around it. None for 0, 1, 2, ...
      score_fn: sampled logits `[batch, samples, classes]` to `[batch]`: such as
        `negative_mutual_information`, or yours.

    Returns:
      The score of each example, by default in [-1, 0]; higher = more trust.

    Raises:
      ValueError: if `num_samples` is not a positive integer.

    =================================  ===================================
    Edge case                          Value
    =================================  ===================================
    one sample                         the negative entropy of that sample
    no dropout                         the negative entropy of the network
    one class                          0
    a NaN logit in any sample          NaN
    =================================  ===================================

    >>> noisy = lambda params, x, key: x + jax.random.normal(key, x.shape)
    >>> x = jnp.array([[9.0, 0.0], [0.0, 0.0]])
    >>> score = mc_dropout(noisy, None, x, key=jax.random.key(0))
    >>> bool(score[0] > score[1])
    True

    References:
      Gal and Ghahramani 2016. The authors' GradTrust demo draws 10 samples and scores
      the last.
    """
    return score_fn(
        dropout_logits(
            stochastic_apply_fn,
            params,
            x,
            key=key,
            num_samples=num_samples,
            index=index,
        )
    )


def dropout_logits(
    stochastic_apply_fn: Callable[[Params, Any, jax.Array], jax.Array],
    params: Params,
    x: Any,
    *,
    key: jax.Array,
    num_samples: int = 50,
    index: Int[Array, " batch"] | None = None,
) -> SampledLogits:
    """The logits under `num_samples` dropout masks, as `mc_dropout` scores them.

    Args:
      stochastic_apply_fn: as in `mc_dropout`.
      params: as in `mc_dropout`.
      x: as in `mc_dropout`.
      key: as in `mc_dropout`.
      num_samples: as in `mc_dropout`.
      index: as in `mc_dropout`.

    Returns:
      Logits by example and sample.

    Raises:
      ValueError: as `mc_dropout`.

    >>> noisy = lambda params, x, key: x + jax.random.normal(key, x.shape)
    >>> dropout_logits(noisy, None, jnp.eye(2), key=jax.random.key(0)).shape
    (2, 50, 2)
    """
    _validate.count("num_samples", num_samples)
    if index is None:
        index = jnp.arange(jax.tree.leaves(x)[0].shape[0])
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)

    def sample(number: jax.Array) -> jax.Array:
        def logits(example: Any, key: jax.Array) -> jax.Array:
            alone = jax.tree.map(lambda leaf: leaf[None], example)
            drawn = jax.random.fold_in(key, number)
            return stochastic_apply_fn(params, alone, drawn)[0]

        return jax.vmap(logits)(x, keys)

    return _in_turn(sample, jnp.arange(num_samples))


def deep_ensemble(
    apply_fn: ApplyFn,
    stacked_params: Params,
    x: Any,
    *,
    score_fn: ScoreOfSamples = negative_predictive_entropy,
) -> Float[Array, " batch"]:
    r"""Deep ensemble: the uncertainty of the mean over networks trained apart.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      stacked_params: the members' parameters, each array with a leading axis
        `[members, ...]`: `jax.tree.map(lambda *a: jnp.stack(a), *members)`.
      x: inputs, `[batch, ...]`.
      score_fn: sampled logits `[batch, samples, classes]` to `[batch]`.

    Returns:
      The score of each example, by default in [-1, 0]; higher = more trust.

    Raises:
      ValueError: if the arrays of `stacked_params` differ in their leading axis.

    =================================  =====================================
    Edge case                          Value
    =================================  =====================================
    one member, or all members equal   the negative entropy of that network
    one class                          0
    a NaN logit of any member          NaN
    =================================  =====================================

    >>> linear = lambda params, x: x @ params
    >>> members = 99 * jnp.stack([jnp.eye(2), jnp.eye(2)[::-1]])
    >>> print(deep_ensemble(linear, members, jnp.array([[1.0, 0.0]])))
    [-1.]

    References:
      Lakshminarayanan, Pritzel and Blundell 2017, section 2.4.
    """
    return score_fn(ensemble_logits(apply_fn, stacked_params, x))


def ensemble_logits(apply_fn: ApplyFn, stacked_params: Params, x: Any) -> SampledLogits:
    """The logits of each member, as `deep_ensemble` scores them.

    Args:
      apply_fn: as in `deep_ensemble`.
      stacked_params: as in `deep_ensemble`.
      x: as in `deep_ensemble`.

    Returns:
      Logits by example and member.

    Raises:
      ValueError: as `deep_ensemble`.

    >>> linear = lambda params, x: x @ params
    >>> ensemble_logits(linear, jnp.ones((5, 2, 3)), jnp.eye(2)).shape
    (2, 5, 3)
    """
    leaves = jax.tree_util.tree_leaves_with_path(stacked_params)
    _validate.same_length(**{jax.tree_util.keystr(p): leaf for p, leaf in leaves})
    return _in_turn(lambda params: apply_fn(params, x), stacked_params)


def test_time_augmentation(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    *,
    augment_fn: Callable[[Any, jax.Array], Any],
    key: jax.Array,
    num_samples: int = 10,
    score_fn: ScoreOfSamples = negative_predictive_entropy,
) -> Float[Array, " batch"]:
    r"""Test-time augmentation: the uncertainty of the mean over changed inputs.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: what `apply_fn` takes first.
      x: inputs, `[batch, ...]`.
      augment_fn: `(x, key) -> x`, a random change that leaves the class as it is.
      key: where the changes come from.
      num_samples: :math:`S`, forward passes.
      score_fn: sampled logits `[batch, samples, classes]` to `[batch]`.

    Returns:
      The score of each example, by default in [-1, 0]; higher = more trust.

    Raises:
      ValueError: if `num_samples` is not a positive integer.

    =================================  ===================================
    Edge case                          Value
    =================================  ===================================
    a change that changes nothing      the negative entropy of the network
    one class                          0
    a NaN logit in any sample          NaN
    =================================  ===================================

    >>> flip = lambda x, key: jnp.where(jax.random.bernoulli(key), x, x[:, ::-1])
    >>> linear = lambda params, x: 99 * x @ params
    >>> score = test_time_augmentation(linear, jnp.eye(2), jnp.eye(2),
    ...     augment_fn=flip, key=jax.random.key(0), num_samples=100)
    >>> print(score.round(1))
    [-1. -1.]

    References:
      Ayhan and Berens 2018; Wang et al. 2019.
    """
    return score_fn(
        augmented_logits(
            apply_fn,
            params,
            x,
            augment_fn=augment_fn,
            key=key,
            num_samples=num_samples,
        )
    )


def augmented_logits(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    *,
    augment_fn: Callable[[Any, jax.Array], Any],
    key: jax.Array,
    num_samples: int = 10,
) -> SampledLogits:
    """The logits of changed inputs, as `test_time_augmentation` scores them.

    Args:
      apply_fn: as in `test_time_augmentation`.
      params: as in `test_time_augmentation`.
      x: as in `test_time_augmentation`.
      augment_fn: as in `test_time_augmentation`.
      key: as in `test_time_augmentation`.
      num_samples: as in `test_time_augmentation`.

    Returns:
      Logits by example and sample.

    Raises:
      ValueError: as `test_time_augmentation`.

    >>> linear = lambda params, x: x @ params
    >>> augmented_logits(linear, jnp.eye(2), jnp.eye(2), augment_fn=lambda x, key: x,
    ...     key=jax.random.key(0)).shape
    (2, 10, 2)
    """
    _validate.count("num_samples", num_samples)
    keys = jax.random.split(key, num_samples)
    return _in_turn(lambda k: apply_fn(params, augment_fn(x, k)), keys)


def _in_turn(logits_of: Callable[[Any], jax.Array], samples: Any) -> jax.Array:
    return jnp.moveaxis(jax.lax.map(logits_of, samples), 0, 1)
