r"""How sure the numbers of the study are: images and re-splits, resampled together.

Every number is a mean over re-splits. One that was made anew would have other images
and other networks, so both are resampled at once: each image (or each class, where
those are alike) has one random weight in all re-splits that it is in, and each re-split
has one. The weights are exponential with mean 1 (Rubin's Bayesian bootstrap), so that
none of ten photographs is ever missing; that images and re-splits are resampled as if
they were independent makes the intervals too wide rather than too narrow (Owen 2007,
"The pigeonhole bootstrap", doi:10.1214/07-AOAS122).

All numbers of a study share the same weights, so any two of them are compared in pairs.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments import oberdiek2018
from experiments.oberdiek2018 import ALL, ERRORS, Study
from experiments.oberdiek2018_columns import Populations

Judged = Mapping[str, np.ndarray]
"""Trust by population, `[images]`: what one score says of one re-split."""

SHARE = 0.1
"""What an unknown concept weighs beside the test images in a precision.

The paper has 20,000 images of each beside 200,000 digits; a precision depends on it.
"""
SAMPLES_OF_PRECISION = 100
"""Of precisions and rates, which take passes over all images for each sample."""


class Estimate(NamedTuple):
    """A mean over re-splits.

    Attributes:
      value: of the images as they are.
      samples: `[samples]`, of resampled images and re-splits.
      resplits: `[resplits]`, the number of each.
    """

    value: float
    samples: np.ndarray
    resplits: np.ndarray

    def to_json(self) -> dict[str, float | list[float]]:
        """The number with its ends at 95 %, and that of each re-split."""
        low, high = np.quantile(self.samples, (0.025, 0.975)).tolist()
        each = [round(value, 6) for value in self.resplits.tolist()]
        return {"value": self.value, "low": low, "high": high, "resplits": each}


class Groups(NamedTuple):
    """Whom a score is to tell apart in one re-split.

    Attributes:
      right: `[images]`, rows of the test set.
      others: by population, rows of it: wrong answers, or unknown images.
      units: by population, what one of them weighs.
    """

    right: np.ndarray
    others: Mapping[str, np.ndarray]
    units: Mapping[str, float]


def groups(study: Study, found: Populations, concept: str) -> Groups:
    """The right answers, and the wrong ones or the images of an unknown concept."""
    correct = found.correct["test"]
    right = np.flatnonzero(correct)
    if concept == ERRORS:
        wrong = np.flatnonzero(~correct)
        return Groups(right, {"test": wrong}, {"test": 1.0})
    names = [concept]
    if concept == ALL:
        names = [name for name in study.unknowns if name not in study.known_concept]
    others = {name: np.flatnonzero(found.roles[name] == 0) for name in names}
    units = {name: SHARE * len(correct) / len(rows) for name, rows in others.items()}
    return Groups(right, others, units)


@dataclasses.dataclass(frozen=True)
class Resampler:
    """The weights that all numbers of a study share.

    Attributes:
      study: the settings.
      found: what is known of the images of each re-split.
    """

    study: Study
    found: Sequence[Populations]

    @functools.cached_property
    def of_resplits(self) -> np.ndarray:
        """`[samples, re-splits]`; the first sample is what there is."""
        return self._draw("re-splits", len(self.found))

    @functools.cached_property
    def _of_pool(self) -> np.ndarray:
        return self._draw("pool", self.found[0].pool)

    @functools.cached_property
    def _of_unknown(self) -> dict[str, np.ndarray]:
        drawn = {}
        for name in self.study.unknowns:
            labels = self.found[0].labels[name]
            classes = oberdiek2018.classes_of(name, labels)
            drawn[name] = self._draw(name, classes.max() + 1)[:, classes]
        return drawn

    def _draw(self, what: str, count: int) -> np.ndarray:
        random = np.random.default_rng([2018, *what.encode()])
        shape = (self.study.num_samples + 1, count)
        weights = random.standard_exponential(shape, dtype=np.float32)
        weights[0] = 1
        return weights

    def weights(
        self,
        resplit: int,
        population: str,
        rows: np.ndarray,
        samples: int | None = None,
    ) -> np.ndarray:
        """`[samples, rows]`, of some images of a population; the first samples."""
        if population == "test":
            return self._of_pool[:samples, self.found[resplit].numbers[rows]]
        return self._of_unknown[population][:samples, rows]

    def independent(self, whom: Groups) -> int:
        """How many weights the others have: of classes, where those are alike."""
        classes = (
            oberdiek2018.classes_of(name, self.found[0].labels[name])
            for name in whom.others
        )
        return sum(int(of_name.max()) + 1 for of_name in classes)

    def over_resplits(self, of_each: np.ndarray) -> Estimate:
        """The weighted mean of `[re-splits, samples]`."""
        samples = of_each.shape[1]
        weights = self.of_resplits[:samples].T
        mean = (weights * of_each).sum(0) / weights.sum(0)
        return Estimate(float(mean[0]), mean[1:], of_each[:, 0])

    def aurocs(
        self, judged: Mapping[str, Sequence[Sequence[Judged]]], concept: str
    ) -> dict[str, Estimate]:
        """Areas under the ROC curve of many scores.

        A resampled area is taken to first order in the weights: by how an image of one
        kind is placed among those of the other, as in DeLong et al. 1988.

        Args:
          judged: by name, for each re-split, for each training of a meta-classifier.
          concept: what the right answers are to be told from.
        """
        of_names: dict[str, list[np.ndarray]] = {name: [] for name in judged}
        for number, found in enumerate(self.found):
            whom = groups(self.study, found, concept)
            columns = [one for name in judged for one in judged[name][number]]
            right = np.stack([one["test"][whom.right] for one in columns], axis=1)
            others = np.concatenate(
                [
                    np.stack([one[name][rows] for one in columns], axis=1)
                    for name, rows in whom.others.items()
                ]
            )
            units = np.concatenate(
                [np.full(len(r), whom.units[n]) for n, r in whom.others.items()]
            )
            of_right = self.weights(number, "test", whom.right)
            of_others = units * np.concatenate(
                [self.weights(number, n, r) for n, r in whom.others.items()], axis=1
            )
            places = [
                placements(right[:, column], others[:, column], units)
                for column in range(len(columns))
            ]
            above = np.stack([one for one, _ in places], axis=1)
            below = np.stack([other for _, other in places], axis=1)
            area = above.mean(axis=0)
            areas = (
                (of_right @ above) / of_right.sum(1, keepdims=True)
                + (of_others @ below) / of_others.sum(1, keepdims=True)
                - area
            )
            start = 0
            for name in judged:
                end = start + len(judged[name][number])
                of_names[name].append(areas[:, start:end].mean(axis=1))
                start = end
        return {
            name: self.over_resplits(np.stack(of_each))
            for name, of_each in of_names.items()
        }

    def precisions(
        self, judged: Sequence[Sequence[Judged]], concept: str
    ) -> dict[str, Estimate]:
        """AUPR-In (right answers are the positives) and AUPR-Out (the others are)."""
        of_each: dict[str, list[np.ndarray]] = {"aupr_in": [], "aupr_out": []}
        few = SAMPLES_OF_PRECISION + 1
        for number, found in enumerate(self.found):
            whom = groups(self.study, found, concept)
            of_right = self.weights(number, "test", whom.right, few)
            of_others = np.concatenate(
                [
                    whom.units[name] * self.weights(number, name, rows, few)
                    for name, rows in whom.others.items()
                ],
                axis=1,
            )
            # An image's weights side by side: cumulative sums go over images.
            kept = np.concatenate([of_right, of_others], axis=1).T.copy()
            positive = np.arange(len(kept)) < len(whom.right)
            trained = []
            for one in judged[number]:
                trust = np.concatenate(
                    [
                        one["test"][whom.right],
                        *(one[name][rows] for name, rows in whom.others.items()),
                    ]
                )
                trained.append(
                    (
                        average_precision(trust, positive, kept),
                        average_precision(-trust, ~positive, kept),
                    )
                )
            for name, values in zip(of_each, np.mean(trained, axis=0), strict=True):
                of_each[name].append(values)
        return {
            name: self.over_resplits(np.stack(values))
            for name, values in of_each.items()
        }

    def rates(
        self,
        judged: Sequence[Sequence[Judged]],
        thresholds: Sequence[Sequence[float]],
        concept: str,
    ) -> Estimate:
        """Balanced accuracy at thresholds that were chosen elsewhere."""
        of_each = []
        for number, found in enumerate(self.found):
            whom = groups(self.study, found, concept)
            few = SAMPLES_OF_PRECISION + 1
            of_right = self.weights(number, "test", whom.right, few)
            of_others = {
                name: whom.units[name] * self.weights(number, name, rows, few)
                for name, rows in whom.others.items()
            }
            total = sum(own.sum(1) for own in of_others.values())
            trained = []
            for one, threshold in zip(judged[number], thresholds[number], strict=True):
                trusted = (one["test"][whom.right] >= threshold).astype(np.float32)
                kept = of_right @ trusted / of_right.sum(1)
                refused = sum(
                    own @ (one[name][whom.others[name]] < threshold)
                    for name, own in of_others.items()
                )
                trained.append((kept + refused / total) / 2)
            of_each.append(np.mean(trained, axis=0))
        return self.over_resplits(np.stack(of_each))


def placements(
    right: np.ndarray, others: np.ndarray, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of each right answer the share of the others below it, and the reverse.

    Args:
      right: `[n]`, their trust.
      others: `[m]`, that of the others.
      units: `[m]`, what each of the others weighs.

    Returns:
      `[n]`: the share of the others that are trusted less, ties by half; `[m]`: the
      share of the right answers that are trusted more.

    >>> placements(np.array([1.0, 3.0]), np.array([1.0, 2.0]), np.ones(2))
    (array([0.25, 1.  ]), array([0.75, 0.5 ]))
    """
    order = np.argsort(others, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(units[order])])
    lower, upper = (
        total[np.searchsorted(others[order], right, side)] for side in ("left", "right")
    )
    above = (lower + upper) / 2 / total[-1]
    in_order = np.sort(right)
    lower, upper = (
        np.searchsorted(in_order, others, side) for side in ("left", "right")
    )
    return above, 1 - (lower + upper) / 2 / len(right)


def average_precision(
    scores: np.ndarray, positive: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Average precision under many weights at once, as `metrics.aupr_success`.

    Args:
      scores: `[n]`, higher = sooner taken for positive.
      positive: `[n]`, booleans.
      weights: `[n, samples]`, what each counts.

    Returns:
      `[samples]`.

    >>> positive = np.array([True, False, True])
    >>> average_precision(np.array([3.0, 2, 1]), positive, np.ones((3, 1)))
    array([0.83333333])
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    in_order = weights[order].astype(np.float64)
    taken = np.cumsum(in_order, axis=0)[ends]
    hits = np.cumsum(in_order * positive[order, None], axis=0)[ends]
    gains = np.diff(hits, axis=0, prepend=0)
    return (gains * hits / taken).sum(axis=0) / hits[-1]
