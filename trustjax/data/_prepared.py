"""A dataset as a network takes it: its images in their size, its classes numbered."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from trustjax.data._dataset import (
    NO_CLASS,
    Dataset,
    MappedSource,
    Source,
    derived_fingerprint,
    known_labels,
)
from trustjax.preprocessing import Preprocessing


def preprocessed(dataset: Dataset, steps: Preprocessing) -> Dataset:
    """The same records with their images in the size that a network takes.

    Images are changed as they are read. What a network sees of their numbers is
    `steps.normalized(apply_fn)`.

    Args:
      dataset: images of any sizes.
      steps: what belongs to the network's weights.

    Returns:
      The dataset, with a fingerprint of its own, and a note if sizes change; the same
      one if nothing changes.

    Raises:
      ValueError: if the images have other channels than the network takes, and are not
        grey.

    >>> from trustjax import data
    >>> steps = Preprocessing(size=(6, 6), resize=7)
    >>> preprocessed(data.load("digits"), steps).image_shape
    (6, 6, 1)
    """
    *frames, height, width, channels = dataset.image_shape
    wanted = steps.channels or channels
    if channels not in (1, wanted):
        raise ValueError(
            f"the images of {dataset.name} have {channels} channels, and the network "
            f"takes {wanted}"
        )
    if steps.size is None and wanted == channels:
        return dataset
    notes = dataset.notes
    if steps.size not in (None, (height, width)):
        notes = (*notes, _change(height, width, steps))
    height, width = steps.size or (height, width)
    return dataclasses.replace(
        dataset,
        source=MappedSource(dataset.source, lambda image, _: steps.on_host(image)),
        notes=notes,
        image_shape=(*frames, height, width, wanted),
        fingerprint=derived_fingerprint(
            dataset.fingerprint, "preprocessed", *_geometry(steps), wanted
        ),
    )


def relabelled(
    dataset: Dataset, numbers: Sequence[int], class_names: Sequence[str]
) -> Dataset:
    """The same records under the classes of a network.

    Args:
      dataset: records of some of the network's classes.
      numbers: for each class of the dataset, that of the network.
      class_names: of the network.

    Returns:
      The dataset, with a fingerprint of its own; the same one if nothing changes.

    Raises:
      ValueError: if there is not one number for each class, or no name for one.

    >>> from trustjax import data
    >>> two = data.from_arrays("mine", np.zeros((2, 4, 4, 1)), [0, 1], ["cat", "owl"])
    >>> relabelled(two, [0, 2], ["cat", "dog", "owl"]).source[1]["label"]
    2
    """
    if len(numbers) != dataset.num_classes:
        raise ValueError(
            f"{dataset.name} has {dataset.num_classes} classes, got {len(numbers)} "
            "numbers"
        )
    if not all(0 <= number < len(class_names) for number in numbers):
        raise ValueError(
            f"classes must be in [0, {len(class_names)}), got {list(numbers)}"
        )
    names = tuple(class_names)
    if list(numbers) == list(range(len(names))) and names == dataset.class_names:
        return dataset
    return dataclasses.replace(
        dataset,
        source=_Relabelled(dataset.source, np.asarray(numbers, np.int32)),
        class_names=names,
        fingerprint=derived_fingerprint(
            dataset.fingerprint, "relabelled", *numbers, *names
        ),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Relabelled:
    """Records of another source under other numbers.

    Attributes:
      source: the records.
      numbers: `[classes]`, the new number of each class.
    """

    source: Source
    numbers: np.ndarray

    @property
    def labels(self) -> np.ndarray | None:
        """Those of the records, where they are known."""
        known = known_labels(self.source)
        return None if known is None else self._new(known)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self.source[index]
        return {**record, "label": int(self._new(np.asarray(record["label"])))}

    def take(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The images and the labels of these records."""
        images, labels = self.source.take(numbers)
        return images, self._new(labels)

    def _new(self, labels: np.ndarray) -> np.ndarray:
        return np.where(labels == NO_CLASS, NO_CLASS, self.numbers[labels])


def _change(height: int | None, width: int | None, steps: Preprocessing) -> str:
    """A sentence on what becomes of sizes."""
    assert steps.size is not None, "else sizes stay"
    change = "resized"
    if height is not None and width is not None:
        smaller = height < steps.size[0] and width < steps.size[1]
        change = f"{'enlarged' if smaller else 'resized'} from {height}x{width}"
    how = "whatever their aspect ratio"
    if steps.resize is not None:
        how = f"the middle of {steps.resize} pixels along the short side"
    return f"Images were {change} to {steps.size[0]}x{steps.size[1]}, {how}."


def _geometry(steps: Preprocessing) -> list[str | int]:
    assert steps.size is not None or steps.resize is None, "Preprocessing refuses it"
    return [*(steps.size or ("as it is",)), steps.resize or 0, steps.interpolation]
