"""RISE and SHAPE against loops over masks, the authors' numbers, and their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import golden_numbers, problems
from tests.programs import jitted
from trustjax import explain, scores
from trustjax.explain import _masks

KEY = jax.random.key(0)
GOLDEN = golden_numbers.load("08_rise_shape")


def golden_network(params, x):
    for layer, stride in (("conv1", 1), ("conv2", 2)):
        x = jax.lax.conv_general_dilated(
            x,
            params[layer]["kernel"],
            (stride, stride),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = jax.nn.relu(x + params[layer]["bias"].reshape(1, 1, 1, -1))
    return x.mean((1, 2)) @ params["dense"]["kernel"] + params["dense"]["bias"][None]


@pytest.mark.parametrize("name", ["m0", "m1"])
def test_masks_are_the_authors(name):
    grids, shifts = GOLDEN[f"{name}/grid"], GOLDEN[f"{name}/shifts"]
    smoothed = jax.vmap(lambda grid, shift: _masks.smoothed(grid, shift, (32, 32)))
    ours = smoothed(jnp.asarray(grids), jnp.asarray(shifts))
    np.testing.assert_allclose(ours, GOLDEN[f"{name}/masks"], atol=2e-7)


@pytest.mark.parametrize("name", ["m0", "m1"])
def test_maps_are_the_authors(name):
    params, images = golden_numbers.params(GOLDEN), jnp.asarray(GOLDEN["images"])
    masks, p = jnp.asarray(GOLDEN[f"{name}/masks"]), float(GOLDEN[f"{name}/N_s_p1"][2])
    maps = lambda x, **options: jitted(
        explain.rise_and_shape,
        golden_network,
        params,
        x,
        masks=masks,
        p=p,
        baseline="zero",
        **options,
    )
    found = maps(images, microbatch=7)
    for map_, theirs in ((found.rise.map, "rise"), (found.shape.map, "shape")):
        expected = GOLDEN[f"{name}/{theirs}_saliency_pred"]
        np.testing.assert_allclose(map_, expected, atol=1e-6)
    of_all = maps(images[:1], target=jnp.arange(10)[None])
    for map_, theirs in ((of_all.rise.map, "rise"), (of_all.shape.map, "shape")):
        expected = GOLDEN[f"{name}/{theirs}_saliency_allclasses_img0"]
        np.testing.assert_allclose(map_[0], expected, atol=1e-6)
    of_logits = maps(images, output="logits").shape.map
    expected = GOLDEN[f"{name}/shape_rawlogit_saliency_pred"]
    np.testing.assert_allclose(of_logits, expected, atol=1e-5)


def drawn(num_masks, size, p):
    """Cells of one pixel, without a shift."""
    return jax.random.bernoulli(KEY, p, (num_masks, *size)).astype(jnp.float32)


@pytest.mark.parametrize("inverted", [False, True])
def test_rise_of_four_pixels_by_hand(inverted):
    """Where a pixel is kept, w more than the half of the others: (10 + w) / 2."""
    w = jnp.array([1.0, 2.0, 3.0, 4.0])[:, None]
    network = lambda w, x: x.reshape(len(x), 4) @ w
    if inverted:
        network = lambda w, x: (1 - x.reshape(len(x), 4)) @ w
    found = explain.rise(
        network, w, jnp.ones((1, 2, 2, 1)), masks=drawn(100_000, (2, 2), 0.5),
        target=0, output="logits", baseline="zero", microbatch=1000,
    )  # fmt: skip
    sign = -1 if inverted else 1
    expected = (10 + sign * np.array([1.0, 2.0, 3.0, 4.0])) / 2
    np.testing.assert_allclose(found.map.ravel(), expected, atol=0.05)
    np.testing.assert_array_equal(np.argsort(found.map.ravel()), range(4)[::sign])
    assert np.all(
        np.abs(found.map.ravel() - expected) < 4 * found.standard_error.ravel()
    )


def loop(values, clean, masks, p):
    """Each summand of each estimate by itself; `[masks]` and `[masks, pixels]`."""
    n, f, m = len(values), values[:, None], masks
    g, mu = f - f.mean(), m - m.mean(0)
    covariance = (g * mu).sum(0) / (n - 1)
    summands = {
        ("rise", False): f * m / p,
        ("shape", False): (clean - f) * (1 - m) / (1 - p),
        # What each mask moves.
        ("rise", True): g * mu / p + g,
        ("shape", True): g * mu / (1 - p) - g,
    }
    maps = {name: s.mean(0) for name, s in summands.items()}
    maps["rise", True] = covariance / p + f.mean()
    maps["shape", True] = covariance / (1 - p) + clean - f.mean()
    errors = {name: s.std(0, ddof=1) / n**0.5 for name, s in summands.items()}
    return maps, errors


@pytest.mark.parametrize("network", ["cnn", "video"])
@pytest.mark.parametrize("centred", [False, True])
def test_a_loop_over_masks(network, centred):
    apply_fn, params, x = problems.get(network)
    x, p, count = x[:2], 0.3, 37
    size = x.shape[1:-1]
    options = {"cells": 3, "p": p}
    found = jitted(
        explain.rise_and_shape, apply_fn, params, x, key=KEY, masks=count,
        centred=centred, microbatch=5, baseline=0.25, **options,
    )  # fmt: skip
    masks = np.asarray(explain.random_masks(KEY, count, size, **options), np.float64)
    answers = jax.jit(lambda x: jax.nn.softmax(apply_fn(params, x)))
    clean = answers(x)
    for i, image in enumerate(x):
        label = int(np.argmax(clean[i]))
        keep = masks[..., None].astype(x.dtype)
        shown = keep * np.asarray(image)[None] + (1 - keep) * np.float32(0.25)
        values = answers(shown)[:, label]
        maps, errors = loop(
            np.asarray(values, np.float64),
            float(clean[i, label]),
            masks.reshape(count, -1),
            p,
        )
        for name in ("rise", "shape"):
            estimate = getattr(found, name)
            assert estimate.map.shape == estimate.standard_error.shape == (2, *size)
            close = lambda ours, expected: np.testing.assert_allclose(
                ours.ravel(), expected, rtol=1e-4, atol=1e-6
            )
            close(estimate.map[i], maps[name, centred])
            close(estimate.standard_error[i], errors[name, centred])
            np.testing.assert_array_equal(estimate.samples, [count, count])


def test_channels_may_come_first():
    params, x = golden_numbers.params(GOLDEN), jnp.asarray(GOLDEN["images"])
    swapped = lambda params, x: golden_network(params, jnp.moveaxis(x, 1, -1))
    options = {"key": KEY, "masks": 20}
    last = explain.rise(golden_network, params, x, **options)
    first = explain.rise(swapped, params, jnp.moveaxis(x, -1, 1), **options)
    np.testing.assert_allclose(first.map, last.map, atol=1e-6)


@pytest.mark.exhaustive
def test_one_alone_is_one_of_both():
    apply_fn, params, x = problems.get("cnn")
    options = {"key": KEY, "masks": 40, "cells": 4, "target": 1}
    both = explain.rise_and_shape(apply_fn, params, x, **options)
    for name in ("rise", "shape"):
        alone = getattr(explain, name)(apply_fn, params, x, **options)
        for ours, expected in zip(alone, getattr(both, name), strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_the_two_maps_are_affine_in_one_another_but_for_the_mean_mask():
    apply_fn, params, x = problems.get("cnn")
    options = {"cells": 4, "p": 0.2}
    found = jitted(
        explain.rise_and_shape, apply_fn, params, x, key=KEY, masks=50, **options
    )
    masks = explain.random_masks(KEY, 50, (8, 8), **options)
    answers = jax.jit(lambda x: jax.nn.softmax(apply_fn(params, x)))
    whole = np.asarray(answers(x))
    f0 = whole.max(-1)[:, None, None]
    label = whole.argmax(-1)
    masks, images = np.asarray(masks), np.asarray(x)
    keep = masks[:, None, ..., None]
    mean = images.mean((1, 2), keepdims=True)[None]
    shown = keep * images[None] + (1 - keep) * mean
    values = np.stack([answers(images) for images in shown])
    fbar = values[:, np.arange(8), label].mean(0)[:, None, None]
    m = masks.mean(0)[None]
    expected = (0.2 * found.rise.map + f0 * (1 - m) - fbar) / 0.8
    np.testing.assert_allclose(found.shape.map, expected, atol=1e-6)
    centred = jitted(
        explain.rise_and_shape,
        apply_fn,
        params,
        x,
        key=KEY,
        masks=50,
        centred=True,
        **options,
    )
    # p RISE - (1 - p) SHAPE of the centred maps: no mask is left in it.
    expected = np.broadcast_to(fbar - 0.8 * f0, (8, 8, 8))
    ours = 0.2 * centred.rise.map - 0.8 * centred.shape.map
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("baseline", "count"), [("mean", 300), ("impute", 24)])
def test_the_maps_do_not_depend_on_the_microbatch(baseline, count):
    apply_fn, params, x = problems.get("cnn")
    ask = lambda size: explain.rise_and_shape(
        apply_fn, params, x[:2], key=KEY, masks=count, cells=4, microbatch=size,
        baseline=baseline,
    )  # fmt: skip
    expected = jax.jit(ask, static_argnums=0)(count)
    for size in (1, 64) if baseline == "mean" else (5,):
        found = jax.jit(ask, static_argnums=0)(size)
        for ours, whole in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
            np.testing.assert_allclose(ours, whole, rtol=1e-4, atol=1e-5)


def brightness(params, x):
    """Two classes; the brighter the left half, the surer the first."""
    left = x[:, :, : x.shape[2] // 2].mean((1, 2, 3))
    return jnp.stack([left, -left], axis=-1) * params


@pytest.mark.exhaustive
def test_eight_thousand_large_masks_in_bounded_memory():
    x = jax.random.uniform(KEY, (1, 224, 224, 3))
    maps, temporary = [], []
    for microbatch in (1, 64, 8000 // 8):
        rise = jax.jit(
            lambda x, microbatch=microbatch: explain.rise(
                brightness, 4.0, x, key=KEY, masks=8000, microbatch=microbatch
            )
        )
        compiled = rise.lower(x).compile()
        maps.append(compiled(x).map)
        memory = compiled.memory_analysis()
        assert memory is not None
        temporary.append(memory.temp_size_in_bytes)
    for other in maps[1:]:
        np.testing.assert_allclose(other, maps[0], atol=1e-5)
    # Images and masks of one step, and the sums: 6 maps, and as many again.
    one = 224 * 224 * 4
    for microbatch, size in zip((1, 64, 1000), temporary, strict=True):
        assert size < one * (20 + 12 * microbatch)


@pytest.mark.parametrize("centred", [False, True])
def test_the_standard_error_is_the_spread_of_the_maps(centred):
    x = jax.random.uniform(KEY, (1, 12, 12, 1))
    ask = lambda key: explain.rise_and_shape(
        brightness, 8.0, x, key=key, masks=150, cells=4, p=0.3, target=0,
        centred=centred,
    )  # fmt: skip
    for estimate in jax.jit(jax.vmap(ask))(jax.random.split(KEY, 200)):
        spread = estimate.map.std(0).mean()
        error = estimate.standard_error.mean()
        assert float(error) == pytest.approx(float(spread), rel=0.05)


def test_centring_takes_away_the_noise_of_the_mean_mask():
    """Nearly all is lost under any mask: so SHAPE is the noise of the masks."""
    x = jnp.ones((1, 12, 12, 1))
    ask = lambda centred: explain.shape(
        brightness, 4.0, x, key=KEY, masks=200, cells=4, p=0.1, target=0,
        baseline=-1.0, centred=centred,
    )  # fmt: skip
    plain, centred = (jax.jit(ask, static_argnums=0)(how) for how in (False, True))
    assert centred.standard_error.mean() < plain.standard_error.mean() / 2


@pytest.mark.exhaustive
def test_until_stops_each_image_when_its_map_is_sure():
    x = jax.random.uniform(KEY, (3, 12, 12, 1)) * jnp.array([1.0, 0.3, 0.0]).reshape(
        3, 1, 1, 1
    )
    ask = jax.jit(
        lambda x, until: explain.rise(
            brightness, 2.0, x, key=KEY, masks=3000, cells=4, target=0, centred=True,
            microbatch=50, until=until, baseline="zero",
        ),
        static_argnums=1,
    )  # fmt: skip
    found = ask(x, 0.2)
    for i in range(3):
        error = np.sqrt((found.standard_error[i] ** 2).mean())
        assert error <= 0.2 * found.map[i].std() or found.samples[i] == 3000
    assert 100 <= found.samples[0] < 3000
    # A black image under black: nothing changes, and that is known at once.
    assert found.samples[2] == 100
    assert not found.standard_error[2].any()
    fewer = ask(x, 0.4)
    assert fewer.samples[0] < found.samples[0]
    alone = ask(x[:1], 0.2)
    np.testing.assert_allclose(alone.map[0], found.map[0], atol=1e-6)
    assert alone.samples[0] == found.samples[0]
    rows = explain.random_masks(KEY, int(found.samples[0]), (12, 12), cells=4)
    as_many = jitted(
        explain.rise, brightness, 2.0, x[:1], masks=rows, target=0, centred=True,
        baseline="zero",
    )  # fmt: skip
    np.testing.assert_allclose(as_many.map[0], found.map[0], atol=1e-6)


def test_until_out_of_reach_takes_all_masks():
    x = jax.random.uniform(KEY, (1, 12, 12, 1))
    found = explain.rise(
        brightness, 2.0, x, key=KEY, masks=130, cells=4, until=1e-6, microbatch=50
    )
    np.testing.assert_array_equal(found.samples, [130])


@pytest.mark.exhaustive
def test_any_score_can_be_asked():
    apply_fn, params, x = problems.get("cnn")
    masks = explain.random_masks(KEY, 30, (8, 8), cells=4)
    ask = lambda x: explain.rise(
        apply_fn, params, x, masks=masks, target=scores.grad_trust, baseline="zero"
    )
    found = jax.jit(ask)(x)
    shown = masks[:, None, ..., None] * x[None]
    values = jax.vmap(lambda x: scores.grad_trust(apply_fn(params, x)))(shown)
    expected = jnp.einsum("nb,nij->bij", values, masks) / 30 / 0.5
    np.testing.assert_allclose(found.map, expected, rtol=1e-4)


def test_a_nan_is_in_the_map_of_its_image_alone():
    apply_fn, params, x = problems.get("cnn")
    spoiled = x.at[1, 4, 4].set(jnp.nan)
    ask = lambda x: explain.rise_and_shape(
        apply_fn, params, x, key=KEY, masks=20, cells=4, target=0
    )
    found, plain = map(jax.jit(ask), (spoiled, x))
    for ours, expected in zip(found, plain, strict=True):
        assert np.isnan(ours.map[1]).all()
        np.testing.assert_array_equal(ours.map[0], expected.map[0])


def test_what_does_not_depend_on_the_image():
    constant = lambda params, x: jnp.zeros((len(x), 4))
    x = jnp.ones((1, 6, 6, 1))
    ask = lambda **options: jitted(
        explain.rise_and_shape, constant, None, x, key=KEY, masks=64, cells=3, **options
    )
    masks = explain.random_masks(KEY, 64, (6, 6), cells=3)
    plain, centred = ask(), ask(centred=True)
    np.testing.assert_allclose(plain.rise.map[0], 0.25 * masks.mean(0) / 0.5, rtol=1e-5)
    np.testing.assert_allclose(centred.rise.map, 0.25, rtol=1e-6)
    for estimate in (plain.shape, centred.shape):
        np.testing.assert_allclose(estimate.map, 0, atol=1e-7)
        np.testing.assert_allclose(estimate.standard_error, 0, atol=1e-7)
    np.testing.assert_allclose(centred.rise.standard_error, 0, atol=1e-7)


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize(
    ("size", "cells"), [((12, 12), 4), ((30, 17), (7, 5)), ((5, 9, 8), 6), ((3, 3), 1)]
)
def test_masks_keep_p_of_every_pixel(size, cells, p):
    masks = np.asarray(explain.random_masks(KEY, 20_000, size, cells=cells, p=p))
    assert masks.shape == (20_000, *size)
    assert masks.min() >= -1e-6
    assert masks.max() <= 1 + 1e-6
    error = masks.std(0) / np.sqrt(len(masks))
    assert (np.abs(masks.mean(0) - p) / error).max() < 5


def test_a_mask_is_made_of_its_number_and_shifts_by_a_cell():
    masks = explain.random_masks(KEY, 400, (8, 8), cells=2)
    np.testing.assert_array_equal(
        explain.random_masks(KEY, 10, (8, 8), cells=2, first=50), masks[50:60]
    )
    other = explain.random_masks(jax.random.key(1), 400, (8, 8), cells=2)
    assert np.abs(np.asarray(masks - other)).max() > 0.5
    # A kink wherever the centre of a cell may lie: no two shifts are the same mask.
    assert len(np.unique(np.asarray(masks).round(4), axis=0)) > 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": None}, "key must be given where masks are drawn"),
        ({"masks": 1}, "masks must be an integer >= 2, got 1"),
        (
            {"masks": jnp.ones((5, 8, 9))},
            r"or two or more of \[8, 8\], got \(5, 8, 9\)",
        ),
        ({"masks": jnp.ones((1, 8, 8))}, "two or more"),
        ({"cells": 9}, "cells must be an integer >= 1 and <= 8, got 9"),
        ({"cells": (2, 2, 2)}, "cells must be one number, or one for each axis"),
        ({"p": 1.0}, r"p must be in \(0, 1\), got 1.0"),
        ({"microbatch": 0}, "microbatch must be an integer >= 1 and <= 20, got 0"),
        ({"microbatch": 21}, "microbatch must be an integer >= 1 and <= 20, got 21"),
        ({"until": 1.5}, r"until must be in \(0, 1\), got 1.5"),
        ({"target": 3}, "target must be in"),
        ({"output": "odds"}, "output must be one of"),
        ({"baseline": "black"}, "baseline must be one of"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    apply_fn, params, x = problems.get("cnn")
    options = {"key": KEY, "masks": 20, "cells": 4} | options
    with pytest.raises(ValueError, match=message):
        explain.rise(apply_fn, params, x, **options)


def test_no_images_of_whole_numbers(without_type_checks):
    apply_fn, params, _ = problems.get("cnn")
    with pytest.raises(TypeError, match="x must be floating point"):
        explain.rise(apply_fn, params, jnp.ones((1, 8, 8, 1), int), key=KEY)
