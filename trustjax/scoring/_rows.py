"""Arrays of one's own as batches."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from trustjax import _validate

UNKNOWN = -1


def batches(
    x: Any, labels: Any = None, *, batch_size: int = 256
) -> list[dict[str, Any]]:
    """Arrays at hand as the batches that a `Scorer` takes.

    Args:
      x: what the network takes second: an array `[records, ...]`, or a tree of them.
      labels: true classes, `[records]`, integers; None where they are not known: -1.
      batch_size: records in a batch; the last one is padded.

    Returns:
      The batches, views of the arrays but for the last: dicts of `image`, `label`,
      `index` and `mask`.

    Raises:
      ValueError: if there are no records, or the arrays have different numbers of them.

    ==============================  ================================================
    Edge case                       Value
    ==============================  ================================================
    fewer records than batch_size   one batch of them, without padding
    ==============================  ================================================

    >>> two = batches(np.arange(6.0).reshape(3, 2), [0, 1, 0], batch_size=2)
    >>> print(two[1]["image"], two[1]["label"], two[1]["index"], two[1]["mask"])
    [[4. 5.]
     [0. 0.]] [0 0] [ 2 -1] [ True False]
    """
    _validate.count("batch_size", batch_size)
    x = jax.tree.map(np.asarray, x)
    leaves = jax.tree.leaves(x)
    records = len(leaves[0]) if leaves else 0
    labels = np.full(records, UNKNOWN) if labels is None else np.asarray(labels)
    counts = {len(leaf) for leaf in (*leaves, labels)}
    if not records or len(counts) > 1:
        raise ValueError(
            "x and labels must have as many rows as there are records, one or more; "
            f"got {', '.join(map(str, sorted(counts)))}"
        )
    size = min(batch_size, records)
    index = np.arange(records)
    whole = {"image": x, "label": labels, "index": index, "mask": index >= 0}

    def rows(start: int) -> dict[str, Any]:
        taken = jax.tree.map(lambda leaf: leaf[start : start + size], whole)
        return longer(taken, size - len(taken["mask"]))

    return [rows(start) for start in range(0, records, size)]


def dealt(batches: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The share of this process, of batches that every process has whole.

    Yields:
      Of each batch a block of rows, as long in every process: the last ones are padded.
    """
    count = jax.process_count()
    for batch in batches:
        each = -(-len(batch["mask"]) // count)
        whole = longer(batch, each * count - len(batch["mask"]))
        start = each * jax.process_index()
        yield jax.tree.map(lambda leaf, s=start, e=each: leaf[s : s + e], whole)


def longer(batch: Mapping[str, Any], missing: int) -> dict[str, Any]:
    """A batch with so many rows of padding behind it, which its mask leaves out."""

    def padded(leaf: np.ndarray, fill: int = 0) -> np.ndarray:
        widths = [(0, missing)] + [(0, 0)] * (np.ndim(leaf) - 1)
        return np.pad(leaf, widths, constant_values=fill) if missing else leaf

    return {
        name: padded(value, -1) if name == "index" else jax.tree.map(padded, value)
        for name, value in batch.items()
    }
