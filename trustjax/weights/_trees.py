"""Which arrays of a checkpoint are the network's, and by what names."""

from collections.abc import Mapping
from typing import Any

import numpy as np

# What a checkpoint of training calls the network's arrays: always, or where nothing
# but the bookkeeping of training stands beside.
_NETWORK = ("params", "state_dict", "model_state_dict", "default")
_PERHAPS_NETWORK = ("model", "state", "train_state")
# Collections that a network reads beside its params: Linen's, and `train`'s statistics.
COLLECTIONS = ("params", "batch_stats", "statistics", "constants", "spectral_stats")
_BOOKKEEPING = (
    *("args", "callbacks", "config", "document", "ema", "epoch", "hyper_parameters"),
    *("loops", "lr_scheduler", "lr_schedulers", "meta", "metadata", "metrics"),
    *("opt_state", "optim", "optimizer", "optimizer_state", "optimizer_state_dict"),
    *("optimizer_states", "optimizers", "rng", "rngs", "scaler", "scheduler", "step"),
)
# What data-parallel, lightning and compiled modules put before every name.
WRAPPERS = ("module.", "model.", "_orig_mod.", "backbone.", "net.")
Tree = Mapping[Any, Any]


def network_part(tree: Tree, part: str | None = None) -> tuple[Tree, tuple[str, ...]]:
    """The sub-tree of a checkpoint that is the network, and what there is to say.

    Args:
      tree: nested dicts.
      part: the keys of the sub-tree, joined by `/`; None where it shall be found.

    Returns:
      The sub-tree, and sentences: where it was, what was left out.

    Raises:
      ValueError: if several parts may be meant, or `part` is not there.

    >>> network_part({"step": 3, "params": {"kernel": 1.0}, "opt_state": {}})
    ({'kernel': 1.0}, ('the weights are its params; left out: step, opt_state',))
    """
    if part is not None:
        for key in part.split("/"):
            inner = {str(k): v for k, v in tree.items()}.get(key)
            if not isinstance(inner, Mapping):
                raise ValueError(f"it has no part {part}: {key} is none of {_of(tree)}")
            tree = inner
        return tree, (f"the weights are its part {part}",)
    path, left = [], []
    while (inner := _inner(tree)) is not None:
        left += [str(key) for key in tree if key not in inner]
        if len(inner) > 1:
            tree = {key: tree[key] for key in inner}
            path.append(" and ".join(inner))
            break
        path.append(inner[0])
        tree = tree[inner[0]]
    if not path:
        return tree, ()
    said = f"the weights are its {'/'.join(path)}"
    return tree, (f"{said}; left out: {', '.join(left)}" if left else said,)


def _inner(tree: Tree) -> list[str] | None:
    """The keys that hold the network; None where the tree itself is the network."""
    holding = [key for key, value in tree.items() if isinstance(value, Mapping)]
    found = [key for key in holding if key in _NETWORK]
    if not found:
        perhaps = [key for key in holding if key in _PERHAPS_NETWORK]
        beside = set(holding).difference(perhaps, _BOOKKEEPING)
        found = [] if beside else perhaps
    elif found[0] != "params" or len(found) > 1:
        found += [key for key in holding if key in _PERHAPS_NETWORK]
    if len(found) > 1:
        raise ValueError(
            f"the weights may be any of {', '.join(found)} (it holds {_of(tree)}): "
            "say which part is meant"
        )
    if found == ["params"]:
        return [key for key in COLLECTIONS if key in tree]
    return found or None


def flat(tree: Tree) -> tuple[dict[str, Any], list[str]]:
    """The leaves by their keys joined by `/`, and the names of what is no array.

    Raises:
      ValueError: if two leaves have one name.

    >>> flat({"conv": {"kernel": np.ones(2)}, "blocks": [np.ones(3)], "epoch": 3})[1]
    ['epoch']
    """
    arrays: dict[str, Any] = {}
    others: list[str] = []

    def walk(node: Any, name: str) -> None:
        if isinstance(node, Mapping):
            for key, value in node.items():
                walk(value, f"{name}/{key}" if name else str(key))
        elif isinstance(node, list | tuple):
            for number, value in enumerate(node):
                walk(value, f"{name}/{number}" if name else str(number))
        elif not hasattr(node, "shape"):
            others.append(name)
        elif name in arrays:
            raise ValueError(f"two of its arrays have the name {name}")
        else:
            arrays[name] = node

    walk(tree, "")
    # An NNX state that was saved as it is has each array in a Variable.
    suffix = "/value"
    if arrays and all(name.endswith(suffix) for name in arrays):
        arrays = {name.removesuffix(suffix): leaf for name, leaf in arrays.items()}
    return arrays, others


def plain_state_dict(state_dict: Mapping[str, Any]) -> Mapping[str, np.ndarray]:
    """The arrays by their plain names, out of a checkpoint and a wrapper.

    A checkpoint of training holds the state dict under a name of its own, and a model
    that was wrapped has one prefix before all of its names: taken where that is the
    only way to read it.

    Raises:
      ValueError: if it holds several dicts that may be meant, or none.

    >>> state_dict = {"module.fc.weight": np.zeros(2)}
    >>> list(plain_state_dict({"epoch": 3, "state_dict": state_dict}))
    ['fc.weight']
    """
    state_dict, _ = network_part(state_dict)
    if any(isinstance(value, Mapping) for value in state_dict.values()):
        raise ValueError(
            f"the state dict is a checkpoint that holds {_of(state_dict)}: give the "
            "state dict in it"
        )
    return unwrapped(state_dict)


def unwrapped(arrays: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arrays without the prefixes of wrappers that all names have.

    >>> unwrapped({"module._orig_mod.fc.bias": 1.0})
    {'fc.bias': 1.0}
    """
    for prefix in WRAPPERS:
        if arrays and all(name.startswith(prefix) for name in arrays):
            return unwrapped({n.removeprefix(prefix): v for n, v in arrays.items()})
    return arrays


def _of(tree: Tree, limit: int = 8) -> str:
    names = sorted(map(str, tree))
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
