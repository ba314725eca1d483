"""Explanations against what one would use instead, on the same network.

`python -m benchmarks.explain [part ...]`; each part is a function of this file.

Rivals are the extra `bench`; they and torch are needed for their parts alone.

- `grad_cam`: Grad-CAM of a ResNet-18 against pytorch-grad-cam, whose maps it equals.
- `voice`: VOICE of a ResNet-18, 224x224, 1,000 classes, against a forward pass and
  against the authors' procedure, a forward and a backward pass for each contrast; and
  how far it is from the loop over contrasts.
"""

# The rivals are the extra `bench`, which `make lint` does not install.
# pyright: reportMissingImports=false

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


def grad_cam(batch: int = 8, rounds: int = 8) -> None:
    """Grad-CAM of the same network and images as pytorch-grad-cam's."""
    import torch

    from benchmarks import _torchvision

    module = _torchvision.network("resnet18")
    from pytorch_grad_cam import GradCAM

    arrays = {name: array.numpy() for name, array in module.state_dict().items()}
    apply_fn, params = models.from_state_dict("resnet18", arrays)
    images = torch.randn(batch, 3, 224, 224, generator=torch.manual_seed(1))
    x = jnp.asarray(images.permute(0, 2, 3, 1).numpy())
    rival = GradCAM(module, [module.layer4[-1]])
    ours = jax.jit(lambda p, x: explain.grad_cam(apply_fn, p, x))

    # Theirs is brought to [0, 1] before it is resized, but for 1e-7 in a denominator.
    predicted = jnp.argmax(apply_fn(params, x), axis=-1)
    low = explain.class_maps(apply_fn, params, x, target=predicted[:, None])[:, 0]
    resized = explain.resized(jnp.maximum(low, 0), (224, 224))
    expected = explain.normalized(jnp.asarray(rival(images, None)))
    np.testing.assert_allclose(explain.normalized(resized), expected, atol=1e-4)

    print(f"\nGrad-CAM, ResNet-18, 224x224, batch {batch}")
    seconds = best(
        {
            "forward pass": lambda: jax.jit(apply_fn)(params, x),
            "grad_cam": lambda: ours(params, x),
            "PyTorch's forward pass": lambda: torch.no_grad()(module)(images),
            "pytorch-grad-cam 1.5.7": lambda: rival(images, None),
        },
        rounds,
    )
    ratio = seconds["pytorch-grad-cam 1.5.7"] / seconds["grad_cam"]
    print(f"pytorch-grad-cam takes {ratio:.2f} x as long")


PARTS: dict[str, Callable[[], None]] = {"voice": voice, "grad_cam": grad_cam}


def main() -> None:
    print(f"jax {jax.__version__}")
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
