"""What remains wrong when the network may abstain: risk against coverage."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Shaped

from trustjax import _validate
from trustjax.metrics._ranking import Ranking, rank, share

CONVENTIONS = ("fd_shifts", "confidnet", "torch_uncertainty", "mean")


class RiskCoverage(NamedTuple):
    """The risk-coverage curve, from the most trusted examples to all of them.

    Equal scores are accepted together: every entry of a group of ties, and every entry
    left out by `where`, repeats a point of the curve, which changes neither a plot nor
    an area.

    Attributes:
      coverage: `[n]`, share of the examples accepted, rising to 1.
      risk: `[n]`, share of the accepted examples that are wrong.
      threshold: `[n]`, the score from which on examples are accepted, falling.
    """

    coverage: Float[Array, " n"]
    risk: Float[Array, " n"]
    threshold: Shaped[Array, " n"]


def risk_coverage_curve(
    scores: Shaped[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    where: Bool[Array, " n"] | None = None,
) -> RiskCoverage:
    r"""Selective risk at every coverage that the score can reach.

    .. math:: c(t) = \frac{\#\{s \ge t\}}{n}, \qquad
              r(t) = \frac{\#\{s \ge t, \text{wrong}\}}{\#\{s \ge t\}}

    Args:
      scores: higher = more trust.
      correct: whether the prediction is right: boolean, or 0 and 1.
      where: the examples to keep; all if None.

    Returns:
      The curve, coverage rising; its last risk is the error rate.

    Raises:
      ValueError: if the lengths differ, or a known score is NaN.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    all scores equal                 the one point (1, error rate), repeated
    no example kept                  NaN
    a NaN score                      ValueError; NaN under a transformation
    ===============================  =====

    >>> scores = jnp.array([0.6, 0.9, 0.8, 0.7])
    >>> curve = risk_coverage_curve(scores, jnp.array([1, 1, 1, 0]))
    >>> print(curve.coverage, curve.risk.round(3))
    [0.25 0.5  0.75 1.  ] [0.    0.    0.333 0.25 ]

    References:
      El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017. The points are those of
      FD-Shifts (Jaeger et al. 2023), which appends one at coverage 0.
    """
    return _curve_of(rank(scores, correct, where))


def aurc(
    scores: Shaped[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    convention: str = "fd_shifts",
    where: Bool[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Area under the risk-coverage curve.

    Trapezoids between the points :math:`(c_g, r_g)` that the groups of equal scores
    reach. The conventions differ in how the curve begins and ends:

    - `"fd_shifts"`: from coverage 0, at the risk of the first group, to 1.
    - `"confidnet"`: from the first group to the last but one, the area as it is.
    - `"torch_uncertainty"`: from the first group to 1, over the width covered.
    - `"mean"`: no trapezoids; the mean over the examples of the risk at their score.

    Args:
      scores: higher = more trust.
      correct: whether the prediction is right: boolean, or 0 and 1.
      convention: one of the four above.
      where: the examples to keep; all if None.

    Returns:
      The area, in [0, 1]; lower = better.

    Raises:
      ValueError: if the lengths differ, a known score is NaN or `convention` is
        unknown.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    all right, all wrong             0, 1 (`"confidnet"`: less than 1)
    all scores equal, one example    the error rate; NaN for `"confidnet"` and
                                     `"torch_uncertainty"`, whose curve is one point
    no example kept                  NaN
    a NaN score                      ValueError; NaN under a transformation
    ===============================  =====

    >>> area = aurc(jnp.array([0.6, 0.9, 0.8, 0.7]), jnp.array([1, 1, 1, 0]))
    >>> print(f"{area:.4f}")
    0.1146

    References:
      Geifman et al. 2019; Jaeger et al. 2023 (FD-Shifts, which prints it times 1000);
      Corbiere et al. 2019 (ConfidNet); Lafage et al. 2025 (torch-uncertainty, which
      splits ties in the order of the data).
    """
    _validate.choice("convention", convention, CONVENTIONS)
    return aurc_of(rank(scores, correct, where), convention)


@jax.jit
def _curve_of(ranking: Ranking) -> RiskCoverage:
    everything = ranking.num_examples
    # Every entry takes the counts at the end of its group of ties.
    ends = jnp.where(ranking.last, ranking.accepted, everything)
    accepted = lax.cummin(ends, reverse=True)
    wrong = ranking.errors[accepted - 1]
    return RiskCoverage(
        ranking.if_known(share(accepted, everything)),
        ranking.if_known(share(wrong, accepted)),
        ranking.score,
    )


@functools.partial(jax.jit, static_argnames="convention")
def aurc_of(ranking: Ranking, convention: str = "fd_shifts") -> jax.Array:
    """See `aurc`."""
    risk = share(ranking.errors, ranking.accepted)
    before = share(ranking.errors_before, ranking.accepted_before)
    return _area(ranking, risk, jnp.where(jnp.isnan(before), risk, before), convention)


def _area(
    ranking: Ranking, risk: jax.Array, risk_before: jax.Array, convention: str
) -> jax.Array:
    """Area under the curve of a risk over coverage, by the convention's trapezoids."""
    width = ranking.accepted - ranking.accepted_before
    height = risk if convention == "mean" else (risk + risk_before) / 2
    inside = jnp.ones(width.shape, bool)
    if convention in ("confidnet", "torch_uncertainty"):
        inside &= ranking.accepted_before > 0
    if convention == "confidnet":
        inside &= ranking.accepted < ranking.num_examples
    area = ranking.total(jnp.where(inside, width * height, 0.0))
    covered = jnp.sum(width, where=inside & ranking.last)
    whole = covered if convention == "torch_uncertainty" else ranking.num_examples
    return jnp.where(covered == 0, jnp.nan, share(area, whole))
