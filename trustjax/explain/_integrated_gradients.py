r"""Gradients along the way from a baseline to the image, which add up to the answer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from trustjax import _inputs, _validate, transforms
from trustjax._meshes import in_auto_axes
from trustjax._numerics import at_least_float32
from trustjax.explain._baseline import Baseline, substrate
from trustjax.explain._gradient_maps import (
    check_differentiable,
    differentiated,
    gradients_at,
    whole,
)
from trustjax.explain._target import Target, asked
from trustjax.explain._told import tell
from trustjax.typing import ApplyFn, Params, SplitModel


def _gauss_legendre(steps: int) -> tuple[np.ndarray, np.ndarray]:
    places, weights = np.polynomial.legendre.leggauss(steps)
    return (1 + places) / 2, weights / 2


def _trapezoid(steps: int) -> tuple[np.ndarray, np.ndarray]:
    _validate.count("steps", steps, at_least=2)
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


def _middle(steps: int) -> tuple[np.ndarray, np.ndarray]:
    return (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)


RULES = {
    "gauss_legendre": _gauss_legendre,
    "trapezoid": _trapezoid,
    "middle": _middle,
}
"""How many steps to where on [0, 1] they are, and what each weighs."""


class IntegratedGradients(NamedTuple):
    """Integrated gradients, and what they miss.

    Attributes:
      map: shape of x, or `[batch, asked, ...]`; signed.
      residual: the sum of the map less the answer to the image and plus that to the
        baseline, `[batch]` or `[batch, asked]`: 0 if the integral is exact.
    """

    map: Float[Array, "batch ..."]
    residual: Float[Array, "batch ..."]


def integrated_gradients(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Float[Array | np.ndarray, "batch ..."],
    *,
    target: Target = None,
    output: str = "logits",
    baseline: Baseline = "mean",
    steps: int = 50,
    method: str = "gauss_legendre",
    microbatch: int = 4,
) -> IntegratedGradients:
    r"""Integrated gradients: the answer, shared out among the numbers of x.

    .. math::
      E = (x - x') \odot \int_0^1 \frac{\partial t(f_\theta(x' + \alpha (x - x')))}
      {\partial x} \, d\alpha, \qquad \sum E = t(f_\theta(x)) - t(f_\theta(x'))

    The integral is a weighted sum over a few points; `residual` says how far the sum on
    the right is missed. Where that is no small part of the answer, take more steps.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: what it takes first.
      x: images, clips, vectors or whatever it takes, `[batch, ...]`.
      target: :math:`t`, as in `saliency`. The predicted class is that of x.
      output: as in `saliency`.
      baseline: :math:`x'`, what stands for the absence of everything: `"mean"`, the
        mean colour of each image itself, `"zero"`, `"blur"`, a number, or an array that
        broadcasts to x. Of what is no image or clip, a number or an array.
      steps: at how many points the gradient is taken.
      method: where these are. `"gauss_legendre"`: the nodes of Gauss and Legendre;
        `"trapezoid"`: evenly spaced, both ends among them; `"middle"`: the middles of
        intervals of equal length.
      microbatch: how many points of each image are taken at once. Memory grows with it,
        not with `steps`; the result does not depend on it.

    Returns:
      `IntegratedGradients`: the map in the shape of x, in float32 or wider, positive
      where x speaks for the target as the baseline does not; and the residual.

    Raises:
      TypeError: if x is not floating point.
      ValueError: as `explain` says of targets, and `explain.rise` of baselines; if
        `method` is unknown, or `steps` or `microbatch` is no positive integer;
        of `"trapezoid"`, if there are fewer than two steps.

    ==================================  ==========================================
    Edge case                           Value
    ==================================  ==========================================
    x equal to the baseline             zeros, and a residual of 0
    NaN in an answer on the way         NaN, and a warning outside `jit`
    ==================================  ==========================================

    >>> square = lambda params, x: params * x**2
    >>> x = jnp.array([[1.0, 3.0]])
    >>> found = integrated_gradients(square, 2.0, x, baseline=0.0, target=1)
    >>> print(found.map.round(3), found.residual.round(3))
    [[ 0. 18.]] [0.]

    References:
      Sundararajan, Taly and Yan 2017 (arXiv:1703.01365), eqs. 1 and 3. captum 0.9 has a
      trapezoidal rule whose weights add up to (steps - 1) / steps, so that its map and
      its convergence delta are short of that part of the answer.
    """
    check_differentiable(x)
    _validate.choice("method", method, RULES)
    _validate.count("steps", steps)
    _validate.count("microbatch", microbatch)
    x = _inputs.array("x", x)
    network = differentiated(apply_fn)
    # As long as the network is affine, a line stays one: so far it is taken once.
    parts = transforms.affine_start(whole(apply_fn), params, _type_of(x))
    head = differentiated(parts.head_fn)
    places, weights = RULES[method](steps)
    rule = _in_turns(places, weights, microbatch, at_least_float32(x).dtype)

    def of_batch(params: Params, x: jax.Array, target: Target, baseline: Any) -> Any:
        start = _start(x, baseline)
        logits = network(params, x)
        question = asked(target, logits, output=output)
        features = differentiated(parts.features_fn)
        first = features(params, start)
        last, pull = jax.vjp(lambda x: features(params, x), x)

        def of_points(places: jax.Array, weights: jax.Array) -> jax.Array:
            where = places.astype(first.dtype).reshape(1, -1, *[1] * (first.ndim - 1))
            points = first[:, None] + where * (last - first)[:, None]
            total = lambda each: jnp.einsum("bp...,p->b...", each, weights)
            return gradients_at(head, params, points, question, total)

        def add(sofar: jax.Array, some: Any) -> tuple[jax.Array, None]:
            return sofar + of_points(*some), None

        nothing = jax.eval_shape(of_points, *jax.tree.map(lambda a: a[0], rule))
        start_of_sum = jnp.zeros(nothing.shape, nothing.dtype)
        total, _ = jax.lax.scan(add, start_of_sum, rule)
        total = _pulled(pull, total, last)
        way = at_least_float32(x - start)
        between = (1,) * (total.ndim - x.ndim)
        maps = way.reshape(x.shape[:1] + between + x.shape[1:]) * total
        gained = question(logits) - question(network(params, start))
        over_x = tuple(range(gained.ndim, maps.ndim))
        return IntegratedGradients(maps, jnp.sum(maps, axis=over_x) - gained)

    found = in_auto_axes(of_batch, params, x, target, baseline, batch=x)
    tell("integrated_gradients", found.map)
    return found


def _pulled(
    pull: Callable[[jax.Array], tuple[jax.Array]], total: jax.Array, like: jax.Array
) -> jax.Array:
    """Gradients by the features as gradients by x, for one target or several."""
    by_x = lambda total: at_least_float32(pull(total.astype(like.dtype))[0])
    if total.ndim == like.ndim:
        return by_x(total)
    each = jax.lax.map(by_x, jnp.moveaxis(total, 1, 0))
    return jnp.moveaxis(each, 0, 1)


def _type_of(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _start(x: jax.Array, baseline: Baseline) -> jax.Array:
    """The baseline of each example; of vectors too, where it is given."""
    if isinstance(baseline, str):
        if baseline == "zero":
            return jnp.zeros_like(x)
        if x.ndim not in (4, 5):
            raise ValueError(
                f"baseline must be a number or an array where x is no batch of images "
                f"or clips, got {baseline!r} for x of {x.shape}"
            )
        return substrate(x, baseline)
    value = _inputs.array("baseline", baseline)
    _validate.broadcasts("baseline", value, x.shape)
    return jnp.broadcast_to(value.astype(x.dtype), x.shape)


def _in_turns(
    places: np.ndarray, weights: np.ndarray, size: int, dtype: Any
) -> tuple[jax.Array, jax.Array]:
    """Points `[turns, size]`, filled up with the last one at no weight."""
    size = min(size, len(places))
    missing = -len(places) % size
    places = np.pad(places, (0, missing), mode="edge").reshape(-1, size)
    weights = np.pad(weights, (0, missing)).reshape(-1, size)
    return jnp.asarray(places, dtype), jnp.asarray(weights, dtype)
