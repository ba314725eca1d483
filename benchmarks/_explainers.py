"""captum and pytorch-grad-cam on a ResNet-18, and the same network of this library."""

# Rivals are the extra `bench`, which `make lint` does not install.
# pyright: reportMissingImports=false

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import _torchvision
from trustjax import explain, models, transforms

STEPS = 4
RULES = {
    "gausslegendre": "gauss_legendre",
    "riemann_middle": "middle",
    "riemann_trapezoid": "trapezoid",
}
"""What captum calls the rules of integration, and what this library does."""


class Pair(NamedTuple):
    """One network twice, and the images.

    Attributes:
      module: of torchvision, in evaluation mode.
      apply_fn: the same, `(params, x) -> logits`.
      params: what it takes first.
      theirs: images `[batch, channels, height, width]`.
      ours: the same, channels last.
      target: the class that is asked about, of each image.
    """

    module: Any
    apply_fn: Callable[..., Any]
    params: Any
    theirs: Any
    ours: jax.Array
    target: np.ndarray


def resnet18(batch: int) -> Pair:
    """With random weights, and statistics that make its logits differ."""
    module = _torchvision.network("resnet18")
    images = np.random.default_rng(0).normal(size=(batch, 224, 224, 3))
    images = images.astype(np.float32)
    theirs = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        module.train()
        module(theirs)  # one update of the running statistics
        module.eval()
        logits = module(theirs).numpy()
    state = {k: v.numpy().copy() for k, v in module.state_dict().items()}
    apply_fn, params = models.from_state_dict("resnet18", state)
    return Pair(
        module, apply_fn, params, theirs, jnp.asarray(images), logits.argmax(-1)
    )


def distances(pair: Pair) -> dict[str, float]:
    """How far each map is from its rival's, relative to the largest number in it.

    In float64: where the sign of a number before a ReLU hangs on the last digit of
    float32, two right answers differ by a whole path through the network.
    """
    import captum.attr as rivals

    module, images = pair.module.double(), pair.theirs.double().requires_grad_()
    classes = torch.from_numpy(pair.target)
    captum: dict[str, Callable[[], Any]] = {
        "saliency": lambda: rivals.Saliency(module).attribute(
            images, target=classes, abs=False
        ),
        "input_times_gradient": lambda: rivals.InputXGradient(module).attribute(
            images, target=classes
        ),
        "guided_backprop": lambda: rivals.GuidedBackprop(module).attribute(
            images, target=classes
        ),
        "deconvolution": lambda: rivals.Deconvolution(module).attribute(
            images, target=classes
        ),
        **{
            f"integrated_gradients, {rule}": lambda rule=rule: (
                rivals.IntegratedGradients(module).attribute(
                    images, target=classes, n_steps=STEPS, method=rule
                )
            )
            for rule in RULES
        },
    }
    with jax.enable_x64(True):
        wide = lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a
        params, x = jax.tree.map(wide, (pair.params, pair.ours))
        target = jnp.asarray(pair.target)
        found = dict[str, float]()
        for name, rival in captum.items():
            function, _, rule = name.partition(", ")
            options = (
                {"baseline": 0.0, "steps": STEPS, "method": RULES[rule]} if rule else {}
            )
            ours = getattr(explain, function)(
                pair.apply_fn, params, x, target=target, **options
            )
            ours = np.asarray(getattr(ours, "map", ours))
            # The weights of captum's trapezoids add up to (steps - 1) / steps.
            share = (STEPS - 1) / STEPS if rule == "riemann_trapezoid" else 1
            found[name] = _distance(share * ours, rival())
        found["smooth_grad"] = _of_smooth_grad(pair, module, params, x)
    return found | _of_class_activations(pair)


def _of_smooth_grad(pair: Pair, module: Any, params: Any, x: jax.Array) -> float:
    """From the mean of captum's saliencies of images under our noise."""
    import captum.attr as rivals

    key, noise, samples = jax.random.key(0), 0.15, 3
    ours = explain.smooth_grad(
        pair.apply_fn,
        params,
        x,
        key=key,
        noise=noise,
        samples=samples,
        target=jnp.asarray(pair.target),
    )
    over_x = (1, 2, 3)
    sigma = noise * (x.max(over_x, keepdims=True) - x.min(over_x, keepdims=True))
    total = 0
    for number in range(samples):
        one = jax.random.fold_in(key, number)
        noisy = x + sigma * jax.random.normal(one, x.shape[1:], x.dtype)
        noisy = torch.from_numpy(np.asarray(noisy).transpose(0, 3, 1, 2).copy())
        total += rivals.Saliency(module).attribute(
            noisy.requires_grad_(), target=torch.from_numpy(pair.target), abs=False
        )
    return _distance(np.asarray(ours.map), total / samples)


def _of_class_activations(pair: Pair) -> dict[str, float]:
    """From pytorch-grad-cam, which brings maps to [0, 1] before it resizes them."""
    import pytorch_grad_cam as rivals
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    module, found = pair.module.float(), dict[str, float]()
    targets = [ClassifierOutputTarget(int(k)) for k in pair.target]
    for method, name in (
        ("grad_cam", "GradCAM"),
        ("grad_cam_plus_plus", "GradCAMPlusPlus"),
        ("hires_cam", "HiResCAM"),
        ("layer_cam", "LayerCAM"),
    ):
        rival = getattr(rivals, name)(module, [module.layer4[-1]])
        theirs = explain.normalized(jnp.asarray(rival(pair.theirs, targets)))
        low = explain.class_maps(
            pair.apply_fn,
            pair.params,
            pair.ours,
            target=jnp.asarray(pair.target)[:, None],
            method=method,
        )[:, 0]
        ours = explain.resized(jnp.maximum(low, 0), theirs.shape[1:])
        found[method] = float(jnp.abs(explain.normalized(ours) - theirs).max())
        if method == "grad_cam_plus_plus":
            low = _with_their_epsilon(pair)
            ours = explain.resized(jnp.maximum(low, 0), theirs.shape[1:])
            distance = float(jnp.abs(explain.normalized(ours) - theirs).max())
            found["the same with 1e-6 in its denominator"] = distance
    return found


def _with_their_epsilon(pair: Pair) -> jax.Array:
    """Grad-CAM++ as pytorch-grad-cam has it, at the size of the feature map."""
    split = transforms.split(pair.apply_fn, pair.params, pair.ours, "feature_map")
    features = split.features_fn(pair.params, pair.ours)
    logits, pull = jax.vjp(lambda a: split.head_fn(pair.params, a), features)
    (g,) = pull(jax.nn.one_hot(pair.target, logits.shape[1]))
    total = features.sum((1, 2), keepdims=True)
    alpha = g**2 / (2 * g**2 + g**3 * total + 1e-6)
    weights = jnp.sum(alpha * jnp.maximum(g, 0), axis=(1, 2), keepdims=True)
    return jnp.sum(weights * features, axis=-1)


def _distance(ours: np.ndarray, theirs: Any) -> float:
    expected = theirs.detach().numpy().transpose(0, 2, 3, 1)
    return float(np.abs(ours - expected).max() / np.abs(expected).max())
