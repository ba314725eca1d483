"""Networks alike, each trained on a part of one dataset, all in one run.

Shadow networks of an attack on membership, the members of an ensemble, the folds of a
cross-validation: small networks by the dozen, whose steps are one `jax.vmap`.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from trustjax import data, models
from trustjax.train import _fit, _step
from trustjax.train._config import TrainConfig
from trustjax.train._history import CorrectnessHistory
from trustjax.train._loop import NonFiniteLossError
from trustjax.typing import ProgressFn


@dataclasses.dataclass(frozen=True)
class TrainedMany:
    """Networks of one kind.

    Attributes:
      config: the choices that they share; network n has the seed `config.seed + n`.
      members: which records each learned from, `[networks, records]`.
      state: the arrays of all, with an axis of networks before each.
      class_names: one name per class, in the order of the logits.
      image_shape: of what they take.
      history: how often each record was classified right while they learned.
    """

    config: TrainConfig
    members: np.ndarray
    state: _step.TrainState
    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]
    history: CorrectnessHistory

    def __len__(self) -> int:
        return len(self.members)

    def model(self, number: int) -> models.Classifier:
        """One of the networks, in evaluation mode."""
        model = _create(self.config, number, self.class_names, self.image_shape)
        arrays = self.state.params, self.state.statistics
        _step.assign(model, *jax.tree.map(lambda leaf: leaf[number], arrays))
        return model

    def logits(
        self, images: Float[Array | np.ndarray, "batch ..."]
    ) -> Float[Array, "networks batch classes"]:
        """What each network says of the same images, which are in [0, 1]."""
        return self._outputs(self.state, jnp.asarray(images))

    @functools.cached_property
    def _outputs(self) -> Any:
        model = _create(self.config, 0, self.class_names, self.image_shape)
        return jax.jit(jax.vmap(_step.make_outputs(model), (0, None)))


def fit_many(
    config: TrainConfig,
    dataset: data.Dataset,
    members: Bool[np.ndarray, "networks records"],
    *,
    mesh: jax.sharding.Mesh | None = None,
    augment_fn: _step.AugmentFn | None = None,
    adversary_fn: _step.AdversaryFn | None = None,
    dataset_loss_fn: _step.DatasetLossFn | None = None,
    network_loss_fn: _step.NetworkLossFn | None = None,
    progress: ProgressFn | None = None,
) -> TrainedMany:
    """Trains a network on each of several parts of a dataset, in one run.

    The dataset is held in memory once. Networks differ by their weights, the order of
    their records and their dropout, all from their seeds; one that has fewer records
    than another goes through batches that are not full. There is no validation set, so
    all take every step, and the schedule cannot be one that waits for a plateau.

    Args:
      config: the choices; `schedule="cosine"`.
      dataset: all records.
      members: which of them each network learns from.
      mesh: devices to deal the networks to, over its axis `data`, made with
        `axis_types=(jax.sharding.AxisType.Auto,)`; None for the default device.
      augment_fn: as in `make_train_step`.
      adversary_fn: as in `make_train_step`.
      dataset_loss_fn: as in `make_train_step`. The batch holds `correctness` as well,
        the share of the times that each record was classified right before, for
        `lambda logits, batch: jnp.mean(correctness_ranking_loss(
        scores.max_softmax(logits), batch["correctness"], mask=batch["mask"]))`.
      network_loss_fn: as in `make_train_step`.
      progress: called after each epoch with the task, `"training networks"`, the epochs
        done, and the mean loss.

    Returns:
      The networks.

    Raises:
      NonFiniteLossError: if the loss or a weight of a network is NaN or infinite,
        naming network and step.
      ValueError: if the schedule is another, `members` has another number of records
        or a network without any, the images vary in size, or the networks do not
        divide among the devices.

    >>> images = np.random.default_rng(0).random((8, 6, 6, 1), np.float32)
    >>> names = ["dark", "bright"]
    >>> dataset = data.from_arrays("noise", images, np.arange(8) % 2, names)
    >>> config = TrainConfig("mlp", epochs=1, batch_size=4, schedule="cosine")
    >>> halves = np.arange(8)[None] // 4 == np.arange(2)[:, None]
    >>> fit_many(config, dataset, halves).logits(images[:3]).shape
    (2, 3, 2)
    """
    members = np.asarray(members)
    if config.schedule != "cosine":
        raise ValueError(
            'schedule must be "cosine": many networks have no validation set to wait '
            f"for, got {config.schedule!r}"
        )
    if members.ndim != 2 or members.shape[1] != len(dataset) or not len(members):
        raise ValueError(
            f"members must have shape [networks, {len(dataset)}], one column for each "
            f"record, got {members.shape}"
        )
    if (empty := np.flatnonzero(~members.any(axis=1))).size:
        raise ValueError(f"network {empty[0]} must have a record to learn from")
    if mesh is not None and len(members) % mesh.devices.size:
        raise ValueError(
            f"{len(members)} networks do not divide among {mesh.devices.size} devices"
        )
    images, labels = data.as_arrays(dataset)
    most = int(members.sum(axis=1).max())
    steps = math.ceil(most / config.batch_size)
    made = [
        _step.make_telling_train_step(
            _create(config, number, dataset.class_names, dataset.image_shape),
            config,
            steps_per_epoch=steps,
            augment_fn=augment_fn,
            adversary_fn=adversary_fn,
            dataset_loss_fn=dataset_loss_fn,
            network_loss_fn=network_loss_fn,
        )
        for number in range(len(members))
    ]
    state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[one for one, _ in made])
    seeds = jnp.arange(len(members)) + config.seed
    keys = jax.vmap(jax.random.key)(seeds)
    history = jax.tree.map(
        lambda leaf: jnp.tile(leaf, (len(members), 1)),
        CorrectnessHistory.empty(len(dataset)),
    )
    by_network = None
    if mesh is not None:
        by_network = jax.sharding.NamedSharding(mesh, jax.P("data"))
        state, history, keys = jax.device_put((state, history, keys), by_network)
        everywhere = jax.sharding.NamedSharding(mesh, jax.P())
        images, labels = jax.device_put((images, labels), everywhere)
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    step = _step_of_all(made[0][1])
    for number in range(config.epochs):
        for rows in _rows(config, members, number, steps):
            rows = jax.device_put(rows, by_network)
            state, history = step(keys, (state, history), images, labels, rows)
        _check(state.first_bad_step)
        if progress is not None:
            loss = float(state.loss_sum.mean()) / steps
            facts = {"loss": loss}
            progress("training networks", number + 1, config.epochs, facts)
        state = state._replace(loss_sum=jnp.zeros_like(state.loss_sum))
    names, shape = tuple(dataset.class_names), dataset.fixed_shape
    return TrainedMany(config, members, state, names, shape, history)


_Carry = tuple[_step.TrainState, CorrectnessHistory]


def _step_of_all(train_step: Any) -> Any:
    """A jitted step of all networks, for rows of `_rows`.

    Steps are a loop of the host, as in `fit`: XLA's convolutions are slow on a CPU
    inside of `lax.scan`.
    """

    @functools.partial(jax.jit, donate_argnums=1)
    def step(
        keys: jax.Array, carry: _Carry, images: jax.Array, labels: jax.Array, rows: Any
    ) -> _Carry:
        def of_one(
            key: jax.Array, carry: _Carry, records: jax.Array, counts: jax.Array
        ) -> _Carry:
            state, history = carry
            image, label = images[records], labels[records]
            if image.dtype == jnp.uint8:
                image = image.astype(jnp.float32) / 255
            batch = {"image": image, "label": label, "mask": counts}
            before = jax.tree.map(lambda count: count[records], history)
            batch["correctness"] = before.correctness
            state, said = train_step(key, state, batch, 1.0)
            right = jnp.argmax(said, axis=-1) == label
            return state, history.after(records, right, counts)

        records, counts = jnp.where(rows < 0, ~rows, rows), rows >= 0
        return jax.vmap(of_one)(keys, carry, records, counts)

    return step


def _rows(
    config: TrainConfig, members: np.ndarray, epoch: int, steps: int
) -> np.ndarray:
    """The records of each batch of an epoch, `[steps, networks, batch]`.

    Where a network has too few, one of its own is there again, as its complement: a
    negative number, which fills the batch (of which BatchNorm takes a mean) and does
    not count.
    """
    length = steps * config.batch_size
    rows = np.empty((len(members), length), np.int32)
    for number, own in enumerate(members):
        order = np.random.default_rng((config.seed + number, epoch))
        records = order.permutation(np.flatnonzero(own))
        rows[number] = ~np.resize(records, length)
        # Spread over all batches, so that none is nothing but filling.
        rows[number, np.arange(len(records)) * length // len(records)] = records
    return rows.reshape(len(members), steps, config.batch_size).swapaxes(0, 1)


def _create(
    config: TrainConfig, number: int, class_names: Any, image_shape: Any
) -> models.Classifier:
    own = dataclasses.replace(config, seed=config.seed + number)
    return _fit.create(own, class_names, image_shape)


def _check(first_bad_step: jax.Array) -> None:
    bad = np.flatnonzero(np.asarray(first_bad_step) >= 0)
    if bad.size:
        raise NonFiniteLossError(
            f"the training loss, or a weight, of network {bad[0]} is not finite at "
            f"step {first_bad_step[bad[0]]} ({bad.size} such networks): training has "
            "stopped"
        )
