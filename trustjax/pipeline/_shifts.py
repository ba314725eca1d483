"""What the scores say of the test set under corruptions, one version at a time."""

import itertools
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from trustjax import _files, _processes, assess, data, scoring
from trustjax.pipeline._config import ReportConfig
from trustjax.typing import ProgressFn

_TASK = "scoring corruptions"


class Answers(NamedTuple):
    """What a network said of some images.

    Attributes:
      logits: `[records, classes]`.
      scores: name -> `[records]`.
    """

    logits: np.ndarray
    scores: Mapping[str, np.ndarray]


def require(config: ReportConfig, test: data.Dataset) -> None:
    """Refuses images that cannot be corrupted, before any work is done.

    Args:
      config: what the report is about.
      test: its images as the network takes them: it is these that are corrupted.

    Raises:
      ValueError: if they are no uint8 images, grey or RGB.
      ModuleNotFoundError: without the extra `corruptions`.
    """
    kinds = data.corruptions_named(config.corruptions)
    if not kinds or not len(test):
        return
    try:
        data.corrupted(test, kinds[0]).source[0]
    except ValueError as error:
        raise ValueError(f"--corruptions of {test.name}: {error}") from error


def scored(
    config: ReportConfig,
    test: data.Dataset,
    ask: Callable[[data.Dataset, ProgressFn | None], Answers],
    *,
    unchanged: Answers,
    folder: pathlib.Path,
    progress: ProgressFn | None,
) -> dict[str, dict[int, assess.Shifted]]:
    """Asks about every version of the test set; a killed run goes on with the next.

    Args:
      config: what the report is about.
      test: the test set as the network takes it.
      ask: says what the network and its scores say of a dataset.
      unchanged: the same of the test set: whoever says just this of every image is
        the network that finished versions are of.
      folder: where finished versions are kept, until all are.
      progress: hears how many records are done, of those of all versions.

    Returns:
      Kind -> severity -> what was said; empty where nothing is asked.
    """
    found: dict[str, dict[int, assess.Shifted]] = {}
    kinds = data.corruptions_named(config.corruptions)
    versions = list(itertools.product(kinds, config.severities))
    paths = [folder / f"{kind}-{severity}.npz" for kind, severity in versions]
    for number, ((kind, severity), path) in enumerate(
        zip(versions, paths, strict=True)
    ):
        before, total = number * len(test), len(versions) * len(test)
        dataset = data.corrupted(test, kind, severity=severity, seed=config.seed)
        origin = scoring.fingerprint((dict(unchanged._asdict()), dataset.fingerprint))
        said = kept(path, origin)
        if said is None:
            said = reduced(ask(dataset, _shifted_by(progress, before, total)))
            keep(path, origin, said)
        elif progress is not None:
            progress(_TASK, before + len(test), total, {})
        found.setdefault(kind, {})[severity] = said
    drop(paths)
    return found


def _shifted_by(
    progress: ProgressFn | None, before: int, total: int
) -> ProgressFn | None:
    """Hears of one version as of a part of all."""
    if progress is None:
        return None

    def of_all(task: str, done: int, _: int | None, facts: Mapping[str, float]) -> None:
        del task
        progress(_TASK, before + done, total, facts)

    return of_all


def drop(paths: Iterable[pathlib.Path]) -> None:
    """Takes files away, once no process reads them any more."""
    _processes.wait_for_all("all have read what was kept")
    for path in paths if _processes.is_first() else ():
        path.unlink(missing_ok=True)


def reduced(answers: Answers) -> assess.Shifted:
    """Without the logits, which of a thousand classes are most of what was said."""
    nobody = np.zeros(len(answers.logits), int)
    said = assess.Predictions(answers.logits, nobody)
    return assess.Shifted(said.predicted, said.confidence, dict(answers.scores))


def keep(path: pathlib.Path, origin: str, said: assess.Shifted) -> None:
    """Writes what was said of one version, and of whom and what it is."""
    if not _processes.is_first():
        return
    arrays: dict[str, Any] = {f"score_{name}": of for name, of in said.scores.items()}
    with _files.written_whole(path) as temporary:
        np.savez(
            temporary,
            allow_pickle=False,
            origin=origin,
            predicted=said.predicted,
            confidence=said.confidence,
            **arrays,
        )


def kept(path: pathlib.Path, origin: str) -> assess.Shifted | None:
    """What was written of that origin; None where there is nothing, or another's.

    All processes find it, or none: what is not there they compute together.
    """
    arrays = _files.kept_arrays(path)
    there = arrays is not None and bool(arrays.get("origin") == origin)
    if not _processes.all_have(there) or arrays is None:
        return None
    scores = {
        name.removeprefix("score_"): values
        for name, values in arrays.items()
        if name.startswith("score_")
    }
    return assess.Shifted(arrays["predicted"], arrays["confidence"], scores)
