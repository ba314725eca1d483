"""What every network of this package is: three steps with the same names."""

import jax
from flax import nnx
from jaxtyping import Array, Float


class Classifier(nnx.Module):
    """Images to logits: `dense(embedding(feature_map(x)))`.

    Attributes:
      dense: the last layer, from the embedding to the logits.
    """

    dense: nnx.Linear

    def feature_map(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch ..."]:
        """The last activation that still has positions, where there are any."""
        raise NotImplementedError

    def embedding(
        self, feature_map: Float[Array, "batch ..."]
    ) -> Float[Array, "batch width"]:
        """What the last dense layer takes."""
        raise NotImplementedError

    def head(self, feature_map: Float[Array, "batch ..."]) -> jax.Array:
        """The logits, from the feature map."""
        return self.dense(self.embedding(feature_map))

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image."""
        return self.head(self.feature_map(x))
