"""The sections of a trust report: one network, one test set."""

from typing import NamedTuple

from trustjax.assess import Assessment, Predictions, Quantity
from trustjax.report import (
    _attacks,
    _class_figures,
    _figures,
    _gallery,
    _interventions,
    _membership,
    _names,
    _overlay,
    _page,
    _panels,
    _run,
    _section,
    _shifts,
    _tables,
    _text,
)
from trustjax.report._explained import MistakeMaps, still_map
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
      mistakes: maps of some wrong answers; None where none were asked for.
    """

    assessed: Assessment
    named: Assessment
    predictions: Predictions
    mistakes: MistakeMaps | None = None


def rendered(
    assessed: Assessment,
    predictions: Predictions,
    mistakes: MistakeMaps | None = None,
    progress: ProgressFn | None = None,
) -> _page.Rendered:
    """The page of an assessment."""
    names = _names.Names()
    named = _names.of_assessment(names, assessed)
    subject = Subject(assessed, named, predictions, mistakes)
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


def _mistakes(subject: Subject) -> _section.Drawn:
    """Of each of the surest mistakes the image, and why that and not the other."""
    assert subject.mistakes is not None, "the section needs them"
    if subject.mistakes.left_out:
        return [[_section.Terms([("No maps", subject.mistakes.left_out)])]]
    if not len(subject.mistakes.numbers):
        return []
    names = [c.name for c in subject.named.classes]
    panels = []
    for number, why, rather in zip(*subject.mistakes[:3], strict=True):
        image = subject.predictions.image(int(number))
        answer, label = (
            names[of[number]]
            for of in (subject.predictions.predicted, subject.predictions.labels)
        )
        source, pixelated = _overlay.picture(image)
        shown = f"{answer}, not {label}"
        panels.append(_section.Panel(shown, source, shown, pixelated))
        questions = (f"Why {answer}?", f"Why {answer}, rather than {label}?")
        for question, values in zip(questions, (why, rather), strict=True):
            laid = _overlay.overlay(image, still_map(values), signed=False)
            panels.append(_panels.of_map(question, laid, [], shown, None))
    caption = (
        "Look at what the second map of each has and the first has not: it is what "
        "speaks for the wrong answer against the right one. Each map has a scale of "
        "its own."
    )
    title = "The surest mistakes"
    return [[_section.Panels("mistakes-why", title, panels, caption, kind="threes")]]


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


def _what_was_run(assessed: Assessment) -> list[tuple[str, list[tuple[str, str]]]]:
    intervals = f"{100 * assessed.confidence_level:g} %, {assessed.num_samples:,} draws"
    return _run.groups({**assessed.run, "intervals": intervals})


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
            "shifts",
            "Under corruption",
            lambda subject: [
                [_shifts.figure(subject.assessed), _shifts.kinds(subject.assessed)],
                [_shifts.scores(subject.named)],
            ],
            needs=("assessed.shifts",),
            label="Corruptions",
            lead=lambda subject: _shifts.lead(subject.assessed),
        ),
        _section.Section(
            "attacks",
            "Under attack",
            lambda subject: [
                [_attacks.figure(subject.assessed), _attacks.network(subject.assessed)],
                [_attacks.scores(subject.named)],
            ],
            needs=("assessed.attacks",),
            label="Attacks",
            lead=lambda subject: _attacks.lead(subject.assessed),
        ),
        _section.Section(
            "interventions",
            "What explanations leave open",
            lambda subject: [
                [
                    _interventions.figure(subject.assessed),
                    _interventions.methods(subject.named),
                ]
            ],
            needs=("assessed.interventions",),
            label="Interventions",
            lead=lambda subject: _interventions.lead(subject.assessed),
        ),
        _section.Section(
            "membership",
            "What it gives away",
            lambda subject: [
                [
                    _membership.figure(subject.assessed),
                    _membership.scores(subject.named),
                ]
            ],
            needs=("assessed.membership",),
            label="Membership",
            lead=lambda subject: _membership.lead(subject.assessed),
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
            "why",
            "Why these mistakes",
            _mistakes,
            needs=("mistakes",),
            label="Why",
            lead=lambda subject: (
                "Class activation maps of the features that the network ends in: where "
                "the evidence for its answer lies, and where that for its answer "
                "against the true class."
            ),
        ),
        *_section.closing(
            lambda subject: _text.terms(subject.named),
            lambda subject: _what_was_run(subject.named),
        ),
    ),
    footer='Every number on this page is in <a href="metrics.json">metrics.json</a>, '
    'every example\'s logits and scores in <a href="scores.npz">scores.npz</a>.',
)
