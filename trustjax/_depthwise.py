"""Depthwise convolutions as a CPU computes them fastest: the same up to rounding.

XLA's convolution of as many groups as channels takes 15 to 40 times as long on a CPU as
the sum of shifted images, which is one loop over the output, and so do its derivatives.
"""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_MOST_OFFSETS = 81
"""Of a kernel: the program has a term for each."""


def depthwise_convolution(
    x: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **options: Any
) -> jax.Array:
    """`lax.conv_general_dilated`, on CPUs as a sum if each channel has its own kernel.

    Other convolutions, and other devices, are left to JAX.
    `nnx.Conv(conv_general_dilated=...)` takes it.

    Args:
      x: images, and the others as `lax.conv_general_dilated` takes them.
      kernel: the weights.
      strides: of the window.
      padding: a name, or (low, high) for each axis.
      **options: the further options.

    >>> x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 2))
    >>> layout = ("NHWC", "HWIO", "NHWC")
    >>> depthwise_convolution(
    ...     x, kernel, (2, 2), "SAME", dimension_numbers=layout, feature_group_count=2
    ... )[0, ..., 1]
    Array([[9., 6.],
           [6., 4.]], dtype=float32)
    """
    plain = functools.partial(
        lax.conv_general_dilated, window_strides=strides, padding=padding, **options
    )
    (equation,) = jax.make_jaxpr(plain)(x, kernel).eqns
    if not _is_sum(x, kernel, **equation.params):
        return plain(x, kernel)
    shifted = functools.partial(_sum_of_shifted, **equation.params)
    return lax.platform_dependent(x, kernel, cpu=shifted, default=plain)


def _is_sum(x: jax.Array, kernel: jax.Array, **params: Any) -> bool:
    """Whether each channel has one kernel of few offsets, in the order of the image."""
    images, kernels, outputs = params["dimension_numbers"]
    channels = x.shape[images[1]]
    return (
        params["feature_group_count"] == channels == kernel.shape[kernels[0]] > 1
        and params["batch_group_count"] == 1
        and images == outputs
        and math.prod(kernel.shape[axis] for axis in kernels[2:]) <= _MOST_OFFSETS
        # A sum in fewer digits is another one.
        and x.dtype == kernel.dtype == jnp.float32
        and params["preferred_element_type"] in (None, jnp.float32)
    )


def _sum_of_shifted(x: jax.Array, kernel: jax.Array, **params: Any) -> jax.Array:
    """For each offset of the kernel, the image there times a weight of each channel."""
    images, kernels, _ = params["dimension_numbers"]
    channel, axes = images[1], images[2:]
    pads = [(0, 0, 0)] * x.ndim
    for axis, (low, high), dilation in zip(
        axes, params["padding"], params["lhs_dilation"], strict=True
    ):
        pads[axis] = (low, high, dilation - 1)
    x = lax.pad(x, jnp.zeros((), x.dtype), pads)
    weights = kernel.transpose(kernels)[:, 0]
    broadcast = [-1 if axis == channel else 1 for axis in range(x.ndim)]
    spread, strides = params["rhs_dilation"], params["window_strides"]
    total = None
    for offset in itertools.product(*map(range, weights.shape[1:])):
        start, limit, step = [0] * x.ndim, list(x.shape), [1] * x.ndim
        for axis, place, size, far, stride in zip(
            axes, offset, weights.shape[1:], spread, strides, strict=True
        ):
            start[axis] = place * far
            # What the last offset leaves is as long for all.
            limit[axis] = max(x.shape[axis] - (size - 1 - place) * far, start[axis])
            step[axis] = stride
        there = lax.slice(x, start, limit, step)
        term = there * weights[:, *offset].reshape(broadcast)
        total = term if total is None else total + term
    assert total is not None
    return total
