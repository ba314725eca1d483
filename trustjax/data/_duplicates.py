"""Images that a training set and a test set have in common."""

import concurrent.futures
import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from trustjax.data._dataset import ArraySource, Dataset
from trustjax.data._files import Files, FileSource, hash_of_file
from trustjax.data._selected import Selected
from trustjax.typing import ProgressFn

_HEAD = 4096
_AT_A_TIME = 1024


class Shared(NamedTuple):
    """What a test set shares with a training set.

    Attributes:
      compared: what was compared: `"pixels"` of arrays, `"file contents"` of files: an
        image that was saved anew is not found.
      in_training: `[test records]`, whether the same image is in the training set.
      relabelled: `[test records]`, whether it has another label there.
      repeated: `[test records]`, whether it comes before in the test set too.
    """

    compared: str
    in_training: np.ndarray
    relabelled: np.ndarray
    repeated: np.ndarray

    def notes(self) -> tuple[str, ...]:
        """A sentence on each kind that there is."""
        count, sentences = len(self.in_training), []
        if shared := int(self.in_training.sum()):
            other = int(self.relabelled.sum())
            sentences.append(
                f"{shared:,} of the {count:,} test images are also in the training set "
                f"(the same {self.compared}), {other:,} of them with another label "
                "there: what is said of the test set is partly of what was learned."
            )
        if repeated := int(self.repeated.sum()):
            sentences.append(
                f"{repeated:,} of the {count:,} test images repeat another one of them "
                f"(the same {self.compared})."
            )
        return tuple(sentences)


def shared_images(
    train: Dataset, test: Dataset, *, progress: ProgressFn | None = None
) -> Shared | None:
    """Finds the images of a test set that are also in the training set.

    Nothing is decoded. Of files only those of one size are read, of these all but the
    first 4 KB only where the first 4 KB are the same.

    Args:
      train: what a network learned from.
      test: what it is asked about.
      progress: hears how many files were read.

    Returns:
      What they share; None where one holds neither arrays nor files: the records of
      tensorflow-datasets would have to be decoded.

    >>> from trustjax import data
    >>> digits = data.load("digits")
    >>> int(shared_images(digits, digits).in_training.sum())
    539
    """
    sources, numbers = zip(*map(_origin, (train, test)), strict=True)
    if all(isinstance(source, FileSource) for source in sources):
        compared = "file contents"
        of_train, of_test = _of_files([source.files for source in sources], progress)
    elif all(isinstance(source, ArraySource) for source in sources):
        compared = "pixels"
        of_train, of_test = (_of_arrays(source.images) for source in sources)
    else:
        return None
    of_train, of_test = of_train[numbers[0]], of_test[numbers[1]]
    labels, test_labels = (
        np.asarray(source.labels)[own]
        for source, own in zip(sources, numbers, strict=True)
    )
    known = of_test != _ALONE
    in_training = known & np.isin(of_test, of_train)
    both = [_with_labels(of_train, labels), _with_labels(of_test, test_labels)]
    return Shared(
        compared,
        in_training,
        in_training & ~np.isin(both[1], both[0]),
        known & _seen_before(of_test),
    )


_ALONE = np.uint64(0)


def _origin(dataset: Dataset) -> tuple[Any, np.ndarray]:
    """The source that a dataset is made from, and the numbers of its records there."""
    source: Any = dataset.source
    numbers = np.arange(len(dataset))
    while hasattr(source, "source"):
        if isinstance(source, Selected):
            numbers = source.numbers[numbers]
        source = source.source
    return source, numbers


def _with_labels(contents: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A number for each pair of content and label."""
    return contents * np.uint64(0x9E3779B97F4A7C15) + labels.astype(np.uint64)


def _seen_before(contents: np.ndarray) -> np.ndarray:
    _, first = np.unique(contents, return_index=True)
    before = np.ones(len(contents), bool)
    before[first] = False
    return before


def _of_arrays(images: np.ndarray) -> np.ndarray:
    """A hash of each image, its type and shape; 64 bits."""
    kind = f"{images.dtype} {images.shape[1:]}".encode()
    return np.fromiter(
        (_number(hashlib.blake2b(kind + image.tobytes()).digest()) for image in images),
        np.uint64,
        len(images),
    )


def _of_files(sets: Sequence[Files], progress: ProgressFn | None) -> list[np.ndarray]:
    """A hash of what each file holds; `_ALONE` for one that is surely like no other."""
    ends = np.cumsum([len(files) for files in sets])

    def path(number: int) -> str:
        of = int(np.searchsorted(ends, number, side="right"))
        return sets[of].path(number - int(ends[of]))

    sizes = np.concatenate([files.sizes for files in sets])
    contents = np.full(len(sizes), _ALONE, np.uint64)
    candidates = np.flatnonzero(_several(sizes) & (sizes > 0))
    contents[candidates] = _hashes(path, candidates, _HEAD, progress)
    alike = _several(contents) & (contents != _ALONE)
    contents[~alike] = _ALONE
    longer = np.flatnonzero(alike & (sizes > _HEAD))
    contents[longer] = _hashes(path, longer, None, progress)
    return np.split(contents, ends[:-1])


def _several(values: np.ndarray) -> np.ndarray:
    """Where a value is there more than once."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return count[place] > 1


def _hashes(
    path: Callable[[int], str],
    numbers: np.ndarray,
    first: int | None,
    progress: ProgressFn | None,
) -> np.ndarray:
    """Of the first bytes of files, or of all; `_ALONE` where one cannot be read."""
    hashes = np.empty(len(numbers), np.uint64)
    one = lambda number: _number(hash_of_file(path(number), first))
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for begin in range(0, len(numbers), _AT_A_TIME):
            some = numbers[begin : begin + _AT_A_TIME].tolist()
            hashes[begin : begin + len(some)] = list(pool.map(one, some))
            done = begin + len(some)
            if progress and (done < len(numbers) or begin):
                progress("comparing files", done, len(numbers), {})
    return hashes


def _number(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "little")
