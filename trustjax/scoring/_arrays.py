"""Scores of arrays that are there, with no network to ask."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from trustjax.scoring._plan import Asked, make_plan


def from_arrays(
    asked: Iterable[Asked], arrays: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Scores of the arrays of a file, or of a network's logits, in float64.

    What float32 rounds to one and the same 1 keeps its order there, and float64 logits
    of any size are taken as they are. It costs nothing beside a network.

    Args:
      asked: scores that need no other ingredients; or their names.
      arrays: ingredients by name, such as `"logits"`, `[records, classes]`.

    Returns:
      name -> `[records]`, on the host.

    Raises:
      ValueError: if a score needs what is not there, naming it.

    >>> from_arrays(["max_logit"], {"logits": np.array([[1e300, 0.0]])})
    {'max_logit': array([1.e+300])}
    """
    made = make_plan(asked, given=arrays)
    made.require_fitted()
    for step in made.steps:
        if step.ask:
            raise ValueError(
                f"{step.name} must be asked of a network, or given: there are "
                f"{', '.join(arrays)}"
            )

    def wide(leaf: Any) -> np.ndarray:
        array = np.asarray(leaf)
        return array.astype(np.float64) if array.dtype.kind == "f" else array

    with jax.enable_x64(True):
        compute = jax.jit(lambda given: made.values(None, given))
        return jax.device_get(compute(jax.tree.map(wide, dict(arrays))))
