"""Which heads have one derivative for all examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

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


def features_and_last_layer(apply_fn, params, x):
    split = transforms.split(apply_fn, params, x, at="embedding")
    features = split.features_fn(params, x)
    return features, transforms.last_layer(split.head_fn, params, features)


@pytest.mark.parametrize(
    "name",
    ["dense", "temperature", "channels_first", "cosine", "rematerialised", "mixer"],
)
def test_the_last_layer_makes_the_logits_of_the_features(name):
    apply_fn, params, x, *_ = networks.get(name)
    features, (kernel, bias) = features_and_last_layer(apply_fn, params, x)
    logits = apply_fn(params, x)
    assert (len(kernel), len(bias)) == (features.shape[1], logits.shape[1])
    np.testing.assert_allclose(features @ kernel + bias[None], logits, rtol=1e-5)


@pytest.mark.parametrize(("width", "classes"), [(4, 9), (9, 4), (1, 5), (5, 1)])
def test_the_last_layer_is_the_parameters_to_the_last_bit(width, classes):
    keys = jax.random.split(jax.random.key(0))
    params = {
        "kernel": jax.random.normal(keys[0], (width, classes)),
        "bias": 1e6 * jax.random.normal(keys[1], (classes,)),
    }
    head = lambda p, h: h @ p["kernel"] + p["bias"][None]
    found = transforms.last_layer(head, params, jnp.ones((3, width)))
    np.testing.assert_array_equal(found.kernel, params["kernel"])
    np.testing.assert_array_equal(found.bias, params["bias"])


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_the_last_layer_of_sharded_parameters(kind):
    """Kernels that are divided among devices, and a batch that is."""
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType[kind],) * 2)
    keys = jax.random.split(jax.random.key(0), 3)
    params = {
        "hidden": jax.random.normal(keys[0], (6, 8)),
        "dense": jax.random.normal(keys[1], (8, 4)),
    }
    x = jax.random.normal(keys[2], (8, 6))

    def apply_fn(params, x):
        return jnp.tanh(x @ params["hidden"]) @ params["dense"] / 2

    placed = {
        "hidden": jax.device_put(params["hidden"], NamedSharding(mesh, P())),
        "dense": jax.device_put(params["dense"], NamedSharding(mesh, P(None, "model"))),
    }
    sharded = jax.device_put(x, NamedSharding(mesh, P("data")))
    of = jax.jit(lambda params, x: features_and_last_layer(apply_fn, params, x)[1])
    with jax.set_mesh(mesh):
        found = of(placed, sharded)
    np.testing.assert_allclose(found.kernel, params["dense"] / 2, rtol=1e-6)
    np.testing.assert_array_equal(found.bias, np.zeros(4))


def test_the_last_layer_in_half_precision():
    apply_fn, params, x = problems.get("mlp")
    halved = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (params, x))
    _, found = features_and_last_layer(apply_fn, *halved)
    np.testing.assert_array_equal(found.kernel, halved[0]["dense2"]["kernel"])


def test_a_head_that_bends_has_no_last_layer():
    apply_fn, params, x, *_ = networks.get("log_softmax")
    with pytest.raises(ValueError, match=r"must end in an affine map .*\[batch, 8\]"):
        features_and_last_layer(apply_fn, params, x)


@pytest.mark.usefixtures("without_type_checks")
def test_features_with_positions_have_no_last_layer():
    head = lambda params, h: h.sum((1, 2))
    with pytest.raises(ValueError, match=r"\[batch, features\], got \(2, 3, 3, 4\)"):
        transforms.last_layer(head, None, jnp.ones((2, 3, 3, 4)))
