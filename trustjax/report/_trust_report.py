"""The sections of a trust report: one network, one test set."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from trustjax.assess import Assessment, Predictions, Quantity
from trustjax.report import (
    _class_figures,
    _figures,
    _gallery,
    _names,
    _page,
    _section,
    _tables,
    _text,
)
from trustjax.typing import ProgressFn

SHELVES = {
    "confidently_wrong": (
        "Sure and wrong",
        "Look for a reason: a mislabelled image, a shape that a person would misread "
        "too, or a blind spot of the network.",
    ),
    "hesitantly_right": (
        "Right but hesitant",
        "Look for what makes these hard: the network found the answer with the least "
        "confidence here.",
    ),
    "least_trusted": (
        "Least trusted",
        "Look for wrong answers, in orange: a good score gathers them here.",
    ),
    "most_trusted": (
        "Most trusted",
        "Look for anything but easy cases: an error here would be the worst kind.",
    ),
}


class Subject(NamedTuple):
    """What a trust report is about.

    Attributes:
      assessed: the assessment, with the names that were given: figures shorten them to
        the room they have.
      named: the same with marked names, for words and tables.
      predictions: what was assessed.
    """

    assessed: Assessment
    named: Assessment
    predictions: Predictions


def rendered(
    assessed: Assessment, predictions: Predictions, progress: ProgressFn | None = None
) -> _page.Rendered:
    """The page of an assessment."""
    names = _names.Names()
    named = _names.of_assessment(names, assessed)
    subject = Subject(assessed, named, predictions)
    return _page.render(PAGE, subject, names, progress)


def _headline(subject: Subject) -> _section.Drawn:
    return [[_tiles(subject.named)]]


def _scores(subject: Subject) -> _section.Drawn:
    assessed, predictions = subject.assessed, subject.predictions
    drawn = [score for score in assessed.scores if score.scatter]
    scatter = _figures.scatter(predictions, drawn[0]) if drawn else None
    return [
        [_tables.scores(subject.named)],
        [
            _figures.risk_coverage(assessed),
            _figures.histograms(assessed, predictions),
            scatter,
            _figures.reliability(assessed),
        ],
    ]


def _classes(subject: Subject) -> _section.Drawn:
    matrix, mistakes = (
        _tables.trust_matrix(subject.named),
        _tables.mistakes(subject.named),
    )
    beside = matrix is None or len(matrix.rows) <= _tables.MOST_BESIDE
    return [
        [
            _class_figures.spectrum(subject.assessed),
            _class_figures.densities(subject.assessed),
        ],
        *([[matrix, mistakes]] if beside else [[matrix], [mistakes]]),
    ]


def _gallery_shelves(subject: Subject) -> _section.Drawn:
    pictures = _gallery.pictures(subject.named, subject.predictions)
    return [
        [
            _section.Shelf(
                name,
                title,
                [
                    picture._asdict()
                    | {"confidence": _text.sureness(picture.confidence)}
                    for picture in pictures[name]
                ],
                caption,
            )
        ]
        for name, (title, caption) in SHELVES.items()
        if name in pictures
    ]


def _facts(assessed: Assessment) -> list[str]:
    there = sum(label.count > 0 for label in assessed.classes)
    classes = (
        f"{len(assessed.classes):,} {_text.plural('class', len(assessed.classes))}"
    )
    if there < len(assessed.classes):
        classes = f"{there:,} of {classes}"
    facts = [
        f"{assessed.num_examples:,} {_text.plural('example', assessed.num_examples)}",
        classes,
    ]
    if "model" in assessed.run:
        facts.insert(0, str(assessed.run["model"]))
    return facts


def _tiles(assessed: Assessment) -> _section.Tiles:
    def tile(name: str, quantity: Quantity, note: str, *, percent=False, warn=False):
        write = _text.percent if percent else _text.number
        return _section.Tile(
            name=name,
            quantity=quantity,
            text="" if quantity.value is None else write(quantity.value),
            interval=_text.interval(quantity, write),
            note=note,
            warn=warn,
        )

    headline = assessed.headline
    tiles = [
        tile(
            "Accuracy",
            headline["accuracy"],
            f"{assessed.num_examples - assessed.num_errors:,} right, "
            f"{assessed.num_errors:,} wrong",
            percent=True,
        ),
        tile(
            "NetTrustScore",
            headline["net_trust_score"],
            "1 is always right and sure; sure but wrong costs most",
        ),
        tile(
            "Confidence when right",
            headline["confidence_when_right"],
            "the higher, the less it hesitates",
            percent=True,
        ),
        tile(
            "Confidence when wrong",
            headline["confidence_when_wrong"],
            "the lower, the better it knows what it does not know",
            percent=True,
            warn=True,
        ),
    ]
    return _section.Tiles(tiles)


def _run(assessed: Assessment) -> list[tuple[str, list[tuple[str, str]]]]:
    """What was run, in groups: the plain entries first, then each nested mapping.

    The notes stand at the top of the page.
    """
    plain = {
        k: v
        for k, v in assessed.run.items()
        if not isinstance(v, Mapping) and k != "notes"
    }
    nested = {k: v for k, v in assessed.run.items() if isinstance(v, Mapping)}
    plain["intervals"] = (
        f"{100 * assessed.confidence_level:g} %, {assessed.num_samples:,} draws"
    )
    groups = [("", list(_flattened(plain)))]
    for name, values in nested.items():
        title = name.replace("_", " ").capitalize()
        groups.append((title, list(_flattened(values))))
    return [group for group in groups if group[1]]


def _flattened(
    values: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    """Yields (name in words, text) for every leaf of nested mappings."""
    for name, value in values.items():
        words = prefix + str(name).replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{words}, ")
        else:
            yield words, written(value)


def written(value: Any) -> str:
    """An entry of what was run, as text."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)


PAGE = _section.Page(
    kind="Trust report",
    title=lambda subject: str(subject.named.run.get("dataset", "predictions")),
    facts=lambda subject: _facts(subject.named),
    verdict=lambda subject: _text.verdict(subject.named),
    notes=lambda subject: subject.named.run.get("notes", ()),
    sections=(
        _section.Section("headline", "Headline", _headline, headed=False),
        _section.Section(
            "scores",
            "Which score to believe",
            _scores,
            label="Scores",
            lead=lambda subject: " ".join(_text.comparison(subject.named)),
        ),
        _section.Section(
            "classes",
            "Which classes to trust",
            _classes,
            label="Classes",
            lead=lambda subject: _text.classes(subject.named),
        ),
        _section.Section(
            "gradients",
            "What the gradients know",
            lambda subject: [[_tables.gradients(subject.named)]],
            needs=("assessed.gradients",),
            label="Gradients",
            lead=lambda subject: _text.gradients(subject.named),
        ),
        _section.Section(
            "strangers",
            "Inputs from elsewhere",
            lambda subject: [[_tables.strangers(subject.named)]],
            needs=("assessed.out_of_distribution",),
            label="Other inputs",
            lead=lambda subject: _text.strangers(),
        ),
        _section.Section(
            "gallery",
            "Look for yourself",
            _gallery_shelves,
            needs=("predictions.images",),
            label="Images",
            lead=lambda subject: _text.gallery(subject.named),
        ),
        _section.Section(
            "terms",
            "How to read this",
            lambda subject: [[_section.Terms(_text.terms(subject.named))]],
            label="How to read this",
        ),
        _section.Section(
            "run",
            "What was run",
            lambda subject: [[_section.Groups(_run(subject.named))]],
            label="What was run",
        ),
    ),
    footer='Every number on this page is in <a href="metrics.json">metrics.json</a>, '
    'every example\'s logits and scores in <a href="scores.npz">scores.npz</a>.',
)
