"""Convolutions of grey images as sums of shifted images: the same up to rounding.

XLA makes every convolution on a CPU a product of matrices of patches. Where the input
has one channel those matrices are nine numbers thin, and packing them takes longer
than nine multiplications of the shifted image, which are moreover fused with what
follows: 3x3 on grey images is six times slower as a product.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from trustjax.transforms._patches import channels_last_dimensions, shifted_images

_LARGEST_STENCIL = 9


def stencil_convolution(
    x: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **options: Any
) -> jax.Array:
    """`lax.conv_general_dilated`, and on CPUs a stencil where it is one.

    The gradients are those of the convolution. `nnx.Conv(conv_general_dilated=...)`
    takes it.

    Args:
      x: images, and the others as `lax.conv_general_dilated` takes them.
      kernel: the weights.
      strides: of the window.
      padding: a name, or (low, high) for each axis.
      **options: the further options.

    >>> x, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 2))
    >>> layout = ("NHWC", "HWIO", "NHWC")
    >>> stencil_convolution(x, kernel, (1, 1), "VALID", dimension_numbers=layout).shape
    (1, 2, 2, 2)
    """
    plain = functools.partial(
        lax.conv_general_dilated, window_strides=strides, padding=padding, **options
    )
    (equation,) = jax.make_jaxpr(plain)(x, kernel).eqns
    params = equation.params
    ordered = params["dimension_numbers"] == channels_last_dimensions(x.ndim)
    if not ordered or not is_stencil(x, kernel, **params):
        return plain(x, kernel)

    @jax.custom_vjp
    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        shifted = functools.partial(stencil, **params)
        return lax.platform_dependent(x, kernel, cpu=shifted, default=plain)

    def forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Any]:
        return convolve(x, kernel), (x, kernel)

    def backward(saved: Any, cotangent: jax.Array) -> Any:
        return jax.vjp(plain, *saved)[1](cotangent)

    convolve.defvjp(forward, backward)
    return convolve(x, kernel)


def is_stencil(lhs: jax.Array, rhs: jax.Array, **params: Any) -> bool:
    """Whether a convolution, channels last, is a short sum of images of one channel."""
    return (
        rhs.shape[-2] == 1
        and math.prod(rhs.shape[:-2]) <= _LARGEST_STENCIL
        and params["feature_group_count"] == params["batch_group_count"] == 1
        and lhs.dtype == rhs.dtype == jnp.float32
        and params["preferred_element_type"] in (None, jnp.float32)
    )


def stencil(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """The convolution as that sum."""
    shifted = shifted_images(lhs, rhs.shape, **params)
    weights = rhs.reshape(len(shifted), *[1] * (lhs.ndim - 1), -1)
    terms = [image * weight for image, weight in zip(shifted, weights, strict=True)]
    return functools.reduce(jnp.add, terms)
