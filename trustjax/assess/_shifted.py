"""What a network said of the same test set, changed: checked."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from trustjax import _validate
from trustjax._questions import refuse_rows


class Shifted(NamedTuple):
    """What a network said of the same test set, its images changed.

    Attributes:
      predicted: `[examples]`, the answered class.
      confidence: `[examples]`, the probability of the answered class.
      scores: name -> `[examples]`, as in `Predictions`.
    """

    predicted: np.ndarray
    confidence: np.ndarray
    scores: Mapping[str, np.ndarray]


def checked(
    shifts: Mapping[str, Mapping[int, Shifted]],
    scores: Mapping[str, np.ndarray],
    shape: tuple[int, ...],
) -> dict[str, dict[int, Shifted]]:
    """Versions that fit the test set, and each other.

    Args:
      shifts: kind -> severity -> what was said.
      scores: of the test set as it is.
      shape: of its logits.

    Raises:
      ValueError: naming the version, and what is wrong in it.
    """
    if not shifts:
        return {}
    severities = {tuple(of_kind) for of_kind in shifts.values()}
    names = {tuple(of.scores) for kind in shifts.values() for of in kind.values()}
    if len(severities) > 1 or len(names) > 1 or () in severities:
        raise ValueError(
            "shifts must have the same severities and scores for every kind, got "
            f"severities {sorted(severities)} and scores {sorted(names)}"
        )
    for severity in next(iter(severities)):
        _validate.count("severity", severity)
    if unknown := sorted(set(*names).difference(scores)):
        raise ValueError(f"shifts have scores that are not in scores: {unknown}")

    return {
        kind: {
            severity: checked_version(f"{kind} of severity {severity}", shifted, shape)
            for severity, shifted in of_kind.items()
        }
        for kind, of_kind in shifts.items()
    }


def checked_version(where: str, shifted: Shifted, shape: tuple[int, ...]) -> Shifted:
    """What was said of one version of the examples, as arrays.

    Args:
      where: under what, in the words of an error.
      shifted: what was said.
      shape: of the logits of these examples.

    Raises:
      ValueError: naming what is wrong.
    """
    count, num_classes = shape
    arrays = {
        "predicted": np.asarray(shifted.predicted),
        "confidence": np.asarray(shifted.confidence, np.float64),
    }
    for name, values in arrays.items():
        if values.shape != (count,):
            raise ValueError(
                f"{name} under {where} must have shape [{count}], as the labels "
                f"have, got {values.shape}"
            )
    predicted, confidence = arrays.values()
    if predicted.dtype.kind not in "iu":
        raise ValueError(
            f"predicted under {where} must be integers, got {predicted.dtype}"
        )
    refuse_rows(
        f"predicted under {where} must be in [0, {num_classes})",
        (predicted < 0) | (predicted >= num_classes),
    )
    refuse_rows(
        f"confidence under {where} must be in [0, 1]",
        ~((confidence >= 0) & (confidence <= 1 + 1e-6)),
    )
    return Shifted(
        predicted,
        np.minimum(confidence, 1),
        {
            name: checked_score(
                f"score {name!r} under {where}", np.asarray(values), count
            )
            for name, values in shifted.scores.items()
        },
    )


def checked_score(name: str, values: np.ndarray, count: int | None) -> np.ndarray:
    """`[count]` numbers, infinite ones among them; of any length if that is None."""
    if values.ndim != 1 or (count is not None and values.size != count):
        wanted = "[others]" if count is None else f"({count},)"
        raise ValueError(f"{name} must have shape {wanted}, got {values.shape}")
    if values.dtype.kind not in "biuf" and values.dtype.name != "bfloat16":
        raise ValueError(f"{name} must be numbers, got {values.dtype}")
    if not values.size:
        raise ValueError(f"{name} must have one example at least, got none")
    values = values.astype(np.float64)
    refuse_rows(f"{name} must not be NaN", np.isnan(values))
    return values
