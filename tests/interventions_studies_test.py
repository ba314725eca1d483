"""The studies of interventions, run whole in small."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("matplotlib")

from experiments import (
    adversarial_scores,
    adversarial_scores_jpeg,
    adversarial_scores_numbers,
    adversarial_scores_page,
    membership,
    residual_uncertainty,
)


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


def leaves(made):
    """Every number with an interval."""
    if set(made) == {"value", "low", "high"}:
        yield made
        return
    for own in made.values():
        if isinstance(own, dict):
            yield from leaves(own)


@pytest.mark.exhaustive
def test_the_study_of_attacked_scores_runs_whole_in_small(tmp_path, capsys):
    study = dataclasses.replace(
        adversarial_scores.SMOKE,
        workdir=tmp_path,
        numbers=tmp_path / "numbers",
        figures=tmp_path / "figures",
    )
    made = adversarial_scores.main(study)
    assert "| Max softmax |" in capsys.readouterr().out
    found = made["datasets"]["mnist5k"]
    numbers = list(leaves(found))
    assert len(numbers) == made["study"]["statements"]
    for number in numbers:
        if number["value"] is not None:
            assert 0 <= number["low"] <= number["value"] <= number["high"] <= 1
    for kind in ("FGSM", "PGD"):
        assert (
            found["accuracy"][f"{kind} 0.2"]["value"]
            < found["accuracy"][f"{kind} 0.05"]["value"]
            <= found["accuracy"]["clean"]["value"]
        )
    for rows in found["scores"].values():
        # It may always do what PGD does that knows no score.
        for radius in ("0.05", "0.2"):
            plain, own = (rows[f"{kind} {radius}"] for kind in ("PGD", "adaptive"))
            assert own["unseen"]["value"] >= plain["unseen"]["value"]
            assert own["success"]["value"] >= found["success"][f"PGD {radius}"]["value"]
        assert rows["has_gradient"] > 0.5
    for name in ("scores", "jpeg"):
        figure = tmp_path / f"figures/{study.name}_{name}.png"
        assert figure.stat().st_size > 10_000
    assert adversarial_scores.main(study) == made  # of what is kept


def test_what_is_unseen_is_wrong_and_trusted():
    judge = adversarial_scores_numbers.Judge(statements=1)
    clean = np.arange(100.0)  # the twentieth part that is trusted least: below 5
    changed = np.where(np.arange(100) < 30, 50.0, 1.0)
    fooled = np.arange(100) < 40
    found = judge.told(clean, changed, fooled)
    assert found["unseen"]["value"] == pytest.approx(0.3)
    lower = 0.75 * 0.495 + 0.25 * 0.985  # of 30 at a clean 50, half of which ties
    pairs = (
        np.mean(clean[:, None] > changed[fooled])
        + np.mean(clean[:, None] == changed[fooled]) / 2
    )
    assert found["auroc"]["value"] == pytest.approx(pairs)
    assert pairs == pytest.approx(lower, abs=0.01)
    nobody = judge.told(clean, changed, np.zeros(100, bool))
    assert nobody["unseen"]["value"] == 0
    assert nobody["auroc"]["value"] is None


def test_jpeg_keeps_the_shape_and_its_derivative_is_the_identity():
    rng = np.random.default_rng(0)
    for shape in ((2, 16, 16, 1), (2, 16, 16, 3)):
        x = rng.uniform(size=shape).astype(np.float32)
        best, worst = (adversarial_scores_jpeg.recoded(x, q) for q in (95, 5))
        assert best.shape == shape
        assert 0 < np.abs(best - x).mean() < np.abs(worst - x).mean()
    behind = adversarial_scores_jpeg.through(lambda params, x: x**2, 50)
    value, slope = jax.value_and_grad(lambda x: jnp.sum(behind(None, x)))(x)
    seen = adversarial_scores_jpeg.recoded(x, 50)
    assert float(value) == pytest.approx(float(np.sum(seen**2)), rel=1e-5)
    np.testing.assert_allclose(slope, 2 * seen, atol=1e-5)


@pytest.mark.parametrize(
    ("dataset", "page"),
    [
        ("mnist5k", "adversarial_scores"),
        ("fashion_mnist", "adversarial_scores_fashion_mnist"),
    ],
)
def test_the_page_of_attacked_scores_has_the_tables_of_its_numbers(dataset, page):
    folder = pathlib.Path(adversarial_scores.__file__).parent
    numbers = folder / f"numbers/adversarial_scores_{dataset}.json"
    made = json.loads(numbers.read_text())
    text = (folder / f"{page}.md").read_text()
    parts = adversarial_scores_page.tables(adversarial_scores.STUDY, made).split("\n\n")
    tables = [part for part in parts if not part.startswith("#")]
    assert len(tables) == 4
    assert all(table in text for table in tables)
    assert f"ll {made['study']['statements']:,} intervals" in text
    assert len(list(leaves(made["datasets"]))) == made["study"]["statements"]
