"""What a reader needs to make the same report again, and to read its scores."""

import dataclasses
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax

from trustjax import data, scores
from trustjax.pipeline._config import (
    ComparisonConfig,
    PredictionsConfig,
    ReportConfig,
)
from trustjax.pipeline._detect_config import DetectConfig
from trustjax.pipeline._explain_config import ExplainConfig
from trustjax.pipeline._network import Network

# Where a report goes does not change what it says.
_OF_THE_PLACE = ("out", "overwrite")
# What is left out where it is not asked for: older pages had no such choice.
_UNLESS_ASKED = ("attacks", "interventions", "membership", "second_stage")
_SETTINGS = "report"
_LISTED_CLASSES = 100
_WITHOUT_NETWORK = ("jax", "numpy", "trustjax")
_WITH_NETWORK = (*_WITHOUT_NETWORK, "flax", "grain", "optax", "orbax-checkpoint")


def of_network(
    config: ReportConfig,
    network: Network,
    dataset: data.Dataset,
    shared: data.Shared | None,
    notes: Sequence[str],
    command: str,
) -> dict[str, Any]:
    """The record of a report on a network."""
    return {
        "command": command,
        "dataset": dataset.name,
        "dataset_fingerprint": dataset.fingerprint,
        "class_names": _class_names(dataset),
        "test_images_in_training_set": (
            "not compared"
            if shared is None
            else f"{shared.in_training.sum():,}, by {shared.compared}"
        ),
        "seed": config.seed,
        _SETTINGS: settings(config),
        **network.description,
        "devices": _devices(),
        "python": platform.python_version(),
        "versions": _versions(_WITH_NETWORK),
        **({"notes": list(notes)} if notes else {}),
    }


def of_predictions(
    config: PredictionsConfig, notes: Sequence[str], command: str
) -> dict[str, Any]:
    """The record of a report on predictions."""
    return {
        "command": command,
        "dataset": config.predictions.name,
        "seed": config.seed,
        _SETTINGS: settings(config),
        "versions": _versions(_WITHOUT_NETWORK),
        **({"notes": list(notes)} if notes else {}),
    }


def of_comparison(config: ComparisonConfig, command: str) -> dict[str, Any]:
    """The record of a page about several networks, beside theirs."""
    return {
        "command": command,
        "seed": config.seed,
        _SETTINGS: settings(config),
        "versions": _versions(_WITHOUT_NETWORK),
    }


def of_explanations(
    config: ExplainConfig,
    network: Network,
    images: data.Dataset,
    dataset: data.Dataset | None,
    notes: Sequence[str],
    command: str,
) -> dict[str, Any]:
    """The record of a page of explanations."""
    return {
        "command": command,
        **({} if dataset is None else {"dataset": dataset.name}),
        "images_fingerprint": images.fingerprint,
        "seed": config.seed,
        _SETTINGS: settings(config),
        **network.description,
        "devices": _devices(),
        "python": platform.python_version(),
        "versions": _versions(_WITH_NETWORK),
        **({"notes": list(notes)} if notes else {}),
    }


def of_detection(
    config: DetectConfig,
    network: Network | None,
    dataset: str,
    fingerprints: Mapping[str, str],
    notes: Sequence[str],
    command: str,
) -> dict[str, Any]:
    """The record of a page about a detector.

    Args:
      config: what the page is about.
      network: what was asked; None where there were predictions alone.
      dataset: the name of the test set.
      fingerprints: name of a dataset -> its fingerprint.
      notes: of the page.
      command: that made it.
    """
    packages = _WITHOUT_NETWORK if network is None else _WITH_NETWORK
    asked = {} if network is None else network.description
    return {
        "command": command,
        "dataset": dataset,
        **({"fingerprints": dict(fingerprints)} if fingerprints else {}),
        "seed": config.seed,
        _SETTINGS: settings(config),
        **asked,
        "devices": _devices(),
        "python": platform.python_version(),
        "versions": _versions((*packages, "scikit-learn")),
        **({"notes": list(notes)} if notes else {}),
    }


def _devices() -> str:
    """All of them: `4 x cpu`."""
    said = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    processes = jax.process_count()
    return said if processes == 1 else f"{said} in {processes} processes"


def settings(
    config: ReportConfig
    | PredictionsConfig
    | ComparisonConfig
    | ExplainConfig
    | DetectConfig,
) -> dict[str, Any]:
    """The choices that a report's numbers depend on, as JSON has them."""
    not_asked = {
        field.name
        for field in dataclasses.fields(config)
        if field.name in _UNLESS_ASKED and getattr(config, field.name) == field.default
    }
    chosen = {
        name: value
        for name, value in dataclasses.asdict(config).items()
        if name not in _OF_THE_PLACE and name not in not_asked
    }
    return json.loads(json.dumps(chosen, default=os.fspath))


def settings_of(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings that are in the record of a report."""
    found = run.get(_SETTINGS)
    return found if isinstance(found, Mapping) else {}


def titles(names: Iterable[str]) -> dict[str, str]:
    """How a page writes the names of registered scores."""
    return {name: scores.lookup(name).title for name in names}


def captions(names: Iterable[str]) -> dict[str, str]:
    """What registered scores are, and where they are from."""
    return {name: _caption(scores.lookup(name)) for name in names}


def _caption(score: scores.Score) -> str:
    parts = (score.summary, f"{score.equation} ({score.paper}).", score.provenance)
    return " ".join(part for part in parts if part)


def _class_names(dataset: data.Dataset) -> list[str] | str:
    """In the order of the labels, where a page can list them."""
    if dataset.num_classes <= _LISTED_CLASSES:
        return list(dataset.class_names)
    return f"{dataset.num_classes:,}, in scores.npz"


def _versions(packages: Iterable[str]) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in sorted(packages)}
