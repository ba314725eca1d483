"""Table 2 of Luo et al. 2021: the losses in the protocol of ConfidNet.

    python -m experiments.luo2021_confidnet
    python -m experiments.luo2021_confidnet --smoke

Corbiere et al. 2019 (arXiv:1910.04851): an oracle of five dense layers of 400 units on
the classifier's embedding learns with the classifier frozen ("head"), then goes on with
a copy of its encoder ("cloned"), `oracles.confidnet`. Every loss of the oracles of
table 1, with the same seeds, images and passes. Beside them, what needs no oracle: max
softmax and Trust Score. Every run is kept under `workdir`: a run that was stopped goes
on where it was. Page: `luo2021.md`.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tyro

from experiments import luo2021, luo2021_pairs, luo2021_table1
from experiments.shared import keep_programs, write_numbers
from trustjax import _progress, bridge, oracles

PHASES = oracles.ConfidNet._fields


@dataclasses.dataclass(frozen=True)
class Study:
    """What is asked.

    Attributes:
      pairs: the data, and the classifier on whose embedding the oracles stand.
      losses: the rows, each in both phases.
      epochs: the passes of each of `PHASES`; ConfidNet's first takes 500.
      learning_rates: likewise, falling to zero by a cosine.
      num_samples: bootstrap samples.
      numbers: the JSON file.
    """

    pairs: tuple[luo2021.Pair, ...] = (
        dataclasses.replace(
            luo2021_pairs.SETTING,
            dataset="mnist5k",
            train_split="train",
            validation_split="validation",
            test_split="test",
            oracle_split="train",
            classifier_epochs=8,
        ),
        luo2021_pairs.SETTING,
    )
    losses: tuple[str, ...] = tuple(luo2021.LOSSES)
    epochs: tuple[int, int] = (5, 1)
    learning_rates: tuple[float, float] = (1e-3, 1e-4)
    num_samples: int = 1000
    numbers: pathlib.Path = luo2021.NUMBERS / "luo2021_confidnet.json"


STUDY = Study()
SMOKE = Study(
    pairs=(luo2021_pairs.SMOKE.swept,),
    losses=("TCP", "SS"),
    epochs=(2, 1),
    num_samples=200,
    numbers=luo2021_pairs.SMOKE.numbers.with_name("luo2021_confidnet.json"),
)


def main(study: Study = STUDY, smoke: bool = False) -> dict[str, Any]:
    """Prints the tables, and writes the JSON file."""
    study = SMOKE if smoke else study
    keep_programs(study.pairs[0].workdir)
    numbers = {
        "level_of_each_statement": luo2021.LEVEL_OF_EACH,
        "num_samples": study.num_samples,
        "epochs": study.epochs,
        "learning_rates": study.learning_rates,
        "datasets": {pair.dataset: rows_of(study, pair) for pair in study.pairs},
    }
    write_numbers(study.numbers, numbers)
    print(f"numbers: {study.numbers}")
    return numbers


def rows_of(study: Study, pair: luo2021.Pair) -> dict[str, Any]:
    """The rows of one data set."""
    confidence, correct = luo2021.max_softmax(luo2021.dataset(pair, "test"), pair)
    runs = {
        f"{loss} {phase}": of
        for loss in study.losses
        for phase, of in outputs(study, pair, loss).items()
    }
    runs["MCP"] = confidence[None]
    others = luo2021_table1.baseline_scores(pair, ["Trust Score"])
    runs |= {name: values[None] for name, values in others.items()}
    return luo2021_pairs.table(pair, runs, correct, study.num_samples, "SS cloned")


def outputs(study: Study, pair: luo2021.Pair, loss: str) -> Mapping[str, np.ndarray]:
    """The z of every test image after each phase, `[seeds, images]`."""
    apply_fn, params = bridge.from_nnx(luo2021.classifier(pair, pair.classifier))

    def outcomes(part: str) -> oracles.Outcomes:
        return oracles.outcomes(
            apply_fn,
            params,
            luo2021.dataset(pair, part),
            embedding=True,
            cache=pair.folder / "outcomes",
        )

    of_train, of_validation = outcomes("oracle"), outcomes("validation")
    found: dict[str, list[np.ndarray]] = {phase: [] for phase in PHASES}
    for seed in pair.seeds:
        with _progress.reporter() as progress:
            trained = oracles.confidnet(
                configs_of(study, pair, loss, seed),
                luo2021.dataset(pair, "oracle"),
                luo2021.dataset(pair, "validation"),
                train_outcomes=of_train,
                validation_outcomes=of_validation,
                classifier=(apply_fn, params),
                workdir=pair.folder / f"confidnet-{pair.classifier}" / f"{loss}-{seed}",
                progress=progress,
            )
        for phase, oracle in trained._asdict().items():
            network = luo2021.jitted(oracle.model)
            z, _ = luo2021.answers(network, luo2021.dataset(pair, "test"))
            found[phase].append(z[:, 0])
    return {phase: np.stack(runs) for phase, runs in found.items()}


def configs_of(
    study: Study, pair: luo2021.Pair, loss: str, seed: int
) -> oracles.ConfidNet:
    """The choices of both phases of one row and seed."""
    configs = oracles.confidnet_configs(
        pair.classifier, seed=seed, schedule="cosine", **luo2021.LOSSES[loss]
    )
    return oracles.ConfidNet(
        *(
            dataclasses.replace(config, epochs=epochs, learning_rate=rate)
            for config, epochs, rate in zip(
                configs, study.epochs, study.learning_rates, strict=True
            )
        )
    )


if __name__ == "__main__":
    tyro.cli(main)
