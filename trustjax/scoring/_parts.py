"""Finished rows on disk, so that a killed run goes on where it stopped."""

import contextlib
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from trustjax import _files

_NAME = re.compile(r"part-(\d+)-(\d+)\.npz")


class Parts:
    """Finished rows of one run, in files that are there whole or not at all.

    A file holds the rows that one process computed of one batch, and is called by the
    first and the last of their records. Whoever goes on reads the rows of its own
    records from whatever files hold them: however many processes there were, and are.

    Each file carries the origin of its rows: a fingerprint of the program, parameters
    and states, and of the records of the whole batch that all processes shared. So rows
    of another network, of other data, or computed among other neighbours are never
    taken for one's own.

    Args:
      folder: of the files. It is one for all processes; where each has a disk of its
        own, each goes on with what it finished itself.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self._folder = pathlib.Path(folder)
        # As it was when the run began: what is written from now on is not asked for.
        self._there = self._listed()
        self._open: dict[pathlib.Path, Mapping[str, np.ndarray] | None] = {}

    def read(
        self, index: np.ndarray, origin: str, of_rows: Sequence[bool]
    ) -> list[np.ndarray] | None:
        """What was finished of these records, or None if one of them is missing.

        Args:
          index: record numbers, `[rows]`.
          origin: of the rows.
          of_rows: of each array, whether it holds a row for each record.

        Returns:
          The arrays, those of rows in the order of `index`.

        Raises:
          ValueError: if a file is there and no part of a run.
        """
        row_of: dict[int, np.ndarray] = {}
        found: dict[int, Mapping[str, np.ndarray]] = {}
        for path in self._holding(index):
            part = self._loaded(path)
            if part is not None and part["origin"] == origin:
                for row, number in enumerate(part["index"].tolist()):
                    row_of[number], found[number] = np.array(row), part
        wanted = index.tolist()
        if not wanted or not all(number in row_of for number in wanted):
            return None
        return [
            np.stack([found[n][f"array_{i}"][row_of[n]] for n in wanted])
            if rows
            else found[wanted[0]][f"array_{i}"]
            for i, rows in enumerate(of_rows)
        ]

    def write(self, index: np.ndarray, origin: str, arrays: list[np.ndarray]) -> None:
        """Keeps what is finished of these records."""
        if not index.size:
            return
        named = {f"array_{i}": array for i, array in enumerate(arrays)}
        path = self._folder / f"part-{index.min():09d}-{index.max():09d}.npz"
        with _files.written_whole(path) as temporary:
            np.savez(temporary, allow_pickle=False, origin=origin, index=index, **named)

    def remove(self) -> None:
        """Drops all parts, and the folder if nothing else is in it."""
        # Others may be doing the same. The hidden are what a kill left half written.
        for path in [*self._listed(), *self._folder.glob(".part-*.npz")]:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _listed(self) -> dict[pathlib.Path, tuple[int, int]]:
        """The files, and the first and the last record of each."""
        found = {}
        for path in sorted(self._folder.glob("part-*.npz")):
            if name := _NAME.fullmatch(path.name):
                found[path] = (int(name[1]), int(name[2]))
        return found

    def _holding(self, index: np.ndarray) -> list[pathlib.Path]:
        """The files that may hold some of these records."""
        if not index.size:
            return []
        first, last = index.min(), index.max()
        return [
            path for path, (a, b) in self._there.items() if a <= last and first <= b
        ]

    def _loaded(self, path: pathlib.Path) -> Mapping[str, np.ndarray] | None:
        """The arrays of a file; the last ones are kept for the batch that follows."""
        if path not in self._open:
            part = _files.kept_arrays(path)
            if part is not None and not {"origin", "index"} <= part.keys():
                raise ValueError(
                    f"{path} is no part of a run of trustjax; choose another folder"
                )
            if len(self._open) == _OPEN_AT_MOST:
                self._open.pop(next(iter(self._open)))
            self._open[path] = part
        return self._open[path]


_OPEN_AT_MOST = 4
