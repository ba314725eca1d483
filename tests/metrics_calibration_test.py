import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special

from tests import metrics_reference as reference
from tests.metrics_problems import FAILURES, failures, golden
from trustjax import metrics

exhaustive = pytest.mark.exhaustive


def multiclass():
    """Golden probabilities of six classes: confidence, outcome, and everything."""
    numbers = golden("04_failure_metrics")
    probabilities = jnp.asarray(numbers["mc/probs"], jnp.float32)
    labels = jnp.asarray(numbers["mc/labels"])
    return numbers, probabilities, labels


@pytest.mark.parametrize("bins", [10, 15])
@pytest.mark.parametrize("variant", FAILURES)
def test_calibration_error_agrees_with_netcal_and_torchmetrics(variant, bins):
    numbers, _, correct = failures(variant)
    confidence = jnp.asarray(numbers["confidence"], jnp.float32)
    for norm, name in [
        (1.0, f"ece_binary/netcal_{bins}"),
        (1.0, f"ece_binary/torchmetrics_{bins}_l1"),
        (2.0, f"ece_binary/torchmetrics_{bins}_l2"),
    ]:
        got = metrics.expected_calibration_error(
            confidence, correct, bins=bins, norm=norm
        )
        np.testing.assert_allclose(got, numbers[name], rtol=1e-5)
    np.testing.assert_allclose(
        metrics.expected_calibration_error(confidence, correct, bins=bins),
        reference.expected_calibration_error(
            np.asarray(confidence, np.float64), np.asarray(correct), bins
        ),
        rtol=1e-5,
    )


@pytest.mark.parametrize("bins", [10, 15])
def test_calibration_error_of_the_predicted_class(bins):
    numbers, probabilities, labels = multiclass()
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    got = metrics.expected_calibration_error(confidence, correct, bins=bins)
    np.testing.assert_allclose(got, numbers[f"mc/ece_netcal_{bins}"], rtol=1e-5)


def test_values_on_an_edge_are_in_the_lower_bin():
    confidence = jnp.array([0.0, 0.2, 0.4, 0.6, 1.0])
    curve = metrics.reliability_curve(confidence, jnp.array([0, 1, 0, 1, 1]), bins=5)
    np.testing.assert_array_equal(curve.count, [2, 1, 1, 0, 1])
    np.testing.assert_allclose(curve.accuracy, [0.5, 0, 1, np.nan, 1])
    np.testing.assert_allclose(curve.confidence, [0.1, 0.4, 0.6, np.nan, 1], rtol=1e-6)
    np.testing.assert_allclose(curve.edges, [0, 0.2, 0.4, 0.6, 0.8, 1], rtol=1e-6)


def test_calibration_error_is_differentiable():
    confidence, correct = jnp.array([0.9, 0.8, 0.3]), jnp.array([1, 0, 1])
    slope = jax.grad(lambda c: metrics.expected_calibration_error(c, correct, bins=2))(
        confidence
    )
    # Upper bin: (|.9 + .8 - 1|) / 3 rises with both; lower: |.3 - 1| / 3 falls.
    np.testing.assert_allclose(slope, [1 / 3, 1 / 3, -1 / 3], rtol=1e-6)


def test_calibration_of_nothing_is_nan():
    confidence, correct = jnp.array([0.9, 0.8]), jnp.array([1, 0])
    nothing = jnp.zeros(2, bool)
    assert jnp.isnan(
        metrics.expected_calibration_error(confidence, correct, weights=nothing)
    )
    curve = metrics.reliability_curve(confidence, correct, weights=nothing)
    assert jnp.isnan(curve.accuracy).all()
    with pytest.raises(ValueError, match="bins must be an integer >= 1, got 0"):
        metrics.expected_calibration_error(confidence, correct, bins=0)
    with pytest.raises(ValueError, match="norm must be positive, got 0"):
        metrics.expected_calibration_error(confidence, correct, norm=0.0)


@pytest.mark.parametrize("bins", [10, 15])
@pytest.mark.parametrize("variant", FAILURES)
def test_maximum_and_average_agree_with_netcal(variant, bins):
    numbers, _, correct = failures(variant)
    confidence = jnp.asarray(numbers["confidence"], jnp.float32)
    for metric, name in [
        (metrics.maximum_calibration_error, f"mce_binary/netcal_{bins}"),
        (metrics.average_calibration_error, f"ace_binary/netcal_{bins}"),
    ]:
        got = metric(confidence, correct, bins=bins)
        np.testing.assert_allclose(got, numbers[name], rtol=1e-5)
    got = metrics.adaptive_calibration_error(confidence, correct, bins=bins)
    expected = reference.adaptive_calibration_error(
        np.asarray(confidence), np.asarray(correct), bins
    )
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_adaptive_bins_at_their_limits():
    correct = jnp.array([1, 0, 1, 1])
    equal = metrics.adaptive_calibration_error(jnp.full(4, 0.5), correct, bins=3)
    assert equal == 0.25
    # Four bins of one: gaps .5, .75, .25, .125, each a quarter.
    confidence = jnp.array([0.5, 0.75, 0.75, 0.875]) + jnp.array([0, 0, 1, 0]) / 1024
    alone = metrics.adaptive_calibration_error(confidence, correct, bins=9)
    np.testing.assert_allclose(alone, (0.5 + 0.75 + 0.25 + 0.125) / 4, rtol=1e-3)


def test_classwise_error_averages_over_the_classes():
    _, probabilities, labels = multiclass()
    expected = np.mean(
        [
            reference.expected_calibration_error(
                np.asarray(probabilities[:, k], np.float64), np.asarray(labels == k), 15
            )
            for k in range(6)
        ]
    )
    got = metrics.classwise_calibration_error(probabilities, labels)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_proper_scores_agree_with_scikit_learn():
    numbers, probabilities, labels = multiclass()
    np.testing.assert_allclose(
        metrics.brier_score(probabilities, labels),
        numbers["mc/brier_sklearn"],
        rtol=1e-6,
    )
    logits = jnp.asarray(numbers["mc/logits"], jnp.float32)
    for values in (logits, jnp.log(probabilities)):
        np.testing.assert_allclose(
            metrics.negative_log_likelihood(values, labels),
            numbers["mc/nll_sklearn"],
            rtol=1e-6,
        )
    binary, _, correct = failures("cont")
    confidence = jnp.asarray(binary["confidence"], jnp.float32)
    # One column of "the prediction is right": its label 0.
    wrong = jnp.where(correct == 1, 0, 1)
    both = jnp.stack([confidence, 1 - confidence], axis=1)
    np.testing.assert_allclose(
        metrics.brier_score(both, wrong), 2 * binary["sklearn/brier_binary"], rtol=1e-6
    )


@pytest.mark.parametrize("bins", [1, 15])
def test_brier_parts_add_up(bins):
    _, probabilities, labels = multiclass()
    decomposition = jax.jit(metrics.brier_decomposition, static_argnames="bins")
    parts = decomposition(probabilities, labels, bins=bins)
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bins
    np.testing.assert_allclose(
        total, metrics.brier_score(probabilities, labels), rtol=1e-6
    )
    # One bin resolves nothing.
    assert (parts.resolution < 1e-12) == (bins == 1)
    rate = np.bincount(labels) / len(labels)
    np.testing.assert_allclose(parts.uncertainty, np.sum(rate * (1 - rate)), rtol=1e-6)
    # One probability in each bin hides nothing.
    coarse = (jnp.minimum(jnp.floor(probabilities * 4), 3) + 0.5) / 4
    parts = decomposition(coarse, labels, bins=4)
    np.testing.assert_allclose(parts.within_bins, 0.0, atol=1e-6)


def test_temperature_is_where_the_likelihood_is_best():
    numbers, _, labels = multiclass()
    logits = jnp.asarray(numbers["mc/logits"], jnp.float32)
    best = scipy.optimize.brent(
        lambda t: scipy_likelihood(np.asarray(logits, np.float64) / t, labels),
        brack=(0.5, 2.0),
        tol=1e-9,
    )
    got = metrics.fit_temperature(logits, labels)
    np.testing.assert_allclose(got, best, rtol=1e-3)
    scaled = metrics.fit_temperature(3 * logits, labels)
    np.testing.assert_allclose(scaled, 3 * got, rtol=1e-3)
    for scale in (1e-6, 1e-3, 1e4):  # cosines, and logits of any unit
        scaled = metrics.fit_temperature(scale * logits, labels)
        np.testing.assert_allclose(scaled, scale * got, rtol=1e-4)


def scipy_likelihood(logits, labels):
    log_probabilities = scipy.special.log_softmax(logits, axis=1)
    return -log_probabilities[np.arange(len(labels)), np.asarray(labels)].mean()


def test_temperature_without_an_optimum():
    logits = jnp.array([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]])
    right, wrong = jnp.array([0, 1, 0]), jnp.array([1, 0, 1])
    # The search ends where the likelihood no longer changes.
    assert 0.01 <= metrics.fit_temperature(logits, right) < 0.1
    assert metrics.fit_temperature(logits, wrong) == jnp.inf
    assert metrics.fit_temperature(jnp.ones((3, 2)), right) == 1
    nothing = jnp.zeros(3, bool)
    assert jnp.isnan(metrics.fit_temperature(logits, right, weights=nothing))
    with pytest.raises(ValueError, match="logits must not be NaN, got nan at index"):
        metrics.fit_temperature(logits.at[1, 0].set(jnp.nan), right)
    with pytest.raises(ValueError, match=r"labels must be in \[0, 2\), got 2"):
        metrics.fit_temperature(logits, jnp.array([0, 1, 2]))


def test_impossible_labels_and_probabilities_are_refused_or_nan():
    probabilities, labels = jnp.array([[0.5, 0.5], [0.25, 0.75]]), jnp.array([0, 1])
    for metric in (
        metrics.brier_score,
        metrics.brier_decomposition,
        metrics.classwise_calibration_error,
    ):
        for bad, good, message in [
            (probabilities.at[1, 0].set(1.5), labels, r"got 1.5 at index \(1, 0\)"),
            (probabilities, jnp.array([0, 2]), r"got 2 at index 1"),
        ]:
            with pytest.raises(ValueError, match=message):
                metric(bad, good)
            traced = jax.tree.leaves(jax.jit(metric)(bad, good))
            assert all(jnp.isnan(leaf) for leaf in traced)
        nothing = metric(probabilities, labels, weights=jnp.zeros(2, bool))
        assert all(jnp.isnan(leaf) for leaf in jax.tree.leaves(nothing))
    impossible = jnp.array([[0.0, -jnp.inf]])
    assert metrics.negative_log_likelihood(impossible, jnp.array([1])) == jnp.inf
    spoilt = jax.jit(metrics.negative_log_likelihood)(probabilities, jnp.array([0, 2]))
    assert jnp.isnan(spoilt)


def test_totals_merge_to_the_whole():
    _, probabilities, labels = multiclass()
    confidence, predictions = probabilities.max(axis=1), probabilities.argmax(axis=1)
    predictions, correct = predictions.astype(jnp.int32), predictions == labels
    parts = [slice(i, i + 125) for i in range(0, 500, 125)]
    calibration = [
        metrics.CalibrationTotals.of_batch(confidence[p], correct[p]) for p in parts
    ]
    merged = calibration[0].merge(*calibration[1:])
    whole = jax.jit(functools.partial(metrics.expected_calibration_error, norm=2.0))
    np.testing.assert_allclose(
        merged.expected_calibration_error(norm=2.0),
        whole(confidence, correct),
        rtol=1e-5,
    )
    chex.assert_trees_all_close(
        merged.reliability_curve(),
        jax.jit(metrics.reliability_curve)(confidence, correct),
        rtol=1e-6,
    )
    trusts = [
        metrics.TrustTotals.of_batch(
            confidence=confidence[p],
            predictions=predictions[p],
            labels=labels[p],
            num_classes=6,
            beta=2.0,
        )
        for p in parts
    ]
    merged = functools.reduce(metrics.TrustTotals.merge, trusts)
    trust = metrics.question_answer_trust(confidence, correct, beta=2.0)
    pairs = [
        (merged.accuracy(), metrics.accuracy(predictions, labels)),
        (merged.trust_spectrum(), metrics.trust_spectrum(trust, labels, 6)),
        (merged.net_trust_score(), metrics.net_trust_score(trust, labels, 6)),
        (merged.trust_matrix(), metrics.trust_matrix(trust, labels, predictions, 6)),
        (
            merged.expected_confidence(),
            metrics.expected_confidence(confidence, correct),
        ),
    ]
    for got, expected in pairs:
        chex.assert_trees_all_close(got, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "bins", [29, 100, *(pytest.param(n, marks=exhaustive) for n in (25, 31, 41, 1000))]
)
def test_a_value_on_an_edge_is_in_the_lower_bin_for_every_number_of_bins(bins):
    edges = (np.arange(1, bins + 1) / bins).astype(np.float32)
    curve = metrics.reliability_curve(
        jnp.asarray(edges), jnp.ones(bins, bool), bins=bins
    )
    np.testing.assert_array_equal(curve.count, np.ones(bins))
    np.testing.assert_array_equal(curve.edges[1:], edges)
    parts = metrics.brier_decomposition(
        jnp.asarray(edges)[:, None], jnp.zeros(bins, int), bins=bins
    )
    assert abs(parts.within_bins) < 1e-12  # one value in each bin


def test_a_true_class_of_probability_zero_surprises_without_limit():
    logits = jnp.array([[0.0, -jnp.inf], [0.0, 0.0], [-jnp.inf, 0.0]])
    labels = jnp.array([1, 0, 1])
    assert metrics.negative_log_likelihood(logits, labels) == jnp.inf
    kept = metrics.negative_log_likelihood(logits, labels, weights=jnp.array([0, 1, 1]))
    np.testing.assert_allclose(kept, np.log(2) / 2, rtol=1e-6)


def test_probabilities_off_by_float32_rounding_are_taken():
    labels = jnp.array([0, 1, 0])
    exact = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.25, 0.75]])
    off = exact.at[:2].add(jnp.array([[2.4e-7, -1e-9], [-1e-9, 2.4e-7]]))
    assert float(off.max()) > 1
    for metric in (metrics.brier_score, metrics.classwise_calibration_error):
        np.testing.assert_allclose(
            metric(off, labels), metric(exact, labels), rtol=1e-6
        )
    right = jnp.array([True, True, False])
    np.testing.assert_allclose(
        metrics.expected_calibration_error(off.max(1), right),
        metrics.expected_calibration_error(exact.max(1), right),
        rtol=1e-6,
    )
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        metrics.brier_score(exact.at[0, 0].set(1.00001), labels)
