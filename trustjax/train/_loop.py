"""The training loop, and going on where a run stopped: what all runs share."""

import abc
import contextlib
import dataclasses
import json
import logging
import math
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from trustjax import _files, _processes, _validate, data
from trustjax.train import _checkpoint, _step
from trustjax.train._config import TrainConfig
from trustjax.train._position import Plateau, Position
from trustjax.typing import ProgressFn

_SECONDS_BETWEEN_REPORTS = 0.5

_logger = logging.getLogger("trustjax.train")


class NonFiniteLossError(ArithmeticError):
    """A loss or a weight became NaN or infinite; the message names the step."""


class Run(abc.ABC):
    """A training run and where it is.

    A subclass says what a step learns from, beside the images, and what is measured
    at the end of an epoch.

    Args:
      model: the network, with the weights to start from.
      config: the choices of the run.
      train: images to train on.
      validation: images to measure on.
      mesh: devices to share each batch among, over its axis `data`.
      identity: what else the result depends on, in JSON; a checkpoint with another
        identity is refused.
      loss_fn: as `make_train_step` takes it.
      dataset_loss_fn: as `make_train_step` takes it.
      network_loss_fn: as `make_train_step` takes it.
      compute_dtype: as `make_train_step` takes it.
      augment_fn: as `make_train_step` takes it.
      adversary_fn: as `make_train_step` takes it.
    """

    epoch_type: Any
    """The named tuple that holds an epoch's numbers, in the order of `TrainEpoch`."""

    def __init__(
        self,
        model: nnx.Module,
        config: TrainConfig,
        train: data.Dataset,
        validation: data.Dataset,
        mesh: jax.sharding.Mesh | None,
        *,
        identity: Mapping[str, Any],
        loss_fn: _step.ExampleLossFn,
        dataset_loss_fn: _step.DatasetLossFn | None = None,
        network_loss_fn: _step.NetworkLossFn | None = None,
        compute_dtype: Any = None,
        augment_fn: _step.AugmentFn | None = None,
        adversary_fn: _step.AdversaryFn | None = None,
    ):
        _check_datasets(train, validation)
        _check_processes(mesh)
        self.model = model
        self.config = config
        self.mesh = mesh
        self.validation = validation
        self.identity = {
            "config": dataclasses.asdict(config),
            "class_names": list(train.class_names),
            "image_shape": list(train.image_shape),
            "train": train.fingerprint,
            "validation": validation.fingerprint,
            **identity,
        }
        _processes.require_same(
            {name: json.dumps(value) for name, value in self.identity.items()}
        )
        self.shares = _Shares.of(config.batch_size, mesh)
        self.steps_per_epoch = math.ceil(len(train) / config.batch_size)
        self.batches = iter(
            self.dealt(
                train,
                shuffle=True,
                seed=config.seed,
                num_epochs=config.epochs,
                # BatchNorm sees whole batches: copies of real images, not blanks.
                fill=True,
            )
        )
        self.state, self.train_step = _step.make_train_step(
            model,
            config,
            steps_per_epoch=self.steps_per_epoch,
            loss_fn=loss_fn,
            dataset_loss_fn=dataset_loss_fn,
            network_loss_fn=network_loss_fn,
            compute_dtype=compute_dtype,
            augment_fn=augment_fn,
            adversary_fn=adversary_fn,
        )
        if mesh is not None:
            replicated = jax.sharding.NamedSharding(mesh, jax.P())
            self.state = jax.device_put(self.state, replicated)
        self.position = Position(Plateau(config.learning_rate), self.epoch_type)

    def dealt(self, dataset: data.Dataset, **options: Any) -> Any:
        """Of each batch of all processes, the rows that the devices of this one take.

        Args:
          dataset: any.
          **options: of `data.batches`.
        """
        size, number, count = self.shares
        return data.batches(
            dataset, size, process_index=number, process_count=count, **options
        )

    @abc.abstractmethod
    def targets(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the step learns from, one row for each image of the batch."""

    @abc.abstractmethod
    def measure(self) -> float:
        """How well the network does on the validation set; higher is better."""

    @property
    def arrays(self) -> Any:
        """What a checkpoint holds."""
        return self.state

    @arrays.setter
    def arrays(self, restored: Any) -> None:
        self.state = restored

    def train(
        self,
        workdir: str | os.PathLike[str] | None,
        checkpoint_every: int,
        progress: ProgressFn | None,
    ) -> None:
        """Takes the steps that are left, from the last checkpoint if there is one."""
        _validate.count("checkpoint_every", checkpoint_every)
        if workdir is None:
            self.complete(progress)
            return
        _processes.require_shared(workdir)
        with _held(workdir), _checkpoint.Checkpoints(workdir) as checkpoints:
            self.restore(checkpoints)
            self.complete(progress, checkpoints, checkpoint_every)

    def restore(self, checkpoints: _checkpoint.Checkpoints) -> None:
        """Goes to the last checkpoint that is whole, if there is one."""

        def make(document: dict[str, Any]) -> tuple[Position, Any]:
            identity = document["identity"]
            with checkpoints.of_this_version(document):
                type(self.config)(**identity["config"])
                position = Position.from_json(document["position"], self.epoch_type)
            _check_same_run(identity, self.identity, checkpoints.workdir)
            return position, self.arrays

        found = checkpoints.newest(make)
        if found is None:
            return
        document, self.position, self.arrays = found
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
        batch = next(self.batches)
        arrays = {"image": batch["image"], "mask": batch["mask"], **self.targets(batch)}
        self.state = self.train_step(self.state, self.put(arrays), scale)
        self.position.step += 1

    def end_epoch(self) -> None:
        """Measures the epoch that has ended."""
        self.check_losses()
        loss = float(self.state.loss_sum) / self.steps_per_epoch
        self.position.end_epoch(loss, self.measure(), self.config)
        nothing = jax.numpy.zeros_like(self.state.loss_sum)
        self.state = self.state._replace(loss_sum=nothing)

    def put(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Arrays of a batch, shared among the devices of the mesh."""
        if self.mesh is None:
            return dict(arrays)
        shared = jax.sharding.NamedSharding(self.mesh, jax.P("data"))
        return {
            name: jax.make_array_from_process_local_data(
                shared, array, (len(array) * self.shares.count, *array.shape[1:])
            )
            for name, array in arrays.items()
        }

    def check_losses(self) -> None:
        """Raises if a loss so far, or the weights after it, were not finite."""
        step = int(self.state.first_bad_step)
        if step >= 0:
            raise self.not_finite("the training loss, or a weight, is", step)

    def not_finite(self, what: str, step: int) -> NonFiniteLossError:
        """The error that says where training has stopped."""
        rate = f"{self.position.plateau.learning_rate:g}"
        if self.config.schedule == "cosine":
            rate += " at its peak"
        return NonFiniteLossError(
            f"{what} not finite at step {step} (learning rate {rate}): training has "
            "stopped"
        )

    def save(self, checkpoints: _checkpoint.Checkpoints) -> None:
        """Writes a checkpoint, of finite losses and weights only."""
        self.check_losses()
        document = {
            "identity": self.identity,
            "position": self.position.to_json(),
            "iterator": self.batches.get_state(),
        }
        checkpoints.save(self.position.step, self.arrays, document)

    def report(self, progress: ProgressFn) -> None:
        """Says how far the run is."""
        facts = self.position.history[-1]._asdict() if self.position.history else {}
        facts.pop("step", None)
        # A run that ends before the last epoch is complete all the same.
        finished = self.position.finished(self.config)
        most = self.config.epochs * self.steps_per_epoch
        total = self.position.step if finished else most
        progress("training", self.position.step, total, facts)


def _held(workdir: str | os.PathLike[str]) -> contextlib.AbstractContextManager[None]:
    """Waits for another run that trains there, to find what it has done."""
    read_only = os.path.isdir(workdir) and not os.access(workdir, os.W_OK)
    # The first process holds it for all; where nobody can write nobody needs to.
    if jax.process_index() or read_only:
        return contextlib.nullcontext()
    return _files.held(workdir, wait=_logger.warning)


class _Shares(NamedTuple):
    """How a batch is dealt among the processes.

    Attributes:
      size: rows that a process takes.
      number: of its share, in [0, count).
      count: of shares. Processes may have the same one: a mesh may have an axis beside
        `data`, over which its devices do the same.
    """

    size: int
    number: int
    count: int

    @classmethod
    def of(cls, batch_size: int, mesh: jax.sharding.Mesh | None) -> "_Shares":
        """The share of this process.

        Raises:
          ValueError: if the batch does not divide among the devices, or the devices of
            this process do not take rows that lie together.
        """
        if mesh is None:
            return cls(batch_size, 0, 1)
        devices = mesh.shape["data"]
        if batch_size % devices:
            raise ValueError(
                f"batch_size must divide among {devices} devices of the axis data, got "
                f"{batch_size}"
            )
        sharding = jax.sharding.NamedSharding(mesh, jax.P("data"))
        taken = sharding.addressable_devices_indices_map((batch_size,)).values()
        starts = {rows[0].start or 0 for rows in taken if rows}
        size = len(starts) * batch_size // devices
        number, rest = divmod(min(starts), size)
        if batch_size % size or rest or max(starts) >= (number + 1) * size:
            raise ValueError(
                "the devices of a process must lie together on the axis data of a "
                f"mesh, got rows {sorted(starts)} of {batch_size} for those of process "
                f"{jax.process_index()}"
            )
        return cls(size, number, batch_size // size)


def _check_processes(mesh: jax.sharding.Mesh | None) -> None:
    """Requires a mesh with devices of every process: else each trains on its own."""
    processes = jax.process_count()
    if processes == 1:
        return
    taking_part = (
        0 if mesh is None else len({d.process_index for d in mesh.devices.flat})
    )
    if taking_part < processes:
        raise ValueError(
            f"training in {processes} processes needs a mesh with devices of all of "
            f"them, got {'no mesh' if mesh is None else f'one of {taking_part}'}"
        )


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
    there: dict[str, Any], here: dict[str, Any], workdir: pathlib.Path
) -> None:
    """Raises, naming what differs, if a checkpoint is of another run."""
    there, here = (
        {**identity.pop("config"), **identity} for identity in (dict(there), dict(here))
    )
    differing = [
        f"{name} is {there.get(name)!r} there and {here.get(name)!r} here"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    ]
    if differing:
        raise ValueError(
            f"{workdir} holds the checkpoints of another run: {'; '.join(differing)}. "
            "Choose another folder"
        )
