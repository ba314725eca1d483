"""The figures and tables of the study `adversarial_scores`."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from experiments import adversarial_scores_jpeg as jpeg
from trustjax import scores

SHOWN = (
    "max_softmax",
    "grad_trust",
    "gradient_l2_norm",
    "energy",
    "mahalanobis",
    "knn_distance",
    "trust_score",
    "mc_dropout_mutual_information",
)
"""Named in the figure; all others are grey."""


def draw(study: Any, made: Mapping[str, Any]) -> None:
    """Writes a figure of the scores and one of JPEG."""
    study.figures.mkdir(parents=True, exist_ok=True)
    for name, of in (("scores", _scores), ("jpeg", _jpeg)):
        figure = of(study, made["datasets"])
        figure.savefig(study.figures / f"{study.name}_{name}.png", dpi=110)
        plt.close(figure)


def _scores(study: Any, datasets: Mapping[str, Any]) -> Any:
    kinds = {"PGD": "PGD that knows no score", "adaptive": "PGD that raises the score"}
    figure, axes = plt.subplots(
        len(datasets),
        2,
        figsize=(10, 3.8 * len(datasets) + 0.8),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for row, (dataset, found) in zip(axes, datasets.items(), strict=True):
        for axis, (kind, title) in zip(row, kinds.items(), strict=True):
            _of_attack(axis, kind, study.datasets[dataset], found["scores"])
            axis.set_title(f"{dataset}: {title}", fontsize=10)
            axis.set_xlabel("radius of the attack")
        row[0].set_ylabel("AUROC, attacked against clean")
    handles, words = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, words, loc="outside lower center", ncols=4, frameon=False, fontsize=9
    )
    return figure


def _of_attack(
    axis: Axes, kind: str, radii: Sequence[float], found: Mapping[str, Any]
) -> None:
    for name, rows in found.items():
        own = [rows.get(f"{kind} {radius:g}") for radius in radii]
        if own[0] is None:
            continue
        value, low, high = (
            np.array([of["auroc"][part] for of in own], np.float64)
            for part in ("value", "low", "high")
        )
        if name not in SHOWN:
            axis.plot(radii, value, color="0.85", lw=0.8, zorder=1)
            continue
        place = SHOWN.index(name)
        axis.fill_between(radii, low, high, color=f"C{place}", alpha=0.08, lw=0)
        axis.plot(
            radii,
            value,
            color=f"C{place}",
            ls=("-", "--")[place % 2],
            marker=".",
            label=scores.lookup(name).title,
        )
    _finished(axis, radii)
    axis.axhline(0.5, color="0.4", lw=0.8, ls=":")


def _jpeg(study: Any, datasets: Mapping[str, Any]) -> Any:
    figure, axes = plt.subplots(
        1,
        len(datasets),
        figsize=(5 * len(datasets) + 1, 4.2),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, (dataset, found) in zip(axes[0], datasets.items(), strict=True):
        radii = study.datasets[dataset]
        without = [found["accuracy"][f"PGD {r:g}"]["value"] for r in radii]
        axis.plot(radii, without, color="k", marker=".", label="without JPEG")
        for place, (quality, own) in enumerate(found["jpeg"].items()):
            for kind, dashes in zip(jpeg.KINDS[:2], ("-", ":"), strict=True):
                line = [own["accuracy"][f"{kind} {r:g}"]["value"] for r in radii]
                label = f"quality {quality}" if dashes == "-" else None
                axis.plot(radii, line, color=f"C{place}", ls=dashes, label=label)
        axis.set_title(f"{dataset}: PGD (lines), PGD through JPEG (dots)", fontsize=10)
        axis.set_xlabel("radius of the attack")
        _finished(axis, radii)
    axes[0, 0].set_ylabel("accuracy behind JPEG")
    axes[0, -1].legend(frameon=False, fontsize=8)
    return figure


def _finished(axis: Axes, radii: Sequence[float]) -> None:
    axis.set_xscale("log")
    axis.set_xticks(radii, [f"{radius:g}" for radius in radii])
    axis.minorticks_off()
    axis.set_ylim(-0.02, 1.02)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def tables(study: Any, made: Mapping[str, Any]) -> str:
    """All tables in Markdown, in per cent."""
    parts = []
    for dataset, found in made["datasets"].items():
        radii = study.datasets[dataset]
        parts += [
            f"### {dataset}: the network",
            _network(radii, found),
            f"### {dataset}: the scores",
            _of_scores(radii, found),
            f"### {dataset}: JPEG",
            _of_jpeg(radii, found),
        ]
    return "\n\n".join(parts)


def _network(radii: Sequence[float], found: Mapping[str, Any]) -> str:
    rows = {}
    for kind in ("FGSM", "PGD"):
        for part, words in (
            ("accuracy", "right"),
            ("success", "of those first right, now wrong"),
        ):
            rows[f"{kind}: {words}"] = [
                _cell(found[part][f"{kind} {radius:g}"]) for radius in radii
            ]
    heads = ["attack", *(f"{radius:g}" for radius in radii)]
    clean = _cell(found["accuracy"]["clean"])
    return f"Right without any attack: {clean}.\n\n" + _lines(heads, rows)


def _of_scores(radii: Sequence[float], found: Mapping[str, Any]) -> str:
    """AUROC at three radii, and the share that passes unseen at the middle one."""
    chosen = [radii[len(radii) // 2 - 1], radii[len(radii) // 2], radii[-1]]
    chosen = list(dict.fromkeys(chosen))
    middle = chosen[len(chosen) // 2]
    heads = [
        "score",
        *(f"PGD {r:g}" for r in chosen),
        *(f"adaptive {r:g}" for r in chosen),
        f"unseen, PGD {middle:g}",
        f"unseen, adaptive {middle:g}",
    ]

    def least(rows: Mapping[str, Any]) -> float:
        own = rows.get(f"adaptive {middle:g}")
        value = None if own is None else own["auroc"]["value"]
        return -1.0 if value is None else value

    body = {}
    ordered = sorted(found["scores"].items(), key=lambda row: -least(row[1]))
    for name, rows in ordered:
        asked = [(k, r, "auroc") for k in ("PGD", "adaptive") for r in chosen]
        asked += [(kind, middle, "unseen") for kind in ("PGD", "adaptive")]
        body[scores.lookup(name).title] = [
            _cell(rows[f"{kind} {r:g}"][part]) if f"{kind} {r:g}" in rows else "-"
            for kind, r, part in asked
        ]
    return _lines(heads, body)


def _of_jpeg(radii: Sequence[float], found: Mapping[str, Any]) -> str:
    middle = radii[len(radii) // 2]
    plain, through, both = (f"{kind} {middle:g}" for kind in jpeg.KINDS)
    heads = [
        "quality",
        "right, clean",
        f"right, {plain}",
        f"right, {through}",
        f"AUROC of a changed answer, {plain}",
        f"the same, {both}",
        f"AUROC of max softmax behind, {plain}",
        f"the same, {through}",
    ]
    rows = {}
    for quality, own in found["jpeg"].items():
        cells = [own["accuracy"][version] for version in ("clean", plain, through)]
        cells += [own["change"][version] for version in (plain, both)]
        cells += [own["scores"][v]["max_softmax"] for v in (plain, through)]
        rows[quality] = [_cell(number) for number in cells]
    return _lines(heads, rows)


def _lines(heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    shown = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    shown += [f"| {' | '.join([name, *cells])} |" for name, cells in rows.items()]
    return "\n".join(shown)


def _cell(number: Mapping[str, float | None]) -> str:
    if number["value"] is None:
        return "-"
    value, low, high = (
        100 * (number[part] or 0.0) for part in ("value", "low", "high")
    )
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"
