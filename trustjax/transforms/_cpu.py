"""The convolution as a CPU trains it fastest: the same up to rounding.

XLA computes the gradient of a kernel on a CPU as a convolution whose window is as
large as the output: where that is large it takes up to twenty times as long as the
forward pass. As a product of patches (`_convolution`) it takes twice as long, if the
patches of a few examples at a time are made, multiplied and forgotten in the cache.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from trustjax._depthwise import convolution_params, depthwise_convolution
from trustjax.transforms._convolution import kernel_gradient, unflatten_kernel
from trustjax.transforms._patches import channels_last_dimensions
from trustjax.transforms._stencil import is_stencil, is_ungrouped_float32, stencil

_PATCHES_AT_ONCE = 2**20
"""Numbers in the patches of a tile: 4 MiB of float32."""

_LARGE_WINDOW = 128
"""Positions of an output from which on the product is faster, in whole networks."""


def cpu_convolution(
    x: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **options: Any
) -> jax.Array:
    """`lax.conv_general_dilated`, on CPUs in the forms that are fastest to train.

    Those are for float32 in the order channels last, without groups, and for depthwise
    convolutions; any other, and every other device, is left to JAX. `vmap` over kernels
    and derivatives of derivatives are not for this function: see `matmul_kernel_grads`.
    `nnx.Conv(conv_general_dilated=...)` takes it.

    Args:
      x: images, and the others as `lax.conv_general_dilated` takes them.
      kernel: the weights.
      strides: of the window.
      padding: a name, or (low, high) for each axis.
      **options: the further options.

    >>> x, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 2))
    >>> layout = ("NHWC", "HWIO", "NHWC")
    >>> cpu_convolution(x, kernel, (1, 1), "VALID", dimension_numbers=layout).shape
    (1, 2, 2, 2)
    """
    plain = functools.partial(
        lax.conv_general_dilated, window_strides=strides, padding=padding, **options
    )
    params = convolution_params(plain, x, kernel)
    ordered = params["dimension_numbers"] == channels_last_dimensions(x.ndim)
    if not ordered or not is_ungrouped_float32(x, kernel, **params):
        return depthwise_convolution(x, kernel, strides, padding, **options)
    forward_on_cpu = plain
    if is_stencil(x, kernel, **params):
        forward_on_cpu = functools.partial(stencil, **params)

    @jax.custom_vjp
    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.platform_dependent(x, kernel, cpu=forward_on_cpu, default=plain)

    def forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Any]:
        return convolve(x, kernel), (x, kernel)

    def backward(saved: Any, cotangent: jax.Array) -> Any:
        x, kernel = saved

        def plain_gradient(x: jax.Array, cotangent: jax.Array) -> jax.Array:
            return jax.vjp(lambda kernel: plain(x, kernel), kernel)[1](cotangent)[0]

        gradient_on_cpu = plain_gradient
        # The batch of a program for export may be a symbol: no tiles of it.
        known = all(isinstance(size, int) for size in x.shape)
        if known and x.size and math.prod(cotangent.shape[1:-1]) >= _LARGE_WINDOW:
            gradient_on_cpu = functools.partial(
                _tiled_kernel_gradient, kernel_shape=kernel.shape, **params
            )
        (of_x,) = jax.vjp(lambda x: plain(x, kernel), x)[1](cotangent)
        of_kernel = lax.platform_dependent(
            x, cotangent, cpu=gradient_on_cpu, default=plain_gradient
        )
        return of_x, of_kernel

    convolve.defvjp(forward, backward)
    return convolve(x, kernel)


def _tiled_kernel_gradient(
    x: jax.Array,
    cotangent: jax.Array,
    *,
    kernel_shape: tuple[int, ...],
    **params: Any,
) -> jax.Array:
    """The gradient of the kernel, the patches of a tile of examples at a time.

    A tile takes examples from all over the batch, and as many as a power of two: where
    devices share the batch, each works on its own in a tile that has some of each.
    """
    positions = math.prod(cotangent.shape[1:-1])
    numbers = positions * math.prod(kernel_shape[:-1])
    size = 1 << max(0, (_PATCHES_AT_ONCE // numbers).bit_length() - 1)
    size = min(size, x.shape[0])
    count = -(-x.shape[0] // size)

    def tiles(array: jax.Array) -> jax.Array:
        # Examples of zeros fill the last tile: nothing is added for them.
        missing = [(0, count * size - array.shape[0]), *[(0, 0)] * (array.ndim - 1)]
        return jnp.pad(array, missing).reshape(size, count, *array.shape[1:])

    def of_tile(number: Any, x: jax.Array, cotangent: jax.Array) -> jax.Array:
        tile = (lax.dynamic_index_in_dim(a, number, 1, False) for a in (x, cotangent))
        return kernel_gradient(*tile, kernel_shape=kernel_shape, **params)

    operands = tiles(x), tiles(cotangent)
    nothing = jnp.zeros(jax.eval_shape(of_tile, 0, *operands).shape, cotangent.dtype)
    flat = lax.fori_loop(
        0, count, lambda number, sofar: sofar + of_tile(number, *operands), nothing
    )
    return unflatten_kernel(flat, kernel_shape=kernel_shape, **params)
