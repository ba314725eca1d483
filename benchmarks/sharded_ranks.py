"""Rank metrics of a hundred million examples over eight devices, none of them gathered.

Run `python -m benchmarks.sharded_ranks [examples ...]`. Eight forced CPU devices hold
the scores; the program of `metrics.on_mesh(metrics.auroc, ...)` is compiled and run,
and compared with that of `metrics.auroc`, which inside `jax.jit` cannot know where the
scores are. Memory is that of one device, as XLA plans it; of a hundred million
examples, the program that gathers them is compiled and not run. Compilation is given in
seconds of processor time. Last, as many scores come in batches of a million and are
counted between 65,536 edges (`metrics.ScoreTotals`), so that none is kept.
"""

import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import re
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from trustjax import metrics

SIZES = (2**20, 10**8)
RUN_GATHERED = 2**20
BATCH = 10**6
GATHERED = re.compile(r"= \w+\[(\d+)\]\S* all-gather\(")


def compiled(fun: Any, sharding: NamedSharding, size: int) -> tuple[Any, float]:
    """The program, and the processor time of its compilation, in seconds."""
    of = lambda dtype: jax.ShapeDtypeStruct((size,), dtype, sharding=sharding)
    start = time.process_time()
    program = jax.jit(fun).lower(of(jnp.float32), of(jnp.bool_)).compile()
    return program, time.process_time() - start


def seconds(program: Any, examples: tuple[jax.Array, jax.Array]) -> float:
    """Of the faster of two runs."""
    runs = []
    for _ in range(2):
        start = time.perf_counter()
        jax.block_until_ready(program(*examples))
        runs.append(time.perf_counter() - start)
    return min(runs)


def examples_on(sharding: NamedSharding, size: int) -> Any:
    """What makes scores and outcomes of a key, on the devices."""

    def made(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        score, chance = jax.random.split(key)
        scores = jax.random.normal(score, (size,))
        return scores, jax.random.uniform(chance, (size,)) < jax.nn.sigmoid(scores)

    return jax.jit(made, out_shardings=(sharding, sharding))


def counted(size: int, sharding: NamedSharding) -> None:
    """The bounds of as many scores as come by in batches."""
    batch, number = min(size, BATCH), -(-size // BATCH)
    made = examples_on(sharding, batch)
    first, _ = made(jax.random.key(0))
    edges = jnp.asarray(metrics.ScoreTotals.edges_of(first))

    def shares(scores: jax.Array, correct: jax.Array) -> metrics.ScoreTotals:
        own = metrics.ScoreTotals.of_batch(scores, correct, edges=edges)
        return own.over_devices("data")

    rows = P("data")
    together = jax.shard_map(
        shares,
        mesh=sharding.mesh,
        in_specs=(rows, rows),
        out_specs=P(),
        check_vma=False,
    )
    program, to_compile = compiled(together, sharding, batch)
    memory = program.memory_analysis()
    totals = program(*made(jax.random.key(0)))
    jax.block_until_ready(totals.merge(totals).auroc())
    start = time.perf_counter()
    for seed in range(1, number):
        totals = totals.merge(program(*made(jax.random.key(seed))))
    lower, upper = totals.auroc()
    planned = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    print(
        f"{batch * number:>12} {'counted':<10}{to_compile:>10.1f}"
        f"{time.perf_counter() - start:>8.2f}{planned / 1e6:>13.1f}"
        f"{0:>18}  {lower:.7f} to {upper:.7f}",
        flush=True,
    )


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, P("data"))
    rivals = {
        "by shards": metrics.on_mesh(metrics.auroc, sharding),
        "gathered": metrics.auroc,
    }
    print(
        f"{'examples':>12} {'AUROC':<10}{'compile s':>10}{'run s':>8}"
        f"{'MB a device':>13}{'entries gathered':>18}  value"
    )
    for size in sizes:
        examples = examples_on(sharding, size)(jax.random.key(0))
        for name, metric in rivals.items():
            program, to_compile = compiled(metric, sharding, size)
            memory = program.memory_analysis()
            planned = memory.argument_size_in_bytes + memory.temp_size_in_bytes
            gathered = max(map(int, GATHERED.findall(program.as_text())), default=0)
            run, value = "", ""
            if name == "by shards" or size <= RUN_GATHERED:
                run = f"{seconds(program, examples):.2f}"
                value = f"{program(*examples):.7f}"
            print(
                f"{size:>12} {name:<10}{to_compile:>10.1f}{run:>8}"
                f"{planned / 1e6:>13.1f}{gathered:>18}  {value}",
                flush=True,
            )
    for size in sizes:
        counted(size, sharding)


if __name__ == "__main__":
    main()
