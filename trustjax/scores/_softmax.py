"""What the scores of logits and of their softmax share.

Half-precision logits are widened to float32 first: a score is there to rank, and
bfloat16 knows only 128 values between 0.5 and 1.
"""

import math

import jax
import jax.numpy as jnp

from trustjax import _inputs, _validate
from trustjax._numerics import (
    at_least_float32,
    is_predicted,
    log_max_softmax,
    log_softmax,
    softmax_entropy,
)


def log_probabilities(logits: jax.Array, *, temperature: float = 1.0) -> jax.Array:
    """Log softmax of `logits / temperature`, checked and widened."""
    return log_softmax(_tempered(logits, temperature))


def log_probability_of_prediction(
    logits: jax.Array, *, temperature: float = 1.0
) -> jax.Array:
    """The largest of `log_probabilities`, `[batch]`."""
    return log_max_softmax(_tempered(logits, temperature))


def entropy_of_prediction(logits: jax.Array, *, temperature: float = 1.0) -> jax.Array:
    """The entropy of `log_probabilities`, in nats, `[batch]`."""
    return softmax_entropy(_tempered(logits, temperature))


def _tempered(logits: jax.Array, temperature: float) -> jax.Array:
    z = at_least_float32(_inputs.logits(logits))
    _validate.positive("temperature", temperature)
    return z / temperature


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
    if log_p.shape[-1] == 1:
        return jnp.where(jnp.isnan(log_p[..., 0]), jnp.nan, -jnp.inf)
    rivals = ~is_predicted(log_p)
    log_others = jax.nn.logsumexp(log_p, axis=-1, where=rivals)
    log_squares = jax.nn.logsumexp(2 * log_p, axis=-1, where=rivals)
    return jnp.logaddexp(2 * log_others, log_squares)
