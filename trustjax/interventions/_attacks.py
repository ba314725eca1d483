r"""Attacks: the small change of an input after which a network is most wrong.

All climb the loss of a true label (or go down that of another class) over a bounded
change :math:`\delta`, by steps of signed or normalised gradients:

.. math::
  g \leftarrow \mu g + \nabla_\delta \ell / |\nabla_\delta \ell|_1, \qquad
  \delta \leftarrow \Pi_\epsilon \big(\delta + \alpha \operatorname{sign} g\big).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from trustjax import _inputs, _validate, losses
from trustjax._meshes import in_auto_axes
from trustjax._numerics import divide_no_nan, safe_norm
from trustjax.typing import ApplyFn, Params

NORMS = ("linf", "l2")

Radius = float | Float[Array, ""]
"""Of a ball. An array may be traced: one program then serves a sweep of radii."""

Objective = Callable[[Params, jax.Array], jax.Array]
"""`(params, x) -> [batch]`, such as a score: what an attack raises as well."""


def fgsm(
    apply_fn: ApplyFn,
    params: Params,
    x: Float[Array, "batch ..."],
    labels: Int[Array, " batch"],
    *,
    epsilon: Radius,
    bounds: tuple[float, float] = (0.0, 1.0),
    targeted: bool = False,
    loss_fn: Callable[..., Any] = losses.cross_entropy,
) -> Float[Array, "batch ..."]:
    r"""The fast gradient sign method: one step for each number of the input.

    .. math:: x' = \operatorname{clip}(x + \epsilon \operatorname{sign} \nabla_x \ell)

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: what it takes first.
      x: the inputs.
      labels: the true classes; with `targeted` those that the network is to say.
      epsilon: :math:`\epsilon`, the largest change of a number, in the units of x; an
        array may be traced.
      bounds: the least and the largest number that an input may hold.
      targeted: go towards the labels, not away from them.
      loss_fn: `(logits, labels) -> [batch]`, what is raised.

    Returns:
      Changed inputs, of the shape and dtype of x, within `bounds` and within `epsilon`
      of x. A number whose gradient is 0 stays.

    Raises:
      ValueError: if `epsilon` is not positive, `bounds` do not rise or known inputs lie
        beyond them, lengths differ, or a known label is no class.
      TypeError: if x is not floating point or the labels are not integers.

    >>> network = lambda params, x: x
    >>> x = jnp.array([[0.625, 0.375]])
    >>> print(fgsm(network, None, x, jnp.array([0]), epsilon=0.25))
    [[0.375 0.625]]

    References:
      Goodfellow, Shlens and Szegedy 2015 (arXiv:1412.6572).
    """
    return pgd(
        apply_fn,
        params,
        x,
        labels,
        epsilon=epsilon,
        steps=1,
        step_size=epsilon,
        bounds=bounds,
        targeted=targeted,
        loss_fn=loss_fn,
    )


def pgd(
    apply_fn: ApplyFn,
    params: Params,
    x: Float[Array, "batch ..."],
    labels: Int[Array, " batch"],
    *,
    epsilon: Radius,
    steps: int = 10,
    step_size: Radius | None = None,
    norm: str = "linf",
    momentum: float = 0.0,
    targeted: bool = False,
    restarts: int = 0,
    key: jax.Array | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    loss_fn: Callable[..., Any] = losses.cross_entropy,
    also: Objective | None = None,
) -> Float[Array, "batch ..."]:
    r"""Projected gradient ascent of the loss, within a ball around the input.

    Args:
      apply_fn: as in `fgsm`.
      params: as in `fgsm`.
      x: as in `fgsm`.
      labels: as in `fgsm`.
      epsilon: :math:`\epsilon`, the radius of the ball, in the units of x.
      steps: how many there are.
      step_size: :math:`\alpha`; None for 2.5 epsilon / steps.
      norm: `"linf"`, a bound of each number and signed steps, or `"l2"`, a bound of
        the Euclidean length and normalised steps.
      momentum: :math:`\mu`, in [0, 1].
      targeted: as in `fgsm`.
      restarts: starts from random places of the ball, of whose ends each example keeps
        the highest; 0 starts from x itself.
      key: where random starts come from.
      bounds: as in `fgsm`.
      loss_fn: as in `fgsm`.
      also: what else is raised with the loss, such as a score times a weight: an attack
        that knows what it is judged by.

    Returns:
      Changed inputs, of the shape and dtype of x, within `bounds` and the ball.

    Raises:
      ValueError: as `fgsm`; if `steps`, `restarts`, `step_size` or `momentum` is out of
        range, `norm` is unknown, or `restarts` have no key.
      TypeError: as `fgsm`.

    >>> network = lambda params, x: x
    >>> x = jnp.array([[0.6, 0.4]])
    >>> with jnp.printoptions(precision=3):
    ...     print(pgd(network, None, x, jnp.array([0]), epsilon=0.1, norm="l2"))
    [[0.529 0.471]]

    References:
      Madry et al. 2018 (arXiv:1706.06083); with momentum Dong et al. 2018
      (arXiv:1710.06081), eq. 6, whose gradient is over its L1 norm.
    """
    ascent = _Ascent(epsilon, steps, step_size, norm, momentum, restarts, key)
    ascent.check()
    x = _checked(apply_fn, params, x, labels, bounds)

    def of_batch(params: Params, x: jax.Array, labels: jax.Array) -> jax.Array:
        loss = _loss(apply_fn, params, labels, loss_fn, targeted, also)
        # A number stays where it may be: else it would have to come back first.
        project = lambda change: jnp.clip(x + ascent.in_ball(change), *bounds) - x
        found = ascent.climbed(lambda change: loss(x + change), x, project)
        return jnp.clip(x + found, *bounds)

    return in_auto_axes(of_batch, params, x, jnp.asarray(labels), batch=x)


def functional_attack(
    apply_fn: ApplyFn,
    params: Params,
    x: Float[Array, "batch ..."],
    labels: Int[Array, " batch"],
    *,
    epsilon: Radius,
    steps: int = 10,
    step_size: Radius | None = None,
    tones: int = 9,
    momentum: float = 0.0,
    targeted: bool = False,
    restarts: int = 0,
    key: jax.Array | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    loss_fn: Callable[..., Any] = losses.cross_entropy,
    also: Objective | None = None,
) -> Float[Array, "batch ..."]:
    r"""An attack by a curve of tones: numbers that are equal stay equal.

    .. math:: x' = \operatorname{clip}(x + c(x)), \qquad |c| \le \epsilon

    :math:`c` is linear between `tones` knots, one curve for each example, for all of
    its positions and channels.

    Args:
      apply_fn: as in `fgsm`.
      params: as in `fgsm`.
      x: as in `fgsm`.
      labels: as in `fgsm`.
      epsilon: the largest change of a tone.
      steps: as in `pgd`.
      step_size: as in `pgd`.
      tones: knots of the curve, evenly from the first of `bounds` to the last.
      momentum: as in `pgd`.
      targeted: as in `fgsm`.
      restarts: as in `pgd`.
      key: as in `pgd`.
      bounds: as in `fgsm`.
      loss_fn: as in `fgsm`.
      also: as in `pgd`.

    Returns:
      Changed inputs, of the shape and dtype of x, within `bounds`.

    Raises:
      ValueError: as `pgd`; if there are fewer than two tones.
      TypeError: as `fgsm`.

    >>> network = lambda params, x: x
    >>> x = jnp.array([[0.625, 0.5]])
    >>> print(functional_attack(network, None, x, jnp.array([0]), epsilon=0.125))
    [[0.5   0.625]]

    References:
      Laidlaw and Feizi 2019 (arXiv:1906.00001), of colours; of grey images a curve of
      tones is what remains of it. Without their penalty for rough changes.
    """
    _validate.count("tones", tones, at_least=2)
    ascent = _Ascent(epsilon, steps, step_size, "linf", momentum, restarts, key)
    ascent.check()
    x = _checked(apply_fn, params, x, labels, bounds)

    def of_batch(params: Params, x: jax.Array, labels: jax.Array) -> jax.Array:
        loss = _loss(apply_fn, params, labels, loss_fn, targeted, also)
        knots = jnp.linspace(*bounds, tones, dtype=x.dtype)

        def recoloured(curves: jax.Array) -> jax.Array:
            along = lambda image, curve: image + jnp.interp(image, knots, curve)
            return jnp.clip(jax.vmap(along)(x, curves), *bounds).astype(x.dtype)

        start = jnp.zeros_like(x, shape=(x.shape[0], tones))
        found = ascent.climbed(lambda c: loss(recoloured(c)), start, ascent.in_ball)
        return recoloured(found)

    return in_auto_axes(of_batch, params, x, jnp.asarray(labels), batch=x)


class _Ascent(NamedTuple):
    """How a bounded change climbs: the arguments of `pgd` of these names."""

    epsilon: Radius
    steps: int
    step_size: Radius | None
    norm: str
    momentum: float
    restarts: int
    key: jax.Array | None

    def check(self) -> None:
        """Raises what `pgd` says of these arguments."""
        _validate.count("steps", self.steps)
        for name in ("epsilon", "step_size"):
            radius = getattr(self, name)
            if radius is not None and _validate.is_known(radius):
                _validate.positive(name, radius)
        _validate.choice("norm", self.norm, NORMS)
        _validate.fraction("momentum", self.momentum)
        _validate.count("restarts", self.restarts, at_least=0)
        if self.restarts and self.key is None:
            raise ValueError(
                "key must be given for restarts, such as jax.random.key(0): they begin "
                "at random places"
            )

    def in_ball(self, change: jax.Array) -> jax.Array:
        """The nearest change that is not too large."""
        # An array has a dtype of its own, which would become that of the change.
        reach = jnp.asarray(self.epsilon, change.dtype)
        if self.norm == "linf":
            return jnp.clip(change, -reach, reach)
        length = _lengths(change)
        return jnp.where(length > reach, change * reach / length, change)

    def climbed(
        self,
        objective: Callable[[jax.Array], jax.Array],
        like: jax.Array,
        project: Callable[[jax.Array], jax.Array],
    ) -> jax.Array:
        """The change that the ascent ends at, the best of all restarts.

        Args:
          objective: `change -> [batch]`, each of its own row alone.
          like: an array of the shape of a change.
          project: the nearest change that is allowed.
        """
        size = 2.5 * self.epsilon / self.steps
        size = size if self.step_size is None else self.step_size
        size = jnp.asarray(size, like.dtype)
        slope = jax.grad(lambda change: jnp.sum(objective(change)))

        def step(_: Any, state: tuple) -> tuple:
            change, speed = state
            speed = self.momentum * speed + _unit_of_mean(slope(change))
            return project(change + size * self._direction(speed)), speed

        def end(start: jax.Array) -> jax.Array:
            state = (project(start), jnp.zeros_like(like))
            return jax.lax.fori_loop(0, self.steps, step, state)[0]

        if self.key is None or not self.restarts:
            return end(jnp.zeros_like(like))

        own_key = self.key

        def restart(number: jax.Array, best: tuple) -> tuple:
            value, change = best
            # By its number: of more restarts the first are the same.
            found = end(self._drawn(jax.random.fold_in(own_key, number), like))
            reached = objective(found)
            # The first has nothing to be better than, not even where it is NaN.
            better = (reached > value) | jnp.isneginf(value)
            where = better.reshape(-1, *[1] * (like.ndim - 1))
            return jnp.where(better, reached, value), jnp.where(where, found, change)

        nothing = jnp.full_like(objective(jnp.zeros_like(like)), -jnp.inf)
        best = (nothing, jnp.zeros_like(like))
        return jax.lax.fori_loop(0, self.restarts, restart, best)[1]

    def _direction(self, speed: jax.Array) -> jax.Array:
        if self.norm == "linf":
            return jnp.sign(speed)
        return divide_no_nan(speed, _lengths(speed))

    def _drawn(self, key: jax.Array, like: jax.Array) -> jax.Array:
        """Evenly from the ball."""
        reach = jnp.asarray(self.epsilon, like.dtype)
        if self.norm == "linf":
            return jax.random.uniform(key, like.shape, like.dtype, -reach, reach)
        of_direction, of_length = jax.random.split(key)
        normal = jax.random.normal(of_direction, like.shape, like.dtype)
        numbers = math.prod(like.shape[1:])
        share = jax.random.uniform(of_length, _lengths(normal).shape, like.dtype)
        return reach * share ** (1 / numbers) * normal / _lengths(normal)


def _loss(
    apply_fn: ApplyFn,
    params: Params,
    labels: jax.Array,
    loss_fn: Callable[..., Any],
    targeted: bool,
    also: Objective | None,
) -> Callable[[jax.Array], jax.Array]:
    """What is climbed, of inputs, `[batch]`."""

    def of_inputs(x: jax.Array) -> jax.Array:
        value = loss_fn(apply_fn(params, x), labels)
        value = -value if targeted else value
        return value if also is None else value + also(params, x)

    return of_inputs


def _unit_of_mean(slope: jax.Array) -> jax.Array:
    """Slopes over their mean magnitude, one number for each example."""
    rows = jnp.abs(slope).reshape(len(slope), -1)
    mean = jnp.mean(rows, axis=-1).reshape(-1, *[1] * (slope.ndim - 1))
    return divide_no_nan(slope, mean)


def _lengths(rows: jax.Array) -> jax.Array:
    """Euclidean, `[batch, 1, ...]`."""
    lengths = safe_norm(rows.reshape(len(rows), -1))
    return lengths.reshape(-1, *[1] * (rows.ndim - 1))


def _checked(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    labels: jax.Array,
    bounds: tuple[float, float],
) -> jax.Array:
    x = _inputs.array("x", x)
    _validate.floating("x", x)
    labels = _inputs.whole_numbers("labels", labels, "batch")
    _validate.same_length(x=x, labels=labels)
    logits = jax.eval_shape(apply_fn, params, x)
    _validate.classes("labels", labels, logits.shape[-1])
    _validate.rising("bounds", bounds)
    low, high = bounds
    if _validate.is_known(x) and x.size:
        known = np.asarray(x)  # inside `jit` too, where `x.min()` would be traced
        least, most = float(known.min()), float(known.max())
        if least < low or most > high:
            raise ValueError(
                f"x must be within bounds, {low} to {high}, got {least:g} to {most:g}: "
                "give the bounds of what the network takes"
            )
    return x
