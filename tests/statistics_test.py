"""Statistics against NumPy and SciPy, at every scale."""

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from tests import reference
from trustjax import statistics

NAMES = [statistic.__name__ for statistic in statistics.DEFAULT]


def all_of(gradient):
    m = statistics.moments(gradient)
    return np.array([statistic(m) for statistic in statistics.DEFAULT])


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 1e12])
@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_statistics_are_those_of_numpy_and_scipy(scale, shift):
    # Skewed numbers, so that no moment is near zero by symmetry.
    numbers = jax.random.gamma(jax.random.key(0), 2.0, (64, 33)) + shift
    numbers = np.asarray(numbers * scale)
    np.testing.assert_allclose(
        all_of(jnp.asarray(numbers)), reference.statistics_of(numbers), rtol=2e-5
    )


def test_a_tree_is_pooled():
    tree = {"kernel": jnp.array([[1.0, -3.0]]), "bias": (jnp.array([10.0, 2.0, 1e-3]),)}
    pooled = np.concatenate([[1.0, -3.0], [10.0, 2.0, 1e-3]])
    np.testing.assert_allclose(all_of(tree), reference.statistics_of(pooled), rtol=2e-6)


def test_tensors_of_very_different_size_merge():
    tree = [1e-9 * jnp.arange(1.0, 9.0), 1e9 * jnp.array([1.0, 2.0, 4.0])]
    pooled = np.concatenate(tree)
    np.testing.assert_allclose(all_of(tree), reference.statistics_of(pooled), rtol=2e-6)


def test_bfloat16_is_accumulated_in_float32():
    numbers = jax.random.normal(jax.random.key(1), (4000,)).astype(jnp.bfloat16)
    result = all_of(numbers)
    assert result.dtype == np.float32
    np.testing.assert_allclose(
        result, reference.statistics_of(np.asarray(numbers, np.float32)), rtol=1e-4
    )


ZEROS = {"l1_norm": 0, "l2_norm": 0, "minimum": 0, "maximum": 0, "mean": 0}


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        # All zero: norms, extremes, mean and deviation 0; the shape is undefined.
        ([0.0, 0.0], ZEROS | {"standard_deviation": 0}),
        # One component: no deviation (0 / 0).
        ([5.0], {"l1_norm": 5, "l2_norm": 5, "minimum": 5, "maximum": 5, "mean": 5}),
        # All equal: deviation 0.
        (
            [-2.0, -2.0],
            {
                "l1_norm": 4,
                "l2_norm": 8**0.5,
                "minimum": -2,
                "maximum": -2,
                "mean": -2,
                "standard_deviation": 0,
            },
        ),
        # Two values, half each: m2 = m4 = 1, m3 = 0, so kurtosis 1 - 3.
        (
            [-1.0, 1.0],
            {
                "l1_norm": 2,
                "l2_norm": 2**0.5,
                "minimum": -1,
                "maximum": 1,
                "mean": 0,
                "standard_deviation": 2**0.5,
                "skewness": 0,
                "kurtosis": -2,
            },
        ),
        ([np.nan, 1.0], {}),
    ],
)
def test_edge_cases(numbers, expected):
    np.testing.assert_allclose(
        all_of(jnp.array(numbers)),
        [expected.get(name, np.nan) for name in NAMES],
        rtol=1e-6,
    )


def test_norms_have_finite_derivatives_at_zero():
    for statistic in (statistics.l2_norm, statistics.standard_deviation):
        np.testing.assert_array_equal(jax.grad(statistic)(jnp.zeros(3)), 0)


@pytest.mark.parametrize("statistic", statistics.DEFAULT)
def test_statistics_are_differentiable(statistic):
    numbers = jax.random.gamma(jax.random.key(2), 2.0, (12,)) - 1.5
    jax.test_util.check_grads(statistic, (numbers,), 2, rtol=3e-2, eps=1e-2)


def test_nothing_to_take_statistics_of_is_an_error():
    with pytest.raises(ValueError, match="no gradients"):
        statistics.moments({})
    with pytest.raises(ValueError, match=r"must not be empty, got shape \(0, 3\)"):
        statistics.moments(jnp.zeros((0, 3)))


def test_select_lists_what_there_is():
    result = statistics.GradientStatistics(
        jnp.zeros((4, 2, 1)), ("conv1", "dense"), ("l2_norm",)
    )
    assert result.select("dense", "l2_norm").shape == (4,)
    with pytest.raises(ValueError, match="group must be one of conv1, dense"):
        result.select("conv2", "l2_norm")
