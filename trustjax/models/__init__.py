"""Flax NNX networks of the papers.

Every network is built by `create` and maps images `[batch, height, width, channels]`
to logits `[batch, classes]`; `load` and `bridge.from_nnx` make it a function and its
parameters. Methods that need an inner activation cut that function
(`transforms.split`), as they do with any other network.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import nnx

from trustjax import _files, _npz, _validate, bridge
from trustjax.models import _weights
from trustjax.models._classifier import Classifier as Classifier
from trustjax.models._cnn import CNN as CNN
from trustjax.models._mlp import MLP as MLP
from trustjax.models._resnet import ResNet as ResNet
from trustjax.models._resnet import resnet8, resnet18, resnet18_cifar, resnet20
from trustjax.models._vit import ViT as ViT
from trustjax.models._vit import vit_micro, vit_tiny
from trustjax.typing import ApplyFn, Params


@dataclasses.dataclass(frozen=True)
class _Model:
    """How to build a network, and the data that it is known for."""

    build: Callable[..., Classifier]
    num_classes: int
    image_shape: tuple[int, int, int]
    torch_layout: bool = False


_MODELS = {
    "cnn": _Model(CNN, 10, (28, 28, 1)),
    "mlp": _Model(MLP, 10, (28, 28, 1)),
    "resnet18": _Model(resnet18, 1000, (224, 224, 3), torch_layout=True),
    "resnet18_cifar": _Model(resnet18_cifar, 10, (32, 32, 3), torch_layout=True),
    "resnet20": _Model(resnet20, 10, (32, 32, 3)),
    "resnet8": _Model(resnet8, 10, (32, 32, 3)),
    "vit_micro": _Model(vit_micro, 10, (28, 28, 1)),
    "vit_tiny": _Model(vit_tiny, 10, (32, 32, 3)),
}


def names() -> list[str]:
    """The names that `create` knows, in alphabetical order."""
    return sorted(_MODELS)


def has_dropout(name: str) -> bool:
    """Whether Monte-Carlo dropout can be asked of a network, without building it.

    Raises:
      ValueError: if the name is unknown, naming those that exist.

    >>> has_dropout("cnn"), has_dropout("resnet20")
    (True, False)
    """
    _validate.choice("model", name, names())
    return bridge.has_dropout(_outlined(name, _MODELS[name].image_shape))


def taking(image_shape: tuple[int, int, int]) -> tuple[str, ...]:
    """The networks that take images of a shape, without building them.

    Args:
      image_shape: (height, width, channels).

    Returns:
      Their names, in alphabetical order.

    >>> "cnn" in taking((28, 28, 1)), "cnn" in taking((8, 8, 1)), taking((7, 7, 1))[0]
    (True, False, 'mlp')
    """
    return tuple(name for name in names() if _refusal(name, image_shape) is None)


def require_images(name: str, image_shape: tuple[int, int, int]) -> None:
    """Refuses images that a network cannot take, without building it.

    Raises:
      ValueError: if the name is unknown, or saying what the network needs, and which
        networks take such images.

    >>> require_images("cnn", (8, 8, 1))
    Traceback (most recent call last):
    ValueError: cnn needs images of at least 18x18 pixels, got 8x8; such images are ...
    """
    _validate.choice("model", name, names())
    refusal = _refusal(name, image_shape)
    if refusal is not None:
        raise ValueError(
            f"{refusal}; such images are taken by {', '.join(taking(image_shape))}"
        )


def _refusal(name: str, image_shape: tuple[int, int, int]) -> ValueError | None:
    try:
        _outlined(name, image_shape)
    except ValueError as refusal:
        return refusal
    return None


def _outlined(name: str, image_shape: tuple[int, int, int]) -> Classifier:
    """A network of shapes alone."""
    known = _MODELS[name]

    def build() -> Classifier:
        return known.build(
            num_classes=known.num_classes, image_shape=image_shape, rngs=nnx.Rngs(0)
        )

    return nnx.eval_shape(build)


def create(
    name: str,
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    rngs: nnx.Rngs,
) -> Classifier:
    """A network with fresh weights, in training mode.

    Args:
      name: one of `names()`.
      num_classes: the number of logits.
      image_shape: (height, width, channels).
      rngs: where the weights, and the dropout masks, come from.

    Returns:
      A `Classifier`, an NNX module; `bridge.from_nnx` makes it `(apply_fn, params)`.

    Raises:
      ValueError: if the name is unknown (naming those that exist), or the network
        cannot take such images.

    >>> model = create("cnn", num_classes=10, image_shape=(28, 28, 1), rngs=nnx.Rngs(0))
    >>> model.dense.kernel.shape
    (144, 10)
    """
    _validate.choice("model", name, names())
    _validate.count("num_classes", num_classes)
    return _MODELS[name].build(
        num_classes=num_classes, image_shape=image_shape, rngs=rngs
    )


def load(
    name: str,
    weights: str | os.PathLike[str] | Mapping[str, np.ndarray] | None = None,
    *,
    num_classes: int | None = None,
    image_shape: tuple[int, int, int] | None = None,
) -> tuple[ApplyFn, Params]:
    """A network of this package as a pure function and its parameters.

    Args:
      name: one of `names()`.
      weights: the arrays by name, or an `.npz` file of them, as `save` writes it.
        None gives the random weights of `nnx.Rngs(0)`: for tests and benchmarks.
      num_classes: the number of logits; None for that of the data that the network
        is known for (1,000 for `resnet18`, 10 for the others).
      image_shape: (height, width, channels); None likewise.

    Returns:
      `(apply_fn, params)`, in evaluation mode.

    Raises:
      ValueError: if the name is unknown, or the weights are not of this network,
        naming what differs.

    >>> apply_fn, params = load("mlp")
    >>> apply_fn(params, nnx.Rngs(0).normal((2, 28, 28, 1))).shape
    (2, 10)
    """
    _validate.choice("model", name, names())
    known = _MODELS[name]
    model = create(
        name,
        num_classes=known.num_classes if num_classes is None else num_classes,
        image_shape=image_shape or known.image_shape,
        rngs=nnx.Rngs(0),
    )
    if isinstance(weights, Mapping):
        _weights.assign(model, weights)
    elif weights is not None:
        _weights.assign(model, _npz.read(weights))
    model.eval()
    return bridge.from_nnx(model)


def save(path: str | os.PathLike[str], model: Classifier) -> None:
    """Writes the weights and running statistics of a network as an `.npz` file.

    The file is written whole or not at all; `load(name, path)` reads it.
    """
    arrays = {
        name: np.asarray(variable[...])
        for name, variable in _weights.variables(model).items()
    }
    with _files.written_whole(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def from_state_dict(name: str, state_dict: Mapping[str, Any]) -> tuple[ApplyFn, Params]:
    """A network with the weights of its torchvision twin.

    Args:
      name: a residual network with torchvision's layout: `resnet18`, or
        `resnet18_cifar` for a state dict with a 3x3 stem.
      state_dict: torchvision's names and NumPy arrays in PyTorch's layout (OIHW),
        e.g. `{k: v.numpy() for k, v in torch_model.state_dict().items()}`. Names
        that all begin with a wrapper's (`"module."`, `"model."`) are taken without
        it, and of a checkpoint (`{"epoch", "state_dict"}`) what it holds.

    Returns:
      `(apply_fn, params)`, in evaluation mode; `apply_fn` takes NHWC images,
      normalised as the weights were trained.

    Raises:
      ValueError: if the network has no torchvision layout, or a name is missing,
        unknown, or of another shape; if it is a checkpoint of several state dicts.

    References:
      He, Zhang, Ren and Sun 2016 (arXiv:1512.03385); torchvision's `resnet18`, with
      which the logits agree to 1e-5 of the largest.
    """
    _validate.choice(
        "model", name, [name for name in names() if _MODELS[name].torch_layout]
    )
    state_dict = _weights.plain_state_dict(state_dict)
    missing = {"conv1.weight", "fc.weight"} - set(state_dict)
    if missing:
        raise ValueError(f"the state dict has no {' and no '.join(sorted(missing))}")
    height, width, _ = _MODELS[name].image_shape
    model = create(
        name,
        num_classes=state_dict["fc.weight"].shape[0],
        image_shape=(height, width, state_dict["conv1.weight"].shape[1]),
        rngs=nnx.Rngs(0),
    )
    _weights.assign_torch(model, state_dict)
    model.eval()
    return bridge.from_nnx(model)
