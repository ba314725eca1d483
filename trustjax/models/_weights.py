"""The arrays of a network by name: its own names, or those of a PyTorch twin.

A network that takes arrays from a file is never filled with random ones: it is made
of shapes alone, and each variable gets its array.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trustjax import bridge, weights
from trustjax.models._classifier import Classifier
from trustjax.models._registry import Model, Names

_OF_EVERY_LAYER: Names = (
    (r"\b(kernel|scale)$", "weight"),
    (r"\bmean$", "running_mean"),
    (r"\bvar$", "running_var"),
    (r"/", "."),
)
# From our kernels' order of axes to PyTorch's, by the number of axes.
_TORCH_ORDER = {2: (1, 0), 4: (3, 2, 0, 1), 5: (4, 3, 0, 1, 2)}
_COLLECTIONS = ("params", "batch_stats", "statistics")
"""Of Flax's trainers, where they stand before every name."""

Arrays = Mapping[str, np.ndarray]


def variables(model: nnx.Module) -> dict[str, nnx.Variable]:
    """Every weight and running statistic of a model, by its path."""
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    return {"/".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(state)}


def filled(build: Callable[[], Classifier], arrays: Arrays, known: Model) -> Classifier:
    """A network with given arrays, in evaluation mode.

    Args:
      build: makes the network, with fresh weights.
      arrays: by the paths of the network's variables, or by the names of a twin.
      known: the network's row.

    Raises:
      ValueError: if a name is missing, unknown, or of another shape.
    """
    model = nnx.eval_shape(build)
    named = variables(model)
    shapes = {path: tuple(variable.shape) for path, variable in named.items()}
    own = own_arrays(shapes, arrays, known)
    for path, variable in named.items():
        variable.set_value(jnp.asarray(own[path], variable.dtype))
    _start_random_streams(model)
    model.eval()
    return model


def own_arrays(
    shapes: Mapping[str, tuple[int, ...]], arrays: Arrays, known: Model
) -> Arrays:
    """Arrays by the paths of a network's variables and in their layout.

    Args:
      shapes: of each variable, by its path.
      arrays: by those paths, or by the names of a PyTorch twin; whichever names more
        of them is meant.
      known: the network's row.

    Raises:
      ValueError: if a name is missing, unknown, or of another shape, listing all.
    """
    arrays = plain(arrays)
    names = twin_names(known, shapes, arrays)
    if _shared(shapes, arrays) >= _shared(names.values(), arrays):
        return weights.fitted(arrays, shapes)
    given = {
        name: np.asarray(array)
        for name, array in arrays.items()
        if not any_match(known.constants, name)
    }
    expected = {names[path]: torch_shape(path, shapes[path]) for path in shapes}
    found = weights.fitted(given, expected)
    return {path: _from_torch(path, found[names[path]]) for path in shapes}


def twin_names(
    known: Model, paths: Iterable[str], arrays: Mapping[str, Any]
) -> dict[str, str]:
    """What the PyTorch twin calls each path that has most of these in `arrays`.

    The first twin's where none has any; no names where there is no twin.
    """
    if known.torch_names is None:
        return {}
    twins = [
        {path: torch_name(path, names) for path in paths}
        for names in (known.torch_names, *known.other_torch_names)
    ]
    return max(twins, key=lambda names: _shared(names.values(), arrays))


def torch_name(path: str, names: Names) -> str:
    """What a PyTorch twin calls the variable at `path`.

    >>> torch_name("stages/1/norm/scale", [(r"^stages", "layer"), ("norm", "bn")])
    'layer.1.bn.weight'
    """
    for pattern, replacement in (*names, *_OF_EVERY_LAYER):
        path = re.sub(pattern, replacement, path)
    return path


def torch_shape(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a variable in a state dict.

    >>> torch_shape("conv/kernel", (7, 7, 3, 64)), torch_shape("norm/scale", (64,))
    ((64, 3, 7, 7), (64,))
    """
    if not _is_kernel(path, len(shape)):
        return shape
    return tuple(shape[axis] for axis in _TORCH_ORDER[len(shape)])


def any_match(patterns: Iterable[str], name: str) -> bool:
    """Whether a name is of a kind.

    >>> any_match([r"_tracked$"], "bn1.num_batches_tracked"), any_match([], "a")
    (True, False)
    """
    return any(re.search(pattern, name) for pattern in patterns)


def plain(arrays: Mapping[str, Any]) -> Arrays:
    """The arrays by their plain names: without a wrapper's, or Flax's collections.

    Raises:
      ValueError: if it is a checkpoint that holds several networks.

    >>> one = np.ones(1)
    >>> list(plain({"params/norm/scale": one, "batch_stats/norm/mean": one}))
    ['norm/scale', 'norm/mean']
    >>> list(plain({"epoch": 3, "state_dict": {"module.fc.weight": one}}))
    ['fc.weight']
    """
    arrays = weights.plain_state_dict(arrays)
    parts = [name.partition("/") for name in arrays]
    if arrays and all(first in _COLLECTIONS for first, *_ in parts):
        return dict(zip((rest for *_, rest in parts), arrays.values(), strict=True))
    return arrays


def _from_torch(path: str, array: np.ndarray) -> np.ndarray:
    if not _is_kernel(path, array.ndim):
        return array
    return np.transpose(array, np.argsort(_TORCH_ORDER[array.ndim]))


def _is_kernel(path: str, ndim: int) -> bool:
    return path.split("/")[-1] == "kernel" and ndim in _TORCH_ORDER


def _start_random_streams(model: nnx.Module) -> None:
    """Gives the streams of a network of shapes their keys and counts."""
    state = nnx.state(model, nnx.RngKey)
    keys = jax.tree.leaves(bridge.fresh_keys(state, jax.random.key(0)))
    streams = [variable for _, variable in nnx.to_flat_state(state)]
    for variable, key in zip(streams, keys, strict=True):
        variable.set_value(key)
    for _, variable in nnx.to_flat_state(nnx.state(model, nnx.RngCount)):
        variable.set_value(jnp.zeros(variable.shape, variable.dtype))


def _shared(names: Iterable[str], arrays: Iterable[str]) -> int:
    return len(set(names) & set(arrays))
