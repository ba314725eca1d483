"""An oracle of each network: a head on its embedding that learns when it is right.

Paper: "Learning to Predict Trustworthiness with Steep Slope Loss", Luo et al. 2021,
arXiv:2110.00054.

A network of digits hardly errs on its own training images (the first one on 7), so the
oracle learns, as meta-classifiers do, from the validation images: one from each half.
What is said of a validation image is then said by the oracle that has not learned from
it, so that a meta-classifier of this column does not take it for better than it is.
(Each half chooses the epoch of the other's oracle. That much it has seen.)
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from experiments import oberdiek2018
from experiments.oberdiek2018 import Study
from trustjax import bridge, data, oracles, train
from trustjax.ingredients import Ingredient

NAME = "oracle"


class Halves(NamedTuple):
    """Two oracles of one network.

    Attributes:
      asked: what a network is asked for them.
      of_first: `[validation images]`, those that the first has learned from.
    """

    asked: tuple[Ingredient, Ingredient]
    of_first: np.ndarray

    def column(
        self, population: str, values: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """What both say of a population, `[images]`: of all but validation, the mean.

        Args:
          population: its name.
          values: of what was asked.
        """
        first, second = (values[one.name][:, 0] for one in self.asked)
        if population == "validation":
            return {NAME: np.where(self.of_first, second, first)}
        return {NAME: (first + second) / 2}


def halves(
    study: Study, parts: oberdiek2018.Parts, trained: train.TrainResult, resplit: int
) -> Halves:
    """The oracles of a re-split's network, trained or loaded."""
    classifier = bridge.from_nnx(trained.model)
    count = len(parts.validation)
    order = np.random.default_rng((2018, resplit, 2)).permutation(count)
    of_first = np.isin(np.arange(count), order[: count // 2])
    images = [
        data.some(parts.validation, np.flatnonzero(own).tolist())
        for own in (of_first, ~of_first)
    ]
    outcomes = [oracles.outcomes(*classifier, own, embedding=True) for own in images]
    config = oracles.config_for(trained.config.model, embedding="frozen", seed=resplit)
    asked = []
    for number, other in ((0, 1), (1, 0)):
        oracle = oracles.fit(
            config,
            images[number],
            images[other],
            train_outcomes=outcomes[number],
            validation_outcomes=outcomes[other],
            classifier=classifier,
            workdir=study.folder(resplit) / f"oracle-{number}",
        )
        (output,) = oracle.ingredients()
        asked.append(dataclasses.replace(output, name=f"{output.name}_{number}"))
    return Halves((asked[0], asked[1]), of_first)
