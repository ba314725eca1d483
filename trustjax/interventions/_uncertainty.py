r"""How uncertain an answer is over a family of interventions, in two parts.

By the law of total variance, with :math:`S` drawn evenly from the family,

.. math:: V[y] = V[E(y \mid S)] + E(V[y \mid S]).

The first part is what the members disagree on. An explanation for which it is zero
speaks for all of the family; the second part stays, as what each member is unsure of.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from trustjax import _inputs, _validate
from trustjax._meshes import in_auto_axes
from trustjax._numerics import (
    at_least_float32,
    is_predicted,
    log_softmax,
    relative_entropy,
    softmax_entropy,
)
from trustjax.interventions._family import Family, over_members
from trustjax.typing import ApplyFn, Params

KINDS = ("gini", "entropy")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PredictiveUncertainty:
    """An uncertainty and its parts: `total = between + within`.

    Attributes:
      total: of the mean answer, `[batch]`.
      between: what the members disagree on, `[batch]`.
      within: what each of them is unsure of, on average, `[batch]`.
      mean: the mean answer itself, `[batch, classes]`.
      members: how many there were of each example, `[batch]`.
      kind: `"gini"`, in [0, 1 - 1 / classes], or `"entropy"`, in nats, in
        [0, log classes]; static.
    """

    total: Float[Array, " batch"]
    between: Float[Array, " batch"]
    within: Float[Array, " batch"]
    mean: Float[Array, "batch classes"]
    members: Float[Array, " batch"]
    kind: str = dataclasses.field(metadata={"static": True})

    def merge(self, other: "PredictiveUncertainty") -> "PredictiveUncertainty":
        """That of both families together, every member of which counts alike.

        Raises:
          ValueError: if the other is of another kind, or of other examples or classes.
        """
        if self.kind != other.kind:
            raise ValueError(
                f"kinds must be the same, got {self.kind} and {other.kind}"
            )
        _validate.same_shape(mean=self.mean, mean_of_the_other=other.mean)
        members = self.members + other.members
        share, rest = self.members / members, other.members / members
        mean = share[:, None] * self.mean + rest[:, None] * other.mean
        # What the two families disagree on comes to what each does within itself.
        apart = [_apart(self.kind, part.mean, mean) for part in (self, other)]
        return PredictiveUncertainty(
            total=_OF_ONE[self.kind](mean),
            between=share * (self.between + apart[0])
            + rest * (other.between + apart[1]),
            within=share * self.within + rest * other.within,
            mean=mean,
            members=members,
            kind=self.kind,
        )


def predictive_uncertainty(
    probabilities: Float[np.ndarray | Array, "members batch classes"],
    *,
    kind: str = "gini",
) -> PredictiveUncertainty:
    r"""The uncertainty of a prediction over interventions, between and within them.

    .. math::
      \underbrace{1 - \sum_c \bar p_c^2}_{\text{total}}
      = \underbrace{\sum_c \operatorname{Var}_n p_{nc}}_{\text{between}}
      + \underbrace{\tfrac1N \sum_n \big(1 - \sum_c p_{nc}^2\big)}_{\text{within}}

    or, of `kind="entropy"`, :math:`H(\bar p) = \tfrac1N \sum_n \mathrm{KL}(p_n \| \bar
    p) + \tfrac1N \sum_n H(p_n)`, the same split as that of
    `scores.negative_mutual_information`.

    Args:
      probabilities: what the network says under each intervention; each sums to one.
      kind: `"gini"`, the variance of a one-hot answer, or `"entropy"`, in nats.

    Returns:
      `PredictiveUncertainty`; higher = less trust.

    Raises:
      ValueError: if the shape is wrong, there is no member or class, a known
        probability is outside [0, 1], or `kind` is none of these.
      TypeError: if they are not floating point.

    ================================  ==========================
    Edge case                         Value
    ================================  ==========================
    one member                        between = 0
    one class                         all 0
    all members are sure              within = 0
    a class of probability 0          adds nothing
    a NaN in any member               NaN
    ================================  ==========================

    >>> of_two = jnp.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    >>> found = predictive_uncertainty(of_two)
    >>> print(found.total, found.between, found.within)
    [0.5] [0.5] [0.]

    References:
      AlRegib and Prabhushankar 2025 (WACV tutorial), slides 126 to 128, which print the
      left side as V[y|S] and define neither the family nor the variance of a class;
      the variance of a one-hot label is Gini's.
    """
    p = at_least_float32(
        _inputs.floats("probabilities", probabilities, "members batch classes")
    )
    if 0 in (p.shape[0], p.shape[2]):
        raise ValueError(
            "probabilities must have shape [members, batch, classes] with at least one "
            f"member and class, got {p.shape}"
        )
    _validate.probabilities("probabilities", p)
    _validate.choice("kind", kind, KINDS)
    return _of_members(jnp.moveaxis(p, 0, 1), kind)


def predictive_uncertainty_of(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    family: Family,
    *,
    kind: str = "gini",
    microbatch: int | None = None,
) -> PredictiveUncertainty:
    """`predictive_uncertainty` of what a network says of each member of a family.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: what it takes first.
      x: the inputs, `[batch, ...]`.
      family: how they are changed; x itself is no member.
      kind: as in `predictive_uncertainty`.
      microbatch: members at a time: `microbatch * batch` inputs are asked at once,
        which bounds the memory. The result does not depend on it but by rounding. None:
        so many that they have a million numbers.

    Returns:
      `PredictiveUncertainty`; higher = less trust.

    Raises:
      ValueError: if the family is empty or changes the shape of x, `microbatch` is not
        in 1, ..., members, or `kind` is unknown.

    >>> from trustjax.interventions import given
    >>> network = lambda params, x: x * params
    >>> family = given(jnp.array([[[9.0, -9.0]], [[-9.0, 9.0]]]))
    >>> found = predictive_uncertainty_of(network, 9.0, jnp.zeros((1, 2)), family)
    >>> print(found.total, found.between, found.within)
    [0.5] [0.5] [0.]

    References:
      As `predictive_uncertainty`.
    """
    _validate.choice("kind", kind, KINDS)

    def of_logits(logits: jax.Array) -> PredictiveUncertainty:
        return _of_members(jnp.exp(log_softmax(at_least_float32(logits))), kind)

    def of_batch(params: Params, x: jax.Array, family: Family) -> PredictiveUncertainty:
        merge = PredictiveUncertainty.merge
        return over_members(family, params, x, apply_fn, of_logits, merge, microbatch)

    return in_auto_axes(of_batch, params, x, family, batch=x)


def _of_members(p: jax.Array, kind: str) -> PredictiveUncertainty:
    """Of probabilities `[batch, members, classes]`."""
    mean = jnp.mean(p, axis=1)
    return PredictiveUncertainty(
        total=_OF_ONE[kind](mean),
        between=jnp.mean(_apart(kind, p, mean[:, None]), axis=1),
        within=jnp.mean(_OF_ONE[kind](p), axis=1),
        mean=mean,
        members=jnp.full_like(mean[:, 0], p.shape[1]),
        kind=kind,
    )


def _gini(p: jax.Array) -> jax.Array:
    """The chance of two draws to differ; small ones from what is not predicted."""
    predicted = is_predicted(p)
    rest = jnp.sum(p, axis=-1, where=~predicted)
    # 1 - p^2 of the predicted class, of which p is 1 - rest.
    value = rest * (2 - rest) - jnp.sum(p**2, axis=-1, where=~predicted)
    return jnp.where(jnp.isnan(p).any(axis=-1), jnp.nan, value)


def _entropy(p: jax.Array) -> jax.Array:
    return softmax_entropy(_log(p))


def _apart(kind: str, p: jax.Array, mean: jax.Array) -> jax.Array:
    """How far answers lie from their mean, on average how much they disagree."""
    if kind == "gini":
        return jnp.sum((p - mean) ** 2, axis=-1)
    return relative_entropy(_log(p), _log(mean))


def _log(p: jax.Array) -> jax.Array:
    """The logarithm; -inf of 0, with a derivative of 0 there."""
    return jnp.where(p > 0, jnp.log(jnp.where(p > 0, p, 1.0)), -jnp.inf) + 0 * p


_OF_ONE = {"gini": _gini, "entropy": _entropy}
