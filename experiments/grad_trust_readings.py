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

import functools
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import tyro

from experiments import oberdiek2018_train
from trustjax import bridge, data, losses, metrics, scores, scoring, train


def squared_error(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean squared error of the logits to the one-hot label, the loss of the demo."""
    return losses.squared_error(logits, jax.nn.one_hot(labels, logits.shape[-1]))


def of_logits(fn, **options) -> scoring.Ingredient:
    """A reading in closed form."""
    return scoring.Ingredient(
        lambda batch, logits: fn(logits, **options), needs=("logits",)
    )


by_autodiff = functools.partial(scoring.of_network, scores.counterfactual_grad_trust)

READINGS: Mapping[str, scoring.Ingredient] = {
    "max softmax": of_logits(scores.max_softmax),
    "last layer, cross entropy, k = 9": of_logits(scores.log_grad_trust),
    "last layer, cross entropy, k = 3": of_logits(scores.log_grad_trust, top_k=3),
    "last layer, cross entropy, k = 1": of_logits(scores.log_grad_trust, top_k=1),
    "rows, k = 9": of_logits(scores.grad_trust_rows),
    "rows, k = 1": of_logits(scores.grad_trust_rows, top_k=1),
    "released code": of_logits(scores.grad_trust_reference),
    "first layer, cross entropy": by_autodiff(wrt=lambda path: "conv1" in path),
    "all layers, cross entropy": by_autodiff(),
    "all layers, cross entropy, k = 1": by_autodiff(top_k=1),
    "mean over layers, cross entropy": by_autodiff(group="layer"),
    "last layer, squared error": by_autodiff(
        loss_fn=squared_error, wrt=lambda path: "dense" in path
    ),
    "all layers, squared error": by_autodiff(loss_fn=squared_error),
    "last layer, squared error, read literally": by_autodiff(
        loss_fn=squared_error,
        wrt=lambda path: "dense" in path,
        ratio="predicted_over_counterfactual",
    ),
}


def main(
    dataset: str = "mnist5k",
    config: train.TrainConfig = oberdiek2018_train.CONFIG,
    workdir: pathlib.Path = oberdiek2018_train.WORKDIR,
    num_samples: int = 2000,
) -> None:
    """Prints the table of readings."""
    trained, test_set = oberdiek2018_train.trained(dataset, config, workdir)
    results = scoring.run(
        ["logits", *READINGS],
        *bridge.from_nnx(trained.model),
        data.batches(test_set, 250),
        ingredients={**scoring.INGREDIENTS, **READINGS},
    )
    correct = jnp.asarray(results.values["logits"].argmax(-1) == results.labels)
    print(f"{len(correct)} test examples, accuracy {correct.mean():.2%}")
    columns = {name: jnp.asarray(results.values[name]) for name in READINGS}
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
