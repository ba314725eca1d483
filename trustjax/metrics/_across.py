"""Numbers of all devices, inside `jax.shard_map`; over no axes, of the one there is.

Nothing here is longer than there are devices.
"""

import jax
import jax.numpy as jnp
from jax import lax

from trustjax import _numerics

Axes = tuple[str, ...]
"""The axes of the mesh that the examples are spread over; none on one device."""


def of_each(value: jax.Array, axes: Axes) -> jax.Array:
    """The number of each device, `[devices]`, in the order of the examples."""
    if not axes:
        return value[None]
    own = jnp.arange(lax.axis_size(axes)) == lax.axis_index(axes)
    if value.dtype == jnp.bool_:
        return lax.psum((own & value).astype(jnp.int32), axes) > 0
    return lax.psum(jnp.where(own, value, jnp.zeros_like(value)), axes)


def largest(value: jax.Array, axes: Axes) -> jax.Array:
    """The largest number of any device; NaN if one has NaN."""
    return jnp.max(of_each(value, axes))


def smallest(value: jax.Array, axes: Axes) -> jax.Array:
    """The smallest number of any device."""
    return jnp.min(of_each(value, axes))


def total(value: jax.Array, axes: Axes) -> jax.Array:
    """The sum over all devices, of floats as if in twice the precision."""
    return _sum(of_each(value, axes))


def total_before(value: jax.Array, axes: Axes) -> jax.Array:
    """The sum over the devices before this one."""
    return _sum(jnp.where(_is_before(axes), of_each(value, axes), 0))


def largest_before(value: jax.Array, axes: Axes) -> jax.Array:
    """The largest number of the devices before this one; 0 if none is above it."""
    return jnp.max(jnp.where(_is_before(axes), of_each(value, axes), 0))


def _is_before(axes: Axes) -> jax.Array:
    return jnp.arange(lax.axis_size(axes)) < lax.axis_index(axes)


def _sum(values: jax.Array) -> jax.Array:
    if jnp.issubdtype(values.dtype, jnp.floating):
        return _numerics.accurate_sum(values)
    return jnp.sum(values, dtype=values.dtype)
