"""The study of unknown images and introspection, and its intervals."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

pytest.importorskip("matplotlib")

from experiments import introspection_ood, introspection_ood_tables
from experiments.introspection_networks import BASELINES, INTROSPECTIVE, METHODS


@pytest.mark.exhaustive
def test_the_study_of_unknown_images_runs_whole_in_small(tmp_path):
    study = dataclasses.replace(
        introspection_ood.SMOKE,
        workdir=tmp_path,
        numbers=tmp_path / "numbers",
        figures=tmp_path / "figures",
    )
    found = introspection_ood.run(study)
    sets = [*study.unknown.unknowns, "all"]
    for of_methods in found["means"].values():
        assert set(of_methods) == set(METHODS)
        for of_sets in of_methods.values():
            assert list(of_sets) == sets
            for numbers in of_sets.values():
                assert 0 <= numbers["AUROC"]["value"] <= 1
                assert 0 <= numbers["FPR95"]["value"] <= 1
                assert 0 <= numbers["detection error"]["value"] <= 0.5
    # Counted by hand, of the scores that are kept.
    said = introspection_ood.answers(study, 0)
    known, unknown = (
        said[f"{INTROSPECTIVE}|Max softmax|{name}"] for name in ("known", "letters")
    )
    above = known[:, None] > unknown[None]
    ties = known[:, None] == unknown[None]
    own = found["means"]["Max softmax"][INTROSPECTIVE]["letters"]
    np.testing.assert_allclose(
        own["AUROC"]["seeds"][0], (above + ties / 2).mean(), atol=1e-6
    )
    threshold = np.sort(known)[::-1][int(np.ceil(0.95 * len(known))) - 1]
    np.testing.assert_allclose(
        own["FPR95"]["seeds"][0], (unknown >= threshold).mean(), atol=1e-6
    )
    errors = [
        ((known < t).mean() + (unknown >= t).mean()) / 2
        for t in np.concatenate([known, unknown, [np.inf]])
    ]
    np.testing.assert_allclose(
        own["detection error"]["seeds"][0], min(errors), atol=1e-6
    )
    for score, pairs in found["differences"].items():
        for one, other in introspection_ood_tables.PAIRS:
            means = found["means"][score]
            for number, ends in pairs[f"{one} less {other}"].items():
                gap = (
                    means[one]["all"][number]["value"]
                    - means[other]["all"][number]["value"]
                )
                np.testing.assert_allclose(ends["value"], gap, atol=1e-6)
    assert f"| {BASELINES['logits']} |" in introspection_ood_tables.tables(found)
    name = "introspection_ood_mnist5k_cnn"
    assert (tmp_path / f"figures/{name}.png").stat().st_size > 10_000
    assert json.loads((tmp_path / f"numbers/{name}.json").read_text()) == found
    assert introspection_ood.run(study) == found  # of what is kept


def test_images_that_are_alike_are_left_out_together():
    alike = np.array([0, 1, 0, 2, 1, 0])
    masks = introspection_ood.left_out(alike, 40)
    assert masks.shape == (3, 6)
    assert ((~masks).sum(axis=0) == 1).all()
    for own in masks:
        assert len(set(alike[~own])) == 1
    assert introspection_ood.left_out(np.arange(50), 10).sum(axis=1).tolist() == (
        [45] * 10
    )


def test_known_and_unknown_images_are_drawn_apart():
    rng = np.random.default_rng(0)
    known, unknown, others = rng.normal(size=(3, 20))
    one = introspection_ood.Parted(0.5, known, (unknown,))
    other = introspection_ood.Parted(0.7, known, (others,))
    jackknife = lambda part: 19 / 20 * np.sum((part - part.mean()) ** 2)
    np.testing.assert_allclose(one.variance, jackknife(known) + jackknife(unknown))
    both = introspection_ood.over_sets([one, other])
    assert both.value == pytest.approx(0.6)
    np.testing.assert_allclose(
        both.variance,
        jackknife(known) + (jackknife(unknown) + jackknife(others)) / 4,
    )
    gap = introspection_ood.Parted(0.2, others, (unknown,)).less(one)
    assert gap.value == pytest.approx(-0.3)
    np.testing.assert_allclose(gap.variance, jackknife(others - known))
    ends = introspection_ood.over([one, one, one], 0.9)
    wide = stats.t.ppf(0.95, df=2) * np.sqrt(one.variance)
    np.testing.assert_allclose([ends["low"], ends["high"]], [0.5 - wide, 0.5 + wide])


def test_unknown_images_are_of_studies_that_have_them():
    study = dataclasses.replace(introspection_ood.SMOKE, dataset="digits")
    with pytest.raises(ValueError, match="known for mnist5k, fashion_mnist, not for"):
        _ = study.sets
