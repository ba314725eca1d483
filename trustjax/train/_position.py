"""Where a run is: steps, epochs and the learning rate. Plain values, kept as JSON."""

import dataclasses
from typing import Any, NamedTuple

from trustjax.train._config import TrainConfig


class TrainEpoch(NamedTuple):
    """What one pass over the training set came to.

    Attributes:
      epoch: its number, from 1.
      step: steps taken by its end.
      loss: mean cross entropy of its steps, with dropout, without the L2 penalty.
      validation_accuracy: at its end, in [0, 1].
      learning_rate: during it (the plateau schedule), or its peak (cosine).
    """

    epoch: int
    step: int
    loss: float
    validation_accuracy: float
    learning_rate: float


class Plateau(NamedTuple):
    """The learning rate, and what the validation accuracy has done at it.

    >>> config = TrainConfig(patience=2, minimum_learning_rate=0.01)
    >>> plateau = Plateau(config.learning_rate)
    >>> for accuracy in (0.8, 0.9, 0.9, 0.7, 0.7, 0.7):
    ...     plateau = plateau.after(accuracy, config)
    ...     print(plateau.learning_rate, plateau.waited, plateau.over(config))
    0.1 0 False
    0.1 0 False
    0.1 1 False
    0.01 0 False
    0.01 1 False
    0.01 2 True
    """

    learning_rate: float
    best_accuracy: float = -1.0
    waited: int = 0

    def after(self, accuracy: float, config: TrainConfig) -> "Plateau":
        """After an epoch: divides the learning rate by 10 where accuracy stagnates."""
        if accuracy > self.best_accuracy:
            return Plateau(self.learning_rate, accuracy)
        waited = self.waited + 1
        if waited < config.patience or self._lowest(config):
            return self._replace(waited=waited)
        lower = max(self.learning_rate / 10, config.minimum_learning_rate)
        return Plateau(lower, self.best_accuracy)

    def over(self, config: TrainConfig) -> bool:
        """Whether the accuracy stagnates at the lowest learning rate."""
        return self._lowest(config) and self.waited >= config.patience

    def _lowest(self, config: TrainConfig) -> bool:
        return self.learning_rate <= config.minimum_learning_rate


@dataclasses.dataclass
class Position:
    """Where a run is; what its arrays do not say.

    Attributes:
      plateau: the learning rate.
      epoch_type: the named tuple of an epoch: `TrainEpoch`, or one with its five fields
        by other names.
      step: steps taken.
      history: one entry per epoch.
    """

    plateau: Plateau
    epoch_type: Any = TrainEpoch
    step: int = 0
    history: list[Any] = dataclasses.field(default_factory=list)

    def finished(self, config: TrainConfig) -> bool:
        """Whether the run is at its end."""
        stagnates = config.schedule == "plateau" and self.plateau.over(config)
        return stagnates or len(self.history) >= config.epochs

    def end_epoch(self, loss: float, measured: float, config: TrainConfig) -> None:
        """Notes an epoch that has ended, and adapts the learning rate."""
        number, rate = len(self.history) + 1, self.plateau.learning_rate
        self.history.append(self.epoch_type(number, self.step, loss, measured, rate))
        if config.schedule == "plateau":
            self.plateau = self.plateau.after(measured, config)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "step": self.step,
            "plateau": self.plateau._asdict(),
            "history": [epoch._asdict() for epoch in self.history],
        }

    @classmethod
    def from_json(
        cls, values: dict[str, Any], epoch_type: Any = TrainEpoch
    ) -> "Position":
        """The inverse of `to_json`."""
        return cls(
            plateau=Plateau(**values["plateau"]),
            epoch_type=epoch_type,
            step=values["step"],
            history=[epoch_type(**epoch) for epoch in values["history"]],
        )
