"""The sections of a page about a detector."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from trustjax.assess import Detection
from trustjax.report import (
    _detect_figures,
    _detect_tables,
    _detect_text,
    _names,
    _page,
    _run,
    _section,
    _text,
)
from trustjax.report._detected import DetectionPage
from trustjax.typing import ProgressFn


class Subject(NamedTuple):
    """What the page is about.

    Attributes:
      plain: with the names that were given, for figures.
      named: the same with marked names, for words and tables.
    """

    plain: DetectionPage
    named: DetectionPage


def rendered(page: DetectionPage, progress: ProgressFn | None = None) -> _page.Rendered:
    """The page about a detector."""
    names = _names.Names()
    return _page.render(PAGE, Subject(page, _marked(page, names)), names, progress)


def _marked(page: DetectionPage, names: _names.Names) -> DetectionPage:
    """The page with every name from elsewhere marked, and notes isolated."""
    found = page.detection
    titles = [
        *found.numbers,
        *(one.title for one in (*found.kinds, *found.singles)),
        *(w.statistic for w in page.weights if not w.place),
    ]
    title = _of_each(titles, names)
    place = _of_each([w.place for w in page.weights], names)
    populations = _of_each(page.populations, names)
    return dataclasses.replace(
        page,
        detection=_renamed(found, title, populations),
        populations=[populations[name] for name in page.populations],
        unknown=[populations[name] for name in page.unknown],
        weights=[
            weight._replace(place=place[weight.place])
            if weight.place
            else weight._replace(statistic=title[weight.statistic])
            for weight in page.weights
        ],
        infos={title.get(name, name): info for name, info in page.infos.items()},
        run=_names.isolated(page.run),
        notes=_names.isolated(page.notes),
    )


def _of_each(names: Any, marks: _names.Names) -> dict[str, str]:
    each = list(dict.fromkeys(names))
    return dict(zip(each, marks.marked(each), strict=True))


def _renamed(
    found: Detection, title: Mapping[str, str], populations: Mapping[str, str]
) -> Detection:
    return dataclasses.replace(
        found,
        detector=title[found.detector],
        single=title[found.single],
        numbers={title[name]: of for name, of in found.numbers.items()},
        by_population={
            populations[name]: {title[one]: quantity for one, quantity in of.items()}
            for name, of in found.by_population.items()
        },
        kinds=tuple(one._replace(title=title[one.title]) for one in found.kinds),
        singles=tuple(one._replace(title=title[one.title]) for one in found.singles),
    )


def _how_well(subject: Subject) -> _section.Drawn:
    page = subject.named
    return [[_detect_tables.methods(page)], [_detect_tables.by_population(page)]]


def _features(subject: Subject) -> _section.Drawn:
    page = subject.plain
    drawn = _detect_figures.violins(page.features, page.populations)
    return [drawn[place : place + 2] for place in range(0, len(drawn), 2)]


def _coefficients(subject: Subject) -> _section.Drawn:
    page = subject.named
    return [[_detect_tables.statistics(page)], [_detect_tables.singles(page)]]


def _tried(subject: Subject) -> _section.Drawn:
    page = subject.named
    return [[_detect_tables.kinds(page), _detect_tables.counts(page)]]


def _title(subject: Subject) -> str:
    return str(subject.named.run.get("dataset", "A detector"))


def _facts(subject: Subject) -> list[str]:
    page = subject.named
    examples, columns = int(page.counts.sum()), page.num_columns[0]
    facts = [
        f"{examples:,} {_text.plural('example', examples)}",
        f"{columns:,} {_text.plural('column', columns)}",
    ]
    model = page.run.get("model")
    return [str(model), *facts] if model else facts


PAGE = _section.Page(
    kind="Detection",
    title=_title,
    facts=_facts,
    verdict=lambda subject: _detect_text.verdict(subject.named),
    notes=lambda subject: subject.named.notes,
    sections=(
        _section.Section(
            "summary",
            "Summary",
            lambda subject: [[_detect_text.tiles(subject.named)]],
            headed=False,
        ),
        _section.Section("quality", "How well", _how_well, label="How well"),
        _section.Section(
            "features",
            "Features by population",
            _features,
            label="Features",
            lead=lambda subject: _detect_text.FEATURES,
            needs=("plain.features",),
        ),
        _section.Section(
            "coefficients",
            "What it looks at",
            _coefficients,
            label="Coefficients",
            lead=lambda subject: _detect_text.coefficients(subject.named),
        ),
        _section.Section("tried", "How it was made", _tried, label="How it was made"),
        _section.Section(
            "use",
            "How to use it",
            lambda subject: [[_section.Terms(_detect_text.used(subject.named))]],
            label="How to use it",
        ),
        *_section.closing(
            lambda subject: _detect_text.terms(subject.named),
            lambda subject: _run.groups(subject.named.run),
        ),
    ),
    footer='The detector is <a href="detector.npz">detector.npz</a>, what it was '
    'fitted and tested on <a href="columns.npz">columns.npz</a>; all numbers are in '
    '<a href="metrics.json">metrics.json</a>.',
)
