"""Does the score tell right from wrong? Areas and rates; the positives are correct."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Shaped

from trustjax import _inputs, _numerics, _validate
from trustjax.metrics import _weights
from trustjax.metrics._ranking import (
    Ranking,
    as_fraction,
    reaches,
    share,
    strictest_to_reach,
)
from trustjax.metrics._shards import measure


@_inputs.take_arrays
def accuracy(
    predictions: Integer[Array, " n"],
    labels: Integer[Array, " n"],
    *,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Share of the predictions that are right.

    Args:
      predictions: the predicted classes.
      labels: the true classes.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The accuracy, in [0, 1]; NaN where no example is kept.

    Raises:
      ValueError: if the lengths differ.

    >>> print(accuracy(jnp.array([0, 1, 2, 1]), jnp.array([0, 1, 1, 1])))
    0.75
    """
    _validate.labels(predictions=predictions, labels=labels)
    _validate.example_weights(weights, labels=labels)
    counts = _weights.counted(weights, labels.shape[0])
    right = jnp.where(predictions == labels, counts, 0)
    return share(_weights.total(right), _weights.total(counts))


@_inputs.take_arrays
def auroc(
    scores: Shaped[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Area under the ROC curve: the chance that a right answer outranks a wrong one.

    .. math:: P(s_+ > s_-) + \tfrac12 P(s_+ = s_-)

    Args:
      scores: higher = more trust; floats, signed integers or booleans. Infinite scores
        are accepted, unlike NaN: `grad_trust` is infinite for a one-hot softmax.
      correct: whether the prediction is right: boolean, or 0 and 1.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The area, in [0, 1], higher = better; 0.5 for a score that says nothing.

    Raises:
      ValueError: if the lengths differ, or a known score is NaN.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    all right, all wrong, one        NaN
    all scores equal                 0.5
    +inf or -inf                     an ordinary extreme: above or below all others
    a NaN score                      ValueError; NaN under a transformation
    ===============================  =====

    >>> print(auroc(jnp.array([0.9, 0.8, 0.7, 0.6, 0.5]), jnp.array([1, 1, 0, 1, 1])))
    0.5

    References:
      Hendrycks and Gimpel 2017 (arXiv:1610.02136). Equal to scikit-learn's
      `roc_auc_score`; TCP's and the steep slope loss's code set 1 where only one kind
      is present.
    """
    return measure(auroc_of, scores, correct, weights)


@_inputs.take_arrays
def aupr_success(
    scores: Shaped[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Average precision with the right answers as positives.

    .. math:: \sum_g (R_g - R_{g-1}) P_g

    over the groups of equal scores from the highest: recall :math:`R`, precision
    :math:`P` of "trust everything that scores at least as high".

    Args:
      scores: higher = more trust.
      correct: whether the prediction is right: boolean, or 0 and 1.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The area, in [0, 1], higher = better; the accuracy for a score that says nothing.

    Raises:
      ValueError: if the lengths differ, or a known score is NaN.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    all right                        1
    all wrong                        NaN
    all scores equal                 the accuracy
    a NaN score                      ValueError; NaN under a transformation
    ===============================  =====

    >>> scores = jnp.array([0.9, 0.8, 0.7, 0.6])
    >>> print(aupr_success(scores, jnp.array([1, 1, 0, 1])).round(4))
    0.9167

    References:
      Hendrycks and Gimpel 2017 (arXiv:1610.02136). Step-wise as in scikit-learn's
      `average_precision_score`, without the optimistic linear interpolation.
    """
    return measure(aupr_success_of, scores, correct, weights)


@_inputs.take_arrays
def aupr_error(
    scores: Shaped[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Average precision with the errors as positives and the score negated.

    .. math:: \sum_g (R_g - R_{g-1}) P_g

    over the groups of equal scores from the lowest: recall :math:`R`, precision
    :math:`P` of "distrust everything that scores at most as high".

    Args:
      scores: higher = more trust.
      correct: whether the prediction is right: boolean, or 0 and 1.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The area, in [0, 1], higher = better; the error rate for a score that says
      nothing.

    Raises:
      ValueError: if the lengths differ, or a known score is NaN.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    all right                        NaN
    all wrong                        1
    all scores equal                 the error rate
    a NaN score                      ValueError; NaN under a transformation
    ===============================  =====

    >>> print(aupr_error(jnp.array([0.9, 0.8, 0.7, 0.6]), jnp.array([1, 1, 0, 1])))
    0.5

    References:
      Corbiere et al. 2019 (arXiv:1910.04851). The steep slope loss's large-scale code
      ranks the errors by the score as it is, not negated: its Table 1 column is another
      quantity, in which low is good.
    """
    return measure(aupr_error_of, scores, correct, weights)


@_inputs.take_arrays
def fpr_at_tpr(
    scores: Shaped[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    tpr: float = 0.95,
    interpolation: str = "none",
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Share of the errors that are trusted when `tpr` of the right answers are.

    .. math:: \min_t \{ \mathrm{FPR}(t) : \mathrm{TPR}(t) \ge \mathrm{tpr} \}

    Args:
      scores: higher = more trust.
      correct: whether the prediction is right: boolean, or 0 and 1.
      tpr: the share of right answers to keep.
      interpolation: `"none"`, the first threshold that keeps enough; or `"linear"`, on
        the straight line of the ROC curve that leads to it.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The false positive rate, in [0, 1]; lower = better.

    Raises:
      ValueError: if the lengths differ, a known score is NaN, `tpr` is not in [0, 1]
        or `interpolation` is unknown.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    all right or all wrong           NaN
    tpr = 0                          0: nothing need be trusted
    all scores equal, tpr > 0        1 (`"none"`), tpr (`"linear"`)
    a NaN score                      ValueError; NaN under a transformation
    ===============================  =====

    >>> scores = jnp.array([0.9, 0.8, 0.7, 0.6])
    >>> print(fpr_at_tpr(scores, jnp.array([1, 0, 1, 0])))
    0.5

    References:
      Liang et al. 2018 (arXiv:1706.02690). The code of TCP and of the steep slope loss
      scans 10,000 thresholds for a TPR in [.9495, .9505], and reports nothing if there
      is none.
    """
    _validate.fraction("tpr", tpr)
    _validate.choice("interpolation", interpolation, ("none", "linear"))
    options = {"tpr": tpr, "interpolation": interpolation}
    return measure(fpr_at_tpr_of, scores, correct, weights, **options)


@_inputs.take_arrays
def tpr_at_fpr(
    scores: Shaped[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    fpr: float,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Share of the right answers that are trusted while few of the errors are.

    .. math:: \max_t \{ \mathrm{TPR}(t) : \mathrm{FPR}(t) \le \mathrm{fpr} \}

    The number by which an attack on membership is judged, with members in the place of
    right answers: few are found, but those for sure.

    Args:
      scores: higher = more trust.
      correct: whether the prediction is right: boolean, or 0 and 1.
      fpr: the share of errors that may be trusted. With fewer than 1 / fpr errors it
        is none of them.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The true positive rate, in [0, 1]; higher = better, `fpr` for a score that says
      nothing and ties nowhere.

    Raises:
      ValueError: if the lengths differ, a known score is NaN, or `fpr` is not in
        [0, 1].

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    all right or all wrong           NaN
    fpr = 1                          1
    all scores equal, fpr < 1        0
    a NaN score                      ValueError; NaN under a transformation
    ===============================  =====

    >>> scores = jnp.array([0.9, 0.8, 0.7, 0.6])
    >>> print(tpr_at_fpr(scores, jnp.array([1, 0, 1, 0]), fpr=0.01))
    0.5

    References:
      Carlini et al. 2022 (arXiv:2112.03570), section IV; their code takes what lies
      strictly below `fpr`.
    """
    _validate.fraction("fpr", fpr)
    return measure(tpr_at_fpr_of, scores, correct, weights, fpr=fpr)


@jax.jit
def auroc_of(ranking: Ranking) -> jax.Array:
    """See `auroc`: trapezoids between the groups of equal scores."""
    width = ranking.errors - ranking.errors_before
    height = (ranking.successes + ranking.successes_before) / 2
    area = ranking.total(width * height)
    return share(share(area, ranking.num_successes), ranking.num_errors)


@jax.jit
def aupr_success_of(ranking: Ranking) -> jax.Array:
    """See `aupr_success`."""
    gain = ranking.successes - ranking.successes_before
    precision = share(ranking.successes, ranking.accepted)
    return share(ranking.total(gain * precision), ranking.num_successes)


@jax.jit
def aupr_error_of(ranking: Ranking) -> jax.Array:
    """See `aupr_error`: the same groups from the other end."""
    gain = ranking.errors - ranking.errors_before
    errors = ranking.num_errors - ranking.errors_before
    distrusted = ranking.num_examples - ranking.accepted_before
    return share(ranking.total(gain * share(errors, distrusted)), ranking.num_errors)


@functools.partial(jax.jit, static_argnames=("tpr", "interpolation"))
def fpr_at_tpr_of(ranking: Ranking, tpr: float, interpolation: str) -> jax.Array:
    """See `fpr_at_tpr`."""
    rate = share(ranking.successes, ranking.num_successes)
    first = strictest_to_reach(ranking, ranking.successes, ranking.num_successes, tpr)
    errors = ranking.at(first, ranking.errors).astype(rate.dtype)
    if interpolation == "linear":
        before = ranking.at(first, ranking.successes_before)
        before = share(before, ranking.num_successes)
        reached = ranking.at(first, rate)
        along = _numerics.divide_no_nan(tpr - before, reached - before)
        start = ranking.at(first, ranking.errors_before)
        errors = start + along * (errors - start)
    if tpr == 0:  # of the strictest threshold, which trusts nothing
        errors = jnp.zeros_like(errors)
    nothing_right = ranking.num_successes == 0
    value = share(errors, ranking.num_errors)
    return ranking.if_known(jnp.where(nothing_right, jnp.nan, value))


@functools.partial(jax.jit, static_argnames="fpr")
def tpr_at_fpr_of(ranking: Ranking, fpr: float) -> jax.Array:
    """See `tpr_at_fpr`."""
    spared = ranking.num_errors - ranking.errors
    few = reaches(spared, ranking.num_errors, 1 - as_fraction(fpr))
    successes = ranking.largest(ranking.successes, 0, few)
    nothing_wrong = ranking.num_errors == 0
    value = share(successes, ranking.num_successes)
    return ranking.if_known(jnp.where(nothing_wrong, jnp.nan, value))
