"""Which axis of an activation holds the channels, read off the operations.

Convolutions and products with weights say where they put what they compute; all that
follows carries that axis along. Where nothing is known, the channels are taken to be
the last axis.
"""

import math
from collections.abc import Callable, Sequence

from trustjax.transforms._program import Atom, Equation, Program, Value

CONVOLUTIONS = frozenset({"conv_general_dilated", "matmul_gradient_conv"})
PRODUCTS = CONVOLUTIONS | {"dot_general", "ragged_dot_general"}


def channel_axes(program: Program) -> dict[Atom, int | None]:
    """The axis of the channels of every value that depends on x; None if unknown."""
    axes: dict[Atom, int | None] = dict.fromkeys(program.x)
    for equation in program.equations_of_x:
        axis = _of_result(equation, program, axes)
        for result in equation.results:
            known = axis is not None and axis < result.aval.ndim
            axes[result] = axis if known else None
    return axes


def free_axes(equation: Equation, number: int) -> list[int]:
    """The axes of an operand of `dot_general` that are neither summed nor shared."""
    contracted, shared = equation.params["dimension_numbers"]
    taken = {*contracted[number], *shared[number]}
    return [k for k in range(equation.operands[number].aval.ndim) if k not in taken]


def _of_result(
    equation: Equation, program: Program, axes: dict[Atom, int | None]
) -> int | None:
    if equation.name in CONVOLUTIONS:
        return equation.params["dimension_numbers"].out_spec[1]
    if equation.name == "dot_general":
        return _of_product(equation, program, axes)
    if equation.name == "gather":
        return _of_lookup(equation, program, axes)
    # Of several operands, the one that was made last: a shortcut is older.
    known = [o for o in equation.operands if axes.get(o) is not None]
    if not known:
        return None
    operand = max(known, key=list(axes).index) if len(known) > 1 else known[0]
    axis = axes[operand]
    assert axis is not None
    if equation.name in _CARRIED:
        return _CARRIED[equation.name](equation, operand, axis)
    if "axes" in equation.params:
        return _without(axis, equation.params["axes"])
    same_rank = equation.results[0].aval.ndim == operand.aval.ndim
    return axis if same_rank else None


def _of_product(
    equation: Equation, program: Program, axes: dict[Atom, int | None]
) -> int | None:
    """The weights' axis that remains, or that of an operand that had channels."""
    _, (shared, _) = equation.params["dimension_numbers"]
    free = [free_axes(equation, number) for number in (0, 1)]
    offsets = len(shared), len(shared) + len(free[0])
    weights = [n for n in (0, 1) if equation.operands[n] not in program.of_x]
    if weights:
        (number,) = weights
        return offsets[number] + len(free[number]) - 1 if free[number] else None
    for number in (1, 0):
        axis = axes.get(equation.operands[number])
        if axis in free[number]:
            return offsets[number] + free[number].index(axis)
    return None


def _of_lookup(
    equation: Equation, program: Program, axes: dict[Atom, int | None]
) -> int | None:
    """The last axis of a table's rows, or the channels of what is looked into."""
    table = equation.operands[0]
    dimensions = equation.params["dimension_numbers"]
    if table not in program.of_x:
        return dimensions.offset_dims[-1] if dimensions.offset_dims else None
    dropped = (*dimensions.collapsed_slice_dims, *dimensions.operand_batching_dims)
    kept = [k for k in range(table.aval.ndim) if k not in dropped]
    axis = axes.get(table)
    return dimensions.offset_dims[kept.index(axis)] if axis in kept else None


def _without(axis: int, removed: Sequence[int]) -> int | None:
    return None if axis in removed else axis - sum(k < axis for k in removed)


def _reshaped(equation: Equation, operand: Atom, axis: int) -> int | None:
    """The axis of the same length with as many numbers before it, if there is one."""
    before, after = operand.aval.shape, equation.results[0].aval.shape
    for k, size in enumerate(after):
        if size == before[axis] and math.prod(after[:k]) == math.prod(before[:axis]):
            return k
    return None


_CARRIED: dict[str, Callable[[Equation, Value | Atom, int], int | None]] = {
    "transpose": lambda e, _, axis: e.params["permutation"].index(axis),
    "reshape": _reshaped,
    "broadcast_in_dim": lambda e, _, axis: e.params["broadcast_dimensions"][axis],
    "squeeze": lambda e, _, axis: _without(axis, e.params["dimensions"]),
}
"""Where an operation that moves axes puts the channels."""
