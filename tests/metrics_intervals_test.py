"""Intervals with few errors, at the ends of [0, 1], and of biased metrics."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from trustjax import metrics
from trustjax.metrics._bounded import widened

KEY = jax.random.key(0)


@pytest.mark.parametrize("freedom", [4, 9, 99])
def test_a_normal_quantile_becomes_one_of_t(freedom):
    for tail in (0.025, 2e-3):
        exact = scipy.stats.t.isf(tail, freedom) * np.sqrt((freedom + 1) / freedom)
        got = widened(jnp.float32(scipy.stats.norm.isf(tail)), jnp.array(freedom))
        np.testing.assert_allclose(got, exact, rtol=0.03)


def test_interval_of_a_resampled_mean_is_nearly_wilsons():
    rng = np.random.default_rng(0)
    samples = rng.binomial(1000, 0.9, size=20_000) / 1000
    got = metrics.interval_of_resampled(0.9, samples, 1000)
    exact = scipy.stats.binomtest(900, 1000).proportion_ci(method="wilson")
    np.testing.assert_allclose([got.low, got.high], exact, atol=5e-4)


def test_interval_of_resampled_at_its_limits():
    samples = jnp.tile(jnp.array([1.0, 0.0, 0.5]), (200, 1))
    value = jnp.array([1.0, 0.0, jnp.nan])
    got = metrics.interval_of_resampled(value, samples, 20)
    np.testing.assert_array_equal(got.value, value)
    assert got.high[0] == 1
    assert got.low[1] == 0
    assert (got.high - got.low)[:2].min() > 1e-3
    assert jnp.isnan(jnp.stack(got)[:, 2]).all()
    two = metrics.interval_of_resampled(0.9, samples[:, 0], 2)
    np.testing.assert_array_equal(two, [jnp.float32(0.9), jnp.nan, jnp.nan])
    with pytest.raises(ValueError, match=r"shape \[samples, 3\], got \(200,\)"):
        metrics.interval_of_resampled(value, samples[:, 0], 20)
    with pytest.raises(ValueError, match="level must be in"):
        metrics.interval_of_resampled(value, samples, 20, level=95)


def calibrated(size, seed, exponent=1.0):
    """Confidence that is right, or with an exponent below 1 too high, and outcomes."""
    rng = np.random.default_rng(seed)
    chance = rng.beta(8, 2, size=size)
    confidence = 1 - (1 - chance) ** exponent
    return jnp.float32(confidence), jnp.asarray(rng.random(size) < chance)


def test_calibrated_confidence_may_have_no_error():
    intervals = [
        metrics.calibration_error_interval(
            *calibrated(300, seed), key=KEY, num_samples=100
        )
        for seed in range(20)
    ]
    assert np.mean([low == 0 for _, low, _ in intervals]) >= 0.9
    for value, low, high in intervals:
        assert low <= value <= high
    naive = metrics.expected_calibration_error(*calibrated(300, 0))
    assert np.median([value for value, _, _ in intervals]) < naive / 2


def test_calibration_error_of_counted_examples_is_that_of_repeated_ones():
    confidence, correct = calibrated(60, 3)
    counts = jnp.arange(60) % 3
    rows = np.repeat(np.arange(60), counts)
    run = functools.partial(metrics.calibration_error_interval, key=KEY)
    got = run(confidence, correct, weights=counts)
    np.testing.assert_allclose(got, run(confidence[rows], correct[rows]), rtol=1e-3)


def test_calibration_error_beyond_chance_is_found():
    confidence, correct = calibrated(2000, 0, exponent=2.0)
    true = float(jnp.mean(calibrated(100_000, 1, exponent=2.0)[0]) - 0.8)
    value, low, high = metrics.calibration_error_interval(
        confidence, correct, key=KEY, num_samples=200
    )
    assert low > 0.5 * true
    assert low < true < high
    # Far from calibrated there is no bias to take away.
    naive = metrics.expected_calibration_error(confidence, correct)
    np.testing.assert_allclose(value, naive, rtol=0.02)


def test_calibration_error_interval_at_its_limits():
    run = functools.partial(metrics.calibration_error_interval, key=KEY, num_samples=20)
    sure = run(jnp.ones(9), jnp.ones(9, bool), num_samples=2000)
    np.testing.assert_array_equal(sure[:2], [0.0, 0.0])
    # Where nine answers are all right with a chance of 0.05.
    np.testing.assert_allclose(sure.high, 1 - 0.05 ** (1 / 9), atol=0.03)
    mask = jnp.arange(9) < 0
    assert jnp.isnan(jnp.stack(run(jnp.ones(9), jnp.ones(9, bool), weights=mask))).all()
    with pytest.raises(TypeError, match="weights must be whole"):
        run(jnp.ones(9), jnp.ones(9, bool), weights=jnp.full(9, 0.5))
    with pytest.raises(ValueError, match="confidence must be in"):
        run(jnp.full(9, 1.5), jnp.ones(9, bool))
    with pytest.raises(ValueError, match="level must be in"):
        run(jnp.ones(9), jnp.ones(9, bool), level=95.0)
    with pytest.raises(TypeError, match="needs known values"):
        jax.jit(run)(jnp.ones(9), jnp.ones(9, bool))


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_bootstrap_makes_no_interval_of_a_biased_metric(method):
    confidence, correct = calibrated(500, 2)
    interval = metrics.bootstrap(
        metrics.expected_calibration_error,
        [confidence, correct],
        key=KEY,
        num_samples=100,
        method=method,
    )
    assert interval.value > 0
    assert jnp.isnan(interval.low)
    assert jnp.isnan(interval.high)


@jax.jit
def share_told_apart(errors):
    """Of 200 pairs of noise, on 40 examples of which so many are wrong."""

    def told_apart(key):
        first, second, resample = jax.random.split(key, 3)
        return metrics.paired_bootstrap(
            metrics.auroc,
            jax.random.normal(first, (40,)),
            jax.random.normal(second, (40,)),
            [jnp.arange(40) >= errors],
            key=resample,
            num_samples=400,
        ).distinguishable

    return jax.lax.map(told_apart, jax.random.split(KEY, 200)).mean()


@pytest.mark.parametrize(
    "errors", [1, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (2, 3, 5))]
)
def test_noise_with_few_errors_is_not_told_apart(errors):
    assert share_told_apart(errors) <= 0.08
