"""`trustjax detect`: from a network, a report or predictions to a detector."""

import contextlib
import dataclasses
import json
import pathlib
import sys
from typing import Any

import jaxtyping
import numpy as np
import pytest
from scipy.special import logsumexp

from tests import metrics_reference, reference
from tests.report_test import Elements
from trustjax import cli, detectors, pipeline
from trustjax.pipeline import _detect_columns, _detect_fit, _detect_populations

# As a user runs it: wrong types meet the library, not the tests' type checker.
pytestmark = pytest.mark.usefixtures("without_type_checks")

OWN = """
import jax
import jax.numpy as jnp


def apply_fn(params, x):
    hidden = jnp.tanh(x.reshape(len(x), -1) @ params["hidden"]["kernel"])
    return hidden @ params["out"]["kernel"]


def make():
    one, other = jax.random.split(jax.random.key(0))
    return apply_fn, {
        "hidden": {"kernel": jax.random.normal(one, (16, 8))},
        "out": {"kernel": jax.random.normal(other, (8, 3))},
    }
"""
SMALL: dict[str, Any] = dict(
    scores=("margin",), statistics=("l2_norm", "minimum"), kinds=("threshold", "ridge")
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A network of one's own, a test set that it mostly knows, and unknown images."""
    place = tmp_path_factory.mktemp("own")
    (place / "own.py").write_text(OWN)
    space: dict[str, Any] = {}
    exec(OWN, space)
    apply_fn, params = space["make"]()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (160, 4, 4, 1), dtype=np.uint8)
    images[150:] = images[:10]  # the same records twice
    logits = np.asarray(apply_fn(params, images.astype(np.float32) / 255))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    names = np.array(["a", "b", "c"])
    np.savez(place / "known.npz", image=images, label=labels, class_names=names)
    others = rng.integers(0, 60, (50, 4, 4, 1), dtype=np.uint8)
    others[[7, 30]] = images[[3, 4]]
    np.savez(place / "others.npz", image=others, label=np.zeros(50, int))
    np.savez(place / "same.npz", image=images[:9], label=np.zeros(9, int))
    np.savez(place / "few.npz", image=others[:5], label=np.zeros(5, int))
    return place


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path):
    with contextlib.chdir(tmp_path):
        yield


def config(place, *what, **options: Any):
    of_network = {
        "dataset": f"npz:{place}/known.npz",
        "test_split": "all",
        "model": f"{place}/own.py:make",
    }
    what = tuple(w if w == "errors" else f"npz:{place}/{w}.npz" for w in what)
    return pipeline.DetectConfig(what=what, **{**of_network, **SMALL, **options})


def arrays(file):
    with np.load(file) as kept:
        return dict(kept)


@pytest.fixture(scope="module")
def made(place, tmp_path_factory):
    """A page by the command: errors and others, and where it is."""
    jaxtyping.config.update("jaxtyping_disable", True)
    folder = tmp_path_factory.mktemp("detected")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        what = ["errors", f"npz:{place}/others.npz"]
        of_data = ["--dataset", f"npz:{place}/known.npz", "--test-split", "all"]
        columns = ["--scores", "margin", "--statistics", "l2_norm", "minimum"]
        kinds = ["--kinds", "threshold", "ridge"]
        command = ["trustjax", "detect", *what, *of_data, *columns, *kinds]
        patch.setattr(sys, "argv", [*command, "--model", f"{place}/own.py:make"])
        cli.main()
    jaxtyping.config.update("jaxtyping_disable", False)
    return folder / "detections/known-own.make-0-errors-others"


def test_the_command_leaves_page_detector_columns_and_numbers(made):
    names = {path.name for path in made.iterdir()}
    assert names == {
        *("index.html", "metrics.json", "detector.npz", "columns.npz"),
        *("figures", "tables"),
    }
    kept = arrays(made / "columns.npz")
    columns = {n.removeprefix("column_"): v for n, v in kept.items() if "column_" in n}
    assert set(columns) == {
        "margin",
        *(f"layer/{p}/{s}" for p in ("hidden", "out") for s in ("l2_norm", "minimum")),
    }
    detector = detectors.load(made / "detector.npz")
    said = np.asarray(detectors.score(detector, columns))
    np.testing.assert_allclose(said, kept["detector"], rtol=1e-5, atol=1e-6)
    test = kept["part"] == "test"
    numbers = json.loads((made / "metrics.json").read_text())
    own = numbers["scores"][numbers["detector"]]
    expected = metrics_reference.auroc(kept["detector"][test], kept["trusted"][test])
    assert own["auroc"]["value"] == pytest.approx(expected, abs=1e-6)
    rate = (said[test & kept["trusted"]] >= detector.threshold).mean()
    assert own["true_positive_rate"]["value"] == pytest.approx(rate, abs=1e-6)
    assert set(numbers["by_population"]) == {"wrong answers", "others"}
    for name, counts in numbers["examples"].items():
        of_name = kept["population"] == name
        assert counts["trusted"] == (name == "right answers")
        for part in ("learning", "choosing", "test"):
            assert counts[part] == (of_name & (kept["part"] == part)).sum()


def test_each_column_is_what_it_is_called(place, made):
    kept = arrays(made / "columns.npz")
    space: dict[str, Any] = {}
    exec(OWN, space)
    apply_fn, params = space["make"]()
    with np.load(place / "known.npz") as file:
        x = file["image"].astype(np.float32) / 255
    records = kept["record"].tolist()
    for number in range(5):
        one = x[number : number + 1]
        row = records.index(f"known {number}")
        logits = apply_fn(params, one)[0]
        second, first = np.sort(np.exp(logits - logsumexp(logits)))[-2:]
        assert kept["column_margin"][row] == pytest.approx(first - second, abs=1e-5)
        gradient = reference.per_example_gradients(apply_fn, params, one)
        for place_of, leaf in gradient.items():
            for statistic, value in (
                ("l2_norm", np.linalg.norm(leaf["kernel"])),
                ("minimum", leaf["kernel"].min()),
            ):
                column = kept[f"column_layer/{place_of}/{statistic}"]
                assert column[row] == pytest.approx(value, rel=1e-4)


def test_the_page_says_it_in_words_and_names_the_test_images(made):
    page = Elements((made / "index.html").read_text("utf-8"))
    for words in (
        "tells right answers from errors and others with an AUROC of",
        "The best single score, Max softmax"
        if "Max softmax, reaches" in page.text
        else "The best single score, Margin",
        "Left out, for the same image is in the test set: 2 of 50 of others",
        "others 7, others 30",
        "Coefficients by layer and statistic",
        "trustjax report --detector detections/known-own.make-0-errors-others/",
    ):
        assert words in page.text, words
    assert "nan" not in page.text.lower().split()


def test_a_record_that_is_there_twice_is_in_one_part(made):
    kept = arrays(made / "columns.npz")
    part = dict(zip(kept["record"], kept["part"], strict=True))
    for number in range(10):
        assert part[f"known {number}"] == part[f"known {150 + number}"]


@pytest.mark.exhaustive
def test_a_stopped_run_goes_on_without_asking_the_network_again(place):
    def stop(task, done, total, facts):
        if task == "fitting detectors":
            raise KeyboardInterrupt

    stopped = config(place, "errors", out=pathlib.Path("stopped"))
    with pytest.raises(KeyboardInterrupt):
        pipeline.detection(stopped, progress=stop)
    assert [path.name for path in pathlib.Path("stopped").iterdir()] == [".unfinished"]
    heard = []
    pipeline.detection(stopped, progress=lambda *said: heard.append(said[0]))
    assert not any(task.startswith("scoring") for task in heard)
    assert not pathlib.Path("stopped/.unfinished").exists()
    pipeline.detection(config(place, "errors", out=pathlib.Path("whole")))
    for name in ("columns.npz", "detector.npz"):
        ours, theirs = (arrays(f"{folder}/{name}") for folder in ("stopped", "whole"))
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key])


@pytest.mark.exhaustive
def test_a_report_is_taken_by_its_folder_and_takes_the_detector(place):
    report = pipeline.ReportConfig(
        dataset=f"npz:{place}/known.npz",
        test_split="all",
        model=f"{place}/own.py:make",
        scores=("margin",),
        out_of_distribution=(),
        gradient_group=None,
        out=pathlib.Path("reports/first"),
    )
    pipeline.trust_report(report)
    by_report = pipeline.DetectConfig(
        what=("errors",), report=pathlib.Path("reports/first"), **SMALL
    )
    made = pipeline.detection(by_report)
    assert str(made.page) == "detections/first-errors/index.html"
    again = dataclasses.replace(
        report, detector=made.detector, out=pathlib.Path("reports/second")
    )
    found = pipeline.trust_report(again)
    assert "detector" in {score.name for score in found.assessment.scores}
    kept = arrays("detections/first-errors/columns.npz")
    said = dict(zip(kept["record"], kept["detector"], strict=True))
    scored = arrays("reports/second/scores.npz")
    expected = [said[f"known {number}"] for number in scored["index"]]
    np.testing.assert_allclose(scored["score_detector"], expected, atol=1e-4)


def predictions(path, count=300, *, others=60, **changes: Any):
    """A file of a network that is surer where it is right."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, count)
    logits = rng.normal(size=(count, 3)) + 2 * np.eye(3)[labels]
    content = {
        "logits": logits,
        "labels": labels,
        "score_mine": logits.max(axis=1),
        "score_Margin": labels,
        "score_layer/dense/l2_norm": -logits.min(axis=1),
        "ood_noise_logits": rng.normal(size=(others, 3)),
        "ood_noise_score_mine": rng.normal(size=others),
        "ood_noise_score_Margin": np.zeros(others),
        "ood_noise_score_layer/dense/l2_norm": rng.normal(size=others),
    }
    content |= changes
    np.savez(path, **{n: v for n, v in content.items() if v is not None})


def of_file(*what, file="said.npz", **options: Any):
    options = {"kinds": ("ridge",), "scores": ("margin",), **options}
    return pipeline.DetectConfig(what=what, predictions=pathlib.Path(file), **options)


@pytest.mark.exhaustive
def test_predictions_of_any_framework():
    predictions("said.npz")
    made = pipeline.detection(of_file("errors", "noise"))
    assert str(made.page) == "detections/said-errors-noise/index.html"
    assert made.used == ""
    kept = arrays("detections/said-errors-noise/columns.npz")
    names = {n for n in kept if n.startswith("column_")}
    assert names == {
        *("column_margin", "column_Margin", "column_mine"),
        "column_layer/dense/l2_norm",
    }
    # What is called as a statistic of gradients has no side: it is no single score.
    singles = {one.title for one in made.detection.singles}
    assert singles == {"Max softmax", "Margin (margin)", "Margin (Margin)", "mine"}
    assert (kept["population"] == "noise").sum() == 60


@pytest.mark.exhaustive
def test_a_report_on_predictions_has_their_unknowns():
    predictions("said.npz")
    config = pipeline.PredictionsConfig(pathlib.Path("said.npz"), ("margin",))
    pipeline.predictions_report(config)
    by_report = pipeline.DetectConfig(
        what=("noise",),
        report=pathlib.Path("reports/said"),
        kinds=("ridge",),
        scores=("margin",),
    )
    known = pipeline.detection(by_report).detection
    assert (known.num_trusted, known.num_untrusted) == (150, 30)
    assert known.by_population == {}


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        (
            {},
            {"what": ("letters",)},
            "no out-of-distribution rows of 'letters': .*noise",
        ),
        (
            {"probabilities": np.full((300, 3), 1 / 3), "logits": None}
            | {"ood_noise_logits": None, "ood_noise_score_mine": None}
            | {"ood_noise_score_layer/dense/l2_norm": None}
            | {"ood_noise_score_Margin": None},
            {"scores": ("energy",)},
            "said.npz: the score energy depends on a constant of the logits",
        ),
        (
            {"ood_noise_logits": np.zeros((1, 3)), "ood_noise_score_mine": np.zeros(1)}
            | {"ood_noise_score_layer/dense/l2_norm": np.zeros(1)}
            | {"ood_noise_score_Margin": np.zeros(1)},
            {"what": ("noise",)},
            "of noise there are 1, divided into 0, 0, 1",
        ),
        ({}, {"scores": ("knn_distance",)}, "needs .*which predictions do not give"),
    ],
)
def test_what_a_file_lacks_is_said(changes, options, message):
    predictions("said.npz", **dict(changes))
    what = options.pop("what", ("errors",))
    with pytest.raises(ValueError, match=message):
        pipeline.detection(of_file(*what, **options))


def test_a_network_without_errors_is_said():
    labels = np.arange(40) % 3
    changes: dict[str, Any] = {"logits": np.eye(3)[labels], "labels": labels}
    changes |= dict.fromkeys(("score_mine", "score_layer/dense/l2_norm"), labels * 1.0)
    predictions("said.npz", 40, **changes)
    with pytest.raises(ValueError, match="of wrong answers of said there are 0"):
        pipeline.detection(of_file("errors"))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (("same",), r"all 9 images of same are also in the test set known \(same 0, "),
        (("few",), "of few there are 5, divided into"),
    ],
)
def test_unknowns_must_be_unknown_and_several(place, what, message):
    asked = config(place, *what, gradients=(), kinds=("threshold",))
    with pytest.raises(ValueError, match=message):
        pipeline.detection(asked)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"what": ()}, "say what to detect: errors, or datasets such as letters"),
        ({"kinds": ("svm",)}, "kinds must be one of .*elastic_net.* got 'svm'"),
        ({"kinds": ()}, "kinds must be some of threshold, glm"),
        ({"gradients": ("block",)}, "gradients must be one of .*layer.* got 'block'"),
        ({"statistics": ("median",)}, "statistics must be one of .*l2_norm"),
        ({"scores": ("softmaxx",)}, "softmaxx"),
        ({"scores": (), "gradients": ()}, "a detector needs columns"),
        ({"fit_share": 1.0}, r"fit_share must be in \(0, 1\)"),
        (
            {"report": pathlib.Path("r"), "predictions": pathlib.Path("p.npz")},
            "give --report or --predictions, not both",
        ),
        (
            {"report": pathlib.Path("r"), "model": "cnn"},
            "--model is said by --report: leave one out",
        ),
        (
            {"predictions": pathlib.Path("p.npz"), "dataset": "digits"},
            "--dataset is said by --predictions: leave one out",
        ),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        pipeline.DetectConfig(**options)


def test_a_misspelt_dataset_and_a_missing_report_are_said(place):
    with pytest.raises(ValueError, match="lettters"):
        pipeline.detection(
            dataclasses.replace(config(place, "errors"), what=("lettters",))
        )
    with pytest.raises(FileNotFoundError, match="none is no report"):
        pipeline.detection(pipeline.DetectConfig(report=pathlib.Path("none")))


def known(count=90, *, others=(), **changes):
    """Records as if a network had been asked: two thirds of its answers are right."""
    rng = np.random.default_rng(0)
    labels = np.zeros(count, int)
    logits = np.stack([np.arange(count) % 3 > 0, np.full(count, 0.5)], axis=1) * 1.0
    right = logits.argmax(axis=1) == labels

    def records(name, logits, labels, contents, columns):
        return _detect_columns.Records(
            name,
            logits,
            labels,
            columns,
            columns,
            contents.astype(np.uint64),
            [f"{name} {n}" for n in range(len(logits))],
        )

    columns = {"good": right + rng.normal(size=count), "noise": rng.normal(size=count)}
    columns |= changes
    return _detect_columns.Known(
        records("test", logits, labels, np.arange(count), columns), tuple(others)
    )


def divided(known, **options):
    options = {"errors": True, "fit_share": 0.5, "seed": 0, **options}
    return _detect_populations.populations(known, **options)


def test_each_population_is_divided_alike():
    counts = divided(known()).counts()
    np.testing.assert_array_equal(counts, [[20, 10, 30], [10, 5, 15]])
    counts = divided(known(), fit_share=0.8).counts()
    np.testing.assert_array_equal(counts, [[32, 16, 12], [16, 8, 6]])
    other = divided(known(), seed=1)
    assert (other.part != divided(known()).part).any()


def fitted(made, kinds=("ridge",), **options):
    options = {"gradients": ("layer",), "seed": 0, "progress": None, **options}
    return _detect_fit.fitted(made, kinds, **options)


def test_columns_that_cannot_be_fitted_on_are_left_out_by_name():
    broken = np.where(np.arange(90) == 5, np.nan, 1.0)
    endless = np.where(np.arange(90) == 6, np.inf, np.arange(90.0))
    made = divided(known(flat=np.ones(90), broken=broken, endless=endless))
    found = fitted(made)
    assert found.num_columns == 2
    assert set(found.chosen.detector.names) <= {"good", "noise"}
    assert "Left out, for it is constant: flat." in found.notes
    assert any("NaN or infinite" in n and "broken, endless" in n for n in found.notes)
    assert "Single scores that hold NaN: broken." in found.notes
    # An infinite score has its order.
    assert "endless" in found.of_fit
    nothing = known(good=np.ones(90), noise=broken)
    with pytest.raises(ValueError, match=r"no column to fit on.*noise.*good"):
        fitted(divided(nothing))


def test_the_best_kind_and_score_are_chosen_on_the_fitting_part_alone():
    made = divided(known())
    found = fitted(made, ("threshold", "ridge", "glm"))
    assert [c.detector.kind for c in found.candidates] == ["threshold", "ridge", "glm"]
    assert found.chosen.validation == max(c.validation for c in found.candidates)
    assert found.single == "good"
    test = made.part == _detect_populations.TEST
    values = {name: np.where(test, -v, v) for name, v in made.columns.items()}
    changed = fitted(made._replace(columns=values, scores=values), ("ridge", "glm"))
    assert changed.single == "good"
    np.testing.assert_allclose(
        changed.candidates[0].scores[~test], found.candidates[1].scores[~test]
    )
    at = found.threshold
    fitting, targets = made.scores["good"][~test], made.targets[~test]

    def balanced(threshold):
        said = fitting >= threshold
        return said[targets].mean() + (~said[~targets]).mean()

    assert balanced(at) == pytest.approx(max(map(balanced, fitting)))


def test_a_kind_that_fails_is_said_and_left_out():
    found = fitted(divided(known()), ("purview", "ridge"))
    assert [c.detector.kind for c in found.candidates] == ["ridge"]
    assert any(note.startswith("No detector of kind purview: ") for note in found.notes)
    with pytest.raises(ValueError, match=r"no detector can be fitted.*purview"):
        fitted(divided(known()), ("purview",))
