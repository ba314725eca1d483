"""Gradient maps: captum's numbers, obvious loops, hand-worked values, bad input."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.programs import jitted
from trustjax import explain, gradients, losses, scores
from trustjax.explain import _smooth_grad
from trustjax.typing import SplitModel

GOLDEN = pathlib.Path(__file__).parent / "golden" / "07_attributions.npz"


@functools.cache
def golden():
    return dict(np.load(GOLDEN))


def of_golden(name):
    return golden()[name]


def features_fn(params, x):
    """Two convolutions; the second with its padding said, as PyTorch has it."""
    conv = functools.partial(
        lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    bias = lambda name: params[f"params/{name}/bias"].reshape(1, 1, 1, -1)
    one = ((1, 1), (1, 1))
    x = conv(x, params["params/conv1/kernel"], (1, 1), one) + bias("conv1")
    x = jax.nn.relu(x)
    x = conv(x, params["params/conv2/kernel"], (2, 2), one) + bias("conv2")
    return jax.nn.relu(x)


def head_fn(params, features):
    bias = params["params/dense/bias"].reshape(1, -1)
    return features.mean((1, 2)) @ params["params/dense/kernel"] + bias


def apply_fn(params, x):
    return head_fn(params, features_fn(params, x))


def params():
    return {k: jnp.asarray(v) for k, v in golden().items() if k.startswith("params")}


def images():
    return jnp.asarray(of_golden("images"))


def assert_close(ours, name):
    expected = of_golden(name)
    atol = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=atol)


def test_captums_maps_of_one_gradient():
    p, x = params(), images()
    np.testing.assert_allclose(apply_fn(p, x), golden()["logits"], rtol=1e-4, atol=1e-5)

    @jax.jit
    def maps(p, x):
        of = functools.partial(explain.saliency, apply_fn, p, x)
        return (
            of(),
            explain.input_times_gradient(apply_fn, p, x),
            explain.guided_backprop(apply_fn, p, x),
            explain.deconvolution(apply_fn, p, x),
            of(output="probabilities"),
            of(output="log_probabilities"),
        )

    signed, *others = maps(p, x)
    assert_close(signed, "saliency_signed")
    np.testing.assert_allclose(
        explain.over_channels(signed), of_golden("saliency_abs").max(-1), atol=1e-5
    )
    names = ("input_x_gradient", "guided_backprop", "deconvolution")
    for got, name in zip(others, (*names, "grad_prob", "grad_logprob"), strict=True):
        assert_close(got, name)


@pytest.mark.parametrize(
    ("method", "captums", "share"),
    [
        ("gauss_legendre", "gausslegendre", 1),
        ("middle", "riemann_middle", 1),
        # The weights of captum's trapezoids add up to 49 / 50.
        ("trapezoid", "riemann_trapezoid", 49 / 50),
    ],
)
def test_captums_integrated_gradients(method, captums, share):
    got = jitted(
        explain.integrated_gradients,
        apply_fn,
        params(),
        images(),
        baseline=0.0,
        method=method,
    )
    assert_close(share * got.map, f"ig50_{captums}")
    total = got.map.sum((1, 2, 3))
    delta = share * total - (total - got.residual)
    np.testing.assert_allclose(delta, of_golden(f"ig50_{captums}_delta"), atol=2e-5)


def test_captums_integrated_gradients_from_a_random_image():
    got = jitted(
        explain.integrated_gradients,
        apply_fn,
        params(),
        images(),
        baseline=of_golden("ig_baseline_random"),
        steps=20,
    )
    assert_close(got.map, "ig20_gausslegendre_randombaseline")


def test_captums_smooth_grad(monkeypatch):
    units = jnp.asarray(of_golden("noise_unit"))
    given = lambda key, number, x: units[number]
    monkeypatch.setattr(_smooth_grad, "_unit_noise", given)
    found = functools.partial(
        *(jitted, explain.smooth_grad, apply_fn, params(), images()),
        key=jax.random.key(0),
        samples=8,
        microbatch=3,
    )
    got = found()
    assert_close(got.map, "smoothgrad")
    assert_close(7 * got.standard_error**2, "vargrad_ddof0")
    assert_close(found(each=jnp.square).map, "smoothgrad_sq")
    assert_close(found(each=jnp.abs).map, "smoothgrad_of_abs")


def test_captums_guided_grad_cam():
    """captum brings Grad-CAM to the size of the image by repeating its pixels."""
    p, x = params(), images()
    split = SplitModel(features_fn, head_fn)
    cam = jitted(explain.grad_cam, split, p, x, size=(16, 16))
    cam = np.repeat(np.repeat(cam, 2, 1), 2, 2)[..., None]
    guided = jitted(explain.guided_backprop, apply_fn, p, x)
    assert_close(cam * guided, "guided_gradcam")
    smooth = jitted(explain.grad_cam, split, p, x)[..., None]
    got = jitted(explain.guided_grad_cam, apply_fn, p, x)
    np.testing.assert_allclose(got, smooth * guided, rtol=1e-5, atol=1e-7)


X = np.array([[1.0, -0.5, 2.0], [0.3, 0.7, -1.0]], np.float32)
W = np.array([[1.0, 0.2], [-2.0, 1.0], [0.5, -0.4]], np.float32)


def vectors(params, x):
    """A network of vectors, which has nothing to map but its inputs."""
    return jnp.tanh(x @ params)


@jax.jit
def gradient_of_row(row, target):
    """One example, one target, by `jax.grad`."""
    return jax.grad(lambda row: vectors(W, row[None])[0, target])(row)


def test_every_kind_of_target_is_that_of_a_loop():
    predicted = np.asarray(vectors(W, X)).argmax(-1)
    both = np.stack([[gradient_of_row(row, k) for k in (0, 1)] for row in X])
    asked = {
        "predicted": None,
        "one": 1,
        "each": jnp.array([1, 0]),
        "several": jnp.array([[0, 1], [1, 1]]),
        "difference": explain.class_difference(0, 1),
        "score": scores.grad_trust,
        "loss": explain.loss(losses.cross_entropy, jnp.array([0, 1])),
    }

    @jax.jit
    def found(x):
        return {
            name: explain.saliency(vectors, W, x, target=target)
            for name, target in asked.items()
        }

    @jax.jit
    def of_functions(x):
        labels = jnp.array([0, 1])
        loss = gradients.input_gradients(
            vectors, W, x, loss_fn=losses.cross_entropy, loss_args=(labels,)
        )
        score = jax.grad(lambda x: scores.grad_trust(vectors(W, x)).sum())(x)
        return {"score": score, "loss": -loss}

    expected = {
        "predicted": both[[0, 1], predicted],
        "one": both[:, 1],
        "each": both[[0, 1], [1, 0]],
        "several": np.stack([both[0], both[1, [1, 1]]]),
        "difference": both[:, 0] - both[:, 1],
        **of_functions(X),
    }
    got = found(X)
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-4, err_msg=name)


def test_integrated_gradients_are_a_loop_over_the_points():
    places, weights = np.polynomial.legendre.leggauss(5)
    start = np.array([0.1, 0.0, -0.2], np.float32)
    expected = []
    for row in X:
        target = int(np.asarray(vectors(W, row[None]))[0].argmax())
        total = sum(
            weight
            / 2
            * gradient_of_row(start + (1 + place) / 2 * (row - start), target)
            for place, weight in zip(places, weights, strict=True)
        )
        expected.append((row - start) * total)
    found = functools.partial(
        *(jitted, explain.integrated_gradients, vectors, W, X), baseline=start, steps=5
    )
    for microbatch in (1, 2, 99):
        got = found(microbatch=microbatch)
        np.testing.assert_allclose(got.map, expected, rtol=1e-4, atol=1e-6)
    several = found(target=jnp.array([[0, 1], [1, 0]]))
    assert several.map.shape == (2, 2, 3)
    assert several.residual.shape == (2, 2)
    np.testing.assert_allclose(several.map[1, 0], found(target=1).map[1], rtol=1e-5)


@pytest.mark.parametrize("method", ["gauss_legendre", "trapezoid", "middle"])
def test_the_residual_falls_with_the_steps(method):
    found = functools.partial(
        *(jitted, explain.integrated_gradients, vectors, W, X),
        baseline=0.0,
        method=method,
    )
    few, many = (np.abs(found(steps=n).residual).max() for n in (2, 200))
    assert few > 5e-3
    assert many < 1e-4


def test_the_baseline_of_an_image_is_its_own_mean():
    images = np.stack([np.full((2, 2, 1), 0.25), np.eye(2)[..., None]])
    images = images.astype(np.float32)
    linear = lambda params, x: x.reshape(len(x), 4) @ params
    weights = np.arange(8.0, dtype=np.float32).reshape(4, 2)
    got = jitted(explain.integrated_gradients, linear, weights, images, target=0)
    np.testing.assert_allclose(got.map[0], 0, atol=1e-6)
    sign = np.array([[1.0, -1.0], [-1.0, 1.0]])
    expected = sign * 0.5 * weights[:, 0].reshape(2, 2)
    np.testing.assert_allclose(got.map[1, ..., 0], expected, rtol=1e-5)


def test_smooth_grad_is_a_loop_over_the_samples():
    key = jax.random.key(3)
    spread = X.max(1) - X.min(1)
    unit = jax.jit(lambda n: jax.random.normal(jax.random.fold_in(key, n), (3,)))
    units = [np.asarray(unit(number)) for number in range(7)]
    loop = np.array(
        [
            [gradient_of_row(row + 0.2 * s * unit, 0) for unit in units]
            for row, s in zip(X, spread, strict=True)
        ]
    )
    found = functools.partial(
        *(jitted, explain.smooth_grad, vectors, W, X),
        key=key,
        target=0,
        noise=0.2,
        samples=7,
    )
    for microbatch in (1, 3, 99):
        got = found(microbatch=microbatch)
        np.testing.assert_allclose(got.map, loop.mean(1), rtol=1e-4, atol=1e-6)
        error = loop.std(1, ddof=1) / np.sqrt(7)
        np.testing.assert_allclose(got.standard_error, error, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(got.samples, [7, 7])
    several = found(target=jnp.array([[1, 0], [0, 0]]))
    np.testing.assert_allclose(several.map[0, 1], loop.mean(1)[0], rtol=1e-4)


def test_the_standard_error_is_that_of_other_draws():
    """Over 200 keys, in the mean over numbers, within a tenth."""
    found = lambda key: explain.smooth_grad(
        vectors, W, X, key=key, target=0, noise=0.5, samples=20, microbatch=20
    )
    maps, errors, _ = jax.jit(jax.vmap(found))(jax.random.split(jax.random.key(0), 200))
    actual = maps.std(0, ddof=1).mean()
    assert abs(actual / errors.mean() - 1) < 0.1


def test_each_example_stops_when_it_is_sure():
    found = functools.partial(
        *(explain.smooth_grad, vectors, W, np.stack([X[0], X[0] * 0 + 1, X[1] / 4])),
        key=jax.random.key(0),
        target=0,
        noise=0.5,
        microbatch=4,
    )
    stopped = jax.jit(lambda: found(samples=400, until=0.1))()
    assert stopped.samples[1] == 12  # a constant row has no noise at all
    for row in (0, 2):
        number = int(stopped.samples[row])
        assert 12 <= number < 400
        assert number % 4 == 0
        error = np.sqrt((stopped.standard_error[row] ** 2).mean())
        assert error <= 0.1 * stopped.map[row].std()
        whole = jax.jit(functools.partial(found, samples=number))()
        np.testing.assert_allclose(stopped.map[row], whole.map[row], rtol=1e-5)
    assert stopped.samples[0] != stopped.samples[2]


def test_edge_cases_of_noise():
    constant = np.full((1, 3), 2.0, np.float32)
    noisy = functools.partial(jitted, explain.smooth_grad, key=jax.random.key(0))
    got = noisy(vectors, W, constant, samples=3)
    np.testing.assert_allclose(got.map, jitted(explain.saliency, vectors, W, constant))
    np.testing.assert_allclose(got.standard_error, np.zeros((1, 3)), atol=1e-6)
    got = noisy(vectors, W, X, samples=1)
    assert np.isnan(got.standard_error).all()


def test_a_tree_of_inputs():
    both = {"a": jnp.asarray(X), "b": jnp.asarray(X[:, :2])}
    apply = lambda params, x: x["a"] @ params + 2 * x["b"]
    got = explain.input_times_gradient(apply, W, both, target=0)
    np.testing.assert_allclose(got["a"], X * W[:, 0], rtol=1e-5)
    np.testing.assert_allclose(got["b"], X[:, :2] * [2, 0], rtol=1e-5)


def test_over_channels():
    clip = np.stack([np.ones((2, 3, 4)), -2 * np.ones((2, 3, 4))], axis=-1)[None]
    assert explain.over_channels(jnp.asarray(clip)).shape == (1, 2, 3, 4)
    np.testing.assert_array_equal(explain.over_channels(jnp.asarray(clip)), 2)
    np.testing.assert_array_equal(
        explain.over_channels(jnp.asarray(clip), by="sum"), -1
    )
    first = np.moveaxis(clip[:, 0], -1, 1).repeat(2, 1)[:, :3]
    assert explain.over_channels(jnp.asarray(first)).shape == (1, 3, 4)
    several = jnp.asarray(np.stack([clip, clip], 1))
    assert explain.over_channels(several, leading=2).shape == (1, 2, 2, 3, 4)


def test_nan_in_the_network_is_nan_in_the_map_and_said():
    """Also where a ReLU would have swallowed it."""
    broken = X.copy()
    broken[1, 0] = np.nan
    network = lambda params, x: jax.nn.relu(x @ params)
    for function in (
        explain.saliency,
        explain.guided_backprop,
        functools.partial(explain.smooth_grad, key=jax.random.key(0), samples=2),
        functools.partial(explain.integrated_gradients, baseline=0.0, steps=2),
    ):
        with pytest.warns(UserWarning, match="the map of image 1 is NaN"):
            got = jax.tree.leaves(function(network, W, broken))[0]
        assert np.isfinite(got[0]).all()
        assert np.isnan(got[1]).all()


@pytest.mark.usefixtures("without_type_checks")
def test_bad_input_says_what_was_expected():
    x = jnp.asarray(X)
    key = jax.random.key(0)
    ig = functools.partial(explain.integrated_gradients, vectors, W, x, baseline=0.0)
    smooth = functools.partial(explain.smooth_grad, vectors, W, x, key=key)
    for call, error, match in (
        (
            lambda: explain.saliency(vectors, W, x.astype(int)),
            TypeError,
            "x must be fl",
        ),
        (lambda: explain.saliency(vectors, W, x, target=2), ValueError, r"\[0, 2\)"),
        (
            lambda: explain.saliency(vectors, W, x, output="odds"),
            ValueError,
            "logits, p",
        ),
        (lambda: explain.guided_backprop(vectors, W, x), ValueError, "found tanh"),
        (lambda: ig(method="simpson"), ValueError, "gauss_legendre, trapezoid, middle"),
        (lambda: ig(steps=0), ValueError, "steps must be an integer >= 1"),
        (lambda: ig(steps=1, method="trapezoid"), ValueError, "steps .* >= 2"),
        (lambda: ig(microbatch=0), ValueError, "microbatch must be"),
        (lambda: ig(baseline="mean"), ValueError, "a number or an array where x is no"),
        (lambda: ig(baseline=np.ones(4)), ValueError, "baseline must broadcast"),
        (lambda: smooth(noise=-1.0), ValueError, "noise must not be negative"),
        (lambda: smooth(until=1.0), ValueError, r"until must be in \(0, 1\)"),
        (lambda: smooth(samples=0), ValueError, "samples must be an integer >= 1"),
        (lambda: explain.over_channels(x), ValueError, "images"),
    ):
        with pytest.raises(error, match=match):
            call()
