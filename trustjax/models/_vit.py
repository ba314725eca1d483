"""Small vision transformers."""

import functools
from collections.abc import Sequence

import jax
from flax import nnx
from jaxtyping import Array, Float

from trustjax.models._classifier import Classifier
from trustjax.models._layers import global_average_pool
from trustjax.models._registry import Model, multiple_of

_LARGEST_SMALL_IMAGE = 64
_MICRO_PATCHES = 4


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

    The mean takes the place of a class token (Beyer et al. 2022), so that the feature
    map has positions and nothing else.

    Args:
      num_classes: the number of logits.
      image_shape: (height, width, channels).
      rngs: where the weights, and the dropout masks, come from.
      patch: height and width of a patch; the images' must divide by them.
      width: length of a token.
      depth: the number of blocks.
      heads: of the attention.
      dropout_rate: after the positions, the attention and the perceptrons.

    References:
      Dosovitskiy et al. 2021 (arXiv:2010.11929); Beyer, Zhai and Kolesnikov 2022
      (arXiv:2205.01580).
    """

    def __init__(
        self,
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        rngs: nnx.Rngs,
        patch: tuple[int, int],
        width: int,
        depth: int,
        heads: int,
        dropout_rate: float = 0.1,
    ):
        *size, channels = image_shape
        self.patches = nnx.Conv(
            channels, width, patch, strides=patch, padding="VALID", rngs=rngs
        )
        rows, columns = (
            pixels // side for pixels, side in zip(size, patch, strict=True)
        )
        self.positions = nnx.Param(
            0.02 * jax.random.normal(rngs.params(), (1, rows * columns, width))
        )
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs)
        block = functools.partial(_Block, width, heads, dropout_rate, rngs=rngs)
        self.blocks = nnx.List([block() for _ in range(depth)])
        self.norm = nnx.LayerNorm(width, epsilon=1e-6, rngs=rngs)
        self.dense = nnx.Linear(width, num_classes, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image."""
        patches = self.patches(x)
        tokens = jax.lax.collapse(patches, 1, 3)
        tokens = self.dropout(tokens + self.positions[...])
        for block in self.blocks:
            tokens = block(tokens)
        # At their positions again, so that a feature map is one of the image.
        grid = self.norm(tokens).reshape(patches.shape)
        return self.dense(global_average_pool(grid))


def _tiny_patch(size: Sequence[int]) -> int:
    return 4 if max(size) <= _LARGEST_SMALL_IMAGE else 16


def vit_tiny(*, image_shape: tuple[int, ...], **options) -> ViT:
    """ViT-Ti: 12 blocks of width 192 with 3 heads.

    The size is that of Touvron et al. 2021 (arXiv:2012.12877). Patches are 4x4 up to
    64 pixels and 16x16 above.
    """
    side = _tiny_patch(image_shape[:2])
    return ViT(
        image_shape=image_shape,
        patch=(side, side),
        width=192,
        depth=12,
        heads=3,
        **options,
    )


def vit_micro(*, image_shape: tuple[int, ...], **options) -> ViT:
    """4 blocks of width 64 with 4 heads on 4x4 patches: a transformer for a CPU.

    An image of any size is cut into 16 patches, of 7x7 pixels where it has 28x28.
    """
    height, width, _ = image_shape
    return ViT(
        image_shape=image_shape,
        patch=(height // _MICRO_PATCHES, width // _MICRO_PATCHES),
        width=64,
        depth=4,
        heads=4,
        **options,
    )


MODELS = {
    "vit_micro": Model(
        vit_micro,
        10,
        (28, 28, 1),
        takes=(multiple_of(_MICRO_PATCHES),),
        stem="patches/kernel",
    ),
    "vit_tiny": Model(
        vit_tiny,
        10,
        (32, 32, 3),
        takes=(lambda size: multiple_of(_tiny_patch(size))(size),),
        stem="patches/kernel",
    ),
}
