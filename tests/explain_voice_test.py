"""VOICE against the loop over contrasts, and the authors' numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import networks
from tests.explain_cam_test import GOLDEN, GOLDEN_NETWORK, assert_close, quietly
from trustjax import explain
from trustjax.explain import _upsampled
from trustjax.typing import SplitModel

SIZES = [
    ((7, 7), (224, 224)),
    ((3, 5), (12, 20)),
    ((2, 3), (7, 10)),
    ((4, 4), (4, 4)),
    ((6, 5), (4, 3)),  # a map that is larger than the image
    ((1, 4), (8, 9)),
    ((2, 3, 4), (5, 6, 8)),
]


@pytest.mark.parametrize(("grid", "size"), SIZES)
def test_extremes_and_squares_without_resizing(grid, size):
    """Of maps that are, and of one that is constant and one of tiny numbers."""
    random = np.random.default_rng(0)
    maps = np.maximum(random.normal(size=(9, *grid)), -0.3).astype(np.float32)
    maps[0], maps[1] = 2.0, maps[1] * np.float32(1e-30)

    @jax.jit
    def found_and_expected(maps):
        cells = _upsampled.in_range(maps, size)
        in_range, each = explain.resized(cells, size), explain.resized(maps, size)
        squares = _upsampled.sum_of_squares(cells, size)
        expected = explain.normalized(each), jnp.sum(in_range**2, axis=0)
        return (in_range, squares), expected

    for found, expected in zip(*found_and_expected(maps), strict=True):
        assert_close(found, expected)


def loop(network, contrasts, **keywords):
    """Of a network's contrasts one after the other, each at the size of the image."""
    apply_fn, params, x = network
    p = np.asarray(jax.nn.softmax(jax.jit(apply_fn)(params, x)), np.float64)
    uncertainty = []
    of_each = jax.jit(
        lambda params, x, q: explain.normalized(
            explain.contrast_cam(apply_fn, params, x, contrast=q, **keywords)
        )
    )
    labels = [jnp.full(len(x), q) for q in range(p.shape[1])]
    each = np.stack([of_each(params, x, q) for q in labels], axis=1)
    for row, maps in zip(p, each.astype(np.float64), strict=True):
        others = list(np.argsort(-row)[1:])
        if isinstance(contrasts, int):
            others = others[:contrasts]
        elif isinstance(contrasts, float):
            others = [q for q in others if row[q] > contrasts]
        few = len(others) < 2
        uncertainty.append(0 * maps[0] if few else maps[others].var(0, ddof=1))
    return np.stack(uncertainty)


def overlap(first, second):
    """The authors', without what they add against 0 / 0."""
    both = (jnp.asarray(maps) for maps in (first, second))
    first, second = (np.asarray(explain.normalized(maps)) > 0.1 for maps in both)
    return (first & second).sum((1, 2)) / (first | second).sum((1, 2))


def signal_to_noise(maps):
    maps = np.asarray(explain.normalized(jnp.asarray(maps, jnp.float32)), np.float64)
    return maps.mean((1, 2)) / maps.std((1, 2))


@pytest.mark.parametrize(
    ("name", "contrasts", "keywords"),
    [
        ("dense", "all", {}),
        ("dense", 3, {"objective": "logit_difference"}),
        ("largest_of_windows", 0.1, {"method": "layer_cam"}),
        *(
            pytest.param(*row, marks=pytest.mark.exhaustive)
            for row in [
                ("dense", 0.1, {}),
                ("pooled_by_attention", "all", {}),
                ("dense", "all", {"method": "grad_cam_plus_plus"}),
                ("largest_of_windows", "all", {"method": "layer_cam"}),
                ("largest_of_windows", 2, {"method": "hires_cam"}),
            ]
        ),
    ],
)
def test_of_the_loop(name, contrasts, keywords):
    network = networks.get(name)[:3]
    uncertainty = loop(network, contrasts, **keywords)
    found = quietly(explain.voice, *network, contrasts=contrasts, **keywords)
    np.testing.assert_allclose(found.uncertainty, uncertainty, atol=1e-5)
    assert found.uncertainty.max() > 0.01
    method = getattr(explain, keywords.get("method", "grad_cam"))
    assert_close(found.explanation, quietly(method, *network))
    several = uncertainty.max((1, 2)) > 1e-9  # two equal maps differ by rounding
    expected = signal_to_noise(uncertainty[several])
    np.testing.assert_allclose(found.snr[several], expected, rtol=1e-4)
    np.testing.assert_allclose(
        found.iou, overlap(found.explanation, found.uncertainty), rtol=1e-6
    )


def test_of_the_authors():
    """Where no map of theirs is constant, and elsewhere their recipe in float64."""
    found = quietly(explain.voice, *GOLDEN_NETWORK)
    finite = ~GOLDEN["f64/voice/is_nan"]
    assert finite.any()
    shown = np.asarray(explain.normalized(found.uncertainty))
    assert_close(shown[finite], GOLDEN["f64/voice/uncertainty"][finite])
    own = {k: GOLDEN[f"f64/voice_safe_own/{k}"] for k in ("uncertainty", "snr", "iou")}
    raw = GOLDEN["f64/voice_safe_own/variance_unnormalized"]
    assert_close(found.uncertainty[:4], raw)
    assert_close(shown[:4], own["uncertainty"])
    for name in ("snr", "iou"):
        ours, theirs = getattr(found, name), GOLDEN[f"f64/voice/{name}"]
        np.testing.assert_allclose(ours, own[name], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(ours[finite], theirs[finite], rtol=1e-4, atol=1e-6)
    ours = np.asarray(explain.normalized(found.explanation))[:4]
    theirs = GOLDEN["f64/voice/explanation"]
    known = np.isfinite(theirs).all((1, 2))
    assert_close(ours[known], theirs[known])


def test_too_few_contrasts_vary_by_nothing():
    split = SplitModel(
        lambda params, x: x, lambda params, a: a.mean((1, 2)) @ jnp.eye(3)[:2]
    )
    x = jnp.arange(8.0).reshape(1, 2, 2, 2)
    for contrasts in (1, 0.99):
        found = quietly(explain.voice, split, None, x, contrasts=contrasts)
        assert not found.uncertainty.any()
        assert found.snr == 0
    assert found.iou == 0


def test_nothing_anywhere_has_no_overlap():
    split = SplitModel(
        lambda params, x: 1 + 0 * x, lambda params, a: a.mean((1, 2)) @ jnp.ones((1, 4))
    )
    found = quietly(explain.voice, split, None, jnp.zeros((1, 2, 2, 1)))
    assert np.isnan(found.iou).all()
    assert not found.uncertainty.any()


@pytest.mark.exhaustive
def test_nan_is_told_of():
    split = SplitModel(
        lambda params, x: x, lambda params, a: a.mean((1, 2)) @ jnp.eye(3)[:1]
    )
    x = jnp.ones((2, 1, 2, 1)).at[1].set(jnp.nan)
    with pytest.warns(UserWarning, match="^voice: the map of image 1 is NaN"):
        found = explain.voice(split, None, x, contrasts=2)
    assert np.isnan(found.uncertainty[1]).all()
    assert np.isnan(found.snr[1])


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("contrasts", "message"),
    [
        ("most", "contrasts must be one of all"),
        (1.5, r"in \[0, 1\), got 1.5; an integer"),
        (5, "contrasts must be an integer >= 1 and <= 4, got 5"),
        (0, "contrasts must be an integer >= 1"),
        (True, "contrasts must be an integer >= 1"),
    ],
)
def test_what_is_refused(contrasts, message):
    apply_fn, params, x, *_ = networks.get("dense")
    with pytest.raises(ValueError, match=message):
        quietly(explain.voice, apply_fn, params, x, contrasts=contrasts)
