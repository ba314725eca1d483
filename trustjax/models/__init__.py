"""Flax NNX networks of the papers.

Every network is built by `create`, maps images `[batch, height, width, channels]` to
logits `[batch, classes]`, and is the composition of three steps, so that methods
which need an inner activation find it by the same name in each:

* `feature_map(x)`: the last spatial activation (class activation maps look at it);
* `embedding(feature_map)`: what the last dense layer takes, `[batch, width]`;
* `dense(embedding)`: the logits.
"""

from collections.abc import Callable

from flax import nnx

from trustjax import _validate, bridge
from trustjax.models._classifier import Classifier as Classifier
from trustjax.models._cnn import CNN as CNN
from trustjax.typing import SplitModel

_MODELS: dict[str, Callable[..., Classifier]] = {
    "cnn": CNN,
}

_SPLITS = {
    "feature_map": (
        lambda model, x: model.feature_map(x),
        lambda model, features: model.head(features),
    ),
    "embedding": (
        lambda model, x: model.embedding(model.feature_map(x)),
        lambda model, features: model.dense(features),
    ),
}


def names() -> list[str]:
    """The names that `create` knows, in alphabetical order."""
    return sorted(_MODELS)


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
    return _MODELS[name](num_classes=num_classes, image_shape=image_shape, rngs=rngs)


def split(model: Classifier, at: str = "feature_map") -> SplitModel:
    """A network of this package cut at an inner activation, in evaluation mode.

    Args:
      model: what `create` returned, trained or not.
      at: `"feature_map"`, the last spatial activation, for class activation maps;
        or `"embedding"`, `[batch, width]`, what the last dense layer takes.

    Returns:
      A `SplitModel` for the parameters that `bridge.from_nnx(model)` returns.

    Raises:
      ValueError: if `at` is unknown.

    >>> model = create("cnn", num_classes=10, image_shape=(28, 28, 1), rngs=nnx.Rngs(0))
    >>> model.eval()
    >>> _, params = bridge.from_nnx(model)
    >>> images = nnx.Rngs(0).normal((2, 28, 28, 1))
    >>> split(model).features_fn(params, images).shape
    (2, 3, 3, 16)
    >>> split(model, at="embedding").features_fn(params, images).shape
    (2, 144)
    """
    _validate.choice("at", at, _SPLITS)
    return bridge.split_at(model, *_SPLITS[at])
