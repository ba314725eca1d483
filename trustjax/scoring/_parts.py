"""Finished batches on disk, so that a killed run goes on where it stopped."""

import contextlib
import os
import pathlib

import numpy as np

from trustjax import _files


class Parts:
    """Numbered parts of one run, each a file that is there whole or not at all.

    A part carries the fingerprint of all that it was computed from, so that a part of
    another program, other parameters or data is never taken for one's own.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self._folder = pathlib.Path(folder)

    def read(self, number: int, origin: str) -> list[np.ndarray] | None:
        """The arrays of a finished part of that origin, or None.

        Raises:
          ValueError: if the file is there and no part of a run.
        """
        part = _files.kept_arrays(self._path(number))
        if part is None:
            return None
        if "origin" not in part:
            raise ValueError(
                f"{self._path(number)} is no part of a run of trustjax; choose another "
                "folder"
            )
        if part["origin"] != origin:
            return None
        return [part[f"array_{i}"] for i in range(len(part) - 1)]

    def write(self, number: int, origin: str, arrays: list[np.ndarray]) -> None:
        """Keeps the arrays of a finished part."""
        named = {f"array_{i}": array for i, array in enumerate(arrays)}
        with _files.written_whole(self._path(number)) as temporary:
            np.savez(temporary, allow_pickle=False, origin=origin, **named)

    def remove(self) -> None:
        """Drops all parts, and the folder if nothing else is in it."""
        digits = "[0-9]" * 6
        # The second are what a kill left half written.
        for pattern in (f"part-{digits}.npz", f".part-{digits}-*.npz"):
            for path in self._folder.glob(pattern):
                path.unlink()
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _path(self, number: int) -> pathlib.Path:
        return self._folder / f"part-{number:06d}.npz"
