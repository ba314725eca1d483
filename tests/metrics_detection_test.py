import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from tests import metrics_reference as reference
from tests.metrics_problems import FAILURES, failures, tied_problems
from trustjax import metrics
from trustjax.metrics._ranking import rank

RANK_METRICS = [
    metrics.auroc,
    metrics.aupr_success,
    metrics.aupr_error,
    metrics.fpr_at_tpr,
    metrics.aurc,
]


@settings(max_examples=60, derandomize=True, deadline=None)
@given(tied_problems())
def test_areas_agree_with_scikit_learn(problem):
    scores, correct = problem
    expected = [
        sklearn_metrics.roc_auc_score(correct, scores),
        sklearn_metrics.average_precision_score(correct, scores),
        sklearn_metrics.average_precision_score(~correct, -scores),
    ]
    got = [
        metric(jnp.array(scores), jnp.array(correct))
        for metric in (metrics.auroc, metrics.aupr_success, metrics.aupr_error)
    ]
    np.testing.assert_allclose(got, expected, atol=1e-6)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(tied_problems(), st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_fpr_at_tpr_agrees_with_scikit_learn(problem, tpr):
    scores, correct = problem
    false, true, _ = sklearn_metrics.roc_curve(correct, scores, drop_intermediate=False)
    expected = false[true >= tpr].min()
    got = metrics.fpr_at_tpr(jnp.array(scores), jnp.array(correct), tpr=tpr)
    np.testing.assert_allclose(got, expected, atol=1e-6)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(tied_problems(), st.sampled_from([0.0, 0.01, 0.2, 1 / 3, 1.0]))
def test_tpr_at_fpr_agrees_with_scikit_learn(problem, fpr):
    scores, correct = problem
    false, true, _ = sklearn_metrics.roc_curve(correct, scores, drop_intermediate=False)
    got = metrics.tpr_at_fpr(jnp.array(scores), jnp.array(correct), fpr=fpr)
    np.testing.assert_allclose(got, true[false <= fpr + 1e-12].max(), atol=1e-6)


@pytest.mark.parametrize("variant", FAILURES)
def test_areas_agree_with_the_authors_code(variant):
    golden, scores, correct = failures(variant)
    pairs = [
        (metrics.auroc(scores, correct), "confidnet/auc"),
        (metrics.aupr_success(scores, correct), "confidnet/ap_success"),
        (metrics.aupr_error(scores, correct), "confidnet/ap_errors"),
        (metrics.fpr_at_tpr(scores, correct), "sklearn/fpr_at_tpr_ge_95"),
    ]
    for got, name in pairs:
        np.testing.assert_allclose(got, golden[name], rtol=1e-6)


def test_aupr_error_negates_the_score_as_the_steep_slope_code_does_not():
    golden, scores, correct = failures("cont")
    # The authors' large-scale code: errors ranked by the confidence as it is.
    unnegated = metrics.aupr_success(scores, 1 - correct)
    np.testing.assert_allclose(unnegated, golden["large/ap_errors"], rtol=1e-6)
    np.testing.assert_allclose(
        metrics.aupr_error(scores, correct), golden["sklearn/ap_errors_negconf"]
    )


def test_fpr_at_tpr_interpolates_along_the_curve():
    golden, scores, correct = failures("ties")
    got = metrics.fpr_at_tpr(scores, correct, interpolation="linear")
    expected = golden["sklearn/fpr_at_95tpr_linear_interp"]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_hand_worked_areas():
    scores = jnp.array([0.9, 0.8, 0.8, 0.1])
    correct = jnp.array([True, False, True, False])
    # Pairs right over wrong: .9 > .8, .9 > .1, .8 = .8 (half), .8 > .1 -> 3.5 of 4.
    assert metrics.auroc(scores, correct) == 3.5 / 4
    # Recall 1/2 at precision 1, then the tie: recall 1 at precision 2/3.
    np.testing.assert_allclose(
        metrics.aupr_success(scores, correct), 0.5 + 0.5 * 2 / 3, rtol=1e-6
    )
    # From below: recall 1/2 at precision 1, then recall 1 at precision 2/3.
    np.testing.assert_allclose(
        metrics.aupr_error(scores, correct), 0.5 + 0.5 * 2 / 3, rtol=1e-6
    )
    assert reference.auroc(scores, correct) == 3.5 / 4


@pytest.mark.parametrize(
    ("metric", "correct", "expected"),
    [
        (metrics.auroc, [1, 1, 1], np.nan),
        (metrics.auroc, [0, 0, 0], np.nan),
        (metrics.auroc, [1], np.nan),
        (metrics.aupr_success, [1, 1, 1], 1.0),
        (metrics.aupr_success, [0, 0, 0], np.nan),
        (metrics.aupr_error, [1, 1, 1], np.nan),
        (metrics.aupr_error, [0, 0, 0], 1.0),
        (metrics.fpr_at_tpr, [1, 1, 1], np.nan),
        (metrics.fpr_at_tpr, [0, 0, 0], np.nan),
        (functools.partial(metrics.tpr_at_fpr, fpr=0.5), [1, 1, 1], np.nan),
        (functools.partial(metrics.tpr_at_fpr, fpr=0.5), [0, 0, 0], np.nan),
        (metrics.aurc, [1, 1, 1], 0.0),
        (metrics.aurc, [0, 0, 0], 1.0),
        (metrics.aurc, [0], 1.0),
    ],
)
def test_one_kind_of_outcome(metric, correct, expected):
    scores = jnp.arange(len(correct)) / 10
    np.testing.assert_allclose(metric(scores, jnp.array(correct)), expected)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (metrics.auroc, 0.5),
        (metrics.aupr_success, 0.75),
        (metrics.aupr_error, 0.25),
        (metrics.fpr_at_tpr, 1.0),
        (functools.partial(metrics.tpr_at_fpr, fpr=0.9), 0.0),
        (functools.partial(metrics.tpr_at_fpr, fpr=1.0), 1.0),
        (metrics.aurc, 0.25),
    ],
)
def test_equal_scores_say_nothing(metric, expected):
    correct = jnp.array([1, 0, 1, 1])
    np.testing.assert_allclose(metric(jnp.full(4, 0.3), correct), expected)
    linear = metrics.fpr_at_tpr(jnp.full(4, 0.3), correct, interpolation="linear")
    np.testing.assert_allclose(linear, 0.95)


@pytest.mark.parametrize("metric", RANK_METRICS)
def test_nan_is_refused_or_propagates(metric):
    scores, correct = jnp.array([0.5, jnp.nan, 0.1]), jnp.array([1, 0, 0])
    with pytest.raises(ValueError, match="scores must not be NaN, got nan at index 1"):
        metric(scores, correct)
    assert jnp.isnan(jax.jit(metric)(scores, correct))
    # A NaN that is left out does no harm.
    where = jnp.array([True, False, True])
    assert not jnp.isnan(metric(scores, correct, weights=where))


@pytest.mark.parametrize("metric", RANK_METRICS)
def test_infinite_scores_are_extremes(metric):
    correct = jnp.array([1, 0, 1, 0, 1, 0, 1, 1, 0, 0])
    infinite = jnp.array([np.inf, np.inf, 3.0, 1e-38, 0.0, -0.0, -2.0, -3.0, -9, -9])
    infinite = infinite.at[8:].set(-jnp.inf)
    ordinary = jnp.array([9.0, 9.0, 3.0, 1.0, 0.0, 0.0, -2.0, -3.0, -9.0, -9.0])
    for run in (metric, jax.jit(metric)):
        assert run(infinite, correct) == metric(ordinary, correct)


def test_rank_metrics_name_bad_input():
    scores = jnp.arange(3.0)
    with pytest.raises(ValueError, match=r"scores has 3, correct has 2"):
        rank(scores, jnp.array([1, 0]))
    with pytest.raises(ValueError, match=r"correct must be 0 or 1, got 2 at index 1"):
        metrics.auroc(scores, jnp.array([1, 2, 0]))
    with pytest.raises(TypeError, match=r"correct must be boolean or 0 and 1"):
        metrics.auroc(scores, jnp.array([1.0, 0.0, 0.0]))
    with pytest.raises(TypeError, match="got uint32"):
        metrics.auroc(jnp.arange(3, dtype=jnp.uint32), jnp.array([1, 0, 0]))
    with pytest.raises(ValueError, match="at least one example"):
        metrics.auroc(jnp.zeros(0), jnp.zeros(0, bool))
    with pytest.raises(ValueError, match=r"tpr must be in \[0, 1\], got 95.0"):
        metrics.fpr_at_tpr(scores, jnp.array([1, 0, 0]), tpr=95.0)
    with pytest.raises(ValueError, match=r"fpr must be in \[0, 1\], got -0.1"):
        metrics.tpr_at_fpr(scores, jnp.array([1, 0, 0]), fpr=-0.1)
    with pytest.raises(ValueError, match="one of none, linear"):
        metrics.fpr_at_tpr(scores, jnp.array([1, 0, 0]), interpolation="cubic")


def test_accuracy():
    predictions, labels = jnp.array([0, 1, 2, 1]), jnp.array([0, 1, 1, 1])
    assert metrics.accuracy(predictions, labels) == 0.75
    where = jnp.array([False, True, True, False])
    assert metrics.accuracy(predictions, labels, weights=where) == 0.5
    assert jnp.isnan(metrics.accuracy(predictions, labels, weights=jnp.zeros(4, bool)))


def test_nothing_need_be_trusted_for_a_rate_of_zero():
    scores, correct = jnp.array([3.0, 2.0, 1.0]), jnp.array([0, 1, 0])
    for interpolation in ("none", "linear"):
        area = metrics.fpr_at_tpr(scores, correct, tpr=0, interpolation=interpolation)
        assert area == 0
        equal = metrics.fpr_at_tpr(
            jnp.ones(3), correct, tpr=0, interpolation=interpolation
        )
        assert equal == 0
    assert jnp.isnan(metrics.fpr_at_tpr(scores, jnp.ones(3, bool), tpr=0))
    assert metrics.detection_error(scores, correct, tpr=0) == 0.5
    assert jnp.isnan(metrics.detection_error(scores, jnp.ones(3, bool), tpr=0))


@pytest.mark.parametrize("name", ["first", "second"])
def test_a_column_beside_a_vector_is_refused(name):
    """Of their table an accuracy above 1 was made, or a trust of each pair."""
    whole, real = jnp.array([0, 1, 1]), jnp.array([0.5, 1.0, 0.25])
    calls = {
        metrics.accuracy: (whole, whole),
        metrics.question_answer_trust: (real, whole),
        metrics.expected_confidence: (real, whole),
        metrics.expected_calibration_error: (real, whole),
        metrics.auroc: (real, whole),
    }
    for metric, (first, second) in calls.items():
        unchecked = inspect.unwrap(metric)
        if name == "first":
            arguments = first[:, None], second
        else:
            arguments = first, second[:, None]
        with pytest.raises(ValueError, match=r"must have shape \[n\], got \(3, 1\)"):
            unchecked(*arguments)
