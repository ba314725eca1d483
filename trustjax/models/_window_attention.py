"""Attention within windows, of images and of video.

Positions have any number of axes: `[batch, *size, width]`, with `size` of (height,
width) or (frames, height, width).

References:
  Liu et al. 2021 (arXiv:2103.14030), section 3.2; Liu et al. 2022 (arXiv:2111.09883),
  sections 3.2 and 3.3; Liu et al. 2022 (arXiv:2106.13230), section 3.2.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Shaped

from trustjax.models._transformer import Attention, truncated_normal

# What the similarity of tokens that are no neighbours loses, in the papers' code.
_MASKED = -100.0
_LARGEST_SCALE = math.log(100)
_HIDDEN_OF_POSITIONS = 512


class WindowAttention(Attention):
    """Attention of a window's tokens, with a bias for each relative position.

    Args:
      width: length of a token.
      heads: how many there are.
      window: its size, along each axis.
      rngs: where the weights come from.
      scale: as of `Attention`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        window: tuple[int, ...],
        *,
        rngs: nnx.Rngs,
        scale: float | None = None,
    ):
        super().__init__(width, heads, rngs=rngs, scale=scale)
        self.window = window

    def __call__(
        self,
        x: Float[Array, "batch windows tokens width"],
        mask: Float[Array, "1 windows 1 tokens tokens"] | None = None,
    ) -> Float[Array, "batch windows tokens width"]:
        """What each token reads in its window; `mask` is added to the bias.

        The tokens of a window that is cut short are taken as the first of a whole one,
        as the papers' code does. Where another axis than the first is cut, their
        relative positions are then those of other tokens.
        """
        tokens = x.shape[-2]
        index = relative_positions(self.window)[:tokens, :tokens]
        bias = self.biases()[index].transpose(2, 0, 1)[None, None]
        return super().__call__(x, bias if mask is None else bias + mask)

    def biases(self) -> Float[Array, "positions heads"]:
        """The bias of each relative position."""
        raise NotImplementedError


class TableAttention(WindowAttention):
    """Swin's: the bias of a relative position is learned by itself."""

    def __init__(
        self,
        width: int,
        heads: int,
        window: tuple[int, ...],
        *,
        rngs: nnx.Rngs,
        scale: float | None = None,
    ):
        super().__init__(width, heads, window, rngs=rngs, scale=scale)
        shape = math.prod(2 * side - 1 for side in window), heads
        self.bias_table = nnx.Param(truncated_normal(rngs.params(), shape))

    def biases(self) -> Array:
        return self.bias_table[...]


class CosineAttention(WindowAttention):
    """Swin V2's: cosine similarities, and a bias that is a function of the offset."""

    def __init__(
        self, width: int, heads: int, window: tuple[int, ...], *, rngs: nnx.Rngs
    ):
        super().__init__(width, heads, window, rngs=rngs)
        self.log_scale = nnx.Param(jnp.full((heads, 1, 1), math.log(10)))
        self.bias_hidden = nnx.Linear(len(window), _HIDDEN_OF_POSITIONS, rngs=rngs)
        self.bias_out = nnx.Linear(
            _HIDDEN_OF_POSITIONS, heads, use_bias=False, rngs=rngs
        )

    def project(self, x: Array) -> Array:
        # A bias of all keys alike would change no softmax of dot products; of cosines
        # it would, and the paper's code leaves it out.
        bias: Array = self.qkv.bias[...]  # pyright: ignore[reportOptionalSubscript]
        queries, _, values = jnp.split(bias, 3)
        bias = jnp.concatenate([queries, jnp.zeros_like(queries), values])
        return x @ self.qkv.kernel[...] + bias.reshape((1,) * (x.ndim - 1) + (-1,))

    def similarity(self, queries: Array, keys: Array) -> Array:
        cosines = jnp.einsum("...qhd,...khd->...hqk", _unit(queries), _unit(keys))
        scale = jnp.exp(jnp.minimum(self.log_scale[...], _LARGEST_SCALE))
        return cosines * scale[None, None]

    def biases(self) -> Array:
        hidden = nnx.relu(self.bias_hidden(jnp.asarray(log_offsets(self.window))))
        return 16 * nnx.sigmoid(self.bias_out(hidden))


def _unit(vectors: Array) -> Array:
    """Vectors of length one; where one is 0, it stays, with a finite derivative."""
    squared = jnp.sum(vectors**2, axis=-1, keepdims=True)
    return vectors * jax.lax.rsqrt(jnp.maximum(squared, 1e-24))


def relative_positions(window: tuple[int, ...]) -> Int[np.ndarray, "tokens tokens"]:
    """The number of the offset from each token of a window to each other.

    >>> relative_positions((1, 3))
    array([[2, 1, 0],
           [3, 2, 1],
           [4, 3, 2]])
    """
    places = np.indices(window).reshape(len(window), -1)
    sides = np.array(window).reshape(-1, 1, 1)
    offsets = places[:, :, None] - places[:, None, :] + sides - 1
    counts = tuple(2 * side - 1 for side in window)
    return np.asarray(np.ravel_multi_index(tuple(offsets), counts))


def log_offsets(window: tuple[int, ...]) -> Float[np.ndarray, "positions axes"]:
    """The offsets within a window, in the order of their numbers, on a log scale.

    `sign(d) log2(1 + 8 |d|) / 3`, with d of -1 to 1.
    """
    sides = np.array(window, np.float32)
    offsets = np.indices([2 * side - 1 for side in window]).reshape(len(window), -1).T
    d = 8 * (offsets - (sides - 1)) / np.maximum(sides - 1, 1)
    return np.sign(d) * np.log2(1 + np.abs(d), dtype=np.float32) / 3


def split_windows(
    x: Shaped[Array, "batch *size width"], window: tuple[int, ...]
) -> Shaped[Array, "batch windows tokens width"]:
    """Windows side by side, whose sizes the axes of positions must divide by.

    >>> split_windows(jnp.arange(8.0).reshape(1, 2, 4, 1), (2, 2))[0, ..., 0]
    Array([[0., 1., 4., 5.],
           [2., 3., 6., 7.]], dtype=float32)
    """
    batch, *size, width = x.shape
    pairs = [pair for n, w in zip(size, window, strict=True) for pair in (n // w, w)]
    axes = range(1, 2 * len(window), 2), range(2, 2 * len(window) + 1, 2)
    x = x.reshape(batch, *pairs, width).transpose(0, *axes[0], *axes[1], -1)
    return x.reshape(batch, -1, math.prod(window), width)


def join_windows(
    x: Float[Array, "batch windows tokens width"],
    window: tuple[int, ...],
    size: tuple[int, ...],
) -> Float[Array, "batch *size width"]:
    """What `split_windows` took apart, of that `size`."""
    batch, width = x.shape[0], x.shape[-1]
    counts = [n // w for n, w in zip(size, window, strict=True)]
    rank = len(window)
    axes = [axis for k in range(rank) for axis in (1 + k, 1 + rank + k)]
    x = x.reshape(batch, *counts, *window, width).transpose(0, *axes, -1)
    return x.reshape(batch, *size, width)


def in_shifted_windows(
    attention: Callable[[Array, Array | None], Array],
    x: Float[Array, "batch *size width"],
    window: tuple[int, ...],
    shift: tuple[int, ...],
) -> Float[Array, "batch *size width"]:
    """Attention in windows that are shifted, around the borders, by `shift`.

    Zeros are put behind each axis until whole windows fit. An axis that is one window
    is not shifted. Tokens that the shift brought together from two borders do not see
    each other.
    """
    size = x.shape[1:-1]
    padded = tuple(-(-n // w) * w for n, w in zip(size, window, strict=True))
    shift = tuple(
        0 if n == w else s for n, w, s in zip(padded, window, shift, strict=True)
    )
    axes = tuple(range(1, 1 + len(size)))
    behind = [(0, p - n) for p, n in zip(padded, size, strict=True)]
    x = jnp.pad(x, [(0, 0), *behind, (0, 0)])
    mask = None
    if any(shift):
        x = jnp.roll(x, [-s for s in shift], axes)
        mask = _border_mask(padded, window, shift)
    x = join_windows(attention(split_windows(x, window), mask), window, padded)
    if any(shift):
        x = jnp.roll(x, shift, axes)
    return x[(slice(None), *(slice(n) for n in size))]


def _border_mask(
    size: tuple[int, ...], window: tuple[int, ...], shift: tuple[int, ...]
) -> Float[Array, "1 windows 1 tokens tokens"]:
    """0 between tokens that were neighbours before the shift, else a large loss."""
    regions = np.zeros(size, int)
    for place, n, w, s in zip(np.indices(size), size, window, shift, strict=True):
        if s:
            regions = 3 * regions + np.digitize(place, [n - w, n - s])
    regions = split_windows(jnp.asarray(regions)[None, ..., None], window)[..., 0]
    apart = regions[:, :, None, :, None] != regions[:, :, None, None, :]
    return jnp.where(apart, _MASKED, 0.0)
