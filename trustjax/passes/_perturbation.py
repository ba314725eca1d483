"""An input that is moved towards its prediction, and the answer to it."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _inputs, _validate, gradients, losses
from trustjax._numerics import at_least_float32
from trustjax.ingredients import Ingredient
from trustjax.typing import ApplyFn, Params


def odin_input(
    apply_fn: ApplyFn,
    params: Params,
    x: Float[Array, "batch ..."],
    *,
    temperature: float = 1000.0,
    epsilon: float = 0.0014,
    scale: Any = 1.0,
) -> Float[Array, "batch ..."]:
    r"""The input of ODIN: one step that makes the network surer of its answer.

    .. math::
      \tilde x = x - \frac{\epsilon}{\sigma} \operatorname{sign}
        \nabla_x \big({-\log} \max_k \mathrm{softmax}(f(x) / T)_k\big)

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: what `apply_fn` takes first.
      x: inputs, taken in float32 or wider.
      temperature: :math:`T`, divides the logits.
      epsilon: :math:`\epsilon`, the size of the step.
      scale: :math:`\sigma`, divides the step: the standard deviation by which the
        inputs were divided, one number or one for each channel, so that the step is
        the same in the units of the raw image.

    Returns:
      Inputs of the same shape, in float32 or wider.

    Raises:
      ValueError: if `temperature` is not positive, `epsilon` is negative, or `scale`
        does not broadcast to the inputs.

    =================================  ==============================
    Edge case                          Value
    =================================  ==============================
    an input without influence         not moved: sign(0) is 0
    epsilon 0                          not moved
    =================================  ==============================

    >>> linear = lambda params, x: x @ params
    >>> print(odin_input(linear, jnp.eye(2), jnp.array([[1.0, 0.0]]), epsilon=0.5))
    [[ 1.5 -0.5]]

    References:
      Liang, Li and Srikant 2018 (arXiv:1706.02690), eq. 2. Their code takes sign(0) for
      1 and divides the step by the standard deviation of CIFAR-10.
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
    return x - jnp.broadcast_to(step, x.shape) * jnp.sign(gradient)


def odin_logits(
    apply_fn: ApplyFn,
    params: Params,
    x: Float[Array, "batch ..."],
    *,
    temperature: float = 1000.0,
    epsilon: float = 0.0014,
    scale: Any = 1.0,
) -> Float[Array, "batch classes"]:
    r"""The tempered logits :math:`f(\tilde x) / T` of the input of ODIN.

    Args:
      apply_fn: as in `odin_input`.
      params: as in `odin_input`.
      x: as in `odin_input`.
      temperature: :math:`T`, divides the logits in both places.
      epsilon: as in `odin_input`.
      scale: as in `odin_input`.

    Returns:
      Logits in float32 or wider.

    Raises:
      ValueError: as `odin_input`.

    >>> linear = lambda params, x: x @ params
    >>> x = jnp.array([[1.0, 0.0]])
    >>> print(odin_logits(linear, jnp.eye(2), x, temperature=2.0, epsilon=0.5))
    [[ 0.75 -0.25]]

    References:
      Liang, Li and Srikant 2018 (arXiv:1706.02690), eqs. 1 and 2.
    """
    moved = odin_input(
        apply_fn, params, x, temperature=temperature, epsilon=epsilon, scale=scale
    )
    return _tempered(apply_fn(params, moved), temperature)


def _tempered(logits: jax.Array, temperature: float) -> jax.Array:
    return at_least_float32(logits) / temperature


def _odin(batch: Any, **options: Any) -> jax.Array:
    return odin_logits(batch.apply_fn, batch.params, batch.x, **options)


ODIN_LOGITS = Ingredient(
    "odin_logits",
    ask=_odin,
    cost="a forward pass, and a backward pass to the input",
)
"""`odin_logits`, with its options."""
