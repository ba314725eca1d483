"""Checkpoints of a training run, written by Orbax: whole or not at all."""

import contextlib
import itertools
import json
import os
import pathlib
import shutil
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils

import trustjax
from trustjax import _extras
from trustjax._fingerprint import fingerprint

with _extras.required("train"):
    import orbax.checkpoint as ocp

_KEPT = 2  # one to go back to where the last is damaged
_STATE, _DOCUMENT = "state", "document"
_ENTRIES = {_STATE, _DOCUMENT, "_CHECKPOINT_METADATA", "commit_success.txt"}
_BEING_WRITTEN = ".orbax-checkpoint-tmp"

Made = TypeVar("Made")


class DamagedCheckpointWarning(UserWarning):
    """A checkpoint could not be read, and the one before it was taken."""


@contextlib.contextmanager
def last_checkpoint(
    workdir: str | os.PathLike[str],
) -> Iterator[tuple["Checkpoints", int]]:
    """Yields the checkpoints of a folder, to read, and the step of the last.

    Raises:
      FileNotFoundError: if there is no folder, or no checkpoint in it.
      ValueError: if the folder holds something else under the name of a checkpoint.
    """
    if not pathlib.Path(workdir).is_dir():
        raise FileNotFoundError(f"there is no folder {workdir}")
    with Checkpoints(workdir, read_only=True) as checkpoints:
        if checkpoints.latest is None:
            raise FileNotFoundError(f"there is no checkpoint in {checkpoints.workdir}")
        yield checkpoints, checkpoints.latest


class Checkpoints:
    """The checkpoints of one run in a folder; the last two are kept.

    A checkpoint is a tree of arrays, the training state, and a JSON document that
    says what run it is of and how far that is. Both are in one folder that appears
    by a rename, so a kill at any moment leaves the checkpoint before. The document
    holds a digest of the arrays: bytes that changed on the disk are noticed.

    Nothing that this class did not write is deleted: a folder in which something else
    bears the name of a checkpoint is refused, and a damaged checkpoint of the run is
    set aside under another name.

    Args:
      workdir: the folder of the run.
      read_only: leave the folder as it is.

    Raises:
      ValueError: if the folder holds something else under the name of a checkpoint.
    """

    def __init__(self, workdir: str | os.PathLike[str], *, read_only: bool = False):
        self.workdir = pathlib.Path(workdir).absolute()
        self._read_only = read_only
        if self.workdir.is_dir():
            self._require_ours()
            if not read_only:
                self._sweep()
        # Saving is synchronous: the training step gives its buffers away, so a writer
        # in the background could read what the next step has overwritten.
        options = ocp.CheckpointManagerOptions(
            max_to_keep=_KEPT,
            enable_async_checkpointing=False,
            cleanup_tmp_directories=False,
            create=not read_only,
        )
        self._manager = ocp.CheckpointManager(self.workdir, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """The step of the last checkpoint; None where there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, document: dict[str, Any]) -> None:
        """Writes a checkpoint and returns when it is complete.

        Raises:
          OSError: if it cannot be written, as on a full disk; those before it stay.
        """
        document = {
            **document,
            "trustjax": trustjax.__version__,
            "digest": _digest(state),
        }
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(state), document=ocp.args.JsonSave(document)
        )
        path = self.workdir / str(step)
        try:
            saved = self._manager.save(step, args=arguments)
        except Exception as error:
            self._sweep()
            raise OSError(
                f"cannot write the checkpoint {path}: {_reason(error)}"
            ) from error
        if not saved:
            raise OSError(f"cannot write the checkpoint {path}: a later one is there")

    def newest(
        self, make: Callable[[dict[str, Any]], tuple[Made, Any]]
    ) -> tuple[dict[str, Any], Made, Any] | None:
        """The newest checkpoint that is whole; None where there is none at all.

        One that cannot be read is passed over with a `DamagedCheckpointWarning` and,
        unless the folder is only read, set aside: nothing of it is deleted.

        Args:
          make: from the document of a checkpoint, what it is of and a state to
            structure and shard the arrays like. It raises where it is of another run.

        Returns:
          The document, what `make` made of it, and the state.

        Raises:
          ValueError: if there are checkpoints, and none can be read.
        """
        unreadable: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                document = self.document(step)
            except _DamagedError as error:
                unreadable[step] = str(error)
                continue
            made, like = make(document)
            try:
                state = self.state(step, like, document)
            except _DamagedError as error:
                unreadable[step] = str(error)
                continue
            self._pass_over(unreadable, step)
            return document, made, state
        if unreadable:
            raise ValueError(
                f"no checkpoint in {self.workdir} can be read: "
                f"{'; '.join(unreadable.values())}. Put them back from a copy, or "
                "choose another folder"
            )
        return None

    def document(self, step: int) -> dict[str, Any]:
        """The JSON document of a checkpoint."""
        arguments = ocp.args.Composite(document=ocp.args.JsonRestore())
        with self._reading(step):
            return self._manager.restore(step, args=arguments)[_DOCUMENT]

    def state(
        self, step: int, like: Any, document: dict[str, Any] | None = None
    ) -> Any:
        """The training state of a checkpoint, structured and sharded like `like`.

        Args:
          step: of the checkpoint.
          like: a state of the same run.
          document: the checkpoint's own, if it has been read.
        """
        document = self.document(step) if document is None else document
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        with self._reading(step, document.get("trustjax", trustjax.__version__)):
            state = self._manager.restore(step, args=arguments)[_STATE]
            if document.get("digest") not in (None, _digest(state)):
                raise ValueError("its arrays are not those that were written")
        return state

    @contextlib.contextmanager
    def of_this_version(self, document: dict[str, Any]) -> Iterator[None]:
        """Says of what version a document is where this one does not know its entries.

        Raises:
          ValueError: where the block raises a KeyError or a TypeError, as of an
            argument that does not exist.
        """
        try:
            yield
        except (KeyError, TypeError) as error:
            there = document.get("trustjax", "another version")
            raise ValueError(
                f"{self.workdir} holds a checkpoint of trustjax {there}, and trustjax "
                f"{trustjax.__version__} cannot take it up: {_reason(error)}. Use the "
                "version that wrote it, or choose another folder"
            ) from error

    @contextlib.contextmanager
    def _reading(
        self, step: int, version: str = trustjax.__version__
    ) -> Iterator[None]:
        """Turns any error of Orbax into one line that names the checkpoint."""
        try:
            yield
        except Exception as error:
            what = "damaged"
            if version != trustjax.__version__:
                what += f", or trustjax {version} wrote it otherwise"
            raise _DamagedError(
                f"the checkpoint {self.workdir / str(step)} is {what} "
                f"({_reason(error)})"
            ) from error

    def _require_ours(self) -> None:
        """Raises where something else has a name that Orbax takes for a checkpoint."""
        named = sorted(path for path in self.workdir.iterdir() if path.name.isdigit())
        theirs = [path.name for path in named if not _written_here(path)]
        if theirs:
            no = (
                "no checkpoint"
                if len(theirs) == len(named)
                else "more than checkpoints"
            )
            raise ValueError(
                f"{self.workdir} holds {no} of trustjax: {', '.join(theirs[:3])} is "
                "something else, and stays as it is. Choose another folder"
            )

    def _sweep(self) -> None:
        """Drops what a kill left half written."""
        if jax.process_index() == 0:
            for path in self.workdir.glob(f"*{_BEING_WRITTEN}"):
                if _written_here(path):
                    shutil.rmtree(path)

    def _pass_over(self, unreadable: dict[int, str], step: int) -> None:
        """Warns of damaged checkpoints after `step`, and puts them out of the way."""
        for damaged, why in unreadable.items():
            what = ""
            if not self._read_only:
                aside = self._set_aside(damaged)
                what = f" It is kept as {aside.name}."
            warnings.warn(
                f"{why}: going back to that of step {step}.{what}",
                DamagedCheckpointWarning,
                stacklevel=4,
            )
        if unreadable and not self._read_only:
            self._manager.reload()

    def _set_aside(self, step: int) -> pathlib.Path:
        path = self.workdir / str(step)
        names = (f"{step}-damaged-{number}" for number in itertools.count(1))
        aside = next(p for p in map(self.workdir.joinpath, names) if not p.exists())
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"all have read {path}")
        if jax.process_index() == 0:
            path.rename(aside)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"set aside {path}")
        return aside


class _DamagedError(ValueError):
    """A checkpoint that trustjax wrote and cannot read."""


def _written_here(path: pathlib.Path) -> bool:
    """Whether a folder is a checkpoint of trustjax, whole or damaged."""
    if not path.is_dir():
        return False
    # While it is written, each entry has the suffix, too.
    entries = {entry.name.removesuffix(_BEING_WRITTEN) for entry in path.iterdir()}
    if not entries <= _ENTRIES:
        return False
    try:
        document = json.loads((path / _DOCUMENT / "metadata").read_bytes())
    except (OSError, ValueError):
        return True
    return isinstance(document, dict) and {"identity", "position"} <= document.keys()


def _digest(state: Any) -> str:
    """Of the arrays and their places, whatever kind of container they are in."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    place = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
    return fingerprint({place(path): leaf for path, leaf in leaves})


def _reason(error: BaseException) -> str:
    """The first line of a message, with both its ends if it is long."""
    said = error.args[0] if isinstance(error, KeyError) and error.args else error
    line = str(said).strip().partition("\n")[0]
    return line if len(line) <= 200 else f"{line[:80]} … {line[-120:]}"
