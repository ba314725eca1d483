from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from tests import metrics_reference as reference
from tests.metrics_problems import FAILURES, failures, tied_problems
from trustjax import metrics
from trustjax.metrics import _ranking
from trustjax.metrics._guarantee import binomial_upper_bound


def distinct(curve):
    """The points of the curve without their repetitions."""
    points = np.unique(np.stack([curve.coverage, curve.risk]), axis=1)
    return points[0], points[1]


@settings(max_examples=40, derandomize=True, deadline=None)
@given(tied_problems())
def test_curve_and_area_are_their_definition(problem):
    scores, correct = (jnp.array(array) for array in problem)
    curve = metrics.risk_coverage_curve(scores, correct)
    coverage, risk = reference.risk_coverage(scores, correct)
    np.testing.assert_allclose(distinct(curve), [coverage, risk], atol=1e-6)
    np.testing.assert_array_equal(np.unique(curve.threshold), np.unique(scores))
    got = metrics.aurc(scores, correct)
    np.testing.assert_allclose(got, reference.aurc(scores, correct), atol=1e-6)


@pytest.mark.parametrize("variant", FAILURES)
def test_curve_agrees_with_fd_shifts(variant):
    golden, scores, correct = failures(variant)
    curve = metrics.risk_coverage_curve(scores, correct)
    coverage, risk = distinct(curve)
    # FD-Shifts goes from coverage 1 downwards and appends a point at 0.
    np.testing.assert_allclose(
        coverage, golden["fdshifts_curve/coverages"][-2::-1], rtol=1e-6
    )
    np.testing.assert_allclose(
        risk, golden["fdshifts_curve/selective_risks"][-2::-1], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("convention", "name", "scale"),
    [
        ("fd_shifts", "fdshifts_x1000/aurc", 1000),
        ("confidnet", "confidnet/aurc", 1),
        ("torch_uncertainty", "torch_uncertainty/aurc", 1),
    ],
)
@pytest.mark.parametrize("variant", FAILURES)
def test_every_convention_agrees_with_its_authors(variant, convention, name, scale):
    golden, scores, correct = failures(variant)
    if name not in golden:
        assert variant == "ties"  # torch-uncertainty splits ties by position
        return
    got = scale * metrics.aurc(scores, correct, convention=convention)
    np.testing.assert_allclose(got, golden[name], rtol=1e-6)


def test_mean_convention_is_the_mean_risk():
    scores, correct = jnp.array([4.0, 3.0, 2.0, 1.0]), jnp.array([1, 0, 1, 0])
    # Risks 0, 1/2, 1/3, 1/2 at the four coverages.
    np.testing.assert_allclose(
        metrics.aurc(scores, correct, convention="mean"), (1 / 2 + 1 / 3 + 1 / 2) / 4
    )


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        ("fd_shifts", 0.25),
        ("mean", 0.25),
        ("confidnet", np.nan),
        ("torch_uncertainty", np.nan),
    ],
)
def test_one_point_has_an_area_only_where_it_is_extended(convention, expected):
    equal, correct = jnp.full(4, 0.3), jnp.array([1, 0, 1, 1])
    got = metrics.aurc(equal, correct, convention=convention)
    np.testing.assert_allclose(got, expected)


def test_curve_of_nothing_is_nan():
    curve = metrics.risk_coverage_curve(
        jnp.arange(3.0), jnp.array([1, 0, 1]), weights=jnp.zeros(3, bool)
    )
    assert jnp.isnan(curve.coverage).all()
    assert jnp.isnan(curve.risk).all()


def test_unknown_convention_is_named():
    with pytest.raises(ValueError, match="convention must be one of fd_shifts, "):
        metrics.aurc(jnp.arange(2.0), jnp.array([1, 0]), convention="geifman")


@pytest.mark.parametrize("variant", FAILURES)
def test_excess_aurc_and_augrc_agree_with_their_authors(variant):
    golden, scores, correct = failures(variant)
    pairs = [
        (metrics.excess_aurc(scores, correct), golden["fdshifts_x1000/eaurc"] / 1000),
        (
            metrics.excess_aurc(scores, correct, convention="confidnet"),
            golden["confidnet/e-aurc"],
        ),
        (metrics.augrc(scores, correct), golden["fdshifts_x1000/augrc"] / 1000),
    ]
    if variant != "ties":  # torch-uncertainty splits ties by position
        got = metrics.augrc(scores, correct, convention="torch_uncertainty")
        pairs.append((got, golden["torch_uncertainty/augrc"]))
    for got, expected in pairs:
        np.testing.assert_allclose(got, expected, rtol=2e-6)


@pytest.mark.parametrize("variant", ["cont", "cont_nowindow"])
def test_working_points_agree_with_torch_uncertainty(variant):
    golden, scores, correct = failures(variant)
    np.testing.assert_allclose(
        metrics.coverage_at_risk(scores, correct, risk=0.1),
        golden["torch_uncertainty/covatxrisk_0.1"],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        metrics.risk_at_coverage(scores, correct, coverage=0.8),
        golden["torch_uncertainty/riskatxcov_0.8"],
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("correct", "excess", "augrc", "coverage"),
    [([1, 1, 1, 1], 0.0, 0.0, 1.0), ([0, 0, 0, 0], 0.0, 0.5, 0.0)],
)
def test_all_right_and_all_wrong(correct, excess, augrc, coverage):
    scores, correct = jnp.arange(4.0), jnp.array(correct)
    np.testing.assert_allclose(metrics.excess_aurc(scores, correct), excess, atol=1e-7)
    np.testing.assert_allclose(metrics.augrc(scores, correct), augrc)
    np.testing.assert_allclose(
        metrics.coverage_at_risk(scores, correct, risk=0.5), coverage
    )


def test_coverage_is_reached_in_spite_of_rounding():
    """k of n examples cover k / n, also where XLA multiplies by a rounded 1 / n."""
    scores, correct = -jnp.arange(49.0), jnp.arange(49) % 2
    for k in (41, 47):
        traced = jax.jit(
            lambda s, c, k=k: metrics.risk_at_coverage(s, c, coverage=k / 49)
        )
        expected = np.mean(np.arange(k) % 2 == 0)
        np.testing.assert_allclose(traced(scores, correct), expected, rtol=1e-6)


def test_working_points_of_ties_and_of_nothing():
    equal, correct = jnp.full(4, 0.5), jnp.array([1, 0, 1, 1])
    assert metrics.augrc(equal, correct) == 0.125
    assert metrics.coverage_at_risk(equal, correct, risk=0.2) == 0.0
    assert metrics.risk_at_coverage(equal, correct, coverage=0.0) == 0.25
    nothing = jnp.zeros(4, bool)
    for value in (
        metrics.coverage_at_risk(equal, correct, risk=0.2, weights=nothing),
        metrics.risk_at_coverage(equal, correct, coverage=0.2, weights=nothing),
    ):
        assert jnp.isnan(value)
    with pytest.raises(ValueError, match=r"risk must be in \[0, 1\], got 5.0"):
        metrics.coverage_at_risk(equal, correct, risk=5.0)
    with pytest.raises(ValueError, match=r"coverage must be in \[0, 1\]"):
        metrics.risk_at_coverage(equal, correct, coverage=-0.1)


@pytest.mark.parametrize("grid", ["quantile", "range"])
@pytest.mark.parametrize("variant", ["cont", "ties"])
def test_accuracy_and_f1_curves_are_their_definition(variant, grid):
    numbers, scores, _ = failures(variant)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, scores.shape[0]).astype(np.int32)
    labels[labels == 2] = 1  # a class that is predicted and never occurs
    predictions = np.where(numbers["correct"], labels, (labels + 1) % 4)
    predictions = predictions.astype(np.int32)
    values = np.asarray(scores)
    expected = reference.percentile_curve_area(
        values, lambda kept: np.mean(predictions[kept] == labels[kept]), grid
    )
    got = metrics.auac(scores, jnp.asarray(predictions == labels), grid=grid)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert metrics.audc(scores, jnp.asarray(predictions == labels), grid=grid) == got
    for average in ("macro", "weighted", "micro"):
        expected = reference.percentile_curve_area(
            values,
            lambda kept, average=average: sklearn_metrics.f1_score(
                labels[kept], predictions[kept], average=average, zero_division="warn"
            ),
            grid,
        )
        got = metrics.aufc(
            scores,
            jnp.asarray(predictions),
            jnp.asarray(labels),
            grid=grid,
            average=average,
        )
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_f1_of_many_classes_is_that_of_few():
    """A table of all pairs of classes where examples are many, and else two passes."""
    numbers, scores, _ = failures("ties")
    right = jnp.tile(jnp.asarray(numbers["correct"]) == 1, 6)
    scores, labels = jnp.tile(scores, 6), jnp.arange(right.shape[0]) % 5
    predictions = jnp.where(right, labels, 4 - labels)
    few, many = (
        metrics.aufc(scores, predictions, labels, num_classes=classes)
        for classes in (5, 100)
    )
    np.testing.assert_allclose(many, few, rtol=1e-6)


def test_only_the_quantile_grid_is_a_ranking_metric():
    _, scores, correct = failures("cont")
    stretched = jnp.exp(2 * scores)
    same = metrics.auac(stretched, correct)
    np.testing.assert_allclose(same, metrics.auac(scores, correct), rtol=1e-6)
    by_range = metrics.auac(stretched, correct, grid="range")
    assert by_range > metrics.auac(scores, correct, grid="range") + 0.01


def test_curves_at_their_limits():
    correct = jnp.array([1, 0, 1, 1])
    for grid in ("quantile", "range"):
        assert metrics.auac(jnp.full(4, 0.5), correct, grid=grid) == 0.75
        assert metrics.auac(jnp.ones(1), jnp.ones(1, bool), grid=grid) == 1.0
        nothing = jnp.zeros(4, bool)
        assert jnp.isnan(
            metrics.auac(jnp.arange(4.0), correct, grid=grid, weights=nothing)
        )
    infinite = jnp.array([1.0, 2.0, 3.0, jnp.inf])
    assert metrics.auac(infinite, correct) == metrics.auac(jnp.arange(4.0), correct)
    assert jnp.isnan(metrics.auac(infinite, correct, grid="range"))
    classes = jnp.array([0, 1, 1, 0])
    assert jnp.isnan(metrics.aufc(infinite, classes, classes, grid="range"))
    assert metrics.aufc(infinite, classes, classes) == 1.0


def test_number_of_classes_is_read_or_asked_for():
    scores, classes = jnp.arange(3.0), jnp.array([0, 5, 1])
    given_classes = metrics.aufc(scores, classes, classes, num_classes=9)
    assert metrics.aufc(scores, classes, classes) == given_classes
    for metric in (metrics.aufc, metrics.summary):
        with pytest.raises(ValueError, match="num_classes must be given"):
            jax.jit(metric)(scores, classes, classes)
        with pytest.raises(ValueError, match=r"predictions must be in \[0, 3\), got 5"):
            metric(scores, classes, classes, num_classes=3)
        traced = jax.jit(metric, static_argnames="num_classes")
        lost = traced(scores, classes, classes, num_classes=3)
        assert jnp.isnan(jax.tree.leaves(lost)[-1])


def test_summary_is_its_parts():
    numbers, scores, correct = failures("ties")
    labels = jnp.arange(scores.shape[0]) % 3
    predictions = jnp.where(correct == 1, labels, (labels + 1) % 3)
    got = metrics.summary(scores, predictions, labels)
    expected = metrics.Summary(
        accuracy=numbers["large/accuracy"],
        auroc=metrics.auroc(scores, correct),
        aupr_success=metrics.aupr_success(scores, correct),
        aupr_error=metrics.aupr_error(scores, correct),
        fpr_at_95_tpr=metrics.fpr_at_tpr(scores, correct),
        detection_error=metrics.detection_error(scores, correct),
        aurc=metrics.aurc(scores, correct),
        excess_aurc=metrics.excess_aurc(scores, correct),
        augrc=metrics.augrc(scores, correct),
        auac=metrics.auac(scores, correct),
        auac_range=metrics.auac(scores, correct, grid="range"),
        aufc=metrics.aufc(scores, predictions, labels),
        aufc_range=metrics.aufc(scores, predictions, labels, grid="range"),
    )
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    traced = jax.jit(metrics.summary, static_argnames="num_classes")
    spoilt = scores.at[3].set(jnp.nan)
    got = traced(spoilt, predictions, labels, num_classes=3)
    assert jnp.isnan(jnp.stack(got)).all()


@pytest.mark.parametrize("count", [1, 7, 200, 50_000])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.7, 1.0])
@pytest.mark.parametrize("chance", [0.05, 1e-5])
def test_binomial_bound_is_that_of_clopper_and_pearson(count, share, chance):
    wrong = int(share * count)
    got = binomial_bound(jnp.int32(wrong), jnp.int32(count), jnp.log(chance))
    exact = scipy.stats.beta.ppf(1 - chance, wrong + 1, count - wrong)
    np.testing.assert_allclose(got, 1.0 if wrong == count else exact, rtol=1e-6)


binomial_bound = jax.jit(binomial_upper_bound)


@pytest.mark.exhaustive
def test_guaranteed_selection_holds_on_new_data():
    """The true risk of what is selected, over many calibration sets."""

    def right(key, scores):
        return jax.random.uniform(key, scores.shape) < jax.nn.sigmoid(4 * scores + 1)

    def one(key):
        first, second = jax.random.split(key)
        scores = jax.random.normal(first, (500,))
        return metrics.selection_with_guaranteed_risk(
            scores, right(second, scores), risk=0.15, delta=0.1
        )

    chosen = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 40))
    grid = jnp.linspace(-5.0, 5.0, 4001)
    selected = grid[:, None] >= chosen.threshold[None]
    weight = jnp.exp(-0.5 * grid**2)[:, None] * selected
    wrong = 1 - jax.nn.sigmoid(4 * grid + 1)
    true_risk = (weight * wrong[:, None]).sum(axis=0) / weight.sum(axis=0)
    # delta = 0.1 allows 4 of 40; the union bound makes it far rarer.
    assert (true_risk > chosen.bound).sum() <= 4
    assert (chosen.bound <= 0.15).all()
    assert (chosen.risk < chosen.bound).all()
    assert (chosen.coverage > 0.3).all()


def test_guaranteed_selection_at_its_limits():
    scores = jnp.arange(8.0)
    right = metrics.selection_with_guaranteed_risk(
        scores, jnp.ones(8, bool), risk=0.9, delta=0.01
    )
    # Four thresholds are looked at: ceil(log2 9).
    np.testing.assert_allclose(right, [0, 1, 0, 1 - (0.01 / 4) ** (1 / 8)], rtol=1e-5)
    wrong = metrics.selection_with_guaranteed_risk(scores, jnp.zeros(8, bool), risk=0.5)
    np.testing.assert_array_equal(wrong, [np.inf, 0, np.nan, np.nan])
    few = metrics.selection_with_guaranteed_risk(scores, jnp.ones(8, bool), risk=0.01)
    np.testing.assert_array_equal(few, [np.inf, 0, np.nan, np.nan])
    one = metrics.selection_with_guaranteed_risk(
        jnp.zeros(1), jnp.ones(1, bool), risk=0.95, delta=0.1
    )
    np.testing.assert_allclose(one, [0, 1, 0, 0.9], rtol=1e-6)
    traced = jax.jit(metrics.selection_with_guaranteed_risk, static_argnames="risk")
    spoilt = traced(scores.at[2].set(jnp.nan), jnp.ones(8, bool), risk=0.9)
    assert jnp.isnan(jnp.stack(spoilt)).all()
    for risk, delta in [(0.0, 0.001), (0.1, 1.0)]:
        with pytest.raises(ValueError, match=r"must be in \(0, 1\)"):
            metrics.selection_with_guaranteed_risk(
                scores, jnp.ones(8, bool), risk=risk, delta=delta
            )


@pytest.mark.parametrize(
    ("size", "risk", "delta", "bound"),
    [
        (60, 0.1, 0.1, 0.065963),
        (100, 0.07, 0.1, 0.0416),
        (2000, 0.0088, 0.001, 0.00464),
    ],
)
def test_a_small_set_without_errors_is_accepted_whole(size, risk, delta, bound):
    chosen = metrics.selection_with_guaranteed_risk(
        jnp.arange(float(size)), jnp.ones(size, int), risk=risk, delta=delta
    )
    assert (chosen.threshold, chosen.coverage, chosen.risk) == (0, 1, 0)
    np.testing.assert_allclose(chosen.bound, bound, rtol=2e-3)
    np.testing.assert_allclose(
        chosen.bound,
        1 - (delta / np.ceil(np.log2(size + 1))) ** (1 / size),
        rtol=1e-5,
    )


def test_too_small_a_set_guarantees_nothing():
    chosen = metrics.selection_with_guaranteed_risk(
        jnp.arange(60.0), jnp.ones(60, int), risk=0.05, delta=0.1
    )
    assert chosen.threshold == jnp.inf
    assert chosen.coverage == 0


@pytest.mark.exhaustive
def test_no_slack_that_four_million_examples_can_see():
    """One error in four millions is a risk; one right answer short is not all."""
    size = 4_000_000
    scores = -jnp.arange(float(size))
    one_wrong = jnp.ones(size, bool).at[size - 2].set(False)
    covered = metrics.coverage_at_risk(scores, one_wrong, risk=0.0)
    assert covered == np.float32((size - 2) / size)
    exact = metrics.coverage_at_risk(scores, one_wrong, risk=1 / (size - 1))
    assert exact == 1
    assert metrics.fpr_at_tpr(scores, one_wrong, tpr=1.0) == 1
    assert metrics.fpr_at_tpr(scores, one_wrong, tpr=1 - 2 / size) == 0
    risk = metrics.risk_at_coverage(scores, one_wrong, coverage=1.0)
    assert risk == np.float32(1 / size)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.integers(1, 2**31 - 1), st.data())
def test_shares_of_counts_are_compared_exactly(total, data):
    count = data.draw(st.integers(0, total))
    fraction = Fraction(data.draw(st.integers(0, 1000)), 1000)
    assert _ranking.as_fraction(float(fraction)) == fraction
    for share in (fraction, Fraction(count, total)):
        got = _ranking.reaches(jnp.int32(count), jnp.int32(total), share)
        assert got == (Fraction(count, total) >= share)
