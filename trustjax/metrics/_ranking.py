"""The one sort behind every rank metric: examples from most to least trusted.

XLA sorts one array of unsigned integers several times faster than floats or pairs, so
score and correctness are packed, without loss, into the bits of one integer.
"""

import dataclasses
import functools
from fractions import Fraction
from typing import NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from trustjax import _numerics, _validate
from trustjax.metrics import _across, _weights

_LIMBS = 4


class Place(NamedTuple):
    """One entry of a ranking: `[]` the device that has it, and its index there."""

    device: jax.Array
    index: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Ranking:
    """Counts over the examples in the order of falling score, all `[n]` or `[]`.

    Inside `jax.shard_map` each device has the next `n` of all examples, and the counts
    are those of all: what looks at every threshold is asked of the methods.

    With weights they are sums of weights: `int32` for a mask and counts, else floats.
    Entries of weight 0 count nothing and are `last` nowhere.

    Attributes:
      score: the scores in falling order.
      last: whether the entry ends its group of equal scores. Only there do the counts
        describe a threshold: equal scores are accepted together.
      successes: how many correct examples score at least as high.
      errors: how many wrong ones do.
      successes_before: how many correct examples score higher than the group.
      errors_before: how many wrong ones do.
      num_successes: how many examples are correct.
      num_errors: how many are wrong.
      unit: what one example counts, see `_weights.unit`.
      known: whether no score is NaN.
      axes: the axes of the mesh that the entries are spread over; static.
    """

    score: jax.Array
    last: jax.Array
    successes: jax.Array
    errors: jax.Array
    successes_before: jax.Array
    errors_before: jax.Array
    num_successes: jax.Array
    num_errors: jax.Array
    unit: jax.Array
    known: jax.Array
    axes: _across.Axes = dataclasses.field(default=(), metadata={"static": True})

    @property
    def accepted(self) -> jax.Array:
        """How many examples score at least as high."""
        return self.successes + self.errors

    @property
    def accepted_before(self) -> jax.Array:
        """How many examples score higher than the group."""
        return self.successes_before + self.errors_before

    @property
    def num_examples(self) -> jax.Array:
        """How many examples there are."""
        return self.num_successes + self.num_errors

    @property
    def highest(self) -> jax.Array:
        """Where the highest score of an example that counts is, or one equal to it."""
        return jnp.argmax(self.last)

    @property
    def lowest(self) -> jax.Array:
        """Where the lowest score of an example that counts is."""
        return self.last.shape[0] - 1 - jnp.argmax(self.last[::-1])

    @property
    def end(self) -> jax.Array:
        """Where the group of each entry ends; the lowest where none of it counts."""
        position = jnp.arange(self.last.shape[0], dtype=jnp.int32)
        return lax.cummin(jnp.where(self.last, position, self.lowest), reverse=True)

    def total(self, values: jax.Array) -> jax.Array:
        """Sum of one value for each group of equal scores; NaN if a score is NaN."""
        own = _numerics.accurate_sum(jnp.where(self.last, values, 0.0))
        return self.if_known(_across.total(own, self.axes))

    def count(self, counts: jax.Array, where: jax.Array) -> jax.Array:
        """Sum of counts over the thresholds of which something is true."""
        return _across.total(jnp.sum(counts, where=where & self.last), self.axes)

    def largest(
        self, values: jax.Array, otherwise: float, where: jax.Array | bool = True
    ) -> jax.Array:
        """The largest value at a threshold of which something is true."""
        own = jnp.max(jnp.where(self.last & where, values, otherwise))
        return _across.largest(own, self.axes)

    def first(self, where: jax.Array) -> Place:
        """The highest threshold of which something is true; the first entry if none."""
        true = self.last & where
        device = jnp.argmax(_across.of_each(jnp.any(true), self.axes))
        return Place(device, jnp.argmax(true))

    def best(self, values: jax.Array) -> Place:
        """The highest threshold of the largest value, or of NaN; none is below 0."""
        values = jnp.where(self.last, values, -1.0)
        index = jnp.argmax(values)
        device = jnp.argmax(_across.of_each(values[index], self.axes))
        return Place(device, index)

    def at(self, place: Place, values: jax.Array) -> jax.Array:
        """The value of one entry."""
        return _across.of_each(values[place.index], self.axes)[place.device]

    def if_known(self, value: jax.Array) -> jax.Array:
        """The value, or NaN if a score is NaN."""
        return jnp.where(self.known, value, jnp.nan)


def rank(
    scores: jax.Array, correct: jax.Array, weights: jax.Array | None = None
) -> Ranking:
    """Sorts once, after the checks that every rank metric shares.

    The order of the scores does not depend on counts and floats: `jax.vmap` over such
    weights sorts once for all of them.

    Args:
      scores: shape `[n]`, floats, signed integers or booleans. Infinite scores are
        ordinary extremes: `grad_trust` is infinite where the softmax is one-hot.
      correct: shape `[n]`, boolean or 0 and 1.
      weights: shape `[n]`, what each example counts; 1 if None.

    Returns:
      The ranking. NaN scores make its `known` false.

    Raises:
      ValueError: if the shapes differ or are empty, or a known score is NaN.
      TypeError: if a dtype is another one, or the scores are differentiated.
    """
    _validate.scores_and_outcomes(scores, correct, weights)
    if jnp.issubdtype(scores.dtype, jnp.floating):
        scores = not_differentiated(scores)
    if weights is not None and weights.dtype != jnp.bool_:
        order = _order(_rising_as_scores_fall(scores))
        return _count_weighted(scores, correct, weights, order)
    kept = jnp.ones(scores.shape, bool) if weights is None else weights
    code = encode(scores, kept)
    key, wrong = _sort(code.key, correct == 0, kept, code.fits)
    return _count(code, key, wrong, jnp.sum(kept, dtype=jnp.int32), scores.dtype)


@jax.custom_jvp
def not_differentiated(scores: jax.Array) -> jax.Array:
    """The scores; a derivative by them is refused, for it would be a silent zero."""
    return scores


@not_differentiated.defjvp
def _refuse(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> NoReturn:
    raise TypeError(
        "metrics of the order of scores, such as auroc and aurc, are steps and have no "
        "derivative: smooth_auroc and smooth_aurc have one. For a number that is only "
        "looked at, give jax.lax.stop_gradient(scores)"
    )


def share(count: jax.Array, total: jax.Array) -> jax.Array:
    """`count / total`, NaN for a share of nothing."""
    return _numerics.divide_no_nan(count, total, otherwise=jnp.nan)


def reaches(count: jax.Array, total: jax.Array, fraction: Fraction) -> jax.Array:
    """Whether the share is at least the fraction: exactly for counts.

    Of floats the rounding of their sums is forgiven, except that nothing less than all
    is all.
    """
    if jnp.issubdtype(total.dtype, jnp.floating):
        missing = float(fraction) * (total - count)
        return missing <= float(1 - fraction) * count * (1 + 1e-6)
    return count >= _least_count(total, fraction)


def strictest_to_reach(
    ranking: Ranking, count: jax.Array, total: jax.Array, fraction: float
) -> Place:
    """Where the highest threshold is at which `count` is that share of `total`."""
    return ranking.first(reaches(count, total, as_fraction(fraction)))


def as_fraction(value: float) -> Fraction:
    """The share of at most 2**31 - 1 examples that is meant: 5/9, 7/100, no float."""
    return Fraction(value).limit_denominator(2**31 - 1)


def _least_count(total: jax.Array, fraction: Fraction) -> jax.Array:
    """The least integer that is at least `fraction * total`, for an `int32` total.

    The fraction is multiplied 16 bits at a time. What is cut off after 64 bits changes
    no ceiling: the denominator has 31, so that no product is so near to an integer.
    """
    if fraction == 1:
        return total
    bits = int(fraction * 2 ** (16 * _LIMBS))
    limbs = [(bits >> (16 * i)) & 0xFFFF for i in range(_LIMBS)]
    upper, lower = total.astype(jnp.uint32) >> 16, total.astype(jnp.uint32) & 0xFFFF
    carry = jnp.zeros_like(lower)
    rest = jnp.full(total.shape, fraction * 2 ** (16 * _LIMBS) > bits) & (total > 0)
    for limb in limbs:
        low = lower * limb + (carry & 0xFFFF)
        carry = upper * limb + (carry >> 16) + (low >> 16)
        rest |= (low & 0xFFFF) > 0
    return (carry + rest).astype(total.dtype)


class Code(NamedTuple):
    """Scores as unsigned integers that grow as the score falls.

    Attributes:
      key: the integers, `[n]`.
      fits: whether they leave one bit free.
      top, gap: what `decode` needs to find the scores again.
      known: whether no score is NaN.
    """

    key: jax.Array
    fits: jax.Array
    top: jax.Array
    gap: jax.Array
    known: jax.Array


@functools.partial(jax.jit, static_argnames="axes")
def encode(scores: jax.Array, kept: jax.Array, axes: _across.Axes = ()) -> Code:
    """Scores as integers, on every device of the axes by the same rule."""
    unknown = _across.of_each(jnp.any(jnp.isnan(scores) & kept), axes)
    kept = kept & ~jnp.isnan(scores)
    ordered, gap = _as_ordered_integers(scores, kept, axes)
    limits = jnp.iinfo(ordered.dtype)
    top = _across.largest(jnp.max(ordered, where=kept, initial=limits.min), axes)
    bottom = _across.smallest(jnp.min(ordered, where=kept, initial=limits.max), axes)
    # A difference that wraps around is right again when it is read as unsigned.
    unsigned = jnp.uint64 if ordered.dtype == jnp.int64 else jnp.uint32
    key = lax.bitcast_convert_type(top - ordered, unsigned)
    span = lax.bitcast_convert_type(top - bottom, unsigned)
    return Code(key, span < limits.max, top, gap, ~jnp.any(unknown))


def _as_ordered_integers(
    scores: jax.Array, kept: jax.Array, axes: _across.Axes
) -> tuple[jax.Array, jax.Array]:
    """Signed integers in the order of the scores, equal where the scores are.

    A float's bits order its magnitude. The magnitudes below the smallest one, `gap`,
    are unused and closed up, so that scores of both signs, too, leave a bit free.
    """
    if not jnp.issubdtype(scores.dtype, jnp.floating):
        scores = _at_least_int32(scores)
        return scores, jnp.zeros((), scores.dtype)
    scores = _numerics.at_least_float32(scores)
    integer = jnp.int64 if scores.dtype == jnp.float64 else jnp.int32
    largest = jnp.iinfo(integer).max
    bits = lax.bitcast_convert_type(scores, integer)
    magnitude = bits & largest
    nonzero = kept & (magnitude > 0)
    smallest = jnp.min(magnitude, where=nonzero, initial=largest)
    gap = _across.smallest(smallest, axes) - 1
    magnitude = jnp.where(magnitude == 0, 0, magnitude - gap)
    return jnp.where(bits < 0, -magnitude, magnitude), gap


def _at_least_int32(scores: jax.Array) -> jax.Array:
    return scores.astype(jnp.int32) if scores.dtype.itemsize < 4 else scores


def decode(code: Code, key: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """The scores that have these keys."""
    ordered = code.top - lax.bitcast_convert_type(key, code.top.dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        return ordered
    magnitude = jnp.abs(ordered)
    bits = jnp.where(magnitude == 0, 0, magnitude + code.gap)
    bits = jnp.where(ordered < 0, bits | jnp.iinfo(bits.dtype).min, bits)
    floating = jnp.float64 if bits.dtype == jnp.int64 else jnp.float32
    return lax.bitcast_convert_type(bits, floating)


def _sort(
    key: jax.Array, wrong: jax.Array, kept: jax.Array, fits: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Sorts by key, right before wrong, and what is not kept last."""
    if _validate.is_known(key, wrong, kept) and _is_on_cpu(key):
        return _sort_on_host(key, wrong, kept, bool(fits))
    return _sort_on_device(key, wrong, kept, fits)


def _is_on_cpu(array: jax.Array) -> bool:
    return all(device.platform == "cpu" for device in array.devices())


def _sort_on_host(
    key: jax.Array, wrong: jax.Array, kept: jax.Array, fits: bool
) -> tuple[jax.Array, jax.Array]:
    # NumPy's vectorised sort is ten times faster than XLA's on a CPU.
    if fits:
        packed = np.array(pack(key, wrong, kept))
        packed.sort()
        return unpack(jnp.asarray(packed))
    order = np.lexsort((np.asarray(wrong), np.asarray(key), ~np.asarray(kept)))
    return key[order], wrong[order]


@jax.jit
@jax.custom_batching.sequential_vmap  # a vmapped `cond` would run both sorts
def _sort_on_device(
    key: jax.Array, wrong: jax.Array, kept: jax.Array, fits: jax.Array
) -> tuple[jax.Array, jax.Array]:
    def packed() -> tuple[jax.Array, jax.Array]:
        return unpack(lax.sort(pack(key, wrong, kept)))

    def apart() -> tuple[jax.Array, jax.Array]:
        _, by_key, right_first = lax.sort((~kept, key, wrong), num_keys=3)
        return by_key, right_first

    return lax.cond(fits, packed, apart)


@jax.jit
def pack(key: jax.Array, wrong: jax.Array, kept: jax.Array) -> jax.Array:
    """Keys with the outcome in their last bit; all bits where nothing counts."""
    return jnp.where(kept, (key << 1) | wrong.astype(key.dtype), ~jnp.zeros_like(key))


@jax.jit
def unpack(packed: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Keys and whether each is wrong, of what `pack` gave."""
    return packed >> 1, (packed & 1).astype(bool)


@functools.partial(jax.jit, static_argnames="dtype")
def _count(
    code: Code, key: jax.Array, wrong: jax.Array, num_kept: jax.Array, dtype: jnp.dtype
) -> Ranking:
    position = jnp.arange(key.shape[0], dtype=jnp.int32)
    kept = position < num_kept
    next_differs = jnp.append(key[1:] != key[:-1], True)
    last = kept & (next_differs | (position == num_kept - 1))
    accepted = jnp.minimum(position + 1, num_kept)
    successes = _numerics.cumulative_sum((kept & ~wrong).astype(jnp.int32))
    accepted_before = _before(accepted, last)
    successes_before = jnp.where(accepted_before > 0, successes[accepted_before - 1], 0)
    score = decode(code, key, dtype)
    return Ranking(
        score=jnp.where(kept, score, score[num_kept - 1]),
        last=last,
        successes=successes,
        errors=accepted - successes,
        successes_before=successes_before,
        errors_before=accepted_before - successes_before,
        num_successes=successes[-1],
        num_errors=num_kept - successes[-1],
        unit=jnp.ones((), jnp.int32),
        known=code.known,
    )


def _before(counts: jax.Array, last: jax.Array) -> jax.Array:
    """The count at the end of the previous group."""
    at_ends = _numerics.cumulative_max(jnp.where(last, counts, 0))
    return jnp.pad(at_ends[:-1], (1, 0))


@jax.jit
def _rising_as_scores_fall(scores: jax.Array) -> jax.Array:
    """The scores upside down; NaN, which only weight 0 may have, like the lowest."""
    if not jnp.issubdtype(scores.dtype, jnp.floating):
        return ~_at_least_int32(scores)
    scores = _numerics.at_least_float32(scores)
    return jnp.where(jnp.isnan(scores), jnp.inf, -scores)


def _order(key: jax.Array) -> jax.Array:
    """Which entry is first, second, ... in the order of the key."""
    if _validate.is_known(key) and _is_on_cpu(key):
        return jnp.asarray(np.argsort(np.asarray(key)), jnp.int32)
    return _order_on_device(key)


@jax.jit
def _order_on_device(key: jax.Array) -> jax.Array:
    return lax.sort((key, jnp.arange(key.shape[0], dtype=jnp.int32)), num_keys=1)[1]


@jax.jit
def _count_weighted(
    scores: jax.Array, correct: jax.Array, weights: jax.Array, order: jax.Array
) -> Ranking:
    key = _rising_as_scores_fall(scores)[order]
    differs = key[1:] != key[:-1]
    ends = jnp.append(differs, True)
    # The entry before the group of each entry: -1 for the first group.
    position = jnp.arange(key.shape[0], dtype=jnp.int32)
    starts = jnp.where(jnp.append(True, differs), position, 0)
    before = _numerics.cumulative_max(starts) - 1

    counts = _weights.counted(weights, scores.shape[0])
    known = ~jnp.any(jnp.isnan(scores) & (counts > 0))
    counts, right = counts[order], (correct != 0)[order]

    def up_to(counts: jax.Array) -> tuple[jax.Array, jax.Array]:
        sums = _numerics.cumulative_sum(counts)
        return sums, jnp.where(before < 0, 0, sums[before])

    successes, successes_before = up_to(jnp.where(right, counts, 0))
    errors, errors_before = up_to(jnp.where(right, 0, counts))
    some, some_before = successes + errors, successes_before + errors_before
    if jnp.issubdtype(counts.dtype, jnp.floating):  # sums that rounding may not tell
        some, some_before = up_to((counts > 0).astype(jnp.int32))
    last = ends & (some > some_before)
    end = last.shape[0] - 1 - jnp.argmax(last[::-1])
    return Ranking(
        score=-key if jnp.issubdtype(key.dtype, jnp.floating) else ~key,
        last=last,
        successes=successes,
        errors=errors,
        successes_before=successes_before,
        errors_before=errors_before,
        num_successes=successes[end],
        num_errors=errors[end],
        unit=_weights.unit(counts),
        known=known,
    )
