"""Which entries of an activation reach the logits.

A transformer that is read out at its class token throws the other tokens of its last
block away: their activations have positions, and the logits do not depend on them. So
masks are walked from the logits backwards. Through operations that take some entries
and leave others the mask is exact; every other operation is taken to need all of its
operand, so that a mask never has too few entries.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from trustjax.transforms._axes import free_axes
from trustjax.transforms._program import (
    Atom,
    Constant,
    Equation,
    Program,
    read,
)

Mask = np.ndarray


def reaching(program: Program) -> Iterator[dict[Atom, Mask]]:
    """Masks of the entries that reach the logits, from the logits backwards.

    Yields:
      What is known behind each equation that depends on x, the last one first, and
      before all: for every value alive there, a mask of its shape.
    """
    masks: dict[Atom, Mask] = {}
    for result in program.results:
        masks[result] = np.ones(result.aval.shape, bool)
    for equation in reversed(program.equations_of_x):
        yield masks
        _step_back(equation, masks, program.of_x)
    yield masks


def _step_back(equation: Equation, masks: dict[Atom, Mask], of_x: set[Atom]) -> None:
    """From the masks of an equation's results to those of its operands."""
    wanted = [
        masks.get(result, np.zeros(result.aval.shape, bool))
        for result in equation.results
    ]
    for number, operand in enumerate(equation.operands):
        if operand not in of_x:
            continue
        mask = _of_operand(equation, number, wanted)
        masks[operand] = masks[operand] | mask if operand in masks else mask


def _of_operand(equation: Equation, number: int, wanted: list[Mask]) -> Mask:
    name, shape = equation.name, equation.operands[number].aval.shape
    if "call_jaxpr" in equation.params:
        return _through_call(equation, number, wanted)
    if len(wanted) == 1:
        (mask,) = wanted
        if name in _ELEMENTWISE:
            return _unbroadcast(mask, shape)
        if name in _REDUCTIONS:
            kept = np.expand_dims(mask, equation.params["axes"])
            return np.broadcast_to(kept, shape)
        rule = _RULES.get(name)
        found = rule(equation, number, mask) if rule else None
        if found is not None:
            return found
    return np.full(shape, any(mask.any() for mask in wanted))


def _through_call(equation: Equation, number: int, wanted: list[Mask]) -> Mask:
    """A call with a derivative rule of its own: what its program says."""
    program = read(equation.params["call_jaxpr"])
    masks: dict[Atom, Mask] = {}
    for result, mask in zip(program.results, wanted, strict=True):
        masks[result] = masks[result] | mask if result in masks else mask
    for inner in reversed(program.equations_of_x):
        _step_back(inner, masks, program.of_x)
    shape = equation.operands[number].aval.shape
    return masks.get(program.x[number], np.zeros(shape, bool))


def _unbroadcast(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """An operand of size 1 on an axis, or without axes, belongs to all entries."""
    if len(shape) != mask.ndim:
        return np.full(shape, mask.any())
    spread = tuple(k for k, n in enumerate(shape) if n != mask.shape[k])
    return np.asarray(mask.any(spread, keepdims=True))


def _any_of_others(mask: Mask, kept: Sequence[int]) -> Mask:
    """Any over all axes but some."""
    others = tuple(k for k in range(mask.ndim) if k not in kept)
    return np.asarray(mask.any(others))


def _broadcast(equation: Equation, number: int, mask: Mask) -> Mask:
    del number
    (operand,) = equation.operands
    kept = equation.params["broadcast_dimensions"]
    mask = _any_of_others(mask, kept)
    return _unbroadcast(mask, operand.aval.shape)


def _slice(equation: Equation, number: int, mask: Mask) -> Mask:
    params, shape = equation.params, equation.operands[number].aval.shape
    strides = params["strides"] or (1,) * len(shape)
    bounds = params["start_indices"], params["limit_indices"], strides
    return _placed(mask, shape, [slice(*b) for b in zip(*bounds, strict=True)])


def _dynamic_slice(equation: Equation, number: int, mask: Mask) -> Mask | None:
    shape, sizes = equation.operands[0].aval.shape, equation.params["slice_sizes"]
    starts = [known(start) for start in equation.operands[1:]]
    if number or any(start is None for start in starts):
        return None
    return _placed(mask, shape, _windows(starts, shape, sizes))


def _concatenate(equation: Equation, number: int, mask: Mask) -> Mask:
    axis = equation.params["dimension"]
    lengths = [operand.aval.shape[axis] for operand in equation.operands]
    start = sum(lengths[:number])
    return np.take(mask, range(start, start + lengths[number]), axis)


def _pad(equation: Equation, number: int, mask: Mask) -> Mask | None:
    shape, config = equation.operands[0].aval.shape, equation.params["padding_config"]
    if number or any(low < 0 or high < 0 for low, high, _ in config):
        return None
    return mask[
        tuple(
            slice(low, low + (n - 1) * (between + 1) + 1, between + 1)
            for (low, _, between), n in zip(config, shape, strict=True)
        )
    ]


def _dot(equation: Equation, number: int, mask: Mask) -> Mask:
    contracted, shared = equation.params["dimension_numbers"]
    own, first = free_axes(equation, number), len(shared[0])
    if number == 1:
        first += len(free_axes(equation, 0))
    kept = [*range(len(shared[0])), *range(first, first + len(own))]
    mask = _any_of_others(mask, kept)
    mask = mask.transpose(np.argsort([*shared[number], *own]))
    mask = np.expand_dims(mask, tuple(sorted(contracted[number])))
    return np.broadcast_to(mask, equation.operands[number].aval.shape)


def _gather(equation: Equation, number: int, mask: Mask) -> Mask | None:
    """By looking up the numbers of the entries, if the places are known."""
    places = None if number else known(equation.operands[1])
    if places is None:
        return None
    shape = equation.operands[0].aval.shape
    entries = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    with jax.ensure_compile_time_eval():
        (found,) = equation.compute(entries, places)
    found = np.asarray(found)[mask]
    whole = np.zeros(math.prod(shape), bool)
    # What was looked up outside is filled with a number that no entry has.
    whole[found[(found >= 0) & (found < whole.size)]] = True
    return whole.reshape(shape)


def _placed(mask: Mask, shape: tuple[int, ...], where: list[slice]) -> Mask:
    whole = np.zeros(shape, bool)
    whole[tuple(where)] = mask
    return whole


def _windows(starts: Any, shape: Any, sizes: Any) -> list[slice]:
    """Windows that JAX moves back inside where they stand out."""
    kept = [
        min(max(int(start), 0), n - size)
        for start, n, size in zip(starts, shape, sizes, strict=True)
    ]
    return [slice(s, s + size) for s, size in zip(kept, sizes, strict=True)]


def known(atom: Atom) -> Any:
    """A value that depends on no argument, computed; None if it does, or is traced."""
    if isinstance(atom, Constant):
        return None if isinstance(atom.value, jax.core.Tracer) else atom.value
    if atom.made_by is None:
        return None
    operands = [known(operand) for operand in atom.made_by.operands]
    if any(operand is None for operand in operands):
        return None
    with jax.ensure_compile_time_eval():
        results = atom.made_by.compute(*map(jnp.asarray, operands))
    return results[atom.made_by.results.index(atom)]


_RULES: dict[str, Callable[[Equation, int, Mask], Mask | None]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "dot_general": _dot,
    "dynamic_slice": _dynamic_slice,
    "gather": _gather,
    "pad": _pad,
    "reshape": lambda e, n, mask: mask.reshape(e.operands[n].aval.shape),
    "rev": lambda e, n, mask: np.flip(mask, e.params["dimensions"]),
    "slice": _slice,
    "squeeze": lambda e, n, mask: mask.reshape(e.operands[n].aval.shape),
    "transpose": lambda e, n, mask: mask.transpose(np.argsort(e.params["permutation"])),
}
"""`(equation, number of the operand, mask of the result) -> mask of the operand`.

None says that the rule does not hold there, and everything is needed."""

_REDUCTIONS = frozenset(
    f"reduce_{kind}" for kind in ("sum", "max", "min", "prod", "and", "or", "xor")
)

_ELEMENTWISE_NAMES = """
abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp
convert_element_type copy copy_p cos cosh digamma div eq erf erf_inv erfc exp exp2
expm1 floor ge gt integer_pow is_finite le lgamma log log1p logistic lt max min mul ne
neg nextafter not or pcast pow pvary reduce_precision rem reshard round rsqrt select_n
sharding_constraint sign sin sinh sqrt square sub tan tanh xor
"""
_ELEMENTWISE = frozenset(_ELEMENTWISE_NAMES.split())
