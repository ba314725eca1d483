"""The ReLUs of a traced program, however they were written.

The program is walked with what is known of its values (`_signals`), through the bodies
of calls and loops, and each ReLU becomes one equation of a primitive. Activations that
are none are refused by name.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Primitive, Var
from jax.extend.core.primitives import (
    cond_p,
    custom_jvp_call_p,
    custom_vjp_call_p,
    jit_p,
    min_p,
    scan_p,
)

from trustjax.transforms import _signals
from trustjax.transforms._program import loop_layout
from trustjax.transforms._signals import Constant, Fact, Sign, Signal

_SMOOTH = frozenset(
    {
        *("asinh", "atan", "cos", "cosh", "erf", "erfc", "expm1", "log1p", "logistic"),
        *("sin", "sinh", "tan", "tanh"),
    }
)
"""Primitives that are activations, or what makes one: GELU, SiLU, ELU, softplus."""

_NAMED = frozenset(
    {
        *("celu", "elu", "gelu", "hard_sigmoid", "hard_silu", "hard_swish"),
        *("hard_tanh", "leaky_relu", "log_sigmoid", "mish", "prelu", "selu", "silu"),
        *("soft_sign", "softplus", "sparse_plus", "sparse_sigmoid", "squareplus"),
        "swish",
    }
)
"""Functions that are known by their name under `jax.jit`, whatever they are made of."""

_PARTS_OF_A_RELU = _signals.KINKED | set(_signals.COMPARISONS) | _signals.SPREAD
_SUMS = frozenset(("reduce_sum", "dot_general", "cumsum"))


class Rectifiers:
    """Puts a primitive in the place of every ReLU of a program.

    Attributes:
      relu: the primitive, of one operand.
      params: its parameters.
      asker: the name of the transformation, for its errors.
      found: how many ReLUs have been replaced.
    """

    def __init__(self, relu: Primitive, params: dict[str, Any], asker: str):
        """Nothing is replaced yet."""
        self.relu, self.params, self.asker, self.found = relu, params, asker, 0

    def replaced(self, program: ClosedJaxpr) -> ClosedJaxpr:
        """A program of which every argument is a signal."""
        signals = [_signals.of_type(variable) for variable in program.jaxpr.invars]
        return self._closed(program, signals)[0]

    def _closed(
        self, program: ClosedJaxpr, given: Sequence[Fact]
    ) -> tuple[ClosedJaxpr, list[Fact]]:
        inner, results = self._open(program.jaxpr, program.consts, given)
        return program.replace(jaxpr=inner), results

    def _open(
        self, inner: Jaxpr, constants: Sequence[Any], given: Sequence[Fact]
    ) -> tuple[Jaxpr, list[Fact]]:
        facts: dict[Any, Fact] = dict(
            zip(inner.constvars, map(Constant, constants), strict=True)
        )
        facts |= zip(inner.invars, given, strict=True)
        uses = _uses(inner)
        equations = list[JaxprEqn]()
        for equation in inner.eqns:
            operands = [_fact(atom, facts) for atom in equation.invars]
            if any(isinstance(operand, Signal | Sign) for operand in operands):
                new, results = self._equation(equation, operands, uses)
            else:
                spread = equation.primitive.name in _signals.SPREAD
                new, results = [equation], [operands[0] if spread else None]
                results *= len(equation.outvars)
            equations += new
            facts |= zip(equation.outvars, results, strict=True)
        return inner.replace(eqns=equations), [_fact(o, facts) for o in inner.outvars]

    def _equation(
        self, equation: JaxprEqn, operands: list[Fact], uses: Mapping[Var, Any]
    ) -> tuple[list[JaxprEqn], list[Fact]]:
        """What takes the place of an equation, and what is known of its results."""
        primitive, params = equation.primitive, equation.params
        if params.get("name") in _NAMED:
            self._refuse(params["name"], equation)
        if primitive in (custom_jvp_call_p, custom_vjp_call_p):
            return self._with_own_rule(equation, operands)
        if primitive is cond_p:
            bodies = [self._closed(b, operands[1:])[0] for b in params["branches"]]
            new = equation.replace(params=params | {"branches": tuple(bodies)})
            return [new], list(map(_signals.of_type, equation.outvars))
        if primitive is scan_p:
            body, _ = self._closed(params["jaxpr"], _in_loop(equation, operands))
            new = equation.replace(params=params | {"jaxpr": body})
            return [new], list(map(_signals.of_type, equation.outvars))
        if primitive.name in ("stop_gradient", "while"):
            # Reverse mode goes through neither.
            return [equation], [None] * len(equation.outvars)
        if isinstance(params.get("jaxpr"), ClosedJaxpr | Jaxpr):
            body, results = self._body(params["jaxpr"], operands)
            return [equation.replace(params=params | {"jaxpr": body})], results
        return self._operation(equation, operands, uses)

    def _body(self, body: Any, operands: Sequence[Fact]) -> tuple[Any, list[Fact]]:
        """Of a call, which takes the operands as they are: `jit`, `remat`, ..."""
        if isinstance(body, ClosedJaxpr):
            return self._closed(body, operands)
        return self._open(body, (), operands)

    def _with_own_rule(
        self, equation: JaxprEqn, operands: list[Fact]
    ) -> tuple[list[JaxprEqn], list[Fact]]:
        """A ReLU may have a derivative rule of its own, which then goes."""
        body = equation.params["call_jaxpr"]
        name = str(body.jaxpr.debug_info.func_src_info).partition(" at ")[0]
        if name in _NAMED:
            self._refuse(name, equation)
        before = self.found
        new, results = self._closed(body, operands)
        if self.found == before:
            return [equation], list(map(_signals.of_type, equation.outvars))
        only = {self.relu.name} | _PARTS_OF_A_RELU
        names = set(_names(new.jaxpr))
        if not names <= only or new.jaxpr.constvars or len(equation.outvars) > 1:
            others = ", ".join(sorted(names - only))
            raise ValueError(
                f"{self.asker} found a ReLU inside {name}, which has a derivative rule "
                f"of its own and does more than a ReLU ({others}): it cannot know what "
                f"the rule would be with another derivative of the ReLU"
            )
        return _inlined(new.jaxpr, equation), results

    def _operation(
        self, equation: JaxprEqn, operands: list[Fact], uses: Mapping[Var, Any]
    ) -> tuple[list[JaxprEqn], list[Fact]]:
        name, (out, *_) = equation.primitive.name, equation.outvars
        if name in _SMOOTH or (name == "exp" and not _is_summed(out, uses)):
            self._refuse(name, equation)
        if name == "clamp" and _signals.is_zero(operands[0]):
            # A ReLU with a cap, which keeps its derivative.
            _, x, most = equation.invars
            rectified = Var(x.aval)
            relu = self._relu(equation, x, rectified)
            cap = equation.replace(primitive=min_p, params={}, invars=[rectified, most])
            return [relu, cap], [_signals.made_of(equation, operands)]
        signal = _signals.rectified(name, operands)
        if signal is not None:
            x = equation.invars[operands.index(signal)]
            return [self._relu(equation, x, out)], [_signals.bent(signal)]
        reason = _signals.resembles(name, operands)
        if reason:
            self._refuse(reason, equation)
        if len(equation.outvars) > 1:
            return [equation], list(map(_signals.of_type, equation.outvars))
        sign = _signals.sign(name, operands)
        return [equation], [sign or _signals.made_of(equation, operands)]

    def _relu(self, equation: JaxprEqn, x: Any, out: Var) -> JaxprEqn:
        self.found += 1
        return equation.replace(
            primitive=self.relu, params=dict(self.params), invars=[x], outvars=[out]
        )

    def _refuse(self, what: str, equation: JaxprEqn) -> None:
        writer = _writer(equation)
        where = f" in {writer}" if writer and writer != what else ""
        raise ValueError(
            f"{self.asker} has a rule for ReLUs, and none is agreed on for other "
            f"activations: found {what}{where}"
        )


def _fact(atom: Any, facts: Mapping[Any, Fact]) -> Fact:
    return Constant(atom.val) if isinstance(atom, Literal) else facts[atom]


def _in_loop(scan: JaxprEqn, operands: Sequence[Fact]) -> list[Fact]:
    """What is known in the body of a scan: what is carried may become a signal."""
    constants, carried = loop_layout(scan)
    types = list(map(_signals.of_type, scan.params["jaxpr"].jaxpr.invars))
    rest = [
        fact if isinstance(operand, Signal | Sign) else None
        for fact, operand in zip(types, operands, strict=True)
    ]
    end = constants + carried
    return [*operands[:constants], *types[constants:end], *rest[end:]]


def _uses(inner: Jaxpr) -> dict[Var, list[JaxprEqn]]:
    """The equations that take each value."""
    uses: dict[Var, list[JaxprEqn]] = {}
    for equation in inner.eqns:
        for atom in equation.invars:
            if not isinstance(atom, Literal):
                uses.setdefault(atom, []).append(equation)
    return uses


def _is_summed(value: Var, uses: Mapping[Var, list[JaxprEqn]]) -> bool:
    """Whether a sum takes a value, perhaps masked: an exponential is a softmax's."""
    for use in uses.get(value, []):
        name = use.primitive.name
        passes = name in _signals.SPREAD or name == "select_n" or use.primitive is jit_p
        if name in _SUMS or (passes and _is_summed(use.outvars[0], uses)):
            return True
    return False


def _names(inner: Jaxpr) -> Iterator[str]:
    """The primitives of a program, those of inner `jit`s in their place."""
    for equation in inner.eqns:
        if equation.primitive is jit_p:
            yield from _names(equation.params["jaxpr"].jaxpr)
        else:
            yield equation.primitive.name


def _inlined(inner: Jaxpr, call: JaxprEqn) -> list[JaxprEqn]:
    """The equations of a call's program, between the values outside of it."""
    outside: dict[Any, Any] = dict(zip(inner.invars, call.invars, strict=True))
    outside |= zip(inner.outvars, call.outvars, strict=True)
    equations = list[JaxprEqn]()
    for equation in inner.eqns:
        for made in equation.outvars:
            outside.setdefault(made, Var(made.aval))
        equations.append(
            equation.replace(
                invars=[
                    a if isinstance(a, Literal) else outside[a] for a in equation.invars
                ],
                outvars=[outside[made] for made in equation.outvars],
            )
        )
    return equations


def _writer(equation: JaxprEqn) -> str | None:
    """The function that wrote an equation: one of `jax.nn`, or not of JAX at all."""
    traceback = equation.source_info.traceback
    for frame in traceback.frames if traceback else ():
        path = frame.file_name.replace("\\", "/")
        if path.endswith("jax/_src/nn/functions.py") or "/jax/" not in path:
            ours = path.endswith("trustjax/transforms/_rewrite.py")
            return None if ours else frame.function_name
    return None
