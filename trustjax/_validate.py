"""The one place of argument checks.

Static facts are checked always, so the checks survive `jax.jit`; values are looked at
only where they are known.
"""

import math
from collections.abc import Callable, Collection

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from trustjax._numerics import PROBABILITY_ROUNDING


def logits(value: jax.Array) -> None:
    """Requires a floating `[batch, classes]` array with at least one class."""
    if value.ndim != 2 or value.shape[1] < 1:
        raise ValueError(f"logits must have shape [batch, classes], got {value.shape}")
    floating("logits", value)


def floating(name: str, value: jax.Array) -> None:
    """Requires a floating-point array."""
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(f"{name} must be floating point, got {value.dtype}")


def integers(name: str, value: jax.Array) -> None:
    """Requires whole numbers, and no booleans."""
    if not jnp.issubdtype(value.dtype, jnp.integer):
        raise TypeError(f"{name} must be integers, got {value.dtype}")


def real(name: str, value: jax.Array) -> None:
    """Requires floats, signed or short integers, or booleans."""
    if not _is_real(value) or value.dtype in (jnp.uint32, jnp.uint64):
        raise TypeError(
            f"{name} must be floating point, signed integers or boolean, "
            f"got {value.dtype}"
        )


def rank(name: str, value: jax.Array, axes: str) -> None:
    """Requires one axis for each word of `axes`, e.g. `"batch features"`."""
    names = axes.split()
    if value.ndim != len(names):
        raise ValueError(
            f"{name} must have shape [{', '.join(names)}], got {value.shape}"
        )


def same_length(**arrays: jax.Array) -> None:
    """Requires arrays of one common leading length."""
    for name, value in arrays.items():
        if value.ndim == 0:
            raise ValueError(f"{name} must have a leading axis, got a single number")
    lengths = {name: value.shape[0] for name, value in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise ValueError(f"arrays must have the same length: {listed}")


def vectors(**arrays: jax.Array) -> None:
    """Requires `[n]` arrays of one length: `[n, 1]` beside `[n]` would make a table."""
    for name, value in arrays.items():
        rank(name, value, "n")
    same_length(**arrays)


def broadcasts(name: str, value: jax.Array, shape: tuple[int, ...]) -> None:
    """Requires a shape that broadcasts to `shape`."""
    own = value.shape
    fits = len(own) <= len(shape) and all(
        n in (1, m) for n, m in zip(own[::-1], shape[::-1], strict=False)
    )
    if not fits:
        raise ValueError(f"{name} must broadcast to {shape}, got {own}")


def same_shape(**arrays: jax.Array) -> None:
    """Requires arrays of one common shape."""
    shapes = {name: value.shape for name, value in arrays.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} has {shape}" for name, shape in shapes.items())
        raise ValueError(f"arrays must have the same shape: {listed}")


def choice(name: str, value: str, choices: Collection[str]) -> None:
    """Requires `value` to be one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def positive(name: str, value: float) -> None:
    """Requires a number above zero."""
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")


def not_negative(name: str, value: float) -> None:
    """Requires a number of at least zero."""
    if not value >= 0:
        raise ValueError(f"{name} must not be negative, got {value}")


def fraction(name: str, value: float) -> None:
    """Requires a number in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {value}")


def open_fraction(name: str, value: float) -> None:
    """Requires a number in (0, 1)."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must be in (0, 1), got {value}")


def rising(name: str, ends: tuple[float, float]) -> None:
    """Requires the first of two numbers to be less than the second."""
    low, high = ends
    if not low < high:
        raise ValueError(f"{name} must rise, got {low} and {high}")


def count(
    name: str, value: int, *, at_least: int = 1, at_most: float = math.inf
) -> None:
    """Requires a whole number in [at_least, at_most]."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole and at_least <= value <= at_most):
        bound = f" and <= {at_most}" if at_most < math.inf else ""
        raise ValueError(
            f"{name} must be an integer >= {at_least}{bound}, got {value!r}"
        )


def some_examples(name: str, value: jax.Array) -> None:
    """Requires a leading axis that is not empty."""
    if value.shape[0] < 1:
        raise ValueError(f"{name} must hold at least one example, got {value.shape}")


def no_nan(name: str, value: jax.Array, weights: jax.Array | None = None) -> None:
    """Refuses NaN among the values that `weights` keeps, if the values are known.

    Under a transformation, or where another host holds a part, nothing is known here:
    the result is then NaN, as the caller documents.
    """
    _refuse(name, "must not be NaN", value, np.isnan, weights)


def finite(name: str, value: jax.Array) -> None:
    """Refuses NaN and infinities, if the values are known."""
    _refuse(name, "must be finite", value, lambda values: ~np.isfinite(values), None)


def at_most(name: str, value: jax.Array, largest: float) -> None:
    """Refuses magnitudes above `largest`, if the values are known."""
    beyond = lambda values: np.abs(values) > largest
    _refuse(name, f"must be in [-{largest:g}, {largest:g}]", value, beyond, None)


def none_negative(name: str, value: jax.Array) -> None:
    """Refuses negative numbers, if the values are known."""
    _refuse(name, "must not be negative", value, lambda values: values < 0, None)


def probabilities(
    name: str, value: jax.Array, weights: jax.Array | None = None
) -> None:
    """Refuses values outside [0, 1] among those that `weights` keeps, if known.

    What float32 rounds beyond them, as a mean of softmaxes of 1, is taken.
    """
    outside = lambda values: (
        ~((values >= -PROBABILITY_ROUNDING) & (values <= 1 + PROBABILITY_ROUNDING))
    )
    _refuse(name, "must be in [0, 1]", value, outside, weights)


def classes(
    name: str, value: jax.Array, num_classes: int, weights: jax.Array | None = None
) -> None:
    """Requires integers, refusing known ones outside `[0, num_classes)`."""
    integers(name, value)
    outside = lambda values: (values < 0) | (values >= num_classes)
    _refuse(name, f"must be in [0, {num_classes})", value, outside, weights)


def labels(**arrays: jax.Array) -> None:
    """Requires `[n]` integers, for the same one or more examples."""
    vectors(**arrays)
    for name, value in arrays.items():
        integers(name, value)
        some_examples(name, value)


def binary(name: str, value: jax.Array, weights: jax.Array | None = None) -> None:
    """Requires booleans, or integers of which the known ones are 0 or 1."""
    if value.dtype != jnp.bool_:
        if not jnp.issubdtype(value.dtype, jnp.integer):
            raise TypeError(f"{name} must be boolean or 0 and 1, got {value.dtype}")
        _refuse(name, "must be 0 or 1", value, lambda v: (v != 0) & (v != 1), weights)


def example_weights(
    value: jax.Array | None, name: str = "weights", **examples: jax.Array
) -> None:
    """Requires one real number for each example, the known ones finite, none negative.

    Integers are counts, whose sum must fit 31 bits.
    """
    if value is None:
        return
    rank(name, value, "n")
    same_length(**examples, **{name: value})
    if not _is_real(value):
        raise TypeError(f"{name} must be booleans, counts or floats, got {value.dtype}")
    bad = lambda values: ~((values >= 0) & (values < np.inf))
    _refuse(name, "must be finite and not negative", value, bad, None)
    if jnp.issubdtype(value.dtype, jnp.integer) and is_known(value):
        total = np.asarray(value).astype(np.float64).sum()
        if total >= 2**31:
            raise ValueError(f"{name} must count fewer than 2**31, got {total:.0f}")


def whole_weights(value: jax.Array | None, reason: str) -> None:
    """Refuses fractional weights, for what has no meaning with them."""
    if value is not None and jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(f"weights must be whole: {reason}, got {value.dtype}")


def probabilities_and_labels(
    values: jax.Array, labels: jax.Array, weights: jax.Array | None
) -> None:
    """Requires `[n, classes]` probabilities and one class each."""
    rank("probabilities", values, "n classes")
    some_examples("probabilities", values)
    floating("probabilities", values)
    count("the classes of probabilities", values.shape[1])
    rank("labels", labels, "n")
    same_length(probabilities=values, labels=labels)
    example_weights(weights, labels=labels)
    probabilities("probabilities", values, weights)
    classes("labels", labels, values.shape[1], weights)


def scores_and_outcomes(
    scores: jax.Array, correct: jax.Array, weights: jax.Array | None
) -> None:
    """Requires what every metric of a score needs: one number, one outcome each."""
    vectors(scores=scores, correct=correct)
    some_examples("scores", scores)
    example_weights(weights, scores=scores)
    real("scores", scores)
    no_nan("scores", scores, weights)
    binary("correct", correct, weights)


def confidence_and_outcomes(
    confidence: jax.Array, correct: jax.Array, weights: jax.Array | None
) -> None:
    """Requires one probability and one outcome for each example."""
    vectors(confidence=confidence, correct=correct)
    floating("confidence", confidence)
    example_weights(weights, confidence=confidence)
    probabilities("confidence", confidence, weights)
    binary("correct", correct, weights)


def fits(name: str, value: np.ndarray, converted: np.ndarray) -> None:
    """Refuses numbers that the dtype of `converted` has none near to.

    JAX makes float32 of float64, and int32 of int64, where x64 is off.
    """
    if converted.dtype == value.dtype:
        return
    if jnp.issubdtype(value.dtype, jnp.inexact):
        lost = lambda values: np.isfinite(values) & ~np.isfinite(converted)
    else:
        lost = lambda values: values != converted
    _refuse(name, f"must fit {converted.dtype}", value, lost, None)


def stays_apart(name: str, value: np.ndarray, dtype: np.dtype) -> None:
    """Refuses numbers that differ, but are equal in the other dtype."""
    order = np.argsort(value, axis=None)
    risen = value.ravel()[order]
    kept = risen.astype(dtype)
    lost = (risen[1:] > risen[:-1]) & ~(kept[1:] > kept[:-1])
    if lost.any():
        first = int(np.argmax(lost))
        raise ValueError(
            f"{name} must differ in {dtype} where they differ, got "
            f"{risen[first]} and {risen[first + 1]} ({lost.sum()} such pairs): call "
            "this outside `jax.jit`, with no traced array"
        )


def counts(name: str, value: jax.Array, total: jax.Array) -> None:
    """Requires integers, refusing known ones outside `[0, total]`."""
    for label, array in ((name, value), (f"the total of {name}", total)):
        if not jnp.issubdtype(array.dtype, jnp.integer):
            raise TypeError(f"{label} must be integers, got {array.dtype}")
    if is_known(total):
        limit = np.asarray(total)
        outside = lambda values: (values < 0) | (values > limit)
        _refuse(name, "must be in [0, their total]", value, outside, None)


def known(**arrays: object) -> None:
    """Requires values that can be looked at now."""
    for name, value in arrays.items():
        if not is_known(value):
            raise TypeError(
                f"{name} must be known values, got {value}: call this outside `jax.jit`"
            )


def is_known(*arrays: object) -> bool:
    """Whether the values can be looked at now: not traced, all on this host."""
    return all(
        not isinstance(array, jax.core.Tracer)
        and getattr(array, "is_fully_addressable", True)
        for array in arrays
    )


def _is_real(value: jax.Array) -> bool:
    """Whether an array holds floats, integers or booleans."""
    numbers = jnp.issubdtype(value.dtype, jnp.number) or value.dtype == jnp.bool_
    return numbers and not jnp.issubdtype(value.dtype, jnp.complexfloating)


def _refuse(
    name: str,
    requirement: str,
    value: jax.Array | np.ndarray,
    is_bad: Callable[[np.ndarray], np.ndarray],
    weights: jax.Array | None,
) -> None:
    if not is_known(value, weights):
        return
    values = np.asarray(value)
    with np.errstate(invalid="ignore"):  # bfloat16 warns of the NaN it compares
        bad = is_bad(values)
    if weights is not None:
        kept = np.asarray(weights) != 0
        bad = bad & kept.reshape(kept.shape + (1,) * (values.ndim - kept.ndim))
    if bad.any():
        first = tuple(np.argwhere(bad)[0].tolist())
        index = first[0] if len(first) == 1 else first
        raise ValueError(
            f"{name} {requirement}, got {values[first]} at index {index} "
            f"({bad.sum()} of {values.size} values)"
        )
