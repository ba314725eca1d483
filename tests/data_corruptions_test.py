"""The common corruptions: deterministic, graded, and out of nobody's way."""

import functools
import sys

import numpy as np
import pytest

from trustjax import data


@pytest.fixture(scope="module")
def digits():
    return data.load("mnist5k", "validation[:12]")


@pytest.mark.parametrize("kind", data.corruptions_named(["all"]))
@pytest.mark.parametrize("image_shape", [(28, 28, 1), (40, 33, 3)])
def test_every_kind_is_deterministic_and_graded(kind, image_shape, digits):
    dataset = data.convert(digits, image_shape)
    images, labels = data.as_arrays(dataset)
    if kind == "saturate":  # grey has no colour that it could change
        images[..., 0] //= 2
        dataset = data.from_arrays("reddish", images, labels, dataset.class_names)
    errors = []
    for severity in (1, 5):
        corrupted = data.corrupted(dataset, kind, severity=severity, seed=3)
        changed, same_labels = data.as_arrays(corrupted)
        assert changed.shape == images.shape
        assert changed.dtype == np.uint8
        np.testing.assert_array_equal(same_labels, labels)
        np.testing.assert_array_equal(data.as_arrays(corrupted)[0], changed)
        errors.append(np.square(changed / 255 - images / 255).mean())
    if (kind, image_shape[-1]) == ("saturate", 1):
        assert 0 == errors[0] < errors[1]
    else:
        assert 0 < errors[0] < errors[1]


@pytest.mark.parametrize(
    "kind", ["gaussian_noise", "impulse_noise", "glass_blur", "motion_blur", "frost"]
)
def test_a_record_is_corrupted_alike_in_every_order(kind, digits):
    corrupted = data.corrupted(digits, kind)
    expected, _ = data.as_arrays(corrupted)
    for batch in data.batches(corrupted, 4, shuffle=True, num_epochs=2):
        np.testing.assert_array_equal(
            batch["image"], expected[batch["index"]].astype(np.float32) / 255
        )


def test_records_and_seeds_differ():
    black = data.from_arrays(
        "black", np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, int), ["black"]
    )
    one, two = (data.corrupted(black, "impulse_noise", seed=seed) for seed in (1, 2))
    assert one.fingerprint != two.fingerprint != black.fingerprint
    images = [*data.as_arrays(one)[0], *data.as_arrays(two)[0]]
    assert len({image.tobytes() for image in images}) == 4


def test_grey_noise_is_as_strong_as_the_papers():
    # Severity 3: a standard deviation of 0.18, on grey too little to be clipped.
    grey = np.full((200, 200, 1), 128, np.uint8)
    noisy = data.corrupt(grey, "gaussian_noise", severity=3)
    np.testing.assert_allclose((noisy / 255).std(), 0.18, rtol=0.03)


def test_corrupting_comes_after_resizing():
    # Gaussian noise of severity 3 is 0.18 * 255 = 45.9 strong, 0.8 of that on average.
    # A mean over 4x4 pixels leaves a quarter of it, had it been put on before.
    grey = data.from_arrays(
        "grey", np.full((8, 128, 128, 1), 128, np.uint8), np.zeros(8, int), ["grey"]
    )
    small = (32, 32, 1)

    def change(changed):
        return np.abs(data.as_arrays(changed)[0].astype(float) - 128).mean()

    noisy = functools.partial(data.corrupted, kind="gaussian_noise", severity=3)
    after = change(noisy(data.convert(grey, small)))
    before = change(data.convert(noisy(grey), small))
    np.testing.assert_allclose(after, 36.6, rtol=0.02)
    assert before < after / 5


def test_where_no_drop_falls_an_image_stays_as_it_is():
    image = np.full((32, 32, 3), 90, np.uint8)
    spattered = [
        data.corrupt(image, "spatter", severity=1, seed=seed) for seed in range(40)
    ]
    unchanged = [np.array_equal(one, image) for one in spattered]
    assert any(unchanged)
    assert not all(unchanged)
    assert all((one >= 90).all() for one in spattered)  # water is bright, not black


def test_the_global_generator_is_left_alone():
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.rand(4)  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    data.corrupt(np.zeros((32, 32, 1), np.uint8), "fog", seed=7)
    np.testing.assert_array_equal(np.random.rand(4), expected)  # noqa: NPY002


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((32, 32, 1), {"kind": "rain"}, "kind must be one of gaussian_noise, .*'rain'"),
        ((32, 32, 1), {"kind": "fog", "severity": 0}, "severity must be one of 1, 2"),
        ((32, 32, 2), {"kind": "fog"}, "1 or 3 channels"),
    ],
)
def test_what_cannot_be(shape, options, message):
    with pytest.raises(ValueError, match=message):
        data.corrupt(np.zeros(shape, np.uint8), **options)


def test_a_missing_extra_is_named(monkeypatch, digits):
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with pytest.raises(ModuleNotFoundError, match=r"trustjax\[corruptions\]"):
        data.corrupt(np.zeros((32, 32, 1), np.uint8), "fog")
    with pytest.raises(ModuleNotFoundError, match=r"trustjax\[corruptions\]"):
        data.corrupted(digits, "fog")


def test_sets_of_corruptions():
    assert data.corruptions_named(["common"]) == data.CORRUPTIONS
    assert len(data.corruptions_named(["all", "fog"])) == 19
    with pytest.raises(
        ValueError, match=r"one of common, .*, fog, .*, saturate, got 'f'"
    ):
        data.corruptions_named(["f"])


def test_datasets_of_other_images_are_refused():
    clips = np.zeros((2, 3, 32, 32, 1), np.uint8)
    dataset = data.from_arrays("clips", clips, np.zeros(2, int), ["none"])
    with pytest.raises(ValueError, match=r"those of clips have shape \(3, 32, 32, 1\)"):
        data.corrupted(dataset, "fog")


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 1)), r"uint8, got float64: .*np.round\(255 \* image\)"),
        (np.zeros((8, 8), np.uint8), r"1 or 3 channels\], got \(8, 8\)"),
    ],
)
def test_other_images_are_refused_with_the_remedy(image, message):
    with pytest.raises(ValueError, match=message):
        data.corrupt(image, "fog")
