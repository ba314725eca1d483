"""The same test set, changed: what is left of accuracy, trust and calibration."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import metrics, scores
from trustjax.assess import _auroc, _intervals
from trustjax.assess._assessment import Quantity, ShiftNumbers, Shifts
from trustjax.assess._predictions import Predictions, Shifted
from trustjax.assess._scores import dense_ranks
from trustjax.typing import ProgressFn

_NO_AUROC = "every answer is right, or every answer is wrong"


class _Options(NamedTuple):
    """What every version is assessed by."""

    alpha: float
    beta: float
    level: float
    num_samples: int
    seed: int


class _Version(NamedTuple):
    """One version of the test set: its numbers, and what each example adds to them.

    Attributes:
      numbers: with their intervals.
      correct: `[examples]`.
      trust: `[examples]`.
      influences: `[examples, scores]` on each AUROC; NaN where that is not defined.
    """

    numbers: ShiftNumbers
    correct: np.ndarray
    trust: np.ndarray
    influences: np.ndarray


def shifts(
    predictions: Predictions,
    *,
    alpha: float,
    beta: float,
    level: float,
    num_samples: int,
    seed: int,
    progress: ProgressFn | None = None,
) -> Shifts | None:
    """Assesses every version of the test set; None where there are none.

    The intervals of one number, as of the accuracy, hold together over all versions;
    those of its means over the kinds hold together over all severities.

    Args:
      predictions: what the network said, with its `shifts`.
      alpha: of question-answer trust.
      beta: of question-answer trust.
      level: of each family of intervals.
      num_samples: draws behind the intervals.
      seed: of the draws.
      progress: hears how many versions are done.

    References:
      Kinds and severities: Hendrycks and Dietterich 2019 (arXiv:1903.12261).
    """
    if not predictions.shifts:
        return None
    options = _Options(alpha, beta, level, num_samples, seed)
    kinds = tuple(predictions.shifts)
    severities = tuple(predictions.shifts[kinds[0]])
    names = tuple(_all_scores(predictions.shifts[kinds[0]][severities[0]]))
    total = len(kinds) * len(severities)
    labels, done = predictions.labels, 0
    by_kind: dict[str, dict[int, ShiftNumbers]] = {kind: {} for kind in kinds}
    means = {0: _as_they_are(predictions, names, len(severities) + 1, options)}
    for severity in severities:
        versions = []
        for kind in kinds:
            shifted = predictions.shifts[kind][severity]
            versions.append(_version(shifted, names, labels, total, options))
            by_kind[kind][severity] = versions[-1].numbers
            done += 1
            if progress is not None:
                progress("assessing corruptions", done, total, {})
        means[severity] = _mean(versions, names, len(severities) + 1, level)
    return Shifts(by_kind, means)


def _as_they_are(
    predictions: Predictions, names: Sequence[str], statements: int, options: _Options
) -> ShiftNumbers:
    unchanged = Shifted(
        predictions.predicted,
        predictions.confidence,
        {name: of for name, of in predictions.scores.items() if name in names},
    )
    return _version(unchanged, names, predictions.labels, statements, options).numbers


def _version(
    shifted: Shifted,
    names: Sequence[str],
    labels: np.ndarray,
    statements: int,
    options: _Options,
) -> _Version:
    """The numbers of one version, of so many that hold together."""
    of_each = 1 - (1 - options.level) / statements
    correct = shifted.predicted == labels
    confidence = jnp.asarray(shifted.confidence, jnp.float32)
    trust = np.asarray(
        metrics.question_answer_trust(
            confidence, jnp.asarray(correct), alpha=options.alpha, beta=options.beta
        ),
        np.float64,
    )
    ends = metrics.proportion_interval(int(correct.sum()), correct.size, level=of_each)
    fair = metrics.calibration_error_interval(
        confidence,
        jnp.asarray(correct),
        key=jax.random.key(options.seed),
        num_samples=options.num_samples,
        level=of_each,
    )
    error = metrics.expected_calibration_error(confidence, jnp.asarray(correct))
    auroc, influences = _aurocs(
        _all_scores(shifted), names, correct, statements, options
    )
    numbers = ShiftNumbers(
        accuracy=Quantity(float(correct.mean()), float(ends.low), float(ends.high)),
        net_trust_score=_mean_of_shares(trust, of_each),
        expected_calibration_error=Quantity(float(error)),
        error_without_chance=Quantity(
            float(fair.value), float(fair.low), float(fair.high)
        ),
        auroc=auroc,
    )
    return _Version(numbers, correct, trust, influences)


def _all_scores(shifted: Shifted) -> dict[str, np.ndarray]:
    """The scores to compare: those given, and the max softmax probability."""
    return {scores.baseline().name: shifted.confidence, **shifted.scores}


def _aurocs(
    values: Mapping[str, np.ndarray],
    names: Sequence[str],
    correct: np.ndarray,
    statements: int,
    options: _Options,
) -> tuple[dict[str, Quantity], np.ndarray]:
    ranks = np.stack([dense_ranks(values[name]) for name in names])
    placed = _auroc.placements(ranks, correct)
    low, high = _auroc.intervals(
        placed,
        options.level,
        statements=statements * len(names),
        num_samples=options.num_samples,
        seed=options.seed,
    )
    columns = zip(names, placed.auroc, low, high, strict=True)
    found = {
        name: Quantity(None, not_defined=_NO_AUROC)
        if np.isnan(value)
        else Quantity(float(value), float(down), float(up))
        for name, value, down, up in columns
    }
    return found, _auroc.influences(placed, correct)


def _mean(
    versions: Sequence[_Version], names: Sequence[str], statements: int, level: float
) -> ShiftNumbers:
    """The mean over the kinds: each image is in all of them, and is drawn once.

    So the interval of a mean of shares is that of the images' own means. Of AUROC it
    is the normal one of the images' mean influences, over the kinds in which it is
    defined. The means of calibration errors lie between the means of their ends.
    """
    of_each = 1 - (1 - level) / statements
    accuracy, trust = (
        _mean_of_shares(np.mean(of_examples, axis=0), of_each)
        for of_examples in ([v.correct for v in versions], [v.trust for v in versions])
    )
    raw = [v.numbers.expected_calibration_error.value or 0.0 for v in versions]
    fair = _mean_ends([v.numbers.error_without_chance for v in versions])
    return ShiftNumbers(
        accuracy=accuracy,
        net_trust_score=trust,
        expected_calibration_error=Quantity(float(np.mean(raw))),
        error_without_chance=Quantity(*fair),
        auroc={
            name: _mean_auroc(versions, place, name, statements * len(names), level)
            for place, name in enumerate(names)
        },
    )


def _mean_of_shares(shares: np.ndarray, level: float) -> Quantity:
    low, high = _intervals.mean_interval(shares, level)
    return Quantity(float(shares.mean()), low, high)


def _mean_auroc(
    versions: Sequence[_Version], place: int, name: str, statements: int, level: float
) -> Quantity:
    known = [v for v in versions if v.numbers.auroc[name].value is not None]
    if not known:
        return Quantity(None, not_defined=_NO_AUROC)
    value, low, high = _mean_ends([v.numbers.auroc[name] for v in known])
    moved = np.mean([version.influences[:, place] for version in known], axis=0)
    error = float(moved.std() / np.sqrt(len(moved)))
    if error > 0:  # else all are perfect, or the score is constant: as each by itself
        wide = statistics.NormalDist().inv_cdf(1 - (1 - level) / statements / 2)
        low, high = max(value - wide * error, 0.0), min(value + wide * error, 1.0)
    return Quantity(value, low, high)


def _mean_ends(quantities: Sequence[Quantity]) -> tuple[float, float, float]:
    """The means of values, lower ends and upper ends, all of which are there."""
    value, low, high = np.mean(np.array(quantities, object)[:, :3].astype(float), 0)
    return float(value), float(low), float(high)
