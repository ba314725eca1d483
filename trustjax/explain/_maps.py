"""What is done with every map: to the size of the image, and into a unit."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _inputs, _validate
from trustjax._meshes import in_auto_axes
from trustjax._numerics import at_least_float32, divide_no_nan

NORMALIZATIONS = ("range", "absolute", "sign")


def normalized(
    maps: Float[Array, "..."], *, by: str = "range", leading: int = 1
) -> Float[Array, "..."]:
    r"""Each map by itself, in a unit in which it can be looked at or used as a mask.

    .. math::
      \text{range: } \frac{E - \min E}{\max E - \min E} \qquad
      \text{absolute: } \frac{|E|}{\max |E|} \qquad
      \text{sign: } \frac{\max(E, 0)}{\max E} - \frac{\max(-E, 0)}{\max (-E)}

    Args:
      maps: `[batch, ...]`.
      by: `"range"`, `"absolute"` or `"sign"`. By sign, the parts for and against are
        each in units of their own largest.
      leading: how many axes come before those of one map: 2 for `[batch, asked, ...]`.

    Returns:
      Maps of the same shape in float32 or wider, in [0, 1], by sign in [-1, 1].

    Raises:
      ValueError: if `by` is none of these, or there are fewer axes than `leading`.

    ==============================  =====================================
    Edge case                       Value
    ==============================  =====================================
    a constant map, range           zeros
    a map of zeros                  zeros
    a NaN, or an infinite pixel     NaN all over that map
    ==============================  =====================================

    >>> print(normalized(jnp.array([[-4.0, 1.0, 2.0]]), by="sign"))
    [[-1.   0.5  1. ]]
    >>> print(normalized(jnp.array([[-4.0, 1.0, 2.0]]), by="absolute"))
    [[1.   0.25 0.5 ]]
    >>> print(normalized(jnp.array([[1.0, 3.0, 2.0], [7.0, 7.0, 7.0]])))
    [[0.  1.  0.5]
     [0.  0.  0. ]]
    """
    _validate.choice("by", by, NORMALIZATIONS)
    values = at_least_float32(_inputs.array("maps", maps))
    _validate.count("leading", leading, at_most=values.ndim)

    def of_maps(values: jax.Array) -> jax.Array:
        each = values.reshape(*values.shape[:leading], -1)
        # The spread of two large floats would overflow, and its reciprocal vanish.
        each = each / 8
        # An infinite pixel over itself is NaN, and so must be the others of its map.
        infinite = jnp.max(jnp.abs(each), axis=-1, keepdims=True)
        each = each + 0 * jax.lax.stop_gradient(infinite)
        if by == "range":
            each = _in_units_of_largest_part(each - smallest(each))
        elif by == "absolute":
            each = _in_units_of_largest_part(jnp.abs(each))
        else:
            plus, minus = jnp.maximum(each, 0), jnp.maximum(-each, 0)
            each = _in_units_of_largest_part(plus) - _in_units_of_largest_part(minus)
        return each.reshape(values.shape)

    return in_auto_axes(of_maps, values, batch=values)


def resized(
    maps: Float[Array, "..."], size: Sequence[int], *, leading: int = 1
) -> Float[Array, "..."]:
    """Maps at the size of the image: linear between the centres of their cells.

    It is PyTorch's `interpolate(..., mode="bilinear", align_corners=False)`, trilinear
    for clips. Nothing is averaged where a map is larger than the image.

    Args:
      maps: `[batch, *positions]`.
      size: the positions of the image: `(height, width)`, for clips `(frames, height,
        width)`.
      leading: how many axes come before the positions: 2 for `[batch, asked, ...]`.

    Returns:
      `[batch, *size]` in float32 or wider. Values stay between the extremes of the
      map, which themselves need not be kept; a constant map stays constant.

    Raises:
      ValueError: if `size` has another number of axes than the map, or one below 1.

    >>> print(resized(jnp.array([[[0.0, 1.0]]]), (1, 4)))
    [[[0.   0.25 0.75 1.  ]]]
    """
    values = at_least_float32(_inputs.array("maps", maps))
    size = tuple(size)
    if len(size) != values.ndim - leading:
        raise ValueError(
            f"size must have a number for each axis of one map, "
            f"{values.shape[leading:]}, got {size}"
        )
    for number in size:
        _validate.count("size", number)

    def of_maps(values: jax.Array) -> jax.Array:
        whole = (*values.shape[:leading], *size)
        found = jax.image.resize(values, whole, "linear", antialias=False)
        # Weights add up to 1 but for rounding, and a constant map would vary by that.
        positions = tuple(range(leading, values.ndim))
        least = jnp.min(values, axis=positions, keepdims=True)
        most = jnp.max(values, axis=positions, keepdims=True)
        beyond = jax.lax.stop_gradient(jnp.clip(found, least, most) - found)
        return found + jnp.where(jnp.isfinite(beyond), beyond, 0)

    return in_auto_axes(of_maps, values, batch=values)


def _in_units_of_largest_part(values: jax.Array) -> jax.Array:
    """Values of one sign over their largest; zeros stay zeros."""
    unit = largest(values)
    shares = divide_no_nan(values, unit)
    # XLA may multiply by the reciprocal, and the largest would then not be 1.
    return jnp.where((values == unit) & (unit > 0), 1.0, shares)


def largest(values: jax.Array) -> jax.Array:
    """The largest of the last axis, `[..., 1]`, the first of equal ones.

    The derivative of `jnp.max` is shared by all values that equal it. Where XLA makes
    a value in two loops and rounds it twice, there may be none, and it is 0/0.
    """
    return _picked(values, jnp.argmax(values, axis=-1, keepdims=True))


def smallest(values: jax.Array) -> jax.Array:
    """The smallest of the last axis, likewise."""
    return _picked(values, jnp.argmin(values, axis=-1, keepdims=True))


def _picked(values: jax.Array, index: jax.Array) -> jax.Array:
    positions = jax.lax.broadcasted_iota(index.dtype, values.shape, values.ndim - 1)
    return jnp.sum(values, axis=-1, keepdims=True, where=positions == index)
