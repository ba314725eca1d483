"""Occlusion against captum's numbers and a loop over windows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import golden_numbers, problems
from tests.explain_rise_test import golden_network
from trustjax import explain

GOLDEN = golden_numbers.load("07_attributions")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("occlusion_w8_s4_b0", {"window": 8, "stride": 4, "baseline": "zero"}),
        (
            "occlusion_w5x7_s3x5_b0.25",
            {"window": (5, 7), "stride": (3, 5), "baseline": 0.25},
        ),
    ],
)
def test_maps_are_captums(name, options):
    params = golden_numbers.params(GOLDEN)
    images = jnp.asarray(GOLDEN["images"])[: len(GOLDEN[name])]
    found = explain.occlusion(
        golden_network, params, images, output="logits", microbatch=11, **options
    )
    np.testing.assert_allclose(found, GOLDEN[name][..., 0], atol=1e-5)


@pytest.mark.parametrize(
    ("network", "window", "stride"),
    [("cnn", 3, 2), ("cnn", (4, 8), (3, 8)), ("video", 3, 3), ("video", (1, 3, 2), 1)],
)
def test_a_loop_over_windows(network, window, stride):
    apply_fn, params, x = problems.get(network)
    x = x[:2]
    size = x.shape[1:-1]
    found = explain.occlusion(
        apply_fn, params, x, window=window, stride=stride, target=1, baseline=0.5
    )
    each = lambda value, most: (
        (min(value, most[0]), value, value)[-len(size) :]
        if isinstance(value, int)
        else value
    )
    windows = each(window, size)
    strides = each(stride, windows)
    probability = lambda x: np.asarray(jax.nn.softmax(apply_fn(params, x)))[:, 1]
    lost, often = np.zeros((2, *size)), np.zeros(size)
    clean = probability(x)
    counts = [
        -(-(n - w) // s) + 1 for n, w, s in zip(size, windows, strides, strict=True)
    ]
    for place in np.ndindex(*counts):
        where = tuple(
            slice(i * s, i * s + w)
            for i, s, w in zip(place, strides, windows, strict=True)
        )
        hidden = np.asarray(x).copy()
        hidden[(slice(None), *where)] = 0.5
        less = clean - probability(jnp.asarray(hidden))
        lost[(slice(None), *where)] += less.reshape(2, *[1] * len(size))
        often[where] += 1
    np.testing.assert_allclose(found, lost / often, atol=1e-6)


def test_several_classes_and_any_microbatch():
    apply_fn, params, x = problems.get("cnn")
    ask = lambda **options: explain.occlusion(
        apply_fn, params, x, window=3, stride=2, **options
    )
    classes = jnp.arange(3)[None].repeat(len(x), 0)
    several = ask(target=classes)
    assert several.shape == (8, 3, 8, 8)
    np.testing.assert_allclose(several[:, 2], ask(target=2, microbatch=7), atol=1e-6)


def test_a_window_as_large_as_the_image_and_nothing_to_lose():
    apply_fn, params, x = problems.get("cnn")
    whole = explain.occlusion(apply_fn, params, x, window=8, stride=8, target=0)
    p = lambda x: jax.nn.softmax(apply_fn(params, x))[:, 0]
    grey = jnp.broadcast_to(x.mean((1, 2), keepdims=True), x.shape)
    expected = jnp.broadcast_to((p(x) - p(grey))[:, None, None], whole.shape)
    np.testing.assert_allclose(whole, expected, atol=1e-6)
    constant = lambda params, x: jnp.zeros((len(x), 4))
    found = explain.occlusion(constant, None, x, window=2, stride=1)
    np.testing.assert_array_equal(found, jnp.zeros((8, 8, 8)))


def test_a_nan_is_in_the_map_of_its_image_alone():
    network = lambda params, x: jnp.where(x > 6, jnp.nan, x).reshape(len(x), -1)
    x = jnp.zeros((2, 4, 4, 1)).at[0, 3, 3, 0].set(7.0)
    found = explain.occlusion(network, None, x, window=2, stride=2, target=0)
    assert np.isnan(found[0]).all()
    assert not np.isnan(found[1]).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 9}, "window must be an integer >= 1 and <= 8, got 9"),
        ({"window": 2, "stride": 3}, "stride must be an integer >= 1 and <= 2, got 3"),
        ({"window": (2, 2, 2)}, "window must be one number, or one for each axis"),
        ({"stride": 0}, "stride must be an integer >= 1"),
        ({"microbatch": 10}, "microbatch must be an integer >= 1 and <= 9, got 10"),
        ({"target": 3}, "target must be in"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    apply_fn, params, x = problems.get("cnn")
    with pytest.raises(ValueError, match=message):
        explain.occlusion(apply_fn, params, x, **({"window": 4, "stride": 2} | options))
