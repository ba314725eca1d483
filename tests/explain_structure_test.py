"""Structure-wise curves: code lengths against codes, curves against a loop."""

import io
import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from trustjax import explain

image_module = pytest.importorskip("PIL.Image")
skimage_metrics = pytest.importorskip("skimage.metrics")


def codes(pixels):
    """The code of each symbol, by a tree of nested pairs."""
    symbols, counts = np.unique(pixels, return_counts=True)
    trees = [(int(c), i, s) for i, (s, c) in enumerate(zip(symbols, counts))]  # noqa: B905
    fresh = itertools.count(len(trees))
    while len(trees) > 1:
        trees.sort(key=lambda tree: tree[:2])
        (one, _, left), (other, _, right), *trees = trees
        trees.append((one + other, next(fresh), (left, right)))

    def walk(tree, code):
        if isinstance(tree, tuple):
            return walk(tree[0], code + "0") | walk(tree[1], code + "1")
        return {tree: code or "0"}

    return walk(trees[0][2], "")


@pytest.mark.parametrize("symbols", [1, 2, 3, 17, 256])
def test_huffman_bits_are_the_length_of_a_code(symbols):
    rng = np.random.default_rng(symbols)
    pixels = (rng.integers(0, symbols, 500) * rng.random(500)).astype(np.uint8)
    code = codes(pixels)
    prefixes = sorted(code.values())
    for one, other in itertools.pairwise(prefixes):
        assert not other.startswith(one)
    assert explain.huffman_bits(pixels) == sum(len(code[p]) for p in pixels)


def test_huffman_bits_by_hand():
    text = lambda letters: np.frombuffer(letters, np.uint8)
    assert explain.huffman_bits(text(b"aaaabbc")) == 10  # 4 * 1 + 2 * 2 + 1 * 2
    assert explain.huffman_bits(text(b"aaaaa")) == 5
    assert explain.huffman_bits(text(b"a")) == 1
    assert explain.huffman_bits(text(b"abababab").reshape(2, 2, 2)) == 8


def test_what_has_no_bits():
    with pytest.raises(ValueError, match="at least one byte"):
        explain.huffman_bits(np.zeros((0, 3), np.uint8))
    with pytest.raises(TypeError, match="must be uint8, got float64"):
        explain.huffman_bits(np.zeros(3))


def network(params, x):
    return jnp.tanh(x.reshape(len(x), -1) - 0.5) @ params


def problem(batch=5, size=(8, 9), channels=3):
    rng = np.random.default_rng(0)
    pixels = int(np.prod(size)) * channels
    params = jnp.asarray(rng.normal(size=(pixels, 3)), jnp.float32)
    x = jnp.asarray(rng.integers(0, 12, size=(batch, *size, channels)) / 16)
    maps = jnp.asarray(rng.normal(size=(batch, *size)), jnp.float32)
    return params, x.astype(jnp.float32), maps


def file_bytes(pixels, **options):
    file = io.BytesIO()
    image_module.fromarray(pixels).save(file, **options)
    return len(file.getvalue())


LEFT = {
    "huffman": lambda a, b, m, k: explain.huffman_bits(b) / explain.huffman_bits(a),
    "png": lambda a, b, m, k: (
        file_bytes(b, format="PNG", optimize=True)
        / file_bytes(a, format="PNG", optimize=True)
    ),
    "jpeg": lambda a, b, m, k: (
        file_bytes(b, format="JPEG", quality=75)
        / file_bytes(a, format="JPEG", quality=75)
    ),
    "ssim": lambda a, b, m, k: skimage_metrics.structural_similarity(
        a, b, channel_axis=-1
    ),
    "saliency": lambda a, b, m, k: m[k].sum() / m.sum(),
}


@pytest.mark.parametrize("cost", LEFT)
@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_a_loop_over_thresholds(cost, baseline):
    params, x, maps = problem()
    labels = jnp.arange(5) % 3
    curve = explain.structure_curve(
        network, params, x, maps, labels=labels, cost=cost, baseline=baseline
    )
    points = []
    for threshold in explain.THRESHOLDS:
        left, right = [], []
        for number in range(5):
            image, own_map = np.asarray(x[number]), np.asarray(maps[number])
            unit = (own_map - own_map.min()) / (own_map.max() - own_map.min())
            kept = unit >= np.float32(threshold)
            fill = np.zeros(3) if baseline == "zero" else image.mean((0, 1))
            masked = np.where(kept[..., None], image, fill).astype(np.float32)
            pictures = [np.round(255 * i).astype(np.uint8) for i in (image, masked)]
            left.append(LEFT[cost](*pictures, unit, kept))
            right.append(network(params, masked[None])[0].argmax() == number % 3)
        points.append((np.mean(left), np.mean(right), threshold))
    points.sort(key=lambda point: point[0])
    np.testing.assert_allclose(curve.x, [p[0] for p in points], rtol=2e-3)
    np.testing.assert_array_equal(curve.y, [p[1] for p in points])
    np.testing.assert_allclose(curve.thresholds, [p[2] for p in points])
    np.testing.assert_allclose(curve.left.mean(0), curve.x)
    area = np.trapezoid(curve.y, curve.x) / (curve.x[-1] - curve.x[0])
    np.testing.assert_allclose(curve.area, area)


@pytest.mark.parametrize("cost", ["huffman", "jpeg"])
def test_channels_may_come_first(cost):
    params, x, maps = problem()
    last, first = (
        explain.structure_curve(
            lambda params, x, a=axes: network(params, jnp.transpose(x, a)),
            params,
            images,
            maps,
            labels=None,
            cost=cost,
        )
        for axes, images in (
            ((0, 1, 2, 3), x),
            ((0, 2, 3, 1), jnp.transpose(x, (0, 3, 1, 2))),
        )
    )
    np.testing.assert_array_equal(first.left, last.left)
    np.testing.assert_array_equal(first.correct, last.correct)


def test_a_measure_of_ones_own():
    params, x, maps = problem()
    black = lambda original, masked: float((masked == 0).mean())
    curve = explain.structure_curve(network, params, x, maps, labels=None, cost=black)
    assert curve.x[0] < curve.x[-1]
    assert curve.y[0] == 1  # nothing is masked: the answer is kept


def test_masks_that_add_structure_are_not_clipped():
    """Half black, half white: one bit a pixel; grey beside them takes a second."""
    x = jnp.asarray(np.arange(64).reshape(1, 8, 8, 1) % 2, jnp.float32)
    maps = jnp.asarray(np.arange(64).reshape(1, 8, 8) // 32, jnp.float32)
    linear = lambda params, x: x.reshape(len(x), -1)[:, :2]
    curve = explain.structure_curve(
        linear, None, x, maps, labels=None, baseline=0.5, thresholds=(0.0, 1.0)
    )
    # 16 black, 16 white and 32 grey: 32 * 1 + 32 * 2 bits instead of 64.
    np.testing.assert_array_equal(curve.x, [1.0, 1.5])


def test_fully_masked_images_keep_a_bit_for_each_byte():
    params, x, _ = problem()
    curve = explain.structure_curve(
        network, params, x, jnp.zeros(x.shape[:3]), labels=None
    )
    bits = [explain.huffman_bits(np.asarray(255 * image, np.uint8)) for image in x]
    np.testing.assert_allclose(curve.x[0], np.mean(8 * 9 * 3 / np.array(bits)))
    assert curve.x[-1] == 1
    shares = explain.structure_curve(
        network, params, x, jnp.zeros(x.shape[:3]), labels=None, cost="saliency"
    )
    np.testing.assert_array_equal(np.unique(shares.left), [0.0, 1.0])


def test_reading_a_curve():
    left = np.array([[0.2, 0.6, 1.0], [0.4, 0.8, 1.0]])
    correct = np.array([[0, 0, 1], [0, 1, 1]], bool)
    curve = explain.structure_curve_of(left, correct, (1.0, 0.5, 0.0))
    np.testing.assert_allclose(curve.x, [0.3, 0.7, 1.0])
    np.testing.assert_allclose(curve.at(0.5), 0.25)
    np.testing.assert_allclose(curve.needed(0.25), 0.5)
    np.testing.assert_allclose(curve.needed(0.0), 0.3)
    assert np.isnan(curve.at(0.2))
    assert np.isnan(explain.structure_curve_of(left, ~correct, (1, 0.5, 0)).at(1.1))
    below = explain.structure_curve_of(left, correct & False, (1.0, 0.5, 0.0))
    assert np.isnan(below.needed(0.1))
    point = explain.structure_curve_of(left[:, :1], correct[:, :1], (1.0,))
    assert point.area == 0.0


def test_bytes_of_other_units():
    params, x, maps = problem()
    standardised = (x - 0.4) / 0.2
    back = lambda images: np.round(255 * (0.2 * images + 0.4)).astype(np.uint8)
    same, other = (
        explain.structure_curve(
            lambda params, x, u=unit: network(params, x if u else 0.2 * x + 0.4),
            params,
            images,
            maps,
            labels=None,
            baseline=0.0 if unit else -2.0,
            to_bytes=None if unit else back,
        )
        for unit, images in ((True, x), (False, standardised))
    )
    np.testing.assert_array_equal(same.left, other.left)
    np.testing.assert_array_equal(same.correct, other.correct)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"cost": "bits"}, ValueError, "cost must be one of huffman, png, jpeg, ssim"),
        ({"thresholds": ()}, ValueError, "at least one number"),
        ({"thresholds": (0.5, 2)}, ValueError, r"a threshold must be in \[0, 1\]"),
        ({"x": 2 * jnp.ones((5, 8, 9, 3))}, ValueError, r"x must be in \[0, 1\]"),
        ({"maps": jnp.full((5, 8, 9), jnp.nan)}, ValueError, "maps must not be NaN"),
        ({"labels": jnp.zeros(4, int)}, ValueError, "labels has 4, x has 5"),
        ({"to_bytes": lambda x: x}, TypeError, "to_bytes must return uint8"),
        ({"cost": lambda a, b: np.nan}, ValueError, "left must not be NaN"),
    ],
)
def test_what_cannot_be_is_named(changed, error, message):
    params, x, maps = problem()
    given = {"x": x, "maps": maps, "labels": None, **changed}
    with pytest.raises(error, match=message):
        explain.structure_curve(network, params, **given)


def test_files_have_one_or_three_channels():
    params, x, maps = problem(channels=2)
    with pytest.raises(ValueError, match="must have 1 or 3 channels"):
        explain.structure_curve(network, params, x, maps, labels=None, cost="png")
