"""What each term of a training loss costs: compiling a step, and taking it.

Run `python -m benchmarks.train_terms`. Each number is a multiple of plain cross
entropy's, the first of its table; of runs it is the best of the rounds, in which the
rivals take turns. On a CPU, it is the processor time of all threads that counts.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks._timing import interleaved
from experiments.train_for_trust_terms import PLAIN, Method, methods
from trustjax import models, train

SHAPE, CLASSES = (28, 28, 1), 10


def batch_of(size: int) -> dict[str, jax.Array]:
    """A batch of noise, in which about a tenth is answered right by chance."""
    keys = jax.random.split(jax.random.key(0), 3)
    return {
        "image": jax.random.uniform(keys[0], (size, *SHAPE)),
        "label": jax.random.randint(keys[1], (size,), 0, CLASSES),
        "correctness": jax.random.uniform(keys[2], (size,)),
        "mask": jnp.ones(size, bool),
    }


def compiled(
    name: str, method: Method, batch: dict[str, jax.Array], clock: Callable[[], float]
) -> tuple[Callable[[], Any], float]:
    """A call that takes a step of a network, and the seconds that compiling it took."""
    weight = method.weights[0]
    model = models.create(
        name, num_classes=CLASSES, image_shape=SHAPE, rngs=nnx.Rngs(0)
    )
    config = train.config_for(name, **method.changes(weight))
    state, step = train.make_seeded_train_step(
        model, config, steps_per_epoch=100, **method.options(weight)
    )
    given = jax.random.key(0), batch, 1.0
    start = clock()
    program = step.lower(given[0], state, *given[1:]).compile()
    seconds = clock() - start
    states = [state]  # a step gives its state away

    def take() -> Any:
        states[0] = program(given[0], states[0], *given[1:])
        return states[0]

    return take, seconds


def table(name: str, size: int, rounds: int) -> None:
    """Prints what each term costs a network of `trustjax.models`."""
    on_cpu = jax.default_backend() == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    asked = methods((1.0,), (0.2,), (0.01,))
    batch = batch_of(size)
    compiled(name, asked[PLAIN], batch, clock)  # what is loaded once is not counted
    made = {key: compiled(name, one, batch, clock) for key, one in asked.items()}
    measured = interleaved(
        {key: take for key, (take, _) in made.items()}, rounds, clock=clock
    )
    best = {key: min(seconds) for key, seconds in measured.items()}
    to_compile = {key: seconds for key, (_, seconds) in made.items()}
    print(
        f"\n{name}, batch {size}: 1.00 is {to_compile[PLAIN]:.2f} s to compile and "
        f"{1e3 * best[PLAIN]:.2f} ms a step"
    )
    for key in made:
        print(
            f"  {key:32} {to_compile[key] / to_compile[PLAIN]:6.2f} x to compile "
            f"{best[key] / best[PLAIN]:6.2f} x to run",
            flush=True,
        )


def main() -> None:
    table("mlp", 128, rounds=30)


if __name__ == "__main__":
    main()
