"""Whether a part of an input is enough for an answer, and whether it is needed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from trustjax import _inputs, _validate, targets
from trustjax._meshes import in_auto_axes
from trustjax._numerics import at_least_float32, is_predicted, log_softmax
from trustjax.explain import filled
from trustjax.interventions._family import Family, over_members
from trustjax.typing import ApplyFn, Params

Mask = Float[np.ndarray | Array, "batch ..."]

OUTPUTS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "probabilities": lambda z: jnp.exp(log_softmax(z)),
    "decisions": lambda z: is_predicted(z).astype(z.dtype),
}
"""What is averaged over the members."""


class Effect(NamedTuple):
    """An average over the members of a family.

    Attributes:
      value: `[batch]`, in [0, 1].
      standard_error: how far `value` would move with other members drawn alike,
        `[batch]`; NaN of a single one.
    """

    value: Float[Array, " batch"]
    standard_error: Float[Array, " batch"]


def sufficiency(
    apply_fn: ApplyFn,
    params: Params,
    x: Float[Array, "batch ..."],
    mask: Mask,
    family: Family,
    *,
    target: int | Int[Array, " batch"] | None = None,
    output: str = "probabilities",
    microbatch: int | None = None,
) -> Effect:
    r"""How sure the answer stays where the mask is kept and the rest is redrawn.

    .. math:: E_{x'} \; p_t\big(m \odot x + (1 - m) \odot x'\big)

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: what it takes first.
      x: images `[batch, height, width, channels]`, or clips with frames before them.
      mask: :math:`m`, `[batch, *positions]`, in [0, 1].
      family: where the rest is drawn from, :math:`x'`: other images of the data, as
        `given(images[:, None])`, or the image under noise.
      target: :math:`t`: a class, or one for each image; None is the predicted class of
        x.
      output: `"probabilities"`, or `"decisions"`: how often t is predicted.
      microbatch: members at a time, as in `predictive_uncertainty_of`.

    Returns:
      `Effect`; higher = the mask is more nearly enough for the answer.

    Raises:
      ValueError: as `predictive_uncertainty_of`; if the mask has other positions than
        x, a known target does not exist, or `output` is none of these.

    ====================  =====================================
    Edge case             Value
    ====================  =====================================
    all is kept           that of x itself, standard error 0
    one member            standard error NaN
    ====================  =====================================

    >>> from trustjax.interventions import given
    >>> rows = lambda params, x: 9 * x.sum((2, 3))  # a class for each row
    >>> x = jnp.array([[[[3.0]], [[0.0]]]])
    >>> other = given(x[None, :, ::-1])
    >>> print(sufficiency(rows, None, x, jnp.array([[[1.0], [1.0]]]), other).value)
    [1.]

    References:
      AlRegib and Prabhushankar 2025 (WACV tutorial), part 4: of the three rules of
      interventions the part that can be computed; RISE and insertion are of this kind.
    """
    keep = _inputs.array("mask", mask)
    return _answered(apply_fn, params, x, keep, family, target, output, microbatch)


def necessity(
    apply_fn: ApplyFn,
    params: Params,
    x: Float[Array, "batch ..."],
    mask: Mask,
    family: Family,
    *,
    target: int | Int[Array, " batch"] | None = None,
    output: str = "probabilities",
    microbatch: int | None = None,
) -> Effect:
    r"""How far the answer is lost where the mask is redrawn and the rest is kept.

    .. math:: 1 - E_{x'} \; p_t\big((1 - m) \odot x + m \odot x'\big)

    Args:
      apply_fn: as in `sufficiency`.
      params: as in `sufficiency`.
      x: as in `sufficiency`.
      mask: as in `sufficiency`.
      family: where the masked part is drawn from.
      target: as in `sufficiency`.
      output: as in `sufficiency`; of `"decisions"` how often t is not predicted.
      microbatch: as in `sufficiency`.

    Returns:
      `Effect`; higher = the mask is more needed for the answer.

    Raises:
      ValueError: as `sufficiency`.

    ====================  =====================================
    Edge case             Value
    ====================  =====================================
    an empty mask         1 - p of x itself, standard error 0
    one member            standard error NaN
    ====================  =====================================

    >>> from trustjax.interventions import given
    >>> rows = lambda params, x: 9 * x.sum((2, 3))
    >>> x = jnp.array([[[[3.0]], [[0.0]]]])
    >>> other = given(x[None, :, ::-1])
    >>> print(necessity(rows, None, x, jnp.array([[[1.0], [1.0]]]), other).value)
    [1.]

    References:
      As `sufficiency`; SHAPE and deletion are of this kind.
    """
    keep = 1 - _inputs.array("mask", mask)
    kept = _answered(apply_fn, params, x, keep, family, target, output, microbatch)
    return Effect(1 - kept.value, kept.standard_error)


class _Moments(NamedTuple):
    """Of numbers `[batch, members]`: how many, their mean, and squares about it."""

    count: jax.Array
    mean: jax.Array
    squares: jax.Array

    @classmethod
    def of(cls, values: jax.Array) -> "_Moments":
        mean = jnp.mean(values, axis=1)
        squares = jnp.sum((values - mean[:, None]) ** 2, axis=1)
        return cls(jnp.full_like(mean, values.shape[1]), mean, squares)

    def merge(self, other: "_Moments") -> "_Moments":
        """Of both together (Chan, Golub and LeVeque 1979)."""
        count, lead = self.count + other.count, other.mean - self.mean
        share = other.count / count
        squares = self.squares + other.squares + lead**2 * self.count * share
        return _Moments(count, self.mean + lead * share, squares)


def _answered(
    apply_fn: ApplyFn,
    params: Params,
    x: jax.Array,
    keep: jax.Array,
    family: Family,
    target: int | jax.Array | None,
    output: str,
    microbatch: int | None,
) -> Effect:
    """The average answer where `keep` says how much of x is kept."""
    _validate.choice("output", output, OUTPUTS)
    x = _inputs.array("x", x)
    _validate.floating("x", x)
    clean = jax.eval_shape(apply_fn, params, x)
    if target is not None:
        target = jnp.asarray(target)
        _validate.classes("target", target, clean.shape[1])
        _validate.broadcasts("target", target, x.shape[:1])

    def of_batch(
        params: Params, x: jax.Array, keep: jax.Array, family: Family, target: Any
    ) -> Effect:
        classes = target
        if classes is None:
            classes = targets.predicted_class(apply_fn(params, x))
        wanted = jax.nn.one_hot(classes, clean.shape[1], dtype=bool)[..., None, :]

        def redrawn(data: tuple, x: jax.Array, number: jax.Array) -> jax.Array:
            keep, family = data
            return filled(x, keep, family(x, number))

        def of_logits(logits: jax.Array) -> _Moments:
            values = OUTPUTS[output](at_least_float32(logits))
            return _Moments.of(jnp.sum(values, axis=-1, where=wanted))

        mixed = Family(redrawn, (keep, family), family.count)
        found = over_members(
            mixed, params, x, apply_fn, of_logits, _Moments.merge, microbatch
        )
        # Of one member 0 / 0: nothing is known of how far the value would move.
        variance = found.squares / (found.count - 1)
        return Effect(found.mean, jnp.sqrt(variance / found.count))

    return in_auto_axes(of_batch, params, x, keep, family, target, batch=x)
