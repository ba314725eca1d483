"""What a page about a detector shows, as values: made by `pipeline`, drawn here."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trustjax.assess import Detection


class Feature(NamedTuple):
    """A score or a column, population by population.

    Attributes:
      title: how the page writes it.
      values: `[examples]` of each population, in the order of the page.
      info: a sentence on what it is.
      threshold: a line across it; None for none.
    """

    title: str
    values: tuple[np.ndarray, ...]
    info: str
    threshold: float | None = None


class Weight(NamedTuple):
    """How much a column counts in a linear detector.

    Attributes:
      place: the layer or tensor whose gradient it is of; empty for a score.
      statistic: of the gradient; for a score its title.
      value: the change of the detector's score for one standard deviation.
    """

    place: str
    statistic: str
    value: float


@dataclasses.dataclass(frozen=True, eq=False)
class DetectionPage:
    """Everything on a page about a detector.

    Attributes:
      detection: the numbers.
      errors: whether wrong answers are detected.
      populations: the names of the populations.
      trusted: whether each is to be trusted.
      unknown: the names of those that are of none of the classes.
      parts: the names of the parts of the data.
      counts: `[populations, parts]`, examples.
      features: to be drawn by population.
      kind: of the detector, as `detectors.KINDS` has it.
      num_columns: how many columns there were, and how many it takes.
      weights: of a linear detector; empty if none was fitted.
      weights_of: the kind of that detector: another one where `kind` is not linear.
      infos: title of a single score -> what it is.
      used: the command that scores by the detector; empty where none can.
      run: how the page came to be.
      notes: what was left out or taken for granted, a sentence each.
    """

    detection: Detection
    errors: bool
    populations: Sequence[str]
    trusted: Sequence[bool]
    unknown: Sequence[str]
    parts: Sequence[str]
    counts: np.ndarray
    features: Sequence[Feature]
    kind: str
    num_columns: tuple[int, int]
    weights: Sequence[Weight]
    weights_of: str
    infos: Mapping[str, str]
    used: str
    run: Mapping[str, Any]
    notes: Sequence[str]
