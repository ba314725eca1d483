"""Image files as they lie about: no classes, no splits, only what they show."""

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence

import numpy as np

from trustjax.data import _looks
from trustjax.data._dataset import NO_CLASS, Dataset
from trustjax.data._files import Files, FileSource, Paths
from trustjax.data._folder import images_in
from trustjax.data._kept import kept
from trustjax.data._parts import LeftOut, listed
from trustjax.data._selected import Selected
from trustjax.typing import ProgressFn


def from_files(
    paths: Sequence[str | os.PathLike[str]],
    *,
    skip_unreadable: bool = False,
    progress: ProgressFn | None = None,
) -> Dataset:
    """The images in files and folders, in the order given.

    Args:
      paths: of image files in any format that Pillow reads; of a folder the images in
        it and in the folders in it, sorted by name.
      skip_unreadable: whether files that are no whole images are left out and counted;
        else the first of them is an error.
      progress: hears how many files were looked at.

    Returns:
      The images, RGB if any has colours, of any sizes, decoded when they are read.
      They have no classes, and the label `NO_CLASS`; `file_names` says which is which.

    Raises:
      FileNotFoundError: if there is no such file or folder, naming it.
      ValueError: if there is no image, or one cannot be read.

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (4, 3)).save(f"{folder}/grey.png")
    ...     images = from_files([folder])
    ...     len(images), images.image_shape, images.source[0]["label"]
    (1, (3, 4, 1), -1)
    """
    given = [os.fspath(path) for path in paths]
    if missing := [path for path in given if not os.path.exists(path)]:
        raise FileNotFoundError(f"there is no file or folder {missing[0]}")
    left_out = LeftOut()
    files = Files("", Paths(_all_images(given, left_out)))
    where = listed(given, limit=3)
    if not len(files):
        raise ValueError(
            f"{where}: holds no images; Pillow reads files that end in .png, .jpg, "
            ".webp, .tif and others"
        )
    look = _looks.look_at(
        files, where, skip_unreadable=skip_unreadable, progress=progress
    )
    if len(look.unreadable):
        there = np.delete(np.arange(len(files)), look.unreadable)
        files = files.some(there.tolist())
    channels = 1 if look.grey else 3
    image_shape = (*look.size, channels)
    labels = np.full(len(files), NO_CLASS, np.int32)
    content = hashlib.sha256(repr(image_shape).encode() + files.content())
    images = Dataset(
        name=where,
        split="all",
        source=FileSource(files, labels, image_shape),
        class_names=(),
        image_shape=image_shape,
        fingerprint=content.hexdigest(),
    )
    notes = (*left_out.notes(where), *_looks.notes([look], channels))
    return dataclasses.replace(kept(images), notes=notes)


def file_names(dataset: Dataset) -> tuple[str, ...]:
    """The paths of the images of a dataset, in its order; none if it is not of files.

    >>> from trustjax import data
    >>> file_names(data.load("digits"))
    ()
    """
    source, numbers = dataset.source, np.arange(len(dataset))
    while not isinstance(source, FileSource):
        if isinstance(source, Selected):
            numbers = source.numbers[numbers]
        inner = getattr(source, "source", None)
        if inner is None:
            return ()
        source = inner
    return tuple(source.files.path(number) for number in numbers.tolist())


def _all_images(paths: Sequence[str], left_out: LeftOut) -> Iterator[str]:
    for path in paths:
        if os.path.isdir(path):
            yield from images_in("", path, left_out)
        else:
            yield path
