"""Any network as the backbone of an oracle: its features, and a head on them."""

from typing import Any

import jax
import jax.numpy as jnp
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
    stays as it is.

    Args:
      apply_fn: `(params, x) -> logits`, or a `SplitModel` cut where the head goes.
      params: what it takes first.
      image_shape: (height, width, channels).

    Raises:
      ValueError: if the network has no embedding (`transforms.split`).
    """

    def __init__(
        self,
        apply_fn: ApplyFn | SplitModel,
        params: Params,
        image_shape: tuple[int, int, int],
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
            node[name] = _variable(leaf)
        self.backbone = nnx.data(tree)

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch 1"]:
        """What the head makes of the features of each image."""
        leaves = []
        for path in self.paths:
            node: Any = self.backbone
            for name in path or ("params",):
                node = node[name]
            leaves.append(node[...])
        params = jax.tree.unflatten(self.structure, leaves)
        features = self.features_fn(params, x)
        return self.dense(features.reshape(features.shape[0], self.width))


def _name(key: Any) -> str:
    return jax.tree_util.keystr((key,), simple=True)


def _variable(leaf: Any) -> nnx.Variable:
    # A copy: training gives its arrays away, and these are the user's.
    array = jnp.array(leaf)
    trained = jnp.issubdtype(array.dtype, jnp.floating)
    return nnx.Param(array) if trained else FrozenVariable(array)
