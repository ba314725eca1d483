"""`trustjax report --introspective`: a page on two stages."""

import contextlib
import dataclasses
import json
import pathlib
import sys
from typing import Any

import numpy as np
import PIL.Image
import pytest
from flax import nnx

from trustjax import bridge, cli, data, introspection, models, pipeline, train
from trustjax.pipeline import _introspective, _provenance
from trustjax.pipeline._network import Network

# As a user runs it: wrong types meet the library, not the tests' type checker.
pytestmark = pytest.mark.usefixtures("without_type_checks")

NETWORK: dict[str, Any] = dict(dataset="digits", model="mlp", epochs=3)
LEAN: dict[str, Any] = dict(
    scores=("max_softmax",),
    out_of_distribution=(),
    gradient_group=None,
)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path):
    with contextlib.chdir(tmp_path):
        yield


@pytest.mark.exhaustive
def test_the_page_is_on_both_stages(monkeypatch):
    command = ["trustjax", "report", "--dataset", "digits", "--model", "mlp"]
    options = [
        "--epochs",
        "3",
        "--introspective",
        "--out-of-distribution",
        "uniform_noise",
    ]
    monkeypatch.setattr(sys, "argv", [*command, *options])
    cli.main()
    page = pathlib.Path("reports/digits-mlp-0-introspective")
    run = json.loads((page / "metrics.json").read_text())["run"]
    assert run["model"] == "mlp, introspective"
    stage = run["second_stage"]
    assert stage["num_parameters"] == (2560 + 1) * 300 + 301 * 100 + 101 * 10
    text = (page / "index.html").read_text()
    assert "a second stage of 3 dense layers (300, 100, 10 units" in text
    assert "whether introspection or a larger head makes a difference" in text
    # The first stage lies where it does for any report, and is asked alone.
    plain = pipeline.trust_report(pipeline.ReportConfig(**NETWORK, **LEAN))
    accuracy = plain.assessment.headline["accuracy"].value
    test = data.load("digits", "test")
    right = round((accuracy or 0) * len(test))
    assert f"the first stage alone gets {right} right" in text
    folder = pathlib.Path("checkpoints/digits-mlp-0-introspective")
    first_stage = bridge.from_nnx(train.load("checkpoints/digits-mlp-0").model)
    network = introspection.load(folder, first_stage)
    assert network.validation_accuracy == stage["validation_accuracy"]
    images, labels = data.as_arrays(test)
    said = network.apply_fn(network.params, images / np.float32(255))
    with np.load(page / "scores.npz") as kept:
        np.testing.assert_allclose(kept["logits"], said, atol=1e-3)
    assert f"both stages {np.sum(said.argmax(axis=-1) == labels)}" in text


@pytest.mark.exhaustive
def test_a_second_stage_on_a_network_that_is_brought():
    """With dropout on in the first stage, where a score asks for that."""
    model = models.create(
        "mlp", num_classes=10, image_shape=(8, 8, 1), rngs=nnx.Rngs(0)
    )
    models.save("mlp.npz", model)
    scores = ("max_softmax", "mc_dropout")
    config = pipeline.ReportConfig(
        "digits", model="mlp", weights="mlp.npz", introspective=True, **LEAN
    )
    made = pipeline.trust_report(dataclasses.replace(config, scores=scores))
    accuracy = made.assessment.headline["accuracy"].value
    assert (accuracy or 0) > 0.5  # of random features, whose own answers are guesses
    assert any("mlp, left as it is" in note for note in made.notes)


def test_an_oracle_is_of_one_stage():
    with pytest.raises(ValueError, match="--oracle is of the first stage alone"):
        pipeline.ReportConfig(introspective=True, oracle=pathlib.Path("oracle"))


@pytest.mark.parametrize("command", [pipeline.ExplainConfig, pipeline.DetectConfig])
def test_a_report_on_two_stages_does_not_stand_for_the_first(command):
    of_report = pipeline.ReportConfig(model="mlp", introspective=True)
    kept = json.loads(json.dumps(dataclasses.asdict(of_report)))
    numbers = {"run": {"report": kept, "model": "mlp, introspective"}}
    pathlib.Path("metrics.json").write_text(json.dumps(numbers))
    given: dict[str, Any] = dict(report=pathlib.Path())
    if command is pipeline.ExplainConfig:
        given["indices"] = (0,)
    with pytest.raises(ValueError, match="a report on two stages"):
        _ = command(**given).network_report


@pytest.mark.exhaustive
def test_what_a_second_stage_needs_is_said():
    model = models.create(
        "mlp", num_classes=10, image_shape=(8, 8, 1), rngs=nnx.Rngs(0)
    )
    models.save("mlp.npz", model)
    config = pipeline.ReportConfig(
        "digits", model="mlp", weights="mlp.npz", introspective=True, **LEAN
    )
    test = data.load("digits", "test")
    with pytest.raises(ValueError, match="needs a training set and a validation set"):
        pipeline.report_on(pipeline.Datasets(None, None, test, {}), config)
    own = pipeline.ReportConfig(
        "folder:images",
        model="mlp",
        weights="mlp.npz",
        introspective=True,
        test_split="all",
        **LEAN,
    )
    _folder_of_images()
    with pytest.raises(ValueError, match="the test set is all of folder:images"):
        pipeline.trust_report(own)


def _folder_of_images():
    for name in ("cat", "dog"):
        pathlib.Path("images", name).mkdir(parents=True)
        for number in range(3):
            PIL.Image.new("L", (8, 8), number).save(f"images/{name}/{number}.png")


def test_the_second_stage_is_what_is_asked_for(monkeypatch):
    class StoppedError(Exception):
        pass

    def fit(choices, *datasets, **options):
        raise StoppedError(choices)

    monkeypatch.setattr(introspection, "fit", fit)
    images = np.zeros((6, 4, 4, 1), np.uint8)
    own = data.from_arrays("own", images, np.arange(6) % 2, ["a", "b"])
    asked = {
        (): introspection.config_for(seed=3),
        ("--second-stage.widths", "20", "10", "--second-stage.epochs", "2"): (
            introspection.config_for(seed=3, widths=(20, 10), epochs=2)
        ),
        ("--second-stage.preset", "sigmoid"): introspection.config_for(
            "sigmoid", seed=3
        ),
    }
    heard = []
    monkeypatch.setattr(
        pipeline, "trust_report", lambda config, **_: heard.append(config)
    )
    for options, expected in asked.items():
        command = ["trustjax", "report", "--model", "mlp", "--introspective"]
        command += ["--seed", "3", *options]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(AttributeError):  # there is no report to announce
            cli.run()
        with pytest.raises(StoppedError) as stopped:
            _introspective.with_second_stage(
                heard[-1],
                pipeline.Datasets(own, own, own, {}),
                Network(lambda params, x: x, None, None, (), {}, ()),
                None,
            )
        assert stopped.value.args == (expected,)
        settings = _provenance.settings(heard[-1])
        assert ("second_stage" in settings) == bool(options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "tanh"}, "second_stage.preset must be one of relu, sigmoid"),
        ({"widths": (0,)}, "widths must be an integer >= 1, got 0"),
        ({"epochs": 0}, "epochs must be an integer >= 1, got 0"),
    ],
)
def test_a_second_stage_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        pipeline.SecondStageOptions(**options)


def test_a_second_stage_without_one_is_refused():
    with pytest.raises(ValueError, match="--second-stage is of --introspective"):
        pipeline.ReportConfig(second_stage=pipeline.SecondStageOptions(epochs=2))
