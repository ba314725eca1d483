"""What a network said of images that it learned from: checked."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from trustjax._questions import refuse_rows
from trustjax.assess._shifted import checked_score


class Members(NamedTuple):
    """What a network said of images that it learned from.

    Attributes:
      logits: `[members, classes]`.
      labels: `[members]`, their true classes.
      scores: name -> `[members]`, as in `Predictions`.
    """

    logits: np.ndarray
    labels: np.ndarray
    scores: Mapping[str, np.ndarray]


def checked(
    members: Members | None, scores: Mapping[str, np.ndarray], num_classes: int
) -> Members | None:
    """Members that are asked the same as the test set.

    Args:
      members: what was said.
      scores: of the test set.
      num_classes: of its logits.

    Raises:
      ValueError: naming what is wrong.
    """
    if members is None:
        return None
    logits = np.asarray(members.logits, np.float64)
    labels = np.asarray(members.labels)
    if logits.ndim != 2 or logits.shape[1] != num_classes or not len(logits):
        raise ValueError(
            f"logits of members must have shape [members, {num_classes}], one at "
            f"least, got {logits.shape}"
        )
    refuse_rows("logits of members must not be NaN", np.isnan(logits.sum(axis=1)))
    if labels.shape != logits.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels of members must be integers of shape ({len(logits)},), got "
            f"{labels.dtype} of shape {labels.shape}"
        )
    refuse_rows(
        f"labels of members must be in [0, {num_classes})",
        (labels < 0) | (labels >= num_classes),
    )
    if unknown := sorted(set(members.scores).difference(scores)):
        raise ValueError(f"members have scores that are not in scores: {unknown}")
    return Members(
        logits,
        labels,
        {
            name: checked_score(
                f"score {name!r} of members", np.asarray(values), len(logits)
            )
            for name, values in members.scores.items()
        },
    )
