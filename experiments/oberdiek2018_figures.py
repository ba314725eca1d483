"""Figures 1 and 2 of Oberdiek et al. 2018: the concepts, and metrics on them."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments import oberdiek2018
from experiments import oberdiek2018_judges as judges
from experiments.oberdiek2018 import Study
from experiments.oberdiek2018_columns import Populations
from trustjax import _files, data

SHOWN = 12
"""Images of each concept."""
MOST_IN_A_VIOLIN = 5000
METRICS = {
    "Entropy": "Entropy",
    "Euclidean norm": "Euclidean norm",
    "Minimum": "Minimum",
}
COLOURS = ("#009e73", "#d55e00", "#0072b2")


def concepts(study: Study, found: Sequence[Populations]) -> None:
    """Some images of every concept, those that are answered rightly first."""
    parts = oberdiek2018.divided(study, 0)
    correct = found[0].correct["test"]
    images, _ = data.as_arrays(parts.test)
    rows = {
        f"{study.known}, right": images[correct],
        f"{study.known}, wrong": images[~correct],
    }
    for name in study.unknowns:
        dataset = oberdiek2018.unknown(study, name, parts.train.image_shape)
        rows[name] = data.as_arrays(dataset)[0]
    for name, dataset in oberdiek2018.artificial(study, parts.validation, 0).items():
        rows[f"{name} (artificial)"] = data.as_arrays(dataset)[0]
    figure, axes = plt.subplots(
        len(rows), SHOWN, figsize=(0.62 * SHOWN + 2, 0.66 * len(rows)), squeeze=False
    )
    random = np.random.default_rng(0)
    for line, (name, of_concept) in zip(axes, rows.items(), strict=True):
        chosen = random.permutation(len(of_concept))[:SHOWN]
        for axis in line:
            axis.set_axis_off()
        for axis, image in zip(line, of_concept[chosen], strict=False):
            axis.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255)
        line[0].text(
            -0.15, 0.5, name.replace("_", " "), transform=line[0].transAxes,
            ha="right", va="center", fontsize=9,
        )  # fmt: skip
    figure.subplots_adjust(
        left=0.26, right=0.995, top=0.995, bottom=0.005, wspace=0.05, hspace=0.05
    )
    _save(figure, study, "concepts")


def violins(study: Study, found: Populations) -> None:
    """Three metrics of one network on right and wrong answers and unknown concepts."""
    correct = found.correct["test"]
    rows = {"right": ("test", correct), "wrong": ("test", ~correct)}
    for name in study.unknowns:
        rows[name.replace("_", " ")] = name, np.ones(len(found.labels[name]), bool)
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.2), layout="constrained")
    for axis, title in zip(axes, METRICS, strict=True):
        column, sign = judges.TABLE1[title]
        # Uncertainty, as the paper draws it: the score with its sign turned.
        values = [
            -sign * found.columns[population][column][kept][:MOST_IN_A_VIOLIN]
            for population, kept in rows.values()
        ]
        if title == "Minimum":
            values = [-own for own in values]
        drawn = axis.violinplot(values, showmedians=True, showextrema=False, widths=0.9)
        for number, body in enumerate(drawn["bodies"]):
            body.set_facecolor(COLOURS[min(number, 2)])
            body.set_alpha(0.7)
        drawn["cmedians"].set_color("black")
        axis.set_xticks(range(1, len(rows) + 1), list(rows), fontsize=9)
        axis.tick_params(axis="x", rotation=40)
        axis.set_title(title)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"{study.known}, one network: the entropy, and statistics of the whole "
        "gradient; the line is the median",
        fontsize=10,
    )
    _save(figure, study, "violins")


def _save(figure: Figure, study: Study, name: str) -> None:
    study.figures.mkdir(parents=True, exist_ok=True)
    path = study.figures / f"oberdiek2018_{name}_{study.short_name}.png"
    with _files.written_whole(path) as part:
        figure.savefig(part, dpi=100, format="png")
    plt.close(figure)
