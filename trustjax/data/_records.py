"""Records of a prepared tfds dataset, from memory where they fit."""

import dataclasses
import hashlib
import json
import math
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trustjax import _extras
from trustjax.data._dataset import Dataset, from_arrays

with _extras.required("data"):
    import tensorflow_datasets as tfds

MAX_BYTES_IN_MEMORY = 256 * 2**20
"""Splits whose decoded images take more than this are read record by record.

So a report's memory does not grow with the test set beyond this. CIFAR-10's training
set, which training reads again and again, is 150 MiB and still stays in memory.
"""

# Each record is an object of its own until it is stacked: few of them at a time.
_RECORDS_AT_A_TIME = 4096


@dataclasses.dataclass(frozen=True)
class RecordSource:
    """Records of a tfds data source, decoded as they are read."""

    records: Any
    folder: str
    image_key: str
    label_key: str

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        images, labels = self.take([range(len(self))[index]])
        return {"image": images[0], "label": int(labels[0])}

    def take(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The images, which must be of one size, and the labels of these records."""
        try:
            records = self.records.__getitems__(list(numbers))
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"the records in {self.folder} are truncated or damaged ({error}): "
                "delete that folder to prepare them again"
            ) from error
        images = np.stack([record[self.image_key] for record in records])
        labels = np.array([record[self.label_key] for record in records], np.int32)
        return images, labels


def open_split(
    builder: Any, name: str, split: str, derived: Mapping[str, str]
) -> Dataset:
    """Opens one split of a prepared dataset.

    Args:
      builder: a prepared builder with one image and one label per record.
      name: the name that the dataset goes by.
      split: the split, one of tfds' or of `derived`.
      derived: names of further splits, and what they are in tfds' syntax; a slice of
        one is a slice of that.

    Raises:
      ValueError: if there is no such split, if the records are not labelled images,
        or if a file is truncated or damaged.
    """
    info = builder.info
    image_key, label_key = keys(info, name)
    try:
        records = _in_words_of_tfds(split, derived, info.splits)
        count = info.splits[records].num_examples
    except (KeyError, ValueError) as error:
        listed = sorted({*info.splits, *derived})
        raise ValueError(
            f"{name} has no split {split!r}: it has {', '.join(listed)}, and slices of "
            "them such as 'test[:80%]'"
        ) from error
    source = RecordSource(
        builder.as_data_source(records), str(builder.data_dir), image_key, label_key
    )
    image_shape = tuple(info.features[image_key].shape)
    class_names = tuple(info.features[label_key].names)
    if None not in image_shape and count * math.prod(image_shape) < MAX_BYTES_IN_MEMORY:
        dtype = info.features[image_key].np_dtype
        images, labels = _all_of(source, image_shape, dtype)
        return from_arrays(name, images, labels, class_names, split=split)
    if count:
        source[count - 1]  # the end of a truncated file, before hours of work
    return Dataset(
        name=name,
        split=split,
        source=source,
        class_names=class_names,
        image_shape=image_shape,
        fingerprint=_description_hash(info, records),
    )


def _in_words_of_tfds(split: str, derived: Mapping[str, str], splits: Any) -> str:
    """What tfds calls a split; a slice of a derived one is a stretch of records."""
    name, bracket, rest = split.partition("[")
    if name not in derived or not bracket or "+" in rest:
        return derived.get(split, split)
    (whole,) = tfds.core.ReadInstruction.from_spec(derived[name]).to_absolute(splits)
    records = range(splits[whole.splitname].num_examples)[whole.from_ : whole.to]
    # The slice alone, of a split that has as many records.
    alone = {"part": types.SimpleNamespace(num_examples=len(records))}
    instruction = tfds.core.ReadInstruction.from_spec(f"part[{rest}")
    (part,) = instruction.to_absolute(alone)
    chosen = records[part.from_ : part.to]
    if not chosen:
        raise ValueError(f"{split} holds no record of {len(records)}")
    return f"{whole.splitname}[{chosen.start}:{chosen.stop}]"


def _all_of(
    source: RecordSource, image_shape: tuple[int, ...], dtype: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Every image and label, in hardly more memory than they take in the end."""
    count = len(source)
    images, labels = np.empty((count, *image_shape), dtype), np.empty(count, np.int32)
    for start in range(0, count, _RECORDS_AT_A_TIME):
        some = slice(start, start + _RECORDS_AT_A_TIME)
        images[some], labels[some] = source.take(range(count)[some])
    return images, labels


def keys(info: Any, name: str) -> tuple[str, str]:
    """The names of the image and of the label in a record.

    Raises:
      ValueError: if a record is not a labelled image.
    """
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
