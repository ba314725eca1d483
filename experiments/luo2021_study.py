"""The whole study of Luo et al. 2021, one table and figure after the other.

    python -m experiments.luo2021_study
    python -m experiments.luo2021_study --study mnist5k

Everything trained is kept under `checkpoints/luo2021`: a run that was stopped goes on
where it was, and each file beside this one reads the same oracles. So that 2 cores are
enough (65 minutes for `fashion_mnist`), all pairs but the first of each study learn
from 10,000 images of `fashion_mnist`, and for 5 epochs on the 3,000 of `mnist5k`.

The studies of the paper's own data run by the same code where it is at hand:

* `cifar10` (table 2) needs the dataset's download, by tensorflow-datasets, and an
  accelerator for its 75 oracles.
* `imagenet2012` (table 1) needs the dataset's archives, prepared by hand as
  tensorflow-datasets says (150 GB), and several accelerators: the classifier learns
  from scratch here, where the paper takes pretrained weights, and an oracle sees all
  1.27 million images. ResNet-18 stands for its ResNet-50, ViT-Ti for its ViT-B.
"""

import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import tyro

from experiments import (
    luo2021,
    luo2021_figure3,
    luo2021_figure4,
    luo2021_table1,
    luo2021_table3,
)
from experiments.shared import keep_programs
from trustjax import data


def others(pair: luo2021.Pair, *networks: str) -> list[luo2021.Pair]:
    """The pair with each of the networks as the oracle, and as the classifier."""
    return [
        changed
        for network in networks
        for changed in (
            replace(pair, oracle=network),
            replace(pair, classifier=network),
        )
    ]


FASHION_MNIST = luo2021.Pair("fashion_mnist", oracle_epochs=3, schedule="cosine")
CIFAR10 = luo2021.Pair(
    "cifar10",
    oracle="resnet20",
    classifier="resnet20",
    train_split="train[:90%]",
    validation_split="train[90%:]",
    oracle_split="train[:90%]",
)
IMAGENET = luo2021.Pair(
    "imagenet2012",
    oracle="resnet18",
    classifier="resnet18",
    train_split="train[:99%]",
    validation_split="train[99%:]",
    test_split="validation",
    oracle_split="train[:99%]",
    image_shape=(224, 224, 3),
    oracle_epochs=1,
    schedule="cosine",
)
FEWER = "train[:10000]"
MNIST5K = luo2021.Pair("mnist5k")
FEW_EPOCHS = replace(MNIST5K, oracle_epochs=5, schedule="cosine")
STUDIES: Mapping[str, Sequence[luo2021.Pair]] = {
    "fashion_mnist": (
        FASHION_MNIST,
        *others(replace(FASHION_MNIST, oracle_split=FEWER), "vit_micro", "resnet8"),
    ),
    "mnist5k": (MNIST5K, *others(FEW_EPOCHS, "vit_micro", "resnet8")),
    "cifar10": (CIFAR10, *others(CIFAR10, "vit_tiny")),
    "imagenet2012": (IMAGENET, *others(IMAGENET, "vit_tiny")),
}
"""The pairs of each study; table 3 and the figures are of the first."""


def main(study: str = "fashion_mnist", figures: pathlib.Path = luo2021.FIGURES) -> None:
    """Prints every table and draws every figure of a study, one of `STUDIES`."""
    sweep_split = FEWER if study == "fashion_mnist" else None
    # The oracles of a pair differ in loss and seed; those of one loss share a program.
    keep_programs(luo2021.Pair().workdir)
    run(STUDIES[study], figures, sweep_split=sweep_split)


def run(
    pairs: Sequence[luo2021.Pair],
    figures: pathlib.Path,
    *,
    losses: Sequence[str] = tuple(luo2021.LOSSES),
    alphas: Sequence[float] = luo2021_figure4.ALPHAS,
    heads: Sequence[str] = luo2021_figure4.HEADS,
    sweep_split: str | None = None,
    kinds: Sequence[str] = data.CORRUPTIONS,
    images: int = 1000,
) -> dict[str, Any]:
    """What each table and figure returns, by its name."""
    pair, *others = pairs
    return {
        "table 1": timed(luo2021_table1.main, pair, losses),
        **{
            f"table 1, {other}": timed(luo2021_table1.main, other, losses)
            for other in others
        },
        "table 3": timed(luo2021_table3.main, pair, losses, kinds, images=images),
        "figure 3": timed(luo2021_figure3.main, pair, losses, figures),
        "figure 4": timed(
            luo2021_figure4.main, pair, losses, sweep_split, alphas, heads, figures
        ),
    }


def timed(main: Callable[..., Any], *args, **kwargs) -> Any:
    """What a table or figure returns; prints how long it took."""
    name = main.__module__.rpartition("_")[-1]
    print(f"\n== {name}", flush=True)
    start = time.monotonic()
    result = main(*args, **kwargs)
    print(f"{name} took {time.monotonic() - start:.0f} s", flush=True)
    return result


if __name__ == "__main__":
    tyro.cli(main)
