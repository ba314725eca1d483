"""The look of the figures: one palette for light and dark, one kind of axes."""

import contextlib
import dataclasses
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from trustjax import _extras
from trustjax.report import _names

with _extras.required("report"):
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, darkened until they can be read on white. The page turns
# each into a variable of its style sheet, which has a brighter twin for the dark.
INK, MUTED, RULE, PAPER = "#1b2330", "#5b6573", "#d9dee5", "#fefefe"
RIGHT, WRONG = "#0b6db5", "#d4560a"
GREEN, PURPLE, SKY, GOLD = "#0a8a63", "#a84f8c", "#3f9fd4", "#b98a00"
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    PAPER: "paper",
    RIGHT: "right",
    WRONG: "wrong",
    GREEN: "green",
    PURPLE: "purple",
    SKY: "sky",
    GOLD: "gold",
}
SERIES = ((RIGHT, "-"), (GREEN, "--"), (PURPLE, "-."), (GOLD, (0, (1, 1))), (SKY, "-"))
"""Colour and dash of the first few lines: told apart without colour, too."""

FONTS = "DejaVu Sans, Liberation Sans, Arial, sans-serif"
MARGIN = 12  # points around a figure that is a file

WIDTH = 420  # points: drawn at about the size of a phone, enlarged on a desk

RC: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.5,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "figure.dpi": 72,
    "font.family": "DejaVu Sans",
    "font.size": 11.5,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "legend.fontsize": 10.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelsize": 10.5,
    "xtick.major.size": 3,
    "xtick.minor.size": 0,
    "ytick.color": MUTED,
    "ytick.labelsize": 10.5,
    "ytick.major.size": 3,
    "ytick.minor.size": 0,
}


# Box drawings: matplotlib's font has them all, of one width; no caption has any.
_FIRST_STAND_IN, _STAND_INS = 0x2500, 128
_STAND_IN = re.compile("([\u2500-\u257f])\\1*")


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure of the page.

    Attributes:
      name: unique on the page.
      title: its heading.
      svg: the element.
      caption: one sentence: what to look for.
    """

    macro: ClassVar[str] = "figure"

    name: str
    title: str
    svg: str
    caption: str

    @property
    def file(self) -> str:
        """Where the figure lies beside the page."""
        return f"figures/{self.name}.svg"


class Labels:
    """Names beside an axis, drawn by the browser: every script, as it is.

    Matplotlib has neither every letter nor a say in the page's font. It lays out
    stand-ins as wide as the names, which `to_svg` exchanges for them: `$` is no
    formula, a first `_` hides nothing, and a missing letter is no warning.

    Args:
      names: as they were given.
      longest: columns that there is room for; the full name is then a tooltip.

    Attributes:
      stand_ins: what to draw, in the order of the names.
    """

    def __init__(self, names: Sequence[str], longest: int = 20):
        short = _names.shortened(names, longest)
        self.stand_ins = [
            chr(_FIRST_STAND_IN + place) * max(1, _names.width(text))
            for place, text in enumerate(short)
        ]
        assert len(names) <= _STAND_INS, "a figure names the few it can show"
        full = [_names.cleaned(name) for name in names]
        self._written = dict(
            zip(self.stand_ins, zip(short, full, strict=True), strict=True)
        )

    def put_into(self, svg: str) -> str:
        """The figure with the names in the place of their stand-ins."""
        return _STAND_IN.sub(lambda found: _named(*self._written[found[0]]), svg)


def _named(short: str, full: str) -> str:
    tooltip = "" if short == full else f"<title>{_escaped(full)}</title>"
    return f'<tspan style="unicode-bidi: isolate">{tooltip}{_escaped(short)}</tspan>'


@contextlib.contextmanager
def drawing(name: str) -> Iterator[None]:
    """The style of every figure; ids are derived from `name`, not from the clock."""
    with mpl.rc_context({**RC, "svg.hashsalt": name}):
        yield


def new_figure(height: float, **kwargs) -> tuple[Figure, Axes]:
    """A figure of the common width with one pair of axes."""
    figure = Figure(figsize=(WIDTH / 72, height / 72))
    return figure, figure.subplots(**kwargs)


def to_svg(
    figure: Figure, name: str, alternative: str, labels: Labels | None = None
) -> str:
    """The figure as an `<svg>` element for the page.

    Args:
      figure: drawn under `drawing(name)`.
      name: unique on the page; every id begins with it.
      alternative: what a reader who cannot see it is told.
      labels: the names whose stand-ins are in the figure.

    Returns:
      The element: no fixed size, text as text in the page's font, colours as
      variables of the page's style sheet.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = _for_page(file.getvalue(), name, _names.cleaned(alternative))
    return svg if labels is None else labels.put_into(svg)


def _for_page(svg: str, name: str, alternative: str) -> str:
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    # A style element inside one figure would reach the whole page.
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'="[^"]*"', lambda attribute: _rounded(attribute[0]), svg)
    used = set(re.findall(r"(?:url\(|href=\")#([\w.-]+)", svg))
    svg = re.sub(
        r'\s*\bid="([\w.-]+)"',
        lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "",
        svg,
    )
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r"font: ([\w. ]*?)([\d.]+px) [^;\"]*", r"font-size: \2", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", svg)
    svg = re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><")
    svg = re.sub(r"M ([\d.]+ [\d.]+) L \1 ", r"M\1h0", svg)  # a dot
    view = re.search(r'viewBox="[^"]*"', svg)
    assert view is not None, "matplotlib writes a view box"
    opening = (
        f'<svg class="plot" {view[0]} role="img" aria-label="{_escaped(alternative)}" '
        'xmlns="http://www.w3.org/2000/svg" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return opening + svg[svg.index(">") + 1 :]


def standalone(svg: str) -> str:
    """An element of the page as a file: its own size, font, colours and ground."""
    view = re.search(r'viewBox="([\d.]+) ([\d.]+) ([\d.]+) ([\d.]+)"', svg)
    assert view is not None, "every figure has a view box"
    _, _, width, height = view.groups()
    for colour, variable in VARIABLES.items():
        svg = svg.replace(f"var(--{variable})", colour)
    # In the page, what a label takes beyond the edge is shown; here there is a margin.
    x, y, broad, tall = (
        f"{end:g}"
        for end in (
            -MARGIN,
            -MARGIN,
            float(width) + 2 * MARGIN,
            float(height) + 2 * MARGIN,
        )
    )
    opening = (
        f'<svg width="{broad}pt" height="{tall}pt" viewBox="{x} {y} {broad} {tall}" '
        f'font-family="{FONTS}" '
    )
    svg = svg.replace(f'<svg class="plot" {view[0]} ', opening, 1)
    end = svg.index(">") + 1
    ground = f'<rect x="{x}" y="{y}" width="{broad}" height="{tall}" fill="{PAPER}"/>'
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg[:end]}{ground}{svg[end:]}\n'


def _rounded(attribute: str) -> str:
    """An attribute with coordinates to a hundredth of a point."""
    return re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", attribute)


def _escaped(text: str) -> str:
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), ('"', "&quot;")):
        text = text.replace(character, entity)
    return text
