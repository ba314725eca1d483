"""A traced network as equations to visit one after the other."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import JaxprEqn, Literal
from jax.extend.core.primitives import jit_p


def walk(
    program: Any,
    arguments: list[Any],
    visit: Callable[[int, JaxprEqn, list[Any]], list[Any]],
    *,
    known: bool,
) -> list[Any]:
    """Visits the equations in order, those of inner `jit`s as if written out.

    `known` says that the walk carries values; otherwise constants are None.
    """
    number = 0

    def run(program: Any, arguments: list[Any]) -> list[Any]:
        nonlocal number
        inner = program.jaxpr
        constants = program.consts if known else [None] * len(program.consts)
        values = dict(zip(inner.constvars, constants, strict=True))
        values |= dict(zip(inner.invars, arguments, strict=True))

        def read(atom: Any) -> Any:
            if isinstance(atom, Literal):
                return atom.val if known else None
            return values[atom]

        for equation in inner.eqns:
            operands = [read(atom) for atom in equation.invars]
            if _inlines(equation):
                results = run(equation.params["jaxpr"], operands)
            else:
                results = visit(number, equation, operands)
                number += 1
            values |= dict(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in inner.outvars]

    return run(program, arguments)


def bind(equation: JaxprEqn, *values: Any) -> list[Any]:
    """The results of one equation of a program."""
    params = equation.primitive.get_bind_params(equation.params)
    with equation.ctx.manager:
        result = equation.primitive.bind(*values, **params)
    return list(result) if equation.primitive.multiple_results else [result]


def struct(atom: Any) -> jax.ShapeDtypeStruct:
    """The shape and dtype of a value of a program."""
    return jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype)


def _inlines(equation: JaxprEqn) -> bool:
    """Whether an equation is a `jit` that asks for no layout of its own."""
    if equation.primitive is not jit_p:
        return False
    asked = (*equation.params["in_shardings"], *equation.params["out_shardings"])
    return not any(isinstance(s, jax.sharding.Sharding) for s in asked)
