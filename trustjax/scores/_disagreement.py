r"""Scores of several answers to one input, whatever made them differ.

All are functions of sampled logits, `[batch, samples, classes]`. With :math:`p_s` the
softmax of sample :math:`s` and :math:`\bar p` their mean, the predictive entropy parts
into what each sample is unsure of and what they disagree on:

.. math::
  \underbrace{H(\bar p)}_{\text{predictive entropy}}
  = \underbrace{\tfrac1S \sum_s H(p_s)}_{\text{expected entropy}}
  + \underbrace{\tfrac1S \sum_s \mathrm{KL}(p_s \| \bar p)}_{\text{mutual information}}
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _inputs
from trustjax._numerics import relative_entropy, softmax_entropy
from trustjax.scores._softmax import entropy_unit, log_probabilities

SampledLogits = Float[Array, "batch samples classes"]


def ensemble_max_softmax(sampled_logits: SampledLogits) -> Float[Array, " batch"]:
    r"""Probability of the predicted class under the mean of the samples.

    .. math:: s(x) = \max_k \bar p_k

    Args:
      sampled_logits: the logits of each sample.

    Returns:
      The score of each example, in [1 / classes, 1]; higher = more trust.

    Raises:
      ValueError: if `sampled_logits` is not `[batch, samples, classes]`.

    =================================  ============================
    Edge case                          Value
    =================================  ============================
    one sample                         its max softmax
    one class                          1
    a NaN in any sample                NaN
    =================================  ============================

    >>> sampled_logits = jnp.log(jnp.array([[[0.9, 0.1], [0.3, 0.7]]]))
    >>> print(ensemble_max_softmax(sampled_logits).round(3))
    [0.6]

    References:
      Lakshminarayanan, Pritzel and Blundell 2017 (arXiv:1612.01474).
    """
    log_mean, _ = _log_mean_and_samples(sampled_logits)
    return jnp.max(jnp.exp(log_mean), axis=-1)


def negative_predictive_entropy(
    sampled_logits: SampledLogits, *, normalised: bool = True
) -> Float[Array, " batch"]:
    r"""Negated entropy of the mean of the samples: the whole uncertainty.

    .. math:: s(x) = \frac{1}{\log C} \sum_k \bar p_k \log \bar p_k

    Args:
      sampled_logits: the logits of each sample.
      normalised: divide by log C, so that any number of classes gives one range.

    Returns:
      The score of each example, in [-1, 0] if normalised, else in [-log C, 0]; higher
      = more trust.

    Raises:
      ValueError: if `sampled_logits` is not `[batch, samples, classes]`.

    =================================  ============================
    Edge case                          Value
    =================================  ============================
    one sample                         its negative entropy
    one class                          0
    a class of probability 0           adds nothing
    a NaN in any sample                NaN
    =================================  ============================

    >>> print(negative_predictive_entropy(jnp.array([[[30.0, 0.0], [0.0, 30.0]]])))
    [-1.]

    References:
      Gal and Ghahramani 2016 (arXiv:1506.02142). The GradTrust demo intends it and
      takes the last of its samples alone; ConfidNet averages logits instead of
      probabilities.
    """
    log_mean, _ = _log_mean_and_samples(sampled_logits)
    return -softmax_entropy(log_mean) / _unit(log_mean, normalised)


def negative_expected_entropy(
    sampled_logits: SampledLogits, *, normalised: bool = True
) -> Float[Array, " batch"]:
    r"""Negated mean entropy: what each of the samples is unsure of (aleatoric).

    .. math:: s(x) = -\frac{1}{S \log C} \sum_s H(p_s)

    Args:
      sampled_logits: the logits of each sample.
      normalised: divide by log C.

    Returns:
      The score of each example, in [-1, 0] if normalised, else in [-log C, 0]; higher
      = more trust.

    Raises:
      ValueError: if `sampled_logits` is not `[batch, samples, classes]`.

    =================================  ============================
    Edge case                          Value
    =================================  ============================
    one sample                         its negative entropy
    one class                          0
    a class of probability 0           adds nothing
    a NaN in any sample                NaN
    =================================  ============================

    >>> print(negative_expected_entropy(jnp.array([[[99.0, 0.0], [0.0, 0.0]]])))
    [-0.5]

    References:
      Depeweg et al. 2018 (arXiv:1710.07283); Smith and Gal 2018 (arXiv:1803.08533).
    """
    _, log_p = _log_mean_and_samples(sampled_logits)
    return -jnp.mean(softmax_entropy(log_p), axis=-1) / _unit(log_p, normalised)


def negative_mutual_information(
    sampled_logits: SampledLogits, *, normalised: bool = True
) -> Float[Array, " batch"]:
    r"""Negated mutual information: what the samples disagree on (epistemic).

    .. math:: s(x) = -\frac{1}{S \log C} \sum_s \mathrm{KL}(p_s \| \bar p)

    Samples which nearly agree keep their digits, where the difference of two entropies
    would be rounding error.

    Args:
      sampled_logits: the logits of each sample.
      normalised: divide by log C.

    Returns:
      The score of each example, in [-1, 0] if normalised, else in
      [-min(log S, log C), 0]; higher = more trust.

    Raises:
      ValueError: if `sampled_logits` is not `[batch, samples, classes]`.

    =================================  ============================
    Edge case                          Value
    =================================  ============================
    one sample, or all equal           0
    one class                          0
    a class of probability 0           adds nothing
    a NaN in any sample                NaN
    =================================  ============================

    >>> print(negative_mutual_information(jnp.array([[[99.0, 0.0], [0.0, 99.0]]])))
    [-1.]

    References:
      Houlsby et al. 2011 (BALD, arXiv:1112.5745); Smith and Gal 2018
      (arXiv:1803.08533), eq. 3.
    """
    log_mean, log_p = _log_mean_and_samples(sampled_logits)
    divergence = jnp.mean(relative_entropy(log_p, log_mean[:, None]), axis=-1)
    return -divergence / _unit(log_p, normalised)


def negative_variation_ratio(sampled_logits: SampledLogits) -> Float[Array, " batch"]:
    r"""Negated share of samples that do not predict the most frequent class.

    .. math:: s(x) = \max_k \frac1S \sum_s 1[\hat y_s = k] - 1

    Args:
      sampled_logits: the logits of each sample.

    Returns:
      The score of each example, in (-1, 0], in steps of one sample; higher = more
      trust. It has no gradient.

    Raises:
      ValueError: if `sampled_logits` is not `[batch, samples, classes]`.

    =================================  ============================
    Edge case                          Value
    =================================  ============================
    one sample, or all agree           0
    one class                          0
    equal largest logits               the first of them is predicted
    a NaN in any sample                NaN
    =================================  ============================

    >>> print(negative_variation_ratio(jnp.eye(4)[None, :, :3]))
    [-0.5]

    References:
      Freeman 1965; Gal 2016 (PhD thesis), section 3.3.1.
    """
    z = _checked(sampled_logits)
    votes = jax.nn.one_hot(jnp.argmax(z, axis=-1), z.shape[-1])
    broken = jnp.isnan(z).any(axis=(1, 2))
    return jnp.where(broken, jnp.nan, jnp.max(jnp.mean(votes, axis=1), axis=-1) - 1)


def _checked(sampled_logits: jax.Array) -> jax.Array:
    z = _inputs.floats("sampled_logits", sampled_logits, "batch samples classes")
    if 0 in z.shape[1:]:
        raise ValueError(
            "sampled_logits must have shape [batch, samples, classes] with at least "
            f"one sample and class, got {z.shape}"
        )
    return z


def _log_mean_and_samples(sampled_logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    r"""Logarithms of :math:`\bar p`, `[batch, classes]`, and of each :math:`p_s`."""
    z = _checked(sampled_logits)
    log_p = jax.vmap(log_probabilities, in_axes=1, out_axes=1)(z)
    return jax.nn.logsumexp(log_p, axis=1) - jnp.log(z.shape[1]), log_p


def _unit(log_p: jax.Array, normalised: bool) -> float:
    return entropy_unit(log_p.shape[-1], normalised=normalised)
