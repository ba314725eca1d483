"""What is known of the values of a program: constants, signals, and signs of signals.

A program says `max x 0`, and what is 0 may have been made elsewhere: passed into a
`jit`, converted, spread over a shape. So each value is followed with what is known of
it, and from that the forms of a ReLU are recognised, and the units that resemble one.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.core
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn


@dataclasses.dataclass(eq=False)
class Constant:
    """A value that the program holds, or one that is filled with it."""

    value: Any


@dataclasses.dataclass(eq=False)
class Signal:
    """A value that depends on an argument.

    Attributes:
      origins: the signals that it is a function of, entry by entry.
      bent_of: those of them that the function bends.
      multiple_of: the signal that it is a constant multiple of, if it is one.
    """

    origins: frozenset["Signal"] = frozenset()
    bent_of: frozenset["Signal"] = frozenset()
    multiple_of: "Signal | None" = None


@dataclasses.dataclass(eq=False)
class Sign:
    """Where a signal is positive; or where it is not."""

    signal: Signal
    positive: bool


Fact = Constant | Signal | Sign | None
"""What is known of a value; None if no gradient of it reaches an argument."""

SPREAD = frozenset(
    {
        *("broadcast_in_dim", "convert_element_type", "copy", "copy_p", "pcast"),
        *("pvary", "reshape", "reshard", "sharding_constraint", "squeeze"),
    }
)
"""Primitives that give the same numbers in another shape, type or place."""

KINKED = frozenset({"max", "min", "clamp", "select_n"})
"""Primitives that bend what they take, entry by entry."""

COMPARISONS = {"gt": True, "ge": True, "lt": False, "le": False}
"""Primitives that compare with 0, and what they say of a positive first operand."""

_ENTRYWISE = KINKED | {"add", "sub", "mul", "div", "neg"}


def of_type(variable: Any) -> Fact:
    """Nothing is known of a value but its type: integers have no derivative."""
    dtype = getattr(variable.aval, "dtype", bool)
    floats = jnp.issubdtype(dtype, jnp.inexact)
    return Signal() if floats else None


def made_of(equation: JaxprEqn, operands: Sequence[Fact]) -> Fact:
    """What is known of the one result of an operation on signals."""
    name, (out,) = equation.primitive.name, equation.outvars
    signals = [operand for operand in operands if isinstance(operand, Signal)]
    if name in SPREAD and isinstance(operands[0], Sign):
        return operands[0]
    made = of_type(out)
    if not isinstance(made, Signal) or not signals or name not in _ENTRYWISE:
        return made
    made.origins = frozenset[Signal]().union(*(s.origins | {s} for s in signals))
    bent_before = frozenset[Signal]().union(*(s.bent_of for s in signals))
    made.bent_of = made.origins if name in KINKED else bent_before
    if len(signals) == 1 and name in ("mul", "div", "neg"):
        made.multiple_of = signals[0].multiple_of or signals[0]
    return made


def bent(signal: Signal) -> Signal:
    """What a ReLU makes of a signal."""
    origins = signal.origins | {signal}
    return Signal(origins, bent_of=origins)


def is_zero(fact: Fact) -> bool:
    """Whether a value is known to be 0 everywhere."""
    if not isinstance(fact, Constant) or isinstance(fact.value, jax.core.Tracer):
        return False
    return not np.any(np.asarray(fact.value))


def rectified(name: str, operands: Sequence[Fact]) -> Signal | None:
    """The signal that an operation is the ReLU of."""
    match name, *operands:
        case "max", Signal() as x, other if is_zero(other):
            return x
        case "max", other, Signal() as x if is_zero(other):
            return x
        case "select_n", Sign(x, True), off, on if on is x and is_zero(off):
            return x
        case "select_n", Sign(x, False), on, off if on is x and is_zero(off):
            return x
        case "mul", Signal() as x, Sign(signal, True) if signal is x:
            return x
        case "mul", Sign(signal, True), Signal() as x if signal is x:
            return x
    return None


def resembles(name: str, operands: Sequence[Fact]) -> str | None:
    """How an operation is no ReLU, where it is akin to one."""
    match name, *operands:
        case "select_n", Sign(), Signal(), Signal():
            return "a choice by the sign, as in a leaky ReLU or an ELU"
        case "min", Signal(), other if is_zero(other):
            return "min(x, 0), as in a leaky ReLU"
        case "min", other, Signal() if is_zero(other):
            return "min(x, 0), as in a leaky ReLU"
        case "max" | "min", Signal() as a, Signal() as b if (
            a.multiple_of is b or b.multiple_of is a
        ):
            return f"{name}(x, a x), as in a leaky ReLU"
        case "mul", Signal() as a, Signal() as b if a in b.bent_of or b in a.bent_of:
            return "a product of x and a bent function of x, as in a hard swish"
    return None


def sign(name: str, operands: Sequence[Fact]) -> Sign | None:
    """The sign that a comparison finds."""
    match operands:
        case [Signal() as x, other] if name in COMPARISONS and is_zero(other):
            return Sign(x, COMPARISONS[name])
        case [other, Signal() as x] if name in COMPARISONS and is_zero(other):
            return Sign(x, not COMPARISONS[name])
    return None
