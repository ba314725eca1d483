"""The curves of insertion and deletion."""

import itertools
from collections.abc import Sequence

from trustjax.report import _style
from trustjax.report._explained import Curve, Map

_COLOURS = tuple(colour for colour, _ in _style.SERIES)
_DASHES = ("-", "--", "-.", (0, (1, 1)))


def curves(shown: Sequence[Map], number: int) -> tuple[_style.Drawing, _style.Drawing]:
    """What the network says of the class as pixels come, and as they go."""
    return (
        _drawing(
            f"insertion-{number}",
            "Insertion: the most important pixels come first",
            [(one.method, one.insertion) for one in shown],
            "pixels that are there, %",
            "Look for the line that rises first: its map found the pixels that are "
            "enough for the answer.",
        ),
        _drawing(
            f"deletion-{number}",
            "Deletion: the most important pixels go first",
            [(one.method, one.deletion) for one in shown],
            "pixels that are gone, %",
            "Look for the line that falls first: its map found the pixels that the "
            "answer cannot do without.",
        ),
    )


def _drawing(
    name: str,
    title: str,
    lines: Sequence[tuple[str, Curve | None]],
    x_label: str,
    caption: str,
) -> _style.Drawing:
    names = _style.Labels([method for method, _ in lines], 24)
    looks = itertools.cycle((colour, dash) for dash in _DASHES for colour in _COLOURS)
    with _style.drawing(name):
        figure, axes = _style.new_figure(260 + 16 * (-(-len(lines) // 2)))
        for (_, curve), label, (colour, dash) in zip(
            lines, names.stand_ins, looks, strict=False
        ):
            assert curve is not None, "those alone are drawn"
            axes.plot(100 * curve.x, curve.y, color=colour, linestyle=dash, label=label)
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel(x_label)
        axes.set_ylabel("probability of the class")
        figure.legend(loc="outside lower center", ncols=2)
        areas = "; ".join(f"{method} {c.area:.3f}" for method, c in lines if c)
        svg = _style.to_svg(figure, name, f"{title}. Areas: {areas}.", names)
    return _style.Drawing(name, title, svg, caption)
