"""The training loop, and going on where a run stopped."""

import dataclasses
import math
import os
import pathlib
import time
from typing import Any

import jax
import numpy as np
from flax import nnx

from trustjax import _validate, data, models
from trustjax.train import _checkpoint, _step
from trustjax.train._config import Config
from trustjax.train._position import Epoch, Plateau, Position
from trustjax.typing import ProgressFn

_SECONDS_BETWEEN_REPORTS = 0.5


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
    config: Config
    history: tuple[Epoch, ...]
    step: int
    class_names: tuple[str, ...]


class NonFiniteLossError(ArithmeticError):
    """A training loss became NaN or infinite; the message names the step."""


def fit(
    config: Config,
    train: data.Dataset,
    validation: data.Dataset,
    *,
    workdir: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 500,
    mesh: jax.sharding.Mesh | None = None,
    progress: ProgressFn | None = None,
) -> TrainResult:
    """Trains a network of this library, or goes on where a run stopped.

    A run is a function of `config` and the two datasets. With a `workdir` it is
    checkpointed: a run that was killed goes on from its last checkpoint, and on one
    device it ends with the parameters, bit for bit, of one that was not. A finished
    run is loaded.

    Args:
      config: the choices of the run.
      train: images to train on.
      validation: images that decide when the learning rate falls and when to stop.
      workdir: the folder of the checkpoints; None to keep none.
      checkpoint_every: steps between checkpoints.
      mesh: devices to share each batch among, over its axis `data`; made with
        `axis_types=(jax.sharding.AxisType.Auto,)`. None for the default device.
      progress: called now and then with the task, `"training"`, the steps done, the
        steps there are at most, and the numbers of the last epoch.

    Returns:
      The trained network and its history.

    Raises:
      NonFiniteLossError: if a loss is NaN or infinite; the message names the step,
        and the last checkpoint before it stays.
      ValueError: if `workdir` holds a checkpoint of another run (naming what
        differs), the datasets do not fit each other, the batch does not divide among
        the devices, or the network cannot take the images.
    """
    _validate.count("checkpoint_every", checkpoint_every)
    run = _Run(config, train, validation, mesh)
    if workdir is None:
        run.complete(progress)
    else:
        with _checkpoint.Checkpoints(workdir) as checkpoints:
            run.restore(checkpoints)
            run.complete(progress, checkpoints, checkpoint_every)
    return _result(run.model, run.state, run.position, config, train.class_names)


def load(workdir: str | os.PathLike[str]) -> TrainResult:
    """The network of the last checkpoint in a folder, of a finished run or not.

    Raises:
      FileNotFoundError: if there is no checkpoint.
    """
    if not pathlib.Path(workdir).is_dir():
        raise FileNotFoundError(f"there is no folder {workdir}")
    with _checkpoint.Checkpoints(workdir, read_only=True) as checkpoints:
        if checkpoints.latest is None:
            raise FileNotFoundError(f"there is no checkpoint in {checkpoints.workdir}")
        document = checkpoints.document(checkpoints.latest)
        identity = document["identity"]
        config = Config(**identity["config"])
        model = _create(config, identity["class_names"], identity["image_shape"])
        state, _ = _step.make_train_step(model, config, steps_per_epoch=1)
        state = checkpoints.state(checkpoints.latest, state)
    position = Position.from_json(document["position"])
    return _result(model, state, position, config, identity["class_names"])


class _Run:
    """A run and where it is."""

    def __init__(
        self,
        config: Config,
        train: data.Dataset,
        validation: data.Dataset,
        mesh: jax.sharding.Mesh | None,
    ):
        _check_datasets(train, validation)
        self.config = config
        self.mesh = mesh
        self.validation = validation
        self.identity = {
            "config": dataclasses.asdict(config),
            "class_names": list(train.class_names),
            "image_shape": list(train.image_shape),
            "train": train.fingerprint,
            "validation": validation.fingerprint,
        }
        self.batch_size = _batch_size_per_process(config, mesh)
        self.steps_per_epoch = math.ceil(len(train) / config.batch_size)
        self.batches = iter(
            data.batches(
                train,
                self.batch_size,
                shuffle=True,
                seed=config.seed,
                num_epochs=config.epochs,
            )
        )
        self.model = _create(config, train.class_names, train.image_shape)
        self.state, self.train_step = _step.make_train_step(
            self.model, config, steps_per_epoch=self.steps_per_epoch
        )
        if mesh is not None:
            replicated = jax.sharding.NamedSharding(mesh, jax.P())
            self.state = jax.device_put(self.state, replicated)
        self.count_correct = _step.make_count_correct(self.model)
        self.position = Position(Plateau(config.learning_rate))

    def restore(self, checkpoints: _checkpoint.Checkpoints) -> None:
        """Goes to the last checkpoint, if there is one."""
        latest = checkpoints.latest
        if latest is None:
            return
        document = checkpoints.document(latest)
        _check_same_run(document["identity"], self.identity, checkpoints.workdir)
        self.state = checkpoints.state(latest, self.state)
        self.position = Position.from_json(document["position"])
        self.batches.set_state(document["iterator"])

    def complete(
        self,
        progress: ProgressFn | None,
        checkpoints: _checkpoint.Checkpoints | None = None,
        checkpoint_every: int = 1,
    ) -> None:
        """Takes the steps that are left."""
        reported = -math.inf
        while not self.position.finished(self.config):
            self.take_step()
            end_of_epoch = self.position.step % self.steps_per_epoch == 0
            if end_of_epoch:
                self.end_epoch()
            finished = self.position.finished(self.config)
            if checkpoints and (finished or self.position.step % checkpoint_every == 0):
                self.save(checkpoints)
            now = time.monotonic()
            waited = now - reported > _SECONDS_BETWEEN_REPORTS
            if progress and (waited or end_of_epoch):
                self.report(progress)
                reported = now

    def take_step(self) -> None:
        """Trains on the next batch."""
        scale = self.position.plateau.learning_rate / self.config.learning_rate
        batch = _put(next(self.batches), self.mesh)
        self.state = self.train_step(self.state, batch, scale)
        self.position.step += 1

    def end_epoch(self) -> None:
        """Measures the epoch that has ended."""
        self.check_losses()
        loss = float(self.state.loss_sum) / self.steps_per_epoch
        self.position.end_epoch(loss, self.validation_accuracy(), self.config)
        nothing = jax.numpy.zeros_like(self.state.loss_sum)
        self.state = self.state._replace(loss_sum=nothing)

    def validation_accuracy(self) -> float:
        """The accuracy on the validation set, in [0, 1]."""
        correct = [
            self.count_correct(self.state, _put(batch, self.mesh))
            for batch in data.batches(self.validation, self.batch_size)
        ]
        return sum(map(int, correct)) / len(self.validation)

    def check_losses(self) -> None:
        """Raises if a loss so far was not finite."""
        step = int(self.state.first_bad_step)
        if step >= 0:
            raise NonFiniteLossError(
                f"the training loss is not finite at step {step} (learning rate "
                f"{self.position.plateau.learning_rate:g}): training has stopped"
            )

    def save(self, checkpoints: _checkpoint.Checkpoints) -> None:
        """Writes a checkpoint, of good losses only."""
        self.check_losses()
        document = {
            "identity": self.identity,
            "position": self.position.to_json(),
            "iterator": self.batches.get_state(),
        }
        checkpoints.save(self.position.step, self.state, document)

    def report(self, progress: ProgressFn) -> None:
        """Says how far the run is."""
        facts = self.position.history[-1]._asdict() if self.position.history else {}
        facts.pop("step", None)
        # A run that ends before the last epoch is complete all the same.
        finished = self.position.finished(self.config)
        most = self.config.epochs * self.steps_per_epoch
        total = self.position.step if finished else most
        progress("training", self.position.step, total, facts)


def _create(config: Config, class_names: Any, image_shape: Any) -> models.Classifier:
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
    config: Config,
    class_names: Any,
) -> TrainResult:
    # Through the host: a model that was trained on a mesh is used anywhere.
    params, statistics = jax.tree.map(
        jax.numpy.asarray, jax.device_get((state.params, state.statistics))
    )
    nnx.update(model, params)
    nnx.update(model, statistics)
    model.eval()
    return TrainResult(
        model, config, tuple(position.history), position.step, tuple(class_names)
    )


def _put(
    batch: dict[str, np.ndarray], mesh: jax.sharding.Mesh | None
) -> dict[str, Any]:
    """The arrays that a step takes, shared among the devices of a mesh."""
    mask = batch["mask"]
    arrays = {"image": batch["image"], "label": batch["label"], "mask": mask}
    if mask.any() and not mask.all():
        # BatchNorm sees whole batches: copies of real images, not blanks, fill them.
        real = np.flatnonzero(mask)
        arrays["image"] = arrays["image"][np.resize(real, len(mask))]
        arrays["label"] = arrays["label"][np.resize(real, len(mask))]
    if mesh is None:
        return arrays
    shared = jax.sharding.NamedSharding(mesh, jax.P("data"))
    return {
        name: jax.make_array_from_process_local_data(shared, array)
        for name, array in arrays.items()
    }


def _batch_size_per_process(config: Config, mesh: jax.sharding.Mesh | None) -> int:
    devices = 1 if mesh is None else mesh.shape["data"]
    parts = math.lcm(devices, jax.process_count())
    if config.batch_size % parts:
        raise ValueError(
            f"batch_size must divide among {devices} devices and "
            f"{jax.process_count()} processes, got {config.batch_size}"
        )
    return config.batch_size // jax.process_count()


def _check_datasets(train: data.Dataset, validation: data.Dataset) -> None:
    for name, dataset in (("train", train), ("validation", validation)):
        if len(dataset) == 0:
            raise ValueError(f"the {name} dataset has no records")
    if train.num_classes == 0:
        raise ValueError("the train dataset has no classes")
    for name in ("image_shape", "class_names"):
        ours, theirs = getattr(train, name), getattr(validation, name)
        if ours != theirs:
            raise ValueError(
                f"train and validation must have the same {name}, got {ours} and "
                f"{theirs}"
            )


def _check_same_run(
    found: dict[str, Any], expected: dict[str, Any], workdir: pathlib.Path
) -> None:
    """Raises, naming what differs, if a checkpoint is of another run."""
    found, expected = (
        {**identity.pop("config"), **identity}
        for identity in (dict(found), dict(expected))
    )
    differing = [
        f"{name} is {found.get(name)!r} there and {expected.get(name)!r} here"
        for name in sorted({*found, *expected})
        if found.get(name) != expected.get(name)
    ]
    if differing:
        raise ValueError(
            f"{workdir} holds the checkpoints of another run: {'; '.join(differing)}. "
            "Choose another folder, or delete this one"
        )
