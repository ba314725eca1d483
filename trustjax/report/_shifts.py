"""What is left under corruptions: the figure, the tables and their words."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from trustjax import _extras
from trustjax.assess import Assessment, Quantity, ShiftNumbers, Shifts
from trustjax.report import _figures, _section, _style, _tables, _text

with _extras.required("report"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_SCORES = 4
_MEAN = "mean of all"

_Chosen = Callable[[ShiftNumbers], Quantity]

_PANELS: Mapping[str, _Chosen] = {
    "accuracy": lambda numbers: numbers.accuracy,
    "NetTrustScore": lambda numbers: numbers.net_trust_score,
    "calibration error": lambda numbers: numbers.error_without_chance,
}


def figure(assessed: Assessment) -> _style.Drawing:
    """Four numbers against severity: the mean over the kinds, its band, each kind."""
    shifts = _there(assessed)
    shown = _figures.distinct(assessed.scores, MOST_SCORES)
    names = _style.Labels([score.title for score in shown], 26)
    with _style.drawing("shifts"):
        drawn = Figure(figsize=(_style.WIDTH / 72, 400 / 72))
        panels = drawn.subplots(2, 2, sharex=True)
        for axes, (title, chosen) in zip(panels.ravel(), _PANELS.items(), strict=False):
            if len(shifts.by_kind) > 1:
                for kind in shifts.by_kind:
                    axes.plot(*_line(shifts, chosen, kind), color=_style.RULE)
            _band(axes, shifts, chosen, _style.RIGHT, "-")
            axes.set_title(title)
        last = panels.ravel()[-1]
        for score, name, (colour, dashes) in zip(
            shown, names.stand_ins, _style.SERIES, strict=False
        ):
            chosen = _of_score(score.name)
            _band(last, shifts, chosen, colour, dashes, label=name)
        last.set_title("AUROC of scores")
        last.legend(fontsize=9, handlelength=1.6, borderpad=0.2)
        ticks = [0, *_severities(shifts)]
        for axes in panels[-1]:
            axes.set_xticks(ticks, ["none", *map(str, ticks[1:])])
            axes.set_xlabel("severity")
        worst = ticks[-1]
        alternative = (
            f"Accuracy, NetTrustScore, calibration error and AUROC against severity. "
            f"At severity {worst}, accuracy is "
            f"{_text.percent(shifts.means[worst].accuracy.value or 0.0)} on average."
        )
        svg = _style.to_svg(drawn, "shifts", alternative, names)
    kinds = "" if len(shifts.by_kind) == 1 else " Thin lines are single kinds."
    return _style.Drawing(
        "shifts",
        "What corruption leaves",
        svg,
        "Look for accuracy that falls faster than the NetTrustScore shows, and for a "
        "calibration error that rises: there the network does not notice. Bands are "
        f"{100 * assessed.confidence_level:g}{_text.THIN}% intervals of the means, "
        f"over images, not over kinds of corruption.{kinds}",
    )


def _there(assessed: Assessment) -> Shifts:
    assert assessed.shifts is not None, "the section needs them"
    return assessed.shifts


def _severities(shifts: Shifts) -> list[int]:
    return [severity for severity in sorted(shifts.means) if severity]


def _line(
    shifts: Shifts, chosen: _Chosen, kind: str
) -> tuple[Sequence[int], Sequence[float]]:
    """One kind from no corruption on."""
    of_kind = {0: shifts.means[0], **shifts.by_kind[kind]}
    severities = sorted(of_kind)
    values = [chosen(of_kind[severity]).value for severity in severities]
    return severities, [np.nan if value is None else value for value in values]


def _band(
    axes: Axes,
    shifts: Shifts,
    chosen: _Chosen,
    colour: str,
    dashes: str | tuple[int, tuple[int, int]],
    label: str | None = None,
) -> None:
    """The mean over the kinds, and its interval; a gap where it is not defined."""
    found: dict[float, Quantity] = {
        severity: chosen(shifts.means[severity]) for severity in sorted(shifts.means)
    }
    _figures.band(axes, found, colour, linestyle=dashes, label=label)


def _of_score(name: str) -> _Chosen:
    return lambda numbers: numbers.auroc[name]


def kinds(assessed: Assessment) -> _section.Table:
    """Kinds by severities: how often the network is right, and how far to trust it."""
    shifts = _there(assessed)
    severities = _severities(shifts)
    clean = shifts.means[0].accuracy.value or 0.0

    def cell(numbers: ShiftNumbers) -> _section.Cell:
        accuracy, trust = numbers.accuracy, numbers.net_trust_score
        lost = (clean - (accuracy.value or 0.0)) / max(clean, 1e-9)
        error = numbers.error_without_chance
        return _section.Cell(
            f"{100 * (accuracy.value or 0.0):.1f}",
            *accuracy[:3],
            also={
                "NetTrustScore": trust.value,
                "NetTrustScore low": trust.low,
                "NetTrustScore high": trust.high,
                "calibration error": error.value,
                "calibration error low": error.low,
                "calibration error high": error.high,
            },
            small=f"{trust.value or 0.0:.2f}",
            kind="wrong",
            level=round(_tables.DEEPEST * min(max(lost, 0.0), 1.0)),
            hint=f"accuracy {_text.interval(accuracy, _text.percent)}; NetTrustScore "
            f"{_text.interval(trust, _text.number)}; calibration error without chance "
            f"{_text.interval(error, _text.number)}",
        )

    def row(name: str, of_severities: Mapping[int, ShiftNumbers]) -> _section.Row:
        return _section.Row(name, [cell(of_severities[s]) for s in severities])

    rows = [row(_words(k), numbers) for k, numbers in shifts.by_kind.items()]
    if len(rows) > 1:
        rows.insert(0, row(_MEAN, shifts.means))
    return _section.Table(
        name="shifts",
        title="Accuracy in per cent under each corruption, by severity",
        corner="corruption",
        columns=[_section.Column(str(s), str(s)) for s in severities],
        rows=rows,
        caption=f"Look for deep orange: {_text.percent(clean)} are right without any "
        "corruption, and the deeper a cell, the less of that is left (small: "
        "NetTrustScore; point at a cell for intervals, which hold together for each "
        "number; the file has the calibration errors).",
        kind="square heat",
    )


def scores(assessed: Assessment) -> _section.Table | None:
    """Scores by severities: AUROC, the mean over the kinds; None without scores."""
    shifts = _there(assessed)
    severities = sorted(shifts.means)
    rated = [score for score in assessed.scores if score.name in shifts.means[0].auroc]
    if not rated:
        return None
    reached = {
        severity: _tables.least_of_best(shifts.means[severity].auroc.values())
        for severity in severities
    }
    several = "the mean over all corruptions" if len(shifts.by_kind) > 1 else ""
    return _section.Table(
        name="shifted_scores",
        title=" ".join(
            ["AUROC of each score, by severity", several and f"({several})"]
        ).strip(),
        corner="score",
        columns=[_section.Column(str(s), str(s) if s else "none") for s in severities],
        rows=[
            _section.Row(
                score.title,
                [
                    _tables.auroc_cell(shifts.means[s].auroc[score.name], reached[s])
                    for s in severities
                ],
            )
            for score in rated
        ],
        caption="Look for a row that stays blue to the right: that score still tells "
        "right answers from wrong ones where they grow rare (outlined: the best of "
        "the column, and all whose intervals reach as high; without colour: not "
        "distinguishable from a coin; point at a cell for its interval: all hold "
        "together).",
        kind="square heat",
    )


def lead(assessed: Assessment) -> str:
    """What was done to the images, and what it cost."""
    shifts = _there(assessed)
    worst = _severities(shifts)[-1]
    at_worst = {k: of[worst].accuracy.value or 0.0 for k, of in shifts.by_kind.items()}
    ways = len(at_worst)
    sentence = (
        f"The whole test set again under {ways} {_text.plural('corruption', ways)} of "
        "ImageNet-C, put on the images in the size that the network sees. Without any "
        f"it is right on {_text.percent(shifts.means[0].accuracy.value or 0.0)}; at "
        f"severity {worst} on {_text.percent(float(np.mean([*at_worst.values()])))}"
    )
    if ways == 1:
        return f"{sentence}."
    low, high = (
        min(at_worst, key=at_worst.__getitem__),
        max(at_worst, key=at_worst.__getitem__),
    )
    return (
        f"{sentence} on average, from {_text.percent(at_worst[low])} under "
        f"{_words(low)} to {_text.percent(at_worst[high])} under {_words(high)} on "
        "these images."
    )


def _words(kind: str) -> str:
    return kind.replace("_", " ")
