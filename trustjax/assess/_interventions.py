"""What images are under the masks of explanations: checked, and its means."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from trustjax._questions import refuse_rows
from trustjax.assess import _intervals
from trustjax.assess._assessment import Interventions, MapNumbers, Quantity

PARTS = MapNumbers._fields


class Intervened(NamedTuple):
    """What a network said of images under the masks of explanations.

    Attributes:
      methods: title of a method -> `between`, `within`, `sufficiency`, `necessity` ->
        `[images]`, in [0, 1]; the same images for all.
    """

    methods: Mapping[str, Mapping[str, np.ndarray]]


def checked(intervened: Intervened | None) -> Intervened | None:
    """Numbers of the same images for every method.

    Raises:
      ValueError: naming the method, and what is wrong.
    """
    if intervened is None:
        return None
    found: dict[str, dict[str, np.ndarray]] = {}
    count = None
    for method, parts in intervened.methods.items():
        if set(parts) != set(PARTS):
            raise ValueError(
                f"interventions of {method} must have {', '.join(PARTS)}, got "
                f"{', '.join(sorted(parts))}"
            )
        arrays = {part: np.asarray(parts[part], np.float64) for part in PARTS}
        for part, values in arrays.items():
            count = values.size if count is None else count
            if values.shape != (count,) or not count:
                raise ValueError(
                    f"{part} of {method} must have shape [images], of the same images "
                    f"as all others, got {values.shape}"
                )
            refuse_rows(
                f"{part} of {method} must be in [0, 1]",
                ~((values >= -1e-6) & (values <= 1 + 1e-6)),
            )
        found[method] = {part: np.clip(of, 0, 1) for part, of in arrays.items()}
    if not found:
        raise ValueError("interventions must be of one method at least, got none")
    return Intervened(found)


def interventions(
    intervened: Intervened | None, *, level: float
) -> Interventions | None:
    """The means over images; None where nothing was asked.

    Args:
      intervened: what was said.
      level: of the intervals of one number, which hold together over the methods.
    """
    if intervened is None:
        return None
    of_each = 1 - (1 - level) / len(intervened.methods)

    def mean(values: np.ndarray) -> Quantity:
        low, high = _intervals.mean_interval(values, of_each)
        return Quantity(float(values.mean()), low, high)

    numbers = {
        method: MapNumbers(*(mean(parts[part]) for part in PARTS))
        for method, parts in intervened.methods.items()
    }
    first = next(iter(intervened.methods.values()))
    return Interventions(len(first[PARTS[0]]), numbers)
