"""A second stage on the network of a report, in the place of the network alone."""

import dataclasses
from typing import Any

import jax
import numpy as np

from trustjax import data, introspection, scoring
from trustjax.ingredients import LOGITS
from trustjax.introspection import Introspective
from trustjax.pipeline import _network
from trustjax.pipeline._config import ReportConfig
from trustjax.pipeline._dataset import Datasets
from trustjax.pipeline._network import Network
from trustjax.typing import ApplyFn, Params, ProgressFn


def with_second_stage(
    config: ReportConfig,
    datasets: Datasets,
    network: Network,
    progress: ProgressFn | None,
) -> Network:
    """The network that a report is on: as it is, or read by a second stage.

    The second stage is trained on the features of the first, or loaded where it is
    finished.

    Raises:
      ValueError: if a second stage is asked for and there is no labelled training or
        validation set, or the network does not end in a dense layer.
    """
    if not config.introspective:
        return network
    if datasets.train is None or datasets.validation is None:
        raise ValueError(
            "--introspective trains a second stage: it needs a training set and a "
            f"validation set (--train-split, --validation-split) of {config.dataset}"
        )
    choices = config.second_stage.config(seed=config.seed)
    made = introspection.fit(
        choices,
        datasets.train,
        datasets.validation,
        (network.apply_fn, network.params),
        workdir=config.second_stage_folder,
        checkpoint_every=_network.STEPS_BETWEEN_CHECKPOINTS,
        mesh=_network.mesh(choices.batch_size),
        progress=progress,
    )
    alone, both = (
        _correct(config, *asked, datasets.test)
        for asked in (
            (network.apply_fn, network.params),
            (made.apply_fn, made.params),
        )
    )
    return network._replace(
        apply_fn=made.apply_fn,
        params=made.params,
        stochastic_apply_fn=_stochastic(network, made),
        description=_described(network, made),
        outputs="logits",
        notes=(*_told(config, datasets, made, alone, both), *network.notes),
    )


def _correct(
    config: ReportConfig, apply_fn: ApplyFn, params: Params, dataset: data.Dataset
) -> np.ndarray:
    """Which records of a dataset a network gets right."""
    found = scoring.run(
        [LOGITS],
        apply_fn,
        params,
        data.batches(
            dataset, config.examples_at_a_time(dataset.fixed_shape), of_all=True
        ),
        sharding=_network.over_all_devices(),
    )
    return found.values[LOGITS.name].argmax(axis=-1) == found.labels


def _stochastic(network: Network, made: Introspective) -> Any:
    """The second stage on a first stage with dropout on; None without any."""
    stochastic = network.stochastic_apply_fn
    if stochastic is None:
        return None

    def stochastic_apply_fn(params: Params, x: Any, key: jax.Array) -> jax.Array:
        keyed = lambda params, x: stochastic(params, x, key)
        return introspection.combined(made.config, keyed)(params, x)

    return stochastic_apply_fn


def _described(network: Network, made: Introspective) -> dict[str, Any]:
    count = sum(np.size(leaf) for leaf in jax.tree.leaves(made.params))
    return {
        **network.description,
        "model": f"{network.description['model']}, introspective",
        "num_parameters": count,
        "second_stage": {
            "num_parameters": made.num_parameters,
            "training_steps": made.step,
            "training_epochs": len(made.history),
            "training": dataclasses.asdict(made.config),
            "validation_accuracy": made.validation_accuracy,
            "first_stage_validation_accuracy": made.first_stage_accuracy,
        },
    }


def _told(
    config: ReportConfig,
    datasets: Datasets,
    made: Introspective,
    alone: np.ndarray,
    both: np.ndarray,
) -> tuple[str, ...]:
    """What a reader must know of two stages, a sentence each or two."""
    assert datasets.train is not None, "the second stage learnt from it"
    learnt_from = datasets.train
    lost, won = (alone & ~both).sum(), (both & ~alone).sum()
    layers = ", ".join(map(str, (*made.config.widths, learnt_from.num_classes)))
    return (
        f"The answers are those of two stages: {config.network}, left as it is, and a "
        f"second stage of {len(made.config.widths) + 1} dense layers ({layers} units, "
        f"{made.num_parameters:,} weights) that reads its introspective features, the "
        "gradient in its last layer of the squared error to all ones. The second stage "
        f"learnt from the {len(learnt_from):,} images of {learnt_from.split}.",
        "Introspective features are a function of the first stage's embedding alone: "
        "whether introspection or a larger head makes a difference to the first stage, "
        "this page does not say.",
        f"Of the {len(both):,} test images the first stage alone gets {alone.sum():,} "
        f"right and both stages {both.sum():,}; {lost:,} are right with the first "
        f"stage alone and not with both, {won:,} the other way round.",
    )
