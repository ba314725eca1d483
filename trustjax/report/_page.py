"""A page as one HTML document that needs nothing beside it, and its files."""

import csv
import importlib.resources
import io
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from trustjax import _extras
from trustjax.report import _names, _section, _style
from trustjax.typing import ProgressFn

with _extras.required("report"):
    import jinja2
    import markupsafe


class Rendered(NamedTuple):
    """A finished page.

    Attributes:
      html: the document.
      files: path beside the page -> text: a CSV file of every table, and every figure.
    """

    html: str
    files: Mapping[str, str]


def render(
    page: _section.Page,
    subject: Any,
    names: _names.Names,
    progress: ProgressFn | None = None,
) -> Rendered:
    """The page about a subject.

    Args:
      page: its words and sections.
      subject: what they are about.
      names: those that the subject's users gave.
      progress: hears, as the task `"drawing"`, how many of the sections are done.
    """
    folder = importlib.resources.files("trustjax.report")

    def text(name: str) -> str:
        return (folder / name).read_text("utf-8")

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        loader=jinja2.FunctionLoader(text),
    )
    environment.finalize = names.markup
    environment.globals["place"] = place
    environment.filters["attribute"] = names.attribute
    environment.filters["emphasised"] = lambda text: emphasised(text, names)
    sections = []
    for done, section in enumerate(page.sections, 1):
        if filled := section.filled(subject):
            sections.append(filled)
        if progress is not None:
            progress("drawing", done, len(page.sections), {})
    html = environment.get_template("page.html.jinja").render(
        css=text("page.css"),
        script=text("sort.js"),
        kind=page.kind,
        title=page.title(subject),
        facts=page.facts(subject),
        verdict=page.verdict(subject),
        notes=page.notes(subject),
        sections=sections,
        footer=page.footer,
    )
    files: dict[str, str] = {}
    for block in (block for filled in sections for block in filled.blocks):
        if isinstance(block, _style.Drawing):
            files[block.file] = _style.standalone(block.svg)
        elif isinstance(block, _section.Table):
            files[block.file] = to_csv(block, names)
    return Rendered(html, files)


def to_csv(table: _section.Table, names: _names.Names) -> str:
    """Every row of a table, with all digits, the ends of intervals and full names."""
    rows = [*table.rows, *table.rest]
    columns = [
        (place, column, _numbers_beside(row.cells[place] for row in rows))
        for place, column in enumerate(table.columns)
    ]
    numeric = {
        place
        for place, _ in enumerate(table.columns)
        if any(row.cells[place].value is not None for row in rows)
    }
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    head = [table.corner]
    for _, column, beside in columns:
        head += [column.name, *(f"{column.name} {name}" for name in beside)]
    writer.writerow(map(names.plain, head))
    for row in rows:
        line: list[Any] = [row.name]
        for place, _, beside in columns:
            cell = row.cells[place]
            missing = "" if place in numeric else cell.text
            line.append(missing if cell.value is None else cell.value)
            line += [_beside(cell).get(name, "") for name in beside]
        writer.writerow(
            names.plain(item) if isinstance(item, str) else item for item in line
        )
    return file.getvalue()


def _beside(cell: _section.Cell) -> dict[str, Any]:
    ends = {"low": cell.low, "high": cell.high}
    known = {name: end for name, end in ends.items() if end is not None}
    return known | dict(cell.also)


def _numbers_beside(cells: Iterator[_section.Cell]) -> list[str]:
    return list(dict.fromkeys(name for cell in cells for name in _beside(cell)))


def emphasised(sentence: str, names: _names.Names) -> markupsafe.Markup:
    """Escaped text, with `*this*` in bold; an asterisk in a name is one."""
    pieces = re.split(f"({_names.MARKED.pattern.replace('(', '(?:', 1)})", sentence)
    escaped = markupsafe.Markup("")
    bold = False
    for piece in pieces:
        if _names.MARKED.fullmatch(piece):
            escaped += names.markup(piece)
            continue
        first, *others = piece.split("*")
        escaped += first
        for other in others:
            escaped += markupsafe.Markup("</b>" if bold else "<b>") + other
            bold = not bold
    return escaped


def place(value: float, low: float, high: float) -> float:
    """Where a value stands on a track from `low` to `high`, in per cent."""
    if high <= low:
        return 50.0
    return round(float(np.clip(100 * (value - low) / (high - low), 0, 100)), 2)
