"""What scores are made of, each computed once per batch however many scores ask."""

import dataclasses
import functools
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trustjax import _network_questions, gradients, losses, scores, transforms
from trustjax.typing import ApplyFn, Params, SplitModel


@dataclasses.dataclass(frozen=True)
class Batch:
    """A batch and the network that is asked about it.

    Attributes:
      model: `apply_fn`, or a `SplitModel` whose features are those to score with.
      params: what the model takes first.
      x: inputs, `[batch, ...]`.
      differentiated: whether gradient statistics are asked for as well; logits and
        features are then those of their forward pass, and there is no second one.
      index: record numbers, `[batch]`: what is drawn for an example is drawn by its
        number, wherever in a batch it lies. None for 0, 1, 2, ...
    """

    model: ApplyFn | SplitModel
    params: Params
    x: jax.Array
    differentiated: bool = False
    index: jax.Array | None = None

    @functools.cached_property
    def apply_fn(self) -> ApplyFn:
        """The whole network, which is asked for logits."""
        whole = self.model
        apply_fn = whole.apply_fn if isinstance(whole, SplitModel) else whole
        return lambda params, x: _network_questions.logits(apply_fn(params, x))

    @functools.cached_property
    def features(self) -> jax.Array:
        """What the last dense layer takes, `[batch, ...]`.

        Raises:
          ValueError: if there is no such layer (`transforms.split`).
        """
        if self.differentiated and isinstance(self.model, SplitModel):
            return self._pass[0].features
        parts = transforms.split(self.model, self.params, self.x, at="embedding")
        return parts.features_fn(self.params, self.x)

    @functools.cached_property
    def logits(self) -> jax.Array:
        """`[batch, classes]`."""
        if self.differentiated:
            return self._pass[0].logits
        if isinstance(self.model, SplitModel):
            output = self.model.head_fn(self.params, self.features)
        else:
            output = self.model(self.params, self.x)
        return _network_questions.logits(output)

    @functools.cached_property
    def wrt(self) -> Callable[[str], bool] | None:
        """Which parameters have a gradient: all but counts, keys and whole numbers."""
        without = _network_questions.not_floating(self.params)
        return (lambda path: path not in without) if without else None

    @property
    def gradient_statistics(self) -> gradients.GradientStatistics:
        """Of the cross entropy to the predicted class, by parameter tensor."""
        return self._pass[1]

    @functools.cached_property
    def _pass(self) -> tuple["_Outputs", gradients.GradientStatistics]:
        """One forward and one backward pass."""

        def outputs(params: Params, x: jax.Array) -> _Outputs:
            if not isinstance(self.model, SplitModel):
                output, features = self.model(params, x), None
            else:
                features = self.model.features_fn(params, x)
                output = self.model.head_fn(params, features)
            return _Outputs(_network_questions.logits(output), features)

        return gradients.outputs_and_gradient_statistics(
            outputs,
            self.params,
            self.x,
            loss_fn=lambda outputs: losses.predicted_cross_entropy(outputs.logits),
            wrt=self.wrt,
        )


class _Outputs(NamedTuple):
    """What a network says: `[batch, classes]` and, if it is split, `[batch, ...]`."""

    logits: jax.Array
    features: Any


@dataclasses.dataclass(frozen=True)
class Ingredient:
    """A quantity that scores are computed from.

    Attributes:
      compute: `(batch, *needed) -> value`, `value` a tree of `[batch, ...]` arrays.
      needs: other ingredients, in the order of `compute`'s further arguments.
    """

    compute: Callable[..., Any]
    needs: tuple[str, ...] = ()


def _class_gradients(batch: Batch, logits: jax.Array) -> gradients.GradientStatistics:
    return gradients.class_gradients(
        batch.apply_fn,
        batch.params,
        batch.x,
        scores.every_class(logits),
        wrt=batch.wrt,
    )


def _confounding_gradients(batch: Batch) -> gradients.GradientStatistics:
    return scores.confounding_gradients(
        batch.apply_fn, batch.params, batch.x, wrt=batch.wrt
    )


def of_network(fn: Callable[..., Any], **options: Any) -> Ingredient:
    """What a function of a network and its inputs gives.

    Args:
      fn: `(apply_fn, params, x, **options) -> value`.
      **options: passed on to `fn`.

    Returns:
      An ingredient that needs no other.

    >>> of_network(scores.odin_logits, epsilon=0.002).needs
    ()
    """
    return Ingredient(
        lambda batch: fn(batch.apply_fn, batch.params, batch.x, **options)
    )


INGREDIENTS: Mapping[str, Ingredient] = {
    "features": Ingredient(lambda batch: batch.features),
    "logits": Ingredient(lambda batch: batch.logits),
    "predictions": Ingredient(
        lambda batch, logits: jnp.argmax(logits, axis=-1), needs=("logits",)
    ),
    "gradient_statistics": Ingredient(lambda batch: batch.gradient_statistics),
    "confounding_gradients": Ingredient(_confounding_gradients),
    "class_gradients": Ingredient(_class_gradients, needs=("logits",)),
    "odin_logits": of_network(scores.odin_logits),
}
"""The ingredients that every network offers; `score_batch` takes further ones."""


def plan(
    names: Iterable[str],
    *,
    ingredients: Mapping[str, Ingredient] = INGREDIENTS,
    given: Iterable[str] = (),
) -> tuple[str, ...]:
    """The ingredients of a set of scores, each once, before those that need it.

    Args:
      names: names of registered scores, or of ingredients.
      ingredients: what can be computed.
      given: names of what is there and needs no computing.

    Returns:
      Names of ingredients in an order in which they can be computed.

    Raises:
      ValueError: if a name is neither a score nor an ingredient, or a score needs
        what is neither given nor an ingredient, naming those that are.

    >>> plan(["max_softmax", "margin"])
    ('logits',)
    """
    ordered: dict[str, None] = {}
    there = frozenset(given)

    def add(name: str, *, asked_by: str) -> None:
        if name in there:
            return
        if name not in ingredients:
            raise ValueError(
                f"{asked_by} needs {name!r}, which is neither given nor one of the "
                f"ingredients {', '.join(ingredients)}"
            )
        for needed in ingredients[name].needs:
            add(needed, asked_by=name)
        ordered[name] = None

    for name in names:
        for needed in (name,) if name in ingredients else scores.lookup(name).needs:
            add(needed, asked_by=name)
    return tuple(ordered)


def score_batch(
    names: Iterable[str],
    model: ApplyFn | SplitModel,
    params: Params,
    x: jax.Array,
    *,
    index: jax.Array | None = None,
    ingredients: Mapping[str, Ingredient] = INGREDIENTS,
    given: Mapping[str, Any] = types.MappingProxyType({}),
) -> dict[str, Any]:
    """Many scores of one batch, from one forward and at most one backward pass.

    Pure: give it to `jax.jit` with `names`, `model` and `ingredients` closed over, and
    `given` as an argument.

    Args:
      names: registered scores; an ingredient's name returns the ingredient itself.
      model: `apply_fn(params, x) -> logits`, or a `SplitModel`. Features are what the
        last dense layer takes, or those of the `SplitModel`.
      params: what the model takes first.
      x: inputs, `[batch, ...]`.
      index: record numbers, `[batch]`, by which dropout masks are drawn; None for
        0, 1, 2, ...
      ingredients: what scores may be computed from; extend `INGREDIENTS` with yours.
      given: what scores and ingredients need that is not computed from the batch:
        fitted states (`"knn_state"`), stacked parameters (`"ensemble_params"`).

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

    >>> linear = lambda params, x: x @ params
    >>> out = score_batch(["margin", "logits"], linear, jnp.eye(2), jnp.eye(2))
    >>> print({name: value.shape for name, value in out.items()})
    {'margin': (2,), 'logits': (2, 2)}
    """
    names = tuple(names)
    planned = plan(names, ingredients=ingredients, given=given)
    # One's own ingredient of that name may be anything.
    own_pass = INGREDIENTS["gradient_statistics"]
    differentiated = any(ingredients[name] is own_pass for name in planned)
    if any(ingredients[name] is INGREDIENTS["features"] for name in planned):
        # Then logits are made of the features, and there is no second forward pass.
        model = transforms.split(model, params, x, at="embedding")
    batch = Batch(model, params, x, differentiated, index)
    values = dict(given)
    for name in planned:
        ingredient = ingredients[name]
        values[name] = ingredient.compute(batch, *(values[n] for n in ingredient.needs))
    return {
        name: values[name] if name in ingredients else _score(name, values)
        for name in names
    }


def _score(name: str, values: Mapping[str, Any]) -> jax.Array:
    score = scores.lookup(name)
    return score.fn(*(values[needed] for needed in score.needs))
