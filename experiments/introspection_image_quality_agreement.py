"""How measures of image quality agree with scores: numbers, and their ends."""

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import optimize, stats

from experiments.introspection_image_quality_tables import ACROSS, NUMBERS, OUTLIERS
from experiments.shifts_numbers import Estimate


def logistic(q: np.ndarray, *b: float) -> np.ndarray:
    r"""The usual five parameters, from a quality to a score.

    .. math:: b_1 (1/2 - 1 / (1 + e^{b_2 (q - b_3)})) + b_4 q + b_5
    """
    return b[0] * np.tanh(b[1] * (q - b[2]) / 2) / 2 + b[3] * q + b[4]


def _logistic_jacobian(q: np.ndarray, *b: float) -> np.ndarray:
    bent = np.tanh(b[1] * (q - b[2]) / 2)
    slope = b[0] * (1 - bent**2) / 4
    columns = bent / 2, slope * (q - b[2]), -slope * b[1], q, np.ones_like(q)
    return np.stack(columns, axis=1)


_STEEPEST = 20.0
"""Of the logistic function, for a quality of unit deviation."""

_STARTS = (0.5, 1.0, 4.0)
"""Where its steepness is looked for: the best of what is found from these is taken."""


def fitted(quality: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The scores that the logistic function makes of the qualities, by least squares.

    Of qualities in perfect order the function has no best steepness, and a flat one is
    a line: parameters stay within bounds, and the search ends where a step changes the
    squared error by less than a millionth.
    """
    if not np.isfinite(quality).all():
        raise ValueError("a quality is not finite: is an image its own reference?")
    spread, across = quality.std(), np.ptp(scores)
    if not (spread > 0 and across > 0):
        return np.full(len(scores), scores.mean())
    q = (quality - quality.mean()) / spread
    sign = 1.0 if np.corrcoef(q, scores)[0, 1] >= 0 else -1.0
    most = (4 * across, _STEEPEST, np.abs(q).max(), 4 * across, np.inf)
    tries = []
    for slope in _STARTS:
        with warnings.catch_warnings():
            # Of the parameters' covariance, which is not asked for.
            warnings.simplefilter("ignore", optimize.OptimizeWarning)
            found, _ = optimize.curve_fit(
                logistic,
                q,
                scores,
                p0=(across, sign * slope, 0.0, 0.0, scores.mean()),
                bounds=(-np.array(most), most),
                jac=_logistic_jacobian,  # type: ignore[arg-type]
                ftol=1e-6,
                xtol=1e-6,
                gtol=1e-6,
                max_nfev=5000,
            )
        tries.append(logistic(q, *found))
    return min(tries, key=lambda predicted: np.sum((predicted - scores) ** 2))


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation."""
    found: Any = stats.spearmanr(one, other)
    return float(found.statistic)


def agreement(
    quality: np.ndarray, scores: np.ndarray, deviations: np.ndarray | None = None
) -> dict[str, float]:
    """How a measure agrees with scores: by order, and after the logistic function.

    Args:
      quality: of each image.
      scores: what it ought to say, higher = better.
      deviations: of the scores. With these the share of the images whose fitted score
        is off by more than two deviations is there too, the outlier ratio.
    """
    predicted = fitted(quality, scores)
    kendall: Any = stats.kendalltau(quality, scores)
    found = (
        spearman(quality, scores),
        kendall.statistic,
        np.corrcoef(predicted, scores)[0, 1],
        np.sqrt(np.mean((predicted - scores) ** 2)),
    )
    numbers = {name: float(one) for name, one in zip(ACROSS, found, strict=True)}
    if deviations is not None:
        off = np.abs(predicted - scores) > 2 * deviations
        numbers[OUTLIERS] = float(off.mean())
    return numbers


def jackknifed(
    of: Callable[[np.ndarray], Mapping[str, float]], groups: np.ndarray
) -> dict[str, Estimate]:
    """Numbers of all rows, and of all but each group."""
    whole = of(np.ones(len(groups), bool))
    without = [of(groups != one) for one in np.unique(groups)]
    return {
        name: Estimate(value, np.array([own[name] for own in without]))
        for name, value in whole.items()
    }


def ends(
    of: Estimate, level: float, least: float = -math.inf, most: float = math.inf
) -> dict[str, float]:
    """A number with Student's interval over the groups of the jackknife.

    Ends beyond `least` and `most`, which a number cannot be, are these.
    """
    wide = float(stats.t.ppf((1 + level) / 2, len(of.without) - 1)) * of.error
    low, high = max(of.value - wide, least), min(of.value + wide, most)
    return {"value": of.value, "low": low, "high": high}


LIMITS = {name: (-1.0, 1.0) for name in NUMBERS} | {
    "RMSE": (0.0, math.inf),
    OUTLIERS: (0.0, 1.0),
}
"""What a number can be."""
