"""Named scores of several answers to one input: dropout, ensembles, augmentation."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float, Int

from trustjax import passes
from trustjax.passes import AUGMENTED_LOGITS, DROPOUT_LOGITS, ENSEMBLE_LOGITS
from trustjax.scores._disagreement import (
    SampledLogits,
    negative_expected_entropy,
    negative_mutual_information,
    negative_predictive_entropy,
    negative_variation_ratio,
)
from trustjax.scores._score import Score
from trustjax.typing import ApplyFn, Params, StochasticApplyFn


def mc_dropout(
    stochastic_apply_fn: StochasticApplyFn,
    params: Params,
    x: Any,
    *,
    key: jax.Array,
    num_samples: int = 50,
    index: Int[Array, " batch"] | None = None,
) -> Float[Array, " batch"]:
    r"""Monte-Carlo dropout: the uncertainty of the mean over random dropout masks.

    .. math:: s(x) = \frac{1}{\log C} \sum_k \bar p_k \log \bar p_k

    Args:
      stochastic_apply_fn: `(params, x, key) -> logits` with dropout on, as
        `passes.dropout_logits` takes it.
      params: what the network takes first.
      x: inputs, `[batch, ...]`.
      key: where the masks come from; the same key gives the same scores.
      num_samples: :math:`S`, forward passes.
      index: a number for each example: what its masks are drawn by, so that they do
        not depend on the batch around it. None for 0, 1, 2, ...

    Returns:
      The score of each example, in [-1, 0]; higher = more trust.

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

    >>> import jax.numpy as jnp
    >>> noisy = lambda params, x, key: x + jax.random.normal(key, x.shape)
    >>> x = jnp.array([[9.0, 0.0], [0.0, 0.0]])
    >>> score = mc_dropout(noisy, None, x, key=jax.random.key(0))
    >>> bool(score[0] > score[1])
    True

    References:
      Gal and Ghahramani 2016 (arXiv:1506.02142). The authors' GradTrust demo draws 10
      samples and scores the last.
    """
    return _mc_dropout(
        passes.dropout_logits(
            stochastic_apply_fn,
            params,
            x,
            key=key,
            num_samples=num_samples,
            index=index,
        )
    )


def mc_dropout_expected_entropy(
    stochastic_apply_fn: StochasticApplyFn,
    params: Params,
    x: Any,
    *,
    key: jax.Array,
    num_samples: int = 50,
    index: Int[Array, " batch"] | None = None,
) -> Float[Array, " batch"]:
    """Monte-Carlo dropout: what each random dropout mask is unsure of.

    `negative_expected_entropy` of `passes.dropout_logits`, whose arguments these are.

    Args:
      stochastic_apply_fn: as in `mc_dropout`.
      params: as in `mc_dropout`.
      x: as in `mc_dropout`.
      key: as in `mc_dropout`.
      num_samples: as in `mc_dropout`.
      index: as in `mc_dropout`.

    Returns:
      The score of each example, in [-1, 0]; higher = more trust.

    Raises:
      ValueError: as `mc_dropout`.

    >>> import jax.numpy as jnp
    >>> same = lambda params, x, key: x
    >>> x = jnp.array([[99.0, 0.0]])
    >>> bool(mc_dropout_expected_entropy(same, None, x, key=jax.random.key(0))[0] == 0)
    True

    References:
      Smith and Gal 2018 (arXiv:1803.08533); Depeweg et al. 2018 (arXiv:1710.07283).
    """
    return _mc_dropout_expected_entropy(
        passes.dropout_logits(
            stochastic_apply_fn,
            params,
            x,
            key=key,
            num_samples=num_samples,
            index=index,
        )
    )


def mc_dropout_mutual_information(
    stochastic_apply_fn: StochasticApplyFn,
    params: Params,
    x: Any,
    *,
    key: jax.Array,
    num_samples: int = 50,
    index: Int[Array, " batch"] | None = None,
) -> Float[Array, " batch"]:
    """Monte-Carlo dropout: what random dropout masks disagree on.

    `negative_mutual_information` of `passes.dropout_logits`, whose arguments these are.

    Args:
      stochastic_apply_fn: as in `mc_dropout`.
      params: as in `mc_dropout`.
      x: as in `mc_dropout`.
      key: as in `mc_dropout`.
      num_samples: as in `mc_dropout`.
      index: as in `mc_dropout`.

    Returns:
      The score of each example, in [-1, 0]; higher = more trust.

    Raises:
      ValueError: as `mc_dropout`.

    >>> import jax.numpy as jnp
    >>> same = lambda params, x, key: x
    >>> x = jnp.array([[99.0, 0.0]])
    >>> score = mc_dropout_mutual_information(same, None, x, key=jax.random.key(0))
    >>> bool(score[0] == 0)
    True

    References:
      Houlsby et al. 2011 (BALD, arXiv:1112.5745); Smith and Gal 2018
      (arXiv:1803.08533), eq. 3.
    """
    return _mc_dropout_mutual_information(
        passes.dropout_logits(
            stochastic_apply_fn,
            params,
            x,
            key=key,
            num_samples=num_samples,
            index=index,
        )
    )


def mc_dropout_variation_ratio(
    stochastic_apply_fn: StochasticApplyFn,
    params: Params,
    x: Any,
    *,
    key: jax.Array,
    num_samples: int = 50,
    index: Int[Array, " batch"] | None = None,
) -> Float[Array, " batch"]:
    """Monte-Carlo dropout: how many dropout masks predict another class.

    `negative_variation_ratio` of `passes.dropout_logits`, whose arguments these are.

    Args:
      stochastic_apply_fn: as in `mc_dropout`.
      params: as in `mc_dropout`.
      x: as in `mc_dropout`.
      key: as in `mc_dropout`.
      num_samples: as in `mc_dropout`.
      index: as in `mc_dropout`.

    Returns:
      The score of each example, in (-1, 0]; higher = more trust.

    Raises:
      ValueError: as `mc_dropout`.

    >>> import jax.numpy as jnp
    >>> same = lambda params, x, key: x
    >>> x = jnp.array([[99.0, 0.0]])
    >>> bool(mc_dropout_variation_ratio(same, None, x, key=jax.random.key(0))[0] == 0)
    True

    References:
      Gal 2016 (PhD thesis), section 3.3.1.
    """
    return _mc_dropout_variation_ratio(
        passes.dropout_logits(
            stochastic_apply_fn,
            params,
            x,
            key=key,
            num_samples=num_samples,
            index=index,
        )
    )


def deep_ensemble(
    apply_fn: ApplyFn, stacked_params: Params, x: Any
) -> Float[Array, " batch"]:
    r"""Deep ensemble: the uncertainty of the mean over networks trained apart.

    .. math:: s(x) = \frac{1}{\log C} \sum_k \bar p_k \log \bar p_k

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      stacked_params: the members' parameters, each array with a leading axis
        `[members, ...]`: `jax.tree.map(lambda *a: jnp.stack(a), *members)`.
      x: inputs, `[batch, ...]`.

    Returns:
      The score of each example, in [-1, 0]; higher = more trust.

    Raises:
      ValueError: if the arrays of `stacked_params` differ in their leading axis.

    =================================  =====================================
    Edge case                          Value
    =================================  =====================================
    one member, or all members equal   the negative entropy of that network
    one class                          0
    a NaN logit of any member          NaN
    =================================  =====================================

    >>> import jax.numpy as jnp
    >>> linear = lambda params, x: x @ params
    >>> members = 99 * jnp.stack([jnp.eye(2), jnp.eye(2)[::-1]])
    >>> print(deep_ensemble(linear, members, jnp.array([[1.0, 0.0]])))
    [-1.]

    References:
      Lakshminarayanan, Pritzel and Blundell 2017 (arXiv:1612.01474), section 2.4.
    """
    return _deep_ensemble(passes.ensemble_logits(apply_fn, stacked_params, x))


def deep_ensemble_mutual_information(
    apply_fn: ApplyFn, stacked_params: Params, x: Any
) -> Float[Array, " batch"]:
    """Deep ensemble: what networks trained apart disagree on.

    `negative_mutual_information` of `passes.ensemble_logits`.

    Args:
      apply_fn: as in `deep_ensemble`.
      stacked_params: as in `deep_ensemble`.
      x: as in `deep_ensemble`.

    Returns:
      The score of each example, in [-1, 0]; higher = more trust.

    Raises:
      ValueError: as `deep_ensemble`.

    >>> import jax.numpy as jnp
    >>> linear = lambda params, x: x @ params
    >>> members = 99 * jnp.stack([jnp.eye(2), jnp.eye(2)[::-1]])
    >>> x = jnp.array([[1.0, 0.0]])
    >>> print(deep_ensemble_mutual_information(linear, members, x))
    [-1.]

    References:
      Smith and Gal 2018 (arXiv:1803.08533), eq. 3.
    """
    return _deep_ensemble_mutual_information(
        passes.ensemble_logits(apply_fn, stacked_params, x)
    )


def test_time_augmentation(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    *,
    augment_fn: Callable[[Any, jax.Array], Any],
    key: jax.Array,
    num_samples: int = 10,
    index: Int[Array, " batch"] | None = None,
) -> Float[Array, " batch"]:
    r"""Test-time augmentation: the uncertainty of the mean over changed inputs.

    .. math:: s(x) = \frac{1}{\log C} \sum_k \bar p_k \log \bar p_k

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: what `apply_fn` takes first.
      x: inputs, `[batch, ...]`.
      augment_fn: `(x, key) -> x`, as `passes.augmented_logits` takes it.
      key: where the changes come from.
      num_samples: :math:`S`, forward passes.
      index: a number for each example, by which its changes are drawn. None for
        0, 1, 2, ...

    Returns:
      The score of each example, in [-1, 0]; higher = more trust.

    Raises:
      ValueError: if `num_samples` is not a positive integer.

    =================================  ===================================
    Edge case                          Value
    =================================  ===================================
    a change that changes nothing      the negative entropy of the network
    one class                          0
    a NaN logit in any sample          NaN
    =================================  ===================================

    >>> import jax.numpy as jnp
    >>> flip = lambda x, key: jnp.where(jax.random.bernoulli(key), x, x[:, ::-1])
    >>> linear = lambda params, x: 99 * x @ params
    >>> score = test_time_augmentation(linear, jnp.eye(2), jnp.eye(2),
    ...     augment_fn=flip, key=jax.random.key(0), num_samples=100)
    >>> print(score.round(1))
    [-1. -1.]

    References:
      Ayhan and Berens 2018 (MIDL); Wang et al. 2019 (arXiv:1807.07356).
    """
    return _test_time_augmentation(
        passes.augmented_logits(
            apply_fn,
            params,
            x,
            augment_fn=augment_fn,
            key=key,
            num_samples=num_samples,
            index=index,
        )
    )


def _mc_dropout(dropout_logits: SampledLogits) -> Float[Array, " batch"]:
    """Negated entropy of the mean over random dropout masks."""
    return negative_predictive_entropy(dropout_logits)


def _mc_dropout_expected_entropy(
    dropout_logits: SampledLogits,
) -> Float[Array, " batch"]:
    """Negated mean entropy: what each of the samples is unsure of (aleatoric)."""
    return negative_expected_entropy(dropout_logits)


def _mc_dropout_mutual_information(
    dropout_logits: SampledLogits,
) -> Float[Array, " batch"]:
    """Negated mutual information: what the samples disagree on (epistemic)."""
    return negative_mutual_information(dropout_logits)


def _mc_dropout_variation_ratio(
    dropout_logits: SampledLogits,
) -> Float[Array, " batch"]:
    """Negated share of samples that do not predict the most frequent class."""
    return negative_variation_ratio(dropout_logits)


def _deep_ensemble(ensemble_logits: SampledLogits) -> Float[Array, " batch"]:
    """Negated entropy of the mean over networks trained apart."""
    return negative_predictive_entropy(ensemble_logits)


def _deep_ensemble_mutual_information(
    ensemble_logits: SampledLogits,
) -> Float[Array, " batch"]:
    """Negated mutual information: what the networks disagree on (epistemic)."""
    return negative_mutual_information(ensemble_logits)


def _test_time_augmentation(
    augmented_logits: SampledLogits,
) -> Float[Array, " batch"]:
    """Negated entropy of the mean over changed inputs."""
    return negative_predictive_entropy(augmented_logits)


SCORES = (
    Score(
        _mc_dropout,
        needs=(DROPOUT_LOGITS,),
        title="MC dropout",
        paper="Gal and Ghahramani 2016",
        equation="-H(mean_s p_s) / log C",
        provenance="The mean of softmaxes; the GradTrust demo scores its last sample.",
    ),
    Score(
        _mc_dropout_expected_entropy,
        needs=(DROPOUT_LOGITS,),
        title="MC dropout, expected entropy",
        paper="Smith and Gal 2018",
        equation="-mean_s H(p_s) / log C",
    ),
    Score(
        _mc_dropout_mutual_information,
        needs=(DROPOUT_LOGITS,),
        title="MC dropout, mutual information",
        paper="Houlsby et al. 2011; Smith and Gal 2018, eq. 3",
        equation="-mean_s KL(p_s | mean_s p_s) / log C",
    ),
    Score(
        _mc_dropout_variation_ratio,
        needs=(DROPOUT_LOGITS,),
        title="MC dropout, variation ratio",
        paper="Gal 2016, section 3.3.1",
        equation="max_k mean_s 1[yhat_s = k] - 1",
    ),
    Score(
        _deep_ensemble,
        needs=(ENSEMBLE_LOGITS,),
        title="Deep ensemble",
        paper="Lakshminarayanan et al. 2017",
        equation="-H(mean_s p_s) / log C",
    ),
    Score(
        _deep_ensemble_mutual_information,
        needs=(ENSEMBLE_LOGITS,),
        title="Deep ensemble, mutual information",
        paper="Smith and Gal 2018, eq. 3",
        equation="-mean_s KL(p_s | mean_s p_s) / log C",
    ),
    Score(
        _test_time_augmentation,
        needs=(AUGMENTED_LOGITS,),
        title="Test-time augmentation",
        paper="Ayhan and Berens 2018",
        equation="-H(mean_s p_s) / log C",
    ),
)
