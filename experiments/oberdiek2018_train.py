"""Train the network of Oberdiek et al. 2018, section 4.

Paper: "Classification Uncertainty of Deep Neural Networks Based on Gradient
Information", arXiv:1805.08440

    python -m experiments.oberdiek2018_train --dataset mnist5k

Three 3x3 convolutions of 16 filters, leaky ReLU 0.1, two 2x2 poolings, dropout 33 %,
L2 1e-3; SGD with momentum 0.9 and batches of 256; learning rate 0.1, divided by 10
when the validation accuracy stagnates, down to 0.001. The paper trains on 60,000
digits of EMNIST (`--dataset emnist/digits`, where it can be downloaded) and does not
say how accurate its networks are.

Obtained, and the time it takes: README.md beside this file.
"""

import pathlib

import jax
import numpy as np
import tyro

from trustjax import _progress, bridge, data, scoring, train

CONFIG = train.TrainConfig()
WORKDIR = pathlib.Path("checkpoints/oberdiek2018")


def trained(
    dataset: str, config: train.TrainConfig, workdir: pathlib.Path
) -> tuple[train.TrainResult, data.Dataset]:
    """The network, trained on from where it stopped, and the test set."""
    parts = {part: data.load(dataset, part) for part in ("train", "validation", "test")}
    with _progress.reporter() as progress:
        result = train.fit(
            config,
            parts["train"],
            parts["validation"],
            workdir=workdir / dataset,
            progress=progress,
        )
    return result, parts["test"]


def main(
    dataset: str = "mnist5k",
    config: train.TrainConfig = CONFIG,
    workdir: pathlib.Path = WORKDIR,
) -> float:
    """Trains the network, or goes on where it stopped; its accuracy on the test set."""
    result, test_set = trained(dataset, config, workdir)
    apply_fn, params = bridge.from_nnx(result.model)
    test = scoring.run(["logits"], apply_fn, params, data.batches(test_set, 500))
    accuracy = np.mean(test.values["logits"].argmax(-1) == test.labels).item()
    last = result.history[-1]
    weights = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(f"{weights:,} weights, {last.epoch} epochs, {result.step} steps")
    print(f"validation accuracy {last.validation_accuracy:.2%}, test {accuracy:.2%}")
    return accuracy


if __name__ == "__main__":
    tyro.cli(main)
