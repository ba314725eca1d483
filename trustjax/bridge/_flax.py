"""Flax NNX and Linen modules as functions of their parameters."""

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import linen, nnx

from trustjax import _network_questions
from trustjax.bridge._outputs import OneArray
from trustjax.typing import ApplyFn, Params

_logger = logging.getLogger("trustjax.bridge")

_EVALUATION = {"deterministic": True, "use_running_average": True}
_EVALUATION_ARGUMENTS = {
    **_EVALUATION,
    "inference": True,
    "is_training": False,
    "train": False,
    "training": False,
}
"""What an argument of a network's call is in evaluation mode, by its usual names."""


def from_nnx(model: nnx.Module, **call_arguments: Any) -> tuple[ApplyFn, Params]:
    """An NNX model as a pure function and its parameters.

    The function runs in evaluation mode whatever mode the model is in: dropout is
    off and BatchNorm uses its running statistics. If that changes the mode of a
    layer, the logger `trustjax.bridge` says so in a warning that names the layers.
    The model itself is left as it is.

    A mode that the model takes as an argument of its call is the caller's to give:
    `from_nnx(model, train=False)`. Where an argument of such a name is left at a
    default that is not of evaluation, a warning of the same logger names it.

    Args:
      model: a module that maps `[batch, ...]` to logits `[batch, classes]`.
      **call_arguments: passed on to each call of the model.

    Returns:
      `(apply_fn, params)`; `apply_fn(params, x) -> logits`. `params` holds every
      `nnx.Param` and nothing else, so it can be differentiated.

    Raises:
      ValueError: if the model's call needs the mode, and it is not given.

    >>> apply_fn, params = from_nnx(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
    >>> sorted(params), apply_fn(params, jax.numpy.ones((4, 3))).shape
    (['bias', 'kernel'], (4, 2))
    """
    _look_at_mode(type(model), call_arguments, "from_nnx(model")
    graph, params, rest = _parted(_in_evaluation_mode(model))

    def apply_fn(params: Params, x: Any) -> Any:
        network: Any = nnx.merge(graph, params, rest)
        return network(x, **call_arguments)

    return OneArray(apply_fn), params


def from_linen(
    module: linen.Module, variables: Mapping[str, Any], **kwargs: Any
) -> tuple[ApplyFn, Params]:
    """A Linen module as a pure function and its parameters.

    Args:
      module: a module that maps `[batch, ...]` to logits `[batch, classes]`.
      variables: what `module.init` returned, or what training made of it.
      **kwargs: passed on to `module.apply`, to put a module with dropout or
        BatchNorm into evaluation mode: `train=False`, `deterministic=True`, ...

    Returns:
      `(apply_fn, params)`; `apply_fn(params, x) -> logits`. The collections other
      than `params` are closed over.

    Raises:
      ValueError: if `variables` has no collection `params`, or the module's call needs
        the mode, and it is not given.

    >>> module = linen.Dense(2)
    >>> variables = module.init(jax.random.key(0), jax.numpy.ones((4, 3)))
    >>> apply_fn, params = from_linen(module, variables)
    >>> sorted(params), apply_fn(params, jax.numpy.ones((4, 3))).shape
    (['bias', 'kernel'], (4, 2))
    """
    if "params" not in variables:
        raise ValueError(
            f"variables must hold the collection params, got {sorted(variables)}"
        )
    _look_at_mode(type(module), kwargs, "from_linen(module, variables")
    rest = {name: value for name, value in variables.items() if name != "params"}

    def apply_fn(params: Params, x: Any) -> Any:
        return module.apply({"params": params, **rest}, x, **kwargs)

    return OneArray(apply_fn), variables["params"]


def stochastic_from_nnx(
    model: nnx.Module,
    **call_arguments: Any,
) -> tuple[Callable[[Params, Any, jax.Array], jax.Array], Params]:
    """An NNX model with dropout on, for Monte-Carlo dropout.

    Every example of a batch gets its own mask, and so does every dropout layer.
    BatchNorm stays in evaluation mode. The same key gives the same masks. Under
    `jax.vmap` over examples, give each example its own key: one key for all would
    give all the same mask.

    Args:
      model: a module with at least one active `nnx.Dropout`.
      **call_arguments: passed on to each call of the model.

    Returns:
      `(stochastic_apply_fn, params)`;
      `stochastic_apply_fn(params, x, key) -> logits`, `params` as in `from_nnx`.

    Raises:
      ValueError: if the model has no dropout layer with a rate above zero and an
        RNG stream: its samples would all be equal.

    >>> model = nnx.Sequential(nnx.Dropout(0.5, rngs=nnx.Rngs(0)))
    >>> stochastic_apply_fn, params = stochastic_from_nnx(model)
    >>> logits = stochastic_apply_fn(params, jax.numpy.ones((2, 9)), jax.random.key(0))
    >>> set(logits.ravel().tolist())
    {0.0, 2.0}
    """
    if not has_dropout(model):
        raise ValueError(
            f"{type(model).__name__} has no nnx.Dropout with a rate above 0 and an RNG "
            "stream: Monte-Carlo dropout needs one"
        )
    model = nnx.with_attributes(
        _in_evaluation_mode(model, notify=False), only=nnx.Dropout, deterministic=False
    )
    graph, *states = nnx.split(model, nnx.Param, nnx.RngKey, ...)
    params, keys, rest = map(nnx.to_pure_dict, states)

    def stochastic_apply_fn(params: Params, x: Any, key: jax.Array) -> jax.Array:
        network: Any = nnx.merge(graph, params, fresh_keys(keys, key), rest)
        return _network_questions.one_array(network(x, **call_arguments))

    return stochastic_apply_fn, params


def has_dropout(model: nnx.Module) -> bool:
    """Whether `stochastic_from_nnx` finds a dropout layer that can be turned on.

    >>> has_dropout(nnx.Dropout(0.5, rngs=nnx.Rngs(0))), has_dropout(nnx.Dropout(0.0))
    (True, False)
    """
    return any(_drops(module) for _, module in nnx.iter_modules(model))


def fresh_keys(keys: Any, key: jax.Array) -> Any:
    """A tree of RNG keys like `keys`, all different, all derived from `key`."""
    leaves, treedef = jax.tree.flatten(keys)
    return jax.tree.unflatten(treedef, list(jax.random.split(key, len(leaves))))


def _parted(model: nnx.Module) -> tuple[Any, Params, Any]:
    """The structure, the trainable arrays and the other arrays of a model."""
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    # As plain arrays: `merge` then makes new variables, which a trace may change
    # (a dropout layer counts its calls) without touching those of the model.
    return graph, nnx.to_pure_dict(params), nnx.to_pure_dict(rest)


def _in_evaluation_mode(model: nnx.Module, *, notify: bool = True) -> nnx.Module:
    """A view of the model with dropout off and running statistics on."""
    training = [
        "/".join(map(str, path)) or type(module).__name__
        for path, module in nnx.iter_modules(model)
        if any(getattr(module, name, None) is False for name in _EVALUATION)
    ]
    if training and notify:
        _logger.warning(
            "%s is in training mode; taken in evaluation mode: %s",
            type(model).__name__,
            ", ".join(training),
        )
    return nnx.with_attributes(model, raise_if_not_found=False, **_EVALUATION)


def evaluation_arguments(kind: type) -> dict[str, bool]:
    """What the call of a module has to be given for evaluation mode.

    >>> evaluation_arguments(nnx.BatchNorm), evaluation_arguments(nnx.Linear)
    ({'use_running_average': True}, {})
    """
    return {
        name: _EVALUATION_ARGUMENTS[name]
        for name in inspect.signature(kind.__call__).parameters
        if name in _EVALUATION_ARGUMENTS
    }


def _look_at_mode(kind: type, given: Mapping[str, Any], call: str) -> None:
    """Says where a network's call takes its mode, and nobody gave it."""
    for name, argument in inspect.signature(kind.__call__).parameters.items():
        wanted = _EVALUATION_ARGUMENTS.get(name)
        if wanted is None or name in given:
            continue
        if argument.default is inspect.Parameter.empty:
            raise ValueError(
                f"the call of {kind.__name__} needs {name}: give {call}, {name}="
                f"{wanted})"
            )
        if argument.default is (not wanted):
            _logger.warning(
                "the call of %s takes %s, which is %s unless it is given: for "
                "evaluation mode give %s, %s=%s)",
                kind.__name__,
                name,
                argument.default,
                call,
                name,
                wanted,
            )


def _drops(module: nnx.Module) -> bool:
    return isinstance(module, nnx.Dropout) and module.rate > 0 and bool(module.rngs)
