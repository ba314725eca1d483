"""Batches on devices and in processes: placed, padded, agreed on, and gathered."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from trustjax.scoring._rows import longer

Batch = Mapping[str, Any]
Sharding = jax.sharding.NamedSharding | None


def replicated(tree: Any, sharding: Sharding) -> Any:
    """Arrays where the batches will be: whole, on every device of the sharding."""
    if sharding is None:
        return jax.device_put(tree)
    everywhere = jax.sharding.PartitionSpec()
    return jax.device_put(tree, jax.sharding.NamedSharding(sharding.mesh, everywhere))


def placed(x: Any, sharding: Sharding) -> Any:
    """Rows of this process as part of a batch that all processes share."""
    if sharding is None:
        return jax.device_put(x)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), x
    )


def local_rows(leaf: jax.Array) -> np.ndarray:
    """The rows that this process holds, in order; all of what every process has."""
    if leaf.is_fully_addressable:
        return np.asarray(leaf)
    if leaf.is_fully_replicated:
        return np.asarray(leaf.addressable_data(0))
    # Devices that hold the same rows count once.
    shards = {shard.index[0].start or 0: shard for shard in leaf.addressable_shards}
    return np.concatenate([np.asarray(shards[start].data) for start in sorted(shards)])


def everywhere(tree: Any, sharding: Sharding) -> Any:
    """Results that are no rows of examples, whole on every device; inside the jit.

    Axes that are explicit say by their types where everything is.
    """
    if sharding is None or sharding.mesh.explicit_axes:
        return tree
    whole = jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
    return jax.lax.with_sharding_constraint(tree, whole)


def padded(batch: Batch, sharding: Sharding) -> Batch:
    """The batch with masked rows behind it, so that the devices can share it."""
    return longer(batch, -len(batch["mask"]) % _parts(sharding))


def _parts(sharding: Sharding) -> int:
    """Among how many devices of this process the rows of a batch are divided."""
    if sharding is None:
        return 1
    axes = sharding.spec[0] if len(sharding.spec) else None
    names = axes if isinstance(axes, tuple) else () if axes is None else (axes,)
    everywhere = int(np.prod([sharding.mesh.shape[name] for name in names], dtype=int))
    of_one_process = sharding.addressable_devices_indices_map((everywhere,))
    return len({rows[0].start for rows in of_one_process.values() if rows})


def together(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches, where every process has as many of them, and as large ones.

    One that had a batch more would wait for the others for ever: before each batch all
    of them say what they have.

    Raises:
      ValueError: in every process, if they differ.
    """
    if jax.process_count() == 1:
        yield from batches
        return
    iterator = iter(batches)
    for number in itertools.count(1):
        batch = next(iterator, None)
        mine = 0 if batch is None else len(batch["mask"])
        rows = multihost_utils.process_allgather(np.array(mine)).tolist()
        if len(set(rows)) > 1:
            raise ValueError(
                "every process must give the same number of batches, of the same "
                f"size: batch {number} has {', '.join(map(str, rows))} rows in the "
                f"processes 0 to {len(rows) - 1}. data.batches deals them out evenly"
            )
        if batch is None:
            return
        yield batch


def all_have(part: Any) -> bool:
    """Whether every process has its part of a batch: what they share, all compute.

    One that took up its part alone would meet the others in the collectives of two
    different batches.
    """
    there = part is not None
    if jax.process_count() == 1:
        return there
    return bool(multihost_utils.process_allgather(np.array(there)).all())


def gathered(tree: Any) -> Any:
    """The rows of all processes."""
    if jax.process_count() == 1:
        return tree
    return multihost_utils.process_allgather(tree, tiled=True)
