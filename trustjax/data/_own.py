"""Datasets of somebody's own files: one road in for all of them."""

import dataclasses
import functools
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trustjax.data import _array_files, _looks, _shares, _tables
from trustjax.data._dataset import Dataset, ImageShape, from_arrays
from trustjax.data._files import Files, FileSource, Paths
from trustjax.data._folder import ClassFolders
from trustjax.data._kept import kept
from trustjax.data._parts import ALL, Part, Road, in_order, listed
from trustjax.typing import ProgressFn

_ROADS: dict[str, Callable[[str, ProgressFn | None], Road]] = {
    "csv": _tables.of_csv,
    "folder": ClassFolders,
    "idx": _array_files.of_idx,
    "jsonl": _tables.of_json_lines,
    "npz": _array_files.of_npz,
}

KINDS = tuple(f"{kind}:PATH" for kind in _ROADS)
"""How own data are named."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How own files become a dataset.

    Attributes:
      class_names: in the order of the labels; those of the training set if empty.
      ignore_labels: labels whose records are left out, as they are written, or as
        numbers or names of classes.
      skip_unreadable: whether files that are no whole images are left out. All are
        then decoded once, to know them.
      split_seed: of the division of what is not divided.
    """

    class_names: tuple[str, ...] = ()
    ignore_labels: tuple[str, ...] = ()
    skip_unreadable: bool = False
    split_seed: int = 0

    def __post_init__(self):
        if len(set(self.class_names)) < len(self.class_names):
            twice = next(n for n in self.class_names if self.class_names.count(n) > 1)
            raise ValueError(f"class_names must differ, and {twice!r} is there twice")


def is_own(name: str) -> bool:
    """Whether a dataset is named by its kind and place.

    >>> is_own("folder:/data/cats"), is_own("emnist/letters:3.0.0")
    (True, False)
    """
    return name.partition(":")[0] in _ROADS and ":" in name


def short_name(name: str) -> str:
    """The name of a dataset for folders and files: without the folders around it.

    >>> short_name("folder:/data/cats/"), short_name("emnist/letters")
    ('cats', 'emnist-letters')
    """
    if is_own(name):
        path = os.path.abspath(_place(name)[1])
        return os.path.splitext(os.path.basename(path))[0] or "root"
    return name.replace("/", "-")


def _place(name: str) -> tuple[str, str]:
    """The kind and the path; a shell expands no `~` behind a colon."""
    kind, _, path = name.partition(":")
    return kind, os.path.expanduser(path)


def require_there(name: str) -> None:
    """Refuses a place where there is nothing.

    Raises:
      FileNotFoundError: naming it.
    """
    _, path = _place(name)
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"{name}: there is no {path or 'path behind the colon'}"
        )


def load_splits(
    name: str,
    splits: Sequence[str],
    options: Options,
    progress: ProgressFn | None = None,
) -> tuple[Dataset, ...]:
    """Some splits of a dataset, with classes and channels that they share.

    Args:
      name: `"folder:PATH"` and its like.
      splits: as `_shares.parse` takes them.
      options: how the files become a dataset.
      progress: hears how many files were listed and looked at.

    Raises:
      ValueError: if the files are not what they should be, naming the first that is
        not; if a split is not there, or has no records.
      OSError: if there is nothing, or it cannot be read.
    """
    require_there(name)
    kind, path = _place(name)
    return _loaded(name, _ROADS[kind](path, progress), splits, options, progress)


def _loaded(
    name: str,
    road: Road,
    splits: Sequence[str],
    options: Options,
    progress: ProgressFn | None = None,
) -> tuple[Dataset, ...]:
    shares = {split: _shares.parse(split, road.parts, name) for split in splits}
    classes = _classes(road, options)
    asked = dict.fromkeys(share.part for share in _all_shares(shares))
    parts = {part: road.read(part) for part in asked}
    if not options.skip_unreadable:
        for part in parts.values():
            _require_files(part)

    @functools.cache
    def positions(part: str) -> np.ndarray:
        images = parts[part].images
        return _shares.positions(len(images), _key(images), options.split_seed)

    chosen = {
        split: _chosen(split, shares[split], parts, positions, road, classes, options)
        for split in shares
    }
    for split, records in chosen.items():
        if not len(records.labels):
            raise ValueError(
                f"the split {split!r} of {name} has no records; it is "
                f"{_in_words(shares[split])}"
            )
    notes = [
        *_division(name, shares),
        *(note for part in parts.values() for note in part.notes),
        *_ignored(chosen, options),
    ]
    if any(isinstance(records.images, Files) for records in chosen.values()):
        chosen, seen = _looked_at(chosen, options, progress)
        notes += seen
    said = tuple(dict.fromkeys(notes))
    datasets = {
        split: dataclasses.replace(kept(records.dataset(name, classes)), notes=said)
        for split, records in chosen.items()
    }
    return tuple(datasets[split] for split in splits)


def load_images(name: str, split: str) -> Dataset:
    """Images whose classes do not matter: also of a folder without class folders.

    Args:
      name: `"folder:PATH"` and its like.
      split: a part of it; all of it where there is no such part.

    Raises:
      ValueError: as `load_splits`.
      OSError: as `load_splits`.
    """
    require_there(name)
    kind, path = _place(name)
    if kind == "folder":
        road: Road = ClassFolders(path, unlabelled=True)
    else:
        road = _ROADS[kind](path, None)
    (dataset,) = _loaded(
        name, road, [split if split in road.parts else "+".join(road.parts)], Options()
    )
    return dataset


class _Records(NamedTuple):
    """What a split holds, its classes numbered."""

    split: str
    images: Any
    labels: np.ndarray
    ignored: dict[str, int]
    image_shape: ImageShape | None = None

    def readable(self, look: _looks.Looked, channels: int) -> "_Records":
        """The same without the files that cannot be read."""
        there = self
        if len(look.unreadable):
            numbers = np.delete(np.arange(len(self.images)), look.unreadable)
            there = self._replace(
                images=self.images.some(numbers.tolist()), labels=self.labels[numbers]
            )
        return there._replace(image_shape=(*look.size, channels))

    def dataset(self, name: str, classes: tuple[str, ...]) -> Dataset:
        if isinstance(self.images, np.ndarray):
            return from_arrays(
                name, self.images, self.labels, classes, split=self.split
            )
        assert self.image_shape is not None, "files are looked at"
        description = [self.split, self.image_shape, classes]
        content = hashlib.sha256(json.dumps(description).encode())
        content.update(self.images.content())
        content.update(self.labels.tobytes())
        return Dataset(
            name=name,
            split=self.split,
            source=FileSource(self.images, self.labels, self.image_shape),
            class_names=classes,
            image_shape=self.image_shape,
            fingerprint=content.hexdigest(),
        )


def _all_shares(
    shares: dict[str, tuple[_shares.Share, ...]],
) -> list[_shares.Share]:
    return list(itertools.chain.from_iterable(shares.values()))


def _classes(road: Road, options: Options) -> tuple[str, ...]:
    """The names of the classes, in order: those given, else those of training."""
    if names := options.class_names or road.class_names:
        return names
    part = "train" if "train" in road.parts else road.parts[0]
    written = [w for w in road.written(part) if w not in options.ignore_labels]
    if road.labels == "numbers" and written:
        return tuple(map(str, range(max(map(int, written)) + 1)))
    return in_order(written)


def _require_files(part: Part) -> None:
    """Requires the files that a table names."""
    if isinstance(part.images, Files) and (missing := part.images.sizes < 0).any():
        first = int(np.argmax(missing))
        raise FileNotFoundError(
            f"{part.place(first)} names {part.images.path(first)}, which is not there "
            f"({missing.sum():,} such {'file' if missing.sum() == 1 else 'files'}); "
            "--skip-unreadable leaves them out"
        )


def _chosen(
    split: str,
    shares: Sequence[_shares.Share],
    parts: dict[str, Part],
    positions: Callable[[str], np.ndarray],
    road: Road,
    classes: tuple[str, ...],
    options: Options,
) -> _Records:
    """The records of a split: those of its shares that are not to be left out."""
    images, labels = [], []
    left_out = dict.fromkeys(options.ignore_labels, 0)
    for share in shares:
        part = parts[share.part]
        of_part = functools.partial(positions, share.part)
        numbers = _shares.numbers(share, len(part.labels), of_part)
        number_of, ignored = _numbering(part, road, classes, options.ignore_labels)
        for label, places in ignored.items():
            gone = np.isin(part.labels[numbers], places)
            left_out[label] += int(gone.sum())
            numbers = numbers[~gone]
        labels.append(number_of[part.labels[numbers]])
        images.append(_some(part.images, numbers))
    return _Records(split, _joined(images), np.concatenate(labels), left_out)


def _looked_at(
    chosen: Mapping[str, _Records], options: Options, progress: ProgressFn | None
) -> tuple[dict[str, _Records], tuple[str, ...]]:
    """The records that can be read, with the channels of all, and what to say."""
    looks = {
        split: _looks.look_at(
            records.images,
            split,
            skip_unreadable=options.skip_unreadable,
            progress=progress,
        )
        for split, records in chosen.items()
    }
    channels = 1 if all(look.grey for look in looks.values()) else 3
    readable = {
        split: records.readable(looks[split], channels)
        for split, records in chosen.items()
    }
    return readable, _looks.notes(list(looks.values()), channels)


def _ignored(chosen: Mapping[str, _Records], options: Options) -> tuple[str, ...]:
    """A sentence for each label whose records were to be left out."""
    return tuple(
        f"Left out, as asked, for the label {label}: "
        + ", ".join(f"{of.ignored[label]:,} of {split}" for split, of in chosen.items())
        + "."
        for label in options.ignore_labels
    )


def _numbering(
    part: Part, road: Road, classes: Sequence[str], ignored: Collection[str]
) -> tuple[np.ndarray, dict[str, list[int]]]:
    """The class of each written label; and of what is ignored, its written labels.

    Raises:
      ValueError: if a label is no class, naming the first record that has it.
    """
    number = {name: place for place, name in enumerate(classes)}
    there = np.unique(part.labels).tolist()
    leaving = {
        label: [part.written.index(label)] for label in ignored if label in part.written
    }
    gone = {place for places in leaving.values() for place in places}
    wanted = [place for place in there if place not in gone]
    written = [part.written[place] for place in wanted]
    if road.labels != "names" and not all(label in number for label in written):
        number = {str(place): place for place in range(len(classes))}
    for place, label in zip(wanted, written, strict=True):
        if label not in number:
            first = int(np.argmax(part.labels == place))
            raise ValueError(
                f"{part.place(first)} has the label {label!r}, which is none of the "
                f"{len(classes)} classes ({listed(classes)}); --ignore-label {label} "
                "leaves such records out"
            )
    by_place = {place: number[part.written[place]] for place in wanted}
    for label in ignored:
        if label not in leaving:
            class_ = number.get(label, _position(label, classes))
            leaving[label] = [p for p, k in by_place.items() if k == class_]
    of_written = np.full(len(part.written), -1, np.int32)
    for place, class_ in by_place.items():
        of_written[place] = class_
    return of_written, leaving


def _position(label: str, classes: Sequence[str]) -> int | None:
    """The class that a number or a name stands for, if there is one."""
    if label in classes:
        return list(classes).index(label)
    return int(label) if label.isdecimal() else None


def _key(images: Files | np.ndarray) -> Callable[[int], bytes]:
    """What decides the share of a record: the path of a file, or the pixels."""
    if isinstance(images, Files):
        return images.key
    return lambda number: np.ascontiguousarray(images[number]).tobytes()


def _some(images: Any, numbers: np.ndarray) -> Any:
    if len(numbers) == len(images):
        return images
    return (
        images.some(numbers.tolist()) if isinstance(images, Files) else images[numbers]
    )


def _joined(images: list[Any]) -> Any:
    if len(images) == 1:
        return images[0]
    if isinstance(images[0], Files):
        paths = itertools.chain.from_iterable(files.paths for files in images)
        return Files(images[0].root, Paths(paths))
    return np.concatenate(images)


def _division(
    name: str, shares: dict[str, tuple[_shares.Share, ...]]
) -> tuple[str, ...]:
    """A sentence where a share of the records had to be taken."""
    if all((share.begin, share.end) == (0, 1) for share in _all_shares(shares)):
        return ()
    divided = "; ".join(
        f"{split} is {_in_words(of)}"
        for split, of in shares.items()
        if any((share.begin, share.end) != (0, 1) for share in of)
    )
    return (f"{name} is divided by a hash of each record: {divided}.",)


def _in_words(shares: Sequence[_shares.Share]) -> str:
    return " and ".join(
        f"{100 * share.begin:.3g} to {100 * share.end:.3g} %"
        + ("" if share.part == ALL else f" of {share.part}")
        for share in shares
    )
