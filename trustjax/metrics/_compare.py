"""Which of several scores, or networks, is the best: one statement about all pairs."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Integer, Key

from trustjax import _inputs, _validate
from trustjax.metrics import _resample
from trustjax.metrics._bootstrap import MOST_UNDEFINED, Examples, Weights
from trustjax.metrics._bounded import widened
from trustjax.metrics._detection import auroc

FEWEST_OUTCOMES = 10
"""Below so many of the rarer outcome, right or wrong, no difference is claimed."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "values",
        "differences",
        "low",
        "high",
        "num_wrong",
        "num_right",
        "undefined",
    ],
    meta_fields=["names", "level", "higher_is_better"],
)
@dataclasses.dataclass(frozen=True)
class Comparison:
    """Several scores or networks, and which are told apart, as one statement.

    All intervals hold their true differences at once in `level` of all data sets, so
    that no name in `may_be_best` or out of it, and no pair in `behind`, is chosen from
    many for having been lucky.

    Attributes:
      names: what is compared, `K` of them.
      level: the chance that not one statement is false.
      higher_is_better: the direction of the metric.
      values: `[K]`, the metric of each.
      differences: `[K, K]`, the metric of the row's less that of the column's.
      low: `[K, K]`, lower ends; NaN where nothing is said of one of the two.
      high: `[K, K]`, upper ends.
      num_wrong: `[K]`, how many answers are wrong; the number of examples where
        `correct` is not of two kinds.
      num_right: `[K]`, how many are right; likewise.
      undefined: `[K]`, the share of resampled data sets on which the metric is NaN.
    """

    names: tuple[str, ...]
    level: float
    higher_is_better: bool
    values: Float[Array, " names"]
    differences: Float[Array, "names names"]
    low: Float[Array, "names names"]
    high: Float[Array, "names names"]
    num_wrong: Integer[Array, " names"]
    num_right: Integer[Array, " names"]
    undefined: Float[Array, " names"]

    @property
    def behind(self) -> Bool[Array, "names names"]:
        """Whether the row's is proven to be worse than the column's."""
        return self.high < 0 if self.higher_is_better else self.low > 0

    @property
    def best(self) -> str | None:
        """The name with the best value; the first of equals, None without a value."""
        values = np.asarray(self.values, np.float64)
        if np.isnan(values).all():
            return None
        extreme = np.nanargmax if self.higher_is_better else np.nanargmin
        return self.names[extreme(values)]

    @property
    def may_be_best(self) -> tuple[str, ...]:
        """The names that are proven to be behind no other."""
        beaten = self.behind.any(axis=1).tolist()
        return tuple(
            name for name, out in zip(self.names, beaten, strict=True) if not out
        )

    @property
    def reasons(self) -> dict[str, str]:
        """Why nothing is said of a name, for those of which nothing is said."""
        numbers = zip(
            self.names,
            self.num_wrong.tolist(),
            self.num_right.tolist(),
            self.values.tolist(),
            self.undefined.tolist(),
            strict=True,
        )
        of_all = {name: _reason(*of_name) for name, *of_name in numbers}
        return {name: reason for name, reason in of_all.items() if reason}

    @property
    def reason(self) -> str:
        """Why no two names are compared; empty where some are."""
        reasons = self.reasons
        if not reasons or len(self.names) - len(reasons) >= 2:
            return ""
        return next(iter(reasons.values()))


def _reason(wrong: int, right: int, value: float, undefined: float) -> str:
    if min(wrong, right) < FEWEST_OUTCOMES:
        kind = "wrong" if wrong <= right else "right"
        number = min(wrong, right)
        answers = "answer is" if number == 1 else "answers are"
        return f"{number} {answers} {kind}, and it takes {FEWEST_OUTCOMES}"
    if not np.isfinite(value):
        return f"the metric is {value}"
    if undefined > MOST_UNDEFINED:
        return f"the metric has no value on {undefined:.1%} of resampled data sets"
    return ""


def compare(
    scores: Mapping[str, Examples],
    correct: Examples | Mapping[str, Examples],
    *,
    metric: Callable[..., Array] = auroc,
    level: float = 0.95,
    key: Key[Array, ""],
    num_samples: int = 1000,
    weights: Weights | None = None,
    higher_is_better: bool = True,
) -> Comparison:
    r"""Which scores, or networks, are better than which, as one statement.

    All are resampled together. With :math:`d_{ij}` the difference of two, :math:`d^*`
    that on a resampled data set and :math:`s_{ij}` its standard deviation there, the
    intervals are :math:`d_{ij} \pm c\, s_{ij}` with

    .. math:: P\left(\max_{ij} |d^*_{ij} - d_{ij}| / s_{ij} \le c\right) =
              \text{level}

    where :math:`c` is widened from a normal to a t distribution with as many degrees
    of freedom as there are examples of the rarer outcome, less one. The family is
    every pair, so the statement holds whichever is picked as the best.

    Args:
      scores: what is compared by name, all of the same examples.
      correct: what else the metric takes: whether the prediction is right, boolean or
        0 and 1. By name where networks are compared, which err on different examples.
      metric: `metric(scores, correct) -> []`; one that has a parameter `weights` sorts
        each score once. Compiled once for each function and shape: a lambda made anew
        is compiled anew.
      level: the chance that no statement at all is false.
      key: a random key.
      num_samples: how many data sets are drawn.
      weights: of each example. One of weight 0 is never drawn; the others are drawn
        alike, and weigh what they weigh.
      higher_is_better: whether the higher value is the better one.

    Returns:
      The comparison. Not for use inside `jit`: its names are text.

    Raises:
      ValueError: if there is no score, the lengths or names differ, `num_samples` is
        not positive or `level` is not in (0, 1).
      TypeError: if there are weights and the metric takes none.

    ==================================  =====
    Edge case                           Value
    ==================================  =====
    one name                            it is the best
    two of the same order               difference 0 in [0, 0], not told apart
    few errors, or few right answers    NaN intervals and a reason; all may be best
    the metric is NaN or infinite       the same
    ==================================  =====

    >>> rank = jnp.arange(100.0)
    >>> correct = jnp.arange(100) % 10 > 3
    >>> scores = {"good": correct + rank / 50, "noise": rank}
    >>> compared = compare(scores, correct, key=jax.random.key(0), num_samples=200)
    >>> compared.best, compared.may_be_best
    ('good', ('good',))

    References:
      Romano and Wolf 2005 (doi:10.1111/j.1468-0262.2005.00615.x), "Stepwise multiple
      testing as formalized data snooping"; Mandel and Betensky 2008
      (doi:10.1016/j.csda.2007.07.005), simultaneous intervals from the studentised
      maximum of the bootstrap. Wallace 1959 (Annals of Mathematical Statistics 30) for
      the t distribution.
    """
    if not scores:
        raise ValueError("scores must hold at least one name, got none")
    _validate.open_fraction("level", level)
    _validate.count("num_samples", num_samples)
    outcomes = _by_name(tuple(scores), correct)
    of_names = {
        name: (_inputs.array(f"scores of {name}", own), outcomes[name])
        for name, own in scores.items()
    }
    _validate.same_length(
        **{f"scores of {name}": own for name, (own, _) in of_names.items()},
        **{f"correct of {name}": right for name, (_, right) in of_names.items()},
    )
    values, samples = {}, []
    for name, arrays in of_names.items():
        kept = _resample.checked_weights(metric, arrays, weights)
        values[name] = _resample.whole(metric, arrays, kept)
        samples.append(
            _resample.resample(
                metric,
                arrays,
                kept,
                key,
                samples=num_samples,
                batch=_resample.batch_of(arrays),
            )
        )
    return compare_resampled(
        values,
        jnp.stack(samples, axis=1),
        outcomes,
        level=level,
        weights=weights,
        higher_is_better=higher_is_better,
    )


def compare_resampled(
    values: Mapping[str, Float[Array | np.ndarray, ""] | float],
    samples: Float[Array | np.ndarray, "samples names"],
    correct: Examples | Mapping[str, Examples],
    *,
    level: float = 0.95,
    weights: Weights | None = None,
    higher_is_better: bool = True,
) -> Comparison:
    r"""The statement of `compare` from a metric that is resampled already.

    Args:
      values: the metric of each name.
      samples: the metric on resampled data sets, the same ones for all names, which are
        in the order of `values`; NaN where it has no value.
      correct: as in `compare`: it is counted only.
      level: the chance that no statement at all is false.
      weights: of each example; 0 leaves out.
      higher_is_better: whether the higher value is the better one.

    Returns:
      The comparison.

    Raises:
      ValueError: if the names and the columns differ, or `level` is not in (0, 1).

    >>> noise = jax.random.normal(jax.random.key(0), (1000, 2))
    >>> samples = jnp.array([[0.9, 0.5]]) + noise / 50
    >>> compare_resampled({"a": 0.9, "b": 0.5}, samples, jnp.arange(99) % 2).may_be_best
    ('a',)
    """
    names = tuple(values)
    _validate.open_fraction("level", level)
    samples = _inputs.array("samples", samples)
    _validate.rank("samples", samples, "samples names")
    if samples.shape[1] != len(names):
        raise ValueError(
            f"samples must have a column for each of {len(names)} names, "
            f"got {samples.shape}"
        )
    kept = None if weights is None else _inputs.array("weights", weights)
    counted = [_count(right, kept) for right in _by_name(names, correct).values()]
    wrong, right = jnp.array(counted, jnp.int32).T
    value = jnp.stack([jnp.asarray(values[name], samples.dtype) for name in names])
    numbers = _statement(value, samples, jnp.minimum(wrong, right), level)
    return Comparison(
        names=names,
        level=level,
        higher_is_better=higher_is_better,
        values=value,
        num_wrong=wrong,
        num_right=right,
        **numbers,
    )


def _by_name(
    names: tuple[str, ...], correct: Examples | Mapping[str, Examples]
) -> dict[str, Array]:
    """What the metric takes beside the scores, for each name."""
    if not isinstance(correct, Mapping):
        return dict.fromkeys(names, _inputs.array("correct", correct))
    if set(correct) != set(names):
        raise ValueError(
            f"correct must have the names {sorted(names)}, got {sorted(correct)}"
        )
    return {name: _inputs.array(f"correct of {name}", correct[name]) for name in names}


@jax.jit
def _count(correct: Array, weights: Array | None) -> tuple[Array, Array]:
    """How many are wrong and right, of those that have weight."""
    kept = jnp.ones(correct.shape[0], bool) if weights is None else weights != 0
    size = jnp.sum(kept)
    if correct.ndim != 1 or jnp.issubdtype(correct.dtype, jnp.inexact):
        return size, size
    two_kinds = jnp.all(~kept | (correct == 0) | (correct == 1))
    right = jnp.sum(kept & (correct != 0))
    return (
        jnp.where(two_kinds, size - right, size),
        jnp.where(two_kinds, right, size),
    )


@jax.jit
def _statement(
    values: Array, samples: Array, outcomes: Array, level: Array
) -> dict[str, Array]:
    """Differences, their simultaneous ends, and the share of undefined samples."""
    undefined = jnp.mean(~jnp.isfinite(samples), axis=0)
    known = (outcomes >= FEWEST_OUTCOMES) & jnp.isfinite(values)
    known &= undefined <= MOST_UNDEFINED
    values_known = jnp.where(known, values, 0.0)
    samples = jnp.where(known[None], samples, 0.0)

    def of_row(index: Array) -> tuple[Array, Array]:
        apart = samples[:, index, None] - samples
        apart = jnp.where(jnp.isfinite(apart), apart, jnp.nan)
        off = jnp.abs(apart - (values_known[index] - values_known)[None])
        spread = jnp.nanstd(apart, axis=0)
        enough = spread > _rounding(values_known, values_known[index])
        enough &= known & known[index]
        ratio = jnp.where(enough[None], off / jnp.where(enough, spread, 1.0)[None], 0.0)
        return spread, jnp.max(jnp.nan_to_num(ratio), axis=1)

    spread, largest = lax.map(of_row, jnp.arange(values.shape[0]))
    largest = jnp.sort(jnp.max(largest, axis=0))
    size = largest.shape[0]
    rank = jnp.ceil(level * (size + 1)).astype(jnp.int32)
    bound = largest[jnp.minimum(rank, size) - 1]
    # Each sample is part of the deviation that it is divided by, which makes it look
    # small; the observed difference is no part of it.
    bound *= jnp.sqrt((size - 1) / jnp.maximum(size - bound**2, 1))

    differences = values[:, None] - values[None]
    rounding = _rounding(values_known[:, None], values_known[None])
    freedom = jnp.minimum(outcomes[:, None], outcomes[None]) - 1
    margin = jnp.where(spread > rounding, widened(bound, freedom) * spread, rounding)
    margin = jnp.where(
        differences == 0.0, jnp.where(spread > rounding, margin, 0.0), margin
    )
    both = known[:, None] & known[None]
    return {
        "differences": differences,
        "low": jnp.where(both, differences - margin, jnp.nan),
        "high": jnp.where(both, differences + margin, jnp.nan),
        "undefined": undefined,
    }


def _rounding(first: Array, second: Array) -> Array:
    """Differences up to this are rounding, and no differences."""
    return 1e-6 * jnp.maximum(jnp.abs(first), jnp.abs(second))
