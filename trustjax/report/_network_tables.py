"""The tables of a page about several networks."""

import itertools
from typing import NamedTuple

import numpy as np

from trustjax import metrics
from trustjax.assess import NetworkAssessment, NetworkComparison
from trustjax.report import _network_text, _section, _text

MOST_PAIRS = 30
MOST_CLASSES = 30
COLOUR = 30  # per cent, of what is proven


class Number(NamedTuple):
    """A compared number, as the page writes it."""

    name: str
    title: str
    better: str
    percent: bool = False


NUMBERS = (
    Number("accuracy", "Accuracy", "higher is better", percent=True),
    Number("net_trust_score", "NetTrustScore", "higher is better"),
    Number("net_trust_score_uniform", "NetTrustScore, uniform", "higher is better"),
    Number("confidence_when_right", "Sure when right", "higher is better", True),
    Number("confidence_when_wrong", "Sure when wrong", "lower is better", True),
    Number("confidence_gap", "Gap", "higher is better", True),
    Number("calibration_error", "Calibration error", "lower is better"),
    Number("best_auroc", "AUROC of the best score", "higher is better"),
)


def networks(compared: NetworkComparison) -> _section.Table:
    """Networks by their numbers, as table 1 of Wong et al. 2020."""
    statements = [compared.statements[number.name] for number in NUMBERS]
    some_known = any(one.num_parameters is not None for one in compared.networks)

    def row(place: int, one: NetworkAssessment) -> _section.Row:
        cells = [
            _number(one, number, statement, place)
            for number, statement in zip(NUMBERS, statements, strict=True)
        ]
        best = _section.Cell(one.assessment.scores[0].title)
        size = [_parameters(one)] if some_known else []
        return _section.Row(one.name, [*size, *cells, best])

    size = [_section.Column("parameters", "Weights")] if some_known else []
    return _section.Table(
        name="networks",
        title="All networks on the same examples",
        corner="network",
        columns=[
            *size,
            *(_section.Column(n.name, n.title, n.better) for n in NUMBERS),
            _section.Column("best score", "Best score"),
        ],
        rows=[row(place, one) for place, one in enumerate(compared.networks)],
        caption="Below each number stands its own interval. "
        "★ best in its column here; ≈ not distinguishable from it. "
        + _network_text.reasons(statements),
        kind="networks",
    )


def _parameters(one: NetworkAssessment) -> _section.Cell:
    if one.num_parameters is None:
        return _section.Cell("–", hint="nobody has said how many")
    count = one.num_parameters
    text = f"{count / 1e6:,.2f} M" if count >= 1e6 else f"{count:,}"
    return _section.Cell(text, count)


def _number(
    one: NetworkAssessment, number: Number, statement: metrics.Comparison, place: int
) -> _section.Cell:
    quantity = one.numbers[number.name]
    text, interval = _network_text.shown(quantity, percent=number.percent)
    if quantity.value is None:
        return _section.Cell(text, kind="none", hint=quantity.not_defined)
    name = statement.names[place]
    near = name in statement.may_be_best and not statement.reason
    kind = "best" if name == statement.best else "near" if near else ""
    return _section.Cell(text, *quantity[:3], small=interval, kind=kind)


def differences(compared: NetworkComparison) -> _section.Table:
    """Pairs of networks by their differences, with paired intervals."""
    pairs = itertools.combinations(range(len(compared.networks)), 2)
    rows = [
        _section.Row(
            f"{compared.names[one]} less {compared.names[other]}",
            [
                _difference(compared.statements[number.name], number, one, other)
                for number in NUMBERS
            ],
        )
        for one, other in pairs
    ]
    left_out = max(len(rows) - MOST_PAIRS, 0)
    return _section.Table(
        name="differences",
        title="Differences between two networks, paired",
        corner="pair",
        columns=[
            _section.Column(n.name, n.title, "% points" if n.percent else "")
            for n in NUMBERS
        ],
        rows=rows[:MOST_PAIRS],
        rest=rows[MOST_PAIRS:],
        caption="Look for colour: there the interval below leaves zero out, blue where "
        "the first network is the better one and orange where the second is. All "
        "intervals of this table hold together, so each is wider than one alone would "
        "be." + (f" {left_out:,} further pairs are in the file only." * bool(left_out)),
        kind="heat differences",
    )


def _difference(
    statement: metrics.Comparison, number: Number, one: int, other: int
) -> _section.Cell:
    value, low, high = (
        float(of_all[one, other])
        for of_all in (statement.differences, statement.low, statement.high)
    )
    if np.isnan(value):
        return _section.Cell("–", level=0, hint="not defined")
    scale, digits = (100, 2) if number.percent else (1, 3)

    def signed(of: float) -> str:
        return f"{scale * of:+.{digits}f}".replace("-", "−")

    if np.isnan(low):
        reasons = (statement.reasons.get(statement.names[i], "") for i in (one, other))
        return _section.Cell(
            signed(value), value, level=0, hint=next(filter(None, reasons), "")
        )
    behind, ahead = (
        bool(statement.behind[one, other]),
        bool(statement.behind[other, one]),
    )
    return _section.Cell(
        signed(value),
        value,
        low,
        high,
        small=f"{signed(low)} to {signed(high)}",
        kind="wrong" if behind else "",
        level=COLOUR * (behind or ahead),
    )


def classes(compared: NetworkComparison) -> _section.Table:
    """Classes by the trust in each network."""

    def cell(index: int, one: NetworkAssessment) -> _section.Cell:
        of_class = one.classes[index]
        quantity = of_class.trust
        if quantity.value is None:
            return _section.Cell("–", level=0, hint=quantity.not_defined)
        return _section.Cell(
            _text.number(quantity.value),
            *quantity[:3],
            kind="wrong" if of_class.below_average else "",
            level=COLOUR * of_class.below_average,
            hint=_text.interval(quantity, _text.number),
        )

    def spread(index: int) -> _section.Cell:
        of_class = compared.classes[index]
        if not of_class.count:
            return _section.Cell("–", level=0)
        return _section.Cell(
            _text.number(of_class.spread),
            of_class.spread,
            level=COLOUR * of_class.differs,
            hint="beyond chance" if of_class.differs else "may be chance",
        )

    rows = [
        _section.Row(
            of_class.name,
            [
                _section.Cell(f"{of_class.count:,}", of_class.count, level=0),
                *(cell(index, one) for one in compared.networks),
                spread(index),
            ],
        )
        for index, of_class in enumerate(compared.classes)
    ]
    shown = _worth_showing(compared)
    left_out = len(rows) - len(shown)
    return _section.Table(
        name="classes",
        title="Trust by true class and network",
        corner="class",
        columns=[
            _section.Column("count", "examples"),
            *(_section.Column(name, name) for name in compared.names),
            _section.Column("largest difference", "largest difference"),
        ],
        rows=[row for index, row in enumerate(rows) if index in shown],
        rest=[row for index, row in enumerate(rows) if index not in shown],
        caption="Look for rows that are orange throughout: there each network deserves "
        "less trust than its own average, by more than chance; blue: two networks "
        "differ by more than chance there (point at a number for its interval)."
        + (
            f" These are the classes of least trust and of the largest differences; "
            f"{left_out:,} others are in the file only."
            if left_out
            else ""
        ),
        kind="heat",
    )


def _worth_showing(compared: NetworkComparison) -> set[int]:
    """All classes where there are few, else the least trusted and most different."""
    everything = range(len(compared.classes))
    if len(compared.classes) <= MOST_CLASSES:
        return set(everything)
    present = [index for index in everything if compared.classes[index].count]

    def most_trust(index: int) -> float:
        return max(one.classes[index].trust.value or 0.0 for one in compared.networks)

    least = sorted(present, key=most_trust)[: MOST_CLASSES // 2]
    different = sorted(present, key=lambda index: -compared.classes[index].spread)
    return {*least, *different[: MOST_CLASSES // 2]}
