"""What gradients give to scores, as ingredients."""

from typing import Any

import jax

from trustjax import targets
from trustjax.gradients._classes import class_gradients
from trustjax.ingredients import LOGITS, Ingredient
from trustjax.statistics import GradientStatistics

GRADIENT_STATISTICS = Ingredient(
    "gradient_statistics",
    ask=lambda batch: batch.gradient_statistics,
    cost="a backward pass to the parameters",
)
"""Of the cross entropy to the predicted class, by parameter tensor."""


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
