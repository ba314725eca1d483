import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from tests.metrics_problems import FAILURES, failures, tied_problems
from trustjax import metrics


def balanced_accuracies(scores, correct):
    return {
        t: (np.mean(scores[correct] >= t) + np.mean(scores[~correct] < t)) / 2
        for t in set(scores.tolist())
    }


@settings(max_examples=30, derandomize=True, deadline=None)
@given(tied_problems())
def test_balanced_threshold_is_its_definition(problem):
    scores, correct = problem
    rates = balanced_accuracies(scores, correct)
    best = metrics.balanced_threshold(jnp.array(scores), jnp.array(correct))
    np.testing.assert_allclose(best.balanced_accuracy, max(rates.values()), rtol=1e-6)
    np.testing.assert_allclose(rates[float(best.threshold)], max(rates.values()))
    error = metrics.detection_error(jnp.array(scores), jnp.array(correct))
    np.testing.assert_allclose(error, 1 - max(rates.values()), atol=1e-6)


@pytest.mark.parametrize("variant", FAILURES)
def test_rates_agree_with_the_authors_code(variant):
    golden, _, correct = failures(variant)
    confidence = jnp.asarray(golden["confidence"], jnp.float32)
    rates = metrics.tpr_tnr(confidence, correct)
    expected = [golden["large/tpr"], golden["large/tnr"]]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    # The small-scale code trusts on the threshold, too.
    below_half = float(np.nextafter(np.float32(0.5), np.float32(0)))
    inclusive = metrics.tpr_tnr(confidence, correct, positive_threshold=below_half)
    np.testing.assert_allclose(
        inclusive.tpr, golden["smallscale/tpr_ge_half"], rtol=1e-6
    )
    # The true class probability's 1 / K; the golden ties were cut at another K.
    classes = 8 if variant == "ties" else 10
    rates = metrics.tpr_tnr(confidence, correct, negative_threshold=1 / classes)
    expected = [golden["large/tpr"], golden["large/tnr_lt_1overK"]]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_scores_between_the_thresholds_count_as_neither():
    scores, correct = jnp.array([0.6, 0.5, 0.3, 0.1]), jnp.array([1, 1, 0, 0])
    rates = metrics.tpr_tnr(scores, correct, negative_threshold=0.1)
    # .5 is not above one half; .3 and .1 are not below a tenth.
    np.testing.assert_allclose(rates, [0.5, 0.0])


def test_detection_error_at_a_rate():
    scores, correct = jnp.array([4.0, 3.0, 2.0, 1.0]), jnp.array([1, 0, 1, 0])
    # Keeping all right answers keeps one wrong one: (0 + 1/2) / 2.
    assert metrics.detection_error(scores, correct, tpr=1.0) == 0.25
    assert metrics.detection_error(scores, correct, tpr=0.5) == 0.25
    with pytest.raises(ValueError, match=r"tpr must be in \[0, 1\]"):
        metrics.detection_error(scores, correct, tpr=2.0)


@pytest.mark.parametrize("outcome", [0, 1])
def test_one_kind_of_outcome_is_nan(outcome):
    scores, correct = jnp.array([0.9, 0.2]), jnp.full(2, outcome)
    assert jnp.isnan(metrics.detection_error(scores, correct))
    best = metrics.balanced_threshold(scores, correct)
    assert jnp.isnan(best.balanced_accuracy)
    assert best.threshold == jnp.float32(0.9)
    np.testing.assert_array_equal(
        jnp.isnan(jnp.array(metrics.tpr_tnr(scores, correct))),
        [outcome == 0, outcome == 1],
    )


def test_equal_scores_are_a_coin():
    scores, correct = jnp.full(4, 0.25), jnp.array([1, 0, 1, 1])
    assert metrics.detection_error(scores, correct) == 0.5
    assert metrics.balanced_threshold(scores, correct) == (0.25, 0.5)


@pytest.mark.parametrize(
    "metric", [metrics.tpr_tnr, metrics.detection_error, metrics.balanced_threshold]
)
def test_nan_is_refused_or_propagates(metric):
    scores, correct = jnp.array([0.5, jnp.nan, 0.1]), jnp.array([1, 0, 0])
    with pytest.raises(ValueError, match="scores must not be NaN"):
        metric(scores, correct)
    assert all(jnp.isnan(x) for x in jax.tree.leaves(jax.jit(metric)(scores, correct)))
