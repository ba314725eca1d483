"""Depthwise convolutions as a CPU computes them fastest: the same up to rounding.

XLA's convolution of as many groups as channels takes 15 to 40 times as long on a CPU as
the sum of shifted images, which is one loop over the output, and so do its derivatives.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core.primitives import conv_general_dilated_p

_MOST_OFFSETS = 81
"""Of a kernel, each of which is a pass over the image."""

_OFFSETS_AT_ONCE = 9
"""Terms of one sum; those of a larger kernel are added row by row."""


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
    params = convolution_params(plain, x, kernel)
    if not _is_sum(x, kernel, **params):
        return plain(x, kernel)
    shifted = functools.partial(_sum_of_shifted, **params)
    return lax.platform_dependent(x, kernel, cpu=shifted, default=plain)


def convolution_params(
    plain: Callable[..., jax.Array], x: jax.Array, kernel: jax.Array
) -> dict[str, Any]:
    """What a call of `lax.conv_general_dilated` gives its primitive."""
    # Inside `shard_map` there are others beside it.
    (convolution,) = (
        equation
        for equation in jax.make_jaxpr(plain)(x, kernel).eqns
        if equation.primitive is conv_general_dilated_p
    )
    return convolution.params


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
    # One kernel for each channel, its offsets first.
    weights = jnp.moveaxis(kernel.transpose(kernels)[:, 0], 0, -1)
    window, spread = weights.shape[:-1], params["rhs_dilation"]
    reach = [(size - 1) * far for size, far in zip(window, spread, strict=True)]
    lengths = [max(0, x.shape[a] - r) for a, r in zip(axes, reach, strict=True)]
    broadcast = [-1 if axis == channel else 1 for axis in range(x.ndim)]
    first, *others = axes

    def row(number: Any, weights: jax.Array) -> jax.Array:
        """The terms of one offset along the first axis."""
        begin, length = number * spread[0], lengths[0]
        if isinstance(begin, int):
            there = lax.slice_in_dim(x, begin, begin + length, axis=first)
        else:
            there = lax.dynamic_slice_in_dim(x, begin, length, first)
        start, limit, step = [0] * x.ndim, list(there.shape), [1] * x.ndim
        step[first] = params["window_strides"][0]
        terms = []
        for offset in itertools.product(*map(range, window[1:])):
            for k, axis in enumerate(others, 1):
                start[axis] = offset[k - 1] * spread[k]
                limit[axis] = start[axis] + lengths[k]
                step[axis] = params["window_strides"][k]
            image = lax.slice(there, start, limit, step)
            terms.append(image * weights[offset].reshape(broadcast))
        return functools.reduce(jnp.add, terms)

    if math.prod(window) <= _OFFSETS_AT_ONCE:
        return functools.reduce(jnp.add, map(row, range(window[0]), weights))
    # A loop compiles in a third of the time, and runs as fast. It goes on from the
    # first row and not from zeros, which would not vary over the devices of a mesh.
    total, _ = lax.scan(
        lambda total, at: (total + row(*at), None),
        row(0, weights[0]),
        (jnp.arange(1, window[0]), weights[1:]),
    )
    return total
