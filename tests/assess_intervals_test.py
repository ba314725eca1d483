"""Intervals of means, AUROC and rates: exact where they can be, and they cover."""

import statistics

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from tests import made_up
from trustjax import metrics
from trustjax.assess import _auroc, _intervals, _rates, _scores


@pytest.mark.parametrize("level", [0.95, 1 - 0.05 / 1000])
@pytest.mark.parametrize(
    ("trials", "successes"), [(1, 1), (5, 0), (40, 39), (40, 3), (2000, 1990)]
)
def test_mean_of_rights_and_wrongs_has_the_exact_interval(trials, successes, level):
    low, high = _intervals.mean_interval(np.arange(trials) < successes, level)
    tail = (1 - level) / 2
    exact = scipy.stats.binomtest(successes, trials).proportion_ci(level, "exact")
    # The chance of the tail is what is approximate.
    assert low <= exact.low * (1 + 1e-3)
    assert high >= exact.high * (1 - 1e-3)
    assert scipy.stats.binom.sf(successes - 1, trials, low) == pytest.approx(
        tail if successes else 1, rel=0.1
    )
    assert scipy.stats.binom.cdf(successes, trials, high) == pytest.approx(
        tail if successes < trials else 1, rel=0.1
    )


@pytest.mark.parametrize("size", [3, 40])
def test_mean_interval_is_that_of_random_weights(size):
    generator = np.random.default_rng(0)
    values = generator.beta(4, 1, size)
    drawn = generator.exponential(size=(100_000, size + 1))
    drawn /= drawn.sum(axis=1, keepdims=True)
    low, high = _intervals.mean_interval(values, 0.95)
    expected = np.quantile(drawn @ np.append(values, 0), 0.025)
    assert low == pytest.approx(expected, abs=5e-3)
    expected = np.quantile(drawn @ np.append(values, 1), 0.975)
    assert high == pytest.approx(expected, abs=5e-3)


def test_many_numbers_have_the_interval_of_a_normal_mean():
    values = np.random.default_rng(0).uniform(0.2, 0.8, 20_000)
    error = 1.96 * values.std() / np.sqrt(20_000)
    expected = [values.mean() - error, values.mean() + error]
    np.testing.assert_allclose(
        _intervals.mean_interval(values, 0.95), expected, atol=error / 30
    )


@pytest.mark.parametrize("value", [0.0, 0.7, 1.0])
def test_no_interval_has_width_zero(value):
    low, high = _intervals.mean_interval(np.full(30, value), 0.95)
    assert low <= value <= high
    assert 0.05 < high - low < 0.2


def test_groups_are_as_each_alone_and_counts_as_repetitions():
    generator = np.random.default_rng(0)
    values, groups = generator.random(50), generator.integers(3, size=50)
    lows, highs = _intervals.mean_intervals(values, groups, 4, 0.9)
    for group in range(3):
        alone = _intervals.mean_interval(values[groups == group], 0.9)
        np.testing.assert_allclose([lows[group], highs[group]], alone, rtol=1e-9)
    assert (lows[3], highs[3]) == (0, 1), "nothing is known of an empty group"
    counts = generator.integers(1, 4, size=50)
    np.testing.assert_allclose(
        _intervals.mean_interval(values, 0.9, counts),
        _intervals.mean_interval(np.repeat(values, counts), 0.9),
        rtol=1e-9,
    )


def test_mean_intervals_cover_where_a_bootstrap_does_not():
    generator = np.random.default_rng(0)
    # Trust of 40 sure answers, one in forty of them wrong.
    wrong = generator.random((300, 40)) < 1 / 40
    trust = np.where(wrong, 0.02, 0.98)
    lows, highs = _intervals.mean_intervals(
        trust.ravel(), np.repeat(np.arange(300), 40), 300, 0.95
    )
    truth = 0.98 - 0.96 / 40
    assert np.mean((lows <= truth) & (truth <= highs)) >= 0.93


def ranks_and_outcomes(seed=0, count=120, scores=3):
    generator = np.random.default_rng(seed)
    correct = generator.random(count) < 0.8
    values = np.round(generator.normal(size=(scores, count)) + 1.5 * correct, 1)
    return np.stack([_scores.dense_ranks(of) for of in values]), values, correct


def test_placements_have_auroc_as_their_mean():
    ranks, values, correct = ranks_and_outcomes()
    placed = _auroc.placements(ranks, correct)
    expected = [sklearn.metrics.roc_auc_score(correct, of) for of in values]
    np.testing.assert_allclose(placed.of_right.mean(axis=0), expected)
    np.testing.assert_allclose(placed.of_wrong.mean(axis=0), expected)


@pytest.mark.exhaustive
def test_intervals_of_pairs_know_that_their_rows_err_together():
    """Where what is hard for one row is easy for the other, and alike for both."""
    count, known = 150, np.arange(300) < 150
    example, held, widths = np.tile(np.arange(count), 2), {}, {}
    for sign in (-1, 1):
        ends = []
        for seed in range(25):
            noise = np.random.default_rng(seed).normal(size=count)
            values = np.concatenate([noise + 1, sign * noise])
            placed = _auroc.placements(_scores.dense_ranks(values)[None], known)
            of = (placed, known, example, 0.95)
            options = {"statements": 1, "num_samples": 20, "seed": 0}
            ends.append([*_auroc.paired_intervals(*of, **options)])
            alone = _auroc.intervals(placed, 0.95, **options)
            assert ends[-1][0] <= alone[0]
            assert ends[-1][1] >= alone[1]
        lows, highs = np.array(ends)[..., 0].T
        truth = statistics.NormalDist().cdf(1 / 2**0.5)
        held[sign] = np.mean((lows <= truth) & (truth <= highs))
        widths[sign] = np.mean(highs - lows)
    assert min(held.values()) >= 0.9
    assert widths[-1] > 1.2 * widths[1]


def test_errors_of_auroc_are_those_of_a_bootstrap():
    ranks, _, correct = ranks_and_outcomes(count=300)
    placed = _auroc.placements(ranks, correct)
    errors = _auroc._errors(placed, 4000, 0)
    generator = np.random.default_rng(1)
    resampled = np.stack(
        [
            _auroc.placements(ranks[:, rows], correct[rows]).auroc
            for rows in generator.integers(300, size=(1000, 300))
        ]
    )
    np.testing.assert_allclose(errors.std(axis=0), resampled.std(axis=0), rtol=0.1)
    np.testing.assert_allclose(
        np.corrcoef(errors.T), np.corrcoef(resampled.T), atol=0.1
    )


def family(placed, statements, level=0.95):
    return _auroc.intervals(
        placed, level, statements=statements, num_samples=500, seed=0
    )


def test_a_family_of_equals_costs_nothing_and_of_strangers_bonferroni():
    ranks, _, correct = ranks_and_outcomes(count=300)
    one = _auroc.placements(ranks[:1], correct)
    alone = np.diff(family(one, 1), axis=0)
    twins = _auroc.placements(np.repeat(ranks[:1], 20, axis=0), correct)
    together = np.diff(family(twins, 20), axis=0)
    np.testing.assert_allclose(together, np.full_like(together, alone), rtol=0.05)
    among_others = np.diff(family(one, 20), axis=0)
    bonferroni = np.diff(family(one, 1, level=1 - 0.05 / 20), axis=0)
    np.testing.assert_allclose(among_others, bonferroni, rtol=0.05)


def test_perfect_separation_and_one_error_leave_room_for_doubt():
    correct = np.arange(40) > 0
    placed = _auroc.placements(np.arange(40)[None], correct)
    (low,), (high,) = family(placed, 1)
    assert 0 < low < 0.05
    assert high == 1
    _, value, high = made_up.ends(_rates.fpr_at_tpr(np.arange(40), correct, 0.95))
    assert value == 0
    assert high > 0.95


def test_fpr_is_the_metric_within_its_interval():
    ranks, values, correct = ranks_and_outcomes(count=300)
    for rank, of in zip(ranks, values, strict=True):
        low, value, high = made_up.ends(_rates.fpr_at_tpr(rank, correct, 0.95))
        expected = metrics.fpr_at_tpr(jnp.asarray(of), jnp.asarray(correct))
        assert value == pytest.approx(float(expected))
        assert low < value < high


def test_threshold_for_most_right_answers_is_as_uncertain_as_binomial_counts():
    for trials in (1, 20, 1500):
        found = _rates._binomial_quantiles(trials, 0.95, 0.9)
        expected = scipy.stats.binom.ppf([0.05, 0.95], trials, 0.95)
        np.testing.assert_array_equal(found, expected)


def test_risk_is_as_uncertain_as_the_line_that_it_is_taken_above():
    # Of 1,000 examples some 775 to 824 lie above the true line; errors surround it.
    wrong = np.zeros(1000, bool)
    wrong[780:820] = True
    risk = _rates.selective_risk(np.arange(1000)[::-1], ~wrong, 0.95)
    low, value, high = made_up.ends(risk)
    assert value == pytest.approx(20 / 800)
    assert low == 0
    assert high > 40 / 824


def test_equal_scores_are_answered_in_part():
    right = np.array([True, True, False, True, False])
    risk = _rates.selective_risk(np.array([2, 1, 1, 1, 0]), right, 0.95)
    assert risk.value == pytest.approx(1 / 4)
    risk = _rates.selective_risk(np.zeros(5, int), right, 0.95)
    assert risk.value == pytest.approx(2 / 5)
    low, value, high = made_up.ends(risk)
    assert 0 < low < value < high < 1
