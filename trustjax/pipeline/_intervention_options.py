"""The choices of the interventions of a report."""

import dataclasses

from trustjax import _validate, explain


@dataclasses.dataclass(frozen=True)
class InterventionOptions:
    """Which explanations the test images are masked by.

    Attributes:
      methods: names of explanations that rank pixels (`trustjax list`); without any
        there are no interventions. Two maps that know nothing of the network stand
        beside them.
      images: how many test images at most, the first ones.
      others: how many other test images hidden parts are redrawn from.

    Raises:
      ValueError: if a name is unknown, or a number is out of its range.
    """

    methods: tuple[str, ...] = ()
    images: int = 200
    others: int = 8

    def __post_init__(self):
        rank = [name for name, row in explain.METHODS.items() if row.ranks_pixels]
        for name in self.methods:
            _validate.choice("interventions.methods", name, rank)
        _validate.count("interventions.images", self.images)
        _validate.count("interventions.others", self.others)


NO_INTERVENTIONS = InterventionOptions()
