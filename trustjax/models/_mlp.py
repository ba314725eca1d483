"""A multilayer perceptron."""

import math

from flax import nnx
from jaxtyping import Array, Float

from trustjax.models._classifier import Classifier
from trustjax.models._registry import Model


class MLP(Classifier):
    """Two hidden layers of 256 ReLU units on the flattened image, with dropout.

    The smallest network here that reaches a useful accuracy on digits, for images of
    any size. It has no positions, and so no feature map.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        rngs: nnx.Rngs,
        width: int = 256,
        dropout_rate: float = 0.2,
    ):
        self.hidden1 = nnx.Linear(math.prod(image_shape), width, rngs=rngs)
        self.dropout1 = nnx.Dropout(dropout_rate, rngs=rngs)
        self.hidden2 = nnx.Linear(width, width, rngs=rngs)
        self.dropout2 = nnx.Dropout(dropout_rate, rngs=rngs)
        self.dense = nnx.Linear(width, num_classes, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image."""
        x = self.dropout1(nnx.relu(self.hidden1(x.reshape(x.shape[0], -1))))
        return self.dense(self.dropout2(nnx.relu(self.hidden2(x))))


MODELS = {"mlp": Model(MLP, 10, (28, 28, 1), stem="hidden1/kernel")}
