r"""Which records of a pool to ask a label for: active learning by scores and features.

Entropy, least confidence, margin and mutual information (BALD) are scores of trust with
the sign reversed: what is trusted least is asked first. BADGE looks for records whose
gradients are large and differ from each other.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from trustjax import _inputs, _validate, targets
from trustjax._meshes import in_auto_axes
from trustjax.introspection._algebra import of_one_target, squared_distances
from trustjax.introspection._features import Features, features


def initial_pool(
    labels: Int[Array, " pool"], size: int, *, num_classes: int, key: jax.Array
) -> Int[Array, " {size}"]:
    """The records that active learning starts from: at random, with every class.

    One record is drawn of each class, and the rest of all that are left, alike.

    Args:
      labels: the classes of the pool.
      size: how many records, at least one for each class.
      num_classes: how many classes the network is to tell apart.
      key: of the draws.

    Returns:
      The numbers of the records, each once.

    Raises:
      ValueError: if the size is less than the classes or more than the pool; if a label
        is none of the classes; if a class has no record in the pool, naming it.

    =====================================  =======================================
    Edge case                              Value
    =====================================  =======================================
    under `jit`, a class without a record  drawn without that class
    =====================================  =======================================

    >>> labels = jnp.array([0, 0, 0, 0, 0, 0, 1])
    >>> chosen = initial_pool(labels, 3, num_classes=2, key=jax.random.key(0))
    >>> sorted(labels[chosen].tolist())
    [0, 0, 1]
    """
    _validate.count("num_classes", num_classes)
    labels = _inputs.array("labels", labels)
    _validate.labels(labels=labels)
    _validate.classes("labels", labels, num_classes)
    _validate.count("size", size, at_least=num_classes, at_most=len(labels))
    of_class = labels[None] == jnp.arange(num_classes)[:, None]
    has_any = of_class.any(axis=1)
    if _validate.is_known(has_any) and not has_any.all():
        raise ValueError(
            f"every class needs a record in the pool, class {int(has_any.argmin())} of "
            f"{num_classes} has none"
        )

    def drawn(of_class: jax.Array, key: jax.Array) -> jax.Array:
        order = jax.random.permutation(key, of_class.shape[1])
        ordered = of_class[:, order]
        # Of each class the first in this order.
        for_its_class = ordered & (jnp.cumsum(ordered, axis=1) == 1)
        return order[jnp.argsort(~for_its_class.any(axis=0))][:size]

    return in_auto_axes(drawn, of_class, key, batch=())


def least_trusted(
    scores: Float[Array, " pool"],
    budget: int,
    *,
    available: Bool[Array, " pool"] | None = None,
) -> Int[Array, " {budget}"]:
    """The records that a score trusts least, the least first.

    Args:
      scores: of trust, higher = more, as all of `trustjax.scores`: `negative_entropy`,
        `max_softmax` (least confidence), `margin`, or `mc_dropout_mutual_information`
        (BALD).
      budget: how many.
      available: False for records that have their label already; None for none of them.

    Returns:
      The numbers of the records, each once.

    Raises:
      ValueError: if the budget is larger than what is known to be available.

    ==================  ==================================================
    Edge case           Value
    ==================  ==================================================
    equal scores        the first of them first
    a NaN               never before a number
    ==================  ==================================================

    >>> print(least_trusted(jnp.array([0.9, 0.2, 0.5, 0.1]), 2))
    [3 1]
    """
    trust = _inputs.floats("scores", scores, "pool")
    there = _available(budget, len(trust), available)
    # Stable, with what is not there behind what is not known, behind what is.
    unknown = jnp.isnan(trust)
    order = jnp.lexsort((jnp.where(unknown, 0, trust), unknown, ~there))
    return order[:budget]


def badge(
    logits: Float[Array, "pool classes"],
    embedding: Float[Array, "pool width"],
    budget: int,
    *,
    key: jax.Array,
    available: Bool[Array, " pool"] | None = None,
) -> Int[Array, " {budget}"]:
    r"""BADGE: k-means++ on the gradients towards the predicted class.

    The gradients of the last layer, :math:`r_i = (p_i - e_{\hat y_i}) h_i^\top`, are
    large where a prediction is unsure. The first record is that of the largest; each
    other is drawn with the chance :math:`\propto \min_j \| r_i - r_j \|_2^2`, over the
    records j that are chosen.

    Args:
      logits: of the pool.
      embedding: what the last layer takes.
      budget: how many.
      key: of the draws.
      available: as in `least_trusted`.

    Returns:
      The numbers of the records, each once, in the order of the draws. Distances are
      those of the factors, and take pool x (classes + width) products a draw.

    Raises:
      ValueError: if the budget is larger than what is known to be available, or as
        `features`.

    ==============================  ===========================================
    Edge case                       Value
    ==============================  ===========================================
    all that is left lies on what   drawn from all that is left alike
    is chosen
    ==============================  ===========================================

    >>> logits = jnp.array([[9.0, 0.0], [0.1, 0.0], [0.0, 0.1], [9.0, 0.0]])
    >>> chosen = badge(logits, jnp.ones((4, 1)), 2, key=jax.random.key(0))
    >>> sorted(chosen.tolist())
    [1, 2]

    References:
      Ash et al. 2020 (BADGE, arXiv:1906.03671), algorithm 1. The first record is, as in
      the authors' code, the one of the largest gradient, where k-means++ draws it.
    """
    predicted = targets.predicted_class(logits)
    found = features(logits, embedding, loss="cross_entropy", target=predicted)
    there = _available(budget, len(predicted), available)
    drawn = functools.partial(_plus_plus, budget)
    return in_auto_axes(drawn, found, there, key, batch=())


def _plus_plus(
    budget: int, found: Features, available: jax.Array, key: jax.Array
) -> jax.Array:
    found = of_one_target("features", found)

    def to(record: jax.Array) -> jax.Array:
        center = jax.tree.map(lambda factor: factor[record][None], found)
        return squared_distances(found, center)[:, 0]

    origin = jax.tree.map(lambda factor: jnp.zeros_like(factor[:1]), found)
    sizes = squared_distances(found, origin)[:, 0]
    first = jnp.argmax(jnp.where(available, sizes, -1))

    def draw(state: tuple[jax.Array, jax.Array], key: jax.Array):
        nearest, left = state
        weights = jnp.where(left, nearest, 0)
        by_distance = jnp.log(weights)
        alike = jnp.where(left, 0.0, -jnp.inf)
        chances = jnp.where(jnp.sum(weights) > 0, by_distance, alike)
        record = jax.random.categorical(key, chances)
        nearest = jnp.minimum(nearest, to(record))
        return (nearest, left.at[record].set(False)), record

    start = (to(first), available.at[first].set(False))
    _, others = jax.lax.scan(draw, start, jax.random.split(key, budget)[1:])
    return jnp.concatenate([first[None], others])


def _available(budget: int, pool: int, available: jax.Array | None) -> jax.Array:
    """What can be chosen, enough of it."""
    _validate.count("budget", budget, at_most=pool)
    if available is None:
        return jnp.ones(pool, bool)
    there = _inputs.array("available", available)
    if there.shape != (pool,) or there.dtype != bool:
        raise ValueError(
            f"available must be {pool} booleans, got {there.dtype} of {there.shape}"
        )
    if _validate.is_known(there) and budget > (left := int(there.sum())):
        raise ValueError(f"budget must be at most the {left} available, got {budget}")
    return there
