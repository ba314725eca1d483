"""Which place of a window is the largest, and the derivative that selects it."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P


def place_of_maximum(candidates: Iterable[jax.Array]) -> jax.Array:
    """The number of the first candidate that is largest, for each window.

    The maximum is not looked for by equality: a compiler may compute a value twice and
    round it differently, and then no candidate would be equal to it.

    Args:
      candidates: for each place of the window what lies there, arrays of one shape.

    >>> candidates = [jnp.array([1.0, 3.0]), jnp.array([2.0, 3.0])]
    >>> print(place_of_maximum(candidates))
    [1 0]
    """
    first, *others = candidates
    largest, place = first, jnp.zeros(first.shape, jnp.int32)
    for number, candidate in enumerate(others, 1):
        # A NaN is what `max` returns; the first one stays.
        larger = (candidate > largest) | (jnp.isnan(candidate) & ~jnp.isnan(largest))
        place = jnp.where(larger, number, place)
        largest = jnp.maximum(largest, candidate)
    return place


def select_from_tiles(
    values: jax.Array, place: jax.Array, window: Sequence[int]
) -> jax.Array:
    """What lies at one place of each window, for windows that lie side by side.

    Linear in `values`; the transpose writes each number once.

    Args:
      values: an array; what is left over at the end of an axis is in no window.
      place: for each window a number, the window's offsets counted in row-major order.
      window: size along each axis.

    >>> values = jnp.arange(10.0).reshape(2, 5)
    >>> print(select_from_tiles(values, jnp.array([[0, 3]]), (2, 2)))
    [[0. 8.]]
    """
    kept = [count * size for count, size in zip(place.shape, window, strict=True)]
    values = jax.lax.slice(values, [0] * len(kept), kept)
    # An axis that is pooled becomes two, windows and offsets inside a window; the
    # others stay one, for loops over fewer axes are faster.
    tiled, inside, spec = list[int](), list[int](), list[Any]()
    placed = jax.typeof(values).sharding
    for count, size, over in zip(place.shape, window, placed.spec, strict=True):
        tiled.append(count)
        spec.append(over)
        if size > 1:
            inside.append(len(tiled))
            tiled.append(size)
            spec.append(None)
    # Axes of a mesh that are explicit have to be told where a reshape goes.
    out_sharding = placed.update(spec=P(*spec)) if placed.mesh.explicit_axes else None
    values = jax.lax.reshape(values, tiled, out_sharding=out_sharding)
    number = jnp.arange(math.prod(window), dtype=place.dtype).reshape(
        [n if axis in inside else 1 for axis, n in enumerate(tiled)]
    )
    selected = jnp.expand_dims(place, inside) == number
    zero = jnp.zeros((), values.dtype)
    return jnp.where(selected, values, zero).sum(inside)
