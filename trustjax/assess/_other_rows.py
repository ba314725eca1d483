"""The out-of-distribution rows of a file of predictions, by the names of its arrays."""

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from trustjax import _questions
from trustjax.assess import _answers

PREFIX = "ood_"
NAMES = "ood_<name>_logits, ood_<name>_probabilities and ood_<name>_score_<score>"
_OUTPUTS = re.compile(r"ood_(.+)_(logits|probabilities)", re.DOTALL)


class OtherRows(NamedTuple):
    """What a network said of inputs that belong to none of the classes.

    Attributes:
      logits: data set -> its outputs: what is called logits, or logarithms of what is
        called probabilities.
      scores: data set -> score name -> `[others]`.
    """

    logits: dict[str, np.ndarray]
    scores: dict[str, dict[str, np.ndarray]]


def read(
    arrays: Mapping[str, np.ndarray], outputs: str, scores: Collection[str]
) -> OtherRows:
    """Reads the arrays whose names begin with `ood_`.

    Args:
      arrays: of the file, by name.
      outputs: `"logits"` or `"probabilities"`, whichever the test set has.
      scores: the names of the scores that the test set has in the file.

    Raises:
      ValueError: if an array is of no data set, if a data set lacks its outputs or has
        the other kind of them, or if it has not the scores that the test set has.
    """
    own = {name: values for name, values in arrays.items() if name.startswith(PREFIX)}
    found = OtherRows({}, {})
    of_scores = {}
    for name, values in own.items():
        matched = _OUTPUTS.fullmatch(name)
        # A score may be called `..._logits`: then its data set has outputs of its own.
        if matched is None or _of_a_data_set(name, own) in scores:
            of_scores[name] = values
            continue
        dataset, kind = matched.groups()
        if kind != outputs:
            raise ValueError(
                f"{name} must be {PREFIX}{dataset}_{outputs}: the test set has "
                f"{outputs}, and scores of both are compared"
            )
        found.logits[dataset] = _as_logits(name, values) if kind != "logits" else values
        found.scores[dataset] = {}
    for name, values in of_scores.items():
        dataset, score = _place(name, found.logits, scores)
        found.scores[dataset][score] = values
    for dataset, own_scores in found.scores.items():
        _require_the_same(dataset, own_scores, scores)
    return found


def arrays_of(
    logits: Mapping[str, np.ndarray],
    scores: Mapping[str, Mapping[str, np.ndarray]],
    outputs: str,
) -> dict[str, np.ndarray]:
    """The arrays that `read` reads back.

    Args:
      logits: data set -> `[others, classes]`, in the form of `outputs`.
      scores: data set -> score name -> `[others]`; of those with outputs.
      outputs: `"logits"` or `"probabilities"`.
    """
    together = {}
    for dataset, rows in logits.items():
        together[f"{PREFIX}{dataset}_{outputs}"] = rows
        for name, values in scores.get(dataset, {}).items():
            together[f"{PREFIX}{dataset}_score_{name}"] = values
    return together


def _as_logits(name: str, values: np.ndarray) -> np.ndarray:
    if _questions.one_for_each(values.shape):
        values = _answers.both_chances(values)
    return _answers.of_probabilities(name, values)


def _of_a_data_set(name: str, names: Collection[str]) -> str | None:
    """The score of a name, if there are outputs of the data set that it begins with."""
    for dataset, score in _splits(name):
        if {f"{PREFIX}{dataset}_logits", f"{PREFIX}{dataset}_probabilities"} & {*names}:
            return score
    return None


def _splits(name: str) -> list[tuple[str, str]]:
    """Every data set and score that a name may be of."""
    pieces = name.removeprefix(PREFIX).split("_score_")
    return [
        ("_score_".join(pieces[:place]), "_score_".join(pieces[place:]))
        for place in range(1, len(pieces))
    ]


def _place(
    name: str, datasets: Collection[str], scores: Collection[str]
) -> tuple[str, str]:
    """The data set and the score of an array; known ones where several fit."""
    splits = _splits(name)
    if not splits or not all(splits[0]):
        raise ValueError(f"unknown array {name}; known are {NAMES}")
    fitting = [split for split in splits if split[0] in datasets]
    if not fitting:
        dataset, _ = splits[0]
        raise ValueError(
            f"{name} is of a data set without outputs: give {PREFIX}{dataset}_logits "
            f"or {PREFIX}{dataset}_probabilities too"
        )
    return next((split for split in fitting if split[1] in scores), fitting[0])


def _require_the_same(
    dataset: str, own: Collection[str], scores: Collection[str]
) -> None:
    for name in scores:
        if name not in own:
            raise ValueError(
                f"the test set has score_{name}, and there is no "
                f"{PREFIX}{dataset}_score_{name}: a score of one is compared with "
                "that of the other"
            )
    for name in own:
        if name not in scores:
            raise ValueError(
                f"there is {PREFIX}{dataset}_score_{name}, and the test set has no "
                f"score_{name}: a score of one is compared with that of the other"
            )
