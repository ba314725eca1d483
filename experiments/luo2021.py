"""What the tables and figures of Luo et al. 2021 share: pairs, losses, baselines.

Paper: "Learning to Predict Trustworthiness with Steep Slope Loss",
https://arxiv.org/abs/2110.00054

An <oracle, classifier> pair is trained once for each loss and seed, and kept under
`checkpoints/luo2021`; every table and figure reads the same runs.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from trustjax import _progress, bridge, data, evaluate, metrics, oracles, train

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


@dataclasses.dataclass(frozen=True)
class Pair:
    """An <oracle, classifier> pair and the data of both.

    Attributes:
      dataset: a name that `data.load` takes.
      oracle: the backbone of the oracle, a name of `models.names()`.
      classifier: the classifier likewise.
      oracle_split: what the oracle learns from: all that the classifier learnt from,
        as in the paper, or a part of it.
      classifier_epochs: None for the classifier's own recipe.
      oracle_epochs: the most passes over the oracle's images.
      patience: epochs without a better validation AUC before the learning rate falls,
        and then before the run ends.
      seeds: one oracle for each.
      alpha_positive: of the steep slope loss.
      alpha_negative: of the steep slope loss; 2 and 5 are the paper's for residual
        networks, 1 and 3 for transformers.
      workdir: the folder of all checkpoints.
    """

    dataset: str = "mnist5k"
    oracle: str = "cnn"
    classifier: str = "cnn"
    oracle_split: str = "train"
    classifier_epochs: int | None = None
    oracle_epochs: int = 30
    patience: int = 5
    seeds: tuple[int, ...] = (0, 1, 2)
    alpha_positive: float = 2.0
    alpha_negative: float = 5.0
    workdir: pathlib.Path = pathlib.Path("checkpoints/luo2021")

    def config(self, loss: str, seed: int, **changes) -> oracles.Config:
        """The oracle's choices for one row: the same for all but the loss."""
        return oracles.Config(
            model=self.oracle,
            epochs=self.oracle_epochs,
            patience=self.patience,
            seed=seed,
            **{
                "alpha_positive": self.alpha_positive,
                "alpha_negative": self.alpha_negative,
                **LOSSES[loss],
                **changes,
            },
        )


class Trained:
    """The classifier of a pair, its outcomes, and the oracles it was given.

    Attributes:
      sets: the dataset's parts.
      correct: whether the classifier is right on each test image.
    """

    def __init__(self, pair: Pair):
        self.pair = pair
        self.sets = {
            "train": data.load(pair.dataset, "train"),
            "oracle": data.load(pair.dataset, pair.oracle_split),
            "validation": data.load(pair.dataset, "validation"),
            "test": data.load(pair.dataset, "test"),
        }
        changes = {"epochs": pair.classifier_epochs} if pair.classifier_epochs else {}
        self.folder = pair.workdir / pair.dataset
        with _progress.reporter() as progress:
            self.classifier = train.fit(
                train.config_for(pair.classifier, **changes),
                self.sets["train"],
                self.sets["validation"],
                workdir=self.folder / pair.classifier,
                progress=progress,
            ).model
        self.apply_fn, self.params = bridge.from_nnx(self.classifier)
        self.correct = self.outcomes("test").correct

    def outcomes(self, part: str) -> oracles.Outcomes:
        """What the classifier makes of a part, computed once."""
        return oracles.outcomes(
            self.apply_fn, self.params, self.sets[part], cache=self.folder / "outcomes"
        )

    def oracle(self, loss: str, seed: int, **changes) -> oracles.TrainedOracle:
        """The oracle of one row and seed, trained or loaded."""
        name = "-".join([loss, str(seed), *map(str, changes.values())])
        folder = f"{self.pair.oracle}-{self.pair.classifier}"
        same_kind = self.pair.oracle == self.pair.classifier
        with _progress.reporter() as progress:
            return oracles.fit(
                self.pair.config(loss, seed, **changes),
                self.sets["oracle"],
                self.sets["validation"],
                train_outcomes=self.outcomes("oracle"),
                validation_outcomes=self.outcomes("validation"),
                classifier=self.classifier if same_kind else None,
                workdir=self.folder / folder / name,
                progress=progress,
            )

    def outputs(
        self, oracle: oracles.TrainedOracle, dataset: data.Dataset | None = None
    ) -> np.ndarray:
        """The oracle's z of every image: of the test set if none is given."""
        batches = data.batches(dataset or self.sets["test"], 500)
        results = evaluate.run(
            ["oracle"],
            self.apply_fn,
            self.params,
            batches,
            ingredients=oracle.ingredients(),
        )
        return results.values["oracle"]


def row(
    scores: np.ndarray,
    correct: np.ndarray,
    thresholds: tuple[float, float] | None = None,
) -> list[float]:
    """One row of table 1, in per cent: the values of `COLUMNS`.

    Args:
      scores: higher = more trust.
      correct: whether the classifier was right.
      thresholds: scores above the first trust, scores below the second distrust;
        None for a score without such thresholds, whose TPR and TNR are NaN.
    """
    given, known = jnp.asarray(scores), jnp.asarray(correct)
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


def oracle_thresholds(loss: str, num_classes: int) -> tuple[float, float]:
    """Those of the paper on sigmoid(z), as values of z: 0.5, and 1/K below for TCP."""
    return 0.0, -float(np.log(num_classes - 1)) if loss == "TCP" else 0.0


def table(rows: Mapping[str, np.ndarray]) -> str:
    """Rows of `[seeds, columns]` as Markdown: mean and standard deviation (ddof 1)."""
    lines = ["| Score | " + " | ".join(COLUMNS) + " |", "|---" * 7 + "|"]
    for name, values in rows.items():
        cells = []
        for column in np.asarray(values).T:
            if np.isnan(column).any():
                cells.append("-")
            elif len(column) == 1:
                cells.append(f"{column[0]:.2f}")
            else:
                cells.append(f"{column.mean():.2f} ± {column.std(ddof=1):.2f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
