"""Bootstrap intervals of many scores at once: each score is sorted only once.

A resample of the test set is a count for each example. Every rank metric is a
function of cumulative counts along the sorted score, so that a thousand resamples
of fifteen scores cost cumulative sums, not sorts. (`metrics.bootstrap` takes any metric
and so computes it anew on each resample.)
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from trustjax.assess._assessment import Quantity


class Resamples(NamedTuple):
    """Bootstrap resamples of a test set, drawn anew and alike by each `chunks()`.

    Attributes:
      num_examples: in the test set.
      num_samples: resamples.
      seed: of the draws.
    """

    num_examples: int
    num_samples: int
    seed: int

    def chunks(self) -> Iterator[np.ndarray]:
        """Yields `[resamples, examples]`: how often each example was drawn."""
        generator = np.random.default_rng(self.seed)
        # So many counts stay in the processor's cache: three times as fast as more.
        size = max(1, min(self.num_samples, 200_000 // self.num_examples))
        for start in range(0, self.num_samples, size):
            rows = min(size, self.num_samples - start)
            drawn = generator.integers(
                self.num_examples, size=(rows, self.num_examples), dtype=np.int64
            )
            drawn += np.arange(rows)[:, None] * self.num_examples
            counts = np.bincount(drawn.ravel(), minlength=drawn.size)
            yield counts.reshape(drawn.shape).astype(np.int32)


class Ranking(NamedTuple):
    """A score sorted once, from the most trusted example to the least.

    Attributes:
      order: `[examples]`, indices of the examples.
      ends: `[groups]`, position of the last example of each run of equal scores.
    """

    order: np.ndarray
    ends: np.ndarray


def rank(scores: np.ndarray) -> Ranking:
    """Sorts a score; equal values, infinite ones too, form one group."""
    order = np.argsort(-scores, kind="stable")
    in_order = scores[order]
    ends = np.flatnonzero(np.append(in_order[1:] != in_order[:-1], True))
    return Ranking(order, ends)


def rank_metrics(
    ranking: Ranking, correct: np.ndarray, counts: np.ndarray
) -> dict[str, np.ndarray]:
    """The rank metrics of each resample.

    Args:
      ranking: of the score.
      correct: `[examples]`.
      counts: `[resamples, examples]`, how often each example was drawn.

    Returns:
      Metric name -> `[resamples]`; NaN where a resample is all right or all wrong.
    """
    in_order = counts[:, ranking.order]
    right_drawn = in_order * correct[ranking.order]
    zero = np.zeros((counts.shape[0], 1))
    total = np.cumsum(in_order, axis=1, dtype=np.float64)[:, ranking.ends]
    right = np.cumsum(right_drawn, axis=1, dtype=np.float64)[:, ranking.ends]
    total, right = np.hstack([zero, total]), np.hstack([zero, right])
    wrong = total - right
    size, rights, wrongs = total[:, -1:], right[:, -1:], wrong[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        true_rate, false_rate = right / rights, wrong / wrongs
        # Of the answers that a threshold refuses, the share that is wrong.
        refused_wrong = (wrongs - wrong[:, :-1]) / np.maximum(size - total[:, :-1], 1)
        risk = wrong[:, 1:] / np.maximum(total[:, 1:], 1)
        coverage = total / size
        undefined = (rights[:, 0] == 0) | (wrongs[:, 0] == 0)
        enough = (true_rate >= 0.95).argmax(axis=1)
        metrics = {
            "auroc": _trapezoid(true_rate, false_rate),
            "fpr_at_95_tpr": np.take_along_axis(false_rate, enough[:, None], 1)[:, 0],
            "aupr_error": (np.diff(false_rate) * refused_wrong).sum(axis=1),
        }
    metrics = {
        name: np.where(undefined, np.nan, value) for name, value in metrics.items()
    }
    # The risk of the first answers holds down to a coverage of zero.
    risk = np.hstack([risk[:, :1], risk])
    return metrics | {"aurc": _trapezoid(risk, coverage)}


def _trapezoid(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (np.diff(x) * (y[:, 1:] + y[:, :-1])).sum(axis=1) / 2


def weighted_means(
    values: np.ndarray, where: np.ndarray, resamples: Resamples
) -> np.ndarray:
    """Means of columns over resamples, `[resamples, columns]`.

    Args:
      values: `[examples, columns]`.
      where: `[examples, columns]`, which examples count in a column's mean.
      resamples: the draws.

    Returns:
      The means; NaN where a resample holds no example of a column.
    """
    weighted, weights = values * where, where.astype(np.float64)
    means = []
    for counts in resamples.chunks():
        drawn = counts.astype(np.float64)
        means.append(_ratio(drawn @ weighted, drawn @ weights))
    return np.concatenate(means)


def class_means(
    values: np.ndarray, labels: np.ndarray, num_classes: int, resamples: Resamples
) -> np.ndarray:
    """Means by class over resamples, `[resamples, classes]`.

    Args:
      values: `[examples]`.
      labels: `[examples]`.
      num_classes: also those without an example.
      resamples: the draws.

    Returns:
      The means; NaN where a resample holds no example of a class.
    """
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    means = np.full((resamples.num_samples, num_classes), np.nan)
    row = 0
    for counts in resamples.chunks():
        drawn = counts[:, order].astype(np.float64)
        rows = slice(row, row + len(drawn))
        means[rows, present] = _ratio(
            np.add.reduceat(drawn * values[order], starts, axis=1),
            np.add.reduceat(drawn, starts, axis=1),
        )
        row += len(drawn)
    return means


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return numerator / denominator


def with_interval(
    value: float, samples: np.ndarray, level: float, not_defined: str = ""
) -> Quantity:
    """A number with its percentile interval.

    Resamples in which the number is not defined, e.g. without any error, are left
    out: the interval is that of a test set in which it is.

    Args:
      value: the number on the test set; NaN where it is not defined.
      samples: `[resamples]`, the number on each resample.
      level: of the interval.
      not_defined: why, if `value` is NaN.

    Returns:
      The quantity.
    """
    if np.isnan(value):
        return Quantity(None, not_defined=not_defined)
    defined = samples[~np.isnan(samples)]
    if not defined.size:
        return Quantity(float(value))
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(defined, tails)
    return Quantity(float(value), float(low), float(high))
