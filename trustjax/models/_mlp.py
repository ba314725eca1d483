"""A multilayer perceptron."""

import math

from flax import nnx
from jaxtyping import Array, Float

from trustjax.models._classifier import Classifier


class MLP(Classifier):
    """Two hidden layers of 256 ReLU units on the flattened image, with dropout.

    The smallest network here that reaches a useful accuracy on digits, for images of
    any size. It has no positions: its feature map is the last hidden layer,
    `[batch, 256]`.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        image_shape: tuple[int, int, int],
        rngs: nnx.Rngs,
        width: int = 256,
        dropout_rate: float = 0.2,
    ):
        self.hidden1 = nnx.Linear(math.prod(image_shape), width, rngs=rngs)
        self.dropout1 = nnx.Dropout(dropout_rate, rngs=rngs)
        self.hidden2 = nnx.Linear(width, width, rngs=rngs)
        self.dropout2 = nnx.Dropout(dropout_rate, rngs=rngs)
        self.dense = nnx.Linear(width, num_classes, rngs=rngs)

    def feature_map(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch features"]:
        """The last hidden layer."""
        x = self.dropout1(nnx.relu(self.hidden1(x.reshape(x.shape[0], -1))))
        return nnx.relu(self.hidden2(x))

    def embedding(
        self, feature_map: Float[Array, "batch features"]
    ) -> Float[Array, "batch features"]:
        """The last hidden layer, after dropout."""
        return self.dropout2(feature_map)
