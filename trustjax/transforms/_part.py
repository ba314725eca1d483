"""Running the part of a program between two of its values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trustjax.transforms._program import (
    Atom,
    Call,
    Constant,
    Equation,
    Program,
    flat,
)


def run_part(
    program: Program, given: Mapping[Any, Any], wanted: Sequence[Atom]
) -> list[Any]:
    """What a program makes of some of its values.

    A call is bound as it stands, and keeps what it was written for (`jax.checkpoint`,
    a loop, a layout), unless the part begins or ends inside it.

    Args:
      program: a network that was traced.
      given: arrays for arguments and inner values, from which the rest follows.
      wanted: what is asked for.

    Returns:
      The arrays of `wanted`.
    """
    values = dict(given)

    def value_of(atom: Atom) -> Any:
        return atom.value if isinstance(atom, Constant) else values[atom]

    for equation in _to_run(program, set(given), wanted):
        results = equation.compute(*map(value_of, equation.operands))
        for result, value in zip(equation.results, results, strict=True):
            values.setdefault(result, value)
    return [value_of(atom) for atom in wanted]


def _to_run(
    program: Program, given: set[Atom], wanted: Sequence[Atom]
) -> list[Equation]:
    """The equations and whole calls between `given` and `wanted`, in order."""
    computable = set(given)

    def can_run(equation: Equation) -> bool:
        return all(
            isinstance(o, Constant) or o in computable for o in equation.operands
        )

    for equation in flat(program.steps):
        if can_run(equation):
            computable.update(equation.results)

    needed = set(wanted) - given

    def backwards(steps: Sequence[Equation]) -> Iterator[Equation]:
        for step in reversed(steps):
            made = step.inside if isinstance(step, Call) else set(step.results)
            asked = needed & made
            if not asked:
                continue
            if isinstance(step, Call) and not (
                can_run(step) and asked <= set(step.results)
            ):
                yield from backwards(step.steps)
            else:
                needed.update(set(step.operands) - given)
                yield step

    return list(backwards(program.steps))[::-1]
