"""Which cut is the embedding, and which the feature map."""

import math

import numpy as np

from trustjax.transforms._alive import REARRANGING
from trustjax.transforms._axes import CONVOLUTIONS, PRODUCTS
from trustjax.transforms._cuts import Cut, Network
from trustjax.transforms._program import Atom, Equation, Value
from trustjax.transforms._reach import Mask, reaching

_FEWEST_REACHING = 0.25
_SAME_NUMBERS = REARRANGING | {"transpose"}
_SAME_POSITIONS = frozenset({"convert_element_type", "copy", "copy_p", "transpose"})
_LOOKUPS = frozenset({"dynamic_slice", "gather"})
_PROGRAMS = frozenset({"jaxpr", "call_jaxpr", "body_jaxpr", "branches"})


def embedding(network: Network) -> Cut:
    """The input of the last product with weights: one vector for each example.

    Weights are what does not depend on x, parameters or closed over. A layer that
    calibrates the logits is the last one.

    Raises:
      ValueError: if there is no such product, or it is applied at several positions,
        or it takes an inner value that is not alone (several heads, a skip from x).
    """
    program = network.program
    for equation in reversed(program.equations_of_x):
        if not _is_weighted(network, equation):
            continue
        (operand,) = _of_x(network, equation)
        if _positions(equation, operand, network) > 1:
            raise network.refusal(
                f"there is no embedding: the last layer ({equation.name}) is applied "
                f"at several positions of {operand.aval.shape}"
            )
        value = operand
        while value not in network.cuts:
            made_by = value.made_by
            if value in program.x or made_by is None:
                raise network.refusal(
                    f"there is no embedding: the last layer ({equation.name}) takes x"
                )
            if made_by.name not in _SAME_NUMBERS:
                raise network.refusal(
                    f"there is no embedding: beside what the last layer "
                    f"({equation.name}) takes, {operand.aval.shape}, other values that "
                    "depend on x are alive (several heads, a mask, a skip from x)"
                )
            value = made_by.operands[0]
            assert isinstance(value, Value), "what depends on x is no constant"
        return network.cuts[value]
    raise network.refusal("there is no embedding: no layer multiplies by weights")


def feature_map(network: Network) -> Cut:
    """The last cut with positions that was computed by weights, and is read by some.

    (a) A product or a look-up with parameters lies before it and a product with
    weights behind it; (b) more than one position of it, and at least a quarter, still
    reach the logits; (c) no axis of positions has been summed away before it.

    Raises:
      ValueError: if there is none.
    """
    program, learned = network.program, _learned(network)
    weights_behind = False
    backwards = reversed(program.equations_of_x)
    for equation, masks in zip(backwards, reaching(program), strict=False):
        for value in equation.results:
            cut = network.cuts.get(value)
            if (
                cut is not None
                and weights_behind
                and value in learned
                and _enough_reach(cut, masks[value])
            ):
                value = _before_pooling(value, network, learned)
                return network.cuts[_before_moving(value, network, learned)]
        weights_behind |= _is_weighted(network, equation)
    raise network.refusal(
        "there is no feature map: no cut between two layers has positions of which a "
        "quarter still reach the logits"
    )


def _of_x(network: Network, equation: Equation) -> list[Value]:
    of_x = network.program.of_x
    return [o for o in equation.operands if isinstance(o, Value) and o in of_x]


def _is_weighted(network: Network, equation: Equation) -> bool:
    """Whether an equation is a product of x with what does not depend on it."""
    return equation.name in PRODUCTS and len(_of_x(network, equation)) == 1


def _positions(equation: Equation, operand: Value, network: Network) -> int:
    """At how many places of one example a product applies its weights."""
    batch = network.program.results[0].aval.shape[0]
    if equation.name in CONVOLUTIONS:
        spatial = equation.params["dimension_numbers"].out_spec[2:]
        return math.prod(equation.results[0].aval.shape[axis] for axis in spatial)
    number = equation.operands.index(operand)
    dimensions = equation.params.get("dimension_numbers")
    if equation.name != "dot_general" or dimensions is None:
        return math.prod(operand.aval.shape[:-1]) // batch
    contracted, shared = dimensions
    taken = {*contracted[number], *shared[number]}
    free = (n for axis, n in enumerate(operand.aval.shape) if axis not in taken)
    return max(1, math.prod(free) // batch)


def _learned(network: Network) -> set[Atom]:
    """The values that parameters were multiplied or looked up for.

    Of a network without parameters, those closed over.
    """
    program = network.program
    learned: set[Atom] = set()
    for equation in program.equations_of_x:
        if program.params:
            asks = any(o in program.of_params for o in equation.operands)
        else:
            asks = len(_of_x(network, equation)) < len(equation.operands)
        computes = equation.name in PRODUCTS | _LOOKUPS or not _PROGRAMS.isdisjoint(
            equation.params
        )
        if (asks and computes) or any(o in learned for o in equation.operands):
            learned.update(equation.results)
    return learned


def _enough_reach(cut: Cut, mask: Mask) -> bool:
    """Whether enough positions of a cut reach the logits."""
    if len(cut.axes) < 3:
        return False
    reached = mask.any((cut.axes[0], cut.axes[-1]))
    return bool(np.count_nonzero(reached) > 1 and reached.mean() >= _FEWEST_REACHING)


def _before_pooling(value: Value, network: Network, learned: set[Atom]) -> Value:
    """Back over operations on one value, to before positions were summed away."""
    found, cuts = value, network.cuts
    while (equation := value.made_by) is not None:
        sources = _of_x(network, equation)
        if len(sources) != 1 or equation.name in PRODUCTS | _LOOKUPS:
            break
        (value,) = sources
        if equation.name.startswith("reduce_") and "axes" in equation.params:
            cut = cuts.get(value)
            if (
                cut is None
                or value not in learned
                or cut.axes[-1] in equation.params["axes"]
            ):
                break
            found = value
    return found


def _before_moving(value: Value, network: Network, learned: set[Atom]) -> Value:
    """Back over casts and transposes: the same numbers at the same positions."""
    while (equation := value.made_by) is not None:
        source = equation.operands[0]
        same = equation.name in _SAME_POSITIONS
        if not (same and source in network.cuts and source in learned):
            break
        assert isinstance(source, Value), "a cut is a value"
        value = source
    return value
