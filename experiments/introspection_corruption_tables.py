"""Tables and the figure of the study `introspection_corruption`."""

import pathlib
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt

FEED_FORWARD, INTROSPECTIVE = "feed-forward", "introspective"
SIGMOID = "introspective, sigmoid"
BASELINES = {
    "embedding": "H on the embedding",
    "logits": "H on the logits",
    "embedding_and_logits": "H on both",
}
METHODS = (FEED_FORWARD, INTROSPECTIVE, SIGMOID, *BASELINES.values())
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
    styles = dict(
        zip(
            METHODS,
            ("#222222", "#c0392b", "#e59866", "#1f618d", "#7fb3d5", "#76b041"),
            strict=True,
        )
    )
    for name, axis in zip(NUMBERS, axes, strict=True):
        for method, color in styles.items():
            own = [
                said["means"][severity][method][name]["value"]
                for severity in severities
            ]
            dashed = "--" if method == FEED_FORWARD else "-"
            axis.plot(
                severities, own, dashed, marker="o", ms=4, color=color, label=method
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
        for method in METHODS:
            cells = [_cell(said["means"][s][method][name]) for s in severities]
            lines.append(f"| {method} | {' | '.join(cells)} |")
        blocks.append("\n".join(lines))
    for name in NUMBERS:
        lines = [
            f"| {name}, points | {' | '.join(said['differences'])} |",
            "|---" * (len(said["differences"]) + 1) + "|",
        ]
        for pair in (f"{one} less {other}" for one, other in PAIRS):
            cells = []
            for own in said["differences"].values():
                ends = own[pair][name]
                proven = ends["low"] > 0 or ends["high"] < 0
                cells.append(_cell(ends, "+") + (" *" if proven else ""))
            lines.append(f"| {pair} | {' | '.join(cells)} |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _cell(number: Mapping[str, Any], sign: str = "") -> str:
    value, low, high = (100 * number[part] for part in ("value", "low", "high"))
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"
