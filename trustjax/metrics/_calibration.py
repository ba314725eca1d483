"""Does confidence mean what it says? Calibration errors over bins of confidence."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Integer, Shaped

from trustjax import _numerics, _validate


class ReliabilityCurve(NamedTuple):
    """Confidence against accuracy in bins of equal width `(i / bins, (i + 1) / bins]`.

    Attributes:
      confidence: `[bins]`, mean confidence; NaN where a bin is empty.
      accuracy: `[bins]`, share of right answers; NaN where a bin is empty.
      count: `[bins]`, how many examples.
      edges: `[bins + 1]`, the limits of the bins.
    """

    confidence: Float[Array, " bins"]
    accuracy: Float[Array, " bins"]
    count: Integer[Array, " bins"]
    edges: Float[Array, " edges"]


def reliability_curve(
    confidence: Float[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    bins: int = 15,
    where: Bool[Array, " n"] | None = None,
) -> ReliabilityCurve:
    r"""Mean confidence and accuracy in bins of confidence.

    Args:
      confidence: probability of the given answer.
      correct: whether the answer is right: boolean, or 0 and 1.
      bins: number of bins of equal width; a value on an edge is in the lower bin, 0 in
        the first.
      where: the examples to keep; all if None.

    Returns:
      The curve; calibrated confidence lies on the diagonal.

    Raises:
      ValueError: if the lengths differ, a known confidence is outside [0, 1], or
        `bins` is not a positive integer.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    an empty bin                     NaN, count 0
    confidence outside [0, 1], NaN   ValueError; all NaN under a transformation
    ===============================  =====

    >>> confidence = jnp.array([1.0, 0.75, 0.25, 0.75])
    >>> curve = reliability_curve(confidence, jnp.array([1, 0, 0, 1]), bins=2)
    >>> print(curve.accuracy, curve.count)
    [0.        0.6666667] [1 3]

    References:
      DeGroot and Fienberg 1983; Guo et al. 2017.
    """
    return curve_of_totals(*bin_totals(confidence, correct, bins, where))


def expected_calibration_error(
    confidence: Float[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    bins: int = 15,
    norm: float = 1.0,
    where: Bool[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""How far confidence is from accuracy, over bins weighted by their examples.

    .. math:: \left( \sum_b \frac{n_b}{n}
              |\mathrm{conf}_b - \mathrm{acc}_b|^p \right)^{1/p}

    Args:
      confidence: probability of the given answer.
      correct: whether the answer is right: boolean, or 0 and 1.
      bins: number of bins of equal width; a value on an edge is in the lower bin.
      norm: the exponent :math:`p`; 2 gives the root mean square calibration error.
      where: the examples to keep; all if None.

    Returns:
      The error, in [0, 1]; lower = better. Its gradient moves the confidences within
      their bins.

    Raises:
      ValueError: if the lengths differ, a known confidence is outside [0, 1], or
        `bins` or `norm` is not positive.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    an empty bin                     adds nothing
    no example kept                  NaN
    confidence outside [0, 1], NaN   ValueError; NaN under a transformation
    ===============================  =====

    >>> confidence = jnp.array([1.0, 0.75, 0.25, 0.75])
    >>> correct = jnp.array([1, 0, 0, 1])
    >>> print(f"{expected_calibration_error(confidence, correct, bins=2):.4f}")
    0.1875

    References:
      Naeini et al. 2015; Guo et al. 2017, eq. 3.
    """
    _validate.positive("norm", norm)
    return weighted_error(*bin_totals(confidence, correct, bins, where), norm=norm)


def maximum_calibration_error(
    confidence: Float[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    bins: int = 15,
    where: Bool[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""The widest gap between confidence and accuracy in any bin.

    .. math:: \max_b |\mathrm{conf}_b - \mathrm{acc}_b|

    Args:
      confidence: probability of the given answer.
      correct: whether the answer is right: boolean, or 0 and 1.
      bins: number of bins of equal width; a value on an edge is in the lower bin.
      where: the examples to keep; all if None.

    Returns:
      The error, in [0, 1]; lower = better.

    Raises:
      ValueError: as `expected_calibration_error`.

    The edge cases are those of `expected_calibration_error`.

    >>> confidence = jnp.array([1.0, 0.75, 0.25, 0.75])
    >>> correct = jnp.array([1, 0, 0, 1])
    >>> print(f"{maximum_calibration_error(confidence, correct, bins=2):.4f}")
    0.2500

    References:
      Naeini et al. 2015.
    """
    gap, count = _bin_gaps(confidence, correct, bins, where)
    return jnp.where(jnp.sum(count) == 0, jnp.nan, jnp.max(gap))


def average_calibration_error(
    confidence: Float[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    bins: int = 15,
    where: Bool[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Mean gap between confidence and accuracy over the bins that are not empty.

    Every such bin counts alike, however few examples it has.

    Args:
      confidence: probability of the given answer.
      correct: whether the answer is right: boolean, or 0 and 1.
      bins: number of bins of equal width; a value on an edge is in the lower bin.
      where: the examples to keep; all if None.

    Returns:
      The error, in [0, 1]; lower = better.

    Raises:
      ValueError: as `expected_calibration_error`.

    The edge cases are those of `expected_calibration_error`.

    >>> confidence = jnp.array([1.0, 0.75, 0.25, 0.75])
    >>> correct = jnp.array([1, 0, 0, 1])
    >>> print(f"{average_calibration_error(confidence, correct, bins=2):.4f}")
    0.2083

    References:
      Neumann et al. 2018; "ACE" in netcal.
    """
    gap, count = _bin_gaps(confidence, correct, bins, where)
    return _numerics.divide_no_nan(jnp.sum(gap), jnp.sum(count > 0), otherwise=jnp.nan)


def adaptive_calibration_error(
    confidence: Float[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    bins: int = 15,
    where: Bool[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""The calibration error over bins that hold equally many examples.

    The upper edges are the order statistics :math:`c_{(\lceil b n / B \rceil)}`; equal
    confidences share a bin, which is why the bins are weighted by their examples.

    Args:
      confidence: probability of the given answer.
      correct: whether the answer is right: boolean, or 0 and 1.
      bins: number :math:`B` of bins.
      where: the examples to keep; all if None.

    Returns:
      The error, in [0, 1]; lower = better.

    Raises:
      ValueError: as `expected_calibration_error`.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    all confidences equal            one bin: |confidence - accuracy|
    fewer examples than bins         one bin for each distinct confidence
    no example kept                  NaN
    confidence outside [0, 1], NaN   ValueError; NaN under a transformation
    ===============================  =====

    >>> confidence = jnp.array([1.0, 0.75, 0.25, 0.75])
    >>> correct = jnp.array([1, 0, 0, 1])
    >>> print(f"{adaptive_calibration_error(confidence, correct, bins=4):.4f}")
    0.1875

    References:
      Nguyen and O'Connor 2015; Nixon et al. 2019, for the predicted class.
    """
    _check(confidence, correct, bins, where)
    kept = jnp.ones(confidence.shape, bool) if where is None else where
    largest = jnp.where(kept, lax.stop_gradient(confidence), jnp.inf)
    rising = jnp.sort(_numerics.at_least_float32(largest))
    count = jnp.sum(kept)
    inner = jnp.arange(1, bins)
    upper = inner * (count // bins) + (inner * (count % bins) + bins - 1) // bins
    edges = rising[jnp.maximum(upper - 1, 0)]
    return weighted_error(*_totals_between(edges, confidence, correct, where), norm=1)


def classwise_calibration_error(
    probabilities: Float[Array, "n classes"],
    labels: Integer[Array, " n"],
    *,
    bins: int = 15,
    where: Bool[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""The calibration error of every class's probability, averaged over the classes.

    .. math:: \frac1K \sum_k \sum_b \frac{n_{bk}}{n}
              |\mathrm{conf}_{bk} - \mathrm{freq}_{bk}|

    Args:
      probabilities: of every class.
      labels: the true classes.
      bins: number of bins of equal width; a value on an edge is in the lower bin.
      where: the examples to keep; all if None.

    Returns:
      The error, in [0, 1]; lower = better.

    Raises:
      ValueError: if the lengths differ, a known probability is outside [0, 1] or a
        known label is not a class.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    a class without examples         counts with its mean probability
    no example kept                  NaN
    a label outside the classes      ValueError; NaN under a transformation
    probability outside [0, 1], NaN  ValueError; NaN under a transformation
    ===============================  =====

    >>> probabilities = jnp.array([[0.75, 0.25], [0.5, 0.5]])
    >>> error = classwise_calibration_error(probabilities, jnp.array([0, 1]), bins=2)
    >>> print(f"{error:.4f}")
    0.2500

    References:
      Kull et al. 2019, eq. 4; the static calibration error of Nixon et al. 2019.
    """
    _validate.probabilities_and_labels(probabilities, labels, where)
    classes = probabilities.shape[1]
    occurs = labels[:, None] == jnp.arange(classes)[None, :]
    errors = jax.vmap(
        lambda probability, happened: expected_calibration_error(
            probability, happened, bins=bins, where=where
        ),
        in_axes=1,
    )(probabilities, occurs)
    kept = jnp.ones(labels.shape, bool) if where is None else where
    lost = jnp.any(kept & ((labels < 0) | (labels >= classes)))
    return jnp.where(lost, jnp.nan, jnp.mean(errors))


def _check(
    confidence: jax.Array, correct: jax.Array, bins: int, where: jax.Array | None
) -> None:
    _validate.same_length(confidence=confidence, correct=correct)
    _validate.some_examples("confidence", confidence)
    _validate.floating("confidence", confidence)
    _validate.count("bins", bins)
    _validate.probabilities("confidence", confidence, where)
    _validate.binary("correct", correct, where)


def bin_totals(
    confidence: jax.Array, correct: jax.Array, bins: int, where: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Summed confidence, summed successes and number of examples in equal bins."""
    _check(confidence, correct, bins, where)
    return _totals_between(jnp.arange(1, bins) / bins, confidence, correct, where)


@jax.jit
def _totals_between(
    inner_edges: jax.Array,
    confidence: jax.Array,
    correct: jax.Array,
    where: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The same for bins with these upper edges; NaN sums for impossible values."""
    bins = inner_edges.shape[0] + 1
    kept = jnp.ones(confidence.shape, bool) if where is None else where
    confidence = _numerics.at_least_float32(confidence)
    index = jnp.searchsorted(inner_edges, confidence, side="left")
    index = jnp.where(kept, index, -1)
    total_confidence = _numerics.accurate_segment_sum(confidence, index, bins)
    right = ((correct != 0) & kept).astype(jnp.int32)
    total_correct = jax.ops.segment_sum(right, index, bins)
    count = jax.ops.segment_sum(kept.astype(jnp.int32), index, bins)
    outside = kept & ~((confidence >= 0) & (confidence <= 1))
    refused = jnp.where(jnp.any(outside), jnp.nan, 0.0)
    return total_confidence + refused, total_correct + refused, count


def _bin_gaps(
    confidence: jax.Array, correct: jax.Array, bins: int, where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Gap between confidence and accuracy, and number of examples, in each bin."""
    total_confidence, total_correct, count = bin_totals(
        confidence, correct, bins, where
    )
    gap = jnp.abs(total_confidence - total_correct)
    return _numerics.divide_no_nan(gap, count), count


@jax.jit
def curve_of_totals(
    total_confidence: jax.Array, total_correct: jax.Array, count: jax.Array
) -> ReliabilityCurve:
    """See `reliability_curve`."""
    bins = count.shape[0]
    return ReliabilityCurve(
        _numerics.divide_no_nan(total_confidence, count, otherwise=jnp.nan),
        _numerics.divide_no_nan(total_correct, count, otherwise=jnp.nan),
        count,
        jnp.arange(bins + 1) / bins,
    )


@functools.partial(jax.jit, static_argnames="norm")
def weighted_error(
    total_confidence: jax.Array,
    total_correct: jax.Array,
    count: jax.Array,
    *,
    norm: float,
) -> jax.Array:
    """See `expected_calibration_error`."""
    gap = jnp.abs(total_confidence - total_correct)
    if norm != 1:
        gap = count * _numerics.divide_no_nan(gap, count) ** norm
    mean = _numerics.divide_no_nan(jnp.sum(gap), jnp.sum(count), otherwise=jnp.nan)
    return mean if norm == 1 else mean ** (1 / norm)
