"""The tables of the page: scores, trust matrix, gradients, other data sets."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from trustjax.assess import Assessment, Quantity, ScoreAssessment
from trustjax.report import _section, _text

MOST_CLASSES = 20  # a matrix of more cannot be read
MOST_GROUPS = 24
MOST_MISTAKES = 9
MOST_BESIDE = 12  # rows of a matrix that leave room for another table
LONGEST_LEVEL = 4  # letters of a class name that fit across a cell of the matrix
PICKS = {"higher is better": max, "lower is better": min}
DEEPEST = 55  # per cent of colour in a cell: text stays readable on it


class Metric(NamedTuple):
    """A column of the table of scores."""

    name: str
    title: str
    better: str
    hint: str
    scale: float = 1.0
    digits: int = 3
    tracked: bool = False


METRICS = (
    Metric(
        "auroc",
        "AUROC",
        "higher is better",
        "How often a right answer scores higher than a wrong one",
        tracked=True,
    ),
    Metric(
        "fpr_at_95_tpr",
        "FPR95, %",
        "lower is better",
        "Wrong answers that pass where 95 % of the right ones do",
        scale=100,
        digits=1,
    ),
    Metric(
        "aupr_error",
        "AUPR-error",
        "higher is better",
        "Average precision at finding the errors",
    ),
    Metric(
        "aurc",
        "AURC × 1000",
        "lower is better",
        "Mean error rate over all shares of questions answered",
        scale=1000,
        digits=2,
    ),
    Metric(
        "auac_quantile",
        "AUAC, quantile",
        "higher is better",
        "Mean accuracy of what a threshold at the score's quantiles keeps",
        digits=4,
    ),
    Metric(
        "auac_range",
        "AUAC, range",
        "scale matters",
        "The same with thresholds evenly over the score's range: depends on its scale",
        digits=4,
    ),
)


def scores(assessed: Assessment) -> _section.Table:
    """The table of scores."""
    shown = [
        metric
        for metric in METRICS
        if any(metric.name in score.numbers for score in assessed.scores)
    ]
    best = {metric.name: _best(assessed, metric) for metric in shown}
    track = _section.Track(
        f"{100 * assessed.confidence_level:g} % interval", *_ends(assessed)
    )
    return _section.Table(
        name="scores",
        title="All scores, each against right and wrong",
        corner="Score",
        columns=[
            _section.Column(
                metric.name,
                metric.title,
                metric.better,
                metric.hint,
                track if metric.tracked else None,
            )
            for metric in shown
        ],
        rows=[
            _section.Row(
                score.title,
                [_cell(score, metric, best) for metric in shown],
                _tied(assessed, score),
                score.info,
            )
            for score in assessed.scores
        ],
        caption=_caption(assessed),
        kind="scores",
        infos="What each score is" if any(s.info for s in assessed.scores) else "",
    )


def _ends(assessed: Assessment) -> tuple[float, float]:
    """Between which ends the intervals of AUROC are drawn."""
    ends = [
        end
        for score in assessed.scores
        for end in score.numbers["auroc"][:3]
        if end is not None
    ]
    highest = np.ceil(20 * max(ends, default=1.0)) / 20
    # One hopeless score would squeeze the others into a point.
    lowest = np.floor(20 * min(ends, default=0.0)) / 20
    in_view = assessed.scores[0].numbers["auroc"].low or 0.0
    lowest = max(lowest, min(highest - 0.25, np.floor(20 * in_view) / 20))
    return round(float(lowest), 2), round(float(highest), 2)


def _tied(assessed: Assessment, score: ScoreAssessment) -> tuple[str, str] | None:
    """How a score that may be as good as the best is marked, and what that means."""
    best = assessed.scores[0]
    if score is best or best.numbers["auroc"].value is None:
        return None
    if _text.same_order(score, best):
        return "= best", "orders the examples as the best score does"
    if not score.may_be_best or assessed.comparison.reason:
        return None
    return "≈ best", "not distinguishable from the best"


def _shown(quantity: Quantity, metric: Metric) -> str:
    if quantity.value is None:
        return "not defined"
    return f"{metric.scale * quantity.value:.{metric.digits}f}"


def _best(assessed: Assessment, metric: Metric) -> str | None:
    """The best value as it is shown, so that equal-looking cells are all marked."""
    shown = [
        _shown(score.numbers[metric.name], metric)
        for score in assessed.scores
        if score.numbers[metric.name].value is not None
    ]
    if metric.better not in PICKS:  # a column that does not rank the scores
        return None
    return PICKS[metric.better](shown, key=float, default=None)


def _cell(
    score: ScoreAssessment, metric: Metric, best: dict[str, str | None]
) -> _section.Cell:
    quantity = score.numbers[metric.name]
    text = _shown(quantity, metric)
    if quantity.value is None:
        return _section.Cell(text, kind="none", hint=quantity.not_defined)
    return _section.Cell(
        text,
        *quantity[:3],
        kind="best" if text == best[metric.name] else "",
    )


def _caption(assessed: Assessment) -> str:
    tied = any(_tied(assessed, score) for score in assessed.scores)
    marks = (
        "; ≈ AUROC not distinguishable from the best; = the same order as the best"
        if tied
        else ""
    )
    return (
        f"★ best in its column here{marks}. The intervals hold together; they say less "
        "about a difference than the scores' comparison does, for what is hard is hard "
        f"for all of them. {_note(assessed)}"
    ).rstrip()


def _note(assessed: Assessment) -> str:
    infinite = [score for score in assessed.scores if score.num_infinite]
    if not infinite:
        return ""
    listed = _text.listed(
        f"{score.title} ({score.num_infinite:,})" for score in infinite
    )
    return (
        f"Infinite values, which rank above all others, occur in {listed}; over their "
        "range no AUAC is defined."
    )


def trust_matrix(assessed: Assessment) -> _section.Table | None:
    """Mean trust by label and answer; None for more classes than can be read."""
    names = [c.name for c in assessed.classes]
    if not 1 < len(names) <= MOST_CLASSES:
        return None

    def cell(label: int, answer: int) -> _section.Cell:
        count, trust = (
            assessed.confusion[label, answer],
            assessed.trust_matrix[label, answer],
        )
        if not count:
            return _section.Cell("", also={"count": 0}, level=0)
        right = label == answer
        return _section.Cell(
            f"{trust:.2f}",
            float(trust),
            also={"count": int(count)},
            small=f"{count:,}",
            kind="right" if right else "wrong",
            level=round(DEEPEST * float(trust if right else 1 - trust)),
            hint=f"{count:,} × {names[label]} answered {names[answer]}: "
            f"mean trust {trust:.3f}",
        )

    places = range(len(names))
    upright = max(map(len, names)) > LONGEST_LEVEL
    return _section.Table(
        name="matrix",
        title="Trust matrix: label in rows, answer in columns",
        corner="label",
        columns=[_section.Column(name, name) for name in names],
        rows=[_section.Row(names[i], [cell(i, j) for j in places]) for i in places],
        caption="Look for deep orange away from the diagonal: confusions that the "
        "network is sure of (large: mean trust; small: how many examples).",
        kind="square heat upright" if upright else "square heat",
        width=90 / len(names),
    )


def mistakes(assessed: Assessment) -> _section.Table | None:
    """The most frequent kinds of error; None if there is no error."""
    if not assessed.mistakes:
        return None
    rows = [
        _section.Row(
            assessed.classes[mistake.label].name,
            [
                _section.Cell(assessed.classes[mistake.answer].name),
                _section.Cell(f"{mistake.count:,}", mistake.count),
                _section.Cell(_text.percent(mistake.confidence), mistake.confidence),
            ],
        )
        for mistake in assessed.mistakes
    ]
    return _section.Table(
        name="mistakes",
        title="The most frequent mistakes",
        corner="Label",
        columns=[
            _section.Column("answer", "Answer"),
            _section.Column("count", "Count"),
            _section.Column("mean confidence", "Mean confidence"),
        ],
        rows=rows[:MOST_MISTAKES],
        rest=rows[MOST_MISTAKES:],
        caption="Look for frequent mistakes made with high confidence: no threshold on "
        "confidence will catch those.",
        kind="mistakes",
    )


def gradients(assessed: Assessment) -> _section.Table | None:
    """Layers by statistics: how well each tells right from wrong."""
    table = assessed.gradients
    if table is None or not np.isfinite(table.auroc).any():
        return None
    strength = np.maximum(table.auroc, 1 - table.auroc)
    # The ends of the strength: at least a coin's, on whichever side the interval is.
    weakest = np.maximum(np.maximum(table.low, 1 - table.high), 0.5)
    strongest_end = np.maximum(table.high, 1 - table.low)
    best = np.unravel_index(np.nanargmax(strength), strength.shape)
    shown = set(range(len(table.groups)))
    if len(shown) > MOST_GROUPS:
        strongest = np.argsort(-np.nanmax(strength, axis=1), kind="stable")
        shown = set(strongest[:MOST_GROUPS].tolist())

    def cell(row: int, column: int) -> _section.Cell:
        value = table.auroc[row, column]
        if not np.isfinite(value):
            return _section.Cell("–", level=0)
        larger = "right" if value >= 0.5 else "wrong"
        told = weakest[row, column] > 0.5
        hint = (
            f"larger values go with {larger} answers"
            if told
            else "not distinguishable from a coin"
        )
        ends = f"{weakest[row, column]:.3f} to {strongest_end[row, column]:.3f}"
        return _section.Cell(
            f"{strength[row, column]:.3f} {'↑' if value >= 0.5 else '↓'}",
            float(strength[row, column]),
            float(weakest[row, column]),
            float(strongest_end[row, column]),
            also={"larger means": larger},
            kind="top" if (row, column) == best else "",
            level=round(DEEPEST * 2 * float(strength[row, column] - 0.5)) * int(told),
            hint=f"{hint}; interval {ends}",
        )

    rivals = int(np.sum(strongest_end >= weakest[best])) - 1
    rows = [
        _section.Row(name, [cell(row, c) for c in range(len(table.statistics))])
        for row, name in enumerate(table.groups)
    ]
    left_out = len(rows) - len(shown)
    return _section.Table(
        name="gradients",
        title="Gradient statistics, layer by layer",
        corner="layer",
        columns=[
            _section.Column(name, name.replace("_", " ")) for name in table.statistics
        ],
        rows=[row for place, row in enumerate(rows) if place in shown],
        rest=[row for place, row in enumerate(rows) if place not in shown],
        caption="Look for blue: that statistic of that layer knows when the network "
        "is wrong; ↑ larger means right, ↓ larger means wrong. Without colour: not "
        "distinguishable from a coin. Outlined: the best here; the intervals of "
        f"{rivals} of the {table.auroc.size - 1} other cells reach as high (point at a "
        "cell for its interval: all hold together)."
        + (f" {left_out} weaker layers are in the file only." if left_out else ""),
        kind="heat",
    )


def least_of_best(aurocs: Iterable[Quantity]) -> float:
    """What the best of a column reaches at least: the low end of its interval."""
    return max((of.value or 0.0, of.low or 0.0) for of in aurocs)[1]


def auroc_depth(auroc: Quantity) -> int:
    """Per cent of colour: the deeper the farther from a coin, none if not told from it.

    Args:
      auroc: with its interval.
    """
    value, low, high = (end or 0.0 for end in auroc[:3])
    told = low > 0.5 or high < 0.5
    return round(DEEPEST * min(1.0, 2 * abs(value - 0.5))) * int(told)


def auroc_cell(
    auroc: Quantity,
    reached: float,
    *,
    also: Mapping[str, Any] = {},
    small: str = "",
    beside: str = "",
) -> _section.Cell:
    """An AUROC in a column of such, outlined where it may be the best.

    Args:
      auroc: the number.
      reached: `least_of_best` of its column.
      also: as in `Cell`.
      small: as in `Cell`.
      beside: what a pointer is told after the interval.
    """
    if auroc.value is None:
        return _section.Cell("–", kind="none", hint=auroc.not_defined)
    high = auroc.high or 0.0
    interval = _text.interval(auroc, _text.number)
    return _section.Cell(
        f"{auroc.value:.3f}",
        *auroc[:3],
        also=also,
        small=small,
        kind="top" if high >= reached else "wrong" if high < 0.5 else "",
        level=auroc_depth(auroc),
        hint=f"{interval}; {beside}" if beside else interval,
    )


def strangers(assessed: Assessment) -> _section.Table | None:
    """Scores by other data sets: how well each keeps strangers out."""
    datasets = list(assessed.out_of_distribution)
    names = [
        score
        for score in assessed.scores
        if any(score.name in assessed.out_of_distribution[d] for d in datasets)
    ]
    if not names:
        return None
    reached = {
        dataset: least_of_best(
            numbers["auroc"]
            for numbers in assessed.out_of_distribution[dataset].values()
        )
        for dataset in datasets
        if assessed.out_of_distribution[dataset]
    }

    def cell(score: ScoreAssessment, dataset: str) -> _section.Cell:
        numbers = assessed.out_of_distribution[dataset].get(score.name)
        if numbers is None:
            return _section.Cell("–", level=0)
        passing = numbers["fpr_at_95_tpr"]
        return auroc_cell(
            numbers["auroc"],
            reached[dataset],
            also={"share that passes": passing.value},
            small=f"{100 * (passing.value or 0.0):.0f} % pass",
            beside=f"{_text.interval(passing, _text.percent)} pass",
        )

    return _section.Table(
        name="strangers",
        title="Telling the test set from other data",
        corner="score",
        columns=[_section.Column(dataset, dataset) for dataset in datasets],
        rows=[
            _section.Row(score.title, [cell(score, d) for d in datasets])
            for score in names
        ],
        caption="Look for a row that is blue in every column: that score also warns "
        "of inputs the network was never meant to see (orange: worse than chance; "
        "without colour: not distinguishable from it; outlined: the best for that data "
        "set, and all whose intervals reach as high; point at a cell for its interval: "
        "all hold together).",
        kind="heat",
    )
