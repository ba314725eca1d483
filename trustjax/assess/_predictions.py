"""What a network said about a test set: checked once, then trusted everywhere."""

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from trustjax.statistics import GradientStatistics


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Per-example results on a labelled test set, as NumPy arrays on the host.

    Checked when made: a `Predictions` that exists can be assessed.

    Attributes:
      logits: `[examples, classes]`; -inf marks a class that cannot be answered.
      labels: `[examples]`, integers in [0, classes).
      class_names: a name for each class; `"0", "1", ...` where none is given.
      scores: name -> `[examples]`, higher = more trust; +-inf is a value, NaN is not.
      score_titles: name -> how the page writes it; the name in words where missing.
      score_info: name -> one sentence on what the score is, and where it is from.
      images: `[examples, height, width]` or `[..., channels]` with one or three
        channels, uint8 or floats in [0, 1]; None if there are none to show.
      gradient_statistics: of the same examples, values `[examples, groups,
        statistics]`; None if there are none.
      out_of_distribution: data set -> score name -> `[others]`: the same scores on
        inputs that belong to none of the classes.
      run: how the arrays came to be: versions, configuration, seed, data set and its
        fingerprint, model, command. Written to the page as it is.
      outputs: `"logits"`, or `"probabilities"` where the network's outputs were
        given so and `logits` are their logarithms.

    Raises:
      ValueError: naming what is wrong, and the first rows where it is.

    >>> said = Predictions(np.array([[2.0, 1.0], [0.5, 3.0]]), np.array([0, 0]))
    >>> said.predicted, said.correct, said.class_names
    (array([0, 1]), array([ True, False]), ('0', '1'))
    """

    logits: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...] = ()
    scores: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    score_titles: Mapping[str, str] = dataclasses.field(default_factory=dict)
    score_info: Mapping[str, str] = dataclasses.field(default_factory=dict)
    images: np.ndarray | None = None
    gradient_statistics: GradientStatistics | None = None
    out_of_distribution: Mapping[str, Mapping[str, np.ndarray]] = dataclasses.field(
        default_factory=dict
    )
    run: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    outputs: str = "logits"

    def __post_init__(self):
        logits = _checked_logits(np.asarray(self.logits))
        count, num_classes = logits.shape
        self._set("logits", logits)
        self._set("labels", _checked_labels(np.asarray(self.labels), logits.shape))
        self._set("class_names", _checked_names(self.class_names, num_classes))
        self._set(
            "scores",
            {
                name: _checked_score(f"score {name!r}", np.asarray(values), count)
                for name, values in self.scores.items()
            },
        )
        if self.images is not None:
            self._set("images", _checked_images(np.asarray(self.images), count))
        if self.gradient_statistics is not None:
            table = _checked_gradients(self.gradient_statistics, count)
            self._set("gradient_statistics", table)
        self._set(
            "out_of_distribution",
            {
                dataset: {
                    name: _checked_score(
                        f"score {name!r} on {dataset}", np.asarray(values), None
                    )
                    for name, values in scores.items()
                }
                for dataset, scores in self.out_of_distribution.items()
            },
        )

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # frozen: only __post_init__ may

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, `[examples, classes]`, in float64."""
        shifted = self.logits - self.logits.max(axis=1, keepdims=True)
        exponentials = np.exp(shifted)
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    @functools.cached_property
    def predicted(self) -> np.ndarray:
        """The answered class, `[examples]`; ties go to the first."""
        return self.logits.argmax(axis=1)

    @functools.cached_property
    def confidence(self) -> np.ndarray:
        """Probability of the answered class, `[examples]`."""
        return self.probabilities.max(axis=1)

    @functools.cached_property
    def correct(self) -> np.ndarray:
        """Whether the answer is the label, `[examples]`."""
        return self.predicted == self.labels


def read_predictions(path: str | os.PathLike[str]) -> Predictions:
    """Reads predictions of any framework from an `.npz` file.

    ==================  ============================================================
    Array               What it is
    ==================  ============================================================
    logits              `[examples, classes]`: outputs before the softmax, or else
    probabilities       `[examples, classes]`: rows of numbers in [0, 1] that sum
                        to 1
    labels              `[examples]`: the true classes, integers in [0, classes)
    class_names         optional, `[classes]`: strings
    score_<name>        optional, `[examples]`: a score of yours, higher = more trust
    images              optional, `[examples, height, width(, channels)]`
    ==================  ============================================================

    Write it with `np.savez("predictions.npz", logits=..., labels=...)`. The
    `scores.npz` of a report can be read back.

    Args:
      path: the file.

    Returns:
      The predictions, with the scores that the file holds.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming the file, and what is missing, unknown or wrong in it.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "predictions.npz")
    ...     np.savez(path, probabilities=[[0.9, 0.1], [0.2, 0.8]], labels=[0, 1])
    ...     print(read_predictions(path).confidence)
    [0.9 0.8]
    """
    arrays = _read_npz(path)
    try:
        return _from_arrays(arrays)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error


def _read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    with open(path, "rb") as file:
        # A zip archive begins so; np.load would take other files for pickles.
        if file.read(2) != b"PK":
            raise ValueError(f"{os.fspath(path)}: not an .npz file (see numpy.savez)")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except Exception as error:  # zipfile and numpy raise a dozen kinds
            raise ValueError(
                f"{os.fspath(path)}: damaged, or not of plain arrays: {error}"
            ) from error


def _from_arrays(arrays: Mapping[str, np.ndarray]) -> Predictions:
    known = {"logits", "probabilities", "labels", "class_names", "images"}
    scores = {
        name.removeprefix("score_"): values
        for name, values in arrays.items()
        if name.startswith("score_")
    }
    unknown = sorted(
        name for name in arrays.keys() - known if not name.startswith("score_")
    )
    if unknown:
        raise ValueError(
            f"unknown arrays {', '.join(unknown)}; known are "
            f"{', '.join(sorted(known))} and score_<name>"
        )
    if "labels" not in arrays:
        raise ValueError(f"there is no array 'labels', only {_listed(arrays)}")
    if ("logits" in arrays) == ("probabilities" in arrays):
        raise ValueError(
            f"needs one of 'logits' and 'probabilities', has {_listed(arrays)}"
        )
    names = arrays.get("class_names", np.array([], dtype=str))
    if names.dtype.kind not in "US" and names.size:
        raise ValueError(f"class_names must be strings, got {names.dtype}")
    outputs = "logits" if "logits" in arrays else "probabilities"
    logits = arrays[outputs]
    if outputs == "probabilities":
        logits = _log_probabilities(logits)
    return Predictions(
        logits=logits,
        labels=arrays["labels"],
        class_names=tuple(np.char.decode(names) if names.dtype.kind == "S" else names),
        scores=scores,
        images=arrays.get("images"),
        outputs=outputs,
    )


def _listed(names: Mapping[str, np.ndarray]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms, finite also for a probability of zero."""
    if probabilities.ndim != 2 or probabilities.dtype.kind != "f":
        raise ValueError(
            "probabilities must be floats of shape [examples, classes], "
            f"got {probabilities.dtype} {probabilities.shape}"
        )
    outside = ~((probabilities >= 0) & (probabilities <= 1))
    _refuse("probabilities must be in [0, 1]", outside)
    # Half precision sums of a thousand classes are off by this much, not by more.
    totals = probabilities.sum(axis=1, dtype=np.float64)
    _refuse("the probabilities of a row must sum to 1", abs(totals - 1) > 1e-2)
    smallest = np.finfo(np.float32).tiny
    return np.log(np.maximum(probabilities.astype(np.float64), smallest))


def _refuse(rule: str, bad: np.ndarray) -> None:
    """Raises where a row holds anything bad: how many rows, and the first."""
    rows = np.flatnonzero(np.any(bad.reshape(bad.shape[0], -1), axis=1))
    if rows.size:
        first = ", ".join(map(str, rows[:5])) + (", ..." if rows.size > 5 else "")
        number = "1 row breaks" if rows.size == 1 else f"{rows.size} rows break"
        raise ValueError(f"{rule}: {number} this, row {first}")


def _checked_logits(logits: np.ndarray) -> np.ndarray:
    if logits.ndim != 2 or 0 in logits.shape:
        raise ValueError(
            "logits must have shape [examples, classes] with at least one of each, "
            f"got {logits.shape}"
        )
    if logits.dtype.kind not in "fiu" and logits.dtype.name != "bfloat16":
        raise ValueError(f"logits must be numbers, got {logits.dtype}")
    logits = logits.astype(np.float64)
    _refuse("logits must not be NaN", np.isnan(logits))
    _refuse("logits must not be +inf", np.isposinf(logits))
    _refuse("logits must not all be -inf", np.isneginf(logits.max(axis=1)))
    return logits


def _checked_labels(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    count, num_classes = shape
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be integers of shape [examples], got {labels.dtype} "
            f"{labels.shape}"
        )
    if labels.size != count:
        raise ValueError(f"there are {labels.size} labels for {count} rows of logits")
    labels = labels.astype(np.int64)
    outside = (labels < 0) | (labels >= num_classes)
    _refuse(f"labels must be in [0, {num_classes}), the number of classes", outside)
    return labels


def _checked_names(names: tuple[str, ...], num_classes: int) -> tuple[str, ...]:
    if not names:
        return tuple(str(index) for index in range(num_classes))
    if len(names) != num_classes:
        raise ValueError(
            f"there are {len(names)} class names for {num_classes} classes"
        )
    return tuple(str(name) for name in names)


def _checked_score(name: str, values: np.ndarray, count: int | None) -> np.ndarray:
    if values.ndim != 1 or (count is not None and values.size != count):
        wanted = "[others]" if count is None else f"({count},)"
        raise ValueError(f"{name} must have shape {wanted}, got {values.shape}")
    if values.dtype.kind not in "biuf" and values.dtype.name != "bfloat16":
        raise ValueError(f"{name} must be numbers, got {values.dtype}")
    values = values.astype(np.float64)
    _refuse(f"{name} must not be NaN", np.isnan(values))
    return values


def _checked_images(images: np.ndarray, count: int) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[0] != count or images.shape[3] not in (1, 3):
        raise ValueError(
            f"images must have shape [{count}, height, width] or "
            f"[{count}, height, width, 1 or 3], got {images.shape}"
        )
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise ValueError(
            f"images must be uint8 or floats in [0, 1], got {images.dtype}"
        )
    _refuse("images of floats must be in [0, 1]", ~((images >= 0) & (images <= 1)))
    return np.round(images * 255).astype(np.uint8)


def _checked_gradients(table: GradientStatistics, count: int) -> GradientStatistics:
    values = np.asarray(table.values)
    wanted = (count, len(table.groups), len(table.statistics))
    if values.shape != wanted:
        raise ValueError(
            f"gradient statistics must have shape {wanted} (examples, groups, "
            f"statistics), got {values.shape}"
        )
    values = values.astype(np.float64)
    _refuse("gradient statistics must not be NaN", np.isnan(values))
    return dataclasses.replace(table, values=values)
