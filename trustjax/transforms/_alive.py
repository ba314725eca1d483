"""What is alive between two equations of a network.

A value is *alive* behind an equation if it was made there or before, and a later
equation or the result takes it. All that a network knows of x at that place is in the
values alive that depend on x. Where there is one such value alone, the network can be
cut: what follows is a function of it and of the parameters.
"""

from typing import NamedTuple

from trustjax.transforms._program import Program, Value

REARRANGING = frozenset(
    {
        "broadcast_in_dim",
        "convert_element_type",
        "copy",
        "copy_p",
        "pcast",
        "pvary",
        "reshape",
        "reshard",
        "sharding_constraint",
        "squeeze",
    }
)
"""What gives the same numbers in another shape, type or place.

The program of one network has more or fewer of these for a batch of one, in another
type, and on several devices; it has the same computing equations. A transpose is the
same in all of them, and counts: it is what tells a square activation from its mirror.
"""


class Alone(NamedTuple):
    """A place where one value that depends on x is alive.

    Attributes:
      value: the value.
      steps: how many computing equations that depend on x lie before the place.
    """

    value: Value
    steps: int


def alone(program: Program) -> list[Alone]:
    """Every value that is somewhere the only one alive that depends on x, in order."""
    equations = program.equations_of_x
    last_use = {result: len(equations) for result in program.results}
    for position in reversed(range(len(equations))):
        for operand in equations[position].operands:
            last_use.setdefault(operand, position)

    alive = {value for value in program.x if value in last_use}
    places: dict[Value, Alone] = {}
    steps = 0
    for position, equation in enumerate(equations):
        alive.update(result for result in equation.results if result in last_use)
        alive = {value for value in alive if last_use[value] > position}
        steps += equation.name not in REARRANGING
        if len(alive) == 1:
            (value,) = alive
            places.setdefault(value, Alone(value, steps))
    given = {*program.x, *program.results}
    return [place for value, place in places.items() if value not in given]


def computing(program: Program) -> list[str]:
    """The names of the computing equations that depend on x, in order."""
    names = (equation.name for equation in program.equations_of_x)
    return [name for name in names if name not in REARRANGING]
