"""Every score as a predictor of right and wrong, and which of them is the best."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import metrics, scores
from trustjax.assess import _auroc, _rates
from trustjax.assess._assessment import Curve, Quantity, ScoreAssessment
from trustjax.assess._predictions import Predictions

CURVE_POINTS = 400


def all_scores(predictions: Predictions) -> dict[str, np.ndarray]:
    """The scores to compare: those given, and the max softmax probability."""
    return {scores.baseline().name: predictions.confidence, **predictions.scores}


def all_ranks(predictions: Predictions) -> dict[str, np.ndarray]:
    """The order of each score, as `dense_ranks`.

    Confidences that round to the same number, to 1 above all, keep the order of their
    log odds.
    """
    baseline = scores.baseline().name
    return {
        name: dense_ranks(values, predictions.log_odds if name == baseline else None)
        for name, values in all_scores(predictions).items()
    }


def _along_its_range(values: np.ndarray) -> jax.Array:
    """Scores of any size from 0, the lowest, to 1: float32 keeps their distances.

    A score with an infinite value has no such range, and stays as it is.
    """
    lowest, highest = values.min(), values.max()
    if np.isfinite([lowest, highest]).all() and highest > lowest:
        values = (values - lowest) / (highest - lowest)
    return jnp.asarray(values, jnp.float32)


def dense_ranks(values: np.ndarray, then: np.ndarray | None = None) -> np.ndarray:
    """`[examples]`: 0 for the lowest value, one more for each higher, also infinite.

    Args:
      values: `[examples]`.
      then: `[examples]`, what orders equal values; they are equal if None.
    """
    if then is None:
        return np.unique(values, return_inverse=True)[1].astype(np.int32)
    order = np.lexsort((then, values))
    keys = np.stack([values, then])[:, order]
    higher = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    ranks = np.empty(len(values), np.int32)
    ranks[order] = np.append(0, np.cumsum(higher))
    return ranks


class ScoreAssessments(NamedTuple):
    """All scores, from the best AUROC to the worst, and what their comparison says."""

    scores: tuple[ScoreAssessment, ...]
    comparison: metrics.Comparison


def assess_scores(
    predictions: Predictions, level: float, num_samples: int, seed: int
) -> ScoreAssessments:
    """Assesses all scores.

    Args:
      predictions: what the network said.
      level: of the intervals, and of each family of them.
      num_samples: draws of the comparison.
      seed: of the draws.

    Returns:
      The scores and their comparison.
    """
    correct = predictions.correct
    values, ranks = all_scores(predictions), all_ranks(predictions)
    placed = _auroc.placements(np.stack(list(ranks.values())), correct)
    comparison = _auroc.compare(
        tuple(values),
        placed,
        correct,
        level=level,
        num_samples=num_samples,
        seed=seed,
    )
    of_each = 1 - (1 - level) / len(values)
    ends = _auroc.intervals(
        placed, level, statements=len(values), num_samples=num_samples, seed=seed
    )
    aurocs = dict(zip(values, zip(placed.auroc, *ends, strict=True), strict=True))
    # Without any order, as when every answer is right, they stay as they were given.
    order = sorted(values, key=lambda name: -np.nan_to_num(aurocs[name][0]))
    best = comparison.names.index(order[0])
    ahead = np.stack(
        [
            np.asarray(of_best[best], np.float64)
            for of_best in (comparison.differences, comparison.low, comparison.high)
        ]
    )
    why_not = "every answer is right" if correct.all() else "every answer is wrong"

    rows = map(scores.lookup, scores.names())
    scattered = {row.name for row in rows if row.scatter}

    def assessed(name: str) -> ScoreAssessment:
        numbers, curve = _measure(predictions, ranks[name], values[name], of_each)
        known = numbers | {"auroc": _known(*aurocs[name])}
        behind = ahead[:, comparison.names.index(name)]
        return ScoreAssessment(
            name=name,
            title=predictions.score_titles.get(name, name.replace("_", " ")),
            info=predictions.score_info.get(name, ""),
            numbers={
                metric: quantity._replace(
                    not_defined="the score has infinite values"
                    if metric.endswith("_range")
                    else why_not
                )
                if quantity.value is None
                else quantity
                for metric, quantity in known.items()
            },
            behind_best=_known(*behind)._replace(
                not_defined=why_not if np.isnan(behind[0]) else ""
            ),
            may_be_best=name in comparison.may_be_best,
            selective_risk=_rates.selective_risk(ranks[name], correct, of_each),
            risk_coverage=curve,
            num_infinite=int(np.isinf(values[name]).sum()),
            scatter=name in scattered,
        )

    return ScoreAssessments(tuple(map(assessed, order)), comparison)


def _known(value: float, low: float = np.nan, high: float = np.nan) -> Quantity:
    """The same without NaN."""
    known = [None if np.isnan(of) else float(of) for of in (value, low, high)]
    return Quantity(known[0], known[1], known[2])


def _measure(
    predictions: Predictions, ranks: np.ndarray, scores: np.ndarray, level: float
) -> tuple[dict[str, Quantity], Curve]:
    """The metrics of one score beside AUROC, and its curve."""
    correct = predictions.correct
    values, curve = _metrics(
        jnp.asarray(ranks, jnp.float32),  # exact: no more than 2 ** 24 examples
        _along_its_range(scores),
        jnp.asarray(predictions.predicted, jnp.int32),
        jnp.asarray(predictions.labels, jnp.int32),
        num_classes=len(predictions.class_names),
    )
    numbers = {name: _known(float(value)) for name, value in values.items()}
    del numbers["auroc"]  # has its interval elsewhere
    if correct.any() and not correct.all():
        numbers["fpr_at_95_tpr"] = _rates.fpr_at_tpr(ranks, correct, level)
    return numbers, _thinned(curve)


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
    summary = metrics.summary(ranks, predicted, labels, num_classes=num_classes)
    values = summary._asdict()
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
