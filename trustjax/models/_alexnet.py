"""AlexNet, the version on one tower of layers."""

import dataclasses
import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from trustjax.models._classifier import Classifier
from trustjax.models._layers import adaptive_average_pool, conv, max_pool
from trustjax.models._registry import Model, Published, at_least, of_imagenet


@dataclasses.dataclass(frozen=True)
class AlexNetConfig:
    """The sizes of AlexNet.

    Attributes:
      widths: channels of the five convolutions.
      hidden: units of each of the two hidden dense layers.
      pooled: height and width of what the first of them sees.
      dropout_rate: before each of them, in training.
    """

    widths: tuple[int, int, int, int, int] = (64, 192, 384, 256, 256)
    hidden: int = 4096
    pooled: int = 6
    dropout_rate: float = 0.5


class AlexNet(Classifier):
    """Five convolutions, three of them before a 3x3 max pooling, three dense layers.

    What the last convolution makes of an image other than 224x224 is brought to
    `config.pooled` squared by adaptive average pooling.

    Args:
      config: its sizes.
      num_classes: the number of logits.
      image_shape: (height, width, channels).
      rngs: where the weights, and the dropout masks, come from.

    References:
      Krizhevsky, Sutskever and Hinton 2012; in the version of Krizhevsky 2014
      (arXiv:1404.5997), without local response normalisation, as in torchvision's
      `alexnet`, with which the logits agree to 1e-5 of the largest.
    """

    def __init__(
        self,
        config: AlexNetConfig = AlexNetConfig(),
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        rngs: nnx.Rngs,
    ):
        biased = functools.partial(conv, use_bias=True, rngs=rngs)
        first, second, third, fourth, fifth = config.widths
        self.conv1 = nnx.Conv(
            image_shape[-1],
            first,
            (11, 11),
            strides=4,
            padding=((2, 2), (2, 2)),
            rngs=rngs,
        )
        self.conv2 = biased(first, second, 5)
        self.conv3 = biased(second, third, 3)
        self.conv4 = biased(third, fourth, 3)
        self.conv5 = biased(fourth, fifth, 3)
        self.pooled = config.pooled
        self.dropout1 = nnx.Dropout(config.dropout_rate, rngs=rngs)
        self.hidden1 = nnx.Linear(config.pooled**2 * fifth, config.hidden, rngs=rngs)
        self.dropout2 = nnx.Dropout(config.dropout_rate, rngs=rngs)
        self.hidden2 = nnx.Linear(config.hidden, config.hidden, rngs=rngs)
        self.dense = nnx.Linear(config.hidden, num_classes, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image."""
        x = max_pool(nnx.relu(self.conv1(x)), 3, 2)
        x = max_pool(nnx.relu(self.conv2(x)), 3, 2)
        x = nnx.relu(self.conv3(x))
        x = nnx.relu(self.conv4(x))
        x = max_pool(nnx.relu(self.conv5(x)), 3, 2)
        x = adaptive_average_pool(x, self.pooled)
        # Channels first: the order in which PyTorch's kernel takes them.
        x = jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)
        x = nnx.relu(self.hidden1(self.dropout1(x)))
        x = nnx.relu(self.hidden2(self.dropout2(x)))
        return self.dense(x)


MODELS = {
    "alexnet": Model(
        AlexNet,
        1000,
        (224, 224, 3),
        takes=(at_least(63, 63),),
        torch_names=(
            ("^conv1/", "features/0/"),
            ("^conv2/", "features/3/"),
            ("^conv3/", "features/6/"),
            ("^conv4/", "features/8/"),
            ("^conv5/", "features/10/"),
            ("^hidden1/", "classifier/1/"),
            ("^hidden2/", "classifier/4/"),
            ("^dense/", "classifier/6/"),
        ),
        published=(
            Published("IMAGENET1K_V1", "alexnet-owt-7be5be79.pth", of_imagenet()),
        ),
    )
}
