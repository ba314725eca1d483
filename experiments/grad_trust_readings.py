"""How the readings of GradTrust change its ranking, and against max softmax.

Paper: "Inferential Machine Learning", AlRegib and Prabhushankar, WACV 2025 tutorial,
slide GradTrust, which leaves open the number of counterfactual classes k, the loss, the
layer, and what the variance is over; the released code computes something else again.

    python -m experiments.grad_trust_readings --dataset mnist5k

On the network of Oberdiek et al. 2018 (trained first, if it is not there): the AUROC of
each reading for telling right from wrong answers, a 95 % bootstrap interval of its own,
and the difference to that of max softmax. The intervals of the differences hold
together, for all pairs of readings: where one holds zero, the two are not told apart.

Obtained, and the time it takes: README.md beside this file.
"""

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import tyro

from experiments import oberdiek2018_train
from trustjax import bridge, data, losses, metrics, scores, scoring, train
from trustjax.ingredients import LOGITS, Ingredient


def squared_error(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean squared error of the logits to the one-hot label, the loss of the demo."""
    return losses.squared_error(logits, jax.nn.one_hot(labels, logits.shape[-1]))


def of_logits(name: str, fn: Callable[..., Any], **options: Any) -> Ingredient:
    """A reading in closed form."""
    return Ingredient(name, compute=fn, needs=(LOGITS,)).with_options(**options)


def by_autodiff(name: str, **options: Any) -> Ingredient:
    """A reading by backward passes."""

    def ask(batch: scoring.Batch) -> jax.Array:
        return scores.counterfactual_grad_trust(
            batch.apply_fn, batch.params, batch.x, **options
        )

    return Ingredient(name, ask=ask)


READINGS = (
    of_logits("max softmax", scores.max_softmax),
    of_logits("last layer, cross entropy, k = 9", scores.log_grad_trust),
    of_logits("last layer, cross entropy, k = 3", scores.log_grad_trust, top_k=3),
    of_logits("last layer, cross entropy, k = 1", scores.log_grad_trust, top_k=1),
    of_logits("rows, k = 9", scores.grad_trust_rows),
    of_logits("rows, k = 1", scores.grad_trust_rows, top_k=1),
    of_logits("released code", scores.grad_trust_reference),
    by_autodiff("first layer, cross entropy", wrt=lambda path: "conv1" in path),
    by_autodiff("all layers, cross entropy"),
    by_autodiff("all layers, cross entropy, k = 1", top_k=1),
    by_autodiff("mean over layers, cross entropy", group="layer"),
    by_autodiff(
        "last layer, squared error",
        loss_fn=squared_error,
        wrt=lambda path: "dense" in path,
    ),
    by_autodiff("all layers, squared error", loss_fn=squared_error),
    by_autodiff(
        "last layer, squared error, read literally",
        loss_fn=squared_error,
        wrt=lambda path: "dense" in path,
        ratio="predicted_over_counterfactual",
    ),
)


def main(
    dataset: str = "mnist5k",
    config: train.TrainConfig = oberdiek2018_train.CONFIG,
    workdir: pathlib.Path = oberdiek2018_train.WORKDIR,
    num_samples: int = 2000,
) -> None:
    """Prints the table of readings."""
    trained, test_set = oberdiek2018_train.trained(dataset, config, workdir)
    results = scoring.run(
        [LOGITS, *READINGS],
        *bridge.from_nnx(trained.model),
        data.batches(test_set, 250),
    )
    correct = jnp.asarray(results.values["logits"].argmax(-1) == results.labels)
    print(f"{len(correct)} test examples, accuracy {correct.mean():.2%}")
    columns = {own.name: jnp.asarray(results.values[own.name]) for own in READINGS}
    resample = {"key": jax.random.key(0), "num_samples": num_samples}
    found = metrics.compare(columns, correct, **resample)
    softmax = found.names.index("max softmax")
    print("| Reading | AUROC | less max softmax | told apart |\n|---|---|---|---|")
    for row, name in enumerate(found.names):
        own = metrics.bootstrap(metrics.auroc, [columns[name], correct], **resample)
        low, high = found.low[row, softmax], found.high[row, softmax]
        print(
            f"| {name} | {own.value:.3f} [{own.low:.3f}, {own.high:.3f}] "
            f"| {found.differences[row, softmax]:+.4f} [{low:+.4f}, {high:+.4f}] "
            f"| {'yes' if low > 0 or high < 0 else 'no'} |"
        )


if __name__ == "__main__":
    tyro.cli(main)
