"""What the package knows of each of its networks: one row a network.

Each family's file ends with its rows, `MODELS = {name: Model(...)}`; nothing else
spells a network's name.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence

from trustjax.models._classifier import Classifier
from trustjax.preprocessing import PRESETS, Preprocessing

Names = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]
"""Patterns and what takes their place, one after the other: from the path of one of
our variables (`"stages/0/0/conv1/kernel"`) to its name in a state dict, with `/` for
the dots. `kernel` and `scale` that are left become `weight`, `mean` and `var` the
running statistics."""

Requirement = Callable[[Sequence[int]], str | None]
"""From the size of an image, without its channels, to what a network wants instead."""


def at_least(*smallest: int) -> Requirement:
    """Images of so many pixels at least, and frames before them for video.

    >>> at_least(18, 18)([20, 8])
    'of at least 18x18 pixels'
    """

    def wanted(size: Sequence[int]) -> str | None:
        enough = all(n >= least for n, least in zip(size, smallest, strict=True))
        return None if enough else f"of at least {_by(smallest)} pixels"

    return wanted


def multiple_of(divisor: int) -> Requirement:
    """Images whose height and width divide by a number; of video, too.

    >>> multiple_of(4)([28, 30])
    'whose height and width divide by 4'
    """

    def wanted(size: Sequence[int]) -> str | None:
        divides = not any(n % divisor for n in size[-2:])
        return None if divides else f"whose height and width divide by {divisor}"

    return wanted


def exactly(*known: int) -> Requirement:
    """Images of one size, with the frames before it for video.

    >>> exactly(224, 224)([28, 28])
    'of 224x224 pixels'
    """

    def wanted(size: Sequence[int]) -> str | None:
        return None if tuple(size) == known else f"of {_by(known)} pixels"

    return wanted


@dataclasses.dataclass(frozen=True)
class Published:
    """One set of weights that the authors of an implementation have published.

    Attributes:
      name: what they call it, e.g. `"IMAGENET1K_V1"`.
      file: the name of its file, e.g. `"resnet18-f37072fd.pth"`; where it ends in a
        hexadecimal number, that is how the file's SHA-256 begins.
      preprocessing: what they were trained to see.
    """

    name: str
    file: str
    preprocessing: Preprocessing


def of_imagenet(
    crop: int = 224, resize: int = 256, interpolation: str = "bilinear"
) -> Preprocessing:
    """What torchvision does to an image: the short side, a square, mean and deviation.

    >>> str(of_imagenet(resize=232))
    'imagenet resize=232 crop=224 bilinear'
    """
    return dataclasses.replace(
        PRESETS["imagenet"],
        size=(crop, crop),
        resize=resize,
        interpolation=interpolation,
    )


@dataclasses.dataclass(frozen=True)
class Model:
    """A network by name: how to build it, and what it is known for.

    Attributes:
      build: `(num_classes=, image_shape=, rngs=) -> Classifier`.
      num_classes: the number of logits that it is known for.
      image_shape: (height, width, channels) that it is known for, with the number of
        frames before them for video.
      takes: what the images must be for it; nothing, where any size will do.
      stem: the path of the kernel that meets the channels of an image.
      class_tokens: how many tokens of its feature map come before those of the image,
        and are no part of it.
      torch_names: the names of its variables in the state dict of its PyTorch twin;
        None if it has none.
      other_torch_names: those in the state dicts of further implementations.
      constants: patterns of names in such a state dict that hold no weights: counters
        and tables that the network works out itself.
      published: the weights that can be had for it; the first is the default. Nothing
        for the small networks that are trained here.
    """

    build: Callable[..., Classifier]
    num_classes: int
    image_shape: tuple[int, ...]
    _: dataclasses.KW_ONLY
    takes: tuple[Requirement, ...] = ()
    stem: str = "conv1/kernel"
    class_tokens: int = 0
    torch_names: Names | None = None
    other_torch_names: tuple[Names, ...] = ()
    constants: tuple[str, ...] = (r"num_batches_tracked$",)
    published: tuple[Published, ...] = ()

    def refusal(self, name: str, image_shape: tuple[int, ...]) -> str | None:
        """Why the network cannot take images of a shape; None if it can.

        >>> cnn = Model(Classifier, 10, (28, 28, 1), takes=(at_least(18, 18),))
        >>> cnn.refusal("cnn", (8, 8, 1))
        'cnn needs images of at least 18x18 pixels, got 8x8'
        """
        if len(image_shape) != len(self.image_shape):
            axes = ("frames", "height", "width", "channels")[-len(self.image_shape) :]
            return f"{name} needs images [{', '.join(axes)}], got {image_shape}"
        *size, _ = image_shape
        for requirement in self.takes:
            if wanted := requirement(size):
                return f"{name} needs images {wanted}, got {_by(size)}"
        return None


def _by(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
