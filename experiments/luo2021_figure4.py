"""Figure 4 and appendix F of Luo et al. 2021: risk and coverage, and two sweeps.

    python -m experiments.luo2021_figure4

Risk at several coverages for each loss (figure 4a), and AUC, TPR and TNR of the steep
slope loss over alpha- with alpha+ = 1, on a signed distance and on a linear head
(figures 4b and 4c, appendix F). Means over the seeds, in per cent.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import tyro

from experiments import luo2021
from trustjax import metrics

CONFIG = luo2021.Pair()
COVERAGES = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0)


def main(
    pair: luo2021.Pair = CONFIG,
    losses: Sequence[str] = tuple(luo2021.LOSSES),
    alphas: Sequence[float] = (1.0, 2.0, 3.0, 5.0, 7.0),
    heads: Sequence[str] = ("signed_distance", "linear"),
) -> dict[tuple[str, float], np.ndarray]:
    """Prints both tables; returns (head, alpha-) -> (AUC, TPR, TNR)."""
    trained = luo2021.Trained(pair)
    correct = jnp.asarray(trained.correct)
    print("| Loss | " + " | ".join(f"{c:.0%}" for c in COVERAGES) + " |")
    print("|---" * (1 + len(COVERAGES)) + "|")
    for loss in losses:
        runs = [trained.outputs(trained.oracle(loss, seed)) for seed in pair.seeds]
        risks = [
            [
                100 * metrics.risk_at_coverage(jnp.asarray(z), correct, coverage=c)
                for c in COVERAGES
            ]
            for z in runs
        ]
        cells = [f"{risk:.2f}" for risk in np.mean(risks, axis=0)]
        print(f"| {loss} | " + " | ".join(cells) + " |")

    print("| Head | alpha- | AUC | TPR | TNR |\n|---|---|---|---|---|")
    sweep = {}
    for head in heads:
        for alpha in alphas:
            choice = {"head": head, "alpha_positive": 1.0, "alpha_negative": alpha}
            values = [
                luo2021.row(
                    trained.outputs(trained.oracle("SS", seed, **choice)),
                    trained.correct,
                    (0.0, 0.0),
                )[3:]
                for seed in pair.seeds
            ]
            sweep[head, alpha] = mean = np.mean(values, axis=0)
            cells = " | ".join(f"{value:.2f}" for value in mean)
            print(f"| {head} | {alpha:g} | {cells} |")
    return sweep


if __name__ == "__main__":
    tyro.cli(main)
