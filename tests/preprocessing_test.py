"""Images as networks take them: against Pillow by hand, and arithmetic."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from skimage import data as photographs

from trustjax import preprocessing
from trustjax.preprocessing import PRESETS, Preprocessing, parse

METHODS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


@pytest.mark.parametrize("interpolation", METHODS)
@pytest.mark.parametrize(
    ("turned", "resized", "box"),
    [
        # 300x451 pixels: the long side is 256 * 451 / 300 = 384.85, cut to 384; the
        # crop of 224 begins at (256 - 224) / 2 = 16 and (384 - 224) / 2 = 80.
        (False, (384, 256), (80, 16, 304, 240)),
        (True, (256, 384), (16, 80, 240, 304)),
    ],
)
def test_the_short_side_then_the_centre(interpolation, turned, resized, box):
    image = photographs.chelsea()
    assert image.shape == (300, 451, 3)
    if turned:
        image = np.moveaxis(image, 0, 1)
    by_hand = Image.fromarray(image).resize(resized, METHODS[interpolation]).crop(box)
    steps = Preprocessing((224, 224), resize=256, interpolation=interpolation)
    np.testing.assert_array_equal(steps.on_host(image), np.asarray(by_hand))


def test_half_a_pixel_goes_to_the_even_side():
    # (7 - 4) / 2 = 1.5 and (5 - 4) / 2 = 0.5: Python rounds both to even, 2 and 0.
    image = np.arange(35, dtype=np.uint8).reshape(7, 5, 1)
    cut = Preprocessing((4, 4), resize=5).on_host(image)
    np.testing.assert_array_equal(cut, image[2:6, 0:4])


@pytest.mark.parametrize("interpolation", METHODS)
def test_straight_to_the_size_gives_up_the_aspect_ratio(interpolation):
    image = photographs.chelsea()
    by_hand = Image.fromarray(image).resize((96, 64), METHODS[interpolation])
    straight = Preprocessing((64, 96), interpolation=interpolation)
    np.testing.assert_array_equal(straight.on_host(image), np.asarray(by_hand))


def test_floats_are_resized_as_bytes_are():
    image, steps = photographs.chelsea(), Preprocessing((64, 64))
    floats = steps.on_host((image / 255).astype(np.float32))
    assert floats.dtype == np.float32
    # Pillow rounds bytes twice, once for each axis.
    np.testing.assert_allclose(floats * 255, steps.on_host(image), atol=1.001)


def test_floats_stay_in_their_range_at_sharp_edges():
    image = np.indices((40, 40)).sum(0)[..., None] // 8 % 2
    steps = Preprocessing((60, 60), interpolation="bicubic")
    floats = steps.on_host(image.astype(np.float32))
    assert (floats.min(), floats.max()) == (0, 1)


def test_grey_becomes_three_channels_where_the_network_takes_three():
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5, 1)
    np.testing.assert_array_equal(
        PRESETS["imagenet"].on_host(grey), np.repeat(grey, 3, axis=2)
    )
    assert PRESETS["unit"].on_host(grey).shape == (4, 5, 1)
    assert Preprocessing(bgr=True).on_host(grey).shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unit", lambda x: x),
        ("half", lambda x: 2 * x - 1),
        (
            "imagenet",
            lambda x: (x - [0.485, 0.456, 0.406]) / np.array([0.229, 0.224, 0.225]),
        ),
        ("lite", lambda x: (255 * x - 127) / 128),
        ("range=-1,1", lambda x: 2 * x - 1),
        ("range=0,255", lambda x: 255 * x),
        # As Caffe's networks: bytes, blue first, less a mean of bytes.
        (
            "range=0,255 bgr mean=0.4,0.5,0.6",
            lambda x: (255 * x - 255 * np.array([0.4, 0.5, 0.6]))[..., ::-1],
        ),
        ("half channels-first", lambda x: np.moveaxis(2 * x - 1, -1, 1)),
    ],
)
@pytest.mark.parametrize("shape", [(2, 4, 5, 3), (2, 6, 4, 5, 3)])
def test_numbers_of_images_and_of_videos(text, expected, shape):
    x = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
    apply_fn = lambda params, x: params * x
    network = jax.jit(parse(text).normalized(apply_fn))
    np.testing.assert_allclose(network(1.0, x), expected(x), rtol=1e-5, atol=1e-5)


def test_numbers_keep_the_precision_of_the_images():
    x = jnp.ones((1, 2, 2, 3), jnp.bfloat16)
    assert PRESETS["imagenet"].numbers(x).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    "value",
    [
        *PRESETS.values(),
        Preprocessing((224, 224), resize=256, interpolation="bicubic"),
        dataclasses.replace(PRESETS["lite"], size=(280, 240), resize=300),
        Preprocessing((32, 48), mean=(0.1,), std=(1 / 3,), range=(-1.0, 1.0)),
        Preprocessing(range=(0.0, 255.0), bgr=True, channels_first=True),
    ],
)
def test_text_and_json_say_all_of_it(value):
    assert parse(str(value)) == value
    assert parse(json.dumps(dataclasses.asdict(value))) == value


def test_the_line_of_the_documentation():
    line = "resize=256 crop=224 bicubic mean=.485,.456,.406 std=.229,.224,.225"
    expected = dataclasses.replace(
        PRESETS["imagenet"], size=(224, 224), resize=256, interpolation="bicubic"
    )
    assert parse(line) == expected
    assert str(expected) == "imagenet resize=256 crop=224 bicubic"
    assert preprocessing.parse.__doc__ is not None
    assert all(word in preprocessing.parse.__doc__ for word in ("crop=", "resize="))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "at least one word, such as unit"),
        ("imgnet", "unknown word 'imgnet' in a preprocessing; known are unit, half"),
        ("crop", "unknown word 'crop'"),
        ("size=224 imagenet", "imagenet must come first"),
        ("crop=224 size=256", "size is there twice"),
        ("crop=-3", "must be like 224 or 240x320"),
        ("crop=224x", "must be like 224 or 240x320"),
        ("crop=0", "height must be an integer >= 1, got 0"),
        ("resize=256", "give size too"),
        ("resize=200 crop=224", "resize must be an integer >= 224, got 200"),
        ("resize=1e3 crop=224", "resize of a preprocessing: must be a whole number"),
        ("mean=a,b,c", "mean of a preprocessing: must be numbers like .5,.5,.5"),
        ("mean=nan", "mean must be finite numbers"),
        ("mean=.5,.5 std=.5,.5,.5", "of the same channels, got 2 and 3"),
        ("std=0", "std must be positive, got (0.0,)"),
        ("std=.2,-.2,.2", "std must be positive"),
        ("std=inf", "std must be finite"),
        ("range=1,0", "range must be (low, high), got (1.0, 0.0)"),
        ("range=255", "range must be (low, high), got (255.0,)"),
        ("bgr mean=.5,.5", "bgr has three channels, mean and std 2"),
        ('{"mean": [0.5', "a preprocessing that is no JSON"),
        ('{"means": [0.5]}', "unknown means in a preprocessing; known are bgr"),
        ('{"mean": 0.5}', "mean must be a list of numbers, got 0.5"),
        ('{"size": [224.0, 224.0]}', "size must be a list of numbers"),
        ('{"size": [224]}', "size must be (height, width), got (224,)"),
        ('{"bgr": 1}', "bgr must be bool, got 1"),
        ('{"std": []}', "std must be finite numbers, got ()"),
    ],
)
def test_a_line_that_is_wrong_says_what(text, expected, without_type_checks):
    with pytest.raises(ValueError) as refused:
        parse(text)
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.zeros((8, 8), np.uint8), "[height, width, channels], got (8, 8)"),
        (np.zeros((0, 8, 3), np.uint8), "got (0, 8, 3)"),
        (np.zeros((8, 8, 3), np.int64), "uint8 or floating, got int64"),
        # One row of 10 million pixels would be 2.2 thousand million before its crop.
        (np.zeros((1, 10**7, 1), np.uint8), "would become 224x2240000000"),
    ],
)
def test_what_is_no_image_is_refused(image, expected):
    with pytest.raises(ValueError) as refused:
        Preprocessing((224, 224), resize=224).on_host(image)
    assert expected in str(refused.value)


def test_other_sizes_channels_and_types_are_refused_before_the_network():
    steps = dataclasses.replace(PRESETS["half"], size=(8, 9))
    for shape, expected in [
        ((2, 9, 8, 3), "takes images of 8x9 pixels, got 9x8"),
        ((2, 8, 9, 1), "takes 3 channels, got 1"),
        ((8, 9, 3), "must have shape [batch, height, width, channels]"),
    ]:
        with pytest.raises(ValueError) as refused:
            steps.numbers(jnp.zeros(shape))
        assert expected in str(refused.value)
    with pytest.raises(TypeError, match="images must be floating point, got uint8"):
        steps.numbers(jnp.zeros((2, 8, 9, 3), jnp.uint8))


def test_a_thin_image_and_one_pixel():
    steps = Preprocessing((4, 4), resize=4)
    assert (
        steps.on_host(np.full((1, 1, 3), 9, np.uint8)).tolist() == [[[9] * 3] * 4] * 4
    )
    thin = steps.on_host(np.full((1000, 2, 3), 9, np.uint8))
    assert thin.shape == (4, 4, 3)
    assert (thin == 9).all()


def test_whole_colour_images_are_resized_as_channels_are():
    image = np.random.default_rng(0).integers(0, 256, (61, 90, 3), np.uint8)
    for interpolation in ("bilinear", "bicubic"):
        steps = Preprocessing(size=(20, 24), interpolation=interpolation)
        apart = [steps.on_host(image[..., k : k + 1]) for k in range(3)]
        np.testing.assert_array_equal(steps.on_host(image), np.concatenate(apart, -1))
