"""The one sort behind every rank metric: examples from most to least trusted.

XLA sorts one array of unsigned integers several times faster than floats or pairs, so
score and correctness are packed, without loss, into the bits of one integer.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from trustjax import _numerics, _validate


class Ranking(NamedTuple):
    """Counts over the examples in the order of falling score, all `[n]` or `[]`.

    Entries that `where` left out come last, count nothing and are `last` nowhere.

    Attributes:
      score: the scores in falling order.
      last: whether the entry ends its group of equal scores. Only there do the counts
        describe a threshold: equal scores are accepted together.
      accepted: how many examples score at least as high.
      successes: how many of those are correct.
      accepted_before: how many examples score higher than the group.
      successes_before: how many of those are correct.
      num_examples: how many examples there are.
      num_successes: how many of them are correct.
      known: whether no score is NaN.
    """

    score: jax.Array
    last: jax.Array
    accepted: jax.Array
    successes: jax.Array
    accepted_before: jax.Array
    successes_before: jax.Array
    num_examples: jax.Array
    num_successes: jax.Array
    known: jax.Array

    @property
    def errors(self) -> jax.Array:
        """How many wrong examples score at least as high."""
        return self.accepted - self.successes

    @property
    def errors_before(self) -> jax.Array:
        """How many wrong examples score higher than the group."""
        return self.accepted_before - self.successes_before

    @property
    def num_errors(self) -> jax.Array:
        """How many examples are wrong."""
        return self.num_examples - self.num_successes

    def total(self, values: jax.Array) -> jax.Array:
        """Sum of one value for each group of equal scores; NaN if a score is NaN."""
        return self.if_known(_numerics.accurate_sum(jnp.where(self.last, values, 0.0)))

    def if_known(self, value: jax.Array) -> jax.Array:
        """The value, or NaN if a score is NaN."""
        return jnp.where(self.known, value, jnp.nan)


def rank(
    scores: jax.Array, correct: jax.Array, where: jax.Array | None = None
) -> Ranking:
    """Sorts once, after the checks that every rank metric shares.

    Args:
      scores: shape `[n]`, floats, signed integers or booleans. Infinite scores are
        ordinary extremes: `grad_trust` is infinite where the softmax is one-hot.
      correct: shape `[n]`, boolean or 0 and 1.
      where: shape `[n]`; the examples to keep, all if None.

    Returns:
      The ranking. NaN scores make its `known` false.

    Raises:
      ValueError: if the shapes differ or are empty, or a known score is NaN.
      TypeError: if a dtype is another one.
    """
    _validate.scores_and_outcomes(scores, correct, where)
    if where is None:
        where = jnp.ones(scores.shape, bool)
    code = _encode(scores, where)
    key, wrong = _sort(code.key, correct == 0, where, code.fits)
    return _count(code, key, wrong, jnp.sum(where, dtype=jnp.int32), scores.dtype)


def share(count: jax.Array, total: jax.Array) -> jax.Array:
    """`count / total`, NaN for a share of nothing."""
    return _numerics.divide_no_nan(count, total, otherwise=jnp.nan)


def reaches(count: jax.Array, total: jax.Array, fraction: float) -> jax.Array:
    """Whether the share is at least `fraction`, the rounding of the division aside.

    XLA may divide by a constant total by multiplying with its reciprocal.
    """
    return share(count, total) >= fraction * (1 - 3e-7)


class _Code(NamedTuple):
    """Scores as unsigned integers that grow as the score falls.

    Attributes:
      key: the integers, `[n]`.
      fits: whether they leave one bit free.
      top, gap: what `_decode` needs to find the scores again.
      known: whether no score is NaN.
    """

    key: jax.Array
    fits: jax.Array
    top: jax.Array
    gap: jax.Array
    known: jax.Array


@jax.jit
def _encode(scores: jax.Array, kept: jax.Array) -> _Code:
    known = ~jnp.any(jnp.isnan(scores) & kept)
    kept = kept & ~jnp.isnan(scores)
    ordered, gap = _as_ordered_integers(scores, kept)
    limits = jnp.iinfo(ordered.dtype)
    top = jnp.max(ordered, where=kept, initial=limits.min)
    bottom = jnp.min(ordered, where=kept, initial=limits.max)
    # A difference that wraps around is right again when it is read as unsigned.
    unsigned = jnp.uint64 if ordered.dtype == jnp.int64 else jnp.uint32
    key = lax.bitcast_convert_type(top - ordered, unsigned)
    span = lax.bitcast_convert_type(top - bottom, unsigned)
    return _Code(key, span < limits.max, top, gap, known)


def _as_ordered_integers(
    scores: jax.Array, kept: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Signed integers in the order of the scores, equal where the scores are.

    A float's bits order its magnitude. The magnitudes below the smallest one, `gap`,
    are unused and closed up, so that scores of both signs, too, leave a bit free.
    """
    if not jnp.issubdtype(scores.dtype, jnp.floating):
        if scores.dtype.itemsize < 4:
            scores = scores.astype(jnp.int32)
        return scores, jnp.zeros((), scores.dtype)
    scores = _numerics.at_least_float32(scores)
    integer = jnp.int64 if scores.dtype == jnp.float64 else jnp.int32
    largest = jnp.iinfo(integer).max
    bits = lax.bitcast_convert_type(scores, integer)
    magnitude = bits & largest
    nonzero = kept & (magnitude > 0)
    gap = jnp.min(magnitude, where=nonzero, initial=largest) - 1
    magnitude = jnp.where(magnitude == 0, 0, magnitude - gap)
    return jnp.where(bits < 0, -magnitude, magnitude), gap


def _decode(code: _Code, key: jax.Array, dtype: jnp.dtype) -> jax.Array:
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
        packed = np.array(_pack(key, wrong, kept))
        packed.sort()
        return _unpack(jnp.asarray(packed))
    order = np.lexsort((np.asarray(wrong), np.asarray(key), ~np.asarray(kept)))
    return key[order], wrong[order]


@jax.jit
@jax.custom_batching.sequential_vmap  # a vmapped `cond` would run both sorts
def _sort_on_device(
    key: jax.Array, wrong: jax.Array, kept: jax.Array, fits: jax.Array
) -> tuple[jax.Array, jax.Array]:
    def packed() -> tuple[jax.Array, jax.Array]:
        return _unpack(lax.sort(_pack(key, wrong, kept)))

    def apart() -> tuple[jax.Array, jax.Array]:
        _, by_key, right_first = lax.sort((~kept, key, wrong), num_keys=3)
        return by_key, right_first

    return lax.cond(fits, packed, apart)


@jax.jit
def _pack(key: jax.Array, wrong: jax.Array, kept: jax.Array) -> jax.Array:
    return jnp.where(kept, (key << 1) | wrong.astype(key.dtype), ~jnp.zeros_like(key))


@jax.jit
def _unpack(packed: jax.Array) -> tuple[jax.Array, jax.Array]:
    return packed >> 1, (packed & 1).astype(bool)


@functools.partial(jax.jit, static_argnames="dtype")
def _count(
    code: _Code, key: jax.Array, wrong: jax.Array, num_kept: jax.Array, dtype: jnp.dtype
) -> Ranking:
    position = jnp.arange(key.shape[0], dtype=jnp.int32)
    kept = position < num_kept
    next_differs = jnp.append(key[1:] != key[:-1], True)
    last = kept & (next_differs | (position == num_kept - 1))
    accepted = jnp.minimum(position + 1, num_kept)
    successes = jnp.cumsum(kept & ~wrong, dtype=jnp.int32)
    accepted_before = _before(accepted, last)
    score = _decode(code, key, dtype)
    return Ranking(
        score=jnp.where(kept, score, score[num_kept - 1]),
        last=last,
        accepted=accepted,
        successes=successes,
        accepted_before=accepted_before,
        successes_before=jnp.where(
            accepted_before > 0, successes[accepted_before - 1], 0
        ),
        num_examples=num_kept,
        num_successes=successes[-1],
        known=code.known,
    )


def _before(counts: jax.Array, last: jax.Array) -> jax.Array:
    """The count at the end of the previous group."""
    at_ends = lax.cummax(jnp.where(last, counts, 0))
    return jnp.pad(at_ends[:-1], (1, 0))
