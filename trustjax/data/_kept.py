"""Images that are decoded once and kept, where they fit in memory."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trustjax.data._dataset import ArraySource, Dataset, Source, known_labels
from trustjax.data._records import MAX_BYTES_IN_MEMORY


def kept(dataset: Dataset) -> Dataset:
    """The same dataset, each image decoded or converted only the first time it is read.

    Training reads every image many times.

    Args:
      dataset: any.

    Returns:
      The dataset; as it is if it is in memory, or its images vary in size or take more
      than 256 MiB.
    """
    if None in dataset.image_shape or not len(dataset):
        return dataset
    if isinstance(dataset.source, ArraySource | KeptSource):
        return dataset
    first = dataset.source[0]
    if len(dataset) * first["image"].nbytes >= MAX_BYTES_IN_MEMORY:
        return dataset
    return dataclasses.replace(dataset, source=KeptSource(dataset.source, first))


class KeptSource:
    """Records of another source, their images kept once they have been read.

    Attributes:
      source: the other source.
    """

    def __init__(self, source: Source, first: Mapping[str, Any]):
        self.source = source
        image = first["image"]
        # Pages that nothing was written to take no memory.
        self._images = np.empty((len(source), *image.shape), image.dtype)
        self._labels = np.empty(len(source), np.int32)
        self._there = np.zeros(len(source), bool)
        self._images[0], self._labels[0], self._there[0] = image, first["label"], True

    @property
    def labels(self) -> np.ndarray | None:
        """Those of the records, where they are known."""
        return known_labels(self.source)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        images, labels = self.take([range(len(self))[index]])
        return {"image": images[0], "label": int(labels[0])}

    def take(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The images and the labels of these records."""
        wanted = np.asarray(numbers)
        missing = wanted[~self._there[wanted]]
        if len(missing):
            images, labels = self.source.take(missing.tolist())
            self._images[missing], self._labels[missing] = images, labels
            # Last: a second thread reads what is said to be there.
            self._there[missing] = True
        return self._images[wanted], self._labels[wanted]
