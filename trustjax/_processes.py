"""What several processes of one run tell each other, and what they must agree on.

Every function here is a collective: all processes call it, in the same order, and all
return or raise alike. In one process each returns at once.
"""

import base64
import collections
import io
import os
import pathlib
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from trustjax._meeting import require_agreement


def is_first() -> bool:
    """Whether this process is the one that writes, and speaks, for all."""
    return jax.process_index() == 0


def gathered(tree: Any) -> Any:
    """The rows of all processes, behind each other, in the arrays of a tree.

    Args:
      tree: arrays `[rows, ...]` on the host, of the same shapes in every process.

    Raises:
      ValueError: if the processes have different numbers of devices.
    """
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(np.concatenate, _each(tree))


def _each(tree: Any) -> Any:
    """The arrays of all processes, `[processes, ...]`."""
    devices = collections.Counter(device.process_index for device in jax.devices())
    if len(set(devices.values())) > 1:
        each = ", ".join(f"{devices[process]}" for process in sorted(devices))
        raise ValueError(
            "every process must have as many devices as the others, got "
            f"{each} in the processes 0 to {len(devices) - 1}"
        )
    return multihost_utils.process_allgather(tree)


def in_shares(compute: Callable[[slice], Any], rows: int) -> Any:
    """Rows that the processes compute between them, whole in each.

    Args:
      compute: from some of the rows to a tree of arrays `[those rows, ...]`; alike in
        every process, and a collective in none.
      rows: how many there are, one at least.

    >>> in_shares(lambda some: np.arange(5)[some] ** 2, 5)
    array([ 0,  1,  4,  9, 16])
    """
    if jax.process_count() == 1:
        return compute(slice(0, rows))
    each = -(-rows // jax.process_count())
    # The last ones go back a little: all compute as many.
    starts = [min(p * each, rows - each) for p in range(jax.process_count())]
    mine = starts[jax.process_index()]

    def whole(shares: np.ndarray) -> np.ndarray:
        together = np.empty((rows, *shares.shape[2:]), shares.dtype)
        for start, share in zip(starts, shares, strict=True):
            together[start : start + each] = share
        return together

    shares = _each(jax.device_get(compute(slice(mine, mine + each))))
    return jax.tree.map(whole, shares)


def of_first(compute: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """What the first process computes, in all of them.

    For what is drawn for a batch as a whole, and would be drawn otherwise for shares.

    Args:
      compute: returns arrays by name; a collective in no process.

    >>> of_first(lambda: {"a": np.arange(3)})
    {'a': array([0, 1, 2])}
    """
    if jax.process_count() == 1:
        return {name: np.asarray(array) for name, array in compute().items()}
    written = io.BytesIO()
    if is_first():
        arrays = {name: np.asarray(array) for name, array in compute().items()}
        np.savez(written, allow_pickle=False, **arrays)
    (said, *_) = told(base64.b64encode(written.getvalue()).decode())
    with np.load(io.BytesIO(base64.b64decode(said))) as read:
        return dict(read)


def require_shared(folder: str | os.PathLike[str]) -> None:
    """Requires that all processes see the same folder, which is made.

    Raises:
      OSError: in every process, if one of them does not see what the first has written.
    """
    if jax.process_count() == 1:
        return
    (mark, *_) = told(f".trustjax-seen-{uuid.uuid4().hex}")
    path = pathlib.Path(folder, mark)
    if is_first():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    wait_for_all("the mark is written")
    # A network may show a file some time after it was written.
    deadline = time.monotonic() + _SECONDS_TO_SEE
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.5)
    seen = told("seen" if path.exists() else "")
    if is_first():
        path.unlink()
    blind = [str(process) for process, word in enumerate(seen) if not word]
    if blind:
        raise OSError(
            f"process {', '.join(blind)} does not see what process 0 writes in {folder}"
            ": all of them need one folder, as on a disk that they share"
        )


_SECONDS_TO_SEE = 30.0


def all_have(there: bool) -> bool:
    """Whether every process has something: what they share, all compute or none.

    One that took up its own would meet the others in the collectives of another step.
    """
    if jax.process_count() == 1:
        return there
    return bool(_each(np.array(there)).all())


def wait_for_all(name: str) -> None:
    """Returns when every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def told(text: str) -> list[str]:
    """The text of each process, in their order."""
    if jax.process_count() == 1:
        return [text]
    mine = np.frombuffer(text.encode(), np.uint8)
    lengths = _each(np.array(mine.size)).tolist()
    padded = np.pad(mine, (0, max(lengths) - mine.size))
    rows = _each(padded)
    return [
        row[:length].tobytes().decode()
        for row, length in zip(rows, lengths, strict=True)
    ]


def require_same(facts: Mapping[str, Any]) -> None:
    """Requires that all processes know the same: else they compute different things.

    Args:
      facts: what is known here, by name, as it is to be read in an error.

    Raises:
      ValueError: in every process, saying who differs in what.
    """
    if jax.process_count() == 1:
        return
    # One exchange for each fact would wait for every one of them.
    lines = [f"{name}\t{value}" for name, value in facts.items()]
    everywhere = told("\n".join(lines))
    require_agreement(
        [dict(line.split("\t", 1) for line in text.splitlines()) for text in everywhere]
    )
