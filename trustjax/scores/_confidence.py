"""Scores that need the logits alone."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _inputs, _validate
from trustjax._numerics import at_least_float32, is_predicted
from trustjax.ingredients import LOGITS
from trustjax.scores._score import TUTORIAL, Score
from trustjax.scores._softmax import (
    entropy_of_prediction,
    entropy_unit,
    log_distance_to_prediction,
    log_probabilities,
    log_probability_of_prediction,
)


def max_softmax(
    logits: Float[Array, "batch classes"], *, temperature: float = 1.0
) -> Float[Array, " batch"]:
    r"""Probability of the predicted class: maximum softmax probability, MSP or MCP.

    .. math:: s(x) = \max_k p_k(x), \qquad p = \mathrm{softmax}(z / T)

    Args:
      logits: network outputs before the softmax.
      temperature: :math:`T`, divides the logits; 1 leaves the network as it is.

    Returns:
      The score of each example, in [1 / classes, 1]; higher = more trust.

    Raises:
      ValueError: if `logits` is not `[batch, classes]` or `temperature` not positive.

    =================================  ===========
    Edge case                          Value
    =================================  ===========
    one class                          1
    equal logits                       1 / classes
    one +inf logit                     1
    two +inf logits, or a NaN          NaN
    =================================  ===========

    >>> print(max_softmax(jnp.zeros((1, 2))))
    [0.5]

    References:
      Hendrycks and Gimpel 2017 (arXiv:1610.02136); the baseline of Oberdiek et al. 2018
      (arXiv:1805.08440), eq. 4.
    """
    return jnp.exp(log_likelihood(logits, temperature=temperature))


def log_likelihood(
    logits: Float[Array, "batch classes"], *, temperature: float = 1.0
) -> Float[Array, " batch"]:
    r"""Log probability of the predicted class.

    .. math:: s(x) = \log \max_k p_k(x)

    It ranks as `max_softmax` does, and keeps apart what float32 rounds to 1 there.

    Args:
      logits: network outputs before the softmax.
      temperature: :math:`T`, divides the logits; 1 leaves the network as it is.

    Returns:
      The score of each example, in [-log classes, 0]; higher = more trust.

    Raises:
      ValueError: if `logits` is not `[batch, classes]` or `temperature` not positive.

    =================================  ============
    Edge case                          Value
    =================================  ============
    one class                          0
    equal logits                       -log classes
    one +inf logit                     0
    two +inf logits, or a NaN          NaN
    =================================  ============

    >>> print(log_likelihood(jnp.log(jnp.array([[0.5, 0.3, 0.2]]))).round(3))
    [-0.693]

    References:
      AlRegib and Prabhushankar 2025, "NLL". The authors' GradTrust demo takes the
      largest logit under that name: see `max_logit`.
    """
    return log_probability_of_prediction(logits, temperature=temperature)


def max_logit(logits: Float[Array, "batch classes"]) -> Float[Array, " batch"]:
    r"""Largest logit.

    .. math:: s(x) = \max_k z_k(x)

    Args:
      logits: network outputs before the softmax.

    Returns:
      The score of each example, unbounded; higher = more trust.

    Raises:
      ValueError: if `logits` is not `[batch, classes]`.

    =================================  ============
    Edge case                          Value
    =================================  ============
    one class                          its logit
    a +inf logit                       inf
    a NaN logit                        NaN
    =================================  ============

    >>> print(max_logit(jnp.array([[4.0, -1.0, 0.5]])))
    [4.]

    References:
      Hendrycks et al. 2022 (arXiv:1911.11132). The column "NLL" of AlRegib and
      Prabhushankar 2025 is this score: their demo passes logits where the likelihood
      takes log probabilities.
    """
    return jnp.max(at_least_float32(_inputs.logits(logits)), axis=-1)


def margin(
    logits: Float[Array, "batch classes"], *, of: str = "probabilities"
) -> Float[Array, " batch"]:
    r"""Lead of the predicted class over the runner-up.

    .. math:: s(x) = p_{(1)}(x) - p_{(2)}(x)

    Args:
      logits: network outputs before the softmax.
      of: `"probabilities"` (range [0, 1]) or `"logits"` (range [0, inf)).

    Returns:
      The margin of each example; higher = more trust.

    Raises:
      ValueError: if `logits` is not `[batch, classes]`, or `of` is unknown.

    =================================  ==================================
    Edge case                          Value
    =================================  ==================================
    one class                          1 (probabilities), inf (logits)
    two equal largest logits           0
    one +inf logit                     1 (probabilities), inf (logits)
    two +inf logits, or a NaN          NaN
    =================================  ==================================

    >>> print(margin(jnp.log(jnp.array([[0.7, 0.2, 0.1]]))).round(3))
    [0.5]

    References:
      AlRegib and Prabhushankar 2025, slide "Hypothesis Margin" ("probability (or
      logits)"); Bartlett et al. 1998 (doi:10.1214/aos/1024691352). The authors'
      GradTrust demo uses probabilities.
    """
    _validate.choice("of", of, ("logits", "probabilities"))
    # The runner-up of a single class: probability 0, logit -inf.
    if of == "probabilities":
        values, nobody = jnp.exp(log_probabilities(logits)), 0.0
    else:
        values, nobody = at_least_float32(_inputs.logits(logits)), -jnp.inf
    largest = jnp.max(values, axis=-1)
    others = jnp.where(is_predicted(values), nobody, values)
    return largest - jnp.max(others, axis=-1)


def negative_entropy(
    logits: Float[Array, "batch classes"],
    *,
    normalised: bool = True,
    temperature: float = 1.0,
) -> Float[Array, " batch"]:
    r"""Negated Shannon entropy of the predicted distribution.

    .. math:: s(x) = \frac{1}{\log C} \sum_k p_k \log p_k

    Args:
      logits: network outputs before the softmax.
      normalised: divide by log C, so that any number of classes gives one range.
      temperature: :math:`T`, divides the logits; 1 leaves the network as it is.

    Returns:
      The score of each example, in [-1, 0] if normalised, else in [-log C, 0];
      higher = more trust.

    Raises:
      ValueError: if `logits` is not `[batch, classes]` or `temperature` not positive.

    =================================  ===============================
    Edge case                          Value
    =================================  ===============================
    one class                          0
    equal logits                       -1 (normalised), else -log C
    a class of probability 0           adds nothing
    two +inf logits, or a NaN          NaN
    =================================  ===============================

    >>> print(negative_entropy(jnp.array([[0.0, 0.0], [9.0, 0.0]])).round(3))
    [-1.    -0.002]

    References:
      Oberdiek et al. 2018 (arXiv:1805.08440), eq. 3 (its negation). The authors'
      GradTrust demo gives NaN where a probability underflows to zero.
    """
    z = _inputs.logits(logits)
    entropy = entropy_of_prediction(z, temperature=temperature)
    return -entropy / entropy_unit(z.shape[-1], normalised=normalised)


def negative_brier(logits: Float[Array, "batch classes"]) -> Float[Array, " batch"]:
    r"""Negated Brier distance between the predicted distribution and the prediction.

    .. math:: s(x) = -\frac{1}{C} \sum_k (p_k - 1[k = \hat y])^2

    Args:
      logits: network outputs before the softmax.

    Returns:
      The score of each example, in (-1, 0]; higher = more trust.

    Raises:
      ValueError: if `logits` is not `[batch, classes]`.

    =================================  =======================
    Edge case                          Value
    =================================  =======================
    one class                          0
    equal logits                       -(1 - 1 / C) / C
    two +inf logits, or a NaN          NaN
    =================================  =======================

    >>> print(negative_brier(jnp.log(jnp.array([[0.5, 0.5]]))).round(3))
    [-0.25]

    References:
      The "Brier" of the authors' GradTrust demo (AlRegib and Prabhushankar 2025), with
      the sign that makes higher = more trust. No true label enters.
    """
    log_p = log_probabilities(logits)
    return -jnp.exp(log_distance_to_prediction(log_p)) / log_p.shape[-1]


def energy(
    logits: Float[Array, "batch classes"], *, temperature: float = 1.0
) -> Float[Array, " batch"]:
    r"""Negated free energy of the logits.

    .. math:: s(x) = T \log \sum_k e^{z_k / T}

    Args:
      logits: network outputs before the softmax.
      temperature: :math:`T`.

    Returns:
      The score of each example, unbounded; higher = more trust.

    Raises:
      ValueError: if `logits` is not `[batch, classes]` or `temperature` not positive.

    =================================  ============
    Edge case                          Value
    =================================  ============
    one class                          its logit
    all logits 0                       T log C
    a +inf logit                       inf
    a NaN logit                        NaN
    =================================  ============

    >>> print(energy(jnp.zeros((1, 4))).round(3))
    [1.386]

    References:
      Liu et al. 2020 (arXiv:2010.03759), eq. 4, negated as their eq. 7 uses it.
    """
    _validate.positive("temperature", temperature)
    z = at_least_float32(_inputs.logits(logits)) / temperature
    return temperature * jax.nn.logsumexp(z, axis=-1)


SCORES = (
    Score(
        max_softmax,
        needs=(LOGITS,),
        title="Max softmax",
        paper="Hendrycks and Gimpel 2017",
        equation="max_k p_k",
        baseline=True,
    ),
    Score(
        max_logit,
        needs=(LOGITS,),
        title="Max logit",
        paper="Hendrycks et al. 2022",
        equation="max_k z_k",
        provenance="The tutorial's column NLL: its demo passes logits to an NLL loss.",
    ),
    Score(
        margin,
        needs=(LOGITS,),
        title="Margin",
        paper=TUTORIAL,
        equation="p_(1) - p_(2)",
    ),
    Score(
        negative_entropy,
        needs=(LOGITS,),
        title="Negative entropy",
        paper="Oberdiek et al. 2018, eq. 3",
        equation="sum_k p_k log p_k / log C",
    ),
    Score(
        log_likelihood,
        needs=(LOGITS,),
        title="Log likelihood",
        paper=TUTORIAL,
        equation="log max_k p_k",
        provenance="Ranks as max softmax, with the digits that float32 rounds to 1.",
    ),
    Score(
        energy,
        needs=(LOGITS,),
        title="Energy",
        paper="Liu et al. 2020, eq. 4",
        equation="T log sum_k exp(z_k / T)",
    ),
    Score(
        negative_brier,
        needs=(LOGITS,),
        title="Negative Brier distance",
        paper=TUTORIAL,
        equation="-|p - e_yhat|^2 / C",
    ),
)
