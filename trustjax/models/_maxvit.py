"""MaxViT."""

import dataclasses
import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from trustjax.models._classifier import Classifier
from trustjax.models._layers import (
    ConvNorm,
    SqueezeExcitation,
    StochasticDepth,
    conv,
    global_average_pool,
    identity,
)
from trustjax.models._registry import (
    Model,
    Published,
    multiple_of,
    of_imagenet,
)
from trustjax.models._transformer import Perceptron, gelu, rising, truncated_normal
from trustjax.models._window_attention import (
    TableAttention,
    join_windows,
    split_windows,
)

_batch_norm = functools.partial(nnx.BatchNorm, momentum=0.99, epsilon=1e-3)
_conv_norm = functools.partial(ConvNorm, momentum=0.99, epsilon=1e-3)
_layer_norm = functools.partial(nnx.LayerNorm, epsilon=1e-5)


@dataclasses.dataclass(frozen=True)
class MaxViTConfig:
    """What tells the MaxViTs apart.

    Attributes:
      stem: channels of the stem.
      widths: channels of each stage.
      depths: blocks of each stage.
      length: of a head's query; a stage of width w has `w / length` heads.
      window: height and width of the windows, and of the grids.
      stochastic_depth: how often training leaves out the last block; the first never,
        those between in even steps.
    """

    stem: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    length: int
    window: tuple[int, int]
    stochastic_depth: float


MAXVIT_T = MaxViTConfig(
    stem=64,
    widths=(64, 128, 256, 512),
    depths=(2, 2, 5, 2),
    length=32,
    window=(7, 7),
    stochastic_depth=0.2,
)


class _Shortcut(nnx.Module):
    """The mean around every second pixel, and a 1x1 convolution."""

    def __init__(self, width_in: int, width: int, *, rngs: nnx.Rngs):
        self.conv = conv(width_in, width, use_bias=True, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.avg_pool(
            x,
            (3, 3),
            strides=(2, 2),
            padding=((1, 1), (1, 1)),  # pyright: ignore[reportArgumentType]
        )
        return self.conv(x)


class _MBConv(nnx.Module):
    """An inverted bottleneck with squeeze and excitation, beside a shortcut."""

    def __init__(
        self, width_in: int, width: int, stride: int, drop: float, *, rngs: nnx.Rngs
    ):
        hidden = 4 * width
        self.norm = _batch_norm(width_in, rngs=rngs)
        self.expand = _conv_norm(width_in, hidden, activation=gelu, rngs=rngs)
        self.depthwise = _conv_norm(
            hidden, hidden, 3, stride, groups=hidden, activation=gelu, rngs=rngs
        )
        self.squeeze = SqueezeExcitation(
            hidden, width // 4, activation=nnx.silu, rngs=rngs
        )
        self.project = conv(hidden, width, use_bias=True, rngs=rngs)
        self.stochastic_depth = StochasticDepth(drop, rngs=rngs)
        self.shortcut = (
            identity if stride == 1 else _Shortcut(width_in, width, rngs=rngs)
        )

    def __call__(self, x: Array) -> Array:
        y = self.squeeze(self.depthwise(self.expand(self.norm(x))))
        return self.shortcut(x) + self.stochastic_depth(self.project(y))


class _PartAttention(nnx.Module):
    """Attention within parts of an image and a perceptron, each beside a shortcut.

    The parts are windows; or else grids, each of pixels that lie as far apart as the
    image allows.
    """

    def __init__(
        self,
        config: MaxViTConfig,
        width: int,
        drop: float,
        grid: bool,
        *,
        rngs: nnx.Rngs,
    ):
        self.grid = grid
        self.norm1 = _layer_norm(width, rngs=rngs)
        # torchvision scales by the length of a token, the paper by that of a query.
        self.attention = TableAttention(
            width, width // config.length, config.window, scale=width**-0.5, rngs=rngs
        )
        self.norm2 = _layer_norm(width, rngs=rngs)
        self.perceptron = Perceptron(width, 4 * width, rngs=rngs)
        self.stochastic_depth = StochasticDepth(drop, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        size = x.shape[1:-1]
        window = self.attention.window
        if self.grid:
            # A grid takes one pixel of each of these.
            window = tuple(n // w for n, w in zip(size, window, strict=True))
        turned = (lambda x: x.swapaxes(1, 2)) if self.grid else identity
        x = turned(split_windows(x, window))
        x = x + self.stochastic_depth(self.attention(self.norm1(x)))
        x = x + self.stochastic_depth(self.perceptron(self.norm2(x)))
        return join_windows(turned(x), window, size)


class _Block(nnx.Module):
    """A convolution, attention in windows and attention in grids."""

    def __init__(
        self,
        config: MaxViTConfig,
        width_in: int,
        width: int,
        stride: int,
        drop: float,
        *,
        rngs: nnx.Rngs,
    ):
        self.conv = _MBConv(width_in, width, stride, drop, rngs=rngs)
        part = functools.partial(_PartAttention, config, width, drop, rngs=rngs)
        self.windows = part(grid=False)
        self.grids = part(grid=True)

    def __call__(self, x: Array) -> Array:
        return self.grids(self.windows(self.conv(x)))


class MaxViT(Classifier):
    """A stem, stages of multi-axis attention that halve the size, and a perceptron.

    Args:
      config: widths, depths and windows.
      num_classes: the number of logits.
      image_shape: (height, width, channels); the windows must divide the last, and so
        each, stage's size: 224 pixels and their multiples for windows of 7.
      rngs: where the weights, and the blocks that training leaves out, come from.

    References:
      Tu et al. 2022 (arXiv:2204.01697), section 3; torchvision's `maxvit_t`.
    """

    def __init__(
        self,
        config: MaxViTConfig,
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        rngs: nnx.Rngs,
    ):
        self.stem = _conv_norm(
            image_shape[-1], config.stem, 3, 2, activation=gelu, rngs=rngs
        )
        self.stem_conv = conv(config.stem, config.stem, 3, use_bias=True, rngs=rngs)
        drops = iter(rising(config.stochastic_depth, sum(config.depths)))
        self.stages = nnx.List()
        width_in = config.stem
        for width, depth in zip(config.widths, config.depths, strict=True):
            stage = nnx.List()
            for index in range(depth):
                stride = 2 if index == 0 else 1
                block = _Block(config, width_in, width, stride, next(drops), rngs=rngs)
                stage.append(block)
                width_in = width
            self.stages.append(stage)
        self.norm = _layer_norm(width_in, rngs=rngs)
        linear = functools.partial(
            nnx.Linear, width_in, kernel_init=truncated_normal, rngs=rngs
        )
        self.hidden = linear(width_in)
        self.dense = linear(num_classes, use_bias=False)

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image."""
        x = self.stem_conv(self.stem(x))
        for stage in self.stages:
            for block in stage:
                x = block(x)
        x = self.norm(global_average_pool(x))
        return self.dense(jnp.tanh(self.hidden(x)))


_TORCH_NAMES = (
    (r"^stem/conv/", "stem/0/0/"),
    (r"^stem/norm/", "stem/0/1/"),
    (r"^stem_conv/", "stem/1/0/"),
    (r"^norm/", "classifier/2/"),
    (r"^hidden/", "classifier/3/"),
    (r"^dense/", "classifier/5/"),
    (r"^stages/(\d+)/(\d+)/", r"blocks/\1/layers/\2/layers/"),
    (r"/conv/shortcut/conv/", "/MBconv/proj/1/"),
    (r"/layers/conv/", "/layers/MBconv/layers/"),
    (r"/MBconv/layers/norm/", "/MBconv/layers/pre_norm/"),
    (r"/expand/conv/", "/conv_a/0/"),
    (r"/expand/norm/", "/conv_a/1/"),
    (r"/depthwise/conv/", "/conv_b/0/"),
    (r"/depthwise/norm/", "/conv_b/1/"),
    (r"/squeeze/reduce/", "/squeeze_excitation/fc1/"),
    (r"/squeeze/expand/", "/squeeze_excitation/fc2/"),
    (r"/project/", "/conv_c/"),
    (r"/windows/", "/window_attention/"),
    (r"/grids/", "/grid_attention/"),
    (r"/norm1/", "/attn_layer/0/"),
    (r"/attention/bias_table$", "/attn_layer/1/relative_position_bias_table"),
    (r"/attention/qkv/", "/attn_layer/1/to_qkv/"),
    (r"/attention/out/", "/attn_layer/1/merge/"),
    (r"/norm2/", "/mlp_layer/0/"),
    (r"/perceptron/hidden/", "/mlp_layer/1/"),
    (r"/perceptron/out/", "/mlp_layer/3/"),
)

MODELS = {
    "maxvit_t": Model(
        functools.partial(MaxViT, MAXVIT_T),
        1000,
        (224, 224, 3),
        takes=(multiple_of(224),),
        stem="stem/conv/kernel",
        torch_names=_TORCH_NAMES,
        constants=(r"num_batches_tracked$", r"relative_position_index$"),
        published=(
            Published(
                "IMAGENET1K_V1",
                "maxvit_t-bc5ab103.pth",
                of_imagenet(resize=224, interpolation="bicubic"),
            ),
        ),
    )
}
