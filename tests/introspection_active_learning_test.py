"""The study of active learning, run whole in small, and what it asks for."""

import dataclasses
import json

import jax
import numpy as np
import pytest

pytest.importorskip("matplotlib")

from experiments import introspection_active_learning as study_of
from experiments.introspection_active_learning_tables import (
    ALL,
    ARMS,
    FEED_FORWARD,
    INTROSPECTIVE,
    NETWORKS,
    PAIRS,
    PAPER,
    RANDOM,
    STRATEGIES,
    TESTS,
    tables,
)
from trustjax import train


@pytest.fixture(name="study")
def small(tmp_path):
    return dataclasses.replace(
        study_of.SMOKE,
        workdir=tmp_path,
        numbers=tmp_path / "numbers",
        figures=tmp_path / "figures",
    )


@pytest.mark.exhaustive
def test_the_study_of_active_learning_runs_whole_in_small(study, tmp_path, monkeypatch):
    pytest.importorskip("imagecorruptions")
    learner = study_of.Learner(study)  # one for both runs: what it compiles is dear
    monkeypatch.setattr(study_of, "Learner", lambda study: learner)
    found = study_of.run(study)
    assert found["labelled"] == [20, 30, 40]
    assert set(found["curves"]) == set(ARMS)
    assert set(found["means"]) == {
        *ARMS,
        f"{ALL}, {FEED_FORWARD}",
        f"{ALL}, {INTROSPECTIVE}",
    }
    keys = {f"{network}|{test}" for network in NETWORKS for test in TESTS}
    for arm, curves in found["curves"].items():
        assert set(curves) == keys
        for key, curve in curves.items():
            # The same before anything was chosen; the mean is over what comes after.
            assert curve[0] == found["curves"][RANDOM][key][0]
            np.testing.assert_allclose(
                found["means"][arm][key]["value"], np.mean(curve[1:])
            )
    for one, other, network in PAIRS:
        for test in TESTS:
            ends = found["differences"][f"{one} less {other}|{network}|{test}"]
            means = [found["means"][arm][f"{network}|{test}"] for arm in (one, other)]
            np.testing.assert_allclose(
                ends["value"], means[0]["value"] - means[1]["value"], atol=1e-9
            )
            assert ends["low"] <= ends["value"] <= ends["high"]

    # A run that goes on after a round: what is kept, and the rest made again.
    files = sorted(study.folder.glob("*/*.npz"))
    assert len(files) == study.seeds * (study.rounds + 1)
    for file in files:
        with np.load(file) as arrays:
            for arm in ARMS:
                labelled = arrays[f"{arm}|labelled"]
                assert len(set(labelled.tolist())) == len(labelled)
                if "last" not in file.name:
                    chosen = arrays[f"{arm}|chosen"]
                    assert len(chosen) == study.query
                    assert not set(chosen.tolist()) & set(labelled.tolist())
    files[-1].unlink()
    assert study_of.run(study) == found

    made = tables(found)
    assert "| margin, introspective | 38.1 | 26.5 |" in made
    name = "introspection_active_learning_mnist5k_cnn"
    assert (tmp_path / f"figures/{name}.png").stat().st_size > 10_000
    assert json.loads((tmp_path / f"numbers/{name}.json").read_text()) == json.loads(
        json.dumps(found)
    )


@pytest.mark.exhaustive
def test_what_is_asked_for_is_what_the_network_is_least_sure_of(study):
    pytest.importorskip("imagecorruptions")
    learner = study_of.Learner(study)
    labelled, key = np.arange(20), jax.random.key(0)
    stages = learner.trained(0, labelled)
    assert (
        learner.trained(0, labelled) is stages
    )  # not trained for each way of choosing
    said = learner.asked(stages, learner.images)
    left = np.arange(20, 200)
    for by in (FEED_FORWARD, INTROSPECTIVE):
        z = np.float64(said[by].logits)
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        ordered = np.sort(p, axis=1)
        unsure = {
            "entropy": -(p * np.log(p)).sum(axis=1),
            "least confidence": -ordered[:, -1],
            "margin": ordered[:, -2] - ordered[:, -1],
        }
        for strategy, own in unsure.items():
            chosen = learner.chosen(f"{strategy}, {by}", stages, labelled, key)
            best = left[np.argsort(-own[left])[: study.query]]
            assert set(chosen.tolist()) == set(best.tolist())
    # H is no copy of f, and its last layer takes another embedding.
    assert said[INTROSPECTIVE].embedding.shape[1] == 100
    assert not np.allclose(said[FEED_FORWARD].logits, said[INTROSPECTIVE].logits)
    one, again = (
        learner.chosen("BALD, introspective", stages, labelled, key) for _ in range(2)
    )
    np.testing.assert_array_equal(one, again)


def test_rounds_that_ask_for_more_than_the_pool_has(study):
    with pytest.raises(
        ValueError, match="the pool has 200 records; 20 at first and 19"
    ):
        study_of.Learner(dataclasses.replace(study, rounds=19))


def test_the_paper_is_ahead_in_every_row_but_one():
    pairs = [pair for own in PAPER.values() for pair in own]
    assert sum(after > before for before, after in pairs) == len(pairs) - 1
    assert set(PAPER) == set(STRATEGIES)


@pytest.mark.exhaustive
def test_a_loss_that_is_not_finite_stops_the_study(study, monkeypatch):
    pytest.importorskip("imagecorruptions")
    learner = study_of.Learner(study)
    learner._on_device = learner._on_device * np.float32("nan")
    with pytest.raises(train.NonFiniteLossError, match="is not finite at step 0"):
        learner.trained(0, np.arange(20))
