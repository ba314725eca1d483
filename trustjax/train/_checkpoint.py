"""Checkpoints of a training run, written by Orbax: whole or not at all."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax

from trustjax import _extras

with _extras.required("train"):
    import orbax.checkpoint as ocp

_KEPT = 2


@contextlib.contextmanager
def last_checkpoint(
    workdir: str | os.PathLike[str],
) -> Iterator[tuple["Checkpoints", int]]:
    """Yields the checkpoints of a folder, to read, and the step of the last.

    Raises:
      FileNotFoundError: if there is no folder, or no checkpoint in it.
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
    by a rename, so a kill at any moment leaves the checkpoint before.

    Args:
      workdir: the folder of the run.
      read_only: leave the folder as it is.
    """

    def __init__(self, workdir: str | os.PathLike[str], *, read_only: bool = False):
        self.workdir = pathlib.Path(workdir).absolute()
        # Saving is synchronous: the training step gives its buffers away, so a writer
        # in the background could read what the next step has overwritten.
        options = ocp.CheckpointManagerOptions(
            max_to_keep=_KEPT,
            enable_async_checkpointing=False,
            cleanup_tmp_directories=not read_only,
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
        """Writes a checkpoint and returns when it is complete."""
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), document=ocp.args.JsonSave(document)
            ),
        )

    def document(self, step: int) -> dict[str, Any]:
        """The JSON document of a checkpoint."""
        arguments = ocp.args.Composite(document=ocp.args.JsonRestore())
        with self._naming(step):
            return self._manager.restore(step, args=arguments)["document"]

    def state(self, step: int, like: Any) -> Any:
        """The training state of a checkpoint, structured and sharded like `like`."""
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        with self._naming(step):
            return self._manager.restore(step, args=arguments)["state"]

    @contextlib.contextmanager
    def _naming(self, step: int) -> Iterator[None]:
        """Adds to any error which folder could not be read, and what to do."""
        try:
            yield
        except Exception as error:
            error.add_note(
                f"The checkpoint {self.workdir / str(step)} could not be read. "
                "Delete that folder to go on from the checkpoint before it."
            )
            raise
