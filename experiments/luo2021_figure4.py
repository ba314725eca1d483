"""Figure 4 and appendix F of Luo et al. 2021: risk and coverage, and two sweeps.

    python -m experiments.luo2021_figure4

Risk over coverage for each loss and for max softmax of the classifier (figure 4a), and
the loss on test images, TPR, TNR and AUC of the steep slope loss over alpha- with
alpha+ = 1, on a signed distance and on a linear head (figures 4b and 4c, appendix F).
All but the loss is in per cent.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from experiments import luo2021
from trustjax import losses, metrics

CONFIG = luo2021.Pair()
COVERAGES = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
ALPHAS = (1.0, 2.0, 3.0, 5.0, 7.0)
HEADS = ("signed_distance", "linear")
GRID = np.linspace(0.1, 1, 91)
"""The coverages of the curves."""


def main(
    pair: luo2021.Pair = CONFIG,
    losses: Sequence[str] = tuple(luo2021.LOSSES),
    sweep_split: str | None = None,
    alphas: Sequence[float] = ALPHAS,
    heads: Sequence[str] = HEADS,
    figures: pathlib.Path = luo2021.FIGURES,
) -> dict[str, dict[float, np.ndarray]]:
    """Draws the figure and prints its two tables.

    Args:
      pair: whose risks are compared.
      losses: the losses compared.
      sweep_split: what the oracles of the sweep learn from; None for all that those
        of the pair do.
      alphas: the values of alpha-.
      heads: of the oracles of the sweep.
      figures: the folder that the figure goes to.

    Returns:
      head -> alpha- -> `[seeds, (loss, AUC, TPR, TNR)]`.
    """
    risks = risks_of(pair, losses)
    print("| Score | " + " | ".join(f"{c:.0%}" for c in COVERAGES) + " |")
    print("|---" * (1 + len(COVERAGES)) + "|")
    for name, runs in risks.items():
        at = [[np.interp(c, GRID, run) for c in COVERAGES] for run in runs]
        print(f"| {name} | " + " | ".join(luo2021.cells(np.array(at))) + " |")

    part = dataclasses.replace(pair, oracle_split=sweep_split or pair.oracle_split)
    swept = {
        head: {negative: values for (_, negative), values in of_head.items()}
        for head, of_head in sweep(part, [(1.0, a) for a in alphas], heads).items()
    }
    print("\n| Head | alpha- | Loss | AUC | TPR | TNR |\n|---|---|---|---|---|---|")
    for head, by_alpha in swept.items():
        for alpha, values in by_alpha.items():
            print(f"| {head} | {alpha:g} | " + " | ".join(luo2021.cells(values)) + " |")
    draw(pair, risks, swept, figures / f"luo2021_figure4_{pair.dataset}.png")
    return swept


def risks_of(pair: luo2021.Pair, losses: Sequence[str]) -> dict[str, np.ndarray]:
    """The selective risk at each coverage of the grid, `[seeds, coverages]`."""
    correct = jnp.asarray(luo2021.outcomes(pair, "test").correct)

    def risk(scores: np.ndarray) -> np.ndarray:
        curve = metrics.risk_coverage_curve(jnp.asarray(scores), correct)
        return 100 * np.interp(GRID, curve.coverage, curve.risk)

    scores = {loss: luo2021.outputs(pair, loss) for loss in losses}
    scores["MCP"] = luo2021.max_softmax(luo2021.dataset(pair, "test"), pair)[0][None]
    return {
        name: np.array([risk(run) for run in runs]) for name, runs in scores.items()
    }


def sweep(
    pair: luo2021.Pair, alphas: Sequence[tuple[float, float]], heads: Sequence[str]
) -> dict[str, dict[tuple[float, float], np.ndarray]]:
    """Loss, AUC, TPR and TNR of steep slope oracles by head and (alpha+, alpha-)."""
    correct = luo2021.outcomes(pair, "test").correct

    def rows(head: str, alpha: tuple[float, float]) -> np.ndarray:
        slopes = dict(zip(("alpha_positive", "alpha_negative"), alpha, strict=True))
        runs = luo2021.outputs(pair, "SS", head=head, **slopes)
        thresholds = luo2021.oracle_thresholds(pair, "SS")

        def row(run: np.ndarray) -> list[float]:
            z, known = jnp.asarray(run), jnp.asarray(correct)
            loss = losses.steep_slope_loss(z, known, **slopes).mean()
            return [float(loss), *luo2021.row(run, correct, thresholds)[3:]]

        return np.array([row(run) for run in runs])

    return {head: {alpha: rows(head, alpha) for alpha in alphas} for head in heads}


def draw(
    pair: luo2021.Pair,
    risks: dict[str, np.ndarray],
    swept: dict[str, dict[float, np.ndarray]],
    figure: pathlib.Path,
) -> None:
    """Four panels: risk over coverage; loss, rates and AUC over alpha-."""
    canvas, axes = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
    by_coverage, values_of_loss, rates, areas = axes.flat
    for name, runs in risks.items():
        style = {"color": "black", "linestyle": "--"} if name == "MCP" else {}
        by_coverage.plot(GRID, runs.mean(axis=0), label=name, **style)
    by_coverage.set(
        title=f"{pair} on {pair.dataset}", xlabel="coverage", ylabel="risk, %"
    )
    for head, dashes in zip(swept, ("-", "--"), strict=False):
        alphas = list(swept[head])
        loss, auc, tpr, tnr = np.mean(list(swept[head].values()), axis=1).T
        name = head.replace("_", " ")
        for values, rate, colour in ((tpr, "TPR", "tab:blue"), (tnr, "TNR", "tab:red")):
            rates.plot(
                alphas,
                values,
                dashes,
                color=colour,
                marker="o",
                label=f"{rate}, {name}",
            )
        for axis, values, colour in (
            (values_of_loss, loss, "tab:purple"),
            (areas, auc, "tab:green"),
        ):
            axis.plot(alphas, values, dashes, color=colour, marker="o", label=name)
    for axis, measured in (
        (values_of_loss, "loss on test images"),
        (rates, "TPR and TNR, %"),
        (areas, "AUC, %"),
    ):
        axis.set(title="steep slope, alpha+ = 1", xlabel="alpha-", ylabel=measured)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    luo2021.save(canvas, figure)


if __name__ == "__main__":
    tyro.cli(main)
