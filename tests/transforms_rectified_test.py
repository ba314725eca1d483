"""ReLUs that send back another signal: found in any form, refused where none is."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests import problems
from trustjax.transforms import deconvolved_relu, guided_relu, matmul_kernel_grads

X = np.array([[1.0, 2.0, -3.0, 7.0, 0.5, -1.0, 0.0]], np.float32)
SIGNAL = np.array([[1.0, -1.0, 1.0, 2.0, -2.0, 1.0, 1.0]], np.float32)
GUIDED = [[1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0]]
DECONVOLVED = [[1.0, 0.0, 1.0, 2.0, 0.0, 1.0, 1.0]]


@jax.custom_vjp
def own_rule(x):
    return jnp.maximum(x, 0)


own_rule.defvjp(lambda x: (own_rule(x), x), lambda x, signal: (7 * signal,))


@jax.custom_jvp
def own_rule_with_a_cap(x):
    return jnp.minimum(jnp.maximum(x, 0), 6)


own_rule_with_a_cap.defjvp(lambda x, t: (own_rule_with_a_cap(*x), 7 * t[0]))


@jax.custom_jvp
def own_rule_of_more(x):
    return 2 * jnp.maximum(x, 0)


own_rule_of_more.defjvp(lambda x, t: (own_rule_of_more(*x), 7 * t[0]))

RELUS = {
    "relu": jax.nn.relu,
    "maximum": lambda x: jnp.maximum(x, 0),
    "maximum_of_zero": lambda x: jnp.maximum(0.0, x),
    "max_with_zeros": lambda x: lax.max(x, jnp.zeros_like(x)),
    "max_with_constant": lambda x: jnp.maximum(x, np.zeros((1, 7), np.float32)),
    "clip": lambda x: jnp.clip(x, 0),
    "where": lambda x: jnp.where(x > 0, x, 0),
    "where_not": lambda x: jnp.where(x <= 0, 0, x),
    "where_below": lambda x: jnp.where(jnp.zeros_like(x) < x, x, jnp.zeros_like(x)),
    "times_its_sign": lambda x: x * (x > 0),
    "own_rule": own_rule,
    "jit": jax.jit(jax.jit(jax.nn.relu)),
    "remat": jax.checkpoint(jax.nn.relu),
    "vmap": jax.vmap(jax.nn.relu),
    "scan": lambda x: lax.scan(lambda x, _: (jax.nn.relu(x), None), x, None, length=2)[
        0
    ],
    "cond": lambda x: lax.cond(x.sum() > 99, lambda x: 2 * x, jax.nn.relu, x),
    "after_another_transformation": matmul_kernel_grads(jax.nn.relu),
}
CAPPED = {
    "relu6": jax.nn.relu6,
    "clip_to_6": lambda x: jnp.clip(x, 0, 6),
    "clamp": lambda x: lax.clamp(0.0, x, 6.0),
    "own_rule_with_a_cap": own_rule_with_a_cap,
}
OTHERS = {
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "celu": jax.nn.celu,
    "selu": jax.nn.selu,
    "gelu": jax.nn.gelu,
    "exact gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "mish": jax.nn.mish,
    "hard_silu": jax.nn.hard_swish,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_tanh": jax.nn.hard_tanh,
    "squareplus": jax.nn.squareplus,
    "soft_sign": jax.nn.soft_sign,
    "logistic": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "leaky ReLU": lambda x: jnp.maximum(x, 0.1 * x),
    "a choice by the sign": lambda x: jnp.where(x > 0, x, 0.1 * x),
    "exp in my_elu": lambda x: my_elu(x),
    "min(x, 0)": lambda x: jnp.maximum(x, 0) + 0.1 * jnp.minimum(x, 0),
    "as in a hard swish": lambda x: x * jnp.clip(x + 3, 0, 6) / 6,
    "exp in my_silu": lambda x: my_silu(x),
    "own_rule_of_more": own_rule_of_more,
}
KEPT = {
    "softmax": lambda x: jax.nn.softmax(jax.nn.relu(x)),
    "masked softmax": lambda x: jax.nn.softmax(jax.nn.relu(x), where=x > 0),
    "log_softmax": lambda x: jax.nn.log_softmax(jax.nn.relu(x)),
    "logsumexp": lambda x: jax.nn.logsumexp(jax.nn.relu(x)),
    "square": lambda x: jax.nn.relu(x) * jax.nn.relu(x),
    "norm": lambda x: normalised(jax.nn.relu(x)),
    "tanh of what is not differentiated": lambda x: (
        jax.nn.relu(x) * jnp.tanh(lax.stop_gradient(x))
    ),
    "softplus of what is closed over": lambda x: (
        jax.nn.relu(x) * jax.nn.softplus(jnp.asarray(SIGNAL))
    ),
}


def normalised(x):
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-6)


def my_elu(x):
    return jnp.where(x > 0, x, jnp.exp(x) - 1)


def my_silu(x):
    return x / (1 + jnp.exp(-x))


def sent_back(fun, x: Any = X, signal: Any = SIGNAL):
    value, pull = jax.vjp(fun, jnp.asarray(x))
    return value, pull(jnp.asarray(signal))[0]


@pytest.mark.parametrize("name", RELUS)
def test_a_relu_in_any_form_follows_the_rule(name):
    relu = RELUS[name]
    value, guided = sent_back(guided_relu(relu))
    np.testing.assert_array_equal(value, relu(X))
    np.testing.assert_array_equal(guided, GUIDED)
    np.testing.assert_array_equal(sent_back(deconvolved_relu(relu))[1], DECONVOLVED)


@pytest.mark.parametrize("name", CAPPED)
def test_a_cap_keeps_its_derivative(name):
    value, guided = sent_back(guided_relu(CAPPED[name]))
    np.testing.assert_array_equal(value, CAPPED[name](X))
    np.testing.assert_array_equal(guided, np.where(X > 6, 0, GUIDED))
    deconvolved = sent_back(deconvolved_relu(CAPPED[name]))[1]
    np.testing.assert_array_equal(deconvolved, np.where(X > 6, 0, DECONVOLVED))


@pytest.mark.parametrize("name", OTHERS)
def test_other_activations_are_refused_by_name(name):
    with pytest.raises(ValueError, match=name.removeprefix("exact ").split("(")[0]):
        guided_relu(lambda x: OTHERS[name](jax.nn.relu(x) - 1))(X)


@pytest.mark.parametrize("name", KEPT)
def test_what_is_no_activation_keeps_its_derivative(name):
    # Each begins with a ReLU: the rule sees what the plain derivative lets through.
    value, pull = jax.vjp(KEPT[name], X)
    guided_value, guided_pull = jax.vjp(guided_relu(KEPT[name]), X)
    np.testing.assert_array_equal(guided_value, value)
    signal = jnp.resize(SIGNAL, value.shape)
    plain = pull(signal)[0]
    expected = np.where(X > 0, np.maximum(plain, 0), 0)
    np.testing.assert_allclose(guided_pull(signal)[0], expected, rtol=1e-6)


def test_a_function_without_a_relu_is_refused():
    with pytest.raises(ValueError, match="guided_relu found no ReLU"):
        guided_relu(lambda x: 2 * x)(X)


def by_hand(rule, w1, w2, x):
    """Two layers, and a mean at the end, rule by rule."""
    before1 = x @ w1
    before2 = np.maximum(before1, 0) @ w2
    signal = rule(np.full_like(before2, 1 / before2.shape[1]), before2) @ w2.T
    return rule(signal, before1) @ w1.T


@pytest.mark.parametrize(
    ("transform", "rule"),
    [
        (guided_relu, lambda signal, x: np.maximum(signal, 0) * (x > 0)),
        (deconvolved_relu, lambda signal, x: np.maximum(signal, 0)),
    ],
)
def test_a_network_is_that_of_a_loop_over_its_layers(transform, rule):
    rng = np.random.default_rng(0)
    w1, w2, x = (
        rng.normal(size=(5, 6)),
        rng.normal(size=(6, 4)),
        rng.normal(size=(3, 5)),
    )

    def network(x):
        return jax.nn.relu(jax.nn.relu(x @ w1) @ w2).mean(-1).sum()

    expected = by_hand(rule, w1, w2, x)
    got = jax.grad(transform(network))(jnp.asarray(x))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(jax.grad(network)(jnp.asarray(x)) - expected).max() > 0.1


def test_under_every_transformation():
    """Of a network with max pooling, whose switches stay."""
    apply_fn, params, x = problems.get("overlapping_pools")

    def pulled(params, x, apply_fn=apply_fn):
        return jax.grad(lambda x: guided_relu(apply_fn)(params, x)[:, 0].sum())(x)

    @jax.jit
    def in_every_way(params, x):
        one = lambda example: pulled(params, example[None])[0]
        fast = pulled(params, x, matmul_kernel_grads(apply_fn))
        return pulled(params, x), jax.vmap(one)(x), fast

    expected, mapped, fast = in_every_way(params, x)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(mapped, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(fast, expected, rtol=1e-4, atol=1e-6)


def test_bfloat16_stays_bfloat16():
    x, signal = (jnp.asarray(a, jnp.bfloat16) for a in (X, SIGNAL))
    _, guided = sent_back(guided_relu(jax.nn.relu), x, signal)
    assert guided.dtype == jnp.bfloat16
    np.testing.assert_array_equal(guided.astype(np.float32), GUIDED)


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_inside_shard_map_and_on_a_sharded_batch(kind):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType[kind],))
    w = jax.random.normal(jax.random.key(0), (5, 6))
    x = jax.random.normal(jax.random.key(1), (16, 5))
    pulled = jax.grad(lambda x: guided_relu(lambda x: jax.nn.relu(x @ w))(x).sum())
    expected = pulled(x)
    there = jax.device_put(x, NamedSharding(mesh, P("data")))
    mapped = jax.shard_map(pulled, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    for fun in (pulled, mapped):
        np.testing.assert_allclose(jax.jit(fun)(there), expected, rtol=1e-5, atol=1e-6)


def test_the_rule_of_a_program_with_shard_map_inside():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    inside = jax.shard_map(
        jax.nn.relu, mesh=mesh, in_specs=P("data"), out_specs=P("data")
    )
    x, signal = (np.repeat(a, 8, axis=0) for a in (X, SIGNAL))
    _, guided = sent_back(jax.jit(guided_relu(inside)), x, signal)
    np.testing.assert_array_equal(guided, np.repeat(GUIDED, 8, axis=0))


def test_what_a_map_depends_on_is_differentiated_as_what_it_is():
    """By finite differences, in float64."""
    with jax.enable_x64(True):
        w = jax.random.normal(jax.random.key(0), (7, 7), jnp.float64)
        scale = jnp.full((1, 7), 0.7)
        network = lambda scale, x: (jax.nn.relu(jax.nn.relu(x * scale) @ w) ** 2).sum()
        x, signal = (jnp.asarray(a, jnp.float64) for a in (X, SIGNAL))

        def of_map(scale):
            return (jax.grad(guided_relu(network), 1)(scale, x) * signal).sum()

        slope = (of_map(scale + 1e-6) - of_map(scale - 1e-6)) / 2e-6
        np.testing.assert_allclose(jax.grad(of_map)(scale).sum(), slope, rtol=1e-6)
        forward = jax.jvp(of_map, (scale,), (jnp.ones_like(scale),))[1]
        np.testing.assert_allclose(forward, slope, rtol=1e-6)


def test_forward_mode_has_no_rule():
    x = (jnp.asarray(X),)
    with pytest.raises(TypeError, match=r"guided rule .* reverse mode"):
        jax.jvp(guided_relu(jax.nn.relu), x, x)
    with pytest.raises(TypeError, match=r"deconvolved rule .* reverse mode"):
        jax.jit(lambda x: jax.jvp(deconvolved_relu(jax.nn.relu), x, x))(x)


def test_edge_cases():
    nan = np.float32("nan")
    x, signal = np.array([1, nan, 2], np.float32), np.array([nan, 1, 1], np.float32)
    _, guided = sent_back(guided_relu(jax.nn.relu), x, signal)
    np.testing.assert_array_equal(guided, [nan, 0, 1])
    _, deconvolved = sent_back(deconvolved_relu(jax.nn.relu), x, signal)
    np.testing.assert_array_equal(deconvolved, [nan, 1, 1])
