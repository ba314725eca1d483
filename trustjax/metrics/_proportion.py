"""Exact intervals of proportions: none of 40 answers wrong is not an error of 0."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer

from trustjax import _validate
from trustjax.metrics._bootstrap import Interval
from trustjax.metrics._guarantee import binomial_upper_bound


def proportion_interval(
    successes: Integer[Array | np.ndarray, "..."] | int,
    trials: Integer[Array | np.ndarray, "..."] | int,
    *,
    level: float = 0.95,
) -> Interval:
    r"""Exact interval of a proportion, such as an accuracy, never of width zero.

    The ends are the rates at which so many successes, or so few, would have the chance
    :math:`(1 - \text{level}) / 2`.

    Args:
      successes: how many of the trials, e.g. the right answers.
      trials: how many there are.
      level: the chance, at least, that such intervals hold the true proportion.

    Returns:
      The proportion and its interval, in [0, 1], with the shape of the counts.

    Raises:
      TypeError: if a count is no integer.
      ValueError: if known successes are not in [0, trials], or `level` not in (0, 1).

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    no success                       [0, 1 - ((1 - level) / 2)^(1 / trials)]
    nothing but successes            [((1 - level) / 2)^(1 / trials), 1]
    no trial                         NaN in [0, 1]: nothing is known
    ===============================  =====

    >>> value, low, high = proportion_interval(40, 40)
    >>> print(value, f"{low:.4f}", high)
    1.0 0.9119 1.0

    References:
      Clopper and Pearson 1934 (doi:10.1093/biomet/26.4.404).
    """
    _validate.open_fraction("level", level)
    successes, trials = jnp.asarray(successes), jnp.asarray(trials)
    _validate.counts("successes", successes, trials)
    return _interval(successes, trials, level)


@jax.jit
def _interval(successes: Array, trials: Array, level: Array) -> Interval:
    successes, trials = jnp.broadcast_arrays(successes, trials)
    upper = jnp.vectorize(
        functools.partial(binomial_upper_bound, log_chance=jnp.log((1 - level) / 2))
    )
    some = jnp.maximum(trials, 1)
    high = jnp.where(trials > 0, upper(successes, some), 1.0)
    low = jnp.where(trials > 0, 1 - upper(trials - successes, some), 0.0)
    value = jnp.where(trials > 0, successes / some, jnp.nan)
    return Interval(value, low, high)
