"""Batches on devices and in processes: placed, padded, agreed on, and gathered."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import trustjax
from trustjax import _processes
from trustjax._fingerprint import fingerprint, row_fingerprints
from trustjax._meshes import axes_of, without_axes
from trustjax.scoring._rows import longer
from trustjax.transforms import gather_parameters
from trustjax.typing import ApplyFn, SplitModel

Batch = Mapping[str, Any]
Sharding = jax.sharding.NamedSharding | None
Model = ApplyFn | SplitModel


def replicated(tree: Any, sharding: Sharding) -> Any:
    """Arrays where the batches will be: whole, on every device of the sharding."""
    if sharding is None:
        return jax.device_put(tree)
    everywhere = jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(tree, everywhere)

    def put(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array):
            if not leaf.is_fully_addressable:
                return jax.device_put(leaf, everywhere)
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                data = put(jax.random.key_data(leaf))
                return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        # `require_same` has asked already what `device_put` would ask once more.
        array = np.asarray(leaf)
        return jax.make_array_from_process_local_data(everywhere, array, array.shape)

    return jax.tree.map(put, tree)


def resident(params: Any, sharding: Sharding) -> Any:
    """Parameters as they are where they lie on the mesh already, others replicated."""
    if sharding is None:
        return replicated(params, sharding)

    def put(leaf: Any) -> jax.Array:
        own: Any = leaf.sharding if isinstance(leaf, jax.Array) else None
        there = isinstance(own, jax.sharding.NamedSharding)
        if there and own.mesh == sharding.mesh:
            return leaf
        return replicated(leaf, sharding)

    return jax.tree.map(put, params)


def gathering(model: Model, params: Any, sharding: Sharding) -> Model:
    """The network, whose parameters may be spread over the devices of the batches.

    Those are gathered where they are used. Types say it on axes that are explicit.
    """
    if sharding is None or sharding.mesh.explicit_axes:
        return model
    over = axes_of(sharding.spec)
    lie = jax.tree.map(lambda leaf: leaf.sharding, params)
    gathered = lambda own: jax.sharding.NamedSharding(
        own.mesh, without_axes(own.spec, over)
    )
    used = jax.tree.map(gathered, lie)
    if used == lie:
        return model
    if isinstance(model, SplitModel):
        return SplitModel(*(gather_parameters(part, used) for part in model))
    return gather_parameters(model, used)


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
    names = axes_of(sharding.spec)
    everywhere = int(np.prod([sharding.mesh.shape[name] for name in names], dtype=int))
    of_one_process = sharding.addressable_devices_indices_map((everywhere,))
    return len({rows[0].start for rows in of_one_process.values() if rows})


def together(batches: Iterable[Batch]) -> Iterator[tuple[Batch, int]]:
    """The batches, where every process has as many of them, and as large ones.

    One that had a batch more would wait for the others for ever: before each batch all
    of them say what they have.

    Yields:
      The batch of this process, and the number of records in those of all.

    Raises:
      ValueError: in every process, if they differ.
    """
    iterator = iter(batches)
    for number in itertools.count(1):
        batch = next(iterator, None)
        mask = np.zeros(0, bool) if batch is None else np.asarray(batch["mask"])
        said = _processes.gathered(np.array([len(mask), mask.sum()]))
        rows, records = said.reshape(-1, 2).T.tolist()
        if len(set(rows)) > 1:
            raise ValueError(
                "every process must give the same number of batches, of the same "
                f"size: batch {number} has {', '.join(map(str, rows))} rows in the "
                f"processes 0 to {len(rows) - 1}. data.batches deals them out evenly"
            )
        if batch is None:
            return
        yield batch, sum(records)


def require_same(what: str, tree: Any) -> None:
    """Requires that all processes bring the same arrays.

    Raises:
      ValueError: in every process, saying who differs, also in versions.
    """
    if jax.process_count() == 1:
        return
    # What the processes share already is one and the same.
    own = [
        leaf
        for leaf in jax.tree.leaves(tree)
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable
    ]
    _processes.require_same(
        {
            "jax": jax.__version__,
            "trustjax": trustjax.__version__,
            f"the fingerprint of {what}": fingerprint(own)[:12],
        }
    )


def records(batch: Batch) -> str:
    """What tells the records of a batch that all processes share from any others.

    They are in their order, whatever process holds which of them, and whatever padding
    is between them.
    """
    mine = {name: batch[name] for name in ("image", "label", "index")}
    rows, mask = _processes.gathered(
        (row_fingerprints(mine), np.asarray(batch["mask"]))
    )
    return fingerprint(rows[mask])
