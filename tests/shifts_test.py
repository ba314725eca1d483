"""A test set under corruptions: its numbers, its section, and the road to them."""

import contextlib
import dataclasses
import itertools
import json
import sys

import numpy as np
import pytest

from tests import made_up
from tests.made_up import ends
from trustjax import assess, bridge, cli, data, metrics, pipeline, report, train
from trustjax.assess._shifts import shifts as of_shifts
from trustjax.pipeline import _shifts

KINDS, SEVERITIES = ("fog", "contrast"), (1, 4)
DRAWS = 40


def said_of(rng, labels, quality):
    """Answers of a network that is right and sure of it as often as `quality`."""
    confidence = rng.uniform(0.3, 1, len(labels))
    right = rng.random(len(labels)) < quality * confidence
    predicted = np.where(right, labels, (labels + 1) % 5)
    scores = {
        "margin": confidence + rng.normal(0, 0.1, len(labels)),
        "coin": rng.normal(size=len(labels)),
    }
    return assess.Shifted(predicted, confidence, scores)


def versions(labels, seed=1):
    rng = np.random.default_rng(seed)
    return {
        kind: {s: said_of(rng, labels, 1 - s / 8) for s in SEVERITIES} for kind in KINDS
    }


@pytest.fixture(scope="module")
def said():
    said = made_up.predictions(count=240)
    return dataclasses.replace(
        said, shifts=versions(said.labels), out_of_distribution={}
    )


@pytest.fixture(scope="module")
def found(said):
    return assess.assess(said, num_samples=DRAWS)


def shifts_of(said, num_samples=DRAWS, seed=0):
    found = of_shifts(
        said, alpha=1.0, beta=1.0, level=0.95, num_samples=num_samples, seed=seed
    )
    assert found is not None
    return found


def auroc_by_pairs(scores, correct):
    pairs = [
        (right > wrong) + 0.5 * (right == wrong)
        for right, wrong in itertools.product(scores[correct], scores[~correct])
    ]
    return np.mean(pairs)


def test_the_numbers_are_those_of_a_loop(said, found):
    for kind, severity in itertools.product(KINDS, SEVERITIES):
        shifted = said.shifts[kind][severity]
        numbers = found.shifts.by_kind[kind][severity]
        rights, trusts = [], []
        for answer, sure, label in zip(*shifted[:2], said.labels, strict=True):
            rights.append(answer == label)
            trusts.append(sure if answer == label else 1 - sure)
        assert numbers.accuracy.value == pytest.approx(np.mean(rights))
        assert numbers.net_trust_score.value == pytest.approx(np.mean(trusts), 1e-6)
        for name in ("margin", "coin"):
            expected = auroc_by_pairs(shifted.scores[name], np.array(rights))
            assert numbers.auroc[name].value == pytest.approx(expected)
        error = metrics.expected_calibration_error(
            shifted.confidence.astype(np.float32), np.array(rights)
        )
        assert numbers.expected_calibration_error.value == pytest.approx(float(error))
        for quantity in (*numbers[:2], numbers.error_without_chance):
            low, value, high = ends(quantity)
            assert 0 <= low <= value <= high <= 1
            assert low < high


def test_severity_0_is_the_test_set_as_it_is(found):
    as_it_is = found.shifts.means[0]
    assert as_it_is.accuracy.value == found.headline["accuracy"].value
    assert as_it_is.net_trust_score.value == pytest.approx(
        found.headline["net_trust_score"].value
    )
    assert list(as_it_is.auroc) == ["max_softmax", "margin", "coin"]
    for name, quantity in as_it_is.auroc.items():
        assert quantity.value == found.by_name[name].numbers["auroc"].value


def test_means_are_over_the_kinds_and_surer_than_one_of_them(found):
    shifts = found.shifts
    assert list(shifts.means) == [0, *SEVERITIES]
    for severity in SEVERITIES:
        of_kinds = [shifts.by_kind[kind][severity] for kind in KINDS]
        mean = shifts.means[severity]
        for chosen in (
            lambda numbers: numbers.accuracy,
            lambda numbers: numbers.net_trust_score,
            lambda numbers: numbers.auroc["margin"],
        ):
            low, value, high = ends(chosen(mean))
            assert value == pytest.approx(
                np.mean([chosen(of).value for of in of_kinds])
            )
            widths = [ends(chosen(of))[2] - ends(chosen(of))[0] for of in of_kinds]
            assert 0 < high - low < min(widths)
        error = mean.error_without_chance
        assert error.low == pytest.approx(
            np.mean([of.error_without_chance.low for of in of_kinds])
        )


@pytest.mark.exhaustive
def test_intervals_of_mean_aurocs_hold_as_often_as_they_say():
    # Right and wrong answers are normals of distance 1: AUROC is Phi(1 / sqrt(2)).
    true, held, draws = 0.7602, 0, 150
    labels = np.arange(120) % 2
    right = np.arange(120) % 3 > 0
    answers = np.where(right, labels, 1 - labels)
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        # Half of the noise belongs to the image: hard under one, hard under all.
        own, *others = rng.normal(size=(4, 120))
        shifts = {
            kind: {
                1: assess.Shifted(
                    answers, np.full(120, 0.9), {"s": (own + other) / 2**0.5 + right}
                )
            }
            for kind, other in zip("abc", others, strict=True)
        }
        said = assess.Predictions(
            np.eye(2)[labels] + 0.1, labels, scores={"s": own}, shifts=shifts
        )
        found = shifts_of(said, num_samples=4, seed=seed)
        low, _, high = ends(found.means[1].auroc["s"])
        held += low <= true <= high
    assert held >= 0.95 * draws


@pytest.mark.exhaustive
def test_where_every_answer_is_right_auroc_is_not_defined_and_the_page_is_drawn(
    said, tmp_path
):
    right = assess.Shifted(said.labels, np.full(240, 0.9), said.shifts["fog"][1].scores)
    shifts = {
        "fog": {1: right, 4: said.shifts["fog"][4]},
        "contrast": {1: right, 4: right},
    }
    said = dataclasses.replace(said, shifts=shifts)
    found = assess.assess(said, num_samples=DRAWS)
    assert found.shifts is not None
    assert found.shifts.means[1].auroc["margin"].value is None
    mean, of_fog = (
        ends(of.auroc["margin"])
        for of in (found.shifts.means[4], found.shifts.by_kind["fog"][4])
    )
    assert mean[1] == of_fog[1]
    assert found.shifts.means[1].accuracy.value == 1
    page = report.write(found, said, tmp_path).read_text()
    assert 'id="shifts"' in page
    numbers = json.loads((tmp_path / "metrics.json").read_text())["shifts"]
    assert numbers["means"]["1"]["auroc"]["margin"] == {
        "value": None,
        "not_defined": "every answer is right, or every answer is wrong",
    }


def test_a_perfect_score_is_still_not_certain():
    labels = np.arange(60) % 2
    right = np.arange(60) % 4 > 0
    answers = np.where(right, labels, 1 - labels)
    perfect = assess.Shifted(answers, np.full(60, 0.8), {"s": right * 1.0})
    said = assess.Predictions(
        np.eye(2)[labels] + 0.1,
        labels,
        scores={"s": right * 1.0},
        shifts={kind: {1: perfect} for kind in KINDS},
    )
    low, value, high = ends(shifts_of(said).means[1].auroc["s"])
    assert low < value == high == 1


def test_the_section_has_its_figure_tables_and_numbers(said, found, tmp_path):
    page = report.write(found, said, tmp_path).read_text()
    assert 'href="#shifts"' in page
    assert "under 2 corruptions of ImageNet-C" in page
    table = (tmp_path / "tables/shifts.csv").read_text()
    assert [line.split(",")[0] for line in table.splitlines()[1:]] == [
        "mean of all",
        "fog",
        "contrast",
    ]
    assert "calibration error" in table.splitlines()[0]
    assert (tmp_path / "figures/shifts.svg").stat().st_size > 5000
    scores = (tmp_path / "tables/shifted_scores.csv").read_text()
    assert len(scores.splitlines()) == 4
    numbers = json.loads((tmp_path / "metrics.json").read_text())["shifts"]
    fog = numbers["by_kind"]["fog"]["4"]
    low, value, _ = ends(found.shifts.by_kind["fog"][4].accuracy)
    assert (fog["accuracy"]["low"], fog["accuracy"]["value"]) == (low, value)
    assert set(fog["auroc"]) == {"max_softmax", "margin", "coin"}


@pytest.mark.exhaustive
def test_without_corruptions_there_is_no_section(tmp_path):
    said = made_up.predictions(count=240, full=False)
    found = assess.assess(said, num_samples=DRAWS)
    assert found.shifts is None
    assert 'id="shifts"' not in report.write(found, said, tmp_path).read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda of: of._replace(predicted=of.predicted[1:]),
            r"predicted under fog of severity 1 must have shape \[240\].* got \(239,\)",
        ),
        (
            lambda of: of._replace(predicted=of.predicted + 0.5),
            "must be integers, got float64",
        ),
        (
            lambda of: of._replace(predicted=np.full(240, 5)),
            r"must be in \[0, 5\): 240 rows",
        ),
        (
            lambda of: of._replace(confidence=np.full(240, np.nan)),
            r"confidence under fog of severity 1 must be in \[0, 1\]",
        ),
        (
            lambda of: of._replace(scores=of.scores | {"coin": np.full(240, np.nan)}),
            "score 'coin' under fog of severity 1 must not be NaN",
        ),
        (
            lambda of: of._replace(scores={"margin": of.scores["margin"]}),
            "the same severities and scores for every kind",
        ),
    ],
)
def test_versions_that_do_not_fit_are_refused(said, change, message):
    shifts = {kind: dict(of_kind) for kind, of_kind in said.shifts.items()}
    shifts["fog"][1] = change(shifts["fog"][1])
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(said, shifts=shifts)


def test_sets_of_versions_that_do_not_fit_are_refused(said):
    fog = said.shifts["fog"]
    with pytest.raises(ValueError, match="the same severities"):
        dataclasses.replace(said, shifts={"fog": fog, "contrast": {1: fog[1]}})
    with pytest.raises(ValueError, match=r"severity must be .* >= 1, got 0"):
        dataclasses.replace(said, shifts={"fog": {0: fog[1]}})
    with pytest.raises(ValueError, match=r"not in scores: \['coin', 'margin'\]"):
        dataclasses.replace(said, scores={})


class StoppedError(Exception):
    pass


def grey(count=6):
    images = np.random.default_rng(0).integers(0, 256, (count, 12, 12, 1))
    labels = np.arange(count) % 3
    return data.from_arrays("grey", images.astype(np.uint8), labels, ["a", "b", "c"])


def asked(config, folder, *, stop_after=100, seed=0, heard=None):
    """What `_shifts.scored` returns, and which versions were asked about."""
    names = []

    def ask(dataset, progress):
        if len(names) == stop_after:
            raise StoppedError
        names.append(dataset.fingerprint)
        images = data.as_arrays(dataset)[0].astype(float)
        logits = images.reshape(6, -1)[:, :3] / 50
        if progress is not None:
            progress("scoring", 6, 6, {})
        return _shifts.Answers(logits, {"size": images.mean((1, 2, 3))})

    unchanged = _shifts.Answers(np.full((6, 3), seed), {"size": np.zeros(6)})
    progress = None if heard is None else lambda *facts: heard.append(facts)
    made = _shifts.scored(
        config, grey(), ask, unchanged=unchanged, folder=folder, progress=progress
    )
    return made, names


def test_a_stopped_run_goes_on_with_the_next_version(tmp_path):
    config = pipeline.ReportConfig(corruptions=KINDS, severities=SEVERITIES)
    whole, names = asked(config, tmp_path / "whole")
    assert len(names) == 4
    with pytest.raises(StoppedError):
        asked(config, tmp_path / "stopped", stop_after=3)
    heard = []
    made, names = asked(config, tmp_path / "stopped", heard=heard)
    assert len(names) == 1
    assert [done for _, done, total, _ in heard if total == 24] == [6, 12, 18, 24]
    for kind, severity in itertools.product(KINDS, SEVERITIES):
        one, other = made[kind][severity], whole[kind][severity]
        np.testing.assert_array_equal(one.predicted, other.predicted)
        np.testing.assert_array_equal(one.confidence, other.confidence)
        np.testing.assert_array_equal(one.scores["size"], other.scores["size"])
    assert not list((tmp_path / "stopped").iterdir())


def test_versions_of_another_network_are_not_taken(tmp_path):
    config = pipeline.ReportConfig(corruptions=KINDS, severities=(2,))
    with pytest.raises(StoppedError):
        asked(config, tmp_path, stop_after=1)
    with pytest.raises(StoppedError):
        asked(dataclasses.replace(config, seed=1), tmp_path, stop_after=0)
    assert len(asked(config, tmp_path, seed=1)[1]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corruptions": ("fogg",)}, "corruption must be one of common, .*fog, .*fogg"),
        ({"severities": (0, 1)}, "some of 1, 2, 3, 4, 5, got .0, 1"),
        ({"severities": ()}, "some of 1, 2, 3, 4, 5"),
    ],
)
def test_choices_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        pipeline.ReportConfig(**options)


SMALL: dict = dict(
    model="mlp", out_of_distribution=(), gradient_group=None, scores=("margin",)
)


@pytest.mark.usefixtures("without_type_checks")
def test_images_that_cannot_be_corrupted_are_refused_before_the_training(tmp_path):
    images = np.random.default_rng(0).random((30, 8, 8, 1)).astype(np.float32)
    floats = data.from_arrays("floats", images, np.arange(30) % 2, ["a", "b"])
    config = pipeline.ReportConfig(
        **SMALL,
        corruptions=("fog",),
        checkpoints=tmp_path / "network",
        out=tmp_path / "report",
    )
    with pytest.raises(ValueError, match=r"--corruptions of floats: .*uint8, got fl"):
        pipeline.report_on(pipeline.Datasets(floats, floats, floats, {}), config)
    assert not (tmp_path / "network").exists()


def test_the_missing_extra_is_named_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    config = pipeline.ReportConfig(
        "digits",
        **SMALL,
        corruptions=("fog",),
        checkpoints=tmp_path / "network",
        out=tmp_path / "report",
    )
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'trustjax\[corrup"):
        pipeline.trust_report(config)
    assert not (tmp_path / "network").exists()


@pytest.mark.exhaustive
@pytest.mark.usefixtures("without_type_checks")
def test_the_command_corrupts_what_the_network_sees(tmp_path, monkeypatch, capsys):
    """Own images, resized, by a trained network; then the same weights, brought."""
    digits = data.as_arrays(data.load("digits", "train[:300]"))
    images = np.repeat(np.repeat(digits[0], 2, axis=1), 2, axis=2)  # 16x16
    np.savez(tmp_path / "own.npz", image=images, label=digits[1])
    own = ("--dataset", f"npz:{tmp_path}/own.npz", "--image-size", "8", "8")
    chosen = ("--corruptions", "contrast", "gaussian_noise", "--severities", "2", "5")
    others = ("--out-of-distribution", "--gradient-group", "None", "--scores", "margin")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["trustjax", "report", *map(str, arguments)])
        with contextlib.chdir(tmp_path):
            cli.main()

    trained = ("--model", "mlp", "--epochs", 2, "--checkpoints", "network")
    run(*own, *trained, *chosen, *others, "--out", "trained")
    err = capsys.readouterr().err
    assert "assessing corruptions 4/4" in err
    numbers = json.loads((tmp_path / "trained/metrics.json").read_text())
    assert numbers["run"]["report"]["corruptions"] == ["contrast", "gaussian_noise"]
    apply_fn, params = bridge.from_nnx(train.load(tmp_path / "network").model)
    test = data.load(f"npz:{tmp_path}/own.npz", "test")
    test = data.convert(test, (8, 8, 1))  # first this, the corruption then
    noisy = data.corrupted(test, "gaussian_noise", severity=5, seed=0)
    x, labels = data.as_arrays(noisy)
    answers = np.asarray(apply_fn(params, x.astype(np.float32) / 255)).argmax(1)
    accuracy = numbers["shifts"]["by_kind"]["gaussian_noise"]["5"]["accuracy"]
    assert accuracy["value"] == pytest.approx((answers == labels).mean())

    (tmp_path / "mine.py").write_text(
        "from trustjax import bridge, train\n"
        "def make():\n    return bridge.from_nnx(train.load('network').model)\n"
    )
    monkeypatch.setenv("TRUSTJAX_TRACEBACK", "1")
    brought = ("--model", "mine.py:make")
    run(*own, *brought, *chosen, *others, "--out", "brought")
    other = json.loads((tmp_path / "brought/metrics.json").read_text())
    assert other["shifts"]["by_kind"] == numbers["shifts"]["by_kind"]
