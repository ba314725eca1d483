r"""A convolution whose kernel gradient is a matrix product.

With the patches :math:`P(x)` of the input (row :math:`n`: what one output position
sees; column :math:`(k, c)`: kernel offset and channel), a convolution is the product
:math:`y = P(x) W`, and its kernel gradient is :math:`P(x)^T \bar y`. JAX computes that
gradient as another convolution, with the cotangent as kernel. Under `jax.vmap` both
of its operands have a batch axis, so it becomes a convolution with one group for each
example: slow on CPU, and for kernels in Flax's order (HWIO, HIO) split wrongly by the
partitioner when the batch is sharded; PyTorch's order and groups come out right.

`conv_p` is a primitive that is JAX's convolution in value, in lowering and in the
gradient of its input. It differs in two rules alone: the gradient of the kernel, and
`vmap` over both operands, are matrix products of patches. The rules are closed: what
they return is made of `conv_p` and products again, so that they hold in any order of
differentiation and at any depth of `vmap`.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import JaxprEqn, Primitive
from jax.extend.core.primitives import conv_general_dilated_p
from jax.interpreters import ad, batching, mlir

from trustjax._platform import by_platform
from trustjax.transforms._patches import (
    channels_last,
    channels_last_dimensions,
    from_channels_last,
    kernel_order,
    patches_of,
)
from trustjax.transforms._phases import few_phases, input_gradient_by_phases
from trustjax.transforms._rewrite import TWINS, matmul_kernel_grads, swap
from trustjax.transforms._stencil import is_stencil, stencil
from trustjax.transforms._walk import bind, walk

conv_p = Primitive("matmul_gradient_conv")

fast_conv_p = Primitive("fast_matmul_gradient_conv")
"""The same, but on a CPU it is lowered to the form that is fastest there."""


def _convolution(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    return conv_general_dilated_p.bind(lhs, rhs, **params)


def kernel_gradient(
    lhs: jax.Array,
    cotangent: jax.Array,
    *,
    kernel_shape: tuple[int, ...],
    **params: Any,
) -> jax.Array:
    """The gradient of the kernel, in the order of `flat_kernel` and unrounded.

    Returns:
      `[groups, outputs, offsets, channels]`, in float32 or better.
    """
    patches = patches_of(lhs, kernel_shape, **params)
    _, _, out_spec = params["dimension_numbers"]
    outputs = kernel_shape[params["dimension_numbers"].rhs_spec[0]]
    groups = params["feature_group_count"] * params["batch_group_count"]
    cotangent = channels_last(cotangent, out_spec)
    rows = math.prod(cotangent.shape[:-1])
    cotangent = cotangent.reshape(rows, groups, outputs // groups)
    dtype = jnp.promote_types(cotangent.dtype, jnp.float32)
    if params["batch_group_count"] > 1:
        patches = patches.reshape(groups, rows, *patches.shape[-2:])
        equation = "ngo,gnkc->gokc"
    elif groups > 1:
        patches = _in_groups(patches, groups)
        if patches.shape[-1] == cotangent.shape[-1] == 1:
            # Depthwise: products of vectors, which a batched matmul is slow at.
            products = patches.astype(dtype) * cotangent[:, None].astype(dtype)
            return products.sum(0).transpose(1, 0, 2)[:, None]
        equation = "ngo,nkgc->gokc"
    else:
        # One plain product of matrices, cotangent first: the faster order on CPU.
        flat = lax.dot_general(
            cotangent[:, 0],
            patches.reshape(rows, math.prod(patches.shape[1:])),
            (((0,), (0,)), ((), ())),
            precision=params["precision"],
            preferred_element_type=dtype,
        )
        return flat.reshape(1, outputs, *patches.shape[-2:])
    return jnp.einsum(
        equation,
        cotangent,
        patches,
        precision=params["precision"],
        preferred_element_type=dtype,
    )


def bind_fast(equation: JaxprEqn, *values: Any) -> list[Any]:
    """`bind`, with a convolution in its fastest form; up to rounding the same."""
    if equation.primitive is conv_p:
        equation = equation.replace(primitive=fast_conv_p)
    return bind(equation, *values)


def _fast(fun: Callable[..., jax.Array], *arguments: jax.Array) -> jax.Array:
    """What a function of arrays gives, with its convolutions by `bind_fast`."""
    program = swap(jax.make_jaxpr(fun)(*arguments))
    visit = lambda number, equation, values: bind_fast(equation, *values)
    return walk(program, list(arguments), visit, known=True)[0]


def _convolution_on_cpu(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """The convolution as XLA runs it fastest on a CPU.

    XLA brings a convolution into the order (batch, *spatial, channel) by itself, but
    not in the body of a loop: there any other order, such as that of every input
    gradient, runs twenty times slower.
    """
    dimensions = params["dimension_numbers"]
    output, channel, *spatial = dimensions.rhs_spec
    params |= {"dimension_numbers": channels_last_dimensions(lhs.ndim)}
    lhs = channels_last(lhs, dimensions.lhs_spec)
    rhs = rhs.transpose((*spatial, channel, output))
    form = stencil if is_stencil(lhs, rhs, **params) else _convolution
    return from_channels_last(form(lhs, rhs, **params), dimensions.out_spec)


def flat_kernel(rhs: jax.Array, **params: Any) -> jax.Array:
    """A kernel as `[groups, outputs, offsets, channels]`."""
    rhs = rhs.transpose(kernel_order(**params))
    groups = params["feature_group_count"] * params["batch_group_count"]
    outputs, *offsets, channels = rhs.shape
    return rhs.reshape(groups, outputs // groups, math.prod(offsets), channels)


def unflatten_kernel(
    flat: jax.Array, *, kernel_shape: tuple[int, ...], **params: Any
) -> jax.Array:
    """The inverse of `flat_kernel`."""
    order = kernel_order(**params)
    ordered = flat.reshape([kernel_shape[axis] for axis in order])
    return ordered.transpose([order.index(axis) for axis in range(len(order))])


def patches_size(
    lhs_shape: tuple[int, ...], kernel_shape: tuple[int, ...], **params: Any
) -> int:
    """How many numbers the patches of an input hold."""
    patches = jax.eval_shape(
        lambda lhs: patches_of(lhs, kernel_shape, **params),
        jax.ShapeDtypeStruct(lhs_shape, jnp.float32),
    )
    return patches.size


def _convolution_as_product(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """The same convolution as a product of patches and kernel."""
    out = jax.eval_shape(lambda lhs, rhs: _convolution(lhs, rhs, **params), lhs, rhs)
    out_spec = params["dimension_numbers"].out_spec
    order = (out_spec[0], *out_spec[2:], out_spec[1])
    patches = patches_of(lhs, rhs.shape, **params)
    kernel = flat_kernel(rhs, **params)
    groups = len(kernel)
    if params["batch_group_count"] > 1:
        rows = patches.shape[0] // groups
        patches = patches.reshape(groups, rows, *patches.shape[-2:])
        equation = "gnkc,gokc->ngo"
    else:
        patches = _in_groups(patches, groups)
        equation = "nkgc,gokc->ngo"
    product = jnp.einsum(
        equation,
        patches,
        kernel,
        precision=params["precision"],
        preferred_element_type=out.dtype,
    )
    product = product.reshape([out.shape[axis] for axis in order])
    return from_channels_last(product, out_spec)


def _in_groups(patches: jax.Array, groups: int) -> jax.Array:
    """Patches with the channels of each group apart."""
    *rest, channels = patches.shape
    return patches.reshape(*rest, groups, channels // groups)


def _input_gradient(cotangent: Any, lhs: Any, rhs: jax.Array, **params: Any) -> Any:
    def transposed(cotangent: jax.Array, rhs: jax.Array) -> jax.Array:
        transpose = jax.linear_transpose(
            lambda lhs: _convolution(lhs, rhs, **params), lhs.aval
        )
        return transpose(cotangent)[0]

    def by_phases(cotangent: jax.Array, rhs: jax.Array) -> jax.Array:
        return input_gradient_by_phases(cotangent, rhs, lhs.aval.shape, **params)

    if few_phases(lhs.aval, rhs, **params):
        transposed = by_platform(cpu=by_phases, other=transposed)
    return _fast(transposed, cotangent, rhs)


def _kernel_gradient(cotangent: Any, lhs: jax.Array, rhs: Any, **params: Any) -> Any:
    shape = rhs.aval.shape
    flat = kernel_gradient(lhs, cotangent, kernel_shape=shape, **params)
    return unflatten_kernel(flat, kernel_shape=shape, **params).astype(rhs.aval.dtype)


def _batch(operands: Any, axes: Any, **params: Any) -> tuple[jax.Array, int]:
    """`vmap`: over one operand JAX's own rule, over both a product."""
    if None in axes:
        mapped = jax.vmap(lambda l, r: _convolution(l, r, **params), axes)
        return matmul_kernel_grads(mapped)(*operands), 0
    return _batch_of_both(operands, axes, **params)


def _batch_fast(operands: Any, axes: Any, **params: Any) -> tuple[jax.Array, int]:
    if None in axes:
        mapped = jax.vmap(lambda l, r: _convolution(l, r, **params), axes)
        return _fast(mapped, *operands), 0
    return _batch_of_both(operands, axes, **params)


def _batch_of_both(operands: Any, axes: Any, **params: Any) -> tuple[jax.Array, int]:
    mapped = jax.vmap(lambda l, r: _convolution_as_product(l, r, **params), axes)
    return mapped(*operands), 0


def _abstract(lhs: Any, rhs: Any, **params: Any) -> Any:
    return conv_general_dilated_p.abstract_eval(lhs, rhs, **params)


lowering = mlir.lower_fun(_convolution, multiple_results=False)
for primitive, batch in ((conv_p, _batch), (fast_conv_p, _batch_fast)):
    primitive.def_impl(_convolution)
    primitive.def_effectful_abstract_eval(_abstract)
    mlir.register_lowering(primitive, lowering)
    ad.defbilinear(primitive, _input_gradient, _kernel_gradient)
    batching.primitive_batchers[primitive] = batch
on_cpu = mlir.lower_fun(_convolution_on_cpu, multiple_results=False)
mlir.register_lowering(fast_conv_p, on_cpu, platform="cpu")
TWINS[conv_general_dilated_p] = conv_p
