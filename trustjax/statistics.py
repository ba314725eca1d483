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

from trustjax import _validate

Statistic = Callable[[Any], jax.Array]
"""From the gradient of one example (an array or a tree of arrays) to a number."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Moments:
    r"""What the statistics need to know of a set of numbers :math:`g_1 \dots g_n`.

    The powers are of deviations in units of the largest magnitude, so that neither
    :math:`(10^{-12})^4` nor :math:`(10^{12})^4` leaves the range of float32.

    Attributes:
      count: :math:`n`, static.
      absolute_sum: :math:`\sum_i |g_i|`.
      minimum: the smallest number.
      maximum: the largest number.
      mean: :math:`\bar g`.
      scale: :math:`s`, the unit of the deviations; not differentiated.
      second: :math:`\sum_i ((g_i - \bar g) / s)^2`.
      third: the same to the third power.
      fourth: the same to the fourth power.
    """

    absolute_sum: Float[Array, "..."]
    minimum: Float[Array, "..."]
    maximum: Float[Array, "..."]
    mean: Float[Array, "..."]
    scale: Float[Array, "..."]
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

    Two passes: extremes and mean, then powers of the deviations from it. Arithmetic
    is in float32 or better, whatever the dtype of the gradient.

    Raises:
      ValueError: if the tree holds no numbers.
    """
    if isinstance(gradient, Moments):
        return gradient
    return merge(
        [_moments_of_array(jnp.asarray(leaf)) for leaf in jax.tree.leaves(gradient)]
    )


def _moments_of_array(gradient: jax.Array) -> Moments:
    gradient = gradient.astype(jnp.promote_types(gradient.dtype, jnp.float32))
    if gradient.size == 0:
        raise ValueError(f"a gradient must not be empty, got shape {gradient.shape}")
    minimum, maximum, mean = gradient.min(), gradient.max(), gradient.mean()
    scale = unit(minimum, maximum)
    deviation = (gradient - mean) / scale
    square = deviation**2
    return Moments(
        absolute_sum=jnp.abs(gradient).sum(),
        minimum=minimum,
        maximum=maximum,
        mean=mean,
        scale=scale,
        second=square.sum(),
        third=(square * deviation).sum(),
        fourth=(square**2).sum(),
        count=gradient.size,
    )


def unit(minimum: jax.Array, maximum: jax.Array) -> jax.Array:
    """The largest magnitude, or 1 if all is zero: no statistic depends on it."""
    largest = jnp.maximum(jnp.abs(minimum), jnp.abs(maximum))
    return jax.lax.stop_gradient(jnp.where(largest == 0, 1, largest))


def merge(parts: Sequence[Moments]) -> Moments:
    r"""The moments of several sets pooled, e.g. of a layer's kernel and bias.

    With :math:`d_j = \bar g_j - \bar g`, each set's power sums move to the common mean
    by the binomial theorem,
    :math:`\sum_i (g_i - \bar g)^k = \sum_m \binom{k}{m} M_{k-m} d_j^m`.

    Raises:
      ValueError: if there is nothing to merge.
    """
    if not parts:
        raise ValueError("there are no gradients to take statistics of")
    if len(parts) == 1:
        return parts[0]
    count = sum(part.count for part in parts)
    mean = jnp.stack([part.mean * (part.count / count) for part in parts]).sum(0)
    minimum = jnp.stack([part.minimum for part in parts]).min(0)
    maximum = jnp.stack([part.maximum for part in parts]).max(0)
    scale = unit(minimum, maximum)
    moved = [_about(part, mean, scale) for part in parts]
    second, third, fourth = (
        jnp.stack(power).sum(0) for power in zip(*moved, strict=True)
    )
    return Moments(
        absolute_sum=jnp.stack([part.absolute_sum for part in parts]).sum(0),
        minimum=minimum,
        maximum=maximum,
        mean=mean,
        scale=scale,
        second=second,
        third=third,
        fourth=fourth,
        count=count,
    )


def _about(
    part: Moments, mean: jax.Array, scale: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Power sums of one set about another mean, in another unit."""
    ratio = part.scale / scale
    second, third, fourth = (
        part.second * ratio**2,
        part.third * ratio**3,
        part.fourth * ratio**4,
    )
    shift = (part.mean - mean) / scale
    return (
        second + part.count * shift**2,
        third + 3 * second * shift + part.count * shift**3,
        fourth + 4 * third * shift + 6 * second * shift**2 + part.count * shift**4,
    )


def outer(left: Moments, right: Moments) -> Moments:
    r"""The moments of all products :math:`a_i b_j`, without forming them.

    With :math:`a_i = \bar a + \alpha_i` and :math:`b_j = \bar b + \beta_j`, a product
    deviates from the mean :math:`\bar a \bar b` by
    :math:`\bar a \beta_j + \bar b \alpha_i + \alpha_i \beta_j`. Its powers expand into
    central moments of each side; nothing cancels that is not small by itself.
    """
    scale = left.scale * right.scale
    a, b = left.mean / left.scale, right.mean / right.scale
    alpha, beta = _central(left), _central(right)

    def power_mean(k: int) -> jax.Array:
        # Multinomial theorem: p times a*beta, q times b*alpha, r times alpha*beta.
        total = jnp.zeros_like(a)
        for p in range(k + 1):
            for q in range(k - p + 1):
                r = k - p - q
                ways = math.comb(k, p) * math.comb(k - p, q)
                total += ways * a**p * b**q * alpha[q + r] * beta[p + r]
        return total

    corners = jnp.stack(
        [
            x * y
            for x in (left.minimum, left.maximum)
            for y in (right.minimum, right.maximum)
        ]
    )
    count = left.count * right.count
    return Moments(
        absolute_sum=left.absolute_sum * right.absolute_sum,
        minimum=corners.min(0),
        maximum=corners.max(0),
        mean=left.mean * right.mean,
        scale=scale,
        second=count * power_mean(2),
        third=count * power_mean(3),
        fourth=count * power_mean(4),
        count=count,
    )


def _central(m: Moments) -> list[jax.Array]:
    """Central moments of orders 0 to 4, in units of the scale."""
    one = jnp.ones_like(m.mean)
    powers = [m.second, m.third, m.fourth]
    return [one, jnp.zeros_like(one), *(power / m.count for power in powers)]


def l1_norm(gradient: Any) -> jax.Array:
    r"""Sum of magnitudes, :math:`\sum_i |g_i|`, in [0, inf).

    >>> print(l1_norm({"kernel": jnp.array([3.0, -4.0]), "bias": jnp.array([1.0])}))
    8.0
    """
    return moments(gradient).absolute_sum


def l2_norm(gradient: Any) -> jax.Array:
    r"""Euclidean norm, :math:`(\sum_i g_i^2)^{1/2}`, in [0, inf).

    The derivative at a gradient of zeros is 0, the smallest subgradient.

    >>> print(l2_norm(jnp.array([3.0, -4.0])))
    5.0
    """
    m = moments(gradient)
    return m.scale * _sqrt(m.second + m.count * (m.mean / m.scale) ** 2)


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
    return moments(gradient).mean


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
    return m.scale * _sqrt(m.second / (m.count - 1))


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
    return (m.third / m.count) / (m.second / m.count) ** 1.5


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
    return (m.fourth / m.count) / (m.second / m.count) ** 2 - 3


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


def _sqrt(square: jax.Array) -> jax.Array:
    """Square root whose derivative at 0 is 0 rather than infinite."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), square)
