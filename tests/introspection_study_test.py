"""The study of introspection under corruption, run whole in small."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

pytest.importorskip("matplotlib")

from experiments import (
    introspection_corruption,
    introspection_plugin,
    introspection_reliability,
)
from experiments.introspection_corruption_tables import NUMBERS, PAIRS, tables
from experiments.introspection_networks import (
    FEED_FORWARD,
    INTROSPECTIVE,
    METHODS,
)
from experiments.shifts_numbers import Estimate


@pytest.mark.exhaustive
def test_the_study_of_introspection_under_corruption_runs_whole_in_small(tmp_path):
    pytest.importorskip("imagecorruptions")
    study = dataclasses.replace(
        introspection_corruption.SMOKE,
        workdir=tmp_path,
        numbers=tmp_path / "numbers",
        figures=tmp_path / "figures",
    )
    found = introspection_corruption.run(study)
    assert list(found["means"]) == ["clean", "1", "5", "all"]
    for of_methods in found["means"].values():
        assert set(of_methods) == set(METHODS)
    sizes = np.array(list(found["parameters"].values()))
    np.testing.assert_allclose(sizes, sizes[0], rtol=0.01)  # as large as each other

    # The page's differences are those of its means; accuracy, of the answers kept.
    for severity, pairs in found["differences"].items():
        for one, other in PAIRS:
            for name in NUMBERS:
                means = found["means"][severity]
                gap = means[one][name]["value"] - means[other][name]["value"]
                own = pairs[f"{one} less {other}"][name]
                np.testing.assert_allclose(own["value"], gap, atol=1e-6)
                assert own["low"] <= own["value"] <= own["high"]
    labels = introspection_corruption.images(study, "clean")[1]
    right = []
    for seed in range(study.seeds):
        said = introspection_corruption.answers(study, seed)
        for kind in study.kinds:
            logits = said[f"{INTROSPECTIVE}|{kind}-5"]
            right.append((logits.argmax(axis=-1) == labels).mean())
    ours = found["means"]["5"][INTROSPECTIVE]["accuracy"]["value"]
    np.testing.assert_allclose(ours, np.mean(right), atol=1e-6)

    # As sure as they are right, by bins: of all answers the accuracy and the error.
    clean = found["reliability"]["clean"][FEED_FORWARD]
    for when, number in zip(introspection_reliability.WHEN, NUMBERS[1:], strict=True):
        bins = [
            own for own in zip(*list(clean[when].values())[:3], strict=True) if own[2]
        ]
        sure, right, count = np.array(bins).T
        assert count.sum() == study.seeds * study.images
        accuracy = found["means"]["clean"][FEED_FORWARD]["accuracy"]["value"]
        np.testing.assert_allclose(count @ right / count.sum(), accuracy, atol=1e-3)
        error = found["means"]["clean"][FEED_FORWARD][number]["value"]
        assert count @ np.abs(sure - right) / count.sum() <= error + 1e-3

    made = tables(found)
    assert f"| {INTROSPECTIVE} less {FEED_FORWARD} |" in made
    name = "introspection_corruption_mnist5k_cnn"
    for figure in (name, f"{name}_reliability"):
        assert (tmp_path / f"figures/{figure}.png").stat().st_size > 10_000
    assert json.loads((tmp_path / f"numbers/{name}.json").read_text()) == found
    assert introspection_corruption.run(study) == found  # of what is kept


def test_the_interval_is_of_seeds_and_images_together():
    rng = np.random.default_rng(0)
    values, groups = np.array([0.5, 0.6, 0.7]), 40
    of_images = rng.normal(size=groups) * 0.01  # the same for all seeds
    seeds = [Estimate(value, value + of_images) for value in values]
    found = introspection_corruption.over(seeds, 0.9)
    by_seeds = values.var(ddof=1) / 3
    by_images = (groups - 1) ** 2 / groups * of_images.var(ddof=1)
    wide = stats.t.ppf(0.95, df=2) * np.sqrt(by_seeds + by_images)
    np.testing.assert_allclose(
        [found["low"], found["value"], found["high"]], [0.6 - wide, 0.6, 0.6 + wide]
    )


def test_seeds_that_agree_are_few_all_the_same():
    of_images = np.linspace(-0.01, 0.01, 20)
    seeds = [Estimate(0.5, 0.5 + of_images)] * 3
    found = introspection_corruption.over(seeds, 0.95)
    wide = stats.t.ppf(0.975, df=2) * seeds[0].error
    assert (found["low"], found["high"]) == pytest.approx((0.5 - wide, 0.5 + wide))


@pytest.mark.exhaustive
def test_the_study_of_the_plug_in_runs_whole_in_small(tmp_path):
    pytest.importorskip("imagecorruptions")
    study = dataclasses.replace(
        introspection_plugin.SMOKE,
        workdir=tmp_path,
        numbers=tmp_path / "numbers",
        figures=tmp_path / "figures",
    )
    found = introspection_plugin.run(study)
    assert list(found["trainings"]) == ["noise", "augmix"]
    for own in found["trainings"].values():
        means = own["means"]
        assert list(means) == ["clean", "1", "5", "all", "without noise"]
        for number, ends in own["differences"].items():
            gap = (
                means["all"][INTROSPECTIVE][number]["value"]
                - means["all"][FEED_FORWARD][number]["value"]
            )
            np.testing.assert_allclose(ends["value"], gap, atol=1e-6)
    # The trainings differ, and the others are not read in the place of one.
    one, other = (
        introspection_corruption.answers(study.of(training), 0)
        for training in study.trainings
    )
    key = f"{FEED_FORWARD}|clean"
    assert np.abs(one[key] - other[key]).max() > 0.01
    assert "| augmix, introspective |" in introspection_plugin.tables(found)
    name = "introspection_plugin_mnist5k_cnn"
    assert (tmp_path / f"figures/{name}.png").stat().st_size > 10_000
    assert json.loads((tmp_path / f"numbers/{name}.json").read_text()) == found
    assert introspection_plugin.run(study) == found  # of what is kept
