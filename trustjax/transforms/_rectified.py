r"""A ReLU that sends back another signal than its derivative.

With the input :math:`x` of a ReLU and the signal :math:`R` that comes back to it,

.. math::
    \text{gradient: } R \, [x > 0], \qquad
    \text{deconvolution: } \max(R, 0), \qquad
    \text{guided: } \max(R, 0) \, [x > 0]

`relu_p` is :math:`\max(x, 0)`. Its derivative is the equation `_tangent_p`, which is
linear in name alone: it is never computed, only transposed, and its transpose is the
rule. So the rule reaches through everything that reverse mode reaches through. What
the transposed program holds is ordinary, and can be differentiated as what it is.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from trustjax.transforms._activations import Rectifiers
from trustjax.transforms._rewrite import rewritten

Rule = Callable[[jax.Array, jax.Array], jax.Array]
"""`(signal, x) -> signal`: what a ReLU of x sends back."""


def guided_relu(fun: Callable[..., Any]) -> Callable[..., Any]:
    r"""The same function, whose ReLUs send back positive signals where they are on.

    .. math:: \bar x = \max(\bar y, 0) \, [x > 0], \qquad y = \max(x, 0)

    in the place of :math:`\bar x = \bar y \, [x > 0]`. `jax.grad`, `jax.vjp` and
    `jax.jacrev` of the function that this returns are guided backpropagation; see
    `explain.guided_backprop`.

    The ReLUs are found in the traced program, in whatever way they were written:
    `jax.nn.relu`, `jnp.maximum(x, 0)`, `jnp.clip(x, 0)`, `jnp.where(x > 0, x, 0)`,
    `x * (x > 0)`; in the bodies of `jit`, `remat`, `scan`, `cond`, `shard_map`, and as
    functions with a derivative rule of their own. A cap, as in `jax.nn.relu6` and
    `jnp.clip(x, 0, 6)`, is the minimum of a ReLU and a number: the ReLU follows the
    rule, the minimum keeps its derivative. Max pooling keeps its switches.

    Args:
      fun: any function of arrays; arguments and results are trees. Arguments that are
        not arrays are taken as they are. What it does with arrays that it closes over
        alone, or that came through `lax.stop_gradient`, is left as it is.

    Returns:
      A function of the same arguments and results, for reverse mode.

    Raises:
      ValueError: when called, if `fun` has no ReLU; if it has another activation
        (leaky ReLU, ELU, GELU, SiLU, softplus, tanh, sigmoid, ...), for which no such
        rule is agreed on; or if a function with a derivative rule of its own has a ReLU
        inside and does more than that.
      TypeError: in forward mode (`jax.jvp`), which has no such rule.

    ==================  ========================================
    Edge case           Value
    ==================  ========================================
    x = 0               nothing is sent back
    a signal of NaN     NaN where the ReLU is on
    x = NaN             nothing is sent back, as of `jax.nn.relu`
    ==================  ========================================

    >>> network = lambda x: jnp.sum(jax.nn.relu(x) * jnp.array([1.0, -1.0, 1.0]))
    >>> x = jnp.array([1.0, 2.0, -3.0])
    >>> print(jax.grad(network)(x), jax.grad(guided_relu(network))(x))
    [ 1. -1.  0.] [1. 0. 0.]

    References:
      Springenberg, Dosovitskiy, Brox and Riedmiller 2014 (arXiv:1412.6806), figure 1.
      captum 0.9 changes modules of the class `torch.nn.ReLU` alone: a functional ReLU
      or a ReLU6 keeps its derivative there, without a word.
    """
    return _with_rule(fun, _guided, "guided_relu")


def deconvolved_relu(fun: Callable[..., Any]) -> Callable[..., Any]:
    r"""The same function, whose ReLUs send back all positive signals.

    .. math:: \bar x = \max(\bar y, 0), \qquad y = \max(x, 0)

    What was on in the forward pass does not matter, but for the switches of max pooling
    and for caps. `jax.grad` of the function that this returns is a deconvolutional
    network; see `explain.deconvolution`.

    Args:
      fun: as in `guided_relu`, and so are its ReLUs found.

    Returns:
      A function of the same arguments and results, for reverse mode.

    Raises:
      ValueError: as `guided_relu`.
      TypeError: in forward mode (`jax.jvp`), which has no such rule.

    ==================  ========================================
    Edge case           Value
    ==================  ========================================
    a signal of NaN     NaN
    x = NaN             the signal is sent back, if it is positive
    ==================  ========================================

    >>> network = lambda x: jnp.sum(jax.nn.relu(x) * jnp.array([1.0, -1.0, 1.0]))
    >>> print(jax.grad(deconvolved_relu(network))(jnp.array([1.0, 2.0, -3.0])))
    [1. 0. 1.]

    References:
      Zeiler and Fergus 2014 (arXiv:1311.2901), section 2.1.
    """
    return _with_rule(fun, _deconvolved, "deconvolved_relu")


def _with_rule(fun: Callable[..., Any], rule: Rule, name: str) -> Callable[..., Any]:
    def replaced(program: Any) -> Any:
        rectifiers = Rectifiers(relu_p, {"rule": rule}, name)
        program = rectifiers.replaced(program)
        if not rectifiers.found:
            raise ValueError(
                f"{name} found no ReLU in the function, so that its gradients would be "
                f"the plain ones"
            )
        return program

    return rewritten(fun, replaced)


def _guided(signal: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.where(x > 0, jnp.maximum(signal, 0), 0)


def _deconvolved(signal: jax.Array, x: jax.Array) -> jax.Array:
    del x
    return jnp.maximum(signal, 0)


def _relu(x: jax.Array, *, rule: Rule) -> jax.Array:
    del rule
    return jnp.maximum(x, 0)


def _jvp(primals: Any, tangents: Any, *, rule: Rule) -> tuple[jax.Array, Any]:
    (x,), (tangent,) = primals, tangents
    # Not `relu_p`: who differentiates the rule's result means what it depends on.
    value = _relu(x, rule=rule)
    if isinstance(tangent, ad.Zero):
        return value, tangent
    return value, _tangent_p.bind(tangent, x, rule=rule)


def _transpose(signal: Any, tangent: Any, x: jax.Array, *, rule: Rule) -> list[Any]:
    if isinstance(signal, ad.Zero):
        return [ad.Zero(tangent.aval), None]
    return [rule(signal, x), None]


def _no_forward_mode(tangent: Any, x: Any, *, rule: Rule) -> Any:
    del tangent, x
    name = rule.__name__.removeprefix("_")
    raise TypeError(
        f"the {name} rule of a ReLU is for reverse mode (jax.grad, jax.vjp, "
        f"jax.jacrev): there is none for forward mode (jax.jvp, jax.jacfwd)"
    )


relu_p = Primitive("rectified")
relu_p.def_impl(_relu)
relu_p.def_abstract_eval(lambda x, *, rule: x)
mlir.register_lowering(relu_p, mlir.lower_fun(_relu, multiple_results=False))
ad.primitive_jvps[relu_p] = _jvp
batching.defvectorized(relu_p)

_tangent_p = Primitive("rectified_tangent")
_tangent_p.def_impl(_no_forward_mode)
_tangent_p.def_abstract_eval(lambda tangent, x, *, rule: tangent)
mlir.register_lowering(
    _tangent_p, mlir.lower_fun(_no_forward_mode, multiple_results=False)
)
ad.primitive_transposes[_tangent_p] = _transpose
batching.defbroadcasting(_tangent_p)
