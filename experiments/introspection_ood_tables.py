"""Tables and the figure of the study `introspection_ood`."""

import pathlib
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from experiments.introspection_networks import (
    BASELINES,
    FEED_FORWARD,
    INTROSPECTIVE,
    METHODS,
    SIGMOID,
    STYLES,
    percent,
)

SCORES = ("Max softmax", "ODIN")
NUMBERS = ("AUROC", "FPR95", "detection error")
PAIRS = (
    (INTROSPECTIVE, FEED_FORWARD),
    (SIGMOID, FEED_FORWARD),
    (BASELINES["embedding"], FEED_FORWARD),
    (INTROSPECTIVE, BASELINES["embedding"]),
)
"""What is compared in the mean over all sets: the first less the second."""

BY_SET = PAIRS[:1]
"""What is compared on each set, by AUROC."""

ALL = "all"
"""The mean over all sets of unknown images."""


def draw(said: Mapping[str, Any], path: pathlib.Path) -> None:
    """AUROC of every method on every set."""
    figure, axes = plt.subplots(
        1, 2, figsize=(12, 4), layout="constrained", sharey=True
    )
    names = [*said["sets"], ALL]
    for score, axis in zip(SCORES, axes, strict=True):
        for place, method in enumerate(METHODS):
            own = [said["means"][score][method][name]["AUROC"] for name in names]
            value, low, high = (
                100 * np.array([number[part] for number in own])
                for part in ("value", "low", "high")
            )
            axis.errorbar(
                np.arange(len(names)) + (place - 2.5) * 0.13,
                value,
                [value - low, high - value],
                fmt="o",
                ms=4,
                lw=1,
                color=STYLES[method],
                label=method,
            )
        axis.set_xticks(range(len(names)), [n.replace("_", " ") for n in names])
        axis.tick_params(axis="x", rotation=25)
        axis.set_title(f"{score}: AUROC, %", fontsize=10)
        axis.grid(alpha=0.25)
    axes[0].set_ylim(top=101)
    axes[0].legend(frameon=False, fontsize=8, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def tables(said: Mapping[str, Any]) -> str:
    """Means by set, and differences, in Markdown and per cent."""
    blocks = []
    for score, number in ((s, n) for s in SCORES for n in NUMBERS):
        means = said["means"][score]
        names = list(means[FEED_FORWARD])
        lines = _head(f"{score}: {number}, %", [n.replace("_", " ") for n in names])
        for method in METHODS:
            cells = [percent(means[method][name][number]) for name in names]
            lines.append(f"| {method} | {' | '.join(cells)} |")
        blocks.append("\n".join(lines))
    for score in SCORES:
        lines = _head(f"{score}, points, mean over the sets", NUMBERS)
        for pair, own in said["differences"][score].items():
            cells = [percent(own[number], "+") for number in NUMBERS]
            lines.append(f"| {pair} | {' | '.join(cells)} |")
        blocks.append("\n".join(lines))
    names = said["sets"]
    lines = _head("AUROC, points", [n.replace("_", " ") for n in names])
    for score in SCORES:
        for pair, own in said["by_set"][score].items():
            cells = [percent(own[name], "+") for name in names]
            lines.append(f"| {score}: {pair} | {' | '.join(cells)} |")
    return "\n\n".join([*blocks, "\n".join(lines)])


def _head(first: str, columns: Any) -> list[str]:
    return [f"| {first} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
