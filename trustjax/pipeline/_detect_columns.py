"""What is known of every record that a detector is fitted on or tested on."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from trustjax import _files, assess, data, detectors, scores, scoring
from trustjax._fingerprint import fingerprint
from trustjax.ingredients import KEY, LOGITS
from trustjax.pipeline import _network
from trustjax.pipeline._config import ReportConfig
from trustjax.pipeline._dataset import Datasets
from trustjax.pipeline._detect_config import PURVIEW, DetectConfig
from trustjax.pipeline._network import Network
from trustjax.typing import ProgressFn


class Records(NamedTuple):
    """What is known of the records of a dataset.

    Attributes:
      name: of the dataset, on a page.
      logits: `[records, classes]`.
      labels: `[records]`; of the test set the true classes.
      columns: name -> `[records]`, what a detector may be fitted on.
      scores: name -> `[records]`, the single scores that it is compared with. Those of
        the logits are in float64, which keeps the order of what float32 rounds to 1.
      contents: uint64 `[records]`, equal where the network sees the same image.
      names: of each record.
    """

    name: str
    logits: np.ndarray
    labels: np.ndarray
    columns: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]
    contents: np.ndarray
    names: Sequence[str]

    def some(self, rows: np.ndarray) -> "Records":
        """Those of some rows."""
        return self._replace(
            logits=self.logits[rows],
            labels=self.labels[rows],
            columns={name: values[rows] for name, values in self.columns.items()},
            scores={name: values[rows] for name, values in self.scores.items()},
            contents=self.contents[rows],
            names=[self.names[row] for row in rows],
        )


class Known(NamedTuple):
    """The records of the test set, and of the datasets of none of its classes."""

    test: Records
    others: tuple[Records, ...]


def of_network(
    config: DetectConfig,
    report: ReportConfig,
    network: Network,
    datasets: Datasets,
    folder: pathlib.Path,
    progress: ProgressFn | None,
) -> Known:
    """Asks a network about every dataset.

    What is found of a dataset is kept in a folder until the page is written, so that a
    run that was killed asks about each record once.

    Args:
      config: which columns.
      report: which scores, and how many records at a time.
      network: what is asked.
      datasets: the test set and the others; the training set if scores are fitted.
      folder: for what is kept.
      progress: hears how far each long task is.
    """
    names = _names(config, network)
    scorer = scoring.Scorer(
        [detectors.features(names), LOGITS],
        network.apply_fn,
        network.params,
        stochastic_apply_fn=network.stochastic_apply_fn,
        given={KEY.name: jax.random.key(report.seed)},
        sharding=_network.over_all_devices(),
    )
    size = report.examples_at_a_time(datasets.test.fixed_shape)
    if datasets.train is not None:
        scorer = scorer.fit(
            data.batches(datasets.train, size),
            workdir=folder / "fitting",
            progress=progress,
            total=len(datasets.train),
        )
    of_network = fingerprint((network.params, scorer.given, str(network.description)))

    def ask(title: str, dataset: data.Dataset) -> Records:
        identity = fingerprint((of_network, names, dataset.fingerprint, size))
        path = folder / f"{fingerprint(title)[:16]}.npz"
        found = _files.kept_arrays(path) or {}
        if str(found.get("identity")) != identity:
            found = _asked(scorer, names, dataset, size, folder, progress)
            with _files.written_whole(path) as temporary:
                kept = {**found, "identity": np.array(identity)}
                np.savez_compressed(temporary, allow_pickle=False, **kept)
        columns = dict(zip(names, found["columns"].T, strict=True))
        of_files = data.file_names(dataset)
        return Records(
            title,
            found["logits"],
            found["labels"],
            columns,
            _single(columns, found["logits"], network.scores),
            found["contents"],
            of_files or [f"{title} {number}" for number in found["index"]],
        )

    others = [ask(title, other) for title, other in datasets.others.items()]
    own = data.is_own(report.dataset)
    name = data.short_name(report.dataset) if own else report.dataset
    return Known(ask(name, datasets.test), tuple(others))


def of_predictions(said: assess.Predictions, config: DetectConfig, name: str) -> Known:
    """What a file of predictions knows of its records.

    Its scores are columns; those that are called as statistics of gradients are, as
    `score_layer/conv1/l2_norm`, are columns and no scores.

    Args:
      said: the predictions, with the scores that are columns.
      config: which datasets are detected.
      name: of the test set.

    Raises:
      ValueError: if the file has no rows of a dataset that is to be detected.
    """
    there = said.out_of_distribution
    for other in config.others:
        if other not in there:
            raise ValueError(
                f"there are no out-of-distribution rows of {other!r}: the file has "
                f"{', '.join(there) or 'none'} (arrays ood_<name>_logits)"
            )

    def records(
        title: str, logits: np.ndarray, own: Mapping[str, np.ndarray]
    ) -> Records:
        return Records(
            title,
            logits,
            np.zeros(len(logits), np.int64),
            dict(own),
            {**_baseline(logits), **{n: v for n, v in own.items() if _is_score(n)}},
            np.arange(len(logits), dtype=np.uint64),
            [f"{title} {number}" for number in range(len(logits))],
        )

    test = records(name, said.logits, said.scores)._replace(labels=said.labels)
    if isinstance(said.images, np.ndarray):
        test = test._replace(contents=_hashes(said.images))
    others, behind = [], len(said.labels)
    for other in config.others:
        logits = said.out_of_distribution_logits[other]
        found = records(other, logits, there[other])
        # Without images, each record is taken to be like no other.
        others.append(found._replace(contents=found.contents + np.uint64(behind)))
        behind += len(logits)
    return Known(test, tuple(others))


def _is_score(name: str) -> bool:
    """Whether a column of a file is a score; a statistic of gradients has no side."""
    return name in scores.names() or detectors.statistic_of(name) is None


def _names(config: DetectConfig, network: Network) -> tuple[str, ...]:
    """The columns that are computed."""
    gradients = tuple(config.gradients) if config.statistics else ()
    if PURVIEW in config.kinds:
        gradients += ("confounding",)
    return detectors.names_for(
        network.params,
        scores=network.scores,
        kinds=dict.fromkeys(gradients),
        statistics=config.statistics,
    )


def _asked(
    scorer: scoring.Scorer,
    names: Sequence[str],
    dataset: data.Dataset,
    size: int,
    folder: pathlib.Path,
    progress: ProgressFn | None,
) -> dict[str, np.ndarray]:
    """What a network says of a dataset, as arrays of a file."""
    seen = _Watched(data.batches(dataset, size), len(dataset), dataset.fingerprint)
    results = scorer.run(
        seen,
        workdir=folder / "scoring",
        progress=progress,
        task=f"scoring {dataset.name}",
        total=len(dataset),
    )
    columns = results.values["columns"]
    return {
        # By name: a dict that went through `jit` has its keys in another order.
        "columns": np.stack([columns[name] for name in names], axis=1),
        "logits": results.values[LOGITS.name],
        "labels": results.labels,
        "index": results.index,
        "contents": seen.contents[results.index],
    }


@dataclasses.dataclass
class _Watched:
    """Batches that remember what the network saw of each record.

    Attributes:
      batches: of a dataset.
      count: of its records.
      fingerprint: of the dataset.
      contents: uint64 `[records]`, filled as the batches go by.
    """

    batches: Iterable[Mapping[str, Any]]
    count: int
    fingerprint: str

    def __post_init__(self):
        # Those that another process reads are like no other.
        numbers = np.arange(self.count, dtype=np.uint64)
        self.contents = _hash(self.fingerprint.encode()) + numbers

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for batch in self.batches:
            kept = np.asarray(batch["mask"])
            images, index = np.asarray(batch["image"])[kept], batch["index"][kept]
            self.contents[index] = _hashes(images)
            yield batch


def _hashes(images: np.ndarray) -> np.ndarray:
    """A hash of each image, uint64."""
    return np.fromiter((_hash(i.tobytes()) for i in images), np.uint64, len(images))


def _hash(content: bytes) -> np.uint64:
    digest = hashlib.blake2b(content, digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def _single(
    columns: Mapping[str, np.ndarray], logits: np.ndarray, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """The single scores, and the max softmax probability with them."""
    of_logits = [n for n in names if scores.lookup(n).needs == (LOGITS,)]
    wide = scoring.from_arrays(of_logits, {LOGITS.name: logits})
    together = {name: wide.get(name, columns[name]) for name in names}
    return {**_baseline(logits), **together}


def _baseline(logits: np.ndarray) -> dict[str, np.ndarray]:
    name = scores.baseline().name
    return scoring.from_arrays([name], {LOGITS.name: logits})
