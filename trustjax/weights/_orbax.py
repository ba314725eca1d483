"""Orbax checkpoints, of whatever trainer."""

import contextlib
import math
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from trustjax import _extras
from trustjax.weights import _refusals, _trees

_TREE_FILES = ("_METADATA", "manifest.ocdbt", "checkpoint")
_STEP = re.compile(r"(?:.*_)?(\d+)")


def read(
    path: str | os.PathLike[str], part: str | None = None
) -> tuple[Any, tuple[str, ...]]:
    """The arrays of a network out of a folder of Orbax, and what there is to say.

    The folder is one of a `StandardCheckpointer` or a `PyTreeCheckpointer`, a step of
    a `CheckpointManager` (of one item or several), or that manager's own folder, of
    which the latest step is taken. Arrays come to this machine's memory, whatever
    devices they were on. What belongs to training is not read from the disk.

    Raises:
      ValueError: if it is no such folder, is damaged, or several parts may be meant.
    """
    folder = pathlib.Path(path)
    where = os.fspath(path)
    notes: list[str] = []
    if not is_tree(folder) and not _items(folder):
        steps = _steps(folder)
        if not steps:
            raise ValueError(
                f"{where}: no checkpoint of Orbax: expected a folder of it, one of its "
                f"steps, or the folder of a CheckpointManager, got {_entries(folder)}"
            )
        latest = max(steps)
        notes.append(f"step {latest}, the latest of {len(steps)}")
        folder = steps[latest]
    items = {"": folder} if is_tree(folder) else _items(folder)
    with _reading(where):
        trees = {name: _shapes(place) for name, place in items.items()}
    named = trees.get("", trees)
    if part is None and len(trees) == 1:
        (named,) = trees.values()
    if isinstance(named, list | tuple):
        named = {str(number): inner for number, inner in enumerate(named)}
    with _refusals.about(where):
        chosen, said = _trees.network_part(named, part)
    leaves = jax.tree.leaves(chosen)
    _refusals.require_memory(where, sum(map(_size, leaves)))
    wanted = {id(leaf) for leaf in leaves}
    values: dict[int, Any] = {}
    with _reading(where):
        for name, place in items.items():
            kept = _pruned(trees[name], wanted)
            if kept is not None:
                arrays = _restored(place, kept)
                pairs = zip(*map(jax.tree.leaves, (kept, arrays)), strict=True)
                values.update((id(leaf), array) for leaf, array in pairs)
    return jax.tree.map(lambda leaf: values[id(leaf)], chosen), (*notes, *said)


def write(path: str | os.PathLike[str], tree: Mapping[str, Any]) -> None:
    """Writes a tree as a folder of Orbax, in the place of the one that is there.

    The new folder is complete before the old one goes.

    Raises:
      OSError: if it cannot be written.
    """
    with _extras.required("train"):
        import orbax.checkpoint as ocp
    folder = pathlib.Path(path).absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside it, so that both take their places by a rename.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".weights-") as beside:
        new, old = pathlib.Path(beside, "new"), pathlib.Path(beside, "old")
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(new, dict(tree))
        except Exception as error:
            reason = _refusals.reason(error)
            raise OSError(f"cannot write {path}: {reason}") from error
        if folder.exists():
            folder.rename(old)
        new.rename(folder)


def _shapes(folder: pathlib.Path) -> Any:
    """What is in a folder of arrays, without reading them."""
    with _checkpointer() as checkpointer:
        found = checkpointer.metadata(folder.absolute()).item_metadata
    if found is None:
        raise ValueError(f"{folder.name} does not say what it holds")
    return found.tree


def _restored(folder: pathlib.Path, tree: Any) -> Any:
    """The arrays of a part of what `_shapes` found, in memory."""
    with _extras.required("train"):
        import orbax.checkpoint as ocp
    plain = ocp.RestoreArgs(restore_type=np.ndarray)  # whatever devices it was on
    arguments = ocp.args.PyTreeRestore(
        item=tree,
        restore_args=jax.tree.map(lambda _: plain, tree),
        partial_restore=True,
    )
    with _checkpointer() as checkpointer:
        return checkpointer.restore(folder.absolute(), args=arguments)


def _pruned(tree: Any, wanted: set[int]) -> Any:
    """The tree without the dict entries that hold nothing wanted; None for nothing."""
    if isinstance(tree, Mapping):
        kept = {key: _pruned(value, wanted) for key, value in tree.items()}
        return {k: value for k, value in kept.items() if value is not None} or None
    wants = any(id(leaf) in wanted for leaf in jax.tree.leaves(tree))
    return tree if wants else None


def _size(leaf: Any) -> int:
    return math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize


def is_tree(folder: pathlib.Path) -> bool:
    """Whether a folder holds arrays itself, and no steps or items of them."""
    return any((folder / name).is_file() for name in _TREE_FILES)


def _items(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The folders of arrays in one step, by name."""
    if not folder.is_dir():
        return {}
    return {
        path.name: path
        for path in sorted(folder.iterdir())
        if is_tree(path) and not _STEP.fullmatch(path.name)
    }


def _steps(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """The steps in the folder of a manager that are complete."""
    found = {}
    for path in sorted(folder.iterdir()):
        match = _STEP.fullmatch(path.name)
        if match and (is_tree(path) or _items(path)):
            found[int(match[1])] = path
    return found


@contextlib.contextmanager
def _checkpointer() -> Iterator[Any]:
    with _extras.required("train"):
        import orbax.checkpoint as ocp
    # Of a step's item it warns that it is no step.
    with (
        _refusals.quiet("absl"),
        ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer,
    ):
        yield checkpointer


@contextlib.contextmanager
def _reading(where: str) -> Iterator[None]:
    """Turns any error of Orbax into one line that names the folder."""
    try:
        yield
    except ModuleNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"{where}: damaged, or of another version of Orbax: "
            f"{_refusals.reason(error)}"
        ) from error


def _entries(folder: pathlib.Path) -> str:
    names = sorted(path.name for path in folder.iterdir())[:5]
    return f"a folder of {', '.join(names)}" if names else "an empty folder"
