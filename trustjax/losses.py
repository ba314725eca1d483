"""Unreduced losses: one number per example, nothing averaged."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _validate


def predicted_cross_entropy(
    logits: Float[Array, "batch classes"],
) -> Float[Array, " batch"]:
    r"""Cross entropy to the predicted class, the label that the network would give.

    .. math:: \ell(z) = -\log p_{\hat y}, \qquad \hat y = \arg\max_k z_k

    Its gradient is the "re-learning stress" of Oberdiek et al.: no true label enters.
    Ties go to the first of the largest logits, and the choice is not differentiated.

    Args:
      logits: network outputs before the softmax.

    Returns:
      The loss of each example, in [0, log classes]; lower = more confident.

    Raises:
      ValueError: if `logits` is not `[batch, classes]`.

    >>> print(predicted_cross_entropy(jnp.log(jnp.array([[0.5, 0.3, 0.2]]))).round(3))
    [0.693]

    References:
      Oberdiek, Rottmann and Gottschalk 2018, section 3.
    """
    _validate.logits(logits)
    predicted = jnp.argmax(logits, axis=-1, keepdims=True)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), predicted, axis=-1)
    return -jnp.squeeze(chosen, axis=-1)
