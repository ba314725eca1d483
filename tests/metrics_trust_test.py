import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import metrics_reference as reference
from tests.metrics_problems import golden
from trustjax import metrics

WONG_TABLE_1 = {
    # model: NetTrustScore, share right, confidence right, confidence wrong
    "MobileNet-V1": (0.713, 0.645, 0.839, 0.515),
    "ShuffleNet-V2": (0.723, 0.661, 0.839, 0.502),
    "MobileNet-V2": (0.739, 0.687, 0.845, 0.493),
    "ResNet-50": (0.776, 0.756, 0.887, 0.565),
}


def nettrust(alpha=1, beta=1):
    numbers = golden("09_nettrust")
    confidence = jnp.asarray(numbers["probs"].max(axis=1), jnp.float32)
    labels, predictions = jnp.asarray(numbers["labels"]), jnp.asarray(numbers["pred"])
    trust = metrics.question_answer_trust(
        confidence, predictions == labels, alpha=float(alpha), beta=float(beta)
    )
    return numbers, confidence, labels, predictions, trust


@pytest.mark.parametrize(("alpha", "beta"), [(1, 1), (1, 2), (2, 1)])
def test_suite_agrees_with_the_equations_and_with_trustpy(alpha, beta):
    numbers, _, labels, predictions, trust = nettrust(alpha, beta)
    own, trustpy = f"wong_own/a{alpha}_b{beta}", f"trustpy/a{alpha}_b{beta}"
    np.testing.assert_allclose(trust, numbers[f"{own}/Q"], atol=1e-6)
    spectrum = metrics.trust_spectrum(trust, labels, 7)
    np.testing.assert_allclose(spectrum, numbers[f"{own}/spectrum_oracle"], rtol=1e-6)
    np.testing.assert_allclose(
        spectrum, numbers[f"{trustpy}/class_nts_unrounded"], rtol=1e-6
    )
    np.testing.assert_allclose(
        metrics.trust_spectrum(trust, predictions, 7),
        numbers[f"{own}/spectrum_predicted"],
        rtol=1e-6,
    )
    score = metrics.net_trust_score(trust, labels, 7)
    np.testing.assert_allclose(score, numbers[f"{own}/nts"], rtol=1e-6)
    np.testing.assert_allclose(
        score, numbers[f"{trustpy}/overall_unrounded"], rtol=1e-6
    )
    np.testing.assert_allclose(
        metrics.net_trust_score(trust, labels, 7, prior="uniform"),
        numbers[f"{own}/nts_uniform_prior"],
        rtol=1e-6,
    )


@pytest.mark.parametrize("row", WONG_TABLE_1.values(), ids=WONG_TABLE_1.keys())
def test_table_1_follows_from_its_own_columns(row):
    expected, right, when_right, when_wrong = row
    # 2500 questions in the paper: so many right, each with the mean confidence.
    count = round(2500 * right)
    correct = jnp.arange(2500) < count
    confidence = jnp.where(correct, when_right, when_wrong)
    trust = metrics.question_answer_trust(confidence, correct)
    score = metrics.net_trust_score(trust, jnp.zeros(2500, jnp.int32), 1)
    np.testing.assert_allclose(score, expected, atol=0.001)
    means = metrics.expected_confidence(confidence, correct)
    np.testing.assert_allclose(means, [when_right, when_wrong], rtol=1e-6)


def test_expected_confidence_is_a_conditional_mean():
    numbers, confidence, labels, predictions, _ = nettrust()
    means = metrics.expected_confidence(confidence, predictions == labels)
    expected = [
        numbers["wong_own/expected_conf_correct"],
        numbers["wong_own/expected_conf_incorrect"],
    ]
    np.testing.assert_allclose(means, expected, rtol=1e-6)


def test_density_agrees_with_the_reflected_kernel():
    numbers, _, labels, _, trust = nettrust()
    grid = jnp.asarray(numbers["wong_own/density_grid201"], jnp.float32)
    np.testing.assert_allclose(
        metrics.trust_density(trust, grid),
        numbers["wong_own/a1_b1/density_reflect_all"],
        atol=3e-6,
    )
    by_class = jax.vmap(
        lambda z: metrics.trust_density(trust, grid, weights=labels == z)
    )(jnp.arange(7))
    # The golden densities reflect once; ours fold on, which smaller classes need.
    np.testing.assert_allclose(
        by_class, numbers["wong_own/a1_b1/density_reflect_oracle"], atol=1e-5
    )


@pytest.mark.parametrize(
    ("count", "gamma"), [(1, 0.5), (2, 0.5), (500, 0.5), (1, 2.0), (50, 0.1)]
)
def test_density_integrates_to_one(count, gamma):
    trust = jax.random.beta(jax.random.key(count), 5.0, 1.0, (count,))
    grid = jnp.linspace(0.0, 1.0, 2001)
    density = metrics.trust_density(trust, grid, gamma=gamma)
    np.testing.assert_allclose(jnp.trapezoid(density, grid), 1.0, atol=1e-3)


@pytest.mark.parametrize(("count", "gamma"), [(1, 0.5), (3, 0.5), (4, 3.0)])
def test_density_is_its_definition(count, gamma):
    trust = np.linspace(0.3, 1.0, count, dtype=np.float32)
    grid = np.linspace(0.0, 1.0, 9, dtype=np.float32)
    np.testing.assert_allclose(
        metrics.trust_density(jnp.array(trust), jnp.array(grid), gamma=gamma),
        reference.trust_density(trust, grid, gamma),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("confidence", "correct", "expected"),
    [(1.0, True, 1.0), (0.0, True, 0.0), (1.0, False, 0.0), (0.0, False, 1.0)],
)
def test_trust_at_its_limits(confidence, correct, expected):
    trust = metrics.question_answer_trust(jnp.array([confidence]), jnp.array([correct]))
    assert trust == expected


def test_trust_of_what_is_left_out_is_nan():
    confidence, where = jnp.array([0.75, jnp.nan]), jnp.array([True, False])
    trust = metrics.question_answer_trust(confidence, jnp.array([1, 0]), weights=where)
    np.testing.assert_array_equal(trust, [0.75, np.nan])


def test_trust_has_the_slopes_of_its_definition():
    def total(confidence):
        correct = jnp.array([True, True, False, False])
        return metrics.question_answer_trust(
            confidence, correct, alpha=2.0, beta=0.5
        ).sum()

    slope = jax.grad(total)(jnp.array([0.5, 0.0, 0.75, 0.0]))
    # 2 C, and -1/2 (1 - C)^(-1/2).
    np.testing.assert_allclose(slope, [1.0, 0.0, -1.0, -0.5])


def test_empty_classes_are_excluded():
    trust, labels = jnp.array([0.9, 0.7, 0.2]), jnp.array([0, 0, 2])
    np.testing.assert_allclose(
        metrics.trust_spectrum(trust, labels, 4), [0.8, np.nan, 0.2, np.nan], rtol=1e-6
    )
    np.testing.assert_allclose(metrics.net_trust_score(trust, labels, 4), 0.6)
    np.testing.assert_allclose(
        metrics.net_trust_score(trust, labels, 4, prior="uniform"), 0.5
    )
    # Class 1 is empty: 3/4 and 1/4 of the weight that is left.
    prior = jnp.array([0.3, 0.6, 0.1, 0.0])
    np.testing.assert_allclose(
        metrics.net_trust_score(trust, labels, 4, prior=prior), 0.65, rtol=1e-6
    )
    nothing = jnp.zeros(3, bool)
    assert jnp.isnan(metrics.net_trust_score(trust, labels, 4, weights=nothing))
    assert jnp.isnan(metrics.trust_density(trust, trust, weights=nothing)).all()
    one_sided = metrics.expected_confidence(trust, jnp.ones(3, bool))
    np.testing.assert_allclose(one_sided, [0.6, np.nan])


@pytest.mark.parametrize("value", [1.5, -0.25, np.nan])
def test_impossible_confidences_are_refused_or_nan(value):
    confidence, correct = jnp.array([0.5, value, 0.5]), jnp.array([1, 0, 0])
    message = rf"must be in \[0, 1\], got {value} at index 1 \(1 of 3 values\)"
    for metric in (
        metrics.question_answer_trust,
        metrics.expected_confidence,
        metrics.expected_calibration_error,
        metrics.reliability_curve,
    ):
        with pytest.raises(ValueError, match="confidence " + message):
            metric(confidence, correct)
        leaves = jax.tree.leaves(jax.jit(metric)(confidence, correct))
        assert any(jnp.isnan(leaf).any() for leaf in leaves)
    with pytest.raises(ValueError, match="trust " + message):
        metrics.trust_density(confidence, confidence)
    assert jnp.isnan(jax.jit(metrics.trust_density)(confidence, confidence)).all()


def test_labels_outside_the_classes_are_refused_or_nan():
    trust = jnp.array([0.9, 0.7, 0.2])
    labels = jnp.array([0, 3, -1])
    with pytest.raises(ValueError, match=r"labels must be in \[0, 3\), got 3 at ind"):
        metrics.trust_spectrum(trust, labels, 3)
    traced = jax.jit(metrics.trust_spectrum, static_argnums=2)
    assert jnp.isnan(traced(trust, labels, 3)).all()
    assert not jnp.isnan(traced(trust, labels, 4, weights=labels >= 0)[0])
    with pytest.raises(ValueError, match="prior must be one of empirical, uniform"):
        metrics.net_trust_score(trust, jnp.array([0, 1, 2]), 3, prior="flat")
    with pytest.raises(ValueError, match="prior has 2, spectrum has 3"):
        metrics.net_trust_score(trust, jnp.array([0, 1, 2]), 3, prior=jnp.ones(2))
    with pytest.raises(ValueError, match="alpha must not be negative"):
        metrics.question_answer_trust(trust, jnp.array([1, 0, 1]), alpha=-1.0)


def test_matrix_and_conditional_spectra_are_restricted_means():
    numbers, _, labels, predictions, trust = nettrust()
    matrix = metrics.trust_matrix(trust, labels, predictions, 7)
    y, answered, q = np.asarray(labels), np.asarray(predictions), np.asarray(trust)
    for truth in range(7):
        for answer in range(7):
            cell = q[(y == truth) & (answered == answer)]
            expected = cell.mean() if len(cell) else np.nan
            np.testing.assert_allclose(matrix[truth, answer], expected, rtol=1e-5)
    spectra = metrics.conditional_trust_spectra(trust, labels == predictions, labels, 7)
    np.testing.assert_allclose(spectra.correct, jnp.diagonal(matrix), rtol=1e-6)
    for got, name in zip(spectra, ("correct", "incorrect"), strict=True):
        np.testing.assert_allclose(
            got, numbers[f"trustpy/a1_b1/class_{name}_unrounded"], rtol=1e-6
        )
    with pytest.raises(ValueError, match=r"predictions must be in \[0, 6\)"):
        metrics.trust_matrix(trust, jnp.minimum(labels, 5), predictions, 6)
