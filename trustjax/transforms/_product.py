"""One product that a kernel enters, and the gradient that its two factors make."""

import dataclasses
import math
from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import JaxprEqn, Primitive
from jax.extend.core.primitives import (
    convert_element_type_p,
    sharding_constraint_p,
)

from trustjax import statistics
from trustjax.transforms import _convolution
from trustjax.transforms._convolution import conv_p
from trustjax.transforms._walk import bind

_OF_THE_KERNEL_ALONE = frozenset({convert_element_type_p, sharding_constraint_p})


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
        return statistics.moments(self._flat_gradient(other, cotangent))

    @property
    def gathered(self) -> bool:
        """Whether the kernel is brought together from shares."""
        return any(e.primitive is sharding_constraint_p for e in self.rearrangements)

    @property
    def kind(self) -> Hashable:
        """What products have in common whose moments are the same function."""
        params = tuple(sorted(self.params.items()))
        return self.primitive, params, self.position, self.other, self.operand

    @property
    def rank_one(self) -> bool:
        """Whether the gradient is an outer product: a dense layer on a vector."""
        if self.primitive is conv_p:
            return False
        contracting, batch = self._dot_axes()
        free = [n for i, n in enumerate(self.other) if i not in contracting]
        return math.prod(free) == 1 and not batch

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
            # A gradient is not rounded to the network's dtype, and stays where it is.
            if equation.primitive not in (
                convert_element_type_p,
                sharding_constraint_p,
            ):
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
