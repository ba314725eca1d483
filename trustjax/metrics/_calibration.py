"""Does confidence mean what it says? Calibration errors over bins of confidence."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Integer, Real, Shaped

from trustjax import _inputs, _numerics, _validate
from trustjax.metrics import _weights
from trustjax.metrics._ranking import Ranking, rank


class ReliabilityCurve(NamedTuple):
    """Confidence against accuracy in bins of equal width `(i / bins, (i + 1) / bins]`.

    Attributes:
      confidence: `[bins]`, mean confidence; NaN where a bin is empty.
      accuracy: `[bins]`, share of right answers; NaN where a bin is empty.
      count: `[bins]`, how many examples, or their summed weights.
      edges: `[bins + 1]`, the limits of the bins.
    """

    confidence: Float[Array, " bins"]
    accuracy: Float[Array, " bins"]
    count: Real[Array, " bins"]
    edges: Float[Array, " edges"]


@_inputs.take_arrays
def reliability_curve(
    confidence: Float[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    bins: int = 15,
    weights: Shaped[Array, " n"] | None = None,
) -> ReliabilityCurve:
    r"""Mean confidence and accuracy in bins of confidence.

    Args:
      confidence: probability of the given answer.
      correct: whether the answer is right: boolean, or 0 and 1.
      bins: number of bins of equal width; a value on an edge is in the lower bin, 0 in
        the first.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

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
      DeGroot and Fienberg 1983 (doi:10.2307/2987588); Guo et al. 2017
      (arXiv:1706.04599).
    """
    return curve_of_totals(*bin_totals(confidence, correct, bins, weights))


@_inputs.take_arrays
def expected_calibration_error(
    confidence: Float[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    bins: int = 15,
    norm: float = 1.0,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""How far confidence is from accuracy, over bins weighted by their examples.

    .. math:: \left( \sum_b \frac{n_b}{n}
              |\mathrm{conf}_b - \mathrm{acc}_b|^p \right)^{1/p}

    Args:
      confidence: probability of the given answer.
      correct: whether the answer is right: boolean, or 0 and 1.
      bins: number of bins of equal width; a value on an edge is in the lower bin.
      norm: the exponent :math:`p`; 2 gives the root mean square calibration error.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

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
      Naeini et al. 2015 (doi:10.1609/aaai.v29i1.9602); Guo et al. 2017
      (arXiv:1706.04599), eq. 3.
    """
    _validate.positive("norm", norm)
    return weighted_error(*bin_totals(confidence, correct, bins, weights), norm=norm)


@_inputs.take_arrays
def maximum_calibration_error(
    confidence: Float[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    bins: int = 15,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""The widest gap between confidence and accuracy in any bin.

    .. math:: \max_b |\mathrm{conf}_b - \mathrm{acc}_b|

    Args:
      confidence: probability of the given answer.
      correct: whether the answer is right: boolean, or 0 and 1.
      bins: number of bins of equal width; a value on an edge is in the lower bin.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

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
      Naeini et al. 2015 (doi:10.1609/aaai.v29i1.9602).
    """
    gap, count = _bin_gaps(confidence, correct, bins, weights)
    return jnp.where(jnp.sum(count) == 0, jnp.nan, jnp.max(gap))


@_inputs.take_arrays
def average_calibration_error(
    confidence: Float[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    bins: int = 15,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Mean gap between confidence and accuracy over the bins that are not empty.

    Every such bin counts alike, however few examples it has.

    Args:
      confidence: probability of the given answer.
      correct: whether the answer is right: boolean, or 0 and 1.
      bins: number of bins of equal width; a value on an edge is in the lower bin.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

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
      Neumann et al. 2018 (Relaxed Softmax); "ACE" in netcal.
    """
    gap, count = _bin_gaps(confidence, correct, bins, weights)
    return _numerics.divide_no_nan(jnp.sum(gap), jnp.sum(count > 0), otherwise=jnp.nan)


@_inputs.take_arrays
def adaptive_calibration_error(
    confidence: Float[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    bins: int = 15,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""The calibration error over bins that hold equally many examples.

    The upper edges are the order statistics :math:`c_{(\lceil b n / B \rceil)}`; equal
    confidences share a bin, which is why the bins are weighted by their examples.

    Args:
      confidence: probability of the given answer.
      correct: whether the answer is right: boolean, or 0 and 1.
      bins: number :math:`B` of bins.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

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
      Nguyen and O'Connor 2015 (arXiv:1508.05154); Nixon et al. 2019 (arXiv:1904.01685),
      for the predicted class.
    """
    _check(confidence, correct, bins, weights)
    ranking = rank(lax.stop_gradient(confidence), correct, weights)
    edges = _edges_of_equal_bins(ranking, bins)
    return weighted_error(*_totals_between(edges, confidence, correct, weights), norm=1)


@_inputs.take_arrays
def classwise_calibration_error(
    probabilities: Float[Array, "n classes"],
    labels: Integer[Array, " n"],
    *,
    bins: int = 15,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""The calibration error of every class's probability, averaged over the classes.

    .. math:: \frac1K \sum_k \sum_b \frac{n_{bk}}{n}
              |\mathrm{conf}_{bk} - \mathrm{freq}_{bk}|

    Args:
      probabilities: of every class.
      labels: the true classes.
      bins: number of bins of equal width; a value on an edge is in the lower bin.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

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
      Kull et al. 2019 (arXiv:1910.12656), eq. 4; the static calibration error of Nixon
      et al. 2019 (arXiv:1904.01685).
    """
    _validate.probabilities_and_labels(probabilities, labels, weights)
    classes = probabilities.shape[1]
    occurs = labels[:, None] == jnp.arange(classes)[None, :]
    errors = jax.vmap(
        lambda probability, happened: expected_calibration_error(
            probability, happened, bins=bins, weights=weights
        ),
        in_axes=1,
    )(probabilities, occurs)
    counts = _weights.counted(weights, labels.shape[0])
    lost = jnp.any((counts > 0) & ~_numerics.in_range(labels, classes))
    return jnp.where(lost, jnp.nan, jnp.mean(errors))


def _check(
    confidence: jax.Array, correct: jax.Array, bins: int, weights: jax.Array | None
) -> None:
    _validate.confidence_and_outcomes(confidence, correct, weights)
    _validate.some_examples("confidence", confidence)
    _validate.count("bins", bins)


@functools.partial(jax.jit, static_argnames="bins")
def _edges_of_equal_bins(ranking: Ranking, bins: int) -> jax.Array:
    """The scores up to which 1, 2, ..., bins - 1 parts of the examples lie."""
    size, inner = ranking.num_examples, jnp.arange(1, bins)
    if jnp.issubdtype(size.dtype, jnp.floating):
        above = size - inner / bins * size
    else:
        above = size - inner * (size // bins) - -(-inner * (size % bins) // bins)
    return ranking.score[jnp.searchsorted(ranking.accepted, above, side="right")]


def bin_totals(
    confidence: jax.Array, correct: jax.Array, bins: int, weights: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Summed confidence, summed successes and number of examples in equal bins."""
    _check(confidence, correct, bins, weights)
    edges = bin_edges(bins, _numerics.at_least_float32(confidence).dtype)[1:-1]
    return _totals_between(edges, confidence, correct, weights)


def bin_edges(bins: int, dtype: jnp.dtype) -> jax.Array:
    """The limits of equal bins, nearest to the fractions: XLA may divide less well."""
    return jnp.asarray(np.arange(bins + 1) / bins, dtype)


@jax.jit
def _totals_between(
    inner_edges: jax.Array,
    confidence: jax.Array,
    correct: jax.Array,
    weights: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The same for bins with these upper edges; NaN sums for impossible values."""
    bins = inner_edges.shape[0] + 1
    counts = _weights.counted(weights, confidence.shape[0])
    kept = counts > 0
    confidence = _numerics.as_probability(_numerics.at_least_float32(confidence))
    index = jnp.searchsorted(inner_edges, confidence, side="left")
    index = jnp.where(kept, index, -1)
    weighted = confidence if weights is None else confidence * counts
    total_confidence = _numerics.accurate_segment_sum(weighted, index, bins)
    right = jnp.where(correct != 0, counts, 0)
    total_correct = _weights.segment_total(right, index, bins)
    count = _weights.segment_total(counts, index, bins)
    outside = kept & jnp.isnan(confidence)
    lost = jnp.any(outside) | ~_weights.are_possible(weights)
    refused = jnp.where(lost, jnp.nan, 0.0)
    return total_confidence + refused, total_correct + refused, count


def _bin_gaps(
    confidence: jax.Array, correct: jax.Array, bins: int, weights: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Gap between confidence and accuracy, and number of examples, in each bin."""
    total_confidence, total_correct, count = bin_totals(
        confidence, correct, bins, weights
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
        bin_edges(bins, total_confidence.dtype),
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
