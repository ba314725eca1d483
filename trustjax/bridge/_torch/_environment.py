"""How operations of torch become operations of JAX: torchax, with nothing outside."""

# torch and torchax are the extra `torch`, which `make lint` does not install.
# pyright: reportMissingImports=false

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.core import Tracer
from torch.utils import _pytree as torch_tree
from torchax import tensor as torchax_tensor
from torchax import view as torchax_view
from torchax.ops import jaten, op_base, ops_registry

from trustjax._depthwise import depthwise_convolution

OperatorNotFound = torchax_tensor.OperatorNotFound


def _tensor_split(
    x: jax.Array,
    indices_or_sections: Any = None,
    dim: int = 0,
    *,
    indices: Any = None,
    sections: Any = None,
) -> list[jax.Array]:
    given = (indices_or_sections, indices, sections)
    where = next(choice for choice in given if choice is not None)
    return jnp.array_split(x, where, dim)


def _convolution(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> jax.Array:
    if transposed or groups == 1 or x.ndim != kernel.ndim:
        return jaten._aten_convolution(
            x,
            kernel,
            bias,
            stride,
            padding,
            dilation,
            transposed,
            output_padding,
            groups,
        )
    axes = kernel.ndim - 2
    low_and_high = [(p, p) for p in padding] * (axes // len(padding))
    y = depthwise_convolution(
        x,
        kernel,
        stride,
        low_and_high,
        rhs_dilation=dilation,
        feature_group_count=groups,
    )
    return y if bias is None else y + bias.reshape(-1, *[1] * axes)


def _conv2d(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> jax.Array:
    return _convolution(
        x, kernel, bias, stride, padding, dilation, False, (0, 0), groups
    )


_MENDED: dict[Any, Callable[..., Any]] = {
    # torchax's does not take `indices=`, which torch has beside its first name.
    torch.tensor_split: _tensor_split,
    # XLA's depthwise convolutions are slow on CPUs.
    torch.ops.aten.conv2d: _conv2d,
    torch.ops.aten.convolution: _convolution,
}


def array(tensor: torch.Tensor) -> jax.Array:
    """A copy of a tensor, which later changes of the tensor do not reach."""
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:  # NumPy has none
        return jnp.array(tensor.float().numpy(), jnp.bfloat16)
    return jnp.array(tensor.numpy())


# torchax's do not reach the tensor that they are given a slice of.
_MENDED_IN_PLACE: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.zero_: jnp.zeros_like,
    torch.ops.aten.fill_: jnp.full_like,
}


class Environment(torchax_tensor.Environment):
    """Under which every tensor is an array of JAX.

    torchax's own keeps the devices of a module's code: a tensor that a module makes
    on the CPU, or keeps outside of its buffers, does not mix with arrays of JAX. Here
    there is one place, so such a tensor is a constant, and moving one does nothing.
    """

    def __init__(self, operators: Mapping[Any, Callable[..., Any]]):
        super().__init__()
        for operator, function in _MENDED_IN_PLACE.items():
            self._ops[operator] = ops_registry.Operator(
                operator,
                op_base.InplaceOp(function, is_jax_func=True),
                is_jax_function=False,
                is_user_defined=True,
                needs_env=False,
                is_view_op=True,
            )
        for operator, function in (_MENDED | dict(operators)).items():
            self._ops[operator] = ops_registry.Operator(
                operator,
                function,
                is_jax_function=True,
                is_user_defined=True,
                needs_env=False,
                is_view_op=False,
            )

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """In the block torch's operations are traced or computed by JAX."""
        with contextlib.ExitStack() as stack:
            # Keys made by a trace must not outlive it.
            with jax.ensure_compile_time_eval():
                key = jax.random.key(0)
            stack.enter_context(self.override_property(prng=key))
            stack.enter_context(jax.numpy_rank_promotion("allow"))
            stack.enter_context(warnings.catch_warnings())
            # torch's indices have 64 bits, and are as good with the 32 that JAX has.
            warnings.filterwarnings("ignore", "Explicitly requested dtype", UserWarning)
            stack.enter_context(torch.enable_grad())
            stack.enter_context(self)
            yield

    def dispatch(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """torchax's, and more of torch's ways.

        What depends on no argument is computed at once, as a module may ask of its
        values. What it computes under `no_grad` has no gradient.
        """
        with contextlib.ExitStack() as stack:
            if not any(map(_is_traced, torch_tree.tree_leaves((args, kwargs)))):
                stack.enter_context(jax.ensure_compile_time_eval())
            result = super().dispatch(func, types, args, kwargs)
        if torch.is_grad_enabled():
            return result
        return torch_tree.tree_map_only(
            torchax_tensor.Tensor, lambda t: t.detach(), result
        )

    def t2j_iso(self, torchtensors: Any) -> Any:
        """Arrays of JAX from tensors, those of torch as constants."""

        def to_jax(x: Any) -> jax.Array:
            ours = isinstance(x, torchax_tensor.Tensor | torchax_view.View)
            return x.jax() if ours else array(x)

        return torch_tree.tree_map_only(torch.Tensor, to_jax, torchtensors)

    def _should_use_torchax_tensor(self, device: Any) -> bool:
        return True

    def _is_same_device(self, the_tensor: Any, new_device: Any) -> bool:
        return True


def _is_traced(leaf: Any) -> bool:
    ours = isinstance(leaf, torchax_tensor.Tensor | torchax_view.View)
    return isinstance(leaf.jax() if ours else leaf, Tracer)


def leaves_of(output: Any) -> list[np.ndarray]:
    """Copies of the arrays in a module's output, of torch, of torchax or of JAX."""
    return [
        np.array(array(leaf) if type(leaf) is torch.Tensor else _of_jax(leaf))
        for leaf in torch_tree.tree_leaves(output)
        if isinstance(leaf, torch.Tensor | jax.Array)
    ]


def _of_jax(leaf: Any) -> jax.Array:
    return leaf if isinstance(leaf, jax.Array) else leaf.jax()
