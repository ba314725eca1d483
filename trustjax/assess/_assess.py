"""From per-example arrays to an `Assessment`."""

from typing import TypeVar

import numpy as np

from trustjax import _validate
from trustjax.assess import (
    _attacks,
    _auroc,
    _class_order,
    _interventions,
    _membership,
    _rates,
    _shifts,
    _trust,
)
from trustjax.assess._assessment import (
    Assessment,
    GradientSeparation,
    Mistake,
    Quantity,
)
from trustjax.assess._predictions import Predictions
from trustjax.assess._scores import (
    all_ranks,
    all_scores,
    assess_scores,
    dense_ranks,
)
from trustjax.typing import ProgressFn

GALLERY_SIZE = 12

_Found = TypeVar("_Found")


def assess(
    predictions: Predictions,
    *,
    confidence_level: float = 0.95,
    num_samples: int = 1000,
    seed: int = 0,
    alpha: float = 1.0,
    beta: float = 1.0,
    progress: ProgressFn | None = None,
) -> Assessment:
    """Computes every number and curve of a trust report.

    Scores are compared by AUROC: how often a right answer scores higher than a wrong
    one. Intervals are those of a test set: what other examples would change, not
    another training. Those of means and proportions are exact or hold at least their
    level, however few the examples; statements that belong together (about all scores,
    classes, gradient statistics, other data sets) hold together at the level. The max
    softmax probability is assessed with the rest.

    Args:
      predictions: what the network said.
      confidence_level: of the intervals, and of each family of them.
      num_samples: random draws, of the comparison of the scores and of the calibration
        errors of a calibrated network.
      seed: of the draws.
      alpha: of question-answer trust: how much more a confident right answer is worth
        than a hesitant one; 0 for all alike.
      beta: of question-answer trust: how much more a confident wrong answer costs than
        a hesitant one.
      progress: hears, as the task `"assessing"`, how many of the parts are done, and
        as `"assessing corruptions"` how many versions of the test set.

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
    fewer errors than 10            no score is said to be better than another
    one example                     as above; the intervals are nearly [0, 1]
    an infinite score               ranks above (below) all finite ones; AUAC over
                                    the range of the score is not defined
    ==============================  ================================================

    >>> logits = np.array([[3.0, 0.0], [0.5, 0.0], [0.0, 1.0], [0.0, 4.0]])
    >>> assessed = assess(Predictions(logits, np.array([0, 1, 1, 1])))
    >>> auroc = assessed.by_name["max_softmax"].numbers["auroc"]
    >>> print(f"{auroc.value}, from {auroc.low:.2f} to {auroc.high:.2f}")
    1.0, from 0.00 to 1.00
    >>> assessed.comparison.reason
    '1 answer is wrong, and it takes 10'
    """
    _validate.fraction("confidence_level", confidence_level)
    _validate.count("num_samples", num_samples)
    _validate.not_negative("alpha", alpha)
    _validate.not_negative("beta", beta)
    level = confidence_level
    part = _Parts(progress)
    scores, comparison = part(assess_scores(predictions, level, num_samples, seed))
    numbers = part(_trust.measure(predictions, alpha=alpha, beta=beta))
    reliability = part(
        _trust.reliability(predictions, numbers, level, num_samples, seed)
    )
    gradients = part(_gradients(predictions, level, num_samples, seed))
    others = part(_out_of_distribution(predictions, level, num_samples, seed))
    shifts = part(
        _shifts.shifts(
            predictions,
            alpha=alpha,
            beta=beta,
            level=level,
            num_samples=num_samples,
            seed=seed,
            progress=progress,
        )
    )
    attacks = _attacks.attacks(
        predictions, level=level, num_samples=num_samples, seed=seed
    )
    confusion, confidence = _trust.confusion(predictions)
    return Assessment(
        num_examples=len(predictions.labels),
        num_errors=int(np.sum(~predictions.correct)),
        confidence_level=level,
        num_samples=num_samples,
        alpha=alpha,
        beta=beta,
        headline=_trust.headline(predictions, numbers, level),
        other_class_order=_class_order.other(
            predictions.labels, predictions.predicted, len(predictions.class_names)
        ),
        scores=scores,
        best=scores[0].name,
        comparison=comparison,
        classes=_trust.classes(predictions, numbers, level),
        density_grid=_trust.DENSITY_GRID,
        densities=_trust.densities(predictions, numbers),
        trust_matrix=numbers.matrix,
        confusion=confusion,
        mistakes=_mistakes(confusion, confidence),
        reliability=reliability,
        gradients=gradients,
        out_of_distribution=others,
        shifts=shifts,
        gallery=_gallery(predictions, scores[0].name),
        run=predictions.run,
        attacks=attacks,
        interventions=_interventions.interventions(predictions.intervened, level=level),
        membership=_membership.membership(
            predictions, level=level, num_samples=num_samples, seed=seed
        ),
    )


class _Parts:
    """Counts the parts of an assessment that take a while, and hands them on."""

    TOTAL = 6

    def __init__(self, progress: ProgressFn | None):
        self._progress = progress
        self._done = 0

    def __call__(self, value: _Found) -> _Found:
        self._done += 1
        if self._progress is not None:
            self._progress("assessing", self._done, self.TOTAL, {})
        return value


def _mistakes(confusion: np.ndarray, confidence: np.ndarray) -> tuple[Mistake, ...]:
    """The kinds of error, the most frequent first."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    counted = [
        Mistake(
            label=int(label),
            answer=int(answer),
            count=int(wrong[label, answer]),
            confidence=float(confidence[label, answer]),
        )
        for label, answer in np.argwhere(wrong)
    ]
    return tuple(sorted(counted, key=lambda mistake: (-mistake.count, mistake[:2])))


def _gradients(
    predictions: Predictions, level: float, num_samples: int, seed: int
) -> GradientSeparation | None:
    table = predictions.gradient_statistics
    if table is None:
        return None
    count, *shape = table.values.shape
    columns = table.values.reshape(count, -1).T
    ranks = np.stack([dense_ranks(column) for column in columns])
    placed = _auroc.placements(ranks, predictions.correct)
    low, high = _auroc.intervals(
        placed, level, statements=len(columns), num_samples=num_samples, seed=seed
    )
    return GradientSeparation(
        table.groups,
        table.statistics,
        *(part.reshape(shape) for part in (placed.auroc, low, high)),
    )


def _out_of_distribution(
    predictions: Predictions, level: float, num_samples: int, seed: int
) -> dict[str, dict[str, dict[str, Quantity]]]:
    # The confidence of other data is mostly float32, where more of it rounds to 1.
    inside = {
        name: values if name in predictions.scores else values.astype(np.float32)
        for name, values in all_scores(predictions).items()
    }
    others = {
        dataset: {name: values for name, values in scores.items() if name in inside}
        for dataset, scores in predictions.out_of_distribution.items()
    }
    statements = sum(map(len, others.values()))

    def detection(name: str, outside: np.ndarray) -> dict[str, Quantity]:
        both = np.concatenate([inside[name], outside])
        ranks, known = dense_ranks(both), np.arange(both.size) < inside[name].size
        placed = _auroc.placements(ranks[None], known)
        (low,), (high,) = _auroc.intervals(
            placed, level, statements=statements, num_samples=num_samples, seed=seed
        )
        of_each = 1 - (1 - level) / statements
        return {
            "auroc": Quantity(float(placed.auroc[0]), float(low), float(high)),
            "fpr_at_95_tpr": _rates.fpr_at_tpr(ranks, known, of_each),
        }

    return {
        dataset: {name: detection(name, outside) for name, outside in scores.items()}
        for dataset, scores in others.items()
    }


def _gallery(predictions: Predictions, best: str) -> dict[str, np.ndarray]:
    """Examples worth looking at: indices, the most telling first."""
    right, sure = predictions.correct, predictions.log_odds
    rank = all_ranks(predictions)[best]

    def first(order: np.ndarray, where: np.ndarray) -> np.ndarray:
        return order[where[order]][:GALLERY_SIZE]

    everywhere = np.ones_like(right)
    return {
        "confidently_wrong": first(np.argsort(-sure, kind="stable"), ~right),
        "hesitantly_right": first(np.argsort(sure, kind="stable"), right),
        "least_trusted": first(np.argsort(rank, kind="stable"), everywhere),
        "most_trusted": first(np.argsort(-rank, kind="stable"), everywhere),
    }
