"""What an assessment holds: numbers with their intervals, and curves."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from trustjax import metrics


class Quantity(NamedTuple):
    """A number and its interval, or the reason why there is none.

    Attributes:
      value: the number; None where it is not defined.
      low: lower end of its confidence interval; None where there is no interval.
      high: upper end.
      not_defined: why there is no value; empty where there is one.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    not_defined: str = ""


class Curve(NamedTuple):
    """Points of a line, `[points]` each."""

    x: np.ndarray
    y: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreAssessment:
    """How well one score tells right answers from wrong ones.

    Attributes:
      name: of the score.
      title: how the page writes it.
      info: one sentence on what it is.
      numbers: metric name -> value, e.g. `auroc`, `fpr_at_95_tpr`, `aurc`. The first
        two have intervals, those of all scores hold together.
      behind_best: AUROC of the best score less this one's; the interval is one of
        those that hold together for all pairs of scores.
      may_be_best: whether it is proven to be behind no other score.
      selective_risk: share of errors among the 80 % that the score trusts most; the
        intervals of all scores hold together.
      risk_coverage: error rate of the answers kept, against the share kept.
      num_infinite: how many values are infinite.
      scatter: whether a page draws it against confidence, example by example.
    """

    name: str
    title: str
    info: str
    numbers: Mapping[str, Quantity]
    behind_best: Quantity
    may_be_best: bool
    selective_risk: Quantity
    risk_coverage: Curve
    num_infinite: int
    scatter: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class ClassTrust:
    """How far the answers to one class can be trusted.

    Attributes:
      name: of the class.
      count: examples with this label.
      accuracy: share of them that are answered rightly; the intervals of all classes
        hold together.
      trust: mean question-answer trust: the class's place in the trust spectrum; the
        intervals of all classes and of the NetTrustScore hold together.
      below_average: whether these prove less trust than the NetTrustScore.
    """

    name: str
    count: int
    accuracy: Quantity
    trust: Quantity
    below_average: bool


class Mistake(NamedTuple):
    """A kind of error: label and answer, how often, and how sure."""

    label: int
    answer: int
    count: int
    confidence: float


class ClassOrder(NamedTuple):
    """Another order of the classes, in which more answers would be right.

    Attributes:
      accuracy: the share that would be right.
      labels: which label each class of the outputs would stand for; -1 where the
        examples do not say.
    """

    accuracy: float
    labels: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence against accuracy, in bins of confidence.

    Attributes:
      confidence: `[bins]`, mean confidence of the bin; NaN where it is empty.
      accuracy: `[bins]`, share of right answers in it.
      count: `[bins]`, examples in it.
      edges: `[bins + 1]`, the confidences between which the bins lie.
      expected_calibration_error: mean gap between the two, weighted by count. It is
        never negative, so that chance makes it larger; hence no interval.
      error_without_chance: the same without what chance adds, with an interval; it
        reaches down to 0 where the examples do not contradict calibration.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray
    edges: np.ndarray
    expected_calibration_error: Quantity
    error_without_chance: Quantity


@dataclasses.dataclass(frozen=True, eq=False)
class GradientSeparation:
    """Which statistic of which gradient separates right from wrong.

    Attributes:
      groups: a name for each row.
      statistics: a name for each column.
      auroc: `[groups, statistics]`: above 0.5 where a larger value means a right
        answer, below where it means a wrong one; NaN where AUROC is not defined.
      low: `[groups, statistics]`, lower ends; all intervals of the table hold together.
      high: `[groups, statistics]`, upper ends.
    """

    groups: tuple[str, ...]
    statistics: tuple[str, ...]
    auroc: np.ndarray
    low: np.ndarray
    high: np.ndarray


class ShiftNumbers(NamedTuple):
    """What a network is worth on one version of its test set.

    Attributes:
      accuracy: the share of right answers.
      net_trust_score: mean question-answer trust.
      expected_calibration_error: as in `Reliability`.
      error_without_chance: as in `Reliability`.
      auroc: name of a score -> how well it tells right answers from wrong ones.
    """

    accuracy: Quantity
    net_trust_score: Quantity
    expected_calibration_error: Quantity
    error_without_chance: Quantity
    auroc: Mapping[str, Quantity]


@dataclasses.dataclass(frozen=True, eq=False)
class Shifts:
    """What is left of a network's worth as its test images are corrupted.

    Attributes:
      by_kind: kind of corruption -> severity -> numbers. The intervals of one number,
        or of the AUROC of all scores, hold together over all kinds and severities.
      means: severity -> the means over the kinds; 0 is the test set as it is. Their
        intervals hold together over the severities. They are of other images, not of
        other kinds of corruption. An AUROC is averaged over the kinds where it is
        defined.
    """

    by_kind: Mapping[str, Mapping[int, ShiftNumbers]]
    means: Mapping[int, ShiftNumbers]


class AttackNumbers(NamedTuple):
    """What a network and its scores are worth under one attack.

    Attributes:
      accuracy: the share of right answers to the attacked images.
      success: of those that were right without it, the share that are wrong.
      auroc: name of a score -> how well it tells images that fool the network from all
        that were right, as they were.
      unseen: name of a score -> of those that were right, the share that fool the
        network and are trusted more than the least trusted twentieth as they were.
    """

    accuracy: Quantity
    success: Quantity
    auroc: Mapping[str, Quantity]
    unseen: Mapping[str, Quantity]


@dataclasses.dataclass(frozen=True, eq=False)
class Attacks:
    """The same test images, changed against the network.

    Attributes:
      num_examples: how many were attacked.
      unchanged: the share of right answers to them as they were.
      by_radius: radius -> numbers, by rising radius. The intervals of one number, or of
        one number of all scores, hold together over the radii.
    """

    num_examples: int
    unchanged: Quantity
    by_radius: Mapping[float, AttackNumbers]


class MemberNumbers(NamedTuple):
    """How well one number tells what a network learned from from what it did not.

    Attributes:
      auroc: how often a training image has the larger number.
      true_positive_rates: false positive rate -> the share of training images that are
        found where no more test images are taken for such.
      roc: true against false positive rates, on points evenly by their logarithm.
    """

    auroc: Quantity
    true_positive_rates: Mapping[float, Quantity]
    roc: Curve


@dataclasses.dataclass(frozen=True, eq=False)
class Membership:
    """Whether a network gives away what it learned from.

    Attributes:
      num_members: training images that were asked about.
      num_others: test images.
      scores: name of a score -> numbers; the intervals of one number hold together.
      loss: the same of minus the loss, which takes the label.
    """

    num_members: int
    num_others: int
    scores: Mapping[str, MemberNumbers]
    loss: MemberNumbers


class MapNumbers(NamedTuple):
    """What images are under the masks of one method of explanation, on average.

    Attributes:
      between: the uncertainty of an answer that is due to which mask is laid on it.
      within: what is left uncertain under each mask.
      sufficiency: how sure the answer stays where the mask is kept, the rest redrawn.
      necessity: how far it is lost where the mask is redrawn, the rest kept.
    """

    between: Quantity
    within: Quantity
    sufficiency: Quantity
    necessity: Quantity


@dataclasses.dataclass(frozen=True, eq=False)
class Interventions:
    """Explanations as interventions: what they choose, and what that leaves open.

    Attributes:
      num_examples: images that were asked about.
      methods: title of a method -> numbers; the intervals of one number hold together
        over the methods.
    """

    num_examples: int
    methods: Mapping[str, MapNumbers]


@dataclasses.dataclass(frozen=True, eq=False)
class Assessment:
    """Every number and curve of a trust report.

    Attributes:
      num_examples: in the test set.
      num_errors: wrong answers among them.
      confidence_level: of every interval, and of every family of intervals that hold
        together: those of the scores, the classes, the gradient statistics and the
        other data sets are a family each.
      num_samples: random draws behind the comparison of the scores.
      alpha: reward of confidence in right answers: an exponent of question-answer
        trust.
      beta: penalty of confidence in wrong answers, likewise.
      headline: `accuracy`, `net_trust_score`, `net_trust_score_uniform`,
        `confidence_when_right`, `confidence_when_wrong`, each with an interval of its
        own.
      other_class_order: an order of the classes in which far more answers would be
        right; None if there is none.
      scores: from the best AUROC to the worst.
      best: name of the first of them.
      comparison: of the AUROC of all scores, or why there is none.
      classes: the trust spectrum, in class order.
      density_grid: `[grid]`, the points that the trust densities are of.
      densities: class -> `[grid]`, of the least trusted classes, then the most.
      trust_matrix: `[classes, classes]`, mean trust by label (row) and answer
        (column); NaN where there is no such example.
      confusion: `[classes, classes]`, how many such examples there are.
      mistakes: the kinds of error, most frequent first.
      reliability: confidence against accuracy.
      gradients: None where no gradient statistics were given.
      out_of_distribution: data set -> score name -> AUROC and FPR at 95 % TPR of
        telling the test set from that data set; the intervals of all scores and data
        sets hold together, for each of the two metrics.
      shifts: the same test set corrupted; None where it was not.
      gallery: what it shows -> indices of examples.
      run: as in `Predictions`.
      attacks: some of the test images attacked; None where none were.
      interventions: test images under masks of explanations; None where none were.
      membership: training images against test images; None where none were asked about.
    """

    num_examples: int
    num_errors: int
    confidence_level: float
    num_samples: int
    alpha: float
    beta: float
    headline: Mapping[str, Quantity]
    other_class_order: ClassOrder | None
    scores: tuple[ScoreAssessment, ...]
    best: str
    comparison: metrics.Comparison
    classes: tuple[ClassTrust, ...]
    density_grid: np.ndarray
    densities: Mapping[int, np.ndarray]
    trust_matrix: np.ndarray
    confusion: np.ndarray
    mistakes: tuple[Mistake, ...]
    reliability: Reliability
    gradients: GradientSeparation | None
    out_of_distribution: Mapping[str, Mapping[str, Mapping[str, Quantity]]]
    shifts: Shifts | None
    gallery: Mapping[str, np.ndarray]
    run: Mapping[str, Any]
    attacks: Attacks | None = None
    interventions: Interventions | None = None
    membership: Membership | None = None

    @property
    def by_name(self) -> dict[str, ScoreAssessment]:
        """The scores by their names."""
        return {score.name: score for score in self.scores}
