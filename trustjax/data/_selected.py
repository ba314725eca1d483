"""A dataset without the records of some labels."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from trustjax.data._dataset import (
    Dataset,
    Source,
    derived_fingerprint,
    known_labels,
)

_RECORDS_AT_A_TIME = 4096


def without_labels(dataset: Dataset, ignored: Sequence[str]) -> Dataset:
    """The same records but those of some classes, which stay classes.

    Args:
      dataset: any; where it does not hold its labels in memory, it is read once.
      ignored: names of classes, or their numbers.

    Returns:
      The dataset, with a fingerprint of its own, and a note for each label.

    Raises:
      ValueError: if a label is neither the name of a class nor a number.

    >>> from trustjax import data
    >>> eight = without_labels(data.load("digits"), ["3", "9"])
    >>> eight.notes[0], eight.num_classes
    ('Left out, as asked, for the label 3: 55 of test.', 10)
    """
    labels = _labels(dataset.source)
    kept, notes = np.ones(len(labels), bool), []
    for label in ignored:
        gone = labels == _number(label, dataset)
        kept &= ~gone
        notes.append(
            f"Left out, as asked, for the label {label}: {gone.sum():,} of "
            f"{dataset.split}."
        )
    return dataclasses.replace(
        dataset,
        source=Selected(dataset.source, np.flatnonzero(kept)),
        fingerprint=derived_fingerprint(dataset.fingerprint, "without", *ignored),
        notes=(*dataset.notes, *notes),
    )


def _number(label: str, dataset: Dataset) -> int:
    """The class that a name or a number stands for."""
    if label in dataset.class_names:
        return dataset.class_names.index(label)
    if label.removeprefix("-").isdecimal():
        return int(label)
    raise ValueError(
        f"no class of {dataset.name} is called {label!r}, so that nothing can be left "
        f"out; they are {', '.join(dataset.class_names[:12])}"
    )


def labels(dataset: Dataset) -> np.ndarray | None:
    """The label of every record, `[records]`; None if images must be read for that.

    >>> from trustjax import data
    >>> labels(data.load("digits", "test"))[:3]
    array([2, 9, 4], dtype=int32)
    """
    return known_labels(dataset.source)


def _labels(source: Any) -> np.ndarray:
    if (known := known_labels(source)) is not None:
        return known
    blocks = [
        source.take(range(len(source))[begin : begin + _RECORDS_AT_A_TIME])[1]
        for begin in range(0, len(source), _RECORDS_AT_A_TIME)
    ]
    return np.concatenate([np.empty(0, np.int32), *blocks])


def some(dataset: Dataset, numbers: Sequence[int]) -> Dataset:
    """The records of these numbers, in their order.

    Raises:
      ValueError: if there is no such record.

    >>> from trustjax import data
    >>> len(some(data.load("digits"), [3, 17])), some(data.load("digits"), [3]).name
    (2, 'digits')
    """
    count = len(dataset)
    for number in numbers:
        if not 0 <= number < count:
            raise ValueError(
                f"{dataset.name} has no record {number} in its split "
                f"{dataset.split!r}: its {count:,} are 0 to {count - 1:,}"
            )
    return dataclasses.replace(
        dataset,
        source=Selected(dataset.source, np.asarray(numbers, np.int64)),
        fingerprint=derived_fingerprint(dataset.fingerprint, "some", *numbers),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Selected:
    """Some records of another source.

    Attributes:
      source: the other source.
      numbers: `[records]`, their numbers there.
    """

    source: Source
    numbers: np.ndarray

    @property
    def labels(self) -> np.ndarray | None:
        """Those of the records, where they are known."""
        known = known_labels(self.source)
        return None if known is None else known[self.numbers]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Any:
        return self.source[int(self.numbers[index])]

    def take(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The images and the labels of these records."""
        return self.source.take(self.numbers[list(numbers)].tolist())
