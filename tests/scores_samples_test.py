"""Scores of perturbed inputs and of several samples, and their limits."""

import functools

import chex
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests import golden_numbers
from tests.programs import jitted
from trustjax import bridge, passes, scores

INF, NAN = np.inf, np.nan
SAMPLES_ONLY = [
    "ensemble_max_softmax",
    "negative_predictive_entropy",
    "negative_expected_entropy",
    "negative_mutual_information",
    "negative_variation_ratio",
]


def net_a(params, x):
    """The network of the golden numbers: two convolutions, mean, dense."""
    for layer, stride in (("conv1", 1), ("conv2", 2)):
        kernel, bias = params[layer]["kernel"], params[layer]["bias"]
        x = jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = jax.nn.relu(x + bias[None, None, None])
    dense = params["dense"]
    return x.mean(axis=(1, 2)) @ dense["kernel"] + dense["bias"][None]


@pytest.mark.parametrize(
    ("temperature", "epsilon"), [(1000, 0.0014), (1000, 0.01), (10, 0.05)]
)
def test_odin_agrees_with_its_authors(temperature, epsilon):
    g = golden_numbers.load("01_gradtrust")
    value = jitted(
        scores.odin,
        net_a,
        golden_numbers.params(g),
        jnp.asarray(g["images"]),
        temperature=temperature,
        epsilon=epsilon,
        scale=np.array([63.0, 62.1, 66.7]) / 255,
    )
    authors = g[f"f64/odin_fb_T{temperature}_eps{epsilon}"]
    np.testing.assert_allclose(value, authors, rtol=1e-5)


def test_odin_of_the_demo_has_another_temperature_and_no_scale():
    g = golden_numbers.load("01_gradtrust")
    params, images = golden_numbers.params(g), jnp.asarray(g["images"])
    value = jitted(scores.odin, net_a, params, images, temperature=100.0)
    np.testing.assert_allclose(value, g["f64/demo/odin"], rtol=1e-5)


def linear(params, x):
    return x @ params


@pytest.mark.parametrize(
    ("params", "x", "expected"),
    [
        ([[1.0]], [3.0], 1.0),  # one class
        ([[0.0, 0.0]], [3.0], 0.5),  # no influence: not moved
        ([[1.0, 0.0]], [NAN], NAN),
        ([[1.0, 0.0]], [2.0], 1 / (1 + np.exp(-2.5))),
        ([[1.0, 0.0]], [-2.0], 1 / (1 + np.exp(-2.5))),
    ],
)
def test_edge_case_of_odin(params, x, expected):
    value = scores.odin(
        linear, jnp.array(params), jnp.array([x]), temperature=1.0, epsilon=0.5
    )
    np.testing.assert_allclose(value, [expected], rtol=1e-6)


def test_odin_steps_in_float32_from_bfloat16_inputs():
    x = jnp.array([[1.0, 0.75]], jnp.bfloat16)
    odin = lambda x, epsilon: scores.odin(
        lambda params, x: x @ params, jnp.eye(2), x, temperature=1.0, epsilon=epsilon
    )
    np.testing.assert_array_equal(odin(x, 0.0014), odin(x.astype(jnp.float32), 0.0014))
    assert odin(x, 0.0014) > odin(x, 0.0)


def test_odin_without_a_step_is_max_softmax():
    x = jax.random.normal(jax.random.key(0), (5, 3))
    np.testing.assert_array_equal(
        jitted(scores.odin, linear, jnp.eye(3), x, temperature=2.0, epsilon=0.0),
        jax.jit(lambda x: scores.max_softmax(x, temperature=2.0))(x),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"epsilon": -1.0}, "epsilon must not be negative"),
        ({"scale": np.ones(4)}, r"scale must broadcast to \(5, 3\), got \(4,\)"),
    ],
)
def test_bad_options_of_odin_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        scores.odin(linear, jnp.eye(3), jnp.ones((5, 3)), **options)


def random_samples(scale=2.0):
    return scale * jax.random.normal(jax.random.key(0), (12, 5, 4))


def by_scipy(sampled_logits):
    """Each score of the samples, from probabilities in double precision."""
    p = np.exp(np.asarray(sampled_logits, np.float64))
    p /= p.sum(-1, keepdims=True)
    mean, unit = p.mean(1), np.log(p.shape[-1])
    total = scipy.stats.entropy(mean, axis=-1)
    expected = scipy.stats.entropy(p, axis=-1).mean(-1)
    votes = p.argmax(-1)
    _, agreeing = scipy.stats.mode(votes, axis=1)
    return {
        "ensemble_max_softmax": mean.max(-1),
        "negative_predictive_entropy": -total / unit,
        "negative_expected_entropy": -expected / unit,
        "negative_mutual_information": (expected - total) / unit,
        "negative_variation_ratio": agreeing / votes.shape[1] - 1,
    }


@pytest.mark.parametrize("name", SAMPLES_ONLY)
def test_score_of_samples_is_that_of_scipy(name):
    samples = random_samples()
    np.testing.assert_allclose(
        getattr(scores, name)(samples), by_scipy(samples)[name], rtol=1e-5, atol=1e-7
    )


def test_entropies_in_nats():
    samples = random_samples()
    for name in SAMPLES_ONLY[1:4]:
        np.testing.assert_allclose(
            getattr(scores, name)(samples, normalised=False),
            np.log(4) * by_scipy(samples)[name],
            rtol=1e-5,
        )


def test_mutual_information_of_samples_that_nearly_agree_keeps_its_digits():
    samples = random_samples(1.0)[:, :1] + random_samples(1e-3)
    expected = by_scipy(samples)["negative_mutual_information"]
    assert (expected > -1e-5).all()
    np.testing.assert_allclose(
        scores.negative_mutual_information(samples), expected, rtol=0.02
    )


@pytest.mark.parametrize(
    ("name", "samples", "expected"),
    [
        ("ensemble_max_softmax", [[0.0, 0.0]], 0.5),
        ("ensemble_max_softmax", [[3.0], [1.0]], 1.0),
        ("ensemble_max_softmax", [[3.0, 1.0], [NAN, 1.0]], NAN),
        ("negative_predictive_entropy", [[0.0, 0.0]], -1.0),
        ("negative_predictive_entropy", [[3.0], [1.0]], 0.0),
        ("negative_predictive_entropy", [[1.0, -INF], [1.0, -INF]], 0.0),
        ("negative_predictive_entropy", [[3.0, 1.0], [NAN, 1.0]], NAN),
        ("negative_expected_entropy", [[0.0, 0.0]], -1.0),
        ("negative_expected_entropy", [[3.0], [1.0]], 0.0),
        ("negative_expected_entropy", [[1.0, -INF], [1.0, 1.0]], -0.5),
        ("negative_expected_entropy", [[3.0, 1.0], [NAN, 1.0]], NAN),
        ("negative_mutual_information", [[2.0, 1.0]], 0.0),
        ("negative_mutual_information", [[2.0, 1.0], [2.0, 1.0]], 0.0),
        ("negative_mutual_information", [[3.0], [1.0]], 0.0),
        ("negative_mutual_information", [[1.0, -INF], [-INF, 1.0]], -1.0),
        ("negative_mutual_information", [[3.0, 1.0], [NAN, 1.0]], NAN),
        ("negative_variation_ratio", [[2.0, 1.0]], 0.0),
        ("negative_variation_ratio", [[2.0, 1.0], [9.0, 1.0]], 0.0),
        ("negative_variation_ratio", [[3.0], [1.0]], 0.0),
        ("negative_variation_ratio", [[1.0, 1.0], [2.0, 1.0]], 0.0),
        ("negative_variation_ratio", [[1.0, 1.0], [1.0, 2.0]], -0.5),
        ("negative_variation_ratio", [[3.0, 1.0], [NAN, 1.0]], NAN),
    ],
)
def test_edge_case_of_samples(name, samples, expected):
    value = getattr(scores, name)(jnp.array([samples]))
    np.testing.assert_allclose(value, [expected], atol=1e-6)


@pytest.fixture(scope="module")
def dropout_net():
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        nnx.Linear(6, 32, rngs=rngs),
        nnx.Dropout(0.5, rngs=rngs),
        nnx.Linear(32, 3, rngs=rngs),
    )
    return bridge.stochastic_from_nnx(model)


def test_mc_dropout_is_the_score_of_its_samples_one_pass_each(dropout_net):
    stochastic_apply_fn, params = dropout_net
    x, key = jax.random.normal(jax.random.key(1), (8, 6)), jax.random.key(2)
    fold = jax.random.fold_in
    one_pass = jax.jit(
        lambda i, s: stochastic_apply_fn(
            params, jax.lax.dynamic_slice_in_dim(x, i, 1), fold(fold(key, i), s)
        )[0]
    )
    samples = [[one_pass(i, s) for s in range(5)] for i in range(8)]
    options = {"key": key, "num_samples": 5}
    value = jitted(scores.mc_dropout, stochastic_apply_fn, params, x, **options)
    expected = by_scipy(np.array(samples))
    np.testing.assert_allclose(
        value, expected["negative_predictive_entropy"], rtol=1e-5
    )
    disagreement = jitted(
        scores.mc_dropout_mutual_information, stochastic_apply_fn, params, x, **options
    )
    np.testing.assert_allclose(
        disagreement, expected["negative_mutual_information"], rtol=1e-4
    )


def test_masks_are_drawn_by_example_and_not_by_place(dropout_net):
    stochastic_apply_fn, params = dropout_net
    x = jax.random.normal(jax.random.key(1), (8, 6))
    score = functools.partial(
        jitted, scores.mc_dropout, stochastic_apply_fn, params, key=jax.random.key(2)
    )
    order = jnp.array([3, 0, 7])
    alone = score(x[order], index=order)
    np.testing.assert_allclose(alone, score(x)[order], rtol=1e-5)
    assert not np.allclose(alone, score(x[order]), rtol=1e-3)


@pytest.mark.exhaustive
def test_mc_dropout_is_the_same_sharded_and_jitted(dropout_net):
    stochastic_apply_fn, params = dropout_net
    x, key = jax.random.normal(jax.random.key(1), (8, 6)), jax.random.key(2)
    score = lambda x, key: scores.mc_dropout(
        stochastic_apply_fn, params, x, key=key, num_samples=3
    )
    chex.clear_trace_counter()
    compiled = jax.jit(chex.assert_max_traces(score, n=1))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    expected = score(x, key)
    np.testing.assert_allclose(compiled(x, key), expected, rtol=1e-5)
    assert not np.allclose(compiled(x, jax.random.key(3)), expected)
    sharded = jax.jit(score)(jax.device_put(x, sharding), key)
    assert sharded.sharding.is_equivalent_to(sharding, 1)
    np.testing.assert_allclose(sharded, expected, rtol=1e-5)


def test_mc_dropout_of_a_network_without_dropout_is_its_entropy():
    """The demo adds 1e-4 inside the logarithm; without that, the two agree."""
    g = golden_numbers.load("01_gradtrust")
    logits = jnp.asarray(g["f32/logits"])
    samples = passes.dropout_logits(
        lambda params, x, key: x, None, logits, key=jax.random.key(0), num_samples=3
    )
    value = scores.negative_predictive_entropy(samples, normalised=False)
    np.testing.assert_allclose(value, g["f64/demo/entropy"], rtol=1e-5)
    p = np.exp(g["f64/logits"] - g["f64/energy_T1"][:, None])
    as_run = (p * np.log(p + 1e-4)).sum(1)
    np.testing.assert_allclose(g["f64/demo/mcd"], as_run, rtol=1e-6)


def test_deep_ensemble_is_a_loop_over_its_members():
    x = jax.random.normal(jax.random.key(0), (4, 3))
    members = jax.random.normal(jax.random.key(1), (5, 3, 2))
    looped = jnp.stack([linear(member, x) for member in members], axis=1)
    np.testing.assert_allclose(
        passes.ensemble_logits(linear, members, x), looped, rtol=1e-6
    )
    np.testing.assert_allclose(
        scores.deep_ensemble(linear, members, x),
        by_scipy(looped)["negative_predictive_entropy"],
        rtol=1e-5,
    )


def by_dropout(x):
    return scores.mc_dropout(lambda params, x, key: x, None, x, key=jax.random.key(0))


def by_ensemble(x):
    return scores.deep_ensemble(
        lambda params, x: x + params[None], jnp.zeros((3, 1)), x
    )


def by_augmentation(x):
    return scores.test_time_augmentation(
        lambda params, x: x,
        None,
        x,
        augment_fn=lambda x, key: x,
        key=jax.random.key(0),
    )


@pytest.mark.parametrize("score", [by_dropout, by_ensemble, by_augmentation])
@pytest.mark.parametrize(
    ("row", "expected"),
    [([2.0], 0.0), ([0.0, 0.0], -1.0), ([3.0, 1.0], None), ([NAN, 1.0], NAN)],
)
def test_edge_case_of_samples_that_are_all_alike(score, row, expected):
    x = jnp.array([row])
    if expected is None:
        expected = scores.negative_entropy(x)[0]
    np.testing.assert_allclose(score(x), [expected], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("z", [INF, -INF, NAN])
def test_edge_case_of_the_oracle(z):
    np.testing.assert_array_equal(scores.lookup("oracle").fn(jnp.array([[z]])), [z])


def test_test_time_augmentation_changes_the_input_with_each_key():
    x, key = jnp.eye(3), jax.random.key(0)
    shift = lambda x, key: x + jax.random.normal(key, (1, 1))
    samples = passes.augmented_logits(
        linear, jnp.eye(3), x, augment_fn=shift, key=key, num_samples=4
    )
    fold = jax.random.fold_in
    one = jax.jit(lambda row, i, s: shift(row, fold(fold(key, i), s))[0])
    looped = np.array([[one(x[i : i + 1], i, s) for s in range(4)] for i in range(3)])
    np.testing.assert_allclose(samples, looped, rtol=1e-6)
    order = jnp.array([2, 0])
    reordered = passes.augmented_logits(
        linear,
        jnp.eye(3),
        x[order],
        augment_fn=shift,
        key=key,
        num_samples=4,
        index=order,
    )
    np.testing.assert_allclose(reordered, samples[order], rtol=1e-6)
    value = scores.test_time_augmentation(
        linear, jnp.eye(3), x, augment_fn=shift, key=key, num_samples=4
    )
    np.testing.assert_allclose(
        value, by_scipy(looped)["negative_predictive_entropy"], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: scores.mc_dropout(
                lambda p, x, key: x, None, x, key=jax.random.key(0), num_samples=0
            ),
            "num_samples must be an integer >= 1",
        ),
        (
            lambda x: scores.deep_ensemble(
                lambda p, x: x, {"a": jnp.ones(2), "b": jnp.ones(3)}, x
            ),
            "must have the same length",
        ),
        (
            lambda x: scores.deep_ensemble(
                lambda p, x: x, {"a": jnp.ones(2), "t": jnp.ones(())}, x
            ),
            r"\['t'\] must have a leading axis, got a single number",
        ),
        (
            lambda x: passes.augmented_logits(
                linear,
                jnp.eye(3),
                x,
                augment_fn=lambda x, key: x,
                key=jax.random.key(0),
                num_samples=-1,
            ),
            "num_samples must be an integer >= 1",
        ),
    ],
)
def test_bad_samples_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.eye(3))


@pytest.mark.exhaustive
def test_dropout_is_exported_with_a_symbolic_batch():
    noisy = lambda params, x, key: x @ params + jax.random.normal(key, x.shape)
    score = jax.jit(
        lambda x: scores.mc_dropout(
            noisy, jnp.eye(3), x, key=jax.random.key(0), num_samples=4
        )
    )
    (batch,) = jax.export.symbolic_shape("batch")
    exported = jax.export.export(score)(jax.ShapeDtypeStruct((batch, 3), jnp.float32))
    x = jnp.arange(12.0).reshape(4, 3)
    for number in (1, 4):
        np.testing.assert_allclose(exported.call(x[:number]), score(x[:number]))
