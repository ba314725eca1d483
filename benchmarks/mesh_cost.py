"""What one device of a large mesh has to do, found out without the devices.

Run `python -m benchmarks.mesh_cost`. The program of `gradients.gradient_statistics` is
compiled for meshes of up to 256 devices, over which one batch is sharded; XLA's cost
analysis of the compiled program is that of one device. 256 forced CPU devices stand in
for the mesh: nothing is run on them. The same program is lowered for TPU on an abstract
mesh, which needs no device at all.
"""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=256"
)

from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks._collectives import COLLECTIVE
from trustjax import bridge, gradients, models

DEVICES = (1, 8, 64, 256)
BATCH = 1024
SHAPE = (BATCH, 28, 28, 1)


class Cost(NamedTuple):
    """What one device computes, moves and holds."""

    flops: float
    bytes: float
    temporary: float
    collectives: int


def arguments(mesh: Any, params: Any) -> tuple[Any, jax.ShapeDtypeStruct]:
    """Parameters on every device, examples on one each."""
    replicated, sharded = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    shapes = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=replicated), params
    )
    return shapes, jax.ShapeDtypeStruct(SHAPE, np.float32, sharding=sharded)


def cost(fun: Any, params: Any, devices: int) -> Cost:
    """The cost of one device of a mesh, from the compiled program."""
    # One device alone would take the batch in a loop, of which XLA's analysis counts
    # one turn: a second one that does the same keeps it from that.
    copies = 2 if devices == 1 else 1
    grid = np.array(jax.devices()[: devices * copies]).reshape(devices, copies)
    mesh = Mesh(grid, ("data", "copies"), (AxisType.Auto,) * 2)
    compiled: Any = jax.jit(fun).lower(*arguments(mesh, params)).compile()
    analysis = compiled.cost_analysis()
    return Cost(
        analysis["flops"],
        analysis["bytes accessed"],
        compiled.memory_analysis().temp_size_in_bytes,
        len(COLLECTIVE.findall(compiled.as_text())),
    )


def lowers_for_tpu(fun: Any, params: Any, devices: int) -> bool:
    """Whether the lowered program of an abstract mesh asks for all its devices."""
    mesh = AbstractMesh((devices,), ("data",), (AxisType.Auto,))
    traced = jax.jit(fun).trace(*arguments(mesh, params))
    program = traced.lower(lowering_platforms=("tpu",)).as_text()
    return f"num_partitions = {devices} " in program


def main() -> None:
    model = models.create(
        "cnn", num_classes=10, image_shape=SHAPE[1:], rngs=nnx.Rngs(0)
    )
    model.eval()
    apply_fn, params = bridge.from_nnx(model)
    fun = lambda params, x: gradients.gradient_statistics(apply_fn, params, x)
    costs = {n: cost(fun, params, n) for n in DEVICES}
    whole = costs[1]
    print(f"CNN of Oberdiek et al. 2018, all statistics, batch {BATCH}; one device:")
    print(
        f"{'devices':>8}{'MFLOP':>10}{'x n':>7}{'MB moved':>10}{'x n':>7}"
        f"{'MB temporary':>14}{'x n':>7}{'collectives':>13}{'lowers for TPU':>16}"
    )
    for n, own in costs.items():
        print(
            f"{n:>8}{own.flops / 1e6:>10.1f}{n * own.flops / whole.flops:>7.2f}"
            f"{own.bytes / 1e6:>10.1f}{n * own.bytes / whole.bytes:>7.2f}"
            f"{own.temporary / 1e6:>14.2f}{n * own.temporary / whole.temporary:>7.2f}"
            f"{own.collectives:>13}{lowers_for_tpu(fun, params, n)!s:>16}"
        )


if __name__ == "__main__":
    main()
