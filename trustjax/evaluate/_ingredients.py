"""What scores are made of, each computed once per batch however many scores ask."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

from trustjax import _validate, gradients, scores
from trustjax.typing import ApplyFn, Params, SplitModel


@dataclasses.dataclass(frozen=True)
class Batch:
    """A batch and the network that is asked about it.

    Attributes:
      model: `apply_fn`, or a `SplitModel` where a score needs features.
      params: what the model takes first.
      x: inputs, `[batch, ...]`.
    """

    model: ApplyFn | SplitModel
    params: Params
    x: jax.Array

    @property
    def apply_fn(self) -> ApplyFn:
        """The whole network."""
        if isinstance(self.model, SplitModel):
            return self.model.apply_fn
        return self.model

    @functools.cached_property
    def features(self) -> jax.Array:
        """What the last dense layer takes, `[batch, ...]`.

        Raises:
          ValueError: if the model is not a `SplitModel`.
        """
        if not isinstance(self.model, SplitModel):
            raise ValueError(
                "features need the network in two parts: give a SplitModel "
                "(models.split, bridge.split_at) in the place of apply_fn"
            )
        return self.model.features_fn(self.params, self.x)

    @functools.cached_property
    def logits(self) -> jax.Array:
        """`[batch, classes]`."""
        if isinstance(self.model, SplitModel):
            return self.model.head_fn(self.params, self.features)
        return self.model(self.params, self.x)


@dataclasses.dataclass(frozen=True)
class Ingredient:
    """A quantity that scores are computed from.

    Attributes:
      compute: `(batch, *needed) -> value`, `value` a tree of `[batch, ...]` arrays.
      needs: other ingredients, in the order of `compute`'s further arguments.
    """

    compute: Callable[..., Any]
    needs: tuple[str, ...] = ()


def _gradient_statistics(batch: Batch) -> gradients.GradientStatistics:
    return gradients.gradient_statistics(batch.apply_fn, batch.params, batch.x)


INGREDIENTS: Mapping[str, Ingredient] = {
    "features": Ingredient(lambda batch: batch.features),
    "logits": Ingredient(lambda batch: batch.logits),
    "gradient_statistics": Ingredient(_gradient_statistics),
}
"""The ingredients that every network offers; `score_batch` takes further ones."""


def plan(
    names: Iterable[str], *, ingredients: Mapping[str, Ingredient] = INGREDIENTS
) -> tuple[str, ...]:
    """The ingredients of a set of scores, each once, before those that need it.

    Args:
      names: names of registered scores, or of ingredients.
      ingredients: what can be computed.

    Returns:
      Names of ingredients in an order in which they can be computed.

    Raises:
      ValueError: if a name is neither a score nor an ingredient, or a score needs
        an ingredient that is not there, naming those that are.

    >>> plan(["max_softmax", "margin"])
    ('logits',)
    """
    ordered: dict[str, None] = {}

    def add(name: str) -> None:
        _validate.choice("ingredient", name, tuple(ingredients))
        for needed in ingredients[name].needs:
            add(needed)
        ordered[name] = None

    for name in names:
        for needed in (name,) if name in ingredients else scores.lookup(name).needs:
            add(needed)
    return tuple(ordered)


def score_batch(
    names: Iterable[str],
    model: ApplyFn | SplitModel,
    params: Params,
    x: jax.Array,
    *,
    ingredients: Mapping[str, Ingredient] = INGREDIENTS,
) -> dict[str, Any]:
    """Many scores of one batch, from one forward and at most one backward pass.

    Pure: give it to `jax.jit` with `names`, `model` and `ingredients` closed over.

    Args:
      names: registered scores; an ingredient's name returns the ingredient itself.
      model: `apply_fn(params, x) -> logits`, or a `SplitModel` whose features are
        what the last dense layer takes.
      params: what the model takes first.
      x: inputs, `[batch, ...]`.
      ingredients: what scores may be computed from; extend `INGREDIENTS` with yours.

    Returns:
      name -> `[batch]` for a score (higher = more trust), the value for an
      ingredient.

    Raises:
      ValueError: as `plan`, or if a score needs features and `model` is not split.

    >>> import jax.numpy as jnp
    >>> linear = lambda params, x: x @ params
    >>> out = score_batch(["margin", "logits"], linear, jnp.eye(2), jnp.eye(2))
    >>> print({name: value.shape for name, value in out.items()})
    {'margin': (2,), 'logits': (2, 2)}
    """
    names = tuple(names)
    batch = Batch(model, params, x)
    values: dict[str, Any] = {}
    for name in plan(names, ingredients=ingredients):
        ingredient = ingredients[name]
        values[name] = ingredient.compute(batch, *(values[n] for n in ingredient.needs))
    return {
        name: values[name] if name in values else _score(name, values) for name in names
    }


def _score(name: str, values: Mapping[str, Any]) -> jax.Array:
    score = scores.lookup(name)
    return score.fn(*(values[needed] for needed in score.needs))
