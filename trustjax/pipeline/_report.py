"""The two roads to a report: from a dataset's name, and from predictions."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable

from trustjax import _processes, assess, data
from trustjax.pipeline import (
    _dataset,
    _interventions,
    _introspective,
    _members,
    _mistakes,
    _outputs,
    _page,
    _provenance,
    _ready,
    _scored,
)
from trustjax.pipeline._config import (
    PredictionsConfig,
    ReportConfig,
)
from trustjax.pipeline._dataset import Datasets
from trustjax.pipeline._page import Report
from trustjax.pipeline._ready import Ready
from trustjax.typing import ProgressFn


def trust_report(
    config: ReportConfig, *, progress: ProgressFn | None = None, command: str = ""
) -> Report:
    """Trains a network or loads one, scores its test set, and writes the report.

    A run that was killed goes on where it stopped when it is started again. Batches
    are spread over all devices, of all processes where there are several
    (`jax.distributed.initialize`): these share their folders, all of them return the
    report, and the first one writes it.

    Args:
      config: what the report is about.
      progress: hears how far each long task is.
      command: how a reader can make the report again; written on the page.

    Returns:
      The report's page, and the numbers on it.

    Raises:
      ValueError: if a dataset, a split, a score or a checkpoint is not what it should
        be, or the network cannot take the images.
      FileExistsError: if the folder holds a report of other settings.
      OSError: if a folder cannot be written, before any work is done.
    """
    _dataset.require_known(config)
    return _reported(config, None, progress, command)


def report_on(
    datasets: Datasets,
    config: ReportConfig,
    *,
    progress: ProgressFn | None = None,
    command: str = "",
) -> Report:
    """The same about datasets at hand; the names in `config` are not looked up.

    Args:
      datasets: what to train on, to report on and to compare with.
      config: the other choices; its `dataset` names the folders.
      progress: hears how far each long task is.
      command: how a reader can make the report again; written on the page.

    Returns:
      The report's page, and the numbers on it.

    Raises:
      ValueError: as `trust_report`.
      OSError: as `trust_report`.
    """
    return _reported(config, lambda: datasets, progress, command)


def _reported(
    config: ReportConfig,
    load: Callable[[], Datasets] | None,
    progress: ProgressFn | None,
    command: str,
) -> Report:
    """The report, written by this run alone."""
    with contextlib.ExitStack() as held:
        hold = lambda config: held.enter_context(_page.place(config))
        subject = _ready.ready(config, progress, admit=hold, load=load)
        return _made(subject, progress, command)


def _made(subject: Ready, progress: ProgressFn | None, command: str) -> Report:
    """The report, in a place that is there, on a network that takes the images."""
    config, datasets, network = subject
    _members.require(config, datasets)
    network = _introspective.with_second_stage(config, datasets, network, progress)
    _interventions.require(config, network, datasets.test)
    scored = _scored.scored(config, network, datasets, progress)
    shared = None
    # A sentence of the page, which the first process writes.
    if datasets.train is not None and _processes.is_first():
        shared = data.shared_images(datasets.train, datasets.test, progress=progress)
    of_images = (*_dataset.notes(datasets), *(shared.notes() if shared else ()))
    notes = (*network.notes, *of_images)
    predictions = assess.Predictions(
        logits=scored.logits,
        labels=scored.labels,
        index=scored.index,
        class_names=datasets.test.class_names,
        scores=scored.scores,
        score_titles=_provenance.titles(scored.scores),
        score_info=_provenance.captions(scored.scores),
        images=_dataset.Images(datasets.test),
        gradient_statistics=scored.gradient_statistics,
        out_of_distribution=scored.others,
        out_of_distribution_logits=scored.others_logits,
        shifts=scored.shifts,
        attacked=scored.attacked,
        members=scored.members,
        intervened=_interventions.asked(
            config,
            network,
            datasets.test,
            batch_size=config.examples_at_a_time(datasets.test.fixed_shape),
            folder=config.checkpoint_folder / "scoring" / "interventions",
            progress=progress,
        ),
        run=_provenance.of_network(
            config, network, datasets.test, shared, notes, command
        ),
        outputs=network.outputs,
        notes=notes,
    )
    mistakes = functools.partial(_mistakes.maps, config, network, predictions)
    return _page.written(config, predictions, progress, mistakes)


def predictions_report(
    config: PredictionsConfig, *, progress: ProgressFn | None = None, command: str = ""
) -> Report:
    """Writes a report on predictions of any framework, with no network at all.

    The scores of the logits are added to those in the file. Probabilities do not say
    which constant the logits had, so that scores which depend on it are left out.
    Where probabilities are called logits, they are taken as probabilities, and the
    page and the result say so.

    Args:
      config: what the report is about.
      progress: hears how far each long task is.
      command: how a reader can make the report again; written on the page.

    Returns:
      The report's page, and the numbers on it.

    Raises:
      ValueError: naming what is missing or wrong in the file, or a score that its
        outputs do not determine.
      FileExistsError: if the folder holds a report of other settings.
      OSError: if the file cannot be read or the folder not be written.
    """
    given = assess.read_predictions(config.predictions)
    with _page.place(config):
        try:
            predictions = _outputs.with_scores(given, config.scores)
        except ValueError as error:
            raise ValueError(f"{config.predictions}: {error}") from error
        run = _provenance.of_predictions(config, given.notes, command)
        predictions = dataclasses.replace(predictions, run=run)
        return _page.written(config, predictions, progress)
