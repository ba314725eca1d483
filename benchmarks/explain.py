"""Explanations against what one would use instead, on the same network.

`python -m benchmarks.explain [part ...]`; each part is a function of this file.

Rivals are the extra `bench`; they and torch are needed for their parts alone.

- `grad_cam`: Grad-CAM of a ResNet-18 against pytorch-grad-cam, whose maps it equals.
- `voice`: VOICE of a ResNet-18, 224x224, 1,000 classes, against a forward pass and
  against the authors' procedure, a forward and a backward pass for each contrast; and
  how far it is from the loop over contrasts.
- `rise`: RISE of a ResNet-18 against the authors' procedure in PyTorch, with the making
  of the masks and without; and its memory with 6,000 masks.
- `agreement`: how far every map of gradients is from captum's in float64, and every
  class activation map from pytorch-grad-cam's, of a ResNet-18, 224x224.
- `integrated_gradients`: of a ResNet-18 in 50 steps against captum.
- `flipping`: deletion curves against Quantus' pixel flipping, of the same network and
  with the same probabilities.
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


def rise(masks: int = 192, at_once: int = 16, rounds: int = 3) -> None:
    """The same network, image and share of cells, and what 6,000 masks take."""
    import torch

    from benchmarks._torchvision import network

    module = network("resnet18")
    arrays = {key: array.numpy() for key, array in module.state_dict().items()}
    apply_fn, params = models.from_state_dict("resnet18", arrays)
    image = torch.rand(1, 3, 224, 224, generator=torch.manual_seed(1))
    x = jnp.asarray(image.permute(0, 2, 3, 1).numpy())

    def compiled(count: int) -> Any:
        ask = lambda params, x, key: explain.rise(
            *(apply_fn, params, x), key=key, masks=count, p=0.1, baseline="zero",
            microbatch=at_once,
        )  # fmt: skip
        return jax.jit(ask).lower(params, x, jax.random.key(0)).compile()

    ours, made = compiled(masks), masks_by_skimage(masks)
    drawn = explain.random_masks(jax.random.key(0), masks, (224, 224), p=0.1)
    found = ours(params, x, jax.random.key(0)).map[0]
    loop = rise_in_torch(module, image, torch.from_numpy(np.array(drawn)), at_once)
    label = int(module(image).argmax())
    error = np.abs(np.asarray(found) - loop[label].numpy()).max() / float(found.max())
    print(f"\nRISE, ResNet-18, 224x224, {masks} masks, maps within {error:.0e}")
    seconds = best(
        {
            "explain.rise, masks and all": lambda: ours(params, x, jax.random.key(0)),
            "PyTorch, with masks made before": lambda: rise_in_torch(
                module, image, torch.from_numpy(made), at_once
            ),
            "their masks": lambda: masks_by_skimage(masks),
        },
        rounds,
    )
    own = seconds["explain.rise, masks and all"]
    theirs = seconds["PyTorch, with masks made before"]
    whole = theirs + seconds["their masks"]
    print(f"the procedure takes {theirs / own:.2f} x as long, {whole / own:.2f} x with")
    print("the making of its masks")
    memory = compiled(6000).memory_analysis().temp_size_in_bytes
    held = 6000 * 224 * 224 * 4 * (1 + 3)
    print(f"6,000 masks: {memory / 1e9:.2f} GB beside the arguments, there")
    print(f"{held / 1e9:.2f} GB of masks and masked images alone")


def masks_by_skimage(count: int, cells: int = 8, p: float = 0.1) -> np.ndarray:
    """Masks as the authors make them, one after the other."""
    from skimage.transform import resize

    rng, cell = np.random.default_rng(0), -(-224 // cells)
    masks = np.empty((count, 224, 224), np.float32)
    for mask in masks:
        grid = (rng.random((cells, cells)) < p).astype(np.float32)
        size = ((cells + 1) * cell,) * 2
        large = resize(grid, size, order=1, mode="reflect", anti_aliasing=False)
        row, column = rng.integers(0, cell, 2)
        mask[:] = large[row : row + 224, column : column + 224]
    return masks


def rise_in_torch(module: Any, image: Any, masks: Any, at_once: int) -> Any:
    """As the authors' code goes: all masked images, batches of them, all classes."""
    import torch

    with torch.no_grad():
        stack = masks[:, None] * image
        said = [torch.softmax(module(part), 1) for part in stack.split(at_once)]
        weights = torch.cat(said)
        maps = weights.T @ masks.reshape(len(masks), -1)
        return maps.reshape(-1, 224, 224) / len(masks) / 0.1


def agreement(batch: int = 2) -> None:
    """The distances from the rivals' maps."""
    from benchmarks import _explainers

    print(f"\nDistance from captum and pytorch-grad-cam, ResNet-18, batch {batch}")
    for name, distance in _explainers.distances(_explainers.resnet18(batch)).items():
        print(f"{name:48}{distance:10.1e}", flush=True)


def integrated_gradients(batch: int = 1, steps: int = 50, rounds: int = 4) -> None:
    """Of the same network and images as captum's."""
    import captum.attr
    import torch

    from benchmarks import _explainers

    pair = _explainers.resnet18(batch)
    classes, target = torch.from_numpy(pair.target), jnp.asarray(pair.target)
    rival = captum.attr.IntegratedGradients(pair.module)
    ours = jax.jit(
        lambda params, x, target: explain.integrated_gradients(
            pair.apply_fn, params, x, target=target, baseline=0.0, steps=steps
        )
    )
    theirs = lambda at_once: rival.attribute(
        pair.theirs, target=classes, n_steps=steps, internal_batch_size=at_once
    )
    print(f"\nIntegrated gradients, ResNet-18, 224x224, {steps} steps, batch {batch}")
    seconds = best(
        {
            "integrated_gradients": lambda: ours(pair.params, pair.ours, target),
            "captum 0.9, all steps at once": lambda: theirs(None),
            "captum 0.9, four images at once": lambda: theirs(4 * batch),
        },
        rounds,
    )
    own = seconds.pop("integrated_gradients")
    for name, value in seconds.items():
        print(f"{name} takes {value / own:.2f} x as long")


def flipping(rounds: int = 3) -> None:
    """One small network a pixel and a row at a time, and a ResNet-18."""
    from benchmarks._torchvision import network

    small = cnn()
    pixel_flipping("cnn, 28x28, a pixel", *small, (16, 1, 28, 28), 1, rounds)
    pixel_flipping("cnn, 28x28, a row", *small, (64, 1, 28, 28), 28, rounds)
    large = network("resnet18")
    arrays = {name: array.numpy() for name, array in large.state_dict().items()}
    apply_fn, params = models.from_state_dict("resnet18", arrays)
    # Quantus counts numbers, and takes only a divisor of height times width at a time.
    pixel_flipping(
        "ResNet-18, 96x96, 384 pixels",
        large,
        lambda params, x: apply_fn(params, jnp.moveaxis(x, 1, -1)),
        params,
        (16, 3, 96, 96),
        384,
        rounds,
    )


def cnn() -> tuple[Any, Any, Any]:
    """The CNN of this library as a module of PyTorch, and `(apply_fn, params)`."""
    import torch
    from torch import nn

    apply_fn, params = models.load("cnn")

    def with_weights(layer: Any, name: str, axes: tuple[int, ...]) -> Any:
        with torch.no_grad():
            for part, order in (("kernel", axes), ("bias", (0,))):
                array = np.transpose(np.asarray(params[name][part]), order)
                own = layer.weight if part == "kernel" else layer.bias
                own.copy_(torch.from_numpy(array.copy()))
        return layer

    conv = lambda name, channels: with_weights(
        nn.Conv2d(channels, 16, 3), name, (3, 2, 0, 1)
    )
    pooled = lambda: (nn.LeakyReLU(0.1), nn.MaxPool2d(2))

    class ChannelsLast(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.permute(0, 2, 3, 1).flatten(1)

    module = nn.Sequential(
        *(conv("conv1", 1), *pooled(), conv("conv2", 16), *pooled()),
        *(conv("conv3", 16), nn.LeakyReLU(0.1), ChannelsLast()),
        with_weights(nn.Linear(144, 10), "dense", (1, 0)),
    ).eval()
    return module, lambda params, x: apply_fn(params, jnp.moveaxis(x, 1, -1)), params


def pixel_flipping(
    title: str,
    module: Any,
    apply_fn: Any,
    params: Any,
    shape: tuple[int, int, int, int],
    pixels: int,
    rounds: int,
) -> None:
    """The same curves of one network, in PyTorch and in JAX."""
    import quantus
    import torch

    rng = np.random.default_rng(0)
    images = rng.random(shape, np.float32)
    maps = rng.random((shape[0], *shape[2:]), np.float32)
    with torch.no_grad():
        predicted = module(torch.from_numpy(images)).argmax(-1).numpy()
    metric = quantus.PixelFlipping(
        features_in_step=shape[1] * pixels,
        perturb_baseline=0.0,
        normalise=False,
        disable_warnings=True,
    )

    def theirs() -> np.ndarray:
        with torch.no_grad():
            found = metric(
                model=module,
                x_batch=images,
                y_batch=predicted,
                a_batch=maps[:, None],
                softmax=True,
                batch_size=len(images),
            )
        return np.array(found)

    compiled = jax.jit(
        lambda params, x, maps: (
            explain.deletion_curve(
                apply_fn, params, x, maps, baseline="zero", step=pixels
            ).y
        )
    )
    arguments = params, jnp.asarray(images), jnp.asarray(maps)
    error = np.abs(np.asarray(compiled(*arguments))[:, 1:] - theirs()).max()
    print(f"\nPixel flipping, {title} at a time, {shape[0]} images, within {error:.0e}")
    seconds = best({"Quantus": theirs, "ours": lambda: compiled(*arguments)}, rounds)
    print(f"Quantus takes {seconds['Quantus'] / seconds['ours']:.2f} x as long")


PARTS: dict[str, Callable[[], None]] = {
    "voice": voice,
    "grad_cam": grad_cam,
    "rise": rise,
    "agreement": agreement,
    "integrated_gradients": integrated_gradients,
    "flipping": flipping,
}


def main() -> None:
    print(f"jax {jax.__version__}")
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
