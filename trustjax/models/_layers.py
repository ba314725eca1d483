"""Layers that more than one network shares."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from trustjax import _windows

leaky_relu = functools.partial(nnx.leaky_relu, negative_slope=0.1)


@jax.custom_jvp
def max_pool_2x2(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch _ _ channels"]:
    """Largest value of each 2x2 block; a last odd row or column is left out.

    Equal in value and gradient to `nnx.max_pool(x, (2, 2), strides=(2, 2))`, whose
    gradient is the slowest part of a small network on CPU.

    >>> max_pool_2x2(jnp.arange(15.0).reshape(1, 3, 5, 1))[0, ..., 0]
    Array([[6., 8.]], dtype=float32)
    """
    return functools.reduce(jnp.maximum, _quarters(x))


@max_pool_2x2.defjvp
def _max_pool_2x2_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    place = _windows.place_of_maximum(_quarters(x))
    selected = _windows.select_from_tiles(tangent, place, (1, 2, 2, 1))
    return max_pool_2x2(x), selected


def _quarters(x: Array) -> list[Array]:
    """For each offset in a 2x2 block, what lies there."""
    _, height, width, _ = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]


def global_average_pool(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch channels"]:
    """Mean over the positions."""
    return jnp.mean(x, axis=(1, 2))
