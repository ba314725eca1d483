"""From a dataset's name, or predictions, to a trust report."""

import dataclasses
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from trustjax import (
    _files,
    assess,
    data,
    oracles,
    report,
    scores,
    scoring,
    train,
)
from trustjax.pipeline import _provenance, _scored
from trustjax.pipeline._config import ReportConfig
from trustjax.typing import ProgressFn

_STEPS_BETWEEN_CHECKPOINTS = 50  # a few seconds of the small networks on a CPU


class Report(NamedTuple):
    """A finished report.

    Attributes:
      page: the path of `index.html`.
      assessment: the numbers on it.
      notes: what was taken for something else than it was called.
    """

    page: pathlib.Path
    assessment: assess.Assessment
    notes: tuple[str, ...] = ()


def trust_report(
    config: ReportConfig, *, progress: ProgressFn | None = None, command: str = ""
) -> Report:
    """Trains or loads a network, scores its test set, and writes the report.

    A run that was killed goes on where it stopped when it is started again.

    Args:
      config: what the report is about.
      progress: hears how far training and scoring are.
      command: how a reader can make the report again; written on the page.

    Returns:
      The report's page, and the numbers on it.

    Raises:
      ValueError: if a dataset, a split or a checkpoint is not what it should be.
      OSError: if a folder cannot be written, before any work is done.
    """
    _files.require_writable(config.report_folder)
    splits = (config.train_split, config.validation_split, config.test_split)
    train_set, validation_set, test_set = (
        data.load(config.dataset, split, data_dir=config.data_dir) for split in splits
    )
    images, _ = data.as_arrays(test_set)
    oracle = None if config.oracle is None else oracles.load(config.oracle)
    if oracle is not None:
        oracle.require_shape(images.shape[1:])
    others = {
        name: data.out_of_distribution(
            name, images.shape[1:], seed=config.seed, data_dir=config.data_dir
        )
        for name in config.out_of_distribution
    }
    trained = train.fit(
        _train_config(config),
        train_set,
        validation_set,
        workdir=config.checkpoint_folder,
        checkpoint_every=_STEPS_BETWEEN_CHECKPOINTS,
        progress=progress,
    )
    names = config.score_names
    scorer = _scored.scorer(config, trained.model, oracle)
    scorer = _scored.fitted(config, scorer, train_set, progress)

    def scored(dataset: data.Dataset) -> dict[str, np.ndarray]:
        results = _scored.scored(config, scorer, dataset, progress)
        return _scored.every_score(names, results.values)

    results = _scored.scored(config, scorer, test_set, progress)
    predictions = assess.Predictions(
        logits=results.values["logits"],
        labels=results.labels,
        class_names=test_set.class_names,
        scores=_scored.every_score(names, results.values),
        score_titles=_provenance.titles(names),
        score_info=_provenance.captions(names),
        images=images,
        index=results.index,
        gradient_statistics=results.values.get(_scored.HEAT_MAP),
        out_of_distribution={
            other: scored(dataset) for other, dataset in others.items()
        },
        run=_provenance.of_report(config, trained, oracle, test_set, command),
    )
    assessment = assess.assess(predictions, seed=config.seed)
    page = report.write(assessment, predictions, config.report_folder)
    return Report(page, assessment)


def predictions_report(
    path: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    command: str = "",
) -> Report:
    """Writes a report on predictions of any framework, with no network at all.

    The scores of the logits are added to those in the file. Probabilities do not say
    which constant the logits had, so that scores which depend on it are left out.
    Where probabilities are called logits, they are taken as probabilities, and the
    page and the result say so.

    Args:
      path: an `.npz` file, as `assess.read_predictions` reads it.
      out: the folder of the report; None for `reports/<file name>`.
      seed: of the resampling behind the intervals.
      command: how a reader can make the report again; written on the page.

    Returns:
      The report's page, and the numbers on it.

    Raises:
      ValueError: naming what is missing or wrong in the file.
      OSError: if the file cannot be read or the folder not be written.
    """
    path = pathlib.Path(path)
    folder = pathlib.Path("reports", path.stem) if out is None else pathlib.Path(out)
    given = assess.read_predictions(path)
    _files.require_writable(folder)
    num_classes = given.logits.shape[1]
    names = [
        name
        for name in scores.names(computable_from={"logits"})
        if name not in given.scores
        and (
            given.outputs == "logits"
            or not scores.lookup(name).changes_with_constant(num_classes)
        )
    ]
    of_logits = scoring.from_arrays(names, {"logits": given.logits})
    together = {**of_logits, **given.scores}
    known = [name for name in together if name in scores.names()]
    predictions = dataclasses.replace(
        given,
        scores=together,
        score_titles=_provenance.titles(known),
        score_info=_provenance.captions(known),
        run={
            "command": command,
            "dataset": path.name,
            "seed": seed,
            "versions": _provenance.versions("jax", "numpy", "trustjax"),
            **({"notes": list(given.notes)} if given.notes else {}),
        },
    )
    assessment = assess.assess(predictions, seed=seed)
    page = report.write(assessment, predictions, folder)
    return Report(page, assessment, given.notes)


def _train_config(config: ReportConfig) -> train.TrainConfig:
    changes: dict[str, Any] = {"seed": config.seed}
    if config.epochs is not None:
        changes["epochs"] = config.epochs
    return train.config_for(config.model, **changes)
