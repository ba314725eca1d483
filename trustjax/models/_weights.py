"""The arrays of a network by name, its own names or torchvision's."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

# A path of ResNet, and what torchvision calls it. The order matters.
_TORCH_NAMES = (
    (r"^stages/(\d+)/", lambda match: f"layer{int(match[1]) + 1}/"),
    (r"shortcut/conv", "downsample/0"),
    (r"shortcut/norm", "downsample/1"),
    (r"norm", "bn"),
    (r"^dense", "fc"),
    (r"(kernel|scale)$", "weight"),
    (r"mean$", "running_mean"),
    (r"var$", "running_var"),
    (r"/", "."),
)
# Counts the batches that the running statistics have seen: no array of ours.
_TORCH_COUNTER = "num_batches_tracked"
# What data-parallel, lightning and compiled modules put before every name.
_WRAPPERS = ("module.", "model.", "_orig_mod.", "backbone.", "net.")
_CHECKPOINT_NAMES = ("state_dict", "model_state_dict", "model")


def variables(model: nnx.Module) -> dict[str, nnx.Variable]:
    """Every weight and running statistic of a model, by its path."""
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    return {"/".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(state)}


def assign(model: nnx.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Puts `arrays`, named by their paths, into a model: all or none.

    Raises:
      ValueError: if a name is missing, unknown, or of another shape.
    """
    named = variables(model)
    if "fc.weight" in arrays and "fc.weight" not in named:
        raise ValueError(
            "the weights have the names of PyTorch: models.from_state_dict takes them"
        )
    _same_names(set(named), set(arrays))
    for path, variable in named.items():
        _same_shape(path, variable.shape, np.shape(arrays[path]))
    for path, variable in named.items():
        variable.set_value(jax.numpy.asarray(arrays[path], variable.dtype))


def assign_torch(model: nnx.Module, state_dict: Mapping[str, np.ndarray]) -> None:
    """Puts a torchvision state dict of a residual network into a model.

    Convolutions turn from OIHW to HWIO, dense kernels from [out, in] to [in, out].

    Args:
      model: the network.
      state_dict: as `plain_state_dict` returns it.

    Raises:
      ValueError: if a name is missing, unknown, or of another shape, in the names
        and layout of torchvision.
    """
    names = {path: torch_name(path) for path in variables(model)}
    given = {name for name in state_dict if not name.endswith(_TORCH_COUNTER)}
    _same_names(set(names.values()), given)
    assign(model, {path: _from_torch(state_dict[name]) for path, name in names.items()})


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
    if any(isinstance(value, Mapping) for value in state_dict.values()):
        meant = [name for name in _CHECKPOINT_NAMES if name in state_dict]
        if len(meant) != 1 or not isinstance(state_dict[meant[0]], Mapping):
            raise ValueError(
                "the state dict is a checkpoint that holds "
                f"{_listed(set(map(str, state_dict)))}: give the state dict in it"
            )
        return plain_state_dict(state_dict[meant[0]])
    for prefix in _WRAPPERS:
        if state_dict and all(name.startswith(prefix) for name in state_dict):
            return plain_state_dict(
                {name.removeprefix(prefix): v for name, v in state_dict.items()}
            )
    return state_dict


def torch_name(path: str) -> str:
    """What torchvision calls the variable of a `ResNet` at `path`.

    >>> torch_name("stages/1/0/shortcut/norm/scale")
    'layer2.0.downsample.1.weight'
    """
    for pattern, replacement in _TORCH_NAMES:
        path = re.sub(pattern, replacement, path)
    return path


def _from_torch(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    order = {4: (2, 3, 1, 0), 2: (1, 0)}.get(array.ndim)
    return array if order is None else np.transpose(array, order)


def _same_names(expected: set[str], given: set[str]) -> None:
    if expected != given:
        raise ValueError(
            "the weights are of another network: missing "
            f"{_listed(expected - given)}, unknown {_listed(given - expected)}"
        )


def _same_shape(path: str, expected: tuple[int, ...], given: tuple[int, ...]) -> None:
    if expected != given:
        raise ValueError(
            f"the weights are of another network: {path} must have shape {expected}, "
            f"got {given}"
        )


def _listed(names: set[str], limit: int = 5) -> str:
    shown = ", ".join(sorted(names)[:limit]) or "none"
    return shown + (", ..." if len(names) > limit else "")
