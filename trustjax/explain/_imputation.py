r"""Linear imputation: a masked pixel is the weighted mean of its neighbours.

With :math:`k_i` the share of pixel i that is kept and :math:`w_{ij}` the weights of its
neighbours inside the image, of sum :math:`s_i`, the imputed image u solves

.. math:: k_i s_i (u_i - x_i) + (1 - k_i) (s_i u_i - \sum_j w_{ij} u_j) = 0.

As :math:`u = x + q f` with :math:`q = \sqrt{1 - k}` this is a system of f whose matrix
:math:`q (s - W) q + s k` is symmetric, not negative, and finite where k is 0 or 1. It
is solved by conjugate gradients, for which a cycle of coarser and coarser grids stands
in for the inverse: so a few steps do for a hole of any size.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trustjax._numerics import at_least_float32, divide_no_nan

_STEPS = 6
"""Of conjugate gradients; `imputed` says which error is left."""

_DAMPING = 0.8
"""Of the smoothing on each grid."""

_COARSEST = 2
"""Positions along the shorter side of the coarsest grid."""

_ROUNDING = 1e-6
"""What is kept to within this is kept."""


class _Grid(NamedTuple):
    """The system on one grid: k, q and s, `[..., height, width, 1]`."""

    keep: jax.Array
    q: jax.Array
    near: jax.Array

    def matrix(self, f: jax.Array) -> jax.Array:
        """The product of the matrix and f."""
        e = self.q * f
        return self.q * (self.near * e - _neighbours(e)) + self.near * self.keep * f

    def smoothing(self, residual: jax.Array) -> jax.Array:
        """An f that takes the rough part of a residual away."""
        return _DAMPING * divide_no_nan(residual, self.near)


def imputed(x: jax.Array, keep: jax.Array) -> jax.Array:
    """Images in which what is not kept comes from its neighbours.

    Args:
      x: `[..., height, width, channels]`.
      keep: in [0, 1], `[..., height, width, 1]`; broadcasts against `x` before these.

    Returns:
      In float32 or wider, of the shape that both give. Of a photograph of 224x224 the
      largest error was .01 of the deviation of its numbers or less under masks of
      single pixels, of cells and of one hole of half the image; .05 where a corner of
      20x20 was all that was kept: there the system is near singular for float32.
    """
    x, keep = at_least_float32(x), at_least_float32(keep)
    # What is masked may hold anything, also NaN.
    kept = jnp.where(keep > 0, x, 0)
    total = keep.sum((-3, -2), keepdims=True)
    mean = jnp.where(
        total > 0,
        divide_no_nan((keep * kept).sum((-3, -2), keepdims=True), total),
        x.mean((-3, -2), keepdims=True),
    )
    grids = _grids(keep)
    finest = grids[0]
    f = finest.q * (mean - kept)
    pull = finest.q * (_neighbours(kept) - finest.near * kept)
    f = _conjugate_gradients(grids, f, pull - finest.matrix(f))
    # Where nothing is kept, any colour solves the system.
    return jnp.where(total > 0, kept + finest.q * f, mean)


def _grids(keep: jax.Array) -> Sequence[_Grid]:
    """From fine to coarse, each half as large."""
    grids = []
    while True:
        near = jnp.asarray(_near(*keep.shape[-3:-1]), keep.dtype)
        near = near.reshape(*[1] * (keep.ndim - 3), *near.shape)
        grids.append(_Grid(keep, jnp.sqrt(1 - keep), near))
        if min(keep.shape[-3:-1]) <= _COARSEST:
            return grids
        # In two dimensions neighbours hold one another alike on every grid, while what
        # holds the pixels to their own values adds up.
        pull = _halved(keep / jnp.maximum(1 - keep, _ROUNDING))
        keep = pull / (1 + pull)


def _conjugate_gradients(
    grids: Sequence[_Grid], f: jax.Array, residual: jax.Array
) -> jax.Array:
    """A few steps from f, each channel by itself."""

    def dot(a: jax.Array, b: jax.Array) -> jax.Array:
        return (a * b).sum((-3, -2), keepdims=True)

    def step(_: Any, state: tuple) -> tuple:
        f, residual, direction, size = state
        better = _cycle(grids, residual)
        larger, size = size, dot(residual, better)
        direction = better + divide_no_nan(size, larger) * direction
        along = grids[0].matrix(direction)
        length = divide_no_nan(size, dot(direction, along))
        return f + length * direction, residual - length * along, direction, size

    nothing = jnp.zeros_like(residual)
    state = (f, residual, nothing, dot(nothing, nothing))
    return jax.lax.fori_loop(0, _STEPS, step, state)[0]


def _cycle(grids: Sequence[_Grid], residual: jax.Array) -> jax.Array:
    """Nearly the f that has this residual: rough parts here, smooth ones on coarser."""
    grid, *coarser = grids
    f = grid.smoothing(residual)
    if not coarser:
        return f
    q = coarser[0].q
    # Down by the transpose of the way up, so that the whole stays symmetric.
    within = (3 * grid.near + 1) / 4  # ones, smoothed: less at the edges
    left = _halved(_smoothed(grid.q / within * (residual - grid.matrix(f))))
    correction = _doubled(q * _cycle(coarser, q * left), residual.shape)
    f += grid.q / within * _smoothed(correction)
    return f + grid.smoothing(residual - grid.matrix(f))


def _neighbours(u: jax.Array) -> jax.Array:
    """The weighted sum of the neighbours inside the image: 1/6 beside, 1/12 across."""
    return (4 * _smoothed(u) - u) / 3


def _near(height: int, width: int) -> np.ndarray:
    """The neighbours of ones, `[height, width, 1]`: fewer at the edges."""
    rows, columns = np.full(height, 4.0), np.full(width, 4.0)
    for along in (rows, columns):
        along[0] -= 1
        along[-1] -= 1
    return (np.outer(rows, columns)[..., None] - 4) / 12


def _smoothed(u: jax.Array) -> jax.Array:
    """1/4, 1/2, 1/4 along height and along width; zeros beyond the edges."""
    one, two = [1] * u.ndim, [1] * u.ndim
    two[-3:-1] = 2, 2
    # As two sums of pairs: a slice for each neighbour takes long to run and compile.
    for pad in ((1, 1), (0, 0)):
        pads = [(0, 0)] * u.ndim
        pads[-3:-1] = pad, pad
        u = jax.lax.reduce_window(u, 0.0, jax.lax.add, two, one, pads) / 4
    return u


def _doubled(a: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Each position as a square of two by two, as far as the finer grid goes."""
    for axis in (a.ndim - 3, a.ndim - 2):
        a = jax.lax.slice_in_dim(a.repeat(2, axis), 0, shape[axis], axis=axis)
    return a


def _halved(a: jax.Array) -> jax.Array:
    """Sums over squares of two by two; those at an odd edge have fewer."""
    for axis in (a.ndim - 3, a.ndim - 2):
        pads = [(0, 0)] * a.ndim
        pads[axis] = (0, a.shape[axis] % 2)
        padded = jnp.pad(a, pads)
        shape = (*a.shape[:axis], -1, 2, *a.shape[axis + 1 :])
        a = padded.reshape(shape).sum(axis + 1)
    return a
