"""The input gradient of a strided convolution of few channels, for CPUs.

JAX writes it as a convolution of the cotangent with zeros put between its positions.
XLA's loops on a CPU multiply those zeros too, and where the input has three channels,
as images have, there are only three sums to vectorise. Positions of the input that are
the same modulo the stride, a phase, see the same offsets of the kernel: so the phases
are the channels of one convolution with no zeros, and are dealt out to their positions.
"""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from trustjax.transforms._patches import (
    channels_last,
    channels_last_dimensions,
    from_channels_last,
)
from trustjax.transforms._stencil import is_ungrouped_float32

_FEW_CHANNELS = 4
"""Of an input: with more, XLA's own form was as fast or faster."""


def few_phases(lhs: Any, rhs: Any, **params: Any) -> bool:
    """Whether the input gradient of a convolution is faster by phases.

    Args:
      lhs: the input, or its type.
      rhs: the kernel, or its type.
      **params: of the convolution.
    """
    dimensions = params["dimension_numbers"]
    plain = {*params["lhs_dilation"], *params["rhs_dilation"]} <= {1}
    strided = any(stride > 1 for stride in params["window_strides"])
    few = lhs.shape[dimensions.lhs_spec[1]] <= _FEW_CHANNELS
    whole = 0 not in (*lhs.shape[1:], *rhs.shape)
    return (
        plain and strided and few and whole and is_ungrouped_float32(lhs, rhs, **params)
    )


def input_gradient_by_phases(
    cotangent: jax.Array, rhs: jax.Array, lhs_shape: tuple[int, ...], **params: Any
) -> jax.Array:
    """The gradient of the input of a convolution that `few_phases` says yes to.

    With kernel offset k, stride s and low padding p, position i of the input meets
    position o of the output where i = s o + k - p. For i = s m + a, of phase a, that is
    offset a + p - s j at o = m + j.

    Args:
      cotangent: of the output.
      rhs: the kernel.
      lhs_shape: of the input.
      **params: of the convolution.
    """
    dimensions = params["dimension_numbers"]
    output, channel, *spatial = dimensions.rhs_spec
    kernel = rhs.transpose((*spatial, channel, output))
    cotangent = channels_last(cotangent, dimensions.out_spec)
    strides = params["window_strides"]
    sizes = [lhs_shape[axis] for axis in dimensions.lhs_spec[2:]]
    rank = len(strides)

    padding, counts = [], []
    kernel = jnp.pad(kernel, [(0, 1)] * rank + [(0, 0)] * 2)
    for axis, (stride, size, (low, _)) in enumerate(
        zip(strides, sizes, params["padding"], strict=True)
    ):
        offsets = kernel.shape[2 * axis] - 1
        first, last = -((offsets - 1 - low) // stride), (stride - 1 + low) // stride
        phase, shift = np.arange(stride)[:, None], np.arange(first, last + 1)[None]
        offset = phase + low - stride * shift
        # The last offset is the zero that was put behind the others.
        offset = np.where((offset >= 0) & (offset < offsets), offset, offsets)
        kernel = jnp.take(kernel, offset, axis=2 * axis)
        counts.append(-(-size // stride))
        behind = counts[-1] - 1 + last - (cotangent.shape[1 + axis] - 1)
        padding.append((-first, behind))

    # [stride, window] of each axis, then the channels, to one kernel of all phases.
    phases, windows = range(0, 2 * rank, 2), range(1, 2 * rank, 2)
    inputs, outputs = 2 * rank, 2 * rank + 1
    kernel = kernel.transpose((*windows, outputs, *phases, inputs))
    channels = kernel.shape[-1]
    kernel = kernel.reshape(*kernel.shape[: rank + 1], math.prod(strides) * channels)
    found = lax.conv_general_dilated(
        cotangent,
        kernel,
        (1,) * rank,
        padding,
        dimension_numbers=channels_last_dimensions(rank + 2),
        precision=params["precision"],
        preferred_element_type=params["preferred_element_type"],
    )
    found = found.reshape(*found.shape[:-1], *strides, channels)
    pairs = zip(range(1, rank + 1), range(rank + 1, 2 * rank + 1), strict=True)
    found = found.transpose((0, *itertools.chain(*pairs), 2 * rank + 1))
    whole = [count * stride for count, stride in zip(counts, strides, strict=True)]
    found = found.reshape(found.shape[0], *whole, channels)
    found = found[(slice(None), *(slice(size) for size in sizes))]
    return from_channels_last(found, dimensions.lhs_spec)
