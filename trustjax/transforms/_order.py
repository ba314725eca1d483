"""In which order a network takes its parameters."""

from collections.abc import Callable
from typing import Any

from trustjax.transforms._cuts import types_of
from trustjax.transforms._program import Atom, trace


def order_of_use(
    apply_fn: Callable[[Any, Any], Any], params: Any, x: Any
) -> tuple[int | None, ...]:
    """Where each parameter last meets what depends on x, from the input to the output.

    It is read off the traced program: names and nesting of the parameters say nothing
    of it. What is made of parameters alone (a norm folded into a kernel) meets x where
    its result does.

    Args:
      apply_fn: `(params, x) -> logits`.
      params: a tree of arrays, or of their types.
      x: likewise.

    Returns:
      For each array of `params`, in the order of `jax.tree.leaves`, a number: larger =
      later. Of layers in parallel, the later one is that which the program has later.
      None for an array that never meets x.

    >>> two = lambda params, x: (x @ params["z"]) @ params["a"]
    >>> import numpy as np
    >>> w = np.ones((2, 2), np.float32)
    >>> order_of_use(two, {"a": w, "z": w, "unused": w}, w)
    (1, None, 0)
    """
    program = trace(apply_fn, types_of(params), types_of(x))
    # The parameters that a value which does not depend on x is made of.
    made_of: dict[Atom, frozenset[int]] = {
        value: frozenset([number]) for number, value in enumerate(program.params)
    }
    last: dict[int, int] = {}
    for position, equation in enumerate(program.equations):
        known = [made_of.get(operand, frozenset()) for operand in equation.operands]
        together = frozenset[int]().union(*known)
        if program.of_x.isdisjoint(equation.operands):
            made_of |= dict.fromkeys(equation.results, together)
        else:
            last |= dict.fromkeys(together, position)
    return tuple(last.get(number) for number in range(len(program.params)))
