import dataclasses
import logging
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from trustjax import bridge


class Small(nnx.Module):
    """A convolution, BatchNorm, dropout and a list with one dense layer."""

    def __init__(self, rngs, dropout_rate=0.5):
        self.conv = nnx.Conv(1, 2, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(2, rngs=rngs)
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(2, 3, rngs=rngs)])

    def __call__(self, x):
        return self.layers[0](self.dropout(self.norm(self.conv(x)).mean((1, 2))))


@pytest.fixture
def model():
    return Small(nnx.Rngs(0))


@pytest.fixture
def images():
    return jax.random.normal(jax.random.key(1), (4, 5, 5, 1))


def test_from_nnx_is_the_model_in_evaluation_mode(model, images):
    model(images + 3.0)  # moves the running statistics
    apply_fn, params = bridge.from_nnx(model)
    logits = jax.jit(apply_fn)(params, images)
    assert not model.dropout.deterministic  # the user's model is left as it is
    mean_before = model.norm.mean[...]
    model.eval()
    np.testing.assert_allclose(logits, model(images), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(model.norm.mean[...], mean_before)


def test_from_nnx_params_are_the_trainable_arrays_with_linen_paths(model):
    _, params = bridge.from_nnx(model)
    paths = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree.leaves_with_path(params)
    }
    assert paths == {
        "conv/kernel",
        "conv/bias",
        "norm/scale",
        "norm/bias",
        "layers/0/kernel",
        "layers/0/bias",
    }
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(params))


def test_from_nnx_follows_the_params_it_is_given(model, images):
    apply_fn, params = bridge.from_nnx(model)
    zeros = jax.tree.map(jnp.zeros_like, params)
    np.testing.assert_array_equal(apply_fn(zeros, images), np.zeros((4, 3)))
    gradient = jax.grad(lambda p: apply_fn(p, images).sum())(params)
    chex.assert_trees_all_equal_shapes(gradient, params)


def test_from_nnx_says_when_it_leaves_training_mode(model, caplog):
    with caplog.at_level(logging.WARNING, logger="trustjax.bridge"):
        bridge.from_nnx(model)
    assert caplog.messages == [
        "Small is in training mode; taken in evaluation mode: dropout, norm"
    ]
    caplog.clear()
    model.eval()
    bridge.from_nnx(model)
    assert not caplog.messages


def test_later_changes_of_the_model_do_not_reach_apply_fn(model, images):
    apply_fn, params = bridge.from_nnx(model)
    before = apply_fn(params, images)
    model(images + 3.0)
    np.testing.assert_array_equal(apply_fn(params, images), before)


def test_from_linen_agrees_with_apply(images):
    class Network(linen.Module):
        @linen.compact
        def __call__(self, x, *, train):
            x = linen.Conv(2, (3, 3))(x)
            x = linen.BatchNorm(use_running_average=not train)(x)
            x = linen.Dropout(0.5, deterministic=not train)(x)
            return linen.Dense(3)(x.mean((1, 2)))

    module = Network()
    variables = module.init(jax.random.key(0), images, train=False)
    apply_fn, params = bridge.from_linen(module, variables, train=False)
    assert set(params) == {"Conv_0", "BatchNorm_0", "Dense_0"}
    np.testing.assert_array_equal(
        apply_fn(params, images), module.apply(variables, images, train=False)
    )


def test_from_linen_needs_the_params_collection():
    with pytest.raises(ValueError, match=r"collection params, got \['kernel'\]"):
        bridge.from_linen(linen.Dense(2), {"kernel": jnp.ones((3, 2))})


class TwoDropouts(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Dropout(0.5, rngs=rngs)
        self.second = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return jnp.concatenate([self.first(x), self.second(x)], axis=-1)


def test_stochastic_masks_differ_by_example_layer_and_key():
    stochastic_apply_fn, params = bridge.stochastic_from_nnx(TwoDropouts(nnx.Rngs(0)))
    key, other = jax.random.split(jax.random.key(0))
    x = jnp.ones((2, 64))
    out = jax.jit(stochastic_apply_fn)(params, x, key)
    np.testing.assert_array_equal(out, stochastic_apply_fn(params, x, key))
    assert set(np.unique(out)) == {0.0, 2.0}
    assert (out[0] != out[1]).any()
    assert (out[:, :64] != out[:, 64:]).any()
    assert (out != stochastic_apply_fn(params, x, other)).any()


def test_stochastic_mean_is_near_evaluation_and_norm_is_in_evaluation(model, images):
    stochastic_apply_fn, params = bridge.stochastic_from_nnx(model)
    keys = jax.random.split(jax.random.key(0), 2000)
    samples = jax.vmap(stochastic_apply_fn, in_axes=(None, None, 0))(
        params, images, keys
    )
    model.eval()
    np.testing.assert_allclose(samples.mean(0), model(images), atol=0.05)


@pytest.mark.parametrize("dropout_rate", [0.0, None])
def test_stochastic_needs_dropout(dropout_rate):
    model = (
        nnx.Linear(2, 2, rngs=nnx.Rngs(0))
        if dropout_rate is None
        else Small(nnx.Rngs(0), dropout_rate)
    )
    with pytest.raises(ValueError, match=r"has no nnx.Dropout with a rate above 0"):
        bridge.stochastic_from_nnx(model)


class WithMode(nnx.Module):
    """F1: BatchNorm whose mode is an argument of the call, training by default."""

    def __init__(self, rngs):
        self.norm = nnx.BatchNorm(
            2, use_bias=False, use_scale=False, epsilon=0.0, rngs=rngs
        )
        self.dense = nnx.Param(jnp.eye(2))

    def __call__(self, x, train=True):
        return self.norm(x, use_running_average=not train) @ self.dense[...]


IN_BATCH = jnp.array([[1.0, 0.0], [3.0, 4.0]])


def test_call_arguments_reach_the_model(caplog):
    model = WithMode(nnx.Rngs(0))
    model.eval()
    with caplog.at_level(logging.WARNING, logger="trustjax.bridge"):
        apply_fn, params = bridge.from_nnx(model, train=False)
    assert not caplog.messages
    np.testing.assert_allclose(apply_fn(params, IN_BATCH), IN_BATCH)
    np.testing.assert_allclose(apply_fn(params, IN_BATCH[:1]), IN_BATCH[:1])
    bridge.require_independent_rows(apply_fn, params, IN_BATCH)


def test_a_mode_that_is_left_at_training_is_named(caplog):
    model = WithMode(nnx.Rngs(0))
    model.eval()
    with caplog.at_level(logging.WARNING, logger="trustjax.bridge"):
        apply_fn, params = bridge.from_nnx(model)
    assert caplog.messages == [
        "the call of WithMode takes train, which is True unless it is given: for "
        "evaluation mode give from_nnx(model, train=False)"
    ]
    with pytest.raises(ValueError, match=r"logit 0 is -1, .* training mode"):
        bridge.require_independent_rows(apply_fn, params, IN_BATCH)


def test_a_mode_that_must_be_given_is_named():
    class Needs(nnx.Module):
        def __call__(self, x, *, deterministic):
            return x

    with pytest.raises(ValueError, match=r"give from_nnx\(model, deterministic=True\)"):
        bridge.from_nnx(Needs())
    apply_fn, params = bridge.from_nnx(Needs(), deterministic=True)
    np.testing.assert_array_equal(apply_fn(params, IN_BATCH), IN_BATCH)


def test_a_linen_mode_that_is_left_at_training_is_named(caplog):
    class Network(linen.Module):
        @linen.compact
        def __call__(self, x, is_training=True):
            return linen.Dense(2)(x)

    module = Network()
    variables = module.init(jax.random.key(0), IN_BATCH)
    with caplog.at_level(logging.WARNING, logger="trustjax.bridge"):
        bridge.from_linen(module, variables, is_training=False)
        assert not caplog.messages
        bridge.from_linen(module, variables)
    assert "give from_linen(module, variables, is_training=False)" in caplog.text


def test_an_output_object_is_named_at_the_first_call():
    class Wraps(nnx.Module):
        def __call__(self, x):
            return {"logits": x, "hidden": x}

    apply_fn, params = bridge.from_nnx(Wraps())
    with pytest.raises(
        TypeError,
        match=r"got dict of logits \(.*head\(apply_fn, 'logits'",
    ):
        apply_fn(params, IN_BATCH)


class Head(NamedTuple):
    logits: jax.Array
    hidden: jax.Array | None


@dataclasses.dataclass
class Outputs:
    digit: Any
    colour: Any


class Foreign:
    def __init__(self, logits):
        self.logits = logits


TWO, THREE = jnp.ones((4, 2)), jnp.zeros((4, 3))


@pytest.mark.parametrize(
    ("output", "which", "expected"),
    [
        ({"digit": TWO, "colour": THREE}, "colour", THREE),
        ({"digit": TWO, "colour": THREE}, 1, THREE),
        ({"digit": TWO, "colour": THREE}, "1", THREE),
        ({7: TWO, "0": THREE}, "0", THREE),
        ((TWO, THREE), "1", THREE),
        ((TWO, {"aux": [THREE, TWO]}), "1/aux/0", THREE),
        (Head(TWO, None), "logits", TWO),
        ([Head(TWO, THREE)], "0/hidden", THREE),
        (Outputs({"a": THREE}, TWO), "digit/a", THREE),
        (Foreign(THREE), "logits", THREE),
        ({"only": THREE}, 0, THREE),
    ],
)
def test_a_head_is_found_by_its_name_or_number(output, which, expected):
    apply_fn = bridge.head(lambda params, x: output, which)
    np.testing.assert_array_equal(apply_fn(None, None), expected)


def test_no_such_head_lists_those_that_are_there():
    apply_fn = lambda params, x: (TWO, {"aux": THREE})
    for which in ("aux", 2, "-1", ""):
        with pytest.raises(ValueError, match=r"one of 0 \(4, 2\), 1/aux \(4, 3\), got"):
            bridge.head(apply_fn, which)(None, None)
    with pytest.raises(ValueError, match="head must be one of none, got 'logits'"):
        bridge.head(lambda params, x: Foreign(None), "logits")(None, None)


def test_a_head_of_a_module_whose_output_is_refused(images):
    class TwoHeads(nnx.Module):
        def __init__(self, rngs):
            self.digit = nnx.Linear(25, 3, rngs=rngs)
            self.colour = nnx.Linear(25, 2, rngs=rngs)

        def __call__(self, x):
            x = x.reshape(len(x), -1)
            return {"digit": self.digit(x), "colour": self.colour(x)}

    class Linen(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = x.reshape(len(x), -1)
            return linen.Dense(3)(x), linen.Dense(2)(x)

    model, module = TwoHeads(nnx.Rngs(0)), Linen()
    apply_fn, params = bridge.from_nnx(model)
    with pytest.raises(TypeError, match=r"digit \(4, 3\), colour \(4, 2\): give"):
        apply_fn(params, images)
    logits = jax.jit(bridge.head(apply_fn, "colour"))(params, images)
    np.testing.assert_allclose(logits, model(images)["colour"], rtol=1e-5, atol=1e-6)
    variables = module.init(jax.random.key(0), images)
    apply_fn, params = bridge.from_linen(module, variables)
    logits = bridge.head(apply_fn, 1)(params, images)
    expected: Any = module.apply(variables, images)
    np.testing.assert_allclose(logits, expected[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_one_output_is_two_classes(shape):
    # A sigmoid of 2, -1 and 0 is .880797, .268941 and .5.
    z = jnp.array([2.0, -1.0, 0.0]).reshape(shape)
    logit = bridge.binary(lambda params, x: params * x)
    probability = bridge.binary(
        lambda p, x: jax.nn.sigmoid(p * x), output="probability"
    )
    np.testing.assert_array_equal(logit(1, z), [[0, 2], [0, -1], [0, 0]])
    for apply_fn in (logit, probability):
        found = jax.nn.softmax(jax.jit(apply_fn)(1.0, z))[:, 1]
        np.testing.assert_allclose(found, [0.880797, 0.268941, 0.5], rtol=1e-5)
        slope = jax.jacobian(apply_fn)(1.0, z)
        assert jnp.isfinite(slope).all()
    assert jnp.isfinite(probability(1.0, 1000 * z)).all()


def test_what_is_not_one_output_is_refused():
    for shape in ((3, 2), (3, 1, 1), ()):
        with pytest.raises(ValueError, match=r"return \[batch\] or \[batch, 1\], got"):
            bridge.binary(lambda params, x: x)(None, jnp.zeros(shape))
    with pytest.raises(TypeError, match=r"got tuple of 0 .*, 1 .*: give bridge"):
        bridge.binary(lambda params, x: (x, x))(None, jnp.zeros(3))
    with pytest.raises(ValueError, match="output must be one of logit, probability"):
        bridge.binary(lambda params, x: x, output="odds")


def test_a_softmax_gives_the_logits_back_but_for_a_constant(images, model):
    apply_fn, params = bridge.from_nnx(model)
    logits = apply_fn(params, images)
    softmax = lambda params, x: jax.nn.softmax(apply_fn(params, x))
    found = bridge.log_probabilities(softmax)(params, images)
    constant = found - logits
    np.testing.assert_allclose(constant, constant[:, :1] * jnp.ones((1, 3)), atol=1e-5)
