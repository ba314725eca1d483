"""The choices of the second stage of a report."""

import dataclasses

from trustjax import _validate, introspection
from trustjax.introspection import IntrospectionConfig


@dataclasses.dataclass(frozen=True)
class SecondStageOptions:
    """What the second stage of `--introspective` is; each None is the preset's.

    Attributes:
      preset: a name of `introspection.PRESETS`.
      widths: units of its hidden layers; if none are given, the preset's.
      epochs: the most passes over the training set.
      batch_size: examples in a step.
      learning_rate: at the start.

    Raises:
      ValueError: if the preset is unknown, or a number is out of its range.
    """

    preset: str = "relu"
    widths: tuple[int, ...] = ()
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None

    def __post_init__(self):
        _validate.choice("second_stage.preset", self.preset, introspection.PRESETS)
        self.config(seed=0)  # refuses what is out of its range

    def config(self, *, seed: int) -> IntrospectionConfig:
        """The choices of its training."""
        chosen = dataclasses.asdict(self)
        preset = chosen.pop("preset")
        asked = {
            name: value for name, value in chosen.items() if value not in (None, ())
        }
        return introspection.config_for(preset, seed=seed, **asked)


PRESET = SecondStageOptions()
