"""Where a network can be cut, and how a cut is found again at another batch size."""

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from trustjax.transforms._alive import alone, computing
from trustjax.transforms._axes import channel_axes
from trustjax.transforms._program import Atom, Program, Value, trace

_LISTED = 20


@dataclasses.dataclass(frozen=True)
class Cut:
    """A place in a network where one value alone that depends on x is alive.

    Attributes:
      number: its own, from the input to the logits.
      name: the operation that made the value, behind the scopes it stands in where the
        network names them (`"encoder/dense/add"`).
      shape: of the features, `[batch, *positions, channels]`, in whatever order the
        network has these axes.
      dtype: of the features.
      axes: for each axis of `shape`, which one of the network's value it is.
      steps: how many computing operations on x lie before it. That and the shape find
        it again in the program for a batch of another size, or of another type.
      occurrence: which one it is of several of one shape and dtype between the same
        two computing operations, from 0.
    """

    number: int
    name: str
    shape: tuple[int, ...]
    dtype: Any
    axes: tuple[int, ...] = dataclasses.field(repr=False)
    steps: int = dataclasses.field(repr=False)
    occurrence: int = dataclasses.field(repr=False)

    def shape_in_network(self, batch: Any) -> tuple[Any, ...]:
        """The shape of the network's value, for a batch of some size."""
        sizes = dict(zip(self.axes, (batch, *self.shape[1:]), strict=True))
        return tuple(sizes[axis] for axis in range(len(sizes)))


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that was looked through for cuts.

    Attributes:
      program: for the batch size of `x`.
      x: the types of the inputs, at that size.
      cuts: by the value that is cut at, from the input to the logits.
      computing: the names of its computing operations.
    """

    program: Program
    x: Any
    cuts: dict[Atom, Cut]
    computing: list[str]

    def refusal(self, reason: str) -> ValueError:
        """The error that says why a cut was not found, and which there are."""
        cuts = list(self.cuts.values())
        lines = [f"  {c.number}: {c.name} {c.dtype}{list(c.shape)}" for c in cuts]
        if not cuts:
            return ValueError(f"{reason}. There is no cut at all: {self._why_none()}")
        if len(lines) > _LISTED:
            lines[:-_LISTED] = [f"  ... {len(lines) - _LISTED} before these"]
        return ValueError(
            f"{reason}. Choose one of transforms.cuts(apply_fn, params, x) and give "
            f"it as at=, or give a SplitModel of two functions of your own. The cuts "
            "are\n" + "\n".join(lines)
        )

    def named(self, name: str) -> Cut:
        """The last cut in a layer, or the one of a number.

        Args:
          name: parts of a cut's name that follow each other (`"layer4/1"`, `"relu"`),
            or its number.

        Raises:
          ValueError: if there is none, listing the names there are, nearest first.
        """
        cuts = list(self.cuts.values())
        is_it = (
            (lambda cut: name == str(cut.number))
            if name.isdecimal()
            else (lambda cut: _has(cut.name, name))
        )
        found = [cut for cut in cuts if is_it(cut)]
        if found:
            return found[-1]
        if not cuts:
            raise self.refusal(f"at is no cut of this network, {name!r}")
        parts = {p for c in cuts for p in (*c.name.split("/"), *_scopes(c.name))}
        near = sorted(parts, key=lambda p: -_likeness(p, name))
        left = f" ({len(near) - _LISTED} more)" if len(near) > _LISTED else ""
        raise ValueError(
            "at must be one of embedding, feature_map, a cut, its number, or a name "
            f"of the network's, got {name!r}. The names are, nearest first, "
            f"{', '.join(near[:_LISTED])}{left}; transforms.cuts(apply_fn, params, x) "
            f"lists the cuts, 0 to {len(cuts) - 1}"
        )

    def _why_none(self) -> str:
        if len(self.computing) == 1:
            (name,) = self.computing
            return f"between x and the logits there is nothing but one {name}"
        return (
            "everywhere between x and the logits several values that depend on x are "
            "alive (x itself, a mask, a branch), or none that is floating point with "
            "the batch as one axis"
        )


def _has(name: str, parts: str) -> bool:
    """Whether a name has these parts, one after the other."""
    return f"/{parts}/" in f"/{name}/"


def _scopes(name: str) -> list[str]:
    """A name without its last part, without its last two, and so on."""
    parts = name.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one.lower(), other.lower()).ratio()


def look_through(apply_fn: Callable[..., Any], params: Any, x: Any) -> Network:
    """Traces a network for two batch sizes, and lists its cuts.

    The axis of the batch is the one that grows with it.

    Raises:
      ValueError: if `apply_fn` does not return one array, or its program is another
        one for a batch of another size.
    """
    params, x = types_of(params), types_of(x)
    given = jax.tree.leaves(x)[0].shape[0]
    # A batch of one has a program of its own: axes of size 1 are squeezed.
    small, large = (given, 2 * given) if given > 1 else (2, 3)
    at_small = with_batch(x, small)
    program = trace(apply_fn, params, at_small)
    other = trace(apply_fn, params, with_batch(x, large))
    if len(program.results) != 1:
        raise ValueError(
            f"apply_fn must return one array [batch, classes], got "
            f"{len(program.results)}"
        )
    names = computing(program)
    here, there = alone(program), alone(other)
    if names != computing(other) or len(here) != len(there):
        raise ValueError(
            f"apply_fn must be the same program for every batch size: for {small} and "
            f"for {large} examples its operations differ"
        )
    channels = channel_axes(program)
    cuts: dict[Atom, Cut] = {}
    seen: dict[Any, int] = {}
    for place, counterpart in zip(here, there, strict=True):
        value = place.value
        axis = _batch_axis(value, counterpart.value, small, large)
        if axis is None or not _is_floating(value):
            continue
        axes = _axes(value, axis, channels[value])
        shape = tuple(value.aval.shape[k] for k in axes)
        of_its_kind = (place.steps, axis, value.aval.shape, value.aval.dtype)
        occurrence = seen[of_its_kind] = seen.get(of_its_kind, -1) + 1
        made_by = value.made_by
        assert made_by is not None, "no argument is a cut"
        cuts[value] = Cut(
            number=len(cuts),
            name="/".join(part for part in (made_by.scope, made_by.name) if part),
            shape=(given, *shape[1:]),
            dtype=value.aval.dtype,
            axes=axes,
            steps=place.steps,
            occurrence=occurrence,
        )
    return Network(program, at_small, cuts, names)


def find_again(program: Program, cut: Cut, batch: Any, dtype: Any) -> Value | None:
    """The value of a cut in the program for another batch.

    Args:
      program: of the same network.
      cut: where.
      batch: the number of examples that it was traced for.
      dtype: what the features should be in, where the program has a choice: between
        two computing operations values differ in nothing but their type.
    """
    shape = cut.shape_in_network(batch)
    values = [
        place.value
        for place in alone(program)
        if place.steps == cut.steps
        and place.value.aval.shape == shape
        and _is_floating(place.value)
    ]
    values = [v for v in values if v.aval.dtype == dtype] or values
    return values[min(cut.occurrence, len(values) - 1)] if values else None


def types_of(tree: Any) -> Any:
    """The types of a tree's arrays, with their sharding: all that a trace needs."""
    leaves, structure = jax.tree.flatten(tree)
    types = jax.make_jaxpr(lambda *leaves: leaves)(*leaves).in_avals
    return jax.tree.unflatten(structure, types)


def with_batch(types: Any, batch: Any) -> Any:
    """The same types for a batch of another size, which devices may not divide."""

    def resized(kind: Any) -> Any:
        spec = P(None, *kind.sharding.spec[1:])
        whole = kind.update(sharding=kind.sharding.update(spec=spec))
        return whole.update(shape=(batch, *kind.shape[1:]))

    return jax.tree.map(resized, types)


def _is_floating(value: Value) -> bool:
    return jnp.issubdtype(value.aval.dtype, jnp.floating)


def _batch_axis(here: Value, there: Value, small: int, large: int) -> int | None:
    """The one axis of a value that is the batch, if there is such a one."""
    sizes = list(zip(here.aval.shape, there.aval.shape, strict=True))
    grown = [axis for axis, (a, b) in enumerate(sizes) if a != b]
    one_batch = len(grown) == 1 and sizes[grown[0]] == (small, large)
    return grown[0] if one_batch else None


def _axes(value: Value, batch: int, channels: int | None) -> tuple[int, ...]:
    """The axes of a value in the order batch, positions, channels."""
    rest = [axis for axis in range(value.aval.ndim) if axis != batch]
    if channels not in rest:
        return batch, *rest
    return batch, *(axis for axis in rest if axis != channels), channels
