"""Open-set recognition: one class more for what none of the classes is.

    python -m experiments.lee2021_open_set
    python -m experiments.lee2021_open_set --smoke

Paper: "Open-Set Recognition with Gradient-Based Representations", Lee and AlRegib,
ICIP 2021, arXiv:2206.08229. A detector that takes the squared gradient norms towards a
confounding label (`detectors`, kind `purview`) must learn without unknown images: it
learns on a network that knows some of the known classes alone, and is used on another
one that knows all of them. An answer is one of N known classes, or N.

Six classes of ten, drawn at random, are known, and the detector learns from four of
them and the two others; then the four other classes are what is unknown. Of foreign
images it learns from the six and the four, for a network that knows all ten.

Beside it a network on statistics of gradients towards the prediction, which learns in
the same way, and scores that learn nothing. Networks and columns are kept under
`checkpoints/lee2021`: a run that was stopped goes on. Page: `lee2021_open_set.md`.
"""

import dataclasses
import functools
import math
import operator
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tyro
from sklearn.metrics import f1_score

from experiments import oberdiek2018, oberdiek2018_study
from experiments.lee2021_open_set_tables import CLASSES, DETECTOR, tables
from experiments.oberdiek2018 import Study
from experiments.oberdiek2018_columns import Asker
from experiments.oberdiek2018_judges import balanced
from experiments.shared import keep_programs, t_interval, write_numbers
from trustjax import data, detectors, metrics, scores

LEVEL = 0.95
"""The chance that not one statement of the page is false."""

THRESHOLD = math.log(0.95 / 0.05)
"""The paper's .95, in log odds."""

PAPER = {
    "auroc": {"gradients": 0.838, "softmax": 0.677, "C2AE": 0.895, "CGDL": 0.903},
    "accuracy": {
        "gradients": [0.842, 0.912, 0.882, 0.922],
        "CGDL": [0.832, 0.840, 0.812, 0.806],
    },
}
"""CIFAR-10; accuracy among ImageNet and LSUN, resized and cropped."""

LEARNED = {
    DETECTOR: ("purview", ("confounding/",)),
    "gradients of the prediction": ("network", ("layer/", "network/")),
}
"""Judges that learn: their kind of detector, and the columns that they take."""

Columns = Mapping[str, np.ndarray]
"""What is known of some images, each `[images]`."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is asked.

    Attributes:
      study: the images, and how many of them are for what.
      divisions: how often images and classes are divided.
      epochs: the most of each network.
      learning_rate: at the start of a training. At .1 one of ten trainings on a few
        hundred images came to NaN.
      rivals: scores that learn nothing.
    """

    study: Study
    divisions: int = 5
    epochs: int = 30
    learning_rate: float = 0.03
    rivals: tuple[str, ...] = (
        "max_softmax",
        "negative_entropy",
        "energy",
        "knn_distance",
        "trust_score",
    )


_WORKDIR = pathlib.Path("checkpoints/lee2021")
_SMOKE = pathlib.Path("checkpoints/lee2021-smoke")
SETTING = Setting(dataclasses.replace(oberdiek2018_study.MNIST5K, workdir=_WORKDIR))
SMOKE = Setting(
    dataclasses.replace(
        oberdiek2018_study.SMOKE,
        unknowns={"letters": "test", "uniform_noise": "test"},
        known_concept=(),
        workdir=_SMOKE,
        numbers=_SMOKE / "numbers",
    ),
    divisions=2,
    epochs=2,
    rivals=("max_softmax", "negative_entropy"),
)


class Division(NamedTuple):
    """The classes of a data set, divided.

    Attributes:
      known: six of ten; of others as large a part.
      first: four of these six.
    """

    known: tuple[int, ...]
    first: tuple[int, ...]


def division(num_classes: int, number: int) -> Division:
    """One of the divisions of the classes, at random."""
    order = np.random.default_rng((2021, number)).permutation(num_classes).tolist()
    known = max(3, round(0.6 * num_classes))
    first = max(2, round(0.6 * known))
    return Division(tuple(sorted(order[:known])), tuple(sorted(order[:first])))


class Judge(NamedTuple):
    """Who says whether an image is of a known class.

    Attributes:
      trust: of columns, `[images]`: that it is.
      thresholds: by name, from where on it is taken for one.
    """

    trust: Callable[[Columns], np.ndarray]
    thresholds: Mapping[str, float]


def run(setting: Setting) -> dict[str, Any]:
    """How well unknown images are told from known ones, over divisions.

    Returns:
      What is in the JSON file, too. By judge, by what is unknown, over divisions:
      AUROC, and N+1-way accuracy and macro F1 at the paper's threshold and at the
      balanced one. Then differences.
    """
    splits = [_of_division(setting, number) for number in range(setting.divisions)]
    num_classes = data.load(setting.study.known, setting.study.pooled[0]).num_classes
    found = {
        "paper": PAPER,
        "divisions": [
            division(num_classes, number)._asdict() for number in range(len(splits))
        ],
        "judges": {
            judge: {
                unknown: {
                    name: _over_divisions([s[judge][unknown][name] for s in splits])
                    for name in numbers
                }
                for unknown, numbers in own.items()
            }
            for judge, own in splits[0].items()
        },
        "level_of_the_page": LEVEL,
        "less_rivals": differences(splits),
    }
    path = setting.study.numbers / f"lee2021_open_set_{setting.study.short_name}.json"
    write_numbers(path, oberdiek2018_study.rounded(found))
    print(f"numbers: {path}")
    return found


Numbers = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By judge, by what is unknown, by name."""


def _of_division(setting: Setting, number: int) -> Numbers:
    """The numbers of one division."""
    study, parts = setting.study, oberdiek2018.divided(setting.study, number)
    all_classes = tuple(range(parts.train.num_classes))
    known, first = division(len(all_classes), number)
    asked = functools.partial(_asker, setting, parts, number)
    of_first, of_known, of_all = map(asked, (first, known, all_classes))

    # What a network does not know, of the classes that may be seen.
    seen = of_first("seen", _of_classes(parts.validation, known))
    test = of_known("test", parts.test)
    found = {
        name: {CLASSES: _among_classes(judge, known, test)}
        for name, judge in _judges(setting, seen, first).items()
    }
    judges = _judges(setting, of_known("seen", parts.validation), known)
    own = of_all("test", parts.test)
    for concept in study.unknowns:
        if concept in study.known_concept:
            continue
        images = oberdiek2018.unknown(study, concept, parts.train.image_shape)
        foreign = of_all(concept, images)
        for name, judge in judges.items():
            found[name][concept] = _among_foreign(judge, own, foreign)
    spent = time.process_time()
    print(f"division {number}, {spent:.0f} s of processor time", flush=True)
    return found


def _asker(
    setting: Setting,
    parts: oberdiek2018.Parts,
    number: int,
    classes: tuple[int, ...],
) -> Asker:
    """A network of some of the classes."""
    fewer = dataclasses.replace(
        setting.study,
        epochs=setting.epochs,
        learning_rate=setting.learning_rate,
        # Few enough of each class for all divisions: their program is one program.
        neighbours=50 * len(classes),
        workdir=setting.study.workdir / f"{len(classes)}-classes",
    )
    own = parts._replace(
        train=_of_classes(parts.train, classes, renumbered=True),
        validation=_of_classes(parts.validation, classes, renumbered=True),
    )
    return Asker(fewer, number, own, setting.rivals, activations=False)


def _of_classes(
    dataset: data.Dataset, classes: tuple[int, ...], *, renumbered: bool = False
) -> data.Dataset:
    """The images of some classes; numbered anew, as a network of these has them."""
    images, labels = data.as_arrays(dataset)
    kept = np.isin(labels, classes)
    images, labels, names = images[kept], labels[kept], dataset.class_names
    if renumbered:
        labels = np.searchsorted(classes, labels)
        names = [names[number] for number in classes]
    return data.from_arrays(dataset.name, images, labels, names)


def _judges(setting: Setting, seen: Columns, known: Sequence[int]) -> dict[str, Judge]:
    """Those that learn from what a network says of classes that it knows and others."""
    trusted = np.isin(seen["labels"], known)
    found = {}
    for name, (kind, prefixes) in LEARNED.items():
        columns = {n: c for n, c in seen.items() if n.startswith(prefixes)}
        fitted = detectors.fit(kind, detectors.usable(columns).columns, trusted)
        thresholds = {"balanced": float(fitted.threshold), ".95": THRESHOLD}
        found[name] = Judge(functools.partial(_said, fitted), thresholds)
    for score in setting.rivals:
        thresholds = {"balanced": balanced(seen[score], trusted)}
        found[scores.lookup(score).title] = Judge(
            operator.itemgetter(score), thresholds
        )
    return found


def _said(fitted: detectors.Detector, columns: Columns) -> np.ndarray:
    own = {name: columns[name] for name in fitted.names}
    return np.asarray(detectors.score(fitted, own))


def _among_classes(
    judge: Judge, known: tuple[int, ...], test: Columns
) -> dict[str, float]:
    """Against the unknown classes of the same data set."""
    is_known = np.isin(test["labels"], known)
    truth = np.where(is_known, np.searchsorted(known, test["labels"]), len(known))
    trust, predictions = judge.trust(test), test["logits"].argmax(-1)
    found = {
        "auroc": float(metrics.auroc(trust, is_known)),
        "closed-set accuracy": float((predictions == truth)[is_known].mean()),
    }
    for name, threshold in judge.thresholds.items():
        answers = _answers(test, trust, threshold)
        found[f"accuracy, {name}"] = float((answers == truth).mean())
        found[f"macro F1, {name}"] = float(f1_score(truth, answers, average="macro"))
    return found


def _among_foreign(judge: Judge, test: Columns, foreign: Columns) -> dict[str, float]:
    """Against images of another kind, which weigh as much as the known ones."""
    own, others = judge.trust(test), judge.trust(foreign)
    is_known = np.arange(len(own) + len(others)) < len(own)
    area = metrics.auroc(np.concatenate([own, others]), is_known)
    found = {"auroc": float(area)}
    for name, threshold in judge.thresholds.items():
        right = (_answers(test, own, threshold) == test["labels"]).mean()
        refused = (others < threshold).mean()
        found[f"accuracy, {name}"] = float((right + refused) / 2)
    return found


def _answers(columns: Columns, trust: np.ndarray, threshold: float) -> np.ndarray:
    """One of the network's classes, or the number after the last."""
    logits = columns["logits"]
    return np.asarray(
        detectors.open_set_predict(
            logits.argmax(-1), trust, threshold, num_classes=logits.shape[-1]
        )
    )


def _over_divisions(values: Sequence[float]) -> dict[str, Any]:
    """The mean, and the number of each division."""
    return {"value": float(np.mean(values)), "divisions": list(values)}


def differences(splits: Sequence[Numbers]) -> dict[str, Any]:
    """AUROC of the detector less that of each other, by a paired t of divisions.

    All of them together hold at `LEVEL`, by Bonferroni's inequality.

    Args:
      splits: the numbers of each division.

    Returns:
      By what is unknown, by judge: the mean difference and its ends.
    """
    unknowns = list(splits[0][DETECTOR])
    others = [judge for judge in splits[0] if judge != DETECTOR]
    level = 1 - (1 - LEVEL) / (len(others) * len(unknowns))
    found: dict[str, Any] = {unknown: {} for unknown in unknowns}
    for unknown, of_unknown in found.items():
        for other in others:
            apart = [
                split[DETECTOR][unknown]["auroc"] - split[other][unknown]["auroc"]
                for split in splits
            ]
            of_unknown[other] = t_interval(apart, level)
    return found


def main(
    setting: tyro.conf.Suppress[Setting] = SETTING, smoke: bool = False
) -> dict[str, Any]:
    """Makes every number, prints the tables and writes the JSON file."""
    setting = SMOKE if smoke else setting
    # Networks of as many classes differ in nothing but their weights.
    keep_programs(setting.study.workdir)
    found = run(setting)
    print(tables(found))
    return found


if __name__ == "__main__":
    tyro.cli(main)
