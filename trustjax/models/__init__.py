"""Flax NNX networks of the papers.

Every network is built by `create` and maps images `[batch, height, width, channels]`
to logits `[batch, classes]`; `load` and `bridge.from_nnx` make it a function and its
parameters. Methods that need an inner activation cut that function
(`transforms.split`), as they do with any other network.

Networks of video take clips `[batch, frames, height, width, channels]`. MViT has code
that no other network shares: `bridge.from_torch` takes torchvision's.
"""

import functools
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from trustjax import _files, _validate, bridge
from trustjax import weights as weights_files
from trustjax.models import (
    _alexnet,
    _cnn,
    _confidnet,
    _convnext,
    _densenet,
    _efficientnet,
    _maxvit,
    _mlp,
    _mobilenet,
    _resnet,
    _shufflenet,
    _swin,
    _vgg,
    _video_resnet,
    _vit,
    _weights,
)
from trustjax.models._alexnet import AlexNet as AlexNet
from trustjax.models._alexnet import AlexNetConfig as AlexNetConfig
from trustjax.models._classifier import Classifier as Classifier
from trustjax.models._cnn import CNN as CNN
from trustjax.models._confidnet import ConfidNetMNIST as ConfidNetMNIST
from trustjax.models._confidnet import ConfidNetVGG as ConfidNetVGG
from trustjax.models._convnext import ConvNeXt as ConvNeXt
from trustjax.models._convnext import ConvNeXtConfig as ConvNeXtConfig
from trustjax.models._densenet import DenseNet as DenseNet
from trustjax.models._densenet import DenseNetConfig as DenseNetConfig
from trustjax.models._efficientnet import (
    efficientnet_lite_config as efficientnet_lite_config,
)
from trustjax.models._efficientnet import (
    efficientnet_v2_config as efficientnet_v2_config,
)
from trustjax.models._folding import fold_batch_norm as fold_batch_norm
from trustjax.models._imagenet import imagenet_class_names as imagenet_class_names
from trustjax.models._imagenet import imagenet_wordnet_ids as imagenet_wordnet_ids
from trustjax.models._inverted_residual import (
    InvertedResidualConfig as InvertedResidualConfig,
)
from trustjax.models._inverted_residual import (
    InvertedResidualNet as InvertedResidualNet,
)
from trustjax.models._maxvit import MaxViT as MaxViT
from trustjax.models._maxvit import MaxViTConfig as MaxViTConfig
from trustjax.models._mlp import MLP as MLP
from trustjax.models._mobilenet import MobileNetV1 as MobileNetV1
from trustjax.models._mobilenet import MobileNetV1Config as MobileNetV1Config
from trustjax.models._mobilenet import mobilenet_v2_config as mobilenet_v2_config
from trustjax.models._mobilenet import mobilenet_v3_config as mobilenet_v3_config
from trustjax.models._registry import Model as Model
from trustjax.models._registry import Published as Published
from trustjax.models._resnet import ResNet as ResNet
from trustjax.models._resnet import ResNetConfig as ResNetConfig
from trustjax.models._shufflenet import ShuffleNetV2 as ShuffleNetV2
from trustjax.models._shufflenet import ShuffleNetV2Config as ShuffleNetV2Config
from trustjax.models._swin import Swin as Swin
from trustjax.models._swin import SwinConfig as SwinConfig
from trustjax.models._vgg import VGG as VGG
from trustjax.models._vgg import VGGConfig as VGGConfig
from trustjax.models._video_resnet import VideoResNet as VideoResNet
from trustjax.models._video_resnet import VideoResNetConfig as VideoResNetConfig
from trustjax.models._vit import ViT as ViT
from trustjax.models._vit import ViTConfig as ViTConfig
from trustjax.preprocessing import Preprocessing
from trustjax.typing import ApplyFn, Params

_FAMILIES = (
    _alexnet,
    _cnn,
    _confidnet,
    _convnext,
    _densenet,
    _efficientnet,
    _maxvit,
    _mlp,
    _mobilenet,
    _resnet,
    _shufflenet,
    _swin,
    _vgg,
    _video_resnet,
    _vit,
)
_MODELS: dict[str, Model] = {
    name: row for family in _FAMILIES for name, row in family.MODELS.items()
}


def names() -> list[str]:
    """The names that `create` knows, in alphabetical order."""
    return sorted(_MODELS)


def known(name: str) -> Model:
    """What the package knows of a network: its images, its classes, its weights.

    Raises:
      ValueError: if the name is unknown, naming those that exist.

    >>> known("resnet18").image_shape, known("resnet18").published[0].file
    ((224, 224, 3), 'resnet18-f37072fd.pth')
    >>> known("cnn").published
    ()
    """
    _validate.choice("model", name, names())
    return _MODELS[name]


def preprocessing(
    name: str, weights: str | os.PathLike[str] | None = None
) -> Preprocessing:
    """What a network was trained to see: it belongs to its weights.

    Args:
      name: one of `names()`.
      weights: which of the published ones: their name (`"IMAGENET1K_V2"`) or a path
        that ends in their file's name; None, or any other path, for the first.

    Returns:
      How an image becomes what the network takes. A network without published
      weights takes images in [0, 1] as they are.

    Raises:
      ValueError: if the network's name is unknown, naming those that exist.

    >>> str(preprocessing("resnet50")), str(preprocessing("cnn"))
    ('imagenet resize=256 crop=224 bilinear', 'unit')
    >>> str(preprocessing("resnet50", "weights/resnet50-11ad3fa6.pth"))
    'imagenet resize=232 crop=224 bilinear'
    """
    published = known(name).published
    asked = None if weights is None else os.path.basename(os.fspath(weights))
    for one in published:
        if asked in (one.name, one.file):
            return one.preprocessing
    return published[0].preprocessing if published else Preprocessing()


@functools.cache
def has_dropout(name: str) -> bool:
    """Whether Monte-Carlo dropout can be asked of a network, without its weights.

    Raises:
      ValueError: if the name is unknown, naming those that exist.

    >>> has_dropout("cnn"), has_dropout("resnet20")
    (True, False)
    """
    return bridge.has_dropout(outlined(name))


def outlined(name: str) -> Classifier:
    """A network of shapes alone, for the data that it is known for.

    Raises:
      ValueError: if the name is unknown, naming those that exist.

    >>> outlined("resnet18").dense.kernel.shape
    (512, 1000)
    """
    row = known(name)
    return nnx.eval_shape(
        lambda: row.build(
            num_classes=row.num_classes, image_shape=row.image_shape, rngs=nnx.Rngs(0)
        )
    )


def taking(image_shape: tuple[int, ...]) -> tuple[str, ...]:
    """The networks that take images of a shape.

    Args:
      image_shape: (height, width, channels), with the frames before them for video.

    Returns:
      Their names, in alphabetical order.

    >>> "cnn" in taking((28, 28, 1)), "cnn" in taking((8, 8, 1)), taking((7, 7, 1))[0]
    (True, False, 'confidnet_mnist')
    """
    return tuple(
        name for name in names() if _MODELS[name].refusal(name, image_shape) is None
    )


def require_images(name: str, image_shape: tuple[int, ...]) -> None:
    """Refuses images that a network cannot take.

    Raises:
      ValueError: if the name is unknown, or saying what the network needs, and which
        networks take such images.

    >>> require_images("cnn", (8, 8, 1))
    Traceback (most recent call last):
    ValueError: cnn needs images of at least 18x18 pixels, got 8x8; such images are ...
    """
    refusal = known(name).refusal(name, image_shape)
    if refusal is not None:
        raise ValueError(
            f"{refusal}; such images are taken by {', '.join(taking(image_shape))}"
        )


def create(
    name: str,
    *,
    num_classes: int,
    image_shape: tuple[int, ...],
    rngs: nnx.Rngs,
) -> Classifier:
    """A network with fresh weights, in training mode.

    Args:
      name: one of `names()`.
      num_classes: the number of logits.
      image_shape: (height, width, channels), with the frames before them for video.
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
    row = known(name)
    _validate.count("num_classes", num_classes)
    refusal = row.refusal(name, image_shape)
    if refusal is not None:
        raise ValueError(refusal)
    return row.build(num_classes=num_classes, image_shape=image_shape, rngs=rngs)


def pretrained(
    name: str,
    weights: str | os.PathLike[str] | Mapping[str, np.ndarray],
    *,
    num_classes: int | None = None,
    image_shape: tuple[int, ...] | None = None,
) -> Classifier:
    """A network of this package with given weights, in evaluation mode.

    Args:
      name: one of `names()`.
      weights: as in `load`.
      num_classes: as in `load`.
      image_shape: as in `load`.

    Returns:
      The NNX module that `load` gives as a function and its parameters.

    Raises:
      ValueError: as `load` does.
    """
    row = known(name)
    given = weights if isinstance(weights, Mapping) else weights_files.read(weights)
    arrays = _weights.plain(given)
    classes, channels = shape_of_weights(name, arrays)
    *size, known_channels = row.image_shape

    def build() -> Classifier:
        return create(
            name,
            num_classes=num_classes or classes or row.num_classes,
            image_shape=image_shape or (*size, channels or known_channels),
            rngs=nnx.Rngs(0),
        )

    return _weights.filled(build, arrays, row)


def shape_of_weights(
    name: str, arrays: Mapping[str, np.ndarray]
) -> tuple[int | None, int | None]:
    """How many classes and channels a network has, by its weights.

    Args:
      name: one of `names()`.
      arrays: as in `load`.

    Returns:
      `(num_classes, channels)`: the columns of the last layer, and the inputs of the
      first; None where it is not there, or takes whole images at once.

    Raises:
      ValueError: if the name is unknown, or it is a checkpoint of several networks.

    >>> stem, last = np.zeros((64, 3, 7, 7)), np.zeros((5, 512))
    >>> shape_of_weights("resnet18", {"conv1.weight": stem, "fc.weight": last})
    (5, 3)
    """
    row, arrays = known(name), _weights.plain(arrays)
    paths = (row.stem, "dense/kernel")
    called = _weights.twin_names(row, paths, arrays)
    stem, last = (
        np.shape(arrays[path])
        if path in arrays
        else np.shape(arrays.get(called.get(path, ""), 0))[::-1]
        for path in paths
    )
    # Of PyTorch's [out, in, height, width], turned round, as of [..., in, out].
    return (last[-1] if len(last) == 2 else None), (stem[-2] if len(stem) > 2 else None)


def load(
    name: str,
    weights: str | os.PathLike[str] | Mapping[str, np.ndarray] | None = None,
    *,
    num_classes: int | None = None,
    image_shape: tuple[int, ...] | None = None,
) -> tuple[ApplyFn, Params]:
    """A network of this package as a pure function and its parameters.

    Args:
      name: one of `names()`.
      weights: the arrays by name, or a file of them that `weights.read` reads: named
        as `save` writes them, or as in the state dict of the network's PyTorch twin, in
        its layout. None gives the random weights of `nnx.Rngs(0)`: for tests and
        benchmarks.
      num_classes: the number of logits; None for that of the weights or, of random
        ones, of the data that the network is known for.
      image_shape: (height, width, channels), with the frames before them for video;
        None for the size that it is known for, and channels likewise.

    Returns:
      `(apply_fn, params)`, in evaluation mode.

    Raises:
      ValueError: if the name is unknown, the network cannot take such images, or the
        weights are not of this network, naming what differs.

    >>> apply_fn, params = load("mlp")
    >>> apply_fn(params, nnx.Rngs(0).normal((2, 28, 28, 1))).shape
    (2, 10)
    """
    if weights is not None:
        model = pretrained(
            name, weights, num_classes=num_classes, image_shape=image_shape
        )
        return bridge.from_nnx(model)
    row = known(name)
    model = create(
        name,
        num_classes=row.num_classes if num_classes is None else num_classes,
        image_shape=image_shape or row.image_shape,
        rngs=nnx.Rngs(0),
    )
    model.eval()
    return bridge.from_nnx(model)


def arrays(model: Classifier) -> dict[str, np.ndarray]:
    """The weights and running statistics of a network by their paths.

    >>> model = create("cnn", num_classes=10, image_shape=(28, 28, 1), rngs=nnx.Rngs(0))
    >>> arrays(model)["dense/kernel"].shape
    (144, 10)
    """
    return {
        name: np.asarray(variable[...])
        for name, variable in _weights.variables(model).items()
    }


def save(path: str | os.PathLike[str], model: Classifier) -> None:
    """Writes the weights and running statistics of a network as an `.npz` file.

    The file is written whole or not at all; `load(name, path)` reads it.
    """
    with _files.written_whole(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays(model))


def from_state_dict(name: str, state_dict: Mapping[str, Any]) -> tuple[ApplyFn, Params]:
    """A network with the weights of its PyTorch twin.

    The number of classes and of channels are those of the weights.

    Args:
      name: a network that has a twin in torchvision or timm.
      state_dict: the twin's names and NumPy arrays in PyTorch's layout (OIHW),
        e.g. `{k: v.numpy() for k, v in torch_model.state_dict().items()}`. Names
        that all begin with a wrapper's (`"module."`, `"model."`) are taken without
        it, and of a checkpoint (`{"epoch", "state_dict"}`) what it holds.

    Returns:
      `(apply_fn, params)`, in evaluation mode; `apply_fn` takes NHWC images,
      normalised as the weights were trained.

    Raises:
      ValueError: if the network has no twin, or a name is missing, unknown, or of
        another shape, listing all; if it is a checkpoint of several state dicts.
    """
    with_twin = [name for name in names() if _MODELS[name].torch_names is not None]
    _validate.choice("model", name, with_twin)
    return load(name, _weights.plain(state_dict))
