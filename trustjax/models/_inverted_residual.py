"""Inverted residual blocks, and the networks that are a row of them.

MobileNet-V2 and V3 and the EfficientNets are one network with other numbers: a 3x3
convolution of stride 2, blocks, a 1x1 convolution, the mean, a dense layer. Their
files hold the tables of their papers.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

from flax import nnx
from jaxtyping import Array, Float

from trustjax import _validate
from trustjax.models._classifier import Classifier
from trustjax.models._layers import (
    ConvNorm,
    SqueezeExcitation,
    StochasticDepth,
    global_average_pool,
    identity,
)
from trustjax.models._registry import Names

_ACTIVATIONS = {
    "hard_swish": nnx.hard_swish,
    "relu": nnx.relu,
    "relu6": nnx.relu6,
    "silu": nnx.silu,
}


@dataclasses.dataclass(frozen=True)
class Block:
    """One inverted residual block.

    Attributes:
      width_in: channels that come in.
      expanded: channels that it works on.
      width: channels that go out.
      kernel: height and width of its kernel.
      stride: of that.
      squeezed: channels inside its squeeze and excitation; 0 for none.
      activation: a name of `hard_swish`, `relu`, `relu6`, `silu`.
      fused: whether one ordinary convolution takes the place of the expansion and
        the depthwise convolution.
    """

    width_in: int
    expanded: int
    width: int
    kernel: int = 3
    stride: int = 1
    squeezed: int = 0
    activation: str = "relu6"
    fused: bool = False

    def __post_init__(self):
        _validate.choice("activation", self.activation, _ACTIVATIONS)

    @property
    def residual(self) -> bool:
        """Whether what comes in is added to what goes out."""
        return self.stride == 1 and self.width_in == self.width

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of its layers that hold weights, in their order."""
        expands = self.expanded != self.width_in
        if self.fused:
            return ("fused", "project") if expands else ("fused",)
        return (
            *(("expand",) if expands else ()),
            "depthwise",
            *(("excitation",) if self.squeezed else ()),
            "project",
        )


@dataclasses.dataclass(frozen=True)
class InvertedResidualConfig:
    """The sizes of a row of inverted residual blocks.

    Attributes:
      blocks: the blocks.
      head: channels of the 1x1 convolution behind them.
      activation: of the first and the last convolution, and of the hidden layer.
      hidden: units of a hidden dense layer; None for no such layer.
      dropout_rate: before the last layer, in training.
      stochastic_depth: how often the last block is left out in training, the others
        in proportion to their place.
      squeeze_activation: inside the squeeze and excitation.
      gate: at its end, `"sigmoid"` or `"hard_sigmoid"`.
      padding: `"SYMMETRIC"`, PyTorch's, or `"SAME"`, TensorFlow's.
      epsilon: of BatchNorm.
      momentum: of BatchNorm's running statistics.
    """

    blocks: tuple[Block, ...]
    head: int
    activation: str
    hidden: int | None = None
    dropout_rate: float = 0.2
    stochastic_depth: float = 0.0
    squeeze_activation: str = "relu"
    gate: str = "sigmoid"
    padding: str = "SYMMETRIC"
    epsilon: float = 1e-5
    momentum: float = 0.9

    def __post_init__(self):
        _validate.choice("activation", self.activation, _ACTIVATIONS)
        _validate.choice("gate", self.gate, _GATES)
        _validate.choice("padding", self.padding, ("SYMMETRIC", "SAME"))


_GATES = {"hard_sigmoid": nnx.hard_sigmoid, "sigmoid": nnx.sigmoid}


def _conv_norm(
    config: InvertedResidualConfig, rngs: nnx.Rngs
) -> Callable[..., ConvNorm]:
    return functools.partial(
        ConvNorm,
        padding=config.padding,
        epsilon=config.epsilon,
        momentum=config.momentum,
        rngs=rngs,
    )


def _left_out(rate: float, rngs: nnx.Rngs) -> Callable[[Array], Array]:
    return StochasticDepth(rate, rngs=rngs) if rate else identity


class InvertedResidual(nnx.Module):
    """Expands by 1x1, filters each channel, weighs the channels, projects by 1x1."""

    def __init__(
        self,
        config: InvertedResidualConfig,
        block: Block,
        stochastic_depth: float,
        *,
        rngs: nnx.Rngs,
    ):
        conv_norm = functools.partial(
            _conv_norm(config, rngs), activation=_ACTIVATIONS[block.activation]
        )
        self.expand = (
            conv_norm(block.width_in, block.expanded)
            if "expand" in block.parts
            else identity
        )
        self.depthwise = conv_norm(
            block.expanded,
            block.expanded,
            block.kernel,
            block.stride,
            groups=block.expanded,
        )
        self.excitation = (
            SqueezeExcitation(
                block.expanded,
                block.squeezed,
                activation=_ACTIVATIONS[config.squeeze_activation],
                gate=_GATES[config.gate],
                rngs=rngs,
            )
            if block.squeezed
            else identity
        )
        self.project = conv_norm(block.expanded, block.width, activation=identity)
        self.residual = block.residual
        self.branch = _left_out(stochastic_depth, rngs)

    def __call__(self, x: Array) -> Array:
        y = self.depthwise(self.expand(x))
        y = self.project(self.excitation(y))
        return x + self.branch(y) if self.residual else y


class FusedInvertedResidual(nnx.Module):
    """Expands by an ordinary convolution, projects by 1x1."""

    def __init__(
        self,
        config: InvertedResidualConfig,
        block: Block,
        stochastic_depth: float,
        *,
        rngs: nnx.Rngs,
    ):
        conv_norm = _conv_norm(config, rngs)
        projects = "project" in block.parts
        self.fused = conv_norm(
            block.width_in,
            block.expanded if projects else block.width,
            block.kernel,
            block.stride,
            activation=_ACTIVATIONS[block.activation],
        )
        self.project = (
            conv_norm(block.expanded, block.width, activation=identity)
            if projects
            else identity
        )
        self.residual = block.residual
        self.branch = _left_out(stochastic_depth, rngs)

    def __call__(self, x: Array) -> Array:
        y = self.project(self.fused(x))
        return x + self.branch(y) if self.residual else y


class InvertedResidualNet(Classifier):
    """A 3x3 convolution of stride 2, blocks, a 1x1 convolution, the mean, dense.

    Args:
      config: its sizes.
      num_classes: the number of logits.
      image_shape: (height, width, channels); any height and width will do.
      rngs: where the weights, and what is left out in training, come from.

    References:
      Sandler et al. 2018 (arXiv:1801.04381), section 3.3 and table 2.
    """

    def __init__(
        self,
        config: InvertedResidualConfig,
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        rngs: nnx.Rngs,
    ):
        conv_norm = _conv_norm(config, rngs)
        self.activation = _ACTIVATIONS[config.activation]
        self.stem = conv_norm(
            image_shape[-1],
            config.blocks[0].width_in,
            3,
            2,
            activation=self.activation,
        )
        self.blocks = nnx.List()
        for index, block in enumerate(config.blocks):
            kind = FusedInvertedResidual if block.fused else InvertedResidual
            rate = config.stochastic_depth * index / len(config.blocks)
            self.blocks.append(kind(config, block, rate, rngs=rngs))
        self.head = conv_norm(
            config.blocks[-1].width, config.head, activation=self.activation
        )
        self.hidden = (
            nnx.data(None)
            if config.hidden is None
            else nnx.Linear(config.head, config.hidden, rngs=rngs)
        )
        self.dropout = nnx.Dropout(config.dropout_rate, rngs=rngs)
        self.dense = nnx.Linear(config.hidden or config.head, num_classes, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = global_average_pool(self.head(x))
        if self.hidden is not None:
            x = self.activation(self.hidden(x))
        return self.dense(self.dropout(x))


def torchvision_names(
    config: InvertedResidualConfig, folders: Sequence[str], *, dense: int
) -> Names:
    """The names in a torchvision network whose blocks are lists of layers.

    Args:
      config: the network's sizes.
      folders: where each block's layers are, e.g. `"features/1/block"`.
      dense: the last layer's place in the classifier.
    """
    stages = len(dict.fromkeys(folder.split("/")[1] for folder in folders))
    return (
        *(
            (f"^blocks/{index}/{part}/", f"{folder}/{place}/")
            for index, (block, folder) in enumerate(
                zip(config.blocks, folders, strict=True)
            )
            for place, part in enumerate(block.parts)
        ),
        ("^stem/", "features/0/"),
        ("^head/", f"features/{stages + 1}/"),
        (r"/conv/(\w+)$", r"/0/\1"),
        (r"/norm/(\w+)$", r"/1/\1"),
        ("/reduce/", "/fc1/"),
        ("/expand/", "/fc2/"),
        ("^hidden/", "classifier/0/"),
        ("^dense/", f"classifier/{dense}/"),
    )
