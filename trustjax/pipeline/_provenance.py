"""What a reader needs to make the same report again, and to read its scores."""

import dataclasses
import importlib.metadata
import pathlib
import platform
from collections.abc import Iterable
from typing import Any

import jax

from trustjax import (
    bridge,
    data,
    oracles,
    scores,
    train,
)
from trustjax.pipeline._config import ReportConfig

_PACKAGES = ["flax", "grain", "jax", "numpy", "optax", "orbax-checkpoint", "trustjax"]


def titles(names: Iterable[str]) -> dict[str, str]:
    return {name: scores.lookup(name).title for name in names}


def captions(names: Iterable[str]) -> dict[str, str]:
    return {name: _caption(scores.lookup(name)) for name in names}


def _caption(score: scores.Score) -> str:
    parts = (score.summary, f"{score.equation} ({score.paper}).", score.provenance)
    return " ".join(part for part in parts if part)


def of_report(
    config: ReportConfig,
    trained: train.TrainResult,
    oracle: oracles.TrainedOracle | None,
    dataset: data.Dataset,
    command: str,
) -> dict[str, Any]:
    """What a reader needs to make the same report again."""
    chosen = {
        name: str(value) if isinstance(value, pathlib.Path) else value
        for name, value in dataclasses.asdict(config).items()
    }
    _, params = bridge.from_nnx(trained.model)
    return {
        "command": command,
        "dataset": dataset.name,
        "dataset_fingerprint": dataset.fingerprint,
        "model": config.model,
        "num_parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "seed": config.seed,
        "report": chosen,
        "training": dataclasses.asdict(trained.config),
        "oracle_training": oracle and dataclasses.asdict(oracle.config),
        "training_steps": trained.step,
        "training_epochs": len(trained.history),
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "python": platform.python_version(),
        "versions": versions(*_PACKAGES),
    }


def versions(*packages: str) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in packages}
