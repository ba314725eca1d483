"""Out-of-distribution images and images in another shape."""

import numpy as np
import pytest
from skimage import data as skimage_data

from trustjax import data
from trustjax.preprocessing import Preprocessing


@pytest.mark.parametrize("name", ["letters", "normal_noise", "uniform_noise"])
@pytest.mark.parametrize("image_shape", [(28, 28, 1), (12, 20, 3)])
def test_made_on_the_spot(name, image_shape):
    dataset = data.out_of_distribution(name, image_shape, num_examples=30)
    images, labels = data.as_arrays(dataset)
    assert images.shape == (30, *image_shape)
    assert images.dtype == np.uint8
    again = data.out_of_distribution(name, image_shape, num_examples=30)
    other = data.out_of_distribution(name, image_shape, num_examples=30, seed=1)
    assert dataset.fingerprint == again.fingerprint != other.fingerprint
    assert (labels == data.NO_CLASS).all() == (dataset.num_classes == 0)
    (batch,) = data.batches(dataset, 30)
    np.testing.assert_array_equal(batch["label"], labels)


def test_noise_has_its_distribution():
    shape = (32, 32, 3)
    uniform, normal = (
        data.as_arrays(data.out_of_distribution(name, shape, num_examples=50))[0] / 255
        for name in ("uniform_noise", "normal_noise")
    )
    # 153,600 values: a standard error of 0.0008 for the mean, 0.0012 for a share.
    np.testing.assert_allclose(uniform.mean(), 0.5, atol=0.005)
    np.testing.assert_allclose(uniform.std(), np.sqrt(1 / 12), atol=0.005)
    # P(N(1/2, 1) < 0) = 0.3085, and as much above 1.
    np.testing.assert_allclose((normal == 0).mean(), 0.3085, atol=0.007)
    np.testing.assert_allclose((normal == 1).mean(), 0.3085, atol=0.007)


def test_letters_are_all_there_and_differ():
    images, labels = data.as_arrays(data.load("letters"))
    assert np.bincount(labels).tolist() == [225] * 10
    assert len({image.tobytes() for image in images}) == len(images)
    ink = images.reshape(len(images), -1).mean(1) / 255
    assert 0.02 < ink.min() < ink.max() < 0.5
    edges = np.concatenate([images[:, [0, -1]].ravel(), images[:, :, [0, -1]].ravel()])
    assert (edges > 128).mean() < 0.001


def test_letters_are_told_apart():
    # The nearest image among one half of them has the label of each in the other.
    images, labels = data.as_arrays(data.load("letters"))
    images = images.reshape(len(images), -1).astype(np.float32) / 255
    known, asked = images[::2], images[1::2]
    distance = (known**2).sum(1) - 2 * asked @ known.T
    assert (labels[::2][distance.argmin(1)] == labels[1::2]).mean() > 0.9


def test_faces_are_those_of_the_package():
    images, labels = data.as_arrays(data.load("faces"))
    patches = skimage_data.lfw_subset()
    assert images.shape == (100, 25, 25, 1)
    assert (labels == 0).all()
    tall = lambda rows: np.sort(rows.reshape(len(rows), -1).astype(np.float32), axis=0)
    np.testing.assert_allclose(
        tall(images) / 255, tall(patches[:100]), atol=0.5001 / 255
    )


def test_photographs_are_cut_without_overlap():
    images, labels = data.as_arrays(data.load("photographs"))
    assert images.shape == (563, 64, 64, 3)
    names = data.load("photographs").class_names
    # Put together again, the squares of a photograph have all pixels of its corner.
    for name, grey in (("astronaut", False), ("camera", True), ("coffee", False)):
        whole = getattr(skimage_data, name)()
        whole = np.stack([whole] * 3, axis=-1) if grey else whole
        down, across = (size // 64 * 64 for size in whole.shape[:2])
        own = images[labels == names.index(name)]
        assert len(own) == down * across // 64**2
        for value in (0, 100, 255):
            assert (own == value).sum() == (whole[:down, :across] == value).sum()
        tiles = {tile.tobytes() for tile in own}
        for row in range(0, down, 64):
            for column in range(0, across, 64):
                assert whole[row : row + 64, column : column + 64].tobytes() in tiles
    # The first of them are of most photographs: a part of the set is like the whole.
    assert len(set(labels[:60].tolist())) >= 9


@pytest.mark.parametrize("name", ["faces", "photographs"])
@pytest.mark.parametrize("image_shape", [(28, 28, 1), (16, 12, 3), (4, 20, 20, 1)])
def test_photographed_images_take_any_shape(name, image_shape):
    dataset = data.out_of_distribution(name, image_shape, num_examples=70)
    images, labels = data.as_arrays(dataset)
    assert images.shape == (70, *image_shape)
    native, own = data.as_arrays(data.load(name))
    np.testing.assert_array_equal(labels, own[:70])
    grey = native[:70] @ ([1.0] if name == "faces" else [0.299, 0.587, 0.114])
    # A resized image is as light as it was.
    light = lambda values: values.reshape(70, -1).mean(axis=1)
    if image_shape[-1] == 1:
        np.testing.assert_allclose(light(images), light(grey), atol=6)


def test_first_records_of_a_loaded_set():
    converted = data.out_of_distribution("mnist5k", (28, 28, 1), num_examples=7)
    whole = data.load("mnist5k")
    for part, expected in zip(
        data.as_arrays(converted), data.as_arrays(whole), strict=True
    ):
        np.testing.assert_array_equal(part, expected[:7])
    assert converted.class_names == whole.class_names
    assert converted.fingerprint != whole.fingerprint
    assert converted.source[-1]["label"] == whole.source[6]["label"]
    with pytest.raises(IndexError):
        converted.source[7]


def colours(dtype):
    """Two images of 2x2: left red, right white; and all black."""
    images = np.zeros((2, 2, 2, 3), dtype)
    white = 255 if dtype == np.uint8 else 1
    images[0, :, 0] = [white, 0, 0]
    images[0, :, 1] = white
    return data.from_arrays("colours", images, np.array([0, 1]), ["a", "b"])


def test_grey_is_the_luma():
    images, labels = data.as_arrays(data.convert(colours(np.uint8), (2, 2, 1)))
    # 0.299 * 255 = 76.2
    np.testing.assert_array_equal(images[0, ..., 0], [[76, 255], [76, 255]])
    np.testing.assert_array_equal(images[1], 0)
    assert labels.tolist() == [0, 1]
    floating, _ = data.as_arrays(data.convert(colours(np.float32), (2, 2, 1)))
    assert floating.dtype == np.float32
    np.testing.assert_allclose(floating[0, 0, :, 0], [0.299, 1], atol=1e-6)


def test_grey_becomes_rgb_and_back():
    digits = data.load("digits", "validation")
    rgb = data.convert(digits, (8, 8, 3))
    images, _ = data.as_arrays(rgb)
    np.testing.assert_array_equal(images[..., 0], images[..., 2])
    np.testing.assert_array_equal(
        data.as_arrays(data.convert(rgb, (8, 8, 1)))[0], data.as_arrays(digits)[0]
    )


def test_resizing_keeps_the_picture():
    digits = data.load("digits", "validation")
    larger = data.convert(digits, (32, 24, 1))
    images, _ = data.as_arrays(larger)
    assert images.shape == (180, 32, 24, 1)
    back, _ = data.as_arrays(data.convert(larger, (8, 8, 1)))
    original, _ = data.as_arrays(digits)
    # Bilinear up and down blurs: by 0.13 of the range on average, never shifted.
    error = np.abs(back.astype(float) - original) / 255
    assert error.mean() < 0.15
    np.testing.assert_allclose(back.mean(), original.mean(), rtol=0.02)
    mirrored = np.abs(back[:, :, ::-1].astype(float) - original) / 255
    assert error.mean() < 0.7 * mirrored.mean()


def test_the_same_shape_is_the_same_dataset():
    digits = data.load("digits")
    assert data.convert(digits, (8, 8, 1)) is digits


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.out_of_distribution("letters", (8, 8, 2)), "1 or 3 channels"),
        (lambda: data.out_of_distribution("letters", (0, 8, 1)), "height must be"),
        (
            lambda: data.out_of_distribution("letters", (8, 8, 1), num_examples=2251),
            "there are 2250 letters, not 2251",
        ),
        (
            lambda: data.out_of_distribution("letters", (8, 8, 1), num_examples=0),
            "num_examples must be an integer >= 1",
        ),
        (
            lambda: data.out_of_distribution("digits", (8, 8, 1), num_examples=540),
            "digits has 539 records, not 540",
        ),
        (
            lambda: data.out_of_distribution("faces", (8, 8, 1), num_examples=101),
            "faces has 100 records, not 101",
        ),
        (
            lambda: data.out_of_distribution("photographs", (8, 8, 1), split="train"),
            "photographs has no split 'train': it has test",
        ),
        (lambda: data.out_of_distribution("noise", (8, 8, 1)), "uniform_noise"),
        (
            lambda: data.convert(
                data.from_arrays("two", np.zeros((1, 2, 2, 2)), np.array([0]), ["a"]),
                (2, 2, 1),
            ),
            "images of two must have 1 or 3 channels",
        ),
    ],
)
def test_what_cannot_be(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_images_in_the_size_of_a_network_are_read_so():
    digits = data.load("digits")
    steps = Preprocessing((6, 6), resize=7, mean=(0.5,) * 3)
    prepared = data.preprocessed(digits, steps)
    assert prepared.image_shape == (6, 6, 3)
    images, labels = prepared.source.take([3, 5])
    for image, label, number in zip(images, labels, (3, 5), strict=True):
        record = digits.source[number]
        np.testing.assert_array_equal(image, steps.on_host(record["image"]))
        assert label == record["label"]
    assert prepared.fingerprint != digits.fingerprint
    assert prepared.notes == (
        "Images were resized from 8x8 to 6x6, the middle of 7 pixels along the short "
        "side.",
    )
    larger = data.preprocessed(digits, Preprocessing((16, 20)))
    assert larger.notes == (
        "Images were enlarged from 8x8 to 16x20, whatever their aspect ratio.",
    )
    assert data.preprocessed(digits, Preprocessing(mean=(0.5,))) is digits
    with pytest.raises(ValueError, match="have 3 channels, and the network takes 2"):
        data.preprocessed(prepared, Preprocessing(mean=(0.5, 0.5)))


def test_records_under_the_classes_of_a_network():
    images = np.zeros((4, 2, 2, 1), np.uint8)
    mine = data.from_arrays("mine", images, [0, 1, data.NO_CLASS, 1], ["b", "c"])
    names = ["a", "b", "c"]
    found = data.relabelled(mine, [1, 2], names)
    assert data.as_arrays(found)[1].tolist() == [1, 2, data.NO_CLASS, 2]
    assert [found.source[number]["label"] for number in range(4)] == [1, 2, -1, 2]
    assert found.class_names == tuple(names)
    assert found.fingerprint != mine.fingerprint
    assert data.relabelled(mine, [0, 1], ["b", "c"]) is mine
    # Two folders of one class: a class of a network may have several names.
    assert data.as_arrays(data.relabelled(mine, [2, 2], names))[1].tolist()[0] == 2
    with pytest.raises(ValueError, match="mine has 2 classes, got 3 numbers"):
        data.relabelled(mine, [0, 1, 2], names)
    with pytest.raises(ValueError, match=r"must be in \[0, 3\), got \[0, 3\]"):
        data.relabelled(mine, [0, 3], names)
