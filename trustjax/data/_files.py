"""Image files as records: listed compactly, decoded when they are read."""

import dataclasses
import functools
import hashlib
import os
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from trustjax.data import _images
from trustjax.data._dataset import ImageShape

_BYTES_HASHED = 2**30
"""Sets of files up to this size are known by what they hold, larger ones by sizes."""


class Paths:
    """Many paths in little memory: one string of bytes, and where each ends.

    A million paths of Python take 100 MB, here as much as their letters.

    >>> paths = Paths(["cat/a.png", "dog/b.png"])
    >>> len(paths), paths[1]
    (2, 'dog/b.png')
    """

    def __init__(self, paths: Iterable[str] = ()):
        self._letters, self._ends = bytearray(), array("q")
        for path in paths:
            self.append(path)

    def append(self, path: str) -> None:
        """One more path."""
        self._letters += os.fsencode(path)
        self._ends.append(len(self._letters))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> str:
        number = range(len(self))[number]
        begin = self._ends[number - 1] if number else 0
        return os.fsdecode(bytes(self._letters[begin : self._ends[number]]))

    def some(self, numbers: Iterable[int]) -> "Paths":
        """These paths."""
        return Paths(self[number] for number in numbers)


@dataclasses.dataclass(frozen=True, eq=False)
class Files:
    """Image files, all under one folder.

    Attributes:
      root: the folder.
      paths: of the files, relative to it and with `/`; or absolute.
    """

    root: str
    paths: Paths

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, number: int) -> str:
        """Where the file is."""
        return os.path.join(self.root, self.paths[number])

    def some(self, numbers: Iterable[int]) -> "Files":
        """These files."""
        numbers = list(numbers)
        files = Files(self.root, self.paths.some(numbers))
        if "sizes" in self.__dict__:  # what is known need not be asked again
            files.__dict__["sizes"] = self.sizes[numbers]
        return files

    def key(self, number: int) -> bytes:
        """What decides which share of a set a file is in: not where the set lies."""
        return os.fsencode(self.paths[number])

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """Bytes of each file, `[files]`; -1 of a missing one."""
        return np.fromiter(
            (_size(self.path(number)) for number in range(len(self))),
            np.int64,
            len(self),
        )

    def content(self) -> bytes:
        """A hash of the paths, and of what the files hold or, of many, their sizes."""
        digest = hashlib.sha256()
        whole = int(self.sizes.clip(0).sum()) <= _BYTES_HASHED
        for number, size in enumerate(self.sizes.tolist()):
            held = hash_of_file(self.path(number)).hex() if whole and size >= 0 else ""
            digest.update(b"%b\0%d\0%b\0" % (self.key(number), size, held.encode()))
        return digest.digest()


@dataclasses.dataclass(frozen=True, eq=False)
class FileSource:
    """Records of image files, decoded as they are read.

    Attributes:
      files: one for each record.
      labels: int32 `[records]`.
      image_shape: height, width, channels; `None` where heights or widths differ.
    """

    files: Files
    labels: np.ndarray
    image_shape: ImageShape

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = range(len(self))[index]
        *size, channels = self.image_shape
        image = _images.decode(self.files.path(number), channels)
        if None not in size and image.shape != self.image_shape:
            # Of many files, only some were looked at.
            raise ValueError(
                f"{self.files.path(number)} is {image.shape[0]}x{image.shape[1]}, and "
                f"the images looked at are {size[0]}x{size[1]}: give all one size"
            )
        return {"image": image, "label": int(self.labels[number])}

    def take(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The images, which must be of one size, and the labels of these records."""
        records = [self[number] for number in numbers]
        images = np.stack([record["image"] for record in records])
        return images, self.labels[list(numbers)]


def hash_of_file(path: str, first: int | None = None) -> bytes:
    """A hash of what the file holds, or of its first bytes; empty if it cannot be read.

    An image that cannot be read is for whoever reads it to say.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            if first is not None:
                digest.update(file.read(first))
            else:
                for block in iter(lambda: file.read(2**20), b""):
                    digest.update(block)
    except OSError:
        return b""
    return digest.digest()


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
