"""What introspective features cost beyond the forward pass that they are of.

Run `python -m benchmarks.introspection`. Each row is the best of the rounds, as a
multiple of the first of its table, the forward pass. The rivals take turns, so that a
busy moment hits all of them; on a CPU, it is the processor time of all threads that
counts.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks._timing import interleaved
from trustjax import introspection, losses, models
from trustjax.introspection import Features

UNITS = 300


def forms(apply_fn: Any, params: Any, x: jax.Array) -> dict[str, Callable[[], Any]]:
    """The forward pass, the features, and what is made of them, compiled."""
    asked = lambda params, x: introspection.features_of(apply_fn, params, x)
    shapes = jax.eval_shape(asked, params, x)
    size = (shapes.change.shape[1], shapes.embedding.shape[1])
    kernel = jax.random.normal(jax.random.key(1), (*size, UNITS)) / 100

    def statistics(params: Any, x: jax.Array) -> Any:
        found = asked(params, x)
        products = introspection.inner_products(found, found)
        return introspection.norm(found), introspection.maximum(found), products

    def layer(params: Any, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return introspection.linear(asked(params, x), kernel)

    def backward(params: Any, x: jax.Array) -> jax.Array:
        """By the book: a backward pass to all ones."""
        ones = jnp.ones(shapes.change.shape)
        of_batch = lambda p: losses.squared_error(apply_fn(p, x), ones).sum()
        return jax.grad(of_batch)(params)

    compiled = {
        "forward pass": jax.jit(apply_fn),
        "features, all ones": jax.jit(asked),
        "and their norms, maxima, products": jax.jit(statistics),
    }
    made: dict[str, Callable[[], Any]] = {
        name: lambda f=f: f(params, x) for name, f in compiled.items()
    }
    with_layer, by_the_book = jax.jit(layer), jax.jit(backward)
    made[f"and a layer of {UNITS} units on them"] = lambda: with_layer(
        params, x, kernel
    )
    made["a backward pass, gradients added up"] = lambda: by_the_book(params, x)
    return made


def against_the_outer_product(batch: int, size: tuple[int, int], rounds: int) -> None:
    """A layer on the features by their factors, and on the features themselves."""
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = [(batch, size[0]), (batch, size[1]), (*size, UNITS)]
    a, h, kernel = (jax.random.normal(*pair) for pair in zip(keys, shapes, strict=True))
    factored = jax.jit(introspection.linear)

    @jax.jit
    def flattened(a: jax.Array, h: jax.Array, kernel: jax.Array) -> jax.Array:
        whole = (a[:, :, None] * h[:, None, :]).reshape(batch, -1)
        return whole @ kernel.reshape(-1, UNITS)

    title = f"{batch} examples, {size[0]} classes x {size[1]} features, {UNITS} units"
    rivals = {
        "flattened features": lambda: flattened(a, h, kernel),
        "by their factors": lambda: factored(Features(a, h), kernel),
    }
    table(title, rivals, rounds)


def table(title: str, rivals: dict[str, Callable[[], Any]], rounds: int) -> None:
    """Prints the best time of each rival over that of the first."""
    on_cpu = jax.default_backend() == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    measured = interleaved(rivals, rounds, clock=clock)
    best = {name: min(seconds) for name, seconds in measured.items()}
    baseline = next(iter(best.values()))
    print(f"\n{title}: 1.00 is {1e3 * baseline:.2f} ms", flush=True)
    for name, seconds in best.items():
        print(f"  {name:40} {seconds / baseline:6.3f} x", flush=True)


def of_network(name: str, shape: tuple[int, ...], classes: int, rounds: int) -> None:
    """The table of one network of `trustjax.models`."""
    batch = 16 if classes == 1000 else 256
    apply_fn, params = models.load(name, num_classes=classes, image_shape=shape)
    x = jax.random.normal(jax.random.key(0), (batch, *shape))
    title = f"{name}, batch {batch}, {classes} classes"
    table(title, forms(apply_fn, params, x), rounds)


def main() -> None:
    of_network("cnn", (28, 28, 1), 10, rounds=60)
    of_network("resnet18", (224, 224, 3), 1000, rounds=6)
    against_the_outer_product(256, (10, 144), rounds=30)
    against_the_outer_product(16, (1000, 512), rounds=5)


if __name__ == "__main__":
    main()
