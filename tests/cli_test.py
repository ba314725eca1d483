"""The `trustjax` command, end to end on real data, and what it says of bad input."""

import contextlib
import json
import pathlib
import re
import sys

import jax
import jaxtyping
import numpy as np
import pytest

from trustjax import bridge, cli, data, detectors, oracles, pipeline, scores, train
from trustjax.ingredients import FEATURES, Ingredient

# As a user runs it: wrong types meet the library, not the tests' type checker.
pytestmark = pytest.mark.usefixtures("without_type_checks")

SMALL = [
    "--dataset",
    "digits",
    "--model",
    "mlp",
    "--epochs",
    "3",
    "--out-of-distribution",
    "letters",
]

SLOWER = ("trust_score", "knn_distance", "mahalanobis", "mc_dropout")
EVERYTHING = ("--scores", "all", "--gradient-group", "None")


def run(*arguments):
    """Runs `trustjax <arguments>` in the current folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["trustjax", *map(str, arguments)])
        cli.main()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a report was made: its network and its files are in it."""
    jaxtyping.config.update("jaxtyping_disable", True)
    folder = tmp_path_factory.mktemp("trustjax")
    with contextlib.chdir(folder):
        run("report", *SMALL)
    jaxtyping.config.update("jaxtyping_disable", False)
    return folder


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path):
    with contextlib.chdir(tmp_path):
        yield


@pytest.fixture
def error_of(capsys):
    """The message of a command that is expected to fail, with exit code 2."""

    def message(*arguments):
        with pytest.raises(SystemExit) as stopped:
            run(*arguments)
        assert stopped.value.code == 2
        return capsys.readouterr().err

    return message


def read(report):
    """The numbers and the per-example arrays of a report."""
    with np.load(report / "scores.npz") as arrays:
        return json.loads((report / "metrics.json").read_text()), dict(arrays)


def test_report_is_three_files_that_agree(folder):
    report = folder / "reports/digits-mlp-0"
    names = {path.name for path in report.iterdir()}
    files = {"index.html", "metrics.json", "scores.npz"}
    assert names == files | {"figures", "tables"}
    numbers, arrays = read(report)
    accuracy = numbers["headline"]["accuracy"]["value"]
    assert accuracy > 0.8
    correct = arrays["logits"].argmax(axis=1) == arrays["labels"]
    assert accuracy == pytest.approx(correct.mean())
    assert arrays["index"].tolist() == list(range(len(correct)))
    # Weights and biases of 64 inputs (8x8), two layers of 256 units, 10 classes.
    parameters = 64 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10
    assert numbers["run"]["num_parameters"] == parameters
    offered = scores.names(computable_from={"network"})
    standard = {f"score_{name}" for name in offered}
    assert {name for name in arrays if name.startswith("score_")} == standard


@pytest.mark.exhaustive
def test_a_second_report_loads_the_network_and_gives_the_same_numbers(folder, capsys):
    with contextlib.chdir(folder):
        run("report", *SMALL, "--scores", "margin", "--out", "second")
    said = capsys.readouterr()
    assert "training" not in said.err
    assert "scoring digits 539/539" in said.err
    assert "report: second/index.html" in said.out
    _, first = read(folder / "reports/digits-mlp-0")
    _, second = read(folder / "second")
    np.testing.assert_array_equal(first["score_margin"], second["score_margin"])
    assert "score_energy" not in second


@pytest.mark.exhaustive
def test_all_scores_of_a_trained_network_and_an_oracle_are_in_the_report(
    folder, error_of
):
    digits = {part: data.load("digits", part) for part in ("train", "validation")}
    apply_fn, params = bridge.from_nnx(
        train.load(folder / "checkpoints/digits-mlp-0").model
    )
    found = {
        part: oracles.outcomes(apply_fn, params, images)
        for part, images in digits.items()
    }
    oracles.fit(
        oracles.OracleConfig(model="mlp", epochs=1),
        digits["train"],
        digits["validation"],
        train_outcomes=found["train"],
        validation_outcomes=found["validation"],
        workdir=folder / "oracle",
    )
    columns = fit_detector(folder, params, len(digits["validation"]))
    brought = ("--oracle", "oracle", "--detector", "detector.npz")
    with contextlib.chdir(folder):
        run("report", *SMALL, *EVERYTHING, *brought, "--out", "third")
    numbers, arrays = read(folder / "third")
    assert numbers["run"]["detector_columns"] == list(columns)
    # All that is registered but an ensemble, which takes more than one network.
    missing = {name for name in scores.names() if f"score_{name}" not in arrays}
    assert missing == {"deep_ensemble", "deep_ensemble_mutual_information"}
    assert all(np.isfinite(arrays[f"score_{name}"]).all() for name in SLOWER)
    others = json.loads((folder / "third/metrics.json").read_text())
    assert set(others["out_of_distribution"]) == {"letters"}
    assert numbers["run"]["oracle_training"]["loss"] == "steep_slope"
    said = error_of("report", "--dataset", "mnist5k", "--oracle", folder / "oracle")
    assert "the oracle takes images of shape (8, 8, 1), the classifier's are" in said
    assert "needs --oracle" in error_of("report", *SMALL, "--scores", "oracle")
    assert "needs --detector" in error_of("report", *SMALL, "--scores", "detector")
    alone = ("report", *SMALL, "--detector")
    said = error_of(*alone, folder / "detector.npz")
    assert "needs oracle_output, and one mlp alone does not give them" in said
    assert "nowhere.npz" in error_of(*alone, "nowhere.npz")


def fit_detector(folder, params, examples):
    """Any detector of a network: of its scores, its training set, its oracle.

    Returns the names of its columns.
    """
    own = ("margin", "knn_distance", "oracle")
    names = detectors.names_for(params, scores=own, statistics=["l2_norm"])
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=examples) for name in names}
    trusted = sum(columns.values()) > 0
    detector = detectors.fit("ridge", columns, trusted)
    detectors.save(detector, folder / "detector.npz")
    return detector.names


@pytest.fixture
def own_score():
    """A score of one's own, of an ingredient and a fit of one's own."""
    size = Ingredient("size", compute=lambda h: abs(h).sum(axis=-1), needs=(FEATURES,))
    usual = Ingredient("usual", fit=lambda h, labels: h.mean(), needs=(FEATURES,))

    def usual_size(size, usual):
        """How far the features are from their usual size, negated."""
        return -abs(size - usual)

    row = scores.Score(
        usual_size, needs=(size, usual), title="Usual size", paper="-", equation="-|h|"
    )
    yield scores.register(row)
    scores.unregister(row.name)


@pytest.mark.exhaustive
def test_a_score_of_ones_own_is_wherever_scores_are(folder, own_score, capsys):
    name, title = own_score.name, own_score.title
    with contextlib.chdir(folder):
        run("report", *SMALL, "--scores", "margin", name, "--out", "own")
    assert "fitting 1078/1078" in capsys.readouterr().err
    numbers, arrays = read(folder / "own")
    assert numbers["scores"][name]["auroc"]["value"] > 0
    assert numbers["out_of_distribution"]["letters"][name]["auroc"]["value"] > 0
    assert np.isfinite(arrays[f"score_{name}"]).all()
    assert title in (folder / "own/index.html").read_text()
    run("list")
    assert own_score.summary in capsys.readouterr().out
    assert f"| `{name}` | {title} |" in scores.markdown_table()


def test_a_report_of_the_predictions_alone_has_the_same_headline(folder):
    run("assess", folder / "reports/digits-mlp-0/scores.npz", "--out", "again")
    first, _ = read(folder / "reports/digits-mlp-0")
    again, _ = read(pathlib.Path("again"))
    assert again["headline"] == first["headline"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--dataset", "mnist6k"], "mnist5k"),
        (["--model", "resnet2000"], "must be one of alexnet, cnn"),
        (["--scores", "msp"], "must be one of max_softmax"),
        (["--scores", "deep_ensemble"], "needs ensemble_logits, and one mlp alone"),
        (
            ["--scores", "mc_dropout", "--model", "resnet20"],
            "needs dropout_logits, and one resnet20 alone does not give them",
        ),
        (["--out-of-distribution", "runes"], "letters"),
        (["--gradient-group", "filter"], "must be one of tensor, layer, network"),
        (["--alpha", "-1"], "alpha must not be negative, got -1"),
        (["--out", "/dev/null/report"], "cannot write in the folder /dev/null/report"),
        (["--datset", "digits"], "--dataset"),
        (["--test-split", "exam"], "test"),
    ],
)
def test_bad_input_says_what_exists(error_of, arguments, expected):
    assert expected in error_of("report", *SMALL, *arguments)


def test_a_checkpoint_of_another_run_is_refused(folder, error_of):
    kept = folder / "checkpoints/digits-mlp-0"
    message = error_of("report", *SMALL, "--checkpoints", kept, "--seed", "1")
    assert str(kept) in message
    assert "seed" in message


@pytest.mark.exhaustive
def test_assess_adds_the_scores_that_the_outputs_determine():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40, 3)) * 2
    labels = np.where(rng.random(40) < 0.8, logits.argmax(axis=1), 0)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.savez("logits.npz", logits=logits, labels=labels, score_mine=logits[:, 0])
    np.savez("probabilities.npz", probabilities=probabilities, labels=labels)
    run("assess", "logits.npz")
    run("assess", "probabilities.npz")
    of_logits, arrays = read(pathlib.Path("reports/logits"))
    _, of_probabilities = read(pathlib.Path("reports/probabilities"))
    assert {"score_mine", "score_energy", "score_grad_trust"} <= set(arrays)
    assert "score_grad_trust" in of_probabilities
    assert "score_energy" not in of_probabilities
    assert of_logits["run"]["dataset"] == "logits.npz"
    np.testing.assert_allclose(
        of_probabilities["score_grad_trust"], arrays["score_grad_trust"], rtol=1e-4
    )


def test_assess_says_what_is_wrong_with_a_file(error_of):
    np.savez("said.npz", logits=np.zeros((3, 2)), labels=[0, 1, 2])
    assert "said.npz: labels" in error_of("assess", "said.npz")
    assert "No such file" in error_of("assess", "missing.npz")


def test_list_names_what_is_here(capsys):
    run("list")
    listed = capsys.readouterr().out
    for name in ("mnist5k", "resnet20", "grad_trust_reference"):
        assert name in listed


@pytest.mark.exhaustive
def test_softmax_under_the_key_logits_is_said_on_the_page_and_in_the_terminal(capsys):
    logits = np.random.default_rng(0).normal(size=(40, 3))
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.arange(40) % 3
    np.savez("softmax.npz", logits=softmax.astype(np.float32), labels=labels)
    np.savez("named.npz", probabilities=softmax.astype(np.float32), labels=labels)
    run("assess", "softmax.npz")
    assert "note: The logits are probabilities" in capsys.readouterr().out
    assert "The logits are probabilities" in pathlib.Path(
        "reports/softmax/index.html"
    ).read_text(encoding="utf-8")
    run("assess", "named.npz")
    numbers, arrays = read(pathlib.Path("reports/softmax"))
    named, _ = read(pathlib.Path("reports/named"))
    assert numbers["headline"] == named["headline"]
    assert "probabilities" in arrays
    assert "score_energy" not in arrays


def test_a_masked_class_is_taken(capsys):
    logits = np.random.default_rng(0).normal(size=(40, 3))
    logits[:, 2] = -np.inf
    np.savez("masked.npz", logits=logits, labels=np.arange(40) % 2)
    run("assess", "masked.npz")
    assert "report: reports/masked/index.html" in capsys.readouterr().out
    _, arrays = read(pathlib.Path("reports/masked"))
    offered = scores.names(computable_from={"logits"})
    assert {f"score_{name}" for name in offered} <= set(arrays)


@pytest.mark.parametrize(
    ("name", "one", "said"),
    [
        ("logits", [[2.0], [-1.0], [0.5], [-3.0]], "taken as the logits [0, z] of two"),
        (
            "probabilities",
            [0.9, 0.2, 0.6, 0.1],
            "taken as the probabilities [1 - p, p]",
        ),
        pytest.param(
            "logits",
            [0.9, 0.2, 0.6, 0.1],
            "taken as the probabilities [1 - p, p]",
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_one_output_is_two_classes_and_that_is_said(name, one, said, capsys):
    arrays = {name: np.array(one), "labels": np.array([1, 1, 1, 0])}
    np.savez("one.npz", **arrays, class_names=["no", "yes"])
    run("assess", "one.npz")
    assert said in capsys.readouterr().out
    numbers, arrays = read(pathlib.Path("reports/one"))
    # Answered yes, no, yes, no.
    assert numbers["headline"]["accuracy"]["value"] == 0.75
    assert said in " ".join(numbers["run"]["notes"])
    p = (
        np.reshape(one, -1)
        if max(np.ravel(one)) < 1
        else 1 / (1 + np.exp(-np.ravel(one)))
    )
    np.testing.assert_allclose(
        arrays["score_max_softmax"], np.maximum(p, 1 - p), rtol=1e-6
    )
    # Probabilities do not hold the constant of their logits.
    assert ("score_max_logit" in arrays) == ("logits [0, z]" in said)


@pytest.mark.exhaustive
def test_logits_that_float32_saturates_or_cannot_hold_keep_their_order():
    leads = np.array([20.0, 22.0, 30.0, 21.0, 25.0, 35.0])
    labels = np.array([1, 1, 0, 1, 0, 0])  # float32 softmax is 1 for all of them
    logits = np.stack([leads, np.zeros(6)], axis=1)
    np.savez("saturated.npz", logits=logits, labels=labels)
    np.savez("huge.npz", logits=1e300 * logits, labels=labels)
    for name in ("saturated", "huge"):
        run("assess", f"{name}.npz")
        numbers, _ = read(pathlib.Path("reports", name))
        auroc = {name: s["auroc"].get("value") for name, s in numbers["scores"].items()}
        expected = ["max_logit", "energy"]
        if name == "saturated":
            expected += ["max_softmax", "margin", "log_likelihood", "grad_trust"]
        assert [auroc[score] for score in expected] == [1.0] * len(expected)


def test_a_network_that_cannot_take_the_images_is_refused_at_once(error_of):
    said = error_of("report", "--dataset", "digits", "--model", "cnn")
    assert "cnn needs images of at least 18x18 pixels, got 8x8" in said
    assert re.search("such images are taken by .*, mlp, ", said)
    assert list(pathlib.Path().iterdir()) == []


def test_a_misspelt_dataset_is_refused_before_anything_is_made(error_of):
    assert "Did you mean digits" in error_of("report", "--dataset", "digitz")
    letters = ["--dataset", "digits", "--out-of-distribution", "leters"]
    assert "Did you mean letters" in error_of("report", *letters)
    assert list(pathlib.Path().iterdir()) == []


def test_folders_and_the_network_follow_from_dataset_and_seed():
    config = pipeline.ReportConfig(dataset="emnist/letters", seed=3)
    with pytest.raises(ValueError, match="for_images"):
        _ = config.report_folder
    assert config.for_images((8, 8, 1)).network == "mlp"
    chosen = config.for_images((28, 28, 1))
    assert chosen.report_folder == pathlib.Path("reports/emnist-letters-cnn-3")
    assert chosen.checkpoint_folder == pathlib.Path("checkpoints/emnist-letters-cnn-3")


@pytest.mark.exhaustive
def test_a_report_of_other_settings_is_not_overwritten_unasked(error_of, capsys):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(40, 3)), np.arange(40) % 3
    np.savez("said.npz", logits=logits, labels=labels)
    run("assess", "said.npz")
    before = pathlib.Path("reports/said/metrics.json").read_bytes()
    run("assess", "said.npz")  # the same again is no other report
    assert pathlib.Path("reports/said/metrics.json").read_bytes() == before
    said = error_of("assess", "said.npz", "--beta", "2")
    assert "reports/said holds a report of other settings (beta is 1.0 there" in said
    assert pathlib.Path("reports/said/metrics.json").read_bytes() == before
    run("assess", "said.npz", "--beta", "2", "--overwrite")
    numbers, _ = read(pathlib.Path("reports/said"))
    assert numbers["beta"] == 2
    assert "to the power of 2 (beta)" in pathlib.Path(
        "reports/said/index.html"
    ).read_text(encoding="utf-8")
    pathlib.Path("mine").mkdir()
    pathlib.Path("mine/index.html").write_text("my page")
    said = error_of("assess", "said.npz", "--out", "mine")
    assert "mine holds a page without the numbers of a report" in said
    assert pathlib.Path("mine/index.html").read_text() == "my page"


def test_assess_computes_the_scores_that_are_asked_for(error_of):
    logits = np.random.default_rng(0).normal(size=(40, 3))
    np.savez(
        "said.npz", logits=logits, labels=np.arange(40) % 3, score_mine=logits[:, 0]
    )
    run("assess", "said.npz", "--scores", "margin", "energy")
    _, arrays = read(pathlib.Path("reports/said"))
    computed = {name for name in arrays if name.startswith("score_")}
    assert computed == {"score_margin", "score_energy", "score_mine"}
    asked = error_of("assess", "said.npz", "--scores", "knn_distance")
    assert "needs knn_state, features, which predictions do not give" in asked
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.savez("softmax.npz", probabilities=softmax, labels=np.arange(40) % 3)
    asked = error_of("assess", "softmax.npz", "--scores", "energy")
    assert "energy depends on a constant of the logits" in asked


@pytest.mark.exhaustive
def test_a_report_over_four_devices_has_the_numbers_of_one(folder, monkeypatch):
    devices = jax.local_devices()
    kept = ["--checkpoints", folder / "checkpoints/digits-mlp-0"]
    found = {}
    for count in (1, 4):
        monkeypatch.setattr(jax, "local_devices", lambda count=count: devices[:count])
        run("report", *SMALL, *kept, "--batch-size", "50", "--out", f"on{count}")
        found[count] = read(pathlib.Path(f"on{count}"))
    (one, arrays), (four, others) = found.values()
    for name, quantity in one["headline"].items():
        assert four["headline"][name] == pytest.approx(quantity, rel=1e-5)
    for name, values in arrays.items():
        if name.startswith(("score_", "logits")):
            np.testing.assert_allclose(others[name], values, rtol=1e-4, atol=1e-5)
