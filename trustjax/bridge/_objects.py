"""A network as somebody hands it over, whatever it is made of."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from trustjax import weights
from trustjax.bridge import _flax
from trustjax.typing import ApplyFn, Params, StochasticApplyFn

_EXPECTED = (
    "an nnx.Module, (apply_fn, params), (linen.Module, variables), a linen.Module with "
    "weights, or a function without arguments that returns one of these"
)
# What a Linen module writes down while it runs, and no file of weights holds.
_PASSING = ("cache", "intermediates", "losses")

Arrays = Mapping[str, np.ndarray]


class Bridged(NamedTuple):
    """A network that can be asked.

    Attributes:
      apply_fn: `(params, x) -> output`, in evaluation mode.
      params: what it takes first.
      stochastic_apply_fn: `(params, x, key) -> output`, with dropout on; None where
        there is no dropout, or its module cannot turn it on.
    """

    apply_fn: ApplyFn
    params: Params
    stochastic_apply_fn: StochasticApplyFn | None


def from_object(
    network: Any, *, arrays: Arrays | None = None, example: Any = None
) -> Bridged:
    """A network as a pure function and its parameters, from what stands for it.

    =============================  ==================================================
    What comes                     What becomes of it
    =============================  ==================================================
    `nnx.Module`                   `from_nnx`
    `(apply_fn, params)`           as it is
    `(linen.Module, variables)`    `from_linen`
    `linen.Module`                 `from_linen` of `arrays`, shaped for `example`
    a function without arguments   what it returns
    =============================  ==================================================

    An argument of the call of a Flax module that is known to switch the mode
    (`train`, `deterministic`, ...) is given as in evaluation.

    Args:
      network: one of these.
      arrays: put in the place of its weights and running statistics, by name
        (`"conv1/kernel"`), as `weights.read` gives them; None keeps its own.
      example: a batch as the network takes it; only a Linen module without variables
        needs it.

    Raises:
      ValueError: if it is something else, saying what was expected; if it has no
        weights; if `arrays` are not of this network, listing all that differs.

    >>> network = from_object(lambda: nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
    >>> network.apply_fn(network.params, jnp.ones((4, 3))).shape
    (4, 2)
    >>> from_object(3)
    Traceback (most recent call last):
    ValueError: a network must be an nnx.Module, ... got int
    """
    if not _is_network(network) and callable(network) and not _is_torch(network):
        network = _called(network)
    if isinstance(network, nnx.Module):
        return _of_nnx(network, arrays)
    if isinstance(network, linen.Module):
        network = (network, None)
    if isinstance(network, tuple) and len(network) == 2:
        first, second = network
        if isinstance(first, linen.Module):
            return _of_linen(first, second, arrays, example)
        if isinstance(first, ApplyFn) and not _is_torch(first):
            if arrays is not None:
                second = _in_the_place_of(second, arrays)
            return Bridged(first, second, None)
    remedy = ""
    if _is_torch(network) or (
        isinstance(network, tuple) and any(map(_is_torch, network))
    ):
        remedy = ": give bridge.from_torch(module, example)"
    raise ValueError(f"a network must be {_EXPECTED}, got {_kind(network)}{remedy}")


def _called(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:  # somebody's code may raise anything
        name = getattr(make, "__name__", make)
        raise ValueError(
            f"a network must be {_EXPECTED}; {name} called without arguments raises "
            f"{type(error).__name__}: {error}"
        ) from error


def _is_network(network: Any) -> bool:
    return isinstance(network, nnx.Module | linen.Module | tuple)


def _is_torch(network: Any) -> bool:
    kinds = type(network).__mro__
    return any(f"{k.__module__}.{k.__name__}".startswith("torch.nn.") for k in kinds)


def _kind(network: Any) -> str:
    if isinstance(network, tuple):
        return f"({', '.join(type(part).__name__ for part in network)})"
    return type(network).__name__


def _of_nnx(model: nnx.Module, arrays: Arrays | None) -> Bridged:
    if arrays is not None:
        model = nnx.clone(model)
        state = nnx.to_flat_state(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat)))
        variables = {"/".join(map(str, path)): leaf for path, leaf in state}
        shapes = {name: variable.shape for name, variable in variables.items()}
        for name, array in _fitted(arrays, shapes).items():
            variable = variables[name]
            variable.set_value(jnp.asarray(array, variable.dtype))
    arguments = _flax.evaluation_arguments(type(model))
    apply_fn, params = _flax.from_nnx(model, **arguments)
    stochastic_apply_fn = None
    # Where the call takes the mode, it would turn dropout off again.
    if not arguments and _flax.has_dropout(model):
        stochastic_apply_fn, _ = _flax.stochastic_from_nnx(model)
    return Bridged(apply_fn, params, stochastic_apply_fn)


def _of_linen(
    module: linen.Module, variables: Any, arrays: Arrays | None, example: Any
) -> Bridged:
    name = type(module).__name__
    arguments: Any = _flax.evaluation_arguments(type(module))
    if arrays is not None:
        if variables is None:
            if example is None:
                raise ValueError(f"{name} has no variables: give an example batch")
            variables = jax.eval_shape(
                lambda x: module.init(jax.random.key(0), x, **arguments), example
            )
        variables = {n: v for n, v in variables.items() if n not in _PASSING}
        variables = _in_the_place_of(variables, arrays)
    if not isinstance(variables, Mapping):
        raise ValueError(
            f"{name} is a Linen module without variables: give ({name}, variables), or "
            "weights (--weights)"
        )
    apply_fn, params = _flax.from_linen(module, variables, **arguments)
    return Bridged(apply_fn, params, None)


def _in_the_place_of(tree: Any, arrays: Arrays) -> Any:
    """A tree of arrays with the values of others, found by their names."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    names = [
        jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves
    ]
    # A file may know no collections: of Linen's, the last names differ.
    plain = [name.partition("/")[2] for name in names]
    collected = all(n.startswith(("params/", "batch_stats/")) for n in names)
    if collected and len(set(plain)) == len(plain):
        names = plain
    shapes = {
        name: np.shape(leaf) for name, (_, leaf) in zip(names, leaves, strict=True)
    }
    found = _fitted(arrays, shapes)
    return jax.tree.unflatten(
        structure,
        [
            jnp.asarray(found[name], jnp.result_type(leaf))
            for name, (_, leaf) in zip(names, leaves, strict=True)
        ],
    )


def _fitted(arrays: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """`weights.fitted`, also of names that are joined by dots."""
    dotted = not any("/" in name for name in arrays)
    if dotted and any("/" in name for name in shapes):
        arrays = {name.replace(".", "/"): array for name, array in arrays.items()}
    return weights.fitted(arrays, shapes)
