"""Training a network of this library as a classifier."""

import dataclasses
import functools
import os
from typing import Any

import jax
from flax import nnx

from trustjax import data, models
from trustjax.train import _checkpoint, _step
from trustjax.train._config import TrainConfig
from trustjax.train._position import Position, TrainEpoch
from trustjax.train._runs import ClassifierRun
from trustjax.typing import ProgressFn


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """A trained network.

    Attributes:
      model: the network, in evaluation mode.
      config: the choices of the run.
      history: one entry per epoch.
      step: steps taken.
      class_names: one name per class, in the order of the logits.
    """

    model: models.Classifier
    config: TrainConfig
    history: tuple[TrainEpoch, ...]
    step: int
    class_names: tuple[str, ...]


def fit(
    config: TrainConfig,
    train: data.Dataset,
    validation: data.Dataset,
    *,
    loss_fn: _step.ExampleLossFn = _step.cross_entropy,
    dataset_loss_fn: _step.DatasetLossFn | None = None,
    network_loss_fn: _step.NetworkLossFn | None = None,
    augment_fn: _step.AugmentFn | None = None,
    adversary_fn: _step.AdversaryFn | None = None,
    workdir: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 500,
    mesh: jax.sharding.Mesh | None = None,
    progress: ProgressFn | None = None,
) -> TrainResult:
    """Trains a network of this library, or goes on where a run stopped.

    A run is a function of `config`, the two datasets and five functions, whatever the
    number of processes and devices: up to the order in which they add up. With a
    `workdir` it is checkpointed: a run that was killed goes on from its last checkpoint
    that is whole, and on one device it ends with the parameters, bit for bit, of one
    that was not. A finished run is loaded.

    Args:
      config: the choices of the run.
      train: images to train on.
      validation: images that decide when the learning rate falls and when to stop.
      loss_fn: as in `make_train_step`.
      dataset_loss_fn: as in `make_train_step`.
      network_loss_fn: as in `make_train_step`.
      augment_fn: as in `make_train_step`, such as `augmix`.
      adversary_fn: as in `make_train_step`. A checkpoint knows these five by their
        names, and by what a `functools.partial` gives them.
      workdir: the folder of the checkpoints; None to keep none.
      checkpoint_every: steps between checkpoints.
      mesh: devices to share each batch among, over its axis `data`; made with
        `axis_types=(jax.sharding.AxisType.Auto,)`. None for the default device, in
        one process; several need a mesh with devices of all of them.
      progress: called now and then with the task, `"training"`, the steps done, the
        steps there are at most, and the numbers of the last epoch.

    Returns:
      The trained network and its history.

    Raises:
      NonFiniteLossError: if a loss is NaN or infinite; the message names the step,
        and the last checkpoint before it stays.
      ValueError: if `workdir` holds a checkpoint of another run (naming what
        differs), of another version, or not of trustjax, or only damaged ones; the
        datasets do not fit each other, the batch does not divide among the devices,
        or the network cannot take the images.
      OSError: if a checkpoint cannot be written, as on a full disk.
    """
    model = create(config, train.class_names, train.image_shape)
    functions = {
        "loss_fn": None if loss_fn is _step.cross_entropy else loss_fn,
        "augment_fn": augment_fn,
        "adversary_fn": adversary_fn,
        "dataset_loss_fn": dataset_loss_fn,
        "network_loss_fn": network_loss_fn,
    }
    run = ClassifierRun(
        model,
        config,
        train,
        validation,
        mesh,
        identity={name: _named(fn) for name, fn in functions.items() if fn is not None},
        loss_fn=loss_fn,
        dataset_loss_fn=dataset_loss_fn,
        network_loss_fn=network_loss_fn,
        augment_fn=augment_fn,
        adversary_fn=adversary_fn,
    )
    run.train(workdir, checkpoint_every, progress)
    return _result(model, run.state, run.position, config, train.class_names)


def _named(value: Any) -> str:
    """A function as text that is the same in every process; else what it prints as."""
    if isinstance(value, functools.partial):
        given = [_named(argument) for argument in value.args]
        given += [f"{name}={_named(own)}" for name, own in value.keywords.items()]
        return f"{_named(value.func)}({', '.join(given)})"
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)


def load(workdir: str | os.PathLike[str]) -> TrainResult:
    """The network of the last checkpoint in a folder, of a finished run or not.

    Raises:
      FileNotFoundError: if there is no checkpoint.
      ValueError: if the checkpoint is of something else, as an oracle, of another
        version, or not of trustjax; if none can be read. A damaged one is passed over,
        with a `DamagedCheckpointWarning`, where one before it can be read.
    """
    with _checkpoint.last_checkpoint(workdir) as (checkpoints, _):

        def make(document: dict[str, Any]) -> tuple[TrainResult, _step.TrainState]:
            identity = document["identity"]
            for entry, what in _OTHERS.items():
                if entry in identity:
                    raise ValueError(
                        f"{checkpoints.workdir} holds {what}, not a classifier"
                    )
            with checkpoints.of_this_version(document):
                config = TrainConfig(**identity["config"])
                position = Position.from_json(document["position"])
            names = identity["class_names"]
            model = create(config, names, identity["image_shape"])
            state, _ = _step.make_train_step(model, config, steps_per_epoch=1)
            return _result(model, state, position, config, names), state

        found = checkpoints.newest(make)
        assert found is not None, "last_checkpoint has found one"
    _, result, state = found
    _step.assign(result.model, state.params, state.statistics)
    return result


_OTHERS = {"outcomes": "an oracle", "first_stage_parameters": "a second stage"}
"""What the identity of a run holds that is of something else."""


def create(
    config: TrainConfig, class_names: Any, image_shape: Any
) -> models.Classifier:
    """The network of a run before its first step."""
    return models.create(
        config.model,
        num_classes=len(class_names),
        image_shape=tuple(image_shape),
        rngs=nnx.Rngs(config.seed),
    )


def _result(
    model: models.Classifier,
    state: _step.TrainState,
    position: Position,
    config: TrainConfig,
    class_names: Any,
) -> TrainResult:
    _step.assign(model, state.params, state.statistics)
    return TrainResult(
        model, config, tuple(position.history), position.step, tuple(class_names)
    )
