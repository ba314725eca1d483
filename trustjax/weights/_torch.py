"""PyTorch's files: an archive of pickles and storages, or these in a row.

References:
  `torch.serialization` of PyTorch 2.13 (the archive since 1.6, the row since 0.1.10).
"""

import io
import math
import os
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from trustjax.weights import _refusals, _unpickle

# How a file of the older kind begins, whatever the pickle protocol was.
ROW = b"\x80"
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DEEPEST, _MOST_NODES = 64, 1_000_000  # of the dicts and lists of a checkpoint
_SAVE = "torch.save(model.state_dict(), path)"


def is_archive(archive: zipfile.ZipFile) -> bool:
    """Whether a zip archive is one of `torch.save`."""
    return _root(archive) is not None


def read(path: str | os.PathLike[str]) -> Any:
    """What a file of `torch.save` holds, each tensor an array.

    Nothing that the file names is run, and PyTorch is not needed. Tensors that share
    their numbers share them here; floats keep their width, bfloat16 by `ml_dtypes`.

    Raises:
      ValueError: if it is damaged, would run something, or is of another kind.
    """
    where = os.fspath(path)
    try:
        with open(path, "rb") as file:
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as archive:
                    return _read_archive(where, archive)
            file.seek(0)
            return _read_row(where, file)
    except _unpickle.RefusedError as refused:
        raise ValueError(
            f"{where}: refused, for reading it would run {refused}, which is no part "
            "of a tensor; nothing of it was run. If you trust where it is from, "
            f"save its weights alone, by {_SAVE}"
        ) from refused
    except OSError:
        raise
    except Exception as error:  # pickle, zipfile and struct raise a dozen kinds
        said = f"{error}".removeprefix(f"{where}: ")
        raise ValueError(f"{where}: not read as a file of PyTorch: {said}") from error


def _read_archive(where: str, archive: zipfile.ZipFile) -> Any:
    root = _root(archive)
    names = set(archive.namelist())
    if f"{root}/constants.pkl" in names:
        raise ValueError(
            "it is a TorchScript program; save its weights alone, by "
            "torch.save(torch.jit.load(path).state_dict(), new_path)"
        )
    parts = archive.infolist()
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise ValueError("it is compressed, and torch.save compresses nothing")
    if sum(part.file_size for part in parts) > os.path.getsize(where):
        raise ValueError("its parts are larger than itself")
    order = f"{root}/byteorder"
    if order in names and archive.read(order) != b"little":
        raise ValueError("its numbers are big-endian")
    tree = _unpickle.load(io.BytesIO(archive.read(f"{root}/data.pkl")))
    storages: dict[str, bytes] = {}
    for tensor in _tensors(tree):
        key = tensor.storage.key
        if key not in storages:
            storages[key] = archive.read(f"{root}/data/{key}")
    return _filled(where, tree, storages)


def _read_row(where: str, file: io.BufferedIOBase) -> Any:
    size = os.path.getsize(where)
    if _unpickle.load(file) != _MAGIC:
        raise ValueError("it is a pickle, and not one of torch.save")
    if _unpickle.load(file) != _PROTOCOL:
        raise ValueError("it is of another protocol than 1001")
    if not _unpickle.load(file).get("little_endian", True):
        raise ValueError("its numbers are big-endian")
    widths: dict[str, int] = {}
    tree = _unpickle.load(file, widths)
    keys = _unpickle.load(file)
    storages: dict[str, bytes] = {}
    for key in map(str, keys):
        (length,) = struct.unpack("<q", file.read(8))
        expected = length * widths[key]
        if not 0 <= expected <= size - file.tell():
            raise ValueError(f"it ends before the storage {key} does")
        storages[key] = file.read(expected)
    return _filled(where, tree, storages)


def _root(archive: zipfile.ZipFile) -> str | None:
    """The folder in the archive that all is in."""
    roots = {
        name.removesuffix("/data.pkl")
        for name in archive.namelist()
        if name.endswith("/data.pkl") and name.count("/") == 1
    }
    return roots.pop() if len(roots) == 1 else None


def _filled(where: str, tree: Any, storages: dict[str, bytes]) -> Any:
    """The tree with an array for each tensor."""
    size = sum(math.prod(t.shape) * t.dtype.itemsize for t in _tensors(tree))
    _refusals.require_memory(where, size)

    def fill(node: Any) -> Any:
        if isinstance(node, _unpickle.Tensor):
            return _array(node, storages[node.storage.key])
        if isinstance(node, _unpickle.Storage):  # that no tensor looks at
            return None
        if isinstance(node, dict):
            return {key: fill(value) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return [fill(value) for value in node]
        return node

    return fill(tree)


def _array(tensor: _unpickle.Tensor, storage: bytes) -> np.ndarray:
    kept, dtype = tensor.storage, tensor.dtype
    first = kept.start * kept.dtype.itemsize
    numbers = memoryview(storage)[first : first + kept.length * kept.dtype.itemsize]
    if len(numbers) < kept.length * kept.dtype.itemsize:
        raise ValueError(f"its storage {kept.key} is shorter than its tensors")
    if dtype == np.bool_:  # a byte that is neither 0 nor 1 is no boolean
        values = np.frombuffer(numbers, np.uint8) != 0
    else:
        values = np.frombuffer(numbers, dtype)
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, dtype)
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((size - 1) * stride for size, stride in steps)
    if last >= values.size:
        raise ValueError(
            f"a tensor of {tensor.shape} by {tensor.strides} reaches beyond the "
            f"{values.size} numbers of its storage {kept.key}"
        )
    looked = np.lib.stride_tricks.as_strided(
        values[tensor.offset :],
        tensor.shape,
        [stride * dtype.itemsize for stride in tensor.strides],
        writeable=False,
    )
    return np.ascontiguousarray(looked).reshape(tensor.shape)


def _tensors(tree: Any) -> Iterator[_unpickle.Tensor]:
    """Every tensor of a tree of dicts and lists, which is not too deep or too wide."""
    nodes, left = [(tree, 0)], _MOST_NODES
    while nodes:
        node, depth = nodes.pop()
        left -= 1
        if left < 0 or depth > _DEEPEST:
            raise ValueError("its dicts hold one another without an end")
        if isinstance(node, _unpickle.Tensor):
            yield node
        elif isinstance(node, _unpickle.Storage):
            continue
        elif isinstance(node, dict):
            nodes.extend((value, depth + 1) for value in node.values())
        elif isinstance(node, list | tuple):
            nodes.extend((value, depth + 1) for value in node)
