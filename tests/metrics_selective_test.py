import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from tests import metrics_reference as reference
from tests.metrics_problems import FAILURES, failures, tied_problems
from trustjax import metrics


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
        jnp.arange(3.0), jnp.array([1, 0, 1]), where=jnp.zeros(3, bool)
    )
    assert jnp.isnan(curve.coverage).all()
    assert jnp.isnan(curve.risk).all()


def test_unknown_convention_is_named():
    with pytest.raises(ValueError, match="convention must be one of fd_shifts, "):
        metrics.aurc(jnp.arange(2.0), jnp.array([1, 0]), convention="geifman")
