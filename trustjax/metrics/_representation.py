"""How many directions the features of a network use."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from trustjax import _inputs, _numerics, _validate
from trustjax.metrics import _weights


@_inputs.take_arrays
def singular_value_spectrum(
    features: Float[Array, "n features"],
    *,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, " features"]:
    r"""Singular values of the features' covariance, from the largest.

    .. math:: C = \frac1n \sum_i (f_i - \bar f)(f_i - \bar f)^\top
              = U \, \mathrm{diag}(\sigma_1 \ge \sigma_2 \ge \dots) \, U^\top

    Few large values and a cliff of tiny ones is dimensional collapse: the network is
    ill-suited to these data.

    Args:
      features: activations of one layer, flattened.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The spectrum, not negative, falling. In float32, values below 1e-7 of the largest
      are rounding.

    Raises:
      ValueError: if `features` is not `[n, features]`, or a known feature is NaN.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    one example, equal examples      zeros
    no example kept                  NaN
    features whose squares overflow  NaN
    a NaN feature                    ValueError; NaN under a transformation
    ===============================  =====

    >>> features = jnp.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 2.0], [-1.0, -2.0]])
    >>> with jnp.printoptions(precision=3):
    ...     print(singular_value_spectrum(features))
    [2.618 0.382]

    References:
      Kokilepersaud et al. 2024 (arXiv:2406.06848), as in AlRegib and Prabhushankar
      2025, "Dimensional collapse"; Jing et al. 2022 (arXiv:2110.09348).
    """
    _validate.rank("features", features, "n features")
    _validate.some_examples("features", features)
    _validate.floating("features", features)
    _validate.count("the number of features", features.shape[1])
    _validate.example_weights(weights, features=features)
    _validate.no_nan("features", features, weights)
    return _spectrum(features, weights)


@_inputs.take_arrays
def effective_rank(
    features: Float[Array, "n features"],
    *,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Number of directions that the features use, counted by entropy.

    .. math:: \exp\Bigl( -\sum_i p_i \ln p_i \Bigr), \qquad
              p_i = \frac{s_i}{\sum_j s_j}

    for the singular values :math:`s_i` of the centred features, the square roots of the
    spectrum of their covariance.

    Args:
      features: activations of one layer, flattened.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The effective rank, in [1, features]; low = collapsed.

    Raises:
      ValueError: if `features` is not `[n, features]`, or a known feature is NaN.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    equal directions                 their number
    one example, equal examples      NaN: no direction at all
    features whose squares overflow  NaN
    a NaN feature                    ValueError; NaN under a transformation
    ===============================  =====

    >>> features = jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> print(effective_rank(features).round(3))
    2.0

    References:
      Roy and Vetterli 2007 (EUSIPCO); Garrido et al. 2023 (RankMe, arXiv:2210.02885)
      does not centre.
    """
    values = jnp.sqrt(singular_value_spectrum(features, weights=weights))
    share = _numerics.divide_no_nan(values, jnp.sum(values), otherwise=jnp.nan)
    return jnp.exp(jnp.sum(jax.scipy.special.entr(share)))


@jax.jit
def _spectrum(features: jax.Array, weights: jax.Array | None) -> jax.Array:
    counts = _weights.counted(weights, features.shape[0])
    features = _numerics.at_least_float32(features)
    mean = _weights.mean(features, counts)
    centred = jnp.where(counts[:, None] > 0, features - mean[None], 0.0)
    weighted = centred * counts[:, None]
    size = _weights.total(counts)
    # Of the covariance, which does not grow with the examples as the features do.
    covariance = jnp.matmul(weighted.T, centred, precision="highest") / size
    spectrum = jnp.linalg.svd(covariance, compute_uv=False, hermitian=True)
    return jnp.where(jnp.isnan(covariance).any(), jnp.nan, spectrum)
