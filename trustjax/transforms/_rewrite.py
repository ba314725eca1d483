"""The function transformation: trace, swap primitives for their twins, run.

The swap is made in the traced program and not in the user's code, so it reaches
everything that a call of the function reaches: bodies of `jit`, `remat`, `scan`,
`cond`, `while_loop` and `shard_map`, and the derivative rules of `custom_jvp` and
`custom_vjp`, which JAX keeps as functions and traces when they are used.

A twin is a primitive of the same parameters, shapes and values as JAX's, with other
derivative rules. The modules that define twins enter them in `TWINS`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import linear_util
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Primitive, jaxpr_as_fun

TWINS: dict[Primitive, Primitive] = {}


def matmul_kernel_grads(fun: Callable[..., Any]) -> Callable[..., Any]:
    r"""The same function, with per-example gradients that are fast and shard-safe.

    `jax.vmap(jax.grad(loss))` of a convolution asks for one kernel gradient for each
    example, and JAX computes them as one convolution with a group for each example.
    That is slow on CPU, and under `jax.jit` with the batch sharded over a mesh axis it
    is silently wrong for kernels in Flax's order (HWIO, HIO): zeros for the examples
    that are not on the first device. Kernels in PyTorch's order and grouped kernels
    come out right. Of the function that this returns, the same `vmap(grad)` computes

    .. math:: \bar W_i = P(x_i)^\top \, \bar y_i

    as one batched product of the patches of each input and its cotangent. The backward
    pass of max pooling selects, instead of XLA's `select_and_scatter`.

    Values are the same bit for bit. Gradients are equal up to rounding, ties in max
    pooling included, and can be differentiated again in either mode. Reached are
    convolutions of any dimension order, with strides, dilations, padding and groups,
    in the bodies of control flow and in custom derivative rules. Everything else is
    left as it is.

    Inside `jax.shard_map` with `check_vma=True`, parameters that are replicated must be
    made varying (`jax.lax.pcast`) before they are differentiated, or JAX adds the
    gradients of all shards. On a mesh with explicit axes, JAX refuses `vmap(grad)` of
    a convolution: take it under `jax.sharding.auto_axes`.
    `gradients.per_example_gradients` does both by itself.

    Args:
      fun: any function of arrays; arguments and results are trees. Arguments that are
        not arrays are taken as they are, and are not traced.

    Returns:
      A function of the same arguments and results.

    >>> from jax import lax
    >>> conv = lambda w, x: lax.conv(x[None], w, (1, 1), "VALID").sum()
    >>> per_example = jax.vmap(jax.grad(matmul_kernel_grads(conv)), (None, 0))
    >>> per_example(jax.numpy.ones((4, 1, 3, 3)), jax.numpy.ones((5, 1, 8, 8))).shape
    (5, 4, 1, 3, 3)
    """
    return rewritten(fun, swap)


def rewritten(
    fun: Callable[..., Any], rewrite: Callable[[ClosedJaxpr], ClosedJaxpr]
) -> Callable[..., Any]:
    """The same function, of which the traced program is rewritten at every call.

    Args:
      fun: any function of arrays; arguments and results are trees.
      rewrite: a program to another, of the same arguments and results.
    """

    @functools.wraps(fun)
    def call(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = jax.tree.flatten((args, kwargs))
        traced = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]
        out_tree = None

        def flat(*arrays: Any) -> list[Any]:
            nonlocal out_tree
            given = iter(arrays)
            merged = [
                next(given) if is_array else leaf
                for leaf, is_array in zip(leaves, traced, strict=True)
            ]
            args, kwargs = jax.tree.unflatten(tree, merged)
            out, out_tree = jax.tree.flatten(fun(*args, **kwargs))
            return out

        arrays = [
            jnp.asarray(leaf) for leaf, t in zip(leaves, traced, strict=True) if t
        ]
        program = rewrite(jax.make_jaxpr(flat)(*arrays))
        return jax.tree.unflatten(out_tree, jaxpr_as_fun(program)(*arrays))

    return call


def swap(program: Any) -> Any:
    """A traced program with each primitive of `TWINS` replaced, at any depth."""
    if isinstance(program, Jaxpr):
        equations = [_swap_equation(equation) for equation in program.eqns]
        if all(new is old for new, old in zip(equations, program.eqns, strict=True)):
            return program
        return program.replace(eqns=equations)
    inner = swap(program.jaxpr)
    return program if inner is program.jaxpr else program.replace(jaxpr=inner)


def _swap_equation(equation: JaxprEqn) -> JaxprEqn:
    params = {name: _swap_param(value) for name, value in equation.params.items()}
    # The rules of custom derivatives are functions: they are swapped when they run.
    if "jvp_jaxpr_fun" in params:
        params["jvp_jaxpr_fun"] = _swapped_thunk(params["jvp_jaxpr_fun"])
    if "fwd_jaxpr_thunk" in params:
        params["fwd_jaxpr_thunk"] = _swapped_thunk(params["fwd_jaxpr_thunk"])
        params["bwd"] = _swapped_function(params["bwd"])
    primitive = TWINS.get(equation.primitive, equation.primitive)
    unchanged = all(params[name] is equation.params[name] for name in params)
    if unchanged and primitive is equation.primitive:
        return equation
    return equation.replace(primitive=primitive, params=params)


def _swap_param(value: Any) -> Any:
    """A parameter of an equation: programs may stand alone or in a tuple."""
    if isinstance(value, Jaxpr | ClosedJaxpr):
        return swap(value)
    if isinstance(value, tuple | list):
        items = [_swap_param(item) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        named = hasattr(value, "_fields")
        return type(value)(*items) if named else type(value)(items)
    return value


def _swapped_thunk(thunk: Any) -> Any:
    """A rule that JAX has wrapped to give its program: (program, ...) comes back."""

    def swapped(*zeros: Any) -> tuple[Any, ...]:
        program, *rest = thunk.call_wrapped(*zeros)
        return swap(program), *rest

    return linear_util.wrap_init(swapped, debug_info=thunk.debug_info)


def _swapped_function(rule: Any) -> Any:
    """A backward rule: a function of flat arrays, some of them symbolic zeros."""

    def swapped(*values: Any) -> Sequence[Any]:
        return matmul_kernel_grads(rule.call_wrapped)(*values)

    return linear_util.wrap_init(swapped, debug_info=rule.debug_info)
