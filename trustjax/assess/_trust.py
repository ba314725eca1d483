"""How far the network's answers can be trusted: overall, by class, by confusion."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import metrics
from trustjax.assess import _resampling
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


def measure(predictions: Predictions) -> TrustNumbers:
    """Computes all trust metrics at once."""
    numbers = _measure(
        jnp.asarray(predictions.confidence, jnp.float32),
        jnp.asarray(predictions.correct),
        jnp.asarray(predictions.labels, jnp.int32),
        jnp.asarray(predictions.predicted, jnp.int32),
        num_classes=len(predictions.class_names),
    )
    return TrustNumbers(**jax.tree.map(np.asarray, numbers))


@functools.partial(jax.jit, static_argnames="num_classes")
def _measure(
    confidence: jax.Array,
    correct: jax.Array,
    labels: jax.Array,
    predicted: jax.Array,
    *,
    num_classes: int,
) -> dict[str, Any]:
    trust = metrics.question_answer_trust(confidence, correct)
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
    predictions: Predictions,
    numbers: TrustNumbers,
    resamples: _resampling.Resamples,
    level: float,
) -> dict[str, Quantity]:
    """The numbers at the top of the page, each with its interval."""
    right, sure = predictions.correct, predictions.confidence
    everywhere = np.ones_like(right)
    samples = _resampling.weighted_means(
        np.stack([right, numbers.trust, sure, sure], axis=1),
        np.stack([everywhere, everywhere, right, ~right], axis=1),
        resamples,
    )
    by_class = _resampling.class_means(
        numbers.trust, predictions.labels, len(predictions.class_names), resamples
    )
    quantity = _resampling.with_interval
    return {
        "accuracy": quantity(float(right.mean()), samples[:, 0], level),
        "net_trust_score": quantity(float(numbers.net), samples[:, 1], level),
        "net_trust_score_uniform": quantity(
            float(numbers.net_uniform), np.nanmean(by_class, axis=1), level
        ),
        "confidence_when_right": quantity(
            float(numbers.confidence.correct),
            samples[:, 2],
            level,
            "no answer is right",
        ),
        "confidence_when_wrong": quantity(
            float(numbers.confidence.incorrect),
            samples[:, 3],
            level,
            "no answer is wrong",
        ),
    }


def classes(
    predictions: Predictions,
    numbers: TrustNumbers,
    resamples: _resampling.Resamples,
    level: float,
) -> tuple[ClassTrust, ...]:
    """The trust spectrum, in class order."""
    labels, names = predictions.labels, predictions.class_names
    means = functools.partial(
        _resampling.class_means,
        labels=labels,
        num_classes=len(names),
        resamples=resamples,
    )
    trust_samples = means(numbers.trust)
    right_samples = means(predictions.correct.astype(np.float64))
    counts = np.bincount(labels, minlength=len(names))
    rights = np.bincount(labels, predictions.correct, minlength=len(names))
    accuracy = np.where(counts > 0, rights / np.maximum(counts, 1), np.nan)
    empty = "no example has this label"
    return tuple(
        ClassTrust(
            name=name,
            count=int(counts[index]),
            accuracy=_resampling.with_interval(
                accuracy[index], right_samples[:, index], level, empty
            ),
            trust=_resampling.with_interval(
                float(numbers.spectrum[index]), trust_samples[:, index], level, empty
            ),
        )
        for index, name in enumerate(names)
    )


def densities(predictions: Predictions, numbers: TrustNumbers) -> dict[int, np.ndarray]:
    """Trust densities of the least and the most trusted classes, in that order."""
    present = np.flatnonzero(~np.isnan(numbers.spectrum))
    order = present[np.argsort(numbers.spectrum[present], kind="stable")]
    if len(order) > 2 * DENSITY_CLASSES:
        order = np.concatenate([order[:DENSITY_CLASSES], order[-DENSITY_CLASSES:]])
    trust = jnp.asarray(numbers.trust)
    grid = jnp.asarray(DENSITY_GRID, jnp.float32)
    return {
        int(index): np.asarray(
            _density(trust, grid, jnp.asarray(predictions.labels == index))
        )
        for index in order
    }


@jax.jit
def _density(trust: jax.Array, grid: jax.Array, where: jax.Array) -> jax.Array:
    return metrics.trust_density(trust, grid, where=where)


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


def reliability(numbers: TrustNumbers) -> Reliability:
    """Confidence against accuracy."""
    return Reliability(
        confidence=np.asarray(numbers.reliability.confidence),
        accuracy=np.asarray(numbers.reliability.accuracy),
        count=np.asarray(numbers.reliability.count),
        edges=np.asarray(numbers.reliability.edges),
        expected_calibration_error=Quantity(float(numbers.calibration_error)),
    )
