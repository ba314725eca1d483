"""How much each example counts: a mask, whole counts, or floats."""

import jax
import jax.numpy as jnp

from trustjax import _numerics


def counted(weights: jax.Array | None, num_examples: int) -> jax.Array:
    """What each example counts, `[n]`: `int32` for a mask and counts, else floats.

    Where a weight is NaN or negative, which under a transformation nobody can refuse,
    nothing is left to count.
    """
    if weights is None:
        return jnp.ones(num_examples, jnp.int32)
    if jnp.issubdtype(weights.dtype, jnp.floating):
        weights = _numerics.at_least_float32(weights)
    else:
        weights = weights.astype(jnp.int32)
    return jnp.where(jnp.all(weights >= 0), weights, 0)


def are_possible(weights: jax.Array | None) -> jax.Array:
    """Whether no weight is NaN or negative: totals of none must not look like those."""
    return jnp.array(True) if weights is None else jnp.all(weights >= 0)


def total(counts: jax.Array) -> jax.Array:
    """Sum of what the examples count."""
    if jnp.issubdtype(counts.dtype, jnp.floating):
        return _numerics.accurate_sum(counts)
    return jnp.sum(counts, dtype=counts.dtype)


def unit(counts: jax.Array) -> jax.Array:
    r"""What one example counts: 1, or :math:`\sum w^2 / \sum w` for floats (Kish 1965).

    The total over it is the number of examples that vary independently; the total
    minus it, the divisor of an unbiased variance.
    """
    if jnp.issubdtype(counts.dtype, jnp.floating):
        squares = _numerics.accurate_sum(counts**2)
        return _numerics.divide_no_nan(squares, total(counts))
    return jnp.ones((), counts.dtype)


def mean(values: jax.Array, counts: jax.Array) -> jax.Array:
    """Mean over the leading axis; NaN for a mean of nothing."""
    column = counts.reshape(counts.shape + (1,) * (values.ndim - 1))
    weighted = jnp.where(column > 0, values, 0.0) * column
    return _numerics.divide_no_nan(
        _numerics.accurate_sum(weighted), total(counts), otherwise=jnp.nan
    )


def segment_total(counts: jax.Array, segments: jax.Array, number: int) -> jax.Array:
    """Sum of what the examples of each segment count."""
    if jnp.issubdtype(counts.dtype, jnp.floating):
        return _numerics.accurate_segment_sum(counts, segments, number)
    return jax.ops.segment_sum(counts, segments, number)
