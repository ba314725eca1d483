"""From what a detector says of examples it has not seen to a `Detection`.

The level of a page is shared out: two fifths of the chance of a false statement for the
comparison of the detector with the best single score, two fifths for the table of the
two, and one fifth for the AUROCs of everything else that was tried.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import _validate, metrics
from trustjax._questions import refuse_rows
from trustjax.assess import _auroc, _intervals, _rates
from trustjax.assess._assessment import Quantity
from trustjax.assess._detected import DETECTION_METRICS, Detection, Judged, Tried
from trustjax.assess._scores import dense_ranks

_SHARES = {"comparison": 0.4, "table": 0.4, "others": 0.2}


def assess_detection(
    detector: Judged,
    single: Judged,
    trusted: np.ndarray,
    *,
    beside: Sequence[Judged] = (),
    populations: Mapping[str, np.ndarray],
    kinds: Mapping[str, tuple[float, np.ndarray]],
    singles: Mapping[str, tuple[float, np.ndarray]],
    level: float = 0.95,
    num_samples: int = 1000,
    seed: int = 0,
) -> Detection:
    """Assesses a detector beside the best single score, on examples new to both.

    Args:
      detector: what was fitted and chosen on other examples.
      single: the single score that was best there.
      trusted: `[examples]`, True = to be trusted.
      beside: further scores for the same table.
      populations: name -> `[examples]`, which are of that population: of those that are
        not to be trusted.
      kinds: title -> AUROC on the data that the kind was chosen by, and `[examples]`.
      singles: title -> AUROC on the fitting part, and `[examples]`.
      level: the chance that no statement at all is false.
      num_samples: random draws behind the intervals and the comparison.
      seed: of the draws.

    Returns:
      The numbers of the page.

    Raises:
      ValueError: if there are no examples of a kind, an array has another length, or a
        score is NaN, naming it.

    ==============================  ================================================
    Edge case                       Value
    ==============================  ================================================
    fewer than 10 of a kind         nothing is said of the difference, and why
    an infinite score               an ordinary extreme
    the same order twice            a difference of 0 in [0, 0]
    one population not trusted      `by_population` is empty
    ==============================  ================================================

    >>> trusted = np.arange(60) % 2 == 0
    >>> noise = np.random.default_rng(0).normal(size=60)
    >>> found = assess_detection(
    ...     Judged("lasso", trusted + noise / 9, 0.5), Judged("noise", noise, 0.0),
    ...     trusted, populations={}, kinds={}, singles={})
    >>> found.is_ahead, found.numbers["lasso"]["auroc"].value
    (True, 1.0)
    """
    _validate.open_fraction("level", level)
    _validate.count("num_samples", num_samples)
    trusted = np.asarray(trusted, bool)
    if trusted.all() or not trusted.any():
        kind = "is not to be trusted" if trusted.all() else "is to be trusted"
        raise ValueError(f"no example of {len(trusted)} {kind}")
    table = {one.title: one for one in (detector, single, *beside)}
    arrays = {one.title: one.scores for one in table.values()}
    others = {**{t: s for t, (_, s) in singles.items()}}
    others |= {t: s for t, (_, s) in kinds.items()}
    for title, scores in {**arrays, **others}.items():
        if scores.shape != trusted.shape:
            raise ValueError(
                f"{title} must have shape {trusted.shape}, got {scores.shape}"
            )
        refuse_rows(f"{title} must not be NaN", np.isnan(scores))
    of_each = {name: 1 - (1 - level) * share for name, share in _SHARES.items()}
    draws = {"num_samples": num_samples, "seed": seed}
    pair = (detector.title, single.title)
    comparison = _auroc.compare(
        pair,
        _placed([table[title].scores for title in pair], trusted),
        trusted,
        level=of_each["comparison"],
        **draws,
    )
    several = populations if len(populations) > 1 else {}
    statements = len(several) * len(pair) + len(kinds) + len(singles)
    rest = {"level": of_each["others"], "statements": statements, **draws}
    return Detection(
        level=level,
        num_trusted=int(trusted.sum()),
        num_untrusted=int((~trusted).sum()),
        detector=detector.title,
        single=single.title,
        numbers=_table(list(table.values()), trusted, of_each["table"], **draws),
        comparison=comparison,
        ahead=_ahead(comparison),
        by_population={
            name: _aurocs(
                {title: table[title].scores[trusted | own] for title in pair},
                trusted[trusted | own],
                **rest,
            )
            for name, own in several.items()
        },
        kinds=_tried(kinds, trusted, **rest),
        singles=tuple(
            sorted(_tried(singles, trusted, **rest), key=lambda one: -one.before)
        ),
    )


def _placed(scores: Sequence[np.ndarray], trusted: np.ndarray) -> _auroc.Placements:
    return _auroc.placements(np.stack([dense_ranks(s) for s in scores]), trusted)


def _aurocs(
    scores: Mapping[str, np.ndarray],
    trusted: np.ndarray,
    *,
    level: float,
    statements: int,
    num_samples: int,
    seed: int,
) -> dict[str, Quantity]:
    if not scores:
        return {}
    placed = _placed(list(scores.values()), trusted)
    low, high = _auroc.intervals(
        placed, level, statements=statements, num_samples=num_samples, seed=seed
    )
    rows = zip(placed.auroc.tolist(), low.tolist(), high.tolist(), strict=True)
    return {
        title: Quantity(*numbers) for title, numbers in zip(scores, rows, strict=True)
    }


def _tried(
    of: Mapping[str, tuple[float, np.ndarray]], trusted: np.ndarray, **rest
) -> tuple[Tried, ...]:
    found = _aurocs({title: s for title, (_, s) in of.items()}, trusted, **rest)
    return tuple(Tried(title, of[title][0], auroc) for title, auroc in found.items())


def _ahead(comparison: metrics.Comparison) -> Quantity:
    difference, low, high = (
        float(np.asarray(table)[0, 1])
        for table in (comparison.differences, comparison.low, comparison.high)
    )
    if np.isnan(low):
        return Quantity(difference, not_defined=comparison.reason)
    return Quantity(difference, low, high)


def _table(
    methods: Sequence[Judged],
    trusted: np.ndarray,
    level: float,
    *,
    num_samples: int,
    seed: int,
) -> dict[str, dict[str, Quantity]]:
    """Every metric of some scores; one family of intervals."""
    statements = len(methods) * len(DETECTION_METRICS)
    alone = 1 - (1 - level) / statements
    aurocs = _aurocs(
        {one.title: one.scores for one in methods},
        trusted,
        level=1 - (1 - level) / len(DETECTION_METRICS),
        statements=len(methods),
        num_samples=num_samples,
        seed=seed,
    )
    counts = _resampled_counts(trusted, num_samples, seed)
    numbers = {}
    for one in methods:
        ranks = dense_ranks(one.scores)
        numbers[one.title] = {
            "auroc": aurocs[one.title],
            "fpr_at_95_tpr": _rates.fpr_at_tpr(ranks, trusted, alone),
            **_precisions(ranks, trusted, counts, alone),
            **_at_threshold(one, trusted, alone),
        }
    return numbers


def _resampled_counts(trusted: np.ndarray, num_samples: int, seed: int) -> np.ndarray:
    """How often each example is drawn, `[samples, examples]`; as many of each kind.

    How many there are of each kind was chosen with the datasets, not by chance.
    """
    rng = np.random.default_rng(seed)
    counts = np.zeros((num_samples, len(trusted)), np.int32)
    for kind in (True, False):
        rows = np.flatnonzero(trusted == kind)
        even = np.full(len(rows), 1 / len(rows))
        counts[:, rows] = rng.multinomial(len(rows), even, size=num_samples)
    return counts


def _precisions(
    ranks: np.ndarray, trusted: np.ndarray, counts: np.ndarray, level: float
) -> dict[str, Quantity]:
    trials = int(min(trusted.sum(), (~trusted).sum()))
    found = {}
    for name, metric in _PRECISIONS.items():
        value, samples = metric(ranks, trusted, counts)
        interval = metrics.interval_of_resampled(value, samples, trials, level=level)
        low, high = float(interval.low), float(interval.high)
        known = not (np.isnan(low) or np.isnan(high))
        ends = (low, high) if known else (None, None)
        found[name] = Quantity(float(value), *ends)
    return found


def _resampled(metric):
    """A metric of ranks, and of resampled ones."""

    @jax.jit
    def found(ranks: jax.Array, trusted: jax.Array, counts: jax.Array):
        of_counts = lambda weights: metric(ranks, trusted, weights=weights)
        return metric(ranks, trusted), jax.lax.map(of_counts, counts, batch_size=64)

    return lambda ranks, trusted, counts: found(
        jnp.asarray(ranks, jnp.float32), jnp.asarray(trusted), jnp.asarray(counts)
    )


_PRECISIONS = {
    "aupr_in": _resampled(metrics.aupr_success),
    "aupr_out": _resampled(metrics.aupr_error),
}


def _at_threshold(
    one: Judged, trusted: np.ndarray, level: float
) -> dict[str, Quantity]:
    """The two rates at a threshold that other examples have set, and their mean."""
    said = one.scores >= one.threshold
    kept, stopped = said[trusted], ~said[~trusted]
    rates = np.array([kept.mean(), stopped.mean()])
    ends = [
        _intervals.mean_interval(of.astype(np.float64), level) for of in (kept, stopped)
    ]
    lows, highs = np.array(ends).T
    value = float(rates.mean())
    ends_of_mean = _intervals.sum_interval(value, rates, lows, highs, weights=0.5)
    return {
        "balanced_accuracy": Quantity(value, *ends_of_mean),
        "true_positive_rate": Quantity(float(rates[0])),
        "true_negative_rate": Quantity(float(rates[1])),
    }
