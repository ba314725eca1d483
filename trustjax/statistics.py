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
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from trustjax import _inputs, _numerics, _validate
from trustjax._platform import copies

Statistic = Callable[[Any], jax.Array]
"""From the gradient of one example (an array or a tree of arrays) to a number."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Moments:
    r"""What the statistics need to know of a set of numbers :math:`g_1 \dots g_n`.

    Two powers of two are the units, and follow from the extremes: the size :math:`s` of
    the largest magnitude, and the spread :math:`p` of :math:`g / s`. So no power leaves
    the range of float32, however large, small or close to each other the numbers are,
    and to go from one unit to another is exact. No derivative goes through them.

    A record may be of several sets of numbers: its arrays then have axes, of which
    the last is that of the sets, such as the tensors of a network.

    Attributes:
      count: :math:`n`, static; for all sets, or a tuple for those of the last axis.
      minimum: the smallest number.
      maximum: the largest number.
      total: sum of :math:`g_i / s`.
      absolute: sum of :math:`|g_i| / s`.
      second: sum of :math:`((g_i - \bar g) / s p)^2`.
      third: the same of the third power.
      fourth: the same of the fourth power.
    """

    minimum: Float[Array, "..."]
    maximum: Float[Array, "..."]
    total: Float[Array, "..."]
    absolute: Float[Array, "..."]
    second: Float[Array, "..."]
    third: Float[Array, "..."]
    fourth: Float[Array, "..."]
    count: Any = dataclasses.field(metadata={"static": True})

    @property
    def counts(self) -> jax.Array:
        """The count of each set, in the shape and the dtype of the other numbers."""
        counts = jnp.asarray(self.count, self.total.dtype)
        return jnp.broadcast_to(counts, self.total.shape)

    @property
    def per_size(self) -> jax.Array:
        """One over the unit of the numbers, :math:`1 / s`."""
        return _per_size(self.minimum, self.maximum)

    @property
    def per_spread(self) -> jax.Array:
        """One over the unit of the deviations, :math:`1 / p`, at least 1."""
        return _per_spread(self.minimum, self.maximum)

    @property
    def size(self) -> jax.Array:
        """The unit of the numbers, :math:`s`."""
        return _per_power_of_two(self.per_size)

    @property
    def spread(self) -> jax.Array:
        """The unit of the deviations, :math:`p`."""
        return _per_power_of_two(self.per_spread)

    @property
    def mean(self) -> jax.Array:
        """The mean of :math:`g_i / s`."""
        return _mean(self.minimum, self.maximum, self.total / self.counts)


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


def moments(gradient: Any, *, count: jax.Array | None = None) -> Moments:
    """The moments of all numbers in a tree of arrays; `Moments` pass through.

    Three passes: extremes, means, then powers of the deviations from the mean.
    Arithmetic is in float32 or better, whatever the dtype of the gradient.

    Args:
      gradient: a tree of arrays.
      count: how many numbers count if those after them are padding, zeros: so sets of
        several sizes can be rows of one array. The gradient is then a vector, and
        `count` may be traced, so that the record's own is the length of the vector.

    Raises:
      TypeError: if a number is complex, or a leaf holds no numbers.
      ValueError: if the tree holds no numbers, or some that JAX's dtype cannot hold.
    """
    if isinstance(gradient, Moments):
        return gradient
    return merge(
        [
            _moments_of_array(_inputs.array("gradient", leaf), count)
            for leaf in jax.tree.leaves(gradient)
        ]
    )


def _moments_of_array(gradient: jax.Array, count: jax.Array | None) -> Moments:
    if gradient.size == 0:
        raise ValueError(f"a gradient must not be empty, got shape {gradient.shape}")
    if jnp.issubdtype(gradient.dtype, jnp.complexfloating):
        raise TypeError(f"a gradient must be real, got {gradient.dtype}")
    floating = jnp.issubdtype(gradient.dtype, jnp.floating)
    gradient = _numerics.at_least_float32(
        gradient if floating else gradient.astype(float)
    )
    present = None if count is None else jnp.arange(len(gradient)) < count

    def where_present(values: jax.Array, otherwise: float) -> jax.Array:
        return values if present is None else jnp.where(present, values, otherwise)

    minimum = where_present(gradient, jnp.inf).min()
    maximum = where_present(gradient, -jnp.inf).max()
    scaled = gradient * _per_size(minimum, maximum)
    total = scaled.sum()
    per_count = 1 / (gradient.size if count is None else count.astype(scaled.dtype))
    mean = _mean(minimum, maximum, total * per_count)
    deviation = (scaled - mean) * _per_spread(minimum, maximum)
    # Each power is taken while it is added up: no pass over memory for the squares.
    for_second, for_third, for_fourth = copies(where_present(deviation, 0), 3)
    return Moments(
        minimum=minimum,
        maximum=maximum,
        total=total,
        absolute=jnp.abs(scaled).sum(),
        second=(for_second**2).sum(),
        third=(for_third**3).sum(),
        fourth=(for_fourth**4).sum(),
        count=gradient.size,
    )


@jax.jit
def _per_size(minimum: jax.Array, maximum: jax.Array) -> jax.Array:
    """One over a power of two near the largest magnitude, with room at both ends.

    Up there for fourth powers of numbers still larger, times how many there are, and
    for derivatives; down there for those of numbers still smaller. Of zeros any unit
    will do.
    """
    largest = jnp.maximum(-minimum, maximum)
    info = jnp.finfo(largest.dtype)
    highest = info.maxexp - info.nmant
    return _per_power_of_two(jnp.clip(largest, 2.0**-highest, 2.0**highest))


@jax.jit
def _per_spread(minimum: jax.Array, maximum: jax.Array) -> jax.Array:
    """One over a power of two near the range in units of the size, at most 1.

    A range is zero, or not much less than the precision of the largest number.
    """
    per_size = _per_size(minimum, maximum)
    precision = 2.0 ** -(jnp.finfo(per_size.dtype).nmant + 1)
    in_units = maximum * per_size - minimum * per_size
    return _per_power_of_two(jnp.clip(in_units, precision, 1.0))


def _per_power_of_two(x: jax.Array) -> jax.Array:
    """One over the power of two at or below a positive number, by its exponent.

    No derivative goes through it. A division would be dear to a compiler, which then
    makes a loop of its own for it.
    """
    return _power_of_two(-_exponent(x), x.dtype)


def _product_of_powers(*powers: jax.Array) -> jax.Array:
    """The product of powers of two, by their exponents.

    A compiler may multiply numbers in another order, and some of them leave float32.
    """
    return _power_of_two(sum(map(_exponent, powers)), powers[0].dtype)


def _exponent(x: jax.Array) -> jax.Array:
    """The exponent of the power of two at or below a positive number."""
    info = jnp.finfo(x.dtype)
    integer = jnp.dtype(f"int{info.bits}")
    bits = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(x), integer)
    return (bits >> info.nmant) - (info.maxexp - 1)


def _power_of_two(exponent: Any, dtype: Any) -> jax.Array:
    """Two to the power of an integer; 0 and infinity where the dtype has no such."""
    info = jnp.finfo(dtype)
    biased = jnp.clip(exponent + (info.maxexp - 1), 0, 2 * info.maxexp - 1)
    return jax.lax.bitcast_convert_type(biased << info.nmant, dtype)


@jax.jit
def _mean(minimum: jax.Array, maximum: jax.Array, mean: jax.Array) -> jax.Array:
    """A mean in units of the size, without rounding that leads out of the range.

    Of equal numbers it is that number, and the deviations from it are 0.
    """
    per_size = _per_size(minimum, maximum)
    excess = mean - jnp.clip(mean, minimum * per_size, maximum * per_size)
    return mean - jax.lax.stop_gradient(jnp.where(jnp.isfinite(mean), excess, 0))


def merge(parts: Sequence[Moments]) -> Moments:
    """The moments of several sets pooled, e.g. of a layer's kernel and bias.

    Raises:
      ValueError: if there is nothing to merge.
    """
    if not parts:
        raise ValueError("there are no gradients to take statistics of")
    if len(parts) == 1:
        return parts[0]
    numbers = zip(*map(jax.tree.leaves, parts), strict=True)
    row = Moments(
        *(jnp.stack(same, axis=-1) for same in numbers),
        count=tuple(part.count for part in parts),
    )
    pooled = merge_groups(row, [range(len(parts))])
    one = jax.tree.map(lambda numbers: numbers[..., 0], pooled)
    return dataclasses.replace(one, count=pooled.count[0])


def pack(row: Moments) -> jax.Array:
    """The numbers of a record of several sets as one array, `[..., numbers, sets]`.

    A compiler makes one loop of what makes one array.
    """
    # First along the outermost axis, which is the shortest to compile.
    return jnp.stack(jax.tree.leaves(row), axis=-2)


def unpack(packed: jax.Array, counts: Sequence[int]) -> Moments:
    """The inverse of `pack`; the count of each set is known from elsewhere."""
    numbers = (packed[..., i, :] for i in range(packed.shape[-2]))
    return Moments(*numbers, count=tuple(counts))


def merge_groups(row: Moments, groups: Sequence[Sequence[int]]) -> Moments:
    r"""The moments of each group of sets along the last axis of a record.

    Each set's power sums move to the common mean by the binomial theorem: at a
    distance :math:`d = m_j - m` of the means,
    :math:`\sum_g (g - m)^k = \sum_i \binom{k}{i} d^i \sum_g (g - m_j)^{k-i}`.
    """
    longest = max(map(len, groups))
    # The first member stands in for those that a group lacks, and is not added.
    index = np.array(
        [[*group, *[group[0]] * (longest - len(group))] for group in groups]
    )
    added = np.arange(longest) < np.array([[len(group)] for group in groups])
    members = pack(row)[..., index]
    parts = Moments(
        *(members[..., i, :, :] for i in range(members.shape[-3])),
        count=tuple(tuple(row.count[i] for i in group) for group in index),
    )
    added = jnp.broadcast_to(added, parts.total.shape)

    def pooled(values: jax.Array) -> jax.Array:
        return jnp.where(added, values, 0).sum(-1)

    minimum, maximum = parts.minimum.min(-1), parts.maximum.max(-1)
    per_size = _per_size(minimum, maximum)
    per_spread = _per_spread(minimum, maximum)
    unit = _product_of_powers(per_size[..., None], parts.size)
    counts, total = parts.counts, pooled(parts.total * unit)
    mean = _mean(minimum, maximum, total / pooled(counts))
    shift = (parts.mean * unit - mean[..., None]) * per_spread[..., None]
    spread = per_spread[..., None] * parts.spread * unit
    second = parts.second * spread**2
    third = parts.third * spread**3
    fourth = parts.fourth * spread**4
    return Moments(
        minimum=minimum,
        maximum=maximum,
        total=total,
        absolute=pooled(parts.absolute * unit),
        second=pooled(second + counts * shift**2),
        third=pooled(third + 3 * second * shift + counts * shift**3),
        fourth=pooled(
            fourth + 4 * third * shift + 6 * second * shift**2 + counts * shift**4
        ),
        count=tuple(sum(row.count[i] for i in group) for group in groups),
    )


def outer(left: Moments, right: Moments) -> Moments:
    r"""The moments of all products :math:`a_i b_j`, without forming them.

    With :math:`a_i = \bar a + \alpha_i` and :math:`b_j = \bar b + \beta_j`, a product
    deviates from the mean :math:`\bar a \bar b` by
    :math:`a \beta_j + b \alpha_i + c \alpha_i \beta_j`, where a, b and c are the means
    and 1 in the units of the result. Its powers expand into central moments of each
    side; nothing cancels that is not small by itself.
    """
    corners = [
        x * y
        for x in (left.minimum, left.maximum)
        for y in (right.minimum, right.maximum)
    ]
    minimum = functools.reduce(jnp.minimum, corners)
    maximum = functools.reduce(jnp.maximum, corners)
    per_size = _per_size(minimum, maximum)
    per_spread = _per_spread(minimum, maximum)
    # About 1, and more where one side is below its unit; of zeros it would be huge.
    unit = _product_of_powers(per_size, left.size, right.size)
    unit = jnp.minimum(unit, 2.0 ** (jnp.finfo(unit.dtype).nmant + 2))
    a = unit * left.mean * (per_spread * right.spread)
    b = unit * right.mean * (per_spread * left.spread)
    c = unit * (per_spread * left.spread) * right.spread
    counts = left.counts * right.counts
    alpha2, alpha3, alpha4 = _central(left)
    beta2, beta3, beta4 = _central(right)
    # The multinomial theorem by powers of alpha: few operations, for a compiler.
    # What holds a first central moment is zero.
    aa, bb, cc, bc = a * a, b * b, c * c, b * c
    second = aa * beta2 + alpha2 * (bb + cc * beta2)
    third = (
        aa * a * beta3
        + 3 * a * c * alpha2 * (2 * b * beta2 + c * beta3)
        + alpha3 * (b * (bb + 3 * cc * beta2) + c * cc * beta3)
    )
    fourth = (
        aa * aa * beta4
        + 6 * aa * alpha2 * (bb * beta2 + 2 * bc * beta3 + cc * beta4)
        + 4 * a * c * alpha3 * (3 * (bb * beta2 + bc * beta3) + cc * beta4)
        + alpha4 * (bb * (bb + 6 * cc * beta2) + cc * (4 * bc * beta3 + cc * beta4))
    )
    return Moments(
        minimum=minimum,
        maximum=maximum,
        total=unit * left.total * right.total,
        absolute=unit * left.absolute * right.absolute,
        second=counts * second,
        third=counts * third,
        fourth=counts * fourth,
        count=_product(left.count, right.count),
    )


def _product(left: Any, right: Any) -> Any:
    if isinstance(left, tuple):
        return tuple(a * b for a, b in zip(left, right, strict=True))
    return left * right


def _central(m: Moments) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Central moments of orders 2 to 4, in units of the spread."""
    per_count = 1 / m.counts
    return m.second * per_count, m.third * per_count, m.fourth * per_count


def l1_norm(gradient: Any) -> jax.Array:
    r"""Sum of magnitudes, :math:`\sum_i |g_i|`, in [0, inf).

    >>> print(l1_norm({"kernel": jnp.array([3.0, -4.0]), "bias": jnp.array([1.0])}))
    8.0
    """
    m = moments(gradient)
    return m.absolute * m.size


def l2_norm(gradient: Any) -> jax.Array:
    r"""Euclidean norm, :math:`(\sum_i g_i^2)^{1/2}`, in [0, inf).

    The derivative at a gradient of zeros is 0, the smallest subgradient.

    >>> print(l2_norm(jnp.array([3.0, -4.0])))
    5.0
    """
    m = moments(gradient)
    squares = m.second * m.spread**2 + m.counts * m.mean**2
    norm = _numerics.safe_sqrt(squares) * m.size
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
    return m.mean * m.size


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
    several = m.counts > 1
    variance = m.second / jnp.where(several, m.counts - 1, 1)
    deviation = _numerics.safe_sqrt(variance) * m.spread * m.size
    return jnp.where(several, deviation, jnp.nan)


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
    varies, variance = _variance(m)
    third = m.third / m.counts
    return jnp.where(varies, third / (variance * jnp.sqrt(variance)), jnp.nan)


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
    varies, variance = _variance(m)
    fourth = m.fourth / m.counts
    return jnp.where(varies, fourth / variance / variance - 3, jnp.nan)


def _variance(m: Moments) -> tuple[jax.Array, jax.Array]:
    """Whether the numbers differ, and their variance or, if they do not, 1.

    So a shape that is undefined is a constant, and no other statistic's derivative
    meets the NaN.
    """
    varies = m.maximum > m.minimum
    return varies, jnp.where(varies, m.second / m.counts, 1)


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
"""The statistics of Oberdiek et al. 2018 (arXiv:1805.08440), and the standard deviation
of their table."""
