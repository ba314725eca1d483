"""Columns: the features of a detector, one number per example under a name.

A column is a score under its own name, or a statistic of gradients under three words,
`kind/place/statistic`: `layer/conv1/l2_norm`, `tensor/conv1/kernel/maximum`,
`network/network/skewness`, `confounding/conv1/kernel/squared_norm`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import _inputs, _validate
from trustjax._numerics import at_least_float32
from trustjax.gradients import GROUPINGS
from trustjax.statistics import GradientStatistics

CONFOUNDING = "confounding"
"""The kind of the columns of `passes.confounding_gradients`, by tensor."""

GRADIENTS = (*GROUPINGS, CONFOUNDING)
"""The kinds of columns that are statistics of gradients: their first words."""


class Statistic(NamedTuple):
    """What the name of a column of gradients says.

    Attributes:
      kind: one of `GRADIENTS`.
      place: a tensor or a layer, as `gradients.groups` names it.
      statistic: `"l2_norm"` and the like.
    """

    kind: str
    place: str
    statistic: str

    @property
    def column(self) -> str:
        """The name."""
        return "/".join(self)


def statistic_of(column: str) -> Statistic | None:
    """What a column is a statistic of; None if it is a score.

    >>> statistic_of("tensor/conv1/kernel/l2_norm")
    Statistic(kind='tensor', place='conv1/kernel', statistic='l2_norm')
    >>> statistic_of("margin") is None
    True
    """
    kind, slash, rest = column.partition("/")
    place, _, statistic = rest.rpartition("/")
    if not slash:
        return None
    if kind not in GRADIENTS or not place or not statistic:
        raise ValueError(
            f"a column is a score, or kind/place/statistic with a kind of {GRADIENTS}, "
            f"got {column!r}"
        )
    return Statistic(kind, place, statistic)


def columns_of(
    statistics: GradientStatistics, kind: str = "layer"
) -> dict[str, jax.Array]:
    """Statistics of gradients as columns.

    Args:
      statistics: with values `[batch, places, statistics]`.
      kind: one of `GRADIENTS`, what its groups are.

    Returns:
      name -> `[batch]`, the statistics of a place one after another.

    Raises:
      ValueError: if `kind` is unknown.

    >>> given = GradientStatistics(jnp.ones((5, 1, 2)), ("conv1",), ("mean", "l2_norm"))
    >>> {name: column.shape for name, column in columns_of(given).items()}
    {'layer/conv1/mean': (5,), 'layer/conv1/l2_norm': (5,)}
    """
    _validate.choice("kind", kind, GRADIENTS)
    return {
        Statistic(kind, place, statistic).column: statistics.values[..., row, number]
        for row, place in enumerate(statistics.groups)
        for number, statistic in enumerate(statistics.statistics)
    }


def stacked(
    columns: Mapping[str, jax.typing.ArrayLike], names: Sequence[str]
) -> jax.Array:
    """Columns in an order, `[batch, columns]`, float32 or wider.

    Raises:
      ValueError: if one is missing, is not `[batch]`, or they differ in length.
    """
    require_names(columns, names)
    arrays = {name: _inputs.array(name, columns[name]) for name in names}
    for name, array in arrays.items():
        _validate.rank(name, array, "batch")
        _validate.real(name, array)
    _validate.same_length(**arrays)
    floating = (at_least_float32(jnp.asarray(a, float)) for a in arrays.values())
    return jnp.stack(tuple(floating), axis=-1)


def require_names(columns: Mapping[str, object], names: Sequence[str]) -> None:
    """Raises a ValueError that names the columns which are not there."""
    missing = [name for name in names if name not in columns]
    if missing:
        raise ValueError(
            f"the detector takes the columns {listed(missing)}, which are not among "
            f"{listed(sorted(columns))}: is it of another network?"
        )


class Usable(NamedTuple):
    """What of columns a detector can be fitted on.

    Attributes:
      columns: the columns that are left.
      notes: why the others are not, a sentence for each reason.
    """

    columns: dict[str, np.ndarray]
    notes: tuple[str, ...]


def usable(columns: Mapping[str, np.ndarray | jax.Array]) -> Usable:
    """The columns that `fit` takes: finite, and not one number throughout.

    >>> usable({"a": np.array([1, 2]), "b": np.array([3, 3])})
    Usable(columns={'a': array([1, 2])}, notes=('Left out, for it is constant: b.',))
    """
    values = {name: np.asarray(column) for name, column in columns.items()}
    not_finite = [n for n, v in values.items() if not np.isfinite(v).all()]
    finite = {n: v for n, v in values.items() if n not in not_finite}
    constant = [n for n, v in finite.items() if len(v) and (v == v[0]).all()]
    reasons = (("NaN or infinite", not_finite), ("constant", constant))
    return Usable(
        {name: v for name, v in finite.items() if name not in constant},
        tuple(
            f"Left out, for {'it is' if len(names) == 1 else 'they are'} {what}: "
            f"{', '.join(names)}."
            for what, names in reasons
            if names
        ),
    )


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names in a sentence; of many, the first."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
