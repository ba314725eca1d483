"""The metrics as subjects of the battery of hostile values."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests import hostile, limits, metrics_reference
from tests.hostile import (
    CLASSES,
    NUMBERS,
    OUTCOMES,
    PROBABILITIES,
    RANKED,
    SIZES,
    Argument,
    Subject,
)
from trustjax import metrics

CLASS_COUNT = SIZES["classes"]


def normal(generator, shape):
    return 2 * generator.normal(size=shape)


def fractions(generator, shape):
    return generator.random(shape)


def outcomes(generator, shape):
    return np.arange(np.prod(shape)).reshape(shape) % 3 != 1


def classes(generator, shape):
    return np.arange(np.prod(shape)).reshape(shape) * 5 % 7 % CLASS_COUNT


def other_classes(generator, shape):
    return np.arange(np.prod(shape)).reshape(shape) % CLASS_COUNT


SCORES = Argument("scores", "n", RANKED, normal)
NO_NAN = dataclasses.replace(
    NUMBERS,
    refuses=lambda values: "must not be NaN, got" if np.isnan(values).any() else None,
)
SMOOTH = Argument("scores", "n", dataclasses.replace(NO_NAN, keeps_64=True), normal)
CORRECT = Argument("correct", "n", OUTCOMES, outcomes)
CONFIDENCE = Argument("confidence", "n", PROBABILITIES, fractions)
UNKNOWN = dataclasses.replace(PROBABILITIES, unknown="anything")
TRUST = Argument("trust", "n", UNKNOWN, fractions)
SHARE = Argument("trust", "n", PROBABILITIES, fractions)
ERRORS = Argument("errors", "n samples", PROBABILITIES, fractions)
REFERENCE = Argument("reference", "n samples", PROBABILITIES, fractions)
DISTRIBUTION = Argument("probabilities", "n classes", PROBABILITIES, fractions)
LOGITS = Argument("logits", "n classes", NO_NAN, normal)
LABELS = Argument("labels", "n", CLASSES, classes)
PREDICTIONS = Argument("predictions", "n", CLASSES, other_classes)


# Ranks: of the scores only the order matters, and all digits of them make it.


SHOW_SCORES = (
    metrics.balanced_threshold,
    metrics.risk_coverage_curve,
    metrics.selection_with_guaranteed_risk,
)


def of_ranks(metric, reference, *, scores=SCORES, **options):
    def guarded(scores, correct):
        if np.isnan(np.asarray(scores, np.longdouble)).any():
            lost = reference(np.zeros(len(scores)), np.asarray(correct) != 0)
            return jax.tree.map(lambda value: value * np.nan, lost)
        return reference(np.asarray(scores, np.longdouble), np.asarray(correct) != 0)

    return Subject(
        functools.partial(metric, **options),
        (scores, CORRECT),
        guarded,
        nonempty=("n",),
        shows_scores=metric in SHOW_SCORES,
    )


def average_precision(scores, positive):
    total, before = 0, 0
    for accepted, found in metrics_reference.operating_points(scores, positive):
        total += (found - before) * found / accepted
        before = found
    return total / positive.sum() if positive.any() else np.nan


def fpr_at_tpr(scores, correct, tpr=0.95):
    for accepted, right in metrics_reference.operating_points(scores, correct):
        if correct.any() and not correct.all() and right >= tpr * correct.sum():
            return (accepted - right) / (~correct).sum()
    return np.nan


def tpr_at_fpr(scores, correct, fpr=0.5):
    if correct.all() or not correct.any():
        return np.nan
    few = [
        right / correct.sum()
        for accepted, right in metrics_reference.operating_points(scores, correct)
        if accepted - right <= fpr * (~correct).sum()
    ]
    return max(few, default=0.0)


def rates(scores, correct, threshold=0.5):
    return (scores[correct] > threshold).mean(), (scores[~correct] < threshold).mean()


def balanced(scores, correct):
    """The best balanced accuracy and its threshold, the highest of equals."""
    thresholds = sorted(set(scores.tolist()), reverse=True)
    if correct.all() or not correct.any():
        return thresholds[0], np.nan
    values = [
        ((scores[correct] >= t).mean() + (scores[~correct] < t).mean()) / 2
        for t in thresholds
    ]
    best = int(np.argmax(np.round(values, 12)))
    return thresholds[best], values[best]


def risk_coverage(scores, correct):
    """An entry for each example, those of equal scores alike."""
    threshold = np.sort(scores)[::-1]
    accepted = [(scores >= t).sum() for t in threshold]
    wrong = [(~correct[scores >= t]).sum() for t in threshold]
    coverage = np.array(accepted) / np.longdouble(len(scores))
    return coverage, np.array(wrong) / np.array(accepted, np.longdouble), threshold


def excess_aurc(scores, correct):
    error = np.mean(~correct, dtype=np.longdouble)
    optimum = error + ((1 - error) * np.log1p(-error) if error < 1 else 0)
    return metrics_reference.aurc(scores, correct) - optimum


def augrc(scores, correct):
    points = list(metrics_reference.operating_points(scores, correct))
    accepted, right = np.array([(0, 0), *points]).T / np.longdouble(len(scores))
    return np.trapezoid(accepted - right, accepted)


def coverage_at_risk(scores, correct, risk):
    points = metrics_reference.operating_points(scores, correct)
    safe = [a for a, right in points if a - right <= risk * a]
    return max(safe, default=0) / np.longdouble(len(scores))


def risk_at_coverage(scores, correct, coverage):
    for accepted, right in metrics_reference.operating_points(scores, correct):
        if accepted >= coverage * len(scores):
            return (accepted - right) / np.longdouble(accepted)
    return np.nan


def guaranteed(scores, correct):
    """The same of whole ranks: nothing but the order decides."""
    thresholds, ranks = np.unique(scores, return_inverse=True)
    chosen = metrics.selection_with_guaranteed_risk(
        jnp.asarray(ranks, jnp.float32), jnp.asarray(correct), risk=0.6, delta=0.5
    )
    if np.isfinite(chosen.threshold):
        chosen = chosen._replace(threshold=thresholds[int(chosen.threshold)])
    return tuple(np.asarray(value, np.longdouble) for value in chosen)


def area_over_percentiles(scores, value, grid="quantile"):
    scores = np.where(np.abs(scores) < np.finfo(np.float32).tiny, 0, scores)
    rising = np.sort(scores)
    if grid == "range" and not rising[-1] - rising[0] <= np.finfo(np.float32).max:
        return np.nan
    values = []
    for x in range(100):
        threshold = rising[-(-x * (len(scores) - 1) // 100)]
        if grid == "range":
            threshold = rising[0] + x / np.longdouble(100) * (rising[-1] - rising[0])
        values.append(value(scores >= threshold))
    return np.trapezoid(values) / 99


def auac(scores, correct, grid="quantile"):
    return area_over_percentiles(scores, lambda kept: correct[kept].mean(), grid)


def no_classes(*labels, count=CLASS_COUNT):
    """Whether a label is no class, which under `jax.jit` nobody can refuse."""
    return any(((y < 0) | (y >= count)).any() for y in labels)


def f1(predictions, labels):
    values = []
    for c in np.union1d(predictions, labels):
        hits = ((predictions == c) & (labels == c)).sum()
        values.append(2 * hits / ((predictions == c).sum() + (labels == c).sum()))
    return np.mean(values)


def aufc(scores, predictions, labels, grid="quantile"):
    scores = np.asarray(scores, np.longdouble)
    if np.isnan(scores).any() or no_classes(predictions, labels):
        return np.nan
    return area_over_percentiles(
        scores, lambda kept: f1(predictions[kept], labels[kept]), grid
    )


def of_ranked_classes(values):
    """Every field of the summary, each by its own reference."""

    def reference(scores, predictions, labels):
        scores, correct = np.asarray(scores, np.longdouble), predictions == labels
        if np.isnan(scores).any():
            return (np.nan,) * len(values)
        return tuple(value(scores, predictions, labels, correct) for value in values)

    return reference


# Calibration: a value on an edge is in the lower bin, and 0 in the first.


def guarded(reference):
    """NaN of what is no probability, which under `jax.jit` nobody can refuse."""

    @functools.wraps(reference)
    def value(confidence, *others):
        confidence = hostile.as_probabilities(np.asarray(confidence, np.longdouble))
        if np.isnan(confidence).any():
            possible = np.nan_to_num(confidence)
            return np.nan * np.asarray(reference(possible, *others))
        return reference(confidence, *others)

    return value


def bins_of(confidence, correct, bins=15):
    """(confidence, outcomes) of the examples in each bin."""
    index = np.maximum(np.ceil(confidence * bins).astype(int) - 1, 0)
    for b in range(bins):
        yield confidence[index == b], (np.asarray(correct) != 0)[index == b]


def gaps(confidence, correct):
    parts = [(len(c), abs(c.mean() - o.mean())) for c, o in bins_of(confidence, correct)
             if len(c)]  # fmt: skip
    sizes, apart = np.array(parts, np.longdouble).T
    return sizes, apart


def expected_calibration_error(confidence, correct):
    sizes, apart = gaps(confidence, correct)
    return (sizes * apart).sum() / sizes.sum()


def reliability_curve(confidence, correct):
    parts = list(bins_of(confidence, correct))
    mean = lambda values: values.mean() if len(values) else np.nan
    return (
        np.array([mean(c) for c, _ in parts]),
        np.array([mean(o) for _, o in parts]),
        np.array([len(c) for c, _ in parts]),
        np.arange(16) / np.longdouble(15),
    )


def adaptive(confidence, correct):
    right = np.asarray(correct) != 0
    return metrics_reference.adaptive_calibration_error(confidence, right, 15)


def classwise(probabilities, labels):
    return np.mean(
        [
            expected_calibration_error(probabilities[:, k], labels == k)
            for k in range(probabilities.shape[1])
        ]
    )


def of_distributions(metric, reference):
    def value(probabilities, labels):
        lost = no_classes(labels, count=probabilities.shape[1])
        whole = np.asarray(reference(probabilities, np.where(lost, 0, labels)))
        return tuple(whole * np.nan if lost else whole) if whole.ndim else (
            np.nan if lost else whole
        )  # fmt: skip

    return Subject(metric, (DISTRIBUTION, LABELS), value, ("n", "classes"))


def of_confidence(metric, reference):
    return Subject(metric, (CONFIDENCE, CORRECT), guarded(reference), ("n",))


def happened(probabilities, labels):
    return labels[:, None] == np.arange(probabilities.shape[1])


@guarded
def brier_score(probabilities, labels):
    return ((probabilities - happened(probabilities, labels)) ** 2).sum(axis=1).mean()


def brier_decomposition(probabilities, labels):
    n, y = len(labels), happened(probabilities, labels)
    reliability = resolution = 0
    for k in range(probabilities.shape[1]):
        for p, o in bins_of(probabilities[:, k], y[:, k]):
            if len(p):
                reliability += len(p) / n * (p.mean() - o.mean()) ** 2
                resolution += len(p) / n * (o.mean() - y[:, k].mean()) ** 2
    uncertainty = (y.mean(axis=0) * (1 - y.mean(axis=0))).sum()
    whole = ((probabilities - y) ** 2).sum(axis=1).mean()
    return np.array(
        [
            reliability,
            resolution,
            uncertainty,
            whole - reliability + resolution - uncertainty,
        ]
    )


def unpacked(reference):
    return lambda *arrays: tuple(np.asarray(reference(*arrays)))


def negative_log_likelihood(logits, labels):
    losses = [limits.cross_entropy(z, y) for z, y in zip(logits, labels, strict=True)]
    return np.mean(losses)


# Trust.


def classed(reference):
    """NaN where a label is no class."""

    @functools.wraps(reference)
    def value(trust, *labels):
        if no_classes(*labels):
            return np.nan * np.asarray(reference(trust, *(y * 0 for y in labels)))
        return reference(trust, *labels)

    return value


def question_answer_trust(confidence, correct):
    confidence = hostile.as_probabilities(confidence)
    return np.where(np.asarray(correct) != 0, confidence, 1 - confidence)


def mean_or_nan(values):
    return values.mean() if len(values) else np.nan


@classed
def trust_spectrum(trust, labels):
    return np.array([mean_or_nan(trust[labels == c]) for c in range(CLASS_COUNT)])


def conditional_spectra(trust, correct, labels):
    right = np.asarray(correct) != 0
    return trust_spectrum(trust[right], labels[right]), trust_spectrum(
        trust[~right], labels[~right]
    )


@classed
def trust_matrix(trust, labels, predictions):
    return np.array(
        [
            [
                mean_or_nan(trust[(labels == i) & (predictions == j)])
                for j in range(CLASS_COUNT)
            ]
            for i in range(CLASS_COUNT)
        ]
    )


@classed
def mean_trust(trust, labels):
    return trust.mean()


def totals_of_trust(confidence, predictions, labels):
    if no_classes(predictions, labels):
        return np.nan
    correct = predictions == labels
    return mean_trust(question_answer_trust(confidence, correct), labels)


def expected_confidence(confidence, correct):
    right = np.asarray(correct) != 0
    return np.array([mean_or_nan(confidence[right]), mean_or_nan(confidence[~right])])


# Two samples and features.


# Larger ones have squares that float32 does not hold.
LARGEST_SQUARED = 1e18


def moments(values):
    if len(values) < 2 or not (np.abs(values) < LARGEST_SQUARED).all():
        return np.nan, np.nan
    return values.mean(), values.var(ddof=1)


def kl_separability(positive, negative):
    (m1, v1), (m2, v2) = moments(positive), moments(negative)
    apart = (m1 - m2) ** 2
    return ((v1 + apart) / (2 * v2) + (v2 + apart) / (2 * v1) - 1) / 2


def bhattacharyya_distance(positive, negative):
    (m1, v1), (m2, v2) = moments(positive), moments(negative)
    spread = np.log((v1 / v2 + v2 / v1 + 2) / 4)
    return (spread + (m1 - m2) ** 2 / (v1 + v2)) / 4


def singular_value_spectrum(features):
    if not (np.abs(features) < LARGEST_SQUARED).all():
        return np.full(features.shape[1], np.nan)
    scale = np.abs(features).max() or 1
    centred = ((features - features.mean(axis=0)) / scale).astype(np.float64)
    values = np.linalg.svd(centred, compute_uv=False) ** 2 / len(features)
    padded = np.zeros(features.shape[1])
    padded[: len(values)] = values[: features.shape[1]]
    return padded.astype(np.longdouble) * scale**2


def effective_rank(features):
    s = np.sqrt(singular_value_spectrum(features))
    p = s / s.sum() if s.sum() > 1e-20 else s * np.nan
    p = p[(p > 0) | np.isnan(p)]
    return np.exp(-(p * np.log(p)).sum())


def rates_of_kinds(errors, reference):
    return (
        hostile.as_probabilities(np.asarray(rates, np.longdouble))
        for rates in (errors, reference)
    )


def corruption_error(errors, reference):
    errors, reference = rates_of_kinds(errors, reference)
    with np.errstate(divide="ignore", invalid="ignore"):
        return errors.sum(axis=-1) / reference.sum(axis=-1)


def relative_corruption_error(errors, reference):
    errors, reference = rates_of_kinds(errors, reference)
    expected = (reference - 0.25).sum(axis=-1)
    added = (errors - 0.125).sum(axis=-1)
    return np.where(expected > 1e-6, added / np.maximum(expected, 1e-6), np.nan)


def sigmoid_of_differences(scores):
    return 1 / (1 + np.exp(-(scores[:, None] - scores[None]) / np.longdouble(0.1)))


def smooth_auroc(scores, correct):
    above = sigmoid_of_differences(scores)
    return above[correct][:, ~correct].mean()


def smooth_aurc(scores, correct):
    above = sigmoid_of_differences(scores)
    np.fill_diagonal(above, 1)
    return ((~correct) @ above / above.sum(axis=0)).mean()


def area_and_rest(reference):
    return lambda s, p, y, correct: reference(s, correct)


SUMMARY = (
    area_and_rest(lambda s, correct: correct.mean()),
    area_and_rest(metrics_reference.auroc),
    area_and_rest(average_precision),
    area_and_rest(lambda s, correct: average_precision(-s, ~correct)),
    area_and_rest(fpr_at_tpr),
    area_and_rest(lambda s, correct: 1 - balanced(s, correct)[1]),
    area_and_rest(metrics_reference.aurc),
    area_and_rest(excess_aurc),
    area_and_rest(augrc),
    area_and_rest(auac),
    area_and_rest(functools.partial(auac, grid="range")),
    lambda s, p, y, correct: aufc(s, p, y),
    lambda s, p, y, correct: aufc(s, p, y, "range"),
)

METRICS = {
    "accuracy": Subject(
        metrics.accuracy,
        (
            Argument("predictions", "n", hostile.LABELS, other_classes),
            Argument("labels", "n", hostile.LABELS, classes),
        ),
        lambda predictions, labels: np.mean(predictions == labels),
        ("n",),
    ),
    "auroc": of_ranks(metrics.auroc, metrics_reference.auroc),
    "aupr_success": of_ranks(metrics.aupr_success, average_precision),
    "aupr_error": of_ranks(metrics.aupr_error, lambda s, c: average_precision(-s, ~c)),
    "fpr_at_tpr": of_ranks(metrics.fpr_at_tpr, fpr_at_tpr),
    "tpr_at_fpr": of_ranks(functools.partial(metrics.tpr_at_fpr, fpr=0.5), tpr_at_fpr),
    "tpr_tnr": of_ranks(metrics.tpr_tnr, rates),
    "detection_error": of_ranks(
        metrics.detection_error, lambda s, c: 1 - balanced(s, c)[1]
    ),
    "balanced_threshold": of_ranks(metrics.balanced_threshold, balanced),
    "risk_coverage_curve": of_ranks(
        metrics.risk_coverage_curve,
        risk_coverage,
        scores=dataclasses.replace(
            SCORES, kind=dataclasses.replace(RANKED, unknown="anything")
        ),
    ),
    "aurc": of_ranks(metrics.aurc, metrics_reference.aurc),
    "excess_aurc": of_ranks(metrics.excess_aurc, excess_aurc),
    "augrc": of_ranks(metrics.augrc, augrc),
    "coverage_at_risk": of_ranks(
        metrics.coverage_at_risk,
        functools.partial(coverage_at_risk, risk=0.3),
        risk=0.3,
    ),
    "risk_at_coverage": of_ranks(
        metrics.risk_at_coverage,
        functools.partial(risk_at_coverage, coverage=0.5),
        coverage=0.5,
    ),
    "auac": of_ranks(metrics.auac, auac),
    "audc": Subject(
        metrics.audc,
        (SCORES, Argument("in_distribution", "n", OUTCOMES, outcomes)),
        of_ranks(metrics.auac, auac).reference,
        ("n",),
    ),
    "aufc": Subject(
        functools.partial(metrics.aufc, num_classes=CLASS_COUNT),
        (SCORES, PREDICTIONS, LABELS),
        aufc,
        ("n",),
    ),
    "summary": Subject(
        functools.partial(metrics.summary, num_classes=CLASS_COUNT),
        (SCORES, PREDICTIONS, LABELS),
        of_ranked_classes(SUMMARY),
        ("n",),
    ),
    "expected_calibration_error": of_confidence(
        metrics.expected_calibration_error, expected_calibration_error
    ),
    "maximum_calibration_error": of_confidence(
        metrics.maximum_calibration_error, lambda c, o: gaps(c, o)[1].max()
    ),
    "average_calibration_error": of_confidence(
        metrics.average_calibration_error, lambda c, o: gaps(c, o)[1].mean()
    ),
    "adaptive_calibration_error": of_confidence(
        metrics.adaptive_calibration_error, adaptive
    ),
    "reliability_curve": Subject(
        metrics.reliability_curve,
        (Argument("confidence", "n", UNKNOWN, fractions), CORRECT),
        reliability_curve,
        ("n",),
    ),
    "CalibrationTotals": Subject(
        lambda confidence, correct: metrics.CalibrationTotals.of_batch(
            confidence, correct
        ).expected_calibration_error(),
        (CONFIDENCE, CORRECT),
        guarded(expected_calibration_error),
        ("n",),
        calls=(metrics.CalibrationTotals,),
    ),
    "classwise_calibration_error": of_distributions(
        metrics.classwise_calibration_error, guarded(classwise)
    ),
    "brier_score": of_distributions(metrics.brier_score, brier_score),
    "brier_decomposition": of_distributions(
        metrics.brier_decomposition, guarded(brier_decomposition)
    ),
    "negative_log_likelihood": Subject(
        metrics.negative_log_likelihood,
        (LOGITS, LABELS),
        negative_log_likelihood,
        ("n", "classes"),
    ),
    "question_answer_trust": Subject(
        metrics.question_answer_trust, (CONFIDENCE, CORRECT), question_answer_trust
    ),
    "expected_confidence": Subject(
        metrics.expected_confidence,
        (CONFIDENCE, CORRECT),
        unpacked(guarded(expected_confidence)),
        ("n",),
    ),
    "trust_spectrum": Subject(
        functools.partial(metrics.trust_spectrum, num_classes=CLASS_COUNT),
        (TRUST, LABELS),
        trust_spectrum,
        nonempty=("n",),
    ),
    "conditional_trust_spectra": Subject(
        functools.partial(metrics.conditional_trust_spectra, num_classes=CLASS_COUNT),
        (TRUST, CORRECT, LABELS),
        conditional_spectra,
        nonempty=("n",),
    ),
    "trust_matrix": Subject(
        functools.partial(metrics.trust_matrix, num_classes=CLASS_COUNT),
        (TRUST, LABELS, PREDICTIONS),
        trust_matrix,
        nonempty=("n",),
    ),
    "net_trust_score": Subject(
        functools.partial(metrics.net_trust_score, num_classes=CLASS_COUNT),
        (TRUST, LABELS),
        mean_trust,
        nonempty=("n",),
    ),
    "TrustTotals": Subject(
        lambda confidence, predictions, labels: metrics.TrustTotals.of_batch(
            confidence=confidence,
            predictions=predictions,
            labels=labels,
            num_classes=CLASS_COUNT,
        ).net_trust_score(),
        (CONFIDENCE, PREDICTIONS, LABELS),
        totals_of_trust,
        calls=(metrics.TrustTotals,),
        nonempty=("n",),
    ),
    "trust_density": Subject(
        metrics.trust_density,
        (SHARE, Argument("grid", "5", NUMBERS, fractions)),
        guarded(lambda trust, grid: metrics_reference.trust_density(trust, grid, 0.5)),
        nonempty=("n",),
    ),
    "kl_separability": Subject(
        metrics.kl_separability,
        (
            Argument("positive", "n", NO_NAN, normal),
            Argument("negative", "samples", NO_NAN, normal),
        ),
        kl_separability,
        ("n", "samples"),
    ),
    "bhattacharyya_distance": Subject(
        metrics.bhattacharyya_distance,
        (
            Argument("positive", "n", NO_NAN, normal),
            Argument("negative", "samples", NO_NAN, normal),
        ),
        bhattacharyya_distance,
        ("n", "samples"),
    ),
    "singular_value_spectrum": Subject(
        metrics.singular_value_spectrum,
        (Argument("features", "n features", NO_NAN, normal),),
        singular_value_spectrum,
        ("n", "features"),
    ),
    "effective_rank": Subject(
        metrics.effective_rank,
        (Argument("features", "n features", NO_NAN, normal),),
        effective_rank,
        ("n", "features"),
    ),
    "corruption_error": Subject(
        metrics.corruption_error,
        (ERRORS, REFERENCE),
        corruption_error,
        ("samples",),
    ),
    "relative_corruption_error": Subject(
        functools.partial(
            metrics.relative_corruption_error, clean=0.125, reference_clean=0.25
        ),
        (ERRORS, REFERENCE),
        relative_corruption_error,
        ("samples",),
    ),
    "smooth_auroc": of_ranks(metrics.smooth_auroc, smooth_auroc, scores=SMOOTH),
    "smooth_aurc": of_ranks(metrics.smooth_aurc, smooth_aurc, scores=SMOOTH),
    "selection_with_guaranteed_risk": of_ranks(
        metrics.selection_with_guaranteed_risk, guaranteed, risk=0.6, delta=0.5
    ),
}
METRICS = {
    name: dataclasses.replace(
        subject, any_float=True, in_float32=name == "trust_density"
    )
    for name, subject in METRICS.items()
}
