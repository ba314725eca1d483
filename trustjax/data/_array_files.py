"""Files of arrays: `.npz`, and IDX."""

import os
import re
from collections.abc import Mapping, Sequence

import numpy as np

from trustjax import _npz, _questions
from trustjax.data._builders import idx_content, read_idx
from trustjax.data._parts import ALL, PART_NAMES, Part, listed
from trustjax.data._tables import files_of_parts
from trustjax.typing import ProgressFn

_IMAGES, _LABELS = ("image", "images", "x"), ("label", "labels", "y")
_CLASS_NAMES = "class_names"


class Arrays:
    """Parts of images and labels, in memory.

    Attributes:
      parts: their names.
      class_names: in the order of the labels, where the file holds them.
      labels: what labels are: `"names"` of classes, or their `"numbers"`.
    """

    def __init__(
        self,
        where: str,
        pairs: Mapping[str, tuple[np.ndarray, np.ndarray]],
        class_names: Sequence[str] = (),
    ):
        self._of = {part: _part(where, part, *pair) for part, pair in pairs.items()}
        self.parts = tuple(pairs)
        self.class_names = tuple(map(str, class_names))
        texts = any(labels.dtype.kind in "US" for _, labels in pairs.values())
        self.labels = "names" if texts else "numbers"

    def written(self, part: str) -> tuple[str, ...]:
        """The labels that its records have."""
        return self._of[part].written

    def read(self, part: str) -> Part:
        """The records of one part."""
        return self._of[part]


def of_npz(path: str, _: ProgressFn | None) -> Arrays:
    """An `.npz` file of `image` and `label`, or of such a pair for each part.

    The pair of a part is called `train_images` and `train_labels`, or `x_train` and
    `y_train`, and so on; or a folder holds a file `train.npz` and so on for each.

    Raises:
      ValueError: if there is no such pair, or an array is not what its name says.
    """
    pairs, names = {}, []
    for part, file in files_of_parts(path, ".npz").items():
        arrays = _npz.read(file)
        found = _pairs(file, arrays)
        pairs |= found if part == ALL else {part: found.popitem()[1]}
        names = arrays.get(_CLASS_NAMES, np.array(names, str)).tolist()
    return Arrays(path, pairs, names)


def _pairs(
    file: str, arrays: Mapping[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name of a part -> its images and its labels, as they are called."""
    pairs = {}
    for part, before, after in _affixes():
        image = _first(arrays, [f"{before}{name}{after}" for name in _IMAGES])
        label = _first(arrays, [f"{before}{name}{after}" for name in _LABELS])
        if image and label:
            if part in pairs:
                raise ValueError(f"{file} holds two pairs of arrays for {part}")
            pairs[part] = arrays[image], arrays[label]
    if not pairs:
        raise ValueError(
            f"{file} must hold image and label, or train_image and train_label and so "
            f"on; it holds {listed(arrays)}"
        )
    if len(pairs) > 1:
        pairs.pop(ALL, None)
    return pairs


def of_idx(path: str, _: ProgressFn | None) -> Arrays:
    """A folder of IDX files, raw or gzipped, or one of them: that of the images.

    The file of the labels is called as that of the images, with `labels` for `images`
    and `idx1` for `idx3`. The part is a word of the name: `train`, `t10k`, `test`.

    Raises:
      ValueError: if there are no such files, several of one part, or damaged ones.
    """
    if os.path.isdir(path):
        names = sorted(name for name in os.listdir(path) if "images" in name)
        of_part = [(os.path.join(path, name), _part_of(name)) for name in names]
    else:
        of_part = [(path, ALL)]
    pairs = {}
    for images, part in of_part:
        if part in pairs:
            raise ValueError(
                f"{path} has two files of images for {part}: name the one that is "
                f"meant, as in idx:{images}"
            )
        folder, name = os.path.split(images)
        labels = name.replace("images", "labels").replace("idx3", "idx1")
        if labels == name or not os.path.isfile(os.path.join(folder, labels)):
            raise ValueError(f"beside {images} there is no file of labels ({labels})")
        pairs[part] = _idx(images), _idx(os.path.join(folder, labels))
    if not pairs:
        raise ValueError(
            f"{path} has no IDX files such as train-images-idx3-ubyte and "
            "train-labels-idx1-ubyte"
        )
    return Arrays(path, pairs)


def _affixes() -> list[tuple[str, str, str]]:
    """(part, what is before the word, what is after it) of the names of arrays."""
    names = [(name, part) for name, part in PART_NAMES.items()]
    return [
        (ALL, "", ""),
        *((part, f"{name}_", "") for name, part in names),
        *((part, "", f"_{name}") for name, part in names),
    ]


def _first(arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in arrays), None)


def _part_of(name: str) -> str:
    words = re.split(r"[-_.]", name.lower())
    return next((PART_NAMES[word] for word in words if word in PART_NAMES), ALL)


def _idx(path: str) -> np.ndarray:
    try:
        return read_idx(idx_content(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _part(where: str, part: str, images: np.ndarray, labels: np.ndarray) -> Part:
    named = where if part == ALL else f"{part} in {where}"
    images, notes = _as_images(named, images)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind not in "US":
        try:
            labels = _questions.labels(labels)
        except ValueError as error:
            raise ValueError(f"{named}: {error}") from error
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"{named} has {len(images)} images, and labels of shape {labels.shape}"
        )
    values, places = np.unique(labels, return_inverse=True)
    written = tuple(
        value.decode() if isinstance(value, bytes) else str(value)
        for value in values.tolist()
    )
    return Part(
        images,
        places.astype(np.int32),
        written,
        lambda number: f"record {number} of {named}",
        notes,
    )


def _as_images(where: str, images: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """`[records, height, width, channels]` as bytes or in [0, 1], and what was done."""
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim not in (4, 5):
        raise ValueError(
            f"{where}: images must have shape [records, height, width, channels], or "
            f"[records, frames, height, width, channels], got {images.shape}"
        )
    done = []
    for axis in range(images.ndim - 3, 0, -1):
        if images.shape[axis] in (1, 3) and images.shape[-1] not in (1, 3):
            done.append(f"channels first, {list(images.shape)}, and were moved last")
            images = np.ascontiguousarray(np.moveaxis(images, axis, -1))
    if images.shape[-1] not in (1, 3):
        raise ValueError(
            f"{where}: images must have 1 channel or 3, got shape {images.shape}"
        )
    if images.dtype == np.uint16:
        done.append("numbers of 16 bits, and were divided by 257")
        images = ((images.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif images.dtype == np.bool_:
        done.append("true or false, and were taken as white and black")
        images = images.astype(np.uint8) * np.uint8(255)
    elif images.dtype != np.uint8 and _are_bytes(images):
        done.append(f"whole numbers up to 255 as {images.dtype}, and taken as bytes")
        images = images.astype(np.uint8)
    note = f"The images of {where} are {'; '.join(done)}."
    return images, (note,) if done else ()


def _are_bytes(images: np.ndarray) -> bool:
    """Whether numbers that are no bytes are 0 to 255; 0 and 1 alone may be [0, 1]."""
    if images.dtype.kind not in "iuf" or not images.size:
        return False
    low, high = images.min(), images.max()
    is_float = images.dtype.kind == "f"
    return bool(
        low >= 0
        and (1 if is_float else 0) < high <= 255
        and (not is_float or (images == np.round(images)).all())
    )
