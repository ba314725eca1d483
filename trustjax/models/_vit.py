"""Vision transformers: those of the paper, and small ones."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from trustjax.models._classifier import Classifier
from trustjax.models._layers import global_average_pool
from trustjax.models._registry import Model, Published, multiple_of, of_imagenet
from trustjax.models._transformer import Attention, Perceptron, patches

_norm = functools.partial(nnx.LayerNorm, epsilon=1e-6)
_LARGEST_SMALL_IMAGE = 64
_MICRO_PATCHES = 4


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    """What tells the vision transformers apart.

    Attributes:
      patch: height and width of a patch; the images' must divide by them.
      width: length of a token.
      depth: the number of blocks.
      heads: of the attention.
      dropout_rate: after the positions, the attention and the perceptrons.
      class_token: whether the logits are read at a token of their own, as in the
        paper; else at the mean over the patches (Beyer et al. 2022), so that the
        feature map has positions and nothing else.
    """

    patch: tuple[int, int]
    width: int
    depth: int
    heads: int
    dropout_rate: float = 0.0
    class_token: bool = True


VIT_B_16 = ViTConfig(patch=(16, 16), width=768, depth=12, heads=12)
VIT_B_32 = dataclasses.replace(VIT_B_16, patch=(32, 32))


class _Block(nnx.Module):
    """Attention and a perceptron, each behind a LayerNorm and beside a shortcut."""

    def __init__(self, config: ViTConfig, *, rngs: nnx.Rngs):
        width, rate = config.width, config.dropout_rate
        self.norm1 = _norm(width, rngs=rngs)
        self.attention = Attention(width, config.heads, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.norm2 = _norm(width, rngs=rngs)
        self.perceptron = Perceptron(width, 4 * width, dropout_rate=rate, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.perceptron(self.norm2(x))


class ViT(Classifier):
    """Patches, learned positions, transformer blocks, a dense layer on one token.

    Args:
      config: patches, width and depth.
      num_classes: the number of logits.
      image_shape: (height, width, channels): the learned positions are of this size.
      rngs: where the weights, and the dropout masks, come from.

    References:
      Dosovitskiy et al. 2021 (arXiv:2010.11929), eqs. 1 to 4; Beyer, Zhai and
      Kolesnikov 2022 (arXiv:2205.01580); torchvision's `vit_b_16`.
    """

    def __init__(
        self,
        config: ViTConfig,
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        rngs: nnx.Rngs,
    ):
        *size, channels = image_shape
        width = config.width
        rows, columns = (
            pixels // side for pixels, side in zip(size, config.patch, strict=True)
        )
        self.patches = patches(channels, width, config.patch, rngs=rngs)
        self.class_token = (
            nnx.Param(jnp.zeros((1, 1, width))) if config.class_token else None
        )
        tokens = rows * columns + int(config.class_token)
        self.positions = nnx.Param(
            0.02 * jax.random.normal(rngs.params(), (1, tokens, width))
        )
        self.dropout = nnx.Dropout(config.dropout_rate, rngs=rngs)
        self.blocks = nnx.List(_Block(config, rngs=rngs) for _ in range(config.depth))
        self.norm = _norm(width, rngs=rngs)
        self.dense = nnx.Linear(width, num_classes, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image."""
        patches = self.patches(x)
        tokens = jax.lax.collapse(patches, 1, 3)
        if self.class_token is not None:
            first = jnp.tile(self.class_token[...], (len(x), 1, 1))
            tokens = jnp.concatenate([first, tokens], axis=1)
        tokens = self.dropout(tokens + self.positions[...])
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        if self.class_token is not None:
            return self.dense(tokens[:, 0])
        # At their positions again, so that a feature map is one of the image.
        return self.dense(global_average_pool(tokens.reshape(patches.shape)))


def vit_tiny(*, image_shape: tuple[int, ...], **options) -> ViT:
    """ViT-Ti: 12 blocks of width 192 with 3 heads.

    The size is that of Touvron et al. 2021 (arXiv:2012.12877). Patches are 4x4 up to
    64 pixels and 16x16 above.
    """
    side = _tiny_patch(image_shape[:2])
    config = ViTConfig(
        (side, side), 192, depth=12, heads=3, dropout_rate=0.1, class_token=False
    )
    return ViT(config, image_shape=image_shape, **options)


def _tiny_patch(size: Sequence[int]) -> int:
    return 4 if max(size) <= _LARGEST_SMALL_IMAGE else 16


def vit_micro(*, image_shape: tuple[int, ...], **options) -> ViT:
    """4 blocks of width 64 with 4 heads on 4x4 patches: a transformer for a CPU.

    An image of any size is cut into 16 patches, of 7x7 pixels where it has 28x28.
    """
    height, width, _ = image_shape
    config = ViTConfig(
        (height // _MICRO_PATCHES, width // _MICRO_PATCHES),
        64,
        depth=4,
        heads=4,
        dropout_rate=0.1,
        class_token=False,
    )
    return ViT(config, image_shape=image_shape, **options)


_TORCH_NAMES = (
    (r"^patches/", "conv_proj/"),
    (r"^positions$", "encoder/pos_embedding"),
    (r"^norm/", "encoder/ln/"),
    (r"^dense/", "heads/head/"),
    (r"^blocks/(\d+)/", r"encoder/layers/encoder_layer_\1/"),
    (r"/norm(\d)/", r"/ln_\1/"),
    (r"/attention/qkv/kernel$", "/self_attention/in_proj_weight"),
    (r"/attention/qkv/bias$", "/self_attention/in_proj_bias"),
    (r"/attention/out/", "/self_attention/out_proj/"),
    (r"/perceptron/hidden/", "/mlp/0/"),
    (r"/perceptron/out/", "/mlp/3/"),
)


def _of_imagenet(config: ViTConfig, *published: Published) -> Model:
    return Model(
        functools.partial(ViT, config),
        1000,
        (224, 224, 3),
        takes=(multiple_of(config.patch[0]),),
        stem="patches/kernel",
        class_tokens=int(config.class_token),
        torch_names=_TORCH_NAMES,
        published=published,
    )


MODELS = {
    "vit_b_16": _of_imagenet(
        VIT_B_16,
        Published("IMAGENET1K_V1", "vit_b_16-c867db91.pth", of_imagenet()),
        Published(
            "IMAGENET1K_SWAG_E2E_V1",
            "vit_b_16_swag-9ac1b537.pth",
            of_imagenet(384, 384, "bicubic"),
        ),
        Published(
            "IMAGENET1K_SWAG_LINEAR_V1",
            "vit_b_16_lc_swag-4e70ced5.pth",
            of_imagenet(224, 224, "bicubic"),
        ),
    ),
    "vit_b_32": _of_imagenet(
        VIT_B_32, Published("IMAGENET1K_V1", "vit_b_32-d86f8d99.pth", of_imagenet())
    ),
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
