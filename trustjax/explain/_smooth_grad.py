"""Gradients of noisy copies of the image, on average."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from trustjax import _inputs, _validate
from trustjax._meshes import in_auto_axes
from trustjax._numerics import safe_sqrt
from trustjax.explain._estimate import Estimate, gathered
from trustjax.explain._gradient_maps import (
    check_differentiable,
    differentiated,
    gradients_at,
)
from trustjax.explain._target import Target, asked
from trustjax.explain._told import tell
from trustjax.typing import ApplyFn, Params, SplitModel

_FEWEST = 10
"""Samples before `until` may stop: of fewer the standard error is not known well."""


def smooth_grad(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Float[Array | np.ndarray, "batch ..."],
    *,
    key: jax.Array,
    target: Target = None,
    output: str = "logits",
    noise: float = 0.15,
    samples: int = 50,
    each: Callable[[jax.Array], jax.Array] = lambda gradient: gradient,
    microbatch: int = 4,
    until: float | None = None,
) -> Estimate:
    r"""SmoothGrad: the gradient, on average over noisy copies of x.

    .. math::
      E = \frac{1}{n} \sum_{i=1}^n \frac{\partial t(f_\theta(x + \sigma \epsilon_i))}
      {\partial x}, \qquad \epsilon_i \sim N(0, 1), \quad
      \sigma = \text{noise} \, (\max x - \min x)

    The scale :math:`\sigma` is each image's own. Every example is given the same noise
    in its own scale: what one is told does not depend on the others.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: what it takes first.
      x: images, clips, vectors or whatever it takes, `[batch, ...]`.
      key: where the noise comes from.
      target: :math:`t`, as in `saliency`. The predicted class is that of x itself.
      output: as in `saliency`.
      noise: :math:`\sigma` as a share of the range of each example; 0.1 to 0.2 in the
        paper.
      samples: :math:`n`.
      each: what is averaged, a function of each noisy gradient, entry by entry: with
        `jnp.square` it is SmoothGrad-Squared.
      microbatch: how many noisy copies of each example are taken at once. Memory grows
        with it, not with `samples`; the result does not depend on it.
      until: stops when, for every map of an example, the root mean square of the
        standard error over all of its numbers is at most this fraction of the standard
        deviation of the map over them. It is looked at after each microbatch, from 10
        samples on, and each example stops by itself; `samples` stays the most there can
        be. Reverse-mode derivatives are for None alone.

    Returns:
      `Estimate`: the map in the shape of x, or `[batch, asked, ...]`, in float32 or
      wider; the standard error of each of its numbers; and how many samples there were.
      VarGrad, the variance of the noisy gradients, is `samples * standard_error**2`.

    Raises:
      TypeError: if x is not floating point.
      ValueError: as `explain` says of targets; if `noise` is negative, `samples` or
        `microbatch` is no positive integer, or `until` is not in (0, 1).

    ==================================  ==========================================
    Edge case                           Value
    ==================================  ==========================================
    a constant image, or no noise       the gradient itself, its error 0 but for
                                        rounding
    one sample                          NaN for the standard error
    NaN in an answer on the way         NaN, and a warning outside `jit`
    ==================================  ==========================================

    >>> linear = lambda params, x: x @ params
    >>> weights, x = jnp.array([[1.0], [-2.0]]), jnp.array([[0.0, 1.0]])
    >>> found = smooth_grad(linear, weights, x, key=jax.random.key(0))
    >>> print(found.map, found.standard_error, found.samples)
    [[ 1. -2.]] [[0. 0.]] [50]

    References:
      Smilkov, Thorat, Kim, Viégas and Wattenberg 2017 (arXiv:1706.03825), section 3.
      Hooker, Erhan, Kindermans and Kim 2019 (arXiv:1806.10758): the squares. Adebayo,
      Gilmer, Goodfellow and Kim 2018 (arXiv:1810.03307): VarGrad.
    """
    check_differentiable(x)
    _validate.not_negative("noise", noise)
    _validate.count("samples", samples)
    _validate.count("microbatch", microbatch)
    if until is not None:
        _validate.open_fraction("until", until)
    x = _inputs.array("x", x)
    network = differentiated(apply_fn)
    size = min(samples, microbatch)
    turns = -(-samples // size)

    def of_batch(params: Params, x: jax.Array, target: Target, key: jax.Array) -> Any:
        question = asked(target, network(params, x), output=output)
        over_x = tuple(range(1, x.ndim))
        spread = jnp.max(x, over_x, keepdims=True) - jnp.min(x, over_x, keepdims=True)

        def of_samples(numbers: jax.Array) -> jax.Array:
            units = jax.vmap(lambda number: _unit_noise(key, number, x))(numbers)
            points = x[None] + noise * spread[None] * units
            found = gradients_at(network, params, jnp.moveaxis(points, 0, 1), question)
            return each(jnp.moveaxis(found, found.ndim - x.ndim, 0))

        def add(sofar: Moments, turn: jax.Array, done: jax.Array) -> Moments:
            numbers = turn * size + jnp.arange(size)
            counted = (numbers < samples)[:, None] & ~done[None]
            return sofar.merged(of_samples(numbers), counted)

        # False, and sharded as x is.
        none_done = spread.reshape(-1) < 0
        shape = jax.eval_shape(of_samples, jnp.arange(size))
        nothing = jnp.zeros(shape.shape[1:], shape.dtype)
        sofar = Moments(none_done.astype(shape.dtype), nothing, nothing)
        axes, fewest = x.ndim - 1, min(_FEWEST, samples)
        is_sure = (
            None
            if until is None
            else (
                lambda sofar: sofar.estimate().is_sure(
                    until, fewest=fewest, axes_of_map=axes
                )
            )
        )
        return gathered(add, sofar, turns, none_done, is_sure).estimate()

    found = in_auto_axes(of_batch, params, x, target, key, batch=x)
    tell("smooth_grad", found.map)
    return found


def _unit_noise(key: jax.Array, number: jax.Array, x: jax.Array) -> jax.Array:
    """The noise of a sample for all examples, whatever else is drawn."""
    one = jax.random.fold_in(key, number)
    return jax.random.normal(one, x.shape[1:], x.dtype)[None]


class Moments(NamedTuple):
    """Of the samples of each example.

    Attributes:
      number: how many, `[batch]`.
      mean: of them, `[batch, ...]`.
      squares: the sum of their squared distances from it.
    """

    number: jax.Array
    mean: jax.Array
    squares: jax.Array

    def merged(self, some: jax.Array, counted: jax.Array) -> "Moments":
        """With some more, `[samples, batch, ...]`, of which these count.

        As Chan, Golub and LeVeque merge them: nothing cancels where the spread is
        small.
        """
        more = jnp.sum(counted.astype(some.dtype), axis=0)
        together = self.number + more
        beside = lambda a: a.reshape(a.shape + (1,) * (some.ndim - 1 - a.ndim))
        there = counted.reshape(counted.shape + (1,) * (some.ndim - 2))
        total = jnp.sum(jnp.where(there, some, 0), axis=0)
        mean = total / beside(jnp.maximum(more, 1))
        about = jnp.sum(jnp.where(there, some - mean[None], 0) ** 2, axis=0)
        step, share = mean - self.mean, beside(more / jnp.maximum(together, 1))
        return Moments(
            together,
            self.mean + share * step,
            self.squares + about + beside(self.number) * share * step**2,
        )

    def estimate(self) -> Estimate:
        """The mean and its standard error, NaN of one sample."""
        above = self.number > 1
        degrees = jnp.where(above, self.number * (self.number - 1), jnp.nan)
        degrees = degrees.reshape(-1, *[1] * (self.mean.ndim - 1))
        error = safe_sqrt(self.squares / degrees)
        return Estimate(self.mean, error, self.number.astype(jnp.int32))
