"""The classifiers of Corbière et al. 2019, whose confidence ConfidNet learns."""

import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from trustjax.models._classifier import Classifier
from trustjax.models._layers import max_pool_2x2
from trustjax.models._registry import Model, Names, at_least


class ConfidNetMNIST(Classifier):
    """Two 3x3 convolutions without padding, 2x2 max pooling, a hidden dense layer.

    Args:
      num_classes: the number of logits.
      image_shape: (height, width, channels), of at least 6x6 pixels.
      rngs: where the weights, and the dropout masks, come from.
      widths: channels of the two convolutions.
      hidden: units of the hidden dense layer, whose outputs are the embedding.

    References:
      Corbière et al. 2019 (arXiv:1910.04851), section 4.1; widths and dropout rates are
      those of the authors' code (valeoai/ConfidNet,
      `confidnet/models/small_convnet_mnist.py`).
    """

    def __init__(
        self,
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        rngs: nnx.Rngs,
        widths: tuple[int, int] = (32, 64),
        hidden: int = 128,
    ):
        conv = functools.partial(
            nnx.Conv, kernel_size=(3, 3), padding="VALID", rngs=rngs
        )
        *size, channels = image_shape
        first, second = widths
        height, width = ((pixels - 4) // 2 for pixels in size)
        self.conv1 = conv(channels, first)
        self.conv2 = conv(first, second)
        self.dropout1 = nnx.Dropout(0.25, rngs=rngs)
        self.hidden = nnx.Linear(height * width * second, hidden, rngs=rngs)
        self.dropout2 = nnx.Dropout(0.5, rngs=rngs)
        self.dense = nnx.Linear(hidden, num_classes, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image."""
        x = nnx.relu(self.conv1(x))
        # The largest value is the largest after a ReLU, too; there is less to do.
        x = self.dropout1(nnx.relu(max_pool_2x2(self.conv2(x))))
        # Channels first: the order in which PyTorch's kernel takes them.
        x = jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)
        return self.dense(self.dropout2(nnx.relu(self.hidden(x))))


class ConfidNetVGG(Classifier):
    """VGG-16 for images of 32x32 pixels or so: ReLU, BatchNorm and dropout, in turn.

    Convolutions see the image reflected at its edges. One hidden dense layer of 512
    units, whose outputs are the embedding.

    Args:
      num_classes: the number of logits.
      image_shape: (height, width, channels), of at least 32x32 pixels.
      rngs: where the weights, and the dropout masks, come from.
      depths: 3x3 convolutions in each stage.
      widths: channels of each stage.
      hidden: units of the hidden dense layer.

    References:
      Corbière et al. 2019 (arXiv:1910.04851), section 4.1, after Liu and Deng 2015; the
      layers, their order, padding and dropout rates are those of the authors' code
      (valeoai/ConfidNet, `confidnet/models/vgg16.py`).
    """

    def __init__(
        self,
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        rngs: nnx.Rngs,
        depths: tuple[int, ...] = (2, 2, 3, 3, 3),
        widths: tuple[int, ...] = (64, 128, 256, 512, 512),
        hidden: int = 512,
    ):
        *size, width_in = image_shape
        self.stages = nnx.List()
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            stage = nnx.List()
            for number in range(depth):
                rate = 0.0 if number == depth - 1 else 0.4 if index else 0.3
                stage.append(_ReflectedConv(width_in, width, rate, rngs=rngs))
                width_in = width
            self.stages.append(stage)
        self.dropout1 = nnx.Dropout(0.5, rngs=rngs)
        height, width = (pixels >> len(depths) for pixels in size)
        self.hidden = nnx.Linear(height * width * width_in, hidden, rngs=rngs)
        self.dropout2 = nnx.Dropout(0.5, rngs=rngs)
        self.dense = nnx.Linear(hidden, num_classes, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image."""
        for stage in self.stages:
            for convolution in stage:
                x = convolution(x)
            x = max_pool_2x2(x)
        x = jnp.moveaxis(self.dropout1(x), -1, 1).reshape(x.shape[0], -1)
        return self.dense(self.dropout2(nnx.relu(self.hidden(x))))


class _ReflectedConv(nnx.Module):
    """A 3x3 convolution of a reflected image, ReLU, BatchNorm and dropout."""

    def __init__(self, width_in: int, width: int, rate: float, *, rngs: nnx.Rngs):
        self.conv = nnx.Conv(width_in, width, (3, 3), padding="VALID", rngs=rngs)
        self.norm = nnx.BatchNorm(width, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        return self.dropout(self.norm(nnx.relu(self.conv(x))))


def _vgg_torch_names(depths: tuple[int, ...] = (2, 2, 3, 3, 3)) -> Names:
    """The authors number the convolutions through."""
    names, index = [], 1
    for stage, depth in enumerate(depths):
        for number in range(depth):
            at = f"^stages/{stage}/{number}"
            names.append((f"{at}/conv/", f"conv{index}/net/1/"))
            names.append((f"{at}/norm/", f"conv{index}_bn/"))
            index += 1
    return (*names, ("^hidden/", "fc1/"), ("^dense/", "fc2/"))


MODELS = {
    "confidnet_mnist": Model(
        ConfidNetMNIST,
        10,
        (28, 28, 1),
        takes=(at_least(6, 6),),
        torch_names=(("^hidden/", "fc1/"), ("^dense/", "fc2/")),
    ),
    "confidnet_vgg16": Model(
        ConfidNetVGG,
        10,
        (32, 32, 3),
        takes=(at_least(32, 32),),
        stem="stages/0/0/conv/kernel",
        torch_names=_vgg_torch_names(),
    ),
}
