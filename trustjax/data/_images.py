"""One image file, as people have them, to an array of bytes."""

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from trustjax import _extras

with _extras.required("data"):
    from PIL import Image, ImageOps

_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_GREY = ("1", "L", "LA", "La", *_SIXTEEN_BITS)
# Values of the EXIF tag for which rows and columns change places.
_ORIENTATION, _SIDEWAYS = 0x0112, (5, 6, 7, 8)

# What a page says of so many images.
TRANSPARENT = "transparent and laid on white"
ROTATED = "turned upright as EXIF says"
ANIMATED = "animated, of which the first frame is taken"
SIXTEEN_BITS = "of 16 bits, divided by 257"
CMYK = "CMYK, made RGB"
NO_EXIF = "with EXIF that cannot be read, taken as upright"


class UnreadableImageError(ValueError):
    """A file that holds no image that can be decoded whole."""


class Look(NamedTuple):
    """What the head of a file says of its image.

    Attributes:
      height: in pixels, as the image is seen.
      width: in pixels, as the image is seen.
      grey: whether it has no colours.
      traits: what a reader should know of how it is read.
    """

    height: int
    width: int
    grey: bool
    traits: tuple[str, ...]


def look(path: str | os.PathLike[str], *, whole: bool = False) -> Look:
    """What the head of an image file says.

    Args:
      path: of a file in any format that Pillow reads.
      whole: whether to decode it too, to know that it is not cut short.

    Raises:
      UnreadableImageError: if the file is missing, or no image.
    """
    with _naming(path), Image.open(path) as image:
        width, height = image.size
        orientation = _orientation(image)
        if orientation in _SIDEWAYS:
            width, height = height, width
        # The second image of a telephone's MPO is no frame, but a depth or a preview.
        frames = image.format != "MPO" and getattr(image, "is_animated", False)
        traits = {
            TRANSPARENT: image.has_transparency_data,
            ROTATED: orientation in range(2, 9),
            NO_EXIF: orientation is None,
            ANIMATED: frames,
            SIXTEEN_BITS: image.mode in _SIXTEEN_BITS,
            CMYK: image.mode == "CMYK",
        }
        grey = image.mode in _GREY
        if whole:
            _pixels(image)
        return Look(height, width, grey, tuple(t for t, has in traits.items() if has))


def decode(path: str | os.PathLike[str], channels: int) -> np.ndarray:
    """The pixels of an image file.

    Args:
      path: of a file in any format that Pillow reads.
      channels: 3 for RGB, 1 for grey.

    Returns:
      uint8 `[height, width, channels]`.

    Raises:
      UnreadableImageError: if the file is missing, no image, or cut short; if its
        values are 32-bit numbers, whose white is unknown; if one channel is asked for
        and it has colours.

    ================================  ==============================================
    Edge case                         Value
    ================================  ==============================================
    grey, and three channels          repeated
    palette                           its colours
    alpha, or a transparent colour    laid on white
    1 bit                             0 and 255
    16 bits                           value / 257, rounded
    CMYK, YCbCr, Lab                  Pillow's RGB
    EXIF orientation                  turned upright
    animated, or several pages        the first
    ================================  ==============================================
    """
    with _naming(path), Image.open(path) as image:
        pixels = _pixels(image)
        if pixels.ndim == 2:
            return np.repeat(pixels[..., None], channels, axis=-1)
        if channels == 1:
            raise ValueError("it has colours, and the images before it are grey")
        return pixels


def _orientation(image: Image.Image) -> int | None:
    """The value of the EXIF tag, 1 without one; None where EXIF cannot be read."""
    try:
        # Not that of PNG, which decodes the image to look for EXIF behind it.
        return Image.Image.getexif(image).get(_ORIENTATION, 1)
    except Exception:  # as many kinds as there are ways to write it wrong
        return None


def _pixels(image: Image.Image) -> np.ndarray:
    """uint8 `[height, width]` of a grey image, `[height, width, 3]` of another."""
    turned = _orientation(image) in range(2, 9)
    upright = ImageOps.exif_transpose(image) if turned else image
    if image.mode in _SIXTEEN_BITS:
        return _of_sixteen_bits(upright)
    return np.asarray(_eight_bits(upright))


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image as L or RGB."""
    if image.mode == "F":
        raise ValueError(
            "32-bit numbers have no agreed white: save it with 8 or 16 bits"
        )
    mode = "L" if image.mode in _GREY else "RGB"
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(white, seen).convert(mode)
    # Pillow would copy what it need not convert.
    return image if image.mode == mode else image.convert(mode)


def _of_sixteen_bits(image: Image.Image) -> np.ndarray:
    """Grey of 16 bits as bytes: `Image.convert` would cut it off at 255."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"its 32-bit numbers go from {values.min()} to {values.max()}, which has "
            "no agreed white: give it 8 or 16 bits"
        )
    return ((values + 128) // 257).astype(np.uint8)


@contextlib.contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Names the file in whatever Pillow raises of it: some dozen kinds of errors."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        said = str(error) or type(error).__name__
        raise UnreadableImageError(
            f"{os.fspath(path)} cannot be read as an image: {said}; --skip-unreadable "
            "leaves such files out"
        ) from error
