"""From per-example arrays to an `Assessment`."""

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import _validate, metrics
from trustjax.assess import _resampling
from trustjax.assess._assessment import (
    Assessment,
    ClassTrust,
    GradientSeparation,
    Mistake,
    Quantity,
    Reliability,
)
from trustjax.assess._predictions import Predictions
from trustjax.assess._scores import all_scores, as_ranks, assess_scores

GALLERY_SIZE = 12
DENSITY_POINTS = 201
DENSITY_CLASSES = 3  # the best and the worst


def assess(
    predictions: Predictions,
    *,
    confidence_level: float = 0.95,
    num_samples: int = 1000,
    seed: int = 0,
) -> Assessment:
    """Computes every number and curve of a trust report.

    Scores are compared by AUROC: how often a right answer scores higher than a wrong
    one. Intervals are percentile bootstrap intervals over the test set; the
    differences between scores come from the same resamples, so that what is common
    to two scores cancels. The max softmax probability is assessed with the rest.

    Args:
      predictions: what the network said.
      confidence_level: of the intervals.
      num_samples: bootstrap resamples.
      seed: of the resampling.

    Returns:
      The assessment.

    Raises:
      ValueError: if an option is out of range.

    ==============================  ================================================
    Edge case                       Value
    ==============================  ================================================
    every answer right, or wrong    rank metrics and the confidence when wrong (when
                                    right) are not defined, and say so
    a class without an example      its trust is not defined; it does not count in
                                    the NetTrustScore
    one example                     as above; the intervals have no width
    an infinite score               ranks above (below) all finite ones; AUAC over
                                    the range of the score is not defined
    ==============================  ================================================

    >>> logits = np.array([[3.0, 0.0], [0.5, 0.0], [0.0, 1.0], [0.0, 4.0]])
    >>> found = assess(Predictions(logits, np.array([0, 1, 1, 1])))
    >>> found.headline["accuracy"].value, found.by_name["max_softmax"].numbers["auroc"]
    (0.75, Quantity(value=1.0, low=1.0, high=1.0, not_defined=''))
    """
    _validate.fraction("confidence_level", confidence_level)
    _validate.count("num_samples", num_samples)
    resamples = _resampling.Resamples(len(predictions.labels), num_samples, seed)
    scores = assess_scores(predictions, resamples, confidence_level)
    confusion = _by_cell(predictions, None)
    return Assessment(
        num_examples=len(predictions.labels),
        num_errors=int(np.sum(~predictions.correct)),
        confidence_level=confidence_level,
        num_samples=num_samples,
        headline=_headline(predictions, resamples, confidence_level),
        scores=scores,
        best=scores[0].name,
        classes=_classes(predictions, resamples, confidence_level),
        density_grid=_density_grid(),
        densities=_densities(predictions),
        trust_matrix=_trust_matrix(predictions, confusion),
        confusion=confusion,
        mistakes=_mistakes(predictions, confusion),
        reliability=_reliability(predictions),
        gradients=_gradients(predictions),
        out_of_distribution=_out_of_distribution(predictions),
        gallery=_gallery(predictions, scores[0].name),
        run=predictions.run,
    )


def _density_grid() -> np.ndarray:
    return np.linspace(0, 1, DENSITY_POINTS)


def trust(predictions: Predictions) -> np.ndarray:
    """Question-answer trust of every example, `[examples]`."""
    return np.asarray(
        metrics.question_answer_trust(
            jnp.asarray(predictions.confidence, jnp.float32),
            jnp.asarray(predictions.correct),
        ),
        np.float64,
    )


def _headline(
    predictions: Predictions, resamples: _resampling.Resamples, level: float
) -> dict[str, Quantity]:
    right = predictions.correct
    trusts = trust(predictions)
    labels = jnp.asarray(predictions.labels)
    num_classes = len(predictions.class_names)
    sure_right, sure_wrong = metrics.expected_confidence(
        jnp.asarray(predictions.confidence, jnp.float32), jnp.asarray(right)
    )
    everywhere = np.ones_like(right)
    columns = _resampling.weighted_means(
        np.stack(
            [right, trusts, predictions.confidence, predictions.confidence], axis=1
        ),
        np.stack([everywhere, everywhere, right, ~right], axis=1),
        resamples,
    )
    by_class = _resampling.class_means(
        trusts, predictions.labels, num_classes, resamples
    )
    net, net_uniform = (
        float(
            metrics.net_trust_score(
                jnp.asarray(trusts, jnp.float32), labels, num_classes, prior=prior
            )
        )
        for prior in ("empirical", "uniform")
    )
    quantity = _resampling.with_interval
    return {
        "accuracy": quantity(float(right.mean()), columns[:, 0], level),
        "net_trust_score": quantity(net, columns[:, 1], level),
        "net_trust_score_uniform": quantity(
            net_uniform, np.nanmean(by_class, axis=1), level
        ),
        "confidence_when_right": quantity(
            float(sure_right), columns[:, 2], level, "no answer is right"
        ),
        "confidence_when_wrong": quantity(
            float(sure_wrong), columns[:, 3], level, "no answer is wrong"
        ),
    }


def _classes(
    predictions: Predictions, resamples: _resampling.Resamples, level: float
) -> tuple[ClassTrust, ...]:
    labels, num_classes = predictions.labels, len(predictions.class_names)
    trusts = trust(predictions)
    right = predictions.correct.astype(np.float64)
    spectrum = np.asarray(
        metrics.trust_spectrum(
            jnp.asarray(trusts, jnp.float32), jnp.asarray(labels), num_classes
        )
    )
    trust_samples = _resampling.class_means(trusts, labels, num_classes, resamples)
    right_samples = _resampling.class_means(right, labels, num_classes, resamples)

    def assessed(index: int) -> ClassTrust:
        mine = labels == index
        count = int(mine.sum())
        accuracy = float(right[mine].mean()) if count else np.nan
        empty = "no example has this label"
        return ClassTrust(
            name=predictions.class_names[index],
            count=count,
            accuracy=_resampling.with_interval(
                accuracy, right_samples[:, index], level, empty
            ),
            trust=_resampling.with_interval(
                float(spectrum[index]), trust_samples[:, index], level, empty
            ),
        )

    return tuple(assessed(index) for index in range(num_classes))


def _densities(predictions: Predictions) -> dict[int, np.ndarray]:
    """Trust densities of the least and the most trusted classes, in that order."""
    labels = predictions.labels
    trusts = jnp.asarray(trust(predictions), jnp.float32)
    present, counts = np.unique(labels, return_counts=True)
    means = np.bincount(labels, trust(predictions))[present] / counts
    order = present[np.argsort(means, kind="stable")]
    if len(order) > 2 * DENSITY_CLASSES:
        order = np.concatenate([order[:DENSITY_CLASSES], order[-DENSITY_CLASSES:]])
    grid = jnp.asarray(_density_grid(), jnp.float32)
    return {
        int(index): np.asarray(_density(trusts, grid, jnp.asarray(labels == index)))
        for index in order
    }


@jax.jit
def _density(trusts: jax.Array, grid: jax.Array, where: jax.Array) -> jax.Array:
    return metrics.trust_density(trusts, grid, where=where)


def _by_cell(predictions: Predictions, values: np.ndarray | None) -> np.ndarray:
    """Sums (counts, without values) by label and answer, `[classes, classes]`."""
    num_classes = len(predictions.class_names)
    cell = predictions.labels * num_classes + predictions.predicted
    sums = np.bincount(cell, values, minlength=num_classes**2)
    return sums.reshape(num_classes, num_classes)


def _trust_matrix(predictions: Predictions, confusion: np.ndarray) -> np.ndarray:
    sums = _by_cell(predictions, trust(predictions))
    return np.where(confusion > 0, sums / np.maximum(confusion, 1), np.nan)


def _mistakes(predictions: Predictions, confusion: np.ndarray) -> tuple[Mistake, ...]:
    confidence = _by_cell(predictions, predictions.confidence)
    found = [
        Mistake(
            label=int(label),
            answer=int(answer),
            count=int(confusion[label, answer]),
            confidence=float(confidence[label, answer] / confusion[label, answer]),
        )
        for label, answer in np.argwhere(confusion)
        if label != answer
    ]
    return tuple(sorted(found, key=lambda mistake: (-mistake.count, mistake[:2])))


def _reliability(predictions: Predictions) -> Reliability:
    confidence = jnp.asarray(predictions.confidence, jnp.float32)
    correct = jnp.asarray(predictions.correct)
    curve = metrics.reliability_curve(confidence, correct)
    error = metrics.expected_calibration_error(confidence, correct)
    return Reliability(
        confidence=np.asarray(curve.confidence),
        accuracy=np.asarray(curve.accuracy),
        count=np.asarray(curve.count),
        expected_calibration_error=Quantity(float(error)),
    )


def _gradients(predictions: Predictions) -> GradientSeparation | None:
    table = predictions.gradient_statistics
    if table is None:
        return None
    count, groups, statistics = table.values.shape
    columns = table.values.reshape(count, groups * statistics).T
    ranks = jnp.stack([as_ranks(column) for column in columns])
    auroc = jax.vmap(metrics.auroc, in_axes=(0, None))(
        ranks, jnp.asarray(predictions.correct)
    )
    return GradientSeparation(
        table.groups,
        table.statistics,
        np.asarray(auroc, np.float64).reshape(groups, statistics),
    )


def _out_of_distribution(
    predictions: Predictions,
) -> dict[str, dict[str, dict[str, Quantity]]]:
    inside = all_scores(predictions)

    def detection(name: str, outside: np.ndarray) -> dict[str, Quantity]:
        scores = as_ranks(np.concatenate([inside[name], outside]))
        known = jnp.asarray(np.arange(scores.size) < inside[name].size)
        return {
            "auroc": Quantity(float(metrics.auroc(scores, known))),
            "fpr_at_95_tpr": Quantity(float(metrics.fpr_at_tpr(scores, known))),
        }

    return {
        dataset: {
            name: detection(name, outside)
            for name, outside in scores.items()
            if name in inside
        }
        for dataset, scores in predictions.out_of_distribution.items()
    }


def _gallery(predictions: Predictions, best: str) -> dict[str, np.ndarray]:
    """Examples worth looking at: indices, the most telling first."""
    right, confidence = predictions.correct, predictions.confidence
    score = all_scores(predictions)[best]

    def first(order: np.ndarray, where: np.ndarray) -> np.ndarray:
        return order[where[order]][:GALLERY_SIZE]

    everywhere = np.ones_like(right)
    surest_first = np.argsort(-confidence, kind="stable")
    trusted_first = np.argsort(-score, kind="stable")
    return {
        "confidently_wrong": first(surest_first, ~right),
        "hesitantly_right": first(np.argsort(confidence, kind="stable"), right),
        "least_trusted": first(np.argsort(score, kind="stable"), everywhere),
        "most_trusted": first(trusted_first, everywhere),
    }
