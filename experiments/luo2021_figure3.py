"""Figure 3 and appendix G of Luo et al. 2021: how far apart the confidences lie.

    python -m experiments.luo2021_figure3

Histograms of the oracles' confidence sigmoid(z) for right and wrong answers, and the
separability of the two as Gaussians: Kullback-Leibler divergence, both directions
averaged, and Bhattacharyya distance. The authors' divergence lacks a factor of 1/2.
"""

import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.axes import Axes

from experiments import luo2021
from trustjax import metrics

CONFIG = luo2021.Pair()


def main(
    pair: luo2021.Pair = CONFIG,
    losses: Sequence[str] = tuple(luo2021.LOSSES),
    figures: pathlib.Path = luo2021.FIGURES,
) -> dict[str, np.ndarray]:
    """Draws the figure; prints and returns `[seeds, (KL, Bhattacharyya)]`."""
    correct = luo2021.outcomes(pair, "test").correct
    confidence = {
        loss: np.asarray(jax.nn.sigmoid(luo2021.outputs(pair, loss))) for loss in losses
    }
    found = {
        loss: np.array([separability(run[correct], run[~correct]) for run in runs])
        for loss, runs in confidence.items()
    }
    print("| Loss | KL | Bhattacharyya |\n|---|---|---|")
    for loss, values in found.items():
        print(f"| {loss} | " + " | ".join(luo2021.cells(values, digits=3)) + " |")
    draw(pair, confidence, correct, figures / f"luo2021_figure3_{pair.dataset}.png")
    return found


def draw(
    pair: luo2021.Pair,
    confidence: dict[str, np.ndarray],
    correct: np.ndarray,
    figure: pathlib.Path,
) -> None:
    """Histograms of the first seed, one panel for each loss."""
    canvas, axes = plt.subplots(
        1,
        len(confidence),
        figsize=(2.6 * len(confidence), 2.8),
        squeeze=False,
        layout="constrained",
    )
    for axis, (loss, runs) in zip(axes[0], confidence.items(), strict=True):
        panel(axis, runs[0], correct)
        axis.set(title=loss, xlabel="confidence", xlim=(0, 1))
    axes[0, 0].set_ylabel("% of either kind")
    axes[0, 0].legend(title="classifier is", loc="upper left")
    canvas.suptitle(f"{pair} on {pair.dataset}")
    luo2021.save(canvas, figure)


def panel(axis: Axes, confidence: np.ndarray, correct: np.ndarray) -> None:
    """The confidences of right and of wrong answers, each in per cent of its kind."""
    bins = np.linspace(0, 1, 41).tolist()
    for name, colour, which in (
        ("right", "tab:blue", correct),
        ("wrong", "tab:orange", ~correct),
    ):
        values = confidence[which]
        share = np.full(len(values), 100 / max(len(values), 1))
        axis.hist(values, bins, weights=share, alpha=0.6, color=colour, label=name)
    axis.axvline(0.5, color="black", linewidth=0.8, linestyle=":")


def separability(right: np.ndarray, wrong: np.ndarray) -> tuple[float, float]:
    """Both measures of one run."""
    given = jnp.asarray(right), jnp.asarray(wrong)
    return (
        float(metrics.kl_separability(*given)),
        float(metrics.bhattacharyya_distance(*given)),
    )


if __name__ == "__main__":
    tyro.cli(main)
