r"""Gradients of a network's kernels from the two factors they are products of.

A kernel :math:`W` that enters a network once, as a factor of a product
:math:`y = a \cdot W` (a dense layer, a convolution of patches), has the gradient
:math:`a^T \bar y`. So one backward pass over a whole batch that stops at the outputs
:math:`y` gives every per-example gradient as a pair of factors: the inputs
:math:`a_i` that the forward pass saw, and the cotangents :math:`\bar y_i`. The pairs
are small; what is made of them (a gradient, its moments) is decided layer by layer
and example by example, and no more than one layer's gradients need exist at a time.

`find_products` reads the traced network for such kernels. `evaluate` runs it with a
tap of zeros added to each product, whose gradient is the cotangent, and returns the
inputs. Parameters that enter otherwise (biases, scales, shared or transformed
kernels, bodies of loops) have no product; they are differentiated as usual.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import JaxprEqn, Literal, Primitive
from jax.extend.core.primitives import (
    broadcast_in_dim_p,
    convert_element_type_p,
    copy_p,
    dot_general_p,
    jit_p,
    reshape_p,
    squeeze_p,
    transpose_p,
)

from trustjax import statistics
from trustjax.transforms import _convolution
from trustjax.transforms._convolution import conv_p

REARRANGEMENTS = frozenset(
    {
        broadcast_in_dim_p,
        convert_element_type_p,
        copy_p,
        reshape_p,
        squeeze_p,
        transpose_p,
    }
)
"""What may happen to a kernel before its product: the same numbers in another form."""


@dataclasses.dataclass(frozen=True)
class Product:
    """The one place where a kernel enters a network.

    Attributes:
      kernel: shape and dtype of the parameter.
      rearrangements: what happens to it before the product.
      primitive: a convolution or `dot_general`.
      params: of the primitive.
      position: of the kernel among the two operands.
      operand: shape of the kernel as it is multiplied.
      other: shape of the other operand, for one example.
      output: shape and dtype of the product, for one example.
    """

    kernel: jax.ShapeDtypeStruct
    rearrangements: tuple[JaxprEqn, ...]
    primitive: Primitive
    params: dict[str, Any]
    position: int
    operand: tuple[int, ...]
    other: tuple[int, ...]
    output: jax.ShapeDtypeStruct

    def gradient(self, other: jax.Array, cotangent: jax.Array) -> jax.Array:
        """The kernel's gradient from one example's factors, in float32 or better."""
        flat = self._flat_gradient(other, cotangent)
        if self.primitive is conv_p:
            gradient = _convolution.unflatten_kernel(
                flat, kernel_shape=self.operand, **self.params
            )
        else:
            order = self._dot_order()
            gradient = flat.transpose([order.index(i) for i in range(len(order))])
        # A rearrangement is linear: where it is transposed does not matter.
        anywhere = gradient.reshape(self.kernel.shape)
        return jax.vjp(self._rearrange, anywhere)[1](gradient)[0]

    def moments(self, other: jax.Array, cotangent: jax.Array) -> statistics.Moments:
        """The moments of the kernel's gradient from one example's factors."""
        if self.rank_one:
            return statistics.outer(
                statistics.moments(other), statistics.moments(cotangent)
            )
        return statistics.moments(self._flat_gradient(other, cotangent))

    @property
    def rank_one(self) -> bool:
        """Whether the gradient is an outer product: a dense layer on a vector."""
        if self.primitive is conv_p:
            return False
        contracting, batch = self._dot_axes()
        free = math.prod(self.other) // math.prod(self.other[i] for i in contracting)
        return free == 1 and not batch

    @property
    def cost(self) -> int:
        """How many numbers one example needs at once on the way to its gradient."""
        if self.rank_one:
            return sum(self.other) + self.output.size
        size = self.output.size + self.kernel.size
        if self.primitive is conv_p:
            return size + _convolution.patches_size(
                self.other, self.operand, **self.params
            )
        return size + math.prod(self.other)

    def _rearrange(self, kernel: jax.Array) -> jax.Array:
        for equation in self.rearrangements:
            # Casts are left out: a gradient is not rounded to the network's dtype.
            if equation.primitive is not convert_element_type_p:
                (kernel,) = bind(equation, kernel)
        return kernel

    def _flat_gradient(self, other: jax.Array, cotangent: jax.Array) -> jax.Array:
        """The gradient in the order in which it is cheapest to compute."""
        if self.primitive is conv_p:
            return _convolution.kernel_gradient(
                other, cotangent, kernel_shape=self.operand, **self.params
            )
        contracting, batch = self._dot_axes()
        free = [i for i in range(other.ndim) if i not in (*contracting, *batch)]
        # The product's axes: batch, then the free ones of the left operand, then right.
        first = len(batch) if self.position == 1 else cotangent.ndim - len(free)
        summed = range(first, first + len(free))
        return lax.dot_general(
            cotangent,
            other,
            ((tuple(summed), tuple(free)), (tuple(range(len(batch))), batch)),
            precision=self.params["precision"],
            preferred_element_type=jnp.promote_types(cotangent.dtype, jnp.float32),
        )

    def _dot_axes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The contracting and the batch axes of the other operand."""
        contracting, batch = self.params["dimension_numbers"]
        return contracting[1 - self.position], batch[1 - self.position]

    def _dot_order(self) -> list[int]:
        """Which axis of the kernel each axis of the flat gradient is."""
        contracting, batch = self.params["dimension_numbers"]
        own, others = contracting[self.position], contracting[1 - self.position]
        own_batch = batch[self.position]
        free = [i for i in range(len(self.operand)) if i not in (*own, *own_batch)]
        paired = [own[others.index(axis)] for axis in sorted(others)]
        return [*own_batch, *free, *paired]


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
                    operand=_struct(equation.invars[position]).shape,
                    other=_struct(equation.invars[1 - position]).shape,
                    output=_struct(equation.outvars[0]),
                )
                found[number] = origin.leaf, product
        uses.update(origin.leaf for origin in origins)
        return out

    parameters = [_Origin(leaf) for leaf in range(len(program.in_avals))]
    results = _walk(program, parameters, visit, known=False)
    uses.update(result.leaf for result in results if result is not None)
    return {n: (leaf, p) for n, (leaf, p) in found.items() if uses[leaf] == 1}


def evaluate(
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
            return bind(equation, *values)
        leaf, product = products[number]
        inputs[leaf] = values[1 - product.position]
        if _is_stencil(equation):
            output = _convolution.stencil(*values, **equation.params)
        else:
            (output,) = bind(equation, *values)
        return [output + taps[leaf]]

    return _walk(program, list(arguments), visit, known=True), inputs


def bind(equation: JaxprEqn, *values: Any) -> list[Any]:
    """The results of one equation of a program."""
    params = equation.primitive.get_bind_params(equation.params)
    with equation.ctx.manager:
        result = equation.primitive.bind(*values, **params)
    return list(result) if equation.primitive.multiple_results else [result]


def _walk(
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


def _is_stencil(equation: JaxprEqn) -> bool:
    """Whether an equation is a convolution that is faster as a sum."""
    return (
        equation.primitive is conv_p
        and jax.default_backend() == "cpu"
        and _convolution.is_stencil(*map(_struct, equation.invars), **equation.params)
    )


def _inlines(equation: JaxprEqn) -> bool:
    """Whether an equation is a `jit` that asks for no layout of its own."""
    if equation.primitive is not jit_p:
        return False
    asked = (*equation.params["in_shardings"], *equation.params["out_shardings"])
    return not any(isinstance(s, jax.sharding.Sharding) for s in asked)


def _rearranges(equation: JaxprEqn) -> bool:
    """Whether an equation gives the same numbers in another form."""
    if equation.primitive not in REARRANGEMENTS:
        return False
    before, after = _struct(equation.invars[0]), _struct(equation.outvars[0])
    return before.size == after.size and jnp.issubdtype(after.dtype, jnp.floating)


def _struct(atom: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype)
