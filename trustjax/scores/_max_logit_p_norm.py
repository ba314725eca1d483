"""The largest logit over a norm of all of them, the norm chosen by what it is for."""

import dataclasses
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from trustjax import _inputs, _validate
from trustjax._numerics import at_least_float32, in_units_of_largest
from trustjax.ingredients import LOGITS, Ingredient
from trustjax.scores._confidence import log_likelihood, max_softmax
from trustjax.scores._score import Score


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PNormState:
    """Which norm `max_logit_p_norm` divides by.

    Attributes:
      p: its order, 0 for none; or None: the score is max softmax. Static.
    """

    p: int | None = dataclasses.field(metadata={"static": True})


def fit_p_norm(
    logits: Float[np.ndarray | Array, "examples classes"],
    labels: Int[np.ndarray | Array, " examples"],
    *,
    orders: Iterable[int] = range(10),
) -> PNormState:
    r"""Chooses the norm with which right and wrong answers are told apart best.

    By the area under the risk-coverage curve (AURC): the mean, over the scores there
    are, of the share of wrong answers among those that are no lower. Where no norm is
    better than max softmax, that is chosen.

    Args:
      logits: network outputs on examples of known classes. What a network was trained
        on it mostly gets right, and says little about its mistakes: where there are
        other labelled examples, give those.
      labels: the true classes.
      orders: the orders to choose from, none negative; the first of equally good ones.

    Returns:
      The state that `max_logit_p_norm` takes.

    Raises:
      ValueError: if the shapes or lengths disagree, a logit is not finite, a label is
        out of range, or an order is not a whole number.

    >>> logits = np.array([[2.0, 0, 0], [10, 6, 0]])
    >>> fit_p_norm(logits, np.array([0, 1]))
    PNormState(p=1)

    References:
      Cattelan and Silva 2024 (UAI, arXiv:2305.15508). Their p is chosen on
      held-out data.
    """
    orders = tuple(orders)
    for p in orders:
        _validate.count("orders", p, at_least=0)
    z = _inputs.logits(logits)
    y = _inputs.whole_numbers("labels", labels, "examples")
    _validate.known(logits=z, labels=y)
    _validate.some_examples("logits", z)
    _validate.same_length(logits=z, labels=y)
    _validate.finite("logits", z)
    _validate.classes("labels", y, z.shape[1])
    wrong = np.asarray(jnp.argmax(z, axis=-1) != y)
    # Ranks as max softmax, also where float32 rounds that to 1.
    best, chosen = _area(np.asarray(log_likelihood(z)), wrong), None
    for p in orders:
        area = _area(np.asarray(max_logit_p_norm(PNormState(p), z)), wrong)
        if area < best:
            best, chosen = area, p
    return PNormState(chosen)


def max_logit_p_norm(
    state: PNormState, logits: Float[Array, "batch classes"]
) -> Float[Array, " batch"]:
    r"""MaxLogit-pNorm: the largest logit above their mean, over their p-norm.

    .. math:: s(x) = \frac{\max_k z_k - \bar z}{\lVert z - \bar z \rVert_p}

    Networks tend to be surer of themselves the larger their logits are: the norm takes
    that out.

    Args:
      state: what `fit_p_norm` returned, or `PNormState(p)` with a p of your own.
      logits: network outputs before the softmax.

    Returns:
      The score of each example, in [0, 1] for p of 1 and more, in [0, inf) for p = 0
      (divided by nothing), that of `max_softmax` for p = None; higher = more trust.

    Raises:
      ValueError: if `logits` is not `[batch, classes]`.

    =================================  =====
    Edge case                          Value
    =================================  =====
    one class, or equal logits         0
    an infinite logit, or a NaN        NaN
    p = None                           as `max_softmax`, whatever the logits
    =================================  =====

    >>> print(max_logit_p_norm(PNormState(1), jnp.array([[2.0, 0.0, 1.0]])))
    [0.5]

    References:
      Cattelan and Silva 2024 (UAI, arXiv:2305.15508). Their code divides by
      nothing for p = 0, and falls back on max softmax, as is done here.
    """
    if state.p is None:
        return max_softmax(logits)
    z = at_least_float32(_inputs.logits(logits))
    # Below the largest, where near ties keep their digits; in quarters, and then in a
    # unit, in which no difference and no power overflows.
    quarters = z / 4
    behind = quarters - jnp.max(quarters, axis=-1, keepdims=True)
    scaled, unit = in_units_of_largest(behind)
    mean = jnp.mean(scaled, axis=-1, keepdims=True)
    lead = -mean[:, 0]
    if state.p == 0:
        return 4 * lead * unit[:, 0]
    powers = jnp.sum(jnp.abs(scaled - mean) ** state.p, axis=-1)
    flat = powers == 0
    norm = jnp.where(flat, 1.0, powers) ** (1 / state.p)
    return jnp.where(flat, 0.0, lead / norm)


def _area(scores: np.ndarray, wrong: np.ndarray) -> float:
    """The mean over the examples of the risk at their score, as `metrics.aurc` has."""
    _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    risk = np.cumsum(np.bincount(group, wrong)) / np.cumsum(sizes)
    return float(np.average(risk, weights=sizes))


P_NORM_STATE = Ingredient("p_norm_state", fit=fit_p_norm, needs=(LOGITS,))

SCORES = (
    Score(
        max_logit_p_norm,
        needs=(P_NORM_STATE, LOGITS),
        title="MaxLogit-pNorm",
        paper="Cattelan and Silva 2024",
        equation="(max_k z_k - mean z) / |z - mean z|_p",
        provenance="p by AURC on the training set, theirs on held-out data.",
    ),
)
