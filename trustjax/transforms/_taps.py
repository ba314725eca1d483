r"""Gradients of a network's kernels from the two factors they are products of.

A kernel :math:`W` that enters a network once, as a factor of a product
:math:`y = a \cdot W` (a dense layer, a convolution of patches), has the gradient
:math:`a^T \bar y`. So one backward pass over a whole batch that stops at the outputs
:math:`y` gives every per-example gradient as a pair of factors: the inputs
:math:`a_i` that the forward pass saw, and the cotangents :math:`\bar y_i`. The pairs
are small; what is made of them (a gradient, its moments) is decided layer by layer
and example by example, and no more than one layer's gradients need exist at a time.

`find_products` reads the traced network for such kernels. `run` runs it with a
tap of zeros added to each product, whose gradient is the cotangent, and returns the
inputs. Parameters that enter otherwise (biases, scales, shared or transformed
kernels, bodies of loops) have no product; they are differentiated as usual.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn
from jax.extend.core.primitives import (
    broadcast_in_dim_p,
    convert_element_type_p,
    copy_p,
    dot_general_p,
    reshape_p,
    sharding_constraint_p,
    squeeze_p,
    transpose_p,
)

from trustjax.transforms._convolution import bind_fast, conv_p
from trustjax.transforms._product import Product
from trustjax.transforms._walk import bind, struct, walk

REARRANGEMENTS = frozenset(
    {
        broadcast_in_dim_p,
        convert_element_type_p,
        copy_p,
        reshape_p,
        sharding_constraint_p,
        squeeze_p,
        transpose_p,
    }
)
"""What may happen to a kernel before its product: the same numbers in another form."""


@dataclasses.dataclass(frozen=True)
class _Origin:
    """A value of the program that is a parameter, rearranged."""

    leaf: int
    rearrangements: tuple[JaxprEqn, ...] = ()


def find_products(program: Any) -> dict[int, tuple[int, Product]]:
    """The products of a traced network's parameters, by the number of the equation.

    Args:
      program: `(*parameters) -> ...`, traced.

    Returns:
      `{number of the equation: (number of the parameter, product)}`.
    """
    uses = Counter[int]()
    found: dict[int, tuple[int, Product]] = {}

    def visit(number: int, equation: JaxprEqn, values: list[Any]) -> list[Any]:
        origins = [value for value in values if value is not None]
        out = [None] * len(equation.outvars)
        if len(origins) == 1:
            (origin,) = origins
            if _rearranges(equation):
                steps = (*origin.rearrangements, equation)
                return [_Origin(origin.leaf, steps)]
            position = values.index(origin)
            if equation.primitive is dot_general_p or (
                equation.primitive is conv_p and position == 1
            ):
                kernel: Any = program.in_avals[origin.leaf]
                product = Product(
                    kernel=jax.ShapeDtypeStruct(kernel.shape, kernel.dtype),
                    rearrangements=origin.rearrangements,
                    primitive=equation.primitive,
                    params=equation.params,
                    position=position,
                    operand=struct(equation.invars[position]).shape,
                    other=struct(equation.invars[1 - position]).shape,
                    output=struct(equation.outvars[0]),
                )
                found[number] = origin.leaf, product
        uses.update(origin.leaf for origin in origins)
        return out

    parameters = [_Origin(leaf) for leaf in range(len(program.in_avals))]
    results = walk(program, parameters, visit, known=False)
    uses.update(result.leaf for result in results if result is not None)
    return {n: (leaf, p) for n, (leaf, p) in found.items() if uses[leaf] == 1}


def run(
    program: Any,
    arguments: Sequence[jax.Array],
    products: dict[int, tuple[int, Product]],
    taps: dict[int, jax.Array],
) -> tuple[list[jax.Array], dict[int, jax.Array]]:
    """Runs a traced network with a tap added to each product.

    The results are the network's up to rounding.

    Returns:
      Its results, and the input of each product; taps and inputs by the number of the
      parameter.
    """
    inputs: dict[int, jax.Array] = {}

    def visit(number: int, equation: JaxprEqn, values: list[Any]) -> list[Any]:
        if number not in products:
            return bind_fast(equation, *values)
        leaf, product = products[number]
        inputs[leaf] = values[1 - product.position]
        if product.gathered:
            result = _of_share(equation, product, arguments[leaf], inputs[leaf])
        else:
            (result,) = bind_fast(equation, *values)
        return [result + taps[leaf]]

    return walk(program, list(arguments), visit, known=True), inputs


def _of_share(
    equation: JaxprEqn, product: Product, share: jax.Array, other: jax.Array
) -> jax.Array:
    """The result of a product with a kernel that is gathered for it, and forgotten.

    The barriers, here and on the way back that of `jax.checkpoint`, keep XLA from
    gathering the kernels of all layers before the first.
    """

    @jax.checkpoint
    def result(share: jax.Array, other: jax.Array) -> jax.Array:
        kernel, other = jax.lax.optimization_barrier((share, other))
        for step in product.rearrangements:
            (kernel,) = bind(step, kernel)
        operands = (kernel, other) if product.position == 0 else (other, kernel)
        return bind_fast(equation, *operands)[0]

    return result(share, other)


def _rearranges(equation: JaxprEqn) -> bool:
    """Whether an equation gives the same numbers in another form."""
    if equation.primitive not in REARRANGEMENTS:
        return False
    before, after = struct(equation.invars[0]), struct(equation.outvars[0])
    return before.size == after.size and jnp.issubdtype(after.dtype, jnp.floating)
