"""DenseNets with bottlenecks and compression."""

import dataclasses
import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from trustjax.models._classifier import Classifier
from trustjax.models._layers import conv, global_average_pool, max_pool_3x3
from trustjax.models._registry import Model, Names, Published, at_least, of_imagenet

_norm = functools.partial(nnx.BatchNorm, momentum=0.9, epsilon=1e-5)


@dataclasses.dataclass(frozen=True)
class DenseNetConfig:
    """The sizes of a DenseNet-BC.

    Attributes:
      depths: layers of each block.
      growth: channels that each layer adds (the paper's k).
      stem: channels of the first convolution.
      bottleneck: channels of the 1x1 convolution of a layer, in units of `growth`.
      dropout_rate: after each layer, in training.
    """

    depths: tuple[int, ...]
    growth: int = 32
    stem: int = 64
    bottleneck: int = 4
    dropout_rate: float = 0.0


class _Layer(nnx.Module):
    """Two convolutions, each behind BatchNorm and ReLU: the channels to be added."""

    def __init__(self, config: DenseNetConfig, width_in: int, *, rngs: nnx.Rngs):
        inner = config.bottleneck * config.growth
        self.norm1 = _norm(width_in, rngs=rngs)
        self.conv1 = conv(width_in, inner, rngs=rngs)
        self.norm2 = _norm(inner, rngs=rngs)
        self.conv2 = conv(inner, config.growth, 3, rngs=rngs)
        self.dropout = nnx.Dropout(config.dropout_rate, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.conv1(nnx.relu(self.norm1(x)))
        return self.dropout(self.conv2(nnx.relu(self.norm2(x))))


class _Transition(nnx.Module):
    """Half as many channels, a quarter of the positions."""

    def __init__(self, width_in: int, *, rngs: nnx.Rngs):
        self.norm = _norm(width_in, rngs=rngs)
        self.conv = conv(width_in, width_in // 2, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.conv(nnx.relu(self.norm(x)))
        return nnx.avg_pool(x, (2, 2), strides=(2, 2))


class DenseNet(Classifier):
    """Blocks in which each layer sees all before it, with transitions between them.

    Args:
      config: its sizes.
      num_classes: the number of logits.
      image_shape: (height, width, channels).
      rngs: where the weights, and the dropout masks, come from.

    References:
      Huang et al. 2017 (arXiv:1608.06993), table 1; as in torchvision's `densenet121`,
      with which the logits agree to 1e-5 of the largest.
    """

    def __init__(
        self,
        config: DenseNetConfig,
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        rngs: nnx.Rngs,
    ):
        width = config.stem
        self.conv1 = conv(image_shape[-1], width, 7, 2, rngs=rngs)
        self.norm1 = _norm(width, rngs=rngs)
        self.blocks, self.transitions = nnx.List(), nnx.List()
        for index, depth in enumerate(config.depths):
            if index:
                self.transitions.append(_Transition(width, rngs=rngs))
                width //= 2
            block = nnx.List()
            for _ in range(depth):
                block.append(_Layer(config, width, rngs=rngs))
                width += config.growth
            self.blocks.append(block)
        self.norm2 = _norm(width, rngs=rngs)
        self.dense = nnx.Linear(width, num_classes, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image."""
        x = max_pool_3x3(nnx.relu(self.norm1(self.conv1(x))))
        for index, block in enumerate(self.blocks):
            if index:
                x = self.transitions[index - 1](x)
            for layer in block:
                x = jnp.concatenate([x, layer(x)], axis=-1)
        return self.dense(global_average_pool(nnx.relu(self.norm2(x))))


_TORCH_NAMES: Names = (
    (
        r"^blocks/(\d+)/(\d+)/",
        lambda match: (
            f"features/denseblock{int(match[1]) + 1}/denselayer{int(match[2]) + 1}/"
        ),
    ),
    (
        r"^transitions/(\d+)/",
        lambda match: f"features/transition{int(match[1]) + 1}/",
    ),
    ("^conv1/", "features/conv0/"),
    ("^norm1/", "features/norm0/"),
    ("^norm2/", "features/norm5/"),
    ("^dense/", "classifier/"),
)

MODELS = {
    "densenet121": Model(
        functools.partial(DenseNet, DenseNetConfig((6, 12, 24, 16))),
        1000,
        (224, 224, 3),
        takes=(at_least(29, 29),),
        torch_names=_TORCH_NAMES,
        published=(
            Published("IMAGENET1K_V1", "densenet121-a639ec97.pth", of_imagenet()),
        ),
    )
}
