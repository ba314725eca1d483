"""The sections of a page about several networks on one test set."""

import types
from collections.abc import Mapping
from typing import Any, NamedTuple

from trustjax.assess import NetworkComparison
from trustjax.report import (
    _names,
    _network_figures,
    _network_tables,
    _network_text,
    _page,
    _run,
    _section,
    _text,
)
from trustjax.typing import ProgressFn


class Subject(NamedTuple):
    """What the page is about.

    Attributes:
      compared: the comparison, with the names that were given.
      named: the same with marked names, for words and tables.
      run: how the comparison came to be, with marked names.
    """

    compared: NetworkComparison
    named: NetworkComparison
    run: Mapping[str, Any]


def rendered(
    compared: NetworkComparison,
    run: Mapping[str, Any] = types.MappingProxyType({}),
    progress: ProgressFn | None = None,
) -> _page.Rendered:
    """The page of a comparison."""
    names = _names.Names()
    named = _names.of_comparison(names, compared)
    subject = Subject(compared, named, _names.isolated(run))
    return _page.render(PAGE, subject, names, progress)


def _title(subject: Subject) -> str:
    datasets = {
        str(one.assessment.run["dataset"])
        for one in subject.named.networks
        if "dataset" in one.assessment.run
    }
    (only,) = datasets if len(datasets) == 1 else [""]
    return only or f"{len(subject.named.networks)} networks"


def _facts(subject: Subject) -> list[str]:
    compared = subject.named
    counts = (
        ("network", len(compared.networks)),
        ("example", compared.num_examples),
        ("class", len(compared.classes)),
    )
    return [f"{count:,} {_text.plural(noun, count)}" for noun, count in counts]


def _notes(subject: Subject) -> list[str]:
    return [
        f"{one.name}: {note}"
        for one in subject.named.networks
        for note in one.assessment.run.get("notes", ())
    ]


def _networks(subject: Subject) -> _section.Drawn:
    return [
        [_network_tables.networks(subject.named)],
        [
            _network_figures.accuracy_and_trust(subject.compared),
            _network_figures.confidences(subject.compared),
            _network_figures.reliability(subject.compared),
            _network_figures.risk_coverage(subject.compared),
        ],
        [_network_tables.differences(subject.named)],
    ]


def _classes(subject: Subject) -> _section.Drawn:
    return [
        [
            _network_figures.spectra(subject.compared),
            _network_figures.densities(subject.compared),
        ],
        [_network_tables.classes(subject.named)],
    ]


def _what_was_run(subject: Subject) -> list[tuple[str, list[tuple[str, str]]]]:
    intervals = (
        f"{100 * subject.compared.confidence_level:g} %, "
        f"{subject.compared.num_samples:,} draws"
    )
    groups = [("", _plain({**subject.run, "intervals": intervals}))]
    for one in subject.named.networks:
        groups.append((one.name, _plain(one.assessment.run)))
    return [group for group in groups if group[1]]


def _plain(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a line can say of what was run; a network's own page has the rest."""
    return [
        (name.replace("_", " "), _run.written(value))
        for name, value in run.items()
        if not isinstance(value, Mapping)
    ]


PAGE = _section.Page(
    kind="Comparison of networks",
    title=_title,
    facts=_facts,
    verdict=lambda subject: _network_text.verdict(subject.named),
    notes=_notes,
    sections=(
        _section.Section(
            "networks",
            "Which network to trust",
            _networks,
            label="Networks",
            lead=lambda subject: _network_text.networks(subject.named),
        ),
        _section.Section(
            "classes",
            "Which network to ask about what",
            _classes,
            label="Classes",
            lead=lambda subject: _network_text.classes(subject.named),
        ),
        *_section.closing(
            lambda subject: _network_text.terms(subject.named),
            lambda subject: _what_was_run(subject),
        ),
    ),
    footer='Every number on this page is in <a href="metrics.json">metrics.json</a>.',
)
