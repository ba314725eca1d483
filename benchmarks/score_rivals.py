"""Scores against what one would use instead: the authors' GradTrust, and pytorch-ood.

Run `python -m benchmarks.score_rivals` (needs the extra `bench`). All of it is on one
ResNet-18 with torchvision's weights, random but the same in PyTorch and JAX; before it
is timed, each rival is checked to give the numbers that it is compared for. The rivals
take turns, and each row is its best round, so that a busy moment hits all of them.

The JAX side runs with `XLA_FLAGS=--xla_cpu_use_onednn=true`, PyTorch with its defaults,
which include oneDNN.
"""

# The rivals are the extra `bench`, which `make lint` does not install.
# pyright: reportMissingImports=false

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_use_onednn=true"

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks._timing import interleaved
from trustjax import models, scores

try:
    import torchvision
except RuntimeError:
    # PyPI's torchvision is built for PyTorch with CUDA; beside one without, its own
    # operators do not load, and it stops at the names of these two. Nothing here, and
    # nothing that pytorch-ood does here, calls them.
    for name in ("nms", "qnms"):
        signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{name}", signature)
    import torchvision

from pytorch_ood import detector

Rivals = dict[str, Callable[[], Any]]
CLASSES, FEATURES = 1000, 512
_REST = 0.25


def seconds(rivals: Rivals, rounds: int, repeats: int = 1) -> dict[str, float]:
    """The best time of each."""
    times = interleaved(rivals, rounds, repeats=repeats, pause=_REST)
    return {name: min(of_rounds) for name, of_rounds in times.items()}


def authors_grad_trust(network: Any, image: torch.Tensor) -> torch.Tensor:
    """The released procedure for one image, written from its formula.

    A forward pass; the mean squared error between the logits and 1 / C; a backward
    pass; the variance of the squared gradient along each row of the last layer's
    kernel; the largest over the mean.
    """
    network.zero_grad()
    logits = network(image[None])
    target = torch.full_like(logits, 1 / logits.shape[1])
    torch.nn.functional.mse_loss(logits, target).backward()
    variance = network.fc.weight.grad.square().var(dim=1)
    return variance.max() / variance.mean()


def networks() -> tuple[Any, Callable[..., jax.Array], Any]:
    """The same ResNet-18 twice: a module, and `(apply_fn, params)`."""
    torch.manual_seed(0)
    module = torchvision.models.resnet18().eval()
    arrays = {name: array.numpy() for name, array in module.state_dict().items()}
    return module, *models.from_state_dict("resnet18", arrays)


def grad_trust(module, apply_fn, params, batch: int, rounds: int) -> None:
    """GradTrust of a batch, beside the authors' image by image."""
    images = torch.randn(batch, 3, 224, 224, generator=torch.manual_seed(1))
    x = jnp.asarray(images.permute(0, 2, 3, 1).numpy())
    forward = jax.jit(apply_fn)
    ours = jax.jit(lambda params, x: scores.grad_trust(apply_fn(params, x)))
    released = np.array(
        [authors_grad_trust(module, image).item() for image in images[:2]]
    )
    twin = scores.grad_trust_reference(forward(params, x[:2]))
    np.testing.assert_allclose(twin, released, rtol=1e-3)

    best = seconds(
        {
            "forward": lambda: forward(params, x),
            "ours": lambda: ours(params, x),
            "authors": lambda: authors_grad_trust(module, images[0]),
        },
        rounds,
    )
    per_image = {
        "our forward pass, batch 16": best["forward"] / batch,
        "grad_trust, batch 16": best["ours"] / batch,
        "the authors' procedure, one by one": best["authors"],
    }
    own = per_image["grad_trust, batch 16"]
    print(f"\n{'GradTrust of ResNet-18, 224x224':40}{'ms / image':>12}{'x ours':>10}")
    for name, time in per_image.items():
        print(f"{name:40}{1e3 * time:12.2f}{time / own:10.2f}")
    print(f"grad_trust is {best['ours'] / best['forward']:.3f} x our forward pass")


def table(
    title: str,
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]],
    rounds: int,
    repeats: int = 1,
) -> None:
    """A row for each pair of pytorch-ood and ours, once they are found to agree."""
    print(f"\n{title:40}{'theirs, ms':>12}{'ours, ms':>12}{'ratio':>8}")
    for name, (theirs, ours) in pairs.items():
        expected, actual = theirs().numpy(), np.asarray(ours())
        # Theirs are outlier scores, and some carry another constant factor.
        # Their entropy leaves out what lies below a probability of 1e-7.
        scaled = -np.linalg.norm(actual) / np.linalg.norm(expected) * expected
        close = {"rtol": 2e-3, "atol": 2e-3 * np.abs(actual).max()}
        np.testing.assert_allclose(actual, scaled, **close, err_msg=name)
        best = seconds({"theirs": theirs, "ours": ours}, rounds, repeats)
        columns = f"{1e3 * best['theirs']:12.3f}{1e3 * best['ours']:12.3f}"
        print(f"{name:40}{columns}{best['theirs'] / best['ours']:8.2f}")


def of_logits(examples: int, classes: int, rounds: int, repeats: int = 1) -> None:
    """Scores of the same logits."""
    theirs = torch.randn(examples, classes, generator=torch.manual_seed(2)) * 3
    ours = jnp.asarray(theirs.numpy())
    entropy = functools.partial(scores.negative_entropy, normalised=False)
    pairs = {
        "MSP": (detector.MaxSoftmax(None), scores.max_softmax),
        "entropy": (detector.Entropy(None), entropy),
        "energy": (detector.EnergyBased(None), scores.energy),
        "max logit": (detector.MaxLogit(None), scores.max_logit),
    }
    calls = {
        name: (
            functools.partial(their_detector.predict_logits, theirs),
            functools.partial(jax.jit(score), ours),
        )
        for name, (their_detector, score) in pairs.items()
    }
    table(f"logits [{examples}, {classes}]", calls, rounds, repeats)


def of_features(module, params, examples: int, rounds: int) -> None:
    """GradNorm of the last layer on the same features: the head, then the score."""
    features = torch.randn(examples, FEATURES, generator=torch.manual_seed(3)).abs()
    head = detector.GradNorm(module.fc, param_filter=lambda name: name == "weight")
    h, dense = jnp.asarray(features.numpy()), params["dense"]
    ours = jax.jit(
        lambda dense, h: scores.grad_norm(h @ dense["kernel"] + dense["bias"][None], h)
    )
    pairs = {"GradNorm": (lambda: head.predict(features), lambda: ours(dense, h))}
    table(f"features [{examples}, {FEATURES}]", pairs, rounds)


def of_neighbours(points: int, examples: int, rounds: int) -> None:
    """The distance to the 50th of many training features."""
    generator = torch.manual_seed(4)
    train = torch.randn(points, FEATURES, generator=generator)
    queries = torch.randn(examples, FEATURES, generator=generator)
    theirs = detector.KNN(None).fit_features(
        train, torch.zeros(points, dtype=torch.int64)
    )
    state, h = scores.fit_knn(train.numpy()), jnp.asarray(queries.numpy())
    ours = jax.jit(scores.knn_distance)
    pairs = {
        "k-NN, k = 50": (
            lambda: theirs.predict_features(queries),
            lambda: ours(state, h),
        )
    }
    table(f"[{examples}, {FEATURES}] against {points}", pairs, rounds)


def of_inputs(module, apply_fn, params, batch: int, rounds: int) -> None:
    """ODIN of the whole network, and its forward pass, to know what ODIN adds to."""
    images = torch.randn(batch, 3, 224, 224, generator=torch.manual_seed(5))
    x = jnp.asarray(images.permute(0, 2, 3, 1).numpy())
    max_logit = torch.no_grad()(detector.MaxLogit(module).predict)
    odin = detector.ODIN(module).predict
    our_max_logit = jax.jit(lambda p, x: scores.max_logit(apply_fn(p, x)))
    our_odin = jax.jit(functools.partial(scores.odin, apply_fn))
    pairs = {
        "forward pass, max logit": (
            lambda: max_logit(images),
            lambda: our_max_logit(params, x),
        ),
        "ODIN": (lambda: odin(images), lambda: our_odin(params, x)),
    }
    table(f"ResNet-18, images [{batch}, 224, 224, 3]", pairs, rounds)


def main() -> None:
    print(f"jax {jax.__version__}, torch {torch.__version__}, pytorch-ood 0.4")
    module, apply_fn, params = networks()
    grad_trust(module, apply_fn, params, batch=16, rounds=8)
    of_logits(256, 10, rounds=10, repeats=200)
    of_logits(10_000, 1000, rounds=6)
    of_features(module, params, 256, rounds=3)
    of_neighbours(50_000, 256, rounds=4)
    of_inputs(module, apply_fn, params, batch=16, rounds=3)


if __name__ == "__main__":
    main()
