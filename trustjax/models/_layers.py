"""Layers that more than one network shares."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

leaky_relu = functools.partial(nnx.leaky_relu, negative_slope=0.1)


@jax.custom_jvp
def max_pool_2x2(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch _ _ channels"]:
    """Largest value of each 2x2 block; a last odd row or column is left out.

    Equal in value to `nnx.max_pool(x, (2, 2), strides=(2, 2))`, whose gradient is the
    slowest part of a small network on CPU. The gradient here compares each value with
    the largest of its block, and is shared equally among those that tie.

    >>> max_pool_2x2(jnp.arange(15.0).reshape(1, 3, 5, 1))[0, ..., 0]
    Array([[6., 8.]], dtype=float32)
    """
    _, height, width, _ = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    upper = jnp.maximum(x[:, ::2, ::2], x[:, ::2, 1::2])
    lower = jnp.maximum(x[:, 1::2, ::2], x[:, 1::2, 1::2])
    return jnp.maximum(upper, lower)


@max_pool_2x2.defjvp
def _max_pool_2x2_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    largest = max_pool_2x2(x)
    chosen = (_blocks_2x2(x) == largest[:, :, None, :, None]).astype(x.dtype)
    ties = chosen.sum(axis=(2, 4))
    return largest, (chosen * _blocks_2x2(tangent)).sum(axis=(2, 4)) / ties


def _blocks_2x2(x: Array) -> Array:
    """`[batch, rows, 2, columns, 2, channels]`."""
    batch, height, width, channels = x.shape
    rows, columns = height // 2, width // 2
    x = x[:, : rows * 2, : columns * 2]
    return x.reshape(batch, rows, 2, columns, 2, channels)


def global_average_pool(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch channels"]:
    """Mean over the positions."""
    return jnp.mean(x, axis=(1, 2))
