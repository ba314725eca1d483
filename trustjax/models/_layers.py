"""Layers that more than one network shares."""

import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

leaky_relu = functools.partial(nnx.leaky_relu, negative_slope=0.1)


def max_pool_2x2(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch _ _ channels"]:
    """Largest value of each 2x2 block; a last odd row or column is left out.

    Equal in value to `nnx.max_pool(x, (2, 2), strides=(2, 2))`. The gradient of
    that is the slowest part of a small network on CPU; this one is four slices and
    three maxima. Where values tie, the gradient is shared among them, instead of
    going to the first.

    >>> max_pool_2x2(jnp.arange(15.0).reshape(1, 3, 5, 1))[0, ..., 0]
    Array([[6., 8.]], dtype=float32)
    """
    _, height, width, _ = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    upper = jnp.maximum(x[:, ::2, ::2], x[:, ::2, 1::2])
    lower = jnp.maximum(x[:, 1::2, ::2], x[:, 1::2, 1::2])
    return jnp.maximum(upper, lower)


def global_average_pool(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch channels"]:
    """Mean over the positions."""
    return jnp.mean(x, axis=(1, 2))
