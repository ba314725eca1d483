"""Several answers to one input: of dropout masks, of an ensemble, of changed inputs.

The samples are drawn one after the other: that takes the memory of one forward pass,
and on CPU it is several times faster than all of them at once. What is drawn for an
example is drawn by its number: it depends neither on its place nor on its neighbours.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from trustjax import _validate
from trustjax.ingredients import KEY, Ingredient
from trustjax.typing import ApplyFn, Params, StochasticApplyFn

SampledLogits = Float[Array, "batch samples classes"]


def dropout_logits(
    stochastic_apply_fn: StochasticApplyFn,
    params: Params,
    x: Any,
    *,
    key: jax.Array,
    num_samples: int = 50,
    index: Int[Array, " batch"] | None = None,
) -> SampledLogits:
    """The logits under random dropout masks.

    Args:
      stochastic_apply_fn: `(params, x, key) -> logits` with dropout on, as
        `bridge.stochastic_from_nnx` makes it; each example is passed by itself, with
        a key of its own.
      params: what the network takes first.
      x: inputs, `[batch, ...]`.
      key: where the masks come from; the same key gives the same logits.
      num_samples: forward passes.
      index: a number for each example: what its masks are drawn by, so that they do
        not depend on the batch around it. None for 0, 1, 2, ...

    Returns:
      Logits by example and sample.

    Raises:
      ValueError: if `num_samples` is not a positive integer.

    =================================  ===================================
    Edge case                          Value
    =================================  ===================================
    no dropout                         every sample is the network's answer
    =================================  ===================================

    >>> noisy = lambda params, x, key: x + jax.random.normal(key, x.shape)
    >>> dropout_logits(noisy, None, jnp.eye(2), key=jax.random.key(0)).shape
    (2, 50, 2)

    References:
      Gal and Ghahramani 2016 (arXiv:1506.02142).
    """

    def answer(example: Any, key: jax.Array) -> jax.Array:
        return stochastic_apply_fn(params, _alone(example), key)[0]

    def sample(keys: jax.Array) -> jax.Array:
        return jax.vmap(answer)(x, keys)

    return _in_turn(sample, _keys(x, key, num_samples, index))


def augmented_logits(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    *,
    augment_fn: Callable[[Any, jax.Array], Any],
    key: jax.Array,
    num_samples: int = 10,
    index: Int[Array, " batch"] | None = None,
) -> SampledLogits:
    """The logits of inputs that are changed at random.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: what `apply_fn` takes first.
      x: inputs, `[batch, ...]`.
      augment_fn: `(x, key) -> x`, a random change that leaves the class as it is; each
        example is given by itself, as a batch of one.
      key: where the changes come from.
      num_samples: forward passes.
      index: as in `dropout_logits`.

    Returns:
      Logits by example and sample.

    Raises:
      ValueError: if `num_samples` is not a positive integer.

    =================================  ===================================
    Edge case                          Value
    =================================  ===================================
    a change that changes nothing      every sample is the network's answer
    =================================  ===================================

    >>> linear = lambda params, x: x @ params
    >>> augmented_logits(linear, jnp.eye(2), jnp.eye(2), augment_fn=lambda x, key: x,
    ...     key=jax.random.key(0)).shape
    (2, 10, 2)

    References:
      Ayhan and Berens 2018 (MIDL); Wang et al. 2019 (arXiv:1807.07356).
    """

    def change(example: Any, key: jax.Array) -> Any:
        return jax.tree.map(lambda leaf: leaf[0], augment_fn(_alone(example), key))

    def sample(keys: jax.Array) -> jax.Array:
        return apply_fn(params, jax.vmap(change)(x, keys))

    return _in_turn(sample, _keys(x, key, num_samples, index))


def ensemble_logits(apply_fn: ApplyFn, stacked_params: Params, x: Any) -> SampledLogits:
    """The logits of networks of one kind that were trained apart.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      stacked_params: the members' parameters, each array with a leading axis
        `[members, ...]`: `jax.tree.map(lambda *a: jnp.stack(a), *members)`.
      x: inputs, `[batch, ...]`.

    Returns:
      Logits by example and member.

    Raises:
      ValueError: if the arrays of `stacked_params` differ in their leading axis.

    >>> linear = lambda params, x: x @ params
    >>> ensemble_logits(linear, jnp.ones((5, 2, 3)), jnp.eye(2)).shape
    (2, 5, 3)

    References:
      Lakshminarayanan, Pritzel and Blundell 2017 (arXiv:1612.01474), section 2.4.
    """
    leaves = jax.tree_util.tree_leaves_with_path(stacked_params)
    _validate.same_length(**{jax.tree_util.keystr(p): leaf for p, leaf in leaves})
    return _in_turn(lambda params: apply_fn(params, x), stacked_params)


def random_shift(
    images: Float[Array, "batch *frames height width channels"],
    key: jax.Array,
    max_shift: int | None = None,
) -> Float[Array, "batch *frames height width channels"]:
    """Each image moved by up to `max_shift` pixels in both directions.

    Args:
      images: what is moved, the frames of a clip alike; zeros come in at the edges.
      key: where the shifts come from.
      max_shift: in pixels; None for a fourteenth of the shorter side, at least one:
        2 of MNIST's 28.

    Returns:
      Images of the same shape.

    Raises:
      ValueError: if `max_shift` is a negative number.

    >>> random_shift(jnp.ones((2, 8, 8, 1)), jax.random.key(0)).shape
    (2, 8, 8, 1)
    """
    if max_shift is None:
        max_shift = max(1, min(images.shape[-3:-1]) // 14)
    _validate.count("max_shift", max_shift, at_least=0)
    around = (max_shift, max_shift)
    still = [(0, 0)] * (images.ndim - 3)
    padded = jnp.pad(images, (*still, around, around, (0, 0)))
    corners = jax.random.randint(key, (images.shape[0], 2), 0, 2 * max_shift + 1)

    def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
        first = (*(0 for _ in still[1:]), *corner, 0)
        return jax.lax.dynamic_slice(image, first, images.shape[1:])

    return jax.vmap(crop)(padded, corners)


def _alone(example: Any) -> Any:
    """An example as a batch of one."""
    return jax.tree.map(lambda leaf: leaf[None], example)


def _keys(
    x: Any, key: jax.Array, num_samples: int, index: jax.Array | None
) -> jax.Array:
    """A key for each sample of each example, `[samples, batch]`."""
    _validate.count("num_samples", num_samples)
    if index is None:
        index = jnp.arange(jax.tree.leaves(x)[0].shape[0])
    of_example = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
    of_sample = jax.vmap(jax.random.fold_in, (0, None))
    return jax.vmap(of_sample, (None, 0))(of_example, jnp.arange(num_samples))


def _in_turn(logits_of: Callable[[Any], jax.Array], samples: Any) -> jax.Array:
    return jnp.moveaxis(jax.lax.map(logits_of, samples), 0, 1)


def _dropout(batch: Any, key: jax.Array, **options: Any) -> jax.Array:
    return dropout_logits(
        batch.stochastic_apply_fn,
        batch.params,
        batch.x,
        key=key,
        index=batch.index,
        **options,
    )


def _augmented(
    batch: Any,
    key: jax.Array,
    *,
    augment_fn: Callable[[Any, jax.Array], Any] = random_shift,
    **options: Any,
) -> jax.Array:
    return augmented_logits(
        batch.apply_fn,
        batch.params,
        batch.x,
        augment_fn=augment_fn,
        key=jax.random.fold_in(key, 1),  # other draws than those of the dropout masks
        index=batch.index,
        **options,
    )


DROPOUT_LOGITS = Ingredient(
    "dropout_logits",
    ask=_dropout,
    needs=(KEY,),
    stochastic=True,
    cost="a forward pass for each sample",
)
"""`dropout_logits`; its options are `num_samples`."""

AUGMENTED_LOGITS = Ingredient(
    "augmented_logits",
    ask=_augmented,
    needs=(KEY,),
    cost="a forward pass for each sample",
)
"""`augmented_logits`; its options are `augment_fn`, by default `random_shift`, and
`num_samples`."""

ENSEMBLE_PARAMS = Ingredient("ensemble_params")
"""The stacked parameters of an ensemble, which have to be given."""

ENSEMBLE_LOGITS = Ingredient(
    "ensemble_logits",
    ask=lambda batch, stacked: ensemble_logits(batch.apply_fn, stacked, batch.x),
    needs=(ENSEMBLE_PARAMS,),
    cost="a forward pass for each member",
)
