"""The datasets of a report, and their images one by one."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from trustjax import data
from trustjax.pipeline._config import ReportConfig


class Datasets(NamedTuple):
    """What a report is made of.

    Attributes:
      train: what the network learns from.
      validation: what decides when it has learned enough.
      test: what the report is on.
      others: by name, datasets of none of the classes, of images of the same shape.
    """

    train: data.Dataset
    validation: data.Dataset
    test: data.Dataset
    others: Mapping[str, data.Dataset]


def require_known(config: ReportConfig) -> None:
    """Refuses a misspelt name before anything is made."""
    for name in (config.dataset, *config.out_of_distribution):
        data.require_known(name, data_dir=config.data_dir)


def load(config: ReportConfig) -> Datasets:
    """The datasets that a report names."""
    train, validation, test = (
        data.load(config.dataset, split, data_dir=config.data_dir)
        for split in (config.train_split, config.validation_split, config.test_split)
    )
    return Datasets(train, validation, test, {})


def with_others(datasets: Datasets, config: ReportConfig) -> Datasets:
    """The same with the datasets of none of the classes."""
    others = {
        name: data.out_of_distribution(
            name,
            datasets.test.fixed_shape,
            seed=config.seed,
            data_dir=config.data_dir,
        )
        for name in config.out_of_distribution
    }
    return datasets._replace(others=others)


@dataclasses.dataclass(frozen=True)
class Images:
    """The images of a dataset by number, read when they are asked for."""

    dataset: data.Dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.dataset.source[index]["image"]
