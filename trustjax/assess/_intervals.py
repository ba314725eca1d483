r"""Intervals of means that hold their level with few examples, never of width zero.

What is known of numbers in [0, 1] after :math:`n` of them is put as a mean with random
weights: :math:`n` exponential ones for the numbers, and one more for an example that
has not been seen, at the worst place it could have: at 0 for the lower end of the
interval and at 1 for the upper (Gaffke 2004). Of rights and wrongs this is the interval
of Clopper and Pearson; of many numbers, mean and standard error.

The chance :math:`P(\sum_i E_i (x_i - t) \le 0)` that such a mean is at most
:math:`t` comes from the saddlepoint formula of Barndorff-Nielsen, good to a few per
cent of the chance, so that the far tails, which many simultaneous statements need, cost
no more than others. Its saddlepoint is at weights in proportion to
:math:`1 / (1 + \lambda x_i)`: those of Owen's empirical likelihood.
"""

import statistics

import numpy as np

HALVINGS = 40
SMALLEST_TILT = 1e-2  # standard errors: nearer to the mean than any end
LARGEST_LOG_TILT = 700.0  # exp of it is still finite


def mean_interval(
    values: np.ndarray, level: float, counts: np.ndarray | None = None
) -> tuple[float, float]:
    """The interval of one mean; see `mean_intervals`."""
    groups = np.zeros(len(values), int)
    low, high = mean_intervals(values, groups, 1, level, counts)
    return float(low[0]), float(high[0])


def mean_intervals(
    values: np.ndarray,
    groups: np.ndarray,
    num_groups: int,
    level: float,
    counts: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of the means of many groups of numbers.

    Args:
      values: `[n]`, numbers in [0, 1].
      groups: `[n]`, which group each belongs to.
      num_groups: how many there are, also those without a number.
      level: of each interval.
      counts: `[n]`, how often each number occurred; once if None.

    Returns:
      Lower and upper ends, `[num_groups]` each; 0 and 1 for a group without a number.

    References:
      Gaffke 2004; Phan, Thomas and Learned-Miller 2021 (arXiv:2106.03163);
      Barndorff-Nielsen 1991 (doi:10.1093/biomet/78.3.557); Owen 1988
      (doi:10.1093/biomet/75.2.237).
    """
    values = np.clip(np.asarray(values, np.float64), 0, 1)
    counts = np.ones(len(values)) if counts is None else counts
    tail = (1 - level) / 2
    low = _lower_ends(values, groups, num_groups, counts, tail)
    return low, 1 - _lower_ends(1 - values, groups, num_groups, counts, tail)


def _lower_ends(
    x: np.ndarray, groups: np.ndarray, num_groups: int, counts: np.ndarray, tail: float
) -> np.ndarray:
    def total(of_each: np.ndarray) -> np.ndarray:
        return np.bincount(groups, counts * of_each, minlength=num_groups)

    size = total(np.ones_like(x)) + 1  # with the example that was not seen, at 0
    target = statistics.NormalDist().inv_cdf(tail)
    few = np.log(SMALLEST_TILT / np.sqrt(size))
    many = np.full(num_groups, LARGEST_LOG_TILT)
    for _ in range(HALVINGS):
        middle = (few + many) / 2
        _, place = _tilted(np.exp(middle), x, groups, size, total)
        beyond = place < target
        few, many = np.where(beyond, few, middle), np.where(beyond, middle, many)
    return _tilted(np.exp(many), x, groups, size, total)[0]


def _tilted(tilt, x, groups, size, total) -> tuple[np.ndarray, np.ndarray]:
    """The mean under tilted weights, and the normal quantile of its chance."""
    weights = 1 / (1 + tilt[groups] * x)
    scale = (1 + total(weights)) / size
    mean = total(weights * x) / (scale * size)
    exponent = total(np.log(weights)) - size * np.log(scale)
    spread = mean**2 + total(((x - mean[groups]) * weights) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        root = -np.sqrt(np.maximum(-2 * exponent, 0))
        place = root + np.log(-tilt * np.sqrt(spread) / root) / root
    return mean, np.where((root < 0) & (spread > 0), place, 0.0)


def sum_interval(
    value: float,
    parts: np.ndarray,
    lows: np.ndarray,
    highs: np.ndarray,
    weights: np.ndarray | float = 1.0,
) -> tuple[float, float]:
    """The interval of a sum whose independent parts have intervals.

    The distances to the ends of the parts are added as standard errors are (the
    "method of variance estimates recovery").

    Args:
      value: the sum, in [0, 1].
      parts: `[parts]`.
      lows: `[parts]`, their lower ends.
      highs: `[parts]`, their upper ends.
      weights: of each part in the sum.

    Returns:
      The ends, in [0, 1].

    References:
      Zou and Donner 2008 (doi:10.1002/sim.3095).
    """
    down = np.linalg.norm(weights * (parts - lows))
    up = np.linalg.norm(weights * (highs - parts))
    return float(max(value - down, 0.0)), float(min(value + up, 1.0))
