"""Files of weights, whatever wrote them."""

import hashlib
import os
import pathlib
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from trustjax import _extras, _npz
from trustjax.weights import _hub, _orbax, _refusals, _torch, _trees

_KINDS = (
    ".npz, .safetensors, .pth or .pt of PyTorch, .msgpack of Flax, or a folder of Orbax"
)
# What people have in the place of a file of weights.
_MISTAKEN = {
    b"version https://git-lfs": "the pointer of Git LFS to it: git lfs pull gets it",
    b"<!DOCTYPE": "a web page, of a download that went wrong",
    b"<html": "a web page, of a download that went wrong",
    b"\x89HDF": "HDF5, as of Keras: save its arrays by numpy.savez",
}


class Contents(NamedTuple):
    """What a file of weights holds.

    Attributes:
      arrays: the arrays by the file's own names, nested ones joined by `/`.
      notes: sentences: where in the file they were, and what was left out.
    """

    arrays: dict[str, np.ndarray]
    notes: tuple[str, ...]


def read(
    path: str | os.PathLike[str], *, part: str | None = None, sha256: str | None = None
) -> dict[str, np.ndarray]:
    """The arrays of a network by name, out of a file of any framework.

    | file | what is read |
    |---|---|
    | `.npz` | as `numpy.savez` writes it; nothing is unpickled |
    | `.safetensors` | extra `weights` |
    | `.pth`, `.pt` | as `torch.save` writes it; without PyTorch, nothing is run |
    | `.msgpack` | as `flax.serialization.to_bytes` writes it |
    | a folder | of Orbax, by any trainer: arrays, a step, or all steps (the latest) |
    | `hub:owner/repository/file@revision` | one of these on the hub; extra `hub` |

    The kind is told by the bytes. Where the file holds more than a network (a train
    state, a checkpoint of `{"epoch", "state_dict", "optimizer"}`), the network's
    arrays are found by the usual names; `contents` says which.

    Args:
      path: the file or folder.
      part: the part of the file that is meant, its keys joined by `/`, such as
        `"ema_params"`; None where it is found.
      sha256: what the file's digest must be, in hexadecimal; None for any.

    Returns:
      The arrays by the file's own names, those of nested dicts joined by `/`, in the
      type they were saved in. Arrays that a file shares may share memory here.

    Raises:
      FileNotFoundError: if there is no such file.
      ConnectionError: if it is on the hub, which cannot be reached.
      ValueError: if it is damaged, hostile, larger than this machine's memory, of no
        such kind, or of another digest; if several parts may be meant.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/a.npz", kernel=np.ones((2, 3)))
    ...     read(f"{folder}/a.npz")["kernel"].shape
    (2, 3)
    """
    return contents(path, part=part, sha256=sha256).arrays


def contents(
    path: str | os.PathLike[str], *, part: str | None = None, sha256: str | None = None
) -> Contents:
    """As `read`, with what there is to say: where the arrays were, what was left out.

    >>> import tempfile
    >>> from flax import serialization
    >>> state = {"step": 3, "params": {"kernel": np.ones(2)}, "opt_state": {}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "a.msgpack")
    ...     _ = path.write_bytes(serialization.msgpack_serialize(state))
    ...     contents(path).notes
    ('the weights are its params; left out: opt_state, step',)
    """
    where = os.fspath(path)
    if where.startswith(_hub.PREFIX):
        where = _hub.fetched(where)
    if os.path.isdir(where):
        if sha256 is not None:
            raise ValueError(f"{where}: a folder has no SHA-256")
        tree, notes = _orbax.read(where, part)
    else:
        tree, notes = _of_file(where, part, sha256)
    with _refusals.about(where):
        arrays, others = _trees.flat(tree)
        if not arrays:
            raise ValueError("it holds no array")
    if others:
        listed = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        notes += (f"no arrays, and left out: {listed}",)
    return Contents({name: np.asarray(a) for name, a in arrays.items()}, notes)


def _of_file(
    where: str, part: str | None, sha256: str | None
) -> tuple[Mapping[Any, Any], tuple[str, ...]]:
    with open(where, "rb") as file:
        head = file.read(1024)
        if sha256 is not None:
            file.seek(0)
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != sha256.strip().lower():
                raise ValueError(f"{where}: its SHA-256 is {found}, expected {sha256}")
    tree = _reader(where, head)(where)
    with _refusals.about(where):
        if not isinstance(tree, Mapping):
            raise ValueError(f"it holds a {type(tree).__name__}, no arrays by name")
        return _trees.network_part(tree, part)


def _reader(where: str, head: bytes) -> Callable[[str], Any]:
    """What reads a file that begins so."""
    suffix = pathlib.Path(where).suffix.lower()
    for beginning, what in _MISTAKEN.items():
        if head.startswith(beginning):
            raise ValueError(f"{where}: {what}")
    if head.startswith(b"PK"):
        return _read_zip
    if suffix == ".safetensors" or head[8:9] == b"{":
        return _read_safetensors
    if head[257:262] == b"ustar":
        raise ValueError(
            f"{where}: a tar archive of PyTorch before 0.1.10, or of other files; save "
            "it once more, by torch.save(model.state_dict(), path)"
        )
    if head.startswith(_torch.ROW) or suffix in (".pth", ".pt", ".pkl", ".bin"):
        return _torch.read
    if suffix in (".msgpack", ".flax"):
        return _read_msgpack
    raise ValueError(f"{where}: not weights; expected {_KINDS}")


def _read_zip(where: str) -> Any:
    try:
        with zipfile.ZipFile(where) as archive:
            if _torch.is_archive(archive):
                return _torch.read(where)
            size = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError) as error:
        reason = _refusals.reason(error)
        raise ValueError(f"{where}: a damaged archive: {reason}") from error
    _refusals.require_memory(where, size)
    return _npz.read(where)


def _read_safetensors(where: str) -> Any:
    with _extras.required("weights"):
        import safetensors
    try:
        with safetensors.safe_open(where, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, AttributeError, TypeError) as error:
        reason = _refusals.reason(error)
        raise ValueError(f"{where}: damaged, or no safetensors: {reason}") from error


def _read_msgpack(where: str) -> Any:
    from flax import serialization

    try:
        return serialization.msgpack_restore(pathlib.Path(where).read_bytes())
    except Exception as error:  # msgpack and numpy raise a dozen kinds
        reason = _refusals.reason(error)
        raise ValueError(f"{where}: damaged, or no msgpack: {reason}") from error
