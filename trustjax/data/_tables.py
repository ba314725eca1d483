"""A table of image files and their labels: CSV, or JSON lines."""

import csv
import json
import os
from array import array
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from trustjax.data._files import Files, Paths
from trustjax.data._parts import ALL, PART_NAMES, Part, listed
from trustjax.typing import ProgressFn

# How people name the columns; `file_name` is that of metadata.jsonl.
_PATH = ("path", "file_name", "filename", "image")
_LABEL = ("label", "class")
_SPLIT = "split"
_MORE = "\0more"
_ROWS_BETWEEN_REPORTS = 10_000


class _Row(NamedTuple):
    """One row: where it is, where its image is, its label and its part."""

    file: str
    line: int
    path: str
    label: str
    part: str


class _Rows(NamedTuple):
    """The rows of one part, compactly."""

    paths: Paths
    labels: array
    lines: array


class Table:
    """Rows of path and label, found by the names of the columns.

    Paths are relative to the file's folder, or absolute. A column `split` divides the
    rows, or the names of several files do; without either they are one part.
    """

    labels = "either"
    class_names = ()

    def __init__(self, path: str, rows: Iterator[_Row], progress: ProgressFn | None):
        self._path = path
        self._written: dict[str, int] = {}
        self._of: dict[str, _Rows] = {}
        self._files: dict[str, str] = {}
        done = 0
        for done, row in enumerate(rows, 1):
            of = self._of.setdefault(row.part, _Rows(Paths(), array("i"), array("q")))
            of.paths.append(row.path)
            of.labels.append(self._written.setdefault(row.label, len(self._written)))
            of.lines.append(row.line)
            self._files[row.part] = row.file
            if progress and done % _ROWS_BETWEEN_REPORTS == 0:
                progress(f"reading {path}", done, None, {})
        if not done:
            raise ValueError(f"{path} has no rows")
        if ALL in self._of and len(self._of) > 1:
            line = self._of[ALL].lines[0]
            raise ValueError(
                f"{self._files[ALL]}, line {line}, names no split, and other rows do: "
                f"{listed(part for part in self._of if part != ALL)}"
            )

    @property
    def parts(self) -> tuple[str, ...]:
        """Those of the column `split` or of the files; else `ALL`."""
        return tuple(self._of)

    def written(self, part: str) -> tuple[str, ...]:
        """The labels that its rows have."""
        names = list(self._written)
        return tuple(names[number] for number in np.unique(self._of[part].labels))

    def read(self, part: str) -> Part:
        """The rows of one part."""
        rows, file = self._of[part], self._files[part]
        return Part(
            Files(os.path.dirname(os.path.abspath(file)), rows.paths),
            np.array(rows.labels, np.int32),
            tuple(self._written),
            lambda number: f"{file}, line {rows.lines[number]},",
        )


def of_csv(path: str, progress: ProgressFn | None) -> Table:
    """A CSV file whose first row names the columns; or a folder of `train.csv`, ..."""
    return Table(path, _all_rows(path, ".csv", _csv_rows), progress)


def of_json_lines(path: str, progress: ProgressFn | None) -> Table:
    """A file of one JSON object a line; or a folder of `train.jsonl`, ..."""
    return Table(path, _all_rows(path, ".jsonl", _json_rows), progress)


_Records = Iterator[tuple[int, Mapping[str, Any]]]


def _all_rows(
    path: str, suffix: str, records: Callable[[str], _Records]
) -> Iterator[_Row]:
    for part, file in files_of_parts(path, suffix).items():
        for row in _rows(file, records(file)):
            yield row if part == ALL else row._replace(part=part)


def files_of_parts(path: str, suffix: str) -> dict[str, str]:
    """Name of a part -> its file: one file alone, or those so called in a folder.

    Raises:
      ValueError: if a folder has no file of a part, or two for one.
    """
    if not os.path.isdir(path):
        return {ALL: path}
    files: dict[str, str] = {}
    for name in sorted(os.listdir(path)):
        stem, its_suffix = os.path.splitext(name)
        part = PART_NAMES.get(stem.lower())
        if part is not None and its_suffix == suffix:
            if part in files:
                raise ValueError(
                    f"{path} has two files for {part}: {files[part]} and {name}"
                )
            files[part] = os.path.join(path, name)
    if not files:
        raise ValueError(
            f"{path} is a folder without a file train{suffix} or test{suffix}"
        )
    return files


def _rows(path: str, records: _Records) -> Iterator[_Row]:
    for line, record in records:
        file = _value(path, line, record, _PATH)
        if not isinstance(file, str):
            raise ValueError(f"{path}, line {line}: the path {file!r} is no text")
        label = _value(path, line, record, _LABEL)
        if not isinstance(label, str | int) or isinstance(label, bool):
            raise ValueError(
                f"{path}, line {line}: the label {label!r} is neither a name nor a "
                "whole number"
            )
        said = record.get(_SPLIT) or ALL
        part = ALL if said == ALL else PART_NAMES.get(str(said).lower())
        if part is None:
            raise ValueError(
                f"{path}, line {line}: the split {said!r} is none of "
                f"{listed(PART_NAMES)}"
            )
        yield _Row(path, line, file, str(label).strip(), part)


def _value(
    path: str, line: int, record: Mapping[str, Any], names: tuple[str, ...]
) -> Any:
    """What the first of these columns holds that is there."""
    for name in names:
        if name in record:
            if record[name] in (None, ""):
                raise ValueError(f"{path}, line {line}: no {name} is given")
            return record[name]
    raise ValueError(
        f"{path}, line {line}: there is no {' or '.join(names)}; there are "
        f"{listed(map(str, record))}"
    )


def _csv_rows(path: str) -> _Records:
    # A byte order mark, as Excel writes it, belongs to no column's name.
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restkey=_MORE)
        try:
            for record in reader:
                if _MORE in record:
                    raise ValueError(
                        f"{path}, line {reader.line_num}: it has more values than "
                        "columns are named; a path with a comma must be in quotes"
                    )
                yield reader.line_num, record
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(
                f"{path}, line {reader.line_num + 1}: no CSV in UTF-8: {error}"
            ) from error


def _json_rows(path: str) -> _Records:
    with open(path, encoding="utf-8-sig") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                record = json.loads(text)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {line}: no JSON: {error}") from error
            if not isinstance(record, dict):
                raise ValueError(f"{path}, line {line}: no JSON object")
            yield line, record
