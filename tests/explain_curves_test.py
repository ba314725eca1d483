"""Insertion and deletion, pixel by pixel: the authors' numbers, and a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import golden_numbers
from trustjax import explain, losses, scores

GAMES = {"insertion": explain.insertion_curve, "deletion": explain.deletion_curve}
OPTIONS = {"baseline": 0.25, "step": 5}


@pytest.fixture(scope="module")
def authors():
    arrays = golden_numbers.load("08_rise_shape")
    images, maps = (jnp.asarray(arrays[k]) for k in ("images", "metric_saliency"))
    return arrays, golden_numbers.params(arrays), images, maps


def network(params, x):
    """The network of the golden file."""

    def conv(x, layer, strides):
        dimensions = ("NHWC", "HWIO", "NHWC")
        pad = ((1, 1), (1, 1))
        y = jax.lax.conv_general_dilated(
            x, layer["kernel"], strides, pad, dimension_numbers=dimensions
        )
        return jax.nn.relu(y + layer["bias"].reshape(1, 1, 1, -1))

    x = conv(conv(x, params["conv1"], (1, 1)), params["conv2"], (2, 2))
    dense = params["dense"]
    return x.mean((1, 2)) @ dense["kernel"] + dense["bias"][None]


def small_network(params, x):
    """Something that is not symmetric in its pixels."""
    return jnp.tanh(x.reshape(len(x), -1)) @ params


def small_problem(batch=4, size=(4, 5), channels=2):
    rng = np.random.default_rng(0)
    pixels = int(np.prod(size)) * channels
    params = jnp.asarray(rng.normal(size=(pixels, 3)), jnp.float32)
    x = jnp.asarray(rng.normal(size=(batch, *size, channels)), jnp.float32)
    maps = jnp.asarray(rng.normal(size=(batch, *size)).round(1), jnp.float32)
    return params, x, maps


def loop(params, image, own_map, label, game, baseline=0.25, step=5):
    """One image, one pixel after the other."""
    order = np.argsort(-own_map.ravel(), kind="stable")
    start, end = np.full_like(image, baseline), np.array(image)
    if game == "deletion":
        start, end = end, start
    said, shares = [], []
    for count in [*range(0, own_map.size, step), own_map.size]:
        shown = start.copy()
        for pixel in order[:count]:
            place = np.unravel_index(pixel, own_map.shape)
            shown[place] = end[place]
        said.append(jax.nn.softmax(small_network(params, shown[None])[0])[label])
        shares.append(count / own_map.size)
    return np.array(shares), np.array(said)


@pytest.mark.parametrize("step", [32, 50])
@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("substrate", ["zero", "blur"])
def test_the_authors_curves(authors, step, game, substrate):
    arrays, params, images, maps = authors
    baseline = jnp.asarray(arrays["blurred_images"]) if substrate == "blur" else "zero"
    curve = GAMES[game](
        network,
        params,
        images,
        maps,
        baseline=baseline,
        step=step,
        spacing="steps",
    )
    theirs = f"causal_step{step}/{game}_{substrate}"
    np.testing.assert_allclose(curve.y, arrays[f"{theirs}/scores"], atol=2e-6)
    np.testing.assert_allclose(curve.area, arrays[f"{theirs}/auc"], atol=1e-6)
    np.testing.assert_allclose(
        curve.x[0], np.minimum(step * np.arange(curve.x.shape[1]), 1024) / 1024
    )


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("substrate", ["black", "blur"])
def test_the_curves_of_shape_which_leave_out_the_last_pixels(authors, game, substrate):
    """Theirs end after 100 steps of 10 pixels; 24 of 1024 are never touched."""
    arrays, params, images, maps = authors
    blurred = jnp.asarray(arrays["shape_eval100/cv2_blurred"])
    curve = GAMES[game](
        network,
        params,
        images,
        maps,
        baseline=blurred if substrate == "blur" else "zero",
        step=10,
    )
    theirs = f"shape_eval100/{game}_{substrate}"
    first = np.asarray(curve.y)[:, :101]
    np.testing.assert_allclose(first, arrays[f"{theirs}/scores"], atol=2e-6)
    area = np.trapezoid(first, dx=1 / 100, axis=1)
    np.testing.assert_allclose(area, arrays[f"{theirs}/auc"], atol=1e-6)
    assert curve.y.shape[1] == 104
    assert curve.x[0, -1] == 1


@pytest.mark.parametrize("game", GAMES)
def test_a_loop_over_pixels(game):
    params, x, maps = small_problem()
    curve = GAMES[game](small_network, params, x, maps, **OPTIONS)
    labels = small_network(params, x).argmax(-1)
    for image in range(len(x)):
        shares, said = loop(
            params, np.asarray(x[image]), np.asarray(maps[image]), labels[image], game
        )
        np.testing.assert_allclose(curve.x[image], shares, atol=1e-6)
        np.testing.assert_allclose(curve.y[image], said, atol=1e-6)
        np.testing.assert_allclose(
            curve.area[image], np.trapezoid(said, shares), atol=1e-6
        )


@pytest.mark.parametrize("microbatch", [1, 3, 4, 9, 100])
def test_the_size_of_a_pass_changes_nothing(microbatch):
    params, x, maps = small_problem()
    one, other = (
        jax.jit(
            lambda params, size=size: explain.insertion_curve(
                small_network, params, x, maps, baseline="blur", step=3, microbatch=size
            )
        )(params)
        for size in (None, microbatch)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), one, other)


def test_no_pass_is_larger_than_a_microbatch():
    params, x, maps = small_problem()
    seen = []

    def watched(params, x):
        seen.append(len(x))
        return small_network(params, x)

    explain.deletion_curve(watched, params, x, maps, microbatch=3)
    assert set(seen) == {3}


def test_equal_values_come_by_their_place():
    params, x, _ = small_problem()
    curve = explain.deletion_curve(
        small_network, params, x, jnp.zeros(x.shape[:3]), target=1, **OPTIONS
    )
    ramp = jnp.broadcast_to(-jnp.arange(20.0).reshape(1, 4, 5), x.shape[:3])
    row_by_row = explain.deletion_curve(
        small_network, params, x, ramp, target=1, **OPTIONS
    )
    jax.tree.map(np.testing.assert_array_equal, curve, row_by_row)


def test_negative_zero_is_equal_to_zero():
    params, x, _ = small_problem()
    signs = jnp.where(jnp.arange(20).reshape(1, 4, 5) % 2 == 0, -0.0, 0.0)
    mixed, zeros = (
        explain.insertion_curve(small_network, params, x, maps, **OPTIONS)
        for maps in (jnp.broadcast_to(signs, x.shape[:3]), jnp.zeros(x.shape[:3]))
    )
    jax.tree.map(np.testing.assert_array_equal, mixed, zeros)


@pytest.mark.parametrize("game", GAMES)
def test_a_map_with_a_nan_is_nan_by_itself(game):
    params, x, maps = small_problem()
    curve = GAMES[game](small_network, params, x, maps, **OPTIONS)
    spoilt = GAMES[game](
        small_network, params, x, maps.at[1, 2, 2].set(jnp.nan), **OPTIONS
    )
    assert np.isnan(spoilt.y[1]).all()
    assert np.isnan(spoilt.area[1])
    others = np.array([0, 2, 3])
    np.testing.assert_array_equal(spoilt.y[others], curve.y[others])


@pytest.mark.parametrize("step", [20, 21])
def test_one_step_of_everything(step):
    params, x, maps = small_problem()
    curve = explain.insertion_curve(
        small_network, params, x, maps, baseline="zero", step=step
    )
    np.testing.assert_array_equal(curve.x, [[0.0, 1.0]] * 4)
    probabilities = jax.nn.softmax(small_network(params, x)).max(-1)
    np.testing.assert_allclose(curve.y[:, 1], probabilities, atol=1e-6)
    np.testing.assert_allclose(curve.area, curve.y.mean(axis=1), atol=1e-6)


def test_a_short_last_step_counts_for_its_pixels():
    params, x, maps = small_problem()
    by_pixels, by_steps = (
        explain.deletion_curve(
            small_network, params, x, maps, step=15, spacing=spacing, baseline=0.0
        )
        for spacing in ("pixels", "steps")
    )
    np.testing.assert_array_equal(by_pixels.y, by_steps.y)
    first, middle, last = by_pixels.y.T
    ours = 0.75 * (first + middle) / 2 + 0.25 * (middle + last) / 2
    np.testing.assert_allclose(by_pixels.area, ours, atol=1e-6)
    theirs = (first + 2 * middle + last) / 4
    np.testing.assert_allclose(by_steps.area, theirs, atol=1e-6)


@pytest.mark.parametrize(
    "target",
    [
        2,
        jnp.array([2, 0, 1, 2]),
        scores.energy,
        explain.class_difference(0, 1),
        explain.loss(losses.cross_entropy, jnp.array([0, 1, 2, 0])),
    ],
)
def test_every_target_begins_and_ends_with_its_own_answer(target):
    params, x, maps = small_problem()
    curve = explain.deletion_curve(
        small_network, params, x, maps, target=target, output="logits", baseline="zero"
    )
    for point, images in ((0, x), (-1, jnp.zeros_like(x))):
        logits = small_network(params, images)
        if callable(target):
            expected = jnp.asarray(target(logits))
        else:
            classes = jnp.broadcast_to(target, (4,))
            expected = jnp.take_along_axis(logits, classes[:, None], 1)[:, 0]
        np.testing.assert_allclose(curve.y[:, point], expected, rtol=1e-5, atol=1e-5)


def test_imputation_depends_on_what_is_left():
    params, x, maps = small_problem()
    curve = explain.deletion_curve(
        small_network, params, x, maps, baseline="impute", key=jax.random.key(0)
    )
    assert np.isfinite(curve.y).all()
    mean = explain.deletion_curve(small_network, params, x, maps, baseline="mean")
    assert np.abs(curve.y[:, 1:-1] - mean.y[:, 1:-1]).max() > 0.01


def test_clips():
    params, x, maps = small_problem(size=(2, 3, 4))
    curve = explain.insertion_curve(
        small_network, params, x, maps, baseline="zero", step=7
    )
    assert curve.y.shape == (4, 5)
    np.testing.assert_allclose(
        curve.y[:, -1], jax.nn.softmax(small_network(params, x)).max(-1), atol=1e-6
    )


def test_half_precision_is_ranked_and_summed_in_float32():
    params, x, maps = small_problem()
    less, half = (a.astype(jnp.bfloat16) for a in (params, x))
    curve = explain.deletion_curve(
        small_network, less, half, maps, baseline=0.25, step=5
    )
    assert curve.area.dtype == curve.y.dtype == jnp.float32
    whole = explain.deletion_curve(
        small_network, params, x, maps, baseline=0.25, step=5
    )
    np.testing.assert_allclose(curve.area, whole.area, atol=0.05)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (
            {"maps": jnp.zeros((4, 5))},
            ValueError,
            r"number for each pixel .* \(4, 4, 5",
        ),
        ({"maps": jnp.zeros((4, 4, 5), int)}, TypeError, "maps must be floating point"),
        ({"x": jnp.zeros((4, 5))}, ValueError, "must be images"),
        ({"step": 0}, ValueError, "step must be an integer >= 1, got 0"),
        ({"step": 2.5}, ValueError, r"step must be an integer >= 1, got 2\.5"),
        ({"spacing": "even"}, ValueError, "spacing must be one of pixels, steps"),
        ({"microbatch": 0}, ValueError, "microbatch must be an integer >= 1"),
        ({"baseline": "black"}, ValueError, "baseline must be one of mean, zero, blur"),
        ({"output": "logit"}, ValueError, "output must be one of logits"),
        ({"target": 3}, ValueError, r"target must be in \[0, 3\)"),
        (
            {"target": jnp.zeros((4, 2), int)},
            ValueError,
            r"target must ask for one number for each image here, got \(4, 2\)",
        ),
    ],
)
def test_what_cannot_be_is_named(changed, error, message):
    params, x, maps = small_problem()
    given = {"x": x, "maps": maps, **changed}
    with pytest.raises(error, match=message):
        explain.insertion_curve(
            small_network, params, given.pop("x"), given.pop("maps"), **given
        )
