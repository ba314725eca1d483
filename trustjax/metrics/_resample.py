"""Data sets drawn anew, with replacement, and what a metric is on each of them.

A metric that takes `weights` is computed on counts, how often each example was drawn,
so that a sort that does not depend on them is done once; another one on the rows drawn.
"""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from trustjax import _inputs, _validate

Metric = Callable[..., jax.Array]
Arrays = tuple[jax.Array, ...]

# The most elements of one array that are resampled at once: 16 MiB of float32, of which
# a rank metric holds some twenty.
BATCH_ELEMENTS = 2**22
# Jackknife groups: enough for the skewness that BCa corrects for.
LARGEST_JACKKNIFE = 200


def takes_weights(metric_fn: Metric) -> bool:
    """Whether the metric has a parameter called `weights`."""
    try:
        return "weights" in inspect.signature(metric_fn).parameters
    except ValueError:  # some built-in callables tell nothing
        return False


def checked_weights(
    metric_fn: Metric,
    arrays: Arrays,
    weights: jax.Array | np.ndarray | list[Any] | None,
) -> jax.Array | None:
    """Requires a metric that takes weights, if there are any, and one for each row."""
    if weights is None:
        return None
    if not takes_weights(metric_fn):
        raise TypeError(
            "weights need a metric with a parameter called weights, "
            f"got {getattr(metric_fn, '__name__', metric_fn)!r}"
        )
    weights = _inputs.array("weights", weights)
    _validate.example_weights(weights, arrays=arrays[0])
    return weights


def whole(metric_fn: Metric, arrays: Arrays, weights: jax.Array | None) -> jax.Array:
    """The metric of the data as they are."""
    if weights is None:
        return metric_fn(*arrays)
    return metric_fn(*arrays, weights=weights)


@functools.partial(jax.jit, static_argnames=("metric_fn", "samples", "batch"))
def resample(
    metric_fn: Metric,
    arrays: Arrays,
    weights: jax.Array | None,
    key: jax.Array,
    *,
    samples: int,
    batch: int,
) -> jax.Array:
    """The metric of each resampled data set, `[samples, ...]`.

    One key draws the same examples, whatever the metric and its arrays are.
    """
    size = arrays[0].shape[0]
    rows, kept = _kept(weights, size)

    def once(key: jax.Array) -> jax.Array:
        drawn = rows[jax.random.randint(key, (size,), 0, kept)]
        if not takes_weights(metric_fn):
            return metric_fn(*(array[drawn] for array in arrays))
        # As many draws as there are examples to draw from.
        counts = jnp.zeros(size, jnp.int32).at[drawn].add(jnp.arange(size) < kept)
        return metric_fn(*arrays, weights=_times(counts, weights))

    return lax.map(once, jax.random.split(key, samples), batch_size=batch)


@functools.partial(jax.jit, static_argnames=("metric_fn", "batch"))
def jackknife(
    metric_fn: Metric,
    arrays: Arrays,
    weights: jax.Array | None,
    key: jax.Array,
    *,
    batch: int,
) -> jax.Array:
    """The metric without each of at most `LARGEST_JACKKNIFE` random groups."""
    size = arrays[0].shape[0]
    groups = min(size, LARGEST_JACKKNIFE)
    group_size = size // groups
    shuffled = jax.random.permutation(key, size)
    # Dealt like cards among the groups, examples of weight 0 last.
    dealt = shuffled if weights is None else shuffled[_kept(weights[shuffled], size)[0]]
    group_of = jnp.zeros(size, jnp.int32).at[dealt].set(jnp.arange(size) % groups)

    def without(group: jax.Array) -> jax.Array:
        if takes_weights(metric_fn):
            return metric_fn(*arrays, weights=_times(group_of != group, weights))
        # What follows the group, around the end: every example but the group's.
        start = (group + 1) * group_size
        others = shuffled[(start + jnp.arange(size - group_size)) % size]
        return metric_fn(*(array[others] for array in arrays))

    return lax.map(without, jnp.arange(groups), batch_size=batch)


def batch_of(arrays: Arrays) -> int:
    """How many data sets fit into memory at once."""
    return max(1, BATCH_ELEMENTS // max(math.prod(array.shape) for array in arrays))


def _kept(weights: jax.Array | None, size: int) -> tuple[jax.Array, jax.Array | int]:
    """The examples, those of weight 0 last, and how many have another weight."""
    if weights is None:
        return jnp.arange(size), size
    return jnp.argsort(weights == 0, stable=True), jnp.sum(weights != 0)


def _times(counts: jax.Array, weights: jax.Array | None) -> jax.Array:
    return counts if weights is None else counts * weights
