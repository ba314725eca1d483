"""The one place of argument checks: static facts only, so they survive `jax.jit`."""

import math
from collections.abc import Collection

import jax
import jax.numpy as jnp


def logits(value: jax.Array) -> None:
    """Requires a floating `[batch, classes]` array with at least one class."""
    if value.ndim != 2 or value.shape[1] < 1:
        raise ValueError(f"logits must have shape [batch, classes], got {value.shape}")
    floating("logits", value)


def floating(name: str, value: jax.Array) -> None:
    """Requires a floating-point array."""
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(f"{name} must be floating point, got {value.dtype}")


def rank(name: str, value: jax.Array, axes: str) -> None:
    """Requires one axis for each word of `axes`, e.g. `"batch features"`."""
    names = axes.split()
    if value.ndim != len(names):
        raise ValueError(
            f"{name} must have shape [{', '.join(names)}], got {value.shape}"
        )


def same_length(**arrays: jax.Array) -> None:
    """Requires arrays of one common leading length."""
    lengths = {name: value.shape[0] for name, value in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise ValueError(f"arrays must have the same length: {listed}")


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
