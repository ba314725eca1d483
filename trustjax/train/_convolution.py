"""The convolution of grey images that a CPU trains on faster: the same values.

XLA makes every convolution on a CPU a product of matrices of patches. Where the input
has one channel those matrices are nine numbers thin, and the product is slower than
nine multiplications of the shifted image, which are moreover fused with what follows.
The gradients stay those of the convolution.
"""

import functools
import itertools
from typing import Any

import jax
from jax import lax

_MOST_OFFSETS = 9
_CHANNELS_LAST = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))


def convolution(
    x: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **options: Any
) -> jax.Array:
    """`lax.conv_general_dilated`, for `nnx.Conv(conv_general_dilated=...)`.

    Small kernels on channels-last images of one channel take the other way, on CPUs.
    """
    plain = functools.partial(
        lax.conv_general_dilated, window_strides=strides, padding=padding, **options
    )
    if not _is_thin(x, kernel, **options):
        return plain(x, kernel)

    @jax.custom_vjp
    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        shifted = functools.partial(_shifted, strides=strides, padding=padding)
        return lax.platform_dependent(x, kernel, cpu=shifted, default=plain)

    def forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Any]:
        return convolve(x, kernel), (x, kernel)

    def backward(saved: Any, cotangent: jax.Array) -> Any:
        return jax.vjp(plain, *saved)[1](cotangent)

    convolve.defvjp(forward, backward)
    return convolve(x, kernel)


def _is_thin(x: jax.Array, kernel: jax.Array, **options: Any) -> bool:
    if x.ndim != 4 or kernel.shape[2] != 1:
        return False
    layout = lax.conv_dimension_numbers(
        x.shape, kernel.shape, options.get("dimension_numbers")
    )
    factors = [
        factor
        for name in ("lhs_dilation", "rhs_dilation")
        for factor in options.get(name) or ()
    ]
    undivided = options.get("feature_group_count", 1) == 1
    small = kernel.shape[0] * kernel.shape[1] <= _MOST_OFFSETS
    return layout == _CHANNELS_LAST and undivided and small and set(factors) <= {1}


def _shifted(
    x: jax.Array, kernel: jax.Array, *, strides: tuple[int, int], padding: Any
) -> jax.Array:
    """The sum over the kernel's offsets of what each sees times its weights."""
    height, width = kernel.shape[:2]
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], (height, width), strides, padding)
    zero = jax.numpy.zeros((), x.dtype)
    x = lax.pad(x, zero, [(0, 0, 0), *((*sides, 0) for sides in padding), (0, 0, 0)])
    down, across = strides
    rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
    return sum(  # type: ignore[return-value]
        x[:, i : i + rows : down, j : j + columns : across] * kernel[None, None, i, j]
        for i, j in itertools.product(range(height), range(width))
    )
