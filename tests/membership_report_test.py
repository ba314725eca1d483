"""Training against test images: the numbers, the section, and the road to them."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from tests import made_up
from tests.made_up import ends
from trustjax import assess, data, metrics, pipeline, report
from trustjax.pipeline import _members, _shifts

DRAWS = 40


def members(count=150):
    """Images whose true class has a larger logit than others' have."""
    own = made_up.predictions(count=count, seed=1)
    logits = own.logits.copy()
    logits[np.arange(count), own.labels] += 1.0
    scores = {"margin": own.scores["margin"] + 0.5, "coin": own.scores["coin"]}
    return assess.Members(logits, own.labels, scores)


@pytest.fixture(scope="module")
def said():
    said = made_up.predictions(count=240)
    return dataclasses.replace(said, members=members(), out_of_distribution={})


@pytest.fixture(scope="module")
def found(said):
    return assess.assess(said, num_samples=DRAWS)


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_the_numbers_are_those_of_a_loop(said, found):
    asked = found.membership
    assert (asked.num_members, asked.num_others) == (150, 240)
    assert list(asked.scores) == ["max_softmax", "margin", "coin"]

    def loss(of):
        return -np.log(softmax(of.logits)[np.arange(len(of.labels)), of.labels])

    inside, outside = said.members, said
    columns = {
        "margin": [of.scores["margin"] for of in (inside, outside)],
        "coin": [of.scores["coin"] for of in (inside, outside)],
        "max_softmax": [softmax(of.logits).max(1) for of in (inside, outside)],
        "loss": [-loss(of) for of in (inside, outside)],
    }
    for name, (own, others) in columns.items():
        numbers = asked.loss if name == "loss" else asked.scores[name]
        low, value, high = ends(numbers.auroc)
        pairs = [(a > b) + (a == b) / 2 for a, b in itertools.product(own, others)]
        assert value == pytest.approx(np.mean(pairs))
        assert 0 <= low < value < high <= 1
        member = np.arange(390) < 150
        ranks = np.unique(np.concatenate([own, others]), return_inverse=True)[1]
        for fpr in (0.01, 0.001):
            low, value, high = ends(numbers.true_positive_rates[fpr])
            expected = metrics.tpr_at_fpr(ranks.astype(np.float32), member, fpr=fpr)
            assert value == pytest.approx(float(expected))
            assert 0 <= low <= value <= high <= 1
        for false, true in zip(*numbers.roc, strict=True):
            at_least = np.sort(others)[::-1][round(false * 240) - 1]
            assert true == pytest.approx(np.mean(own >= at_least))
    assert ends(asked.loss.auroc)[0] > 0.5
    assert asked.loss.auroc.value > asked.scores["coin"].auroc.value


@pytest.mark.exhaustive
def test_a_sure_network_gives_no_infinite_number():
    labels = np.zeros(40, int)
    logits = np.where(np.arange(2) == 0, 800.0, -np.inf)[None].repeat(40, 0)
    same = assess.Members(logits, labels, {})
    said = assess.Predictions(logits, labels, members=same)
    found = assess.assess(said, num_samples=4).membership
    assert found is not None
    assert found.loss.auroc.value == 0.5
    assert found.loss.true_positive_rates[0.01].value == 0


@pytest.mark.exhaustive
def test_the_section_has_its_figure_table_and_numbers(said, found, tmp_path):
    page = report.write(found, said, tmp_path).read_text()
    assert 'href="#membership"' in page
    assert "150 images that the network learned from against the 240" in page
    assert "the population attack" in page
    assert "without any false positive" in page
    lines = (tmp_path / "tables/membership.csv").read_text().splitlines()
    assert lines[1].startswith('"Loss, with the label"')
    assert len(lines) == 5
    assert (tmp_path / "figures/membership.svg").stat().st_size > 5000
    numbers = json.loads((tmp_path / "metrics.json").read_text())["membership"]
    low, value, _ = ends(found.membership.loss.auroc)
    written = numbers["loss"]["auroc"]
    assert (written["low"], written["value"]) == (low, value)
    assert set(numbers["scores"]["coin"]["true_positive_rates"]) == {"0.01", "0.001"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda of: of._replace(logits=of.logits[:, :3]),
            r"logits of members must have shape \[members, 5\], .* got \(150, 3\)",
        ),
        (lambda of: of._replace(logits=of.logits * np.nan), "must not be NaN"),
        (
            lambda of: of._replace(labels=of.labels[1:]),
            r"labels of members must be integers of shape \(150,\)",
        ),
        (lambda of: of._replace(labels=of.labels + 5), r"must be in \[0, 5\)"),
        (
            lambda of: of._replace(scores={"x": np.zeros(150)}),
            r"members have scores that are not in scores: \['x'\]",
        ),
        (
            lambda of: of._replace(scores={"coin": np.zeros(3)}),
            r"score 'coin' of members must have shape \(150,\)",
        ),
    ],
)
def test_members_that_do_not_fit_are_refused(said, change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(said, members=change(said.members))


def test_as_many_training_images_are_asked_as_there_are_test_images():
    images = np.arange(50, dtype=np.uint8).repeat(16).reshape(50, 4, 4, 1)
    names = ["a", "b", "c"]
    train = data.from_arrays("own", images, np.arange(50) % 3, names)
    test = data.from_arrays("own", images[:20], np.arange(20) % 3, names)
    asked = []

    def ask(dataset):
        asked.append(data.as_arrays(dataset))
        logits = np.zeros((len(dataset), 3))
        labels = asked[-1][1]
        results = _members.scoring.Results({}, labels, np.arange(len(labels)))
        return _shifts.Answers(logits, {}), results

    datasets = pipeline.Datasets(train, None, test, {})
    for seed in (0, 0, 1):
        config = pipeline.ReportConfig(membership=True, seed=seed)
        found = _members.scored(config, datasets, ask)
        x, labels = asked[-1]
        np.testing.assert_array_equal(labels, x[:, 0, 0, 0] % 3)
        assert len(np.unique(x[:, 0, 0, 0])) == 20
        assert found is not None
        np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(asked[0][0], asked[1][0])
    assert (asked[1][0] != asked[2][0]).any()
    assert _members.scored(pipeline.ReportConfig(), datasets, ask) is None
    with pytest.raises(ValueError, match=r"--membership .* needs a training set"):
        _members.require(
            pipeline.ReportConfig(membership=True), datasets._replace(train=None)
        )
