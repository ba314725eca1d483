"""Scores of a network's answer to a changed input."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _inputs, _validate, gradients, losses
from trustjax._numerics import at_least_float32
from trustjax.scores._confidence import max_softmax
from trustjax.typing import ApplyFn, Params


def odin(
    apply_fn: ApplyFn,
    params: Params,
    x: Float[Array, "batch ..."],
    *,
    temperature: float = 1000.0,
    epsilon: float = 0.0014,
    scale: Any = 1.0,
) -> Float[Array, " batch"]:
    r"""ODIN: max softmax at a high temperature, one step towards the prediction.

    .. math::
      s(x) = \max_k \mathrm{softmax}(f(\tilde x) / T)_k, \qquad
      \tilde x = x - \frac{\epsilon}{\sigma} \operatorname{sign}
        \nabla_x \big({-\log} \max_k \mathrm{softmax}(f(x) / T)_k\big)

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: what `apply_fn` takes first.
      x: inputs, taken in float32 or wider.
      temperature: :math:`T`, divides the logits in both places.
      epsilon: :math:`\epsilon`, the size of the step.
      scale: :math:`\sigma`, divides the step: the standard deviation by which the
        inputs were divided, one number or one for each channel, so that the step is
        the same in the units of the raw image.

    Returns:
      The score of each example, in [1 / classes, 1]; higher = more trust.

    Raises:
      ValueError: if `temperature` is not positive, `epsilon` is negative, or `scale`
        does not broadcast to the inputs.

    =================================  ==============================
    Edge case                          Value
    =================================  ==============================
    one class                          1
    an input without influence         not moved: sign(0) is 0
    epsilon 0                          max softmax at the temperature
    a NaN logit                        NaN
    =================================  ==============================

    >>> linear = lambda params, x: x @ params
    >>> x = jnp.array([[1.0, 0.0]])
    >>> print(odin(linear, jnp.eye(2), x, temperature=1.0, epsilon=99.0))
    [1.]

    References:
      Liang, Li and Srikant 2018, eqs. 1 and 2. Their code takes sign(0) for 1 and
      divides the step by the standard deviation of CIFAR-10. The authors' GradTrust
      demo takes T = 100 and no scale.
    """
    return max_softmax(
        odin_logits(
            apply_fn,
            params,
            x,
            temperature=temperature,
            epsilon=epsilon,
            scale=scale,
        )
    )


def odin_logits(
    apply_fn: ApplyFn,
    params: Params,
    x: Float[Array, "batch ..."],
    *,
    temperature: float = 1000.0,
    epsilon: float = 0.0014,
    scale: Any = 1.0,
) -> Float[Array, "batch classes"]:
    r"""The tempered logits :math:`f(\tilde x) / T` that `odin` takes the softmax of.

    Args:
      apply_fn: as in `odin`.
      params: as in `odin`.
      x: as in `odin`.
      temperature: as in `odin`.
      epsilon: as in `odin`.
      scale: as in `odin`.

    Returns:
      Logits in float32 or wider.

    Raises:
      ValueError: as `odin`.

    >>> linear = lambda params, x: x @ params
    >>> x = jnp.array([[1.0, 0.0]])
    >>> print(odin_logits(linear, jnp.eye(2), x, temperature=1.0, epsilon=0.5))
    [[ 1.5 -0.5]]
    """
    _validate.positive("temperature", temperature)
    _validate.not_negative("epsilon", epsilon)
    x = _inputs.array("x", x)
    _validate.floating("x", x)
    x = at_least_float32(x)  # in bfloat16 most inputs would round back to themselves
    step = epsilon / jnp.asarray(scale, x.dtype)
    _validate.broadcasts("scale", step, x.shape)
    gradient = gradients.input_gradients(
        apply_fn,
        params,
        x,
        loss_fn=lambda z: losses.predicted_cross_entropy(_tempered(z, temperature)),
    )
    towards = x - jnp.broadcast_to(step, x.shape) * jnp.sign(gradient)
    return _tempered(apply_fn(params, towards), temperature)


def _tempered(logits: jax.Array, temperature: float) -> jax.Array:
    return at_least_float32(logits) / temperature
