"""From a network, a report or a file of predictions to a detector and its page."""

import contextlib
import dataclasses
import pathlib
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from trustjax import assess, data, detectors, metrics, report, scores
from trustjax.pipeline import (
    _dataset,
    _detect_columns,
    _detect_fit,
    _detect_populations,
    _outputs,
    _page,
    _provenance,
    _ready,
)
from trustjax.pipeline._config import NetworkConfig
from trustjax.pipeline._dataset import Datasets
from trustjax.pipeline._detect_config import DetectConfig
from trustjax.pipeline._detect_fit import Fitted
from trustjax.pipeline._detect_populations import TEST, Populations
from trustjax.pipeline._network import Network
from trustjax.typing import ProgressFn

_TELLING = "Where this statistic tells most alone, on the fitting part."
MOST_FEATURES = 6  # that are drawn by population
_UNFINISHED = ".unfinished"


class Detected(NamedTuple):
    """A finished page.

    Attributes:
      page: the path of `index.html`.
      detector: the path of the detector.
      used: the command that scores by it; empty where a network cannot be asked for
        its columns.
      detection: the numbers on the page.
      notes: what was left out or taken for granted, a sentence each.
    """

    page: pathlib.Path
    detector: pathlib.Path
    used: str
    detection: assess.Detection
    notes: tuple[str, ...]


class _Subject(NamedTuple):
    """What a detector is fitted on, and where it is from.

    Attributes:
      known: every record, with its columns.
      network: what was asked; None where there are predictions alone.
      fingerprints: name of a dataset -> its fingerprint.
      notes: what was found on the way, a sentence each.
      used: the command that scores by the detector; empty for none.
    """

    known: _detect_columns.Known
    network: Network | None
    fingerprints: Mapping[str, str]
    notes: tuple[str, ...]
    used: str


def detection(
    config: DetectConfig, *, progress: ProgressFn | None = None, command: str = ""
) -> Detected:
    """Fits detectors on one part of the data, tests one on another, writes the page.

    A run that was killed goes on where it stopped when it is started again: what the
    network says of each dataset is kept in `.unfinished` beside the page.

    Args:
      config: what is detected, from what.
      progress: hears how far each long task is.
      command: how a reader can make the page again; written on it.

    Returns:
      The page, the detector, and the numbers.

    Raises:
      ValueError: if a name is unknown; if a population is empty or too small, or a
        dataset that is to be unknown holds nothing but test images; if no column can be
        fitted on; as `trust_report` and `predictions_report`.
      FileExistsError: if the folder holds a page of other settings.
      OSError: if a file cannot be read, or the folder not be written.
    """
    with contextlib.ExitStack() as held:
        hold = lambda: held.enter_context(_page.place(config))
        if config.predictions_file is None:
            subject = _of_network(config, hold, progress)
        else:
            subject = _of_predictions(config, hold)
        return _detected(config, subject, progress, command)


def _detected(
    config: DetectConfig,
    subject: _Subject,
    progress: ProgressFn | None,
    command: str,
) -> Detected:
    """The page, in a place that is held."""
    made = _detect_populations.populations(
        subject.known,
        errors=config.errors,
        fit_share=config.fit_share,
        seed=config.seed,
    )
    fitted = _detect_fit.fitted(
        made,
        config.kinds,
        gradients=config.gradients,
        seed=config.seed,
        progress=progress,
    )
    notes = tuple(dict.fromkeys((*subject.notes, *made.notes, *fitted.notes)))
    found = _assessed(made, fitted, config.seed)
    detector, title = fitted.chosen.detector, _titles(made.scores)
    linear = fitted.linear
    page = report.DetectionPage(
        detection=found,
        errors=config.errors,
        populations=made.names,
        trusted=made.trusted,
        unknown=[other.name for other in subject.known.others],
        parts=_detect_populations.PARTS,
        counts=made.counts(),
        features=_features(made, fitted),
        kind=detector.kind,
        num_columns=(fitted.num_columns, len(detector.names)),
        weights=[] if linear is None else _weights(linear.detector, title),
        weights_of="" if linear is None else linear.detector.kind,
        infos={
            title[name]: info
            for name, info in _provenance.captions(
                name for name in made.scores if name in scores.names()
            ).items()
        },
        used=subject.used,
        run=_provenance.of_detection(
            config,
            subject.network,
            subject.known.test.name,
            subject.fingerprints,
            notes,
            command,
        ),
        notes=notes,
    )
    folder = config.report_folder
    written = report.write_detection(
        page,
        folder,
        save=lambda path: detectors.save(detector, path),
        arrays=_arrays(made, fitted),
        progress=progress,
    )
    shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)
    return Detected(written, folder / "detector.npz", subject.used, found, notes)


def _of_network(
    config: DetectConfig, hold: Callable[[], None], progress: ProgressFn | None
) -> _Subject:
    """Asks the network that the options or a report name."""
    _dataset.require_known(config.network_report)
    hold()
    of_report, datasets, network = _ready.ready(config.network_report, progress)
    known = _detect_columns.of_network(
        config,
        of_report,
        network,
        datasets,
        config.report_folder / _UNFINISHED,
        progress,
    )
    every = {datasets.test.name: datasets.test, **datasets.others}
    notes = (*network.notes, *_dataset.notes(datasets), *_learned(datasets, progress))
    return _Subject(
        known,
        network,
        {name: dataset.fingerprint for name, dataset in every.items()},
        notes,
        _command(config),
    )


def _learned(datasets: Datasets, progress: ProgressFn | None) -> tuple[str, ...]:
    """A sentence on images of other datasets that the network has learned from."""
    notes = []
    for title, other in datasets.others.items():
        if datasets.train is None:
            continue
        shared = data.shared_images(datasets.train, other, progress=progress)
        if shared is not None and shared.in_training.any():
            first = np.flatnonzero(shared.in_training)[:5].tolist()
            names = data.file_names(other)
            listed = ", ".join(names[n] if names else f"{title} {n}" for n in first)
            notes.append(
                f"{shared.in_training.sum():,} of the {len(other):,} images of {title} "
                f"are in the training set ({listed}): they are no unknown ones."
            )
    return tuple(notes)


def _of_predictions(config: DetectConfig, hold: Callable[[], None]) -> _Subject:
    """Takes what a file of predictions says."""
    file = config.predictions_file
    assert file is not None, "asked where there is one"
    given = assess.read_predictions(file)
    hold()
    try:
        said = _outputs.with_scores(given, config.of_predictions.scores)
        name = file.stem if config.report is None else config.report.resolve().name
        known = _detect_columns.of_predictions(said, config, name)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    own = sum(name not in scores.names() for name in said.scores)
    without = (
        "There is no network to ask, and so no gradients: the columns are scores of "
        f"the outputs, and {own} of the file's own."
    )
    return _Subject(known, None, {}, (*given.notes, without), "")


def _command(config: DetectConfig) -> str:
    """How the detector scores a report on the same network and data."""
    of_network, file = config.network_report, config.report_folder / "detector.npz"
    words = ["trustjax", "report", "--detector", str(file)]
    for field in dataclasses.fields(NetworkConfig):
        value = getattr(of_network, field.name)
        if value == field.default and field.name != "dataset":
            continue
        option = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{option}", *map(str, values)]
    return shlex.join(words)


def _assessed(made: Populations, fitted: Fitted, seed: int) -> assess.Detection:
    """The numbers on the test part."""
    test = made.part == TEST
    title = _titles(made.scores)
    chosen, baseline = fitted.chosen, scores.baseline().name
    detector = assess.Judged(
        _title_of_kind(chosen.detector.kind),
        chosen.scores[test],
        float(chosen.detector.threshold),
    )
    single = assess.Judged(
        title[fitted.single], made.scores[fitted.single][test], fitted.threshold
    )
    beside = []
    if baseline not in (fitted.single, *_lost(made, fitted)):
        threshold = _detect_fit.balanced_threshold(
            made.scores[baseline][~test], made.targets[~test]
        )
        of_baseline = made.scores[baseline][test]
        beside.append(assess.Judged(title[baseline], of_baseline, threshold))
    untrusted = [n for n, trusted in enumerate(made.trusted) if not trusted]
    return assess.assess_detection(
        detector,
        single,
        made.targets[test],
        beside=beside,
        populations={made.names[n]: made.population[test] == n for n in untrusted},
        kinds={
            _title_of_kind(one.detector.kind): (one.validation, one.scores[test])
            for one in fitted.candidates
        },
        singles={
            title[name]: (auroc, made.scores[name][test])
            for name, auroc in fitted.of_fit.items()
        },
        seed=seed,
    )


def _titles(names: Iterable[str]) -> dict[str, str]:
    """How the page writes scores; with their names where two would be written alike."""
    titles = {name: _title(name) for name in names}
    written = list(titles.values())
    return {
        name: title if written.count(title) == 1 else f"{title} ({name})"
        for name, title in titles.items()
    }


def _lost(made: Populations, fitted: Fitted) -> list[str]:
    return [name for name in made.scores if name not in fitted.of_fit]


def _title(name: str) -> str:
    """How the page writes a score or a column."""
    if name in scores.names():
        return scores.lookup(name).title
    if (found := detectors.statistic_of(name)) is None:
        return name.replace("_", " ")
    of = found.place if found.kind != "network" else "the network"
    return f"{found.statistic.replace('_', ' ')} of {of}"


def _title_of_kind(kind: str) -> str:
    return f"detector ({kind.replace('_', ' ')})"


def _weights(
    detector: detectors.Detector, title: Mapping[str, str]
) -> list[report.Weight]:
    found = []
    for name, value in detectors.coefficients(detector).items():
        of = None if name in scores.names() else detectors.statistic_of(name)
        if of is None:
            found.append(report.Weight("", title[name], value))
        else:
            found.append(report.Weight(of.place, of.statistic, value))
    return found


def _features(made: Populations, fitted: Fitted) -> list[report.Feature]:
    """The detector, the best single score, and what tells most alone.

    Chosen on the fitting part and drawn on the test part; of each statistic the place
    where it tells most.
    """
    test = made.part == TEST
    chosen = fitted.chosen

    def by_population(values: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(
            values[test & (made.population == number)]
            for number in range(len(made.names))
        )

    threshold = float(chosen.detector.threshold)
    features = [
        report.Feature(
            "What the detector says",
            by_population(chosen.scores),
            "Higher means more trust.",
            threshold,
        ),
        report.Feature(
            _title(fitted.single),
            by_population(made.scores[fitted.single]),
            "The best single score on the fitting part.",
            fitted.threshold,
        ),
    ]
    for name in _telling(made, chosen.detector.names, test):
        values = by_population(made.columns[name])
        features.append(report.Feature(_title(name), values, _TELLING))
    return features[:MOST_FEATURES]


def _telling(made: Populations, names: Sequence[str], test: np.ndarray) -> list[str]:
    """Columns of gradients that tell most alone, one of each statistic."""
    strength: dict[str, tuple[float, str]] = {}
    for name in names:
        found = None if name in scores.names() else detectors.statistic_of(name)
        if found is None:
            continue
        fitting = made.columns[name][~test]
        auroc = float(metrics.auroc(fitting, made.targets[~test]))
        told = (abs(auroc - 0.5), name)
        strength[found.statistic] = max(strength.get(found.statistic, told), told)
    return [name for _, name in sorted(strength.values(), reverse=True)]


def _arrays(made: Populations, fitted: Fitted) -> dict[str, np.ndarray]:
    """What the detector was fitted and tested on, for other programs."""
    return {
        "population": np.array(made.names)[made.population],
        "trusted": made.targets,
        "part": np.array(_detect_populations.PARTS)[made.part],
        "record": np.array(made.records),
        "detector": fitted.chosen.scores,
        **{f"column_{name}": values for name, values in made.columns.items()},
    }
