"""The tables of a page about a detector."""

import numpy as np

from trustjax.assess import Detection, Quantity, Tried
from trustjax.report import _section, _text
from trustjax.report._detected import DetectionPage
from trustjax.report._tables import DEEPEST, PICKS, Metric

MOST_ROWS = 40
MOST_PLACES = 30


_METRICS = (
    Metric(
        "auroc",
        "AUROC",
        "higher is better",
        "How often an example to be trusted scores higher than one that is not",
    ),
    Metric(
        "fpr_at_95_tpr",
        "FPR95, %",
        "lower is better",
        "What is not to be trusted and passes where 95 % of the rest do",
        scale=100,
        digits=1,
    ),
    Metric(
        "aupr_in",
        "AUPR-In",
        "higher is better",
        "Average precision at finding what is to be trusted",
    ),
    Metric(
        "aupr_out",
        "AUPR-Out",
        "higher is better",
        "Average precision at finding what is not to be trusted",
    ),
    Metric(
        "balanced_accuracy",
        "Balanced accuracy, %",
        "higher is better",
        "Mean of the two rates of right verdicts, at the balanced threshold of the "
        "fitting part",
        scale=100,
        digits=1,
    ),
)


def methods(page: DetectionPage) -> _section.Table:
    """The detector beside the best single score and the baseline."""
    found = page.detection
    best = {metric.name: _best(found, metric) for metric in _METRICS}

    def cell(title: str, metric: Metric) -> _section.Cell:
        quantity = found.numbers[title][metric.name]
        text = _shown(quantity, metric)
        return _section.Cell(
            text,
            *quantity[:3],
            small=_ends(quantity, metric),
            kind="best" if text == best[metric.name] else "",
        )

    def mark(title: str) -> tuple[str, str] | None:
        if title == found.single:
            return "best single", "the best single score on the fitting part"
        return None

    return _section.Table(
        name="methods",
        title="On the test part, which nothing was fitted or chosen on",
        corner="Score",
        columns=[
            _section.Column(metric.name, metric.title, metric.better, metric.hint)
            for metric in _METRICS
        ],
        rows=[
            _section.Row(title, [cell(title, m) for m in _METRICS], mark(title))
            for title in found.numbers
        ],
        caption="★ best in its column here. Small: intervals; they and what the page "
        f"says of the difference hold together at {100 * found.level:g}{_text.THIN}%. "
        "They say less about a difference than that does: what is hard is hard for "
        "all.",
        kind="scores ends",
    )


def _shown(quantity: Quantity, metric: Metric) -> str:
    assert quantity.value is not None, "there are examples of both kinds"
    return f"{metric.scale * quantity.value:.{metric.digits}f}"


def _ends(quantity: Quantity, metric: Metric = _METRICS[0]) -> str:
    if quantity.low is None or quantity.high is None:
        return "no interval"
    low, high = metric.scale * quantity.low, metric.scale * quantity.high
    return f"{low:.{metric.digits}f} to {high:.{metric.digits}f}"


def _best(found: Detection, metric: Metric) -> str:
    shown = [_shown(of[metric.name], metric) for of in found.numbers.values()]
    return PICKS[metric.better](shown, key=float)


def by_population(page: DetectionPage) -> _section.Table | None:
    """AUROC against each population alone; None where there is one only."""
    found = page.detection
    if not found.by_population:
        return None
    titles = (found.detector, found.single)

    def cell(quantity: Quantity) -> _section.Cell:
        assert quantity.value is not None, "there are examples of both kinds"
        return _section.Cell(
            f"{quantity.value:.3f}", *quantity[:3], small=_ends(quantity)
        )

    return _section.Table(
        name="populations",
        title="Against each population alone, by AUROC",
        corner="Population",
        columns=[_section.Column(title, title) for title in titles],
        rows=[
            _section.Row(name, [cell(of[title]) for title in titles])
            for name, of in found.by_population.items()
        ],
        caption="The detector was fitted on all of them together.",
        kind="ends",
    )


def kinds(page: DetectionPage) -> _section.Table:
    """The kinds of detectors that were tried."""
    chosen = page.detection.detector
    return _section.Table(
        name="kinds",
        title="Kinds of detectors that were tried",
        corner="Kind",
        columns=[
            _section.Column("validation", "AUROC, validation", "the best is taken"),
            _TEST,
        ],
        rows=[
            _section.Row(
                one.title,
                [_section.Cell(_text.number(one.before), one.before), _auroc(one)],
                _CHOSEN if one.title == chosen else None,
            )
            for one in page.detection.kinds
        ],
        caption="Chosen on validation data, which is a part of the fitting part: the "
        "test part had no say in it.",
        kind="ends",
    )


def singles(page: DetectionPage) -> _section.Table:
    """Every single score, the best on the fitting part first."""
    weights = {w.statistic: w.value for w in page.weights if not w.place}

    def weight(title: str) -> list[_section.Cell]:
        if not page.weights:
            return []
        value = weights.get(title, 0.0)
        return [_section.Cell(_signed(value), value)]

    def row(one: Tried) -> _section.Row:
        mark = ("compared", "the detector is compared with it")
        return _section.Row(
            one.title,
            [
                *weight(one.title),
                _section.Cell(_text.number(one.before), one.before),
                _auroc(one),
            ],
            mark if one.title == page.detection.single else None,
            page.infos.get(one.title, ""),
        )

    coefficient = _section.Column(
        "coefficient",
        "Coefficient",
        "0: no weight",
        "Change of the detector's score for one standard deviation",
    )
    rows = [row(one) for one in page.detection.singles]
    return _section.Table(
        name="singles",
        title="Scores: their weight, and each for itself",
        corner="Score",
        columns=[
            *([coefficient] if page.weights else []),
            _section.Column("fitting", "AUROC, fitting part", "the order here"),
            _TEST,
        ],
        rows=rows[:MOST_ROWS],
        rest=rows[MOST_ROWS:],
        caption="The detector is compared with the best on the fitting part: the best "
        "of many on the test part would be the luckiest, too. A score with a negative "
        "weight corrects another that it resembles.",
        kind="ends",
        infos="What each score is" if any(page.infos.values()) else "",
    )


_TEST = _section.Column("test", "AUROC, test part", "with its interval")
_CHOSEN = ("chosen", "chosen on validation data")


def _auroc(one: Tried) -> _section.Cell:
    value, low, high = one.auroc[:3]
    text = _shown(one.auroc, _METRICS[0])
    return _section.Cell(text, value, low, high, small=_ends(one.auroc))


def statistics(page: DetectionPage) -> _section.Table | None:
    """Coefficients by layer and statistic; None without gradient statistics."""
    of_gradients = [w for w in page.weights if w.place]
    if not of_gradients:
        return None
    places = list(dict.fromkeys(w.place for w in of_gradients))
    names = list(dict.fromkeys(w.statistic for w in of_gradients))
    value = {(w.place, w.statistic): w.value for w in of_gradients}
    largest = max(abs(w.value) for w in page.weights) or 1.0
    strongest = sorted(
        places, key=lambda p: -max(abs(value.get((p, n), 0.0)) for n in names)
    )[:MOST_PLACES]

    def cell(place: str, name: str) -> _section.Cell:
        found = value.get((place, name))
        if not found:
            return _section.Cell("·", 0.0, level=0, hint="no weight")
        return _section.Cell(
            _signed(found),
            found,
            kind="right" if found > 0 else "wrong",
            level=round(DEEPEST * abs(found) / largest),
            hint=f"{place}, {name.replace('_', ' ')}: {_signed(found)} for one "
            "standard deviation",
        )

    rows = {p: _section.Row(p, [cell(p, name) for name in names]) for p in places}
    left_out = len(places) - len(strongest)
    return _section.Table(
        name="coefficients",
        title="Coefficients by layer and statistic",
        corner="gradient of",
        columns=[_section.Column(name, name.replace("_", " ")) for name in names],
        rows=[rows[p] for p in places if p in strongest],
        rest=[rows[p] for p in places if p not in strongest],
        caption="Look for deep colours: the change of the detector's score for one "
        "standard deviation of that statistic. Blue: larger means trust; orange: "
        "larger means doubt. Columns that say nearly the same share a weight, or take "
        "it from each other with the opposite sign."
        + (f" {left_out} weaker places are in the file only." if left_out else ""),
        kind="heat",
    )


def counts(page: DetectionPage) -> _section.Table:
    """How many examples of each population are in each part."""
    totals = page.counts.sum(axis=1)
    return _section.Table(
        name="examples",
        title="Examples",
        corner="Population",
        columns=[
            *(_section.Column(part, part.capitalize()) for part in page.parts),
            _section.Column("total", "Together"),
        ],
        rows=[
            _section.Row(
                name,
                [
                    _section.Cell(f"{count:,}", count)
                    for count in [*page.counts[number].tolist(), int(totals[number])]
                ],
                ("trusted", "to be trusted") if page.trusted[number] else None,
            )
            for number, name in enumerate(page.populations)
        ],
        caption="Divided at random; records whose images are the same are in one part. "
        "The detector learns from the first part, is chosen by the second, and is then "
        "fitted anew on both.",
        kind="areas",
    )


def _signed(value: float) -> str:
    """A coefficient with its sign.

    >>> _signed(1.5), _signed(0.0)
    ('+1.50', '0')
    """
    if np.isclose(value, 0, atol=1e-12):
        return "0"
    text = f"{abs(value):.2f}" if abs(value) >= 0.005 else f"{abs(value):.1g}"
    return ("+" if value > 0 else "−") + text
