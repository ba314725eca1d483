"""What the tables and figures of Luo et al. 2021 share: pairs, losses, baselines.

Paper: "Learning to Predict Trustworthiness with Steep Slope Loss",
arXiv:2110.00054

An <oracle, classifier> pair is trained once for each loss and seed, and kept under
`checkpoints/luo2021`; every table and figure reads the same runs. Each can be stopped
at any moment: the same command goes on where it stopped.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from trustjax import (
    _progress,
    bridge,
    data,
    metrics,
    models,
    oracles,
    scores,
    train,
)

_SCORED_AT_ONCE = 500
_STEPS_BETWEEN_CHECKPOINTS = 100

LOSSES: Mapping[str, Mapping] = {
    "CE": {"loss": "cross_entropy", "head": "linear"},
    "Focal": {"loss": "focal", "head": "linear"},
    "TCP": {"loss": "true_class_probability", "head": "linear"},
    "SS": {"loss": "steep_slope", "head": "signed_distance"},
    "CB-CE": {"loss": "cross_entropy", "head": "linear", "class_balance": 0.9999},
}
"""The rows of a pair: the losses of table 1, and the class-balanced one of app. H."""

COLUMNS = ("FPR95", "AUPR-Error", "AUPR-Success", "AUC", "TPR", "TNR")
"""The columns of table 1, in per cent; the first is better when it is lower."""


CLASSIFIER_EPOCHS: Mapping[str, Mapping[str, int]] = {
    "fashion_mnist": {"resnet8": 2, "vit_micro": 4},
    "mnist5k": {"resnet8": 10, "vit_micro": 20},
}
"""Passes of the classifiers that would be slow on a CPU by their own recipe, or learn
a small training set by heart and leave an oracle no error to learn from."""

STEEPNESS: Mapping[str, tuple[float, float]] = {
    "vit_micro": (1.0, 3.0),
    "vit_tiny": (1.0, 3.0),
}
"""alpha+ and alpha- of transformers in section 5; the others take (2, 5)."""

FIGURES = pathlib.Path("experiments/figures")
"""Where the figures go, each with the name of the dataset in its own."""

NUMBERS = pathlib.Path("experiments/numbers")
"""Where the numbers go, in JSON."""

LEVEL = 0.95
"""The chance that not one statement of the page is false."""

STATEMENTS = 19
"""Families of differences that share it: AUC and TNR of seven pairs and of two data
sets of `luo2021_confidnet`, and AUC over alpha+."""

LEVEL_OF_EACH = 1 - (1 - LEVEL) / STATEMENTS
"""The level of each family, so that all hold together."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """An <oracle, classifier> pair and the data of both.

    Attributes:
      dataset: a name that `data.load` takes.
      oracle: the backbone of the oracle, a name of `models.names()`.
      classifier: the classifier likewise.
      train_split: what the classifier learns from, as `data.load` takes it.
      validation_split: what the best epoch is chosen on.
      test_split: what all scores are measured on.
      oracle_split: what the oracle learns from: all that the classifier learnt from,
        as in the paper, or a part of it.
      image_shape: what images of other sizes are converted to; None for their own.
      classifier_epochs: None for `CLASSIFIER_EPOCHS`, or the classifier's own recipe.
      oracle_epochs: the most passes over the oracle's images.
      oracle_batch: images of each of its steps.
      schedule: of the learning rate. With `"plateau"` it falls after `patience` epochs
        without a better validation AUC, and then the run ends; with `"cosine"` every
        oracle takes all its epochs, which suits a few of them.
      patience: see there.
      seeds: one oracle for each.
      workdir: the folder of all checkpoints.
    """

    dataset: str = "mnist5k"
    oracle: str = "cnn"
    classifier: str = "cnn"
    train_split: str = "train"
    validation_split: str = "validation"
    test_split: str = "test"
    oracle_split: str = "train"
    image_shape: tuple[int, int, int] | None = None
    classifier_epochs: int | None = None
    oracle_epochs: int = 30
    oracle_batch: int = 256
    schedule: str = "plateau"
    patience: int = 5
    seeds: tuple[int, ...] = (0, 1, 2)
    workdir: pathlib.Path = pathlib.Path("checkpoints/luo2021")

    @property
    def folder(self) -> pathlib.Path:
        """Where all that is trained on the pair's data is kept."""
        return self.workdir / self.dataset

    def __str__(self) -> str:
        """As the paper writes it."""
        return f"<{self.oracle}, {self.classifier}>"

    def oracle_config(self, loss: str, seed: int, **changes) -> oracles.OracleConfig:
        """The oracle's choices for one row: the same for all but the loss."""
        alpha_positive, alpha_negative = STEEPNESS.get(self.oracle, (2.0, 5.0))
        choices = {
            "alpha_positive": alpha_positive,
            "alpha_negative": alpha_negative,
            **LOSSES[loss],
            **changes,
        }
        return oracles.OracleConfig(
            model=self.oracle,
            epochs=self.oracle_epochs,
            batch_size=self.oracle_batch,
            schedule=self.schedule,
            patience=self.patience,
            seed=seed,
            **choices,
        )

    def classifier_config(self, model: str) -> train.TrainConfig:
        """The choices of a classifier of either kind."""
        few = CLASSIFIER_EPOCHS.get(self.dataset, {})
        epochs = self.classifier_epochs or few.get(model)
        return train.config_for(model, **({"epochs": epochs} if epochs else {}))


@functools.cache
def dataset(pair: Pair, part: str) -> data.Dataset:
    """One part of a pair's data: "train", "oracle", "validation" or "test"."""
    loaded = data.load(pair.dataset, getattr(pair, f"{part}_split"))
    return data.convert(loaded, pair.image_shape) if pair.image_shape else loaded


@functools.cache
def classifier(pair: Pair, model: str) -> models.Classifier:
    """A classifier of the pair's data, trained or loaded."""
    with _progress.reporter() as progress:
        return train.fit(
            pair.classifier_config(model),
            dataset(pair, "train"),
            dataset(pair, "validation"),
            workdir=pair.folder / model,
            checkpoint_every=_STEPS_BETWEEN_CHECKPOINTS,
            progress=progress,
        ).model


@functools.cache
def outcomes(pair: Pair, part: str) -> oracles.Outcomes:
    """What the pair's classifier makes of a part of the data, computed once."""
    apply_fn, params = bridge.from_nnx(classifier(pair, pair.classifier))
    return oracles.outcomes(
        apply_fn, params, dataset(pair, part), cache=pair.folder / "outcomes"
    )


@functools.cache
def oracle_fn(pair: Pair, loss: str, seed: int, **changes) -> Callable:
    """Images to z, by the oracle of one row and seed, trained or loaded.

    As in the paper it starts from a classifier of its own kind.
    """
    name = "-".join([loss, str(seed), *map(str, changes.values())])
    with _progress.reporter() as progress:
        oracle = oracles.fit(
            pair.oracle_config(loss, seed, **changes),
            dataset(pair, "oracle"),
            dataset(pair, "validation"),
            train_outcomes=outcomes(pair, "oracle"),
            validation_outcomes=outcomes(pair, "validation"),
            classifier=classifier(pair, pair.oracle),
            checkpoint_every=_STEPS_BETWEEN_CHECKPOINTS,
            workdir=pair.folder / f"{pair.oracle}-{pair.classifier}" / name,
            progress=progress,
        )
    return jitted(oracle.model)


@functools.cache
def outputs(pair: Pair, loss: str, **changes) -> np.ndarray:
    """The oracles' z of every test image, `[seeds, images]`."""
    return outputs_on(dataset(pair, "test"), pair, loss, **changes)


@functools.cache
def classifier_fn(pair: Pair) -> Callable:
    """Images to the logits of the pair's classifier."""
    return jitted(classifier(pair, pair.classifier))


def jitted(model: models.Classifier) -> Callable:
    """A trained network as a function of images; the weights are no constants of it."""
    apply_fn, params = bridge.from_nnx(model)
    return functools.partial(jax.jit(apply_fn), params)


def outputs_on(images: data.Dataset, pair: Pair, loss: str, **changes) -> np.ndarray:
    """The oracles' z of every image of a dataset, `[seeds, images]`."""
    networks = [oracle_fn(pair, loss, seed, **changes) for seed in pair.seeds]
    return np.stack([answers(network, images)[0][:, 0] for network in networks])


def max_softmax(images: data.Dataset, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """What the classifier itself says: its confidence, and whether it is right."""
    logits, labels = answers(classifier_fn(pair), images)
    confidence = scores.max_softmax(jnp.asarray(logits))
    return np.asarray(confidence), logits.argmax(axis=-1) == labels


def answers(network: Callable, images: data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """What a network says of every image, and the labels, as the records come."""
    found = [
        (
            np.asarray(network(batch["image"]))[batch["mask"]],
            batch["label"][batch["mask"]],
        )
        for batch in data.batches(images, _SCORED_AT_ONCE)
    ]
    said, labels = zip(*found, strict=True)
    return np.concatenate(said), np.concatenate(labels)


def row(
    trust: np.ndarray,
    correct: np.ndarray,
    thresholds: tuple[float, float] | None = None,
) -> list[float]:
    """One row of table 1, in per cent: the values of `COLUMNS`.

    Args:
      trust: higher = more trust.
      correct: whether the classifier was right.
      thresholds: what is above the first is trusted, below the second distrusted;
        None for a score without such thresholds, whose TPR and TNR are NaN.
    """
    given, known = jnp.asarray(trust), jnp.asarray(correct)
    rates = (np.nan, np.nan)
    if thresholds is not None:
        positive, negative = thresholds
        rates = metrics.tpr_tnr(
            given, known, positive_threshold=positive, negative_threshold=negative
        )
    values = (
        metrics.fpr_at_tpr(given, known, tpr=0.95),
        metrics.aupr_error(given, known),
        metrics.aupr_success(given, known),
        metrics.auroc(given, known),
        *rates,
    )
    return [100 * float(value) for value in values]


def oracle_thresholds(pair: Pair, loss: str) -> tuple[float, float]:
    """Those of the paper on sigmoid(z), as values of z: 0.5, and 1/K below for TCP."""
    others = dataset(pair, "test").num_classes - 1
    return 0.0, -float(np.log(others)) if loss == "TCP" else 0.0


def table(rows: Mapping[str, np.ndarray]) -> str:
    """Rows of `[seeds, columns]` as Markdown."""
    lines = ["| Score | " + " | ".join(COLUMNS) + " |", "|---" * 7 + "|"]
    for name, values in rows.items():
        lines.append(f"| {name} | " + " | ".join(cells(values)) + " |")
    return "\n".join(lines)


def cells(values: np.ndarray, digits: int = 2) -> list[str]:
    """Columns of `[seeds, columns]`: mean and standard deviation (ddof 1)."""

    def cell(column: np.ndarray) -> str:
        if np.isnan(column).any():
            return "-"
        if len(column) == 1:
            return f"{column[0]:.{digits}f}"
        return f"{column.mean():.{digits}f} ± {column.std(ddof=1):.{digits}f}"

    return [cell(column) for column in np.asarray(values).T]


def save(canvas: Figure, path: pathlib.Path) -> None:
    """Writes a figure, and forgets it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=120)
    plt.close(canvas)
