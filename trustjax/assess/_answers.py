"""What a network's outputs are: logits, probabilities, or one number for two classes.

What is called logits and is something else is taken for what it is, and a note says so.
Outputs on inputs of none of the classes must be in the form of the test set's: scores
of the two are compared number by number.
"""

from typing import Any

import numpy as np

from trustjax import _questions
from trustjax._questions import refuse_rows

LARGEST = 1e307  # the distance of two logits is finite

PROBABILITIES = (
    "The logits are probabilities (each row is in [0, 1] and sums to 1), and were "
    "taken as such."
)
ONE_LOGIT = (
    "There is one output z for each example, taken as the logits [0, z] of two "
    "classes: the second is answered where z > 0."
)
ONE_CHANCE = (
    "There is one output p in [0, 1] for each example, taken as the probabilities "
    "[1 - p, p] of two classes: the second is answered where p > 1/2."
)
LOG_PROBABILITIES = (
    "The logits are logarithms of probabilities (the exponentials of each row sum to "
    "1): scores that depend on a constant added to the logits are left out."
)

ANY = "any"
"""The form of what is known to be the test set's, whatever its numbers look like."""

_IN_WORDS = {
    None: "logits",
    PROBABILITIES: "probabilities (each row is in [0, 1] and sums to 1)",
    LOG_PROBABILITIES: "logarithms of probabilities (the exponentials of each row sum "
    "to 1)",
    ONE_LOGIT: "one logit for each example",
    ONE_CHANCE: "one probability for each example",
}


def taken_for(logits: np.ndarray, one: bool) -> str | None:
    """What is called logits and is something else, if it is: the note on it.

    Args:
      logits: what was given, in two columns where it was one output.
      one: whether it was.
    """
    if _questions.are_probabilities(logits):
        return ONE_CHANCE if one else PROBABILITIES
    if one:
        return ONE_LOGIT
    return LOG_PROBABILITIES if _questions.are_log_probabilities(logits) else None


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms, finite also for a probability of zero."""
    checked = _questions.probabilities(probabilities)
    return np.log(np.maximum(checked, np.finfo(np.float32).tiny))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, `[examples, classes]`, in float64."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def both_chances(chances: np.ndarray) -> np.ndarray:
    """The two columns `[1 - p, p]` of one probability for each example."""
    return np.stack([1 - chances.reshape(-1), chances.reshape(-1)], axis=1)


def checked(logits: np.ndarray, name: str = "logits") -> np.ndarray:
    """Logits in float64.

    Raises:
      ValueError: naming what is wrong, and the first rows where it is.
    """
    _questions.several_classes(name, logits.shape)
    if logits.ndim != 2 or 0 in logits.shape:
        raise ValueError(
            f"{name} must have shape [examples, classes] with at least one of each, "
            f"got {logits.shape}"
        )
    if logits.dtype.kind not in "fiu" and logits.dtype.name != "bfloat16":
        raise ValueError(f"{name} must be numbers, got {logits.dtype}")
    logits = logits.astype(np.float64)
    refuse_rows(f"{name} must not be NaN", np.isnan(logits))
    refuse_rows(f"{name} must not be +inf", np.isposinf(logits))
    enormous = np.isfinite(logits) & (abs(logits) > LARGEST)
    refuse_rows(f"{name} must be within {LARGEST:g} of 0", enormous)
    refuse_rows(f"{name} must not all be -inf", np.isneginf(logits.max(axis=1)))
    return logits


def like_those_of_the_test_set(
    name: str, given: Any, form: str | None, num_classes: int
) -> np.ndarray:
    """Outputs on inputs of none of the classes, as logits.

    Args:
      name: of the array, in errors.
      given: `[others, classes]`, or one output for each where the test set has that.
      form: what the test set's logits were taken for; None where they are logits, `ANY`
        where nothing is to be found out.
      num_classes: of the test set, with both where it has one output for each.

    Returns:
      float64 `[others, classes]`.

    Raises:
      ValueError: if they have other classes or another form, saying what is expected.
    """
    given = np.asarray(given)
    one = form in (ONE_LOGIT, ONE_CHANCE)
    if one != _questions.one_for_each(given.shape) and given.ndim in (1, 2):
        expected = "[others]" if one else f"[others, {num_classes}]"
        raise ValueError(
            f"{name} must have shape {expected}, for the test set has "
            f"{_IN_WORDS[form] if one else f'{num_classes} classes'}, got {given.shape}"
        )
    if one and form == ONE_CHANCE:
        given = both_chances(given)
    elif one:
        numbers = given.reshape(-1)
        given = np.stack([np.zeros_like(numbers), numbers], axis=1)
    logits = checked(given, name)
    if logits.shape[1] != num_classes:
        raise ValueError(
            f"{name} must have shape [others, {num_classes}], the classes of the test "
            f"set, got {given.shape}"
        )
    # One number in [0, 1] may be a logit; what the test set's are decides it.
    came = form if one or form == ANY else taken_for(given, one=False)
    if came != form:
        raise ValueError(
            f"{name} must be {_IN_WORDS[form]} as the test set's are, got "
            f"{_IN_WORDS[came]}"
        )
    if form not in (PROBABILITIES, ONE_CHANCE):
        return logits
    return of_probabilities(name, given)


def of_probabilities(name: str, given: np.ndarray) -> np.ndarray:
    """Logarithms of probabilities that have a name of their own."""
    try:
        return log_probabilities(given)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
