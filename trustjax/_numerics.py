"""Arithmetic that stays finite, in value and in gradient, at its limits."""

import jax
import jax.numpy as jnp


def divide_no_nan(
    numerator: jax.Array,
    denominator: jax.Array,
    *,
    otherwise: jax.typing.ArrayLike = 0.0,
) -> jax.Array:
    """`numerator / denominator`, and `otherwise` where the denominator is zero."""
    zero = denominator == 0
    return jnp.where(zero, otherwise, numerator / jnp.where(zero, 1, denominator))


def at_least_float32(x: jax.Array) -> jax.Array:
    """The same array in float32 or wider: 8 bits of mantissa cannot rank scores."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
