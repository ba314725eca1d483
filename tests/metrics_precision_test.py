"""The one sort and the sums: exact order, and a million examples in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from trustjax import _numerics, metrics
from trustjax.metrics import _ranking

MILLION = 1_000_000


@pytest.fixture(scope="module")
def million():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=MILLION).astype(np.float32)
    correct = rng.random(MILLION) < 1 / (1 + np.exp(-2 * scores - 1))
    return scores, correct


def float64_areas(scores, correct):
    """AUROC, AUPR-success, AUPR-error, AURC and AUGRC in float64, ties grouped."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(ranked[1:] != ranked[:-1], True)
    right = np.append(0.0, np.cumsum(correct[order])[last])
    accepted = np.append(0.0, np.flatnonzero(last) + 1.0)
    wrong = accepted - right
    n, successes, errors = accepted[-1], right[-1], wrong[-1]
    risk = wrong[1:] / accepted[1:]
    below, wrong_below = n - accepted[:-1], errors - wrong[:-1]
    return np.array(
        [
            np.trapezoid(right, wrong) / (successes * errors),
            np.sum(np.diff(right) * right[1:] / accepted[1:]) / successes,
            np.sum(np.diff(wrong) * wrong_below / below) / errors,
            np.trapezoid(np.append(risk[0], risk), accepted / n),
            np.trapezoid(wrong / n, accepted / n),
        ]
    )


@pytest.mark.parametrize("decimals", [None, 2])
@pytest.mark.exhaustive
def test_areas_of_a_million_examples_keep_their_digits(million, decimals):
    scores, correct = million
    if decimals is not None:
        scores = np.round(scores, decimals)
    family = lambda s, c: [
        metrics.auroc(s, c),
        metrics.aupr_success(s, c),
        metrics.aupr_error(s, c),
        metrics.aurc(s, c),
        metrics.augrc(s, c),
    ]
    expected = float64_areas(scores, correct)
    got = family(jnp.asarray(scores), jnp.asarray(correct))
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    traced = jax.jit(family)(jnp.asarray(scores), jnp.asarray(correct))
    np.testing.assert_allclose(traced, expected, rtol=1e-6)


def test_means_of_a_million_examples_keep_their_digits(million):
    scores, correct = million
    confidence = (1 / (1 + np.exp(-scores.astype(np.float64)))).astype(np.float32)
    labels = np.arange(MILLION, dtype=np.int32) % 100
    trust = metrics.question_answer_trust(jnp.asarray(confidence), jnp.asarray(correct))
    exact = np.asarray(trust, np.float64)
    got = metrics.net_trust_score(trust, jnp.asarray(labels), 100)
    np.testing.assert_allclose(got, exact.mean(), rtol=1e-6)
    np.testing.assert_allclose(
        metrics.trust_spectrum(trust, jnp.asarray(labels), 100),
        exact.reshape(-1, 100).mean(axis=0),
        rtol=1e-6,
    )
    edges = (np.arange(1, 15) / 15).astype(np.float32)
    index = np.searchsorted(edges, confidence, side="left")
    gaps = np.bincount(index, confidence.astype(np.float64)) - np.bincount(
        index, correct
    )
    got = metrics.expected_calibration_error(
        jnp.asarray(confidence), jnp.asarray(correct)
    )
    np.testing.assert_allclose(got, np.abs(gaps).sum() / MILLION, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 65_537])
def test_accurate_sum_is_that_of_float64(size):
    # Equal terms are the worst case of a naive sum: every rounding goes one way.
    for values in (jnp.full(size, 0.1), 1 / (1 + jnp.arange(size, dtype=jnp.float32))):
        for add in (_numerics.accurate_sum, jax.jit(_numerics.accurate_sum)):
            exact = np.asarray(values, np.float64).sum()
            np.testing.assert_allclose(add(values), exact, rtol=1.2e-7)
    assert jax.grad(_numerics.accurate_sum)(jnp.arange(5.0)).tolist() == [1.0] * 5


def test_segment_sum_leaves_out_what_is_outside():
    values, segments = jnp.array([1.0, 2.0, 4.0, 8.0]), jnp.array([0, -1, 2, 3])
    total = lambda v: _numerics.accurate_segment_sum(v, segments, 3)
    np.testing.assert_array_equal(total(values), [1, 0, 4])
    slope = jax.grad(lambda v: (total(v) * jnp.array([1.0, 2.0, 3.0])).sum())(values)
    np.testing.assert_array_equal(slope, [1, 0, 3, 0])


extremes = st.sampled_from(
    [np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38, 1.0, 1.0000001]
)
any_float = st.floats(width=32, allow_nan=False)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    st_numpy.arrays(np.float32, 16, elements=st.one_of(extremes, any_float)),
    st_numpy.arrays(bool, 16),
    st_numpy.arrays(bool, 16),
)
def test_ranking_orders_every_float_exactly(scores, correct, where):
    """Subnormals, both zeros, infinities, both signs: whether they fit or not."""
    where[0] = True
    got = on_host(scores, correct, where)
    traced = on_device(jnp.array(scores), jnp.array(correct), jnp.array(where))
    kept = np.sort(scores[where])[::-1] + 0.0
    n = len(kept)
    for ranking in (got, traced):
        np.testing.assert_array_equal(ranking.score[:n], kept)
        ends = np.flatnonzero(np.append(kept[1:] != kept[:-1], True))
        np.testing.assert_array_equal(np.flatnonzero(ranking.last), ends)
        for end in ends:
            above = where & (scores >= kept[end])
            higher = where & (scores > kept[end])
            assert ranking.accepted[end] == above.sum()
            assert ranking.successes[end] == (above & correct).sum()
            assert ranking.accepted_before[end] == higher.sum()
            assert ranking.successes_before[end] == (higher & correct).sum()


def on_host(scores, correct, where):
    return _ranking.rank(jnp.array(scores), jnp.array(correct), jnp.array(where))


on_device = jax.jit(_ranking.rank)


def test_integers_of_the_whole_range_rank():
    low, high = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    scores = jnp.array([high, low, 0, high, -1], jnp.int32)
    correct = jnp.array([1, 0, 1, 0, 0])
    for run in (_ranking.rank, on_device_without_mask):
        ranking = run(scores, correct)
        np.testing.assert_array_equal(ranking.score, [high, high, 0, -1, low])
        np.testing.assert_array_equal(ranking.last, [False, True, True, True, True])
        np.testing.assert_array_equal(ranking.successes[1:], [1, 2, 2, 2])


on_device_without_mask = jax.jit(lambda s, c: _ranking.rank(s, c))


# 64 bits, in which no two scores are equal; 32 bits make two of them so, or wrap.
WIDE_SCORES = {
    "near": [0.5 + 1e-9, 0.5, 0.75, 0.25],
    "tiny": [1e-50, 1e-51, 0.75, 0.0],
    "huge": [1e300, 1e299, 1e301, -1e300],
    "whole": [2**33 + 1, 2**33, 2**34, 2**32],
}
OUTCOMES = np.array([True, False, False, True])


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("name", WIDE_SCORES)
class TestScoresOf64Bits:
    def test_are_ranked_by_all_their_digits(self, name):
        scores = WIDE_SCORES[name]
        for wide in (scores, np.array(scores)):
            assert metrics.auroc(wide, OUTCOMES) == 0.25
            assert metrics.auroc(wide, OUTCOMES.tolist(), weights=[1, 1, 0, 1]) == 0.5
            assert metrics.aurc(wide, jnp.asarray(OUTCOMES)).dtype == jnp.float32
            weighted = metrics.auroc(wide, OUTCOMES, weights=np.array([2.0, 1, 1, 1]))
            np.testing.assert_allclose(weighted, 2 / 6, rtol=1e-6)

    def test_are_ranked_so_as_constants_of_jit(self, name):
        scores = np.array(WIDE_SCORES[name])
        assert jax.jit(lambda: metrics.auroc(scores, OUTCOMES))() == 0.25

    def test_are_refused_beside_a_traced_array(self, name):
        scores = np.array(WIDE_SCORES[name])
        with pytest.raises(ValueError, match=r"^scores must (differ in|fit) .*, got "):
            jax.jit(lambda outcomes: metrics.auroc(scores, outcomes))(OUTCOMES)
        with pytest.raises(ValueError, match=r"^scores must (differ in|fit) .*, got "):
            jax.vmap(lambda w: metrics.auroc(scores, OUTCOMES, weights=w))(
                jnp.ones((2, 4), int)
            )


@pytest.mark.usefixtures("without_type_checks")
def test_scores_that_only_round_are_taken_beside_a_traced_array():
    scores = np.array([0.1, 0.7, np.inf, 0.3])
    areas = jax.vmap(lambda w: metrics.auroc(scores, OUTCOMES, weights=w))(
        jnp.array([[1, 1, 1, 1], [1, 1, 0, 1]])
    )
    np.testing.assert_array_equal(areas, jnp.zeros(2))


@pytest.mark.usefixtures("without_type_checks")
def test_thresholds_that_32_bits_do_not_hold_are_refused():
    with pytest.raises(ValueError, match=r"scores must fit float32, got 1e.301"):
        metrics.risk_coverage_curve(WIDE_SCORES["huge"], OUTCOMES)
    with pytest.raises(ValueError, match="scores must fit int32, got 17179869184"):
        metrics.risk_coverage_curve(WIDE_SCORES["whole"], OUTCOMES)
