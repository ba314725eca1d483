"""Does confidence mean what it says? Calibration errors, proper scores, temperature."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
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
    total_confidence, total_correct, count = _bin_totals(
        confidence, correct, bins, where
    )
    return ReliabilityCurve(
        _numerics.divide_no_nan(total_confidence, count, otherwise=jnp.nan),
        _numerics.divide_no_nan(total_correct, count, otherwise=jnp.nan),
        count,
        jnp.arange(bins + 1) / bins,
    )


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
    >>> print(expected_calibration_error(confidence, correct, bins=2))
    0.1875

    References:
      Naeini et al. 2015; Guo et al. 2017, eq. 3.
    """
    _validate.positive("norm", norm)
    total_confidence, total_correct, count = _bin_totals(
        confidence, correct, bins, where
    )
    gap = jnp.abs(total_confidence - total_correct)
    if norm != 1:
        gap = count * _numerics.divide_no_nan(gap, count) ** norm
    mean = _numerics.divide_no_nan(jnp.sum(gap), jnp.sum(count), otherwise=jnp.nan)
    return mean if norm == 1 else mean ** (1 / norm)


def _bin_totals(
    confidence: jax.Array, correct: jax.Array, bins: int, where: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Summed confidence, summed successes and number of examples in each bin."""
    _validate.same_length(confidence=confidence, correct=correct)
    _validate.floating("confidence", confidence)
    _validate.count("bins", bins)
    _validate.probabilities("confidence", confidence, where)
    _validate.binary("correct", correct, where)
    kept = jnp.ones(confidence.shape, bool) if where is None else where
    confidence = _numerics.at_least_float32(confidence)
    inner_edges = jnp.arange(1, bins, dtype=confidence.dtype) / bins
    index = jnp.searchsorted(inner_edges, confidence, side="left")
    index = jnp.where(kept, index, bins)
    total_confidence = _numerics.accurate_segment_sum(confidence, index, bins)
    total_correct = jax.ops.segment_sum((correct != 0).astype(jnp.int32), index, bins)
    count = jax.ops.segment_sum(kept.astype(jnp.int32), index, bins)
    outside = kept & ~((confidence >= 0) & (confidence <= 1))
    refused = jnp.where(jnp.any(outside), jnp.nan, 0.0)
    return total_confidence + refused, total_correct + refused, count
