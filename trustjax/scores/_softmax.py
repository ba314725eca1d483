"""What the scores of logits and of their softmax share.

Half-precision logits are widened to float32 first: a score is there to rank, and
bfloat16 knows only 128 values between 0.5 and 1.
"""

import math

import jax
import jax.numpy as jnp

from trustjax import _validate
from trustjax._numerics import at_least_float32, is_predicted, log_softmax


def log_probabilities(logits: jax.Array, *, temperature: float = 1.0) -> jax.Array:
    """Log softmax of `logits / temperature`, checked and widened."""
    return log_softmax(tempered(logits, temperature))


def tempered(logits: jax.Array, temperature: float) -> jax.Array:
    """`logits / temperature`, checked and widened."""
    _validate.logits(logits)
    _validate.positive("temperature", temperature)
    return at_least_float32(logits) / temperature


def log_largest_and_entropy(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    r"""Log of the largest softmax probability and the entropy, exact to the last digit.

    With :math:`d_k = z_k - \max z` and the mass of all but one of the largest,
    :math:`r = \sum_k e^{d_k} - 1`,

    .. math:: \log \max_k p_k = -\log(1 + r), \qquad
              H = \log(1 + r) - \frac{\sum_k e^{d_k} d_k}{1 + r}

    Nothing is subtracted from 1, so a probability of 1 - 1e-12 keeps its digits. The
    same follows from `log_probabilities`; this way never asks which class is predicted
    and compares no elements, so that XLA fuses all of it into sums on a CPU.

    >>> print(log_largest_and_entropy(jnp.array([[0.0, -30.0]]))[0])
    [-9.357623e-14]
    """
    limits, classes = jnp.finfo(z.dtype), z.shape[-1]
    largest = jnp.max(z, axis=-1)
    top = jnp.clip(largest, limits.min, limits.max)
    d = jnp.maximum(jnp.minimum(z - top[..., None], 0), limits.min)
    # 0 where d is 0, else 1.
    below = jax.lax.stop_gradient(jnp.minimum(-d / limits.tiny, 1))
    mass = jnp.exp(d)
    rivals = jnp.sum(mass * below, axis=-1) + (classes - 1 - jnp.sum(below, axis=-1))
    rivals = jnp.where(largest == -jnp.inf, classes - 1, rivals)
    # Several infinite logits: which is the largest, nobody knows.
    rivals = jnp.where(jnp.isinf(largest) & (rivals > 0), jnp.nan, rivals)
    log_total = jnp.log1p(rivals)
    return -log_total, log_total - jnp.sum(mass * d, axis=-1) / (1 + rivals)


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
