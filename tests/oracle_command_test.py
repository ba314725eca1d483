"""`trustjax oracle`: from a network to the folder that `trustjax report` reads."""

import contextlib
import dataclasses
import json
import sys
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from tests.interruption import killed_run
from trustjax import bridge, cli, data, models, oracles, pipeline, train

# As a user runs it: wrong types meet the library, not the tests' type checker.
pytestmark = pytest.mark.usefixtures("without_type_checks")

NETWORK: dict[str, Any] = dict(dataset="digits", model="mlp", epochs=3)
CONFIG = pipeline.OracleTrainingConfig(
    **NETWORK, oracle=pipeline.OracleChoices(embedding="frozen", epochs=8)
)
FOLDER = "checkpoints/digits-mlp-0-oracle"
REPORT: dict[str, Any] = dict(scores=("oracle", "max_softmax"), out_of_distribution=())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where an oracle was trained by the command."""
    jaxtyping.config.update("jaxtyping_disable", True)
    folder = tmp_path_factory.mktemp("oracle")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        of_network = ["--dataset", "digits", "--model", "mlp", "--epochs", "3"]
        of_oracle = ["--oracle.embedding", "frozen", "--oracle.epochs", "8"]
        command = ["trustjax", "oracle", *of_network, *of_oracle]
        patch.setattr(sys, "argv", command)
        cli.main()
    jaxtyping.config.update("jaxtyping_disable", False)
    return folder


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path):
    with contextlib.chdir(tmp_path):
        yield


def report(**changes):
    return pipeline.trust_report(
        pipeline.ReportConfig(
            **{**NETWORK, **REPORT, "gradient_group": None, **changes}
        )
    )


def network(folder):
    return bridge.from_nnx(train.load(folder / "checkpoints/digits-mlp-0").model)


def test_a_report_reads_what_the_command_left(folder, tmp_path):
    checkpoints = folder / "checkpoints/digits-mlp-0"
    report(oracle=folder / FOLDER, checkpoints=checkpoints, out=tmp_path / "out")
    oracle = oracles.load(folder / FOLDER, classifier=network(folder))
    images, labels = data.as_arrays(data.load("digits", "test"))
    images = images.astype(np.float32) / (255 if images.dtype == np.uint8 else 1)
    with np.load(tmp_path / "out" / "scores.npz") as kept:
        scores = {name: kept[name] for name in kept.files}
    found = next(array for name, array in scores.items() if "oracle" in name)
    expected = oracle.model(jnp.asarray(images))[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    run = json.loads((tmp_path / "out" / "metrics.json").read_text())["run"]
    assert run["oracle_training"]["embedding"] == "frozen"
    assert len(labels) == len(found)


def test_a_stopped_command_goes_on_to_the_same_end(folder, tmp_path):
    def stop(task, done, total, facts):
        if task == "training" and facts and done > 20:
            raise KeyboardInterrupt

    checkpoints = folder / "checkpoints/digits-mlp-0"
    config = dataclasses.replace(CONFIG, checkpoints=checkpoints, out=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        pipeline.train_oracle(config, progress=stop)
    asked = []
    made = pipeline.train_oracle(config, progress=lambda *said: asked.append(said[0]))
    assert set(asked) == {"training"}  # what the network says was kept
    whole = oracles.load(folder / FOLDER, classifier=network(folder))
    assert made.oracle.history == whole.history
    assert 0.5 < made.accuracy < 1.0
    _, ours = bridge.from_nnx(made.oracle.model)
    _, theirs = bridge.from_nnx(whole.model)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


KILLED = """
import dataclasses, pathlib, sys
import oracle_command_test as t
from trustjax import pipeline
folder = pathlib.Path(sys.argv[1])
choices = dataclasses.replace(t.CONFIG.oracle, epochs=60)
pipeline.train_oracle(dataclasses.replace(t.CONFIG, oracle=choices,
                      checkpoints=folder.parent / "network", out=folder))
"""


@pytest.mark.exhaustive
def test_a_killed_command_goes_on_to_the_same_end(tmp_path):
    (tmp_path / "killed").mkdir()
    killed_run(KILLED, tmp_path / "killed")
    choices = dataclasses.replace(CONFIG.oracle, epochs=60)
    made = [
        pipeline.train_oracle(
            dataclasses.replace(
                CONFIG,
                oracle=choices,
                checkpoints=tmp_path / "network",
                out=tmp_path / name,
            )
        ).oracle
        for name in ("killed", "whole")
    ]
    assert made[0].history == made[1].history
    ours, theirs = (bridge.from_nnx(oracle.model)[1] for oracle in made)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_an_oracle_of_another_network_or_other_images_is_refused(folder):
    with pytest.raises(ValueError, match="embedding of another classifier"):
        report(oracle=folder / FOLDER, seed=1, epochs=1)
    with pytest.raises(ValueError, match=r"takes images of shape \(8, 8, 1\)"):
        report(oracle=folder / FOLDER, dataset="mnist5k", epochs=1)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "choices",
    [
        {"embedding": "trained", "loss": "focal", "epochs": 1},
        {"model": "mlp", "loss": "cross_entropy", "epochs": 1, "learning_rate": 0.01},
    ],
)
def test_oracles_that_are_trained_as_a_whole(folder, choices, tmp_path):
    checkpoints = folder / "checkpoints/digits-mlp-0"
    config = pipeline.OracleTrainingConfig(
        **NETWORK,
        checkpoints=checkpoints,
        oracle=pipeline.OracleChoices(**choices),
        out=tmp_path / "oracle",
    )
    made = pipeline.train_oracle(config)
    assert made.oracle.config.head == "linear"
    kept = oracles.kept(tmp_path / "oracle")
    assert kept == ((8, 8, 1), "model" not in choices)
    report(oracle=tmp_path / "oracle", checkpoints=checkpoints)


@pytest.mark.exhaustive
def test_given_weights_and_records_that_the_network_has_not_seen(folder, tmp_path):
    model = train.load(folder / "checkpoints/digits-mlp-0").model
    models.save(tmp_path / "mlp.npz", model)
    brought: dict[str, Any] = dict(
        dataset="digits", model="mlp", weights=str(tmp_path / "mlp.npz")
    )
    config = pipeline.OracleTrainingConfig(
        **brought,
        oracle=pipeline.OracleChoices(
            split="train[50%:]", embedding="frozen", epochs=2
        ),
    )
    made = pipeline.train_oracle(config)
    digits = data.load("digits", "train[50%:]")
    kept = next((made.folder / "outcomes").glob("*-embedded.npz"))
    assert kept is not None
    expected = oracles.outcomes(*network(folder), digits)
    assert made.accuracy == pytest.approx(expected.correct.mean())
    report(**brought, oracle=made.folder, epochs=None)


def test_bad_choices_are_refused_at_once():
    bad: list[tuple[dict[str, Any], str]] = [
        ({"loss": "hinge"}, "loss must be one of cross_entropy"),
        ({"head": "round"}, "head must be one of"),
        ({"embedding": "melted"}, "embedding must be one of frozen, trained"),
        ({"class_balance": 2.0}, r"class_balance must be in \[0, 1\]"),
        ({"epochs": 0}, "epochs must be an integer >= 1"),
        ({"model": "resnet19"}, "model must be one of"),
    ]
    for changes, said in bad:
        with pytest.raises(ValueError, match=said):
            pipeline.OracleChoices(**changes)
    with pytest.raises(ValueError, match="model must be one of"):
        pipeline.OracleTrainingConfig(model="resnet19")
