"""The choices of the attacks of a report."""

import dataclasses

from trustjax import _validate


@dataclasses.dataclass(frozen=True)
class AttackOptions:
    """Which attacks the test images are scored under.

    Attributes:
      radii: of the attacks, the largest change of a number of an image, where white is
        1; without any there are none.
      steps: of projected gradient descent.
      images: how many test images at most, the first ones.

    Raises:
      ValueError: if a number is out of its range.
    """

    radii: tuple[float, ...] = ()
    steps: int = 10
    images: int = 500

    def __post_init__(self):
        for radius in self.radii:
            _validate.positive("attacks.radii", radius)
        if len(set(self.radii)) < len(self.radii):
            raise ValueError(f"attacks.radii must be different, got {self.radii}")
        _validate.count("attacks.steps", self.steps)
        _validate.count("attacks.images", self.images)


NO_ATTACKS = AttackOptions()
