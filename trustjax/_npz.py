"""Arrays from an `.npz` file of somebody else."""

import os
from typing import Any

import numpy as np


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Every array of an `.npz` file, in memory; nothing is unpickled.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is no archive, is damaged, or holds Python objects, naming the
        file, the array and what to do.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "a.npz")
    ...     np.savez(path, labels=np.array([0, None]))
    ...     read(path)
    Traceback (most recent call last):
    ValueError: ...a.npz: not of plain arrays: labels holds Python objects; save ...
    """
    where = os.fspath(path)
    with open(path, "rb") as file:
        # A zip archive begins so; np.load would take other files for pickles.
        if file.read(2) != b"PK":
            raise ValueError(f"{where}: not an .npz file (see numpy.savez)")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as archive:
                arrays, objects = {}, []
                for name in archive.files:
                    if _holds_objects(archive, name):
                        objects.append(name)
                    else:
                        arrays[name] = archive[name]
        except Exception as error:  # zipfile and numpy raise a dozen kinds
            raise ValueError(
                f"{where}: damaged, or not of plain arrays: {error}"
            ) from error
    if objects:
        first = objects[0]
        raise ValueError(
            f"{where}: not of plain arrays: {', '.join(objects)} "
            f"{'holds' if len(objects) == 1 else 'hold'} Python objects; save numbers "
            f"or strings of one type, as by {first}=np.array({first}.tolist()), and "
            "rows of one length"
        )
    return arrays


def _holds_objects(archive: Any, name: str) -> bool:
    """Whether the array's own header says that it is pickled."""
    member = name if name in archive.zip.namelist() else f"{name}.npy"
    with archive.zip.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(stream)
        else:
            header = np.lib.format.read_array_header_2_0(stream)
    return header[2].hasobject
