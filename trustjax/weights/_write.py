"""Files of weights, written whole or not at all."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from trustjax import _extras, _files
from trustjax.weights import _orbax


def write(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    *,
    overwrite: bool = False,
) -> None:
    """Writes arrays by name as an `.npz` or `.safetensors` file, or an Orbax folder.

    It is written whole or not at all. The names of `.npz` and `.safetensors` are
    kept; in the folder, which a path without a suffix means, a `/` in a name nests.

    Args:
      path: where to. Its folder is made if it is missing.
      arrays: numbers by name.
      overwrite: whether what is there is replaced, if it is of that kind: a folder of
        something else than arrays stays.

    Raises:
      ValueError: if the suffix is another, an array is not of numbers, or the kind of
        file has no such type (`.npz` has no bfloat16); if two names nest in each
        other.
      FileExistsError: if something is there that is not to be replaced.
      OSError: if it cannot be written.

    >>> import tempfile
    >>> from trustjax import weights
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/a.safetensors", {"fc/kernel": np.ones((2, 3))})
    ...     weights.read(f"{folder}/a.safetensors")["fc/kernel"].shape
    (2, 3)
    """
    require_place(path, overwrite=overwrite)
    kept = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in kept.items():
        if array.dtype.kind in "OSUM":
            raise ValueError(f"{name} must hold numbers, got {array.dtype}")
    suffix = pathlib.Path(path).suffix
    if suffix == ".npz":
        _write_npz(path, kept)
    elif suffix == ".safetensors":
        _write_safetensors(path, kept)
    else:
        _orbax.write(path, _nested(kept))


def require_place(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Refuses a path that `write` would not write to, before any work is done.

    Raises:
      ValueError: if its suffix is that of no kind of file that is written.
      FileExistsError: if something is there that is not to be replaced.
    """
    where = pathlib.Path(path)
    if where.suffix not in ("", ".npz", ".safetensors"):
        raise ValueError(
            "weights are written as .npz, .safetensors or a folder of Orbax (without "
            f"a suffix), got {path}"
        )
    if not where.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{path} is there; overwrite replaces it")
    is_ours = _orbax.is_tree(where) if not where.suffix else where.is_file()
    if not is_ours:
        raise FileExistsError(f"{path} is there, and something else; it stays")


def _write_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "V":  # those of ml_dtypes would come back as raw bytes
            raise ValueError(
                f"{name} is {array.dtype}, which .npz cannot say: make it float32, or "
                "write .safetensors"
            )
    with _files.written_whole(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)  # pyright: ignore[reportArgumentType]


def _write_safetensors(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]
) -> None:
    with _extras.required("weights"):
        import safetensors
        from safetensors.numpy import save_file
    # It writes what lies in memory, so rows must lie one after another.
    plain = {n: np.ascontiguousarray(a).reshape(a.shape) for n, a in arrays.items()}
    with _files.written_whole(path) as temporary:
        try:
            save_file(plain, temporary)
        except safetensors.SafetensorError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error


def _nested(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The arrays in nested dicts, one for each `/` of their names."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(f"{name} lies in what is an array of its own")
        if last in node:
            raise ValueError(f"{name} is both an array and what others lie in")
        node[last] = array
    return tree
