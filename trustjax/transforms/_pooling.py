r"""Max pooling whose backward pass is a selection.

JAX's backward pass of `lax.reduce_window` with `max` is the XLA operation
`select_and_scatter`, which on CPU takes twenty times as long as the forward pass.
Here the place of the maximum in its window, the first where several are equal, is
found once from the strided slices of the input; then the derivative is

.. math:: \dot y_p = \dot x_{p, k^*(p)}, \qquad
    k^*(p) = \min \{k : x_{p, k} = y_p\}

a sum of selections, whose transpose is elementwise too. `max_pool_p` is JAX's
primitive in value, and has this rule; on a CPU it is lowered to elementwise maxima.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.extend.core.primitives import reduce_window_max_p
from jax.interpreters import ad, batching, mlir

from trustjax import _windows
from trustjax.transforms._patches import in_windows
from trustjax.transforms._rewrite import TWINS

max_pool_p = Primitive("selecting_max_pool")


def _max_pool(x: jax.Array, **params: Any) -> jax.Array:
    return reduce_window_max_p.bind(x, **params)


def _on_cpu(x: jax.Array, **params: Any) -> jax.Array:
    """XLA's windows are slow on a CPU, and slower still in the body of a loop."""
    if jnp.issubdtype(x.dtype, jnp.floating):
        return _maximum_of_candidates(x, **params)
    return _max_pool(x, **params)


def _maximum_of_candidates(x: jax.Array, **params: Any) -> jax.Array:
    """The same values: elementwise maxima in the order of the window."""
    shape = jax.eval_shape(lambda x: _max_pool(x, **params), x).shape
    return functools.reduce(jnp.maximum, _candidates(x, -jnp.inf, shape, **params))


def _tangent(tangent: jax.Array, pooled: jax.Array, x: jax.Array, **params: Any) -> Any:
    candidates = _candidates(lax.stop_gradient(x), -jnp.inf, pooled.shape, **params)
    place = _windows.place_of_maximum(candidates)
    if _tiles(**params):
        window = params["window_dimensions"]
        return _windows.select_from_tiles(tangent, place, window)
    chosen = [
        jnp.where(place == k, candidate, jnp.zeros((), tangent.dtype))
        for k, candidate in enumerate(_candidates(tangent, 0, pooled.shape, **params))
    ]
    return sum(chosen[1:], chosen[0])


def _candidates(
    x: jax.Array, fill: float, pooled_shape: tuple[Any, ...], **params: Any
) -> Iterator[jax.Array]:
    """For each offset of the window, what lies there: arrays of the pooled shape."""
    x = lax.pad(
        x,
        jnp.asarray(fill, x.dtype),
        [
            (low, high, dilation - 1)
            for (low, high), dilation in zip(
                params["padding"], params["base_dilation"], strict=True
            )
        ],
    )
    strides, dilations = params["window_strides"], params["window_dilation"]
    return in_windows(x, params["window_dimensions"], strides, dilations, pooled_shape)


def _tiles(**params: Any) -> bool:
    """Whether the windows lie side by side."""
    ones = [1] * len(params["padding"])
    return (
        list(params["window_strides"]) == list(params["window_dimensions"])
        and list(params["base_dilation"]) == ones
        and list(params["window_dilation"]) == ones
        and all(low == high == 0 for low, high in params["padding"])
    )


def _batch(operands: Any, axes: Any, **params: Any) -> tuple[jax.Array, int]:
    x = jnp.moveaxis(operands[0], axes[0], 0)
    whole = {
        "window_dimensions": 1,
        "window_strides": 1,
        "base_dilation": 1,
        "window_dilation": 1,
        "padding": (0, 0),
    }
    batched = {name: (whole[name], *params[name]) for name in whole}
    return max_pool_p.bind(x, **batched), 0


def _abstract(x: Any, **params: Any) -> Any:
    return reduce_window_max_p.abstract_eval(x, **params)


max_pool_p.def_impl(_max_pool)
max_pool_p.def_effectful_abstract_eval(_abstract)
mlir.register_lowering(max_pool_p, mlir.lower_fun(_max_pool, multiple_results=False))
mlir.register_lowering(
    max_pool_p, mlir.lower_fun(_on_cpu, multiple_results=False), platform="cpu"
)
ad.defjvp2(max_pool_p, _tangent)
batching.primitive_batchers[max_pool_p] = _batch
TWINS[reduce_window_max_p] = max_pool_p
