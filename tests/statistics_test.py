"""Statistics against NumPy and SciPy, at every scale."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from tests import reference
from trustjax import statistics

NAMES = [statistic.__name__ for statistic in statistics.DEFAULT]


@jax.jit
def stacked(gradient):
    m = statistics.moments(gradient)
    return jnp.stack([statistic(m) for statistic in statistics.DEFAULT])


def all_of(gradient):
    return np.asarray(stacked(gradient))


SCALES = [1e-45, 1e-39, 1e-37, 1e-30, 1e-20, 1e-12, 1.0, 1e12, 1e20, 1e30, 1e37, 3e38]


SMALLEST, LARGEST = (float(getattr(np.finfo(np.float32), e)) for e in ("tiny", "max"))


def at_scale(numbers, scale):
    """Float32 numbers of which the largest is the scale.

    Denormal ones are zero, as CPUs have them.
    """
    numbers = np.asarray(numbers, np.float64)
    scaled = (numbers * (scale / np.abs(numbers).max())).astype(np.float32)
    return np.where(np.abs(scaled) < SMALLEST, np.float32(0), scaled)


@jax.jit
def of_array_product_and_pool(a, b):
    """Of `a` alone, of all products with `b`, and of `a` and `b` pooled."""
    pieces = a, statistics.outer(*map(statistics.moments, (a, b))), [a, b]
    moments = map(statistics.moments, pieces)
    return jnp.stack([jnp.stack([s(m) for s in statistics.DEFAULT]) for m in moments])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("other", SCALES)
def test_statistics_hold_wherever_float32_does(scale, other):
    left, right = jax.random.gamma(jax.random.key(0), 2.0, (2, 40)) - 1.0
    a, b = at_scale(left, scale), at_scale(right, other)
    results = np.asarray(of_array_product_and_pool(a, b))
    a, b = a.astype(np.float64), b.astype(np.float64)
    sets = {"array": a, "product": np.outer(a, b), "pool": np.concatenate([a, b])}
    for (name, numbers), values in zip(sets.items(), results, strict=True):
        largest = np.abs(numbers).max()
        if largest > LARGEST:
            continue
        with np.errstate(over="ignore"):
            expected = reference.statistics_of(numbers).astype(np.float32)
        lost = numbers.size * SMALLEST
        np.testing.assert_allclose(values[:6], expected[:6], 1e-5, lost, err_msg=name)
        if largest > 1e6 * SMALLEST:
            np.testing.assert_allclose(values[6:], expected[6:], 1e-4, err_msg=name)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_statistics_hold_wherever_float64_does(scale):
    numbers = np.random.default_rng(0).gamma(2.0, size=40)
    with jax.enable_x64(True):
        result = all_of(jnp.asarray(numbers * scale))
    unit = np.array([scale] * 6 + [1, 1])
    np.testing.assert_allclose(result / unit, reference.statistics_of(numbers), 1e-12)


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
        # Equal numbers whose mean rounds to another one: they have no shape either.
        (
            [0.1] * 3,
            {
                "l1_norm": 0.3,
                "l2_norm": 0.03**0.5,
                "minimum": 0.1,
                "maximum": 0.1,
                "mean": 0.1,
                "standard_deviation": 0,
            },
        ),
        # An infinite one: norms and its own extreme; the rest is inf - inf.
        (
            [np.inf, 1.0],
            {
                "l1_norm": np.inf,
                "l2_norm": np.inf,
                "minimum": 1,
                "maximum": np.inf,
                "mean": np.inf,
            },
        ),
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
    jax.test_util.check_grads(jax.jit(statistic), (numbers,), 2, rtol=3e-2, eps=1e-2)


@jax.jit
def derivatives(numbers):
    return jax.jacrev(lambda g: jnp.stack([s(g) for s in statistics.DEFAULT]))(numbers)


@pytest.mark.parametrize("scale", SCALES)
def test_derivatives_are_the_same_at_every_scale(scale):
    numbers = jnp.asarray(np.random.default_rng(0).gamma(2.0, size=40), jnp.float32)
    numbers = numbers / numbers.max()
    expected, scaled = derivatives(numbers), derivatives(numbers * scale)
    # Derivatives of the shape are in the inverse unit.
    assert np.isfinite(scaled[:6] if scale < 1e-37 else scaled).all()
    if scale >= 1e-30:
        np.testing.assert_allclose(scaled[:6], expected[:6], rtol=1e-4, atol=1e-6)
    if 1e-30 <= scale <= 1e30:
        np.testing.assert_allclose(
            np.float64(scaled[6:]) * scale, expected[6:], rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize("numbers", [[0.0, 0.0, 0.0], [0.1, 0.1, 0.1]])
def test_derivatives_are_finite_where_the_shape_is_undefined(numbers):
    def l2_norm_of_all(numbers):
        m = statistics.moments(numbers)
        return jnp.stack([s(m) for s in statistics.DEFAULT])[1]

    numbers = jnp.array(numbers)
    norm = np.linalg.norm(numbers)
    expected = np.asarray(numbers) / (norm or 1.0)
    slopes = jax.jit(jax.grad(l2_norm_of_all))(numbers)
    np.testing.assert_allclose(slopes, expected, rtol=1e-6)


@jax.jit
def values_and_derivatives(numbers, padded, count):
    """Of a vector, and of the same vector with zeros after it."""

    def of_leading(numbers):
        padded_numbers = padded.at[: len(numbers)].set(numbers)
        m = statistics.moments(padded_numbers, count=count)
        m = dataclasses.replace(m, count=len(numbers))
        return jnp.stack([s(m) for s in statistics.DEFAULT])

    def of_all(numbers):
        m = statistics.moments(numbers)
        return jnp.stack([s(m) for s in statistics.DEFAULT])

    return [(f(numbers), jax.jacrev(f)(numbers)) for f in (of_leading, of_all)]


@pytest.mark.parametrize(
    "numbers",
    [
        np.random.default_rng(3).gamma(2.0, size=9) - 1,
        np.arange(1.0, 10.0),
        -np.arange(1.0, 10.0) * 1e-30,
        np.full(9, 0.1),
        np.array([np.inf, *range(8)]),
        np.array([np.nan, *range(8)]),
    ],
)
def test_zeros_after_the_numbers_count_for_nothing(numbers):
    padded, whole = values_and_derivatives(
        jnp.asarray(numbers, jnp.float32), jnp.zeros(16), jnp.array(9)
    )
    jax.tree.map(np.testing.assert_allclose, padded, whole)


def test_integers_are_numbers_and_complex_ones_are_refused():
    np.testing.assert_allclose(
        all_of(jnp.arange(5)), reference.statistics_of(np.arange(5)), rtol=1e-6
    )
    with pytest.raises(TypeError, match="must be real, got complex64"):
        statistics.moments(jnp.ones(2, complex))


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
