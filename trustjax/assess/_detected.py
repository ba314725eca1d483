"""What is found of a detector: how well it keeps two populations apart."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from trustjax import metrics
from trustjax.assess._assessment import Quantity

DETECTION_METRICS = (
    "auroc",
    "fpr_at_95_tpr",
    "aupr_in",
    "aupr_out",
    "balanced_accuracy",
)


class Judged(NamedTuple):
    """A score to be assessed on examples that it was not fitted on.

    Attributes:
      title: how the page writes it.
      scores: `[examples]`, higher = more trust; no NaN.
      threshold: from which on it says "trusted", chosen on other examples.
    """

    title: str
    scores: np.ndarray
    threshold: float


class Tried(NamedTuple):
    """A score of which the AUROC alone is of interest.

    Attributes:
      title: how the page writes it.
      before: its AUROC on other examples, on which it was chosen or not.
      auroc: on these.
    """

    title: str
    before: float
    auroc: Quantity


@dataclasses.dataclass(frozen=True, eq=False)
class Detection:
    """How well a detector keeps apart what is to be trusted and what is not.

    All intervals on the page, and what is said of the two, hold together at the level.

    Attributes:
      level: the chance that no statement at all is false.
      num_trusted: examples to be trusted.
      num_untrusted: the others.
      detector: its title.
      single: the title of the single score that it is compared with.
      numbers: title -> metric of `DETECTION_METRICS` -> value, of the detector, the
        single score and the baseline; with `true_positive_rate` and
        `true_negative_rate` at the threshold, which have no intervals of their own.
      comparison: of the detector and the single score, by AUROC.
      ahead: AUROC of the detector less that of the single score.
      by_population: population -> title -> AUROC against it alone, where there are
        several that are not to be trusted.
      kinds: the detectors that were tried; `before` is on the data they were chosen by.
      singles: every single score, the best on the fitting part first.
    """

    level: float
    num_trusted: int
    num_untrusted: int
    detector: str
    single: str
    numbers: Mapping[str, Mapping[str, Quantity]]
    comparison: metrics.Comparison
    ahead: Quantity
    by_population: Mapping[str, Mapping[str, Quantity]]
    kinds: tuple[Tried, ...]
    singles: tuple[Tried, ...]

    @property
    def is_ahead(self) -> bool:
        """Whether the detector is proven to be better than the single score."""
        return self.ahead.low is not None and self.ahead.low > 0

    @property
    def is_behind(self) -> bool:
        """Whether it is proven to be worse."""
        return self.ahead.high is not None and self.ahead.high < 0
