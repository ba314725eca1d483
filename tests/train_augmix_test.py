"""AugMix and noise against loops over images with Pillow, and in a training run."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from PIL import Image, ImageOps
from scipy import special

from tests.train_test import CONFIG, TRAIN, VALIDATION
from trustjax import train
from trustjax.train import _augmix

KEY = jax.random.key(0)
exhaustive = pytest.mark.exhaustive


def photographs(count=4, height=12, width=10, channels=1):
    """Bright shapes on black with some grain: edges, flat areas and many tones."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    tops, lefts = rng.integers(2, 6, (2, count, 1, 1, channels))
    away = np.abs(y[None, ..., None] - tops) + np.abs(x[None, ..., None] - lefts)
    grain = rng.integers(0, 20, (count, height, width, channels))
    return (np.clip(220 - 40 * away, 0, 220) + grain).astype(np.uint8)


def by_pillow(image, operation, level, sign):
    """One operation on `[height, width]` bytes, as the authors do it."""
    own = Image.fromarray(image)
    size = own.size
    whole = lambda most: int(sign) * int(level * most / 10)
    part = float(sign * level) * 0.3 / 10
    moved = lambda *matrix: own.transform(
        size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR
    )
    made = {
        "autocontrast": lambda: ImageOps.autocontrast(own),
        "equalize": lambda: ImageOps.equalize(own),
        "posterize": lambda: ImageOps.posterize(own, 4 - int(level * 4 / 10)),
        "solarize": lambda: ImageOps.solarize(own, 256 - int(level * 256 / 10)),
        "rotate": lambda: own.rotate(whole(30), resample=Image.Resampling.BILINEAR),
        "shear_x": lambda: moved(1, part, 0, 0, 1, 0),
        "shear_y": lambda: moved(1, 0, 0, part, 1, 0),
        "translate_x": lambda: moved(1, 0, whole(size[0] / 3), 0, 1, 0),
        "translate_y": lambda: moved(1, 0, 0, 0, 1, whole(size[1] / 3)),
    }
    return np.asarray(made[operation]())


operated = jax.jit(_augmix.operated)


@pytest.mark.parametrize("operation", _augmix.OPERATIONS)
def test_operations_are_those_of_pillow(operation):
    number = _augmix.OPERATIONS.index(operation)
    colour = photographs(2, channels=3)
    for level, sign in ((0.4, 1), (2.7, -1), (9.3, 1), (6.1, -1)):
        for image in colour:
            found = operated(jnp.asarray(image, jnp.int32), number, level, sign)
            wanted = np.stack(
                [by_pillow(image[..., c], operation, level, sign) for c in range(3)],
                axis=-1,
            )
            # There quotients that are whole fall below themselves, and what is
            # interpolated is cut off.
            inexact = operation in (*_augmix.SPATIAL, "autocontrast")
            np.testing.assert_allclose(found, wanted, atol=int(inexact), rtol=0)


def test_one_tone_has_no_contrast_to_take():
    flat = jnp.full((12, 10, 3), 70)
    for operation in ("autocontrast", "equalize"):
        number = _augmix.OPERATIONS.index(operation)
        np.testing.assert_array_equal(operated(flat, number, 3.0, 1.0), flat)


def mixed_by_loop(image, chains):
    """Algorithm 1 of the paper, on one grey image in [0, 1]."""
    mixture = np.zeros(image.shape)
    for branch, weight in enumerate(chains.weights):
        tones = np.round(255 * image[..., 0]).astype(np.uint8)
        for place in range(int(chains.depths[branch])):
            name = _augmix.OPERATIONS[int(chains.operations[branch, place])]
            level, sign = (part[branch, place] for part in chains[-2:])
            tones = by_pillow(tones, name, float(level), float(sign))
        mixture += float(weight) * tones[..., None] / 255
    return float(chains.blend) * image + (1 - float(chains.blend)) * mixture


@pytest.mark.exhaustive
def test_mixtures_are_those_of_a_loop():
    images = photographs(24) / np.float32(255)
    options = {"severity": 6.0, "width": 3, "depth": None, "alpha": 1.0}
    found = jax.jit(functools.partial(train.augmix, severity=6.0))(images, KEY)
    draw = jax.jit(functools.partial(_augmix.drawn, **options))
    depths, operations = [], []
    for number, image in enumerate(images):
        chains = jax.device_get(draw(jax.random.fold_in(KEY, number)))
        wanted = mixed_by_loop(image, chains)
        gap = np.abs(np.asarray(found[number]) - wanted)
        # A tone of interpolation in the place of another may be equalised apart.
        assert np.median(gap) < 0.01
        assert gap.mean() < 0.02
        np.testing.assert_allclose(chains.weights.sum(), 1, rtol=1e-5)
        assert chains.levels.min() >= 0.1
        assert chains.levels.max() <= 6
        depths += chains.depths.tolist()
        operations += chains.operations.ravel().tolist()
    assert set(depths) == {1, 2, 3}
    assert set(operations) == set(range(9))
    assert np.abs(found - images).mean() > 0.02  # something is done


@exhaustive
def test_views_are_each_image_and_two_mixtures():
    images = jnp.asarray(photographs() / np.float32(255))
    views = train.augmix_views(images, KEY, severity=2.0)
    one, other = (
        train.augmix(images, own, severity=2.0) for own in jax.random.split(KEY)
    )
    chex.assert_trees_all_close(views[::3], images)
    chex.assert_trees_all_close(views[1::3], one, atol=1e-6)
    chex.assert_trees_all_close(views[2::3], other, atol=1e-6)
    assert np.abs(one - other).max() > 0.05


def test_the_loss_is_cross_entropy_and_a_divergence_of_three_answers():
    loss = jax.jit(train.augmix_loss, static_argnames="weight")
    logits = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    labels = np.array([2, 0])
    found = loss(jnp.asarray(logits), {"label": jnp.asarray(labels)}, weight=5.0)
    for number, label in enumerate(labels):
        three = special.softmax(logits[3 * number : 3 * number + 3], axis=1)
        apart = np.mean([special.rel_entr(p, three.mean(axis=0)).sum() for p in three])
        wanted = -np.log(three[0, label]) + 5 * apart
        np.testing.assert_allclose(found[number], wanted, rtol=1e-5)
    # Answers that agree on all, ever so surely, or not at all.
    sure = jnp.tile(jnp.array([[900.0, 0.0]]), (3, 1))
    batch = {"label": jnp.array([0])}
    np.testing.assert_allclose(loss(sure, batch), 0, atol=1e-6)
    apart = jnp.array([[900.0, 0.0], [0.0, 900.0], [0.0, 900.0]])
    most = np.log(3) - 2 / 3 * np.log(2)
    np.testing.assert_allclose(loss(apart, batch, weight=1.0), most, rtol=1e-5)
    slope = jax.jit(jax.grad(lambda z: train.augmix_loss(z, batch).sum()))
    for z in (sure, apart):
        assert np.isfinite(slope(z)).all()


FUNCTIONS = {
    "gaussian_noise": train.gaussian_noise,
    "augmix": train.augmix,
    "augmix_views": train.augmix_views,
}
DEAR = [pytest.param(name, marks=exhaustive) for name in ("augmix", "augmix_views")]


@pytest.mark.parametrize("name", ["gaussian_noise", *DEAR])
def test_what_is_drawn_for_an_image_is_drawn_by_its_number(name):
    change = jax.jit(FUNCTIONS[name])
    images = jnp.asarray(photographs(8) / np.float32(255))
    found = change(images, KEY)
    assert found.min() >= 0
    assert found.max() <= 1
    several = len(found) // len(images)
    chex.assert_trees_all_close(change(images[:1], KEY), found[:several], atol=1e-6)
    by_key = jax.vmap(change, in_axes=(None, 0))(images, KEY[None])
    chex.assert_trees_all_close(by_key[0], found, atol=1e-6)
    assert np.abs(change(images, jax.random.key(1)) - found).max() > 0.05
    narrow = change(images.astype(jnp.bfloat16), KEY)
    assert narrow.dtype == jnp.bfloat16
    assert np.isfinite(narrow.astype(jnp.float32)).all()


@pytest.mark.parametrize("kind", ["Explicit", pytest.param("Auto", marks=exhaustive)])
@pytest.mark.parametrize("name", ["gaussian_noise", *DEAR])
def test_a_sharded_batch_is_changed_like_another(name, kind):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType[kind],))
    images = jnp.asarray(photographs(8) / np.float32(255))
    sharded = jax.device_put(images, NamedSharding(mesh, P("data")))
    change = jax.jit(FUNCTIONS[name])
    found = change(sharded, KEY)
    np.testing.assert_allclose(found, change(images, KEY), atol=1e-6)


def test_the_loss_of_a_sharded_batch_is_that_of_another():
    mesh = jax.make_mesh((8,), ("data",))
    logits = jax.random.normal(KEY, (24, 5))
    labels = jnp.arange(8) % 5
    loss = jax.jit(train.augmix_loss)
    wanted = loss(logits, {"label": labels})
    place = lambda array: jax.device_put(array, NamedSharding(mesh, P("data")))
    found = loss(place(logits), {"label": place(labels)})
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@exhaustive
def test_fit_trains_by_a_loss_of_several_views():
    config = dataclasses.replace(CONFIG, epochs=6)
    found = train.fit(
        config,
        TRAIN,
        VALIDATION,
        augment_fn=functools.partial(train.augmix_views, severity=1.0),
        loss_fn=train.augmix_loss,
    )
    assert found.history[-1].validation_accuracy > 0.9
    assert found.history[-1].loss < 0.7 * found.history[0].loss


def test_noise_is_on_a_share_of_the_images_and_stays_within_bounds():
    images = jnp.full((400, 6, 6, 1), 0.5)
    found = train.gaussian_noise(
        images, KEY, deviation=0.1, share=0.25, bounds=(-9.0, 9.0)
    )
    changed = np.asarray(jnp.abs(found - images).max(axis=(1, 2, 3)) > 0)
    assert 0.18 < changed.mean() < 0.32
    np.testing.assert_allclose(np.std(found[changed]), 0.1, rtol=0.05)
    harsh = train.gaussian_noise(images, KEY, deviation=5.0, share=1.0)
    assert harsh.min() == 0
    assert harsh.max() == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: train.augmix(x, KEY, severity=11), r"severity must be in \[0.1, 10"),
        (lambda x: train.augmix(x, KEY, width=0), "width must be an integer >= 1"),
        (lambda x: train.augmix(x, KEY, depth=0), "depth must be an integer >= 1"),
        (lambda x: train.augmix(x, KEY, alpha=0.0), "alpha must be positive"),
        (lambda x: train.gaussian_noise(x, KEY, share=2.0), r"share must be in \[0, 1"),
        (lambda x: train.gaussian_noise(x, KEY, deviation=-1.0), "not be negative"),
        (lambda x: train.gaussian_noise(x, KEY, bounds=(1.0, 0.0)), "bounds must rise"),
        (
            lambda x: train.augmix_loss(x[:, :, 0, 0], {"label": jnp.array([0])}),
            "logits must be 3 for each of 1 labels",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.zeros((2, 8, 8, 1)))


def test_bytes_are_refused():
    for change in (train.augmix, train.gaussian_noise):
        with pytest.raises(TypeError):
            change(jnp.zeros((2, 8, 8, 1), jnp.uint8), KEY)
