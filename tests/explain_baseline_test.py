"""What stands in the place of a masked pixel, against the whole system solved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve

from tests import golden_numbers
from trustjax.explain import _baseline

X = jax.random.normal(jax.random.key(0), (2, 9, 12, 3))
CLIP = jax.random.normal(jax.random.key(1), (2, 4, 9, 12, 3))


@pytest.mark.parametrize("x", [X, CLIP])
def test_by_name_number_and_array(x):
    positions = tuple(range(1, x.ndim - 1))
    mean = np.asarray(x).mean(positions, keepdims=True)
    found = _baseline.substrate(x)
    assert found.shape == x.shape
    np.testing.assert_allclose(found, np.broadcast_to(mean, x.shape), atol=1e-6)
    assert not np.any(_baseline.substrate(x, "zero"))
    assert np.all(np.asarray(_baseline.substrate(x, 0.5)) == np.float32(0.5))
    colour = np.array([0.1, 0.2, 0.3], np.float32)
    assert np.all(np.asarray(_baseline.substrate(x, colour)) == colour)
    np.testing.assert_array_equal(_baseline.substrate(x, 2 * x), 2 * x)


def test_blur_is_that_of_opencv():
    """`cv2.GaussianBlur(image, (11, 11), 5)`, which SHAPE's evaluation takes."""
    arrays = golden_numbers.load("08_rise_shape")
    ours = _baseline.substrate(jnp.asarray(arrays["images"]), "blur")
    expected = arrays["shape_eval100/cv2_blurred"]
    np.testing.assert_allclose(ours, expected, atol=2e-6)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (9, 12)])
def test_blur_of_small_images_is_scipys(size):
    x = jax.random.normal(jax.random.key(3), (1, *size, 1))
    expected = ndimage.gaussian_filter(
        np.asarray(x, float)[0, ..., 0], 5, mode="mirror", radius=5
    )
    ours = _baseline.substrate(x, "blur")[0, ..., 0]
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_a_mask_keeps_its_part():
    keep = jax.random.uniform(jax.random.key(2), (2, 5, 9, 12))
    found = _baseline.filled(X, keep, 0.25)
    assert found.shape == (2, 5, 9, 12, 3)
    k = np.asarray(keep)[..., None]
    expected = k * np.asarray(X)[:, None] + (1 - k) * 0.25
    np.testing.assert_allclose(found, expected, atol=1e-6)
    for_all = _baseline.filled(X, keep[:1], 0.25)
    np.testing.assert_allclose(for_all[0], expected[0], atol=1e-6)


@pytest.mark.exhaustive
@pytest.mark.parametrize("baseline", ["mean", "blur", "impute", 0.0])
def test_channels_first_is_channels_last(baseline):
    x, keep = X[:, :8, :8], jnp.tile(jnp.eye(8), (2, 1, 1))
    last = _baseline.filled(x, keep, baseline)
    first = _baseline.filled(jnp.moveaxis(x, -1, 1), keep, baseline)
    np.testing.assert_allclose(jnp.moveaxis(first, 1, -1), last, atol=1e-6)


filled = jax.jit(_baseline.filled, static_argnums=2)


@pytest.mark.parametrize("baseline", _baseline.NAMES)
def test_what_is_kept_whole_stays(baseline):
    key = jax.random.key(0)
    for x in (X, CLIP):
        found = filled(x, jnp.ones(x.shape[:-1]), baseline, key=key)
        np.testing.assert_allclose(found, x, atol=1e-6)


def solved(x, keep):
    """The imputed image, from the equation of each pixel."""
    height, width, channels = x.shape
    number = np.arange(height * width).reshape(height, width)
    rows, columns, values = [], [], []
    near = np.zeros(x.shape[:2])
    for i in range(height):
        for j in range(width):
            for di, dj in np.ndindex(3, 3):
                a, b = i + di - 1, j + dj - 1
                inside = 0 <= a < height and 0 <= b < width
                if inside and (a, b) != (i, j):
                    weight = 1 / 6 if a == i or b == j else 1 / 12
                    near[i, j] += weight
                    rows.append(number[i, j])
                    columns.append(number[a, b])
                    values.append(-weight * (1 - keep[i, j]))
    rows += number.ravel().tolist()
    columns += number.ravel().tolist()
    values += near.ravel().tolist()
    matrix = coo_matrix((values, (rows, columns))).tocsc()
    right = (keep * near).reshape(-1, 1) * x.reshape(-1, channels)
    return np.asarray(spsolve(matrix, right)).reshape(x.shape)


MASKS = {
    "half of the pixels": np.random.default_rng(0).random((41, 50)) < 0.5,
    "a tenth of the cells": np.kron(
        np.random.default_rng(1).random((6, 5)) < 0.2, np.ones((7, 10))
    )[:41],
    "shares": np.random.default_rng(2).random((41, 50)) ** 3,
    "one hole": np.pad(np.zeros((30, 30)), ((5, 6), (10, 10)), constant_values=1.0),
    "all but one": np.arange(41 * 50).reshape(41, 50) != 77,
}


@pytest.mark.parametrize("name", MASKS)
def test_imputation_solves_the_system(name):
    keep = MASKS[name].astype(np.float32)
    smooth = ndimage.gaussian_filter(np.random.default_rng(4).random((41, 50, 3)), 2)
    x = (smooth / smooth.std()).astype(np.float32)
    imputed = filled(jnp.asarray(x[None]), jnp.asarray(keep[None]), "impute")
    expected = solved(x.astype(np.float64), keep.astype(np.float64))
    np.testing.assert_allclose(imputed[0], expected, atol=0.01)


def test_nothing_kept_is_imputed_as_the_mean_colour():
    imputed = _baseline.filled(X, jnp.zeros(X.shape[:-1]), "impute")
    np.testing.assert_allclose(imputed, _baseline.substrate(X), atol=1e-5)


def test_imputation_does_not_look_at_what_is_masked():
    keep = jnp.asarray(np.random.default_rng(5).random((2, 9, 12)) < 0.5, jnp.float32)
    spoiled = jnp.where(keep[..., None] > 0, X, jnp.nan)
    ours = _baseline.filled(spoiled, keep, "impute")
    np.testing.assert_array_equal(ours, _baseline.filled(X, keep, "impute"))


@pytest.mark.exhaustive
def test_noise_is_a_hundredth_of_the_deviation_where_masked():
    x = 50 * jax.random.normal(jax.random.key(0), (1, 40, 40, 3))
    keep = jnp.zeros((1, 40, 40)).at[:, ::2].set(1.0)
    plain = _baseline.filled(x, keep, "impute")
    noise = np.asarray(
        _baseline.filled(x, keep, "impute", key=jax.random.key(1)) - plain
    )
    assert not noise[:, ::2].any()
    assert noise[:, 1::2].std() == pytest.approx(0.5, rel=0.1)


@pytest.mark.exhaustive
def test_half_precision_stays_and_jit_is_eager():
    keep = jnp.asarray(np.random.default_rng(5).random((2, 9, 12)) < 0.5, jnp.float32)
    for baseline in _baseline.NAMES:
        fill = lambda x, keep, baseline=baseline: _baseline.filled(x, keep, baseline)
        half = fill(X.astype(jnp.bfloat16), keep)
        assert half.dtype == jnp.bfloat16
        np.testing.assert_allclose(half.astype(jnp.float32), fill(X, keep), atol=0.05)
        np.testing.assert_allclose(jax.jit(fill)(X, keep), fill(X, keep), atol=1e-5)


@pytest.mark.parametrize(
    ("x", "keep", "baseline", "message"),
    [
        (X, None, "black", "baseline must be one of mean, zero, blur, impute, got"),
        (X, None, "impute", "depends on what is masked"),
        (X, None, np.zeros(4, np.float32), "baseline must broadcast to"),
        (X, None, np.nan, "baseline must be finite"),
        (X[0], None, "mean", "x must be images"),
        (X, np.ones((2, 9, 13), np.float32), "mean", "keep must have shape"),
        (X, np.ones((9, 12), np.float32), "mean", "keep must have shape"),
        (X, np.ones((3, 9, 12), np.float32), "mean", "masks for 1 or 2 images"),
    ],
)
def test_what_cannot_be_is_refused(x, keep, baseline, message, without_type_checks):
    ask = _baseline.substrate
    if keep is not None:
        ask = lambda x, baseline: _baseline.filled(x, keep, baseline)
    with pytest.raises(ValueError, match=message):
        ask(x, baseline)


def test_whole_numbers_are_refused(without_type_checks):
    with pytest.raises(TypeError, match="x must be floating point"):
        _baseline.substrate(jnp.ones((1, 4, 4, 1), int))
