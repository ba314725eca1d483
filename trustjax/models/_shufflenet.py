"""ShuffleNet-V2."""

import dataclasses
import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from trustjax.models._classifier import Classifier
from trustjax.models._layers import (
    ConvNorm,
    global_average_pool,
    identity,
    max_pool_3x3,
)
from trustjax.models._registry import Model, Names, Published, of_imagenet


@dataclasses.dataclass(frozen=True)
class ShuffleNetV2Config:
    """The sizes of a ShuffleNet-V2.

    Attributes:
      stages: (units, channels) of each stage.
      stem: channels of the first convolution.
      head: channels of the last.
    """

    stages: tuple[tuple[int, int], ...] = ((4, 116), (8, 232), (4, 464))
    stem: int = 24
    head: int = 1024


def channel_shuffle(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch height width channels"]:
    """The two halves of the channels, in turn.

    >>> channel_shuffle(jnp.arange(6.0).reshape(1, 1, 1, 6)).ravel()
    Array([0., 3., 1., 4., 2., 5.], dtype=float32)
    """
    *positions, channels = x.shape
    halves = x.reshape(*positions, 2, channels // 2)
    return jnp.swapaxes(halves, -1, -2).reshape(x.shape)


class _Unit(nnx.Module):
    """One half of the channels goes by, the other through three convolutions.

    Where the stride is 2 both branches see all channels, and the first has a depthwise
    and a 1x1 convolution.
    """

    def __init__(self, width_in: int, width: int, stride: int, *, rngs: nnx.Rngs):
        half = width // 2
        self.splits = stride == 1
        conv_norm = functools.partial(ConvNorm, rngs=rngs)
        depthwise = functools.partial(conv_norm, kernel=3, activation=identity)
        if not self.splits:
            self.shortcut_depthwise = depthwise(
                width_in, width_in, stride=stride, groups=width_in
            )
            self.shortcut_pointwise = conv_norm(width_in, half)
        self.pointwise1 = conv_norm(half if self.splits else width_in, half)
        self.depthwise = depthwise(half, half, stride=stride, groups=half)
        self.pointwise2 = conv_norm(half, half)

    def __call__(self, x: Array) -> Array:
        if self.splits:
            kept, x = jnp.split(x, 2, axis=-1)
        else:
            kept = self.shortcut_pointwise(self.shortcut_depthwise(x))
        x = self.pointwise2(self.depthwise(self.pointwise1(x)))
        return channel_shuffle(jnp.concatenate([kept, x], axis=-1))


class ShuffleNetV2(Classifier):
    """A stem, stages of units that split and shuffle the channels, mean, dense.

    Args:
      config: its sizes.
      num_classes: the number of logits.
      image_shape: (height, width, channels); any height and width will do.
      rngs: where the weights come from.

    References:
      Ma et al. 2018 (arXiv:1807.11164), figure 3 (c, d) and table 5; as in
      torchvision's `shufflenet_v2_x1_0`, with which the logits agree to 1e-5 of the
      largest.
    """

    def __init__(
        self,
        config: ShuffleNetV2Config = ShuffleNetV2Config(),
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        rngs: nnx.Rngs,
    ):
        self.stem = ConvNorm(image_shape[-1], config.stem, 3, 2, rngs=rngs)
        self.stages = nnx.List()
        width_in = config.stem
        for count, width in config.stages:
            stage = nnx.List()
            for number in range(count):
                stage.append(_Unit(width_in, width, 1 if number else 2, rngs=rngs))
                width_in = width
            self.stages.append(stage)
        self.head = ConvNorm(width_in, config.head, rngs=rngs)
        self.dense = nnx.Linear(config.head, num_classes, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image."""
        x = max_pool_3x3(self.stem(x))
        for stage in self.stages:
            for unit in stage:
                x = unit(x)
        return self.dense(global_average_pool(self.head(x)))


_TORCH_NAMES: Names = (
    (r"^stages/(\d+)/", lambda match: f"stage{int(match[1]) + 2}/"),
    ("shortcut_depthwise/conv", "branch1/0"),
    ("shortcut_depthwise/norm", "branch1/1"),
    ("shortcut_pointwise/conv", "branch1/2"),
    ("shortcut_pointwise/norm", "branch1/3"),
    ("pointwise1/conv", "branch2/0"),
    ("pointwise1/norm", "branch2/1"),
    ("depthwise/conv", "branch2/3"),
    ("depthwise/norm", "branch2/4"),
    ("pointwise2/conv", "branch2/5"),
    ("pointwise2/norm", "branch2/6"),
    ("^stem/conv", "conv1/0"),
    ("^stem/norm", "conv1/1"),
    ("^head/conv", "conv5/0"),
    ("^head/norm", "conv5/1"),
    ("^dense", "fc"),
)

MODELS = {
    "shufflenet_v2_x1_0": Model(
        ShuffleNetV2,
        1000,
        (224, 224, 3),
        stem="stem/conv/kernel",
        torch_names=_TORCH_NAMES,
        published=(
            Published("IMAGENET1K_V1", "shufflenetv2_x1-5666bf0f80.pth", of_imagenet()),
        ),
    )
}
