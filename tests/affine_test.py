"""Which heads have one derivative for all examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import networks, problems
from trustjax import transforms


def head_is_affine(name):
    apply_fn, params, x, *_ = networks.get(name)
    split = transforms.split(apply_fn, params, x, at="feature_map")
    features = jax.eval_shape(split.features_fn, params, x)
    return transforms.is_affine(split.head_fn, params, features)


@pytest.mark.parametrize(
    "name",
    ["dense", "temperature", "channels_first", "jitted", "rematerialised", "mixer"],
)
def test_a_mean_and_a_dense_layer_are(name):
    assert head_is_affine(name)


@pytest.mark.parametrize(
    "name",
    ["log_softmax", "cosine", "two_heads", "largest_of_windows", "class_token"],
)
def test_what_multiplies_or_chooses_by_the_features_is_not(name):
    assert not head_is_affine(name)


def test_what_is_computed_and_not_used_does_not_count():
    fun = lambda w, x: x @ w + 0 * jnp.sum(jax.lax.stop_gradient(jnp.tanh(x)))
    assert transforms.is_affine(fun, jnp.ones((4, 2)), jnp.ones((3, 4)))


def test_a_derivative_that_depends_on_x_without_one_of_its_own():
    """That of ReLU is 0 or 1: its own derivative is 0, and yet it depends on x."""
    assert not transforms.is_affine(
        lambda w, x: jnp.where(x > 0, x, 0) @ w, jnp.ones((4, 2)), jnp.ones((3, 4))
    )


def test_under_a_transformation():
    w, x = jnp.ones((4, 2)), jnp.ones((3, 4))
    found = []

    @jax.jit
    def traced(w, x):
        found.append(transforms.is_affine(lambda w, x: x @ w, w, x))
        found.append(transforms.is_affine(lambda w, x: x * x, w, x))
        return x

    jax.vmap(traced, (None, 0))(w, x[None])
    assert found == [True, False]


def test_a_network_is_cut_where_it_bends():
    """The stem of a residual network, its norm included, and nothing of a square."""
    apply_fn, params, x = problems.get("resnet")
    start = transforms.affine_start(apply_fn, params, x)
    features = start.features_fn(params, x)
    assert features.shape == (8, 6, 6, 4)
    whole = start.head_fn(params, features)
    np.testing.assert_allclose(whole, apply_fn(params, x), rtol=1e-5, atol=1e-6)
    between = start.features_fn(params, 0.25 * x[:4] + 0.75 * x[4:])
    line = 0.25 * features[:4] + 0.75 * features[4:]
    np.testing.assert_allclose(between, line, rtol=1e-4, atol=1e-5)
    square = lambda params, x: (x**2) @ params
    start = transforms.affine_start(square, jnp.ones((3, 2)), jnp.ones((2, 3)))
    np.testing.assert_array_equal(start.features_fn(None, jnp.ones((1, 3))), [[1] * 3])
