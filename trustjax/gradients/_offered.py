"""What gradients give to scores, as ingredients."""

import functools
from typing import Any

import jax

from trustjax import _validate, targets
from trustjax.gradients._classes import class_gradients
from trustjax.gradients._select import GROUPINGS
from trustjax.ingredients import LOGITS, Ingredient
from trustjax.statistics import GradientStatistics

GRADIENT_STATISTICS = Ingredient(
    "gradient_statistics",
    ask=lambda batch: batch.gradient_statistics_by("tensor"),
    cost="a backward pass to the parameters",
)
"""Of the cross entropy to the predicted class, by parameter tensor."""


@functools.cache
def statistics_by(group: str) -> Ingredient:
    """The same statistics by tensor, by layer or of the network, as an ingredient.

    All that are asked for are of one backward pass.

    Raises:
      ValueError: if `group` is unknown.

    >>> statistics_by("layer").name, statistics_by("tensor").name
    ('gradient_statistics_by_layer', 'gradient_statistics')
    """
    _validate.choice("group", group, GROUPINGS)
    if group == "tensor":
        return GRADIENT_STATISTICS
    return Ingredient(
        f"{GRADIENT_STATISTICS.name}_by_{group}",
        ask=lambda batch: batch.gradient_statistics_by(group),
        cost=GRADIENT_STATISTICS.cost,
    )


def _towards_every_class(batch: Any, logits: jax.Array) -> GradientStatistics:
    return class_gradients(
        batch.apply_fn,
        batch.params,
        batch.x,
        targets.every_class(logits),
        wrt=batch.wrt,
    )


CLASS_GRADIENTS = Ingredient(
    "class_gradients",
    ask=_towards_every_class,
    needs=(LOGITS,),
    cost="a backward pass for each class",
    for_each_class=True,
)
"""`class_gradients` towards the classes 0, ..., C - 1, of the whole network."""
