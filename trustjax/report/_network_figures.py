"""The figures of a page about several networks."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from trustjax import _extras
from trustjax.assess import NetworkAssessment, NetworkComparison
from trustjax.report import _figures, _style, _text

with _extras.required("report"):
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

MOST_ROWS = 30  # more classes than this are drawn as lines
FEWEST_IN_BIN = 10  # where fewer are, the share that is right is a matter of chance
LONGEST = 22


def _looks(compared: NetworkComparison) -> Iterator[tuple[NetworkAssessment, str, Any]]:
    """Each network with a colour and a dash that no other of the first 20 has."""
    colours = [colour for colour, _ in _style.SERIES]
    dashes = list(dict.fromkeys(dash for _, dash in _style.SERIES))
    for place, one in enumerate(compared.networks):
        round_, place = divmod(place, len(colours))
        yield one, colours[place], dashes[(place + round_) % len(dashes)]


def _labels(compared: NetworkComparison, more: tuple[str, ...] = ()) -> _style.Labels:
    return _style.Labels([*compared.names, *more], LONGEST)


def _ends(one: NetworkAssessment, number: str) -> tuple[float, float, float]:
    """Value, lower and upper end; NaN where there is none."""
    quantity = one.numbers[number]
    value = np.nan if quantity.value is None else quantity.value
    low = value if quantity.low is None else quantity.low
    return value, low, value if quantity.high is None else quantity.high


def accuracy_and_trust(compared: NetworkComparison) -> _style.Drawing:
    """NetTrustScore against accuracy, a cross of intervals for each network."""
    names = _labels(compared)
    with _style.drawing("plane"):
        figure, axes = _style.new_figure(300)
        for (one, colour, _), name in zip(
            _looks(compared), names.stand_ins, strict=True
        ):
            right, left, far = (100 * end for end in _ends(one, "accuracy"))
            trust, low, high = _ends(one, "net_trust_score")
            axes.hlines(trust, left, far, color=colour, linewidth=4, alpha=0.3)
            axes.vlines(right, low, high, color=colour, linewidth=4, alpha=0.3)
            axes.plot([right], [trust], "o", color=colour, markersize=6, label=name)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.margins(0.12)
        axes.set_xlabel("accuracy, %")
        axes.set_ylabel("NetTrustScore")
        axes.legend(loc="best", handletextpad=0.1)
        alternative = "NetTrustScore against accuracy: " + "; ".join(
            f"{one.name} {_ends(one, 'net_trust_score')[0]:.3f} at "
            f"{100 * _ends(one, 'accuracy')[0]:.1f} %"
            for one in compared.networks
        )
        svg = _style.to_svg(figure, "plane", alternative, names)
    return _style.Drawing(
        "plane",
        "Accuracy and trust",
        svg,
        "Look for a network that is further up than another one to its right: it is "
        "right less often, and trusted more (bars: each network's own intervals).",
    )


def confidences(compared: NetworkComparison) -> _style.Drawing:
    """How sure each network is when it is right, and when it is wrong."""
    names = _labels(compared)
    rows = np.arange(len(compared.networks))[::-1]
    with _style.drawing("confidences"):
        figure, axes = _style.new_figure(90 + 32 * len(rows))
        for row, one in zip(rows, compared.networks, strict=True):
            wrong, right = (
                _ends(one, f"confidence_when_{when}") for when in ("wrong", "right")
            )
            axes.hlines(row, wrong[0], right[0], color=_style.RULE, linewidth=2)
            for (value, low, high), colour in (
                (wrong, _style.WRONG),
                (right, _style.RIGHT),
            ):
                axes.hlines(row, low, high, color=colour, linewidth=5, alpha=0.3)
                axes.plot([value], [row], "o", color=colour, markersize=6)
        for colour, label in ((_style.WRONG, "wrong"), (_style.RIGHT, "right")):
            axes.plot([], [], "o", color=colour, label=f"when {label}")
        axes.set_yticks(rows, names.stand_ins)
        axes.tick_params(axis="y", length=0, labelcolor=_style.INK)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlim(0, 1)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("expected confidence")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0)
        alternative = "Expected confidence when wrong and when right: " + "; ".join(
            f"{one.name} {_ends(one, 'confidence_when_wrong')[0]:.3f} and "
            f"{_ends(one, 'confidence_when_right')[0]:.3f}"
            for one in compared.networks
        )
        svg = _style.to_svg(figure, "confidences", alternative, names)
    return _style.Drawing(
        "confidences",
        "Sure when right, and when wrong",
        svg,
        "Look for a long line: that network hesitates where it is wrong. With a short "
        "one on the right it is as sure of its errors as of its right answers.",
    )


def _lines(
    compared: NetworkComparison,
    name: str,
    draw: Callable[[Any, NetworkAssessment, dict[str, Any]], None],
    finish: Callable[[Any], str],
) -> str:
    """A figure with a line for each network."""
    names = _labels(compared)
    with _style.drawing(name):
        figure, axes = _style.new_figure(300)
        for (one, colour, dashes), label in zip(
            _looks(compared), names.stand_ins, strict=True
        ):
            look = {"color": colour, "linestyle": dashes, "label": label}
            draw(axes, one, look)
        alternative = finish(axes)
        return _style.to_svg(figure, name, alternative, names)


def reliability(compared: NetworkComparison) -> _style.Drawing:
    """Accuracy against confidence, a line for each network."""

    def draw(axes: Any, one: NetworkAssessment, look: dict[str, Any]) -> None:
        bins = one.assessment.reliability
        filled = bins.count >= FEWEST_IN_BIN
        axes.plot(bins.confidence[filled], bins.accuracy[filled], **look)

    def finish(axes: Any) -> str:
        axes.plot([0, 1], [0, 1], color=_style.MUTED, linewidth=1, dashes=(4, 3))
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.03)
        axes.set_xlabel("confidence")
        axes.set_ylabel("share that is right")
        axes.legend(loc="upper left")
        return "Accuracy against confidence. Calibration errors: " + "; ".join(
            f"{one.name} {_ends(one, 'calibration_error')[0]:.3f}"
            for one in compared.networks
        )

    return _style.Drawing(
        "reliability",
        "Reliability: is 90 % sure right 90 % of the time?",
        _lines(compared, "reliability", draw, finish),
        "Look for the line nearest to the dashed diagonal; below it a network is surer "
        "than it is right, above it too modest (bins of fewer than "
        f"{FEWEST_IN_BIN} examples are left out).",
    )


def risk_coverage(compared: NetworkComparison) -> _style.Drawing:
    """Error rate of the answers kept, by the best score of each network."""

    def draw(axes: Any, one: NetworkAssessment, look: dict[str, Any]) -> None:
        curve = one.assessment.scores[0].risk_coverage
        axes.plot(100 * curve.x, 100 * curve.y, **look)

    def finish(axes: Any) -> str:
        rates = [1 - _ends(one, "accuracy")[0] for one in compared.networks]
        axes.set_xlim(0, 100)
        axes.set_ylim(0, max(120 * max(rates), 1e-3))
        axes.set_xlabel("coverage: share of questions answered, %")
        axes.set_ylabel("errors among the answers, %")
        axes.legend(loc="upper left")
        return "Error rate against coverage. At 80 % coverage: " + "; ".join(
            f"{one.name} {100 * _figures.risk_at(one.assessment.scores[0], 0.8):.2f} %"
            for one in compared.networks
        )

    return _style.Drawing(
        "risk",
        "Risk and coverage, each by its best score",
        _lines(compared, "risk", draw, finish),
        "Look for the lowest line: that network makes the fewest errors when it may "
        "leave its least trusted questions unanswered. Lines that cross change places.",
    )


def spectra(compared: NetworkComparison) -> _style.Drawing:
    """The trust spectra side by side (figure 4 of Wong et al. 2020)."""
    values = np.array(
        [
            [np.nan if c.trust.value is None else c.trust.value for c in one.classes]
            for one in compared.networks
        ]
    )
    known = np.flatnonzero(~np.isnan(values[0]))
    order = known[np.argsort(values[:, known].mean(axis=0), kind="stable")]
    in_rows = len(order) <= MOST_ROWS
    named = tuple(compared.classes[index].name for index in order) if in_rows else ()
    names = _labels(compared, named)
    with _style.drawing("spectra"):
        figure, axes = _style.new_figure(110 + 21 * len(order) if in_rows else 300)
        looks = zip(_looks(compared), names.stand_ins, strict=False)
        if in_rows:
            rows = np.arange(len(order))[::-1]
            ends = [values[:, order].min(axis=0), values[:, order].max(axis=0)]
            axes.hlines(rows, *ends, color=_style.RULE, linewidth=2)
            for place, ((_, colour, _), name) in enumerate(looks):
                shown = values[place, order]
                marker = "osD^v"[place % 5]
                axes.plot(shown, rows, marker, color=colour, markersize=5.5, label=name)
            axes.set_yticks(rows, names.stand_ins[len(compared.networks) :])
            axes.tick_params(axis="y", length=0, labelcolor=_style.INK)
            axes.spines["left"].set_visible(False)
            axes.grid(axis="y", visible=False)
            axes.set_ylim(-0.7, len(rows) - 0.3)
            axes.set_xlabel("mean trust")
        else:
            for place, ((_, colour, dashes), name) in enumerate(looks):
                shown = values[place, order]
                axes.plot(
                    np.arange(1, len(order) + 1),
                    shown,
                    color=colour,
                    linestyle=dashes,
                    linewidth=1,
                    label=name,
                )
            axes.set_xlim(1, len(order))
            axes.set_ylim(0, 1)
            axes.set_xlabel("classes, by the mean trust of all networks")
            axes.set_ylabel("mean trust")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0)
        low, high = (compared.classes[order[end]].name for end in (0, -1))
        alternative = (
            f"Mean trust of {len(compared.networks)} networks in {len(order)} classes, "
            f"from {low}, the least trusted on average, to {high}."
        )
        svg = _style.to_svg(figure, "spectra", alternative, names)
    return _style.Drawing(
        "spectra",
        "Trust spectra: where the networks differ",
        svg,
        "Look for rows whose marks are far apart: there it matters which network is "
        "asked; rows that are left as a whole are hard for all of them."
        if in_rows
        else "Look for where the lines part: there it matters which network is asked; "
        "classes on the left are hard for all of them.",
    )


def densities(compared: NetworkComparison) -> _style.Drawing:
    """Trust densities of all networks by true class (figure 5 of Wong et al. 2020)."""
    shown = [*compared.least_trusted, *compared.most_different]
    titles = tuple(compared.classes[index].name for index in shown)
    names = _labels(compared, titles)
    columns = min(len(shown), 2)
    lines = -(-len(shown) // columns)
    with _style.drawing("densities"):
        figure = Figure(figsize=(_style.WIDTH / 72, (70 + 140 * lines) / 72))
        panels = figure.subplots(lines, columns, squeeze=False, sharex=True).ravel()
        for panel in panels[len(shown) :]:
            panel.set_visible(False)
        for panel, index, title in zip(
            panels, shown, names.stand_ins[len(compared.networks) :], strict=False
        ):
            for (_, colour, dashes), own, name in zip(
                _looks(compared),
                compared.densities[index],
                names.stand_ins,
                strict=False,
            ):
                # The root shows the few wrong answers beside the many right ones.
                panel.plot(
                    compared.density_grid,
                    np.sqrt(np.maximum(own, 0)),
                    color=colour,
                    linestyle=dashes,
                    linewidth=1.5,
                    label=name,
                )
            panel.set_title(title)
            panel.set_xlim(0, 1)
            panel.set_ylim(bottom=0)
            panel.set_xticks([0, 0.5, 1])
            panel.set_yticks([])
            panel.spines["left"].set_visible(False)
        for panel in panels[len(shown) - columns : len(shown)]:
            panel.set_xlabel("trust in one answer")
            panel.tick_params(labelbottom=True)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper left", ncols=2, borderaxespad=0
        )
        alternative = (
            f"Distributions of trust of {len(compared.networks)} networks in "
            f"{_text.listed(compared.classes[index].name for index in shown)}."
        )
        svg = _style.to_svg(figure, "densities", alternative, names)
    return _style.Drawing(
        "densities",
        "Trust densities: how the networks fail at a class",
        svg,
        "Look for a hill at the left end: answers that were wrong and sure; a hill in "
        "the middle is doubt. First the classes that even the network that trusts them "
        "most trusts least, then those of the other classes on which the networks "
        "differ most (heights are square roots).",
    )
