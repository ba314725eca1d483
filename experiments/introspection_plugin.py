"""Is introspection a plug-in, which helps a network however it was trained?

    python -m experiments.introspection_plugin
    python -m experiments.introspection_plugin --smoke

Prabhushankar and AlRegib 2022 (Introspective Learning, arXiv:2209.08425; AlRegib and
Prabhushankar 2025, part 2) put it on top of networks that were trained adversarially,
with noise and with AugMix, and find them more accurate under corruption. Here the study
of `introspection_corruption` with its first stage trained so, and the same second stage
on the embedding beside it.

Networks, corrupted images and answers are kept under `checkpoints/introspection`,
beside those of that study: a run that was stopped goes on. Page:
`introspection_plugin.md`.
"""

import dataclasses
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import tyro

from experiments import introspection_corruption
from experiments.introspection_corruption_tables import ALL, CLEAN, NUMBERS
from experiments.introspection_networks import (
    BASELINES,
    FEED_FORWARD,
    INTROSPECTIVE,
    STYLES,
    in_unit,
    percent,
)
from experiments.shared import keep_programs, published

LEVEL = introspection_corruption.LEVEL
"""The chance that not one statement of the page is false."""

PAPER = {
    "plain": [67.89, 71.4],
    "noise": [76.86, 77.98],
    "adversarial": [68.02, 70.86],
    "augmix": [89.85, 89.89],
}
"""Accuracy of ResNet-18 on CIFAR-10-C, %: feed-forward, introspective."""

EMBEDDING = BASELINES["embedding"]
METHODS = (FEED_FORWARD, INTROSPECTIVE, EMBEDDING)
NOISE = ("gaussian_noise", "shot_noise", "impulse_noise")
"""The corruptions that training on noise has seen, or nearly."""

OTHERS = "without noise"
"""The mean over all severities of the other corruptions."""

PROVEN = ("accuracy", "calibration error")
"""Of which the page makes statements: introspective less feed-forward, over all."""


@dataclasses.dataclass(frozen=True)
class Study(introspection_corruption.Study):
    """What is asked, of the same images for each training.

    Attributes:
      trainings: of the first stage, names of `TRAININGS`.
    """

    trainings: tuple[str, ...] = ("noise", "adversarial", "augmix")
    methods: tuple[str, ...] = METHODS
    seeds: int = 4
    epochs: int = 15

    @property
    def name(self) -> str:
        """Of its numbers and its figure."""
        return f"introspection_plugin_{self.dataset}_{self.model}"

    @property
    def level(self) -> float:
        """Of each difference, so that all hold together."""
        return 1 - (1 - LEVEL) / (len(PROVEN) * len(self.trainings))

    def of(self, training: str) -> "Study":
        """The study of one training."""
        return dataclasses.replace(self, training=training)


STUDY = Study()
_SMOKE = pathlib.Path("checkpoints/introspection_plugin_smoke")
SMOKE = Study(
    trainings=("noise", "augmix"),
    epochs=2,
    second_epochs=2,
    seeds=2,
    train_split="train[:600]",
    images=60,
    kinds=("gaussian_noise", "contrast"),
    severities=(1, 5),
    groups=10,
    workdir=_SMOKE,
    numbers=_SMOKE / "numbers",
    figures=_SMOKE / "figures",
)


def of_training(study: Study, training: str) -> dict[str, Any]:
    """The numbers of the networks of one training."""
    own = study.of(training)
    measured = [
        introspection_corruption.measured(
            own, introspection_corruption.answers(own, seed)
        )[0]
        for seed in range(own.seeds)
    ]
    seeds = introspection_corruption.Seeds(own, measured)
    others = [k for k in seeds.keys[ALL] if not k.startswith(NOISE)]
    keys = {CLEAN: [CLEAN], **seeds.keys, OTHERS: others}
    over = introspection_corruption.over
    return {
        "means": {
            version: {
                method: {
                    name: in_unit(over(seeds.mean(method, name, of), LEVEL))
                    for name in NUMBERS
                }
                for method in METHODS
            }
            for version, of in keys.items()
        },
        "differences": {
            name: over(
                seeds.less(INTROSPECTIVE, FEED_FORWARD, name, keys[ALL]), study.level
            )
            for name in PROVEN
        },
    }


def numbers(study: Study) -> dict[str, Any]:
    """Every number of the page."""
    for seed in range(study.seeds):  # what is stopped has some of all trainings
        for training in study.trainings:
            introspection_corruption.answers(study.of(training), seed)
            spent = time.process_time()
            said = f"{spent:.0f} s of processor time so far"
            print(f"seed {seed}, {training}: {said}", flush=True)
    return {
        "paper": PAPER,
        "images": study.images,
        "seeds": study.seeds,
        "level_of_each_difference": study.level,
        "trainings": {name: of_training(study, name) for name in study.trainings},
    }


def draw(said: Mapping[str, Any], path: pathlib.Path) -> None:
    """Every number by training, in the mean over all corruptions."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    names = list(said["trainings"])
    for number, axis in zip(NUMBERS, axes, strict=True):
        for place, method in enumerate(METHODS):
            own = [said["trainings"][n]["means"][ALL][method][number] for n in names]
            values = 100 * np.array([of["value"] for of in own])
            axis.bar(
                np.arange(len(names)) + 0.27 * (place - 1),
                values,
                0.25,
                color=STYLES[method],
                label=method,
            )
            for shift, of in enumerate(own):
                axis.plot(
                    np.full(len(of["seeds"]), shift + 0.27 * (place - 1)),
                    100 * np.array(of["seeds"]),
                    ".",
                    color="#888888",
                    ms=5,
                )
        axis.set_xticks(range(len(names)), names)
        axis.set_title(f"{number}, %", fontsize=10)
        axis.grid(alpha=0.25, axis="y")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def tables(said: Mapping[str, Any]) -> str:
    """Means by training and version, and differences, in Markdown and per cent."""
    blocks = []
    for number in NUMBERS:
        versions = list(next(iter(said["trainings"].values()))["means"])
        lines = _head(f"{number}, %", versions)
        for training, own in said["trainings"].items():
            for method in METHODS:
                means = (own["means"][version] for version in versions)
                cells = " | ".join(percent(of[method][number]) for of in means)
                lines.append(f"| {training}, {method} | {cells} |")
        blocks.append("\n".join(lines))
    lines = _head("introspective less feed-forward, points", list(PROVEN))
    for training, own in said["trainings"].items():
        cells = " | ".join(percent(own["differences"][of], "+") for of in PROVEN)
        lines.append(f"| {training} | {cells} |")
    blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _head(first: str, columns: list[str]) -> list[str]:
    return [f"| {first} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]


def run(study: Study) -> dict[str, Any]:
    """Makes every number and the figure, and writes the JSON file."""
    return published(study, numbers(study), draw)


def main(study: Study = STUDY, smoke: bool = False) -> dict[str, Any]:
    """Makes every number and prints the tables."""
    study = SMOKE if smoke else study
    # Networks of the seeds and trainings differ in nothing but their weights.
    keep_programs(study.workdir)
    said = run(study)
    print(tables(said))
    return said


if __name__ == "__main__":
    tyro.cli(main)
