"""Class activation maps against a loop, the authors' numbers, and hand-made cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests import golden_numbers, networks
from trustjax import explain, scores, transforms
from trustjax.typing import SplitModel

METHODS = {
    "GradCAM": explain.grad_cam,
    "GradCAMPlusPlus": explain.grad_cam_plus_plus,
    "HiResCAM": explain.hires_cam,
    "LayerCAM": explain.layer_cam,
}
GOLDEN = golden_numbers.load("06_cams")


def golden_apply_fn(params, x):
    """The network of the golden file, padded as PyTorch pads a stride of 2."""
    for name, stride in (("conv1", 1), ("conv2", 2)):
        x = lax.conv_general_dilated(
            x,
            params[name]["kernel"],
            (stride, stride),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = jax.nn.relu(x + params[name]["bias"].reshape(1, 1, 1, -1))
    return x.mean((1, 2)) @ params["dense"]["kernel"] + params["dense"]["bias"][None]


GOLDEN_NETWORK = (golden_apply_fn, golden_numbers.params(GOLDEN), GOLDEN["images"])
TARGETS = {"pred": None, "class": jnp.asarray(GOLDEN["explicit_class"])}


def assert_close(ours, expected, tolerance=1e-5):
    """To a share of the largest number."""
    limit = tolerance * np.abs(expected).max()
    np.testing.assert_allclose(ours, expected, atol=limit, rtol=0)


def at_size(raw, size):
    """What is positive in a raw map, at the size of the image."""
    return explain.resized(jnp.asarray(np.maximum(raw, 0), jnp.float32), size)


def quietly(fun, apply_fn, params, x, **keywords):
    """Compiled as one program, which says nothing of maps of zeros."""
    call = lambda params, x: fun(apply_fn, params, x, **keywords)
    return jax.jit(call)(params, x)


def by_the_book(method, features, gradients, epsilon=0.0):
    """The signed map of one image, position by position, in float64."""
    features = np.asarray(features, np.float64)
    gradients = np.asarray(gradients, np.float64)
    *grid, channels = features.shape
    result = np.zeros(grid)
    for k in range(channels):
        a, g = features[..., k], gradients[..., k]
        if method == "GradCAM":
            result += g.mean() * a
        elif method == "HiResCAM":
            result += g * a
        elif method == "LayerCAM":
            result += np.maximum(g, 0) * a
        else:
            below = 2 * g**2 + g**3 * a.sum() + epsilon
            alpha = np.divide(g**2, below, where=below != 0, out=np.zeros_like(g))
            result += (alpha * np.maximum(g, 0)).sum() * a
    return result


def loop(method, split, params, x, classes, on_grid):
    """The raw map of each image by itself."""

    @jax.jit
    def both(params, image, label):
        features = split.features_fn(params, image)
        return features, jax.grad(lambda a: split.head_fn(params, a)[0, label])(
            features
        )

    of_images = [both(params, i[None], c) for i, c in zip(x, classes, strict=True)]
    return np.stack(
        [by_the_book(method, *(on_grid(a)[0] for a in i)) for i in of_images]
    )


@pytest.mark.parametrize("which", TARGETS)
@pytest.mark.parametrize("method", METHODS)
def test_of_pytorch_grad_cam(method, which):
    """Its raw maps; its Grad-CAM++ has 1e-6 in a denominator as small as that."""
    maps = quietly(METHODS[method], *GOLDEN_NETWORK, target=TARGETS[which])
    raw = GOLDEN[f"f64/pgc/{method}/{which}/raw"]
    if method == "GradCAMPlusPlus":
        classes = GOLDEN["pred" if which == "pred" else "explicit_class"]
        gradients = GOLDEN["params/dense/kernel"].T[classes] / 256
        gradients = np.broadcast_to(gradients[:, None, None], (12, 16, 16, 16))
        of_images = list(zip(GOLDEN["f64/activations"], gradients, strict=True))
        theirs = np.stack([by_the_book(method, *i, epsilon=1e-6) for i in of_images])
        assert_close(theirs, raw, 1e-6)
        raw = np.stack([by_the_book(method, *image) for image in of_images])
    assert_close(maps, at_size(raw, (32, 32)))


def test_of_the_authors():
    for name, which in (("gradcam", "pred"), ("gradcam_class", "class")):
        maps = quietly(explain.grad_cam, *GOLDEN_NETWORK, target=TARGETS[which])
        assert_close(maps[:4], GOLDEN[f"f64/{name}/upsampled"])
        normalized = GOLDEN[f"f64/{name}/normalized"]
        constant = GOLDEN[f"f64/{name}/is_nan"][:4]
        ours = explain.normalized(maps)[:4]
        assert_close(ours[~constant], normalized[~constant])
        assert not ours[constant].any()


ON_GRID = {
    "largest_of_windows": lambda a: a,
    "class_token": lambda a: a[:, 1:].reshape(1, 4, 4, -1),
    "mean_of_tokens": lambda a: a.reshape(1, 4, 4, -1),
}


@pytest.mark.parametrize(
    ("method", "name"),
    [
        *((method, "largest_of_windows") for method in METHODS),
        ("GradCAM", "class_token"),
        *(
            pytest.param(*row, marks=pytest.mark.exhaustive)
            for row in [("LayerCAM", "class_token"), ("HiResCAM", "mean_of_tokens")]
        ),
    ],
)
def test_of_a_loop(method, name):
    """Of heads whose gradient differs from position to position, and from tokens."""
    apply_fn, params, x, *_ = networks.get(name)
    split = transforms.split(apply_fn, params, x, "feature_map")
    classes = np.arange(len(x)) % networks.CLASSES
    raw = loop(method, split, params, x, classes, ON_GRID[name])
    maps = quietly(
        METHODS[method],
        apply_fn,
        params,
        x,
        target=jnp.asarray(classes),
        class_tokens=int(name == "class_token"),
    )
    assert_close(maps, at_size(raw, x.shape[1:3]), 2e-5)


def test_hires_cam_of_what_is_normalised_first_is_zero():
    """Patches that are read behind a layer norm alone: their scale changes nothing."""
    apply_fn, params, x, *_ = networks.get("class_token")
    maps, of_means = (
        quietly(method, apply_fn, params, x, class_tokens=1)
        for method in (explain.hires_cam, explain.grad_cam)
    )
    assert maps.max() < 1e-5 * of_means.max()


NAMES = ["bytes_scaled", "channels_first", "shifted_windows", "mixer", "of_linen"]


@pytest.mark.parametrize("name", NAMES)
def test_a_map_of_the_size_of_the_image(name):
    apply_fn, params, x, *_ = networks.get(name)
    positions = x.shape[2:] if name == "channels_first" else x.shape[1:3]
    maps = quietly(explain.grad_cam, apply_fn, params, x)
    assert maps.shape == (len(x), *positions)


def test_of_several_classes():
    apply_fn, params, x, *_ = networks.get("largest_of_windows")
    classes = jnp.array([[0, 4], [1, 1], [2, 0], [3, 2]])
    maps = quietly(explain.grad_cam, apply_fn, params, x, target=classes)
    assert maps.shape == (4, 2, 6, 6)
    for asked in range(2):
        alone = quietly(explain.grad_cam, apply_fn, params, x, target=classes[:, asked])
        assert_close(maps[:, asked], alone)


def test_of_a_score():
    """GradTrust is a function of the logits like any other."""
    apply_fn, params, x, *_ = networks.get("dense")
    split = transforms.split(apply_fn, params, x, "feature_map")
    maps = quietly(explain.grad_cam, apply_fn, params, x, target=scores.grad_trust)

    @jax.jit
    def raw_of(params, x):
        features = split.features_fn(params, x)
        trust = lambda a: jnp.sum(scores.grad_trust(split.head_fn(params, a)))
        weights = jax.grad(trust)(features).mean((1, 2))
        return jnp.einsum("nhwk,nk->nhw", features, weights)

    raw = raw_of(params, x)
    assert_close(maps, at_size(raw, (8, 8)))


def test_a_mean_and_a_dense_layer_are_one_map_and_add_up_to_the_logit():
    """HiResCAM is Grad-CAM there, and its values before the positive part sum up."""
    apply_fn, params, x = GOLDEN_NETWORK
    maps = [quietly(explain.class_maps, *GOLDEN_NETWORK, method=m) for m in MAPPED]
    assert_close(maps[0], maps[1])
    logits = apply_fn(params, x) - params["dense"]["bias"][None]
    assert_close(maps[1].sum((2, 3)), logits)


MAPPED = ("grad_cam", "hires_cam")


def made_by_hand(kernel):
    """A network of two channels that does not look at the image."""
    first = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    features = jnp.stack([first, 5 - first], axis=-1)[None]
    return SplitModel(
        lambda params, x: features + 0 * x, lambda params, a: a.mean((1, 2)) @ kernel
    )


def test_no_evidence_is_a_map_of_zeros_and_a_word():
    split, x = (
        made_by_hand(jnp.array([[1.0, -1.0], [0.0, 0.0]])),
        jnp.zeros((1, 2, 2, 1)),
    )
    maps = explain.grad_cam(split, None, x, target=0)
    np.testing.assert_allclose(maps, [[[0.25, 0.5], [0.75, 1.0]]])
    with pytest.warns(UserWarning, match=r"image 0 is zero everywhere.*\(1 of 1 "):
        maps = explain.grad_cam(split, None, x, target=1)
    assert not maps.any()
    assert not explain.normalized(maps).any()


def test_a_class_token_read_out_reaches_no_patch():
    apply_fn, params, x, *_ = networks.get("class_token")
    last = [c for c in transforms.cuts(apply_fn, params, x) if c.shape[1:] == (17, 16)]
    with pytest.warns(UserWarning, match="no gradient reaches the positions"):
        maps = explain.grad_cam(apply_fn, params, x, at=last[-1], class_tokens=1)
    assert maps.shape == (4, 16, 16)
    assert not maps.any()


def test_nan_is_told_of_with_the_image_and_the_map():
    apply_fn, params, x, *_ = networks.get("dense")
    x = x.copy()
    x[2] = np.nan
    with pytest.warns(UserWarning, match="^hires_cam: the map of image 2 is NaN"):
        maps = explain.hires_cam(apply_fn, params, x)
    assert np.isnan(maps[2]).all()
    assert np.isfinite(np.delete(maps, 2, axis=0)).all()


def test_a_warning_is_at_the_line_of_the_caller():
    split = made_by_hand(-jnp.ones((2, 2)))
    with pytest.warns(UserWarning, match="zero everywhere") as told:
        explain.grad_cam(split, None, jnp.zeros((1, 2, 2, 1)))
    assert told[0].filename == __file__


def test_frozen_weights_have_the_same_map():
    apply_fn, params, x, *_ = networks.get("dense")
    frozen = lambda params, x: apply_fn(jax.lax.stop_gradient(params), x)
    ours = quietly(explain.grad_cam, frozen, params, x)
    assert_close(ours, quietly(explain.grad_cam, apply_fn, params, x), 1e-6)


def test_the_sign_of_a_class_is_kept():
    """Two classes from one output z = -2: the map of -z, then that of z, never |z|."""
    split = SplitModel(
        lambda params, x: x,
        lambda params, a: jnp.stack([-a.mean((1, 2, 3)), a.mean((1, 2, 3))], axis=-1),
    )
    x = jnp.array([[[[-1.0]], [[-3.0]]]])
    np.testing.assert_allclose(
        explain.grad_cam(split, None, x, target=0)[0, :, 0], [0.5, 1.5]
    )
    with pytest.warns(UserWarning, match="zero everywhere"):
        assert not explain.grad_cam(split, None, x, target=1).any()


def test_without_positions_there_is_no_map_and_a_word_what_there_is():
    apply_fn, params, x, *_ = networks.get("perceptron")
    with pytest.raises(ValueError, match=r"no feature map(.|\n)*explain\.saliency"):
        explain.grad_cam(apply_fn, params, x)


@pytest.mark.parametrize(("tokens", "grid"), [(49, (7, 7)), (48, (6, 8))])
def test_tokens_are_put_on_a_grid_that_is_known(tokens, grid):
    features = jnp.arange(float(tokens)).reshape(1, tokens, 1)
    split = SplitModel(
        lambda params, x: features, lambda params, a: a.mean(1) @ jnp.ones((1, 2))
    )
    x = jnp.zeros((1, *grid, 3))
    maps = quietly(explain.grad_cam, split, None, x, grid=grid)
    np.testing.assert_allclose(maps.reshape(-1), features.ravel() / tokens, rtol=1e-6)
    if tokens == 48:
        with pytest.raises(ValueError, match="48 tokens are no square"):
            explain.grad_cam(split, None, x)


@pytest.mark.usefixtures("without_type_checks")
def test_a_class_that_does_not_exist():
    split, x = made_by_hand(jnp.eye(2)), jnp.zeros((1, 2, 2, 1))
    with pytest.raises(ValueError, match=r"target must be in \[0, 2\), got 2"):
        explain.grad_cam(split, None, x, target=2)
    of_class = jax.jit(lambda c: explain.grad_cam(split, None, x, target=c))
    maps = of_class(jnp.array([2]))
    assert np.isnan(maps).all()


def test_a_layer_that_does_not_exist():
    apply_fn, params, x, *_ = networks.get("of_linen")
    with pytest.raises(ValueError, match=r"got 'Conv_3'.*nearest first, Conv_"):
        explain.grad_cam(apply_fn, params, x, at="Conv_3")
    maps = quietly(explain.grad_cam, apply_fn, params, x, at="Conv_0", target=1)
    assert maps.shape == (4, 8, 8)


def test_no_image_is_refused():
    apply_fn, params, x, *_ = networks.get("dense")
    with pytest.raises(
        ValueError, match=r"x must hold at least one example, got \(0, "
    ):
        explain.grad_cam(apply_fn, params, x[:0])


def test_clips():
    """An event in one frame is found in that frame."""
    split = SplitModel(
        lambda params, x: x, lambda params, a: a.sum((1, 2, 3)) @ jnp.ones((1, 2))
    )
    x = jnp.zeros((1, 3, 4, 5, 1)).at[0, 1, 2, 3].set(1.0)
    maps = explain.grad_cam(split, None, x)
    assert maps.shape == (1, 3, 4, 5)
    assert np.argmax(maps) == np.argmax(x)
