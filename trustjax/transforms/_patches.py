"""What a convolution sees at each position, and the orders of its axes."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def patches_of(
    lhs: jax.Array, kernel_shape: tuple[int, ...], **params: Any
) -> jax.Array:
    """What each output position sees: `[batch * positions, offsets, channels]`."""
    shifted = shifted_images(lhs, kernel_shape, **params)
    patches = jnp.concatenate(shifted, -1)
    rows = math.prod(patches.shape[:-1])
    return patches.reshape(rows, len(shifted), shifted[0].shape[-1])


def shifted_images(
    lhs: jax.Array, kernel_shape: tuple[int, ...], **params: Any
) -> list[jax.Array]:
    """For each kernel offset, what lies there: `[batch, *positions, channels]`."""
    lhs_spec, rhs_spec, _ = params["dimension_numbers"]
    window = [kernel_shape[axis] for axis in rhs_spec[2:]]
    strides, spread = params["window_strides"], params["rhs_dilation"]
    lhs = channels_last(lhs, lhs_spec)
    lhs = lax.pad(
        lhs,
        jnp.zeros((), lhs.dtype),
        [
            (0, 0, 0),
            *(
                (low, high, dilation - 1)
                for (low, high), dilation in zip(
                    params["padding"], params["lhs_dilation"], strict=True
                )
            ),
            (0, 0, 0),
        ],
    )
    reach = [(size - 1) * s + 1 for size, s in zip(window, spread, strict=True)]
    positions = [
        max(0, (size - r) // stride + 1)
        for size, r, stride in zip(lhs.shape[1:-1], reach, strides, strict=True)
    ]
    whole = lambda sizes: (1, *sizes, 1)
    seen = (lhs.shape[0], *positions, lhs.shape[-1])
    return list(in_windows(lhs, whole(window), whole(strides), whole(spread), seen))


def in_windows(
    x: jax.Array,
    window: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    positions: Sequence[Any],
) -> Iterator[jax.Array]:
    """For each offset of a window, what lies there: arrays of the shape `positions`.

    In a program for export, a size of `positions` may be a symbol.
    A window that does not fit has no positions, and its offsets may lie outside.
    """
    if 0 in positions:
        nothing = jnp.zeros(positions, x.dtype)
        yield from itertools.repeat(nothing, math.prod(window))
        return
    for offset in itertools.product(*map(range, window)):
        start = [o * d for o, d in zip(offset, dilations, strict=True)]
        stop = [
            begin + (count - 1) * stride + 1
            for begin, count, stride in zip(start, positions, strides, strict=True)
        ]
        yield lax.slice(x, start, stop, strides)


def kernel_order(**params: Any) -> tuple[int, ...]:
    """The axes of a kernel as (output, *spatial, input)."""
    output, channel, *spatial = params["dimension_numbers"].rhs_spec
    return (output, *spatial, channel)


def channels_last_dimensions(rank: int) -> lax.ConvDimensionNumbers:
    """`[batch, *positions, channels]`, and kernels as `[*offsets, input, output]`."""
    image = (0, rank - 1, *range(1, rank - 1))
    kernel = (rank - 1, rank - 2, *range(rank - 2))
    return lax.ConvDimensionNumbers(image, kernel, image)


def channels_last(x: jax.Array, spec: tuple[int, ...]) -> jax.Array:
    """An array whose axes `spec` orders, as `[batch, *positions, channels]`."""
    batch, channel, *spatial = spec
    return x.transpose((batch, *spatial, channel))


def from_channels_last(x: jax.Array, spec: tuple[int, ...]) -> jax.Array:
    """The inverse of `channels_last`."""
    batch, channel, *spatial = spec
    order = (batch, *spatial, channel)
    return x.transpose([order.index(axis) for axis in range(len(order))])
