"""What a dataset is here: records at random access, and what describes them."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from trustjax import _questions

ImageShape = tuple[Any, ...]
"""Height, width, channels, with the frames before them where the records are clips of
video; whole numbers, or `None` where they differ from record to record."""

NO_CLASS = -1
"""The label of an image that shows no class at all, such as noise."""


@runtime_checkable
class Source(Protocol):
    """Records at random access: what `grain.MapDataset.source` reads."""

    def __len__(self) -> int:
        """The number of records."""
        ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]:
        """One record, `{"image": [height, width, channels], "label": int}`."""
        ...

    def take(self, numbers: Sequence[int], /) -> tuple[np.ndarray, np.ndarray]:
        """Several records at once: `(images, labels)`, stacked."""
        ...


@dataclasses.dataclass(frozen=True)
class Dataset:
    """One split of a dataset of labelled images.

    Attributes:
      name: the name that `load` knows it by.
      split: the part of it, e.g. `"test"`.
      source: its records, `source[i] -> {"image", "label"}`, images uint8, or
        floating point in [0, 1].
      class_names: one name per class, in the order of the labels.
      image_shape: height, width, channels; of video frames, height, width, channels.
      fingerprint: a stable hash of the records, or, for sets too large to hold in
        memory, of their name, version, counts and sizes; of files, of their paths and
        what they hold or, where that is more than a GiB, of paths and sizes.
      notes: sentences on what was left out or changed, for whoever reads the numbers.
    """

    name: str
    split: str
    source: Source
    class_names: tuple[str, ...]
    image_shape: ImageShape
    fingerprint: str
    notes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """The number of classes: 0 for images that show none."""
        return len(self.class_names)

    @property
    def fixed_shape(self) -> tuple[int, ...]:
        """The shape that all images have.

        Raises:
          ValueError: if they vary in size.
        """
        fixed = tuple(size for size in self.image_shape if size is not None)
        if len(fixed) < len(self.image_shape):
            raise ValueError(
                f"the images of {self.name} vary in size: "
                "use data.convert(dataset, (height, width, channels))"
            )
        return fixed

    def __len__(self) -> int:
        """The number of records."""
        return len(self.source)


class ArraySource:
    """Records held in memory.

    >>> source = ArraySource(np.zeros((3, 8, 8, 1), np.uint8), np.array([4, 5, 6]))
    >>> len(source), source[1]["label"]
    (3, 5)
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        if images.ndim not in (4, 5) or labels.shape != images.shape[:1]:
            raise ValueError(
                "images must have shape [records, height, width, channels], or "
                "[records, frames, height, width, channels], and labels [records], got "
                f"{images.shape} and {labels.shape}"
            )
        self.images = images
        self.labels = labels.astype(np.int32)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self.images[index], "label": int(self.labels[index])}

    def take(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The images and the labels of these records."""
        return self.images[numbers], self.labels[numbers]


@dataclasses.dataclass(frozen=True)
class MappedSource:
    """Records of another source with their images changed as they are read.

    Attributes:
      source: the records.
      change: `(image, record number) -> image`; the images come out in one size.
    """

    source: Source
    change: Callable[[np.ndarray, int], np.ndarray]

    @property
    def labels(self) -> np.ndarray | None:
        """Those of the records, where they are known."""
        return known_labels(self.source)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = range(len(self))[index]
        record = self.source[number]
        image = self.change(record["image"], number)
        return {"image": image, "label": record["label"]}

    def take(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The images and the labels of these records."""
        records = [self[number] for number in numbers]
        images = np.stack([record["image"] for record in records])
        return images, np.array([record["label"] for record in records], np.int32)


def known_labels(source: Source) -> np.ndarray | None:
    """The labels of a source that holds them apart from its images, else None."""
    labels = getattr(source, "labels", None)
    return None if labels is None else np.asarray(labels)


def derived_fingerprint(fingerprint: str, *change: str | int) -> str:
    """The fingerprint of a dataset made from another by a named change."""
    return hashlib.sha256(json.dumps([fingerprint, *change]).encode()).hexdigest()


def from_arrays(
    name: str,
    images: np.ndarray | Sequence[np.ndarray],
    labels: np.ndarray | Sequence[int] | Sequence[str],
    class_names: Sequence[str],
    *,
    split: str = "all",
) -> Dataset:
    """A dataset of arrays: your own images, or a corrupted copy of a dataset.

    Args:
      name: what reports call it.
      images: `[records, height, width, channels]`, uint8 or floating in [0, 1], clips
        of video `[records, frames, height, width, channels]`; or a list of images, or
        of clips, of one size.
      labels: `[records]`, integers in [0, classes) or `NO_CLASS`, or class names.
      class_names: one name per class.
      split: what reports call this part of it.

    Returns:
      The dataset; its fingerprint is a hash of what the arrays hold.

    Raises:
      ValueError: if the shapes do not fit, a label is out of range, or an image of
        floats leaves [0, 1] or is not finite.

    ==============================  ================================================
    Edge case                       Value
    ==============================  ================================================
    images of several sizes         refused, with the sizes
    channels first, `[n, 3, h, w]`  refused: give np.moveaxis(images, 1, -1)
    labels that are floats          refused: give labels.astype(int) if whole
    labels that are strings         looked up in class_names
    images of floats up to 255      refused: divide them by 255
    ==============================  ================================================

    >>> data = from_arrays("mine", np.zeros((2, 4, 4, 1)), np.array([0, 1]), ["a", "b"])
    >>> data.image_shape, data.num_classes, len(data)
    ((4, 4, 1), 2, 2)
    """
    images = _questions.images(images)
    labels = _questions.labels(labels, class_names)
    source = ArraySource(images, labels)
    if len(labels) and not NO_CLASS <= labels.min() <= labels.max() < len(class_names):
        raise ValueError(
            f"labels of {name} must be in [0, {len(class_names)}), or {NO_CLASS} for "
            f"none; got {labels.min()} to {labels.max()}"
        )
    if images.dtype != np.uint8 and not np.all((images >= 0) & (images <= 1)):
        bytes_of_another_type = np.all((images >= 0) & (images <= 255))
        remedy = ": divide them by 255" if bytes_of_another_type else ""
        raise ValueError(
            f"images of {name} must be uint8, or finite in [0, 1], got {images.dtype} "
            f"from {images.min()} to {images.max()}{remedy}"
        )
    content = hashlib.sha256(np.ascontiguousarray(images).data)
    content.update(source.labels.data)
    description = [images.shape, str(images.dtype), list(class_names)]
    content.update(json.dumps(description).encode())
    return Dataset(
        name=name,
        split=split,
        source=source,
        class_names=tuple(class_names),
        image_shape=images.shape[1:],
        fingerprint=content.hexdigest(),
    )


def as_arrays(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Every image and label of a small dataset.

    Args:
      dataset: a dataset whose images are of one size.

    Returns:
      `(images [records, height, width, channels], labels [records])`, in the order of
      the records; images as they are stored (uint8, or floating in [0, 1]), clips of
      video with an axis of frames behind the records.

    Raises:
      ValueError: if the images vary in size.
    """
    require_one_size(dataset)
    return dataset.source.take(np.arange(len(dataset)).tolist())


def require_one_size(dataset: Dataset) -> None:
    """Requires images that can be stacked."""
    _ = dataset.fixed_shape
