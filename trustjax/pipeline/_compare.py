"""From reports or prediction files of several networks to one page about all."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from trustjax import assess, report
from trustjax.pipeline import _outputs, _page, _provenance
from trustjax.pipeline._config import ComparisonConfig
from trustjax.typing import ProgressFn

_ARRAYS, _NUMBERS = "scores.npz", "metrics.json"


class NetworkReport(NamedTuple):
    """A finished page about several networks.

    Attributes:
      page: the path of `index.html`.
      comparison: the numbers on it.
    """

    page: pathlib.Path
    comparison: assess.NetworkComparison


def comparison_report(
    config: ComparisonConfig, *, progress: ProgressFn | None = None, command: str = ""
) -> NetworkReport:
    """Writes a page about several networks on the same test set.

    The scores that the outputs determine are added to those that a file has.

    Args:
      config: what the page is about.
      progress: hears how many networks are assessed, and how far the page is.
      command: how a reader can make the page again; written on it.

    Returns:
      The page, and the numbers on it.

    Raises:
      ValueError: if the records of two networks differ, naming the first that does, or
        their names are alike; naming what is missing or wrong in a file.
      FileNotFoundError: if there is no such report or file.
      FileExistsError: if the folder holds a page of other settings.
      OSError: if a file cannot be read or the folder not be written.
    """
    given = [_predictions(path) for path in config.networks]
    names = config.names or _names(config.networks, given)
    if len(set(names)) < len(names):
        raise ValueError(f"the names of networks must differ, got {', '.join(names)}")
    with _page.place(config):
        comparison = assess.compare(
            dict(zip(names, given, strict=True)),
            alpha=config.alpha,
            beta=config.beta,
            seed=config.seed,
            progress=progress,
        )
        run = _provenance.of_comparison(config, command)
        page = report.write_comparison(
            comparison, config.report_folder, run=run, progress=progress
        )
        return NetworkReport(page, comparison)


def _predictions(path: pathlib.Path) -> assess.Predictions:
    """What one network said, with the scores that its outputs determine."""
    run: dict[str, Any] = {}
    if path.is_dir():
        run = _run_of_the_report_in(path)
        path = path / _ARRAYS
    given = assess.read_predictions(path)
    run |= {"file": str(path)}
    notes = {"notes": list(given.notes)} if given.notes else {}
    return dataclasses.replace(_outputs.with_scores(given), run=run | notes)


def _run_of_the_report_in(folder: pathlib.Path) -> dict[str, Any]:
    try:
        run = json.loads((folder / _NUMBERS).read_text("utf-8"))["run"]
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{folder} is no report: it holds no {_NUMBERS}"
        ) from None
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"{folder / _NUMBERS}: not the numbers of a report: {error}"
        ) from error
    return dict(run)


def _names(
    paths: Sequence[pathlib.Path], given: Sequence[assess.Predictions]
) -> list[str]:
    """The models' names, or the files'; where two are alike, their paths."""
    short = [
        str(said.run.get("model", path.stem))
        for path, said in zip(paths, given, strict=True)
    ]
    return [
        name if short.count(name) == 1 else str(path)
        for name, path in zip(short, paths, strict=True)
    ]
