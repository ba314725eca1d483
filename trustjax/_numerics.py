"""Arithmetic that stays finite, in value and in gradient, at its limits."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# Up to here one loop over columns is faster on a CPU than a loop for each reduction.
_FEW_COLUMNS = 16
PROBABILITY_ROUNDING = 1e-6
"""By how much rounding to float32 may put a probability outside [0, 1]."""
_LANES = 256  # 1 KiB of float32: their running sums stay in a CPU's first cache


def divide_no_nan(
    numerator: jax.Array,
    denominator: jax.Array,
    *,
    otherwise: jax.typing.ArrayLike = 0.0,
) -> jax.Array:
    """`numerator / denominator`, and `otherwise` where the denominator is zero."""
    zero = denominator == 0
    return jnp.where(zero, otherwise, numerator / jnp.where(zero, 1, denominator))


def as_probability(values: jax.Array) -> jax.Array:
    """Values within [0, 1], as they are or by rounding; NaN where they are not.

    >>> print(as_probability(jnp.array([1.0000001, 0.5, 1.1])))
    [1.  0.5 nan]
    """
    nearest = jnp.where(values < 0, 0, jnp.where(values > 1, 1, values))
    near = jnp.abs(values - nearest) <= PROBABILITY_ROUNDING
    return jnp.where(near, nearest, jnp.nan)


def in_range(values: jax.Array, size: int) -> jax.Array:
    """Whether each whole number is the index of one of `size`, counted from 0."""
    return (values >= 0) & (values < size)


def at_least_float32(x: jax.Array) -> jax.Array:
    """The same array in float32 or wider: 8 bits of mantissa cannot rank scores."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


@jax.custom_jvp
def accurate_sum(values: jax.Array) -> jax.Array:
    """Sum over the leading axis, as if it were added in twice the precision.

    The rounding error of every addition (Knuth's two-sum) is carried along: a million
    float32 terms keep all their digits. Rows are added up first, then halves, and not
    in one `reduce`, whose additions XLA may reorder until nothing is left to carry.
    """
    # Wide enough for vector instructions, and few halves to add in the end.
    width = min(values.shape[0], 128)
    rows = -(-values.shape[0] // width)
    values = _pad_leading(values, rows * width)
    values = values.reshape(rows, width, *values.shape[1:])
    start = (values[0], jnp.zeros_like(values[0]))
    (total, lost), _ = jax.lax.scan(
        lambda sums, row: (_add(sums, (row, 0.0)), None), start, values[1:]
    )
    while width > 1:
        half = -(-width // 2)
        total, lost = (_pad_leading(part, 2 * half) for part in (total, lost))
        total, lost = _add((total[:half], lost[:half]), (total[half:], lost[half:]))
        width = half
    return _with_lost(total[0], lost[0])


@accurate_sum.defjvp
def _accurate_sum_jvp(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    return accurate_sum(*primals), jnp.sum(tangents[0], axis=0)


def _add(first: tuple, second: tuple) -> tuple[jax.Array, jax.Array]:
    """Adds two sums, each with what its rounding has lost so far."""
    (a, a_lost), (b, b_lost) = first, second
    total = a + b
    rounded_b = total - a
    lost = (a - (total - rounded_b)) + (b - rounded_b)
    return total, a_lost + b_lost + lost


def _with_lost(total: jax.Array, lost: jax.Array) -> jax.Array:
    """The sum with what its rounding has lost, which is NaN where it is infinite."""
    return jnp.where(jnp.isfinite(total), total + lost, total)


def _pad_leading(values: jax.Array, length: int) -> jax.Array:
    widths = [(0, length - values.shape[0])] + [(0, 0)] * (values.ndim - 1)
    return jnp.pad(values, widths)


def cumulative_sum(values: jax.Array) -> jax.Array:
    """Sums of `[n]` values up to each; floats as if added in twice the precision."""
    if not jnp.issubdtype(values.dtype, jnp.floating):
        return _cumulative(jnp.add, values, jax.lax.cumsum)
    total, lost = _cumulative(
        _add,
        (values, jnp.zeros_like(values)),
        functools.partial(jax.lax.associative_scan, _add),
    )
    return _with_lost(total, lost)


def cumulative_max(values: jax.Array) -> jax.Array:
    """The largest of `[n]` values up to each, none of them negative."""
    return _cumulative(jnp.maximum, values, jax.lax.cummax)


def _cumulative(combine: Callable, values: Any, elsewhere: Callable) -> Any:
    """What `combine` makes of the values up to each; with 0 it changes nothing.

    XLA's own form goes over the array once for each power of two. On a CPU, lanes that
    lie side by side go along it together, once, and what came before them is added.
    """
    return jax.lax.platform_dependent(
        values, cpu=functools.partial(_by_lanes, combine), default=elsewhere
    )


def _by_lanes(combine: Callable, values: Any) -> Any:
    size = jax.tree.leaves(values)[0].shape[0]
    lanes = min(_LANES, math.isqrt(size))
    steps = -(-size // lanes)

    def by_step(values: jax.Array) -> jax.Array:
        return _pad_leading(values, lanes * steps).reshape(lanes, steps).T

    def step(total: Any, row: Any) -> tuple:
        total = combine(total, row)
        return total, total

    nothing = jax.tree.map(lambda leaf: jnp.zeros((lanes,), leaf.dtype), values)
    whole, along = jax.lax.scan(step, nothing, jax.tree.map(by_step, values))
    before = jax.tree.map(
        lambda total: jnp.pad(total[:-1], (1, 0))[None],
        jax.lax.associative_scan(combine, whole),
    )
    return jax.tree.map(
        lambda total: total.T.reshape(-1)[:size], combine(before, along)
    )


def accurate_segment_sum(
    values: jax.Array, segments: jax.Array, num_segments: int
) -> jax.Array:
    """Sum of the values of each segment, a million float32 terms keeping their digits.

    What is added up are the differences to the segment's rough mean, in short blocks
    whose sums `accurate_sum` adds: they stay small, and so does their rounding.

    Args:
      values: shape `[n]`.
      segments: shape `[n]`; a value outside `[0, num_segments)` is left out.
      num_segments: how many segments there are.
    """
    # No shorter than there are segments: all sums of blocks then take no more memory
    # than the values.
    length = max(128, num_segments)
    blocks = -(-values.shape[0] // length)
    own = jnp.arange(values.shape[0]) // length * num_segments + segments
    inside = in_range(segments, num_segments)
    nowhere = blocks * num_segments
    index = jnp.where(inside, own, nowhere)

    def by_block(terms: jax.Array) -> jax.Array:
        sums = jax.ops.segment_sum(terms, index, nowhere)
        return accurate_sum(sums.reshape(blocks, num_segments))

    count = by_block(jnp.ones_like(values))
    rough = by_block(values)
    finite = jnp.isfinite(rough)
    mean = jax.lax.stop_gradient(divide_no_nan(jnp.where(finite, rough, 0.0), count))
    apart = by_block(values - mean[jnp.where(inside, segments, 0)])
    return jnp.where(finite, mean * count + apart, rough)


def safe_sqrt(x: jax.Array) -> jax.Array:
    """Square root whose derivative at 0 is 0 rather than infinite."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), x)


def safe_norm(x: jax.Array) -> jax.Array:
    """L2 norm over the last axis: no square overflows, and its derivative at 0 is 0."""
    scaled, unit = in_units_of_largest(x)
    squares = jnp.sum(scaled**2, axis=-1)
    return jnp.squeeze(unit, axis=-1) * safe_sqrt(squares)


def in_units_of_largest(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The last axis in a unit in which no power overflows, and the unit.

    The unit is the largest magnitude, 1 of zeros and not differentiated. Of magnitudes
    near the largest float it is less, but not much: XLA may divide by it as it
    multiplies with its reciprocal, which would be subnormal, and counted as 0.
    """
    largest = jnp.max(jnp.abs(x), axis=-1, keepdims=True, initial=0)
    unit = jnp.minimum(largest, float(jnp.finfo(x.dtype).max) / 8)
    unit = jax.lax.stop_gradient(jnp.where(unit == 0, 1, unit))
    return x / unit, unit


def is_predicted(z: jax.Array) -> jax.Array:
    """True at the largest value of the last axis, the first of equal ones."""
    return jax.nn.one_hot(jnp.argmax(z, axis=-1), z.shape[-1], dtype=bool)


@jax.custom_jvp
def log_softmax(z: jax.Array) -> jax.Array:
    r"""Log softmax over the last axis, exact for the predicted class too.

    With the lead :math:`d_k = z_{\hat y} - z_k` over each class,

    .. math:: \log p_k = -d_k - \log(1 + \sum_{j \ne \hat y} e^{-d_j}).

    Where :math:`p_{\hat y} = 1 - 10^{-12}`, `jax.nn.log_softmax` rounds its logarithm
    and its gradient to zero in float32. A value of +inf gives its limit.
    """
    (behind,), log_total = _behind_and_log_total([z])
    return behind - log_total[..., None]


@jax.custom_jvp
def log_max_softmax(z: jax.Array) -> jax.Array:
    """The largest value of `log_softmax`, from one pass less."""
    return -_behind_and_log_total(_few_columns(z))[1]


@jax.custom_jvp
def softmax_entropy(z: jax.Array) -> jax.Array:
    r"""Shannon entropy of the softmax over the last axis, in nats.

    With :math:`d_k` as in `log_softmax`, no term is negative and none cancels:

    .. math:: H = \log \sum_j e^{-d_j} + \sum_k d_k e^{-d_k} / \sum_j e^{-d_j}

    A class of probability 0 adds nothing.
    """
    behind, log_total = _behind_and_log_total(_few_columns(z))
    # Of -inf the limit, which is reached long before it.
    terms = [-jnp.exp(b) * jnp.maximum(b, jnp.finfo(z.dtype).min) for b in behind]
    return log_total + _sum(terms) * jnp.exp(-log_total)


def relative_entropy(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    r"""Kullback and Leibler's divergence of distributions over the last axis, in nats.

    .. math:: \mathrm{KL}(p \| q) = \sum_k p_k \log (p_k / q_k)

    Summed from terms that are never negative, so that distributions which nearly agree
    keep their digits. A class with p = 0 adds nothing but its share of q.

    Args:
      log_p: logarithms of p, which sums to one.
      log_q: of q, which is nowhere 0 where p is not.

    >>> log_p = jnp.log(jnp.array([0.5, 0.5, 0.0]))
    >>> print(relative_entropy(log_p, jnp.log(jnp.array([0.25, 0.25, 0.5]))).round(3))
    0.693
    """
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    absent = log_p == -jnp.inf
    lead = jnp.where(absent, 0.0, log_p - jnp.where(absent, 0.0, log_q))
    # Over the classes, p and q both sum to one: in each term they add nothing. They
    # make it p (lead + exp(-lead) - 1), which is never negative.
    near = jnp.abs(lead) < 1
    small = jnp.where(near, lead, 0.0)
    terms = jnp.where(near & ~absent, p * (small + jnp.expm1(-small)), p * lead - p + q)
    return jnp.sum(terms, axis=-1)


def _behind_and_log_total(
    pieces: list[jax.Array],
) -> tuple[list[jax.Array], jax.Array]:
    """How far each value lies below the largest, and `log(sum(exp))` of that.

    The values come, and go, as pieces of the last axis.

    Where the sum is close to 1, every value but the largest is far below it. The
    largest is then left out as what is close to 1, and not as what is equal to the
    largest: a compiler may compute a value twice and round it differently. All is
    arithmetic, which XLA fuses with its vectorised reductions on CPU; a selection or a
    search for the place of the largest takes several times as long.
    """
    largest = functools.reduce(jnp.maximum, [jnp.max(p, axis=-1) for p in pieces])
    finite = functools.partial(jnp.minimum, jnp.finfo(pieces[0].dtype).max)
    behind = [finite(piece) - finite(largest)[..., None] for piece in pieces]
    values = [jnp.exp(piece) for piece in behind]
    total = _sum(values)
    others = _sum([jnp.minimum(piece, 1 - piece) for piece in values])
    # Below 1.25 every value but the largest is less than 1/4: of these the smaller of v
    # and 1 - v is v, of the largest it is 0.
    log_total = jnp.where(total < 1.25, jnp.log1p(others), jnp.log(total))
    several_infinite = jnp.isposinf(largest) & (total > 1.5)
    log_total = jnp.where(several_infinite, jnp.nan, log_total)
    return behind, log_total


def _few_columns(z: jax.Array) -> list[jax.Array]:
    """The last axis in pieces: one for each value if there are few, else the whole.

    A loop for each reduction is most of the time where there is little to reduce; what
    is added up column by column is one loop.
    """
    columns = z.shape[-1]
    return jnp.split(z, columns, axis=-1) if columns <= _FEW_COLUMNS else [z]


def _sum(pieces: list[jax.Array]) -> jax.Array:
    """The sum over the last axis that was cut into pieces."""
    return functools.reduce(jnp.add, [jnp.sum(piece, axis=-1) for piece in pieces])


def _selected_lead_and_rivals(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same by selection of the predicted class: the form to differentiate.

    The derivative of the predicted class's own lead is then nothing, and not the
    difference of two numbers that are nearly equal.
    """
    predicted = is_predicted(z)
    largest = jnp.sum(z, axis=-1, keepdims=True, where=predicted)
    # inf - inf where the predicted value is +inf.
    lead = jnp.where(predicted & ~jnp.isnan(z), 0.0, largest - z)
    return lead, jnp.sum(jnp.exp(-lead), axis=-1, where=~predicted)


@log_softmax.defjvp
def _log_softmax_jvp(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    def selected(z: jax.Array) -> jax.Array:
        lead, rivals = _selected_lead_and_rivals(z)
        return -lead - jnp.log1p(rivals)[..., None]

    return log_softmax(*primals), jax.jvp(selected, primals, tangents)[1]


@log_max_softmax.defjvp
def _log_max_softmax_jvp(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    def selected(z: jax.Array) -> jax.Array:
        return -jnp.log1p(_selected_lead_and_rivals(z)[1])

    return log_max_softmax(*primals), jax.jvp(selected, primals, tangents)[1]


@softmax_entropy.defjvp
def _softmax_entropy_jvp(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    def from_log_softmax(z: jax.Array) -> jax.Array:
        log_p = log_softmax(z)
        return -jnp.sum(jnp.exp(log_p) * jnp.where(log_p == -jnp.inf, 0, log_p), -1)

    return softmax_entropy(*primals), jax.jvp(from_log_softmax, primals, tangents)[1]
