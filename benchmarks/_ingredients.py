"""Everything that scores are computed from, each as a function to compile."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trustjax import bridge, data, models, scores, scoring
from trustjax.ingredients import KEY, LOGITS, Ingredient
from trustjax.scores import Score

MEMBERS = 3
"""Networks in an ensemble."""


class Asked(NamedTuple):
    """What is compiled.

    Attributes:
      name: of the ingredient or the score.
      fun: `(params, given, x, index) -> values`.
      given: states, keys and further parameters.
      added_up: whether the values are sums over the batch, which devices must add.
    """

    name: str
    fun: Callable[..., Any]
    given: Mapping[str, Any]
    added_up: bool


def needed() -> dict[str, Ingredient]:
    """Every ingredient of the registered scores, each before those that need it."""
    found: dict[str, Ingredient] = {LOGITS.name: LOGITS}

    def add(needs: tuple[Ingredient, ...]) -> None:
        for need in needs:
            add(need.needs)
            found.setdefault(need.name, need)

    for name in scores.names():
        add(scores.lookup(name).needs)
    return found


def of_network(
    name: str, image_shape: tuple[int, ...], classes: int, dataset: str, split: str
) -> tuple[Any, list[Asked]]:
    """A network's parameters, and all that it can be asked.

    Ingredients that ask the network are rows of their own; so are scores with a fitted
    state, which look it up.

    Args:
      name: of the network.
      image_shape: of its images.
      classes: how many it knows.
      dataset: what states are fitted on, brought to that shape.
      split: of it.
    """
    model = models.create(
        name, num_classes=classes, image_shape=image_shape, rngs=nnx.Rngs(0)
    )
    try:
        stochastic_apply_fn, _ = bridge.stochastic_from_nnx(model)
    except ValueError:  # No layer of it drops anything out.
        stochastic_apply_fn = None
    model.eval()
    apply_fn, params = bridge.from_nnx(model)
    ingredients = needed()
    training = data.convert(data.load(dataset, split), image_shape)
    members = jax.tree.map(lambda leaf: jnp.stack([leaf] * MEMBERS), params)
    given = {KEY.name: jax.random.key(0), "ensemble_params": members}
    stated = [
        scores.lookup(score)
        for score in scores.names()
        if any(need.fit for need in _all_needs(scores.lookup(score)))
    ]
    fitted = scoring.Scorer(stated, apply_fn, params, given=given)
    fitted = fitted.fit(data.batches(training, batch_size=100))

    def row(node: Ingredient | Score) -> Asked:
        names = {need.name for need in _all_needs(node)}
        own = {name: state for name, state in fitted.given.items() if name in names}

        def fun(params: Any, given: Any, x: Any, index: jax.Array) -> Any:
            return scoring.score_batch(
                [node],
                apply_fn,
                params,
                x,
                index=index,
                given=given,
                stochastic_apply_fn=stochastic_apply_fn,
            )

        return Asked(node.name, fun, own, getattr(node, "added_up", False))

    asked = [
        each
        for each in ingredients.values()
        if each.ask
        and not each.of_network
        and (stochastic_apply_fn or not each.stochastic)
    ]
    return params, [row(node) for node in (*asked, *stated)]


def _all_needs(node: Ingredient | Score) -> list[Ingredient]:
    return [each for need in node.needs for each in (*_all_needs(need), need)]


def arguments(
    asked: Asked,
    params: Any,
    shape: tuple[int, ...],
    sharding: Callable[..., Any],
) -> tuple[Any, ...]:
    """The types of what is given to the function of a row.

    Args:
      asked: the row.
      params: of the network.
      shape: of a batch.
      sharding: `jax.sharding.PartitionSpec` entries to a sharding.
    """

    def whole(leaf: Any) -> jax.ShapeDtypeStruct:
        leaf = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding())

    rows = sharding("data")
    return (
        jax.tree.map(whole, params),
        jax.tree.map(whole, dict(asked.given)),
        jax.ShapeDtypeStruct(shape, jnp.float32, sharding=rows),
        jax.ShapeDtypeStruct(shape[:1], jnp.int32, sharding=rows),
    )
