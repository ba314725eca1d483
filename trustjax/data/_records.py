"""Records of a prepared tfds dataset, from memory where they fit."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from trustjax import _extras
from trustjax.data._dataset import Dataset, from_arrays

with _extras.required("data"):
    import tensorflow_datasets as tfds

MAX_BYTES_IN_MEMORY = 512 * 2**20
"""Splits whose decoded images take more than this are read record by record."""


@dataclasses.dataclass(frozen=True)
class RecordSource:
    """Records of a tfds data source, decoded as they are read."""

    records: Any
    image_key: str
    label_key: str

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._named(self.records[index])

    def _named(self, record: dict[str, Any]) -> dict[str, Any]:
        label = int(record[self.label_key])
        return {"image": record[self.image_key], "label": label}

    def take(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The images, which must be of one size, and the labels of these records."""
        records = self.records.__getitems__(list(numbers))
        images = np.stack([record[self.image_key] for record in records])
        labels = np.array([record[self.label_key] for record in records], np.int32)
        return images, labels


def open_split(builder: Any, name: str, split: str, records: str) -> Dataset:
    """Opens one split of a prepared dataset.

    Args:
      builder: a prepared builder with one image and one label per record.
      name: the name that the dataset goes by.
      split: the name that the split goes by.
      records: the same split in the words of tfds, e.g. `"train[:55000]"`.

    Raises:
      ValueError: if there is no such split, if the records are not labelled images,
        or if files do not hold as many records as they were written with.
    """
    info = builder.info
    image_key, label_key = _keys(info, name)
    try:
        count = info.splits[records].num_examples
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{name} has no split {split!r}: it has {', '.join(info.splits)}, and "
            "slices of them such as 'train[:80%]'"
        ) from error
    source = RecordSource(builder.as_data_source(records), image_key, label_key)
    if len(source) != count:
        raise ValueError(
            f"{name} was written with {count} records of {split!r} but its files in "
            f"{builder.data_dir} hold {len(source)}: delete that folder to prepare "
            "it again"
        )
    image_shape = tuple(info.features[image_key].shape)
    class_names = tuple(info.features[label_key].names)
    if None not in image_shape and count * math.prod(image_shape) < MAX_BYTES_IN_MEMORY:
        images, labels = source.take(range(count))
        return from_arrays(name, images, labels, class_names, split=split)
    return Dataset(
        name=name,
        split=split,
        source=source,
        class_names=class_names,
        image_shape=image_shape,
        fingerprint=_description_hash(info, records),
    )


def _keys(info: Any, name: str) -> tuple[str, str]:
    """The names of the image and of the label in a record."""
    features = dict(info.features.items())
    keys = info.supervised_keys
    if keys is not None and len(keys) == 2:
        image, label = (features[key] for key in keys)
        if isinstance(label, tfds.features.ClassLabel) and len(image.shape) == 3:
            return keys
    raise ValueError(
        f"{name} is not a dataset of labelled images: its records hold "
        f"{', '.join(features)}"
    )


def _description_hash(info: Any, records: str) -> str:
    """A hash of what tfds wrote down about the files, not of what they hold."""
    sizes = {
        name: [split.shard_lengths, split.num_bytes]
        for name, split in info.splits.items()
    }
    description = json.dumps([info.full_name, records, sizes], sort_keys=True)
    return hashlib.sha256(description.encode()).hexdigest()
