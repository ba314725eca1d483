"""What a detector is fitted on: columns of two populations, checked."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from trustjax.detectors import _columns


class Populations(NamedTuple):
    """Examples of two populations.

    Attributes:
      values: `[examples, columns]`, float64.
      trusted: `[examples]`, of which population each example is.
    """

    values: np.ndarray
    trusted: np.ndarray

    def some(self, rows: np.ndarray) -> "Populations":
        """Those of some rows."""
        return Populations(self.values[rows], self.trusted[rows])


def checked(
    columns: Mapping[str, object], targets: object, names: tuple[str, ...], what: str
) -> Populations:
    """Columns and targets of a fit, on the host.

    Raises:
      ValueError: naming the columns that are missing, not `[examples]` or not finite;
        if targets are neither boolean nor 0 and 1; if a population has fewer than two
        examples.
    """
    _columns.require_names(columns, names)
    trusted = np.asarray(targets)
    if trusted.ndim != 1:
        raise ValueError(
            f"the targets of {what} must be [examples], got {trusted.shape}"
        )
    if not np.isin(trusted, (0, 1)).all():
        odd = trusted[~np.isin(trusted, (0, 1))][0]
        raise ValueError(
            f"the targets of {what} must be boolean, or 0 and 1 (1 = to be trusted), "
            f"got {odd}"
        )
    arrays = {name: np.asarray(columns[name]) for name in names}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise ValueError(f"the column {name} must hold numbers, got {array.dtype}")
        if array.shape != trusted.shape:
            raise ValueError(
                f"the column {name} of {what} must be [examples] as the targets are, "
                f"{trusted.shape}, got {array.shape}"
            )
    counts = {"to be trusted": int(trusted.sum())}
    counts["not to be trusted"] = len(trusted) - counts["to be trusted"]
    for population, count in counts.items():
        if count < 2:
            raise ValueError(
                f"{what} must hold two examples {population} or more, got {count} of "
                f"{len(trusted)}"
            )
    values = np.stack(list(arrays.values()), axis=-1).astype(np.float64)
    not_finite = [n for n, v in zip(names, values.T, strict=True) if _odd(v)]
    if not_finite:
        raise ValueError(
            f"columns of {what} must be finite, and these hold NaN or infinities: "
            f"{_columns.listed(not_finite)}; detectors.usable leaves them out"
        )
    return Populations(values, trusted.astype(bool))


def require_varying(data: Populations, names: tuple[str, ...]) -> None:
    """Raises a ValueError that names the columns which are one number throughout."""
    constant = [
        name for name, v in zip(names, data.values.T, strict=True) if (v == v[0]).all()
    ]
    if constant:
        raise ValueError(
            f"columns must vary, and these are constant: {_columns.listed(constant)}; "
            "detectors.usable leaves them out"
        )


def divided(data: Populations, seed: int) -> tuple[Populations, Populations]:
    """Two thirds and one third of each population, at random.

    Of each, one example at least is in either part.
    """
    rng = np.random.default_rng(seed)
    first: list[np.ndarray] = []
    second: list[np.ndarray] = []
    for population in (True, False):
        rows = rng.permutation(np.flatnonzero(data.trusted == population))
        held = max(1, len(rows) // 3)
        first.append(rows[held:])
        second.append(rows[:held])
    learning, held_out = (np.sort(np.concatenate(rows)) for rows in (first, second))
    return data.some(learning), data.some(held_out)


def _odd(values: np.ndarray) -> bool:
    return not np.isfinite(values).all()
