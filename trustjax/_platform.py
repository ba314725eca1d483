"""What is done in one way on a CPU and in another elsewhere.

The choice is made when a program is lowered, for the platform it is lowered for: a CPU
may compile for an accelerator, and `jax.export` for several platforms at once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

_CPU, _OTHER = "cpu", "other"

_chosen = jax.make_user_context(None)
"""Of which platform the branch is that is being traced, if it is one."""


def by_platform(
    cpu: Callable[..., Any], other: Callable[..., Any]
) -> Callable[..., Any]:
    """`cpu` where a program is for CPUs, `other` where it is for another platform.

    Both are traced, and one is lowered. What is called inside of one of them is not
    asked again.

    Args:
      cpu: a function of trees of arrays.
      other: one whose results have the same types.

    >>> import jax.numpy as jnp
    >>> print(by_platform(jnp.sin, jnp.cos)(0.0))
    0.0
    """

    def branch(platform: str, fun: Callable[..., Any]) -> Callable[..., Any]:
        def traced(*arguments: Any) -> Any:
            with _chosen(platform):
                return fun(*arguments)

        return traced

    def choose(*arguments: Any) -> Any:
        if _chosen.value is not None:
            return (cpu if _chosen.value == _CPU else other)(*arguments)
        return lax.platform_dependent(
            *arguments, cpu=branch(_CPU, cpu), default=branch(_OTHER, other)
        )

    return choose


copies_p = Primitive("copies")
copies_p.multiple_results = True


def copies(x: jax.Array, times: int) -> Sequence[jax.Array]:
    """The same array several times; XLA on a CPU takes them for different ones.

    So it makes each user of them a loop of its own, which reads x itself: it does not
    make one array of what their loops have in common.

    >>> import jax.numpy as jnp
    >>> print(*copies(jnp.arange(2.0), 2))
    [0. 1.] [0. 1.]
    """
    return copies_p.bind(x, times=times)


def _plain(x: Any, *, times: int) -> list[Any]:
    return [x] * times


def _apart(x: jax.Array, *, times: int) -> list[jax.Array]:
    return list(lax.optimization_barrier((x,) * times))


def _transpose(cotangents: Sequence[Any], x: Any, *, times: int) -> list[Any]:
    """The sum of what came back: JAX does not ask where nothing did."""
    del x, times
    first, *others = (each for each in cotangents if not isinstance(each, ad.Zero))
    return [sum(others, start=first)]


def _batch(operands: Any, axes: Any, *, times: int) -> tuple[Sequence[Any], Any]:
    (x,), (axis,) = operands, axes
    return copies(x, times), [axis] * times


copies_p.def_impl(_plain)
copies_p.def_abstract_eval(_plain)
mlir.register_lowering(copies_p, mlir.lower_fun(_plain, multiple_results=True))
mlir.register_lowering(
    copies_p, mlir.lower_fun(_apart, multiple_results=True), platform=_CPU
)
ad.deflinear2(copies_p, _transpose)
batching.primitive_batchers[copies_p] = _batch
