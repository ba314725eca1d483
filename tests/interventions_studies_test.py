"""The studies of interventions, run whole in small."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("matplotlib")

from experiments import membership, residual_uncertainty


@pytest.mark.exhaustive
def test_the_study_of_membership_runs_whole_in_small(tmp_path, capsys):
    study = dataclasses.replace(
        membership.SMOKE,
        workdir=tmp_path,
        numbers=tmp_path / "numbers",
        figures=tmp_path / "figures",
    )
    found = membership.main(study)
    assert "| LiRA online |" in capsys.readouterr().out
    said = found["datasets"]["mnist5k"]
    assert set(said["defences"]) == {*study.defences, "temperature scaling"}
    assert set(said["attacks"]) == set(membership.attacks())
    gradients = {membership.LABEL_GRADIENT, "Gradient norm, L2", "GradNorm", "Purview"}
    assert gradients < set(said["attacks"])
    assert not gradients & set(said["defences"]["temperature scaling"]["attacks"])
    for own in said["defences"].values():
        assert 0.2 < own["accuracy"]["value"] < 1
        rule = {name: of["value"] for name, of in own["fixed_rule"].items()}
        assert 0 <= rule["false_positive_rate"] <= 1
        assert rule["advantage"] == pytest.approx(2 * rule["balanced_accuracy"] - 1)
        for attack in own["attacks"].values():
            assert len(attack["values"]) == study.targets
            assert 0.2 < attack["auroc"]["value"] < 1
    for limits in said["exact"].values():
        for number in limits.values():
            assert 0 <= number["low"] <= number["value"] <= number["high"] <= 1
    assert (tmp_path / "figures/membership.png").stat().st_size > 10_000
    assert membership.main(study) == found  # of what is kept


def test_every_record_is_learned_by_half_of_the_networks():
    members = membership.halves(8, 100)
    assert members.shape == (8, 100)
    assert (members.sum(axis=0) == 4).all()
    assert (membership.halves(8, 100) == members).all()


def test_an_attack_that_knows_finds_all_and_one_that_guesses_none():
    rng = np.random.default_rng(0)
    member = rng.random(2000) < 0.5
    sure = membership.numbers_of(member + 0.1 * rng.random(2000), member)
    assert set(sure.values()) == {1.0}
    guess = membership.numbers_of(rng.random(2000), member)
    assert abs(guess["auroc"] - 0.5) < 0.05
    assert guess["TPR at FPR 0.1%"] < 0.02


@pytest.mark.exhaustive
def test_the_study_of_residual_uncertainty_runs_whole_in_small(tmp_path):
    study = dataclasses.replace(
        residual_uncertainty.SMOKE,
        workdir=tmp_path,
        numbers=tmp_path / "numbers",
        figures=tmp_path / "figures",
    )
    found = residual_uncertainty.main(study)
    assert set(found["means"]) == set(residual_uncertainty.FAMILIES)
    for own in found["means"].values():
        for parts in own.values():
            total, between, within = (
                parts[part]["value"] for part in residual_uncertainty.PARTS
            )
            assert 0 <= between <= total <= 0.9
            np.testing.assert_allclose(between + within, total, atol=1e-5)
    assert (tmp_path / "figures/residual_uncertainty.png").stat().st_size > 10_000
    assert residual_uncertainty.main(study) == found  # of what is kept


def test_masks_of_a_map_keep_what_is_highest():
    map_ = np.arange(100.0).reshape(1, 10, 10)
    shares = residual_uncertainty.masks_of("share", jnp.asarray(map_))
    kept = np.asarray(shares).reshape(9, 100).sum(axis=1)
    np.testing.assert_array_equal(kept, np.arange(10, 100, 10))
    assert (np.asarray(shares[0])[0] == (map_[0] >= 90)).all()
    thresholds = np.asarray(
        residual_uncertainty.masks_of("threshold", jnp.asarray(map_))
    )
    assert (thresholds[4, 0] == (map_[0] / 99 >= 0.5)).all()
