"""Every score as a predictor of right and wrong, and which of them is the best."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import metrics
from trustjax.assess import _resampling
from trustjax.assess._assessment import Curve, Quantity, ScoreAssessment
from trustjax.assess._predictions import Predictions

WITH_INTERVALS = ("auroc", "fpr_at_95_tpr", "aupr_error", "aurc")
"""The metrics that `_resampling.rank_metrics` resamples."""

CURVE_POINTS = 400


def all_scores(predictions: Predictions) -> dict[str, np.ndarray]:
    """The scores to compare: those given, and the max softmax probability."""
    return {"max_softmax": predictions.confidence, **predictions.scores}


def as_ranks(scores: np.ndarray) -> jax.Array:
    """The same order in small integers: exact in float32, infinities included."""
    return jnp.asarray(np.unique(scores, return_inverse=True)[1], jnp.float32)


def _along_its_range(scores: np.ndarray) -> jax.Array:
    """Scores of any size from 0, the lowest, to 1: float32 keeps their distances.

    A score with an infinite value has no such range, and stays as it is.
    """
    lowest, highest = scores.min(), scores.max()
    if np.isfinite([lowest, highest]).all() and highest > lowest:
        scores = (scores - lowest) / (highest - lowest)
    return jnp.asarray(scores, jnp.float32)


class _Measured(NamedTuple):
    numbers: dict[str, Quantity]
    risk_coverage: Curve
    auroc_samples: np.ndarray

    @property
    def auroc(self) -> float:
        """AUROC; NaN where it is not defined."""
        value = self.numbers["auroc"].value
        return np.nan if value is None else value


def assess_scores(
    predictions: Predictions, resamples: _resampling.Resamples, level: float
) -> tuple[ScoreAssessment, ...]:
    """Assesses all scores, from the best AUROC to the worst.

    Args:
      predictions: what the network said.
      resamples: the draws, the same for every score.
      level: of the intervals.

    Returns:
      The scores. Each is compared with the first on the same resamples.
    """
    correct = predictions.correct
    why_not = "every answer is right" if correct.all() else "every answer is wrong"
    scores = all_scores(predictions)
    samples = _resampled(scores, correct, resamples)
    measured = {
        name: _measure(predictions, values, samples[name], level, why_not)
        for name, values in scores.items()
    }
    # Without any order, as when every answer is right, they stay as they were given.
    order = sorted(scores, key=lambda name: -np.nan_to_num(measured[name].auroc))
    best = measured[order[0]]

    def assessed(name: str) -> ScoreAssessment:
        mine = measured[name]
        behind = _resampling.with_interval(
            best.auroc - mine.auroc,
            best.auroc_samples - mine.auroc_samples,
            level,
            why_not,
        )
        return ScoreAssessment(
            name=name,
            title=predictions.score_titles.get(name, name.replace("_", " ")),
            info=predictions.score_info.get(name, ""),
            numbers=mine.numbers,
            behind_best=behind,
            tied_with_best=mine is not best
            and behind.low is not None
            and behind.low <= 0,
            risk_coverage=mine.risk_coverage,
            num_infinite=int(np.isinf(scores[name]).sum()),
        )

    return tuple(assessed(name) for name in order)


def _resampled(
    scores: dict[str, np.ndarray],
    correct: np.ndarray,
    resamples: _resampling.Resamples,
) -> dict[str, dict[str, np.ndarray]]:
    """Score name -> metric name -> `[resamples]`."""
    rankings = {name: _resampling.rank(values) for name, values in scores.items()}
    parts = [
        {
            name: _resampling.rank_metrics(ranking, correct, counts)
            for name, ranking in rankings.items()
        }
        for counts in resamples.chunks()
    ]
    return {
        name: {
            metric: np.concatenate([part[name][metric] for part in parts])
            for metric in WITH_INTERVALS
        }
        for name in scores
    }


def _measure(
    predictions: Predictions,
    scores: np.ndarray,
    samples: dict[str, np.ndarray],
    level: float,
    why_not: str,
) -> _Measured:
    values, curve = _metrics(
        as_ranks(scores),
        _along_its_range(scores),
        jnp.asarray(predictions.predicted, jnp.int32),
        jnp.asarray(predictions.labels, jnp.int32),
        num_classes=len(predictions.class_names),
    )
    none = np.array([])
    numbers = {
        name: _resampling.with_interval(
            float(value),
            samples.get(name, none),
            level,
            "the score has infinite values" if name.endswith("_range") else why_not,
        )
        for name, value in values.items()
    }
    return _Measured(numbers, _thinned(curve), samples["auroc"])


@functools.partial(jax.jit, static_argnames="num_classes")
def _metrics(
    ranks: jax.Array,
    scores: jax.Array,
    predicted: jax.Array,
    labels: jax.Array,
    *,
    num_classes: int,
) -> tuple[dict[str, jax.Array], metrics.RiskCoverage]:
    correct = predicted == labels
    found = metrics.summary(ranks, predicted, labels, num_classes=num_classes)
    values = found._asdict()
    del values["accuracy"]  # of the network: the same for every score
    values["auac_quantile"] = values.pop("auac")
    values["aufc_quantile"] = values.pop("aufc")
    # These alone depend on the values of the score, not on its ranks.
    values["auac_range"] = metrics.auac(scores, correct, grid="range")
    values["aufc_range"] = metrics.aufc(
        scores, predicted, labels, grid="range", num_classes=num_classes
    )
    return values, metrics.risk_coverage_curve(ranks, correct)


def _thinned(curve: metrics.RiskCoverage) -> Curve:
    """At most `CURVE_POINTS` points of rising coverage, the ends among them."""
    coverage, first = np.unique(np.asarray(curve.coverage), return_index=True)
    risk = np.asarray(curve.risk)[first]
    if len(coverage) > CURVE_POINTS:
        kept = np.linspace(0, len(coverage) - 1, CURVE_POINTS).round().astype(int)
        coverage, risk = coverage[kept], risk[kept]
    return Curve(coverage, risk)
