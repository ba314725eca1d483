"""Training a second stage on the features of a frozen first stage."""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import _files, _meshes, _processes, data, scoring, train
from trustjax.ingredients import FEATURES, LOGITS
from trustjax.introspection import _stages
from trustjax.introspection._asking import logits_and_embedding
from trustjax.introspection._config import IntrospectionConfig
from trustjax.introspection._standardized import feature_sums, standardization
from trustjax.typing import ApplyFn, Params, ProgressFn, SplitModel

FirstStage = tuple[ApplyFn | SplitModel, Params]
"""A network as `(apply_fn, params)`."""


@dataclasses.dataclass(frozen=True)
class Introspective:
    """Both stages, the second with the weights of its best epoch.

    Attributes:
      apply_fn: `(params, x) -> logits`, a network like any other.
      params: `{"first_stage": those of the first, "second_stage": layers by name}`.
      config: the choices of the second stage.
      history: one entry per epoch.
      step: steps taken.
      first_stage_accuracy: on the validation set, in [0, 1].
    """

    apply_fn: ApplyFn
    params: Params
    config: IntrospectionConfig
    history: tuple[train.TrainEpoch, ...]
    step: int
    first_stage_accuracy: float

    @property
    def validation_accuracy(self) -> float:
        """Of the best epoch, which it was chosen by, in [0, 1]."""
        return max(epoch.validation_accuracy for epoch in self.history)

    @property
    def num_parameters(self) -> int:
        """Of the second stage."""
        leaves = jax.tree.leaves(self.params[_stages.SECOND_STAGE])
        return sum(leaf.size for leaf in leaves)


def fit(
    config: IntrospectionConfig,
    train_set: data.Dataset,
    validation_set: data.Dataset,
    first_stage: FirstStage,
    *,
    workdir: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 500,
    mesh: jax.sharding.Mesh | None = None,
    progress: ProgressFn | None = None,
) -> Introspective:
    """Trains a second stage on the features of a network, or goes on where it stopped.

    The first stage stays as it is, in evaluation mode. What its features are
    standardised by is found in one pass over the training set, from two sums of the
    size of the last layer. Checkpoints, resuming and meshes are those of `train.fit`.

    Args:
      config: the choices of the second stage.
      train_set: labelled images to train on. The paper takes those that the first stage
        was trained on; of a network that has learnt them by heart, records that it has
        not seen say more.
      validation_set: images that the best epoch is chosen on.
      first_stage: `(apply_fn, params)` of a network that ends in a dense layer.
      workdir: the folder of the checkpoints, and of what is kept of the first stage;
        None to keep none.
      checkpoint_every: steps between checkpoints.
      mesh: devices to share each batch among, over its axis `data`.
      progress: called now and then, as in `train.fit`.

    Returns:
      Both stages as one network.

    Raises:
      NonFiniteLossError: if a loss is NaN or infinite.
      ValueError: if the first stage does not end in a dense layer, has not the classes
        of the datasets, or says what is not finite; if the datasets do not fit each
        other; if `workdir` holds a checkpoint of another run, as of another first
        stage, naming what differs.
    """
    shape, (classes, width) = _sizes(first_stage, train_set)
    asking = _Asking(*first_stage, mesh)
    known = scoring.fingerprint(first_stage[1])
    streamed = config.first_stage == "streamed"
    if not streamed:
        train_set, validation_set = (
            _kept(first_stage, known, dataset, config, workdir, mesh, progress)
            for dataset in (train_set, validation_set)
        )
    run = _IntrospectionRun(
        _stages.SecondStage(config, classes, width),
        config,
        train_set,
        validation_set,
        mesh,
        asking=asking if streamed else None,
        identity={"image_shape": list(shape), _OF_FIRST_STAGE: known},
    )
    run.train(workdir, checkpoint_every, progress)
    return _made(config, first_stage, run.model, run.best, run.position, run.accuracy)


def load(workdir: str | os.PathLike[str], first_stage: FirstStage) -> Introspective:
    """Both stages from the last checkpoint in a folder, of a finished run or not.

    Args:
      workdir: the folder.
      first_stage: the `(apply_fn, params)` that the second stage was trained on.

    Returns:
      Both stages, the second with the weights of its best epoch.

    Raises:
      FileNotFoundError: if there is no checkpoint.
      ValueError: if the checkpoint is of something else, of another version, or of the
        features of another first stage; if none can be read.
    """
    with train.last_checkpoint(workdir) as (checkpoints, _):

        def make(document: dict[str, Any]) -> tuple[Any, Any]:
            identity = document["identity"]
            if _OF_FIRST_STAGE not in identity:
                raise ValueError(f"{checkpoints.workdir} holds no second stage")
            with checkpoints.of_this_version(document):
                config = IntrospectionConfig(**identity["config"])
                position = train.Position.from_json(document["position"])
                accuracy = identity[_ACCURACY]
            if identity[_OF_FIRST_STAGE] != scoring.fingerprint(first_stage[1]):
                raise ValueError(
                    f"the second stage in {checkpoints.workdir} reads the features of "
                    "another first stage, or of other weights"
                )
            shape = tuple(identity["image_shape"])
            sizes = _sizes_for(first_stage, shape)
            model = _stages.SecondStage(config, *sizes)
            state, _ = train.make_train_step(model, config, steps_per_epoch=1)
            best = train.Best.of(state)
            return (config, model, position, accuracy), (state, best)

        found = checkpoints.newest(make)
        assert found is not None, "last_checkpoint has found one"
    _, (config, model, position, accuracy), (_, best) = found
    return _made(config, first_stage, model, best, position, accuracy)


_OF_FIRST_STAGE = "first_stage_parameters"
"""In a checkpoint: which network's features the second stage reads."""

_ACCURACY = "first_stage_accuracy"
"""In a checkpoint: of the first stage on the validation set."""


def _made(
    config: IntrospectionConfig,
    first_stage: FirstStage,
    model: Any,
    best: train.Best,
    position: train.Position,
    accuracy: float,
) -> Introspective:
    train.assign(model, best.params, best.statistics)
    apply_fn, params = first_stage
    return Introspective(
        _stages.combined(config, apply_fn),
        {_stages.FIRST_STAGE: params, _stages.SECOND_STAGE: model.plain()},
        config,
        tuple(position.history),
        position.step,
        accuracy,
    )


def _sizes(
    first_stage: FirstStage, dataset: data.Dataset
) -> tuple[tuple[int, ...], tuple[int, int]]:
    """The shape of the images, and the classes and the width of the first stage."""
    shape = dataset.fixed_shape
    classes, width = _sizes_for(first_stage, shape)
    if classes != dataset.num_classes:
        raise ValueError(
            f"the first stage has {classes} classes, {dataset.name} has "
            f"{dataset.num_classes}"
        )
    return shape, (classes, width)


def _sizes_for(first_stage: FirstStage, shape: tuple[int, ...]) -> tuple[int, int]:
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    apply_fn, params = first_stage
    asked = lambda params, x: logits_and_embedding(apply_fn, params, x)
    logits, embedding = jax.eval_shape(asked, params, images)
    return logits.shape[1], embedding.shape[1]


class _Asking:
    """A first stage on the devices that train: images in, logits and embedding out."""

    def __init__(
        self,
        apply_fn: ApplyFn | SplitModel,
        params: Params,
        mesh: jax.sharding.Mesh | None,
    ):
        if mesh is not None:
            params = jax.device_put(params, jax.sharding.NamedSharding(mesh, jax.P()))
        self._params = params
        self._asked = jax.jit(
            lambda params, x: _stages.joined(*logits_and_embedding(apply_fn, params, x))
        )

    def __call__(self, images: Any) -> jax.Array:
        """As `SecondStage` takes them."""
        return self._asked(self._params, images)


class _IntrospectionRun(train.BestRun, train.ClassifierRun):
    """The training of a second stage.

    Args:
      asking: what makes of images what the model takes; None where the datasets hold
        that already.
    """

    def __init__(
        self,
        model: _stages.SecondStage,
        config: IntrospectionConfig,
        train_set: data.Dataset,
        validation_set: data.Dataset,
        mesh: jax.sharding.Mesh | None,
        *,
        asking: _Asking | None,
        identity: Mapping[str, Any],
    ):
        self.asking = asking
        super().__init__(
            model,
            config,
            train_set,
            validation_set,
            mesh,
            identity=identity,
            loss_fn=train.cross_entropy,
        )
        # As a checkpoint has it.
        self.identity["config"]["widths"] = list(config.widths)
        self.training = train_set
        self.classes = model.classes
        self.accuracy = self._measured_first_stage()
        self.identity[_ACCURACY] = self.accuracy

    def put(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Arrays of a batch on the devices; of images what the first stage says."""
        placed = super().put(arrays)
        if self.asking is None:
            return placed
        return {**placed, "image": self.asking(placed["image"])}

    def complete(self, *args: Any, **kwargs: Any) -> None:
        """Takes the steps that are left; standardises before the first."""
        if self.position.step == 0:
            self._standardize()
        super().complete(*args, **kwargs)

    def _standardize(self) -> None:
        model: Any = self.model
        config = model.config

        @self._jitted
        def sums(x: jax.Array, mask: jax.Array):
            both = x[:, 0, 0]
            z, h = both[:, : self.classes], both[:, self.classes :]
            return feature_sums(_stages.read(config, z, h), mask)

        found = standardization(self._added_up(sums, self.training, ("mask",)))
        model.standardize(found)
        first = {"mean": model.first.mean[...], "deviation": model.first.deviation[...]}
        if self.mesh is not None:
            replicated = jax.sharding.NamedSharding(self.mesh, jax.P())
            first = jax.device_put(first, replicated)
        self.state = self.state._replace(statistics={"first": first})
        self.best = train.Best.of(self.state)

    def _measured_first_stage(self) -> float:
        @self._jitted
        def right(x: jax.Array, mask: jax.Array, label: jax.Array) -> jax.Array:
            predicted = jnp.argmax(x[:, 0, 0, : self.classes], axis=-1)
            return jnp.sum((predicted == label) & mask)

        correct = self._added_up(right, self.validation, ("mask", "label"))
        return float(correct) / len(self.validation)

    def _added_up(self, fun: Any, dataset: data.Dataset, names: Sequence[str]) -> Any:
        """Sums over a dataset, in float64 over the batches."""
        total: Any = None
        for batch in self.dealt(dataset):
            arrays = self.put({name: batch[name] for name in ("image", *names)})
            found = fun(arrays["image"], *(arrays[name] for name in names))
            wide = jax.tree.map(np.float64, jax.device_get(found))
            total = wide if total is None else jax.tree.map(np.add, total, wide)
        return total

    def _jitted(self, fun: Any) -> Any:
        """Every process gets the sums of all of them."""
        if self.mesh is None:
            return jax.jit(fun)
        everywhere = jax.sharding.NamedSharding(self.mesh, jax.P())
        return jax.jit(fun, out_shardings=everywhere)


def _kept(
    first_stage: FirstStage,
    known: str,
    dataset: data.Dataset,
    config: IntrospectionConfig,
    workdir: str | os.PathLike[str] | None,
    mesh: jax.sharding.Mesh | None,
    progress: ProgressFn | None,
) -> data.Dataset:
    """The dataset with what the first stage says in the place of its images."""
    path = None
    if workdir is not None:
        name = f"{dataset.fingerprint[:16]}-{known[:16]}.npz"
        path = pathlib.Path(workdir, "first_stage", name)
    kept = None if path is None else _files.kept_arrays(path)
    if not _processes.all_have(kept is not None) or kept is None:
        sharding = None
        if mesh is not None:
            if jax.process_count() > 1:
                # Each process reads rows of its own; training may share some.
                devices = _meshes.by_process(mesh.devices.flat)
                automatic = (jax.sharding.AxisType.Auto,)
                mesh = jax.sharding.Mesh(devices, ("data",), automatic)
            sharding = jax.sharding.NamedSharding(mesh, jax.P("data"))
        results = scoring.run(
            [LOGITS, FEATURES],
            *first_stage,
            data.batches(dataset, config.batch_size, of_all=True),
            sharding=sharding,
            workdir=None if path is None else path.with_suffix(""),
            progress=progress,
            task=f"asking about {dataset.name} {dataset.split}",
            total=len(dataset),
        )
        said = [results.values[node.name] for node in (LOGITS, FEATURES)]
        joined = np.concatenate(said, axis=1, dtype=np.float32)[:, None, None]
        kept = {"said": joined, "label": results.labels}
        if path is not None and _processes.is_first():
            with _files.written_whole(path) as temporary:
                np.savez(temporary, allow_pickle=False, **kept)
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)  # empty by now
        _processes.wait_for_all("what the first stage says is kept")
    source = data.ArraySource(kept["said"], kept["label"])
    return dataclasses.replace(
        dataset, source=source, image_shape=kept["said"].shape[1:]
    )
