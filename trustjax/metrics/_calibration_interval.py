"""How far confidence is from accuracy, less what chance alone makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Shaped

from trustjax import _inputs, _validate
from trustjax.metrics._bootstrap import Interval
from trustjax.metrics._calibration import bin_totals

# Of the gaps that are tried: between them chances are interpolated.
NUM_SIZES = 81


def calibration_error_interval(
    confidence: Float[Array | np.ndarray, " n"],
    correct: Shaped[Array | np.ndarray, " n"],
    *,
    key: Key[Array, ""],
    bins: int = 15,
    num_samples: int = 1000,
    level: float = 0.95,
    weights: Shaped[Array | np.ndarray, " n"] | None = None,
) -> Interval:
    r"""Expected calibration error without its bias, and an interval that can reach 0.

    The error of a finite data set is above 0 even where confidence is perfectly
    calibrated, and every resampled one is higher still: no bootstrap interval holds the
    true 0. Here outcomes are drawn instead, with the chances

    .. math:: \mathrm{conf}_b + \lambda\, (\mathrm{acc}_b - \mathrm{conf}_b)

    in each bin, from calibrated, :math:`\lambda = 0`, to further off than was observed.
    The interval holds the true errors of those :math:`\lambda` under which the observed
    error is not among the :math:`(1 - \text{level}) / 2` lowest or highest; the value
    is the one under which it is the median. So that the interval does not rest on where
    the gaps were observed, it also holds those of gaps turned round, and of equal ones.

    Args:
      confidence: probability of the given answer.
      correct: whether the answer is right: boolean, or 0 and 1.
      key: a random key.
      bins: as in `expected_calibration_error`.
      num_samples: how many data sets are drawn for each :math:`\lambda`.
      level: the chance that such intervals hold the true error.
      weights: a mask, or how often each example counts; all once if None.

    Returns:
      A median-unbiased error, mostly below `expected_calibration_error`, and its
      interval, in [0, 1]. The lower end is 0 where the data do not contradict
      calibration. Not for use inside `jit`: the draws are made on the host.

    Raises:
      ValueError: as `expected_calibration_error`, or if `num_samples` is not positive
        or `level` is not in (0, 1).
      TypeError: if the values are not known, as inside `jit`, or weights not whole.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    an empty bin                     adds nothing
    no example kept                  NaN
    always sure, and always right    0 in [0, high]: few answers may hide an error
    ===============================  =====

    >>> confidence = jnp.linspace(0.5, 1.0, 400)
    >>> correct = jnp.arange(400) % 4 > 0
    >>> error, low, high = calibration_error_interval(
    ...     confidence, correct, key=jax.random.key(0)
    ... )
    >>> print(bool((0.05 < low) & (low < error) & (error < high) & (high < 0.2)))
    True

    References:
      Broecker and Smith 2007 (doi:10.1175/WAF993.1) draw such outcomes to judge a
      reliability diagram; Kumar et al. 2019 (arXiv:1909.10155) on the bias.
    """
    _validate.count("num_samples", num_samples)
    _validate.open_fraction("level", level)
    confidence = _inputs.array("confidence", confidence)
    correct = _inputs.array("correct", correct)
    kept = None if weights is None else _inputs.array("weights", weights)
    _validate.whole_weights(kept, "outcomes are drawn for whole examples")
    totals = bin_totals(confidence, correct, bins, kept)
    if not _validate.is_known(*totals):
        raise TypeError(
            "the calibration error's interval needs known values, not traced"
        )
    summed, right, count = (np.asarray(total, np.float64) for total in totals)
    filled = count > 0
    if not filled.any():
        return Interval(*jnp.full(3, jnp.nan))
    count = count[filled].astype(np.int64)
    expected, accuracy = summed[filled] / count, right[filled] / count

    def error(rates: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(rates - expected) @ (count / count.sum()))

    observed = error(accuracy)
    # Finer near 0; as far as chance may have hidden.
    furthest = 3 * observed + 4 / np.sqrt(count.sum())
    sizes = furthest * np.linspace(0, 1, NUM_SIZES) ** 2
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    tail = (1 - level) / 2

    def accepted(gaps: np.ndarray) -> tuple[float, ...]:
        """The errors at the middle and at both ends of those accepted."""
        rates = np.clip(expected + np.outer(sizes, gaps), 0, 1)
        outcomes = generator.binomial(count, rates, (num_samples, *rates.shape))
        drawn = error(outcomes / count)
        # Counts often agree exactly: then half of them are lower.
        lower = (drawn < observed - 1e-9).mean(axis=0) / 2
        lower += (drawn <= observed + 1e-9).mean(axis=0) / 2
        if lower.min() > 1 - tail:  # no gaps this way are as far off as was observed
            return np.inf, np.inf, -np.inf
        falling = np.minimum.accumulate(lower)
        targets = -np.array([0.5, 1 - tail, tail])
        return tuple(np.interp(targets, -falling, error(rates)))

    # Gaps whose mean size is 1, if there are any.
    gaps, equal = (accuracy - expected) / max(observed, 1e-9), np.ones_like(expected)
    middle, low, high = zip(*map(accepted, (gaps, -gaps, equal, -equal)), strict=True)
    ends = (middle[0], min(low), max(high))
    return Interval(*(jnp.asarray(end, jnp.float32) for end in ends))
