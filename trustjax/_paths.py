"""The names of the arrays in a tree: their key paths."""

from collections import Counter
from typing import Any, NamedTuple

import jax


class Path(NamedTuple):
    """Where an array lies in a tree.

    Attributes:
      name: `"conv1/kernel"`; of no other array of the tree.
      layer: the name up to its last part, `"conv1"`; of the root, `"/"`.
    """

    name: str
    layer: str


def paths_of(tree: Any) -> list[Path]:
    """The path of each array of a tree, in the order of `jax.tree.leaves`.

    Keys are joined by `/`. Arrays whose paths are then one are named by JAX's notation,
    which keeps them apart; they are of one layer.

    Raises:
      ValueError: if two arrays have one name even so.

    >>> [path.name for path in paths_of({"conv1": {"kernel": 1.0}, "scales": [2.0]})]
    ['conv1/kernel', 'scales/0']
    >>> [path.name for path in paths_of({"a": {"b": 1.0}, "a/b": 2.0})]
    ["['a']['b']", "['a/b']"]
    """
    keys = [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    joined = [jax.tree_util.keystr(key, simple=True, separator="/") for key in keys]
    alike = Counter(joined)
    names = [
        name if alike[name] == 1 else jax.tree_util.keystr(key)
        for key, name in zip(keys, joined, strict=True)
    ]
    for name, number in Counter(names).items():
        if number > 1:
            raise ValueError(f"arrays of a tree need names that differ, {name} is two")
    layers = [name.rpartition("/")[0] or "/" for name in joined]
    return [Path(*pair) for pair in zip(names, layers, strict=True)]
