"""How sure the numbers are: bootstrap intervals, alone and for a difference."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Shaped

from trustjax import _inputs, _numerics, _validate
from trustjax.metrics import _resample

Examples = Shaped[Array | np.ndarray, " n ..."] | list[Any]
Weights = Shaped[Array | np.ndarray, " n"] | list[Any]

METHODS = ("percentile", "bca")
# Below 7 of the rarer outcome, more resampled data sets than this hold none of them.
MOST_UNDEFINED = 1e-3
# In standard deviations: a metric further off on resampled data has another meaning
# there. Calibration errors of calibrated networks are 0.6 to 1.7 off, rank metrics with
# 10 errors or more less than 0.5.
LARGEST_BIAS = 0.5


class Interval(NamedTuple):
    """A metric and its confidence interval, with the shape of the metric.

    Attributes:
      value: the metric of the data as they are.
      low: lower end of the interval.
      high: upper end of the interval.
    """

    value: Float[Array, "..."]
    low: Float[Array, "..."]
    high: Float[Array, "..."]


class Difference(NamedTuple):
    """How far apart two scores are, with the shape of the metric.

    Attributes:
      value: metric of the first score minus metric of the second.
      low: lower end of the interval of the difference.
      high: upper end of the interval of the difference.
      distinguishable: whether the interval leaves 0 out.
    """

    value: Float[Array, "..."]
    low: Float[Array, "..."]
    high: Float[Array, "..."]
    distinguishable: Array


def bootstrap(
    metric_fn: Callable[..., Array],
    arrays: Sequence[Examples],
    *,
    key: Key[Array, ""],
    num_samples: int = 1000,
    level: float = 0.95,
    method: str = "percentile",
    weights: Weights | None = None,
) -> Interval:
    r"""Confidence interval of a metric by resampling the examples.

    The metric is computed on `num_samples` data sets of as many examples, drawn with
    replacement; `"percentile"` takes the quantiles :math:`(1 \mp \text{level}) / 2` of
    the results, `"bca"` moves them by what the median of the results and the skewness
    of a jackknife tell of bias and of a changing spread.

    Args:
      metric_fn: `metric_fn(*arrays) -> [...]`, one number or several at once, e.g.
        `metrics.auroc`; one that has a parameter `weights` gets counts and sorts once.
        Compiled once for each function and shape: a lambda made anew is compiled anew.
      arrays: what it takes, with one row for each example.
      key: a random key.
      num_samples: how many data sets are drawn.
      level: the chance that such intervals hold the true value.
      method: `"percentile"`, or `"bca"` (bias-corrected and accelerated), which
        computes the metric about 200 times more.
      weights: of each example, for a metric that has such a parameter. An example of
        weight 0 is never drawn; the others are drawn alike, and weigh what they weigh.

    Returns:
      The metric and its interval. Memory stays bounded, however many are drawn.

    Raises:
      ValueError: if the lengths differ, `num_samples` is not positive, `level` is not
        in (0, 1) or `method` is unknown.
      TypeError: if there are weights and the metric takes none.

    ==================================  =====
    Edge case                           Value
    ==================================  =====
    the metric is NaN                   NaN
    NaN in more than 1 of 1000 samples  NaN ends: as a rank metric with 6 errors or less
    NaN in fewer                        these samples are left out
    biased: samples off the value by    NaN ends: see `calibration_error_interval`
    more than half their deviation
    the same value in every sample      that value at both ends
    ==================================  =====

    >>> values = jnp.arange(100.0)
    >>> interval = bootstrap(jnp.mean, [values], key=jax.random.key(0))
    >>> print(interval.value, bool((interval.low > 42) & (interval.high < 57)))
    49.5 True

    References:
      Efron and Tibshirani 1993 (doi:10.1007/978-1-4899-4541-9), chapters 13 and 14.
    """
    _validate.choice("method", method, METHODS)
    _validate.open_fraction("level", level)
    _validate.count("num_samples", num_samples)
    of = tuple(_inputs.array(f"array {i}", given) for i, given in enumerate(arrays))
    _validate.same_length(**{f"array {i}": array for i, array in enumerate(of)})
    _validate.some_examples("array 0", of[0])
    kept = _resample.checked_weights(metric_fn, of, weights)
    batch = _resample.batch_of(of)
    value = _resample.whole(metric_fn, of, kept)
    resampled = _resample.resample(
        metric_fn, of, kept, key, samples=num_samples, batch=batch
    )
    if method == "percentile":
        return _percentile(value, resampled, level)
    left_out = _resample.jackknife(
        metric_fn, of, kept, jax.random.fold_in(key, 1), batch=batch
    )
    return _bca(value, resampled, left_out, level)


def paired_bootstrap(
    metric_fn: Callable[..., Array],
    first: Examples | tuple[Examples, ...],
    second: Examples | tuple[Examples, ...],
    arrays: Sequence[Examples] = (),
    *,
    key: Key[Array, ""],
    num_samples: int = 1000,
    level: float = 0.95,
    method: str = "percentile",
    weights: Weights | None = None,
) -> Difference:
    r"""Is one score, or network, better than another, on the same examples?

    Both are resampled together, so that what is common to them, the difficulty of the
    examples drawn, cancels: the interval is narrower than that of two alone.

    Args:
      metric_fn: `metric_fn(scores, *arrays) -> [...]`, traced.
      first: one score for each example; or, as a tuple, all arrays that are its own,
        e.g. `(scores, correct)` of a network.
      second: another score for each example, or the same of another network.
      arrays: what else the metric takes, the same for both, e.g. `[correct]`.
      key: a random key.
      num_samples: how many data sets are drawn.
      level: the chance that such intervals hold the true difference.
      method: `"percentile"` or `"bca"`, see `bootstrap`.
      weights: of each example, see `bootstrap`.

    Returns:
      The difference, its interval, and whether the two can be told apart. One pair
      only: for more than two, or a pair picked after looking, there is `compare`.

    Raises:
      ValueError: as `bootstrap`, and if the two have not as many arrays.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    the same score twice             0 with the interval [0, 0], not distinguishable
    the metric is NaN                NaN, not distinguishable
    NaN in many samples              NaN ends, not distinguishable
    ===============================  =====

    >>> x = jnp.arange(100.0)
    >>> result = paired_bootstrap(jnp.median, x + 1, x, [], key=jax.random.key(0))
    >>> print(result.value, result.distinguishable)
    1.0 True

    References:
      Efron and Tibshirani 1993 (doi:10.1007/978-1-4899-4541-9), chapter 8.
    """
    own, others = (
        array if isinstance(array, tuple) else (array,) for array in (first, second)
    )
    if len(own) != len(others):
        raise ValueError(
            f"first and second must hold as many arrays, got {len(own)} and "
            f"{len(others)}"
        )
    value, low, high = bootstrap(
        _difference_of(metric_fn, len(own)),
        [*own, *others, *arrays],
        key=key,
        num_samples=num_samples,
        level=level,
        method=method,
        weights=weights,
    )
    return Difference(value, low, high, (low > 0) | (high < 0))


@dataclasses.dataclass(frozen=True)
class _Difference:
    """What a metric is of `own` arrays of each of two, less that of the other.

    Two of the same metric are equal, and so share what `jax.jit` has compiled.
    """

    metric_fn: Callable[..., Array]
    own: int

    def __call__(self, *arrays: Array) -> Array:
        return self._of(arrays)

    def _of(self, arrays: Sequence[Array], **weights: Array) -> Array:
        first, second = arrays[: self.own], arrays[self.own : 2 * self.own]
        rest = arrays[2 * self.own :]
        of_first = self.metric_fn(*first, *rest, **weights)
        return of_first - self.metric_fn(*second, *rest, **weights)


class _WeightedDifference(_Difference):
    def __call__(self, *arrays: Array, weights: Array | None = None) -> Array:
        return (
            self._of(arrays) if weights is None else self._of(arrays, weights=weights)
        )


def _difference_of(metric_fn: Callable[..., Array], own: int) -> _Difference:
    weighted = _resample.takes_weights(metric_fn)
    return (_WeightedDifference if weighted else _Difference)(metric_fn, own)


def _if_known(value: Array, resampled: Array, ends: Array) -> Interval:
    """The interval, NaN where the metric often has no value, or another one."""
    undefined = jnp.mean(jnp.isnan(resampled), axis=0)
    bias = jnp.abs(jnp.nanmean(resampled, axis=0) - value)
    # A metric that is the same on every data set is off by rounding alone.
    most = LARGEST_BIAS * jnp.nanstd(resampled, axis=0) + 1e-6 * jnp.abs(value)
    known = ~jnp.isnan(value) & (undefined <= MOST_UNDEFINED) & ~(bias > most)
    return Interval(value, *jnp.where(known[None], ends, jnp.nan))


@jax.jit
def _percentile(value: Array, resampled: Array, level: Array) -> Interval:
    ends = jnp.nanquantile(resampled, _tails(level), axis=0)
    return _if_known(value, resampled, ends)


def _tails(level: Array) -> Array:
    return jnp.stack([(1 - level) / 2, (1 + level) / 2])


@jax.jit
def _bca(value: Array, resampled: Array, left_out: Array, level: Array) -> Interval:
    """The bias-corrected, accelerated interval."""
    valid = ~jnp.isnan(resampled)
    below = (resampled < value[None]) + 0.5 * (resampled == value[None])
    rank = jnp.sum(jnp.where(valid, below, 0.0), axis=0) / jnp.sum(valid, axis=0)
    # Where all samples lie on one side, the correction has no finite value.
    edge = 0.5 / resampled.shape[0]
    bias = jax.scipy.special.ndtri(jnp.clip(rank, edge, 1 - edge))
    influence = jnp.nanmean(left_out, axis=0)[None] - left_out
    spread = jnp.sqrt(jnp.nansum(influence**2, axis=0))[None]
    acceleration = (
        jnp.nansum(_numerics.divide_no_nan(influence, spread) ** 3, axis=0) / 6
    )

    def end(tail: Array) -> Array:
        shifted = bias + jax.scipy.special.ndtri(tail)
        level = jax.scipy.special.ndtr(bias + shifted / (1 - acceleration * shifted))
        return _quantiles(resampled, level)

    return _if_known(value, resampled, jax.vmap(end)(_tails(level)))


def _quantiles(resampled: Array, levels: Array) -> Array:
    """The quantile of each column at its own level, NaN left out."""
    columns = resampled.reshape(resampled.shape[0], -1)
    quantiles = jax.vmap(jnp.nanquantile, in_axes=(1, 0))(columns, levels.reshape(-1))
    return quantiles.reshape(levels.shape)
