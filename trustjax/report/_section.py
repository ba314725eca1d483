"""What a page is made of: sections, and the blocks that they show, as values.

A page is a list of sections. Each says what it needs of the page's subject and how it
is drawn; where what it needs was not found, or there is nothing to draw, it is left
out. The template walks the list and knows the kinds of blocks, not the sections.
"""

import dataclasses
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from trustjax.assess import Quantity
from trustjax.report import _style


class Track(NamedTuple):
    """The column of drawn intervals beside a column: its title, and its two ends."""

    title: str
    low: float
    high: float


class Column(NamedTuple):
    """A column of a table.

    Attributes:
      name: in the CSV file.
      title: on the page.
      note: below the title.
      hint: what it holds, in a sentence.
      track: where its intervals are drawn; None for nowhere.
    """

    name: str
    title: str
    note: str = ""
    hint: str = ""
    track: Track | None = None


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
      text: on the page.
      value: what it is sorted by, and is in the CSV file; None where it is the text.
      low: lower end of its interval.
      high: upper end.
      also: name -> a further number of the CSV file.
      small: below the text.
      kind: its classes in the style sheet.
      level: per cent of colour; None for none.
      hint: what a pointer is told.
    """

    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    also: Mapping[str, Any] = {}
    small: str = ""
    kind: str = ""
    level: int | None = None
    hint: str = ""


class Row(NamedTuple):
    """A row of a table.

    Attributes:
      name: its head.
      cells: one for each column.
      mark: what stands beside the name, and what that means.
      info: a sentence on what the row is.
    """

    name: str
    cells: Sequence[Cell]
    mark: tuple[str, str] | None = None
    info: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A table that can be sorted, and is a CSV file as well.

    Attributes:
      name: unique on the page; of its file.
      title: its heading.
      corner: the head of the column of names.
      columns: beside it.
      rows: on the page.
      caption: what to look for.
      rest: rows for the file only.
      kind: its classes in the style sheet.
      width: of each column, in per cent; 0 leaves it to the browser.
      infos: the heading of what the rows are; empty for none.
    """

    macro: ClassVar[str] = "table"

    name: str
    title: str
    corner: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    caption: str
    rest: Sequence[Row] = ()
    kind: str = ""
    width: float = 0.0
    infos: str = ""

    @property
    def file(self) -> str:
        """Where the CSV file lies beside the page."""
        return f"tables/{self.name}.csv"


class Tile(NamedTuple):
    """A number at the top of the page, and what to think of it."""

    name: str
    quantity: Quantity
    text: str
    interval: str
    note: str
    warn: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Tiles:
    """The numbers at the top of the page."""

    macro: ClassVar[str] = "tiles"

    tiles: Sequence[Tile]


@dataclasses.dataclass(frozen=True, eq=False)
class Shelf:
    """A row of pictures."""

    macro: ClassVar[str] = "shelf"

    name: str
    title: str
    pictures: Sequence[Mapping[str, Any]]
    caption: str


class Panel(NamedTuple):
    """One picture of a row, under the question that it answers.

    Attributes:
      question: above it.
      source: a data address.
      alternative: what a reader who cannot see it is told.
      pixelated: whether its pixels are to be seen.
      legend: the colours from low to high, for CSS; empty for none.
      low: the number at their left end.
      high: the number at their right end.
      notes: below it, a line each.
      beside: an image to compare with, and what it is: a data address, words, whether
        its pixels are to be seen.
    """

    question: str
    source: str
    alternative: str
    pixelated: bool
    legend: str = ""
    low: str = ""
    high: str = ""
    notes: Sequence[str] = ()
    beside: tuple[str, str, bool] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Panels:
    """Pictures with a question and a legend each.

    Attributes:
      name: unique on the page.
      title: its heading.
      panels: the pictures.
      caption: what to look for.
      kind: its classes in the style sheet: `threes` keeps three together.
    """

    macro: ClassVar[str] = "panels"

    name: str
    title: str
    panels: Sequence[Panel]
    caption: str
    kind: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Terms:
    """Words and what they mean."""

    macro: ClassVar[str] = "terms"

    entries: Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True, eq=False)
class Groups:
    """Names and values, in groups with a heading each."""

    macro: ClassVar[str] = "groups"

    groups: Sequence[tuple[str, Sequence[tuple[str, str]]]]


Block = _style.Drawing | Table | Tiles | Shelf | Panels | Terms | Groups
"""Anything a section shows; `macro` names its macro in `blocks.html.jinja`."""

Drawn = Sequence[Sequence[Block | None]]


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
      name: unique on the page; of its anchor.
      title: its heading, or what names it where it has none.
      drawn: subject -> rows of blocks; those of a row stand side by side. What it has
        no data for is None.
      needs: attributes of the subject without which the section is left out, with
        dots: `"assessed.gradients"`.
      label: in the list of contents; empty leaves it out there.
      lead: subject -> what stands below the heading.
      headed: whether the heading is shown.
    """

    name: str
    title: str
    drawn: Callable[[Any], Drawn]
    needs: tuple[str, ...] = ()
    label: str = ""
    lead: Callable[[Any], str] = lambda subject: ""
    headed: bool = True

    def filled(self, subject: Any) -> "Filled | None":
        """The section of a subject; None where it is left out."""
        if not all(_is_there(subject, part) for part in self.needs):
            return None
        rows = [
            blocks
            for row in self.drawn(subject)
            if (blocks := [block for block in row if block is not None])
        ]
        return Filled(self, self.lead(subject), rows) if rows else None


class Filled(NamedTuple):
    """A section with what it shows."""

    section: Section
    lead: str
    rows: Sequence[Sequence[Block]]

    @property
    def blocks(self) -> Iterator[Block]:
        """All blocks in their order."""
        for row in self.rows:
            yield from row


def closing(
    terms: Callable[[Any], Any],
    run: Callable[[Any], Sequence[tuple[str, Sequence[tuple[str, str]]]]],
) -> tuple[Section, Section]:
    """The end of every page: how to read it, and what was run.

    Args:
      terms: subject -> words and what they mean.
      run: subject -> groups of names and values.
    """
    read, done = "How to read this", "What was run"
    return (
        Section("terms", read, lambda s: [[Terms(terms(s))]], label=read),
        Section("run", done, lambda s: [[Groups(run(s))]], label=done),
    )


def _is_there(subject: Any, part: str) -> bool:
    value = operator.attrgetter(part)(subject)
    return value is not None and (not hasattr(value, "__len__") or len(value) > 0)


@dataclasses.dataclass(frozen=True)
class Page:
    """A kind of page.

    Attributes:
      kind: what it is called above its title.
      title: subject -> its title.
      facts: subject -> a few words each.
      verdict: subject -> sentences; `*bold*` are the numbers.
      notes: subject -> sentences on what the page takes for granted.
      sections: from top to bottom.
      footer: what lies beside the page, as HTML.
    """

    kind: str
    title: Callable[[Any], str]
    facts: Callable[[Any], Sequence[str]]
    verdict: Callable[[Any], Sequence[str]]
    notes: Callable[[Any], Sequence[str]]
    sections: tuple[Section, ...]
    footer: str
