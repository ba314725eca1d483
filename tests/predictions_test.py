"""Predictions refuse what cannot be assessed, and say where it is wrong."""

import dataclasses

import numpy as np
import pytest

from trustjax import assess
from trustjax.statistics import GradientStatistics

LOGITS = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 0.5]])
LABELS = np.array([0, 2, 0])


def test_derived_arrays_are_their_definitions():
    said = assess.Predictions(LOGITS, LABELS)
    by_hand = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(said.probabilities, by_hand, rtol=1e-12)
    np.testing.assert_allclose(said.confidence, by_hand.max(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(said.predicted, [0, 1, 0])
    np.testing.assert_array_equal(said.correct, [True, False, True])
    assert said.class_names == ("0", "1", "2")


def test_a_class_that_cannot_be_answered_has_probability_zero():
    said = assess.Predictions(np.array([[0.0, -np.inf]]), np.array([0]))
    np.testing.assert_array_equal(said.probabilities, [[1.0, 0.0]])


def test_images_become_bytes_with_channels():
    said = assess.Predictions(LOGITS, LABELS, images=np.full((3, 4, 5), 0.5))
    image = said.image(0)
    assert image.shape == (4, 5, 1)
    assert image.dtype == np.uint8
    assert image[0, 0, 0] == 128


def with_value(array, index, value):
    changed = array.copy()
    changed[index] = value
    return changed


TABLE = GradientStatistics(np.zeros((3, 2, 1)), ("a", "b"), ("l1_norm",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logits": LOGITS[0]}, r"\[examples, classes\].*got \(3,\)"),
        ({"logits": LOGITS[:0], "labels": LABELS[:0]}, r"got \(0, 3\)"),
        ({"logits": LOGITS.astype(str)}, "logits must be numbers"),
        (
            {"logits": with_value(LOGITS, (slice(1, 3), 0), np.nan)},
            "logits must not be NaN: 2 rows break this, row 1, 2",
        ),
        ({"logits": with_value(LOGITS, (2, 1), np.inf)}, r"not be \+inf: 1 row.*row 2"),
        ({"logits": with_value(LOGITS, 1, -np.inf)}, "not all be -inf"),
        ({"labels": LABELS[:2]}, "2 labels for 3 rows of logits"),
        ({"labels": LABELS.astype(float)}, "labels must be integers"),
        (
            {"labels": np.array(list("aba"))},
            "labels are strings .*give class_names",
        ),
        ({"logits": LOGITS[:, :1]}, r"got \(3, 1\): one output for each .* up to 2"),
        ({"logits": 1e307 * LOGITS}, r"within 1e\+307 of 0: 2 rows"),
        ({"images": np.zeros((3, 3, 8, 8))}, r"give np.moveaxis\(images, 1, -1\)"),
        ({"labels": np.array([0, 3, -1])}, r"in \[0, 3\).*2 rows break this, row 1, 2"),
        ({"class_names": ("a", "b")}, "2 class names for 3 classes"),
        ({"scores": {"mine": np.zeros(2)}}, r"'mine' must have shape \(3,\), got \(2,"),
        ({"scores": {"mine": np.array(["a"] * 3)}}, "'mine' must be numbers"),
        (
            {"scores": {"mine": np.array([0.0, np.nan, 1.0])}},
            "score 'mine' must not be NaN: 1 row breaks this, row 1",
        ),
        ({"images": np.zeros((2, 4, 4))}, r"images must have shape \[3, height"),
        ({"images": np.zeros((3, 4, 4, 2))}, "1 or 3"),
        ({"images": np.zeros((3, 4, 4), np.int64)}, "uint8 or floats"),
        ({"index": np.arange(2)}, r"index must be integers of shape \(3,\), got int64"),
        ({"index": np.arange(3.0)}, r"index must be integers of shape .*, got float64"),
        ({"images": np.full((3, 4, 4), 2.0)}, r"floats must be in \[0, 1\]: 3 rows"),
        (
            {"gradient_statistics": dataclasses.replace(TABLE, groups=("a",))},
            r"shape \(3, 1, 1\) .*got \(3, 2, 1\)",
        ),
        (
            {
                "gradient_statistics": dataclasses.replace(
                    TABLE, values=np.full((3, 2, 1), np.nan)
                )
            },
            "gradient statistics must not be NaN",
        ),
        (
            {"out_of_distribution": {"noise": {"mine": np.array([np.nan])}}},
            "score 'mine' on noise must not be NaN",
        ),
    ],
)
def test_bad_arrays_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        assess.Predictions(**{"logits": LOGITS, "labels": LABELS, **changes})


def test_reads_logits_scores_and_names(tmp_path):
    path = tmp_path / "predictions.npz"
    np.savez(
        path,
        logits=LOGITS.astype(np.float16),
        labels=LABELS.astype(np.uint8),
        class_names=np.array(["cat", "dog", "owl"]),
        score_mine=np.array([1, 2, 3]),
    )
    said = assess.read_predictions(path)
    np.testing.assert_array_equal(said.logits, LOGITS)
    np.testing.assert_array_equal(said.scores["mine"], [1, 2, 3])
    assert said.class_names == ("cat", "dog", "owl")
    assert said.outputs == "logits"


def test_reads_probabilities_of_zero(tmp_path):
    path = tmp_path / "predictions.npz"
    np.savez(path, probabilities=[[1.0, 0.0], [0.25, 0.75]], labels=[0, 1])
    said = assess.read_predictions(path)
    np.testing.assert_allclose(said.probabilities, [[1, 0], [0.25, 0.75]], atol=1e-12)
    assert np.isfinite(said.logits).all()
    assert said.outputs == "probabilities"


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_softmax_that_is_called_logits_is_found_and_said(dtype):
    said = assess.Predictions(softmax(LOGITS).astype(dtype), LABELS)
    assert said.outputs == "probabilities"
    assert "are probabilities" in said.notes[0]
    np.testing.assert_allclose(said.probabilities, softmax(LOGITS), atol=1e-3)
    again = dataclasses.replace(said, run={"seed": 0})
    assert (again.outputs, again.notes) == (said.outputs, said.notes)


def test_log_softmax_that_is_called_logits_has_lost_its_constant():
    said = assess.Predictions(np.log(softmax(LOGITS)), LABELS)
    assert said.outputs == "probabilities"
    assert "logarithms of probabilities" in said.notes[0]
    np.testing.assert_allclose(said.probabilities, softmax(LOGITS), rtol=1e-12)


@pytest.mark.parametrize("logits", [LOGITS, np.eye(3), np.zeros((3, 2))])
def test_logits_that_are_no_softmax_are_taken_as_they_are(logits):
    said = assess.Predictions(logits, np.zeros(3, int))
    assert (said.outputs, said.notes) == ("logits", ())
    np.testing.assert_array_equal(said.logits, logits)


def test_labels_are_found_by_name():
    said = assess.Predictions(LOGITS, np.array(["b", "c", "b"]), ("b", "a", "c"))
    np.testing.assert_array_equal(said.labels, [0, 2, 0])


def test_logits_of_any_size_in_float64_keep_their_order():
    said = assess.Predictions(1e300 * LOGITS, LABELS)
    np.testing.assert_array_equal(said.predicted, [0, 1, 0])
    np.testing.assert_array_equal(said.confidence, 1.0)


def test_probabilities_off_by_rounding_are_taken(tmp_path):
    path = tmp_path / "predictions.npz"
    rows = np.array([[1.0000001, -1e-9], [0.4999995, 0.5]], np.float32)
    np.savez(path, probabilities=rows, labels=[0, 1])
    said = assess.read_predictions(path)
    np.testing.assert_allclose(said.probabilities, [[1, 0], [0.5, 0.5]], atol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": LABELS.astype(object)}, "labels holds Python objects.*labels=np"),
        (
            {
                "labels": LABELS,
                "class_names": np.array(["a", "b", "c"], object),
                "images": np.array([None] * 3),
            },
            "class_names, images hold Python objects",
        ),
    ],
)
def test_arrays_of_python_objects_are_named_with_the_remedy(tmp_path, arrays, message):
    path = tmp_path / "predictions.npz"
    np.savez(path, logits=LOGITS, **arrays)
    with pytest.raises(ValueError, match=f"predictions.npz: .*{message}"):
        assess.read_predictions(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"logits": LOGITS}, "no array 'labels', only logits"),
        ({"labels": LABELS}, "one of 'logits' and 'probabilities', has labels"),
        (
            {"logits": LOGITS, "probabilities": LOGITS, "labels": LABELS},
            "one of 'logits' and 'probabilities', has labels, logits, probabilities",
        ),
        (
            {"logits": LOGITS, "labels": LABELS, "extra": LABELS},
            "unknown arrays extra; known are class_names",
        ),
        ({"probabilities": LABELS, "labels": LABELS}, "must be floats of shape"),
        ({"probabilities": LOGITS, "labels": LABELS}, r"in \[0, 1\]: 2 rows.*row 0, 1"),
        (
            {"probabilities": np.full((3, 3), 0.4), "labels": LABELS},
            "sum to 1: 3 rows break this, row 0, 1, 2",
        ),
        (
            {"logits": LOGITS, "labels": LABELS, "class_names": np.arange(3)},
            "class_names must be strings",
        ),
        ({"logits": LOGITS, "labels": LABELS + 7}, r"labels must be in \[0, 3\)"),
    ],
)
def test_bad_files_are_named(tmp_path, arrays, message):
    path = tmp_path / "predictions.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=f"predictions.npz: .*{message}"):
        assess.read_predictions(path)


def test_files_that_are_no_archives_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        assess.read_predictions(tmp_path / "none.npz")
    text = tmp_path / "text.npz"
    text.write_text("labels,logits\n")
    with pytest.raises(ValueError, match=r"text\.npz: not an \.npz file"):
        assess.read_predictions(text)
    whole = tmp_path / "whole.npz"
    np.savez(whole, logits=LOGITS, labels=LABELS)
    cut = tmp_path / "cut.npz"
    cut.write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"cut\.npz: damaged"):
        assess.read_predictions(cut)
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, logits=LOGITS, labels=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="not of plain arrays"):
        assess.read_predictions(pickled)


class Counting:
    """Images that are made when they are asked for."""

    def __init__(self, count, shape=(4, 4, 3)):
        self.count, self.shape, self.asked = count, shape, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.asked.append(index)
        return np.full(self.shape, index / 10, np.float32)


def test_images_by_number_are_read_only_when_they_are_shown():
    logits, labels = np.eye(3), np.arange(3)
    images = Counting(3)
    said = assess.Predictions(logits, labels, images=images)
    assert images.asked == []
    np.testing.assert_array_equal(said.image(2), np.full((4, 4, 3), 51, np.uint8))
    assert images.asked == [2]
    with pytest.raises(ValueError, match="4 images for 3 rows of logits"):
        assess.Predictions(logits, labels, images=Counting(4))
    with pytest.raises(ValueError, match=r"must have shape .* got \(1, 4, 4, 2\)"):
        assess.Predictions(logits, labels, images=Counting(3, (4, 4, 2))).image(0)
    with pytest.raises(ValueError, match="no images"):
        assess.Predictions(logits, labels).image(0)
