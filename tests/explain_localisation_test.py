"""Pointing game and energy in a box, against loops over pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trustjax import explain


def problem(batch=5, size=(9, 12), seed=0):
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(batch, *size)).astype(np.float32)
    masks = rng.random((batch, *size)) < 0.03
    return maps, masks


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 1.5, 3.0, 15.0, 100.0])
def test_pointing_game_is_a_loop(tolerance):
    maps, masks = problem()
    hits = explain.pointing_game(
        jnp.asarray(maps), jnp.asarray(masks), tolerance=tolerance
    )
    for own, mask, hit in zip(maps, masks, hits, strict=True):
        largest = np.argwhere(own == own.max())[0]
        distances = np.linalg.norm(np.argwhere(mask) - largest, axis=1)
        assert hit == (distances < tolerance).any()


def test_the_distance_must_be_smaller():
    maps = jnp.zeros((1, 20, 20)).at[0, 0, 0].set(1.0)
    mask = jnp.zeros((1, 20, 20), bool).at[0, 9, 12].set(True)  # 15 pixels away
    for tolerance, hit in ((15.0, 0.0), (15.001, 1.0)):
        found = explain.pointing_game(maps, mask, tolerance=tolerance)
        np.testing.assert_array_equal(found, [hit])


def test_a_tie_counts_by_its_share():
    maps = jnp.array([[[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]])
    boxes = jnp.array([[0, 0, 1, 1]])
    assert explain.pointing_game(maps, boxes, tolerance=1.0)[0] == 0.25
    constant = explain.pointing_game(jnp.zeros((1, 2, 3)), boxes, tolerance=1.5)
    np.testing.assert_allclose(constant, [4 / 6])


@pytest.mark.parametrize("fn", [explain.pointing_game, explain.energy_in_box])
def test_boxes_are_masks(fn):
    maps, _ = problem()
    boxes = np.array([[0, 0, 9, 12], [2, 3, 5, 4], [8, 0, 9, 1], [3, 3, 3, 9], [0] * 4])
    masks = np.zeros(maps.shape, bool)
    for mask, (top, left, bottom, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    by_box = fn(jnp.asarray(maps), jnp.asarray(boxes))
    np.testing.assert_array_equal(by_box, fn(jnp.asarray(maps), jnp.asarray(masks)))
    assert by_box[0] == 1
    assert by_box[4] == 0  # an empty region


def test_energy_is_the_share_of_the_positive_part():
    maps, masks = problem()
    share = explain.energy_in_box(jnp.asarray(maps), jnp.asarray(masks))
    positive = np.maximum(maps, 0)
    expected = (positive * masks).sum((1, 2)) / positive.sum((1, 2))
    np.testing.assert_allclose(share, expected, rtol=1e-5)
    one = explain.energy_in_box(
        jnp.array([[[3.0, -1.0, -1.0]]]), jnp.array([[[1, 0, 0]]], bool)
    )
    np.testing.assert_array_equal(one, [1.0])


@pytest.mark.parametrize("scale", [1e-30, 1e38])
def test_energy_at_the_ends_of_float32(scale):
    maps, masks = problem()
    near = explain.energy_in_box(jnp.asarray(maps), jnp.asarray(masks))
    scaled = maps / np.abs(maps).max() * np.float32(scale)
    far = explain.energy_in_box(jnp.asarray(scaled), jnp.asarray(masks))
    np.testing.assert_allclose(far, near, rtol=1e-4)


def test_maps_without_a_positive_value_or_with_nan():
    maps = jnp.array([[[0.0, 0.0]], [[-1.0, -2.0]], [[jnp.nan, 1.0]]])
    masks = jnp.ones(maps.shape, bool)
    np.testing.assert_array_equal(
        explain.energy_in_box(maps, masks), [0.0, 0.0, np.nan]
    )
    np.testing.assert_array_equal(
        explain.pointing_game(maps, masks), [1.0, 1.0, np.nan]
    )


def test_accuracy_is_the_mean_over_the_classes_that_are_there():
    hits = jnp.array([1.0, 0.0, 0.0, 1.0, 0.5])
    classes = jnp.array([0, 0, 0, 3, 3])
    accuracy = explain.pointing_accuracy(hits, classes, 5)
    np.testing.assert_allclose(accuracy, (1 / 3 + 0.75) / 2)
    assert np.isnan(explain.pointing_accuracy(jnp.zeros(0), jnp.zeros(0, int), 3))


@pytest.mark.parametrize("fn", [explain.pointing_game, explain.energy_in_box])
def test_jit_vmap_and_half_precision(fn):
    maps, masks = (jnp.asarray(a) for a in problem(batch=6))
    eager = fn(maps, masks)
    np.testing.assert_array_equal(jax.jit(fn)(maps, masks), eager)
    stacked = [a.reshape(3, 2, *a.shape[1:]) for a in (maps, masks)]
    np.testing.assert_allclose(jax.vmap(fn)(*stacked).ravel(), eager, rtol=1e-6)
    halved = maps.astype(jnp.bfloat16)
    value = fn(halved, masks)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, fn(halved.astype(jnp.float32), masks))


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("fn", [explain.pointing_game, explain.energy_in_box])
@pytest.mark.parametrize(
    ("maps", "regions", "error", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 4), int), ValueError, r"maps must have shape"),
        (np.zeros((2, 3, 3), int), np.zeros((2, 4), int), TypeError, "floating point"),
        (
            np.zeros((2, 3, 3)),
            np.zeros((2, 3), int),
            ValueError,
            r"masks \(2, 3, 3\) or boxes \(2, 4\), got \(2, 3\)",
        ),
        (np.zeros((2, 3, 3)), np.zeros((2, 4)), TypeError, "regions must be integers"),
        (
            np.zeros((2, 3, 3)),
            np.full((2, 3, 3), 2),
            ValueError,
            "regions must be 0 or 1, got 2",
        ),
    ],
)
def test_what_cannot_be_is_named(fn, maps, regions, error, message):
    with pytest.raises(error, match=message):
        fn(maps, regions)


@pytest.mark.parametrize("tolerance", [0, -1.0, float("nan")])
def test_a_tolerance_is_positive(tolerance):
    with pytest.raises(ValueError, match="tolerance must be positive"):
        explain.pointing_game(
            jnp.zeros((1, 2, 2)), jnp.zeros((1, 4), int), tolerance=tolerance
        )
