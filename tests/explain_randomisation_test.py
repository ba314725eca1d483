"""Maps of networks that forget: what changes, what does not, in which order."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from scipy import stats

from tests import problems
from trustjax import explain, transforms
from trustjax._paths import paths_of


def edges(apply_fn, params, x, *, target):
    """An edge detector: it never asks the network."""
    del apply_fn, params, target
    down, right = jnp.abs(jnp.diff(x, axis=1)), jnp.abs(jnp.diff(x, axis=2))
    return down[:, :, 1:, 0] + right[:, 1:, :, 0]


def run(explanation, name="cnn", **keywords):
    apply_fn, params, x = problems.get(name)
    return explain.parameter_randomisation(
        explanation, apply_fn, params, x, key=jax.random.key(0), **keywords
    )


def test_a_gradient_changes_and_an_edge_detector_does_not():
    problems.get("cnn")  # made outside of the program
    gradient, detector = jax.jit(lambda: (run(explain.saliency), run(edges)))()
    assert gradient.layers == ("dense", "conv2", "conv1")
    assert gradient.correlation.shape == gradient.absolute.shape == (8, 3)
    assert np.abs(gradient.correlation[:, -1]).mean() < 0.35
    np.testing.assert_allclose(detector.correlation, np.ones((8, 3)), rtol=1e-5)
    np.testing.assert_allclose(detector.absolute, np.ones((8, 3)), rtol=1e-5)


@pytest.mark.exhaustive
@pytest.mark.parametrize("order", ["cascading", "independent"])
def test_it_is_a_loop_over_layers_and_images(order):
    """By scipy, of networks whose parameters were shuffled by hand."""
    params = problems.get("cnn").params
    seen = []

    def explanation(apply_fn, params, x, *, target):
        seen.append((params, explain.saliency(apply_fn, params, x, target=target)))
        return seen[-1][1]

    found = run(explanation, order=order, target=1)
    (before, clean), *steps = seen
    assert before is not params
    for step, (changed, maps) in enumerate(steps):
        for layer in params:
            random = layer == found.layers[step] or (
                order == "cascading" and layer in found.layers[:step]
            )
            for name, array in params[layer].items():
                now = changed[layer][name]
                assert (now == array).all() != random, (layer, name)
                np.testing.assert_array_equal(np.sort(now, None), np.sort(array, None))
        for image in range(8):
            first, second = (np.asarray(m[image]).ravel() for m in (clean, maps))
            expected: Any = stats.spearmanr(first, second)
            unsigned: Any = stats.spearmanr(np.abs(first), np.abs(second))
            both = expected.statistic, unsigned.statistic
            row = found.correlation[image, step], found.absolute[image, step]
            np.testing.assert_allclose(row, both, atol=1e-5)


@pytest.mark.exhaustive
def test_what_is_asked_stays_what_the_network_predicts():
    asked = []

    def explanation(apply_fn, params, x, *, target):
        asked.append(target)
        return explain.saliency(apply_fn, params, x, target=target)

    apply_fn, params, x = problems.get("cnn")
    predicted = apply_fn(params, x).argmax(-1)
    run(explanation)
    for target in asked:
        np.testing.assert_array_equal(target, predicted)


def test_the_map_of_a_result_with_several_parts():
    noisy = functools.partial(explain.smooth_grad, key=jax.random.key(2), samples=2)
    found = run(jax.jit(noisy, static_argnums=0))
    assert np.isfinite(found.correlation).all()


def test_edge_cases():
    constant = run(lambda apply_fn, params, x, *, target: jnp.ones((8, 4)))
    assert np.isnan(constant.correlation).all()
    nan = run(lambda apply_fn, params, x, *, target: jnp.full((8, 4), jnp.nan))
    assert np.isnan(nan.correlation).all()
    ties = jnp.array([[1.0, 1.0, 2.0, 3.0]] * 8)
    tied = run(lambda apply_fn, params, x, *, target: ties)
    np.testing.assert_allclose(tied.correlation, np.ones((8, 3)), rtol=1e-6)


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_sharded_and_compiled(kind):
    apply_fn = lambda params, x: jnp.tanh(x @ params["first"]) @ params["second"]
    normal = lambda seed, *shape: jax.random.normal(jax.random.key(seed), shape)
    params, x = {"first": normal(0, 9, 5), "second": normal(1, 5, 3)}, normal(2, 8, 9)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType[kind],))
    key = jax.random.key(0)
    fun = jax.jit(
        lambda params, x: explain.parameter_randomisation(
            explain.saliency, apply_fn, params, x, key=key
        )
    )
    expected = fun(params, x)
    assert expected.layers == ("second", "first")
    there = jax.device_put(x, NamedSharding(mesh, P("data")))
    found = fun(jax.device_put(params, NamedSharding(mesh, P())), there)
    assert found.layers == expected.layers
    np.testing.assert_allclose(found.correlation, expected.correlation, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet", "dense conv3 norm conv2 conv1"),
        ("transformer", "dense mlp out qkv norm position patches"),
        ("scanned", "dense layers"),
        ("shared_kernels", "dense tied standard twice"),
    ],
)
def test_the_order_of_layers_is_found(name, layers):
    apply_fn, params, x = problems.get(name)
    order = transforms.order_of_use(apply_fn, params, x)
    last: dict[str, int] = {}
    for path, position in zip(paths_of(params), order, strict=True):
        assert position is not None
        last[path.layer] = max(position, last.get(path.layer, position))
    # Beside the third convolution, and so before it or behind.
    last.pop("shortcut", None)
    assert sorted(last, key=lambda layer: -last[layer]) == layers.split()


def test_a_parameter_that_never_meets_x():
    assert transforms.order_of_use(lambda p, x: x * p[0], [X, X], X) == (0, None)
    with pytest.raises(ValueError, match="no floating-point parameter meets x"):
        explain.parameter_randomisation(
            explain.saliency, lambda p, x: 2 * x, {"w": X}, X, key=jax.random.key(0)
        )


@pytest.mark.usefixtures("without_type_checks")
def test_bad_input():
    with pytest.raises(ValueError, match="cascading, independent"):
        run(explain.saliency, order="reversed")


X = jnp.ones((2, 3))
