"""Residual networks: of ImageNet, their grouped and wide kin, and those of CIFAR."""

import dataclasses
import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from trustjax import _validate
from trustjax.models._classifier import Classifier
from trustjax.models._layers import global_average_pool, identity, max_pool_3x3
from trustjax.models._registry import Model, Published, of_imagenet

# PyTorch's padding: `SAME` would pad an even size by (0, 1) where the stride is 2.
_conv3x3 = functools.partial(
    nnx.Conv, kernel_size=(3, 3), padding=((1, 1), (1, 1)), use_bias=False
)
_conv1x1 = functools.partial(nnx.Conv, kernel_size=(1, 1), use_bias=False)
_norm = functools.partial(nnx.BatchNorm, momentum=0.9, epsilon=1e-5)


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """The sizes of a residual network.

    Attributes:
      blocks: how many blocks each stage has.
      widths: channels inside the blocks of each stage.
      block: `"basic"`, two 3x3 convolutions; or `"bottleneck"`, one between two of 1x1,
        with four times as many channels at its end.
      groups: of the 3x3 convolution of a bottleneck (ResNeXt's cardinality).
      group_width: channels of each group where the width is 64, and more in
        proportion; 64 for an ordinary ResNet, 128 for a wide one.
      stem: `"7x7"`, with stride 2 and 3x3 max pooling of stride 2, for ImageNet; or
        `"3x3"`, with stride 1, for images of 32x32 pixels or so.
      shortcut: where a block changes the shape, `"projection"` (a 1x1 convolution) or
        `"padding"` (no parameters).
    """

    blocks: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    block: str = "basic"
    groups: int = 1
    group_width: int = 64
    stem: str = "7x7"
    shortcut: str = "projection"

    def __post_init__(self):
        _validate.choice("block", self.block, _BLOCKS)
        _validate.choice("stem", self.stem, ("3x3", "7x7"))
        _validate.choice("shortcut", self.shortcut, _SHORTCUTS)


class _Projection(nnx.Module):
    """A shortcut that changes the shape by a 1x1 convolution."""

    def __init__(self, width_in: int, width: int, stride: int, *, rngs: nnx.Rngs):
        self.conv = _conv1x1(width_in, width, strides=stride, rngs=rngs)
        self.norm = _norm(width, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.norm(self.conv(x))


class _Padding(nnx.Module):
    """A shortcut without parameters: strided, with zeros for the new channels."""

    def __init__(self, width_in: int, width: int, stride: int, *, rngs: nnx.Rngs):
        self.before = (width - width_in) // 2
        self.after = width - width_in - self.before
        self.stride = stride

    def __call__(self, x: Array) -> Array:
        x = x[:, :: self.stride, :: self.stride]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (self.before, self.after)))


_SHORTCUTS = {"projection": _Projection, "padding": _Padding}


def _shortcut(
    config: ResNetConfig, width_in: int, width: int, stride: int, rngs: nnx.Rngs
):
    if stride == 1 and width_in == width:
        return identity
    return _SHORTCUTS[config.shortcut](width_in, width, stride, rngs=rngs)


class _BasicBlock(nnx.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(
        self,
        config: ResNetConfig,
        width_in: int,
        width: int,
        stride: int,
        *,
        rngs: nnx.Rngs,
    ):
        self.conv1 = _conv3x3(width_in, width, strides=stride, rngs=rngs)
        self.norm1 = _norm(width, rngs=rngs)
        self.conv2 = _conv3x3(width, width, rngs=rngs)
        self.norm2 = _norm(width, rngs=rngs)
        self.shortcut = _shortcut(config, width_in, width, stride, rngs)

    def __call__(self, x: Array) -> Array:
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return nnx.relu(y + self.shortcut(x))


class _Bottleneck(nnx.Module):
    """A 3x3 convolution between two of 1x1, beside a shortcut."""

    expansion = 4

    def __init__(
        self,
        config: ResNetConfig,
        width_in: int,
        width: int,
        stride: int,
        *,
        rngs: nnx.Rngs,
    ):
        inner = width * config.group_width // 64 * config.groups
        width_out = self.expansion * width
        self.conv1 = _conv1x1(width_in, inner, rngs=rngs)
        self.norm1 = _norm(inner, rngs=rngs)
        self.conv2 = _conv3x3(
            inner, inner, strides=stride, feature_group_count=config.groups, rngs=rngs
        )
        self.norm2 = _norm(inner, rngs=rngs)
        self.conv3 = _conv1x1(inner, width_out, rngs=rngs)
        self.norm3 = _norm(width_out, rngs=rngs)
        self.shortcut = _shortcut(config, width_in, width_out, stride, rngs)

    def __call__(self, x: Array) -> Array:
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = nnx.relu(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        return nnx.relu(y + self.shortcut(x))


_BLOCKS = {"basic": _BasicBlock, "bottleneck": _Bottleneck}


class ResNet(Classifier):
    """A stem, stages of blocks that halve the size, the mean, a dense layer.

    Args:
      config: its sizes.
      num_classes: the number of logits.
      image_shape: (height, width, channels); any height and width will do.
      rngs: where the weights come from.

    References:
      He, Zhang, Ren and Sun 2016 (arXiv:1512.03385), sections 3.4, 4.1 and 4.2; Xie et
      al. 2017 (arXiv:1611.05431); Zagoruyko and Komodakis 2016 (arXiv:1605.07146). The
      strides are on the first 3x3 convolution of a block, and the names and paddings
      are torchvision's, with which the logits agree to 1e-5 of the largest.
    """

    def __init__(
        self,
        config: ResNetConfig,
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        rngs: nnx.Rngs,
    ):
        self.stem = config.stem
        channels, width_in = image_shape[-1], config.widths[0]
        if config.stem == "7x7":
            self.conv1 = nnx.Conv(
                channels,
                width_in,
                (7, 7),
                strides=2,
                padding=((3, 3), (3, 3)),
                use_bias=False,
                rngs=rngs,
            )
        else:
            self.conv1 = _conv3x3(channels, width_in, rngs=rngs)
        self.norm1 = _norm(width_in, rngs=rngs)
        block = _BLOCKS[config.block]
        self.stages = nnx.List()
        for index, (width, count) in enumerate(
            zip(config.widths, config.blocks, strict=True)
        ):
            stage = nnx.List()
            for number in range(count):
                stride = 2 if index > 0 and number == 0 else 1
                stage.append(block(config, width_in, width, stride, rngs=rngs))
                width_in = block.expansion * width
            self.stages.append(stage)
        self.dense = nnx.Linear(width_in, num_classes, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image."""
        x = nnx.relu(self.norm1(self.conv1(x)))
        if self.stem == "7x7":
            x = max_pool_3x3(x)
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return self.dense(global_average_pool(x))


_TORCH_NAMES = (
    (r"^stages/(\d+)/", lambda match: f"layer{int(match[1]) + 1}/"),
    (r"shortcut/conv", "downsample/0"),
    (r"shortcut/norm", "downsample/1"),
    (r"norm", "bn"),
    (r"^dense", "fc"),
)


def _of_imagenet(config: ResNetConfig, *published: Published) -> Model:
    return Model(
        functools.partial(ResNet, config),
        1000,
        (224, 224, 3),
        torch_names=_TORCH_NAMES,
        published=published,
    )


def _v1(file: str) -> Published:
    """Of the papers' recipe."""
    return Published("IMAGENET1K_V1", file, of_imagenet())


def _v2(file: str, name: str = "IMAGENET1K_V2") -> Published:
    """Of torchvision's later recipe, which shows a larger part of an image."""
    return Published(name, file, of_imagenet(resize=232))


_bottlenecks = functools.partial(ResNetConfig, block="bottleneck")
_of_cifar = functools.partial(
    ResNetConfig, widths=(16, 32, 64), stem="3x3", shortcut="padding"
)
_CIFAR_IMAGE = (32, 32, 3)

MODELS = {
    "resnet18": _of_imagenet(ResNetConfig((2, 2, 2, 2)), _v1("resnet18-f37072fd.pth")),
    "resnet34": _of_imagenet(ResNetConfig((3, 4, 6, 3)), _v1("resnet34-b627a593.pth")),
    "resnet50": _of_imagenet(
        _bottlenecks((3, 4, 6, 3)),
        _v1("resnet50-0676ba61.pth"),
        _v2("resnet50-11ad3fa6.pth"),
    ),
    "resnet101": _of_imagenet(
        _bottlenecks((3, 4, 23, 3)),
        _v1("resnet101-63fe2227.pth"),
        _v2("resnet101-cd907fc2.pth"),
    ),
    "resnext50_32x4d": _of_imagenet(
        _bottlenecks((3, 4, 6, 3), groups=32, group_width=4),
        _v1("resnext50_32x4d-7cdf4587.pth"),
        _v2("resnext50_32x4d-1a0047aa.pth"),
    ),
    "resnext101_64x4d": _of_imagenet(
        _bottlenecks((3, 4, 23, 3), groups=64, group_width=4),
        _v2("resnext101_64x4d-173b62eb.pth", "IMAGENET1K_V1"),
    ),
    "wide_resnet50_2": _of_imagenet(
        _bottlenecks((3, 4, 6, 3), group_width=128),
        _v1("wide_resnet50_2-95faca4d.pth"),
        _v2("wide_resnet50_2-9ba9bcbe.pth"),
    ),
    "resnet18_cifar": Model(
        functools.partial(ResNet, ResNetConfig((2, 2, 2, 2), stem="3x3")),
        10,
        _CIFAR_IMAGE,
        torch_names=_TORCH_NAMES,
    ),
    "resnet8": Model(functools.partial(ResNet, _of_cifar((1, 1, 1))), 10, _CIFAR_IMAGE),
    "resnet20": Model(
        functools.partial(ResNet, _of_cifar((3, 3, 3))), 10, _CIFAR_IMAGE
    ),
}
