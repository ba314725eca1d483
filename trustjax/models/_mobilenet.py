"""MobileNets: depthwise separable convolutions, and inverted residuals."""

import dataclasses
import functools
from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from trustjax.models._classifier import Classifier
from trustjax.models._inverted_residual import (
    Block,
    InvertedResidualConfig,
    InvertedResidualNet,
    torchvision_names,
)
from trustjax.models._layers import ConvNorm, divisible, global_average_pool
from trustjax.models._registry import Model, Names, Published, of_imagenet
from trustjax.preprocessing import PRESETS

_IMAGE = (224, 224, 3)


@dataclasses.dataclass(frozen=True)
class MobileNetV1Config:
    """The sizes of a MobileNet-V1.

    Attributes:
      stages: (number of blocks, stride of the first, channels) of each stage.
      stem: channels of the first convolution.
    """

    stages: tuple[tuple[int, int, int], ...] = (
        (1, 1, 64),
        (2, 2, 128),
        (2, 2, 256),
        (6, 2, 512),
        (2, 2, 1024),
    )
    stem: int = 32


class _DepthwiseSeparable(nnx.Module):
    """A 3x3 convolution of each channel, and a 1x1 convolution across them."""

    def __init__(self, width_in: int, width: int, stride: int, *, rngs: nnx.Rngs):
        conv_norm = functools.partial(ConvNorm, activation=nnx.relu6, rngs=rngs)
        self.depthwise = conv_norm(width_in, width_in, 3, stride, groups=width_in)
        self.pointwise = conv_norm(width_in, width)

    def __call__(self, x: Array) -> Array:
        return self.pointwise(self.depthwise(x))


class MobileNetV1(Classifier):
    """A 3x3 convolution of stride 2, depthwise separable convolutions, mean, dense.

    Args:
      config: its sizes.
      num_classes: the number of logits.
      image_shape: (height, width, channels); any height and width will do.
      rngs: where the weights come from.

    References:
      Howard et al. 2017 (arXiv:1704.04861), table 1, with a stride of 1 in the last
      block, where the table has an evident slip, and ReLU6, as in timm's
      `mobilenetv1_100`, whose names are taken.
    """

    def __init__(
        self,
        config: MobileNetV1Config = MobileNetV1Config(),
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        rngs: nnx.Rngs,
    ):
        self.stem = ConvNorm(
            image_shape[-1], config.stem, 3, 2, activation=nnx.relu6, rngs=rngs
        )
        self.stages = nnx.List()
        width_in = config.stem
        for count, first_stride, width in config.stages:
            stage = nnx.List()
            for number in range(count):
                stride = 1 if number else first_stride
                stage.append(_DepthwiseSeparable(width_in, width, stride, rngs=rngs))
                width_in = width
            self.stages.append(stage)
        self.dense = nnx.Linear(width_in, num_classes, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image."""
        x = self.stem(x)
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return self.dense(global_average_pool(x))


_TIMM_V1_NAMES: Names = (
    ("^stem/conv", "conv_stem"),
    ("^stem/norm", "bn1"),
    ("^stages/", "blocks/"),
    ("depthwise/conv", "conv_dw"),
    ("depthwise/norm", "bn1"),
    ("pointwise/conv", "conv_pw"),
    ("pointwise/norm", "bn2"),
    ("^dense", "classifier"),
)


def mobilenet_v2_config(
    rows: Sequence[tuple[int, int, int, int]] = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ),
    stem: int = 32,
    head: int = 1280,
) -> InvertedResidualConfig:
    """MobileNet-V2 from the rows of its table.

    Args:
      rows: (expansion t, channels c, repetitions n, stride of the first s).
      stem: channels of the first convolution.
      head: channels of the last.

    References:
      Sandler et al. 2018 (arXiv:1801.04381), table 2.
    """
    blocks, width_in = [], stem
    for expansion, width, count, first_stride in rows:
        for number in range(count):
            stride = 1 if number else first_stride
            blocks.append(Block(width_in, expansion * width_in, width, 3, stride))
            width_in = width
    return InvertedResidualConfig(tuple(blocks), head, "relu6")


_V3Row = tuple[int, int, int, bool, str, int]
_LARGE: tuple[_V3Row, ...] = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hard_swish", 2),
    (3, 200, 80, False, "hard_swish", 1),
    (3, 184, 80, False, "hard_swish", 1),
    (3, 184, 80, False, "hard_swish", 1),
    (3, 480, 112, True, "hard_swish", 1),
    (3, 672, 112, True, "hard_swish", 1),
    (5, 672, 160, True, "hard_swish", 2),
    (5, 960, 160, True, "hard_swish", 1),
    (5, 960, 160, True, "hard_swish", 1),
)
_SMALL: tuple[_V3Row, ...] = (
    (3, 16, 16, True, "relu", 2),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, "hard_swish", 2),
    (5, 240, 40, True, "hard_swish", 1),
    (5, 240, 40, True, "hard_swish", 1),
    (5, 120, 48, True, "hard_swish", 1),
    (5, 144, 48, True, "hard_swish", 1),
    (5, 288, 96, True, "hard_swish", 2),
    (5, 576, 96, True, "hard_swish", 1),
    (5, 576, 96, True, "hard_swish", 1),
)


def mobilenet_v3_config(
    rows: Sequence[_V3Row], hidden: int, stem: int = 16
) -> InvertedResidualConfig:
    """MobileNet-V3 from the rows of its tables.

    Args:
      rows: (kernel, channels expanded to, channels out, whether it has squeeze and
        excitation, nonlinearity, stride) of each block.
      hidden: units of the hidden layer behind the mean.
      stem: channels of the first convolution.

    References:
      Howard et al. 2019 (arXiv:1905.02244), tables 1 and 2.
    """
    blocks, width_in = [], stem
    for kernel, expanded, width, excites, activation, stride in rows:
        squeezed = divisible(expanded / 4) if excites else 0
        blocks.append(
            Block(width_in, expanded, width, kernel, stride, squeezed, activation)
        )
        width_in = width
    return InvertedResidualConfig(
        tuple(blocks),
        head=6 * width_in,
        activation="hard_swish",
        hidden=hidden,
        gate="hard_sigmoid",
        epsilon=1e-3,
        momentum=0.99,
    )


def _v2() -> Model:
    config = mobilenet_v2_config()
    folders = [f"features/{index + 1}/conv" for index in range(len(config.blocks))]
    # The last convolution of a block and its norm are no list of their own here.
    last = [
        (f"^blocks/{index}/project/{layer}/", f"{folder}/{place}/")
        for index, (block, folder) in enumerate(
            zip(config.blocks, folders, strict=True)
        )
        for place, layer in enumerate(("conv", "norm"), len(block.parts) - 1)
    ]
    return Model(
        functools.partial(InvertedResidualNet, config),
        1000,
        _IMAGE,
        stem="stem/conv/kernel",
        torch_names=(*last, *torchvision_names(config, folders, dense=1)),
        published=(
            Published("IMAGENET1K_V1", "mobilenet_v2-b0353104.pth", of_imagenet()),
            Published(
                "IMAGENET1K_V2", "mobilenet_v2-7ebf99e0.pth", of_imagenet(resize=232)
            ),
        ),
    )


def _v3(config: InvertedResidualConfig, *published: Published) -> Model:
    folders = [f"features/{index + 1}/block" for index in range(len(config.blocks))]
    return Model(
        functools.partial(InvertedResidualNet, config),
        1000,
        _IMAGE,
        stem="stem/conv/kernel",
        torch_names=torchvision_names(config, folders, dense=3),
        published=published,
    )


MODELS = {
    "mobilenetv1_100": Model(
        MobileNetV1,
        1000,
        _IMAGE,
        stem="stem/conv/kernel",
        torch_names=_TIMM_V1_NAMES,
        published=(
            Published(
                "ra4_e3600_r224_in1k",
                "mobilenetv1_100.ra4_e3600_r224_in1k.safetensors",
                dataclasses.replace(
                    PRESETS["half"],
                    size=(224, 224),
                    resize=256,
                    interpolation="bicubic",
                ),
            ),
        ),
    ),
    "mobilenet_v2": _v2(),
    "mobilenet_v3_large": _v3(
        mobilenet_v3_config(_LARGE, hidden=1280),
        Published("IMAGENET1K_V1", "mobilenet_v3_large-8738ca79.pth", of_imagenet()),
        Published(
            "IMAGENET1K_V2", "mobilenet_v3_large-5c1a4163.pth", of_imagenet(resize=232)
        ),
    ),
    "mobilenet_v3_small": _v3(
        mobilenet_v3_config(_SMALL, hidden=1024),
        Published("IMAGENET1K_V1", "mobilenet_v3_small-047dcff4.pth", of_imagenet()),
    ),
}
