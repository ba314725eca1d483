"""What a convolution sees at each position, and the orders of its axes."""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

_LONG_RUN = 64
"""Channels from which on a loop over the offsets copies as fast as one copy of each."""

_MANY_OFFSETS = 9
"""Offsets beyond which one copy of each makes a program that is slow to compile."""

patches_p = Primitive("patches")
"""`[batch, *positions, offsets * channels]` of padded images, channels last.

A primitive, so that under `vmap` they are those of a larger batch: JAX would make
gathers and scatters of a loop's slices.
"""


def patches_of(
    lhs: jax.Array, kernel_shape: tuple[int, ...], **params: Any
) -> jax.Array:
    """What each output position sees: `[batch * positions, offsets, channels]`."""
    x, windows = _windows(lhs, kernel_shape, **params)
    positions, channels = windows["positions"], x.shape[-1]
    offsets = math.prod(windows["window"])
    many = channels >= _LONG_RUN or offsets > _MANY_OFFSETS
    if many and offsets > 1 and 0 not in (*x.shape, *positions):
        patches = patches_p.bind(x, **windows)
    else:
        patches = _side_by_side(x, **windows)
    rows = math.prod(patches.shape[:-1])
    return patches.reshape(rows, offsets, channels)


def shifted_images(
    lhs: jax.Array, kernel_shape: tuple[int, ...], **params: Any
) -> list[jax.Array]:
    """For each kernel offset, what lies there: `[batch, *positions, channels]`."""
    x, windows = _windows(lhs, kernel_shape, **params)
    return _shifted(x, **windows)


def _windows(
    lhs: jax.Array, kernel_shape: tuple[int, ...], **params: Any
) -> tuple[jax.Array, dict[str, Any]]:
    """The padded images of a convolution, channels last, and where windows lie."""
    lhs_spec, rhs_spec, _ = params["dimension_numbers"]
    window = tuple(kernel_shape[axis] for axis in rhs_spec[2:])
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
    positions = tuple(
        max(0, (size - r) // stride + 1)
        for size, r, stride in zip(lhs.shape[1:-1], reach, strides, strict=True)
    )
    return lhs, {
        "window": window,
        "strides": tuple(strides),
        "dilations": tuple(spread),
        "positions": positions,
    }


def _shifted(
    x: jax.Array, *, positions: tuple[int, ...], **sizes: tuple[int, ...]
) -> list[jax.Array]:
    whole = {name: (1, *size, 1) for name, size in sizes.items()}
    return list(in_windows(x, **whole, positions=(x.shape[0], *positions, x.shape[-1])))


def _side_by_side(x: jax.Array, **windows: Any) -> jax.Array:
    return jnp.concatenate(_shifted(x, **windows), -1)


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


def _in_turn(
    x: jax.Array,
    *,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    positions: tuple[int, ...],
) -> jax.Array:
    """`_side_by_side` in a loop, whose program is as short for many offsets as for one.

    The images are shifted where they are copied to, and exist nowhere else.
    """
    batch, channels = x.shape[0], x.shape[-1]
    offsets = math.prod(window)
    reach = [(n - 1) * stride + 1 for n, stride in zip(positions, strides, strict=True)]

    def add(number: jax.Array, patches: jax.Array) -> jax.Array:
        start, left = [], number
        for size, dilation in zip(window[::-1], dilations[::-1], strict=True):
            start.append(lax.rem(left, size) * dilation)
            left = lax.div(left, size)
        there = lax.dynamic_slice(
            x,
            (0, *start[::-1], 0),
            (batch, *reach, channels),
            allow_negative_indices=False,
        )
        there = lax.slice(there, [0] * x.ndim, there.shape, (1, *strides, 1))
        at = (*[0] * (x.ndim - 1), number, 0)
        return lax.dynamic_update_slice(
            patches, there[..., None, :], at, allow_negative_indices=False
        )

    nothing = jnp.zeros_like(x, shape=(batch, *positions, offsets, channels))
    patches = lax.fori_loop(0, offsets, add, nothing)
    return patches.reshape(batch, *positions, offsets * channels)


def _abstract(x: Any, *, window: Any, positions: Any, **_: Any) -> Any:
    channels = math.prod(window) * x.shape[-1]
    return x.update(shape=(x.shape[0], *positions, channels))


def _transpose(cotangent: jax.Array, x: Any, **windows: Any) -> list[jax.Array]:
    side_by_side = functools.partial(_side_by_side, **windows)
    return list(jax.linear_transpose(side_by_side, x.aval)(cotangent))


def _batch(operands: Any, axes: Any, **windows: Any) -> tuple[jax.Array, int]:
    x = jnp.moveaxis(operands[0], axes[0], 0)
    whole = x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])
    patches = patches_p.bind(whole, **windows)
    return patches.reshape(*x.shape[:2], *patches.shape[1:]), 0


patches_p.def_impl(_side_by_side)
patches_p.def_abstract_eval(_abstract)
mlir.register_lowering(patches_p, mlir.lower_fun(_side_by_side, multiple_results=False))
mlir.register_lowering(
    patches_p, mlir.lower_fun(_in_turn, multiple_results=False), platform="cpu"
)
ad.deflinear2(patches_p, _transpose)
batching.primitive_batchers[patches_p] = _batch


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
