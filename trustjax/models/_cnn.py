"""The small convolutional network of Oberdiek et al. 2018."""

from flax import nnx
from jaxtyping import Array, Float

from trustjax.models._classifier import Classifier
from trustjax.models._layers import leaky_relu, max_pool_2x2
from trustjax.models._registry import Model, at_least

_FILTERS = 16


class CNN(Classifier):
    """Three 3x3 convolutions of 16 filters and one dense layer.

    Leaky ReLU of slope 0.1 after each convolution, 2x2 max pooling after the first
    two, dropout of 33 % after the first convolution and before the dense layer. The
    convolutions are not padded: a 28x28 image becomes 13x13, 5x5 and 3x3, and the
    dense layer sees 144 values. 6,250 parameters on 28x28 grey images, 10 classes.

    The paper puts dropout "after the first conv layer as well as after the dense
    layer". The first is taken as after its pooling. The only dense layer gives the
    logits, and dropping those would give random classes a logit of zero, so the
    second acts on what the dense layer takes.

    References:
      Oberdiek, Rottmann and Gottschalk 2018 (arXiv:1805.08440), section 4.1.
      `dropout_rate` 0.33.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        rngs: nnx.Rngs,
        dropout_rate: float = 0.33,
    ):
        height, width, channels = image_shape

        def conv(channels: int) -> nnx.Conv:
            return nnx.Conv(channels, _FILTERS, (3, 3), padding="VALID", rngs=rngs)

        def size(pixels: int) -> int:
            return ((pixels - 2) // 2 - 2) // 2 - 2

        self.conv1 = conv(channels)
        self.dropout1 = nnx.Dropout(dropout_rate, rngs=rngs)
        self.conv2 = conv(_FILTERS)
        self.conv3 = conv(_FILTERS)
        self.dropout2 = nnx.Dropout(dropout_rate, rngs=rngs)
        self.dense = nnx.Linear(
            size(height) * size(width) * _FILTERS, num_classes, rngs=rngs
        )

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image."""
        # The largest value is the largest after a leaky ReLU, too; there is less to do.
        x = self.dropout1(leaky_relu(max_pool_2x2(self.conv1(x))))
        x = leaky_relu(max_pool_2x2(self.conv2(x)))
        x = leaky_relu(self.conv3(x))
        return self.dense(self.dropout2(x.reshape(x.shape[0], -1)))


MODELS = {"cnn": Model(CNN, 10, (28, 28, 1), takes=(at_least(18, 18),))}
