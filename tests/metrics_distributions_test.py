"""Separability, representation, smooth surrogates and bootstrap intervals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.test_util import check_grads

from tests.metrics_problems import FAILURES, failures
from trustjax import _validate, metrics
from trustjax.metrics import _separability


@pytest.mark.parametrize("variant", FAILURES)
def test_separability_agrees_with_the_corrected_golden_numbers(variant):
    golden, _, correct = failures(variant)
    confidence = jnp.asarray(golden["confidence"], jnp.float32)
    right, wrong = confidence[correct == 1], confidence[correct == 0]
    got = metrics.kl_separability(right, wrong)
    np.testing.assert_allclose(got, golden["separability/kl_corrected_avg"], rtol=1e-5)
    # The authors' code lacks a factor: theirs is twice ours plus a half.
    np.testing.assert_allclose(
        2 * got + 0.5, golden["separability/kl_author_avg"], rtol=1e-5
    )
    np.testing.assert_allclose(
        metrics.bhattacharyya_distance(right, wrong),
        golden["separability/bhattacharyya_author"],
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    "metric", [metrics.kl_separability, metrics.bhattacharyya_distance]
)
def test_separability_at_its_limits(metric):
    spread, equal = jnp.array([0.1, 0.5, 0.9]), jnp.full(3, 0.25)
    np.testing.assert_allclose(metric(spread, spread), 0.0, atol=1e-7)
    assert metric(equal, spread) == jnp.inf
    assert jnp.isnan(metric(spread[:1], spread))
    assert jnp.isnan(metric(spread.at[0].set(jnp.inf), spread))
    with pytest.raises(ValueError, match="negative must not be NaN"):
        metric(spread, spread.at[2].set(jnp.nan))
    assert jnp.isnan(jax.jit(metric)(spread, spread.at[2].set(jnp.nan)))


def test_neither_kind_with_spread():
    equal = jnp.full(3, 0.25)
    assert jnp.isnan(metrics.bhattacharyya_distance(equal, equal))
    assert jnp.isnan(metrics.kl_separability(equal, equal))


def test_spectrum_and_rank_are_their_definition():
    features = jax.random.normal(jax.random.key(0), (50, 5)) * jnp.array(
        [[5.0, 2.0, 1.0, 0.1, 0.0]]
    )
    centred = np.asarray(features, np.float64)
    centred = centred - centred.mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False)
    np.testing.assert_allclose(
        metrics.singular_value_spectrum(features), values**2 / 50, rtol=1e-4, atol=1e-5
    )
    p = values[:4] / values[:4].sum()
    expected = np.exp(-(p * np.log(p)).sum())
    np.testing.assert_allclose(metrics.effective_rank(features), expected, rtol=1e-3)


@pytest.mark.usefixtures("without_type_checks")
def test_representation_at_its_limits():
    directions = jnp.concatenate([jnp.eye(6), -jnp.eye(6)])
    np.testing.assert_allclose(metrics.effective_rank(directions), 6.0, rtol=1e-5)
    equal = jnp.ones((4, 3))
    np.testing.assert_array_equal(metrics.singular_value_spectrum(equal), [0, 0, 0])
    assert jnp.isnan(metrics.effective_rank(equal))
    assert jnp.isnan(
        metrics.singular_value_spectrum(equal, weights=jnp.zeros(4, bool))
    ).all()
    with pytest.raises(ValueError, match=r"features must have shape \[n, features\]"):
        metrics.singular_value_spectrum(jnp.ones(3))
    with pytest.raises(ValueError, match="features must not be NaN"):
        metrics.effective_rank(equal.at[1, 1].set(jnp.nan))
    spoilt = jax.jit(metrics.effective_rank)(equal.at[1, 1].set(jnp.nan))
    assert jnp.isnan(spoilt)


def test_smooth_areas_converge_to_the_exact_ones():
    _, scores, correct = failures("cont")
    exact = [
        metrics.auroc(scores, correct),
        metrics.aurc(scores, correct, convention="mean"),
    ]
    errors = []
    for temperature in (1.0, 0.1, 1e-2, 1e-6):
        smooth = [
            metrics.smooth_auroc(scores, correct, temperature=temperature),
            metrics.smooth_aurc(scores, correct, temperature=temperature),
        ]
        errors.append(np.abs(np.array(smooth) - np.array(exact)))
    assert (np.diff(errors, axis=0) < 0).all()
    np.testing.assert_allclose(errors[-1], 0, atol=2e-6)
    _, tied, outcome = failures("ties")
    np.testing.assert_allclose(
        metrics.smooth_auroc(tied, outcome, temperature=1e-6),
        metrics.auroc(tied, outcome),
        rtol=1e-6,
    )


@pytest.mark.parametrize("metric", [metrics.smooth_auroc, metrics.smooth_aurc])
def test_smooth_areas_have_the_right_slopes(metric):
    scores = jax.random.normal(jax.random.key(0), (12,))
    correct = jnp.arange(12) % 3 != 0
    check_grads(
        jax.jit(lambda s: metric(s, correct, temperature=0.5)),
        (scores,),
        order=1,
        modes=["fwd", "rev"],
        rtol=1e-2,
        atol=1e-3,
        eps=1e-2,
    )
    # A step along the slope improves the exact area.
    sign = 1 if metric is metrics.smooth_auroc else -1
    slope = jax.jit(jax.grad(lambda s: metric(s, correct, temperature=0.5)))(scores)
    better = scores + sign * 3 * slope
    assert metrics.auroc(better, correct) > metrics.auroc(scores, correct)


def test_smooth_areas_at_their_limits():
    scores, one = jnp.arange(3.0), jnp.ones(3, bool)
    assert jnp.isnan(metrics.smooth_auroc(scores, one))
    assert metrics.smooth_auroc(jnp.ones(3), jnp.array([1, 0, 1])) == 0.5
    assert metrics.smooth_aurc(scores, one) == 0.0
    np.testing.assert_allclose(metrics.smooth_aurc(scores, ~one), 1.0)
    assert jnp.isnan(metrics.smooth_aurc(scores, one, weights=~one))
    for metric in (metrics.smooth_auroc, metrics.smooth_aurc):
        with pytest.raises(ValueError, match="temperature must be positive"):
            metric(scores, one, temperature=0.0)
        with pytest.raises(ValueError, match="scores must not be NaN"):
            metric(scores.at[1].set(jnp.nan), one)
        spoilt = jax.jit(metric)(scores.at[1].set(jnp.nan), jnp.array([1, 0, 1]))
        assert jnp.isnan(spoilt)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_agree_with_scipy(method):
    values = jax.random.exponential(jax.random.key(3), (60,))
    got = metrics.bootstrap(
        jnp.mean, [values], key=jax.random.key(0), num_samples=4000, method=method
    )
    expected = scipy.stats.bootstrap(
        (np.asarray(values),),
        np.mean,
        n_resamples=4000,
        method=method.replace("bca", "BCa"),
        rng=np.random.default_rng(0),
    ).confidence_interval
    # Both ends are quantiles of 4000 samples: their own noise is about 0.01.
    np.testing.assert_allclose([got.low, got.high], expected, atol=0.03)
    assert got.low < got.value < got.high


def test_intervals_hold_the_true_value_as_often_as_they_say():
    def covers(key):
        first, second = jax.random.split(key)
        values = jax.random.normal(first, (80,))
        interval = metrics.bootstrap(
            jnp.mean, [values], key=second, num_samples=200, level=0.8
        )
        return (interval.low < 0) & (interval.high > 0)

    share = jax.lax.map(covers, jax.random.split(jax.random.key(0), 200)).mean()
    assert 0.7 < share < 0.9


def rank_metrics(scores, correct):
    return jnp.stack([metrics.auroc(scores, correct), metrics.aurc(scores, correct)])


@pytest.mark.parametrize(
    "method", [pytest.param("percentile", marks=pytest.mark.exhaustive), "bca"]
)
def test_paired_intervals_tell_scores_apart(method):
    scores, correct = (array[:400] for array in failures("cont")[1:])
    noise = jax.random.normal(jax.random.key(1), scores.shape)
    compare = functools.partial(
        metrics.paired_bootstrap,
        rank_metrics,
        scores,
        arrays=[correct],
        key=jax.random.key(0),
        num_samples=100,
        method=method,
    )
    worse = compare(scores + 3 * noise)
    np.testing.assert_array_equal(worse.distinguishable, [True, True])
    assert worse.low[0] > 0
    assert worse.high[1] < 0
    same = compare(scores)
    np.testing.assert_array_equal(jnp.stack(same[:3]), np.zeros((3, 2)))
    np.testing.assert_array_equal(same.distinguishable, [False, False])


def test_bootstrap_at_its_limits():
    scores, key = jnp.arange(6.0), jax.random.key(0)
    run = functools.partial(metrics.bootstrap, key=key, num_samples=50)
    for method in ("percentile", "bca"):
        constant = run(jnp.mean, [jnp.ones(6)], method=method)
        np.testing.assert_array_equal(constant, [1.0, 1.0, 1.0])
    impossible = run(metrics.auroc, [scores, jnp.ones(6, bool)])
    assert jnp.isnan(jnp.stack(impossible)).all()
    # A third of the samples hold one kind of outcome only: one error has no spread.
    for method in ("percentile", "bca"):
        rare = run(metrics.auroc, [scores, scores > 0], method=method)
        np.testing.assert_array_equal(rare, [1.0, jnp.nan, jnp.nan])
    with pytest.raises(ValueError, match="array 0 has 6, array 1 has 5"):
        run(metrics.auroc, [scores, jnp.ones(5, bool)])
    with pytest.raises(ValueError, match="method must be one of percentile, bca"):
        run(jnp.mean, [scores], method="studentised")
    with pytest.raises(ValueError, match=r"level must be in \(0, 1\), got 95.0"):
        run(jnp.mean, [scores], level=95.0)


def test_two_networks_are_compared_on_the_same_rows():
    scores = jnp.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    first, second = jnp.array([1, 1, 1, 1, 0, 0]), jnp.array([1, 0, 1, 0, 1, 0])
    compare = functools.partial(
        metrics.paired_bootstrap, metrics.auroc, (scores, first), key=jax.random.key(0)
    )
    np.testing.assert_allclose(compare((scores, second)).value, 1 / 3, rtol=1e-5)
    # Drawn apart, equal networks would differ.
    np.testing.assert_array_equal(
        metrics.paired_bootstrap(jnp.mean, (scores,), (scores,), key=jax.random.key(0)),
        [0.0, 0.0, 0.0, False],
    )
    with pytest.raises(ValueError, match="as many arrays, got 2 and 1"):
        compare(scores)


def test_noise_with_one_error_is_not_told_apart():
    noise = np.random.default_rng(0).normal(size=(2, 40)).astype(np.float32)
    difference = metrics.paired_bootstrap(
        metrics.auroc, noise[0], noise[1], [jnp.arange(40) > 0], key=jax.random.key(0)
    )
    assert not difference.distinguishable
    assert jnp.isnan(difference.low)


@pytest.mark.parametrize(
    "method", [pytest.param("percentile", marks=pytest.mark.exhaustive), "bca"]
)
def test_bootstrap_draws_only_what_has_weight(method):
    scores, correct = (array[:100] for array in failures("cont")[1:])
    run = functools.partial(
        metrics.bootstrap,
        metrics.auroc,
        key=jax.random.key(0),
        num_samples=200,
        method=method,
    )
    plain = run([scores, correct])
    mask = jnp.arange(120) < 100
    masked = run(
        [jnp.pad(scores, (0, 20), constant_values=jnp.nan), jnp.pad(correct, (0, 20))],
        weights=mask,
    )
    # Other draws of the same rows: the ends of 200 samples differ by their own noise.
    np.testing.assert_allclose(masked, plain, atol=0.04)
    assert masked.low < masked.value < masked.high
    with pytest.raises(TypeError, match="a parameter called weights, got 'mean'"):
        metrics.bootstrap(jnp.mean, [scores], key=jax.random.key(0), weights=correct)


def test_bootstrap_compiles_once_for_each_shape():
    traced = []

    def counted(values):
        if not _validate.is_known(values):
            traced.append(values)
        return jnp.mean(values)

    for seed, level in ((0, 0.9), (1, 0.95)):
        key, values = jax.random.key(seed), jnp.arange(50.0) + seed
        metrics.bootstrap(counted, [values], key=key, level=level)
        metrics.paired_bootstrap(counted, values, -values, key=key, level=level)
    assert len(traced) == 3  # once alone, and once for each of the two


def test_bootstrap_memory_is_bounded(monkeypatch):
    from trustjax.metrics import _resample

    whole = metrics.bootstrap(
        jnp.mean, [jnp.arange(50.0)], key=jax.random.key(0), num_samples=64
    )
    monkeypatch.setattr(_resample, "BATCH_ELEMENTS", 500)  # ten data sets at once
    batched = metrics.bootstrap(
        jnp.mean, [jnp.arange(50.0)], key=jax.random.key(0), num_samples=64
    )
    np.testing.assert_allclose(batched, whole, rtol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1000.0, -1e5])
def test_distances_of_gaussians_do_not_depend_on_an_offset(offset):
    rng = np.random.default_rng(0)
    grid = 2.0**-6  # so that float32 holds the values with their offset
    first, second = (
        np.round(rng.normal(mean, 1, 500) / grid) * grid for mean in (0.0, 0.01)
    )
    one, two = first.var(ddof=1), second.var(ddof=1)
    apart = (first.mean() - second.mean()) ** 2
    divergence = ((one + apart) / two + (two + apart) / one - 2) / 4
    distance = np.log((one / two + two / one + 2) / 4) / 4 + apart / (one + two) / 4
    moved = [jnp.asarray(values + offset, jnp.float32) for values in (first, second)]
    np.testing.assert_allclose(metrics.kl_separability(*moved), divergence, rtol=1e-4)
    np.testing.assert_allclose(
        metrics.bhattacharyya_distance(*moved), distance, rtol=1e-4
    )
    apart = [moved[0], moved[1] + 8]
    np.testing.assert_allclose(
        metrics.kl_separability(*apart),
        metrics.kl_separability(*(values - offset for values in apart)),
        rtol=1e-6,
    )


@pytest.mark.parametrize("offset", [0.0, 1000.0, -1e5])
def test_a_fitted_mean_and_variance_keep_their_digits_far_from_zero(offset):
    values = np.round(np.random.default_rng(0).normal(size=500) * 64) / 64 + offset
    values = np.asarray(values, np.float32)
    fitted = jax.jit(_separability._fit, static_argnums=1)(values, None)
    mean = np.float64(fitted.origin) + np.float64(fitted.mean)
    assert mean == pytest.approx(values.astype(np.float64).mean(), abs=1e-6)
    variance = values.astype(np.float64).var(ddof=1)
    assert fitted.variance == pytest.approx(variance, rel=1e-6)


@pytest.mark.usefixtures("without_type_checks")
def test_resamples_of_numbers_that_jax_cannot_hold_are_refused():
    huge, correct = np.array([2**33, 1, 2, 3]), [1, 0, 1, 0]
    options = {"key": jax.random.key(0), "num_samples": 10}
    with pytest.raises(ValueError, match="array 0 must fit int32, got 8589934592"):
        metrics.bootstrap(metrics.auroc, [huge, correct], **options)
    with pytest.raises(ValueError, match="scores of a must fit int32"):
        metrics.compare({"a": huge}, correct, **options)
    assert metrics.compare({"a": [4, 1, 2, 3]}, correct, **options).values == 0.75


@pytest.mark.parametrize(
    "differentiate",
    [jax.grad, pytest.param(jax.jacfwd, marks=pytest.mark.exhaustive)],
)
@pytest.mark.parametrize(
    "metric",
    [
        metrics.auroc,
        metrics.aupr_error,
        metrics.fpr_at_tpr,
        metrics.detection_error,
        metrics.balanced_threshold,
        metrics.aurc,
        metrics.augrc,
        metrics.risk_coverage_curve,
        functools.partial(metrics.coverage_at_risk, risk=0.1),
    ],
)
def test_what_is_a_step_in_the_scores_has_no_derivative(metric, differentiate):
    scores, correct = jnp.array([0.9, 0.2, 0.4]), jnp.array([1, 0, 1])

    def first(scores):
        return jax.tree.leaves(metric(scores, correct))[0].sum()

    for fn in (first, jax.jit(first)):
        with pytest.raises(TypeError, match="smooth_auroc and smooth_aurc have one"):
            differentiate(fn)(scores)
    looked_at = lambda scores: scores.sum() + first(jax.lax.stop_gradient(scores))
    np.testing.assert_array_equal(differentiate(looked_at)(scores), [1, 1, 1])
