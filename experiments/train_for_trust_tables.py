"""The tables and the figure of `train_for_trust.py`."""

import pathlib
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt

from experiments.train_for_trust_numbers import (
    LOWER_IS_BETTER,
    METRICS,
    SCALED,
    SHARPENED,
)
from experiments.train_for_trust_terms import DECAY, PLAIN

UNIT = 100
"""All numbers are shown in points of a hundred."""

DIGITS = {metric: 3 if metric == "aurc" else 2 for metric in METRICS}

BETTER, WORSE, OPEN = "#2471a3", "#c0392b", "#9aa5ad"


def proven(metric: str, difference: Mapping[str, float]) -> int:
    """1 where it is better, -1 where it is worse, 0 where neither is proven."""
    if difference["low"] <= 0 <= difference["high"]:
        return 0
    higher = difference["low"] > 0
    return 1 if higher != (metric in LOWER_IS_BETTER) else -1


def difference_of(metric: str, own: Mapping[str, Any]) -> str:
    """A difference in points, with its interval; in bold where it is proven."""
    if metric not in own:
        return "-"
    one = own[metric]
    value, low, high = (
        f"{UNIT * one[name]:+.{DIGITS[metric]}f}" for name in ("value", "low", "high")
    )
    text = f"{value} [{low}, {high}]"
    return f"**{text}**" if proven(metric, one) else text


def table_of(rows: Mapping[str, Any], cells: Any, *, first: str) -> str:
    """A table in Markdown with a column for each metric."""
    lines = [
        f"| {first} | " + " | ".join(METRICS.values()) + " |",
        "|---" * (len(METRICS) + 1) + "|",
    ]
    for name, own in rows.items():
        lines.append(f"| {name} | " + " | ".join(cells(m, own) for m in METRICS) + " |")
    return "\n".join(lines)


def page(said: Mapping[str, Any]) -> str:
    """Every table, in Markdown."""
    number = lambda metric, own: f"{UNIT * own[metric]['value']:.{DIGITS[metric]}f}"
    parts = [f"{said['statements']} statements, together at {said['level']:.0%}"]
    for name, own in said["datasets"].items():
        weights = own["chosen"]
        named = lambda row, weights=weights: (
            f"{row} ({weights[row]:g})" if weights.get(row) else row
        )
        means = {named(row): numbers for row, numbers in own["numbers"].items()}
        parts += [f"## {name}", table_of(means, number, first="Trained by (weight)")]
        parts.append(f"temperatures {own['temperatures']}")
        for baseline, rows in own["less"].items():
            parts.append(table_of(rows, difference_of, first=f"less {baseline}"))
        rows = own["scaled_less_scaled"]
        parts.append(table_of(rows, difference_of, first=f"scaled, less {SCALED}"))
        rows = own["by_own_score"]
        parts.append(table_of(rows, difference_of, first="by its own score"))
        for term, by_weight in own["every_weight"].items():
            parts.append(table_of(by_weight, difference_of, first=f"weight of {term}"))
    return "\n\n".join(parts)


def draw(said: Mapping[str, Any], path: pathlib.Path) -> None:
    """Differences to plain cross entropy, by data set and metric."""
    datasets = said["datasets"]
    some = next(iter(datasets.values()))["less"][PLAIN]
    names = [DECAY, SCALED, SHARPENED]
    names += [name for name in some if name not in names]
    figure, axes = plt.subplots(
        len(datasets),
        len(METRICS),
        figsize=(14, 0.6 + 3.6 * len(datasets)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for (name, own), row in zip(datasets.items(), axes, strict=True):
        for (metric, title), axis in zip(METRICS.items(), row, strict=True):
            _differences(axis, metric, own["less"][PLAIN], names)
            better = "lower" if metric in LOWER_IS_BETTER else "higher"
            axis.set_title(f"{title} ({better} is better)", fontsize=9)
        row[0].set_ylabel(name)
        row[0].set_yticks(range(len(names)), names, fontsize=8)
        row[0].invert_yaxis()
    figure.supxlabel(
        "points, less plain cross entropy with the same seed; intervals hold for the "
        "whole page",
        fontsize=9,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _differences(
    axis: Any, metric: str, rows: Mapping[str, Any], names: list[str]
) -> None:
    axis.axvline(0, color="black", linewidth=0.8)
    for place, name in enumerate(names):
        if metric not in rows.get(name, {}):
            axis.plot(0, place, "o", color=OPEN, markersize=4)
            continue
        one = rows[name][metric]
        color = {1: BETTER, -1: WORSE, 0: OPEN}[proven(metric, one)]
        ends = [UNIT * one["low"], UNIT * one["high"]]
        axis.plot(ends, [place, place], color=color, linewidth=1.6)
        axis.plot(UNIT * one["value"], place, "o", color=color, markersize=4)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="x", alpha=0.3)
