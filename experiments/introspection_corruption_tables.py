"""Tables and the figure of the study `introspection_corruption`."""

import pathlib
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt

from experiments.introspection_networks import (
    BASELINES,
    FEED_FORWARD,
    INTROSPECTIVE,
    METHODS,
    STYLES,
    percent,
)

PAIRS = (
    *((method, FEED_FORWARD) for method in METHODS[1:]),
    (INTROSPECTIVE, BASELINES["embedding"]),
)
"""What is compared: the first less the second."""

NUMBERS = ("accuracy", "calibration error", "calibration error, scaled")
ALL = "all"
"""The mean over all severities."""

CLEAN = "clean"
"""Test images as they are."""


def draw(said: Mapping[str, Any], path: pathlib.Path) -> None:
    """Every number against the severity."""
    severities = [key for key in said["means"] if key != ALL]
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    for name, axis in zip(NUMBERS, axes, strict=True):
        for method in said["temperatures"]:
            own = [
                said["means"][severity][method][name]["value"]
                for severity in severities
            ]
            dashed = "--" if method == FEED_FORWARD else "-"
            axis.plot(
                severities,
                own,
                dashed,
                marker="o",
                ms=4,
                color=STYLES[method],
                label=method,
            )
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("severity")
        axis.grid(alpha=0.25)
    bound = max(axis.get_ylim()[1] for axis in axes[1:])
    for axis in axes[1:]:
        axis.set_ylim(0, bound)
    axes[0].legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def tables(said: Mapping[str, Any]) -> str:
    """Means by severity, and differences, in Markdown and per cent."""
    severities = list(said["means"])
    blocks = []
    for name in NUMBERS:
        lines = [
            f"| {name}, % | {' | '.join(severities)} |",
            "|---" * (len(severities) + 1) + "|",
        ]
        for method in said["temperatures"]:
            cells = [percent(said["means"][s][method][name]) for s in severities]
            lines.append(f"| {method} | {' | '.join(cells)} |")
        blocks.append("\n".join(lines))
    for name in NUMBERS:
        lines = [
            f"| {name}, points | {' | '.join(said['differences'])} |",
            "|---" * (len(said["differences"]) + 1) + "|",
        ]
        for pair in said["differences"][ALL]:
            own = said["differences"].values()
            cells = [percent(of[pair][name], "+") for of in own]
            lines.append(f"| {pair} | {' | '.join(cells)} |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
