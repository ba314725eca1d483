"""The tables of the page: scores, trust matrix, gradients, other data sets."""

from typing import Any, NamedTuple

import numpy as np

from trustjax.assess import Assessment, Quantity, ScoreAssessment
from trustjax.report import _text

MOST_CLASSES = 20  # a matrix of more cannot be read
MOST_GROUPS = 24
MOST_MISTAKES = 9
LONGEST_LEVEL = 4  # letters of a class name that fit across a cell of the matrix
PICKS = {"higher is better": max, "lower is better": min}
DEEPEST = 55  # per cent of colour in a cell: text stays readable on it


class Column(NamedTuple):
    """A column of the table of scores."""

    metric: str
    title: str
    better: str
    hint: str
    scale: float = 1.0
    digits: int = 3
    forest: bool = False


COLUMNS = (
    Column(
        "auroc",
        "AUROC",
        "higher is better",
        "How often a right answer scores higher than a wrong one",
        forest=True,
    ),
    Column(
        "fpr_at_95_tpr",
        "FPR95, %",
        "lower is better",
        "Wrong answers that pass where 95 % of the right ones do",
        scale=100,
        digits=1,
    ),
    Column(
        "aupr_error",
        "AUPR-error",
        "higher is better",
        "Average precision at finding the errors",
    ),
    Column(
        "aurc",
        "AURC × 1000",
        "lower is better",
        "Mean error rate over all shares of questions answered",
        scale=1000,
        digits=2,
    ),
    Column(
        "auac_quantile",
        "AUAC, quantile",
        "higher is better",
        "Mean accuracy of what a threshold at the score's quantiles keeps",
        digits=4,
    ),
    Column(
        "auac_range",
        "AUAC, range",
        "scale matters",
        "The same with thresholds evenly over the score's range: depends on its scale",
        digits=4,
    ),
)


def scores(found: Assessment) -> dict[str, Any]:
    """The table of scores: its columns, rows, scale and notes."""
    columns = [
        column
        for column in COLUMNS
        if any(column.metric in score.numbers for score in found.scores)
    ]
    best = {column.metric: _best(found, column) for column in columns}
    ends = [
        end
        for score in found.scores
        for end in score.numbers["auroc"][:3]
        if end is not None
    ]
    highest = np.ceil(20 * max(ends, default=1.0)) / 20
    # One hopeless score would squeeze the others into a point.
    lowest = np.floor(20 * min(ends, default=0.0)) / 20
    in_view = found.scores[0].numbers["auroc"].low or 0.0
    lowest = max(lowest, min(highest - 0.25, np.floor(20 * in_view) / 20))
    forest = {"low": lowest, "high": highest}
    return {
        "columns": columns,
        "rows": [
            {
                "title": score.title,
                "info": score.info,
                "tied": _tied(found, score),
                "cells": [_cell(score, column, best) for column in columns],
            }
            for score in found.scores
        ],
        "forest": {name: round(float(end), 2) for name, end in forest.items()},
        "any_tied": any(_tied(found, score) for score in found.scores),
        "table_note": _note(found),
        "infos": [
            {"title": score.title, "info": score.info}
            for score in found.scores
            if score.info
        ],
    }


def _tied(found: Assessment, score: ScoreAssessment) -> tuple[str, str] | None:
    """How a score that may be as good as the best is marked, and what that means."""
    best = found.scores[0]
    if score is best or best.numbers["auroc"].value is None:
        return None
    if _text.same_order(score, best):
        return "= best", "orders the examples as the best score does"
    if not score.may_be_best or found.comparison.reason:
        return None
    return "≈ best", "not distinguishable from the best"


def _shown(quantity: Quantity, column: Column) -> str:
    if quantity.value is None:
        return "not defined"
    return f"{column.scale * quantity.value:.{column.digits}f}"


def _best(found: Assessment, column: Column) -> str | None:
    """The best value as it is shown, so that equal-looking cells are all marked."""
    shown = [
        _shown(score.numbers[column.metric], column)
        for score in found.scores
        if score.numbers[column.metric].value is not None
    ]
    if column.better not in PICKS:  # a column that does not rank the scores
        return None
    return PICKS[column.better](shown, key=float, default=None)


def _cell(
    score: ScoreAssessment, column: Column, best: dict[str, str | None]
) -> dict[str, Any]:
    quantity = score.numbers[column.metric]
    text = _shown(quantity, column)
    return {
        "text": text,
        "best": quantity.value is not None and text == best[column.metric],
        "hint": quantity.not_defined,
        "quantity": quantity if column.forest else None,
    }


def _note(found: Assessment) -> str:
    infinite = [score for score in found.scores if score.num_infinite]
    if not infinite:
        return ""
    listed = _text.listed(
        f"{score.title} ({score.num_infinite:,})" for score in infinite
    )
    return (
        f"Infinite values, which rank above all others, occur in {listed}; over their "
        "range no AUAC is defined."
    )


def trust_matrix(found: Assessment) -> dict[str, Any] | None:
    """Mean trust by label and answer; None for more classes than can be read."""
    names = [c.name for c in found.classes]
    if not 1 < len(names) <= MOST_CLASSES:
        return None

    def cell(label: int, answer: int) -> dict[str, Any]:
        count, trust = found.confusion[label, answer], found.trust_matrix[label, answer]
        if not count:
            return {"text": "", "small": "", "kind": "", "level": 0, "hint": ""}
        right = label == answer
        return {
            "text": f"{trust:.2f}",
            "small": f"{count:,}",
            "kind": "right" if right else "wrong",
            "level": round(DEEPEST * float(trust if right else 1 - trust)),
            "hint": f"{count:,} × {names[label]} answered {names[answer]}: "
            f"mean trust {trust:.3f}",
        }

    places = range(len(names))
    upright = max(map(len, names)) > LONGEST_LEVEL
    return {
        "name": "matrix",
        "title": "Trust matrix: label in rows, answer in columns",
        "corner": "",
        "width": 90 / len(names),
        "kind": "square upright" if upright else "square",
        "columns": names,
        "rows": [
            {"name": names[i], "cells": [cell(i, j) for j in places]} for i in places
        ],
        "caption": "Look for deep orange away from the diagonal: confusions that the "
        "network is sure of (large: mean trust; small: how many examples).",
    }


def mistakes(found: Assessment) -> list[dict[str, str]]:
    """The most frequent kinds of error."""
    return [
        {
            "label": found.classes[mistake.label].name,
            "answer": found.classes[mistake.answer].name,
            "count": f"{mistake.count:,}",
            "confidence": _text.percent(mistake.confidence),
        }
        for mistake in found.mistakes[:MOST_MISTAKES]
    ]


def gradients(found: Assessment) -> dict[str, Any] | None:
    """Layers by statistics: how well each tells right from wrong."""
    table = found.gradients
    if table is None or not np.isfinite(table.auroc).any():
        return None
    strength = np.maximum(table.auroc, 1 - table.auroc)
    # The ends of the strength: at least a coin's, on whichever side the interval is.
    weakest = np.maximum(np.maximum(table.low, 1 - table.high), 0.5)
    strongest_end = np.maximum(table.high, 1 - table.low)
    best = np.unravel_index(np.nanargmax(strength), strength.shape)
    rows = np.arange(len(table.groups))
    if len(rows) > MOST_GROUPS:
        strongest = np.argsort(-np.nanmax(strength, axis=1), kind="stable")
        rows = np.sort(strongest[:MOST_GROUPS])

    def cell(row: int, column: int) -> dict[str, Any]:
        value = table.auroc[row, column]
        if not np.isfinite(value):
            return {"text": "–", "small": "", "kind": "", "level": 0, "hint": ""}
        larger = "right" if value >= 0.5 else "wrong"
        told = weakest[row, column] > 0.5
        hint = (
            f"larger values go with {larger} answers"
            if told
            else "not distinguishable from a coin"
        )
        ends = f"{weakest[row, column]:.3f} to {strongest_end[row, column]:.3f}"
        return {
            "text": f"{strength[row, column]:.3f} {'↑' if value >= 0.5 else '↓'}",
            "small": "",
            "kind": "top" if (row, column) == best else "",
            "level": round(DEEPEST * 2 * float(strength[row, column] - 0.5)) * told,
            "hint": f"{hint}; interval {ends}",
        }

    rivals = int(np.sum(strongest_end >= weakest[best])) - 1
    columns = range(len(table.statistics))
    left_out = len(table.groups) - len(rows)
    return {
        "name": "gradients",
        "title": "Gradient statistics, from the input (top) to the output (bottom)",
        "corner": "layer",
        "width": 0,
        "kind": "",
        "columns": [name.replace("_", " ") for name in table.statistics],
        "rows": [
            {"name": table.groups[row], "cells": [cell(row, c) for c in columns]}
            for row in rows.tolist()
        ],
        "caption": "Look for blue: that statistic of that layer knows when the network "
        "is wrong; ↑ larger means right, ↓ larger means wrong. Without colour: not "
        "distinguishable from a coin. Outlined: the best here; the intervals of "
        f"{rivals} of the {table.auroc.size - 1} other cells reach as high (point at a "
        "cell for its interval: all hold together)."
        + (f" {left_out} weaker layers are left out." if left_out else ""),
    }


def strangers(found: Assessment) -> dict[str, Any] | None:
    """Scores by other data sets: how well each keeps strangers out."""
    datasets = list(found.out_of_distribution)
    names = [
        score
        for score in found.scores
        if any(score.name in found.out_of_distribution[d] for d in datasets)
    ]
    if not names:
        return None
    # What the best of each data set reaches at least.
    reached = {
        dataset: max(
            (numbers["auroc"].value or 0.0, numbers["auroc"].low or 0.0)
            for numbers in found.out_of_distribution[dataset].values()
        )[1]
        for dataset in datasets
        if found.out_of_distribution[dataset]
    }

    def cell(score: ScoreAssessment, dataset: str) -> dict[str, Any]:
        numbers = found.out_of_distribution[dataset].get(score.name)
        if numbers is None:
            return {"text": "–", "small": "", "kind": "", "level": 0, "hint": ""}
        auroc, passing = numbers["auroc"], numbers["fpr_at_95_tpr"]
        value, low, high = (end or 0.0 for end in auroc[:3])
        worse = high < 0.5
        told = worse or low > 0.5
        return {
            "text": f"{value:.3f}",
            "small": f"{100 * (passing.value or 0.0):.0f} % pass",
            "kind": "top" if high >= reached[dataset] else "wrong" if worse else "",
            "level": round(DEEPEST * min(1.0, 2 * abs(value - 0.5))) * told,
            "hint": f"{_text.interval(auroc, _text.number)}; "
            f"{_text.interval(passing, _text.percent)} pass",
        }

    return {
        "name": "strangers",
        "title": "Telling the test set from other data",
        "corner": "score",
        "width": 0,
        "kind": "",
        "columns": datasets,
        "rows": [
            {"name": score.title, "cells": [cell(score, d) for d in datasets]}
            for score in names
        ],
        "caption": "Look for a row that is blue in every column: that score also warns "
        "of inputs the network was never meant to see (orange: worse than chance; "
        "without colour: not distinguishable from it; outlined: the best for that data "
        "set, and all whose intervals reach as high; point at a cell for its interval: "
        "all hold together).",
    }
