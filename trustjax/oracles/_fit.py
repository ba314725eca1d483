"""Training an oracle, and a trained one as a score."""

import functools
import os
from collections.abc import Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trustjax import _validate, data, models, scoring, train
from trustjax.oracles import _network, _step
from trustjax.oracles._backbone import OnEmbedding, OnFeatures
from trustjax.oracles._config import METRICS, OracleConfig
from trustjax.oracles._outcomes import Outcomes, embedded
from trustjax.oracles._trained import KeptOracle, OracleEpoch, TrainedOracle
from trustjax.typing import ProgressFn


def fit(
    config: OracleConfig,
    train_set: data.Dataset,
    validation_set: data.Dataset,
    *,
    train_outcomes: Outcomes,
    validation_outcomes: Outcomes,
    classifier: _network.Network | None = None,
    start: TrainedOracle | None = None,
    workdir: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 500,
    mesh: jax.sharding.Mesh | None = None,
    progress: ProgressFn | None = None,
) -> TrainedOracle:
    """Trains an oracle, or goes on where a run stopped.

    The classifier takes no part in it but through its outcomes. Checkpoints, resuming
    and meshes are those of `train.fit`.

    Args:
      config: the choices of the run.
      train_set: images to train on.
      validation_set: images that `config.metric` is measured on.
      train_outcomes: what the classifier made of them, as `outcomes` returns it.
      validation_outcomes: likewise.
      classifier: the network whose backbone the oracle starts from: of the kind
        `config.model`, and trained as one; or any other, as `(apply_fn, params)`,
        trained in evaluation mode, or not at all where `config.embedding` is
        `"frozen"`; None for fresh weights. It is copied, not changed.
      start: for a `"cloned"` embedding alone: the oracle on the frozen embedding of
        the same classifier whose head this one goes on with.
      workdir: the folder of the checkpoints; None to keep none.
      checkpoint_every: steps between checkpoints.
      mesh: devices to share each batch among, over its axis `data`.
      progress: called now and then, as in `train.fit`.

    Returns:
      The oracle with the weights of the epoch that was best on the validation set.

    Raises:
      NonFiniteLossError: if a loss is NaN or infinite; the message names the step,
        and the last checkpoint before it stays.
      ValueError: if the classifier makes no error, or only errors, on either set; if
        outcomes, datasets, classifier, start and config do not fit each other, as a
        frozen embedding and outcomes without one; if `workdir` holds a checkpoint of
        another run.
    """
    shape = _known(train_set.image_shape)
    model = _network.create(config, shape, classifier=classifier)
    _begin(model, config, start, shape)
    learning, kept_of_classifier = model, dict[str, Any]()
    if isinstance(classifier, tuple):
        kept_of_classifier[_BACKBONE] = _shapes(model)
    if config.embedding == "frozen":
        # Of the same head: what it learns on embeddings, the model has learnt.
        learning = OnEmbedding(model.dense)
        kept_of_classifier[_FROZEN] = _frozen(classifier)
        train_set = embedded(train_set, train_outcomes)
        validation_set = embedded(validation_set, validation_outcomes)
        head: Any = model.dense
        head.measure(train_outcomes.embedding)
    run = _OracleRun(
        learning,
        config,
        train_set,
        validation_set,
        mesh,
        train_outcomes=train_outcomes,
        validation_outcomes=validation_outcomes,
        identity={"image_shape": list(shape), **kept_of_classifier},
    )
    run.train(workdir, checkpoint_every, progress)
    return _trained(model, config, run.best, run.position, shape)


def load(
    workdir: str | os.PathLike[str], *, classifier: _network.Function | None = None
) -> TrainedOracle:
    """The oracle of the last checkpoint in a folder, of a finished run or not.

    Args:
      workdir: the folder.
      classifier: the `(apply_fn, params)` that it was trained on, if it was: functions
        are not kept in a checkpoint. The parameters give the shapes alone.

    Returns:
      The oracle with the weights of its best epoch.

    Raises:
      FileNotFoundError: if there is no checkpoint.
      ValueError: if the checkpoint is not of an oracle, of another version, or not of
        trustjax; if none can be read; if it was trained on `(apply_fn, params)` and
        none is given, or another one, or it was not and one is given.
    """
    with train.last_checkpoint(workdir) as (checkpoints, _):

        def make(document: dict[str, Any]) -> tuple[TrainedOracle, Any]:
            identity = document["identity"]
            _require_oracle(identity, checkpoints.workdir)
            with checkpoints.of_this_version(document):
                config = OracleConfig(**identity["config"])
                position = train.Position.from_json(document["position"], OracleEpoch)
            shape = tuple(identity["image_shape"])
            kept = identity.get(_BACKBONE)
            if (kept is None) != (classifier is None):
                which = "classifier=(apply_fn, params)" if kept else "no classifier"
                raise ValueError(
                    f"the oracle in {checkpoints.workdir} needs {which}: its backbone "
                    f"is {'that function' if kept else config.model}"
                )
            if _FROZEN in identity and identity[_FROZEN] != _frozen(classifier):
                raise ValueError(
                    f"the oracle in {checkpoints.workdir} stands on the embedding of "
                    "another classifier, or of other weights"
                )
            model = _network.create(config, shape, classifier=classifier)
            if kept is not None:
                _check_same_shapes(kept, _shapes(model))
            state, _ = _step.make_train_step(model, config, steps_per_epoch=1)
            best = train.Best.of(state)
            return _trained(model, config, best, position, shape), (state, best)

        found = checkpoints.newest(make)
        assert found is not None, "last_checkpoint has found one"
    _, oracle, (_, best) = found
    train.assign(oracle.model, best.params, best.statistics)
    return oracle


def kept(workdir: str | os.PathLike[str]) -> KeptOracle:
    """What is known of the oracle in a folder.

    Raises:
      FileNotFoundError: if there is no checkpoint.
      ValueError: if the checkpoint is not of an oracle, or not of trustjax; if it
        cannot be read.
    """
    with train.last_checkpoint(workdir) as (checkpoints, step):
        identity = checkpoints.document(step)["identity"]
        _require_oracle(identity, checkpoints.workdir)
        return KeptOracle(tuple(identity["image_shape"]), _BACKBONE in identity)


def _begin(
    model: Any,
    config: OracleConfig,
    start: TrainedOracle | None,
    image_shape: tuple[int, ...],
) -> None:
    """Gives a clone the head that has learnt on the frozen embedding."""
    if (start is None) != (config.embedding != "cloned"):
        needed = "needs" if start is None else "takes no"
        raise ValueError(
            f"an oracle on a {config.embedding} embedding {needed} start=, an oracle "
            "on the frozen one to go on from"
        )
    if start is None:
        return
    for name, ours in (
        ("embedding", "frozen"),
        *((name, getattr(config, name)) for name in _OF_HEAD),
    ):
        if (theirs := getattr(start.config, name)) != ours:
            raise ValueError(f"start must have {name} {ours!r}, got {theirs!r}")
    start.require_shape(image_shape)
    theirs, ours = (
        scoring.fingerprint(jax.tree.map(np.asarray, oracle.params()))
        for oracle in (cast(OnFeatures, start.model), model)
    )
    if theirs != ours:
        raise ValueError(
            "start stands on the embedding of another classifier, or of other weights"
        )
    nnx.update(model.dense, _network.weights(start.model.dense))


_OF_HEAD = ("head", "head_layers", "head_width")


def _require_oracle(identity: Mapping[str, Any], workdir: os.PathLike[str]) -> None:
    if "outcomes" not in identity:
        raise ValueError(f"{workdir} holds a classifier, not an oracle")


_BACKBONE = "backbone"
"""In a checkpoint: the shapes of a network that was given as a function."""

_FROZEN = "frozen_classifier"
"""In a checkpoint: which network's embedding it was that the head stands on."""


def _frozen(classifier: Any) -> str:
    """What tells the parameters of a classifier from those of another."""
    return scoring.fingerprint(classifier[1])


def _shapes(model: models.Classifier) -> dict[str, list[int]]:
    shapes = jax.tree_util.tree_leaves_with_path(_network.weights(model))
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): list(array.shape)
        for path, array in shapes
    }


def _check_same_shapes(
    kept: Mapping[str, list[int]], given: Mapping[str, list[int]]
) -> None:
    for path in sorted({*kept, *given}):
        if kept.get(path) != given.get(path):
            raise ValueError(
                f"the oracle was trained on another classifier: {path} has shape "
                f"{kept.get(path)} in the checkpoint and {given.get(path)} here"
            )


class _OracleRun(train.BestRun):
    """The training of an oracle."""

    epoch_type = OracleEpoch

    def __init__(
        self,
        model: models.Classifier,
        config: OracleConfig,
        train_set: data.Dataset,
        validation_set: data.Dataset,
        mesh: jax.sharding.Mesh | None,
        *,
        train_outcomes: Outcomes,
        validation_outcomes: Outcomes,
        identity: Mapping[str, Any],
    ):
        num_right = int(train_outcomes.correct.sum())
        super().__init__(
            model,
            config,
            train_set,
            validation_set,
            mesh,
            identity={
                "outcomes": scoring.fingerprint((train_outcomes, validation_outcomes)),
                "initial_weights": scoring.fingerprint(_network.weights(model)),
                **identity,
            },
            loss_fn=_step.loss_of(
                config,
                num_wrong=len(train_outcomes.correct) - num_right,
                num_right=num_right,
            ),
            compute_dtype=_step.compute_dtype(config),
        )
        _check_outcomes("train", train_set, train_outcomes)
        _check_outcomes("validation", validation_set, validation_outcomes)
        self.metric_fn = METRICS[config.metric]
        self.outcomes = train_outcomes
        self.validation_correct = jnp.asarray(validation_outcomes.correct)
        outputs = train.make_outputs(model)
        # Every process measures the whole validation set.
        everywhere = None if mesh is None else jax.NamedSharding(mesh, jax.P())

        @functools.partial(jax.jit, out_shardings=everywhere)
        def measured(state: train.TrainState, batch: train.TrainBatch):
            return outputs(state, batch["image"])[:, 0], batch["index"], batch["mask"]

        self.measured = measured

    def targets(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the classifier made of the images."""
        return {
            "correct": self.outcomes.correct[batch["index"]],
            "probability": self.outcomes.probability[batch["index"]],
        }

    def measure(self) -> float:
        """The config's metric on the validation set."""
        z = np.empty(len(self.validation), np.float32)
        names = ("image", "index", "mask")
        for batch in self.dealt(self.validation):
            arrays = self.put({name: batch[name] for name in names})
            values, index, mask = jax.device_get(self.measured(self.state, arrays))
            z[index[mask]] = values[mask]
        if not np.isfinite(z).all():
            raise self.not_finite("the oracle's outputs are", self.position.step)
        return float(self.metric_fn(jnp.asarray(z), self.validation_correct))


def _trained(
    model: models.Classifier,
    config: OracleConfig,
    best: train.Best,
    position: train.Position,
    image_shape: Any,
) -> TrainedOracle:
    train.assign(model, best.params, best.statistics)
    return TrainedOracle(
        model, config, tuple(position.history), position.step, tuple(image_shape)
    )


def _known(image_shape: tuple[int | None, ...]) -> tuple[int, ...]:
    if None in image_shape:
        raise ValueError(f"the images must be of one size, got {image_shape}")
    return tuple(size for size in image_shape if size is not None)


def _check_outcomes(name: str, dataset: data.Dataset, outcomes: Outcomes) -> None:
    """Requires one outcome for each record, and both kinds of them."""
    _validate.same_length(
        **{
            f"the {name} set": jnp.empty(len(dataset)),
            f"{name}_outcomes.correct": jnp.asarray(outcomes.correct),
            f"{name}_outcomes.probability": jnp.asarray(outcomes.probability),
        }
    )
    _validate.probabilities(
        f"{name}_outcomes.probability", jnp.asarray(outcomes.probability)
    )
    _validate.binary(f"{name}_outcomes.correct", jnp.asarray(outcomes.correct))
    wrong = len(dataset) - int(outcomes.correct.sum())
    if wrong in (0, len(dataset)):
        kind = "no error" if wrong == 0 else "nothing but errors"
        raise ValueError(
            f"the classifier makes {kind} on the {name} set ({len(dataset)} records of "
            f"{dataset.name}): an oracle needs right and wrong answers to learn from. "
            "Take records that the classifier has not learnt by heart"
        )
