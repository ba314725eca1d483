"""The network of a report, trained here, and the devices that it runs on."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import numpy as np

from trustjax import _meshes, bridge, oracles, train
from trustjax.ingredients import Ingredient
from trustjax.pipeline._config import ReportConfig, in_reach
from trustjax.pipeline._dataset import Datasets
from trustjax.typing import ApplyFn, Params, ProgressFn

STEPS_BETWEEN_CHECKPOINTS = 50  # a few seconds of the small networks on a CPU


class Network(NamedTuple):
    """A network that can be asked, and what a reader should know of it.

    Attributes:
      apply_fn: `(params, x) -> logits`.
      params: what it takes first.
      stochastic_apply_fn: `(params, x, key) -> logits`, dropout on; None without any.
      brought: ingredients beside its own: what an oracle or a detector makes of a
        batch.
      description: how it came to be, for the run's record.
      scores: names of those that are asked of it.
      outputs: `"logits"`, or `"probabilities"` where the network ends in a softmax and
        the logits' constant is lost.
      notes: what was found about it, a sentence each.
    """

    apply_fn: ApplyFn
    params: Params
    stochastic_apply_fn: Any
    brought: tuple[Ingredient, ...]
    description: dict[str, Any]
    scores: tuple[str, ...]
    outputs: str = "logits"
    notes: tuple[str, ...] = ()


def trained(
    config: ReportConfig, datasets: Datasets, progress: ProgressFn | None
) -> Network:
    """The network of a finished run, or of one that goes on until it is."""
    shape = datasets.test.fixed_shape
    oracle_of(config, shape)  # what is wrong with it is said before the training
    assert datasets.train is not None, "what is trained has a training set"
    assert datasets.validation is not None, "and a validation set"
    recipe = _recipe(config)
    trained = train.fit(
        recipe,
        datasets.train,
        datasets.validation,
        workdir=config.checkpoint_folder,
        checkpoint_every=STEPS_BETWEEN_CHECKPOINTS,
        mesh=mesh(recipe.batch_size),
        progress=progress,
    )
    apply_fn, params = bridge.from_nnx(trained.model)
    oracle = oracle_of(config, shape, (apply_fn, params))
    stochastic_apply_fn = None
    if bridge.has_dropout(trained.model):
        stochastic_apply_fn, _ = bridge.stochastic_from_nnx(trained.model)
    names, of_scores = in_reach(
        config.score_names(config.offers(stochastic_apply_fn is not None)),
        config.scores,
        datasets.test.num_classes,
    )
    return Network(
        apply_fn,
        params,
        stochastic_apply_fn,
        brought(config, oracle),
        {
            "model": config.network,
            "num_parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
            "training": dataclasses.asdict(trained.config),
            "training_steps": trained.step,
            "training_epochs": len(trained.history),
            "oracle_training": oracle and dataclasses.asdict(oracle.config),
            **of_detector(config),
        },
        names,
        notes=of_scores,
    )


def oracle_of(
    config: ReportConfig,
    image_shape: tuple[int, ...],
    classifier: tuple[ApplyFn, Params] | None = None,
) -> oracles.TrainedOracle | None:
    """The oracle that a report takes; None for none, or while its network is missing.

    Args:
      config: what the report is about.
      image_shape: of what the network takes.
      classifier: the network: an oracle may stand on its embedding.

    Raises:
      ValueError: if the oracle is of another network, or of other images.
    """
    if config.oracle is None:
        return None
    kept = oracles.kept(config.oracle)
    kept.require_shape(image_shape)
    if not kept.needs_classifier:
        return oracles.load(config.oracle)
    if classifier is None:
        return None
    return oracles.load(config.oracle, classifier=classifier)


def brought(
    config: ReportConfig, oracle: oracles.TrainedOracle | None
) -> tuple[Ingredient, ...]:
    """What an oracle and a detector make of a batch, as ingredients."""
    output = config.detector_output
    of_oracle = () if oracle is None else oracle.ingredients()
    return of_oracle if output is None else (*of_oracle, output)


def of_detector(config: ReportConfig) -> dict[str, Any]:
    """What a record of the run says of a detector, if there is one."""
    detector = config.fitted_detector
    if detector is None:
        return {}
    return {
        "detector_file": str(config.detector),
        "detector_kind": detector.kind,
        "detector_columns": list(detector.names),
    }


def over_all_devices() -> jax.sharding.NamedSharding | None:
    """Of a batch over the devices of all processes; None where there is one."""
    if jax.device_count() == 1:
        return None
    return jax.sharding.NamedSharding(_mesh(_devices().reshape(-1, 1)), jax.P("data"))


def mesh(batch_size: int) -> jax.sharding.Mesh | None:
    """Devices that a batch divides among, as many as there are; None for one.

    Every process has devices of it: all of them have the network, and none waits. Where
    a batch does not divide among the processes, several have the same share of it, over
    the axis `copies`, and do the same.
    """
    taking_part = _shared_out(_devices(), batch_size)
    return None if taking_part.size == 1 else _mesh(taking_part)


def _shared_out(devices: np.ndarray, batch_size: int) -> np.ndarray:
    """Of devices `[processes, each]` as many as can, `[shares of a batch, copies]`."""
    processes, each = devices.shape
    shares = math.gcd(batch_size, processes)
    in_one = max(n for n in range(1, each + 1) if batch_size // shares % n == 0)
    # Processes that are next to each other have the same share.
    grouped = devices[:, :in_one].reshape(shares, processes // shares, in_one)
    return grouped.swapaxes(1, 2).reshape(shares * in_one, -1)


def _devices() -> np.ndarray:
    """`[processes, devices of each]`."""
    return _meshes.by_process(jax.devices()).reshape(jax.process_count(), -1)


def _mesh(devices: np.ndarray) -> jax.sharding.Mesh:
    """Of devices `[shares of a batch, copies of each]`."""
    automatic = jax.sharding.AxisType.Auto
    if devices.shape[1] == 1:
        return jax.sharding.Mesh(devices[:, 0], ("data",), (automatic,))
    return jax.sharding.Mesh(devices, ("data", "copies"), (automatic,) * 2)


def _recipe(config: ReportConfig) -> train.TrainConfig:
    changes: dict[str, Any] = {"seed": config.seed}
    if config.epochs is not None:
        changes["epochs"] = config.epochs
    return train.config_for(config.network, **changes)
