"""What a map explains: one number for each example, made of its logits."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from trustjax import _inputs, _numerics, _validate, targets
from trustjax.typing import LossFn

TargetFn = Callable[[Float[Array, "batch classes"]], Float[Array, "batch ..."]]
"""`(logits) -> [batch]` or `[batch, asked]`, such as a score of `trustjax.scores`."""

Target = int | Int[Array, "..."] | TargetFn | None
"""A class, a class for each example, several for each, a `TargetFn`, or the predicted
class."""

OUTPUTS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "logits": lambda z: z,
    "probabilities": lambda z: jnp.exp(_numerics.log_softmax(z)),
    "log_probabilities": _numerics.log_softmax,
}
"""What of a class is asked."""

_QUESTIONS_AT_ONCE = 16


def asked(
    target: Target, clean: Float[Array, "batch classes"], *, output: str = "logits"
) -> TargetFn:
    """The question of a map, as a function of logits.

    Args:
      target: `None` asks about the class that is predicted for the clean images; an
        integer, or one for each example, `[batch]`, about that class; `[batch, asked]`
        about several. A function is taken as it is and is given logits, whatever
        `output` says.
      clean: the logits of the images themselves. Neither the choice of the class nor
        anything else made of them is differentiated.
      output: what of a class is asked: `"logits"`, `"probabilities"` or
        `"log_probabilities"`.

    Returns:
      `(logits) -> [batch]`, or `[batch, asked]`, in float32 or wider; for the logits of
      as many images, changed or not, in the order of the clean ones. A class that does
      not exist gives NaN where only values could show it.

    Raises:
      TypeError: if classes are not integers.
      ValueError: if there are not as many as images, one is known and does not exist,
        `output` is none of these, or a function returns another shape.

    >>> z = jnp.array([[1.0, 3.0], [2.0, 0.0]])
    >>> print(asked(None, z)(z), asked(1, z)(z))
    [3. 2.] [3. 0.]
    >>> print(asked(targets.every_class(z), z)(z))
    [[1. 3.]
     [2. 0.]]
    """
    _validate.choice("output", output, OUTPUTS)
    z = jax.lax.stop_gradient(_inputs.logits(clean))
    if callable(target):
        return _checked(target, len(z))
    classes = classes_of(target, z)
    wanted = jax.nn.one_hot(classes, z.shape[-1], dtype=bool)

    def of_classes(logits: jax.Array) -> jax.Array:
        values = OUTPUTS[output](_numerics.at_least_float32(_inputs.logits(logits)))
        if wanted.ndim == 3:
            values = values[:, None, :]
        exists = jnp.any(wanted, axis=-1)
        return jnp.where(exists, jnp.sum(values, axis=-1, where=wanted), jnp.nan)

    return of_classes


def classes_of(
    target: Target, logits: Float[Array, "batch classes"]
) -> Int[Array, "batch ..."]:
    """The classes that a target names: `[batch]`, or `[batch, asked]`.

    Raises:
      TypeError: if they are not integers; of a function, which names none.
      ValueError: if there are not as many as logits, or one is known not to exist.

    >>> print(classes_of(None, jnp.array([[1.0, 3.0], [2.0, 0.0]])))
    [1 0]
    """
    if target is None:
        return targets.predicted_class(logits)
    if callable(target):
        raise TypeError(
            "target must be a class here, or one for each example: there is no class "
            f"to contrast a function with, got {target}"
        )
    classes = jnp.asarray(target)
    if classes.ndim == 0:
        classes = jnp.broadcast_to(classes, logits.shape[:1])
    classes = _inputs.whole_numbers(
        "target", classes, "batch" if classes.ndim == 1 else "batch asked"
    )
    _validate.same_length(target=classes, logits=logits)
    _validate.classes("target", classes, logits.shape[-1])
    return classes


def class_difference(
    classes: int | Int[Array, " batch"], others: int | Int[Array, " batch"]
) -> TargetFn:
    r"""The target "why P, rather than Q?": a logit less another, :math:`z_P - z_Q`.

    Args:
      classes: P, for each example or for all.
      others: Q, likewise.

    Returns:
      A target: `(logits) -> [batch]`.

    Raises:
      ValueError: when called, as for a class.

    >>> print(class_difference(0, 1)(jnp.array([[1.0, 3.0], [2.0, 0.0]])))
    [-2.  2.]
    """

    def of_logits(logits: jax.Array) -> jax.Array:
        return asked(classes, logits)(logits) - asked(others, logits)(logits)

    return of_logits


def loss(loss_fn: LossFn, *loss_args: Any) -> TargetFn:
    """The target that a loss falls: a loss, negated, so that larger is better.

    Args:
      loss_fn: `(logits, *loss_args) -> [batch]`, one of `trustjax.losses` or your own.
      *loss_args: what it takes after the logits, such as labels `[batch]`.

    Returns:
      A target: `(logits) -> [batch]`.

    >>> from trustjax import losses
    >>> print(loss(losses.cross_entropy, jnp.array([0]))(jnp.zeros((1, 2))).round(3))
    [-0.693]
    """
    return lambda logits: -loss_fn(logits, *loss_args)


def gradients(question: TargetFn, logits: Any, pull: Callable[[jax.Array], Any]) -> Any:
    """The gradients of a question by what logits were made of, from one forward pass.

    Args:
      question: `(logits) -> [batch]`, or `[batch, asked]`.
      logits: `[batch, classes]`.
      pull: from a cotangent of the logits to a tree of arrays `[batch, ...]`.

    Returns:
      The tree of `pull` with arrays `[batch, ...]`, or `[batch, asked, ...]`. NaN where
      the answer to the question is: it has no gradient, which is not one of zero.
    """
    values, pull_question = jax.vjp(question, logits)

    def towards(cotangent: jax.Array) -> Any:
        return pull(pull_question(cotangent)[0])

    if values.ndim == 1:
        found = towards(jnp.ones_like(values))
    else:
        spread = lambda row: towards(jnp.broadcast_to(row[None], values.shape))
        each = jnp.eye(values.shape[1], dtype=values.dtype)
        found = jax.lax.map(spread, each, batch_size=_QUESTIONS_AT_ONCE)
        found = jax.tree.map(lambda gradient: jnp.moveaxis(gradient, 0, 1), found)

    def known(gradient: jax.Array) -> jax.Array:
        nan = jnp.isnan(values)
        nan = nan.reshape(nan.shape + (1,) * (gradient.ndim - nan.ndim))
        return jnp.where(nan, jnp.nan, gradient)

    return jax.tree.map(known, found)


def _checked(target: TargetFn, length: int) -> TargetFn:
    def of_logits(logits: jax.Array) -> jax.Array:
        values = target(logits)
        if values.ndim not in (1, 2) or len(values) != length:
            raise ValueError(
                f"target must return [batch] or [batch, asked] of {length} examples, "
                f"got {values.shape}"
            )
        return _numerics.at_least_float32(values)

    return of_logits
