"""An accelerator against its host: the same numbers, and how much sooner.

    python -m benchmarks.accelerator                               # on a GPU or TPU
    python -m benchmarks.accelerator --cpu --side 64 --batch 8     # to try it

Runs on JAX's default device, and is left out where that is a CPU, unless asked. First
every ingredient of two networks, computed there and on the CPU of the host: the
largest difference, in units of the largest number. Then statistics of gradients of a
ResNet-50 beside its forward pass and one ordinary gradient, in float32 and bfloat16:
images per second and memory.
"""

import functools
import operator
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx

from benchmarks import _ingredients
from benchmarks._timing import interleaved
from trustjax import bridge, gradients, losses, models

AGREED = 1e-3
"""How far an accelerator may be from the CPU, in units of the largest number."""

FORWARD, ORDINARY, STATISTICS = "forward", "one gradient", "all statistics"


def difference(here: Any, there: Any) -> float:
    """The largest of two trees of arrays, in units of the largest number of each."""

    def of_leaf(a: jax.Array, b: jax.Array) -> float:
        one, other = np.asarray(a, np.float64), np.asarray(b, np.float64)
        finite = np.isfinite(other)
        if not np.array_equal(finite, np.isfinite(one)):
            return np.inf
        largest = np.abs(other[finite]).max(initial=0.0)
        return np.abs(one - other)[finite].max(initial=0.0) / (largest or 1.0)

    return max(map(of_leaf, jax.tree.leaves(here), jax.tree.leaves(there)))


def agreement(name: str, image_shape: tuple[int, ...], batch: int) -> float:
    """Prints how far each ingredient is from the CPU's, and returns the farthest."""
    accelerator, cpu = jax.devices()[0], jax.devices("cpu")[0]
    with jax.default_device(cpu):
        params, rows = _ingredients.of_network(
            name, image_shape, 10, "mnist5k", "train[:1000]"
        )
        x = jax.random.uniform(jax.random.key(0), (batch, *image_shape))
    print(f"\n{name}, {batch} images of {image_shape}: largest difference to the CPU")
    worst = 0.0
    for row in rows:
        given = (params, dict(row.given), x, jnp.arange(batch))
        # TF32 and bfloat16 products would be another question than this one.
        with jax.default_matmul_precision("highest"):
            here, there = (
                jax.jit(row.fun)(*jax.device_put(given, device))
                for device in (accelerator, cpu)
            )
        found = difference(here, there)
        worst = max(worst, found)
        print(
            f"  {row.name:28}{found:10.1e}{'' if found < AGREED else '  !'}", flush=True
        )
    return worst


def passes(apply_fn: Any) -> dict[str, Callable[..., Any]]:
    """What is timed: `(params, x) -> arrays`."""

    def mean_loss(params: Any, x: jax.Array) -> jax.Array:
        return jnp.mean(losses.predicted_cross_entropy(apply_fn(params, x)))

    statistics = functools.partial(gradients.gradient_statistics, apply_fn)
    return {FORWARD: apply_fn, ORDINARY: jax.grad(mean_loss), STATISTICS: statistics}


def speed(apply_fn: Any, params: Any, x: jax.Array, rounds: int) -> None:
    """Prints images per second, ratios, memory and seconds to compile."""
    compiled: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for title, fun in passes(apply_fn).items():
        start = time.perf_counter()
        compiled[title] = jax.jit(fun).lower(params, x).compile()
        seconds[title] = time.perf_counter() - start
    rivals = {
        title: functools.partial(run, params, x) for title, run in compiled.items()
    }
    best = {title: min(each) for title, each in interleaved(rivals, rounds).items()}
    print(
        f"{'':20}{'images/s':>10}{'x gradient':>12}{'MB held':>9}{'s to compile':>14}"
    )
    for title, run in compiled.items():
        held = run.memory_analysis().temp_size_in_bytes / 1e6
        print(
            f"  {title:18}{len(x) / best[title]:>10.1f}"
            f"{best[title] / best[ORDINARY]:>12.2f}{held:>9.0f}{seconds[title]:>14.1f}",
            flush=True,
        )


def main(
    model: str = "resnet50",
    side: int = 224,
    batch: int = 64,
    rounds: int = 10,
    cpu: bool = False,
) -> None:
    """Compares the default device with the CPU, and times it.

    Args:
      model: what is timed.
      side: of its images, in pixels.
      batch: how many of them at a time.
      rounds: how often each pass takes its turn.
      cpu: compare a CPU with itself, where there is nothing else.
    """
    device = jax.devices()[0]
    if device.platform == "cpu" and not cpu:
        print("Left out: there is no accelerator. --cpu tries it on a CPU.")
        return
    print(f"{device.device_kind}, {jax.device_count()} of them; jax {jax.__version__}")
    worst = max(
        agreement("cnn", (28, 28, 1), 256), agreement("resnet18", (32, 32, 3), 64)
    )
    print(f"\nfarthest: {worst:.1e}, asked {AGREED:.0e}")
    network = models.create(
        model, num_classes=1000, image_shape=(side, side, 3), rngs=nnx.Rngs(0)
    )
    network.eval()
    apply_fn, params = bridge.from_nnx(network)
    x = jax.random.normal(jax.random.key(0), (batch, side, side, 3))
    for dtype in (jnp.float32, jnp.bfloat16):
        print(f"\n{model}, {side}x{side}, batch {batch}, {dtype.__name__}")
        in_dtype = operator.methodcaller("astype", dtype)
        speed(apply_fn, jax.tree.map(in_dtype, params), in_dtype(x), rounds)


if __name__ == "__main__":
    tyro.cli(main)
