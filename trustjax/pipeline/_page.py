"""The place of a report, and what is written there."""

import contextlib
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from trustjax import _files, _processes, assess, report
from trustjax.pipeline import _provenance
from trustjax.pipeline._config import (
    ComparisonConfig,
    PredictionsConfig,
    ReportConfig,
)
from trustjax.pipeline._detect_config import DetectConfig
from trustjax.pipeline._explain_config import ExplainConfig
from trustjax.typing import ProgressFn


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


@contextlib.contextmanager
def place(
    config: ReportConfig
    | PredictionsConfig
    | ComparisonConfig
    | ExplainConfig
    | DetectConfig,
) -> Iterator[None]:
    """Holds a folder that can be written and holds no report of other settings.

    Raises:
      FileExistsError: if it holds one, naming what differs, or a page that is not of
        this library.
      ValueError: if there are several processes, and the work is not divided.
      BlockingIOError: if another run is writing there.
      OSError: if it cannot be made or written.
    """
    if jax.process_count() > 1 and not isinstance(config, ReportConfig):
        raise ValueError(
            f"{type(config).__name__.removesuffix('Config')}: this work is not divided "
            f"among processes, and {jax.process_count()} would do it all at once; do "
            "it in one"
        )
    folder = config.report_folder
    if not config.overwrite and (folder / "index.html").exists():
        difference = _difference(folder, _provenance.settings(config))
        if difference:
            raise FileExistsError(
                f"{folder} holds {difference}: give --overwrite, or another folder "
                "with --out"
            )
    _processes.require_shared(folder)
    # The first process holds it, and writes, for all.
    with _files.held(folder) if _processes.is_first() else contextlib.nullcontext():
        yield


def _difference(folder: pathlib.Path, wanted: Mapping[str, Any]) -> str:
    """How the report in a folder differs from the one that is wanted, in words."""
    try:
        run = json.loads((folder / "metrics.json").read_text("utf-8"))["run"]
    except (OSError, ValueError, LookupError, TypeError):
        return "a page without the numbers of a report"
    there = _provenance.settings_of(run)
    for name in {**wanted, **there}:
        if there.get(name) != wanted.get(name):
            return (
                f"a report of other settings ({name.replace('_', ' ')} is "
                f"{there.get(name)} there, and {wanted.get(name)} here)"
            )
    return ""


def written(
    config: ReportConfig | PredictionsConfig,
    predictions: assess.Predictions,
    progress: ProgressFn | None,
    mistakes: Callable[[assess.Assessment], report.MistakeMaps] | None = None,
) -> Report:
    """Assesses predictions, and writes the report.

    Args:
      config: what the report is about.
      predictions: what a network said.
      progress: hears how far each long task is.
      mistakes: makes maps of some of its mistakes; None where there is no network.
    """
    assessment = assess.assess(
        predictions,
        seed=config.seed,
        alpha=config.alpha,
        beta=config.beta,
        progress=progress,
    )
    page = config.report_folder / "index.html"
    if _processes.is_first():
        page = report.write(
            assessment,
            predictions,
            config.report_folder,
            mistakes=None if mistakes is None else mistakes(assessment),
            progress=progress,
        )
    _processes.wait_for_all("the page is written")
    return Report(page, assessment, predictions.notes)
