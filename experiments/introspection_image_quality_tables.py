"""Names, the figure and the tables of `introspection_image_quality`."""

import pathlib
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

UNIQUE, GRADIENT = "UNIQUE", "UNIQUE, gradients"
EMBEDDING, INTROSPECTIVE = "embedding", "introspective"
METHODS = ("PSNR", "SSIM", "MS-SSIM", UNIQUE, GRADIENT, EMBEDDING, INTROSPECTIVE)

WITHIN = "Spearman, one photograph"
ACROSS = ("Spearman", "Kendall", "Pearson", "RMSE")
NUMBERS = (WITHIN, *ACROSS)
OUTLIERS = "outlier ratio"

PAIRS = (
    (GRADIENT, UNIQUE),
    (INTROSPECTIVE, EMBEDDING),
    (GRADIENT, "MS-SSIM"),
    (INTROSPECTIVE, "MS-SSIM"),
)
"""What is compared: the first less the second."""

PAPER = {
    "PSNR-HA": {
        "MULTI": (0.715, 0.532, 0.801, 11.320),
        "TID13": (0.847, 0.666, 0.851, 0.652),
    },
    UNIQUE: {
        "MULTI": (0.867, 0.679, 0.872, 9.258),
        "TID13": (0.860, 0.667, 0.869, 0.615),
    },
    GRADIENT: {
        "MULTI": (0.887, 0.702, 0.908, 7.943),
        "TID13": (0.865, 0.677, 0.877, 0.596),
    },
}
"""Spearman, Kendall, Pearson, RMSE of opinions: table 13 of the tutorial."""


def draw(said: Mapping[str, Any], path: pathlib.Path) -> None:
    """How well each measure orders the levels of each kind of corruption."""
    figure, axes = plt.subplots(
        1, 2, figsize=(11, 5.4), layout="constrained", sharey=True
    )
    kinds = list(said["kinds"])
    names = {
        WITHIN: "levels of one photograph",
        "Spearman": "levels of all photographs",
    }
    for axis, (number, title) in zip(axes, names.items(), strict=True):
        values = np.array(
            [[said["kinds"][kind][m][number] for m in METHODS] for kind in kinds]
        )
        image = axis.imshow(values, cmap="viridis", vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            axis.text(
                column,
                row,
                f"{value:.2f}",
                ha="center",
                va="center",
                fontsize=7,
                color="black" if value > 0.6 else "white",
            )
        axis.set_xticks(range(len(METHODS)), METHODS, rotation=35, ha="right")
        axis.set_yticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds])
        axis.set_title(f"Spearman's correlation, {title}", fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def tables(said: Mapping[str, Any]) -> str:
    """Means over the kinds, differences, and sets with opinions, in Markdown."""
    blocks = [
        _table(said["means"], METHODS, NUMBERS),
        _table(
            said["differences"],
            [f"{one} less {other}" for one, other in PAIRS],
            NUMBERS,
            sign="+",
        ),
    ]
    for name, own in said["opinions"].items():
        shown = [n for n in (*ACROSS, OUTLIERS) if n in own["means"][METHODS[0]]]
        blocks.append(f"{name}: {own['rows']} images of {own['references']} references")
        blocks.append(_table(own["means"], METHODS, shown))
    return "\n\n".join(blocks)


def _table(found: Mapping[str, Any], rows: Any, columns: Any, sign: str = "") -> str:
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        cells = [_cell(found[row][column], sign) for column in columns]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(number: Mapping[str, Any], sign: str) -> str:
    value, low, high = (number[part] for part in ("value", "low", "high"))
    proven = " *" if sign and (low > 0 or high < 0) else ""
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]{proven}"
