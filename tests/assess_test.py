"""The numbers of an assessment: against loops, scikit-learn and hand-worked cases."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from tests import made_up
from trustjax import assess, metrics
from trustjax.assess import _class_order, _trust


@pytest.fixture(scope="module")
def said():
    return made_up.predictions()


@pytest.fixture(scope="module")
def found(said):
    return assess.assess(said, num_samples=200)


def test_headline_by_hand():
    # Probabilities .9, .8, .6, .7 of the answers 0, 0, 1, 1; the second is wrong.
    answers = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    said = assess.Predictions(np.log(answers), np.array([0, 1, 1, 1]))
    headline = assess.assess(said, num_samples=200).headline
    values = {name: quantity.value for name, quantity in headline.items()}
    assert values == {
        "accuracy": 0.75,
        # Trust .9, 1 - .8 = .2, .6, .7.
        "net_trust_score": pytest.approx((0.9 + 0.2 + 0.6 + 0.7) / 4),
        "net_trust_score_uniform": pytest.approx((0.9 + (0.2 + 0.6 + 0.7) / 3) / 2),
        "confidence_when_right": pytest.approx((0.9 + 0.6 + 0.7) / 3),
        "confidence_when_wrong": pytest.approx(0.8),
    }


def test_every_headline_number_lies_in_its_interval(found):
    for name, quantity in found.headline.items():
        assert quantity.low < quantity.value < quantity.high, name
    for score in found.scores:
        for metric in ("auroc", "fpr_at_95_tpr"):
            quantity = score.numbers[metric]
            assert quantity.low < quantity.value < quantity.high, (score.name, metric)
        risk = score.selective_risk
        assert risk.low < risk.value < risk.high


def test_a_wider_level_gives_a_wider_interval(said, found):
    wide = assess.assess(said, num_samples=200, confidence_level=0.999)
    narrow = found.headline["accuracy"]
    assert wide.headline["accuracy"].low < narrow.low
    assert wide.headline["accuracy"].high > narrow.high


def test_comparison_tells_a_coin_from_a_score_but_no_twin(said):
    twin = dataclasses.replace(
        said, scores={**said.scores, "twin": 10 * said.confidence}
    )
    found = assess.assess(twin, num_samples=200)
    by_name = found.by_name
    assert found.best == "max_softmax"
    other = by_name["twin"]
    assert other.may_be_best
    assert other.behind_best[:3] == (0, 0, 0)
    assert not by_name["coin"].may_be_best
    assert (by_name["coin"].behind_best.low or 0) > 0.1
    assert by_name[found.best].may_be_best
    assert found.comparison.reason == ""
    auroc = np.array([score.numbers["auroc"].value for score in found.scores])
    assert (np.diff(auroc) <= 0).all(), "the best first"


@pytest.mark.parametrize("errors", [0, 1, 9])
def test_few_errors_prove_nothing(errors):
    said = made_up.predictions(40, 3, full=False)
    labels = said.predicted.copy()
    labels[:errors] = (labels[:errors] + 1) % 3
    found = assess.assess(dataclasses.replace(said, labels=labels), num_samples=200)
    assert found.comparison.reason.endswith("and it takes 10")
    assert all(score.may_be_best for score in found.scores)
    for score in found.scores:
        assert score.behind_best.low is None
    if errors:
        for score in found.scores:
            low, _, high = made_up.ends(score.numbers["auroc"])
            assert high - low > 0.25


def test_selective_risk_is_that_of_the_most_trusted(said, found):
    trusted = np.argsort(-said.scores["margin"], kind="stable")[:240]
    risk = found.by_name["margin"].selective_risk
    assert risk.value == pytest.approx(np.mean(~said.correct[trusted]))


def test_confidences_that_round_to_1_keep_their_order():
    gaps = np.array([50.0, 60.0, 70.0, 80.0] * 10)
    said = assess.Predictions(
        np.stack([gaps, np.zeros(40)], axis=1), np.where(gaps > 55, 0, 1)
    )
    assert (said.confidence == 1).all()
    np.testing.assert_allclose(said.log_odds, gaps)
    score = assess.assess(said, num_samples=200).by_name["max_softmax"]
    assert score.numbers["auroc"].value == 1
    rounded = dataclasses.replace(said, scores={"max_softmax": np.ones(40)})
    score = assess.assess(rounded, num_samples=200).by_name["max_softmax"]
    assert score.numbers["auroc"].value == 1


def test_log_odds_do_not_depend_on_which_class_is_which(said):
    turned = assess.Predictions(said.logits[:, ::-1], said.labels)
    np.testing.assert_array_equal(turned.log_odds, said.log_odds)
    p = said.confidence
    np.testing.assert_allclose(said.log_odds, np.log(p / (1 - p)), rtol=1e-9)
    masked = assess.Predictions(
        np.array([[0.0, -np.inf], [0.0, 0.0]]), np.zeros(2, int)
    )
    np.testing.assert_array_equal(masked.log_odds, [np.inf, 0])


def test_infinite_scores_rank_first(said, found):
    finite = np.where(
        np.isinf(said.scores["grad_trust"]), 1e30, said.scores["grad_trust"]
    )
    expected = sklearn.metrics.roc_auc_score(said.correct, finite)
    score = found.by_name["grad_trust"]
    np.testing.assert_allclose(score.numbers["auroc"].value, expected, rtol=1e-6)
    assert score.num_infinite == 30
    assert score.title == "GradTrust"


def test_both_readings_of_auac_are_the_metrics(said, found):
    correct = jnp.asarray(said.correct)
    margin = jnp.asarray(said.scores["margin"], jnp.float32)
    numbers = found.by_name["margin"].numbers
    for grid in ("quantile", "range"):
        expected = metrics.auac(margin, correct, grid=grid)
        np.testing.assert_allclose(numbers[f"auac_{grid}"].value, expected, rtol=1e-5)
    infinite = found.by_name["grad_trust"].numbers
    assert infinite["auac_range"].not_defined == "the score has infinite values"
    assert infinite["auac_quantile"].value == pytest.approx(
        numbers["auac_quantile"].value, abs=0.02
    )


def test_risk_coverage_curve_ends_at_the_error_rate(found):
    for score in found.scores:
        assert score.risk_coverage.x[-1] == pytest.approx(1)
        assert score.risk_coverage.y[-1] == pytest.approx(found.num_errors / 300)
        assert (np.diff(score.risk_coverage.x) >= 0).all()


def test_classes_confusion_and_mistakes_are_those_of_loops(said, found):
    trust = np.where(said.correct, said.confidence, 1 - said.confidence)
    for index, c in enumerate(found.classes):
        mine = said.labels == index
        assert c.count == mine.sum()
        np.testing.assert_allclose(c.accuracy.value, said.correct[mine].mean())
        np.testing.assert_allclose(c.trust.value, trust[mine].mean(), rtol=1e-6)
        for answer in range(5):
            cell = mine & (said.predicted == answer)
            assert found.confusion[index, answer] == cell.sum()
            expected = trust[cell].mean() if cell.any() else np.nan
            np.testing.assert_allclose(
                found.trust_matrix[index, answer], expected, rtol=1e-6
            )
    counts = [mistake.count for mistake in found.mistakes]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == found.num_errors
    first = found.mistakes[0]
    cell = (said.labels == first.label) & (said.predicted == first.answer)
    np.testing.assert_allclose(first.confidence, said.confidence[cell].mean())


def test_densities_are_of_the_least_and_the_most_trusted_classes(said):
    spectrum = np.array([0.5, 0.9, 0.1, np.nan, 0.6, 0.8, 0.2, 0.7, 0.3])
    numbers = _trust.measure(said)._replace(spectrum=spectrum)
    densities = _trust.densities(made_up.predictions(300, 9), numbers)
    assert list(densities) == [2, 6, 8, 7, 5, 1]
    for density in densities.values():
        area = np.trapezoid(density, _trust.DENSITY_GRID)
        np.testing.assert_allclose(area, 1, atol=0.01)


def test_gradient_statistics_are_judged_by_auroc(said, found):
    table = said.gradient_statistics
    expected = [
        [
            sklearn.metrics.roc_auc_score(said.correct, table.values[:, g, s])
            for s in (0, 1)
        ]
        for g in range(3)
    ]
    np.testing.assert_allclose(found.gradients.auroc, expected, rtol=1e-6)
    assert (found.gradients.auroc < 0.5).all(), "large gradients mean doubt here"
    assert (found.gradients.low < found.gradients.auroc).all()
    assert (found.gradients.auroc < found.gradients.high).all()


def test_other_data_is_told_by_auroc(said, found):
    noise = said.out_of_distribution["noise"]["margin"]
    inside = said.scores["margin"]
    expected = sklearn.metrics.roc_auc_score(
        np.repeat([1, 0], [300, 200]), np.concatenate([inside, noise])
    )
    numbers = found.out_of_distribution["noise"]["margin"]
    np.testing.assert_allclose(numbers["auroc"].value, expected, rtol=1e-6)
    passing = np.mean(noise >= np.sort(inside)[int(np.ceil(0.05 * 300))])
    assert numbers["fpr_at_95_tpr"].value == pytest.approx(passing, abs=0.03)
    for of_margin in numbers.values():
        assert of_margin.low < of_margin.value < of_margin.high
    perfect = found.out_of_distribution["noise"]["coin"]["auroc"]
    assert perfect.value == perfect.high == 1
    assert 0.9 < perfect.low < 1


def test_gallery_shows_the_extremes(said, found):
    gallery = found.gallery
    wrong = gallery["confidently_wrong"]
    assert not said.correct[wrong].any()
    assert said.confidence[wrong[0]] == said.confidence[~said.correct].max()
    hesitant = gallery["hesitantly_right"]
    assert said.correct[hesitant].all()
    assert said.confidence[hesitant[0]] == said.confidence[said.correct].min()
    score = assess.all_scores(said)[found.best]
    assert score[gallery["most_trusted"][0]] == score.max()
    assert score[gallery["least_trusted"][0]] == score.min()


def test_all_right_is_said_not_computed(said):
    found = assess.assess(
        dataclasses.replace(said, labels=said.predicted), num_samples=200
    )
    accuracy = found.headline["accuracy"]
    assert accuracy[:3] == (1, pytest.approx(0.025 ** (1 / 300)), 1)
    assert found.headline["confidence_when_wrong"] == assess.Quantity(
        None, not_defined="no answer is wrong"
    )
    for score in found.scores:
        assert score.numbers["auroc"].not_defined == "every answer is right"
        assert score.numbers["aurc"].value == 0
        assert score.selective_risk.value == 0
    assert found.gradients is not None
    assert np.isnan(found.gradients.auroc).all()
    assert found.mistakes == ()
    assert found.gallery["confidently_wrong"].size == 0


def test_all_wrong_is_said_not_computed(said):
    labels = (said.predicted + 1) % 5
    found = assess.assess(dataclasses.replace(said, labels=labels), num_samples=200)
    assert found.headline["accuracy"].value == 0
    assert found.headline["confidence_when_right"].not_defined == "no answer is right"
    for score in found.scores:
        assert score.numbers["auroc"].not_defined == "every answer is wrong"


def test_one_example(said):
    one = assess.Predictions(said.logits[:1], said.predicted[:1])
    found = assess.assess(one, num_samples=200)
    value = found.headline["net_trust_score"].value
    assert value == pytest.approx(one.confidence[0], rel=1e-6)
    low, _, high = made_up.ends(found.headline["net_trust_score"])
    assert low < 0.05
    assert high > 0.95
    assert [s.name for s in found.scores] == ["max_softmax"]


def test_an_empty_class_is_excluded_and_said(said):
    labels = np.where(said.labels == 4, 0, said.labels)
    found = assess.assess(
        assess.Predictions(said.logits, labels, scores=said.scores), num_samples=200
    )
    assert found.classes[4].count == 0
    assert found.classes[4].trust.not_defined == "no example has this label"
    known = [c.trust.value for c in found.classes[:4]]
    uniform = found.headline["net_trust_score_uniform"]
    assert uniform.value == pytest.approx(np.mean(np.array(known)), rel=1e-5)
    assert np.isnan(found.trust_matrix[4]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence_level": 1.5}, r"confidence_level must be in \[0, 1\], got 1.5"),
        ({"num_samples": 0}, "num_samples must be an integer >= 1, got 0"),
    ],
)
def test_bad_options_are_named(said, options, message):
    with pytest.raises(ValueError, match=message):
        assess.assess(said, **options)


def test_reliability_is_that_of_a_loop(said, found):
    curve = found.reliability
    bins = np.clip(np.ceil(15 * said.confidence) - 1, 0, 14)
    gaps = 0.0
    for index in range(15):
        mine = bins == index
        assert curve.count[index] == mine.sum()
        if mine.any():
            sure, right = said.confidence[mine].mean(), said.correct[mine].mean()
            np.testing.assert_allclose(curve.confidence[index], sure, rtol=1e-5)
            np.testing.assert_allclose(curve.accuracy[index], right, rtol=1e-5)
            gaps += mine.mean() * abs(sure - right)
    error = curve.expected_calibration_error.value
    np.testing.assert_allclose(error, gaps, rtol=1e-5)


def test_calibration_error_is_told_from_what_chance_adds():
    generator = np.random.default_rng(0)
    logits = 2 * generator.normal(size=(400, 2))
    said = assess.Predictions(logits, np.zeros(400, int))
    drawn = generator.random(400) < said.probabilities[:, 1]
    said = dataclasses.replace(said, labels=drawn.astype(int))
    found = assess.assess(said, num_samples=100).reliability
    low, value, high = made_up.ends(found.error_without_chance)
    assert low == 0, "it may be calibrated"
    assert value < (found.expected_calibration_error.value or 0)
    surer = dataclasses.replace(said, logits=5 * logits)
    found = assess.assess(surer, num_samples=100).reliability
    low, value, high = made_up.ends(found.error_without_chance)
    assert 0.05 < low < value < high


def in_another_order(order, logits, labels):
    return assess.assess(
        assess.Predictions(logits[:, order], labels), num_samples=200
    ).other_class_order


@pytest.mark.exhaustive
def test_another_order_of_the_classes_is_noticed():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(12), 20)
    logits = 8 * np.eye(12)[labels] + generator.normal(size=(240, 12))
    order = [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 2, 3]  # of the names as strings
    found = in_another_order(np.argsort(order), logits, labels)
    assert found is not None
    assert found.accuracy == 1
    np.testing.assert_array_equal(np.argsort(order)[list(range(12))], found.labels)
    assert in_another_order(np.arange(12), logits, labels) is None


def test_no_order_of_the_classes_is_proposed_that_fits_noise():
    generator = np.random.default_rng(0)
    for classes, count in ((2, 40), (12, 240), (500, 500)):
        labels = np.arange(count) % classes
        logits = generator.normal(size=(count, classes))
        assert _class_order.other(labels, logits.argmax(1), classes) is None
    labels = np.arange(40) % 2
    swapped = _class_order.other(labels, 1 - labels, 2)
    assert swapped == (1.0, (1, 0))


def test_alpha_and_beta_weigh_the_two_mistakes_by_hand():
    answers = np.array([[0.9, 0.1], [0.8, 0.2]])
    said = assess.Predictions(np.log(answers), np.array([0, 1]))
    found = assess.assess(said, num_samples=200, alpha=2.0, beta=0.5)
    trust = found.headline["net_trust_score"].value
    assert trust == pytest.approx((0.9**2 + (1 - 0.8) ** 0.5) / 2)
    assert (found.alpha, found.beta) == (2.0, 0.5)
    with pytest.raises(ValueError, match="beta must not be negative, got -1"):
        assess.assess(said, beta=-1.0)


def test_progress_hears_of_every_part(said):
    heard = []
    assess.assess(said, num_samples=200, progress=lambda *call: heard.append(call))
    assert heard == [("assessing", done, 6, {}) for done in range(1, 7)]
