"""What the transformers share, and ConvNeXt with them."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

gelu = functools.partial(jax.nn.gelu, approximate=False)
truncated_normal = nnx.initializers.truncated_normal(0.02)


class Attention(nnx.Module):
    """Self-attention of several heads, `softmax(s Q K' + B) V` in each.

    Queries, keys and values come from one dense layer, in this order.

    Args:
      width: length of a token; `heads` must divide it.
      heads: how many there are.
      rngs: where the weights come from.
      scale: s; None for one over the root of the length of a head's query.

    References:
      Vaswani et al. 2017 (arXiv:1706.03762), section 3.2.
    """

    def __init__(
        self, width: int, heads: int, *, rngs: nnx.Rngs, scale: float | None = None
    ):
        self.heads = heads
        self.scale = (width // heads) ** -0.5 if scale is None else scale
        self.qkv = nnx.Linear(width, 3 * width, rngs=rngs)
        self.out = nnx.Linear(width, width, rngs=rngs)

    def __call__(
        self, x: Float[Array, "*batch tokens width"], bias: Array | None = None
    ) -> Float[Array, "*batch tokens width"]:
        """What each token reads of the others.

        `bias` is added before the softmax, to `[*batch, heads, tokens, tokens]`.
        """
        projected = self.project(x).reshape(*x.shape[:-1], 3, self.heads, -1)
        queries, keys, values = jnp.moveaxis(projected, -3, 0)
        similarity = self.similarity(queries, keys)
        if bias is not None:
            similarity = similarity + bias
        weights = jax.nn.softmax(similarity)
        read = jnp.einsum("...hqk,...khd->...qhd", weights, values)
        return self.out(read.reshape(x.shape))

    def project(self, x: Array) -> Array:
        """Queries, keys and values, `[*batch, tokens, 3 width]`."""
        return self.qkv(x)

    def similarity(self, queries: Array, keys: Array) -> Array:
        """Of `[*batch, tokens, heads, length]`: `[*batch, heads, tokens, tokens]`."""
        return jnp.einsum("...qhd,...khd->...hqk", self.scale * queries, keys)


class Perceptron(nnx.Module):
    """Two dense layers with GELU between them, and dropout behind."""

    def __init__(
        self, width: int, hidden: int, *, rngs: nnx.Rngs, dropout_rate: float = 0.0
    ):
        self.hidden = nnx.Linear(width, hidden, rngs=rngs)
        self.out = nnx.Linear(hidden, width, rngs=rngs)
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.dropout(self.out(gelu(self.hidden(x))))


def patches(
    channels: int, width: int, size: tuple[int, ...], *, rngs: nnx.Rngs
) -> nnx.Conv:
    """A dense layer of patches that lie side by side: `[batch, *counts, width]`.

    What is left at the end of an axis, less than a patch, is left out.
    """
    return nnx.Conv(channels, width, size, strides=size, padding="VALID", rngs=rngs)


def rising(rate: float, count: int) -> list[float]:
    """Rates of stochastic depth that rise in even steps from 0 at the first block.

    >>> rising(0.5, 3), rising(0.5, 1)
    ([0.0, 0.25, 0.5], [0.0])
    """
    return [rate * index / max(1, count - 1) for index in range(count)]
