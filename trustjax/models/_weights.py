"""The arrays of a network by name, its own names or torchvision's."""

import re
from collections.abc import Mapping

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
    _same_names(set(named), set(arrays))
    for path, variable in named.items():
        _same_shape(path, variable.shape, np.shape(arrays[path]))
    for path, variable in named.items():
        variable.set_value(jax.numpy.asarray(arrays[path], variable.dtype))


def assign_torch(model: nnx.Module, state_dict: Mapping[str, np.ndarray]) -> None:
    """Puts a torchvision state dict of a residual network into a model.

    Convolutions turn from OIHW to HWIO, dense kernels from [out, in] to [in, out].

    Raises:
      ValueError: if a name is missing, unknown, or of another shape, in the names
        and layout of torchvision.
    """
    names = {path: torch_name(path) for path in variables(model)}
    given = {name for name in state_dict if not name.endswith(_TORCH_COUNTER)}
    _same_names(set(names.values()), given)
    assign(model, {path: _from_torch(state_dict[name]) for path, name in names.items()})


def torch_name(path: str) -> str:
    """What torchvision calls the variable of a `ResNet` at `path`.

    >>> torch_name("stages/1/0/shortcut/norm/scale")
    'layer2.0.downsample.1.weight'
    """
    for pattern, replacement in _TORCH_NAMES:
        path = re.sub(pattern, replacement, path)
    return path


def _from_torch(array: np.ndarray) -> np.ndarray:
    order = {4: (2, 3, 1, 0), 2: (1, 0)}.get(np.ndim(array))
    return np.asarray(array) if order is None else np.transpose(array, order)


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
