"""Accuracy and F1 of what scores above a threshold, over a grid of thresholds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Shaped

from trustjax import _inputs, _numerics, _validate
from trustjax.metrics import _weights
from trustjax.metrics._ranking import Ranking, rank, share

GRIDS = ("quantile", "range")
AVERAGES = ("macro", "weighted", "micro")
PERCENTS = 100
_SHARES = np.arange(PERCENTS) / PERCENTS


@_inputs.take_arrays
def auac(
    scores: Shaped[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    grid: str = "quantile",
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Area under the accuracy curve: accuracy of what scores above a percentile.

    .. math:: \frac{1}{0.99} \int_0^{0.99}
              P(\text{right} \mid s \ge t_x) \, dx

    by trapezoids over x = 0, 1, ..., 99 percent. The two grids are two quantities:

    - `"quantile"`: :math:`t_x` is the x-th percentile of the scores. Only their order
      matters: it is one minus the area under the risk-coverage curve, up to the grid.
    - `"range"`: :math:`t_x` lies x percent of the way from the lowest to the highest
      score. This is NOT a ranking metric: a monotone rescaling of the score changes it,
      and a heavy-tailed score wins. The published table of GradTrust is consistent with
      this grid only; show both.

    Args:
      scores: higher = more trust.
      correct: whether the prediction is right: boolean, or 0 and 1.
      grid: `"quantile"` or `"range"`.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The area, in [0, 1]; higher = better.

    Raises:
      ValueError: if the lengths differ, a known score is NaN or `grid` is unknown.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    all scores equal, one example    the accuracy
    infinite scores                  NaN for `"range"`: there is no way along the range
    a range above the largest float  NaN for `"range"`
    scores nearer to 0 than 1.2e-38  equal to 0, as XLA compares
    no example kept                  NaN
    a NaN score                      ValueError; NaN under a transformation
    ===============================  =====

    >>> print(f"{auac(jnp.arange(4.0), jnp.array([0, 1, 1, 1])):.3f}")
    0.999

    References:
      AlRegib and Prabhushankar 2025, slides on GradTrust (arXiv:2405.13758); no code
      was published. The grid, `>=` and the trapezoids are this library's reading.
    """
    _validate.choice("grid", grid, GRIDS)
    return auac_of(rank(scores, correct, weights), grid)


@_inputs.take_arrays
def audc(
    scores: Shaped[Array, " n"],
    in_distribution: Shaped[Array, " n"],
    *,
    grid: str = "quantile",
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Area under the detection curve: `auac` with "in distribution" as correct.

    Args:
      scores: higher = more trust, over both kinds of input together.
      in_distribution: whether the input is of the training distribution: boolean, or 0
        and 1.
      grid: `"quantile"` or `"range"`, see `auac`.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The area, in [0, 1]; higher = better; the share of in-distribution inputs for a
      score that says nothing.

    Raises:
      ValueError: as `auac`.

    The edge cases are those of `auac`.

    >>> print(f"{audc(jnp.arange(4.0), jnp.array([0, 0, 1, 1])):.3f}")
    0.886

    References:
      AlRegib and Prabhushankar 2025 name it for 7,500 adversarial and 7,500 ordinary
      ImageNet images and define it nowhere: this is our reading.
    """
    _validate.rank("in_distribution", in_distribution, "n")
    _validate.binary("in_distribution", in_distribution, weights)
    return auac(scores, in_distribution, grid=grid, weights=weights)


@_inputs.take_arrays
def aufc(
    scores: Shaped[Array, " n"],
    predictions: Integer[Array, " n"],
    labels: Integer[Array, " n"],
    *,
    grid: str = "quantile",
    average: str = "macro",
    num_classes: int | None = None,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Area under the F1 curve: F1 of what scores above a percentile.

    As `auac`, with the F1 score of the accepted predictions in place of their accuracy.

    Args:
      scores: higher = more trust.
      predictions: the predicted classes.
      labels: the true classes.
      grid: `"quantile"` or `"range"`, see `auac`.
      average: `"macro"`, the mean over the classes that occur among the accepted as
        label or prediction; `"weighted"`, by their number of labels; or `"micro"`,
        which equals the accuracy.
      num_classes: how many classes there are; read off the classes if None, which under
        a transformation cannot be.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The area, in [0, 1]; higher = better.

    Raises:
      ValueError: as `auac`, if a class is outside [0, num_classes), or if the number of
        classes is neither given nor known.

    The edge cases are those of `auac`. A class that is predicted or occurs, but never
    rightly, has an F1 score of 0.

    >>> predictions, labels = jnp.array([0, 1, 0, 1]), jnp.array([1, 1, 0, 1])
    >>> print(f"{aufc(jnp.arange(4.0), predictions, labels):.3f}")
    0.999

    References:
      AlRegib and Prabhushankar 2025; averaging is not stated, macro fits the published
      numbers best.
    """
    _validate.choice("grid", grid, GRIDS)
    _validate.choice("average", average, AVERAGES)
    check_classes(scores, predictions, labels)
    num_classes = known_num_classes(predictions, labels, num_classes)
    _validate.classes("predictions", predictions, num_classes, weights)
    _validate.classes("labels", labels, num_classes, weights)
    ranking = rank(scores, predictions == labels, weights)
    return aufc_of(
        ranking, scores, predictions, labels, weights, grid, average, num_classes
    )


def check_classes(scores: jax.Array, predictions: jax.Array, labels: jax.Array) -> None:
    """Requires one score and two classes for each example."""
    _validate.labels(predictions=predictions, labels=labels)
    _validate.same_length(scores=scores, predictions=predictions, labels=labels)


def known_num_classes(
    predictions: jax.Array, labels: jax.Array, num_classes: int | None
) -> int:
    """The number given, or the least that holds the known classes."""
    if num_classes is not None:
        _validate.count("num_classes", num_classes)
        return num_classes
    if not _validate.is_known(predictions, labels):
        raise ValueError("num_classes must be given where the labels are traced")
    return 1 + max(int(np.max(predictions)), int(np.max(labels)), 0)


@functools.partial(jax.jit, static_argnames="grid")
def auac_of(ranking: Ranking, grid: str) -> jax.Array:
    """See `auac`."""
    thresholds = _thresholds(ranking, grid)
    ascending = ranking.score[::-1].astype(thresholds.dtype)
    lower = jnp.searchsorted(ascending, thresholds, side="left")
    passed = ascending.shape[0] - 1 - lower
    accuracy = share(ranking.successes[passed], ranking.accepted[passed])
    return ranking.if_known(_area(jnp.where(~jnp.isnan(thresholds), accuracy, jnp.nan)))


@functools.partial(jax.jit, static_argnames=("grid", "average", "num_classes"))
def aufc_of(
    ranking: Ranking,
    scores: jax.Array,
    predictions: jax.Array,
    labels: jax.Array,
    weights: jax.Array | None,
    grid: str,
    average: str,
    num_classes: int,
) -> jax.Array:
    """See `aufc`."""
    counts = _weights.counted(weights, scores.shape[0])
    possible = _numerics.in_range(labels, num_classes)
    possible &= _numerics.in_range(predictions, num_classes)
    thresholds = _thresholds(ranking, grid)
    if jnp.issubdtype(scores.dtype, jnp.floating):
        scores = _numerics.at_least_float32(scores)
    passed = jnp.searchsorted(
        thresholds,
        scores.astype(thresholds.dtype),
        side="right",
        method="scan_unrolled",  # a third of the time of the default on a CPU
    )

    def accepted(groups: jax.Array, num_groups: int) -> jax.Array:
        """`[PERCENTS, groups]`: how many of each group pass each threshold."""
        index = passed * num_groups + groups
        cells = (PERCENTS + 1) * num_groups
        counted = jnp.where(possible, counts, 0)
        totals = _weights.segment_total(counted, index, cells)
        totals = totals.reshape(PERCENTS + 1, num_groups)
        return jnp.cumsum(totals[::-1], axis=0)[-2::-1]

    # A table of all pairs saves a second pass over the examples, and is worth it while
    # it has fewer cells than there are examples.
    if PERCENTS * num_classes**2 <= labels.shape[0]:
        confusion = accepted(labels * num_classes + predictions, num_classes**2)
        confusion = confusion.reshape(PERCENTS, num_classes, num_classes)
        right = jnp.diagonal(confusion, axis1=1, axis2=2)
        actual, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    else:
        by_outcome = accepted(2 * labels + (predictions == labels), 2 * num_classes)
        right = by_outcome[:, 1::2]
        actual = by_outcome[:, 0::2] + right
        predicted = accepted(predictions, num_classes)
    f1 = _numerics.divide_no_nan(2 * right, predicted + actual)
    if average == "micro":
        curve = share(right.sum(axis=1), actual.sum(axis=1))
    else:
        shares = actual if average == "weighted" else (predicted + actual) > 0
        curve = share((shares * f1).sum(axis=1), shares.sum(axis=1))
    lost = jnp.any((counts > 0) & ~possible)
    curve = jnp.where(jnp.isnan(thresholds) | lost, jnp.nan, curve)
    return ranking.if_known(_area(curve))


def _thresholds(ranking: Ranking, grid: str) -> jax.Array:
    """The thresholds at 0, 1, ..., 99 percent, rising."""
    percent = jnp.arange(PERCENTS)
    if grid == "range":
        score = _numerics.at_least_float32(ranking.score)
        highest, lowest = score[ranking.highest], score[ranking.lowest]
        return lowest + jnp.asarray(_SHARES, score.dtype) * (highest - lowest)
    # Where the percentile falls between two scores, the higher one decides.
    last = ranking.num_examples - ranking.unit
    if jnp.issubdtype(last.dtype, jnp.floating):
        from_below = jnp.asarray(_SHARES, last.dtype) * last
    else:
        hundreds, rest = last // PERCENTS, last % PERCENTS
        from_below = percent * hundreds + (percent * rest + PERCENTS - 1) // PERCENTS
    index = jnp.searchsorted(ranking.accepted, last - from_below, side="right")
    return ranking.score[jnp.where(percent == 0, ranking.lowest, index)]


def _area(curve: jax.Array) -> jax.Array:
    return jnp.trapezoid(curve) / (PERCENTS - 1)
