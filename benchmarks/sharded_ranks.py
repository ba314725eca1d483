"""Rank metrics of a hundred million examples over eight devices, none of them gathered.

Run `python -m benchmarks.sharded_ranks [examples ...]`. Eight forced CPU devices hold
the scores; the program of `metrics.on_mesh(metrics.auroc, ...)` is compiled and run,
and compared with that of `metrics.auroc`, which inside `jax.jit` cannot know where the
scores are. Memory is that of one device, as XLA plans it; of a hundred million
examples, the program that gathers them is compiled and not run. Compilation is given in
seconds of processor time.
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

        def made(key: jax.Array, size: int = size) -> tuple[jax.Array, jax.Array]:
            score, chance = jax.random.split(key)
            scores = jax.random.normal(score, (size,))
            return scores, jax.random.uniform(chance, (size,)) < jax.nn.sigmoid(scores)

        examples = jax.jit(made, out_shardings=(sharding, sharding))(jax.random.key(0))
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


if __name__ == "__main__":
    main()
