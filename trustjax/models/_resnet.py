"""Residual networks with basic blocks: ResNet-18, and those of CIFAR."""

import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from trustjax import _validate
from trustjax.models._classifier import Classifier
from trustjax.models._layers import global_average_pool

# PyTorch's padding: `SAME` would pad an even size by (0, 1) where the stride is 2.
_conv3x3 = functools.partial(
    nnx.Conv, kernel_size=(3, 3), padding=((1, 1), (1, 1)), use_bias=False
)
_norm = functools.partial(nnx.BatchNorm, momentum=0.9, epsilon=1e-5)


def _identity(x: Array) -> Array:
    return x


class _Projection(nnx.Module):
    """A shortcut that changes the shape by a 1x1 convolution."""

    def __init__(self, width_in: int, width: int, stride: int, *, rngs: nnx.Rngs):
        self.conv = nnx.Conv(
            width_in, width, (1, 1), strides=stride, use_bias=False, rngs=rngs
        )
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


class _BasicBlock(nnx.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(
        self, width_in: int, width: int, stride: int, shortcut: str, *, rngs: nnx.Rngs
    ):
        self.conv1 = _conv3x3(width_in, width, strides=stride, rngs=rngs)
        self.norm1 = _norm(width, rngs=rngs)
        self.conv2 = _conv3x3(width, width, rngs=rngs)
        self.norm2 = _norm(width, rngs=rngs)
        same_shape = stride == 1 and width_in == width
        self.shortcut = (
            _identity
            if same_shape
            else _SHORTCUTS[shortcut](width_in, width, stride, rngs=rngs)
        )

    def __call__(self, x: Array) -> Array:
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return nnx.relu(y + self.shortcut(x))


class ResNet(Classifier):
    """A stem, stages of basic blocks that halve the size, the mean, a dense layer.

    Args:
      num_classes: the number of logits.
      image_shape: (height, width, channels); any height and width will do.
      rngs: where the weights come from.
      widths: channels of each stage.
      blocks: basic blocks in each stage.
      stem: `"7x7"`, with stride 2 and 3x3 max pooling of stride 2, for ImageNet; or
        `"3x3"`, with stride 1, for images of 32x32 pixels or so.
      shortcut: where a block changes the shape, `"projection"` (a 1x1 convolution) or
        `"padding"` (no parameters).

    References:
      He, Zhang, Ren and Sun 2016 (arXiv:1512.03385), sections 3.4 and 4.2. The strides
      are on the first 3x3 convolution of a block, and the names and paddings are
      torchvision's.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        image_shape: tuple[int, int, int],
        rngs: nnx.Rngs,
        widths: tuple[int, ...],
        blocks: tuple[int, ...],
        stem: str,
        shortcut: str,
    ):
        _validate.choice("stem", stem, ("3x3", "7x7"))
        _validate.choice("shortcut", shortcut, _SHORTCUTS)
        self.stem = stem
        channels = image_shape[-1]
        if stem == "7x7":
            self.conv1 = nnx.Conv(
                channels,
                widths[0],
                (7, 7),
                strides=2,
                padding=((3, 3), (3, 3)),
                use_bias=False,
                rngs=rngs,
            )
        else:
            self.conv1 = _conv3x3(channels, widths[0], rngs=rngs)
        self.norm1 = _norm(widths[0], rngs=rngs)
        self.stages = nnx.List()
        width_in = widths[0]
        for index, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            stage = nnx.List()
            for block in range(count):
                stride = 2 if index > 0 and block == 0 else 1
                stage.append(_BasicBlock(width_in, width, stride, shortcut, rngs=rngs))
                width_in = width
            self.stages.append(stage)
        self.dense = nnx.Linear(width_in, num_classes, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image."""
        x = nnx.relu(self.norm1(self.conv1(x)))
        if self.stem == "7x7":
            x = nnx.max_pool(
                x,
                (3, 3),
                strides=(2, 2),
                padding=((1, 1), (1, 1)),  # pyright: ignore[reportArgumentType]
            )
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return self.dense(global_average_pool(x))


_resnet18 = functools.partial(
    ResNet, widths=(64, 128, 256, 512), blocks=(2, 2, 2, 2), shortcut="projection"
)
resnet18 = functools.partial(_resnet18, stem="7x7")
resnet18_cifar = functools.partial(_resnet18, stem="3x3")
_resnet_cifar = functools.partial(
    ResNet, widths=(16, 32, 64), stem="3x3", shortcut="padding"
)
resnet8 = functools.partial(_resnet_cifar, blocks=(1, 1, 1))
resnet20 = functools.partial(_resnet_cifar, blocks=(3, 3, 3))
