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

from experiments import luo2021
from trustjax import metrics

CONFIG = luo2021.Pair()


def main(
    pair: luo2021.Pair = CONFIG,
    losses: Sequence[str] = tuple(luo2021.LOSSES),
    figure: pathlib.Path = pathlib.Path("reports/luo2021/figure3.png"),
) -> dict[str, np.ndarray]:
    """Draws the figure; prints and returns `[seeds, (KL, Bhattacharyya)]`."""
    trained = luo2021.Trained(pair)
    right = trained.correct
    canvas, axes = plt.subplots(1, len(losses), figsize=(3 * len(losses), 2.6))
    print("| Loss | KL | Bhattacharyya |\n|---|---|---|")
    found = {}
    for loss, axis in zip(losses, np.atleast_1d(axes), strict=True):
        confidence = [
            jax.nn.sigmoid(trained.outputs(trained.oracle(loss, seed)))
            for seed in pair.seeds
        ]
        found[loss] = values = np.array(
            [separability(run[right], run[~right]) for run in confidence]
        )
        spread = values.std(axis=0, ddof=min(1, len(values) - 1))
        cells = [
            f"{mean:.3f} ± {deviation:.3f}"
            for mean, deviation in zip(values.mean(axis=0), spread, strict=True)
        ]
        print(f"| {loss} | " + " | ".join(cells) + " |")
        for name, which in (("right", right), ("wrong", ~right)):
            axis.hist(
                np.asarray(confidence[0])[which],
                bins=np.linspace(0, 1, 31),
                density=True,
                alpha=0.6,
                label=name,
            )
        axis.set(title=loss, xlabel="confidence")
    np.atleast_1d(axes)[0].legend()
    canvas.tight_layout()
    figure.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(figure)
    plt.close(canvas)
    return found


def separability(right: jax.Array, wrong: jax.Array) -> tuple[float, float]:
    """Both measures of one run."""
    right, wrong = jnp.asarray(right), jnp.asarray(wrong)
    return (
        float(metrics.kl_separability(right, wrong)),
        float(metrics.bhattacharyya_distance(right, wrong)),
    )


if __name__ == "__main__":
    tyro.cli(main)
