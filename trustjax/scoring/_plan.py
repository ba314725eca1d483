"""What a set of scores is made from, each ingredient once, in a computable order."""

import types
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax

from trustjax import gradients, scores, transforms
from trustjax.ingredients import FEATURES, LAST_LAYER, Ingredient
from trustjax.scores import Score
from trustjax.scoring._batch import Batch
from trustjax.typing import ApplyFn, Params, SplitModel, StochasticApplyFn

Asked = str | Ingredient | Score
NOTHING: Mapping[str, Any] = types.MappingProxyType({})


class Plan(NamedTuple):
    """How what is asked for is computed.

    Attributes:
      asked: scores and ingredients, whose values are the results.
      steps: the ingredients, each before those that need it.
      to_fit: those that are fitted and not given, each before those that need it; they
        come before all steps.
    """

    asked: tuple[Ingredient | Score, ...]
    steps: tuple[Ingredient, ...]
    to_fit: tuple[Ingredient, ...]

    @property
    def of_network(self) -> tuple[str, ...]:
        """Names of those asked for that are no rows of examples."""
        return tuple(
            node.name
            for node in self.asked
            if isinstance(node, Ingredient) and node.of_network
        )

    @property
    def added_up(self) -> tuple[str, ...]:
        """Names of those asked for that are sums over the examples of a batch."""
        return tuple(
            node.name
            for node in self.asked
            if isinstance(node, Ingredient) and node.added_up
        )

    def require_fitted(self) -> None:
        """Raises a ValueError, naming the first ingredient that has no state."""
        for ingredient in self.to_fit:
            asked_by = next(
                node.name
                for node in (*self.asked, *self.steps)
                if node is ingredient or ingredient.name in _names(node.needs)
            )
            raise ValueError(
                f"{asked_by} needs {ingredient.name!r}, which is neither given nor "
                "fitted (Scorer.fit)"
            )

    def require_network(self, stochastic_apply_fn: StochasticApplyFn | None) -> None:
        """Raises a ValueError if a network with dropout on is asked and not there."""
        for ingredient in self.steps:
            if ingredient.stochastic and stochastic_apply_fn is None:
                raise ValueError(
                    f"{ingredient.name} asks a network with dropout on: give "
                    "stochastic_apply_fn, (params, x, key) -> logits, as "
                    "bridge.stochastic_from_nnx makes it"
                )

    def batch(
        self,
        model: ApplyFn | SplitModel,
        params: Params,
        x: Any,
        index: jax.Array | None,
        stochastic_apply_fn: StochasticApplyFn | None,
        mask: jax.Array | None = None,
    ) -> Batch:
        """The batch to ask, so that there is one forward pass.

        Where features or what follows them are asked for, logits are made of them;
        where the library's gradient statistics are, both are of that pass. One's own
        ingredients of those names may be anything.
        """
        if any(step is FEATURES or step is LAST_LAYER for step in self.steps):
            model = transforms.split(model, params, x, at="embedding")
        groupings = tuple(
            group
            for group in gradients.GROUPINGS
            if any(step is gradients.statistics_by(group) for step in self.steps)
        )
        return Batch(model, params, x, groupings, index, stochastic_apply_fn, mask)

    def values(self, batch: Batch | None, given: Mapping[str, Any]) -> dict[str, Any]:
        """The results, by name; `batch` may be None where no step asks a network."""
        values = dict(given)
        for step in self.steps:
            needed = (values[need.name] for need in step.needs)
            if step.ask:
                values[step.name] = step.ask(batch, *needed)
            else:
                assert step.compute, "plan takes no other"
                values[step.name] = step.compute(*needed)
        return {
            node.name: node.fn(*(values[need.name] for need in node.needs))
            if isinstance(node, Score)
            else values[node.name]
            for node in self.asked
        }


def make_plan(
    asked: Iterable[Asked],
    ingredients: Iterable[Ingredient] = (),
    given: Iterable[str] = (),
) -> Plan:
    """The plan for what is asked; arguments and errors as in `plan`."""
    put = {ingredient.name: ingredient for ingredient in ingredients}
    there = frozenset(given)
    steps: dict[str, Ingredient] = {}
    to_fit: dict[str, Ingredient] = {}

    def add(ingredient: Ingredient, asked_by: tuple[str, ...], fitting: bool) -> None:
        """Adds what an ingredient needs and itself; before a fit, other fits alone."""
        ingredient = put.get(ingredient.name, ingredient)
        name = ingredient.name
        if name in there:
            return
        known = steps.get(name) or to_fit.get(name)
        if known is not None and known != ingredient:
            raise ValueError(
                f"two ingredients are called {name!r}: give one of them in "
                "ingredients, to be taken for both"
            )
        if known is not None:
            return
        if name in asked_by:
            raise ValueError(f"the ingredient {name!r} is made from itself")
        if ingredient.source == name:
            raise ValueError(
                f"{asked_by[-1] if asked_by else 'what is asked'} needs {name!r}, "
                f"which is neither given nor made from anything: give it, "
                f"given={{{name!r}: ...}}"
            )
        fitting = fitting or ingredient.fit is not None
        for need in ingredient.needs:
            add(need, (*asked_by, name), fitting)
        if ingredient.fit:
            to_fit[name] = ingredient
        elif not fitting:
            steps[name] = ingredient

    known = {**_of_registered_scores(), **put}
    nodes = tuple(_named(name, known) for name in asked)
    for node in nodes:
        if isinstance(node, Ingredient):
            add(node, (), False)
        else:
            for need in node.needs:
                add(need, (node.name,), False)
    return Plan(nodes, tuple(steps.values()), tuple(to_fit.values()))


def _named(asked: Asked, known: Mapping[str, Ingredient]) -> Ingredient | Score:
    """The score or ingredient that is meant."""
    if not isinstance(asked, str):
        return asked
    return known[asked] if asked in known else scores.lookup(asked)


def _of_registered_scores() -> dict[str, Ingredient]:
    """The ingredients of all scores of the table, by name."""
    found: dict[str, Ingredient] = {}

    def look(needs: tuple[Ingredient, ...]) -> None:
        for need in needs:
            found.setdefault(need.name, need)
            look(need.needs)

    for name in scores.names():
        look(scores.lookup(name).needs)
    return found


def _names(needs: Iterable[Ingredient]) -> set[str]:
    return {need.name for need in needs}


def plan(
    asked: Iterable[Asked],
    *,
    ingredients: Iterable[Ingredient] = (),
    given: Iterable[str] = (),
) -> tuple[Ingredient, ...]:
    """The ingredients of a set of scores, each once, before those that need it.

    Args:
      asked: scores and ingredients, or their names.
      ingredients: taken in the place of those of the same name.
      given: names of what is there and needs no computing.

    Returns:
      Ingredients in an order in which they can be computed.

    Raises:
      ValueError: if a name is neither a score nor an ingredient of one, naming those
        that are; if an ingredient has to be given or fitted and is not; if two
        ingredients have one name.

    >>> [step.name for step in plan(["max_softmax", "margin"])]
    ['logits']
    """
    made = make_plan(asked, ingredients, given)
    made.require_fitted()
    return made.steps


def score_batch(
    asked: Iterable[Asked],
    model: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    index: jax.Array | None = None,
    stochastic_apply_fn: StochasticApplyFn | None = None,
    ingredients: Iterable[Ingredient] = (),
    given: Mapping[str, Any] = NOTHING,
) -> dict[str, Any]:
    """Many scores of one batch, from one forward and at most one backward pass.

    Pure: give it to `jax.jit` with `asked`, `model` and `ingredients` closed over, and
    `given` as an argument.

    Args:
      asked: scores, or ingredients for their own values; or the names of either.
      model: `apply_fn(params, x) -> logits`, or a `SplitModel`. Features are what the
        last dense layer takes, or those of the `SplitModel`.
      params: what the model takes first.
      x: inputs, `[batch, ...]`, an array or a tree of them.
      index: record numbers, `[batch]`, by which dropout masks are drawn; None for
        0, 1, 2, ...
      stochastic_apply_fn: `(params, x, key) -> logits`, the network with dropout on,
        for scores that ask one.
      ingredients: taken in the place of those of the same name.
      given: what scores and ingredients need that is not computed from the batch:
        fitted states (`"knn_state"`), a random `"key"`, stacked parameters
        (`"ensemble_params"`).

    Returns:
      name -> `[batch]` for a score (higher = more trust), the value for an
      ingredient.

    Raises:
      ValueError: as `plan`, or if a score needs features and the network has none, or
        if the network does not return `[batch, classes]`, two classes or more.
      TypeError: if it returns an object, a tuple or a dict.

    ====================================  ==========================================
    Edge case                             Value
    ====================================  ==========================================
    one output for each example           refused: give [0, z]
    parameters that are not floating      left out of gradients
    all variables of a Linen network      gradients are refused
    ====================================  ==========================================

    >>> import jax.numpy as jnp
    >>> linear = lambda params, x: x @ params
    >>> out = score_batch(["margin", "logits"], linear, jnp.eye(2), jnp.eye(2))
    >>> print({name: value.shape for name, value in out.items()})
    {'margin': (2,), 'logits': (2, 2)}
    """
    made = make_plan(asked, ingredients, given)
    made.require_fitted()
    made.require_network(stochastic_apply_fn)
    batch = made.batch(model, params, x, index, stochastic_apply_fn)
    return made.values(batch, given)
