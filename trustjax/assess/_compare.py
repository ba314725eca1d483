"""From the predictions of several networks to a `NetworkComparison`."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import _validate, metrics
from trustjax.assess import _auroc, _draws, _intervals, _trust
from trustjax.assess._assess import assess
from trustjax.assess._assessment import Assessment, Quantity
from trustjax.assess._networks import (
    HIGHER_IS_BETTER,
    ClassComparison,
    NetworkAssessment,
    NetworkComparison,
    require_same_records,
)
from trustjax.assess._predictions import Predictions
from trustjax.assess._scores import all_ranks
from trustjax.typing import ProgressFn

CHOSEN_CLASSES = 2  # of the least trusted, and of the most different


def compare(
    networks: Mapping[str, Predictions],
    *,
    confidence_level: float = 0.95,
    num_samples: int = 1000,
    seed: int = 0,
    alpha: float = 1.0,
    beta: float = 1.0,
    progress: ProgressFn | None = None,
) -> NetworkComparison:
    """Compares several networks on the same test set.

    Differences are paired: both networks answer the same examples, so that what is hard
    for both cancels. Each network's numbers have the intervals of its own page; what is
    said of differences holds together, for all pairs of networks and all numbers.

    Args:
      networks: name -> what the network said; two at least.
      confidence_level: of the intervals, and of each family of statements.
      num_samples: random draws, of the comparisons and of calibration errors.
      seed: of the draws.
      alpha: of question-answer trust, as `assess` takes it.
      beta: of question-answer trust, as `assess` takes it.
      progress: hears, as the task `"comparing"`, how many networks are assessed.

    Returns:
      The comparison.

    Raises:
      ValueError: if there are fewer than two networks, or they are not of the same
        records, naming the first that differs; if an option is out of range.

    ==============================  ================================================
    Edge case                       Value
    ==============================  ================================================
    the same network twice          no difference is told apart from 0
    fewer errors than 10 of one     nothing is said of that network
    a class without an example      its differences are NaN
    class names in one file only    taken for those of all
    ==============================  ================================================

    >>> labels = np.arange(200) % 2
    >>> right = np.stack([labels == 0, labels == 1], axis=1)
    >>> good = np.where(np.arange(200)[:, None] % 10 > 0, right, ~right) * 3.0
    >>> poor = np.where(np.arange(200)[:, None] % 3 > 0, right, ~right) * 3.0
    >>> compared = compare(
    ...     {name: Predictions(logits, labels)
    ...      for name, logits in {"good": good, "poor": poor}.items()})
    >>> compared.statements["accuracy"].may_be_best
    ('good',)

    References:
      Wong, Wang and Hryniowski 2020 (arXiv:2009.05835), table 1 and figures 4 and 5,
      without intervals.
    """
    _validate.open_fraction("confidence_level", confidence_level)
    _validate.count("num_samples", num_samples)
    if len(networks) < 2:
        raise ValueError(f"it takes two networks to compare, got {len(networks)}")
    require_same_records(networks)
    level = confidence_level
    networks = _with_class_names(networks)
    assessments, numbers = {}, {}
    for done, (name, said) in enumerate(networks.items(), 1):
        assessments[name] = assess(
            said,
            confidence_level=level,
            num_samples=num_samples,
            seed=seed,
            alpha=alpha,
            beta=beta,
        )
        numbers[name] = _trust.measure(said, alpha=alpha, beta=beta)
        if progress is not None:
            progress("comparing", done, len(networks), {})
    of_each = 1 - (1 - level) / len(networks)
    assessed = tuple(
        NetworkAssessment(
            name,
            assessments[name],
            _numbers(assessments[name]),
            said.run.get("num_parameters"),
            _trust.classes(said, numbers[name], of_each),
        )
        for name, said in networks.items()
    )
    (labels, *_) = (said.labels for said in networks.values())
    trust = np.stack([numbers[name].trust for name in networks])
    classes = _classes(assessed, labels, trust, level)
    least, different = _chosen(assessed, classes)
    return NetworkComparison(
        num_examples=len(labels),
        num_all_wrong=int(
            np.all([~said.correct for said in networks.values()], axis=0).sum()
        ),
        confidence_level=level,
        num_samples=num_samples,
        networks=assessed,
        statements=_statements(networks, numbers, assessed, level, num_samples, seed),
        classes=classes,
        density_grid=_trust.DENSITY_GRID,
        least_trusted=least,
        most_different=different,
        densities={
            index: np.stack([_trust.density(own, labels == index) for own in trust])
            for index in (*least, *different)
        },
    )


def _with_class_names(networks: Mapping[str, Predictions]) -> dict[str, Predictions]:
    """The networks with the class names that one of them may be alone to have."""
    given = [said.class_names for said in networks.values()]
    numbers = tuple(map(str, range(len(given[0]))))
    names = next((own for own in given if own != numbers), numbers)
    return {
        name: dataclasses.replace(said, class_names=names)
        for name, said in networks.items()
    }


def _numbers(assessed: Assessment) -> dict[str, Quantity]:
    """The numbers that are compared."""
    own = {
        **assessed.headline,
        "calibration_error": assessed.reliability.error_without_chance,
        "best_auroc": assessed.scores[0].numbers["auroc"],
        "confidence_gap": _gap(
            assessed.headline["confidence_when_right"],
            assessed.headline["confidence_when_wrong"],
        ),
    }
    return {name: own[name] for name in HIGHER_IS_BETTER}


def _gap(right: Quantity, wrong: Quantity) -> Quantity:
    """How much surer a network is where it is right; the two are independent."""
    for part in (right, wrong):
        if part.value is None:
            return part
    of_right = np.array(right[:3], np.float64)
    modest = 1 - np.array([wrong.value, wrong.high, wrong.low], np.float64)
    # Halved and moved, a difference of numbers in [0, 1] is one as well.
    value, lows, highs = np.stack([of_right, modest], axis=1)
    middle = float(value.mean())
    low, high = _intervals.sum_interval(middle, value, lows, highs, weights=0.5)
    return Quantity(2 * middle - 1, 2 * low - 1, 2 * high - 1)


def _statements(
    networks: Mapping[str, Predictions],
    numbers: Mapping[str, _trust.TrustNumbers],
    assessed: Sequence[NetworkAssessment],
    level: float,
    num_samples: int,
    seed: int,
) -> dict[str, metrics.Comparison]:
    """Which networks are told apart by which number; one family of statements."""
    of_each = 1 - (1 - level) / len(HIGHER_IS_BETTER)
    correct = {name: said.correct for name, said in networks.items()}
    influences = [_influences(networks[name], numbers[name]) for name in networks]
    statements = {}
    for number, higher in HIGHER_IS_BETTER.items():
        values = {
            one.name: float(_or_nan(one.numbers[number].value)) for one in assessed
        }
        if number == "calibration_error":
            comparison = _calibration(networks, values, of_each, num_samples, seed)
        elif number == "best_auroc":
            comparison = _best_scores(networks, assessed, of_each, num_samples, seed)
        else:
            own = np.stack([of[number] for of in influences], axis=1)
            errors = _draws.errors_of_influences(own, num_samples, seed)
            comparison = metrics.compare_resampled(
                values,
                np.array(list(values.values())) + errors,
                correct,
                level=of_each,
                higher_is_better=higher,
            )
        statements[number] = comparison
    return statements


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def _influences(
    said: Predictions, numbers: _trust.TrustNumbers
) -> dict[str, np.ndarray]:
    """Number -> `[examples]`: how much each example moves it."""
    right, sure, labels = said.correct, said.confidence, said.labels
    trust = numbers.trust.astype(np.float64)
    counts = np.bincount(labels, minlength=len(said.class_names))
    by_class = np.bincount(labels, trust, len(counts)) / np.maximum(counts, 1)
    share = counts[labels] * np.sum(counts > 0) / len(labels)

    def among(which: np.ndarray) -> np.ndarray:
        if not which.any():
            return np.full(len(which), np.nan)
        return np.where(which, sure - sure[which].mean(), 0) / which.mean()

    when_right, when_wrong = among(right), among(~right)
    return {
        "accuracy": right - right.mean(),
        "net_trust_score": trust - trust.mean(),
        "net_trust_score_uniform": (trust - by_class[labels]) / share,
        "confidence_when_right": when_right,
        "confidence_when_wrong": when_wrong,
        "confidence_gap": when_right - when_wrong,
    }


def _best_scores(
    networks: Mapping[str, Predictions],
    assessed: Sequence[NetworkAssessment],
    level: float,
    num_samples: int,
    seed: int,
) -> metrics.Comparison:
    """The best scores of the networks: picked from all, which are compared at once."""
    values, influences, correct, picked = {}, [], {}, []
    for one, said in zip(assessed, networks.values(), strict=True):
        ranks = all_ranks(said)
        placed = _auroc.placements(np.stack(list(ranks.values())), said.correct)
        picked.append(len(values) + list(ranks).index(one.assessment.best))
        names = [f"{len(picked)} {score}" for score in ranks]
        values |= dict(zip(names, placed.auroc.tolist(), strict=True))
        correct |= dict.fromkeys(names, said.correct)
        influences.append(_auroc.influences(placed, said.correct))
    errors = _draws.errors_of_influences(
        np.concatenate(influences, axis=1), num_samples, seed
    )
    together = metrics.compare_resampled(
        values, np.array(list(values.values())) + errors, correct, level=level
    )
    rows = np.array(picked)
    pairs = np.ix_(rows, rows)
    return dataclasses.replace(
        together,
        names=tuple(networks),
        **{
            name: getattr(together, name)[rows]
            for name in ("values", "num_wrong", "num_right", "undefined")
        },
        **{
            name: getattr(together, name)[pairs]
            for name in ("differences", "low", "high")
        },
    )


def _calibration(
    networks: Mapping[str, Predictions],
    values: Mapping[str, float],
    level: float,
    num_samples: int,
    seed: int,
) -> metrics.Comparison:
    """Calibration errors from intervals of their own: no error has an influence."""
    of_each = 1 - (1 - level) / len(networks)
    lows, highs = np.array(
        [
            metrics.calibration_error_interval(
                said.confidence,
                said.correct,
                key=jax.random.key(seed),
                num_samples=num_samples,
                level=of_each,
            )[1:]
            for said in networks.values()
        ]
    ).T
    value = np.array(list(values.values()))
    rights = np.array([said.correct.sum() for said in networks.values()])
    wrongs = len(next(iter(networks.values())).labels) - rights
    same = np.eye(len(value), dtype=bool)
    return metrics.Comparison(
        names=tuple(networks),
        level=level,
        higher_is_better=False,
        values=jnp.asarray(value),
        differences=jnp.asarray(value[:, None] - value),
        low=jnp.asarray(np.where(same, 0, lows[:, None] - highs)),
        high=jnp.asarray(np.where(same, 0, highs[:, None] - lows)),
        num_wrong=jnp.asarray(wrongs),
        num_right=jnp.asarray(rights),
        undefined=jnp.zeros(len(value)),
    )


def _classes(
    assessed: Sequence[NetworkAssessment],
    labels: np.ndarray,
    trust: np.ndarray,
    level: float,
) -> tuple[ClassComparison, ...]:
    """How far the networks differ on each class, `[networks, examples]` in."""
    spectra = [one.classes for one in assessed]
    size, num_classes = len(assessed), len(spectra[0])
    values = np.array([[_or_nan(c.trust.value) for c in own] for own in spectra])
    differences = values[:, None] - values[None]
    low = np.where(np.isnan(differences), np.nan, 0.0)
    high = low.copy()
    pairs = list(itertools.combinations(range(size), 2))
    statements = len(pairs) * len(np.unique(labels))
    of_each = 1 - (1 - level) / statements
    for one, other in pairs:
        ends = _intervals.mean_intervals(
            (trust[one] - trust[other] + 1) / 2, labels, num_classes, of_each
        )
        down, up = (np.where(np.isnan(values[0]), np.nan, 2 * end - 1) for end in ends)
        low[one, other], high[one, other] = down, up
        low[other, one], high[other, one] = -up, -down
    return tuple(
        ClassComparison(
            name=spectra[0][index].name,
            count=spectra[0][index].count,
            distrusted=all(own[index].below_average for own in spectra),
            differences=differences[:, :, index],
            low=low[:, :, index],
            high=high[:, :, index],
        )
        for index in range(num_classes)
    )


def _chosen(
    assessed: Sequence[NetworkAssessment], classes: Sequence[ClassComparison]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Classes that all trust little, and other classes on which they differ."""
    present = [index for index, c in enumerate(classes) if c.count]

    def most_trust(index: int) -> float:
        return max(_or_nan(one.classes[index].trust.value) for one in assessed)

    least = sorted(present, key=most_trust)[:CHOSEN_CLASSES]
    rest = [index for index in present if index not in least]
    different = sorted(rest, key=lambda index: -classes[index].spread)[:CHOSEN_CLASSES]
    return tuple(least), tuple(different)
