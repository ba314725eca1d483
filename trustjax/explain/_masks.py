"""Random masks: cells that are kept or not, made smooth and shifted at random."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from trustjax import _validate


def random_masks(
    key: jax.Array,
    num_masks: int,
    size: Sequence[int],
    *,
    cells: int | Sequence[int] = 8,
    p: float = 0.5,
    first: int | jax.Array = 0,
) -> Float[Array, "masks ..."]:
    r"""The masks of RISE, numbered: mask n is made from the key and n alone.

    A grid of cells, each of them kept with probability p, is brought to a size of one
    cell more than the image, linear between the centres of the cells, of which a window
    is taken that starts anywhere in the first cell.

    Args:
      key: where all masks come from.
      num_masks: how many.
      size: `(height, width)`, of clips `(frames, height, width)`.
      cells: how many cells there are along height and width. Along the frames of a clip
        there are as many, or one for each frame where those are fewer; a sequence says
        it for each axis of `size`.
      p: probability of a cell to be kept, :math:`p`.
      first: number of the first of them.

    Returns:
      How much of each position is kept, in [0, 1], `[num_masks, *size]`; p on average.

    Raises:
      ValueError: if `num_masks` or `cells` is not a positive integer, there are more
        cells than pixels along an axis or not as many numbers of cells as axes, or `p`
        is not in (0, 1).

    >>> masks = random_masks(jax.random.key(0), 3, (4, 6), cells=2)
    >>> later = random_masks(jax.random.key(0), 1, (4, 6), cells=2, first=2)
    >>> print(masks.shape, bool((masks[2] == later[0]).all()))
    (3, 4, 6) True

    References:
      Petsiuk, Das and Saenko 2018 (RISE, arXiv:1806.07421), section 3.2. As in their
      code the outer half cells are mirrored, not continued.
    """
    _validate.count("num_masks", num_masks)
    size = tuple(size)
    along = cells_along(size, cells)
    _validate.open_fraction("p", p)
    # From one shift to the next cell's there are as many pixels as a cell has.
    longest = jnp.array([-(-n // c) for n, c in zip(size, along, strict=True)])

    def mask(number: jax.Array) -> jax.Array:
        of_cells, of_shifts, _ = _keys(key, number)
        grid = jax.random.bernoulli(of_cells, p, along)
        shifts = jax.random.randint(of_shifts, longest.shape, 0, longest)
        return smoothed(grid, shifts, size)

    return jax.vmap(mask)(first + jnp.arange(num_masks))


def noise_keys(key: jax.Array, num_masks: int, first: int | jax.Array) -> jax.Array:
    """A key for each mask, other than those that the mask is made from."""
    numbers = first + jnp.arange(num_masks)
    return jax.vmap(lambda number: _keys(key, number)[2])(numbers)


def _keys(key: jax.Array, number: jax.Array) -> jax.Array:
    return jax.random.split(jax.random.fold_in(key, number), 3)


def smoothed(grid: jax.Array, shifts: jax.Array, size: Sequence[int]) -> jax.Array:
    """A grid of cells at the size of an image, from where the shifts say.

    A product with the shares of the cells for each axis: linear interpolation along all
    of them.

    >>> print(6 * smoothed(jnp.array([[1, 0]]), jnp.array([0, 1]), (1, 4)))
    [[6. 4. 2. 0.]]
    """
    mask = grid.astype(jnp.float32)
    # The axis that comes first turns from cells into positions, and goes to the end.
    for axis, (n, cells) in enumerate(zip(size, grid.shape, strict=True)):
        table = jnp.asarray(_interpolation(n, cells))
        rows = jax.lax.dynamic_slice_in_dim(table, shifts[axis], n)
        mask = jnp.tensordot(mask, rows, (0, 1), precision=jax.lax.Precision.HIGHEST)
    return mask


def cells_along(size: Sequence[int], cells: int | Sequence[int]) -> tuple[int, ...]:
    """How many cells there are along each axis, as `random_masks` says.

    >>> cells_along((3, 28, 28), 7)
    (3, 7, 7)
    """
    if isinstance(cells, int):
        of_frames = (min(cells, n) for n in size[:-2])
        return cells_along(size, (*of_frames, cells, cells))
    along = tuple(cells)
    if len(along) != len(size):
        raise ValueError(
            f"cells must be one number, or one for each axis of {tuple(size)}, got "
            f"{along}"
        )
    for number, n in zip(along, size, strict=True):
        _validate.count("cells", number, at_most=n)
    return along


def _interpolation(size: int, cells: int) -> np.ndarray:
    """The share of each cell in each position, for one cell more than `cells`."""
    cell = -(-size // cells)
    at = (np.arange(cells * cell + cell) + 0.5) * cells / (cells * cell + cell) - 0.5
    below = np.floor(at).astype(int)
    table = np.zeros((len(at), cells), np.float32)
    for neighbour, share in ((below, 1 - (at - below)), (below + 1, at - below)):
        # Beyond the last centre the image is mirrored at it.
        mirrored = np.abs(neighbour)
        mirrored = np.where(mirrored < cells, mirrored, 2 * (cells - 1) - mirrored)
        np.add.at(table, (np.arange(len(at)), np.maximum(mirrored, 0)), share)
    return table
