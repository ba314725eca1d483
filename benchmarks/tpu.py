"""What each chip of a TPU has to do for every ingredient, found out without a TPU.

Run `python -m benchmarks.tpu` after `pip install libtpu`, the TPU compiler; its licence
is Google's. Programs are compiled for 16 chips of a v5e, over which one batch is
sharded, and nothing is run. XLA's cost analysis is that of one chip.
"""

import os

os.environ["JAX_PLATFORMS"] = "cpu"

import importlib.util
import time
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks import _ingredients
from benchmarks._collectives import COLLECTIVE

TOPOLOGY = "v5e:4x4"
CHIPS = 16
SHAPE = (4096, 28, 28, 1)


def table(params: Any, rows: list[_ingredients.Asked]) -> None:
    """Prints the cost of each row on one chip."""
    topology = topologies.get_topology_desc(TOPOLOGY, "tpu")
    mesh = topologies.make_mesh(topology, (CHIPS,), ("data",))
    sharding = lambda *spec: NamedSharding(mesh, P(*spec))
    print(
        f"{'':28}{'GFLOP':>9}{'x forward':>11}{'MB moved':>10}{'MB held':>9}"
        f"{'s to compile':>14}  collectives",
        flush=True,
    )
    forward = None
    for row in rows:
        start = time.process_time()
        given = _ingredients.arguments(row, params, SHAPE, sharding)
        compiled: Any = jax.jit(row.fun).lower(*given).compile()
        seconds = time.process_time() - start
        cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
        forward = forward or cost["flops"]
        found = sorted(set(COLLECTIVE.findall(compiled.as_text())))
        print(
            f"{row.name:28}{cost['flops'] / 1e9:>9.3f}{cost['flops'] / forward:>11.2f}"
            f"{cost['bytes accessed'] / 1e6:>10.1f}"
            f"{memory.temp_size_in_bytes / 1e6:>9.1f}{seconds:>14.1f}"
            f"  {', '.join(found) or 'none'}",
            flush=True,
        )


def main() -> None:
    if importlib.util.find_spec("libtpu") is None:
        print("Left out: this needs the TPU compiler, pip install libtpu.")
        return
    params, rows = _ingredients.of_network(
        "cnn", SHAPE[1:], 10, "mnist5k", "train[:1000]"
    )
    print(f"cnn, {SHAPE[0]} images of {SHAPE[1:]} on {TOPOLOGY}; one chip:")
    table(params, rows)


if __name__ == "__main__":
    main()
