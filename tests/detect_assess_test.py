"""The numbers of a detector's page against loops, and at their edges."""

import numpy as np
import pytest
from sklearn import metrics as sk

from tests import made_up, metrics_reference
from trustjax import assess
from trustjax.assess import Judged


def examples(count=400, seed=0, gap=1.5):
    """Two populations, a good score and a poorer one."""
    rng = np.random.default_rng(seed)
    trusted = rng.random(count) < 0.7
    good = gap * trusted + rng.normal(size=count)
    poor = 0.4 * good + rng.normal(size=count)
    return trusted, good, poor


def assessed(trusted, good, poor, **options):
    options = {"populations": {}, "kinds": {}, "singles": {}, **options}
    return assess.assess_detection(
        Judged("good", good, 0.7), Judged("poor", poor, 0.2), trusted, **options
    )


def test_values_are_those_of_loops():
    trusted, good, poor = examples()
    found = assessed(trusted, good, poor)
    for scores, threshold, numbers in (
        (good, 0.7, found.numbers["good"]),
        (poor, 0.2, found.numbers["poor"]),
    ):
        values = {name: quantity.value for name, quantity in numbers.items()}
        passing = [s for s in np.sort(scores) if (scores[trusted] >= s).mean() >= 0.95]
        expected = {
            "auroc": metrics_reference.auroc(scores, trusted),
            "fpr_at_95_tpr": (scores[~trusted] >= max(passing)).mean(),
            "aupr_in": sk.average_precision_score(trusted, scores),
            "aupr_out": sk.average_precision_score(~trusted, -scores),
            "true_positive_rate": (scores[trusted] >= threshold).mean(),
            "true_negative_rate": (scores[~trusted] < threshold).mean(),
        }
        expected["balanced_accuracy"] = (
            expected["true_positive_rate"] + expected["true_negative_rate"]
        ) / 2
        assert values == pytest.approx(expected, abs=1e-6)
    assert (found.num_trusted, found.num_untrusted) == (trusted.sum(), (~trusted).sum())


def test_every_number_has_an_interval_around_it():
    trusted, good, poor = examples()
    found = assessed(
        trusted,
        good,
        poor,
        populations={"a": ~trusted & (poor > 0), "b": ~trusted & (poor <= 0)},
        kinds={"good": (0.9, good)},
        singles={"poor": (0.6, poor), "constant": (0.7, np.zeros(len(poor)))},
    )
    quantities = [
        *(
            numbers[metric]
            for numbers in found.numbers.values()
            for metric in assess.DETECTION_METRICS
        ),
        *(q for of in found.by_population.values() for q in of.values()),
        *(one.auroc for one in (*found.kinds, *found.singles)),
        found.ahead,
    ]
    assert len(quantities) == 10 + 4 + 3 + 1
    for quantity in quantities:
        low, value, high = made_up.ends(quantity)
        assert low <= value <= high, quantity
    assert [one.title for one in found.singles] == ["constant", "poor"]
    alone = assessed(trusted, good, poor)
    assert alone.by_population == {}


def test_against_one_population_the_others_are_left_out():
    trusted, good, poor = examples()
    one = ~trusted & (np.arange(len(trusted)) % 2 == 0)
    found = assessed(trusted, good, poor, populations={"a": one, "b": ~trusted & ~one})
    kept = trusted | one
    expected = metrics_reference.auroc(good[kept], trusted[kept])
    assert found.by_population["a"]["good"].value == pytest.approx(expected)


def test_a_better_detector_is_ahead_and_a_worse_one_behind():
    trusted, good, poor = examples()
    assert assessed(trusted, good, poor).is_ahead
    worse = assess.assess_detection(
        Judged("poor", poor, 0.0),
        Judged("good", good, 0.0),
        trusted,
        populations={},
        kinds={},
        singles={},
    )
    assert worse.is_behind
    assert not worse.is_ahead


def test_the_same_order_is_no_difference():
    trusted, good, _ = examples()
    found = assessed(trusted, good, 3 * good + 1)
    assert found.ahead[:3] == (0.0, 0.0, 0.0)
    assert not found.is_ahead
    assert not found.is_behind


def test_with_few_of_a_kind_no_difference_is_claimed():
    trusted = np.arange(400) >= 5
    found = assessed(trusted, trusted * 1.0, np.arange(400) % 7 * 1.0)
    assert found.ahead.low is None
    assert "5 answers are wrong, and it takes 10" in found.ahead.not_defined
    assert not found.is_ahead
    auroc = found.numbers["good"]["auroc"]
    low, value, _ = made_up.ends(auroc)
    assert low < 1.0 == value


def test_infinite_scores_are_extremes():
    trusted, good, poor = examples()
    infinite = np.where(good > 1, np.inf, np.where(good < -1, -np.inf, good))
    found = assessed(trusted, infinite, poor)
    expected = metrics_reference.auroc(np.clip(infinite, -9, 9), trusted)
    assert found.numbers["good"]["auroc"].value == pytest.approx(expected)


@pytest.mark.exhaustive
def test_noise_is_called_better_or_worse_as_seldom_as_said():
    """Two scores that are equally good, with 15 of the rarer kind."""
    claims = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        trusted = np.arange(150) >= 15
        both = rng.normal(size=(2, 150)) + trusted
        found = assessed(trusted, *both, num_samples=400)
        claims += found.is_ahead or found.is_behind
    assert claims <= 12  # 2 % of 200 are expected at most; 12 have a chance of 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, g, p: (np.ones_like(t), g, p), "no example of 400 is not to be"),
        (
            lambda t, g, p: (np.zeros_like(t), g, p),
            "no example of 400 is to be trusted",
        ),
        (
            lambda t, g, p: (t, g[:-1], p),
            r"good must have shape \(400,\), got \(399,\)",
        ),
        (
            lambda t, g, p: (t, g, np.where(np.arange(400) == 3, np.nan, p)),
            "poor must not be NaN: 1 row breaks this, row 3",
        ),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        assessed(*change(*examples()))
