"""Whether a function is affine in its input: one derivative for every example."""

from collections.abc import Callable
from typing import Any

import jax

from trustjax.transforms._cuts import types_of
from trustjax.transforms._program import trace


def is_affine(fun: Callable[[Any, jax.Array], jax.Array], params: Any, x: Any) -> bool:
    r"""Whether :math:`\partial f_\theta(x) / \partial x` can be had without x.

    It is read off the traced derivative: no operation in it takes x. Most networks end
    so, in a mean over positions and a dense layer, and all their class gradients by the
    features are then one matrix, whatever the image.

    Args:
      fun: `(params, x) -> array`.
      params: what it takes first, or types of arrays.
      x: one floating-point array, or its type.

    Returns:
      True only if it is. False where its program does not show it, as of a function
      that multiplies by x and divides by it again.

    >>> import jax.numpy as jnp
    >>> w, x = jnp.ones((4, 2)), jnp.ones((3, 4))
    >>> is_affine(lambda w, x: x @ w + 1, w, x)
    True
    >>> is_affine(lambda w, x: jax.nn.relu(x) @ w, w, x)
    False
    """
    params, x = types_of(params), types_of(x)

    def derivative(given: tuple[Any, jax.Array], x: jax.Array) -> jax.Array:
        params, cotangent = given
        return jax.vjp(lambda x: fun(params, x), x)[1](cotangent)[0]

    program = trace(derivative, (params, jax.eval_shape(fun, params, x)), x)
    return program.of_x.isdisjoint(program.results)
