"""What a training run is: every choice that its result depends on."""

import dataclasses
from typing import Any

from trustjax import _validate


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The choices of a training run.

    The defaults are those of Oberdiek et al. 2018 (arXiv:1805.08440).

    Attributes:
      model: a name of `models.names()`.
      epochs: the most passes over the training set. With the schedule `"plateau"`
        training ends sooner, when the validation accuracy stagnates at the lowest
        learning rate.
      batch_size: examples per step, over all processes and devices.
      optimizer: `"sgd"` or `"adamw"`.
      learning_rate: at the start (plateau), or at the peak (cosine).
      schedule: `"plateau"` divides the learning rate by 10 when the validation
        accuracy stagnates; `"cosine"` warms up over one epoch and falls to zero.
      patience: epochs without a new best validation accuracy that make a plateau.
      minimum_learning_rate: where the plateau schedule stops dividing.
      momentum: of `"sgd"`.
      l2: the penalty `l2 / 2 * (sum of the squared kernel entries)` is added to the
        loss, so its gradient is `l2 * kernel`. Biases and scales are free. The
        paper's 1e-3 is read so; Keras' `l2(1e-3)`, without the half, is 2e-3 here.
      weight_decay: of `"adamw"`, on the kernels.
      max_shift: training images are moved by up to so many pixels at random, in both
        directions; zeros come in from the edge. 0 for none.
      seed: of the weights, the order of the examples, dropout and shifts.

    Raises:
      ValueError: if a name is unknown or a number out of its range.
    """

    model: str = "cnn"
    epochs: int = 100
    batch_size: int = 256
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    schedule: str = "plateau"
    patience: int = 5
    minimum_learning_rate: float = 1e-3
    momentum: float = 0.9
    l2: float = 1e-3
    weight_decay: float = 0.0
    max_shift: int = 0
    seed: int = 0

    def __post_init__(self):
        _validate.choice("optimizer", self.optimizer, ("adamw", "sgd"))
        _validate.choice("schedule", self.schedule, ("cosine", "plateau"))
        for name in ("epochs", "batch_size", "patience"):
            _validate.count(name, getattr(self, name))
        for name in ("max_shift", "seed"):
            _validate.count(name, getattr(self, name), at_least=0)
        for name in ("learning_rate", "minimum_learning_rate"):
            _validate.positive(name, getattr(self, name))
        for name in ("l2", "weight_decay"):
            _validate.not_negative(name, getattr(self, name))
        _validate.fraction("momentum", self.momentum)


def config_for(model: str, **changes: Any) -> TrainConfig:
    """The choices that suit a network of this library.

    Args:
      model: a name of `models.names()`.
      **changes: attributes of `TrainConfig` to set otherwise.

    Returns:
      The paper's recipe for `cnn`; AdamW with a cosine schedule for the others.

    >>> config_for("cnn", epochs=3).optimizer, config_for("mlp").optimizer
    ('sgd', 'adamw')
    """
    if model == "cnn":
        return TrainConfig(**changes)
    recipe = dict(
        model=model,
        epochs=30,
        optimizer="adamw",
        schedule="cosine",
        learning_rate=1e-3,
        l2=0.0,
        weight_decay=0.05,
    )
    return TrainConfig(**{**recipe, **changes})
