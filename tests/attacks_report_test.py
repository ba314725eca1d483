"""A test set under attack: its numbers, its section, and the road to them."""

import contextlib
import dataclasses
import itertools
import json
import pathlib
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from tests import made_up
from tests.made_up import ends
from trustjax import assess, bridge, cli, data, interventions, pipeline, report, train
from trustjax.data._dataset import MappedSource
from trustjax.pipeline import _attacks, _interventions, _shifts

RADII, DRAWS = (0.05, 0.2), 40


def attacked(said, count=150, seed=1):
    """The first examples; the larger the radius, the more of them are fooled."""
    rng = np.random.default_rng(seed)
    labels, versions = said.labels[:count], {}
    for radius in RADII:
        fooled = rng.random(count) < 3 * radius
        answers = np.where(fooled, (labels + 1) % 5, said.predicted[:count])
        confidence = rng.uniform(0.3, 1, count)
        scores = {"margin": confidence - 0.3 * fooled, "coin": rng.normal(size=count)}
        versions[radius] = assess.Shifted(answers, confidence, scores)
    return assess.Attacked(np.arange(count), versions)


@pytest.fixture(scope="module")
def said():
    said = made_up.predictions(count=240)
    return dataclasses.replace(said, attacked=attacked(said), out_of_distribution={})


@pytest.fixture(scope="module")
def found(said):
    return assess.assess(said, num_samples=DRAWS)


def test_the_numbers_are_those_of_a_loop(said, found):
    assert found.attacks.num_examples == 150
    assert list(found.attacks.by_radius) == list(RADII)
    for radius, numbers in found.attacks.by_radius.items():
        version = said.attacked.versions[radius]
        right, fooled, still = [], [], 0
        for example, answer in enumerate(version.predicted):
            label = said.labels[example]
            still += answer == label
            if said.predicted[example] == label:
                right.append(example)
                if answer != label:
                    fooled.append(example)
        assert ends(numbers.accuracy)[1] == pytest.approx(still / 150)
        assert ends(numbers.success)[1] == pytest.approx(len(fooled) / len(right))
        for name in ("margin", "coin"):
            clean = said.scores[name][right]
            own = version.scores[name][fooled]
            pairs = [
                (one > other) + (one == other) / 2
                for one, other in itertools.product(clean, own)
            ]
            low, value, high = ends(numbers.auroc[name])
            assert value == pytest.approx(np.mean(pairs))
            assert 0 <= low < value < high <= 1
            kept = int(np.ceil(0.95 * len(clean)))
            threshold = np.sort(clean)[::-1][kept - 1]
            low, value, high = ends(numbers.unseen[name])
            assert value == pytest.approx((own >= threshold).sum() / len(right))
            assert 0 <= low <= value <= high <= 1


def test_where_few_are_fooled_no_score_is_judged(said):
    """Nor where nobody was right before."""
    nobody = {
        radius: version._replace(predicted=said.predicted[:150])
        for radius, version in said.attacked.versions.items()
    }
    unharmed = dataclasses.replace(
        said, attacked=said.attacked._replace(versions=nobody)
    )
    found = assess.assess(unharmed, num_samples=DRAWS).attacks
    assert found is not None
    for numbers in found.by_radius.values():
        assert numbers.success.value == 0
        assert "fewer than 10" in numbers.auroc["margin"].not_defined
        assert numbers.unseen["margin"].value == 0
    wrong = np.flatnonzero(~said.correct)[:12]
    first = {
        radius: assess.Shifted(
            version.predicted[:12],
            version.confidence[:12],
            {name: of[:12] for name, of in version.scores.items()},
        )
        for radius, version in said.attacked.versions.items()
    }
    hopeless = dataclasses.replace(said, attacked=assess.Attacked(wrong, first))
    found = assess.assess(hopeless, num_samples=DRAWS).attacks
    assert found is not None
    assert found.unchanged.value == 0
    for numbers in found.by_radius.values():
        assert "no image was right" in numbers.success.not_defined


def test_the_section_has_its_figure_table_and_numbers(said, found, tmp_path):
    page = report.write(found, said, tmp_path).read_text()
    assert 'href="#attacks"' in page
    assert "150 images of the test set, changed against the network" in page
    assert "is no promise" in page
    lines = (tmp_path / "tables/attacked_scores.csv").read_text().splitlines()
    assert len(lines) == 4
    assert "unseen" in lines[0]
    assert (tmp_path / "figures/attacks.svg").stat().st_size > 5000
    numbers = json.loads((tmp_path / "metrics.json").read_text())["attacks"]
    assert numbers["num_examples"] == 150
    low, value, _ = ends(found.attacks.by_radius[0.2].auroc["margin"])
    written = numbers["by_radius"]["0.2"]["auroc"]["margin"]
    assert (written["low"], written["value"]) == (low, value)


@pytest.mark.exhaustive
def test_a_page_of_few_fooled_images_is_drawn_and_one_without_has_no_section(
    said, tmp_path
):
    nobody = said.attacked.versions[0.05]._replace(predicted=said.predicted[:150])
    versions = {0.05: nobody, 0.2: said.attacked.versions[0.2]}
    some = dataclasses.replace(said, attacked=said.attacked._replace(versions=versions))
    written = report.write(assess.assess(some, num_samples=DRAWS), some, tmp_path)
    assert "fewer than 10 images fool the network" in written.read_text()
    none = dataclasses.replace(said, attacked=None)
    found = assess.assess(none, num_samples=DRAWS)
    assert found.attacks is None
    assert 'id="attacks"' not in report.write(found, none, tmp_path).read_text()
    assert "attacks" not in json.loads((tmp_path / "metrics.json").read_text())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda of: of._replace(examples=np.arange(150.0)),
            "must be different integers of shape .attacked., .* got float64",
        ),
        (lambda of: of._replace(examples=np.zeros(150, int)), "must be different int"),
        (
            lambda of: of._replace(examples=np.arange(150) + 100),
            r"must be in \[0, 240\), got 100 to 249",
        ),
        (lambda of: of._replace(versions={}), "radii of attacks must be positive"),
        (
            lambda of: of._replace(versions={0.0: of.versions[0.2]}),
            "radii of attacks must be positive",
        ),
        (
            lambda of: of._replace(examples=np.arange(20)),
            r"under an attack of radius 0.05 must have shape \[20\].*, got \(150,\)",
        ),
        (
            lambda of: of._replace(
                versions={1.0: of.versions[0.2]._replace(scores={"x": np.zeros(150)})}
            ),
            r"attacks have scores that are not in scores: \['x'\]",
        ),
        (
            lambda of: of._replace(
                versions={**of.versions, 1.0: of.versions[0.2]._replace(scores={})}
            ),
            "attacks must have the same scores",
        ),
    ],
)
def test_attacks_that_do_not_fit_are_refused(said, change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(said, attacked=change(said.attacked))


class StoppedError(Exception):
    pass


def digits(count=12, scale=1.0):
    images = np.random.default_rng(0).random((count, 4, 4, 1)).astype(np.float32)
    return data.from_arrays(
        "own", scale * images, np.arange(count) % 3, ["a", "b", "c"]
    )


def linear(params, x):
    return x.reshape(len(x), -1) @ params


PARAMS = np.random.default_rng(1).normal(size=(16, 3)).astype(np.float32)


def asked(folder, *, stop_after=100, heard=None, dataset=None, **options):
    """What `_attacks.scored` returns, and the images that were asked about."""
    seen = []

    def ask(images, labels):
        if len(seen) == stop_after:
            raise StoppedError
        seen.append(images)
        return _shifts.Answers(np.asarray(linear(PARAMS, images)), {})

    made = _attacks.scored(
        pipeline.AttackOptions(**{"radii": RADII, "images": 10, "steps": 3} | options),
        dataset or digits(),
        (linear, jnp.asarray(PARAMS)),
        ask,
        unchanged=_shifts.Answers(np.zeros((12, 3)), {}),
        batch_size=4,
        folder=folder,
        progress=None if heard is None else lambda *facts: heard.append(facts),
    )
    return made, seen


def test_a_stopped_run_goes_on_with_the_next_radius(tmp_path):
    whole, seen = asked(tmp_path / "whole")
    test = digits()
    x, labels = test.source.take(range(10))
    for radius, images in zip(RADII, seen, strict=True):
        expected = interventions.pgd(
            linear,
            jnp.asarray(PARAMS),
            jnp.asarray(x),
            jnp.asarray(labels),
            epsilon=radius,
            steps=3,
        )
        np.testing.assert_allclose(images, expected, atol=1e-6)
    with pytest.raises(StoppedError):
        asked(tmp_path / "stopped", stop_after=1)
    heard = []
    made, seen = asked(tmp_path / "stopped", heard=heard)
    assert made is not None
    assert whole is not None
    assert len(seen) == 1
    assert [done for _, done, total, _ in heard if total == 20] == [10, 20]
    for radius in RADII:
        one, other = made.versions[radius], whole.versions[radius]
        np.testing.assert_array_equal(one.predicted, other.predicted)
        np.testing.assert_array_equal(one.confidence, other.confidence)
    assert not list((tmp_path / "stopped").iterdir())
    # Of other choices nothing is taken.
    with pytest.raises(StoppedError):
        asked(tmp_path, stop_after=1)
    assert len(asked(tmp_path, steps=4)[1]) == 2


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radii": (0.1, -0.1)}, "attacks.radii must be positive, got -0.1"),
        ({"radii": (0.1, 0.1)}, "attacks.radii must be different"),
        ({"steps": 0}, "attacks.steps must be an integer >= 1"),
        ({"images": 0}, "attacks.images must be an integer >= 1"),
    ],
)
def test_choices_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        pipeline.AttackOptions(**options)


def test_images_beyond_0_and_1_are_not_attacked(tmp_path):
    own = digits()
    wide = dataclasses.replace(own, source=MappedSource(own.source, lambda x, _: 2 * x))
    with pytest.raises(ValueError, match=r"--attacks.radii of own: images must be in"):
        asked(tmp_path, dataset=wide)


@pytest.mark.exhaustive
@pytest.mark.usefixtures("without_type_checks")
def test_the_command_asks_more_of_the_same_network_and_changes_nothing_else(
    tmp_path, monkeypatch
):
    lean = ("--out-of-distribution", "--gradient-group", "None", "--scores", "margin")
    plain = ("report", "--dataset", "digits", "--model", "mlp", "--epochs", "2", *lean)
    more = {
        "attacks": ("--attacks.radii", "0.05", "0.2", "--attacks.images", "100"),
        "interventions": (
            *("--interventions.methods", "saliency", "--interventions.images", "40"),
        ),
        "membership": ("--membership",),
    }
    pages = []
    with contextlib.chdir(tmp_path):
        for options in (itertools.chain(*more.values()), ()):
            asked = ["trustjax", *plain, *options, "--overwrite"]
            monkeypatch.setattr(sys, "argv", asked)
            cli.main()
            page = pathlib.Path("reports/digits-mlp-0/metrics.json")
            pages.append(json.loads(page.read_text()))
        apply_fn, params = bridge.from_nnx(train.load("checkpoints/digits-mlp-0").model)
    found, without = pages
    sections = {name: found.pop(name) for name in more}
    for name in more:
        del found["run"]["report"][name]
    for own in pages:
        del own["files"], own["run"]["command"]
    assert found == without
    test = data.load("digits", "test")
    images, labels = data.as_arrays(test)
    x = interventions.pgd(
        apply_fn,
        params,
        jnp.asarray(images[:100], jnp.float32) / 255,
        jnp.asarray(labels[:100]),
        epsilon=0.2,
    )
    right = np.asarray(apply_fn(params, x)).argmax(1) == labels[:100]
    attacked = sections["attacks"]
    accuracy = attacked["by_radius"]["0.2"]["accuracy"]["value"]
    assert accuracy == pytest.approx(right.mean(), abs=0.021)
    assert accuracy < attacked["unchanged"]["value"]
    masked = sections["interventions"]
    assert masked["num_examples"] == 40
    assert set(masked["methods"]) == {"Gradient", *_interventions.CONTROLS}
    members = sections["membership"]
    assert members["num_members"] == members["num_others"] == len(test)
    assert set(members["scores"]) == {"max_softmax", "margin"}
