"""Swin transformers: the first, the second version, and the one of video."""

import dataclasses
import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from trustjax.models._classifier import Classifier
from trustjax.models._layers import StochasticDepth, global_average_pool
from trustjax.models._registry import (
    Model,
    Published,
    at_least,
    of_imagenet,
)
from trustjax.models._transformer import Perceptron, patches, rising, truncated_normal
from trustjax.models._window_attention import (
    CosineAttention,
    TableAttention,
    in_shifted_windows,
)

_norm = functools.partial(nnx.LayerNorm, epsilon=1e-5)


@dataclasses.dataclass(frozen=True)
class SwinConfig:
    """What tells the Swin transformers apart.

    Attributes:
      width: length of a token in the first stage; each stage doubles it.
      depths: blocks of each stage.
      heads: of each stage's attention.
      window: (height, width) of a window, with frames before them for video.
      patch: likewise.
      stochastic_depth: how often training leaves out the last block; the first never,
        those between in even steps.
      version: 1; or 2, with cosine attention and LayerNorm behind the branches.
    """

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: tuple[int, ...]
    patch: tuple[int, ...]
    stochastic_depth: float
    version: int = 1


SWIN_B = SwinConfig(
    width=128,
    depths=(2, 2, 18, 2),
    heads=(4, 8, 16, 32),
    window=(7, 7),
    patch=(4, 4),
    stochastic_depth=0.5,
)
SWIN_V2_T = SwinConfig(
    width=96,
    depths=(2, 2, 6, 2),
    heads=(3, 6, 12, 24),
    window=(8, 8),
    patch=(4, 4),
    stochastic_depth=0.2,
    version=2,
)
SWIN3D_T = SwinConfig(
    width=96,
    depths=(2, 2, 6, 2),
    heads=(3, 6, 12, 24),
    window=(8, 7, 7),
    patch=(2, 4, 4),
    stochastic_depth=0.1,
)


class _Block(nnx.Module):
    """Attention in windows and a perceptron, each beside a shortcut.

    Every other block shifts its windows by half of their size.
    """

    def __init__(
        self,
        config: SwinConfig,
        stage: int,
        *,
        shifted: bool,
        drop: float,
        rngs: nnx.Rngs,
    ):
        width = config.width * 2**stage
        attention = TableAttention if config.version == 1 else CosineAttention
        self.window = config.window
        self.shift = tuple(side // 2 if shifted else 0 for side in config.window)
        self.norm_first = config.version == 1
        self.norm1 = _norm(width, rngs=rngs)
        self.attention = attention(width, config.heads[stage], config.window, rngs=rngs)
        self.norm2 = _norm(width, rngs=rngs)
        self.perceptron = Perceptron(width, 4 * width, rngs=rngs)
        self.stochastic_depth = StochasticDepth(drop, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        drop = self.stochastic_depth
        if self.norm_first:
            x = x + drop(self._attend(self.norm1(x)))
            return x + drop(self.perceptron(self.norm2(x)))
        x = x + drop(self.norm1(self._attend(x)))
        return x + drop(self.norm2(self.perceptron(x)))

    def _attend(self, x: Array) -> Array:
        window = self.window
        if len(window) == 3:
            # A clip smaller than a window cuts it; an image is padded to it.
            window = tuple(map(min, window, x.shape[1:-1]))
        return in_shifted_windows(self.attention, x, window, self.shift)


class _Merging(nnx.Module):
    """Each 2x2 tokens as one, of twice the width; frames stay apart."""

    def __init__(self, width: int, version: int, *, rngs: nnx.Rngs):
        self.norm_first = version == 1
        self.norm = _norm(4 * width if self.norm_first else 2 * width, rngs=rngs)
        self.dense = nnx.Linear(
            4 * width,
            2 * width,
            use_bias=False,
            kernel_init=truncated_normal,
            rngs=rngs,
        )

    def __call__(self, x: Array) -> Array:
        *_, height, width, _ = x.shape
        even = [(0, 0)] * (x.ndim - 3) + [(0, height % 2), (0, width % 2), (0, 0)]
        x = jnp.pad(x, even)
        x = jnp.concatenate(
            [x[..., i::2, j::2, :] for j in (0, 1) for i in (0, 1)], axis=-1
        )
        return self.dense(self.norm(x)) if self.norm_first else self.norm(self.dense(x))


class Swin(Classifier):
    """Patches, stages of windowed attention that halve the size, the mean, a layer.

    Args:
      config: widths, depths and windows; windows with three axes are of video.
      num_classes: the number of logits.
      image_shape: (height, width, channels), with frames before them for video; of any
        size.
      rngs: where the weights, and the blocks that training leaves out, come from.

    References:
      Liu et al. 2021 (arXiv:2103.14030); Liu et al. 2022 (arXiv:2111.09883); of video,
      Liu et al. 2022 (arXiv:2106.13230); torchvision's `swin_b`, `swin_v2_t` and
      `swin3d_t`.
    """

    def __init__(
        self,
        config: SwinConfig,
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        rngs: nnx.Rngs,
    ):
        self.patch = config.patch
        self.patches = patches(image_shape[-1], config.width, config.patch, rngs=rngs)
        self.patches_norm = _norm(config.width, rngs=rngs)
        drops = iter(rising(config.stochastic_depth, sum(config.depths)))
        self.stages = nnx.List()
        self.mergings = nnx.List()
        for stage, depth in enumerate(config.depths):
            if stage > 0:
                width = config.width * 2 ** (stage - 1)
                self.mergings.append(_Merging(width, config.version, rngs=rngs))
            block = functools.partial(_Block, config, stage, rngs=rngs)
            self.stages.append(
                nnx.List(
                    block(shifted=index % 2 == 1, drop=next(drops))
                    for index in range(depth)
                )
            )
        width = config.width * 2 ** (len(config.depths) - 1)
        self.norm = _norm(width, rngs=rngs)
        self.dense = nnx.Linear(
            width, num_classes, kernel_init=truncated_normal, rngs=rngs
        )

    def __call__(
        self, x: Float[Array, "batch *size channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image, or clip."""
        if len(self.patch) == 3:
            # The last patch of a clip is filled with zeros; of an image it is left out.
            behind = [
                (0, -n % p) for n, p in zip(x.shape[1:-1], self.patch, strict=True)
            ]
            x = jnp.pad(x, [(0, 0), *behind, (0, 0)])
        x = self.patches_norm(self.patches(x))
        for index, stage in enumerate(self.stages):
            if index > 0:
                x = self.mergings[index - 1](x)
            for block in stage:
                x = block(x)
        return self.dense(global_average_pool(self.norm(x)))


_OF_BLOCKS = (
    (r"/dense/", "/reduction/"),
    (r"/attention/bias_table$", "/attn/relative_position_bias_table"),
    (r"/attention/bias_hidden/", "/attn/cpb_mlp/0/"),
    (r"/attention/bias_out/", "/attn/cpb_mlp/2/"),
    (r"/attention/log_scale$", "/attn/logit_scale"),
    (r"/attention/out/", "/attn/proj/"),
    (r"/attention/", "/attn/"),
    (r"/perceptron/hidden/", "/mlp/0/"),
    (r"/perceptron/out/", "/mlp/3/"),
    (r"^dense/", "head/"),
)
_TORCH_NAMES = (
    (r"^patches/", "features/0/0/"),
    (r"^patches_norm/", "features/0/2/"),
    (r"^stages/(\d+)/", lambda m: f"features/{2 * int(m[1]) + 1}/"),
    (r"^mergings/(\d+)/", lambda m: f"features/{2 * int(m[1]) + 2}/"),
    *_OF_BLOCKS,
)
_TORCH_NAMES_OF_VIDEO = (
    (r"^patches/", "patch_embed/proj/"),
    (r"^patches_norm/", "patch_embed/norm/"),
    (r"^stages/(\d+)/", lambda m: f"features/{2 * int(m[1])}/"),
    (r"^mergings/(\d+)/", lambda m: f"features/{2 * int(m[1]) + 1}/"),
    *_OF_BLOCKS,
)
_CONSTANTS = (r"relative_position_index$", r"relative_coords_table$")

MODELS = {
    "swin_b": Model(
        functools.partial(Swin, SWIN_B),
        1000,
        (224, 224, 3),
        takes=(at_least(*SWIN_B.patch),),
        stem="patches/kernel",
        torch_names=_TORCH_NAMES,
        constants=_CONSTANTS,
        published=(
            Published(
                "IMAGENET1K_V1",
                "swin_b-68c6b09e.pth",
                of_imagenet(resize=238, interpolation="bicubic"),
            ),
        ),
    ),
    "swin_v2_t": Model(
        functools.partial(Swin, SWIN_V2_T),
        1000,
        (256, 256, 3),
        takes=(at_least(*SWIN_V2_T.patch),),
        stem="patches/kernel",
        torch_names=_TORCH_NAMES,
        constants=_CONSTANTS,
        published=(
            Published(
                "IMAGENET1K_V1",
                "swin_v2_t-b137f0e2.pth",
                of_imagenet(256, resize=260, interpolation="bicubic"),
            ),
        ),
    ),
    "swin3d_t": Model(
        functools.partial(Swin, SWIN3D_T),
        400,
        (16, 224, 224, 3),
        stem="patches/kernel",
        torch_names=_TORCH_NAMES_OF_VIDEO,
        constants=_CONSTANTS,
        published=(
            Published("KINETICS400_V1", "swin3d_t-7615ae03.pth", of_imagenet()),
        ),
    ),
}
