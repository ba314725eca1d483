"""Weights: whole numbers are repeated rows, floats are importance."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from trustjax import metrics
from trustjax.metrics._ranking import rank

SIZE = 60
RANK_METRICS = {
    "auroc": metrics.auroc,
    "aupr_success": metrics.aupr_success,
    "aupr_error": metrics.aupr_error,
    "fpr_at_tpr": metrics.fpr_at_tpr,
    "tpr_at_fpr": lambda *a, **k: metrics.tpr_at_fpr(*a, fpr=0.2, **k),
    "detection_error": metrics.detection_error,
    "balanced_threshold": metrics.balanced_threshold,
    "aurc": metrics.aurc,
    "augrc": metrics.augrc,
    "auac": metrics.auac,
    "coverage_at_risk": lambda *a, **k: metrics.coverage_at_risk(*a, risk=0.2, **k),
    "risk_at_coverage": lambda *a, **k: metrics.risk_at_coverage(*a, coverage=0.5, **k),
}


def problem(dtype: type = np.float32) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(3)
    scores = np.round(rng.normal(size=SIZE), 1).astype(np.float32)
    correct = rng.random(SIZE) < 0.7
    weights = rng.integers(0, 5, SIZE)
    if dtype != np.int32:
        weights = weights * rng.random(SIZE)
    return scores, correct, weights.astype(dtype)


@pytest.mark.parametrize("name", RANK_METRICS)
def test_counts_equal_repeated_rows_to_the_last_digit(name):
    scores, correct, counts = problem(np.int32)
    metric = RANK_METRICS[name]
    got = metric(jnp.asarray(scores), jnp.asarray(correct), weights=jnp.asarray(counts))
    rows = jnp.asarray(np.repeat(np.arange(SIZE), counts))
    wanted = metric(jnp.asarray(scores)[rows], jnp.asarray(correct)[rows])
    np.testing.assert_allclose(
        jax.tree.leaves(got), jax.tree.leaves(wanted), rtol=1.2e-7
    )


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_weighted_areas_are_those_of_scikit_learn(dtype):
    scores, correct, weights = problem(dtype)
    s, c, w = (jnp.asarray(array) for array in (scores, correct, weights))
    area = sklearn_metrics.roc_auc_score(correct, scores, sample_weight=weights)
    np.testing.assert_allclose(metrics.auroc(s, c, weights=w), area, rtol=1e-6)
    precision = functools.partial(
        sklearn_metrics.average_precision_score, sample_weight=weights
    )
    success = metrics.aupr_success(s, c, weights=w)
    np.testing.assert_allclose(success, precision(correct, scores), rtol=1e-6)
    error = metrics.aupr_error(s, c, weights=w)
    np.testing.assert_allclose(error, precision(~correct, -scores), rtol=1e-6)
    fpr, tpr, _ = sklearn_metrics.roc_curve(
        correct, scores, drop_intermediate=False, sample_weight=weights
    )
    enough = fpr[np.argmax(tpr >= 0.8)]
    got = metrics.fpr_at_tpr(s, c, tpr=0.8, weights=w)
    np.testing.assert_allclose(got, enough, rtol=1e-6)
    most = metrics.tpr_at_fpr(s, c, fpr=0.2, weights=w)
    np.testing.assert_allclose(most, tpr[fpr <= 0.2].max(), rtol=1e-6)
    balanced = metrics.balanced_threshold(s, c, weights=w).balanced_accuracy
    np.testing.assert_allclose(balanced, ((tpr + 1 - fpr) / 2).max(), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_weighted_proper_scores_are_those_of_scikit_learn(dtype):
    rng = np.random.default_rng(5)
    probabilities = rng.dirichlet(np.ones(3), SIZE).astype(np.float32)
    labels = rng.integers(0, 3, SIZE)
    weights = problem(dtype)[2]
    p, y, w = (jnp.asarray(array) for array in (probabilities, labels, weights))
    predicted = probabilities.argmax(axis=1)
    np.testing.assert_allclose(
        metrics.accuracy(jnp.asarray(predicted), y, weights=w),
        sklearn_metrics.accuracy_score(labels, predicted, sample_weight=weights),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        metrics.negative_log_likelihood(jnp.log(p), y, weights=w),
        sklearn_metrics.log_loss(labels, probabilities, sample_weight=weights),
        rtol=1e-6,
    )
    squares = ((probabilities - np.eye(3)[labels]) ** 2).sum(axis=1)
    brier = metrics.brier_score(p, y, weights=w)
    np.testing.assert_allclose(brier, np.average(squares, weights=weights), rtol=1e-6)
    parts = metrics.brier_decomposition(p, y, bins=7, weights=w)
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bins
    np.testing.assert_allclose(total, brier, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_weighted_variances_are_those_of_numpy(dtype):
    scores, _, weights = problem(dtype)
    mean = np.average(scores, weights=weights)
    if dtype == np.int32:
        variance = np.cov(scores.astype(np.float64), fweights=weights)
    else:
        variance = np.cov(scores.astype(np.float64), aweights=weights)
    pair = jnp.array([1.0, 3.0])  # mean 2, variance 2
    got = metrics.bhattacharyya_distance(
        jnp.asarray(scores), pair, positive_weights=jnp.asarray(weights)
    )
    spread = np.log((variance / 2 + 2 / variance + 2) / 4)
    wanted = (spread + (mean - 2) ** 2 / (variance + 2)) / 4
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_float_weights_of_a_curve_are_its_definition():
    scores, correct, weights = problem()
    curve = metrics.risk_coverage_curve(
        jnp.asarray(scores), jnp.asarray(correct), weights=jnp.asarray(weights)
    )
    for coverage, risk, threshold in zip(*curve, strict=True):
        accepted = scores >= threshold
        share = weights[accepted].sum() / weights.sum()
        np.testing.assert_allclose(coverage, share, rtol=1e-6)
        wrong = weights[accepted & ~correct].sum() / weights[accepted].sum()
        np.testing.assert_allclose(risk, wrong, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", RANK_METRICS)
@pytest.mark.parametrize("dtype", [jnp.int32, jnp.float32])
def test_many_weights_are_sorted_once(name, dtype):
    scores, correct, _ = problem()
    metric = RANK_METRICS[name]
    s, c = jnp.asarray(scores), jnp.asarray(correct)

    def of_each(scores, weights):
        return jax.vmap(lambda w: metric(scores, c, weights=w))(weights)

    program = str(jax.make_jaxpr(of_each)(s, jnp.ones((7, SIZE), dtype)))
    sorts = re.findall(r"f32\[([^]]*)\] \w+:i32\[[^]]*\] = sort", program)
    assert sorts == [str(SIZE)]
    assert program.count("= sort") == 1


def test_a_weight_of_zero_leaves_no_trace():
    """Neither the highest score, nor NaN, nor the best threshold of all."""
    scores = jnp.array([jnp.inf, jnp.nan, 3.0, 2.0, 1.0, -jnp.inf])
    correct = jnp.array([1, 0, 1, 0, 1, 0])
    for dtype in (jnp.int32, jnp.float32):
        weights = jnp.array([0, 0, 1, 1, 1, 0], dtype)
        best = metrics.balanced_threshold(scores, correct, weights=weights)
        assert best.threshold == 3.0
        assert metrics.auac(scores, correct, grid="range", weights=weights) > 0.7
        assert metrics.auroc(scores, correct, weights=weights) == 0.5
        curve = metrics.risk_coverage_curve(scores, correct, weights=weights)
        assert set(curve.threshold.tolist()) == {3.0, 2.0, 1.0}


def test_weights_that_nobody_could_refuse_leave_nothing():
    scores, correct, _ = problem()
    s, c = jnp.asarray(scores), jnp.asarray(correct)
    for weight in (-1, -1.0, np.nan):
        weights = jnp.ones(SIZE, jnp.asarray(weight).dtype).at[3].set(weight)
        assert jnp.isnan(jax.jit(metrics.auroc)(s, c, weights=weights))
        totals = jax.jit(metrics.CalibrationTotals.of_batch)(
            jax.nn.sigmoid(s), c, weights=weights
        )
        assert jnp.isnan(totals.merge(totals).expected_calibration_error())


def test_weights_of_another_shape_or_kind_are_refused():
    scores, correct = jnp.arange(3.0), jnp.array([1, 0, 1])
    with pytest.raises(ValueError, match="scores has 3, weights has 2"):
        rank(scores, correct, jnp.ones(2))
    with pytest.raises(TypeError, match="booleans, counts or floats, got complex64"):
        metrics.auroc(scores, correct, weights=jnp.ones(3, jnp.complex64))
    with pytest.raises(ValueError, match=r"fewer than 2\*\*31, got 2147483648"):
        metrics.auroc(scores, correct, weights=jnp.array([2**30, 2**30, 0]))
    with pytest.raises(TypeError, match=r"whole: the guarantee .* float32"):
        metrics.selection_with_guaranteed_risk(
            scores, correct, risk=0.5, weights=jnp.ones(3)
        )


def test_counts_guarantee_what_repeated_rows_do():
    scores, correct = jnp.arange(40.0), jnp.arange(40) >= 4
    counts = jnp.arange(40) % 3 * 20
    rows = jnp.repeat(jnp.arange(40), counts)
    select = functools.partial(
        metrics.selection_with_guaranteed_risk, risk=0.1, delta=0.1
    )
    got, wanted = (
        select(scores, correct, weights=counts),
        select(scores[rows], correct[rows]),
    )
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    assert got.coverage > 0
