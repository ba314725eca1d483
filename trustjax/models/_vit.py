"""A small vision transformer."""

import functools

import jax
from flax import nnx
from jaxtyping import Array, Float

from trustjax.models._classifier import Classifier
from trustjax.models._layers import global_average_pool

_LARGEST_SMALL_IMAGE = 64


class _Block(nnx.Module):
    """Attention and a perceptron, each behind a LayerNorm and beside a shortcut."""

    def __init__(self, width: int, heads: int, dropout_rate: float, *, rngs: nnx.Rngs):
        self.norm1 = nnx.LayerNorm(width, epsilon=1e-6, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.dropout1 = nnx.Dropout(dropout_rate, rngs=rngs)
        self.norm2 = nnx.LayerNorm(width, epsilon=1e-6, rngs=rngs)
        self.hidden = nnx.Linear(width, 4 * width, rngs=rngs)
        self.out = nnx.Linear(4 * width, width, rngs=rngs)
        self.dropout2 = nnx.Dropout(dropout_rate, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = x + self.dropout1(self.attention(self.norm1(x)))
        hidden = jax.nn.gelu(self.hidden(self.norm2(x)), approximate=False)
        return x + self.dropout2(self.out(hidden))


class ViT(Classifier):
    """Patches, learned positions, transformer blocks, the mean over the patches.

    The defaults are those of ViT-Ti: 12 blocks of width 192 with 3 heads. Patches are
    4x4 up to 64 pixels and 16x16 above. The mean takes the place of a class token
    (Beyer et al. 2022), so that the feature map has positions and nothing else.

    References:
      Dosovitskiy et al. 2021; Touvron et al. 2021 (ViT-Ti); Beyer, Zhai and
      Kolesnikov 2022.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        image_shape: tuple[int, int, int],
        rngs: nnx.Rngs,
        width: int = 192,
        depth: int = 12,
        heads: int = 3,
        dropout_rate: float = 0.1,
    ):
        *size, channels = image_shape
        patch = 4 if max(size) <= _LARGEST_SMALL_IMAGE else 16
        if any(pixels % patch for pixels in size):
            raise ValueError(
                f"vit_tiny needs images whose height and width divide by {patch}, "
                f"got {size[0]}x{size[1]}"
            )
        self.patches = nnx.Conv(
            channels, width, (patch, patch), strides=patch, padding="VALID", rngs=rngs
        )
        rows, columns = (pixels // patch for pixels in size)
        self.positions = nnx.Param(
            0.02 * jax.random.normal(rngs.params(), (1, rows * columns, width))
        )
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs)
        block = functools.partial(_Block, width, heads, dropout_rate, rngs=rngs)
        self.blocks = nnx.List([block() for _ in range(depth)])
        self.norm = nnx.LayerNorm(width, epsilon=1e-6, rngs=rngs)
        self.dense = nnx.Linear(width, num_classes, rngs=rngs)

    def feature_map(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch _ _ features"]:
        """The patches after the last block, at their positions."""
        patches = self.patches(x)
        tokens = jax.lax.collapse(patches, 1, 3)
        tokens = self.dropout(tokens + self.positions[...])
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens).reshape(patches.shape)

    def embedding(
        self, feature_map: Float[Array, "batch _ _ features"]
    ) -> Float[Array, "batch features"]:
        """The mean over the patches."""
        return global_average_pool(feature_map)
