"""What a network said about a test set: checked once, then trusted everywhere."""

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from trustjax import _npz, _questions
from trustjax._questions import refuse_rows
from trustjax.assess import (
    _answers,
    _attacked,
    _interventions,
    _members,
    _other_rows,
    _shifted,
)
from trustjax.assess._attacked import Attacked
from trustjax.assess._interventions import Intervened
from trustjax.assess._members import Members
from trustjax.assess._shifted import Shifted as Shifted
from trustjax.statistics import GradientStatistics


@runtime_checkable
class Images(Protocol):
    """Images by number: an array of them, or what reads one when it is asked for."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: int, /) -> np.ndarray:
        """One of them, `[height, width]` or `[height, width, channels]`."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Per-example results on a labelled test set, as NumPy arrays on the host.

    Checked when made: a `Predictions` that exists can be assessed.

    Attributes:
      logits: `[examples, classes]`; -inf marks a class that cannot be answered.
      labels: `[examples]`, integers in [0, classes), or strings of `class_names`.
      class_names: a name for each class; `"0", "1", ...` where none is given.
      scores: name -> `[examples]`, higher = more trust; +-inf is a value, NaN is not.
      score_titles: name -> how the page writes it; the name in words where missing.
      score_info: name -> one sentence on what the score is, and where it is from.
      images: `[examples, height, width]` or `[..., channels]` with one or three
        channels, uint8 or floats in [0, 1]; clips of video, of which the middle frame
        is shown, `[examples, frames, height, width, channels]`; or
        anything with a length that gives one of them by its number, so that only those
        shown are read. None if there are none to show.
      gradient_statistics: of the same examples, values `[examples, groups,
        statistics]`; None if there are none.
      index: `[examples]`, integers: which record of the test set each example is; None
        if it is not known. Networks are compared on the same records only.
      out_of_distribution: data set -> score name -> `[others]`: the same scores on
        inputs that belong to none of the classes.
      out_of_distribution_logits: data set -> `[others, classes]`: what the network said
        of these, in the form of `logits`.
      shifts: kind of corruption -> severity, from 1 -> what the network said of the
        same examples, corrupted so; the same severities of every kind, and scores that
        are in `scores`.
      attacked: what it said of some of the test images, changed against it.
      members: what it said of images that it learned from.
      intervened: what it said of images under the masks of explanations.
      run: how the arrays came to be: versions, configuration, seed, data set and its
        fingerprint, model, command. Written to the page as it is.
      outputs: `"logits"`, or `"probabilities"` where the network's outputs were
        given so and `logits` are their logarithms.
      notes: what was taken for something else than it was called, a sentence each.

    Raises:
      ValueError: naming what is wrong, and the first rows where it is.

    ==============================  ================================================
    Edge case                       Value
    ==============================  ================================================
    logits that are probabilities   taken as such, and `notes` say so
    logits that are log softmax     their constant is lost: `outputs` and `notes`
    one output for each example     two classes, [0, z] or [1 - p, p]: `notes` say so
    a logit of -inf                 a class of probability 0
    logits of size 1e300            as they are, in float64
    ==============================  ================================================

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
    images: Images | None = None
    index: np.ndarray | None = None
    gradient_statistics: GradientStatistics | None = None
    out_of_distribution: Mapping[str, Mapping[str, np.ndarray]] = dataclasses.field(
        default_factory=dict
    )
    out_of_distribution_logits: Mapping[str, np.ndarray] = dataclasses.field(
        default_factory=dict
    )
    shifts: Mapping[str, Mapping[int, Shifted]] = dataclasses.field(
        default_factory=dict
    )
    attacked: Attacked | None = None
    members: Members | None = None
    intervened: Intervened | None = None
    run: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    outputs: str = "logits"
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        given, taken = np.asarray(self.logits), None
        came = given.shape
        one = self.outputs == "logits" and _questions.one_for_each(came)
        if one:
            given = _questions.two_classes(given)
        logits = _answers.checked(given)
        count, num_classes = logits.shape
        called_logits = self.outputs == "logits"
        if called_logits and (taken := _answers.taken_for(given, one)):
            self._set("notes", (*self.notes, taken))
        if taken in (_answers.PROBABILITIES, _answers.ONE_CHANCE):
            logits = _answers.log_probabilities(given)
        if taken not in (None, _answers.ONE_LOGIT):
            self._set("outputs", "probabilities")
        self._set("logits", logits)
        labels = _questions.labels(self.labels, self.class_names)
        if one and labels.max(initial=0) > 1:
            raise ValueError(
                "logits must have shape [examples, classes], got "
                f"{came}: one output for each example stands for two "
                f"classes, and there are labels up to {labels.max()}"
            )
        self._set("labels", _checked_labels(labels, logits.shape))
        self._set("class_names", _checked_names(self.class_names, num_classes))
        self._set(
            "scores",
            {
                name: _shifted.checked_score(
                    f"score {name!r}", np.asarray(values), count
                )
                for name, values in self.scores.items()
            },
        )
        if isinstance(self.images, np.ndarray | list):
            self._set("images", _checked_images(np.asarray(self.images), count))
        elif self.images is not None and len(self.images) != count:
            raise ValueError(
                f"there are {len(self.images)} images for {count} rows of logits"
            )
        if self.index is not None:
            self._set("index", _checked_index(np.asarray(self.index), count))
        if self.gradient_statistics is not None:
            table = _checked_gradients(self.gradient_statistics, count)
            self._set("gradient_statistics", table)
        # Logarithms that were made here are not always told from logits.
        form = taken if called_logits else _answers.ANY
        others = {
            dataset: _answers.like_those_of_the_test_set(
                f"logits of {dataset}", rows, form, num_classes
            )
            for dataset, rows in self.out_of_distribution_logits.items()
        }
        self._set("out_of_distribution_logits", others)
        self._set(
            "out_of_distribution",
            {
                dataset: {
                    name: _shifted.checked_score(
                        f"score {name!r} on {dataset}",
                        np.asarray(values),
                        len(others[dataset]) if dataset in others else None,
                    )
                    for name, values in scores.items()
                }
                for dataset, scores in self.out_of_distribution.items()
            },
        )
        self._set("shifts", _shifted.checked(self.shifts, self.scores, logits.shape))
        attacked = _attacked.checked(self.attacked, self.scores, logits.shape)
        self._set("attacked", attacked)
        self._set("intervened", _interventions.checked(self.intervened))
        self._set("members", _members.checked(self.members, self.scores, num_classes))

    def image(self, index: int) -> np.ndarray:
        """One image, `[height, width, 1 or 3]`, uint8; of a clip its middle frame.

        Raises:
          ValueError: if there are no images, or what is there is not one.
        """
        if self.images is None:
            raise ValueError("these predictions have no images")
        image = self.images[index]
        if not isinstance(self.images, np.ndarray):
            (image,) = _checked_images(np.asarray(image)[None], 1)
        return image[len(image) // 2] if image.ndim == 4 else image

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # frozen: only __post_init__ may

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, `[examples, classes]`, in float64."""
        return _answers.softmax(self.logits)

    @functools.cached_property
    def predicted(self) -> np.ndarray:
        """The answered class, `[examples]`; ties go to the first."""
        return self.logits.argmax(axis=1)

    @functools.cached_property
    def confidence(self) -> np.ndarray:
        """Probability of the answered class, `[examples]`."""
        return self.probabilities.max(axis=1)

    @functools.cached_property
    def log_odds(self) -> np.ndarray:
        """`log(p / (1 - p))` of the confidence p, `[examples]`: exact where p is 1.

        From sorted logits, so that it does not depend on which class is which.
        """
        ordered = np.sort(self.logits, axis=1)
        behind = ordered[:, :-1] - ordered[:, -1:]
        with np.errstate(divide="ignore"):  # without any other class: infinite odds
            return -_log_sum_exp(behind)

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
                        to 1; of two classes, either may be one number for each
                        example, z for the logits [0, z], p for [1 - p, p]
    labels              `[examples]`: the true classes, integers in [0, classes), or
                        strings of class_names
    class_names         optional, `[classes]`: strings
    score_<name>        optional, `[examples]`: a score of yours, higher = more trust
    images              optional, `[examples, height, width(, channels)]`
    index               optional, `[examples]`: integers, the record of the test set
                        that each example is
    ood_<name>_logits   optional, `[others, classes]`: what the network said of inputs
                        that are of none of the classes, such as `ood_letters_logits`;
                        `ood_<name>_probabilities` where the test set has those
    ood_<name>_score_   of such inputs, `[others]`: each score that the test set has, as
    <score>             `ood_letters_score_mine` beside `score_mine`
    ==================  ============================================================

    Write it with `np.savez("predictions.npz", logits=..., labels=...)`. The
    `scores.npz` of a report can be read back. Probabilities that are called logits
    are taken for what they are, and the `notes` of the predictions say so.

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
    arrays = _npz.read(path)
    try:
        return _from_arrays(arrays)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error


def arrays_of(predictions: Predictions) -> dict[str, np.ndarray]:
    """The arrays that `read_predictions` reads back, without the images.

    Data sets of none of the classes are among them where the network's outputs on them
    are known, and the same scores as on the test set.

    Args:
      predictions: what a network said.

    >>> said = Predictions(np.eye(2), np.array([0, 0]), scores={"mine": np.ones(2)})
    >>> list(arrays_of(said))
    ['logits', 'labels', 'class_names', 'score_mine']
    """
    outputs = predictions.outputs

    def written(logits: np.ndarray) -> np.ndarray:
        return logits if outputs == "logits" else _answers.softmax(logits)

    scores = predictions.out_of_distribution
    others = {
        dataset: written(logits)
        for dataset, logits in predictions.out_of_distribution_logits.items()
        if scores.get(dataset, {}).keys() == predictions.scores.keys()
    }
    return {
        outputs: written(predictions.logits),
        "labels": predictions.labels,
        "class_names": np.array(predictions.class_names),
        **({} if predictions.index is None else {"index": predictions.index}),
        **{f"score_{name}": values for name, values in predictions.scores.items()},
        **_other_rows.arrays_of(others, scores, outputs),
    }


def _from_arrays(arrays: Mapping[str, np.ndarray]) -> Predictions:
    known = {"logits", "probabilities", "labels", "class_names", "images", "index"}
    scores = {
        name.removeprefix("score_"): values
        for name, values in arrays.items()
        if name.startswith("score_")
    }
    named = ("score_", _other_rows.PREFIX)
    unknown = sorted(
        name for name in arrays.keys() - known if not name.startswith(named)
    )
    if unknown:
        raise ValueError(
            f"unknown arrays {', '.join(unknown)}; known are "
            f"{', '.join(sorted(known))}, score_<name>, {_other_rows.NAMES}"
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
    logits, notes = arrays[outputs], ()
    if outputs == "probabilities":
        if _questions.one_for_each(logits.shape):
            logits, notes = _answers.both_chances(logits), (_answers.ONE_CHANCE,)
        logits = _answers.log_probabilities(logits)
    others = _other_rows.read(arrays, outputs, scores)
    return Predictions(
        logits=logits,
        labels=arrays["labels"],
        class_names=tuple(np.char.decode(names) if names.dtype.kind == "S" else names),
        scores=scores,
        images=arrays.get("images"),
        index=arrays.get("index"),
        out_of_distribution=others.scores,
        out_of_distribution_logits=others.logits,
        outputs=outputs,
        notes=notes,
    )


def _listed(names: Mapping[str, np.ndarray]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _log_sum_exp(rows: np.ndarray) -> np.ndarray:
    """`log(sum(exp))` of numbers up to 0, in rising order; -inf of none."""
    largest = rows.max(axis=1, initial=np.finfo(np.float64).min)
    return largest + np.log(np.exp(rows - largest[:, None]).sum(axis=1))


def _checked_labels(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    count, num_classes = shape
    if labels.size != count:
        raise ValueError(f"there are {labels.size} labels for {count} rows of logits")
    outside = (labels < 0) | (labels >= num_classes)
    refuse_rows(f"labels must be in [0, {num_classes}), the number of classes", outside)
    return labels


def _checked_names(names: tuple[str, ...], num_classes: int) -> tuple[str, ...]:
    if not names:
        return tuple(str(index) for index in range(num_classes))
    if len(names) != num_classes:
        raise ValueError(
            f"there are {len(names)} class names for {num_classes} classes"
        )
    return tuple(str(name) for name in names)


def _checked_images(images: np.ndarray, count: int) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim in (4, 5):
        _questions.channels_last(images.shape)
    fits = images.ndim in (4, 5) and images.shape[0] == count
    if not fits or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"images must have shape [{count}, height, width] or "
            f"[{count}, height, width, 1 or 3], or with frames before the height, got "
            f"{images.shape}"
        )
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise ValueError(
            f"images must be uint8 or floats in [0, 1], got {images.dtype}"
        )
    refuse_rows("images of floats must be in [0, 1]", ~((images >= 0) & (images <= 1)))
    return np.round(images * 255).astype(np.uint8)


def _checked_index(index: np.ndarray, count: int) -> np.ndarray:
    if index.shape != (count,) or index.dtype.kind not in "iu":
        raise ValueError(
            f"index must be integers of shape ({count},), got {index.dtype} of shape "
            f"{index.shape}"
        )
    return index.astype(np.int64)


def _checked_gradients(table: GradientStatistics, count: int) -> GradientStatistics:
    values = np.asarray(table.values)
    wanted = (count, len(table.groups), len(table.statistics))
    if values.shape != wanted:
        raise ValueError(
            f"gradient statistics must have shape {wanted} (examples, groups, "
            f"statistics), got {values.shape}"
        )
    values = values.astype(np.float64)
    refuse_rows("gradient statistics must not be NaN", np.isnan(values))
    return dataclasses.replace(table, values=values)
