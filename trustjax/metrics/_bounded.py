"""Intervals of numbers in [0, 1] that hold with few errors and at 0 and 1."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from trustjax import _numerics, _validate
from trustjax.metrics._bootstrap import Interval

FEWEST_TRIALS = 3
"""With fewer, an interval would be nearly all of [0, 1]."""
# How many further trials are taken to be as extreme as a number in [0, 1] can be.
UNSEEN = 2

Number = Float[Array | np.ndarray, "..."] | float


def interval_of_resampled(
    value: Number,
    samples: Float[Array | np.ndarray, "samples ..."],
    trials: Integer[Array | np.ndarray, "..."] | int,
    *,
    level: float = 0.95,
) -> Interval:
    r"""Interval of a metric in [0, 1] from what it is on resampled data sets.

    Quantiles of resampled data are too narrow with few errors, and of width 0 where a
    metric is 1 on all of them. Here the variance :math:`s^2` of the samples tells of
    how many draws of 0 and 1 the metric :math:`v` is the mean of,

    .. math:: n = m \frac{m + a}{m r + a}, \qquad r = \frac{m s^2}{v (1 - v)}

    with :math:`m` trials, and :math:`a` = 2 further ones as extreme as any can be:
    the variance itself is uncertain where it comes from few. The interval is Wilson's
    for so many draws, with the quantile of a t distribution of :math:`m - 1` degrees of
    freedom.

    Args:
      value: the metric, in [0, 1].
      samples: the metric on resampled data sets; NaN where it has no value.
      trials: how many examples there are of the rarer outcome, right or wrong. They
        carry a metric of a score; for a mean of all examples this is far too wide.
      level: the chance that such intervals hold the true value.

    Returns:
      The metric and its interval, in [0, 1], with the shape of the metric. Measured
      coverage: `benchmarks/README.md`; too narrow still for AUROCs above 0.99.

    Raises:
      ValueError: if `samples` are not samples of such values, or `level` is not in
        (0, 1).

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    fewer than 3 trials              NaN ends
    the value is NaN                 NaN
    the value is 0 or 1              an interval of positive width that ends there
    ===============================  =====

    >>> samples = jnp.full(1000, 1.0)
    >>> value, low, high = interval_of_resampled(1.0, samples, 20)
    >>> print(value, f"{low:.3f}", high)
    1.0 0.979 1.0

    References:
      Wilson 1927 (doi:10.1080/01621459.1927.10502953); Korn and Graubard 1998 (Survey
      Methodology 24) on the effective number of draws.
    """
    _validate.open_fraction("level", level)
    value, samples, trials = (jnp.asarray(part) for part in (value, samples, trials))
    if samples.ndim != value.ndim + 1 or samples.shape[1:] != value.shape:
        raise ValueError(
            f"samples must have shape [samples, {', '.join(map(str, value.shape))}], "
            f"got {samples.shape}"
        )
    return _interval(value, samples, trials, level)


@jax.jit
def _interval(value: Array, samples: Array, trials: Array, level: Array) -> Interval:
    most = value * (1 - value)
    enough = trials >= FEWEST_TRIALS
    trials = jnp.maximum(trials, FEWEST_TRIALS).astype(samples.dtype)
    share = _numerics.divide_no_nan(trials * jnp.nanvar(samples, axis=0), most)
    draws = trials * (trials + UNSEEN) / (trials * jnp.minimum(share, 1) + UNSEEN)
    quantile = widened(jax.scipy.special.ndtri((1 + level) / 2), trials - 1)
    extra = quantile**2 / draws
    middle = value + extra / 2
    margin = jnp.sqrt(extra * most + (extra / 2) ** 2)
    # Rounding must not leave a value of 0 or 1 outside.
    low = jnp.minimum((middle - margin) / (1 + extra), value)
    high = jnp.maximum((middle + margin) / (1 + extra), value)
    return Interval(
        value, jnp.where(enough, low, jnp.nan), jnp.where(enough, high, jnp.nan)
    )


def widened(bound: Array, freedom: Array) -> Array:
    """The quantile of a t distribution where a normal one has `bound`.

    By Wallace's approximation (1959); and with the variance that has one degree of
    freedom less than there are examples, for a resampled one has not.
    """
    freedom = jnp.maximum(freedom, 1).astype(bound.dtype)
    scaled = bound * (8 * freedom + 3) / (8 * freedom + 1)
    quantile = jnp.sqrt(freedom * jnp.expm1(scaled**2 / freedom))
    return quantile * jnp.sqrt((freedom + 1) / freedom)
