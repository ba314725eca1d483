r"""The softmax, written from the predicted class so that no probability loses digits.

With the lead :math:`d_k = z_{\hat y} - z_k` over each class,

.. math:: \log p_k = -d_k - \log(1 + \sum_{j \ne \hat y} e^{-d_j}),

which is right to the last digit for the predicted class too: where
:math:`p_{\hat y} = 1 - 10^{-12}`, `jax.nn.log_softmax` rounds its logarithm to zero in
float32. A logit of +inf gives its limit, probability one.

Half-precision logits are widened to float32 first: a score is there to rank, and
bfloat16 knows only 128 values between 0.5 and 1.
"""

import math

import jax
import jax.numpy as jnp

from trustjax import _validate
from trustjax._numerics import at_least_float32


def is_predicted(z: jax.Array) -> jax.Array:
    """True at the predicted class of each row, the first of equal largest logits."""
    return jax.nn.one_hot(jnp.argmax(z, axis=-1), z.shape[-1], dtype=bool)


def log_probabilities(logits: jax.Array, *, temperature: float = 1.0) -> jax.Array:
    """Log softmax of `logits / temperature`, checked and widened."""
    _validate.logits(logits)
    _validate.positive("temperature", temperature)
    z = at_least_float32(logits) / temperature
    predicted = is_predicted(z)
    largest = jnp.sum(z, axis=-1, keepdims=True, where=predicted)
    # inf - inf where the predicted logit is +inf.
    lead = jnp.where(predicted & ~jnp.isnan(z), 0.0, largest - z)
    rivals = jnp.sum(jnp.exp(-lead), axis=-1, keepdims=True, where=~predicted)
    return -lead - jnp.log1p(rivals)


def entropy(log_p: jax.Array) -> jax.Array:
    """Shannon entropy over the last axis, in nats; probability 0 adds nothing."""
    absent = log_p == -jnp.inf
    return -jnp.sum(jnp.exp(log_p) * jnp.where(absent, 0.0, log_p), axis=-1)


def entropy_unit(classes: int, *, normalised: bool) -> float:
    """Logarithm of the classes, or 1 where there is nothing to divide by."""
    return math.log(classes) if normalised and classes > 1 else 1.0


def log_distance_to_prediction(
    log_p: jax.Array,
) -> jax.Array:
    r"""Logarithm of :math:`|p - e_{\hat y}|^2`, exact where the difference is tiny.

    .. math:: |p - e_{\hat y}|^2 = (1 - p_{\hat y})^2 + \sum_{k \ne \hat y} p_k^2,
        \qquad 1 - p_{\hat y} = \sum_{k \ne \hat y} p_k

    >>> print(jnp.exp(log_distance_to_prediction(jnp.log(jnp.array([[0.8, 0.2]])))))
    [0.08]
    """
    rivals = ~is_predicted(log_p)
    log_others = jax.nn.logsumexp(log_p, axis=-1, where=rivals)
    log_squares = jax.nn.logsumexp(2 * log_p, axis=-1, where=rivals)
    return jnp.logaddexp(2 * log_others, log_squares)
