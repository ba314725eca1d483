r"""Many maps at the size of the image, without making one of them.

Resizing is a product with one matrix for each axis, and each row of it has two numbers
at most, beside each other: a pixel lies between two cells. Two things follow.

In between the centres of cells a resized map is linear along each axis, so that its
extremes lie where each axis has its first or its last pixel between two centres. These
are at most twice as many along an axis as there are cells.

A pixel is a sum over the corners of one small box of cells. So the sum of the squares
of many maps at all pixels is made of the sums of products of neighbours, which have the
size of the map and not of the image, and are the same few however many maps there are.
"""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from trustjax._numerics import divide_no_nan, in_units_of_largest
from trustjax.explain._maps import largest, resized, smallest

_NUMBERS_AT_ONCE = 2**24
_HIGHEST = jax.lax.Precision.HIGHEST


def in_range(maps: jax.Array, size: Sequence[int]) -> jax.Array:
    """Maps of which each would have the range [0, 1] once it is resized.

    Args:
      maps: `[maps, *grid]`.
      size: of the image.

    Returns:
      `[maps, *grid]`. A map that would be constant is zeros.

    >>> print(in_range(jnp.array([[[0.0, 4.0, 0.0]]]), (1, 3)))
    [[[0. 1. 0.]]]
    >>> in_range(jnp.array([[[0.0, 4.0, 0.0]]]), (1, 6)).max() > 1  # beside the pixels
    Array(True, dtype=bool)
    """
    grid = maps.shape[1:]
    at_corners = [
        _along(cells, length)[_corners(cells, length)]
        for cells, length in zip(grid, size, strict=True)
    ]

    def of_map(cells: jax.Array) -> jax.Array:
        # A spread of two large floats would overflow, one of two small ones vanish.
        cells = in_units_of_largest(cells.ravel())[0].reshape(grid)
        pixels = _product(cells, at_corners).ravel()
        # As in `resized`: a constant map must not vary by rounding.
        beyond = jnp.clip(pixels, jnp.min(cells), jnp.max(cells)) - pixels
        pixels = pixels + jax.lax.stop_gradient(beyond)
        low, high = smallest(pixels)[0], largest(pixels)[0]
        return divide_no_nan(cells - low, high - low)

    pixels = np.prod([len(rows) for rows in at_corners], dtype=int)
    at_once = int(max(1, _NUMBERS_AT_ONCE // max(1, pixels)))
    if len(maps) <= at_once:
        return jax.vmap(of_map)(maps)
    return jax.lax.map(of_map, maps, batch_size=at_once)


def sum_of_squares(maps: jax.Array, size: Sequence[int]) -> jax.Array:
    """The sum over maps of the squares of their pixels, once they are resized.

    Args:
      maps: `[maps, *grid]`.
      size: of the image.

    Returns:
      `[*size]`.

    >>> print(sum_of_squares(jnp.array([[[0.0, 1.0]], [[2.0, 2.0]]]), (1, 4)))
    [[4.     4.0625 4.5625 5.    ]]
    """
    grid = maps.shape[1:]
    along = [_along(cells, length) for cells, length in zip(grid, size, strict=True)]
    # By how far two corners of a box lie apart: what a pixel takes of both.
    taken = [(rows**2, rows[:, :-1] * rows[:, 1:]) for rows in along]
    total = jnp.zeros(tuple(size), maps.dtype)
    for apart in itertools.product((0, 1), repeat=len(grid)):
        boxes = [
            jnp.sum(_from(maps, corner, apart) * _from(maps, opposite, apart), axis=0)
            for corner, opposite in _pairs(apart)
        ]
        rows = [pair[offset] for pair, offset in zip(taken, apart, strict=True)]
        total = total + _product(sum(boxes[1:], boxes[0]), rows)
    return jnp.maximum(total, 0)  # of rounding


def _pairs(apart: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The ordered pairs of corners of a box of cells that lie so far apart."""
    corners = itertools.product(*(range(offset + 1) for offset in apart))
    return [(c, tuple(o - i for i, o in zip(c, apart, strict=True))) for c in corners]


def _from(maps: jax.Array, corner: Sequence[int], apart: Sequence[int]) -> jax.Array:
    """The cells that are this corner of a box, for every box."""
    sides = zip(maps.shape[1:], corner, apart, strict=True)
    cells = [slice(i, n - offset + i) for n, i, offset in sides]
    return maps[(slice(None), *cells)]


def _along(cells: int, length: int) -> jax.Array:
    """The matrix `[length, cells]` that resizes an axis."""
    return resized(jnp.eye(cells), (length,)).T


def _corners(cells: int, length: int) -> np.ndarray:
    """The first and the last pixel of an axis between each two centres of cells."""
    centres = (np.arange(length) + 0.5) * cells / length - 0.5
    between = np.floor(np.clip(centres, -1, cells - 0.5))
    changes = between[1:] != between[:-1]
    is_end = np.append(True, changes) | np.append(changes, True)
    return np.flatnonzero(is_end)


def _product(cells: jax.Array, matrices: Sequence[jax.Array]) -> jax.Array:
    """Each axis of one map times its matrix `[pixels, cells]`."""
    for axis, matrix in enumerate(matrices):
        along = jnp.tensordot(cells, matrix, axes=(axis, 1), precision=_HIGHEST)
        cells = jnp.moveaxis(along, -1, axis)
    return cells
