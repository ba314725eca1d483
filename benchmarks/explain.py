"""Explanations against what one would use instead, on the same network.

`python -m benchmarks.explain [part ...]`; each part is a function of this file.

- `voice`: VOICE of a ResNet-18, 224x224, 1,000 classes, against a forward pass and
  against the authors' procedure, a forward and a backward pass for each contrast; and
  how far it is from the loop over contrasts.
"""

import os
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._timing import interleaved
from trustjax import explain, losses, models

CONTRASTS = 999


def best(rivals: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The fastest turn of each in seconds, printed."""
    seconds = {name: min(all_) for name, all_ in interleaved(rivals, rounds).items()}
    for name, value in seconds.items():
        print(f"{name:48}{1e3 * value:10.1f} ms")
    return seconds


def voice(batch: int = 8, rounds: int = 5) -> None:
    """The ratios, the memory, and the distance from the loop."""
    apply_fn, params = models.load("resnet18")
    x = jax.random.normal(jax.random.key(0), (batch, 224, 224, 3))
    forward = jax.jit(apply_fn).lower(params, x).compile()
    ours: Any = jax.jit(lambda p, x: explain.voice(apply_fn, p, x))
    ours = ours.lower(params, x).compile()

    @jax.jit
    def one_contrast(params: Any, x: jax.Array, labels: jax.Array) -> Any:
        """What `loss.backward()` does: the derivative by every parameter."""
        loss = lambda p: jnp.sum(losses.cross_entropy(apply_fn(p, x), labels))
        return jax.grad(loss)(params)

    print(f"\nVOICE, ResNet-18, 224x224, 1,000 classes, batch {batch}")
    labels = jnp.full(batch, 7)
    seconds = best(
        {
            "forward pass": lambda: forward(params, x),
            "voice": lambda: ours(params, x),
            "a forward and a backward pass": lambda: one_contrast(params, x, labels),
        },
        rounds,
    )
    own = seconds["voice"]
    print(f"voice is {own / seconds['forward pass']:.2f} x the forward pass")
    ratio = CONTRASTS * seconds["a forward and a backward pass"] / own
    print(f"{CONTRASTS} forward and backward passes are {ratio:.0f} x voice")
    memory = ours.memory_analysis()
    print(f"voice holds {memory.temp_size_in_bytes / 1e6:.0f} MB beside its arguments")
    found = explain.voice(apply_fn, params, x[:1]).uncertainty[0]
    error = np.abs(of_the_loop(apply_fn, params, x[:1]) - np.asarray(found)).max()
    print(f"variances up to {found.max():.3f}, within {error:.1e} of the loop's")


def of_the_loop(apply_fn: Any, params: Any, image: jax.Array) -> np.ndarray:
    """The variance over contrasts of one image, each at its size, in float64."""
    contrast = jax.jit(
        lambda params, image, q: explain.normalized(
            explain.contrast_cam(apply_fn, params, image, contrast=q)
        )[0]
    )
    predicted = int(jnp.argmax(apply_fn(params, image)))
    classes = [q for q in range(CONTRASTS + 1) if q != predicted]
    mean, squares = np.zeros(image.shape[1:3]), np.zeros(image.shape[1:3])
    for count, q in enumerate(classes, start=1):
        row = np.asarray(contrast(params, image, jnp.array([q])), np.float64)
        step = row - mean
        mean += step / count
        squares += step * (row - mean)
    return squares / (len(classes) - 1)


PARTS: dict[str, Callable[[], None]] = {"voice": voice}


def main() -> None:
    print(f"jax {jax.__version__}")
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
