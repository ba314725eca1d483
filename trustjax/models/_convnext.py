"""ConvNeXt."""

import dataclasses
import functools
import itertools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from trustjax._depthwise import depthwise_convolution
from trustjax.models._classifier import Classifier
from trustjax.models._layers import StochasticDepth, global_average_pool
from trustjax.models._registry import Model, Published, at_least, of_imagenet
from trustjax.models._transformer import Perceptron, patches, rising, truncated_normal

_norm = functools.partial(nnx.LayerNorm, epsilon=1e-6)


@dataclasses.dataclass(frozen=True)
class ConvNeXtConfig:
    """What tells the ConvNeXts apart.

    Attributes:
      widths: channels of each stage.
      depths: blocks of each stage.
      stochastic_depth: how often training leaves out the last block; the first never,
        those between in even steps.
      layer_scale: what the scales of the blocks begin with.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    stochastic_depth: float
    layer_scale: float = 1e-6


CONVNEXT_TINY = ConvNeXtConfig(
    widths=(96, 192, 384, 768), depths=(3, 3, 9, 3), stochastic_depth=0.1
)


class _Block(nnx.Module):
    """A 7x7 depthwise convolution and a perceptron, scaled, beside a shortcut."""

    def __init__(self, width: int, drop: float, layer_scale: float, *, rngs: nnx.Rngs):
        self.depthwise = nnx.Conv(
            width,
            width,
            (7, 7),
            padding=((3, 3), (3, 3)),
            feature_group_count=width,
            conv_general_dilated=depthwise_convolution,
            kernel_init=truncated_normal,
            rngs=rngs,
        )
        self.norm = _norm(width, rngs=rngs)
        self.perceptron = Perceptron(width, 4 * width, rngs=rngs)
        # Of torchvision's shape.
        self.layer_scale = nnx.Param(jnp.full((width, 1, 1), layer_scale))
        self.stochastic_depth = StochasticDepth(drop, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        y = self.perceptron(self.norm(self.depthwise(x)))
        y = y * self.layer_scale[...].reshape(1, 1, 1, -1)
        return x + self.stochastic_depth(y)


class _Downsampling(nnx.Module):
    """A LayerNorm, and a convolution of 2x2 pixels that do not overlap."""

    def __init__(self, width_in: int, width: int, *, rngs: nnx.Rngs):
        self.norm = _norm(width_in, rngs=rngs)
        self.conv = patches(width_in, width, (2, 2), rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.conv(self.norm(x))


class ConvNeXt(Classifier):
    """Patches of 4x4 pixels, stages that halve the size, the mean, a dense layer.

    Args:
      config: widths and depths.
      num_classes: the number of logits.
      image_shape: (height, width, channels); of a size that does not divide, the last
        rows and columns are left out.
      rngs: where the weights, and the blocks that training leaves out, come from.

    References:
      Liu et al. 2022 (arXiv:2201.03545), section 2 and appendix A; torchvision's
      `convnext_tiny`.
    """

    def __init__(
        self,
        config: ConvNeXtConfig,
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        rngs: nnx.Rngs,
    ):
        widths, depths = config.widths, config.depths
        drops = iter(rising(config.stochastic_depth, sum(depths)))
        self.patches = patches(image_shape[-1], widths[0], (4, 4), rngs=rngs)
        self.patches_norm = _norm(widths[0], rngs=rngs)
        self.downsamplings = nnx.List(
            _Downsampling(*pair, rngs=rngs) for pair in itertools.pairwise(widths)
        )
        self.stages = nnx.List(
            nnx.List(
                _Block(width, next(drops), config.layer_scale, rngs=rngs)
                for _ in range(depth)
            )
            for width, depth in zip(widths, depths, strict=True)
        )
        self.norm = _norm(widths[-1], rngs=rngs)
        self.dense = nnx.Linear(
            widths[-1], num_classes, kernel_init=truncated_normal, rngs=rngs
        )

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image."""
        x = self.patches_norm(self.patches(x))
        for index, stage in enumerate(self.stages):
            if index > 0:
                x = self.downsamplings[index - 1](x)
            for block in stage:
                x = block(x)
        return self.dense(self.norm(global_average_pool(x)))


_TORCH_NAMES = (
    (r"^patches/", "features/0/0/"),
    (r"^patches_norm/", "features/0/1/"),
    (r"^downsamplings/(\d+)/norm/", lambda m: f"features/{2 * int(m[1]) + 2}/0/"),
    (r"^downsamplings/(\d+)/conv/", lambda m: f"features/{2 * int(m[1]) + 2}/1/"),
    (r"^norm/", "classifier/0/"),
    (r"^dense/", "classifier/2/"),
    (r"^stages/(\d+)/", lambda m: f"features/{2 * int(m[1]) + 1}/"),
    (r"/depthwise/", "/block/0/"),
    (r"/norm/", "/block/2/"),
    (r"/perceptron/hidden/", "/block/3/"),
    (r"/perceptron/out/", "/block/5/"),
)

MODELS = {
    "convnext_tiny": Model(
        functools.partial(ConvNeXt, CONVNEXT_TINY),
        1000,
        (224, 224, 3),
        takes=(at_least(32, 32),),
        stem="patches/kernel",
        torch_names=_TORCH_NAMES,
        published=(
            Published(
                "IMAGENET1K_V1", "convnext_tiny-983f1562.pth", of_imagenet(resize=236)
            ),
        ),
    )
}
