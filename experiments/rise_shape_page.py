"""What the page of `experiments.rise_shape` says: statements, tables, a figure."""

import math
import pathlib
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from trustjax import _files

ESTIMATES = ("RISE", "SHAPE", "centred")
"""The centred RISE and SHAPE rank pixels alike: in the same unit they are one map."""
GAMES = (*ESTIMATES, "SHAPE of logits")
COLOURS = {
    "RISE and SHAPE": "#444444",
    "RISE": "#0072b2",
    "SHAPE": "#d55e00",
    "centred": "#009e73",
}
LEVEL = 0.95
"""The chance that not one of all statements of a page is false."""


def compared(rows: list[dict[str, Any]], level: float = LEVEL) -> list[dict[str, Any]]:
    """Ratios and differences with intervals that hold together, all of the page."""
    pairs = [("SHAPE", "centred"), ("RISE", "centred"), ("SHAPE", "RISE")]
    matches = [("SHAPE", "RISE"), ("SHAPE of logits", "RISE")]
    statements = len(rows) * (len(pairs) + 2 * len(matches))

    def interval(values: np.ndarray) -> tuple[float, float, float]:
        error = values.std(ddof=1) / math.sqrt(len(values))
        width = stats.t.ppf(1 - (1 - level) / 2 / statements, len(values) - 1) * error
        return values.mean(), values.mean() - width, values.mean() + width

    found = []
    for row in rows:
        about = {"photograph": row["photograph"], "p": row["p"]}
        for one, other in pairs:
            masks = [np.array(row["masks needed"][name]) for name in (one, other)]
            ratio = np.exp(interval(np.log(masks[0] / masks[1]))).tolist()
            found.append({**about, "masks": f"{one} / {other}", "ratio": ratio})
        for one, other in matches:
            for game in ("insertion", "deletion"):
                areas = [np.array(row["areas"][n][game][:-1]) for n in (one, other)]
                difference = list(map(float, interval(areas[0] - areas[1])))
                found.append(
                    {**about, game: f"{one} - {other}", "difference": difference}
                )
    return found


def tables(rows: list[dict[str, Any]], comparisons: list[dict[str, Any]]) -> str:
    """What the page shows, in Markdown."""
    lines = ["| Photograph, class | p | RISE | SHAPE | centred | SHAPE / centred |"]
    lines += ["|---|---|---|---|---|---|"]
    ratios = {
        (c["photograph"], c["p"], c["masks"]): c["ratio"]
        for c in comparisons
        if "masks" in c
    }
    for row in rows:
        masks = [f"{np.mean(row['masks needed'][name]):,.0f}" for name in ESTIMATES]
        middle, low, high = ratios[row["photograph"], row["p"], "SHAPE / centred"]
        lines.append(
            f"| {row['photograph']}, {row['class']} | {row['p']} | {' | '.join(masks)} "
            f"| {middle:.1f} [{low:.1f}, {high:.1f}] |"
        )
    sizes = [one["masks"] for one in rows[0]["rank correlation"]]
    lines += ["", f"| Photograph | p | {' | '.join(map(str, sizes))} |"]
    lines += ["|" + "---|" * (2 + len(sizes))]
    for row in rows:
        together = [one["RISE and SHAPE"]["mean"] for one in row["rank correlation"]]
        shown = " | ".join(f"{value:.2f}" for value in together)
        lines.append(f"| {row['photograph']} | {row['p']} | {shown} |")
    heads = [f"{name}, {game}" for game in ("insertion", "deletion") for name in GAMES]
    lines += ["", f"| Photograph | p | {' | '.join(heads)} |"]
    lines += ["|" + "---|" * (2 + len(heads))]
    for row in rows:
        areas = [
            f"{np.mean(row['areas'][name][game][:-1]):.3f}"
            for game in ("insertion", "deletion")
            for name in GAMES
        ]
        lines.append(f"| {row['photograph']} | {row['p']} | {' | '.join(areas)} |")
    lines += ["", "| Photograph | p | What | Difference |", "|---|---|---|---|"]
    for one in comparisons:
        for game in ("insertion", "deletion"):
            if game in one:
                middle, low, high = one["difference"]
                lines.append(
                    f"| {one['photograph']} | {one['p']} | {game}, {one[game]} | "
                    f"{middle:+.3f} [{low:+.3f}, {high:+.3f}] |"
                )
    return "\n".join(lines)


def draw(
    file: pathlib.Path,
    rows: list[dict[str, Any]],
    images: list[np.ndarray],
    maps_of_rows: list[dict[str, np.ndarray]],
) -> None:
    """Each photograph with its maps of all masks, and how well blocks of them agree."""
    columns = 2 + len(ESTIMATES)
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(3 * columns, 2.7 * len(rows)), squeeze=False,
        layout="constrained", width_ratios=[1] * (columns - 1) + [1.5],
    )  # fmt: skip
    for row, image, maps, line in zip(rows, images, maps_of_rows, axes, strict=True):
        count = row["rank correlation"][-1]["masks"]
        line[0].imshow(image)
        line[0].set_title(
            f"{row['class']}, {row['probability']:.2f}\n{row['p']:.0%} of cells kept",
            fontsize=10,
        )
        for axis, name in zip(line[1:-1], ESTIMATES, strict=True):
            axis.imshow(maps[name], cmap="viridis")
            axis.set_title(
                f"{name}, {count:,} masks\n"
                f"{maps[name].min():.3g} to {maps[name].max():.3g}",
                fontsize=10,
            )
        for axis in line[:-1]:
            axis.set_axis_off()
        agreement_lines(line[-1], row["rank correlation"])
    figure.legend(
        *axes[0, -1].get_legend_handles_labels(), loc="outside lower right", ncols=2
    )
    with _files.written_whole(file) as path:
        figure.savefig(path, dpi=80)
    plt.close(figure)


def agreement_lines(axis: Axes, rows: list[dict[str, Any]]) -> None:
    for name, colour in COLOURS.items():
        there = [row for row in rows if name in row]
        label = (
            f"{name}, same masks"
            if name == "RISE and SHAPE"
            else f"{name}, and a map of the other masks"
        )
        axis.plot(
            [row["masks"] for row in there],
            [row[name]["mean"] for row in there],
            marker="o",
            markersize=3,
            color=colour,
            linestyle="--" if name == "RISE and SHAPE" else "-",
            label=label,
        )
    axis.set_xscale("log")
    axis.set_ylim(-1, 1.05)
    axis.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    axis.set_xlabel("masks")
    axis.set_ylabel("rank correlation")
