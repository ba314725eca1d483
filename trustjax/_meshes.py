"""Batches on meshes with explicit axes, which `jax.make_mesh` makes by default.

There the sharding of an array is a part of its type, and JAX refuses what the type of
the result does not follow for: lookups in a table, reshapes of a sharded axis. Networks
are written without a word about shardings, and `jax.vmap` of their derivatives asks for
more still. So the work is done with those axes left to the partitioner, as on axes of
type Auto, and only the results carry their sharding again.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P


def in_auto_axes(
    fun: Callable[..., Any], *trees: Any, batch: Any, length: int | None = None
) -> Any:
    """`fun(*trees)`, computed without axes of a mesh that are explicit.

    Args:
      fun: a function that returns a tree of arrays with a leading axis.
      *trees: its arguments. What `fun` closes over must not lie on explicit axes.
      batch: arrays `[batch, ...]`; the leading axis of the results is sharded so too.
        None for results that are whole on every device.
      length: of the leading axis, if it is not that of `batch`. One that cannot be
        sharded evenly is not sharded.
    """
    leaves, tree = jax.tree.flatten(trees)
    is_array = [isinstance(leaf, jax.Array) for leaf in leaves]
    arrays = [leaf for leaf, a in zip(leaves, is_array, strict=True) if a]
    meshes = [jax.typeof(array).sharding.mesh for array in arrays]
    explicit = [mesh for mesh in meshes if mesh.explicit_axes]
    if not explicit:
        return fun(*trees)

    def of_arrays(*arrays: Any) -> Any:
        given = iter(arrays)
        merged = [
            next(given) if a else leaf for leaf, a in zip(leaves, is_array, strict=True)
        ]
        return fun(*jax.tree.unflatten(tree, merged))

    mesh, axes = explicit[0], axes_of_batch(batch)
    shards = math.prod(mesh.shape[axis] for axis in axes)
    even = length is None or length % shards == 0
    return jax.sharding.auto_axes(
        of_arrays,
        axes=mesh.explicit_axes,
        out_sharding=NamedSharding(mesh, P(axes) if axes and even else P()),
    )(*arrays)


def axes_of_batch(batch: Any) -> tuple[str, ...]:
    """The axes of a mesh that the leading axis of a batch is sharded over."""
    for leaf in jax.tree.leaves(batch):
        if isinstance(leaf, jax.Array) and leaf.ndim:
            axes = axes_of(jax.typeof(leaf).sharding.spec)
            if axes:
                return axes
    return ()


def axes_of(spec: P) -> tuple[str, ...]:
    """The axes of a mesh that a leading axis is sharded over."""
    return _names(spec[0]) if len(spec) else ()


def without_axes(spec: P, axes: tuple[str, ...]) -> P:
    """How an array is sharded that has been gathered over some axes of a mesh."""

    def kept(own: Any) -> tuple[str, ...] | None:
        names = _names(own)
        left = tuple(name for name in names if name not in axes)
        return own if left == names else left or None

    return P(*(kept(own) for own in spec))


def by_process(devices: Iterable[Any]) -> np.ndarray:
    """Devices in the order of their processes: each process reads rows of its own."""
    return np.array(sorted(devices, key=lambda d: (d.process_index, d.id)))


def _names(axes: Any) -> tuple[str, ...]:
    """The axes of a mesh that an entry of a `PartitionSpec` names."""
    return axes if isinstance(axes, tuple) else () if axes is None else (axes,)
