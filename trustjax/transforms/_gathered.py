"""Parameters that are spread over devices, each brought together where it is used.

A network whose parameters are sharded over the axes of its batch (FSDP) is meant to
send parameters around, and no activations: each device has examples of its own. XLA's
partitioner does not know that, and may send either.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.sharding import PartitionSpec as P

from trustjax._meshes import axes_of_batch, without_axes
from trustjax.typing import Params


def gather_parameters(apply_fn: Callable[..., Any], shardings: Any) -> Callable:
    """The same network, whose parameters may be spread over the devices of a mesh.

    Each is gathered where the network uses it, and activations stay where they are.
    Gradients of single examples (`gradients.gradient_statistics` and what is made as it
    is) forget a gathered kernel at once and gather it again on the way back: in memory
    is the share of a device, and no more than the layer that it is at. Other
    parameters, such as biases or a kernel that is used twice, are kept from the way
    there.

    On explicit axes the types of the parameters say all this, and nothing need be done.

    Args:
      apply_fn: `(params, *args) -> outputs`.
      shardings: of each parameter while it is used: a tree that starts as `params`
        does, or one `NamedSharding` for all, as `NamedSharding(mesh, P())`. Axes that
        it keeps (of tensor parallelism) are not gathered.

    Returns:
      A function of the same arguments and results, to be called inside `jax.jit`.

    >>> mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    >>> apply_fn = lambda params, x: x @ params["w"]
    >>> whole = gather_parameters(
    ...     apply_fn, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    >>> print(jax.jit(whole)({"w": jax.numpy.eye(2)}, jax.numpy.ones((1, 2))))
    [[1. 1.]]
    """

    @functools.wraps(apply_fn)
    def of_shares(params: Params, *args: Any, **kwargs: Any) -> Any:
        gathered = lax.with_sharding_constraint(params, shardings)
        return apply_fn(gathered, *args, **kwargs)

    return of_shares


def gather_as_typed(
    apply_fn: Callable[..., Any], params: Params, batch: Any
) -> Callable[..., Any]:
    """`gather_parameters` over the explicit axes that the types of a batch name."""
    axes = axes_of_batch(batch)
    leaves, tree = jax.tree.flatten(params)
    while_used: list[P | None] = []
    for leaf in leaves:
        sharding: Any = jax.typeof(leaf).sharding
        spec = sharding.spec if sharding.mesh.explicit_axes else P()
        kept = without_axes(spec, axes)
        while_used.append(None if kept == spec else kept)
    if not any(spec is not None for spec in while_used):
        return apply_fn

    def of_shares(params: Params, *args: Any) -> Any:
        gathered = [
            leaf if spec is None else lax.with_sharding_constraint(leaf, spec)
            for leaf, spec in zip(jax.tree.leaves(params), while_used, strict=True)
        ]
        return apply_fn(jax.tree.unflatten(tree, gathered), *args)

    return of_shares
