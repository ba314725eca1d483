"""AUAC and AUFC on both grids of thresholds, and what a rescaling does to them.

Paper: "Inferential Machine Learning", AlRegib and Prabhushankar, WACV 2025 tutorial,
table of GradTrust: areas under the accuracy and the F1 curve of what scores above a
percentile. Whether the percentiles are of the sample (`grid="quantile"`) or of the
range of the score (`grid="range"`) is not said, and no code was released.

    python -m experiments.auac_grids --dataset fashion_mnist

On the network of Oberdiek et al. 2018 (trained first, if it is not there): the scores
of the tutorial on both grids, then max softmax in five scales that order the examples
in the same way. A ranking metric gives all five the same value.

Obtained, and the time it takes: README.md beside this file.
"""

import pathlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments import oberdiek2018_train
from trustjax import bridge, data, metrics, scores, scoring, train

SCORES: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "max softmax": scores.max_softmax,
    "negative entropy": scores.negative_entropy,
    "margin": scores.margin,
    "max logit, the tutorial's NLL": scores.max_logit,
    "GradTrust": scores.grad_trust,
    "its logarithm": scores.log_grad_trust,
    "GradTrust, rows": scores.grad_trust_rows,
    "GradTrust, released code": scores.grad_trust_reference,
}
RESCALED: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "p": lambda p: p,
    "log p": np.log,
    "p^20": lambda p: p**20,
    "exp(30 p)": lambda p: np.exp(30 * p),
    "rank of p": lambda p: np.unique(p, return_inverse=True)[1].astype(p.dtype),
}
COLUMNS = ("auroc", "auac", "auac_range", "aufc", "aufc_range")
HEADS = "AUROC | AUAC quantile | AUAC range | AUFC quantile | AUFC range"


def of_scores(logits: jax.Array, labels: jax.Array) -> dict[str, metrics.Summary]:
    """Every score, on both grids."""
    return {
        name: areas(score(logits), logits, labels) for name, score in SCORES.items()
    }


def of_scales(logits: jax.Array, labels: jax.Array) -> dict[str, metrics.Summary]:
    """Max softmax in scales of one order, on both grids."""
    p = np.asarray(scores.max_softmax(logits))
    return {
        name: areas(jnp.asarray(rescale(p)), logits, labels)
        for name, rescale in RESCALED.items()
    }


def areas(score: jax.Array, logits: jax.Array, labels: jax.Array) -> metrics.Summary:
    """The metrics of one score."""
    answers, num_classes = logits.argmax(-1), logits.shape[1]
    return metrics.summary(score, answers, labels, num_classes=num_classes)


def table(title: str, rows: Mapping[str, metrics.Summary]) -> str:
    """In Markdown."""
    lines = [f"| {title} | {HEADS} |", "|---" * (1 + len(COLUMNS)) + "|"]
    for name, found in rows.items():
        cells = (f"{getattr(found, column):.3f}" for column in COLUMNS)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    dataset: str = "fashion_mnist",
    config: train.TrainConfig = oberdiek2018_train.CONFIG,
    workdir: pathlib.Path = oberdiek2018_train.WORKDIR,
) -> None:
    """Prints both tables."""
    trained, test_set = oberdiek2018_train.trained(dataset, config, workdir)
    results = scoring.run(
        ["logits"], *bridge.from_nnx(trained.model), data.batches(test_set, 250)
    )
    logits, labels = jnp.asarray(results.values["logits"]), jnp.asarray(results.labels)
    print(f"{len(labels)} test examples, {(logits.argmax(-1) == labels).mean():.2%}")
    print("\n" + table("Score", of_scores(logits, labels)))
    print("\n" + table("Max softmax as", of_scales(logits, labels)))


if __name__ == "__main__":
    tyro.cli(main)
