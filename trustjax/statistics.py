r"""The gradient of one example, reduced to a few numbers.

The one idea: every built-in statistic is a function of `Moments`, a small record that
is taken from a tensor once and that merges across the tensors of a layer. So eight
statistics of a gradient cost one or two passes over it, a layer costs nothing beyond
its tensors, and the gradient itself need not outlive the pass.

Each statistic takes the gradient of one example with respect to one group of
parameters (an array or any tree of arrays, pooled), or its `Moments`. A statistic of
your own is any function from such a tree to a number.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _inputs, _numerics, _validate

Statistic = Callable[[Any], jax.Array]
"""From the gradient of one example (an array or a tree of arrays) to a number."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Moments:
    r"""What the statistics need to know of a set of numbers :math:`g_1 \dots g_n`.

    Two powers of two are the units: the size :math:`s` of the largest magnitude, and
    the spread :math:`p` of :math:`g / s`. So no power leaves the range of float32,
    however large, small or close to each other the numbers are, and to go from one
    unit to another is exact.

    Attributes:
      count: :math:`n`, static.
      minimum: the smallest number.
      maximum: the largest number.
      size: :math:`s`; not differentiated.
      spread: :math:`p`, at most 1; not differentiated.
      absolute: mean of :math:`|g_i| / s`.
      mean: :math:`m`, the mean of :math:`g_i / s`.
      second: mean of :math:`((g_i / s - m) / p)^2`.
      third: the same of the third power.
      fourth: the same of the fourth power.
    """

    minimum: Float[Array, "..."]
    maximum: Float[Array, "..."]
    size: Float[Array, "..."]
    spread: Float[Array, "..."]
    absolute: Float[Array, "..."]
    mean: Float[Array, "..."]
    second: Float[Array, "..."]
    third: Float[Array, "..."]
    fourth: Float[Array, "..."]
    count: int = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GradientStatistics:
    """Statistics of each example's gradient, by group of parameters.

    The names are static, so that a result passes through `jax.jit`, `jax.vmap` and
    `jax.device_put`.

    Attributes:
      values: shape `[batch, groups, statistics]`, float32 or better.
      groups: the name of each group, e.g. `"conv1/kernel"` or `"conv1"`.
      statistics: the name of each statistic, e.g. `"l2_norm"`.
    """

    values: Any
    groups: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    statistics: tuple[str, ...] = dataclasses.field(metadata={"static": True})

    def select(self, group: str, statistic: str) -> jax.Array:
        """One statistic of one group: `[batch]`.

        Raises:
          ValueError: if there is no such group or statistic; the error lists them.
        """
        _validate.choice("group", group, self.groups)
        _validate.choice("statistic", statistic, self.statistics)
        row, column = self.groups.index(group), self.statistics.index(statistic)
        return self.values[..., row, column]


def moments(gradient: Any) -> Moments:
    """The moments of all numbers in a tree of arrays; `Moments` pass through.

    Three passes: extremes, means, then powers of the deviations from the mean.
    Arithmetic is in float32 or better, whatever the dtype of the gradient.

    Raises:
      TypeError: if a number is complex, or a leaf holds no numbers.
      ValueError: if the tree holds no numbers, or some that JAX's dtype cannot hold.
    """
    if isinstance(gradient, Moments):
        return gradient
    return merge(
        [
            _moments_of_array(_inputs.array("gradient", leaf))
            for leaf in jax.tree.leaves(gradient)
        ]
    )


def _moments_of_array(gradient: jax.Array) -> Moments:
    if gradient.size == 0:
        raise ValueError(f"a gradient must not be empty, got shape {gradient.shape}")
    if jnp.issubdtype(gradient.dtype, jnp.complexfloating):
        raise TypeError(f"a gradient must be real, got {gradient.dtype}")
    floating = jnp.issubdtype(gradient.dtype, jnp.floating)
    gradient = _numerics.at_least_float32(
        gradient if floating else gradient.astype(float)
    )
    minimum, maximum = gradient.min(), gradient.max()
    size = _size(minimum, maximum)
    scaled = gradient * (1 / size)
    mean = _between(scaled.mean(), minimum / size, maximum / size)
    spread = _spread(minimum, maximum, size)
    deviation = (scaled - mean) * (1 / spread)
    square = deviation**2
    return Moments(
        minimum=minimum,
        maximum=maximum,
        size=size,
        spread=spread,
        absolute=jnp.abs(scaled).mean(),
        mean=mean,
        second=square.mean(),
        third=(square * deviation).mean(),
        fourth=(square**2).mean(),
        count=gradient.size,
    )


def _size(minimum: jax.Array, maximum: jax.Array) -> jax.Array:
    """A power of two near the largest magnitude, as far as `_in_range`."""
    return _in_range(jnp.maximum(-minimum, maximum))


def _in_range(largest: jax.Array) -> jax.Array:
    """The nearest power of two that leaves room at both ends.

    Up there for fourth powers of numbers still larger, times how many there are, and
    for derivatives; down there for those of numbers still smaller. Of zero any unit
    will do.
    """
    info = jnp.finfo(largest.dtype)
    highest = info.maxexp - info.nmant
    return _power_of_two(jnp.clip(largest, 2.0**-highest, 2.0**highest))


def _spread(minimum: jax.Array, maximum: jax.Array, size: jax.Array) -> jax.Array:
    """A power of two near the range in units of the size, at most 1.

    A range is zero, or not much less than the precision of the largest number.
    """
    precision = 2.0 ** -(jnp.finfo(size.dtype).nmant + 1)
    in_units = maximum * (1 / size) - minimum * (1 / size)
    return _power_of_two(jnp.clip(in_units, precision, 1.0))


def _power_of_two(x: jax.Array) -> jax.Array:
    """A positive number rounded to a power of two; no derivative goes through it."""
    exponent_bits = jnp.finfo(x.dtype).nexp
    return jax.lax.reduce_precision(jax.lax.stop_gradient(x), exponent_bits, 0)


def _between(mean: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """A mean without the rounding that has led it out of the numbers' range.

    Of equal numbers it is that number, and the deviations from it are 0.
    """
    excess = mean - jnp.clip(mean, low, high)
    return mean - jax.lax.stop_gradient(jnp.where(jnp.isfinite(mean), excess, 0))


def merge(parts: Sequence[Moments]) -> Moments:
    r"""The moments of several sets pooled, e.g. of a layer's kernel and bias.

    Each set's power means move to the common mean by the binomial theorem: at a
    distance :math:`d = m_j - m` of the means,
    :math:`\overline{(g - m)^k} = \sum_i \binom{k}{i} \overline{(g - m_j)^{k-i}} d^i`.

    Raises:
      ValueError: if there is nothing to merge.
    """
    if not parts:
        raise ValueError("there are no gradients to take statistics of")
    if len(parts) == 1:
        return parts[0]
    count = sum(part.count for part in parts)

    def pooled(values: Sequence[jax.Array]) -> jax.Array:
        shares = [part.count / count for part in parts]
        return jnp.stack(
            [share * value for share, value in zip(shares, values, strict=True)]
        ).sum(0)

    minimum = jnp.stack([part.minimum for part in parts]).min(0)
    maximum = jnp.stack([part.maximum for part in parts]).max(0)
    size = _size(minimum, maximum)
    spread = _spread(minimum, maximum, size)
    units = [part.size * (1 / size) for part in parts]
    means = [part.mean * unit for part, unit in zip(parts, units, strict=True)]
    mean = _between(pooled(means), minimum / size, maximum / size)
    moved = [
        _about(part, part.spread * unit / spread, (own_mean - mean) / spread)
        for part, unit, own_mean in zip(parts, units, means, strict=True)
    ]
    second, third, fourth = map(pooled, zip(*moved, strict=True))
    return Moments(
        minimum=minimum,
        maximum=maximum,
        size=size,
        spread=spread,
        absolute=pooled([p.absolute * u for p, u in zip(parts, units, strict=True)]),
        mean=mean,
        second=second,
        third=third,
        fourth=fourth,
        count=count,
    )


def _about(
    part: Moments, unit: jax.Array, shift: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Power means of one set in another unit, about a mean that is `shift` below."""
    second = part.second * unit**2
    third = part.third * unit**3
    fourth = part.fourth * unit**4
    return (
        second + shift**2,
        third + 3 * second * shift + shift**3,
        fourth + 4 * third * shift + 6 * second * shift**2 + shift**4,
    )


def outer(left: Moments, right: Moments) -> Moments:
    r"""The moments of all products :math:`a_i b_j`, without forming them.

    With :math:`a_i = \bar a + \alpha_i` and :math:`b_j = \bar b + \beta_j`, a product
    deviates from the mean :math:`\bar a \bar b` by
    :math:`\bar a \beta_j + \bar b \alpha_i + \alpha_i \beta_j`. Its powers expand into
    central moments of each side; nothing cancels that is not small by itself.
    """
    corners = jnp.stack(
        [
            x * y
            for x in (left.minimum, left.maximum)
            for y in (right.minimum, right.maximum)
        ]
    )
    minimum, maximum = corners.min(0), corners.max(0)
    size = _in_range(left.size * right.size)
    spread = _spread(minimum, maximum, size)
    # 1 wherever the product of the sizes is in range.
    unit = left.size * (1 / size) * right.size
    a_beta = unit * left.mean * (right.spread / spread)
    b_alpha = unit * right.mean * (left.spread / spread)
    alpha_beta = unit * left.spread * (right.spread / spread)
    alpha, beta = _central(left), _central(right)

    def power_mean(k: int) -> jax.Array:
        # Multinomial theorem; what holds a first central moment is zero.
        total = jnp.zeros_like(unit)
        for p in range(k + 1):
            for q in range(k - p + 1):
                r = k - p - q
                if q + r == 1 or p + r == 1:
                    continue
                ways = math.comb(k, p) * math.comb(k - p, q)
                product = a_beta**p * b_alpha**q * alpha_beta**r
                total += ways * product * alpha[q + r] * beta[p + r]
        return total

    return Moments(
        minimum=minimum,
        maximum=maximum,
        size=size,
        spread=spread,
        absolute=unit * left.absolute * right.absolute,
        mean=unit * left.mean * right.mean,
        second=power_mean(2),
        third=power_mean(3),
        fourth=power_mean(4),
        count=left.count * right.count,
    )


def _central(m: Moments) -> list[jax.Array]:
    """Central moments of orders 0 to 4, in units of the spread."""
    one = jnp.ones_like(m.mean)
    return [one, jnp.zeros_like(one), m.second, m.third, m.fourth]


def l1_norm(gradient: Any) -> jax.Array:
    r"""Sum of magnitudes, :math:`\sum_i |g_i|`, in [0, inf).

    >>> print(l1_norm({"kernel": jnp.array([3.0, -4.0]), "bias": jnp.array([1.0])}))
    8.0
    """
    m = moments(gradient)
    return m.size * (m.count * m.absolute)


def l2_norm(gradient: Any) -> jax.Array:
    r"""Euclidean norm, :math:`(\sum_i g_i^2)^{1/2}`, in [0, inf).

    The derivative at a gradient of zeros is 0, the smallest subgradient.

    >>> print(l2_norm(jnp.array([3.0, -4.0])))
    5.0
    """
    m = moments(gradient)
    squares = m.second * m.spread**2 + m.mean**2
    norm = m.size * _numerics.safe_sqrt(m.count * squares)
    return jnp.where(jnp.isinf(m.absolute), jnp.inf, norm)


def minimum(gradient: Any) -> jax.Array:
    """The smallest component, signed.

    >>> print(minimum(jnp.array([3.0, -4.0])))
    -4.0
    """
    return moments(gradient).minimum


def maximum(gradient: Any) -> jax.Array:
    """The largest component, signed.

    >>> print(maximum(jnp.array([3.0, -4.0])))
    3.0
    """
    return moments(gradient).maximum


def mean(gradient: Any) -> jax.Array:
    r"""The mean component, :math:`\bar g = \frac1n \sum_i g_i`.

    Of the last layer under a softmax cross entropy it is zero but for rounding: the
    gradient with respect to the logits sums to zero.

    >>> print(mean(jnp.array([3.0, -4.0])))
    -0.5
    """
    m = moments(gradient)
    return m.size * m.mean


def standard_deviation(gradient: Any) -> jax.Array:
    r"""Sample deviation :math:`(\frac1{n-1} \sum_i (g_i - \bar g)^2)^{1/2}`, [0, inf).

    ===============  =====
    Edge case        Value
    ===============  =====
    one component    NaN, as NumPy gives
    all equal        0
    ===============  =====

    >>> print(standard_deviation(jnp.array([1.0, 2.0, 3.0])))
    1.0
    """
    m = moments(gradient)
    if m.count == 1:
        return jnp.full_like(m.mean, jnp.nan)
    return m.size * m.spread * _numerics.safe_sqrt(m.second * (m.count / (m.count - 1)))


def skewness(gradient: Any) -> jax.Array:
    r"""Asymmetry, :math:`m_3 / m_2^{3/2}` with central moments :math:`m_k` (biased).

    ===============  =====
    Edge case        Value
    ===============  =====
    all equal        NaN, as SciPy gives
    symmetric        0
    ===============  =====

    >>> print(skewness(jnp.array([0.0, 0.0, 0.0, 4.0])))
    1.15470...
    """
    m = moments(gradient)
    varies, second = _variance(m)
    return jnp.where(varies, m.third / second**1.5, jnp.nan)


def kurtosis(gradient: Any) -> jax.Array:
    r"""Excess kurtosis, :math:`m_4 / m_2^2 - 3` (biased): 0 for a normal distribution.

    ===============  =====
    Edge case        Value
    ===============  =====
    all equal        NaN, as SciPy gives
    two values       -2, the least there is
    ===============  =====

    >>> print(kurtosis(jnp.array([0.0, 0.0, 4.0, 4.0])))
    -2.0
    """
    m = moments(gradient)
    varies, second = _variance(m)
    return jnp.where(varies, m.fourth / second / second - 3, jnp.nan)


def _variance(m: Moments) -> tuple[jax.Array, jax.Array]:
    """Whether the numbers differ, and their variance or, if they do not, 1.

    So a shape that is undefined is a constant, and no other statistic's derivative
    meets the NaN.
    """
    varies = m.maximum > m.minimum
    return varies, jnp.where(varies, m.second, 1)


OF_MOMENTS: tuple[Statistic, ...] = (
    l1_norm,
    l2_norm,
    minimum,
    maximum,
    mean,
    standard_deviation,
    skewness,
    kurtosis,
)
"""The statistics that need the moments alone, never the gradient itself."""

DEFAULT = OF_MOMENTS
"""The statistics of Oberdiek et al. 2018, and the standard deviation of their table."""
