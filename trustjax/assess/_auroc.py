r"""AUROC of many scores at once: what each is, how sure that is, which is the best.

AUROC is two means at once. The *placement* of a right answer is the share of the wrong
answers that score lower, that of a wrong answer the share of the right ones that score
higher; both have AUROC as their mean, and its variance is the sum of theirs (DeLong et
al. 1988). So its interval is that of the two means, and the covariance of many scores
is that of their placements: no resample is ever sorted.
"""

import math
import statistics
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from trustjax import metrics
from trustjax.assess import _draws, _intervals


class Placements(NamedTuple):
    """Where each example's score stands among those of the other kind.

    Attributes:
      of_right: `[right, scores]`, the share of wrong answers that score lower; an equal
        one counts half.
      of_wrong: `[wrong, scores]`, the share of right answers that score higher.
    """

    of_right: np.ndarray
    of_wrong: np.ndarray

    @property
    def auroc(self) -> np.ndarray:
        """`[scores]`; NaN where there is one kind of answer only."""
        if not (len(self.of_right) and len(self.of_wrong)):
            return np.full(self.of_wrong.shape[1], np.nan)
        return self.of_wrong.mean(axis=0)


def placements(ranks: np.ndarray, correct: np.ndarray) -> Placements:
    """The placements of many scores.

    Args:
      ranks: `[scores, examples]`, dense ranks: 0 for the lowest score, one more for
        each higher value.
      correct: `[examples]`.
    """
    num_right, num_wrong = int(correct.sum()), int((~correct).sum())
    of_right = np.empty((num_right, len(ranks)))
    of_wrong = np.empty((num_wrong, len(ranks)))
    for column, rank in enumerate(ranks):
        right, wrong = rank[correct], rank[~correct]
        size = int(rank.max()) + 1
        rights, wrongs = (np.bincount(r, minlength=size) for r in (right, wrong))
        lower = np.cumsum(wrongs) - wrongs / 2
        higher = num_right - np.cumsum(rights) + rights / 2
        of_right[:, column] = lower[right] / max(num_wrong, 1)
        of_wrong[:, column] = higher[wrong] / max(num_right, 1)
    return Placements(of_right, of_wrong)


def influences(placed: Placements, correct: np.ndarray) -> np.ndarray:
    """How much each example moves each AUROC, `[examples, scores]`; NaN where that is.

    Args:
      placed: the placements.
      correct: `[examples]`.
    """
    moved = np.empty((len(correct), placed.of_right.shape[1]))
    for which, of_each in ((correct, placed.of_right), (~correct, placed.of_wrong)):
        moved[which] = (of_each - placed.auroc) * (len(correct) / max(which.sum(), 1))
    return moved


def intervals(
    placed: Placements, level: float, *, statements: int, num_samples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of all AUROCs, of a family that holds together at the level.

    Args:
      placed: the placements.
      level: the chance that every interval of the family holds its true value.
      statements: how many the family has, with those of other data sets.
      num_samples: draws that say how far scores that are alike err together.
      seed: of the draws.

    Returns:
      Lower and upper ends, `[scores]` each; NaN where AUROC is.
    """
    auroc = placed.auroc
    if np.isnan(auroc).any():
        return auroc, auroc
    level = _of_each(placed, level, statements, num_samples, seed)
    (low, high), (low_too, high_too) = (
        _means(values, other, level)
        for values, other in (
            (placed.of_wrong, len(placed.of_right)),
            (placed.of_right, len(placed.of_wrong)),
        )
    )
    down = np.hypot(auroc - low, auroc - low_too)
    up = np.hypot(high - auroc, high_too - auroc)
    return np.maximum(auroc - down, 0), np.minimum(auroc + up, 1)


def paired_intervals(
    placed: Placements,
    correct: np.ndarray,
    example: np.ndarray,
    level: float,
    *,
    statements: int,
    num_samples: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """As `intervals`, where an example may be there twice, as it is and changed.

    Its two rows err together. The normal interval of examples' own influences knows
    that, and is too short where a few rows decide; the other does not, and is right
    there. The wider end of both is taken.

    Args:
      placed: the placements.
      correct: `[rows]`.
      example: `[rows]`, whose each row is: whole numbers from 0.
      level: as in `intervals`.
      statements: as in `intervals`.
      num_samples: as in `intervals`.
      seed: as in `intervals`.

    Returns:
      As `intervals`.

    References:
      Obuchowski 1997 (doi:10.2307/2533958), AUROC of clustered data.
    """
    low, high = intervals(
        placed, level, statements=statements, num_samples=num_samples, seed=seed
    )
    moved = influences(placed, correct)
    of_examples = np.zeros((int(example.max()) + 1, moved.shape[1]))
    np.add.at(of_examples, example, moved)
    error = np.sqrt(np.sum(of_examples**2, axis=0)) / len(correct)
    wide = statistics.NormalDist().inv_cdf(1 - (1 - level) / statements / 2) * error
    auroc = placed.auroc
    return (
        np.maximum(np.minimum(low, auroc - wide), 0),
        np.minimum(np.maximum(high, auroc + wide), 1),
    )


def _of_each(
    placed: Placements, level: float, statements: int, num_samples: int, seed: int
) -> float:
    """The level of each interval of a family: that of its largest error (or less).

    What other data sets add to the family, and what has no spread that could be drawn,
    counts as independent (Bonferroni).
    """
    columns = placed.of_wrong.shape[1]
    level = 1 - (1 - level) * columns / statements
    alone = 1 - (1 - level) / columns
    errors = _errors(placed, num_samples, seed)
    spread = errors.std(axis=0)
    if not (spread > 0).all():
        return alone
    largest = np.abs(errors / spread).max(axis=1)
    together = math.erf(np.quantile(largest, level) / math.sqrt(2))
    return min(max(together, level), alone)


def _errors(placed: Placements, num_samples: int, seed: int) -> np.ndarray:
    """Draws of how far all AUROCs are off together, `[draws, scores]`."""
    size = placed.of_wrong.shape[1]
    if np.isnan(placed.auroc).any():
        return np.full((num_samples, size), np.nan)
    covariance = np.zeros((size, size))
    for of_each in placed:
        centred = of_each - of_each.mean(axis=0)
        covariance += centred.T @ centred / len(of_each) ** 2
    return _draws.normal_errors(covariance, num_samples, seed)


def _means(
    values: np.ndarray, others: int, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of columns of placements among `others` examples.

    Placements are halves of `others`-ths, of which a large data set has few.
    """
    columns, size = values.shape[1], 2 * others + 1
    if len(values) <= size:
        groups = np.tile(np.arange(columns), len(values))
        return _intervals.mean_intervals(values.ravel(), groups, columns, level)
    cell = np.rint(values * (size - 1)).astype(int) + size * np.arange(columns)
    counts = np.bincount(cell.ravel(), minlength=size * columns)
    places = np.tile(np.arange(size) / (size - 1), columns)
    groups = np.repeat(np.arange(columns), size)
    some = counts > 0
    return _intervals.mean_intervals(
        places[some], groups[some], columns, level, counts[some]
    )


def compare(
    names: tuple[str, ...],
    placed: Placements,
    correct: np.ndarray,
    *,
    level: float,
    num_samples: int,
    seed: int,
) -> metrics.Comparison:
    """Which score is the best, as one statement about all pairs.

    As `metrics.compare`, from draws of the normal distribution that AUROCs have
    together, in the place of resamples: the same bound, without sorting.

    Args:
      names: of the scores.
      placed: their placements.
      correct: `[examples]`.
      level: the chance that no statement at all is false.
      num_samples: draws.
      seed: of the draws.

    Returns:
      The comparison.

    References:
      DeLong, DeLong and Clarke-Pearson 1988 (doi:10.2307/2531595); Hothorn, Bretz and
      Westfall 2008 (doi:10.1002/bimj.200810425).
    """
    auroc = placed.auroc
    samples = auroc + _errors(placed, num_samples, seed)
    values: Mapping[str, float] = dict(zip(names, auroc.tolist(), strict=True))
    return metrics.compare_resampled(values, samples, correct, level=level)
