"""The figures about scores and confidence, each with what to look for in it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trustjax import _extras
from trustjax.assess import (
    Assessment,
    Predictions,
    Quantity,
    ScoreAssessment,
    all_scores,
)
from trustjax.report import _style

with _extras.required("report"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path
    from matplotlib.ticker import MaxNLocator

MOST_POINTS = 4000  # of each kind in a scatter plot
SMALLEST_DOUBT = 1e-8  # beyond it, confidence counts as 1 on the axis of doubt


def distinct(scores: Sequence[ScoreAssessment], most: int) -> list[ScoreAssessment]:
    """The first scores whose risk-coverage lines can be told apart."""
    chosen: list[ScoreAssessment] = []
    for score in scores:
        if len(chosen) < most and not any(_alike(score, other) for other in chosen):
            chosen.append(score)
    return chosen


def band(
    axes: Axes, found: Mapping[float, Quantity], colour: str, **options: Any
) -> None:
    """A line of numbers and the band of their intervals; a gap where one is missing.

    Args:
      axes: where.
      found: place on the axis -> number.
      colour: of both.
      **options: of the line.
    """
    value, low, high = (
        [np.nan if end is None else end for end in ends]
        for ends in zip(*(quantity[:3] for quantity in found.values()), strict=True)
    )
    axes.fill_between(list(found), low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(list(found), value, color=colour, **options)


def _alike(one: ScoreAssessment, other: ScoreAssessment) -> bool:
    coverage = np.linspace(0.05, 1, 100)
    risks = [
        np.interp(coverage, score.risk_coverage.x, score.risk_coverage.y)
        for score in (one, other)
    ]
    return float(np.abs(risks[0] - risks[1]).max()) <= 0.03 * float(risks[0][-1])


def risk_coverage(assessed: Assessment) -> _style.Drawing:
    """Error rate of the answers kept against the share kept."""
    error_rate = assessed.num_errors / assessed.num_examples
    shown = distinct(assessed.scores, len(_style.SERIES))
    names = _style.Labels([score.title for score in shown], 28)
    with _style.drawing("risk"):
        figure, axes = _style.new_figure(300)
        for score in assessed.scores:
            if score not in shown:
                axes.plot(*_percent(score), color=_style.RULE, linewidth=1)
        coverage = np.linspace(1 - error_rate, 1, 100)
        ideal = 1 - (1 - error_rate) / np.maximum(coverage, 1e-9)
        axes.plot(
            100 * np.concatenate([[0], coverage]),
            100 * np.concatenate([[0], ideal]),
            color=_style.MUTED,
            linewidth=1,
            label="perfect order",
        )
        axes.axhline(
            100 * error_rate,
            color=_style.MUTED,
            linewidth=1,
            dashes=(1, 2),
            label="random order",
        )
        for score, name, (colour, dashes) in zip(
            shown, names.stand_ins, _style.SERIES, strict=False
        ):
            axes.plot(*_percent(score), color=colour, linestyle=dashes, label=name)
        axes.set_xlim(0, 100)
        top = max(100 * error_rate * 1.45, 1e-3)
        axes.set_ylim(0, top)
        axes.set_xlabel("coverage: share of questions answered, %")
        axes.set_ylabel("errors among the answers, %")
        handles, labels = axes.get_legend_handles_labels()
        # The scores first, best on top; the two references after them.
        order = [*range(2, len(handles)), 0, 1]
        axes.legend(
            [handles[i] for i in order],
            [labels[i] for i in order],
            loc="upper left",
            ncols=2,
            frameon=True,
            facecolor=_style.PAPER,
            edgecolor="none",
            framealpha=0.9,
        )
        alternative = "Error rate against coverage. At 80 % coverage: " + "; ".join(
            f"{score.title} {100 * risk_at(score, 0.8):.2f} %" for score in shown
        )
        svg = _style.to_svg(figure, "risk", alternative, names)
    return _style.Drawing(
        "risk",
        "Risk and coverage: what refusing to answer buys",
        svg,
        "Look for the lowest line: it makes the fewest errors when the network may "
        "leave its least trusted questions unanswered.",
    )


def _percent(score: ScoreAssessment) -> tuple[np.ndarray, np.ndarray]:
    return 100 * score.risk_coverage.x, 100 * score.risk_coverage.y


def risk_at(score: ScoreAssessment, coverage: float) -> float:
    """The error rate when that share of the questions is answered."""
    return float(np.interp(coverage, score.risk_coverage.x, score.risk_coverage.y))


def histograms(assessed: Assessment, predictions: Predictions) -> _style.Drawing:
    """The best scores' values, right answers above the line and wrong ones below."""
    shown = distinct(assessed.scores, 4)
    names = _style.Labels([score.title for score in shown], 26)
    values = all_scores(predictions)
    with _style.drawing("histograms"):
        figure = Figure(figsize=(_style.WIDTH / 72, 150 * -(-len(shown) // 2) / 72))
        panels = figure.subplots(-(-len(shown) // 2), 2, squeeze=False).ravel()
        for panel, score, name in zip(panels, shown, names.stand_ins, strict=False):
            _mirrored(panel, values[score.name], predictions.correct)
            panel.set_title(name)
        for panel in panels[len(shown) :]:
            panel.set_visible(False)
        for panel in panels[::2]:
            panel.set_yticks([0.5, -0.5], ["right", "wrong"], rotation=90, va="center")
            panel.tick_params(axis="y", length=0)
            for word, colour in zip(
                panel.get_yticklabels(), (_style.RIGHT, _style.WRONG), strict=True
            ):
                word.set_color(colour)
        titles = ", ".join(score.title for score in shown)
        alternative = f"Histograms of {titles}, split by right and wrong answers."
        svg = _style.to_svg(figure, "histograms", alternative, names)
    return _style.Drawing(
        "histograms",
        "The best scores, right answers against wrong",
        svg,
        "Look for blue bars on the right and orange bars on the left: where both are "
        "tall, the score cannot tell right answers from wrong ones (each colour is "
        "scaled to its tallest bar).",
    )


def _mirrored(axes, values: np.ndarray, correct: np.ndarray, bins: int = 30) -> None:
    finite = values[np.isfinite(values)]
    if not finite.size:
        finite = np.array([0.0])
    low, high = np.quantile(finite, [0.005, 0.995])
    if finite.min() >= 0 and finite.max() <= 1:
        low, high = 0.0, 1.0
    if low == high:
        low, high = low - 0.5, high + 0.5
    logarithmic = low > 0 and high > 100 * low
    spaced = np.geomspace if logarithmic else np.linspace
    edges = spaced(low, high, bins + 1)
    clipped = np.clip(values, low, high)  # what lies outside joins the last bars
    for where, colour, sign in (
        (correct, _style.RIGHT, 1),
        (~correct, _style.WRONG, -1),
    ):
        counts = np.histogram(clipped[where], edges)[0]
        axes.stairs(
            sign * counts / max(counts.max(), 1),
            edges,
            fill=True,
            color=colour,
            alpha=0.75,
        )
    axes.axhline(0, color=_style.MUTED, linewidth=0.8)
    if logarithmic:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_ylim(-1.08, 1.08)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)


def scatter(
    predictions: Predictions, score: ScoreAssessment, seed: int = 0
) -> _style.Drawing:
    """A positive score against the max softmax probability, right and wrong."""
    values = predictions.scores[score.name]
    doubt = np.maximum(_doubt(predictions), SMALLEST_DOUBT)
    finite = values[np.isfinite(values)]
    # An edge above all that is drawn: infinite values are at home there.
    edge = 10 * min(max(finite.max(initial=10), 10), 1 / SMALLEST_DOUBT**2)
    trust = np.clip(values, 1e-12, edge)
    with _style.drawing("scatter"):
        figure, axes = _style.new_figure(300)
        generator = np.random.default_rng(seed)
        for where, colour, size, label in (
            (predictions.correct, _style.RIGHT, 2.6, "right"),
            (~predictions.correct, _style.WRONG, 4.0, "wrong"),
        ):
            rows = np.flatnonzero(where)
            if rows.size > MOST_POINTS:
                rows = np.sort(generator.choice(rows, MOST_POINTS, replace=False))
            _dots(axes, 1 / doubt[rows], trust[rows], colour, size)
            axes.plot(
                [],
                [],
                "o",
                color=colour,
                markersize=5,
                label=f"{label} ({where.sum():,})",
            )
        if trust.min() == trust.max():  # as where all are beyond the edge
            axes.set_ylim(trust.min() / 10, 10 * trust.max())
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.autoscale_view()
        ticks = [p for p in range(0, 9) if 10.0**p <= 10 * (1 / doubt).max()]
        axes.set_xticks([10.0**p for p in ticks], [_confidence_label(p) for p in ticks])
        if np.isinf(values).any():
            axes.axhline(edge, color=_style.MUTED, linewidth=0.8, dashes=(2, 2))
            axes.annotate(
                "infinite",
                (1, edge),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                fontsize=10.5,
                color=_style.MUTED,
            )
        axes.set_xlabel("max softmax probability")
        axes.set_ylabel(score.title)
        axes.legend(loc="lower right", handletextpad=0.1)
        svg = _style.to_svg(
            figure,
            "scatter",
            f"Scatter plot of {score.title} against the max softmax probability, "
            "right and wrong answers.",
        )
    return _style.Drawing(
        "scatter",
        f"{score.title} against confidence",
        svg,
        f"Look for dots that stray from a line: there {score.title} knows something "
        "that confidence does not; orange dots at the upper right are errors that "
        "neither would catch (both axes stretch the crowded end near certainty; "
        "confidence beyond 1−10⁻⁸ is drawn at that edge).",
    )


def _doubt(predictions: Predictions) -> np.ndarray:
    """1 - confidence as the sum of the other probabilities: exact near zero."""
    others = predictions.probabilities.copy()
    others[np.arange(len(others)), predictions.predicted] = 0
    return others.sum(axis=1)


def _confidence_label(nines: int) -> str:
    """0, 0.9, 0.99, ... as long as that can be read."""
    if nines <= 3:
        return "0." + "9" * nines if nines else "0"
    return "" if nines % 2 else f"1−10⁻{'⁰¹²³⁴⁵⁶⁷⁸'[nines]}"


def _dots(axes, x: np.ndarray, y: np.ndarray, colour: str, size: float) -> None:
    """Many dots as one path of strokes without length, round at the ends: small."""
    vertices = np.repeat(np.stack([x, y], axis=1), 2, axis=0)
    codes = np.tile([Path.MOVETO, Path.LINETO], len(x))
    path = Path(vertices, codes)
    path.should_simplify = False
    axes.add_patch(
        PathPatch(
            path,
            fill=False,
            edgecolor=colour,
            linewidth=size,
            capstyle="round",
            alpha=0.6,
        )
    )


def reliability(assessed: Assessment) -> _style.Drawing:
    """Accuracy against confidence, with the number of examples below."""
    bins = assessed.reliability
    filled = bins.count > 0
    with _style.drawing("reliability"):
        figure = Figure(figsize=(_style.WIDTH / 72, 330 / 72))
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        axes.plot([0, 1], [0, 1], color=_style.MUTED, linewidth=1, dashes=(4, 3))
        x, y = bins.confidence[filled], bins.accuracy[filled]
        axes.vlines(
            x,
            np.minimum(x, y),
            np.maximum(x, y),
            color=_style.WRONG,
            linewidth=4,
            alpha=0.35,
        )
        axes.plot(x, y, color=_style.RIGHT, linewidth=1, alpha=0.5)
        share = bins.count[filled] / bins.count.max()
        axes.scatter(x, y, s=6 + 60 * np.sqrt(share), color=_style.RIGHT, zorder=3)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.03)
        axes.set_ylabel("share that is right")
        axes.text(0.04, 0.93, "too modest", fontsize=10.5, color=_style.MUTED, va="top")
        axes.text(0.96, 0.05, "too sure", fontsize=10.5, color=_style.MUTED, ha="right")
        below.stairs(bins.count, bins.edges, fill=True, color=_style.RIGHT, alpha=0.5)
        below.set_xlabel("confidence")
        below.set_ylabel("examples")
        below.set_yscale("symlog", linthresh=1)
        largest = max(int(bins.count.max()), 1)
        below.set_ylim(0, 2 * largest)
        powers = range(0, len(str(largest)), 1 if largest < 1000 else 2)
        below.set_yticks([10**p for p in powers], [f"{10**p:,}" for p in powers])
        error = assessed.reliability.expected_calibration_error.value
        svg = _style.to_svg(
            figure,
            "reliability",
            f"Accuracy against confidence in {len(bins.count)} bins; the expected "
            f"calibration error is {error:.3f}.",
        )
    return _style.Drawing(
        "reliability",
        "Reliability: is 90 % sure right 90 % of the time?",
        svg,
        "Look for points below the dashed diagonal: there the network is surer than "
        "it is right (the larger a point, the more examples; the orange gaps average "
        f"to the expected calibration error of {error:.3f}; without what chance adds, "
        f"it is {assessed.reliability.error_without_chance.value:.3f}).",
    )
