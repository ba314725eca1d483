"""Seconds of compilation: statistics against `vmap(grad)`, from nothing each time.

Run `python -m benchmarks compile`. Tracing, lowering and compilation of a function that
was never seen before, in processor seconds of all threads, which other work on the
machine disturbs least. The rivals take turns; each keeps its best round.
"""

import resource
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from trustjax import bridge, gradients, losses, models

PLAIN = "vmap(grad)"
WHOLE = "per_example_gradients"
STATISTICS = "gradient_statistics"

ROUNDS = 2
SECONDS = 600
"""After that long no other round begins."""


def main() -> None:
    networks = {
        "ViT-Ti, 32x32, batch 16": model("vit_tiny", (16, 32, 32, 3)),
        "ResNet-18, 64x64, batch 32": model("resnet18", (32, 64, 64, 3)),
        "24-layer MLP, batch 64": mlp(),
        "LSTM of 50 steps, batch 64": lstm(),
    }
    rivals = {PLAIN: plain, WHOLE: whole, STATISTICS: reduced}
    seconds = {(n, r): [] for n in networks for r in rivals}
    end = time.monotonic() + SECONDS
    for round_ in range(ROUNDS):
        if round_ and time.monotonic() > end:
            break
        for name, network in networks.items():
            for rival, make in rivals.items():
                seconds[name, rival].append(compilation(make, *network))
    print(f"{'':28}" + "".join(f"{rival:>23}" for rival in rivals))
    for name in networks:
        best = {rival: min(seconds[name, rival]) for rival in rivals}
        cells = (f"{b:7.2f} s, {b / best[PLAIN]:4.2f} x" for b in best.values())
        print(f"{name:28}" + "".join(f"{cell:>23}" for cell in cells))


def compilation(make: Callable[..., Any], apply_fn: Any, params: Any, x: Any) -> float:
    """Processor seconds until the program is ready, with nothing remembered."""
    jax.clear_caches()
    start = processor_seconds()
    jax.jit(make(apply_fn)).lower(params, x).compile()
    return processor_seconds() - start


def processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def plain(apply_fn: Any) -> Callable[..., Any]:
    """The obvious per-example gradients."""

    def loss(params: Any, example: jax.Array) -> jax.Array:
        return losses.predicted_cross_entropy(apply_fn(params, example[None]))[0]

    return jax.vmap(jax.grad(loss), (None, 0))


def whole(apply_fn: Any) -> Callable[..., Any]:
    return lambda params, x: gradients.per_example_gradients(apply_fn, params, x)


def reduced(apply_fn: Any) -> Callable[..., Any]:
    return lambda params, x: gradients.gradient_statistics(apply_fn, params, x).values


def model(name: str, shape: tuple[int, int, int, int]) -> tuple[Any, Any, jax.Array]:
    network = models.create(
        name, num_classes=10, image_shape=shape[1:], rngs=nnx.Rngs(0)
    )
    network.eval()
    return *bridge.from_nnx(network), jnp.zeros(shape)


def mlp(layers: int = 24, width: int = 64) -> tuple[Any, Any, jax.Array]:
    """Dense layers with biases, one after the other and not in a scan."""

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        for layer in params.values():
            x = jax.nn.relu(x @ layer["kernel"] + layer["bias"][None])
        return x

    layer = {"bias": jnp.zeros(width), "kernel": jnp.full((width, width), 0.1)}
    params = {f"layer{i:02}": layer for i in range(layers)}
    return apply_fn, params, jnp.zeros((64, width))


def lstm(steps: int = 50, width: int = 32) -> tuple[Any, Any, jax.Array]:
    """A scan over time whose last state is classified."""

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        def step(state: Any, seen: jax.Array) -> tuple[Any, None]:
            hidden, cell = state
            gates = seen @ params["seen"] + hidden @ params["hidden"] + params["bias"]
            input_, forget, new, output = jnp.split(gates, 4, axis=-1)
            cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(input_) * jnp.tanh(
                new
            )
            return (jax.nn.sigmoid(output) * jnp.tanh(cell), cell), None

        nothing = jnp.zeros((len(x), width))
        state, _ = jax.lax.scan(step, (nothing, nothing), jnp.moveaxis(x, 1, 0))
        return state[0] @ params["classes"]

    params = {
        "bias": jnp.zeros((1, 4 * width)),
        "classes": jnp.ones((width, 10)),
        "hidden": jnp.full((width, 4 * width), 0.1),
        "seen": jnp.full((8, 4 * width), 0.1),
    }
    return apply_fn, params, jnp.zeros((64, steps, 8))


if __name__ == "__main__":
    main()
