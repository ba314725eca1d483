"""A network as a program that can be read: values, and the equations between them.

The traced program of a network is a tree: functions under `jax.jit` and
`jax.checkpoint` are equations with programs of their own, and so is a `lax.scan` over
layers. `read` keeps that tree in `Program.steps`, so that a part can be run with the
calls it contains as they are, and lists the equations of all levels one after the
other in `Program.equations`, where it can be asked what is alive between two of them.

Derivative rules belong to a whole call (`jax.custom_jvp`, `jax.custom_vjp`), and
conditionals, loops over time and `jax.shard_map` have no written-out form: each of
these is one equation.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal
from jax.extend.core.primitives import jit_p, remat_p, scan_p

from trustjax.transforms._walk import bind

_LONGEST_LOOP = 512
"""Layers in one scan; above that it is left a loop, lest the program grow too long."""


@dataclasses.dataclass(eq=False)
class Value:
    """What an equation gives, or an argument of the program.

    Attributes:
      aval: its shape and dtype.
      made_by: the equation; None for an argument.
    """

    aval: Any
    made_by: "Equation | None" = None


@dataclasses.dataclass(eq=False)
class Constant:
    """An array or a number that the program holds; a tracer, if it was closed over."""

    value: Any
    aval: Any


Atom = Value | Constant


@dataclasses.dataclass(eq=False)
class Equation:
    """One operation.

    Attributes:
      name: of its primitive.
      params: of its primitive.
      operands: what it takes.
      results: what it gives.
      scope: the named scopes that it stands in (`"encoder/dense"`), where there are.
      compute: values of the operands to values of the results.
    """

    name: str
    params: dict[str, Any]
    operands: list[Atom]
    results: list[Any]
    scope: str
    compute: Callable[..., list[Any]] = dataclasses.field(repr=False)


@dataclasses.dataclass(eq=False)
class Call(Equation):
    """An equation that is a program of its own, and can be opened.

    Attributes:
      steps: that program.
      inside: every value that it makes.
    """

    steps: list[Equation] = dataclasses.field(default_factory=list)
    inside: set[Value] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(eq=False)
class Program:
    """A network that was traced.

    Attributes:
      params: the arguments that are parameters.
      x: the arguments that are inputs.
      results: what it returns.
      steps: its equations and calls, in order.
      equations: the equations at all levels that the results need, in order.
      of_x: the values that depend on an input.
      of_params: the values that depend on a parameter.
    """

    params: list[Value]
    x: list[Value]
    results: list[Atom]
    steps: list[Equation]
    equations: list[Equation]
    of_x: set[Atom]
    of_params: set[Atom]

    @functools.cached_property
    def equations_of_x(self) -> list[Equation]:
        """The equations whose results depend on an input."""
        of_x = self.of_x
        return [e for e in self.equations if not of_x.isdisjoint(e.operands)]


def trace(apply_fn: Callable[..., Any], params: Any, x: Any) -> Program:
    """The program of `apply_fn(params, x)`.

    Args:
      apply_fn: `(params, x) -> tree of arrays`.
      params: a tree of arrays, or of their types.
      x: likewise.
    """
    program = jax.make_jaxpr(apply_fn)(params, x)
    return read(program, num_params=len(jax.tree.leaves(params)))


def read(program: ClosedJaxpr, *, num_params: int = 0) -> Program:
    """A traced program; the arguments behind the first `num_params` are inputs."""
    arguments = [Value(variable.aval) for variable in program.jaxpr.invars]
    params, x = arguments[:num_params], arguments[num_params:]
    reader = _Reader(of_x=set(x), of_params=set(params))
    results = reader.read(program, arguments, scope="")
    return Program(
        params,
        x,
        results,
        reader.steps,
        _needed(reader.steps, results),
        reader.of_x,
        reader.of_params,
    )


def made_inside(steps: Sequence[Equation]) -> set[Value]:
    """Every value that is made in a program, at any level."""
    made: set[Value] = set()
    for step in steps:
        made |= step.inside if isinstance(step, Call) else set(step.results)
    return made


@dataclasses.dataclass(eq=False)
class _Reader:
    """Reads programs of JAX, and notes which values depend on what."""

    of_x: set[Atom]
    of_params: set[Atom]
    steps: list[Equation] = dataclasses.field(default_factory=list)

    def read(
        self, program: ClosedJaxpr, arguments: Sequence[Atom], scope: str
    ) -> list[Atom]:
        """Appends a program to the steps; its results."""
        inner = program.jaxpr
        atoms: dict[Any, Atom] = {
            variable: Constant(value, variable.aval)
            for variable, value in zip(inner.constvars, program.consts, strict=True)
        }
        atoms |= zip(inner.invars, arguments, strict=True)

        def atom_of(atom: Any) -> Atom:
            if isinstance(atom, Literal):
                return Constant(atom.val, atom.aval)
            return atoms[atom]

        for equation in inner.eqns:
            operands = [atom_of(atom) for atom in equation.invars]
            results = self._equation(equation, operands, scope)
            atoms |= zip(equation.outvars, results, strict=True)
        return [atom_of(atom) for atom in inner.outvars]

    def _equation(
        self, equation: JaxprEqn, operands: list[Atom], scope: str
    ) -> list[Atom]:
        scopes = (scope, str(equation.source_info.name_stack))
        scope = "/".join(part for part in scopes if part)
        if equation.primitive in (jit_p, remat_p):
            inner = _closed(equation.params["jaxpr"])
            return self._call(
                equation, operands, scope, lambda: self.read(inner, operands, scope)
            )
        if equation.primitive is scan_p and self._is_over_layers(equation, operands):
            return self._call(
                equation,
                operands,
                scope,
                lambda: self._written_out(equation, operands, scope),
            )
        return self._add(
            equation.primitive.name,
            lambda *values: bind(equation, *values),
            operands,
            [variable.aval for variable in equation.outvars],
            scope,
            equation.params,
        )

    def _add(
        self,
        name: str,
        compute: Callable[..., list[Any]],
        operands: list[Atom],
        avals: list[Any],
        scope: str,
        params: dict[str, Any],
    ) -> list[Atom]:
        added = Equation(name, params, operands, [], scope, compute)
        added.results = [Value(aval, added) for aval in avals]
        for known in (self.of_x, self.of_params):
            if any(operand in known for operand in operands):
                known.update(added.results)
        self.steps.append(added)
        return added.results

    def _call(
        self,
        equation: JaxprEqn,
        operands: list[Atom],
        scope: str,
        read_inside: Callable[[], list[Atom]],
    ) -> list[Atom]:
        outside, self.steps = self.steps, []
        results = read_inside()
        inside, self.steps = self.steps, outside
        call = Call(
            equation.primitive.name,
            equation.params,
            operands,
            results,
            scope,
            lambda *values: bind(equation, *values),
            inside,
            made_inside(inside),
        )
        self.steps.append(call)
        return results

    def _is_over_layers(self, equation: JaxprEqn, operands: list[Atom]) -> bool:
        """Whether what a scan goes over does not depend on x: layers, and not time."""
        scanned = operands[sum(loop_layout(equation)) :]
        return (
            0 < equation.params["length"] <= _LONGEST_LOOP
            and any(operand in self.of_x for operand in operands)
            and not any(operand in self.of_x for operand in scanned)
        )

    def _written_out(
        self, equation: JaxprEqn, operands: list[Atom], scope: str
    ) -> list[Atom]:
        """A scan, one layer after the other."""
        body, length = _closed(equation.params["jaxpr"]), equation.params["length"]
        num_constants, num_carried = loop_layout(equation)
        constants, rest = operands[:num_constants], operands[num_constants:]
        carry, scanned = rest[:num_carried], rest[num_carried:]
        outputs: dict[int, list[Atom]] = {}
        layers = range(length)
        for layer in reversed(layers) if equation.params["reverse"] else layers:
            slices = [self._layer_of(array, layer, scope) for array in scanned]
            results = self.read(body, [*constants, *carry, *slices], f"{scope}/{layer}")
            carry, outputs[layer] = results[:num_carried], results[num_carried:]
        columns = zip(*(outputs[layer] for layer in range(length)), strict=True)
        stacked = [self._stack(list(column), scope) for column in columns]
        return [*carry, *stacked]

    def _layer_of(self, array: Atom, layer: int, scope: str) -> Atom:
        take = lambda value: [lax.index_in_dim(value, layer, keepdims=False)]
        (aval,) = jax.eval_shape(take, array.aval)
        return self._add("layer", take, [array], [jax.typeof(aval)], scope, {})[0]

    def _stack(self, column: list[Atom], scope: str) -> Atom:
        stack = lambda *values: [jnp.stack(values)]
        (aval,) = jax.eval_shape(stack, *(atom.aval for atom in column))
        return self._add("stack", stack, column, [jax.typeof(aval)], scope, {})[0]


def _closed(program: Any) -> ClosedJaxpr:
    """A program with its constants; that of `remat` has none."""
    return program if isinstance(program, ClosedJaxpr) else ClosedJaxpr(program, ())


def loop_layout(scan: JaxprEqn) -> tuple[int, int]:
    """How many operands of a scan are constant, and how many are carried along."""
    if "num_consts" in scan.params:
        return scan.params["num_consts"], scan.params["num_carry"]
    constants, carried, _ = scan.params["ft_in"].unpack()  # from jax 0.12 on
    return len(constants), len(carried)


def _needed(steps: Sequence[Equation], results: Sequence[Atom]) -> list[Equation]:
    """The equations at all levels that the results need, in order."""
    needed, kept = set(results), []
    for equation in reversed(list(flat(steps))):
        if not needed.isdisjoint(equation.results):
            kept.append(equation)
            needed.update(equation.operands)
    return kept[::-1]


def flat(steps: Sequence[Equation]) -> Iterator[Equation]:
    """The equations at all levels, in order."""
    for step in steps:
        if isinstance(step, Call):
            yield from flat(step.steps)
        else:
            yield step
