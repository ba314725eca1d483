"""Kinds of runs: of a classifier, and of what keeps the weights of its best epoch."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trustjax.train import _step
from trustjax.train._loop import Run
from trustjax.train._position import TrainEpoch


class ClassifierRun(Run):
    """The training of a classifier, measured by its accuracy."""

    epoch_type = TrainEpoch

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.count_correct = _step.make_count_correct(self.model)

    def targets(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The true classes."""
        return {"label": batch["label"]}

    def measure(self) -> float:
        """The accuracy on the validation set, in [0, 1]."""
        names = ("image", "label", "mask")
        correct = [
            self.count_correct(
                self.state, self.put({name: batch[name] for name in names})
            )
            for batch in self.dealt(self.validation)
        ]
        return sum(map(int, correct)) / len(self.validation)


class Best(NamedTuple):
    """The weights and running statistics of the best epoch so far."""

    params: Any
    statistics: Any

    @classmethod
    def of(cls, state: _step.TrainState) -> "Best":
        """Copies: the training step gives the buffers of its state away."""
        return cls(*jax.tree.map(jnp.copy, (state.params, state.statistics)))


class BestRun(Run):
    """A run whose checkpoints hold the weights of its best epoch as well.

    Of epochs that measure alike the first is the best.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.best = Best.of(self.state)

    @property
    def arrays(self) -> Any:
        """What a checkpoint holds: the state, and the best weights so far."""
        return self.state, self.best

    @arrays.setter
    def arrays(self, restored: Any) -> None:
        self.state, self.best = restored

    def end_epoch(self) -> None:
        """Measures the epoch that has ended; keeps the weights of the best."""
        measured = lambda epoch: epoch[_MEASURED]
        before = max(map(measured, self.position.history), default=-1.0)
        super().end_epoch()
        if measured(self.position.history[-1]) > before:
            self.best = Best.of(self.state)


_MEASURED = TrainEpoch._fields.index("validation_accuracy")
"""Where an epoch holds what was measured, by whatever name."""
