"""What the tables and figures of Oberdiek et al. 2018 share: data and networks.

Paper: "Classification Uncertainty of Deep Neural Networks Based on Gradient
Information", arXiv:1805.08440. `oberdiek2018_study.py` makes all of it.

The protocol (sections 4 to 6): the images of a known concept are divided anew ten
times; each time a network is trained on one part, meta-classifiers learn on a second,
with 200 images of each unknown concept that they may know, and are judged on a third
and on images of unknown concepts.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from trustjax import _progress, data, train

ERRORS = "errors"
"""The first concept of every table: the wrong answers to the known concept."""
ALL = "all unknown"
"""All unknown concepts together, each with the same weight."""
DIVIDED_BY_CLASS = ("letters", "photographs")
"""Concepts of which images of one class, a letter or a photograph, are much alike.

A meta-classifier that knows some of them is judged on other classes, and intervals
resample classes, not images.
"""


@dataclasses.dataclass(frozen=True)
class Study:
    """What is asked, of which networks, on which images.

    Attributes:
      known: the concept that the networks learn, a name that `data.load` takes.
      pooled: the splits of it that are put together and divided anew.
      sizes: how many images are for training, for validation and meta-classifiers, and
        for the test.
      unknowns: the concepts that are not learned: names that
        `data.out_of_distribution` takes, and the split of each.
      known_concept: those of them that show what the networks have learned, in another
        hand: a shift rather than an unknown concept, not part of `ALL`.
      most: how many images of an unknown concept are asked about.
      resplits: how often the images are divided and a network is trained.
      meta_seeds: how often a meta-classifier that starts at random is trained.
      known_unknowns: how many images of a concept a meta-classifier may know.
      features: the sets of columns that meta-classifiers beyond the paper's take, names
        of `oberdiek2018_judges.features`.
      neighbours: how many training images the scores of neighbours look among, as
        many of each class.
      without: scores that are not asked, for they take long.
      epochs: the most of a training; it ends sooner at the last plateau.
      learning_rate: at the start of a training.
      batch_size: images that a network is asked about at a time.
      num_samples: bootstrap samples.
      workdir: where networks and columns are kept.
      numbers: the folder of the JSON file.
      figures: the folder of the figures.
    """

    known: str
    pooled: tuple[str, ...]
    sizes: tuple[int, int, int]
    unknowns: Mapping[str, str]
    known_concept: tuple[str, ...] = ()
    most: int = 1000
    resplits: int = 10
    meta_seeds: int = 5
    known_unknowns: int = 200
    features: tuple[str, ...] = (
        "paper",
        "scores",
        "activations",
        "scores+gradients",
        "everything",
    )
    neighbours: int = 1000
    without: tuple[str, ...] = ()
    epochs: int = 100
    learning_rate: float = 0.1
    batch_size: int = 250
    num_samples: int = 2000
    workdir: pathlib.Path = pathlib.Path("checkpoints/oberdiek2018")
    numbers: pathlib.Path = pathlib.Path("experiments/numbers")
    figures: pathlib.Path = pathlib.Path("experiments/figures")

    @property
    def short_name(self) -> str:
        """The known concept as files are called after it."""
        return self.known.replace("/", "-")

    def folder(self, resplit: int) -> pathlib.Path:
        """Where the network of a re-split is, and what was made of it."""
        return self.workdir / f"{self.short_name}-{resplit}"


class Parts(NamedTuple):
    """The images of a known concept, divided.

    Attributes:
      train: for the network.
      validation: for when its learning rate falls, and for meta-classifiers.
      test: for neither.
      numbers: of the test images, in the pool that all re-splits divide.
      pool: how many images there are.
    """

    train: data.Dataset
    validation: data.Dataset
    test: data.Dataset
    numbers: np.ndarray
    pool: int


def divided(study: Study, resplit: int) -> Parts:
    """The images of the known concept, divided by a permutation of their own.

    Raises:
      ValueError: if there are fewer images than the study asks for.
    """
    splits = data.load_splits(study.known, study.pooled)
    arrays = [data.as_arrays(split) for split in splits]
    images, labels = (np.concatenate(parts) for parts in zip(*arrays, strict=True))
    if len(images) < sum(study.sizes):
        raise ValueError(
            f"{study.known} has {len(images)} images, not the {sum(study.sizes)} of "
            f"sizes {study.sizes}"
        )
    order = np.random.default_rng((2018, resplit)).permutation(len(images))
    ends = np.cumsum(study.sizes)
    numbers = np.split(order[: ends[-1]], ends[:-1])
    training, validation, test = (
        data.from_arrays(study.known, images[own], labels[own], splits[0].class_names)
        for own in numbers
    )
    return Parts(training, validation, test, numbers[-1], len(images))


def network(study: Study, parts: Parts, resplit: int) -> train.TrainResult:
    """The network of a re-split: trained, gone on with, or loaded."""
    config = train.TrainConfig(
        epochs=study.epochs, learning_rate=study.learning_rate, seed=resplit
    )
    with _progress.reporter() as progress:
        return train.fit(
            config,
            parts.train,
            parts.validation,
            workdir=study.folder(resplit) / "network",
            progress=progress,
        )


def unknown(study: Study, name: str, image_shape: tuple[int, ...]) -> data.Dataset:
    """Images of a concept that is not learned, the same ones for every re-split."""
    noise = name in ("normal_noise", "uniform_noise")
    found = data.out_of_distribution(
        name,
        image_shape,
        split=study.unknowns[name],
        num_examples=study.most if noise else None,
    )
    order = np.random.default_rng(2018).permutation(len(found))
    return data.some(found, np.sort(order[: study.most]).tolist())


def classes_of(name: str, labels: np.ndarray) -> np.ndarray:
    """What is alike among the images of a concept, `[images]`: numbers from 0."""
    if name in DIVIDED_BY_CLASS:
        return np.unique(labels, return_inverse=True)[1]
    return np.arange(len(labels))


def for_training(
    study: Study, name: str, labels: np.ndarray, resplit: int
) -> np.ndarray:
    """Which images of an unknown concept are set apart for meta-classifiers.

    At most half of a concept, so that the rest can judge. Whole classes are set apart
    where those are alike, and the first `known_unknowns` of their images are known.

    Returns:
      `[images]`: 1 for those that may be known, -1 for the rest of their classes, which
      are used for nothing, 0 for those that judge.
    """
    random = np.random.default_rng((2018, resplit, len(name)))
    classes = classes_of(name, labels)
    wanted = min(study.known_unknowns, len(labels) // 2)
    role = np.zeros(len(labels), int)
    for own in random.permutation(classes.max() + 1):
        if (role != 0).sum() >= wanted:
            break
        role[classes == own] = -1
    apart = np.flatnonzero(role)
    role[random.permutation(apart)[:wanted]] = 1
    return role


ARTIFICIAL = ("mixed", "shuffled", "inverted")
"""Wrong answers that are made of validation images: the paper's outlook."""


def artificial(
    study: Study, validation: data.Dataset, resplit: int
) -> dict[str, data.Dataset]:
    """As many images of each kind as there are known unknowns.

    `mixed`: the mean of two images of different classes; `shuffled`: the sixteen parts
    of an image in another order; `inverted`: black for white.
    """
    images, labels = data.as_arrays(validation)
    random = np.random.default_rng((2018, resplit, 1))
    numbers = random.integers(len(images), size=study.known_unknowns)
    own = images[numbers]
    others = [random.choice(np.flatnonzero(labels != labels[n])) for n in numbers]
    mean = (own.astype(np.uint16) + images[others]) // 2
    height, width = (size // 4 for size in own.shape[1:3])
    parts = own[:, : 4 * height, : 4 * width].reshape(-1, 4, height, 4, width, 1)
    parts = parts.swapaxes(2, 3).reshape(len(own), 16, height, width, 1)
    moved = random.permuted(np.tile(np.arange(16), (len(own), 1)), axis=1)
    parts = np.take_along_axis(parts, moved[:, :, None, None, None], axis=1)
    whole = parts.reshape(-1, 4, 4, height, width, 1).swapaxes(2, 3)
    shuffled = np.zeros_like(own)
    shuffled[:, : 4 * height, : 4 * width] = whole.reshape(
        len(own), 4 * height, 4 * width, 1
    )
    made = {"mixed": mean.astype(np.uint8), "shuffled": shuffled, "inverted": 255 - own}
    unlabelled = np.full(len(own), data.NO_CLASS)
    return {
        name: data.from_arrays(name, of_kind, unlabelled, ())
        for name, of_kind in made.items()
    }
