"""Which parameters are asked for, by path, and in which groups."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from trustjax.typing import Params


def select(
    params: Params, wrt: Callable[[str], bool] | None
) -> tuple[list[str], list[jax.Array], Callable[..., Params]]:
    """The chosen parameters: their paths, the arrays, and how to put others there.

    `join(arrays)` is the tree of `params` with `arrays` in place of the chosen ones;
    `join(arrays, rest=None)` has None in place of all others.
    """
    named, tree = jax.tree_util.tree_flatten_with_path(params)
    paths = [
        jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in named
    ]
    keep = [wrt is None or wrt(path) for path in paths]
    if not any(keep):
        raise ValueError(f"wrt keeps none of the parameters {', '.join(paths)}")
    leaves = [leaf for _, leaf in named]

    def join(chosen: Sequence[Any], *, rest: Sequence[Any] | None = leaves) -> Params:
        arrays, others = iter(chosen), rest or [None] * len(leaves)
        return jax.tree.unflatten(
            tree,
            [next(arrays) if k else o for k, o in zip(keep, others, strict=True)],
        )

    return (
        [path for path, k in zip(paths, keep, strict=True) if k],
        [leaf for leaf, k in zip(leaves, keep, strict=True) if k],
        join,
    )


def by_group(paths: Sequence[str], group: str) -> dict[str, list[str]]:
    """The paths of each group, by the group's name."""
    name_of = {
        "tensor": lambda path: path,
        "layer": lambda path: path.rpartition("/")[0] or "/",
        "network": lambda path: "network",
    }[group]
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(name_of(path), []).append(path)
    return groups
