"""The datasets of a report, and their images one by one."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from trustjax import data
from trustjax.pipeline._config import ReportConfig
from trustjax.typing import ProgressFn


class Datasets(NamedTuple):
    """What a report is made of.

    Attributes:
      train: what the network learns from, and scores are fitted on; None where neither
        is asked.
      validation: what decides when it has learned enough; None where nothing learns.
      test: what the report is on.
      others: by name, datasets of none of the classes, of images of the same shape.
    """

    train: data.Dataset | None
    validation: data.Dataset | None
    test: data.Dataset
    others: Mapping[str, data.Dataset]


def require_known(config: ReportConfig) -> None:
    """Refuses a misspelt name before anything is made."""
    for name in (config.dataset, *config.out_of_distribution):
        data.require_known(name, data_dir=config.data_dir)


def load(config: ReportConfig, progress: ProgressFn | None) -> Datasets:
    """The datasets that a report names, as its network needs them.

    One of ours learns and is chosen on them; one that somebody brings is asked alone.

    Raises:
      ValueError: as `load_to_train` and `load_to_ask`.
    """
    if config.brings_network:
        return load_to_ask(config, progress)
    return load_to_train(config, progress)


def load_to_train(config: ReportConfig, progress: ProgressFn | None) -> Datasets:
    """The datasets that a network learns from, their images of one size.

    Raises:
      ValueError: if they have fewer than two classes, or images of several sizes where
        no size is asked for.
    """
    splits = (config.train_split, config.validation_split, config.test_split)
    loaded = _splits(config, splits, progress)
    classes = loaded[-1].class_names
    if len(classes) < 2:
        raise ValueError(
            f"{config.dataset} has {len(classes)} {'class' if classes else 'classes'} "
            f"({', '.join(classes)}): a classifier needs two"
        )
    train, validation, test = (_of_one_size(dataset, config) for dataset in loaded)
    return Datasets(train, validation, test, {})


def load_parts(
    config: ReportConfig, splits: Sequence[str], progress: ProgressFn | None
) -> tuple[data.Dataset, ...]:
    """Any parts of the dataset that a report names, resized if a size is asked for."""
    parts = _splits(config, splits, progress)
    if config.image_size is None:
        return parts
    return tuple(_of_one_size(dataset, config) for dataset in parts)


def load_to_ask(config: ReportConfig, progress: ProgressFn | None) -> Datasets:
    """What a network that is trained already is asked about; images of any sizes.

    The training set is read only if scores are fitted on one. Where it cannot be, those
    scores are left out and the test set's notes say so, unless one was named. A second
    stage needs the training set, and the validation set, in any case.

    Raises:
      ValueError: if a score that is named needs a training set that is not there.
    """
    note = ()
    if config.introspective:
        if _is_all(config):
            raise ValueError(
                f"--introspective: the test set is all of {config.dataset}, and "
                "nothing is left for the second stage to learn from"
            )
        splits = (config.train_split, config.validation_split, config.test_split)
        train, validation, test = load_parts(config, splits, progress)
        return Datasets(train, validation, test, {})
    if config.asks_training_set():
        try:
            if _is_all(config):
                raise ValueError(f"the test set is all of {config.dataset}")
            return _to_ask(config, (config.train_split, config.test_split), progress)
        except ValueError as error:
            config.require_offered(config.offers(dropout=True, training_set=False))
            note = (f"Scores fitted on a training set were left out: {error}.",)
    datasets = _to_ask(config, (config.test_split,), progress)
    test = dataclasses.replace(datasets.test, notes=(*datasets.test.notes, *note))
    return datasets._replace(test=test)


def _is_all(config: ReportConfig) -> bool:
    """Whether the test set is everything that there is."""
    return data.is_own(config.dataset) and "all" in config.test_split.split("+")


def _to_ask(
    config: ReportConfig, splits: Sequence[str], progress: ProgressFn | None
) -> Datasets:
    *train, test = load_parts(config, splits, progress)
    return Datasets(train[0] if train else None, None, test, {})


def _splits(
    config: ReportConfig, splits: Sequence[str], progress: ProgressFn | None
) -> tuple[data.Dataset, ...]:
    return data.load_splits(
        config.dataset,
        splits,
        class_names=config.class_names,
        ignore_labels=config.ignore_label,
        skip_unreadable=config.skip_unreadable,
        split_seed=config.split_seed,
        data_dir=config.data_dir,
        progress=progress,
    )


def notes(datasets: Datasets) -> tuple[str, ...]:
    """What was left out or changed of the images, each sentence once."""
    parts = (datasets.train, datasets.validation, datasets.test)
    sentences = (note for part in parts if part is not None for note in part.notes)
    return tuple(dict.fromkeys(sentences))


def _of_one_size(dataset: data.Dataset, config: ReportConfig) -> data.Dataset:
    if config.image_size is None:
        if None in dataset.image_shape:
            raise ValueError(
                f"the images of {dataset.name} vary in size: --image-size HEIGHT WIDTH "
                "resizes them"
            )
        return dataset
    height, width = config.image_size
    *frames, _, _, channels = dataset.image_shape
    sized = data.convert(dataset, (*frames, height, width, channels))
    note = f"Images were resized to {height}x{width}, whatever their aspect ratio."
    return dataclasses.replace(data.kept(sized), notes=(*dataset.notes, note))


def with_others(datasets: Datasets, config: ReportConfig) -> Datasets:
    """The same with the datasets of none of the classes."""
    others = {
        title: data.out_of_distribution(
            name,
            datasets.test.fixed_shape,
            seed=config.seed,
            data_dir=config.data_dir,
        )
        for title, name in _titles(config.out_of_distribution).items()
    }
    return datasets._replace(others=others)


def _titles(names: Sequence[str]) -> dict[str, str]:
    """What a page calls datasets -> their names: short, where those differ."""
    titles = {data.short_name(n) if data.is_own(n) else n: n for n in names}
    return titles if len(titles) == len(set(names)) else {name: name for name in names}


@dataclasses.dataclass(frozen=True)
class Images:
    """The images of a dataset by number, read when they are asked for."""

    dataset: data.Dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.dataset.source[index]["image"]
