"""How far the network's answers can be trusted: overall, by class, by confusion."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import metrics
from trustjax.assess import _intervals
from trustjax.assess._assessment import ClassTrust, Quantity, Reliability
from trustjax.assess._predictions import Predictions

DENSITY_CLASSES = 3  # the best and the worst
DENSITY_GRID = np.linspace(0, 1, 201)


class TrustNumbers(NamedTuple):
    """What the metrics say, on the host.

    Attributes:
      trust: `[examples]`, question-answer trust.
      matrix: `[classes, classes]`, its mean by label and answer; NaN without any.
      spectrum: `[classes]`, its mean by label; NaN for an empty class.
      net: NetTrustScore, every example counted alike.
      net_uniform: NetTrustScore, every class counted alike.
      confidence: expected confidence of right and of wrong answers.
      reliability: confidence against accuracy.
      calibration_error: the mean gap between the two.
    """

    trust: np.ndarray
    matrix: np.ndarray
    spectrum: np.ndarray
    net: np.ndarray
    net_uniform: np.ndarray
    confidence: metrics.ExpectedConfidence
    reliability: metrics.ReliabilityCurve
    calibration_error: np.ndarray


def measure(
    predictions: Predictions, *, alpha: float = 1.0, beta: float = 1.0
) -> TrustNumbers:
    """Computes all trust metrics at once; `alpha` and `beta` as `assess` takes them."""
    numbers = _measure(
        jnp.asarray(predictions.confidence, jnp.float32),
        jnp.asarray(predictions.correct),
        jnp.asarray(predictions.labels, jnp.int32),
        jnp.asarray(predictions.predicted, jnp.int32),
        num_classes=len(predictions.class_names),
        alpha=alpha,
        beta=beta,
    )
    return TrustNumbers(**jax.tree.map(np.asarray, numbers))


@functools.partial(jax.jit, static_argnames=("num_classes", "alpha", "beta"))
def _measure(
    confidence: jax.Array,
    correct: jax.Array,
    labels: jax.Array,
    predicted: jax.Array,
    *,
    num_classes: int,
    alpha: float,
    beta: float,
) -> dict[str, Any]:
    trust = metrics.question_answer_trust(confidence, correct, alpha=alpha, beta=beta)
    net = functools.partial(metrics.net_trust_score, trust, labels, num_classes)
    return {
        "trust": trust,
        "matrix": metrics.trust_matrix(trust, labels, predicted, num_classes),
        "spectrum": metrics.trust_spectrum(trust, labels, num_classes),
        "net": net(prior="empirical"),
        "net_uniform": net(prior="uniform"),
        "confidence": metrics.expected_confidence(confidence, correct),
        "reliability": metrics.reliability_curve(confidence, correct),
        "calibration_error": metrics.expected_calibration_error(confidence, correct),
    }


def headline(
    predictions: Predictions, numbers: TrustNumbers, level: float
) -> dict[str, Quantity]:
    """The numbers at the top of the page, each with its interval."""
    right, sure = predictions.correct, predictions.confidence
    (accuracy,) = _proportions(np.array([right.sum()]), np.array([right.size]), level)
    return {
        "accuracy": accuracy,
        "net_trust_score": _mean(float(numbers.net), numbers.trust, level, ""),
        "net_trust_score_uniform": _mean_of_classes(predictions, numbers, level),
        "confidence_when_right": _mean(
            float(numbers.confidence.correct), sure[right], level, "no answer is right"
        ),
        "confidence_when_wrong": _mean(
            float(numbers.confidence.incorrect),
            sure[~right],
            level,
            "no answer is wrong",
        ),
    }


def _proportions(
    successes: np.ndarray, trials: np.ndarray, level: float
) -> tuple[Quantity, ...]:
    """Proportions with their exact intervals."""
    interval = metrics.proportion_interval(successes, trials, level=level)
    return tuple(
        Quantity(int(some) / int(all_), float(low), float(high))
        for some, all_, low, high in zip(
            successes, trials, interval.low, interval.high, strict=True
        )
    )


def _mean(value: float, of: np.ndarray, level: float, not_defined: str) -> Quantity:
    if not of.size:
        return Quantity(None, not_defined=not_defined)
    return Quantity(value, *_intervals.mean_interval(of, level))


def _mean_of_classes(
    predictions: Predictions, numbers: TrustNumbers, level: float
) -> Quantity:
    """The NetTrustScore that counts every class with an example alike."""
    num_classes = len(predictions.class_names)
    ends = _intervals.mean_intervals(
        numbers.trust, predictions.labels, num_classes, level
    )
    present = ~np.isnan(numbers.spectrum)
    parts = (of_each[present] for of_each in (numbers.spectrum, *ends))
    value = float(numbers.net_uniform)
    return Quantity(
        value, *_intervals.sum_interval(value, *parts, weights=1 / present.sum())
    )


def classes(
    predictions: Predictions, numbers: TrustNumbers, level: float
) -> tuple[ClassTrust, ...]:
    """The trust spectrum, in class order."""
    labels, names = predictions.labels, predictions.class_names
    counts = np.bincount(labels, minlength=len(names))
    rights = np.bincount(labels[predictions.correct], minlength=len(names))
    present = counts > 0
    # All at once, with the NetTrustScore that they are held against.
    of_each = 1 - (1 - level) / (present.sum() + 1)
    lows, highs = _intervals.mean_intervals(numbers.trust, labels, len(names), of_each)
    average, _ = _intervals.mean_interval(numbers.trust, of_each)
    known = {
        index: ClassTrust(
            name=names[index],
            count=int(counts[index]),
            accuracy=accuracy,
            trust=Quantity(
                float(numbers.spectrum[index]), float(lows[index]), float(highs[index])
            ),
            below_average=bool(highs[index] < average),
        )
        for index, accuracy in zip(
            np.flatnonzero(present).tolist(),
            _proportions(rights[present], counts[present], of_each),
            strict=True,
        )
    }
    empty = Quantity(None, not_defined="no example has this label")
    return tuple(
        known.get(index, ClassTrust(name, 0, empty, empty, below_average=False))
        for index, name in enumerate(names)
    )


def densities(predictions: Predictions, numbers: TrustNumbers) -> dict[int, np.ndarray]:
    """Trust densities of the least and the most trusted classes, in that order."""
    present = np.flatnonzero(~np.isnan(numbers.spectrum))
    order = present[np.argsort(numbers.spectrum[present], kind="stable")]
    if len(order) > 2 * DENSITY_CLASSES:
        order = np.concatenate([order[:DENSITY_CLASSES], order[-DENSITY_CLASSES:]])
    return {
        int(index): density(numbers.trust, predictions.labels == index)
        for index in order
    }


def density(trust: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The density of the trust of some of the examples, on `DENSITY_GRID`."""
    grid = jnp.asarray(DENSITY_GRID, jnp.float32)
    return np.asarray(_density(jnp.asarray(trust), grid, jnp.asarray(where)))


@jax.jit
def _density(trust: jax.Array, grid: jax.Array, weights: jax.Array) -> jax.Array:
    return metrics.trust_density(trust, grid, weights=weights)


def confusion(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Counts and mean confidence by label and answer, `[classes, classes]` each.

    The mean is NaN where the count is zero.
    """
    num_classes = len(predictions.class_names)
    cell = predictions.labels * num_classes + predictions.predicted
    counts, sums = (
        np.bincount(cell, values, minlength=num_classes**2).reshape(
            num_classes, num_classes
        )
        for values in (None, predictions.confidence)
    )
    return counts, np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def reliability(
    predictions: Predictions,
    numbers: TrustNumbers,
    level: float,
    num_samples: int,
    seed: int,
) -> Reliability:
    """Confidence against accuracy, with and without what chance adds to the gap."""
    curve = numbers.reliability
    value, low, high = metrics.calibration_error_interval(
        predictions.confidence,
        predictions.correct,
        key=jax.random.key(seed),
        num_samples=num_samples,
        level=level,
    )
    return Reliability(
        confidence=np.asarray(curve.confidence),
        accuracy=np.asarray(curve.accuracy),
        count=np.asarray(curve.count),
        edges=np.asarray(curve.edges),
        expected_calibration_error=Quantity(float(numbers.calibration_error)),
        error_without_chance=Quantity(float(value), float(low), float(high)),
    )
