"""Scores of a network's answer to a changed input."""

from typing import Any

from jaxtyping import Array, Float

from trustjax import passes
from trustjax.passes import ODIN_LOGITS
from trustjax.scores._confidence import max_softmax
from trustjax.scores._score import Score
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

    >>> import jax.numpy as jnp
    >>> linear = lambda params, x: x @ params
    >>> x = jnp.array([[1.0, 0.0]])
    >>> print(odin(linear, jnp.eye(2), x, temperature=1.0, epsilon=99.0))
    [1.]

    References:
      Liang, Li and Srikant 2018 (arXiv:1706.02690), eqs. 1 and 2. Their code takes
      sign(0) for 1 and divides the step by the standard deviation of CIFAR-10. The
      authors' GradTrust demo takes T = 100 and no scale.
    """
    return _odin(
        passes.odin_logits(
            apply_fn,
            params,
            x,
            temperature=temperature,
            epsilon=epsilon,
            scale=scale,
        )
    )


def _odin(odin_logits: Float[Array, "batch classes"]) -> Float[Array, " batch"]:
    """Max softmax at a high temperature, one step towards the prediction."""
    return max_softmax(odin_logits)


SCORES = (
    Score(
        _odin,
        needs=(ODIN_LOGITS,),
        title="ODIN",
        paper="Liang et al. 2018, eqs. 1 and 2",
        equation="max_k softmax(f(x - e sign grad) / T)_k",
        provenance="sign(0) is 0, where the authors' code takes 1.",
    ),
)
