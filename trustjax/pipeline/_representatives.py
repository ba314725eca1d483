"""An image of a class that a person would know it by: one the network is sure of."""

from collections.abc import Callable, Collection, Iterable

import numpy as np

from trustjax import data

CANDIDATES = 16  # of a class, from one end of the dataset to the other
_READ = 1024  # records, where the labels are known only with their images


def representatives(
    dataset: data.Dataset,
    classes: Iterable[int],
    probabilities: Callable[[np.ndarray], np.ndarray],
    *,
    without: Collection[int] = (),
) -> dict[int, np.ndarray]:
    """For each class the image of it that the network is surest of, among a few.

    Args:
      dataset: where they are taken from, as the network takes it.
      classes: which.
      probabilities: images as they are stored -> `[images, classes]`.
      without: records that are no candidates.

    Returns:
      Class -> image as it is stored; a class without a record has none.
    """
    records, labels = np.arange(len(dataset)), data.labels(dataset)
    if labels is None:
        records = _evenly(records, _READ)
        labels = np.array([dataset.source[int(n)]["label"] for n in records])
    there = ~np.isin(records, list(without))
    found = {}
    for number in sorted(classes):
        candidates = _evenly(records[there & (labels == number)], CANDIDATES)
        if len(candidates):
            images, _ = dataset.source.take(candidates.tolist())
            found[number] = images[probabilities(images)[:, number].argmax()]
    return found


def _evenly(numbers: np.ndarray, most: int) -> np.ndarray:
    """At most so many, from the first to the last."""
    if len(numbers) <= most:
        return numbers
    return numbers[np.linspace(0, len(numbers) - 1, most).round().astype(int)]
