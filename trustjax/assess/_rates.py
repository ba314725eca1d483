"""Rates at a threshold that the examples themselves set, with their intervals."""

import numpy as np

from trustjax.assess import _intervals
from trustjax.assess._assessment import Quantity

COVERAGE = 0.8  # of the selective risk that the page names
TPR = 0.95


def fpr_at_tpr(
    ranks: np.ndarray, right: np.ndarray, level: float, tpr: float = TPR
) -> Quantity:
    """The share of wrong answers above the strictest threshold that keeps so many.

    Two things are uncertain: the share at a threshold, and the threshold, which may lie
    as far up and down the right answers as the binomial distribution says.

    Args:
      ranks: `[examples]`, dense ranks of the score.
      right: `[examples]`, right or wrong; of each there is one at least.
      level: of the interval.
      tpr: the share of right answers that is kept.

    Returns:
      The share.
    """
    wrong = np.sort(ranks[~right])
    thresholds = np.sort(ranks[right])[::-1]  # the k-th keeps k right answers
    fewest, most = _binomial_quantiles(len(thresholds), tpr, level)

    def passing(kept: int) -> float:
        if kept > len(thresholds):
            return 1.0  # the threshold may lie below all right answers
        threshold = thresholds[max(kept, 1) - 1]
        return float(1 - np.searchsorted(wrong, threshold) / len(wrong))

    value = passing(int(np.ceil(len(thresholds) * tpr - 1e-9)))
    passed = np.array([0.0, 1.0])
    counts = len(wrong) * np.array([1 - value, value])
    low, high = _intervals.mean_interval(passed, level, counts)
    parts = np.full(2, value)
    lows = np.array([low, min(value, passing(fewest))])
    highs = np.array([high, max(value, passing(most + 1))])
    return Quantity(value, *_intervals.sum_interval(value, parts, lows, highs))


def _binomial_quantiles(trials: int, rate: float, level: float) -> tuple[int, int]:
    """The smallest counts with a chance of a tail, and of all but a tail."""
    k = np.arange(1, trials + 1)
    steps = np.log((trials - k + 1) / k * rate / (1 - rate))
    logs = np.append(0.0, np.cumsum(steps))
    chances = np.exp(logs - logs.max())
    below = np.cumsum(chances / chances.sum())
    tail = (1 - level) / 2
    low, high = np.searchsorted(below, [tail, 1 - tail])
    return int(low), int(min(high, trials))


def selective_risk(ranks: np.ndarray, right: np.ndarray, level: float) -> Quantity:
    """The share of errors among the `COVERAGE` that a score trusts most.

    Where equal scores stand across that line, as many of them are answered as it takes,
    with the errors that these have on average. Uncertain are the errors above the line,
    and the line: what lies above it in all data may be a few examples more or less.

    Args:
      ranks: `[examples]`, dense ranks of the score.
      right: `[examples]`, right or wrong.
      level: of the interval.

    Returns:
      The risk.
    """
    size = int(ranks.max()) + 1
    everything = np.bincount(ranks, minlength=size)[::-1]
    wrong = np.bincount(ranks[~right], minlength=size)[::-1]
    fewest, most = _binomial_quantiles(len(ranks), COVERAGE, level)
    answered = np.array([COVERAGE * len(ranks), max(fewest, 1), most])
    errors = np.interp(
        answered,
        np.append(0, np.cumsum(everything)),
        np.append(0, np.cumsum(wrong)),
    )
    value, *elsewhere = map(float, errors / answered)
    low, high = _intervals.mean_interval(
        np.array([0.0, 1.0]), level, np.array([answered[0] - errors[0], errors[0]])
    )
    parts = np.full(2, value)
    lows = np.array([low, min(value, *elsewhere)])
    highs = np.array([high, max(value, *elsewhere)])
    return Quantity(value, *_intervals.sum_interval(value, parts, lows, highs))
