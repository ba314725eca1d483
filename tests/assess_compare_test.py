"""Several networks on one test set: paired numbers, and what may be said of them."""

import dataclasses

import numpy as np
import pytest

from tests import made_up
from trustjax import assess, metrics
from trustjax.assess import _compare, _networks, _trust

NUM_CLASSES = 4


def network(skill, *, labels, seed, **changes):
    """Predictions that are the better the higher the skill of each class."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(len(labels), NUM_CLASSES))
    logits[np.arange(len(labels)), labels] += np.broadcast_to(skill, NUM_CLASSES)[
        labels
    ]
    margin = np.diff(np.sort(logits, axis=1)[:, -2:])[:, 0]
    return assess.Predictions(
        **{"logits": logits, "labels": labels, "scores": {"margin": margin}} | changes
    )


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(1).integers(NUM_CLASSES, size=1200)


@pytest.fixture(scope="module")
def networks(labels):
    return {
        "good": network((3, 3, 3, 0.2), labels=labels, seed=2),
        "twin": network((3, 3, 3, 0.2), labels=labels, seed=3),
        "poor": network((0.5, 3, 1.5, 0.2), labels=labels, seed=4),
    }


@pytest.fixture(scope="module")
def found(networks):
    return assess.compare(networks, num_samples=200)


def test_each_network_has_the_numbers_of_its_own_page(networks, found):
    assert found.names == ("good", "twin", "poor")
    for one in found.networks:
        alone = assess.assess(networks[one.name], num_samples=200)
        assert one.assessment.headline == alone.headline
        for name, quantity in alone.headline.items():
            assert one.numbers[name] == quantity
        assert one.numbers["best_auroc"] == alone.scores[0].numbers["auroc"]


def test_differences_are_those_of_the_numbers(found):
    assert found.statements.keys() == _networks.HIGHER_IS_BETTER.keys()
    for number, statement in found.statements.items():
        values = [one.numbers[number].value for one in found.networks]
        np.testing.assert_allclose(
            statement.differences, np.subtract.outer(values, values), atol=1e-6
        )
        assert (np.asarray(statement.low) <= np.asarray(statement.differences)).all()
        assert (np.asarray(statement.high) >= np.asarray(statement.differences)).all()
        assert statement.higher_is_better == _networks.HIGHER_IS_BETTER[number]


def test_what_is_far_apart_is_told_apart_and_twins_are_not(found):
    for number in ("accuracy", "net_trust_score", "net_trust_score_uniform"):
        assert found.statements[number].may_be_best == ("good", "twin"), number


def test_a_network_is_not_told_apart_from_itself(networks):
    same = assess.compare(
        {"a": networks["good"], "b": networks["good"]}, num_samples=200
    )
    for number, statement in same.statements.items():
        assert statement.may_be_best == ("a", "b"), number
        assert not np.asarray(statement.behind).any()
    assert not any(c.differs for c in same.classes)


def test_all_numbers_share_one_chance_of_a_false_statement(found):
    levels = {statement.level for statement in found.statements.values()}
    (level,) = levels
    assert 1 - level == pytest.approx(0.05 / len(_networks.HIGHER_IS_BETTER))


def test_influences_say_how_much_each_example_moves_each_number(labels):
    said = network(1.0, labels=labels[:90], seed=5)
    influences = _compare._influences(said, _trust.measure(said))

    def numbers_without(row):
        kept = np.arange(90) != row
        part = assess.Predictions(said.logits[kept], said.labels[kept])
        numbers = _trust.measure(part)
        right, sure = part.correct, part.confidence
        return {
            "accuracy": right.mean(),
            "net_trust_score": numbers.trust.mean(),
            "net_trust_score_uniform": np.nanmean(numbers.spectrum),
            "confidence_when_right": sure[right].mean(),
            "confidence_when_wrong": sure[~right].mean(),
            "confidence_gap": sure[right].mean() - sure[~right].mean(),
        }

    whole = numbers_without(-1 - 90)
    left_out = [numbers_without(row) for row in range(90)]
    for number, moved in influences.items():
        jackknife = [89 * (whole[number] - less[number]) for less in left_out]
        np.testing.assert_allclose(moved, jackknife, rtol=0.1, atol=0.05)
        assert moved.mean() == pytest.approx(0, abs=1e-6)


def test_class_differences_are_paired_means(networks, found, labels):
    trust = {
        name: np.where(said.correct, said.confidence, 1 - said.confidence)
        for name, said in networks.items()
    }
    for index, of_class in enumerate(found.classes):
        apart = (trust["good"] - trust["poor"])[labels == index]
        assert of_class.count == len(apart)
        assert of_class.differences[0, 2] == pytest.approx(apart.mean(), abs=1e-6)
        assert of_class.low[0, 2] < apart.mean() < of_class.high[0, 2]
        assert of_class.low[2, 0] == -of_class.high[0, 2]
        error = apart.std() / np.sqrt(len(apart))
        width = of_class.high[0, 2] - of_class.low[0, 2]
        # 12 intervals hold together: 3 standard errors, not 2.
        assert 5 * error < width < 8 * error


def test_classes_that_all_distrust_and_that_differ_are_found(found):
    assert [c.distrusted for c in found.classes] == [False, False, False, True]
    assert [c.differs for c in found.classes] == [True, False, True, False]
    assert found.least_trusted[0] == 3
    rest = {0, 1, 2} - {*found.least_trusted}
    spreads = {index: found.classes[index].spread for index in rest}
    assert list(found.most_different) == sorted(rest, key=lambda index: -spreads[index])
    assert found.densities.keys() == {*found.least_trusted, *found.most_different}
    for densities in found.densities.values():
        assert densities.shape == (3, len(found.density_grid))


def test_best_scores_are_compared_as_picked_from_all(networks, found):
    statement = found.statements["best_auroc"]
    best = [one.assessment.best for one in found.networks]
    for name, score, value in zip(found.names, best, statement.values, strict=True):
        said = networks[name]
        scores = said.confidence if score == "max_softmax" else said.scores[score]
        assert float(value) == pytest.approx(
            float(metrics.auroc(scores, said.correct)), abs=1e-5
        )
    for one, said in zip(found.networks, networks.values(), strict=True):
        right = int(said.correct.sum())
        row = found.names.index(one.name)
        assert int(statement.num_right[row]) == right


def test_the_gap_of_confidence_has_an_interval():
    gap = _compare._gap(
        assess.Quantity(0.9, 0.8, 0.95), assess.Quantity(0.5, 0.45, 0.7)
    )
    assert gap.value == pytest.approx(0.4)
    assert gap.low == pytest.approx(0.4 - np.hypot(0.1, 0.2))
    assert gap.high == pytest.approx(0.4 + np.hypot(0.05, 0.05))
    missing = assess.Quantity(None, not_defined="no answer is wrong")
    assert _compare._gap(assess.Quantity(0.9, 0.8, 0.95), missing) == missing


def test_nothing_is_said_of_a_network_with_few_errors(labels, networks):
    sure = network(50.0, labels=labels, seed=6)
    found = assess.compare({"sure": sure, "poor": networks["poor"]}, num_samples=200)
    assert found.networks[0].numbers["confidence_gap"].not_defined
    for number, statement in found.statements.items():
        assert "sure" in statement.reasons, number
        assert not np.asarray(statement.behind).any()


@pytest.mark.exhaustive
def test_a_class_without_an_example_has_no_differences(networks, labels):
    kept = labels != 1
    part = {
        name: assess.Predictions(said.logits[kept], labels[kept])
        for name, said in networks.items()
    }
    found = assess.compare(part, num_samples=200)
    empty = found.classes[1]
    assert empty.count == 0
    assert np.isnan([empty.differences, empty.low, empty.high]).all()
    assert not empty.differs
    assert not empty.distrusted
    assert 1 not in found.densities


def test_class_names_of_one_file_are_those_of_all(networks):
    names = tuple("abcd")
    named = dataclasses.replace(networks["poor"], class_names=names)
    found = assess.compare({"good": networks["good"], "poor": named}, num_samples=200)
    assert tuple(c.name for c in found.classes) == names
    for one in found.networks:
        assert tuple(c.name for c in one.assessment.classes) == names


def test_what_is_known_of_a_network_is_kept(networks):
    run = {"num_parameters": 12, "dataset_fingerprint": "x"}
    known = dataclasses.replace(networks["good"], run=run)
    found = assess.compare({"a": known, "b": networks["poor"]}, num_samples=200)
    assert [one.num_parameters for one in found.networks] == [12, None]


def other_labels(said):
    labels = said.labels.copy()
    labels[17] = (labels[17] + 1) % NUM_CLASSES
    labels[20] = (labels[20] + 1) % NUM_CLASSES
    return dataclasses.replace(said, labels=labels)


def numbered(said, first=0):
    return dataclasses.replace(said, index=np.arange(len(said.labels)) + first)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (other_labels, "row 17 is the first with another label"),
        (lambda said: numbered(said, 1), "row 0 is the first with another record num"),
        (lambda said: assess.Predictions(said.logits[:9], said.labels[:9]), "9 exam"),
        (
            lambda said: dataclasses.replace(said, class_names=("a", "b", "x", "d")),
            "class 2 is the first with another name, 'x' and 'c'",
        ),
        (
            lambda said: assess.Predictions(
                np.pad(said.logits, ((0, 0), (0, 1))), said.labels
            ),
            "5 classes and 4",
        ),
        (
            lambda said: dataclasses.replace(said, run={"dataset_fingerprint": "y"}),
            "the fingerprints of its data are y and x",
        ),
    ],
)
def test_other_records_are_refused(networks, changed, message):
    given = dataclasses.replace(
        numbered(networks["good"]),
        class_names=tuple("abcd"),
        run={"dataset_fingerprint": "x"},
    )
    with pytest.raises(ValueError, match=f"other and given are not .*: .*{message}"):
        assess.compare({"given": given, "other": changed(networks["poor"])})


def test_one_network_is_not_compared(networks):
    with pytest.raises(ValueError, match="two networks to compare, got 1"):
        assess.compare({"good": networks["good"]})


def test_progress_is_heard(networks):
    heard = []
    assess.compare(
        networks, num_samples=200, progress=lambda *facts: heard.append(facts[:3])
    )
    assert heard == [("comparing", done, 3) for done in (1, 2, 3)]


@pytest.mark.exhaustive
def test_a_made_up_network_with_infinite_scores_is_compared():
    found = assess.compare(
        {str(seed): made_up.predictions(seed=0, full=seed > 0) for seed in (0, 1)},
        num_samples=200,
    )
    assert len(found.statements["best_auroc"].names) == 2
