"""What comes from elsewhere is asked what it is, and refused with the remedy."""

import numpy as np
import pytest

from trustjax import _questions


def test_labels_are_whole_numbers_or_names():
    np.testing.assert_array_equal(_questions.labels(np.array([2, 0], np.uint8)), [2, 0])
    names = ("cat", "dog")
    for labels in (["dog", "cat"], [b"dog", b"cat"], np.array(["dog", "cat"], object)):
        np.testing.assert_array_equal(_questions.labels(labels, names), [1, 0])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.7, 1.0], "got float64: 0.7 in row 0 is not whole"),
        ([0.0, np.nan], "nan in row 1 is not whole"),
        ([0.0, 1.0], r"give labels.astype\(int\)"),
        ([True, False], r"got bool: give labels.astype\(int\)"),
        ([[1], [0]], r"got \(2, 1\): give labels\[:, 0\]"),
        (np.eye(2), r"one-hot, give labels.argmax\(axis=1\)"),
        (np.ones((2, 3)), "multi-label"),
        (3, r"shape \[examples\], got \(\)"),
        ([None, 1], "must be integers or strings, got object"),
        (["cat", "cow"], "got 'cow' in row 1; the classes are cat, dog"),
    ],
)
def test_other_labels_are_refused_with_the_remedy(labels, message):
    with pytest.raises(ValueError, match=message):
        _questions.labels(labels, ("cat", "dog"))


def test_names_of_classes_must_differ_to_find_labels_by_them():
    with pytest.raises(ValueError, match="'cat' is there twice"):
        _questions.labels(["cat"], ("cat", "cat"))
    np.testing.assert_array_equal(_questions.labels([1], ("cat", "cat")), [1])


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_softmax_is_told_from_logits(classes, dtype):
    logits = np.random.default_rng(0).normal(size=(50, classes)) * 4
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert _questions.are_probabilities(softmax.astype(dtype))
    assert _questions.are_log_probabilities(np.log(softmax).astype(dtype))
    for other in (logits, np.abs(logits), np.round(softmax), logits - logits.max()):
        assert not _questions.are_probabilities(other.astype(dtype))
        assert not _questions.are_log_probabilities(other.astype(dtype))


@pytest.mark.parametrize("off", [1e-6, -1e-6])
def test_sums_off_by_the_rounding_of_every_class_are_taken(off):
    even = np.full((2, 1000), 1 / 1000 + off, np.float32)
    np.testing.assert_allclose(_questions.probabilities(even), even, rtol=1e-6)


@pytest.mark.parametrize("name", ["logits", "probabilities"])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_output_is_refused_with_the_remedy(name, shape):
    remedy = r"\[0, z\]" if name == "logits" else r"\[1 - p, p\]"
    with pytest.raises(ValueError, match=f"^{name} must .*{remedy}"):
        _questions.several_classes(name, shape)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([np.zeros((8, 8, 1)), np.zeros((9, 8, 1))], r"size: \(8, 8, 1\), \(9, 8, 1\)"),
        (np.zeros((4, 8, 8)), r"give images\[..., None\]"),
        (np.zeros((4, 3, 32, 32)), r"channels seem to come first: give np.moveaxis"),
        (np.zeros((4, 1, 28, 28)), r"give np.moveaxis\(images, 1, -1\)"),
        (np.array([["a"]]), "images must be numbers"),
    ],
)
def test_other_images_are_refused_with_the_remedy(images, message):
    with pytest.raises(ValueError, match=message):
        _questions.images(images)


@pytest.mark.parametrize(
    "shape", [(4, 32, 32, 3), (4, 8, 8, 64), (4, 3, 3, 64), (4, 3, 32, 3), (4, 1, 1, 9)]
)
def test_channels_that_come_last_are_taken(shape):
    assert _questions.images(np.zeros(shape)).shape == shape
