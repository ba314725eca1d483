"""How far apart the scores of right and wrong answers lie, as two Gaussians."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from trustjax import _inputs, _numerics, _validate
from trustjax.metrics import _weights


@_inputs.take_arrays
def kl_separability(
    positive: Float[Array, " right"],
    negative: Float[Array, " wrong"],
    *,
    positive_weights: Shaped[Array, " right"] | None = None,
    negative_weights: Shaped[Array, " wrong"] | None = None,
) -> Float[Array, ""]:
    r"""Mean of both Kullback-Leibler divergences between two fitted Gaussians.

    .. math:: \tfrac12 \bigl( D(N_1 \| N_2) + D(N_2 \| N_1) \bigr), \qquad
              D(N_1 \| N_2) = \ln\frac{\sigma_2}{\sigma_1}
              + \frac{\sigma_1^2 + (\mu_1 - \mu_2)^2}{2 \sigma_2^2} - \frac12

    Args:
      positive: scores of the right answers.
      negative: scores of the wrong answers.
      positive_weights: what each positive score counts, see `trustjax.metrics`.
      negative_weights: what each negative score counts, see `trustjax.metrics`.

    Returns:
      The divergence, not negative; higher = further apart.

    Raises:
      ValueError: if an array is not one-dimensional or a known score is NaN.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    fewer than two scores of a kind  NaN: no standard deviation
    all scores of one kind equal     inf
    an infinite score                NaN
    scores whose squares overflow    NaN
    a NaN score                      ValueError; NaN under a transformation
    ===============================  =====

    >>> kl_separability(jnp.array([1.0, 3.0]), jnp.array([-1.0, 1.0])).round(3)
    Array(1., dtype=float32)

    References:
      Luo et al. 2021 (arXiv:2110.00054), appendix G, for standard deviations with
      ddof = 1. The authors' code lacks the 2 in the denominator: for equal Gaussians it
      gives 0.5, not 0.
    """
    right, wrong, apart = _gaussians(
        positive, negative, positive_weights, negative_weights
    )
    # The logarithms of the two directions cancel, and so does the rest for equal ones.
    moved = apart / right / 2 + apart / wrong / 2
    return (_unlike(right, wrong) / 2 + moved) / 2


@_inputs.take_arrays
def bhattacharyya_distance(
    positive: Float[Array, " right"],
    negative: Float[Array, " wrong"],
    *,
    positive_weights: Shaped[Array, " right"] | None = None,
    negative_weights: Shaped[Array, " wrong"] | None = None,
) -> Float[Array, ""]:
    r"""Bhattacharyya distance between two fitted Gaussians.

    .. math:: \frac14 \ln \Bigl( \frac14 \Bigl( \frac{\sigma_1^2}{\sigma_2^2}
              + \frac{\sigma_2^2}{\sigma_1^2} + 2 \Bigr) \Bigr)
              + \frac14 \frac{(\mu_1 - \mu_2)^2}{\sigma_1^2 + \sigma_2^2}

    Args:
      positive: scores of the right answers.
      negative: scores of the wrong answers.
      positive_weights: what each positive score counts, see `trustjax.metrics`.
      negative_weights: what each negative score counts, see `trustjax.metrics`.

    Returns:
      The distance, not negative; higher = further apart.

    Raises:
      ValueError: if an array is not one-dimensional or a known score is NaN.

    The edge cases are those of `kl_separability`; NaN if neither kind has any spread.

    >>> bhattacharyya_distance(jnp.array([1.0, 3.0]), jnp.array([-1.0, 1.0])).round(3)
    Array(0.25, dtype=float32)

    References:
      Luo et al. 2021 (arXiv:2110.00054), appendix G, for standard deviations with
      ddof = 1.
    """
    right, wrong, apart = _gaussians(
        positive, negative, positive_weights, negative_weights
    )
    return (jnp.log1p(_unlike(right, wrong) / 4) + apart / (right + wrong)) / 4


def _gaussians(
    positive: jax.Array,
    negative: jax.Array,
    positive_weights: jax.Array | None,
    negative_weights: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Both variances, and the squared distance of the means."""
    for name, values, weights in (
        ("positive", positive, positive_weights),
        ("negative", negative, negative_weights),
    ):
        _validate.rank(name, values, "n")
        _validate.some_examples(name, values)
        _validate.floating(name, values)
        _validate.example_weights(weights, f"{name}_weights", **{name: values})
        _validate.no_nan(name, values, weights)
    return _fit_both(positive, negative, positive_weights, negative_weights)


@jax.jit
def _fit_both(
    positive: jax.Array,
    negative: jax.Array,
    positive_weights: jax.Array | None,
    negative_weights: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    right = _fit(_numerics.at_least_float32(positive), positive_weights)
    wrong = _fit(_numerics.at_least_float32(negative), negative_weights)
    apart = (right.origin - wrong.origin) + (right.mean - wrong.mean)
    return right.variance, wrong.variance, apart**2


def _unlike(first: jax.Array, second: jax.Array) -> jax.Array:
    """The ratio of two variances, plus its inverse, minus 2; 0 for equal ones."""
    apart = first - second
    return jnp.where(apart == 0, 0.0, apart / first * (apart / second))


class _Gaussian(NamedTuple):
    """Its mean lies at `origin + mean`: far from 0 the sum would be rounded.

    The origin is one of the values. A mean in its place may be computed once more
    wherever it is used, and be rounded to another number there.
    """

    origin: jax.Array
    mean: jax.Array
    variance: jax.Array


def _fit(values: jax.Array, weights: jax.Array | None) -> _Gaussian:
    counts = _weights.counted(weights, values.shape[0])
    kept, size = counts > 0, _weights.total(counts)
    origin = jax.lax.stop_gradient(values[jnp.argmax(kept)])
    values = values - origin
    mean = _weights.mean(values, counts)
    squares = jnp.where(kept, (values - mean) ** 2, 0.0) * counts
    variance = _numerics.divide_no_nan(
        _numerics.accurate_sum(squares), size - _weights.unit(counts), otherwise=jnp.nan
    )
    # The rounding of the mean must not look like a spread of equal values.
    highest = jnp.max(values, where=kept, initial=-jnp.inf)
    lowest = jnp.min(values, where=kept, initial=jnp.inf)
    equal = (highest == lowest) & (size > _weights.unit(counts))
    return _Gaussian(origin, mean, jnp.where(equal, 0.0, variance))
