"""What a report is about."""

import dataclasses
import itertools
import pathlib

from trustjax import (
    _validate,
    gradients,
    ingredients,
    models,
    scores,
)


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """What a report is about.

    Attributes:
      dataset: a name that `data.load` takes.
      train_split: what the network learns from.
      validation_split: what decides when it has learned enough; for a dataset without
        one, take a part of the training set: `"train[90%:]"`.
      test_split: what the report is on.
      model: a name of `models.names()`.
      scores: names of registered scores; `standard`, those of one pass over the test
        set; or `all` that one trained network offers: also those of neighbours in the
        training set, of dropout masks and of shifted inputs.
      oracle: the folder of a trained oracle (`oracles.fit`), to score beside the
        others under the name `oracle`; None for none.
      out_of_distribution: datasets of none of the classes, scored beside the test set.
      gradient_group: how the gradient statistics pool parameters, `"tensor"`,
        `"layer"` or `"network"`; None leaves them out.
      out: the folder of the report; None for `reports/<dataset>`.
      checkpoints: the folder of the network; None for
        `checkpoints/<dataset>-<model>-<seed>`. A network that is finished there is
        loaded, and one that is not is trained on.
      epochs: the most passes over the training set; None for the model's own default.
      batch_size: examples scored at a time.
      seed: of training, and of the resampling behind the intervals.
      data_dir: the folder of prepared datasets; None for the default.

    Raises:
      ValueError: if a name is unknown, naming those that exist.
    """

    dataset: str = "mnist5k"
    train_split: str = "train"
    validation_split: str = "validation"
    test_split: str = "test"
    model: str = "cnn"
    scores: tuple[str, ...] = ("standard",)
    oracle: pathlib.Path | None = None
    out_of_distribution: tuple[str, ...] = ("letters", "uniform_noise")
    gradient_group: str | None = "layer"
    out: pathlib.Path | None = None
    checkpoints: pathlib.Path | None = None
    epochs: int | None = None
    batch_size: int = 256
    seed: int = 0
    data_dir: pathlib.Path | None = None

    def __post_init__(self):
        _validate.choice("model", self.model, models.names())
        _validate.count("batch_size", self.batch_size)
        if self.gradient_group is not None:
            _validate.choice("gradient_group", self.gradient_group, gradients.GROUPINGS)
        offered = self.offered
        for name in set(self.scores) - set(offered):
            missing = [
                need.name
                for need in scores.lookup(name).needs
                if ingredients.missing(need, self._there)
            ]
            if scores.ORACLE_OUTPUT.name in missing:
                raise ValueError(
                    f"the score {name} needs --oracle, a trained oracle's folder"
                )
            if missing:
                raise ValueError(
                    f"the score {name} needs {', '.join(missing)}, and one "
                    f"{self.model} alone does not give them; it offers "
                    f"{', '.join(offered['all'])}"
                )

    @property
    def _there(self) -> set[str]:
        """What scores can be made from: see `scores.names`."""
        there = {ingredients.NETWORK, ingredients.TRAINING_SET, ingredients.KEY.name}
        if models.has_dropout(self.model):
            there.add(ingredients.STOCHASTIC_NETWORK)
        return there | ({scores.ORACLE_OUTPUT.name} if self.oracle else set())

    @property
    def offered(self) -> dict[str, tuple[str, ...]]:
        """The sets of scores that go by one name."""
        slower = {ingredients.TRAINING_SET, ingredients.KEY.name}
        return {
            "standard": scores.names(computable_from=self._there - slower),
            "all": scores.names(computable_from=self._there),
        }

    @property
    def score_names(self) -> tuple[str, ...]:
        """The scores, each once."""
        offered = self.offered
        asked = (offered.get(name, (name,)) for name in self.scores)
        return tuple(dict.fromkeys(itertools.chain.from_iterable(asked)))

    @property
    def report_folder(self) -> pathlib.Path:
        """Where the report is written."""
        return self.out or pathlib.Path("reports", self.dataset.replace("/", "-"))

    @property
    def checkpoint_folder(self) -> pathlib.Path:
        """Where the network is kept."""
        name = f"{self.dataset.replace('/', '-')}-{self.model}-{self.seed}"
        return self.checkpoints or pathlib.Path("checkpoints", name)
