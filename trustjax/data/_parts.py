"""What every road from somebody's own files gives: parts of labelled images."""

import collections
import dataclasses
from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

import numpy as np

from trustjax.data._files import Files

ALL = "all"
"""The one part of what is not divided."""

PART_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
    "t10k": "test",
}
"""How people call the parts of a dataset, and how they are called here."""


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """Labelled images that lie together.

    Attributes:
      images: files, or `[records, height, width, channels]`.
      labels: `[records]`, places in `written`.
      written: the labels as they are written, each once.
      place: record number -> where its label is to be found.
      notes: sentences on what was left out.
    """

    images: Files | np.ndarray
    labels: np.ndarray
    written: tuple[str, ...]
    place: Callable[[int], str]
    notes: tuple[str, ...] = ()


@runtime_checkable
class Road(Protocol):
    """A folder, a table or a file of arrays, opened."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of its parts: `ALL` alone, or some of those in `PART_NAMES`."""
        ...

    @property
    def labels(self) -> str:
        """What labels are: `"names"` of classes, `"numbers"`, or `"either"`."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels, where the road itself has them."""
        ...

    def written(self, part: str) -> tuple[str, ...]:
        """The labels of one part as they are written, also those without a record."""
        ...

    def read(self, part: str) -> Part:
        """The records of one part."""
        ...


class LeftOut:
    """Counts what is left out, and remembers the first of each kind.

    >>> left_out = LeftOut()
    >>> left_out.add("hidden", ".DS_Store")
    >>> left_out.notes("photos")
    ('In photos, 1 entry was left out: 1 hidden (.DS_Store).',)
    """

    _SHOWN = 3

    def __init__(self):
        self._counts: collections.Counter[str] = collections.Counter()
        self._first: dict[str, list[str]] = collections.defaultdict(list)

    def add(self, kind: str, name: str) -> None:
        """One more of this kind."""
        self._counts[kind] += 1
        if len(self._first[kind]) < self._SHOWN:
            self._first[kind].append(name)

    def notes(self, where: str) -> tuple[str, ...]:
        """A sentence, or none if nothing was left out."""
        total = self._counts.total()
        if not total:
            return ()
        kinds = "; ".join(
            f"{count:,} {kind} ({listed(self._first[kind], count)})"
            for kind, count in self._counts.items()
        )
        entries = "1 entry was" if total == 1 else f"{total:,} entries were"
        return (f"In {where}, {entries} left out: {kinds}.",)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in the order of their labels, each once.

    Whole numbers by their size, anything else as Python sorts strings: `2` is before
    `10`, and `Zebra` before `ant`.

    >>> in_order(["10", "9", "1"]), in_order(["b", "10", "9"])
    (('1', '9', '10'), ('10', '9', 'b'))
    """
    names = set(names)
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def listed(names: Iterable[str], count: int | None = None, limit: int = 12) -> str:
    """The first names, with dots where there are more.

    Names of files that are no UTF-8 are written so that a page can hold them.

    >>> listed("abc", limit=2), listed("ab", count=7)
    ('a, b, ...', 'a, b, ...')
    """
    names = list(names)
    count = len(names) if count is None else count
    shown = [n.encode("utf-8", "backslashreplace").decode() for n in names[:limit]]
    return ", ".join(shown) + (", ..." if count > len(shown) else "")
