"""The file functions of TensorFlow, for tfds to unpack and read what it downloaded.

tfds opens files by TensorFlow's names for `open` and `os.listdir`, which is all that
most of its image datasets want of TensorFlow while they are prepared.
"""

import contextlib
import glob
import importlib.util
import os
import types
from collections.abc import Iterator
from typing import Any, NoReturn

from trustjax import _extras

with _extras.required("data"):
    from tensorflow_datasets.core.utils import lazy_imports_utils


@contextlib.contextmanager
def provided() -> Iterator[None]:
    """Lets tfds open files in this block where TensorFlow is not installed.

    Whatever else tfds asks of TensorFlow is an `ImportError`, as it would be without
    this. Only tfds sees the stand-in, and only in this block.
    """
    if importlib.util.find_spec("tensorflow") is not None:
        yield
        return
    # Where etils keeps the module that a lazy import stands for.
    lazy: Any = lazy_imports_utils.tensorflow
    imported = lazy.__dict__
    imported["_module"] = _StandIn("tensorflow")
    try:
        yield
    finally:
        imported.pop("_module", None)


class _StandIn(types.ModuleType):
    """`tf.io.gfile` and `tf.compat.as_text` for local files."""

    io = types.SimpleNamespace(
        gfile=types.SimpleNamespace(
            GFile=open,
            exists=os.path.exists,
            glob=glob.glob,
            isdir=os.path.isdir,
            listdir=os.listdir,
        )
    )
    compat = types.SimpleNamespace(as_text=os.fsdecode)

    def __getattr__(self, name: str) -> NoReturn:
        raise ModuleNotFoundError(
            f"No module named 'tensorflow', for its {name!r}", name="tensorflow"
        )
