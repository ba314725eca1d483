"""How sure the numbers are: bootstrap intervals, alone and for a difference."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from trustjax import _numerics, _validate

METHODS = ("percentile", "bca")
# The most elements of one array that are resampled at once.
BATCH_ELEMENTS = 2**22
# Jackknife groups: enough for the skewness that BCa corrects for.
LARGEST_JACKKNIFE = 200


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
    arrays: Sequence[Array],
    *,
    key: Key[Array, ""],
    num_samples: int = 1000,
    level: float = 0.95,
    method: str = "percentile",
) -> Interval:
    r"""Confidence interval of a metric by resampling the examples.

    The metric is computed on `num_samples` data sets of as many examples, drawn with
    replacement; `"percentile"` takes the quantiles :math:`(1 \mp \text{level}) / 2` of
    the results, `"bca"` moves them by what the median of the results and the skewness
    of a jackknife tell of bias and of a changing spread.

    Args:
      metric_fn: `metric_fn(*arrays) -> [...]`, one number or several at once, e.g.
        `lambda scores, correct: metrics.auroc(scores, correct)`. Traced.
      arrays: what it takes, with one row for each example.
      key: a random key.
      num_samples: how many data sets are drawn.
      level: the chance that such intervals hold the true value.
      method: `"percentile"`, or `"bca"` (bias-corrected and accelerated), which
        computes the metric about 200 times more.

    Returns:
      The metric and its interval. Resampled data sets on which the metric is NaN (one
      kind of outcome only) are left out. Memory stays bounded, however many are drawn.

    Raises:
      ValueError: if the lengths differ, `num_samples` is not positive, `level` is not
        in (0, 1) or `method` is unknown.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    the metric is NaN, or never not  NaN
    the same value in every sample   that value at both ends
    ===============================  =====

    >>> values = jnp.arange(100.0)
    >>> interval = bootstrap(jnp.mean, [values], key=jax.random.key(0))
    >>> print(interval.value, bool((interval.low > 42) & (interval.high < 57)))
    49.5 True

    References:
      Efron and Tibshirani 1993, chapters 13 and 14.
    """
    _validate.choice("method", method, METHODS)
    _validate.open_fraction("level", level)
    _validate.count("num_samples", num_samples)
    _validate.same_length(**{f"array {i}": array for i, array in enumerate(arrays)})
    _validate.some_examples("array 0", arrays[0])
    arrays = tuple(jnp.asarray(array) for array in arrays)

    @jax.jit
    def interval(arrays: tuple[Array, ...], key: Array) -> Interval:
        value = metric_fn(*arrays)
        resampled = _resample(metric_fn, arrays, key, num_samples)
        tails = jnp.array([(1 - level) / 2, (1 + level) / 2])
        if method == "percentile":
            low, high = jnp.nanquantile(resampled, tails, axis=0)
        else:
            left_out = _jackknife(metric_fn, arrays, jax.random.fold_in(key, 1))
            low, high = _bca(value, resampled, left_out, tails)
        known = ~jnp.isnan(value)
        return Interval(
            value, jnp.where(known, low, jnp.nan), jnp.where(known, high, jnp.nan)
        )

    return interval(arrays, key)


def paired_bootstrap(
    metric_fn: Callable[..., Array],
    first: Array,
    second: Array,
    arrays: Sequence[Array],
    *,
    key: Key[Array, ""],
    num_samples: int = 1000,
    level: float = 0.95,
    method: str = "percentile",
) -> Difference:
    r"""Is one score better than another, on the same examples?

    Both are resampled together, so that what is common to them, the difficulty of the
    examples drawn, cancels: the interval is narrower than that of two alone.

    Args:
      metric_fn: `metric_fn(scores, *arrays) -> [...]`, traced.
      first: one score for each example.
      second: another score for each example.
      arrays: what else the metric takes, e.g. `[correct]`.
      key: a random key.
      num_samples: how many data sets are drawn.
      level: the chance that such intervals hold the true difference.
      method: `"percentile"` or `"bca"`, see `bootstrap`.

    Returns:
      The difference, its interval, and whether the scores can be told apart.

    Raises:
      ValueError: as `bootstrap`.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    the same score twice             0 with the interval [0, 0], not distinguishable
    the metric is NaN                NaN, not distinguishable
    ===============================  =====

    >>> x = jnp.arange(100.0)
    >>> result = paired_bootstrap(jnp.median, x + 1, x, [], key=jax.random.key(0))
    >>> print(result.value, result.distinguishable)
    1.0 True

    References:
      Efron and Tibshirani 1993, chapter 8.
    """

    def difference(first: Array, second: Array, *rest: Array) -> Array:
        return metric_fn(first, *rest) - metric_fn(second, *rest)

    value, low, high = bootstrap(
        difference,
        [first, second, *arrays],
        key=key,
        num_samples=num_samples,
        level=level,
        method=method,
    )
    return Difference(value, low, high, (low > 0) | (high < 0))


def _resample(
    metric_fn: Callable[..., Array], arrays: tuple[Array, ...], key: Array, samples: int
) -> Array:
    """The metric of each resampled data set, `[samples, ...]`."""
    size = arrays[0].shape[0]

    def once(key: Array) -> Array:
        rows = jax.random.randint(key, (size,), 0, size)
        return metric_fn(*(array[rows] for array in arrays))

    return lax.map(once, jax.random.split(key, samples), batch_size=_batch(arrays))


def _jackknife(
    metric_fn: Callable[..., Array], arrays: tuple[Array, ...], key: Array
) -> Array:
    """The metric without each of at most `LARGEST_JACKKNIFE` random groups."""
    size = arrays[0].shape[0]
    groups = min(size, LARGEST_JACKKNIFE)
    group_size = size // groups
    shuffled = jax.random.permutation(key, size)

    def without(group: Array) -> Array:
        # What follows the group, around the end: every example but the group's.
        start = (group + 1) * group_size
        rows = shuffled[(start + jnp.arange(size - group_size)) % size]
        return metric_fn(*(array[rows] for array in arrays))

    return lax.map(without, jnp.arange(groups), batch_size=_batch(arrays))


def _batch(arrays: tuple[Array, ...]) -> int:
    """How many data sets fit into memory at once."""
    largest = max(math.prod(array.shape) for array in arrays)
    return max(1, BATCH_ELEMENTS // largest)


def _bca(value: Array, resampled: Array, left_out: Array, tails: Array) -> Array:
    """The ends of the bias-corrected, accelerated interval, `[2, ...]`."""
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

    return jax.vmap(end)(tails)


def _quantiles(resampled: Array, levels: Array) -> Array:
    """The quantile of each column at its own level, NaN left out."""
    columns = resampled.reshape(resampled.shape[0], -1)
    found = jax.vmap(jnp.nanquantile, in_axes=(1, 0))(columns, levels.reshape(-1))
    return found.reshape(levels.shape)
