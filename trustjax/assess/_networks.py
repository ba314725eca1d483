"""What a comparison of networks holds, and what they must have in common."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from trustjax import metrics
from trustjax.assess._assessment import Assessment, ClassTrust, Quantity
from trustjax.assess._predictions import Predictions

HIGHER_IS_BETTER = {
    "accuracy": True,
    "net_trust_score": True,
    "net_trust_score_uniform": True,
    "confidence_when_right": True,
    "confidence_when_wrong": False,
    "confidence_gap": True,
    "calibration_error": False,
    "best_auroc": True,
}
"""The numbers of a network that are compared, and whether higher is better."""


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkAssessment:
    """One of the networks that are compared.

    Attributes:
      name: of the network.
      assessment: all of its numbers, as on a page of its own.
      numbers: those that are compared, with the intervals of that page.
      num_parameters: how many weights it has; None if nobody has said so.
      classes: the trust spectrum; the intervals of all classes of all networks hold
        together.
    """

    name: str
    assessment: Assessment
    numbers: Mapping[str, Quantity]
    num_parameters: int | None
    classes: tuple[ClassTrust, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class ClassComparison:
    """How far the networks differ on one true class.

    Attributes:
      name: of the class.
      count: examples with this label.
      distrusted: whether each network's trust in it is proven to be below that
        network's own NetTrustScore: one statement about all classes and networks.
      differences: `[networks, networks]`, mean trust of the row's network less that of
        the column's; NaN for a class without an example.
      low: lower ends; the intervals of all pairs and classes hold together.
      high: upper ends.
    """

    name: str
    count: int
    distrusted: bool
    differences: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def spread(self) -> float:
        """The largest difference; NaN for a class without an example."""
        return float(self.differences.max())

    @property
    def differs(self) -> bool:
        """Whether two networks are proven to differ."""
        return bool((self.low > 0).any())


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkComparison:
    """Several networks on the same test set.

    Attributes:
      num_examples: in the test set.
      num_all_wrong: examples that no network answers rightly.
      confidence_level: of every interval, and of each of the families of statements:
        the differences of all numbers of all pairs of networks; the spectra of all
        networks; the differences of all classes of all pairs.
      num_samples: random draws behind the first family.
      networks: in the order given.
      statements: number -> which networks are told apart; all of them hold together.
      classes: in class order.
      density_grid: `[grid]`, the points that the trust densities are of.
      least_trusted: the classes that even the network that trusts them most trusts
        least, worst first.
      most_different: other classes on which the networks differ most, largest first.
      densities: those classes -> `[networks, grid]`.
    """

    num_examples: int
    num_all_wrong: int
    confidence_level: float
    num_samples: int
    networks: tuple[NetworkAssessment, ...]
    statements: Mapping[str, metrics.Comparison]
    classes: tuple[ClassComparison, ...]
    density_grid: np.ndarray
    least_trusted: tuple[int, ...]
    most_different: tuple[int, ...]
    densities: Mapping[int, np.ndarray]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the networks."""
        return tuple(network.name for network in self.networks)


def require_same_records(networks: Mapping[str, Predictions]) -> None:
    """Requires predictions of the same records in the same order.

    Raises:
      ValueError: naming the two networks and the first record that differs.
    """
    (first, given), *others = networks.items()
    for name, other in others:
        between = f"{name} and {first} are not of the same test set"
        if len(other.labels) != len(given.labels):
            raise ValueError(
                f"{between}: {len(other.labels):,} examples and {len(given.labels):,}"
            )
        _require_same_classes(between, given, other)
        for what, ours, theirs in (
            ("record number", given.index, other.index),
            ("label", given.labels, other.labels),
        ):
            if ours is None or theirs is None or np.array_equal(ours, theirs):
                continue
            row = int(np.argmax(ours != theirs))
            raise ValueError(
                f"{between}: row {row:,} is the first with another {what}, "
                f"{theirs[row]} and {ours[row]}"
            )
        prints = [of.run.get("dataset_fingerprint") for of in (other, given)]
        if None not in prints and prints[0] != prints[1]:
            raise ValueError(
                f"{between}: the fingerprints of its data are {prints[0]} and "
                f"{prints[1]}"
            )


def _require_same_classes(between: str, given: Predictions, other: Predictions) -> None:
    ours, theirs = given.class_names, other.class_names
    if len(ours) != len(theirs):
        raise ValueError(f"{between}: {len(theirs)} classes and {len(ours)}")
    numbers = tuple(map(str, range(len(ours))))  # where no names were given
    if numbers in (ours, theirs) or ours == theirs:
        return
    place = next(i for i, name in enumerate(ours) if name != theirs[i])
    raise ValueError(
        f"{between}: class {place} is the first with another name, {theirs[place]!r} "
        f"and {ours[place]!r}"
    )
