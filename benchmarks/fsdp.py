"""What parameters cost that are spread over the devices of the batch (FSDP).

Run `python -m benchmarks.fsdp`. The program of all gradient statistics is compiled for
eight forced CPU devices: with parameters on every device, spread and left to XLA, and
spread and gathered where they are used (`transforms.gather_parameters`). XLA's cost and
memory analyses are those of one device; the programs are ordered for memory, as XLA
does by itself on an accelerator and not on a CPU.
"""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import re
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from trustjax import bridge, gradients, models, transforms

DEVICES, BATCH = 8, 32
FOR_MEMORY: Any = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
GATHERED = re.compile(r"= \w+\[([\d,]*)\]\S* all-gather\(")
OTHER = re.compile(r" (?:all-reduce|all-to-all|collective-permute|reduce-scatter)\(")


def perceptron() -> tuple[Any, Any, Any]:
    """Eight dense layers of 1,024 units."""
    keys = jax.random.split(jax.random.key(0), 9)
    params = [jax.random.normal(key, (1024, 1024)) / 32 for key in keys[1:]]

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        for kernel in params:
            x = jnp.tanh(x @ kernel)
        return x

    return apply_fn, params, jax.random.normal(keys[0], (BATCH, 1024))


def of_the_zoo(name: str) -> tuple[Any, Any, Any]:
    shape = (32, 32, 3)
    model = models.create(name, num_classes=16, image_shape=shape, rngs=nnx.Rngs(0))
    model.eval()
    x = jax.random.normal(jax.random.key(0), (BATCH, *shape))
    return *bridge.from_nnx(model), x


def spread(leaf: jax.Array, axis_order: int) -> P:
    """Over the first or the last axis that the devices can share."""
    shared = [axis for axis, size in enumerate(leaf.shape) if size % DEVICES == 0]
    shared = shared[::axis_order]
    return P(*[None] * shared[0], "data") if shared else P()


def report(name: str, network: tuple[Any, Any, Any]) -> None:
    apply_fn, params, x = network
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    gathering = transforms.gather_parameters(apply_fn, NamedSharding(mesh, P()))
    whole = jax.tree.map(lambda leaf: P(), params)
    first = jax.tree.map(lambda leaf: spread(leaf, 1), params)
    last = jax.tree.map(lambda leaf: spread(leaf, -1), params)
    ways = {
        "on every device": (apply_fn, whole),
        "spread by the first axis, left to XLA": (apply_fn, first),
        "and gathered": (gathering, first),
        "spread by the last axis, left to XLA": (apply_fn, last),
        "gathered ": (gathering, last),
    }
    alone = None
    numbers = {leaf.size for leaf in jax.tree.leaves(params)}
    for way, (fun, specs) in ways.items():

        def struct(leaf: jax.Array, spec: P) -> jax.ShapeDtypeStruct:
            own = NamedSharding(mesh, spec)
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=own)

        def values(params: Any, x: jax.Array, fun: Any = fun) -> jax.Array:
            return gradients.gradient_statistics(fun, params, x).values

        arguments = jax.tree.map(struct, params, specs), struct(x, P("data"))
        program: Any = jax.jit(values).lower(*arguments).compile(FOR_MEMORY)
        memory, text = program.memory_analysis(), program.as_text()
        flops = program.cost_analysis()["flops"]
        alone = alone or flops
        sizes = [
            jnp.prod(jnp.array([int(n) for n in shape.split(",") if n])).item()
            for shape in GATHERED.findall(text)
        ]
        others = len(OTHER.findall(text)) + sum(size not in numbers for size in sizes)
        print(
            f"| {name} | {way.strip()} | {flops / alone:.2f} "
            f"| {memory.argument_size_in_bytes / 1e6:.2f} "
            f"| {memory.temp_size_in_bytes / 1e6:.2f} "
            f"| {sum(size in numbers for size in sizes)} | {others} |",
            flush=True,
        )


def main() -> None:
    print("| network | parameters | x work | MB given | MB temporary | ", end="")
    print("gathers of parameters | other collectives |")
    print("|---|---|---|---|---|---|---|")
    report("8 dense layers of 1,024", perceptron())
    for name in ("mlp", "vit_micro", "resnet8"):
        report(name, of_the_zoo(name))


if __name__ == "__main__":
    main()
