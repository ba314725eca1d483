"""Which heads have one derivative for all examples."""

import jax
import jax.numpy as jnp
import pytest

from tests import networks
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
