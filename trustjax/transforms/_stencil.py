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

from trustjax.transforms._patches import shifted_images

_LARGEST_STENCIL = 9


def is_stencil(lhs: jax.Array, rhs: jax.Array, **params: Any) -> bool:
    """Whether a convolution, channels last, is a short sum of images of one channel."""
    return (
        rhs.shape[-2] == 1
        and math.prod(rhs.shape[:-2]) <= _LARGEST_STENCIL
        and is_ungrouped_float32(lhs, rhs, **params)
    )


def is_ungrouped_float32(lhs: Any, rhs: Any, **params: Any) -> bool:
    """Whether a convolution is of the kind that the forms for CPUs are written for."""
    return (
        params["feature_group_count"] == params["batch_group_count"] == 1
        and lhs.dtype == rhs.dtype == jnp.float32
        and params["preferred_element_type"] in (None, jnp.float32)
    )


def stencil(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """The convolution as that sum."""
    shifted = shifted_images(lhs, rhs.shape, **params)
    weights = rhs.reshape(len(shifted), *[1] * (lhs.ndim - 1), -1)
    terms = [image * weight for image, weight in zip(shifted, weights, strict=True)]
    return functools.reduce(jnp.add, terms)
