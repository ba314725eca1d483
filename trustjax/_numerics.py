"""Arithmetic that stays finite, in value and in gradient, at its limits."""

import jax
import jax.numpy as jnp


def divide_no_nan(
    numerator: jax.Array, denominator: jax.Array, *, otherwise: float = 0.0
) -> jax.Array:
    """`numerator / denominator`, and `otherwise` where the denominator is zero."""
    zero = denominator == 0
    return jnp.where(zero, otherwise, numerator / jnp.where(zero, 1, denominator))
