"""Every number that is known of an image: scores, gradients and activations.

One pass over each population of each re-split, kept in a file: a run that was killed
goes on with the next one.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from experiments import oberdiek2018, oberdiek2018_oracle
from experiments.oberdiek2018 import Study
from trustjax import (
    _files,
    _progress,
    bridge,
    data,
    detectors,
    ingredients,
    scoring,
    statistics,
    train,
    transforms,
)

SCORES = (
    "max_softmax",
    "max_logit",
    "margin",
    "negative_entropy",
    "energy",
    "negative_brier",
    "gen",
    "max_logit_p_norm",
    "grad_trust",
    "grad_trust_rows",
    "grad_norm",
    "introspective_norm",
    "gradient_l2_norm",
    "gradient_l1_norm",
    "gradient_minimum",
    "gradient_maximum",
    "gradient_standard_deviation",
    "purview",
    "trust_score",
    "knn_distance",
    "mahalanobis",
    "relative_mahalanobis",
    "centroid_kernel",
    "mahalanobis_plus_plus",
    "fdbd",
    "nci",
    "vim",
    "react",
    "ash",
    "scaled_energy",
    "nnguide",
    "odin",
    "counterfactual_grad_trust",
    "fisher_trace",
    oberdiek2018_oracle.NAME,
)
"""What one network and its training set say, and an oracle of it.

Without dropout and ensembles, which take many passes or networks.
"""
GRADIENTS = ("layer", "network", "confounding")
STATISTICS = tuple(statistic.__name__ for statistic in statistics.DEFAULT)


@dataclasses.dataclass(frozen=True)
class Populations:
    """What is known of the images of one re-split.

    Attributes:
      columns: by population, by name: `[images]`. A name is a score's, or
        `layer/conv1/l2_norm`, or `activation/05/l2_norm`.
      labels: by population, `[images]`: true classes, or those of an unknown concept.
      correct: of `"validation"` and `"test"`: whether each answer is right.
      roles: of the unknown concepts, see `oberdiek2018.for_training`; of the artificial
        ones 1.
      numbers: of the test images, in the pool that all re-splits divide.
      pool: how many images there are in it.
    """

    columns: Mapping[str, Mapping[str, np.ndarray]]
    labels: Mapping[str, np.ndarray]
    correct: Mapping[str, np.ndarray]
    roles: Mapping[str, np.ndarray]
    numbers: np.ndarray
    pool: int

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return tuple(self.columns["test"])


def populations(study: Study, resplit: int) -> Populations:
    """The columns of all populations of a re-split, made or read."""
    parts = oberdiek2018.divided(study, resplit)
    asked = {"validation": parts.validation, "test": parts.test} | {
        name: oberdiek2018.unknown(study, name, parts.train.image_shape)
        for name in study.unknowns
    }
    asked |= oberdiek2018.artificial(study, parts.validation, resplit)
    answers = _answers(study, resplit, parts, asked)
    usable = _finite(answers)
    columns = {name: {key: own[key] for key in usable} for name, own in answers.items()}
    labels = {name: own["labels"] for name, own in answers.items()}
    correct = {
        name: answers[name]["logits"].argmax(-1) == labels[name]
        for name in ("validation", "test")
    }
    roles = {
        name: oberdiek2018.for_training(study, name, labels[name], resplit)
        for name in study.unknowns
    } | dict.fromkeys(oberdiek2018.ARTIFICIAL, np.ones(study.known_unknowns, int))
    return Populations(columns, labels, correct, roles, parts.numbers, parts.pool)


def _finite(answers: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
    """The columns that are finite on all images; the others are named."""
    names = [name for name in answers["test"] if name not in ("logits", "labels")]
    usable = [
        name
        for name in names
        if all(np.isfinite(own[name]).all() for own in answers.values())
    ]
    if left_out := sorted(set(names) - set(usable)):
        print(f"left out, for they are not finite: {', '.join(left_out)}")
    return usable


def _answers(
    study: Study,
    resplit: int,
    parts: oberdiek2018.Parts,
    asked: Mapping[str, data.Dataset],
) -> dict[str, dict[str, np.ndarray]]:
    """Logits, labels and columns by population, each made once."""
    scores = tuple(name for name in SCORES if name not in study.without)
    asker = Asker(study, resplit, parts, scores)
    return {name: asker(name, dataset) for name, dataset in asked.items()}


class Asker:
    """What the network of a re-split says of any images, kept in files.

    Args:
      study: where, and how many training images the neighbours are looked for among.
      resplit: which.
      parts: its images.
      scores: which of them are asked for.
      activations: whether statistics of them are, too.
    """

    def __init__(
        self,
        study: Study,
        resplit: int,
        parts: oberdiek2018.Parts,
        scores: tuple[str, ...] = SCORES,
        *,
        activations: bool = True,
    ):
        self._study = study
        self._resplit = resplit
        self._parts = parts
        self._scores = scores
        self._activations = (ACTIVATIONS,) if activations else ()

    @functools.cached_property
    def _trained(self) -> train.TrainResult:
        """The network, trained or loaded when it is first asked."""
        return oberdiek2018.network(self._study, self._parts, self._resplit)

    @functools.cached_property
    def _oracles(self) -> oberdiek2018_oracle.Halves | None:
        if oberdiek2018_oracle.NAME not in self._scores:
            return None
        return oberdiek2018_oracle.halves(
            self._study, self._parts, self._trained, self._resplit
        )

    @functools.cached_property
    def _scorer(self) -> scoring.Scorer:
        apply_fn, params = bridge.from_nnx(self._trained.model)
        training_set = _as_many_of_each(self._parts.train, self._study.neighbours)
        others = [name for name in self._scores if name != oberdiek2018_oracle.NAME]
        columns = detectors.features(
            detectors.names_for(params, scores=others, kinds=GRADIENTS)
        )
        asked = [ingredients.LOGITS, columns, *self._activations]
        asked += self._oracles.asked if self._oracles else ()
        scorer = scoring.Scorer(asked, apply_fn, params)
        return scorer.fit(data.batches(training_set, self._study.batch_size))

    def __call__(self, name: str, dataset: data.Dataset) -> dict[str, np.ndarray]:
        """Logits, labels and all columns of a population."""
        asked = scoring.fingerprint(
            (dataset.fingerprint, self._scores, GRADIENTS, STATISTICS)
        )
        folder = self._study.folder(self._resplit) / "columns"
        path = folder / f"{name.replace('/', '-')}-{asked[:12]}.npz"
        if path.is_file():
            with np.load(path) as arrays:
                return dict(arrays)
        with _progress.reporter() as progress:
            found = self._scorer.run(
                data.batches(dataset, self._study.batch_size),
                progress=progress,
                task=f"re-split {self._resplit}, {name}",
                total=len(dataset),
            )
        made = {
            "labels": found.labels,
            "logits": found.values["logits"],
            **found.values["columns"],
            **found.values.get(ACTIVATIONS.name, {}),
        }
        if self._oracles:
            made |= self._oracles.column(name, found.values)
        folder.mkdir(parents=True, exist_ok=True)
        with _files.written_whole(path) as part:
            np.savez(part, **made)
        return made


def _as_many_of_each(dataset: data.Dataset, number: int) -> data.Dataset:
    """The first images of each class: programs of re-splits are then one program."""
    labels = data.labels(dataset)
    assert labels is not None, "its arrays are in memory"
    of_each = [np.flatnonzero(labels == c) for c in range(dataset.num_classes)]
    most = min(number // dataset.num_classes, *map(len, of_each))
    rows = np.concatenate([own[:most] for own in of_each])
    return data.some(dataset, np.sort(rows).tolist())


def _activations(batch: scoring.Batch) -> dict[str, Any]:
    """The same statistics of what is alive at each cut: the paper's outlook."""
    of_one = lambda values: [statistic(values) for statistic in statistics.DEFAULT]
    found = {}
    for cut in transforms.cuts(batch.apply_fn, batch.params, batch.x):
        at_cut = transforms.split(batch.apply_fn, batch.params, batch.x, at=cut)
        values = jax.vmap(of_one)(at_cut.features_fn(batch.params, batch.x))
        for name, column in zip(STATISTICS, values, strict=True):
            found[f"activation/{cut.number:02d}/{name}"] = column
    return found


ACTIVATIONS = ingredients.Ingredient("activations", ask=_activations)
