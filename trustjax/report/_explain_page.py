"""The sections of a page about explanations: one for each image."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

from trustjax.report import (
    _explain_figures,
    _explain_text,
    _names,
    _overlay,
    _page,
    _panels,
    _run,
    _section,
    _text,
)
from trustjax.report._explained import (
    ExplainedImage,
    Explanations,
    Map,
    still,
    still_map,
)
from trustjax.typing import ProgressFn

MOST_IN_CONTENTS = 24


class Subject(NamedTuple):
    """What the page is about.

    Attributes:
      explained: the maps, with the names that were given.
      named: the same with marked names, for words.
      classes: the names of the classes, marked.
    """

    explained: Explanations
    named: Explanations
    classes: Sequence[str]


def rendered(
    explained: Explanations, progress: ProgressFn | None = None
) -> _page.Rendered:
    """The page of some explanations."""
    names = _names.Names()
    titles = names.marked([image.name for image in explained.images])
    classes = names.marked(explained.class_names)
    named = dataclasses.replace(
        explained,
        images=tuple(
            dataclasses.replace(
                image, name=title, notes=tuple(_names.isolated(image.notes))
            )
            for image, title in zip(explained.images, titles, strict=True)
        ),
        run=_names.isolated(explained.run),
        notes=tuple(_names.isolated(explained.notes)),
    )
    subject = Subject(explained, named, classes)
    return _page.render(_with_images(named), subject, names, progress)


def _with_images(named: Explanations) -> _section.Page:
    """The page with a section for each image."""
    few = len(named.images) <= MOST_IN_CONTENTS
    images = tuple(
        _section.Section(
            f"image-{number}",
            image.name,
            functools.partial(_image, number=number),
            label=image.name if few else "",
            lead=functools.partial(_lead, number=number),
        )
        for number, image in enumerate(named.images)
    )
    return dataclasses.replace(PAGE, sections=(*images, *PAGE.sections))


def _lead(subject: Subject, *, number: int) -> str:
    return _explain_text.of_image(subject.named.images[number], subject.classes)


def _image(subject: Subject, *, number: int) -> _section.Drawn:
    image = subject.named.images[number]
    rows, first = [], [_itself(image, subject.classes)]
    for group in _explain_text.TITLES:
        panels = [
            panel
            for shown in image.maps
            if shown.group == group
            for panel in _of_map(shown, image, subject)
        ]
        if panels:
            name, title = f"{group}-{number}", _explain_text.TITLES[group]
            caption = _explain_text.CAPTIONS[group]
            rows.append([_section.Panels(name, title, [*first, *panels], caption)])
            first = []
    if not rows:
        rows.append([_section.Panels(f"image-{number}", "The image", first, "")])
    curves = [shown for shown in image.maps if shown.insertion is not None]
    if curves:
        rows.append(list(_explain_figures.curves(curves, number)))
        rows.append([_areas(curves, number)])
    return rows


def _itself(image: ExplainedImage, classes: Sequence[str]) -> _section.Panel:
    source, pixelated = _overlay.picture(still(image.image))
    notes = []
    if image.image.ndim == 4:
        frames = len(image.image)
        notes = [f"frame {frames // 2 + 1} of {frames}, and so are its maps"]
    return _section.Panel(
        question="The image",
        source=source,
        alternative=f"{image.name}, answered {classes[image.answer]}",
        pixelated=pixelated,
        notes=notes,
    )


def _of_map(
    shown: Map, image: ExplainedImage, subject: Subject
) -> list[_section.Panel]:
    """The picture of a map, and that of its standard error."""
    question = _explain_text.question(shown, image.target, subject.classes)
    laid = _overlay.overlay(
        still(image.image), still_map(shown.values), signed=shown.signed
    )
    panels = [
        _panels.of_map(
            question,
            laid,
            [shown.method, *_explain_text.facts(shown)],
            image.name,
            _beside(shown, subject),
        )
    ]
    if shown.standard_error is not None:
        error = still_map(shown.standard_error)
        laid = _overlay.overlay(still(image.image), error, signed=False)
        title = f"How sure is {shown.method}?"
        panels.append(_panels.of_map(title, laid, ["standard error"], image.name, None))
    return panels


def _beside(shown: Map, subject: Subject) -> tuple[str, str, bool] | None:
    """An image of the class that the answer is compared with, where there is one."""
    if shown.contrast is None:
        return None
    image = subject.named.representatives.get(shown.contrast)
    if image is None:
        return None
    source, pixelated = _overlay.picture(still(image))
    return source, f"{subject.classes[shown.contrast]}, to compare with", pixelated


def _areas(curves: Sequence[Map], number: int) -> _section.Table:
    rows = []
    for shown in curves:
        assert shown.insertion is not None, "those alone are drawn"
        assert shown.deletion is not None, "both are made"
        cells = [
            _section.Cell(_text.number(area), area)
            for area in (shown.insertion.area, shown.deletion.area)
        ]
        rows.append(_section.Row(shown.method, cells))
    return _section.Table(
        name=f"areas-{number}",
        title="Areas under the curves",
        corner="Method",
        columns=[
            _section.Column("insertion", "Insertion", "higher found more"),
            _section.Column("deletion", "Deletion", "lower found more"),
        ],
        rows=rows,
        caption="One image says little about a method: look for differences that stay "
        "the same over many.",
        kind="areas",
    )


def _title(subject: Subject) -> str:
    if len(subject.named.images) == 1:
        return subject.named.images[0].name
    return str(subject.named.run.get("dataset", f"{len(subject.named.images)} images"))


def _facts(subject: Subject) -> list[str]:
    explained = subject.named
    counts = (
        ("image", len(explained.images)),
        ("method", len(explained.methods)),
        ("class", len(explained.class_names)),
    )
    words = [f"{count:,} {_text.plural(noun, count)}" for noun, count in counts]
    return [str(explained.run["model"]), *words] if "model" in explained.run else words


PAGE = _section.Page(
    kind="Explanations",
    title=_title,
    facts=_facts,
    verdict=lambda subject: _explain_text.verdict(subject.named, subject.classes),
    notes=lambda subject: subject.named.notes,
    sections=(
        *_section.closing(
            lambda subject: _explain_text.terms(subject.named),
            lambda subject: _run.groups(subject.named.run),
        ),
    ),
    footer='The raw maps are in <a href="maps/">maps</a>, all numbers in '
    '<a href="metrics.json">metrics.json</a>, the page as one picture in '
    '<a href="index.png">index.png</a>.',
)
