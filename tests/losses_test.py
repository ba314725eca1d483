import functools
import math

import chex
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests import golden_numbers
from trustjax import losses

GOLDEN = golden_numbers.load("03_oracle_losses")

STEEP = functools.partial(losses.steep_slope_loss, alpha_positive=1, alpha_negative=3)
# Each takes (z, correct) alike.
LOSSES = {
    "steep_slope": STEEP,
    "cross_entropy": losses.oracle_cross_entropy,
    "focal": losses.oracle_focal_loss,
    "focal_half": functools.partial(losses.oracle_focal_loss, gamma=0.5),
    "true_class_probability": lambda z, correct: losses.true_class_probability_loss(
        z, jnp.where(correct, 0.75, 0.125).astype(z.dtype)
    ),
}


@pytest.fixture(params=LOSSES)
def loss_fn(request):
    return LOSSES[request.param]


def problem(size=16, dtype=jnp.float32):
    z = 2 * jax.random.normal(jax.random.key(0), (size,), dtype)
    return z, jnp.arange(size) % 3 != 0


def value_and_gradient(loss_fn, z, *targets):
    """The losses, and each one's derivative by its own z."""
    total = lambda z: jnp.sum(loss_fn(z, *targets))
    return loss_fn(z, *targets), jax.grad(total)(z)


# Against the definitions and the authors' code


def steep_slope_by_loop(z, correct, alpha_positive, alpha_negative):
    out = []
    for value, right in zip(np.asarray(z, np.float64), correct, strict=True):
        s = value / (1 + abs(value))
        alpha = alpha_positive if right else alpha_negative
        sign = -1 if right else 1
        out.append(math.exp(sign * alpha * s) - math.exp(-alpha))
    return np.array(out)


def test_steep_slope_is_its_definition():
    z, correct = problem()
    expected = steep_slope_by_loop(z, correct, 1, 3)
    np.testing.assert_allclose(STEEP(z, correct), expected, rtol=1e-5)


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("row", range(5))
def test_steep_slope_agrees_with_the_authors(row, right):
    alpha_positive, alpha_negative = map(float, GOLDEN["grid/alphas_pos_neg"][row])
    with jax.enable_x64(True):
        grid = jnp.asarray(GOLDEN["grid/z"])
        for j, betas in enumerate(GOLDEN["grid/betas_pos_neg"]):
            value, gradient = value_and_gradient(
                functools.partial(
                    losses.steep_slope_loss,
                    alpha_positive=alpha_positive,
                    alpha_negative=alpha_negative,
                ),
                grid - betas[0] if right else grid + betas[1],
                jnp.full(grid.shape, right),
            )
            where = (row, j, int(right))
            golden = GOLDEN["steep/loss"][where], GOLDEN["steep/grad_z"][where]
            # The authors' abs has the derivative 0 at 0, where this one has its limit.
            smooth = np.abs(gradient - golden[1]) < 1e-9
            assert smooth.sum() >= grid.size - 1
            np.testing.assert_allclose(value, golden[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "loss_fn"),
    [
        ("ce", losses.oracle_cross_entropy),
        ("focal_g2", losses.oracle_focal_loss),
    ],
)
def test_cross_entropy_and_focal_agree_with_the_authors(name, loss_fn):
    with jax.enable_x64(True):
        grid = jnp.asarray(GOLDEN["grid/z"])
        for right in (0, 1):
            value, gradient = value_and_gradient(loss_fn, grid, jnp.full(129, right))
            golden = GOLDEN[f"grid/{name}/loss"][right]
            # They add 1e-7 inside the logarithm: the loss ends at 16.1.
            inside = golden < 9
            assert inside.sum() > 60
            np.testing.assert_allclose(value[inside], golden[inside], atol=2e-3)
            derivative = GOLDEN[f"grid/{name}/grad_z"][right]
            np.testing.assert_allclose(gradient[inside], derivative[inside], atol=2e-3)


def test_true_class_probability_agrees_with_the_authors():
    with jax.enable_x64(True):
        z, target = (jnp.asarray(GOLDEN[f"batch/{n}"]) for n in ("z", "tcp/target_py"))
        value, gradient = value_and_gradient(
            losses.true_class_probability_loss, z, target
        )
        np.testing.assert_allclose(value, GOLDEN["batch/tcp/persample"], atol=1e-7)
        np.testing.assert_allclose(
            gradient / z.size, GOLDEN["batch/tcp/grad_z"], atol=1e-7
        )


def test_focal_without_gamma_is_cross_entropy():
    z, correct = problem()
    np.testing.assert_allclose(
        losses.oracle_focal_loss(z, correct, gamma=0.0),
        losses.oracle_cross_entropy(z, correct),
    )


# What every loss must do


def test_shape_dtype_and_range(loss_fn):
    for dtype in (jnp.float32, jnp.bfloat16):
        value = loss_fn(*problem(dtype=dtype))
        chex.assert_shape(value, (16,))
        chex.assert_type(value, jnp.float32)
        assert (value >= 0).all()


def test_jit_is_eager_and_compiles_once(loss_fn):
    z, correct = problem()
    chex.clear_trace_counter()
    traced = lambda z, correct: loss_fn(z, correct)
    jitted = jax.jit(chex.assert_max_traces(traced, n=1))
    np.testing.assert_allclose(jitted(z, correct), loss_fn(z, correct), rtol=1e-5)
    jitted(2 * z, ~correct)


def test_vmap_is_a_loop(loss_fn):
    z, correct = problem()
    stacked = jax.vmap(loss_fn)(z.reshape(4, 4), correct.reshape(4, 4))
    np.testing.assert_allclose(stacked.ravel(), loss_fn(z, correct), rtol=1e-5)


def test_each_example_has_its_own_loss(loss_fn):
    z, correct = problem()
    order = jax.random.permutation(jax.random.key(1), 16)
    np.testing.assert_allclose(
        loss_fn(z[order], correct[order]), loss_fn(z, correct)[order], rtol=1e-6
    )


def test_sharded_is_unsharded_and_stays_sharded(loss_fn):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    value = jax.jit(loss_fn)(*jax.device_put(problem(), sharding))
    assert value.sharding.is_equivalent_to(sharding, 1)
    np.testing.assert_allclose(value, loss_fn(*problem()), rtol=1e-5)


def test_gradients_are_those_of_differences(loss_fn):
    with jax.enable_x64(True):
        z, correct = problem(dtype=jnp.float64)
        loss_of_z = lambda z: loss_fn(jnp.asarray(z), correct)
        jax.test_util.check_grads(loss_of_z, (z,), order=1)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("right", [False, True])
def test_far_outputs_have_finite_losses_and_gradients(loss_fn, dtype, right):
    largest = float(jnp.finfo(dtype).max)
    far = [1e2, 1e10, 1e30, largest, math.inf]
    z = jnp.array([*far, *(-value for value in far)], dtype)
    value, gradient = value_and_gradient(loss_fn, z, jnp.full(z.shape, right))
    chex.assert_tree_all_finite((value, gradient))
    towards = gradient if not right else -gradient
    if loss_fn is not LOSSES["true_class_probability"]:
        assert (towards >= 0).all()


def test_nan_stays_nan(loss_fn):
    value = loss_fn(jnp.array([jnp.nan, 1.0]), jnp.array([True, False]))
    np.testing.assert_array_equal(jnp.isnan(value), [True, False])


# Edge cases, worked out by hand


def test_steep_slope_at_its_limits_and_at_zero():
    z = jnp.array([jnp.inf, -jnp.inf, 0.0, jnp.inf, -jnp.inf, 0.0])
    correct = jnp.array([True, True, True, False, False, False])
    value, gradient = value_and_gradient(STEEP, z, correct)
    e = math.exp
    expected = [0, e(1) - e(-1), 1 - e(-1), e(3) - e(-3), 0, 1 - e(-3)]
    np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(gradient, [0, 0, -1, 0, 0, 3], rtol=1e-6)


def test_cross_entropy_and_focal_at_their_limits():
    z = jnp.array([jnp.inf, -jnp.inf])
    largest = float(jnp.finfo(jnp.float32).max)
    for loss_fn, limit in (
        (losses.oracle_cross_entropy, largest),
        (losses.oracle_focal_loss, largest / 3),  # gamma = 2
    ):
        value, gradient = value_and_gradient(loss_fn, z, jnp.array([1, 1]))
        np.testing.assert_allclose(value, [0, limit])
        np.testing.assert_array_equal(gradient, [0, 0])


def test_true_class_probability_at_its_limits():
    value, gradient = value_and_gradient(
        losses.true_class_probability_loss,
        jnp.array([jnp.inf, -jnp.inf]),
        jnp.array([0.75, 0.75]),
    )
    np.testing.assert_allclose(value, [0.0625, 0.5625])
    np.testing.assert_array_equal(gradient, [0, 0])


@pytest.mark.parametrize(
    ("counts", "beta", "expected"),
    [
        ([5, 500], 0.0, [1, 1]),
        ([1, 3], 1.0, [1.5, 0.5]),  # 1 and 1/3, times 2 / (4/3)
        ([1, 2], 0.5, [1.2, 0.8]),  # 1 and 0.5/0.75 = 2/3, times 2 / (5/3)
        ([0, 7], 0.9, [0, 2]),
        ([0, 0], 0.9, [0, 0]),
    ],
)
def test_class_balanced_weights(counts, beta, expected):
    weights = losses.class_balanced_weights(jnp.array(counts), beta=beta)
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_class_balanced_weights_keep_their_digits_near_one():
    n, beta = np.array([600, 59_400]), 0.999999
    weights = losses.class_balanced_weights(jnp.asarray(n), beta=beta)
    expected = 1 / (1 - beta**n)
    np.testing.assert_allclose(weights, 2 * expected / expected.sum(), rtol=1e-4)


def test_bound_is_theorem_3_1():
    # max(e - 1/e, e^2 - 1/e^2) = 7.2537; sqrt((log 8 + log 20) / 400) = 0.11264
    bound = losses.steep_slope_bound(
        200,
        alpha_positive=1,
        alpha_negative=2,
        log_hypotheses=math.log(8),
        delta=0.1,
    )
    assert bound == pytest.approx(7.253720 * 0.112640, rel=1e-4)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda z, o: STEEP(z[:, None], o),
            r"z must have shape \[batch\], got \(16, 1",
        ),
        (lambda z, o: STEEP(z, o[:5]), "same length: z has 16, correct has 5"),
        (lambda z, o: STEEP(z, 2 * o), "correct must be 0 or 1, got 2"),
        (
            lambda z, o: losses.steep_slope_loss(
                z, o, alpha_positive=0.0, alpha_negative=1.0
            ),
            "alpha_positive must be positive, got 0.0",
        ),
        (
            lambda z, o: losses.steep_slope_loss(
                z, o, alpha_positive=1.0, alpha_negative=math.nan
            ),
            "alpha_negative must be positive, got nan",
        ),
        (
            lambda z, o: losses.steep_slope_loss(
                z, o, alpha_positive=100.0, alpha_negative=1.0
            ),
            "alpha_positive must be at most 80, got 100",
        ),
        (
            lambda z, o: losses.oracle_focal_loss(z, o, gamma=-1.0),
            "gamma must not be negative",
        ),
        (
            lambda z, o: losses.true_class_probability_loss(z, 9 * jnp.ones(16)),
            r"probability must be in \[0, 1\], got 9",
        ),
        (
            lambda z, o: losses.class_balanced_weights(jnp.array([1, 2]), beta=1.5),
            r"beta must be in \[0, 1\], got 1.5",
        ),
        (
            lambda z, o: losses.steep_slope_bound(
                0, alpha_positive=1, alpha_negative=1, log_hypotheses=0
            ),
            "num_examples must be an integer >= 1",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*problem())
