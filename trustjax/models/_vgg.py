"""The networks of the Visual Geometry Group."""

import dataclasses
import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from trustjax.models._classifier import Classifier
from trustjax.models._layers import adaptive_average_pool, conv, max_pool_2x2
from trustjax.models._registry import Model, Names, Published, at_least, of_imagenet


@dataclasses.dataclass(frozen=True)
class VGGConfig:
    """The sizes of a VGG.

    Attributes:
      depths: 3x3 convolutions in each stage.
      widths: channels of each stage.
      hidden: units of each of the two hidden dense layers.
      pooled: height and width of what the first of them sees.
      dropout_rate: after each of them, in training.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    hidden: int = 4096
    pooled: int = 7
    dropout_rate: float = 0.5


class VGG(Classifier):
    """Stages of 3x3 convolutions, each before a 2x2 max pooling; three dense layers.

    What the last stage makes of an image other than 224x224 is brought to
    `config.pooled` squared by adaptive average pooling.

    Args:
      config: its sizes.
      num_classes: the number of logits.
      image_shape: (height, width, channels).
      rngs: where the weights, and the dropout masks, come from.

    References:
      Simonyan and Zisserman 2015 (arXiv:1409.1556), table 1, columns A and D; as in
      torchvision's `vgg11` and `vgg16`, with which the logits agree to 1e-5 of the
      largest.
    """

    def __init__(
        self,
        config: VGGConfig,
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        rngs: nnx.Rngs,
    ):
        self.stages = nnx.List()
        width_in = image_shape[-1]
        for width, depth in zip(config.widths, config.depths, strict=True):
            stage = nnx.List()
            for _ in range(depth):
                stage.append(conv(width_in, width, 3, use_bias=True, rngs=rngs))
                width_in = width
            self.stages.append(stage)
        self.pooled = config.pooled
        self.hidden1 = nnx.Linear(config.pooled**2 * width_in, config.hidden, rngs=rngs)
        self.dropout1 = nnx.Dropout(config.dropout_rate, rngs=rngs)
        self.hidden2 = nnx.Linear(config.hidden, config.hidden, rngs=rngs)
        self.dropout2 = nnx.Dropout(config.dropout_rate, rngs=rngs)
        self.dense = nnx.Linear(config.hidden, num_classes, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image."""
        for *convolutions, last in self.stages:
            for convolution in convolutions:
                x = nnx.relu(convolution(x))
            # The largest value is the largest after a ReLU, too; there is less to do.
            x = nnx.relu(max_pool_2x2(last(x)))
        x = adaptive_average_pool(x, self.pooled)
        # Channels first: the order in which PyTorch's kernel takes them.
        x = jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)
        x = self.dropout1(nnx.relu(self.hidden1(x)))
        x = self.dropout2(nnx.relu(self.hidden2(x)))
        return self.dense(x)


def _torch_names(config: VGGConfig) -> Names:
    """Torchvision counts convolutions, ReLUs and poolings alike."""
    names, index = [], 0
    for stage, depth in enumerate(config.depths):
        for number in range(depth):
            names.append((f"^stages/{stage}/{number}/", f"features/{index}/"))
            index += 2
        index += 1
    classifier = {"hidden1": 0, "hidden2": 3, "dense": 6}
    return (
        *names,
        *((f"^{layer}/", f"classifier/{at}/") for layer, at in classifier.items()),
    )


def _of_imagenet(config: VGGConfig, file: str) -> Model:
    return Model(
        functools.partial(VGG, config),
        1000,
        (224, 224, 3),
        takes=(at_least(32, 32),),
        stem="stages/0/0/kernel",
        torch_names=_torch_names(config),
        published=(Published("IMAGENET1K_V1", file, of_imagenet()),),
    )


MODELS = {
    "vgg11": _of_imagenet(VGGConfig((1, 1, 2, 2, 2)), "vgg11-8a719046.pth"),
    "vgg16": _of_imagenet(VGGConfig((2, 2, 3, 3, 3)), "vgg16-397923af.pth"),
}
