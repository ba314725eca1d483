"""One statement about all pairs of scores, or of networks."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from trustjax import _validate, metrics

KEY = jax.random.key(0)
SAMPLES = 100


def made_up(size=80, seed=0):
    """Three scores, from good to noise, and which answers are right."""
    rng = np.random.default_rng(seed)
    correct = np.arange(size) % 4 > 0
    noise = rng.normal(size=(3, size))
    scores = {
        "good": 2.5 * correct + noise[0],
        "fair": 2.0 * correct + 0.8 * noise[0] + 0.6 * noise[1],
        "noise": noise[2],
    }
    return {name: jnp.float32(score) for name, score in scores.items()}, correct


def drawn_rows(size):
    """The rows that `compare` draws, from the key as it draws them."""
    keys = jax.random.split(KEY, SAMPLES)
    return [np.asarray(jax.random.randint(key, (size,), 0, size)) for key in keys]


def obvious_statement(scores, correct, level):
    """Rows, scikit-learn's AUROC, and the studentised maximum, by loops."""
    auroc = sklearn.metrics.roc_auc_score
    scores = {name: np.asarray(score) for name, score in scores.items()}
    values = [auroc(correct[name], scores[name]) for name in scores]
    samples = np.array(
        [
            [auroc(correct[name][rows], scores[name][rows]) for name in scores]
            for rows in drawn_rows(len(correct["good"]))
        ]
    )
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    apart = {
        (i, j): samples[:, i] - samples[:, j] - (values[i] - values[j])
        for i, j in pairs
    }
    largest = [
        max(abs(apart[pair][b]) / np.std(apart[pair]) for pair in pairs)
        for b in range(SAMPLES)
    ]
    bound = np.quantile(largest, level, method="weibull")
    # As if each sample were divided by the deviation of the others.
    bound *= np.sqrt((SAMPLES - 1) / (SAMPLES - bound**2))
    rarer = {name: min(sum(right), sum(~right)) for name, right in correct.items()}
    names, margin = list(scores), np.zeros((3, 3))
    for i, j in pairs:
        freedom = min(rarer[names[i]], rarer[names[j]]) - 1
        quantile = scipy.stats.t.isf(scipy.stats.norm.sf(bound), freedom)
        spread = np.std(apart[i, j]) * np.sqrt((freedom + 1) / freedom)
        margin[i, j] = quantile * spread
    return np.array(values), margin


@pytest.mark.parametrize("networks", [False, True])
def test_statement_is_that_of_an_obvious_loop(networks):
    scores, right = made_up()
    correct = {name: right for name in scores}
    if networks:
        correct["noise"] = np.arange(80) % 3 > 0
    level = 80 / (SAMPLES + 1)  # a whole rank, so that nothing is interpolated
    values, margin = obvious_statement(scores, correct, level)
    given = correct if networks else jnp.asarray(right)
    got = metrics.compare(scores, given, key=KEY, num_samples=SAMPLES, level=level)
    np.testing.assert_allclose(got.values, values, atol=1e-6)
    apart = values[:, None] - values
    np.testing.assert_allclose(got.differences, apart, atol=1e-6)
    np.testing.assert_allclose(got.low, apart - margin, rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(got.high, apart + margin, rtol=2e-3, atol=1e-5)
    assert got.best == "good"
    assert got.may_be_best == ("good", "fair")
    np.testing.assert_array_equal(got.behind, apart + margin < 0)


def test_equally_good_scores_are_rarely_called_worse():
    """Of 100 pages of ten alike, 5 may err; the best against each errs on most."""
    rng = np.random.default_rng(0)
    wrong, unadjusted = 0, 0
    for _ in range(100):
        shared, own = rng.normal(size=(301, 1)), rng.normal(size=(301, 10))
        drawn = 0.02 * (shared + own)  # correlated at 0.5
        values, samples = 0.8 + drawn[0], 0.8 + drawn[0] + drawn[1:]
        names = [str(index) for index in range(10)]
        comparison = metrics.compare_resampled(
            dict(zip(names, values.tolist(), strict=True)), samples, np.arange(400) % 2
        )
        wrong += bool(comparison.behind.any())
        lead = samples[:, [values.argmax()]] - samples
        unadjusted += (np.quantile(lead, 0.025, axis=0) > 0).any()
    assert wrong <= 10
    assert unadjusted >= 40


def test_lower_may_be_better():
    scores, correct = made_up()
    got = metrics.compare(
        scores,
        jnp.asarray(correct),
        metric=metrics.aurc,
        higher_is_better=False,
        key=KEY,
        num_samples=SAMPLES,
    )
    assert got.best == "good"
    assert "noise" not in got.may_be_best


def test_scores_of_one_order_are_never_told_apart():
    scores, correct = made_up()
    alike = {"a": scores["good"], "b": jnp.exp(scores["good"]), "c": scores["noise"]}
    got = metrics.compare(alike, jnp.asarray(correct), key=KEY, num_samples=SAMPLES)
    for numbers in (got.differences, got.low, got.high):
        assert numbers[0, 1] == 0
        assert jnp.isfinite(numbers).all()
    assert got.may_be_best == ("a", "b")


@pytest.mark.parametrize("few", [0, 1, 5])
@pytest.mark.parametrize("rare", ["wrong", "right"])
def test_too_few_outcomes_make_no_claim(few, rare):
    scores, _ = made_up()
    correct = (jnp.arange(80) >= few) == (rare == "wrong")
    got = metrics.compare(scores, correct, key=KEY, num_samples=SAMPLES)
    assert jnp.isnan(jnp.stack([got.low, got.high])).all()
    assert got.may_be_best == tuple(scores)
    assert f"{few} answer" in got.reason
    assert f"{rare}, and it takes" in got.reason
    number = got.num_wrong if rare == "wrong" else got.num_right
    assert (number == few).all()


def test_one_network_without_errors_leaves_the_others_compared():
    scores, correct = made_up()
    outcomes = {"good": correct, "fair": np.ones(80, bool), "noise": correct}
    got = metrics.compare(scores, outcomes, key=KEY, num_samples=SAMPLES)
    assert set(got.reasons) == {"fair"}
    assert got.reason == ""
    assert got.may_be_best == ("good", "fair")
    # What is not compared is no part of the family.
    others = {name: scores[name] for name in ("good", "noise")}
    alone = metrics.compare(others, jnp.asarray(correct), key=KEY, num_samples=SAMPLES)
    np.testing.assert_allclose(got.low[0, 2], alone.low[0, 1], rtol=1e-6)


def test_weights_leave_examples_out():
    scores, correct = made_up()
    more = {name: jnp.append(score, jnp.zeros(5)) for name, score in scores.items()}
    plain = metrics.compare(scores, jnp.asarray(correct), key=KEY, num_samples=SAMPLES)
    padded = metrics.compare(
        more,
        jnp.append(correct, jnp.ones(5, bool)),
        weights=jnp.arange(85) < 80,
        key=KEY,
        num_samples=SAMPLES,
    )
    np.testing.assert_allclose(padded.values, plain.values, rtol=1e-6)
    np.testing.assert_array_equal(padded.num_right, plain.num_right)
    assert padded.may_be_best == plain.may_be_best
    # The padding is never drawn: the same draws, whatever the padding scores.
    other = {name: score.at[80:].set(9.0) for name, score in more.items()}
    again = metrics.compare(
        other,
        jnp.append(correct, jnp.zeros(5, bool)),
        weights=jnp.arange(85) < 80,
        key=KEY,
        num_samples=SAMPLES,
    )
    np.testing.assert_array_equal(again.low, padded.low)


def test_counts_and_rows_are_the_same_resamples():
    scores, correct = made_up()
    alike = {"key": KEY, "num_samples": SAMPLES}
    counted = metrics.compare(scores, jnp.asarray(correct), **alike)
    of_rows = lambda values, right: metrics.auroc(values, right)
    drawn = metrics.compare(scores, jnp.asarray(correct), metric=of_rows, **alike)
    np.testing.assert_allclose(counted.low, drawn.low, rtol=1e-5, atol=1e-6)


def test_metric_is_compiled_once_for_each_shape():
    scores, correct = made_up()
    traced = []

    def counted(values, right):
        if not _validate.is_known(values):
            traced.append(values)
        return jnp.mean(values * right)

    for seed in (0, 1):
        metrics.compare(
            scores, jnp.asarray(correct), metric=counted, key=jax.random.key(seed)
        )
    assert len(traced) == 1


def test_comparison_is_a_tree_of_arrays():
    scores, correct = made_up()
    got = metrics.compare(scores, jnp.asarray(correct), key=KEY, num_samples=SAMPLES)
    again = jax.tree.map(lambda leaf: leaf, got)
    chex.assert_trees_all_equal(again, got)
    assert again.names == got.names


def test_bad_comparisons_are_refused():
    scores, correct = made_up()
    correct = jnp.asarray(correct)
    with pytest.raises(ValueError, match="at least one name"):
        metrics.compare({}, correct, key=KEY)
    with pytest.raises(ValueError, match="scores of fair has 79"):
        metrics.compare({**scores, "fair": scores["fair"][:79]}, correct, key=KEY)
    with pytest.raises(
        ValueError, match=r"names \['fair', 'good', 'noise'\], got \['g"
    ):
        metrics.compare(scores, {"good": correct}, key=KEY)
    with pytest.raises(ValueError, match=r"level must be in \(0, 1\)"):
        metrics.compare(scores, correct, key=KEY, level=95.0)
    with pytest.raises(TypeError, match="a parameter called weights, got 'mean'"):
        metrics.compare(scores, correct, key=KEY, metric=jnp.mean, weights=correct)
    with pytest.raises(ValueError, match="a column for each of 2 names"):
        metrics.compare_resampled({"a": 0.5, "b": 0.4}, jnp.ones((9, 3)), correct)


@pytest.mark.parametrize("trials", [1, 40, 2000, 100_000])
def test_intervals_of_proportions_are_exact(trials):
    successes = np.unique([0, 1, trials // 3, trials - 1, trials])
    value, low, high = metrics.proportion_interval(successes, trials)
    exact = [scipy.stats.binomtest(int(k), trials).proportion_ci() for k in successes]
    np.testing.assert_allclose(value, successes / trials, rtol=1e-6)
    np.testing.assert_allclose(low, [ends.low for ends in exact], atol=1e-6)
    np.testing.assert_allclose(high, [ends.high for ends in exact], atol=1e-6)
    assert (high > low).all()


def test_interval_of_a_proportion_at_its_limits():
    value, low, high = metrics.proportion_interval(0, 0)
    assert jnp.isnan(value)
    assert (low, high) == (0, 1)
    all_right = metrics.proportion_interval(40, 40, level=0.9)
    np.testing.assert_allclose(all_right, [1, 0.05 ** (1 / 40), 1], rtol=1e-6)
    np.testing.assert_allclose(
        jax.jit(metrics.proportion_interval)(3, 40),
        metrics.proportion_interval(3, 40),
        rtol=1e-6,
    )
    with pytest.raises(ValueError, match="successes must be in"):
        metrics.proportion_interval(np.array([2, 5]), np.array([3, 4]))


def test_shares_are_no_counts(without_type_checks):
    with pytest.raises(TypeError, match="successes must be integers, got float32"):
        metrics.proportion_interval(jnp.array(0.5), 4)
