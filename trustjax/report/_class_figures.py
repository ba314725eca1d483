"""The figures about classes: how far each can be trusted, and how it fails."""

import numpy as np

from trustjax.assess import Assessment
from trustjax.report import _style

MOST_ROWS = 30  # more classes than this are drawn as one line
NAMED_ON_LINE = 5


def spectrum(assessed: Assessment) -> _style.Drawing:
    """Mean trust of every class, with its interval."""
    classes = [c for c in assessed.classes if c.trust.value is not None]
    classes.sort(key=lambda c: c.trust.value or 0.0)
    net = assessed.headline["net_trust_score"].value or 0.0
    in_rows = len(classes) <= MOST_ROWS
    named = classes if in_rows else classes[:NAMED_ON_LINE]
    names = _style.Labels([c.name for c in named], 20 if in_rows else 28)
    with _style.drawing("spectrum"):
        if in_rows:
            figure, axes = _style.new_figure(85 + 21 * len(classes))
            _spectrum_rows(axes, classes, names, net)
        else:
            figure, axes = _style.new_figure(300)
            _spectrum_line(axes, classes, names)
        along = axes.axvline if in_rows else axes.axhline
        along(net, color=_style.INK, linewidth=1, dashes=(4, 3), zorder=1)
        low, high = classes[0], classes[-1]
        alternative = (
            f"Mean trust of {len(classes)} classes, from {low.name} "
            f"({low.trust.value:.3f}) to {high.name} ({high.trust.value:.3f}); "
            f"the NetTrustScore is {net:.3f}."
        )
        svg = _style.to_svg(figure, "spectrum", alternative, names)
    return _style.Drawing(
        "spectrum",
        "Trust spectrum: which classes deserve it",
        svg,
        "Look for classes in orange, left of the dashed line by more than chance: "
        "answers there deserve less trust than the network's average one (the "
        "intervals of all classes hold together)."
        if in_rows
        else "Look for how early the line reaches the dashed NetTrustScore: the "
        "classes before that pull the network down.",
    )


def _spectrum_rows(axes, classes, names: _style.Labels, net: float) -> None:
    rows = np.arange(len(classes))[::-1]
    values = np.array([c.trust.value for c in classes])
    low = np.array(
        [c.trust.value if c.trust.low is None else c.trust.low for c in classes]
    )
    high = np.array(
        [c.trust.value if c.trust.high is None else c.trust.high for c in classes]
    )
    colours = [_style.WRONG if c.below_average else _style.RIGHT for c in classes]
    axes.hlines(rows, low, high, colors=colours, linewidth=5, alpha=0.3)
    axes.scatter(values, rows, color=colours, s=36, zorder=3)
    axes.annotate(
        f"NetTrustScore {net:.3f}",
        (net, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        fontsize=10.5,
        color=_style.INK,
    )
    for row, value in zip(rows, values, strict=True):
        axes.annotate(
            f"{value:.3f}",
            (1, row),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=10.5,
            color=_style.INK,
            annotation_clip=False,
        )
    axes.set_yticks(rows, names.stand_ins)
    axes.tick_params(axis="y", length=0, labelcolor=_style.INK)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)
    axes.set_ylim(-0.7, len(classes) - 0.3)
    axes.set_xlim(right=min(1.0, axes.get_xlim()[1]))
    axes.set_xlabel("mean trust, with its interval")


def _spectrum_line(axes, classes, names: _style.Labels) -> None:
    values = np.array([c.trust.value for c in classes])
    place = np.arange(1, len(values) + 1)
    axes.fill_between(place, 0, values, color=_style.RIGHT, alpha=0.15, linewidth=0)
    axes.plot(place, values, color=_style.RIGHT)
    axes.set_xlim(1, len(values))
    axes.set_ylim(0, 1)
    axes.set_xlabel("classes, from the least trusted to the most")
    axes.set_ylabel("mean trust")
    said = [
        "least trusted",
        *(
            f"{c.trust.value:.2f}  {name}"
            for c, name in zip(classes, names.stand_ins, strict=False)
        ),
    ]
    for row, words in enumerate(reversed(said)):
        axes.annotate(
            words,
            (0.97, 0.05),
            xycoords="axes fraction",
            xytext=(0, 14 * row),
            textcoords="offset points",
            ha="right",
            fontsize=10.5,
        )


def densities(assessed: Assessment) -> _style.Drawing:
    """Trust densities of the least and the most trusted classes, as ridges."""
    order = list(assessed.densities)
    with _style.drawing("densities"):
        figure, axes = _style.new_figure(70 + 46 * len(order))
        for row, index in enumerate(reversed(order)):
            # The root of a density shows the few wrong answers beside the many right.
            heights = np.sqrt(np.maximum(assessed.densities[index], 0))
            heights = 0.85 * heights / max(heights.max(), 1e-9)
            least = order.index(index) < (len(order) + 1) // 2
            colour = _style.WRONG if least else _style.RIGHT
            axes.fill_between(
                assessed.density_grid,
                row,
                row + heights,
                color=colour,
                alpha=0.25,
                linewidth=0,
            )
            axes.plot(assessed.density_grid, row + heights, color=colour, linewidth=1.4)
        classes = [assessed.classes[index] for index in reversed(order)]
        names = _style.Labels([c.name for c in classes], 16)
        axes.set_yticks(np.arange(len(order)) + 0.45, names.stand_ins)
        for row, c in enumerate(classes):
            axes.annotate(
                f"{c.trust.value:.2f}",
                (0, row + 0.1),
                xycoords=("axes fraction", "data"),
                xytext=(-4, 0),
                textcoords="offset points",
                ha="right",
                fontsize=10.5,
                color=_style.INK,
                annotation_clip=False,
            )
        axes.tick_params(axis="y", length=0, labelcolor=_style.INK)
        axes.grid(axis="y", visible=False)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, len(order))
        axes.set_xlabel("trust in one answer: 0 sure and wrong, 1 sure and right")
        axes.spines["left"].set_visible(False)
        alternative = "Distribution of trust in the classes " + ", ".join(
            assessed.classes[index].name for index in order
        )
        svg = _style.to_svg(figure, "densities", alternative, names)
    return _style.Drawing(
        "densities",
        "Trust densities: how a class fails",
        svg,
        "Look for a hill at the left end: answers that were wrong and sure; a hill in "
        "the middle is doubt (least trusted classes in orange, most trusted in blue; "
        "heights are square roots, each class on its own scale).",
    )
