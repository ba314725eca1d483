"""What gradients give to scores, as ingredients."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from trustjax import _validate, targets
from trustjax.gradients._alignment import gradient_alignments, gradient_sum
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

GRADIENT_SUM = Ingredient(
    "gradient_sum",
    ask=lambda batch: gradient_sum(
        batch.apply_fn, batch.params, batch.x, mask=batch.mask, wrt=batch.wrt
    ),
    added_up=True,
)
"""`gradient_sum` of the cross entropy to the predicted class."""


def _mean_gradient(sums: Mapping[str, Any], labels: Any) -> dict[str, jax.Array]:
    return {
        path: jnp.asarray(total / len(labels), jnp.float32)
        for path, total in sums.items()
    }


MEAN_GRADIENT = Ingredient("mean_gradient", fit=_mean_gradient, needs=(GRADIENT_SUM,))
"""The mean over a training set, arrays by path."""

GRADIENT_ALIGNMENTS = Ingredient(
    "gradient_alignments",
    ask=lambda batch, mean: gradient_alignments(
        batch.apply_fn, batch.params, batch.x, mean, wrt=batch.wrt
    ),
    needs=(MEAN_GRADIENT,),
    cost="a backward pass to the parameters, for a product with the mean gradient",
)
"""`gradient_alignments` with the mean gradient of the training set, by tensor."""
