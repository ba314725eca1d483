"""Rates at a threshold, and the threshold to take."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from trustjax import _inputs, _validate
from trustjax.metrics import _weights
from trustjax.metrics._ranking import Ranking, share, strictest_to_reach
from trustjax.metrics._shards import measure


class Rates(NamedTuple):
    """Rates at given thresholds, both `[]`, NaN where there is nothing to count.

    Attributes:
      tpr: share of the right answers that are trusted.
      tnr: share of the wrong answers that are distrusted.
    """

    tpr: Float[Array, ""]
    tnr: Float[Array, ""]


class BalancedThreshold(NamedTuple):
    """The threshold that separates best if right and wrong were equally many.

    Attributes:
      threshold: `[]`, trust scores from here on.
      balanced_accuracy: `[]`, the mean of TPR and TNR there, in [1/2, 1].
    """

    threshold: Shaped[Array, ""]
    balanced_accuracy: Float[Array, ""]


@_inputs.take_arrays
def tpr_tnr(
    scores: Shaped[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    positive_threshold: float = 0.5,
    negative_threshold: float | None = None,
    weights: Shaped[Array, " n"] | None = None,
) -> Rates:
    r"""Shares of right answers trusted and of wrong answers distrusted.

    .. math:: \mathrm{TPR} = P(s > t_+ \mid \text{right}), \qquad
              \mathrm{TNR} = P(s < t_- \mid \text{wrong})

    Args:
      scores: higher = more trust.
      correct: whether the prediction is right: boolean, or 0 and 1.
      positive_threshold: :math:`t_+`; higher scores are trusted.
      negative_threshold: :math:`t_-`; lower scores are distrusted. `positive_threshold`
        if None; 1 / classes for the true class probability, below which no predicted
        class can be. What lies between the thresholds counts as neither.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      Both rates, in [0, 1]; higher = better.

    Raises:
      ValueError: if the lengths differ or a known score is NaN.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    all right, all wrong             NaN for the TNR, for the TPR
    a score on a threshold           neither trusted nor distrusted
    a NaN score                      ValueError; NaN under a transformation
    ===============================  =====

    >>> rates = tpr_tnr(jnp.array([0.9, 0.4, 0.6, 0.2]), jnp.array([1, 1, 0, 0]))
    >>> print(rates.tpr, rates.tnr)
    0.5 0.5

    References:
      Luo et al. 2021 (arXiv:2110.00054), section 4 and `compute_performance`; Corbiere
      et al. 2019 (arXiv:1910.04851) trust scores on the threshold, too.
    """
    _validate.scores_and_outcomes(scores, correct, weights)
    counts = _weights.counted(weights, scores.shape[0])
    lower = positive_threshold if negative_threshold is None else negative_threshold
    right = jnp.where(correct != 0, counts, 0)
    wrong = jnp.where(correct == 0, counts, 0)
    refused = jnp.where(jnp.any((counts > 0) & jnp.isnan(scores)), jnp.nan, 0.0)

    def share_of(counts: jax.Array, passed: jax.Array) -> jax.Array:
        among = _weights.total(jnp.where(passed, counts, 0))
        return share(among, _weights.total(counts)) + refused

    return Rates(
        share_of(right, scores > positive_threshold), share_of(wrong, scores < lower)
    )


@_inputs.take_arrays
def detection_error(
    scores: Shaped[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    tpr: float | None = None,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Chance of a wrong verdict if right and wrong answers were equally many.

    .. math:: \tfrac12 (1 - \mathrm{TPR}(t)) + \tfrac12 \mathrm{FPR}(t)

    Args:
      scores: higher = more trust.
      correct: whether the prediction is right: boolean, or 0 and 1.
      tpr: takes the strictest threshold that keeps this share of the right answers; the
        best threshold of all if None.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The error, in [0, 1/2] at the best threshold, in [0, 1] otherwise; lower =
      better.

    Raises:
      ValueError: if the lengths differ, a known score is NaN or `tpr` is not in [0, 1].

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    all right or all wrong           NaN
    all scores equal, tpr = 0        1/2
    a NaN score                      ValueError; NaN under a transformation
    ===============================  =====

    >>> print(detection_error(jnp.array([0.9, 0.4, 0.6, 0.2]), jnp.array([1, 1, 0, 0])))
    0.25

    References:
      Liang et al. 2018 (ODIN, arXiv:1706.02690), at a TPR of 95 %; Lee et al. 2018
      (arXiv:1807.03888), at its best.
    """
    if tpr is not None:
        _validate.fraction("tpr", tpr)
    return measure(detection_error_of, scores, correct, weights, tpr=tpr)


@_inputs.take_arrays
def balanced_threshold(
    scores: Shaped[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    weights: Shaped[Array, " n"] | None = None,
) -> BalancedThreshold:
    r"""The threshold with the highest classification rate for balanced data.

    .. math:: \hat t = \arg\max_t \; \tfrac12 P(s \ge t \mid \text{right})
              + \tfrac12 P(s < t \mid \text{wrong})

    Args:
      scores: higher = more trust.
      correct: whether the prediction is right: boolean, or 0 and 1.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The threshold, one of the scores, and the rate that it reaches here.

    Raises:
      ValueError: if the lengths differ or a known score is NaN.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    several thresholds equally good  the highest of them
    all right or all wrong           NaN balanced accuracy, the highest score
    all scores equal                 that score, 1/2
    a NaN score                      ValueError; NaN under a transformation
    ===============================  =====

    >>> scores, correct = jnp.array([0.75, 0.25, 0.5, 0.0]), jnp.array([1, 1, 0, 0])
    >>> best = balanced_threshold(scores, correct)
    >>> print(best.threshold, best.balanced_accuracy)
    0.75 0.75

    References:
      Oberdiek et al. 2018 (arXiv:1805.08440), eq. 7, for an uncertainty: its sign and
      order reversed.
    """
    return measure(_balanced_threshold_of, scores, correct, weights)


@functools.partial(jax.jit, static_argnames="tpr")
def detection_error_of(ranking: Ranking, tpr: float | None = None) -> jax.Array:
    """See `detection_error`."""
    accuracy = _balanced_accuracy(ranking)
    if tpr is None:
        return 1 - ranking.largest(accuracy, 0.0)
    if tpr == 0:  # of the strictest threshold, which trusts nothing
        return ranking.if_known(jnp.where(jnp.isnan(accuracy[0]), jnp.nan, 0.5))
    first = strictest_to_reach(ranking, ranking.successes, ranking.num_successes, tpr)
    return 1 - ranking.at(first, accuracy)


@jax.jit
def _balanced_threshold_of(ranking: Ranking) -> BalancedThreshold:
    accuracy = _balanced_accuracy(ranking)
    best = ranking.best(accuracy)
    threshold = ranking.at(best, ranking.score).astype(accuracy.dtype)
    return BalancedThreshold(ranking.if_known(threshold), ranking.at(best, accuracy))


def _balanced_accuracy(ranking: Ranking) -> jax.Array:
    """Mean of TPR and TNR at every threshold; NaN if a score is NaN."""
    tpr = share(ranking.successes, ranking.num_successes)
    fpr = share(ranking.errors, ranking.num_errors)
    return ranking.if_known((tpr + 1 - fpr) / 2)
