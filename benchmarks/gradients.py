"""The gradient engine against one ordinary gradient, `vmap(grad)` and PyTorch.

Run `python -m benchmarks gradients`. All eight statistics of every parameter tensor
of every example; a batch gradient of the mean loss, of which nothing is per example,
is 1.00. The rivals take turns in one process; PyTorch uses as many threads as JAX.

The CNN is measured twice: as one writes it with Flax's layers, and as `models` has it,
whose max pooling is faster to differentiate, by whatever means.
"""

# The rivals are the extra `bench`, which `make lint` does not install.
# pyright: reportMissingImports=false

import os
import statistics as stdlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import torch
from flax import nnx

from benchmarks._timing import interleaved
from trustjax import bridge, gradients, losses, models, statistics, transforms

ORDINARY = "ordinary batch gradient"
PLAIN = "vmap(grad), then statistics"
TRANSFORMED = "the same of matmul_kernel_grads"
ENGINE = "gradient_statistics"
LOOP = "PyTorch, one backward pass an example"
FUNCTORCH = "PyTorch, torch.func.vmap(grad)"


def main() -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    cnn, params, x = network("cnn", (256, 28, 28, 1))
    written = jax_rivals(*bridge.from_nnx(FlaxCNN(rngs=nnx.Rngs(0))), x)
    rivals = written | torch_rivals(torch_cnn(), x)
    speed("CNN of Flax's layers, 28x28, batch 256", rivals, rounds=15)
    speed("CNN of trustjax.models", jax_rivals(cnn, params, x), rounds=15)
    resnet, params, x = network("resnet20", (64, 32, 32, 3))
    speed("ResNet-20, 32x32, batch 64", jax_rivals(resnet, params, x), rounds=6)
    resnet, params, x = network("resnet18", (32, 64, 64, 3))
    memory("ResNet-18, 64x64, batch 32", resnet, params, x)


class FlaxCNN(nnx.Module):
    """The network of Oberdiek et al. 2018 as one writes it with Flax."""

    def __init__(self, *, rngs: nnx.Rngs):
        channels = ((1, 16), (16, 16), (16, 16))
        self.convolutions = nnx.List(
            [nnx.Conv(*io, (3, 3), padding="VALID", rngs=rngs) for io in channels]
        )
        self.dense = nnx.Linear(144, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """The logits."""
        first, second, third = self.convolutions
        for convolution in (first, second):
            x = nnx.leaky_relu(convolution(x), negative_slope=0.1)
            x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = nnx.leaky_relu(third(x), negative_slope=0.1)
        return self.dense(x.reshape(len(x), -1))


def network(name: str, shape: tuple[int, ...]) -> tuple[Any, Any, jax.Array]:
    """A network of `trustjax.models`, its parameters, and a batch of noise."""
    model = models.create(
        name,
        num_classes=10,
        image_shape=(shape[1], shape[2], shape[3]),
        rngs=nnx.Rngs(0),
    )
    model.eval()
    return *bridge.from_nnx(model), jax.random.normal(jax.random.key(0), shape)


def batch_gradient(apply_fn: Any) -> Callable[..., Any]:
    """The gradient of the mean loss: what a training step takes."""
    return jax.grad(
        lambda params, x: losses.predicted_cross_entropy(apply_fn(params, x)).mean()
    )


def plain(apply_fn: Any) -> Callable[..., Any]:
    """The obvious per-example gradients, and the same statistics of them."""

    def loss(params: Any, example: jax.Array) -> jax.Array:
        return losses.predicted_cross_entropy(apply_fn(params, example[None]))[0]

    def reduced(gradient: Any) -> jax.Array:
        rows = []
        for leaf in jax.tree.leaves(gradient):
            moments = statistics.moments(leaf)
            rows.append(jnp.stack([s(moments) for s in statistics.DEFAULT]))
        return jnp.stack(rows)

    return lambda params, x: jax.vmap(reduced)(
        jax.vmap(jax.grad(loss), (None, 0))(params, x)
    )


def transformed(apply_fn: Any) -> Callable[..., Any]:
    return plain(transforms.matmul_kernel_grads(apply_fn))


def engine(apply_fn: Any) -> Callable[..., Any]:
    return lambda params, x: gradients.gradient_statistics(apply_fn, params, x).values


def jax_rivals(
    apply_fn: Any, params: Any, x: jax.Array
) -> dict[str, Callable[[], Any]]:
    functions = {
        ORDINARY: batch_gradient,
        PLAIN: plain,
        TRANSFORMED: transformed,
        ENGINE: engine,
    }
    compiled = {name: jax.jit(make(apply_fn)) for name, make in functions.items()}
    return {name: lambda f=f: f(params, x) for name, f in compiled.items()}


def torch_cnn() -> torch.nn.Module:
    """The network of Oberdiek et al. 2018, as `models` has it."""
    nn = torch.nn
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3), nn.LeakyReLU(0.1), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 16, 3), nn.LeakyReLU(0.1), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 16, 3), nn.LeakyReLU(0.1)),
        *(nn.Flatten(), nn.Linear(144, 10)),
    ).eval()


def torch_rivals(
    model: torch.nn.Module, x: jax.Array
) -> dict[str, Callable[[], torch.Tensor]]:
    images = torch.tensor(jax.device_get(x)).movedim(-1, 1).contiguous()
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(weights: Any, image: torch.Tensor) -> torch.Tensor:
        logits = torch.func.functional_call(model, weights, (image[None],))
        return torch.nn.functional.cross_entropy(logits, logits.argmax(-1))

    def loop() -> torch.Tensor:
        rows = []
        for image in images:
            logits = model(image[None])
            value = torch.nn.functional.cross_entropy(logits, logits.argmax(-1))
            gradient = torch.autograd.grad(value, list(model.parameters()))
            rows.append(torch.stack([torch_statistics(g.flatten()) for g in gradient]))
        return torch.stack(rows)

    per_example = torch.func.vmap(torch.func.grad(loss), (None, 0))

    def at_once() -> torch.Tensor:
        gradient = per_example(weights, images)
        rows = [torch_statistics(g.flatten(1)) for g in gradient.values()]
        return torch.stack(rows, dim=1)

    return {LOOP: loop, FUNCTORCH: at_once}


def torch_statistics(gradient: torch.Tensor) -> torch.Tensor:
    """The eight statistics over the last axis."""
    mean = gradient.mean(-1, keepdim=True)
    deviation = gradient - mean
    square = deviation.square()
    second = square.mean(-1)
    return torch.stack(
        [
            gradient.abs().sum(-1),
            gradient.norm(dim=-1),
            gradient.amin(-1),
            gradient.amax(-1),
            mean[..., 0],
            gradient.std(-1),
            (square * deviation).mean(-1) / second**1.5,
            square.square().mean(-1) / second**2 - 3,
        ],
        dim=-1,
    )


def speed(title: str, rivals: dict[str, Callable[[], Any]], rounds: int) -> None:
    """Prints each rival's time as a multiple of the ordinary gradient's."""
    seconds = interleaved(rivals, rounds)
    print(f"\n{title}\n  {'':40}    best  median   ratios")
    for name, taken in seconds.items():
        best, median = min(taken), stdlib.median(taken)
        best_ratio = best / min(seconds[ORDINARY])
        median_ratio = median / stdlib.median(seconds[ORDINARY])
        print(
            f"  {name:40} {1e3 * best:7.1f} {1e3 * median:7.1f}"
            f"  {best_ratio:5.2f} {median_ratio:5.2f}"
        )


def memory(title: str, apply_fn: Any, params: Any, x: jax.Array) -> None:
    """Prints the temporary memory of the compiled programs."""
    programs = {
        PLAIN: (plain(apply_fn), x),
        ENGINE: (engine(apply_fn), x),
        f"{ENGINE}, microbatches of 8": (engine(apply_fn), x[:8]),
    }
    print(f"\n{title}\n  {'':40}  temporary MB")
    for name, (function, batch) in programs.items():
        compiled: Any = jax.jit(function).lower(params, batch).compile()
        size = compiled.memory_analysis().temp_size_in_bytes
        print(f"  {name:40}  {size / 1e6:12.1f}")


if __name__ == "__main__":
    main()
