"""The figures of the study `shifts`."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

PANELS = {
    "accuracy": "accuracy",
    "net_trust_score": "NetTrustScore",
    "calibration_error": "expected calibration error",
}
SCORE_PANELS = {
    ("auroc", "over_images"): "AUROC",
    ("auac_range", "over_images"): "AUAC, range grid",
    ("aufc_range", "over_images"): "AUFC, range grid",
    ("auroc", "less_first"): "AUROC, less that of max softmax",
    ("auac_quantile", "less_first"): "AUAC, quantile grid, less max softmax",
    ("aufc_quantile", "less_first"): "AUFC, quantile grid, less max softmax",
}
_COLOURS = [f"C{place}" for place in range(10)]
_DASHES = ("-", "--", "-.", ":")


def draw(study: Any, made: Mapping[str, Any]) -> None:
    """Writes both figures of a study."""
    study.figures.mkdir(parents=True, exist_ok=True)
    for name, figure in (("network", network(made)), ("scores", scores(study, made))):
        figure.savefig(study.figures / f"shifts_{name}_{study.name}.png", dpi=110)
        plt.close(figure)


def network(made: Mapping[str, Any]) -> Figure:
    """Accuracy, trust and calibration against severity, each kind and the means."""
    figure, panels = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    rows = made["summary"]
    severities = sorted(map(int, rows))
    for axes, (number, title) in zip(panels, PANELS.items(), strict=True):
        for of_kind in made["by_kind"].values():
            line = [rows["0"][number]["over_images"]["value"]]
            line += [of_kind[str(s)][number]["value"] for s in severities[1:]]
            axes.plot(severities, line, color="0.8", linewidth=0.9)
        kinds, images = (
            [rows[str(s)][number][f"over_{over}"] for s in severities]
            for over in ("kinds", "images")
        )
        _band(axes, severities, kinds, "tab:orange", "-", None, alpha=0.2)
        _band(axes, severities, images, "tab:blue", "-", None, alpha=0.4)
        axes.set_title(title)
        _severities(axes, severities)
    handles = [
        Patch(color="tab:blue", alpha=0.4),
        Patch(color="tab:orange", alpha=0.2),
        Line2D([], [], color="0.8"),
    ]
    words = ["95 %, over images", "95 %, over kinds of corruption", "one kind"]
    figure.legend(handles, words, loc="outside lower center", ncols=3, frameon=False)
    return figure


def scores(study: Any, made: Mapping[str, Any]) -> Figure:
    """Each score against severity by five metrics, bands over images.

    On the quantile grid the scores lie too close to be told apart by eye: there it is
    how far each is from the first.
    """
    figure, panels = plt.subplots(2, 3, figsize=(12, 8), layout="constrained")
    rows = made["summary"]
    severities = sorted(map(int, rows))
    for axes, ((number, which), title) in zip(
        panels.ravel(), SCORE_PANELS.items(), strict=True
    ):
        for place, name in enumerate(study.scores):
            found = [rows[str(s)][name][number][which] for s in severities]
            dashes = _DASHES[place % len(_DASHES)]
            _band(axes, severities, found, _COLOURS[place], dashes, name, alpha=0.12)
        axes.set_title(title)
        _severities(axes, severities)
    handles, words = panels[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        [word.replace("_", " ") for word in words],
        loc="outside lower center",
        ncols=4,
        frameon=False,
        handlelength=3.5,
    )
    figure.suptitle("Means over the kinds; 95 % bands over images", fontsize=11)
    return figure


def _band(
    axes: Axes,
    severities: Sequence[int],
    found: Sequence[Mapping[str, float | None]],
    colour: Any,
    dashes: str,
    label: str | None,
    *,
    alpha: float,
) -> None:
    value, low, high = (
        np.array([of[part] for of in found], np.float64)
        for part in ("value", "low", "high")
    )
    axes.fill_between(severities, low, high, color=colour, alpha=alpha, linewidth=0)
    axes.plot(severities, value, color=colour, linestyle=dashes, label=label)


def _severities(axes: Axes, severities: Sequence[int]) -> None:
    axes.set_xticks(severities, ["none", *map(str, severities[1:])])
    axes.set_xlabel("severity")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
