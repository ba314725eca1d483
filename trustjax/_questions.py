"""What is asked of predictions and images from elsewhere, each question in one place.

Where the answer is not what was expected, it is refused by name: what was expected,
what came, and what to do about it. All arrays here are NumPy's, on the host.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

_ROUNDING = 1e-6
"""By how much a probability in float32 may leave [0, 1]; the sum, by each class."""

_COARSE = 1e-2
"""By how much half precision, or two digits of a table, leave a sum of 1."""


def several_classes(name: str, shape: Sequence[int]) -> None:
    """Refuses one output for each example: it stands for two classes.

    >>> several_classes("logits", (8, 1))
    Traceback (most recent call last):
    ValueError: logits must have shape [examples, classes] with two classes or more, ...
    """
    if one_for_each(shape):
        z, both = ("p", "[1 - p, p]") if name == "probabilities" else ("z", "[0, z]")
        raise ValueError(
            f"{name} must have shape [examples, classes] with two classes or more, got "
            f"{tuple(shape)}: one output {z} stands for two classes, give {both}"
        )


def one_for_each(shape: Sequence[int]) -> bool:
    """Whether an output is one number for each example: it stands for two classes.

    >>> one_for_each((8,)), one_for_each((8, 1)), one_for_each((8, 2))
    (True, True, False)
    """
    return len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)


def two_classes(values: np.ndarray) -> np.ndarray:
    """The two columns that one output for each example stands for, in float64.

    `[1 - p, p]` of a probability, `[0, z]` of anything else: numbers in [0, 1] with a
    fraction among them are probabilities. A file of logits that all lie there would
    answer class 1 everywhere, and never surely.

    >>> two_classes(np.array([2.0, -1.0])), two_classes(np.array([[0.75]]))
    (array([[ 0.,  2.], [ 0., -1.]]), array([[0.25, 0.75]]))
    """
    one = values.reshape(-1).astype(np.float64)
    inside = _is_floating(values) and _inside(values).all()
    probable = inside and not np.isin(one, (0, 1)).all()
    return np.stack([1 - one if probable else np.zeros_like(one), one], axis=1)


def labels(values: Any, class_names: Sequence[str] = ()) -> np.ndarray:
    """The number of a class for each example, also where labels are class names.

    Args:
      values: `[examples]`, integers or strings.
      class_names: in the order of the classes; what strings are looked up in.

    Returns:
      int64 `[examples]`. Whether they are in range is for the caller to say.

    Raises:
      ValueError: if they are neither, or not one for each example.

    ==============================  ================================================
    Edge case                       Value
    ==============================  ================================================
    floats, booleans                refused, with the conversion if they are whole
    `[examples, 1]`                 refused: give labels[:, 0]
    `[examples, classes]`           refused: one-hot, several labels, or scores
    a string that names no class    refused, with its row
    ==============================  ================================================

    >>> labels(["dog", "cat"], ["cat", "dog"])
    array([1, 0])
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(
            f"labels must have shape [examples], got {array.shape}{_columns(array)}"
        )
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    if array.dtype.kind in "US" or (
        array.dtype.kind == "O" and all(isinstance(v, str | bytes) for v in array)
    ):
        return _looked_up(array, class_names)
    remedy = ""
    if array.dtype.kind == "b":
        remedy = ": give labels.astype(int)"
    elif array.dtype.kind == "f":
        broken = np.flatnonzero(array != np.round(array))
        remedy = (
            f": {array[broken[0]]} in row {broken[0]} is not whole"
            if broken.size
            else ": they are whole, give labels.astype(int)"
        )
    raise ValueError(f"labels must be integers or strings, got {array.dtype}{remedy}")


def _columns(array: np.ndarray) -> str:
    """What labels with several columns look like, and what to do about it."""
    if array.ndim != 2 or array.dtype.kind not in "iufb":
        return ""
    if array.shape[1] == 1:
        return ": give labels[:, 0]"
    if np.isin(array, (0, 1)).all():
        if (array.sum(axis=1) == 1).all():
            return ": they are one-hot, give labels.argmax(axis=1)"
        return (
            ": rows with any number of ones are multi-label, and every example here "
            "has one class"
        )
    return ""


def _looked_up(array: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    if not len(class_names):
        raise ValueError(
            f"labels are strings (the first is {str(array[0])!r}): give class_names "
            "too, in the order of the classes"
        )
    number = {name: place for place, name in enumerate(class_names)}
    if len(number) < len(class_names):
        twice = next(n for n in class_names if list(class_names).count(n) > 1)
        raise ValueError(
            f"labels that are strings need class names that differ, and {twice!r} is "
            "there twice: give labels as integers"
        )
    texts = [v.decode() if isinstance(v, bytes) else str(v) for v in array]
    for row, text in enumerate(texts):
        if text not in number:
            raise ValueError(
                f"labels must be names of classes, got {text!r} in row {row}; the "
                f"classes are {_listed(class_names)}"
            )
    return np.array([number[text] for text in texts], np.int64)


def probabilities(values: np.ndarray) -> np.ndarray:
    """Rows of probabilities in float64, within [0, 1].

    What rounding explains is taken: values outside [0, 1] by 1e-6 (more in half
    precision), sums off by 1e-2.

    Raises:
      ValueError: if they are no floats `[examples, classes]`, or no probabilities.

    >>> probabilities(np.array([[1.0000001, -1e-9]]))
    array([[1., 0.]])
    """
    if _is_floating(values):
        several_classes("probabilities", values.shape)
    if values.ndim != 2 or not _is_floating(values):
        raise ValueError(
            "probabilities must be floats of shape [examples, classes], "
            f"got {values.dtype} {values.shape}"
        )
    wide = values.astype(np.float64)
    outside = ~_inside(values)
    refuse_rows("probabilities must be in [0, 1]", outside, _if_logits(wide))
    off = abs(wide.sum(axis=1) - 1) > max(_COARSE, _ROUNDING * wide.shape[1])
    refuse_rows("the probabilities of a row must sum to 1", off)
    return np.clip(wide, 0, 1)


def are_probabilities(values: np.ndarray) -> bool:
    """Whether what is called logits is probabilities: in [0, 1], rows that sum to 1.

    Rows of zeros and ones alone are no sign of it.

    >>> are_probabilities(np.array([[0.7, 0.3]])), are_probabilities(np.eye(2))
    (True, False)
    """
    if not _is_floating(values) or not _inside(values).all():
        return False
    wide = values.astype(np.float64)
    return _sums_to_one(wide, values.dtype) and not np.isin(wide, (0, 1)).all()


def are_log_probabilities(values: np.ndarray) -> bool:
    """Whether logits are logarithms of probabilities: their constant is lost.

    >>> are_log_probabilities(np.log([[0.7, 0.3]]))
    True
    """
    if not _is_floating(values) or not (values <= _ROUNDING).all():
        return False
    return are_probabilities(np.exp(values.astype(np.float64)).astype(values.dtype))


def _is_floating(values: np.ndarray) -> bool:
    return values.dtype.kind == "f" or values.dtype.name == "bfloat16"


def _rounding(dtype: np.dtype) -> float:
    """How far a probability of this type may be off."""
    half = dtype.itemsize < 4
    return (2.0**-7 if dtype.name == "bfloat16" else 2.0**-10) if half else _ROUNDING


def _inside(values: np.ndarray) -> np.ndarray:
    slack = _rounding(values.dtype)
    return (values >= -slack) & (values <= 1 + slack)


def _sums_to_one(wide: np.ndarray, dtype: np.dtype) -> bool:
    slack = min(_COARSE, _rounding(dtype) * wide.shape[1])
    return bool((abs(wide.sum(axis=1) - 1) <= slack).all())


def _if_logits(wide: np.ndarray) -> str:
    """A remedy where what is called probabilities looks like logits."""
    return "" if np.isnan(wide).any() else ": are they logits? call the array so"


def images(values: Any) -> np.ndarray:
    """Images `[records, height, width, channels]`, stacked if they come in a list.

    Clips of video have an axis of frames behind the records.

    Raises:
      ValueError: if they differ in size, lack an axis, or have their channels first.

    >>> images([np.zeros((8, 8, 3))] * 2).shape
    (2, 8, 8, 3)
    """
    if isinstance(values, list | tuple):
        shapes = list(dict.fromkeys(np.shape(value) for value in values))
        if len(shapes) > 1:
            raise ValueError(
                f"images differ in size: {', '.join(map(str, shapes[:3]))}"
                f"{', ...' if len(shapes) > 3 else ''}: give them one size first"
            )
    array = np.asarray(values)
    if array.dtype.kind not in "uifb" and array.dtype.name != "bfloat16":
        raise ValueError(f"images must be numbers, got {array.dtype}")
    if array.ndim not in (4, 5):
        remedy = ": give images[..., None]" if array.ndim == 3 else ""
        raise ValueError(
            "images must have shape [records, height, width, channels], or [records, "
            f"frames, height, width, channels], got {array.shape}{remedy}"
        )
    channels_last(array.shape)
    return array


def channels_last(shape: Sequence[int]) -> None:
    """Refuses images of one channel or three whose channels come first, as PyTorch's.

    >>> channels_last((4, 3, 32, 32))
    Traceback (most recent call last):
    ValueError: images must have shape ..., got (4, 3, 32, 32), whose channels seem ...
    """
    *before, middle, last = shape
    if last in (1, 3) or min(middle, last) <= 4:
        return
    frames = "frames, " if len(shape) == 5 else ""
    # PyTorch's clips have their channels before the frames, or behind them.
    for axis in range(len(before) - 1, 0, -1):
        if shape[axis] in (1, 3):
            raise ValueError(
                f"images must have shape [records, {frames}height, width, channels], "
                f"got {tuple(shape)}, whose channels seem to come first: give "
                f"np.moveaxis(images, {axis}, -1)"
            )


def refuse_rows(rule: str, bad: np.ndarray, remedy: str = "") -> None:
    """Raises where a row holds anything bad: how many rows, and the first.

    >>> refuse_rows("logits must not be NaN", np.array([False, True]))
    Traceback (most recent call last):
    ValueError: logits must not be NaN: 1 row breaks this, row 1
    """
    rows = np.flatnonzero(np.any(bad.reshape(bad.shape[0], -1), axis=1))
    if rows.size:
        first = ", ".join(map(str, rows[:5])) + (", ..." if rows.size > 5 else "")
        number = "1 row breaks" if rows.size == 1 else f"{rows.size} rows break"
        raise ValueError(f"{rule}: {number} this, row {first}{remedy}")


def _listed(names: Sequence[str], limit: int = 12) -> str:
    shown = ", ".join(map(str, names[:limit]))
    return shown + (", ..." if len(names) > limit else "")
