"""Which parameters are asked for, by path, and in which groups."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from trustjax import _network_questions, _validate
from trustjax._paths import Path, paths_of
from trustjax.typing import Params

GROUPINGS = ("tensor", "layer", "network")


def select(
    params: Params, wrt: Callable[[str], bool] | None
) -> tuple[list[Path], list[jax.Array], Callable[..., Params]]:
    """The chosen parameters: their paths, the arrays, and how to put others there.

    `join(arrays)` is the tree of `params` with `arrays` in place of the chosen ones;
    `join(arrays, rest=None)` has None in place of all others.

    Raises:
      ValueError: if none is chosen, or all variables of a Linen network are.
      TypeError: if one that is chosen cannot be differentiated.
    """
    if wrt is None:
        _network_questions.trainable_alone(params)
    leaves, tree = jax.tree.flatten(params)
    paths = paths_of(params)
    keep = [wrt is None or wrt(path.name) for path in paths]
    if not any(keep):
        names = ", ".join(path.name for path in paths)
        raise ValueError(f"wrt keeps none of the parameters {names}")

    def join(chosen: Sequence[Any], *, rest: Sequence[Any] | None = leaves) -> Params:
        arrays, others = iter(chosen), rest or [None] * len(leaves)
        return jax.tree.unflatten(
            tree,
            [next(arrays) if k else o for k, o in zip(keep, others, strict=True)],
        )

    chosen = [path for path, k in zip(paths, keep, strict=True) if k]
    kept = [leaf for leaf, k in zip(leaves, keep, strict=True) if k]
    return chosen, list(map(_differentiable, chosen, kept)), join


def groups(
    params: Params, group: str = "layer", *, wrt: Callable[[str], bool] | None = None
) -> tuple[str, ...]:
    """The names of the groups of a network's parameters, in their order.

    Args:
      params: a tree of arrays, or of `jax.ShapeDtypeStruct`.
      group: one of `GROUPINGS`.
      wrt: keeps the parameters whose path it says yes to.

    Returns:
      The `groups` that `gradient_statistics` returns.

    Raises:
      ValueError: if `group` is unknown.

    >>> groups({"conv1": {"kernel": jnp.ones((3, 3, 1, 4)), "bias": jnp.ones(4)}})
    ('conv1',)
    """
    _validate.choice("group", group, GROUPINGS)
    paths = (p for p in paths_of(params) if wrt is None or wrt(p.name))
    return tuple(by_group(list(paths), group))


def check_reducible(paths: Sequence[Path], arrays: Sequence[jax.Array]) -> None:
    """Requires parameters that have statistics: real numbers, and at least one."""
    for path, array in zip(paths, arrays, strict=True):
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(
                f"statistics are of gradients that are real, got the parameter "
                f"{path.name} of {array.dtype}; wrt can leave it out"
            )
        if array.size == 0:
            raise ValueError(
                f"a gradient must not be empty, got the parameter {path.name} of "
                f"shape {array.shape}; wrt can leave it out"
            )


def by_group(paths: Sequence[Path], group: str) -> dict[str, list[str]]:
    """The names of each group's parameters, by the group's name."""
    name_of: Callable[[Path], str] = {
        "tensor": lambda path: path.name,
        "layer": lambda path: path.layer,
        "network": lambda path: "network",
    }[group]
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(name_of(path), []).append(path.name)
    return groups


def _differentiable(path: Path, leaf: Any) -> jax.Array:
    """A parameter as an array, which may have been a Python number."""
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
        raise TypeError(
            f"parameters must be floating point to be differentiated, got {path.name} "
            f"of {jnp.result_type(leaf)}; wrt can leave it out"
        )
    return jnp.asarray(leaf)
