"""Detectors of several kinds, and the one that is best on validation data."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trustjax import detectors, metrics
from trustjax.pipeline._detect_config import PURVIEW
from trustjax.pipeline._detect_populations import (
    CHOOSING,
    LEARNING,
    TEST,
    Populations,
)
from trustjax.typing import ProgressFn


class Candidate(NamedTuple):
    """A detector of one kind.

    Attributes:
      detector: fitted on all that may be fitted on.
      validation: its AUROC on the part that is chosen by, when fitted on the rest.
      scores: `[examples]`, what it says of all of them.
    """

    detector: detectors.Detector
    validation: float
    scores: np.ndarray


class Fitted(NamedTuple):
    """The detectors that were tried, and what they are compared with.

    Attributes:
      candidates: one of each kind, in the order of the kinds.
      best: place of the best of them on validation data; the first of equals.
      num_columns: how many columns there were to fit on.
      single: the score that is best on the fitting part.
      of_fit: AUROC of each single score on the fitting part; those with NaN are not
        among them.
      threshold: the balanced threshold of the single score, on the fitting part.
      notes: which columns, scores and kinds were left out, and why.
    """

    candidates: tuple[Candidate, ...]
    best: int
    num_columns: int
    single: str
    of_fit: dict[str, float]
    threshold: float
    notes: tuple[str, ...]

    @property
    def chosen(self) -> Candidate:
        """The best on validation data."""
        return self.candidates[self.best]

    @property
    def linear(self) -> Candidate | None:
        """The best of those that have coefficients; None if there is none."""
        linear = [c for c in self.candidates if len(c.detector.layers) == 1]
        if len(self.chosen.detector.layers) == 1:
            return self.chosen
        return max(linear, key=lambda c: c.validation, default=None)


def fitted(
    data: Populations,
    kinds: Sequence[str],
    *,
    gradients: Sequence[str],
    seed: int,
    progress: ProgressFn | None,
) -> Fitted:
    """Fits a detector of each kind on the parts that may be fitted on.

    A column is left out, with a note, that is constant in these parts, or NaN or
    infinite for any example: which columns a network has nobody chose one by one, and
    one that fails should not stop the others.

    Args:
      data: the examples, divided.
      kinds: of detectors.
      gradients: the kinds of gradients whose statistics are columns of every kind;
        those of others are for the detector that is made of them alone.
      seed: of what is random in a fit.
      progress: hears how many kinds are fitted.

    Raises:
      ValueError: if no column is left, or no kind can be fitted.
    """
    fitting = data.part != TEST
    targets = data.targets
    names, notes = _usable(data.columns, fitting)
    learning, choosing = (data.part == part for part in (LEARNING, CHOOSING))
    candidates = []
    for done, kind in enumerate(dict.fromkeys(kinds)):
        if progress is not None:
            progress("fitting detectors", done, len(kinds), {})
        own = _of_kind(kind, names, gradients)
        columns = {name: data.columns[name] for name in own}
        varying = [n for n in own if np.ptp(columns[n][learning]) > 0]
        try:
            trial = detectors.fit(
                kind,
                _rows({name: columns[name] for name in varying}, learning),
                targets[learning],
                validation=(_rows(columns, choosing), targets[choosing]),
                seed=seed,
            )
            detector = detectors.fit(
                kind, _rows(columns, fitting), targets[fitting], seed=seed
            )
        except ValueError as error:
            notes.append(f"No detector of kind {kind}: {error}.")
            continue
        held = np.asarray(detectors.score(trial, _rows(columns, choosing)))
        said = np.asarray(detectors.score(detector, columns), np.float64)
        validation = float(metrics.auroc(held, targets[choosing]))
        candidates.append(Candidate(detector, validation, said))
    if progress is not None:
        progress("fitting detectors", len(kinds), len(kinds), {})
    if not candidates:
        raise ValueError(f"no detector can be fitted. {' '.join(notes)}")
    best = int(np.argmax([candidate.validation for candidate in candidates]))
    single, of_fit, lost = _best_single(data, fitting)
    threshold = balanced_threshold(data.scores[single][fitting], targets[fitting])
    return Fitted(
        tuple(candidates),
        best,
        len(names),
        single,
        of_fit,
        threshold,
        (*notes, *lost),
    )


def _usable(
    columns: dict[str, np.ndarray], fitting: np.ndarray
) -> tuple[list[str], list[str]]:
    """The columns that a detector can be fitted on, and why others cannot."""
    infinite = [n for n in detectors.usable(columns).notes if "infinite" in n]
    finite = {n: v for n, v in columns.items() if np.isfinite(v).all()}
    usable = detectors.usable(_rows(finite, fitting))
    notes = [*infinite, *usable.notes]
    if not usable.columns:
        raise ValueError(f"there is no column to fit on. {' '.join(notes)}")
    return list(usable.columns), notes


def balanced_threshold(scores: np.ndarray, targets: np.ndarray) -> float:
    """One of the scores, in the digits that they have."""
    values = np.unique(scores)
    place = metrics.balanced_threshold(_ranks(scores), targets).threshold
    return float(values[int(place)])


def _rows(columns: dict[str, np.ndarray], which: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[which] for name, values in columns.items()}


def _of_kind(kind: str, names: list[str], gradients: Sequence[str]) -> list[str]:
    """The columns of a kind of detector."""
    own = {name: detectors.statistic_of(name) for name in names}
    if kind == PURVIEW:
        return [n for n, found in own.items() if found and found.kind == "confounding"]
    return [n for n, found in own.items() if found is None or found.kind in gradients]


def _best_single(
    data: Populations, fitting: np.ndarray
) -> tuple[str, dict[str, float], tuple[str, ...]]:
    """The best single score on the fitting part, the AUROC of each, and notes."""
    lost = [name for name, values in data.scores.items() if np.isnan(values).any()]
    targets = data.targets[fitting]
    of_fit = {
        name: float(metrics.auroc(_ranks(values[fitting]), targets))
        for name, values in data.scores.items()
        if name not in lost
    }
    if not of_fit:
        raise ValueError(f"every single score holds NaN: {', '.join(lost)}")
    notes = (f"Single scores that hold NaN: {', '.join(lost)}.",) if lost else ()
    return max(of_fit, key=lambda name: of_fit[name]), of_fit, notes


def _ranks(values: np.ndarray) -> np.ndarray:
    """Dense ranks: what float32 would round to one number keeps its order."""
    return np.unique(values, return_inverse=True)[1].astype(np.int32)
