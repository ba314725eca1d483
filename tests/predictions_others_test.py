"""Predictions files with rows of inputs that belong to none of the classes."""

import json
import pathlib

import numpy as np
import pytest

from trustjax import _files, assess, pipeline, scores, scoring
from trustjax.pipeline import _outputs

LOGITS = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 0.5]])
LABELS = np.array([0, 2, 0])
OTHERS = np.array([[0.5, 0.25, 1.0], [3.0, 0.0, 1.0]])
MINE, OF_OTHERS = np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5])


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def read(tmp_path, **arrays):
    path = tmp_path / "predictions.npz"
    np.savez(path, **arrays)
    return assess.read_predictions(path)


def test_rows_are_read_with_their_scores(tmp_path):
    said = read(
        tmp_path,
        logits=LOGITS,
        labels=LABELS,
        score_mine=MINE,
        ood_letters_logits=OTHERS.astype(np.float32),
        ood_letters_score_mine=OF_OTHERS,
        ood_uniform_noise_logits=OTHERS[:1],
        ood_uniform_noise_score_mine=OF_OTHERS[:1],
    )
    assert list(said.out_of_distribution) == ["letters", "uniform_noise"]
    np.testing.assert_array_equal(said.out_of_distribution_logits["letters"], OTHERS)
    np.testing.assert_array_equal(
        said.out_of_distribution["letters"]["mine"], OF_OTHERS
    )


def test_names_with_score_in_them_are_told_apart(tmp_path):
    said = read(
        tmp_path,
        logits=LOGITS,
        labels=LABELS,
        score_b_logits=MINE,
        ood_a_logits=OTHERS,
        ood_a_score_b_logits=OF_OTHERS,
    )
    np.testing.assert_array_equal(said.out_of_distribution["a"]["b_logits"], OF_OTHERS)
    assert list(said.out_of_distribution_logits) == ["a"]
    said = read(
        tmp_path,
        logits=LOGITS,
        labels=LABELS,
        score_mine=MINE,
        ood_a_logits=OTHERS,
        ood_a_score_mine=OF_OTHERS,
        ood_a_score_b_logits=OTHERS[:1],
        ood_a_score_b_score_mine=OF_OTHERS[:1],
    )
    assert sorted(said.out_of_distribution_logits) == ["a", "a_score_b"]
    assert said.out_of_distribution["a_score_b"]["mine"].shape == (1,)


def test_scores_of_the_logits_are_computed_of_both(tmp_path):
    said = _outputs.with_scores(
        read(
            tmp_path,
            logits=LOGITS,
            labels=LABELS,
            score_mine=MINE,
            ood_letters_logits=OTHERS,
            ood_letters_score_mine=OF_OTHERS,
        )
    )
    of_logits = scores.names(computable_from={"logits"})
    assert set(said.scores) == {"mine", *of_logits}
    assert set(said.out_of_distribution["letters"]) == {"mine", *of_logits}
    alone = scoring.from_arrays(of_logits, {"logits": OTHERS})
    for name in of_logits:
        np.testing.assert_array_equal(
            said.out_of_distribution["letters"][name], alone[name]
        )


@pytest.mark.parametrize("single", [False, True])
def test_probabilities_of_both(tmp_path, single):
    chances = np.array([0.9, 0.2, 0.6]), np.array([0.5, 1.0])
    columns = [np.stack([1 - p, p], axis=1) for p in chances]
    test, others = chances if single else columns
    said = read(
        tmp_path,
        probabilities=test,
        labels=np.array([1, 0, 1]),
        ood_noise_probabilities=others,
    )
    found = softmax(said.out_of_distribution_logits["noise"])
    np.testing.assert_allclose(found, columns[1], atol=1e-12)
    called = read(
        tmp_path, logits=test, labels=np.array([1, 0, 1]), ood_noise_logits=others
    )
    found = softmax(called.out_of_distribution_logits["noise"])
    np.testing.assert_allclose(found, columns[1], atol=1e-12)
    assert called.outputs == "probabilities"


def test_one_logit_of_both_stays_a_logit_where_it_looks_like_a_chance(tmp_path):
    said = read(
        tmp_path,
        logits=np.array([2.0, -1.0, 0.5]),
        labels=np.array([1, 0, 1]),
        ood_noise_logits=np.array([0.25, 0.75]),
    )
    np.testing.assert_array_equal(
        said.out_of_distribution_logits["noise"], [[0, 0.25], [0, 0.75]]
    )


def test_log_softmax_of_both(tmp_path):
    said = read(
        tmp_path,
        logits=np.log(softmax(LOGITS)),
        labels=LABELS,
        ood_noise_logits=np.log(softmax(OTHERS)),
    )
    assert said.outputs == "probabilities"
    np.testing.assert_allclose(
        said.out_of_distribution_logits["noise"], np.log(softmax(OTHERS))
    )


TEST = {"logits": LOGITS, "labels": LABELS}
SCORED = {**TEST, "score_mine": MINE, "ood_x_logits": OTHERS}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {**TEST, "ood_x_logits": OTHERS[:, :2]},
            r"logits of x must have shape \[others, 3\], the classes .* got \(2, 2\)",
        ),
        (
            {**TEST, "ood_x_logits": OTHERS[:, 0]},
            r"shape \[others, 3\], for the test set has 3 classes, got \(2,\)",
        ),
        (
            {
                "logits": LOGITS[:, 0],
                "labels": np.array([1, 0, 1]),
                "ood_x_logits": OTHERS,
            },
            r"\[others\], for the test set has one logit for each .*got \(2, 3\)",
        ),
        (
            {**TEST, "ood_x_logits": softmax(OTHERS)},
            "logits of x must be logits as the test set's are, got probabilities",
        ),
        (
            {**TEST, "ood_x_logits": np.log(softmax(OTHERS))},
            "must be logits as the test set's are, got logarithms of probabilities",
        ),
        (
            {"logits": softmax(LOGITS), "labels": LABELS, "ood_x_logits": OTHERS},
            "must be probabilities .* as the test set's are, got logits",
        ),
        (
            {**TEST, "ood_x_probabilities": softmax(OTHERS)},
            "ood_x_probabilities must be ood_x_logits: the test set has logits",
        ),
        (
            {
                "probabilities": softmax(LOGITS),
                "labels": LABELS,
                "ood_x_probabilities": OTHERS,
            },
            r"ood_x_probabilities: probabilities must be in \[0, 1\]",
        ),
        (
            {**TEST, "ood_x_logits": OTHERS[:0]},
            r"logits of x must have shape .* at least one of each, got \(0, 3\)",
        ),
        (
            {**TEST, "ood_x_logits": np.where(OTHERS == 3, np.nan, OTHERS)},
            "logits of x must not be NaN: 1 row breaks this, row 1",
        ),
        (SCORED, "has score_mine, and there is no ood_x_score_mine"),
        (
            {**SCORED, "ood_x_score_mine": OF_OTHERS, "ood_x_score_other": OF_OTHERS},
            "there is ood_x_score_other, and the test set has no score_other",
        ),
        ({**SCORED, "ood_x_score_mine": MINE}, r"shape \(2,\), got \(3,\)"),
        (
            {**SCORED, "ood_x_score_mine": np.array([0, np.nan])},
            "score 'mine' on x must not be NaN: 1 row breaks this, row 1",
        ),
        (
            {**TEST, "score_mine": MINE, "ood_x_score_mine": OF_OTHERS},
            "ood_x_score_mine is of a data set without outputs: give ood_x_logits",
        ),
        ({**TEST, "ood_x": OTHERS}, "unknown array ood_x; known are ood_<name>_logits"),
        ({**TEST, "ood_x_score_": OTHERS}, "unknown array ood_x_score_"),
    ],
)
def test_bad_rows_are_named(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=f"predictions.npz: .*{message}"):
        read(tmp_path, **arrays)


def test_the_report_has_the_section_and_its_file_reads_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    logits = rng.normal(size=(60, 3)) + 3 * np.eye(3)[labels]
    others = rng.normal(size=(40, 3))
    np.savez("said.npz", logits=logits, labels=labels, ood_noise_logits=others)
    config = pipeline.PredictionsConfig(pathlib.Path("said.npz"), ("margin",))
    made = pipeline.predictions_report(config)
    found = made.assessment.out_of_distribution["noise"]["margin"]["auroc"].value
    margin = [np.diff(np.sort(softmax(z))[:, -2:])[:, 0] for z in (logits, others)]
    above = margin[0][:, None] > margin[1]
    assert found == pytest.approx(above.mean(), abs=1e-9)
    assert "Telling the test set from other data" in made.page.read_text("utf-8")
    numbers = json.loads((made.page.parent / "metrics.json").read_text("utf-8"))
    assert list(numbers["out_of_distribution"]) == ["noise"]
    again = assess.read_predictions(made.page.parent / "scores.npz")
    np.testing.assert_array_equal(again.out_of_distribution_logits["noise"], others)
    np.testing.assert_allclose(
        again.out_of_distribution["noise"]["margin"], margin[1], atol=1e-12
    )


def test_a_folder_that_another_run_writes_is_left_to_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("said.npz", logits=np.eye(3), labels=np.arange(3))
    config = pipeline.PredictionsConfig(pathlib.Path("said.npz"), ("margin",))
    held = _files.held("reports/said")
    with held, pytest.raises(BlockingIOError, match="is writing in the folder reports"):
        pipeline.predictions_report(config)
    assert not list(pathlib.Path("reports/said").iterdir())
