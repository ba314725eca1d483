"""Any network as the backbone of an oracle: its features, and a head on them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from trustjax import models, transforms
from trustjax.typing import ApplyFn, Params, SplitModel


class FrozenVariable(nnx.Variable):
    """What a network takes beside its trainable arrays: counts, keys, tables."""


class OnFeatures(models.Classifier):
    """The embedding of any network, and a head on it.

    The network stays the function that it is, in evaluation mode: dropout is off, and
    BatchNorm uses the running statistics that are closed over. Its floating parameters
    are `nnx.Param`s under the names that they have in `params`, and are trained with
    the head; those of its own last layer are not used, and what else is in `params`
    stays as it is. Frozen, all of them do.

    Args:
      apply_fn: `(params, x) -> logits`, or a `SplitModel` cut where the head goes.
      params: what it takes first.
      image_shape: (height, width, channels).
      frozen: whether the head alone is trained.

    Raises:
      ValueError: if the network has no embedding (`transforms.split`).
    """

    def __init__(
        self,
        apply_fn: ApplyFn | SplitModel,
        params: Params,
        image_shape: tuple[int, ...],
        *,
        frozen: bool = False,
    ):
        images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
        split = transforms.split(apply_fn, params, images, at="embedding")
        self.features_fn = split.features_fn
        features = jax.eval_shape(split.features_fn, params, images)
        self.width = features.size // features.shape[0]
        paths, self.structure = jax.tree.flatten_with_path(params)
        self.paths = tuple(tuple(map(_name, path)) for path, _ in paths)
        tree: dict[str, Any] = {}
        for path, (_, leaf) in zip(self.paths, paths, strict=True):
            *scopes, name = path or ("params",)
            node = tree
            for scope in scopes:
                node = node.setdefault(scope, {})
            node[name] = (
                FrozenVariable(jnp.asarray(leaf)) if frozen else _variable(leaf)
            )
        self.backbone = nnx.data(tree)

    def params(self) -> Params:
        """What the network takes first: its own, or what they have become."""
        leaves = []
        for path in self.paths:
            node: Any = self.backbone
            for name in path or ("params",):
                node = node[name]
            leaves.append(node[...])
        return jax.tree.unflatten(self.structure, leaves)

    def __call__(self, x: Float[Array, "batch ..."]) -> Float[Array, "batch 1"]:
        """What the head makes of the features of each image."""
        features = self.features_fn(self.params(), x)
        return self.dense(features.reshape(features.shape[0], self.width))


class Standardized(nnx.Module):
    """A head on an embedding whose features have no mean and unit deviation.

    The features of a network that is not trained with the head have scales of their
    own, some far from 0; a gradient step is then good for few of them.

    Args:
      head: `[batch, width] -> [batch, 1]`.
      width: the length of an embedding.
    """

    def __init__(self, head: nnx.Module, width: int):
        self.head: Any = head
        self.mean = nnx.BatchStat(jnp.zeros(width))
        self.deviation = nnx.BatchStat(jnp.ones(width))

    def measure(self, embeddings: np.ndarray) -> None:
        """Takes mean and deviation from embeddings; features that are equal stay so."""
        deviation = embeddings.std(axis=0, dtype=np.float64)
        self.mean[...] = jnp.asarray(embeddings.mean(axis=0, dtype=np.float64))
        self.deviation[...] = jnp.asarray(np.where(deviation > 0, deviation, 1.0))

    def __call__(self, x: Float[Array, "batch width"]) -> Float[Array, "batch 1"]:
        """What the head makes of each embedding."""
        return self.head((x - self.mean[...][None]) / self.deviation[...][None])


class OnEmbedding(models.Classifier):
    """A head on embeddings that are there: `[batch, 1, 1, width]` for an image."""

    def __init__(self, dense: Any):
        self.dense = dense

    def __call__(self, x: Float[Array, "batch ..."]) -> Float[Array, "batch 1"]:
        """What the head makes of each embedding."""
        return self.dense(x.reshape(x.shape[0], -1))


def _name(key: Any) -> str:
    return jax.tree_util.keystr((key,), simple=True)


def _variable(leaf: Any) -> nnx.Variable:
    # A copy: training gives its arrays away, and these are the user's.
    array = jnp.array(leaf)
    trained = jnp.issubdtype(array.dtype, jnp.floating)
    return nnx.Param(array) if trained else FrozenVariable(array)
