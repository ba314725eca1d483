"""Where prepared datasets live, and how they get there: whole or not at all."""

import contextlib
import fcntl
import io
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

from trustjax import _extras

with _extras.required("data"):
    import importlib_resources  # noqa: F401 (tfds asks for it in the middle of its work)
    import tensorflow_datasets as tfds

DATA_DIR_VARIABLE = "TRUSTJAX_DATA"
"""The environment variable that names the folder of prepared datasets."""

Builder = Any
"""A `tfds.core.DatasetBuilder`; tfds' own annotations are too narrow for its use."""


def folder(data_dir: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """The folder of prepared datasets.

    `data_dir` if given, else `$TRUSTJAX_DATA`, else `trustjax` in the user's cache.
    """
    if data_dir is not None:
        return pathlib.Path(data_dir).expanduser()
    if named := os.environ.get(DATA_DIR_VARIABLE):
        return pathlib.Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache) / "trustjax"


def is_prepared(builder: Builder) -> bool:
    """Whether the records of the builder are on disk, all of them."""
    return (builder.data_path / "dataset_info.json").exists()


def manual_folder(root: pathlib.Path) -> pathlib.Path:
    """Where files are looked for that must be downloaded by hand."""
    return root / "downloads" / "manual"


def prepared(
    make_builder: Callable[[], Builder], root: pathlib.Path, *, quiet: bool
) -> Builder:
    """Returns the builder with its records on disk, preparing them if they are not.

    The records are written into a folder that takes its name when all is there. One
    process prepares, others wait for it; the lock goes with the process that holds
    it, so a killed one blocks nobody, and what it left is swept by the next.

    Args:
      make_builder: makes the builder, whose data folder is in `root`.
      root: the folder of prepared datasets. It is made if it is missing.
      quiet: whether to silence the progress of tfds.

    Raises:
      OSError: if the folder cannot be written, or is not a folder.
    """
    builder = make_builder()
    if is_prepared(builder):
        return builder
    with _locked(root, builder.name):
        builder = make_builder()
        if is_prepared(builder):
            return builder
        target = pathlib.Path(os.fspath(builder.data_path))
        for left_over in target.parent.glob(f"incomplete.*_{target.name}"):
            shutil.rmtree(left_over)
        with _silenced() if quiet else contextlib.nullcontext():
            builder.download_and_prepare(
                download_dir=os.fspath(root / "downloads"),
                download_config=tfds.download.DownloadConfig(
                    manual_dir=os.fspath(manual_folder(root)),
                    try_download_gcs=False,
                ),
            )
    return make_builder()


@contextlib.contextmanager
def _locked(root: pathlib.Path, name: str) -> Iterator[None]:
    """Holds the one right to prepare `name` under `root`."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = open(root / f".{name}.lock", "w")  # noqa: SIM115
    except OSError as error:
        raise OSError(
            f"cannot prepare {name} in the folder {root} ({error}); pass data_dir or "
            f"set {DATA_DIR_VARIABLE} to a folder that can be written"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Hides tfds' announcements and bars, for what takes a second."""
    tfds.display_progress_bar(False)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.display_progress_bar(True)
