"""Rank metrics of examples that are spread over a mesh: no device holds all of them.

After the sort of `_merge_sort` a device has the next of all examples. To its counts it
adds the totals of the devices before it; a group of equal scores may go on from one
device to the next, and ends on one of them.
"""

import contextvars
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.core
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from trustjax import _numerics, _validate
from trustjax._meshes import axes_of
from trustjax.metrics import _across, _merge_sort, _weights
from trustjax.metrics._ranking import (
    Code,
    Ranking,
    decode,
    encode,
    not_differentiated,
    pack,
    rank,
    unpack,
)

R = TypeVar("R")


def measure(
    of: Callable[..., R],
    scores: jax.Array,
    correct: jax.Array,
    weights: jax.Array | None,
    **options: Any,
) -> R:
    """What a metric makes of the ranking, wherever the examples are.

    Args:
      of: takes a ranking and `options`; returns numbers.
      scores: shape `[n]`. Where an array, or on explicit axes its type, says that they
        are spread over a mesh, each device ranks its share.
      correct: as for `rank`.
      weights: as for `rank`.
      **options: hashable.
    """
    given = [scores, correct, *([] if weights is None else [weights])]
    sharding = _spread(*given)
    if sharding is None:
        return of(rank(scores, correct, weights), **options)
    _check(*given)
    if jnp.issubdtype(scores.dtype, jnp.floating):
        given[0] = not_differentiated(scores)
    given = [_with(sharding, array) for array in given]
    program = _program(of, sharding, len(given), tuple(sorted(options.items())))
    return program(*given)


def on_mesh(metric: Callable[..., R], sharding: NamedSharding) -> Callable[..., R]:
    """A rank metric of examples that are spread over a mesh as is said here.

    Arrays say so by themselves, and on explicit axes their types do: there the metric
    alone is enough. Inside `jax.jit`, on axes of type Auto, nothing does.

    Args:
      metric: one of those that gather nothing, see `trustjax.metrics`.
      sharding: of the examples.

    Returns:
      A function of what the metric takes, with the same result.

    Raises:
      ValueError: if `sharding` spreads the examples over no axes, or the metric is
        another one.

    >>> from trustjax import metrics
    >>> mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    >>> on_shards = metrics.on_mesh(metrics.auroc, NamedSharding(mesh, P("data")))
    >>> print(jax.jit(on_shards)(jnp.array([0.9, 0.8, 0.7]), jnp.array([1, 0, 1])))
    0.5
    """
    axes = axes_of(sharding.spec)
    if not axes:
        raise ValueError(f"sharding must spread the examples over axes, got {sharding}")

    @functools.wraps(metric)
    def of_shards(*args: Any, **kwargs: Any) -> R:
        given = _Said(NamedSharding(sharding.mesh, P(axes)))
        token = _SAID.set(given)
        try:
            result = metric(*args, **kwargs)
        finally:
            _SAID.reset(token)
        if not given.heard:
            raise ValueError(
                "metric must be one that gathers nothing, see `trustjax.metrics`, got "
                f"{getattr(metric, '__name__', metric)}"
            )
        return result

    return of_shards


@dataclasses.dataclass
class _Said:
    """What `on_mesh` says of the examples, and whether the metric has asked."""

    sharding: NamedSharding
    heard: bool = False


_SAID: contextvars.ContextVar[_Said | None] = contextvars.ContextVar(
    "_SAID", default=None
)


def _spread(*arrays: jax.Array) -> NamedSharding | None:
    """How the examples are spread over a mesh, if that is known and they are."""
    said = _SAID.get()
    if said is not None:
        said.heard = True
        return said.sharding
    traced = [isinstance(array, jax.core.Tracer) for array in arrays]
    if any(traced) and not all(traced):  # `jax.vmap` over weights: one sort for all
        return None
    scores = arrays[0]
    sharding: Any = jax.typeof(scores).sharding if traced[0] else scores.sharding
    if not isinstance(sharding, NamedSharding) or scores.ndim != 1:
        return None
    axes = axes_of(sharding.spec)
    parts = math.prod(sharding.mesh.shape[axis] for axis in axes)
    return NamedSharding(sharding.mesh, P(axes)) if parts > 1 else None


def _with(sharding: NamedSharding, array: jax.Array) -> jax.Array:
    """The array, spread so."""
    if not isinstance(array, jax.core.Tracer):
        return jax.device_put(array, sharding)
    if sharding.mesh.explicit_axes:
        return jax.sharding.reshard(array, sharding)
    return array  # `jax.shard_map` spreads it


def _check(*given: jax.Array) -> None:
    """The checks of `rank`; of values, each device looks at its share."""
    scores, correct, *some = given
    weights = some[0] if some else None
    jax.eval_shape(_validate.scores_and_outcomes, scores, correct, weights)
    if _validate.is_known(*given) and bool(_are_refused(*given)):
        _validate.scores_and_outcomes(scores, correct, weights)  # says which, and why


@jax.jit
def _are_refused(
    scores: jax.Array, correct: jax.Array, weights: jax.Array | None = None
) -> jax.Array:
    """Whether a value may be one that the checks refuse."""
    kept = jnp.ones(scores.shape, bool) if weights is None else weights != 0
    outcome = (correct == 0) | (correct == 1)
    refused = jnp.any(kept & (jnp.isnan(scores) | ~outcome))
    if weights is None or weights.dtype == jnp.bool_:
        return refused
    refused |= jnp.any(~((weights >= 0) & (weights < jnp.inf)))
    if jnp.issubdtype(weights.dtype, jnp.integer):
        refused |= jnp.sum(weights.astype(jnp.float32)) > 2.0**30
    return refused


@functools.lru_cache(maxsize=256)
def _program(
    of: Callable[..., Any],
    sharding: NamedSharding,
    number: int,
    options: tuple[tuple[str, Any], ...],
) -> Callable[..., Any]:
    """The metric of shares, compiled once for all arrays of a shape."""
    axes = axes_of(sharding.spec)
    # `lax.ppermute` takes several axes in the order of the mesh, whatever it is given.
    ordered = tuple(axis for axis in sharding.mesh.axis_names if axis in axes)
    own = lambda *given: of(_rank_share(ordered, *given), **dict(options))
    return jax.jit(
        jax.shard_map(
            own,
            mesh=sharding.mesh,
            in_specs=(P(axes),) * number,
            out_specs=P(),
            # Nothing is differentiated, and what comes out has been added up.
            check_vma=False,
        )
    )


def _rank_share(
    axes: _across.Axes,
    scores: jax.Array,
    correct: jax.Array,
    weights: jax.Array | None = None,
) -> Ranking:
    """The ranking of the next of all examples, of which a device has some.

    See `rank`; `score` of what counts nothing is any.
    """
    counts = _counted(weights, scores.shape[0], axes)
    code = encode(scores, counts > 0, axes)

    # Each branch makes what it sorts, so that only the scores are kept for both.
    def in_pairs() -> tuple[jax.Array, ...]:
        own = encode(scores, counts > 0, axes).key
        signed = jnp.where(correct != 0, counts, -counts)
        own = jnp.where(counts > 0, own, ~jnp.zeros_like(own))
        return _merge_sort.sort((own, signed), axes)

    def packed() -> tuple[jax.Array, ...]:
        own = encode(scores, counts > 0, axes).key
        words = pack(own, correct == 0, counts > 0)
        (words,) = _merge_sort.sort((words,), axes)
        key, wrong = unpack(words)
        kept = words != ~jnp.zeros_like(words)
        return key, jnp.where(kept, jnp.where(wrong, -1, 1), 0).astype(counts.dtype)

    if weights is None or weights.dtype == jnp.bool_:
        # A sort of single words takes an eighth of the time of one of pairs.
        key, signed = lax.cond(code.fits, packed, in_pairs)
    else:
        key, signed = in_pairs()
    return _count_share(code, key, signed, scores.dtype, axes)


def _counted(
    weights: jax.Array | None, num_examples: int, axes: _across.Axes
) -> jax.Array:
    """See `_weights.counted`: nothing counts where a weight of any device is wrong."""
    possible = _across.of_each(_weights.are_possible(weights), axes)
    return jnp.where(jnp.all(possible), _weights.counted(weights, num_examples), 0)


def _count_share(
    code: Code,
    key: jax.Array,
    signed: jax.Array,
    dtype: jnp.dtype,
    axes: _across.Axes,
) -> Ranking:
    device = lax.axis_index(axes)
    firsts = _across.of_each(key[0], axes)
    lasts = _across.of_each(key[-1], axes)
    differs = key[1:] != key[:-1]
    starts = jnp.append((device == 0) | (key[0] != lasts[device - 1]), differs)
    is_end = device == len(firsts) - 1
    ends = jnp.append(differs, is_end | (key[-1] != firsts[(device + 1) % len(firsts)]))

    def up_to(counts: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Sums over all examples up to each, and up to the group before its own."""
        on_earlier = _across.total_before(_weights.total(counts), axes)
        sums = _numerics.cumulative_sum(counts) + on_earlier
        before = jnp.append(on_earlier, sums[:-1])
        before = _numerics.cumulative_max(jnp.where(starts, before, 0))
        # A group that starts on an earlier device does so after the same counts.
        return sums, jnp.maximum(before, _across.largest_before(before[-1], axes))

    by_outcome = jnp.stack([jnp.maximum(signed, 0), jnp.maximum(-signed, 0)])
    (successes, errors), (successes_before, errors_before) = jax.vmap(up_to)(by_outcome)
    some, some_before = successes + errors, successes_before + errors_before
    if jnp.issubdtype(signed.dtype, jnp.floating):  # sums that rounding may not tell
        some, some_before = up_to((signed != 0).astype(jnp.int32))
    last = ends & (some > some_before)
    # What the lowest threshold counts is all there is, to the last bit.
    lowest_device = (
        len(firsts) - 1 - jnp.argmax(_across.of_each(last.any(), axes)[::-1])
    )
    lowest = last.shape[0] - 1 - jnp.argmax(last[::-1])
    at_lowest = lambda counts: _across.of_each(counts[lowest], axes)[lowest_device]
    return Ranking(
        score=decode(code, key, dtype),
        last=last,
        successes=successes,
        errors=errors,
        successes_before=successes_before,
        errors_before=errors_before,
        num_successes=at_lowest(successes),
        num_errors=at_lowest(errors),
        unit=_unit(signed, axes),
        known=code.known,
        axes=axes,
    )


def _unit(counts: jax.Array, axes: _across.Axes) -> jax.Array:
    """See `_weights.unit`."""
    if not jnp.issubdtype(counts.dtype, jnp.floating):
        return jnp.ones((), counts.dtype)
    counts = jnp.abs(counts)
    squares = _across.total(_numerics.accurate_sum(counts**2), axes)
    return _numerics.divide_no_nan(squares, _across.total(_weights.total(counts), axes))
