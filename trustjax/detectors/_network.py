"""Detectors that are small networks: one hidden layer of ReLU units, one output."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from trustjax import _validate
from trustjax.detectors._linear import Layers
from trustjax.detectors._populations import Populations


class NetworkChoices(NamedTuple):
    """How a small network is trained: as the classifiers of its paper.

    Attributes:
      hidden: units of the hidden layer.
      l2: times half the squared norm of the kernels, added to the mean loss.
      learning_rate: at the start; a tenth of it each time the validation loss has not
        fallen for `patience` epochs.
      minimum_learning_rate: training ends where the next would be lower.
      momentum: of SGD.
      patience: epochs without a lower validation loss.
      batch_size: examples in a step.
      epochs: the most passes over the learning part.
    """

    hidden: int = 15
    l2: float = 1e-3
    learning_rate: float = 0.1
    minimum_learning_rate: float = 1e-3
    momentum: float = 0.9
    patience: int = 5
    batch_size: int = 256
    epochs: int = 200


def fit_network(
    learning: Populations,
    validation: Populations,
    *,
    seed: int,
    choices: NetworkChoices,
) -> Layers:
    """A network with the weights of the epoch whose validation loss is the lowest.

    Its output is the log odds that an example is to be trusted: the difference of the
    two outputs of a two-way softmax.
    """
    for name in ("hidden", "batch_size", "epochs", "patience"):
        _validate.count(name, getattr(choices, name))
    for name in ("learning_rate", "minimum_learning_rate"):
        _validate.positive(name, getattr(choices, name))
    _validate.not_negative("l2", choices.l2)
    _validate.fraction("momentum", choices.momentum)
    model = _Network(learning.values.shape[1], choices.hidden, rngs=nnx.Rngs(seed))
    graph, params = nnx.split(model)
    best = _trained(
        graph,
        choices,
        nnx.to_pure_dict(params),
        _as_jax(learning),
        _as_jax(validation),
        jax.random.key(seed),
    )
    model = nnx.merge(graph, best)
    return tuple(
        (np.asarray(layer.kernel), np.asarray(layer.bias))
        for layer in (model.hidden, model.output)
    )


class _Network(nnx.Module):
    """Columns to one number."""

    def __init__(self, columns: int, hidden: int, *, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(columns, hidden, rngs=rngs)
        self.output = nnx.Linear(hidden, 1, rngs=rngs)

    def __call__(self, u: jax.Array) -> jax.Array:
        return self.output(jax.nn.relu(self.hidden(u)))


def _as_jax(data: Populations) -> tuple[jax.Array, jax.Array]:
    return jnp.asarray(data.values, jnp.float32), jnp.asarray(data.trusted, jnp.float32)


class _State(NamedTuple):
    """What an epoch changes; `best` are the weights with the lowest validation loss."""

    params: Any
    optimizer: Any
    best: Any
    lowest: jax.Array
    waited: jax.Array
    learning_rate: jax.Array


@functools.partial(jax.jit, static_argnums=(0, 1))
def _trained(
    graph: Any,
    choices: NetworkChoices,
    params: Any,
    learning: tuple[jax.Array, jax.Array],
    validation: tuple[jax.Array, jax.Array],
    key: jax.Array,
) -> Any:
    """The whole training as one program: epochs in a loop, steps in a loop."""
    count = learning[0].shape[0]
    size = min(choices.batch_size, count)
    steps = -(-count // size)
    optimizer = optax.sgd(1.0, momentum=choices.momentum)

    def data_loss(params: Any, u: jax.Array, trusted: jax.Array) -> jax.Array:
        logits = nnx.merge(graph, params)(u)[:, 0]
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, trusted))

    def loss(params: Any, u: jax.Array, trusted: jax.Array) -> jax.Array:
        kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
        squares = sum(jnp.sum(kernel**2) for kernel in kernels)
        return data_loss(params, u, trusted) + choices.l2 / 2 * squares

    def epoch(carry: tuple[_State, jax.Array]) -> tuple[_State, jax.Array]:
        state, number = carry
        order = jax.random.permutation(jax.random.fold_in(key, number), count)
        # The last batch is filled up with examples of the first.
        rows = jnp.resize(order, (steps * size,)).reshape(steps, size)

        def step(inner: tuple[Any, Any], taken: jax.Array) -> tuple[Any, None]:
            params, momentum = inner
            gradients = jax.grad(loss)(params, *(a[taken] for a in learning))
            updates, momentum = optimizer.update(gradients, momentum)
            updates = jax.tree.map(lambda u: u * state.learning_rate, updates)
            return (optax.apply_updates(params, updates), momentum), None

        (params, momentum), _ = jax.lax.scan(
            step, (state.params, state.optimizer), rows
        )
        measured = data_loss(params, *validation)
        better = measured < state.lowest
        waited = jnp.where(better, 0, state.waited + 1)
        lower = waited >= choices.patience
        return _State(
            params,
            momentum,
            jax.tree.map(
                lambda new, old: jnp.where(better, new, old), params, state.best
            ),
            jnp.where(better, measured, state.lowest),
            jnp.where(lower, 0, waited),
            jnp.where(lower, state.learning_rate / 10, state.learning_rate),
        ), number + 1

    def goes_on(carry: tuple[_State, jax.Array]) -> jax.Array:
        state, number = carry
        # A tenth of a tenth is not quite a hundredth.
        enough = state.learning_rate < 0.999 * choices.minimum_learning_rate
        return (number < choices.epochs) & ~enough

    first = _State(
        params,
        optimizer.init(params),
        params,
        data_loss(params, *validation),
        jnp.zeros((), int),
        jnp.asarray(choices.learning_rate, jnp.float32),
    )
    return jax.lax.while_loop(goes_on, epoch, (first, jnp.zeros((), int)))[0].best
