"""The network of an oracle: the backbone of a classifier, and a head of one output."""

import itertools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from trustjax import _numerics, models
from trustjax.oracles._backbone import OnFeatures, Standardized
from trustjax.oracles._config import OracleConfig
from trustjax.typing import ApplyFn, Params, SplitModel

Function = tuple[ApplyFn | SplitModel, Params]
"""A network as `(apply_fn, params)`."""

Network = models.Classifier | Function
"""A network of the library, or any other as a function."""

_EPSILON = 1e-7


class SignedDistance(nnx.Module):
    r"""The signed distance of an embedding to a hyperplane.

    .. math:: z = \frac{w^\top x + b}{\lVert w \rVert_2}

    Its sign says on which side the embedding is, its magnitude how far from it.

    =========  ===============================================
    Edge case  Value
    =========  ===============================================
    w = 0      1e7 b, finite as is its gradient (see below)
    =========  ===============================================

    Args:
      width: the length of an embedding.
      rngs: where the weights come from.

    >>> head = SignedDistance(3, rngs=nnx.Rngs(0))
    >>> head(jnp.ones((4, 3))).shape
    (4, 1)

    References:
      Luo et al. 2021 (arXiv:2110.00054), eq. 7. As in the authors' code, 1e-7 is added
      to the norm.
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        initial = nnx.initializers.lecun_normal()(rngs.params(), (width, 1))
        self.kernel = nnx.Param(initial)
        self.bias = nnx.Param(jnp.zeros(1))

    def __call__(self, x: Float[Array, "batch width"]) -> Float[Array, "batch 1"]:
        """The distance of each embedding."""
        kernel, bias = self.kernel[...], self.bias[...]
        norm = _numerics.safe_norm(_numerics.at_least_float32(kernel[:, 0]))
        return (x @ kernel + bias[None]) / (norm + _EPSILON)


class DeepHead(nnx.Module):
    """Dense layers with a ReLU each, and a head on the last of them.

    Args:
      width: the length of an embedding.
      hidden: units of each of those layers.
      layers: how many there are before the head.
      last: width -> the head on what the last of them gives.
      rngs: where the weights come from.

    References:
      Corbiere et al. 2019 (arXiv:1910.04851), section 3.2; four layers of 400 before
      the last in the authors' code.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        layers: int,
        last: Callable[[int], nnx.Module],
        *,
        rngs: nnx.Rngs,
    ):
        widths = (width, *[hidden] * layers)
        self.hidden = nnx.List(
            nnx.Linear(*pair, rngs=rngs) for pair in itertools.pairwise(widths)
        )
        self.last: Any = last(widths[-1])

    def __call__(self, x: Float[Array, "batch width"]) -> Float[Array, "batch 1"]:
        """What the head makes of each embedding."""
        for layer in self.hidden:
            x = nnx.relu(layer(x))
        return self.last(x)


def create(
    config: OracleConfig,
    image_shape: tuple[int, ...],
    *,
    classifier: Network | None = None,
) -> models.Classifier:
    """An oracle before training: images to one number each, `[batch, 1]`.

    Args:
      config: which backbone and head, and the seed of the fresh weights.
      image_shape: (height, width, channels).
      classifier: the network whose backbone the oracle starts from: of the kind
        `config.model`; or any other, as `(apply_fn, params)`, whose name does not
        matter then; or None for fresh weights. It is copied, not changed.

    Returns:
      The network; its `dense` layer is the head.

    Raises:
      ValueError: if the classifier's backbone has other weights or shapes than the
        oracle's, naming the first that differs; if any other has no embedding, where
        a head can go; if the embedding shall be frozen or cloned, and is not that of
        `(apply_fn, params)`.

    >>> oracle = create(OracleConfig("cnn"), (28, 28, 1))
    >>> oracle(jnp.zeros((2, 28, 28, 1))).shape
    (2, 1)
    """
    rngs = nnx.Rngs(config.seed)
    if isinstance(classifier, tuple):
        frozen = config.embedding == "frozen"
        model = OnFeatures(*_checked_pair(classifier), image_shape, frozen=frozen)
        head: Any = _head(config, model.width, rngs)
        if config.embedding != "trained":
            head = Standardized(head, model.width)
        model.dense = head
        return model
    if config.embedding != "trained":
        raise ValueError(
            f"a {config.embedding} embedding is that of a network: "
            "classifier=(apply_fn, params)"
        )
    model = models.create(
        config.model, num_classes=1, image_shape=image_shape, rngs=rngs
    )
    if classifier is not None:
        _copy_backbone(classifier, model)
    if config.head == "signed_distance" or config.head_layers > 1:
        head = _head(config, model.dense.kernel.shape[0], rngs)
        model.dense = head
    return model


def _head(config: OracleConfig, width: int, rngs: nnx.Rngs) -> Any:
    """The dense layer of an oracle, whatever kind of layer that is."""

    def last(width: int) -> nnx.Module:
        if config.head == "signed_distance":
            return SignedDistance(width, rngs=rngs)
        return nnx.Linear(width, 1, rngs=rngs)

    layers = config.head_layers - 1
    if layers == 0:
        return last(width)
    return DeepHead(width, config.head_width, layers, last, rngs=rngs)


def _checked_pair(classifier: tuple[Any, ...]) -> tuple[Any, Params]:
    if isinstance(classifier, SplitModel) or len(classifier) != 2:
        raise ValueError(
            "classifier must be a network of trustjax.models or (apply_fn, params), "
            f"got {type(classifier).__name__} of {len(classifier)}"
        )
    return classifier


def _copy_backbone(source: nnx.Module, target: nnx.Module) -> None:
    theirs, ours = _backbone(source), _backbone(target)
    for path in sorted({*theirs, *ours}):
        shapes = [tree[path].shape if path in tree else None for tree in (theirs, ours)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                "the oracle cannot start from this classifier: its input or its kind "
                f"is another one. {path} has shape {shapes[0]} in the classifier and "
                f"{shapes[1]} in the oracle"
            )
    for path, variable in ours.items():
        variable.set_value(jnp.array(theirs[path][...]))


def _backbone(model: nnx.Module) -> dict[str, Any]:
    """The variables below the dense layer, by their paths."""
    return {
        "/".join(map(str, path)): variable
        for path, variable in nnx.to_flat_state(_variables(model))
        if path[0] != "dense"
    }


def weights(model: nnx.Module) -> Any:
    """The weights and running statistics of a network, as a tree of arrays."""
    return nnx.to_pure_dict(_variables(model))


def _variables(model: nnx.Module) -> Any:
    return nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
