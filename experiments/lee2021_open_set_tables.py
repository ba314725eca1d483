"""The tables of lee2021_open_set.md, from the numbers beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.oberdiek2018_page import SHORT, lines, points

CLASSES = "unknown classes"
DETECTOR = "confounding labels"


def tables(found: Mapping[str, Any]) -> str:
    """The page's tables, in Markdown: per cent, and points of a per cent."""
    judges: Mapping[str, Any] = found["judges"]
    unknowns = list(judges[DETECTOR])
    foreign = [name for name in unknowns if name != CLASSES]
    heads, of_foreign = (
        [SHORT.get(name) or name for name in some] for some in (unknowns, foreign)
    )
    of_classes = list(judges[DETECTOR][CLASSES])
    thresholds = [n for n in of_classes if n.startswith("accuracy")]
    return "\n\n".join(
        [
            _lines(
                ["Against unknown classes", "AUROC", *of_classes[1:]],
                {
                    judge: [_range(own[CLASSES].get(name)) for name in of_classes]
                    for judge, own in judges.items()
                },
            ),
            _lines(
                ["AUROC", *heads],
                {
                    judge: [_range(own[unknown]["auroc"]) for unknown in unknowns]
                    for judge, own in judges.items()
                },
            ),
            _lines(
                ["N+1-way accuracy", *of_foreign],
                {
                    f"{judge}, {name.removeprefix('accuracy, ')}": [
                        _range(own[unknown][name]) for unknown in foreign
                    ]
                    for judge, own in judges.items()
                    for name in thresholds
                    if name in own[CLASSES]
                },
            ),
            _lines(
                [f"AUROC of {DETECTOR}, less that of", *heads],
                {
                    other: [
                        points(found["less_rivals"][unknown][other])
                        for unknown in unknowns
                    ]
                    for other in judges
                    if other != DETECTOR
                },
            ),
        ]
    )


def _lines(heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    return lines(heads, [[name, *row] for name, row in rows.items()]).rstrip()


def _range(number: Mapping[str, Any] | None) -> str:
    """The mean, and the lowest and highest of the divisions."""
    if number is None:
        return ""
    low, high = (100 * end(number["divisions"]) for end in (min, max))
    return f"{100 * number['value']:.1f} ({low:.1f} to {high:.1f})"
