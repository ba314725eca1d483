"""From per-example arrays to an `Assessment`."""

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import _validate, metrics
from trustjax.assess import _resampling, _trust
from trustjax.assess._assessment import (
    Assessment,
    GradientSeparation,
    Mistake,
    Quantity,
)
from trustjax.assess._predictions import Predictions
from trustjax.assess._scores import all_scores, as_ranks, assess_scores

GALLERY_SIZE = 12


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
    numbers = _trust.measure(predictions)
    confusion, confidence = _trust.confusion(predictions)
    return Assessment(
        num_examples=len(predictions.labels),
        num_errors=int(np.sum(~predictions.correct)),
        confidence_level=confidence_level,
        num_samples=num_samples,
        headline=_trust.headline(predictions, numbers, resamples, confidence_level),
        scores=scores,
        best=scores[0].name,
        classes=_trust.classes(predictions, numbers, resamples, confidence_level),
        density_grid=_trust.DENSITY_GRID,
        densities=_trust.densities(predictions, numbers),
        trust_matrix=numbers.matrix,
        confusion=confusion,
        mistakes=_mistakes(confusion, confidence),
        reliability=_trust.reliability(numbers),
        gradients=_gradients(predictions),
        out_of_distribution=_out_of_distribution(predictions),
        gallery=_gallery(predictions, scores[0].name),
        run=predictions.run,
    )


def _mistakes(confusion: np.ndarray, confidence: np.ndarray) -> tuple[Mistake, ...]:
    """The kinds of error, the most frequent first."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    found = [
        Mistake(
            label=int(label),
            answer=int(answer),
            count=int(wrong[label, answer]),
            confidence=float(confidence[label, answer]),
        )
        for label, answer in np.argwhere(wrong)
    ]
    return tuple(sorted(found, key=lambda mistake: (-mistake.count, mistake[:2])))


def _gradients(predictions: Predictions) -> GradientSeparation | None:
    table = predictions.gradient_statistics
    if table is None:
        return None
    count, groups, statistics = table.values.shape
    columns = table.values.reshape(count, groups * statistics).T
    ranks = jnp.stack([as_ranks(column) for column in columns])
    auroc = _auroc_of_each(ranks, jnp.asarray(predictions.correct))
    return GradientSeparation(
        table.groups,
        table.statistics,
        np.asarray(auroc, np.float64).reshape(groups, statistics),
    )


@jax.jit
def _auroc_of_each(ranks: jax.Array, correct: jax.Array) -> jax.Array:
    return jax.vmap(metrics.auroc, in_axes=(0, None))(ranks, correct)


def _out_of_distribution(
    predictions: Predictions,
) -> dict[str, dict[str, dict[str, Quantity]]]:
    inside = all_scores(predictions)

    def detection(name: str, outside: np.ndarray) -> dict[str, Quantity]:
        scores = as_ranks(np.concatenate([inside[name], outside]))
        known = jnp.asarray(np.arange(scores.size) < inside[name].size)
        found = _detection(scores, known)
        return {metric: Quantity(float(value)) for metric, value in found.items()}

    return {
        dataset: {
            name: detection(name, outside)
            for name, outside in scores.items()
            if name in inside
        }
        for dataset, scores in predictions.out_of_distribution.items()
    }


@jax.jit
def _detection(scores: jax.Array, known: jax.Array) -> dict[str, jax.Array]:
    return {
        "auroc": metrics.auroc(scores, known),
        "fpr_at_95_tpr": metrics.fpr_at_tpr(scores, known),
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
