"""Can a network be trained for trust, and what does temperature scaling give for less?

    python -m experiments.train_for_trust
    python -m experiments.train_for_trust --dataset fashion_mnist
    python -m experiments.train_for_trust --smoke

Cross entropy plus a weight times one term (`train_for_trust_terms.py`): NetTrustScore,
a smooth AUROC or a smooth AURC of a differentiable trust score; the correctness ranking
loss of Moon et al. 2020; or the size of each example's gradient. Against plain cross
entropy, a tuned weight decay and temperature scaling. Each weight is chosen on
validation data. Networks alike but for their seeds, which draw the images that they
learn from as well, are trained in one run.

Answers of all networks are kept under `checkpoints/train_for_trust`: a run that was
stopped goes on where it was. Page: `train_for_trust.md`.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments import train_for_trust_numbers as numbers_of
from experiments import train_for_trust_tables as tables
from experiments.explanations_shared import kept
from experiments.shared import keep_programs, published
from experiments.train_for_trust_terms import SCORES, Method, methods
from trustjax import bridge, data, train


@dataclasses.dataclass(frozen=True)
class OfDataset:
    """How networks are trained on a data set.

    Attributes:
      name: of the data set.
      records: images that each network learns from, drawn by its seed.
      validation: others, for the choice of weights and temperatures.
      seeds: how many networks of each method.
      epochs: of each.
      batch_size: of each.
      scores: those that terms are of.
      weights: of the terms.
      decays: of AdamW; plain cross entropy has that of the library's recipe, 0.05.
      steepness_weights: of the squared norm of gradients.
    """

    name: str
    records: int
    validation: int
    seeds: int
    epochs: int
    batch_size: int
    scores: Sequence[str] = tuple(SCORES)
    weights: Sequence[float] = (0.1, 1.0, 10.0)
    decays: Sequence[float] = (0.0, 0.2, 0.8, 3.2)
    steepness_weights: Sequence[float] = (0.001, 0.01, 0.1)

    def methods(self) -> dict[str, Method]:
        """All ways of training, by name."""
        return methods(self.weights, self.decays, self.steepness_weights, self.scores)


@dataclasses.dataclass(frozen=True)
class Study:
    """What is asked.

    Attributes:
      datasets: what is learned.
      model: a name of `models`.
      chosen_by: the validation number, least of which is best, that weights are chosen
        by.
      level: the chance that not one statement of the page is false.
      workdir: where answers are kept.
      numbers: the folder of the JSON file.
      figures: the folder of the figure.
    """

    datasets: Sequence[OfDataset] = (
        OfDataset("digits", 640, 600, seeds=10, epochs=40, batch_size=64),
    )
    model: str = "mlp"
    chosen_by: str = "aurc"
    level: float = 0.95
    workdir: pathlib.Path = pathlib.Path("checkpoints/train_for_trust")
    numbers: pathlib.Path = pathlib.Path("experiments/numbers")
    figures: pathlib.Path = pathlib.Path("experiments/figures")
    name: str = "train_for_trust"


STUDIES = {
    "digits": Study(),
    "fashion_mnist": Study(
        datasets=(
            OfDataset(
                "fashion_mnist",
                records=5000,
                validation=2500,
                seeds=10,
                epochs=10,
                batch_size=64,
                scores=("max softmax",),
                weights=(1.0, 10.0),
                decays=(0.0, 0.2),
                steepness_weights=(0.001, 0.01),
            ),
        ),
        name="train_for_trust_fashion_mnist",
    ),
}
SMOKE = Study(
    datasets=(
        OfDataset(
            "digits",
            records=128,
            validation=120,
            seeds=3,
            epochs=2,
            batch_size=64,
            scores=("max softmax",),
            weights=(1.0,),
            decays=(0.2,),
            steepness_weights=(0.01,),
        ),
    ),
    workdir=pathlib.Path("checkpoints/train_for_trust-smoke"),
    numbers=pathlib.Path("checkpoints/train_for_trust-smoke/numbers"),
    figures=pathlib.Path("checkpoints/train_for_trust-smoke/figures"),
)


def pool(name: str) -> data.Dataset:
    """The images that networks learn from or are chosen on: none of the test set."""
    parts = [data.load(name, split) for split in ("train", "validation")]
    images, labels = map(np.concatenate, zip(*map(data.as_arrays, parts), strict=True))
    return data.from_arrays(name, images, labels, parts[0].class_names)


def drawn(own: OfDataset, records: int) -> np.ndarray:
    """Which images each seed learns from, and then which it validates on."""
    wanted = own.records + own.validation
    return np.stack(
        [
            np.random.default_rng(seed).permutation(records)[:wanted]
            for seed in range(own.seeds)
        ]
    )


def answers(
    study: Study, own: OfDataset, method: Method, weight: float
) -> Mapping[str, np.ndarray]:
    """Logits and labels of validation, `[seeds, images, ...]`, and of test images."""
    name = f"{method.name.replace(' ', '_')}-{weight:g}.npz"
    return kept(
        study.workdir / own.name / name, lambda: _asked(study, own, method, weight)
    )


def _asked(
    study: Study, own: OfDataset, method: Method, weight: float
) -> dict[str, np.ndarray]:
    records = pool(own.name)
    order = drawn(own, len(records))
    learned, held_out = np.split(order, [own.records], axis=1)
    members = np.zeros((own.seeds, len(records)), bool)
    np.put_along_axis(members, learned, True, axis=1)
    config = train.config_for(
        study.model,
        epochs=own.epochs,
        batch_size=own.batch_size,
        **method.changes(weight),
    )
    many = train.fit_many(config, records, members, **method.options(weight))
    images, labels = data.as_arrays(records)
    apply_fn, _ = bridge.from_nnx(many.model(0))
    apply_fn = jax.jit(apply_fn)
    params = [bridge.from_nnx(many.model(number))[1] for number in range(own.seeds)]
    said = [
        apply_fn(one, jnp.asarray(images[where], jnp.float32) / 255)
        for one, where in zip(params, held_out, strict=True)
    ]
    test_images, test_labels = data.as_arrays(data.load(own.name, "test"))
    test_images = jnp.asarray(test_images, jnp.float32) / 255
    return {
        "validation_logits": np.stack(said),
        "validation_labels": labels[held_out],
        "test_logits": np.stack([apply_fn(one, test_images) for one in params]),
        "test_labels": np.stack([test_labels] * own.seeds),
    }


def numbers(study: Study) -> dict[str, Any]:
    """Every number of the page."""
    asked = {
        own.name: {
            method.name: {
                weight: answers(study, own, method, weight) for weight in method.weights
            }
            for method in own.methods().values()
        }
        for own in study.datasets
    }
    said = numbers_of.compared(asked, study.chosen_by, study.level)
    said["of_datasets"] = {
        own.name: json.loads(json.dumps(dataclasses.asdict(own)))
        for own in study.datasets
    }
    return said


def main(
    study: tyro.conf.Suppress[Study | None] = None,
    dataset: Literal["digits", "fashion_mnist"] = "digits",
    smoke: bool = False,
) -> dict[str, Any]:
    """Makes every number and the figure, prints the tables, writes the JSON file.

    Args:
      study: one of one's own.
      dataset: what is learned.
      smoke: in small, to see that all runs.
    """
    study = study or (SMOKE if smoke else STUDIES[dataset])
    keep_programs(study.workdir)
    said = published(study, numbers(study), tables.draw)
    print(tables.page(said))
    return said


if __name__ == "__main__":
    tyro.cli(main)
