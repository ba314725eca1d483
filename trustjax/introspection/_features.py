r"""Introspective features in closed form: "why this answer, rather than class Q?".

The answer is how the last layer would have to change if Q were the label: the gradient
of a loss between the logits and Q. With :math:`z = h W + b` it is the outer product of
the change that the logits are asked for and the embedding, and is kept as these two.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from trustjax import _inputs, _validate, targets
from trustjax._meshes import in_auto_axes
from trustjax._numerics import at_least_float32, log_softmax
from trustjax.typing import LossFn

Loss = str | LossFn
"""A name of `LOSSES`, or a function `(logits, asked) -> [batch]`."""

Target = str | Int[Array, " batch"] | Float[Array, "..."]
"""What is asked: a name of `TARGETS`, a class for each example, or values."""

TARGETS = ("all_ones", "each_class")
"""What `target` may be by name."""


class Features(NamedTuple):
    r"""Gradients of the last layer as their two factors, :math:`r_i = a_i h_i^\top`.

    Attributes:
      change: :math:`a`, the gradient by the logits, `[batch, classes]`; `[batch, asked,
        classes]` where several classes are asked about in turn.
      embedding: :math:`h`, what the last layer takes, `[batch, width]`.
    """

    change: jax.Array
    embedding: jax.Array


def features(
    logits: Float[Array, "batch classes"],
    embedding: Float[Array, "batch width"],
    *,
    loss: Loss = "squared_error",
    target: Target = "all_ones",
    constant: float = 1.0,
) -> Features:
    r"""The gradient of a loss in the last layer, as the two factors of each example.

    .. math::
      r = \frac{\partial \ell(z, M t)}{\partial W} = a h^\top, \qquad
      a = \begin{cases}
        (\textstyle\sum_k M t_k) \, p - M t & \text{cross entropy, } -\sum_k M t_k
          \log p_k \\
        \frac 2 C (z - M t) & \text{squared error, its mean over the classes} \\
        \frac 1 C (\sigma(z) - M t) & \text{binary cross entropy, its mean}
      \end{cases}

    Asked for all ones, one gradient holds every "why not class Q?": under the squared
    error with :math:`M = 1` its row Q is that of the gradient towards Q alone, and
    under the cross entropy it is the sum of the gradients towards each class.

    Args:
      logits: :math:`z`, network outputs before the softmax.
      embedding: :math:`h`, what the last layer takes.
      loss: `"cross_entropy"`, `"squared_error"` or `"binary_cross_entropy"`; or any
        `(logits, asked) -> [batch]`, both arguments `[batch, classes]`, whose gradient
        is then taken by JAX.
      target: :math:`t`: `"all_ones"`; `"each_class"`, every class in turn, with `asked`
        = classes; a class for each example, `[batch]`; or values, `[classes]` or
        `[batch, classes]`. It is not differentiated.
      constant: :math:`M`, what the target is multiplied by.

    Returns:
      The factors, in float32 or wider; `[batch, classes, width]` numbers are never
      made. Towards each class `change` holds `[batch, classes, classes]`.

    Raises:
      ValueError: if the shapes do not fit each other, or a name is unknown.
      TypeError: if logits or embedding are not floating point.

    =================================  ==============================================
    Edge case                          `change`
    =================================  ==============================================
    a class out of range               that of a target of zeros
    a saturated softmax or sigmoid     right to the last digit, not 0
    a logit of -inf                    squared error: as if there were no such class;
                                       else its limit
    a logit of +inf                    squared error: NaN; else its limit
    a NaN logit                        NaN
    =================================  ==============================================

    >>> z, h = jnp.array([[4.0, 5.0]]), jnp.array([[2.0, 0.0]])
    >>> print(features(z, h).change)
    [[3. 4.]]
    >>> features(z, h, target="each_class").change.shape
    (1, 2, 2)

    References:
      Prabhushankar and AlRegib 2022 (Introspective Learning, arXiv:2209.08425): "the
      loss between the prediction and a vector of all ones". Which loss, and which M,
      the paper's tables take is not known, for its features and their training were
      not published; the squared error with M = 1 is this library's choice.
    """
    z = at_least_float32(_inputs.logits(logits))
    h = _inputs.floats("embedding", embedding, "batch width")
    _validate.same_length(logits=z, embedding=h)
    if isinstance(loss, str):
        _validate.choice("loss", loss, tuple(LOSSES))

    asked_for = _asked(z, target)
    change = in_auto_axes(
        lambda z, asked: _changes(loss, z, constant * asked), z, asked_for, batch=z
    )
    return Features(change, at_least_float32(h))


def _asked(z: jax.Array, target: Target) -> jax.Array:
    """What is asked of each logit, `[batch, (asked,) classes]`."""
    batch, classes = z.shape
    if isinstance(target, str):
        _validate.choice("target", target, TARGETS)
        if target == "all_ones":
            return targets.all_ones(z)
        # Placed as the logits are.
        return jnp.zeros_like(z)[:, None, :] + jnp.eye(classes, dtype=z.dtype)[None]
    values = _inputs.array("target", target)
    if jnp.issubdtype(values.dtype, jnp.integer) and values.ndim == 1:
        _validate.same_length(logits=z, target=values)
        return targets.one_hot(values, classes).astype(z.dtype)
    _validate.floating("target", values)
    if values.shape not in ((classes,), (batch, classes)):
        raise ValueError(
            f"target must be a whole number for each of {batch} examples, or floating "
            f"of shape ({classes},) or ({batch}, {classes}), got {values.dtype} of "
            f"shape {values.shape}"
        )
    values = jax.lax.stop_gradient(values).astype(z.dtype)
    return jnp.zeros_like(z) + (values[None] if values.ndim == 1 else values)


def _changes(loss: Loss, z: jax.Array, asked: jax.Array) -> jax.Array:
    """The gradient of the loss by the logits, towards each of what is asked."""
    change = LOSSES[loss] if isinstance(loss, str) else _by_autodiff(loss)
    if asked.ndim == 2:
        return change(z, asked)
    return jax.vmap(change, in_axes=(None, 1), out_axes=1)(z, asked)


def _by_autodiff(loss_fn: LossFn) -> Callable[[jax.Array, jax.Array], jax.Array]:
    of_one = lambda z, asked: loss_fn(z[None], asked[None])[0]
    return jax.vmap(jax.grad(of_one))


def _cross_entropy(z: jax.Array, asked: jax.Array) -> jax.Array:
    log_p, total = log_softmax(z), jnp.sum(asked, axis=-1, keepdims=True)
    # By p - 1 where all is asked of one class: p may be 1 to the last digit.
    from_one = total * jnp.expm1(log_p) + (total - asked)
    return jnp.where(asked >= total, from_one, total * jnp.exp(log_p) - asked)


def _squared_error(z: jax.Array, asked: jax.Array) -> jax.Array:
    there = ~jnp.isneginf(z)
    count = jnp.maximum(jnp.sum(there, axis=-1, keepdims=True), 1)
    change = 2 * (jnp.where(there, z, asked) - asked) / count
    return jnp.where(jnp.isposinf(z), jnp.nan, change)


def _binary_cross_entropy(z: jax.Array, asked: jax.Array) -> jax.Array:
    # sigma(z) - t without the difference of two ones.
    up, down = jax.nn.sigmoid(-z), jax.nn.sigmoid(z)
    return ((1 - asked) * down - asked * up) / z.shape[-1]


LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "binary_cross_entropy": _binary_cross_entropy,
    "cross_entropy": _cross_entropy,
    "squared_error": _squared_error,
}
"""Losses by name: their gradient by the logits, `(logits, asked) -> change`."""
