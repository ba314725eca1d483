"""Residual networks of video: R3D, MC3 and R(2+1)D."""

import dataclasses
import functools

from flax import nnx
from jaxtyping import Array, Float

from trustjax.models._classifier import Classifier
from trustjax.models._layers import global_average_pool, identity
from trustjax.models._registry import Model, Published
from trustjax.preprocessing import Preprocessing

_norm = functools.partial(nnx.BatchNorm, momentum=0.9, epsilon=1e-5)


@dataclasses.dataclass(frozen=True)
class VideoResNetConfig:
    """What tells the residual networks of video apart.

    Attributes:
      stages: how each stage convolves: over time and space at once (`"3d"`), over
        space alone (`"2d"`), or over space and then time (`"2+1d"`). The stem does as
        the first stage.
      widths: channels of each stage.
      depths: blocks of each stage.
      stem_hidden: channels between the two steps of a `"2+1d"` stem.
    """

    stages: tuple[str, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    depths: tuple[int, ...] = (2, 2, 2, 2)
    stem_hidden: int = 45


R3D_18 = VideoResNetConfig(("3d",) * 4)
MC3_18 = VideoResNetConfig(("3d", "2d", "2d", "2d"))
R2PLUS1D_18 = VideoResNetConfig(("2+1d",) * 4)


def _conv(
    width_in: int,
    width: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...] = (1, 1, 1),
    *,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """A convolution over (frames, height, width), padded by half of its kernel."""
    return nnx.Conv(
        width_in,
        width,
        kernel,
        strides=stride,
        padding=[(side // 2, side // 2) for side in kernel],
        use_bias=False,
        kernel_init=nnx.initializers.variance_scaling(2.0, "fan_out", "normal"),
        rngs=rngs,
    )


class _SpaceThenTime(nnx.Module):
    """A convolution over space, BatchNorm, ReLU, and a convolution over time."""

    def __init__(
        self,
        width_in: int,
        hidden: int,
        width: int,
        side: int,
        stride: tuple[int, int, int],
        *,
        rngs: nnx.Rngs,
    ):
        frames, *pixels = stride
        self.space = _conv(width_in, hidden, (1, side, side), (1, *pixels), rngs=rngs)
        self.norm = _norm(hidden, rngs=rngs)
        self.time = _conv(hidden, width, (3, 1, 1), (frames, 1, 1), rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.time(nnx.relu(self.norm(self.space(x))))


def _convolution(
    kind: str,
    width_in: int,
    hidden: int,
    width: int,
    *,
    side: int = 3,
    stride: tuple[int, int, int] = (1, 1, 1),
    rngs: nnx.Rngs,
) -> nnx.Module:
    """One of the kinds that a stage may be of; `hidden` channels in two steps."""
    if kind == "2+1d":
        return _SpaceThenTime(width_in, hidden, width, side, stride, rngs=rngs)
    frames = {"3d": 3, "2d": 1}[kind]
    return _conv(width_in, width, (frames, side, side), stride, rngs=rngs)


class _Projection(nnx.Module):
    """A shortcut that changes the shape by a 1x1x1 convolution."""

    def __init__(
        self, width_in: int, width: int, stride: tuple[int, int, int], *, rngs: nnx.Rngs
    ):
        self.conv = _conv(width_in, width, (1, 1, 1), stride, rngs=rngs)
        self.norm = _norm(width, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.norm(self.conv(x))


class _Block(nnx.Module):
    """Two convolutions of one kind beside a shortcut."""

    def __init__(
        self, kind: str, width_in: int, width: int, stride: int, *, rngs: nnx.Rngs
    ):
        # As many parameters in two steps as in one: the paper's section 3.5.
        hidden = 27 * width_in * width // (9 * width_in + 3 * width)
        strides = (1 if kind == "2d" else stride, stride, stride)
        self.conv1 = _convolution(
            kind, width_in, hidden, width, stride=strides, rngs=rngs
        )
        self.norm1 = _norm(width, rngs=rngs)
        self.conv2 = _convolution(kind, width, hidden, width, rngs=rngs)
        self.norm2 = _norm(width, rngs=rngs)
        same_shape = stride == 1 and width_in == width
        self.shortcut = (
            identity if same_shape else _Projection(width_in, width, strides, rngs=rngs)
        )

    def __call__(self, x: Array) -> Array:
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return nnx.relu(y + self.shortcut(x))


class VideoResNet(Classifier):
    """A residual network of basic blocks that convolve over time as well.

    Args:
      config: the kinds of convolutions, widths and depths.
      num_classes: the number of logits.
      image_shape: (frames, height, width, channels); any will do.
      rngs: where the weights come from.

    References:
      Tran et al. 2018 (arXiv:1711.11248), section 3; torchvision's `r3d_18`, `mc3_18`
      and `r2plus1d_18`, whose stems do not pool.
    """

    def __init__(
        self,
        config: VideoResNetConfig,
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        rngs: nnx.Rngs,
    ):
        widths = config.widths
        self.stem = _convolution(
            config.stages[0],
            image_shape[-1],
            config.stem_hidden,
            widths[0],
            side=7,
            stride=(1, 2, 2),
            rngs=rngs,
        )
        self.stem_norm = _norm(widths[0], rngs=rngs)
        self.stages = nnx.List()
        width_in = widths[0]
        for index, (kind, width, depth) in enumerate(
            zip(config.stages, widths, config.depths, strict=True)
        ):
            stage = nnx.List()
            for block in range(depth):
                stride = 2 if index > 0 and block == 0 else 1
                stage.append(_Block(kind, width_in, width, stride, rngs=rngs))
                width_in = width
            self.stages.append(stage)
        self.dense = nnx.Linear(width_in, num_classes, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch frames height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each clip."""
        x = nnx.relu(self.stem_norm(self.stem(x)))
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return self.dense(global_average_pool(x))


_TORCH_NAMES = (
    (r"^stem/kernel$", "stem/0/kernel"),
    (r"^stem/space/", "stem/0/"),
    (r"^stem/norm/", "stem/1/"),
    (r"^stem/time/", "stem/3/"),
    (r"^dense/", "fc/"),
    (r"^stages/(\d+)/", lambda m: f"layer{int(m[1]) + 1}/"),
    (r"/shortcut/conv/", "/downsample/0/"),
    (r"/shortcut/norm/", "/downsample/1/"),
    (r"/conv(\d)/kernel$", r"/conv\1/0/kernel"),
    (r"/conv(\d)/space/", r"/conv\1/0/0/"),
    (r"/conv(\d)/norm/", r"/conv\1/0/1/"),
    (r"/conv(\d)/time/", r"/conv\1/0/3/"),
    (r"/norm(\d)/", r"/conv\1/1/"),
)


# torchvision brings each frame to 128x171 pixels first, whatever its shape; of frames
# of 4:3 that is the same.
_OF_KINETICS = Preprocessing(
    size=(112, 112),
    resize=128,
    mean=(0.43216, 0.394666, 0.37645),
    std=(0.22803, 0.22145, 0.216989),
)


def _of_kinetics(config: VideoResNetConfig, file: str) -> Model:
    in_two_steps = config.stages[0] == "2+1d"
    stem_norm = "stem/4/" if in_two_steps else "stem/1/"
    return Model(
        functools.partial(VideoResNet, config),
        400,
        (16, 112, 112, 3),
        stem="stem/space/kernel" if in_two_steps else "stem/kernel",
        torch_names=((r"^stem_norm/", stem_norm), *_TORCH_NAMES),
        published=(Published("KINETICS400_V1", file, _OF_KINETICS),),
    )


MODELS = {
    "r3d_8": Model(
        functools.partial(
            VideoResNet,
            VideoResNetConfig(("3d",) * 3, widths=(16, 32, 64), depths=(1, 1, 1)),
        ),
        10,
        (8, 28, 28, 1),
        stem="stem/kernel",
    ),
    "mc3_18": _of_kinetics(MC3_18, "mc3_18-a90a0ba3.pth"),
    "r2plus1d_18": _of_kinetics(R2PLUS1D_18, "r2plus1d_18-91a641e6.pth"),
    "r3d_18": _of_kinetics(R3D_18, "r3d_18-b3b3357e.pth"),
}
