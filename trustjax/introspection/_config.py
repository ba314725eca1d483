"""What the training of a second stage is: every choice that its result depends on."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

from trustjax import _validate, train
from trustjax.introspection._features import LOSSES

INPUTS = ("introspective", "embedding", "logits", "embedding_and_logits")
"""What a second stage can read: the features, or what they are made of."""

ACTIVATIONS = ("relu", "sigmoid")
"""What follows each hidden layer of a second stage."""

_KEPT = ("kept", "streamed")


@dataclasses.dataclass(frozen=True)
class IntrospectionConfig(train.TrainConfig):
    r"""The choices of the second stage; those of `train.TrainConfig`, and these.

    The second stage :math:`\mathcal H` is a perceptron of `len(widths) + 1` dense
    layers on the standardised, flattened features. It is trained by the cross entropy
    to the true classes; the weights of the epoch that was best on the validation set
    are kept. With the schedule `"plateau"` training ends when the accuracy there
    stagnates at the lowest learning rate.

    Attributes:
      inputs: what it reads: `"introspective"`, the features; or for comparison what
        they are a function of, `"embedding"`, `"logits"` or `"embedding_and_logits"`.
      feature_loss: the loss of the features, as `features` takes it by name.
      constant: :math:`M`, what that loss asks of every class.
      widths: units of its hidden layers.
      activation: one of `ACTIVATIONS`.
      first_stage: what is kept of the first stage: `"kept"` asks it once about each
        record, and holds its logits and embedding in memory; `"streamed"` asks it
        again in every epoch, and holds a batch.

    Raises:
      ValueError: if a name is unknown or a number out of its range.

    References:
      Prabhushankar and AlRegib 2022 (arXiv:2209.08425): "a simple three-layered MLP".
      Its training was not published; the defaults are this library's.
    """

    model: str = "second stage"
    epochs: int = 50
    batch_size: int = 128
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    minimum_learning_rate: float = 1e-4
    l2: float = 0.0
    inputs: str = "introspective"
    feature_loss: str = "squared_error"
    constant: float = 1.0
    widths: Sequence[int] = (300, 100)
    activation: str = "relu"
    first_stage: str = "kept"

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "widths", tuple(self.widths))  # of JSON: a list
        _validate.choice("inputs", self.inputs, INPUTS)
        _validate.choice("feature_loss", self.feature_loss, tuple(LOSSES))
        _validate.choice("activation", self.activation, ACTIVATIONS)
        _validate.choice("first_stage", self.first_stage, _KEPT)
        if not self.widths:
            raise ValueError("widths must hold one hidden layer at least, got ()")
        for width in self.widths:
            _validate.count("widths", width)

    def input_shape(self, classes: int, width: int) -> tuple[int, int]:
        """The lengths of the two factors of what it reads (1 of what has one)."""
        return {
            "introspective": (classes, width),
            "embedding": (1, width),
            "logits": (1, classes),
            "embedding_and_logits": (1, classes + width),
        }[self.inputs]

    def num_parameters(self, classes: int, width: int) -> int:
        """Weights and biases of the second stage of such a network."""
        rows, columns = self.input_shape(classes, width)
        sizes = (rows * columns, *self.widths, classes)
        return sum((n + 1) * m for n, m in itertools.pairwise(sizes))


PRESETS: dict[str, dict[str, Any]] = {
    "relu": {},
    "sigmoid": {"activation": "sigmoid"},
}
"""Second stages by name: 300, 100 and as many units as classes, by their activation.

With sigmoids, a network of 10 classes and an embedding of 64 numbers has the second
stage of 640-300-100-10 of the paper's CIFAR-10 networks, by recollection: the paper's
code was not published.
"""


def config_for(preset: str = "relu", **changes: Any) -> IntrospectionConfig:
    """The choices of a preset.

    Args:
      preset: a name of `PRESETS`.
      **changes: attributes of `IntrospectionConfig` to set otherwise.

    Raises:
      ValueError: if the name is unknown, or as `IntrospectionConfig`.

    >>> config = config_for("sigmoid")
    >>> config.widths, config.activation, config.num_parameters(10, 64)
    ((300, 100), 'sigmoid', 223410)
    """
    _validate.choice("preset", preset, tuple(PRESETS))
    return IntrospectionConfig(**{**PRESETS[preset], **changes})


def baselines(
    config: IntrospectionConfig, *, classes: int, width: int
) -> dict[str, IntrospectionConfig]:
    """The same second stage on what the features are made of, as large as this one.

    Introspective features are a function of the embedding: a gain over these is one of
    their form, and no other is one of introspection. The first hidden layer of each is
    as wide as gives as many parameters, to half a unit; all else is the same.

    Args:
      config: of a second stage on introspective features.
      classes: of the first stage.
      width: of its embedding.

    Returns:
      Name of an input -> the choices.

    >>> named = baselines(config_for(), classes=10, width=64)
    >>> {name: c.widths for name, c in named.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'embedding': (1347, 100), 'logits': (2003, 100),
     'embedding_and_logits': (1270, 100)}
    """
    total = config.num_parameters(classes, width)
    made = {}
    for inputs in INPUTS[1:]:
        other = dataclasses.replace(config, inputs=inputs)
        # The number of parameters is linear in the first width.
        none, one = (
            dataclasses.replace(other, widths=(first, *config.widths[1:]))
            for first in (1, 2)
        )
        least = none.num_parameters(classes, width)
        step = one.num_parameters(classes, width) - least
        first = max(1, 1 + round((total - least) / step))
        made[inputs] = dataclasses.replace(other, widths=(first, *config.widths[1:]))
    return made
