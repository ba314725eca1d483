"""The page as one picture: a row for each image, a column for each question."""

import functools
import io
import textwrap
from collections.abc import Sequence

import numpy as np

from trustjax import _extras
from trustjax.report import _explain_text, _names, _overlay, _style
from trustjax.report._explained import (
    ExplainedImage,
    Explanations,
    Map,
    still,
    still_map,
)

with _extras.required("report"):
    import matplotlib as mpl
    from matplotlib import font_manager
    from matplotlib.figure import Figure
    from matplotlib.ft2font import FT2Font

MOST_ROWS = 12
MOST_COLUMNS = 9
_CELL, _ROW = 2.0, 2.75  # inches


def sheet(explained: Explanations) -> bytes:
    """A PNG of the first images and their first maps."""
    images = explained.images[:MOST_ROWS]
    columns = 1 + min(MOST_COLUMNS, max((len(i.maps) for i in images), default=0))
    names = [_drawable(name) for name in explained.class_names]
    with mpl.rc_context(_style.RC):
        figure = Figure(
            figsize=(_CELL * columns, _ROW * len(images)),
            facecolor=_style.PAPER,
        )
        cells = figure.subplots(len(images), columns, squeeze=False)
        for row, image in zip(cells, images, strict=True):
            for axes in row:
                axes.axis("off")
            _draw_image(row[0], image, names)
            for axes, shown in zip(row[1:], image.maps, strict=False):
                _draw_map(axes, shown, image, names)
        file = io.BytesIO()
        # Without the version of matplotlib: the same maps, the same bytes.
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()


def _draw_image(axes, image: ExplainedImage, names: Sequence[str]) -> None:
    pixels = still(image.image)
    axes.imshow(pixels if pixels.shape[-1] == 3 else np.repeat(pixels, 3, -1))
    sure = 100 * float(image.probabilities.max())
    said = f"{names[image.answer]} {sure:.0f}\u00a0%"
    title = _drawable(image.name.rpartition("/")[2])
    _title(axes, f"{title}: {said}")


def _draw_map(axes, shown: Map, image: ExplainedImage, names: Sequence[str]) -> None:
    values = still_map(shown.values)
    found = _overlay.scale(values, signed=shown.signed)
    axes.imshow(_overlay.laid_over(still(image.image), values, found))
    _title(axes, _explain_text.question(shown, image.target, names))
    below = "not a number" if found is None else ""
    if found is not None:
        low, high = map(_explain_text.number, found[:2])
        below = f"{low} to {high}"
    axes.text(
        *(0.0, -0.03, f"{shown.method}\n{below}"),
        transform=axes.transAxes,
        va="top",
        fontsize=7.5,
        color=_style.MUTED,
        parse_math=False,
    )


def _title(axes, text: str) -> None:
    wrapped = "\n".join(textwrap.wrap(text, 29)[:3])
    axes.set_title(wrapped, fontsize=8, parse_math=False)


def _drawable(name: str) -> str:
    """A name with a box for each letter that the font of figures has not."""
    return "".join(
        c if ord(c) in _letters() else "\u25a1" for c in _names.cleaned(name)
    )


@functools.cache
def _letters() -> frozenset[int]:
    path = font_manager.findfont(_style.RC["font.family"])
    return frozenset(FT2Font(path).get_charmap())
