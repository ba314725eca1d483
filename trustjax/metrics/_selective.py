"""What remains wrong when the network may abstain: risk against coverage."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from trustjax import _inputs, _validate
from trustjax.metrics._ranking import (
    Ranking,
    as_fraction,
    rank,
    reaches,
    share,
    strictest_to_reach,
)
from trustjax.metrics._shards import measure

CONVENTIONS = ("fd_shifts", "confidnet", "torch_uncertainty", "mean")


class RiskCoverage(NamedTuple):
    """The risk-coverage curve, from the most trusted examples to all of them.

    Equal scores are accepted together: every entry of a group of ties, and every entry
    of weight 0, repeats a point of the curve, which changes neither a plot nor
    an area.

    Attributes:
      coverage: `[n]`, share of the examples accepted, rising to 1.
      risk: `[n]`, share of the accepted examples that are wrong.
      threshold: `[n]`, the score from which on examples are accepted, falling.
    """

    coverage: Float[Array, " n"]
    risk: Float[Array, " n"]
    threshold: Shaped[Array, " n"]


@_inputs.take_arrays
def risk_coverage_curve(
    scores: Shaped[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    weights: Shaped[Array, " n"] | None = None,
) -> RiskCoverage:
    r"""Selective risk at every coverage that the score can reach.

    .. math:: c(t) = \frac{\#\{s \ge t\}}{n}, \qquad
              r(t) = \frac{\#\{s \ge t, \text{wrong}\}}{\#\{s \ge t\}}

    Args:
      scores: higher = more trust.
      correct: whether the prediction is right: boolean, or 0 and 1.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

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
      El-Yaniv and Wiener 2010 (JMLR 11); Geifman and El-Yaniv 2017 (arXiv:1705.08500).
      The points are those of FD-Shifts (Jaeger et al. 2023, arXiv:2211.15259), which
      appends one at coverage 0.
    """
    return _curve_of(rank(scores, correct, weights))


@_inputs.take_arrays
def aurc(
    scores: Shaped[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    convention: str = "fd_shifts",
    weights: Shaped[Array, " n"] | None = None,
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
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

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
      Geifman et al. 2019 (arXiv:1805.08206); Jaeger et al. 2023 (arXiv:2211.15259,
      FD-Shifts, which prints it times 1000); Corbiere et al. 2019 (ConfidNet,
      arXiv:1910.04851); Lafage et al. 2025 (arXiv:2511.10282, torch-uncertainty, which
      splits ties in the order of the data).
    """
    _validate.choice("convention", convention, CONVENTIONS)
    return measure(aurc_of, scores, correct, weights, convention=convention)


@_inputs.take_arrays
def excess_aurc(
    scores: Shaped[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    convention: str = "fd_shifts",
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""AURC above that of a perfect score for the same error rate.

    .. math:: \mathrm{AURC} - \bigl( e + (1 - e) \ln(1 - e) \bigr)

    for the error rate :math:`e`: the area that is the score's own fault.

    Args:
      scores: higher = more trust.
      correct: whether the prediction is right: boolean, or 0 and 1.
      convention: see `aurc`.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The excess; lower = better. The optimum is that of infinitely many examples: with
      few, or with ties, a perfect score can be slightly below 0.

    Raises:
      ValueError: as `aurc`.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    all right or all wrong           0 (`"confidnet"`, all wrong: below 0)
    a NaN score                      ValueError; NaN under a transformation
    ===============================  =====

    >>> excess = excess_aurc(jnp.array([0.6, 0.9, 0.8, 0.7]), jnp.array([1, 1, 1, 0]))
    >>> print(f"{excess:.4f}")
    0.0803

    References:
      Geifman et al. 2019 (arXiv:1805.08206); Jaeger et al. 2023 (arXiv:2211.15259). The
      steep slope loss's small-scale code prints the AURC itself under this name.
    """
    _validate.choice("convention", convention, CONVENTIONS)
    return measure(excess_aurc_of, scores, correct, weights, convention=convention)


@_inputs.take_arrays
def augrc(
    scores: Shaped[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    convention: str = "fd_shifts",
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Area under the generalised-risk-coverage curve.

    .. math:: \int_0^1 \frac{\#\{s \ge t(c), \text{wrong}\}}{n} \, dc

    The generalised risk is the chance that a prediction is accepted and wrong. Unlike
    the selective risk it does not weight the errors among the most trusted few far
    above the others.

    Args:
      scores: higher = more trust.
      correct: whether the prediction is right: boolean, or 0 and 1.
      convention: see `aurc`; `"fd_shifts"` starts at risk 0, coverage 0.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The area, in [0, 1/2] for `"fd_shifts"`; lower = better.

    Raises:
      ValueError: as `aurc`.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    all right, all wrong             0, 1/2
    all scores equal                 half the error rate
    a NaN score                      ValueError; NaN under a transformation
    ===============================  =====

    >>> print(augrc(jnp.array([0.6, 0.9, 0.8, 0.7]), jnp.array([1, 1, 1, 0])))
    0.09375

    References:
      Traub et al. 2024 (arXiv:2407.01032).
    """
    _validate.choice("convention", convention, CONVENTIONS)
    return measure(augrc_of, scores, correct, weights, convention=convention)


@_inputs.take_arrays
def coverage_at_risk(
    scores: Shaped[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    risk: float,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Largest coverage whose selective risk is at most `risk`.

    Args:
      scores: higher = more trust.
      correct: whether the prediction is right: boolean, or 0 and 1.
      risk: the share of errors that is tolerated among the accepted.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The coverage, in [0, 1], higher = better; 0 if no threshold has so low a risk.

    Raises:
      ValueError: if the lengths differ, a known score is NaN or `risk` is not in
        [0, 1].

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    all right                        1
    all wrong, risk < 1              0
    no example kept                  NaN
    a NaN score                      ValueError; NaN under a transformation
    ===============================  =====

    >>> scores = jnp.array([0.6, 0.9, 0.8, 0.7])
    >>> print(coverage_at_risk(scores, jnp.array([1, 1, 0, 1]), risk=0.25))
    1.0

    References:
      Geifman and El-Yaniv 2017 (arXiv:1705.08500). No promise beyond these examples:
      see `selection_with_guaranteed_risk`.
    """
    _validate.fraction("risk", risk)
    return measure(coverage_at_risk_of, scores, correct, weights, risk=risk)


@_inputs.take_arrays
def risk_at_coverage(
    scores: Shaped[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    coverage: float,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Selective risk of the first threshold that accepts at least `coverage`.

    Args:
      scores: higher = more trust.
      correct: whether the prediction is right: boolean, or 0 and 1.
      coverage: the share of the examples to accept at least.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The risk, in [0, 1]; lower = better.

    Raises:
      ValueError: if the lengths differ, a known score is NaN or `coverage` is not in
        [0, 1].

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    coverage 0                       the risk of the most trusted group
    all scores equal                 the error rate
    no example kept                  NaN
    a NaN score                      ValueError; NaN under a transformation
    ===============================  =====

    >>> scores = jnp.array([0.6, 0.9, 0.8, 0.7])
    >>> print(risk_at_coverage(scores, jnp.array([1, 1, 0, 1]), coverage=0.5))
    0.5

    References:
      Geifman and El-Yaniv 2017 (arXiv:1705.08500).
    """
    _validate.fraction("coverage", coverage)
    return measure(risk_at_coverage_of, scores, correct, weights, coverage=coverage)


@jax.jit
def _curve_of(ranking: Ranking) -> RiskCoverage:
    # Every entry takes the counts at the end of its group of ties.
    end = ranking.end
    accepted = ranking.accepted[end]
    return RiskCoverage(
        ranking.if_known(share(accepted, ranking.num_examples)),
        ranking.if_known(share(ranking.errors[end], accepted)),
        ranking.score[end],
    )


@functools.partial(jax.jit, static_argnames="convention")
def aurc_of(ranking: Ranking, convention: str = "fd_shifts") -> jax.Array:
    """See `aurc`."""
    risk = share(ranking.errors, ranking.accepted)
    before = share(ranking.errors_before, ranking.accepted_before)
    return _area(ranking, risk, jnp.where(jnp.isnan(before), risk, before), convention)


@functools.partial(jax.jit, static_argnames="convention")
def excess_aurc_of(ranking: Ranking, convention: str = "fd_shifts") -> jax.Array:
    """See `excess_aurc`."""
    error = share(ranking.num_errors, ranking.num_examples)
    optimum = error + jax.scipy.special.xlog1py(1 - error, -error)
    return aurc_of(ranking, convention) - optimum


@functools.partial(jax.jit, static_argnames="convention")
def augrc_of(ranking: Ranking, convention: str = "fd_shifts") -> jax.Array:
    """See `augrc`."""
    risk = share(ranking.errors, ranking.num_examples)
    before = share(ranking.errors_before, ranking.num_examples)
    return _area(ranking, risk, before, convention)


@functools.partial(jax.jit, static_argnames="risk")
def coverage_at_risk_of(ranking: Ranking, risk: float) -> jax.Array:
    """See `coverage_at_risk`."""
    safe = reaches(ranking.successes, ranking.accepted, 1 - as_fraction(risk))
    accepted = ranking.largest(ranking.accepted, 0, safe)
    return ranking.if_known(share(accepted, ranking.num_examples))


@functools.partial(jax.jit, static_argnames="coverage")
def risk_at_coverage_of(ranking: Ranking, coverage: float) -> jax.Array:
    """See `risk_at_coverage`."""
    first = strictest_to_reach(
        ranking, ranking.accepted, ranking.num_examples, coverage
    )
    errors, accepted = (
        ranking.at(first, counts) for counts in (ranking.errors, ranking.accepted)
    )
    return ranking.if_known(share(errors, accepted))


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
    covered = ranking.count(width, inside)
    whole = covered if convention == "torch_uncertainty" else ranking.num_examples
    return jnp.where(covered == 0, jnp.nan, share(area, whole))
