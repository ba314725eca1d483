"""Columns as an ingredient: what a network is asked for them."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax

from trustjax import gradients, scores, statistics
from trustjax.detectors import _columns
from trustjax.detectors._columns import CONFOUNDING, Statistic
from trustjax.ingredients import Ingredient
from trustjax.passes import CONFOUNDING_GRADIENTS
from trustjax.typing import Params

_STATISTICS = tuple(
    statistic.__name__
    for statistic in statistics.DEFAULT
    if statistic is not statistics.mean
)

_CONFOUNDING_BY_TENSOR = dataclasses.replace(
    CONFOUNDING_GRADIENTS.with_options(group="tensor"),
    name="confounding_gradients_by_tensor",
)


@functools.cache
def features(names: tuple[str, ...], *, name: str = "columns") -> Ingredient:
    """Columns as an ingredient of `scoring`.

    What the columns need is computed once: the scores' ingredients, and the statistics
    of each kind of gradient.

    Args:
      names: of columns: registered scores, and statistics of gradients.
      name: of the ingredient; two of one name are not taken together.

    Returns:
      An ingredient whose value is `{column: [batch]}`.

    Raises:
      ValueError: if a name is not one of a column. Where a network has no such place or
        statistic, its value cannot be had: a ValueError then.

    >>> [need.name for need in features(("margin", "layer/conv1/l2_norm")).needs]
    ['logits', 'gradient_statistics_by_layer']
    """
    of_gradients = {n: _columns.statistic_of(n) for n in names}
    rows = {n: scores.lookup(n) for n, found in of_gradients.items() if found is None}
    kinds = dict.fromkeys(found.kind for found in of_gradients.values() if found)
    asked = {kind: _asked(kind) for kind in kinds}
    needs = dict.fromkeys(
        [need for row in rows.values() for need in row.needs] + list(asked.values())
    )
    order = {need.name: number for number, need in enumerate(needs)}

    def compute(*values: Any) -> dict[str, jax.Array]:
        found: dict[str, jax.Array] = {}
        for kind, ingredient in asked.items():
            found |= _columns.columns_of(values[order[ingredient.name]], kind)
        _columns.require_names({**found, **rows}, names)
        for n, row in rows.items():
            found[n] = row.fn(*(values[order[need.name]] for need in row.needs))
        return {n: found[n] for n in names}

    return Ingredient(name, compute=compute, needs=tuple(needs))


def _asked(kind: str) -> Ingredient:
    """The ingredient whose statistics are the columns of a kind."""
    if kind == CONFOUNDING:
        return _CONFOUNDING_BY_TENSOR
    return gradients.statistics_by(kind)


def names_for(
    params: Params,
    *,
    scores: Iterable[str] = (),
    kinds: Iterable[str] = ("layer",),
    statistics: Sequence[str] = _STATISTICS,
    wrt: Callable[[str], bool] | None = None,
) -> tuple[str, ...]:
    """The columns that a network has.

    Args:
      params: what the network takes first.
      scores: names of scores that are columns, too.
      kinds: of gradients: `"tensor"`, `"layer"`, `"network"`, and `"confounding"` for
        the squared norms by tensor of `passes.confounding_gradients`.
      statistics: of each place; by default all but the mean, which is zero but for
        rounding in a last layer under the cross entropy.
      wrt: keeps the parameters whose path it says yes to.

    Returns:
      Names of columns, scores first.

    Raises:
      ValueError: if a kind is unknown.

    >>> import jax.numpy as jnp
    >>> params = {"conv1": {"kernel": jnp.ones((3, 3, 1, 4)), "bias": jnp.ones(4)}}
    >>> names_for(params, scores=["margin"], statistics=["l2_norm"])
    ('margin', 'layer/conv1/l2_norm')
    >>> names_for(params, kinds=["confounding"])[1]
    'confounding/conv1/kernel/squared_norm'
    """
    found = list(scores)
    for kind in kinds:
        by_tensor = kind == CONFOUNDING
        places = gradients.groups(params, "tensor" if by_tensor else kind, wrt=wrt)
        of_place = ("squared_norm",) if by_tensor else tuple(statistics)
        found += [Statistic(kind, p, s).column for p in places for s in of_place]
    return tuple(dict.fromkeys(found))
