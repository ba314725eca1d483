"""A map laid over its image, and the legend that says what its colours are worth."""

import base64
import functools
import io
from typing import NamedTuple

import numpy as np

from trustjax import _extras
from trustjax.report import _gallery

with _extras.required("report"):
    import matplotlib
    from PIL import Image

SEQUENTIAL, DIVERGING = "viridis", "coolwarm"
"""Colours that are as far apart as the numbers, and can be told apart by all."""

LARGEST = 288  # pixels: what a phone shows of it in its own resolution
_OF_THE_IMAGE = 0.35  # of an overlay; the rest is the colour of the map
_MIDDLE_GREY = 0.5
_LUMA = np.array([0.299, 0.587, 0.114])
_STOPS = 12  # of a legend's gradient


class Scale(NamedTuple):
    """What the colours of a map stand for.

    Attributes:
      low: the number at the left end.
      high: the number at the right end.
      signed: whether 0 has a colour of its own, in the middle.
    """

    low: float
    high: float
    signed: bool

    @property
    def colours(self) -> str:
        """The name of the colour map."""
        return DIVERGING if self.signed else SEQUENTIAL

    def placed(self, values: np.ndarray) -> np.ndarray:
        """Where values stand between the ends, in [0, 1]; 0.5 where the ends meet."""
        spread = self.high - self.low
        if not spread > 0:
            return np.full(values.shape, 0.5 if self.signed else 0.0)
        return np.clip((values - self.low) / spread, 0, 1)

    @property
    def gradient(self) -> str:
        """The colours from left to right as they look on a middle grey, for CSS."""
        line = colours(np.linspace(0, 1, _STOPS), self)
        mixed = _mixed(line, np.full(_STOPS, _MIDDLE_GREY))
        stops = (f"rgb({', '.join(map(str, row))})" for row in _as_bytes(mixed))
        return f"linear-gradient(to right, {', '.join(stops)})"


class Overlay(NamedTuple):
    """A picture of a map.

    Attributes:
      source: a data address.
      pixelated: whether its pixels are to be seen.
      scale: what its colours stand for; None where there is no number.
    """

    source: str
    pixelated: bool
    scale: Scale | None


def scale(values: np.ndarray, *, signed: bool) -> Scale | None:
    """The ends of the numbers of a map; None where one is not a number.

    Signed numbers have ends as far from 0 on either side.

    >>> scale(np.array([-1.0, 3.0]), signed=True)
    Scale(low=-3.0, high=3.0, signed=True)
    """
    if not np.isfinite(values).all():
        return None
    if signed:
        high = float(np.abs(values).max())
        return Scale(-high, high, True)
    return Scale(float(values.min()), float(values.max()), False)


def overlay(image: np.ndarray, values: np.ndarray, *, signed: bool) -> Overlay:
    """A map in colours over its image in greys.

    Args:
      image: `[height, width, 1 or 3]`, uint8.
      values: `[height, width]`; a map with a number that is none is not shown.
      signed: whether 0 stands in the middle of the colours.
    """
    found = scale(values, signed=signed)
    source, pixelated = data_address(laid_over(image, values, found))
    return Overlay(source, pixelated, found)


def laid_over(image: np.ndarray, values: np.ndarray, found: Scale | None) -> np.ndarray:
    """The pixels of an overlay, `[height, width, 3]`, uint8; greys without a scale."""
    grey = _grey(image)
    if found is None:
        return _as_bytes(np.repeat(grey[..., None], 3, axis=-1))
    return _as_bytes(_mixed(colours(found.placed(values), found), grey))


def picture(image: np.ndarray) -> tuple[str, bool]:
    """An image as a data address, and whether its pixels are to be seen."""
    return data_address(np.repeat(image, 3, -1) if image.shape[-1] == 1 else image)


def data_address(pixels: np.ndarray) -> tuple[str, bool]:
    """`[height, width, 3]` as a data address, and whether its pixels are to be seen."""
    shown, file = Image.fromarray(pixels), io.BytesIO()
    small = max(shown.size) <= _gallery.SMALL
    if small:
        shown.save(file, format="PNG", optimize=True)
    else:
        shown.thumbnail((LARGEST, LARGEST))
        # Colours are numbers here: they keep the resolution of the greys.
        shown.save(file, format="JPEG", quality=88, subsampling=0)
    kind = "png" if small else "jpeg"
    data = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{kind};base64,{data}", small


def colours(placed: np.ndarray, found: Scale) -> np.ndarray:
    """The colours of places in [0, 1], `[..., 3]` in [0, 1]."""
    return _table(found.colours)[np.round(255 * placed).astype(int)]


@functools.cache
def _table(name: str) -> np.ndarray:
    return matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3]


def _grey(image: np.ndarray) -> np.ndarray:
    values = image.astype(np.float64) / 255
    return values[..., 0] if image.shape[-1] == 1 else values @ _LUMA


def _mixed(colour: np.ndarray, grey: np.ndarray) -> np.ndarray:
    return (1 - _OF_THE_IMAGE) * colour + _OF_THE_IMAGE * grey[..., None]


def _as_bytes(values: np.ndarray) -> np.ndarray:
    return np.round(255 * values).astype(np.uint8)
