"""From a network to an oracle of it: a folder that `report` reads."""

import dataclasses
import pathlib
from typing import NamedTuple

from trustjax import _validate, data, models, oracles
from trustjax.pipeline import _dataset, _network, _ready
from trustjax.pipeline._config import NetworkConfig, ReportConfig
from trustjax.pipeline._dataset import Datasets
from trustjax.pipeline._network import Network
from trustjax.typing import ProgressFn


@dataclasses.dataclass(frozen=True)
class OracleChoices:
    """What an oracle is; each None is what suits the network (`oracles.config_for`).

    Attributes:
      split: what it learns from; None for the network's own training set. A network
        that has learnt that by heart leaves it no error to learn from: take records
        that it has not seen, as `"train[50%:]"` of a network of `"train[:50%]"`.
      validation_split: what the best epoch is chosen on; None for the network's own.
      model: a name of `models.names()`, for an oracle that is a network of its own with
        fresh weights; None for a head on the network's embedding.
      embedding: `"frozen"`, computed once for each record, or `"trained"`.
      loss: one of `oracles.LOSSES`.
      head: `"signed_distance"` or `"linear"`: what the last layer is.
      head_layers: dense layers from the embedding to the output; 5 in ConfidNet.
      head_width: units of each before the last.
      alpha_positive: of the steep slope loss, for right answers.
      alpha_negative: of the steep slope loss, for wrong answers.
      gamma: of the focal loss.
      class_balance: 0 weighs all examples alike, 1 gives right and wrong answers the
        same weight.
      metric: one of `oracles.METRICS`, which chooses the best epoch.
      precision: `"float32"`, or `"bfloat16"` in training.
      epochs: the most passes over what it learns from.
      batch_size: examples in a step.
      learning_rate: at the start, or at the peak.
    """

    split: str | None = None
    validation_split: str | None = None
    model: str | None = None
    embedding: str | None = None
    loss: str = "steep_slope"
    head: str | None = None
    head_layers: int | None = None
    head_width: int | None = None
    alpha_positive: float | None = None
    alpha_negative: float | None = None
    gamma: float | None = None
    class_balance: float | None = None
    metric: str | None = None
    precision: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None

    def __post_init__(self):
        if self.model is not None:
            _validate.choice("model", self.model, models.names())
        if self.embedding is not None:
            # A clone goes on from another oracle: `oracles.confidnet`, not one run.
            _validate.choice("embedding", self.embedding, ("frozen", "trained"))
        self.config("cnn", seed=0)  # refuses what is out of its range

    def config(self, network: str, *, seed: int) -> oracles.OracleConfig:
        """The choices of the training of an oracle on a network of that name."""
        places = ("split", "validation_split", "model")
        chosen = {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if value is not None and name not in places
        }
        if self.model is not None:
            chosen.setdefault("embedding", "trained")
        return oracles.config_for(self.model or network, seed=seed, **chosen)


@dataclasses.dataclass(frozen=True)
class OracleTrainingConfig(NetworkConfig):
    """What an oracle is trained on: a dataset, a network, and the choices of its own.

    Attributes:
      oracle: the choices of the oracle itself.
      out: the folder of the oracle; None for that of the network's checkpoints with
        `-oracle` behind it.

    Raises:
      ValueError: if a name is unknown, naming those that exist, or a number is out of
        its range.
    """

    oracle: OracleChoices = OracleChoices()
    out: pathlib.Path | None = None

    @property
    def report(self) -> ReportConfig:
        """A report on the same network, of the cheapest scores."""
        shared = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(NetworkConfig)
        }
        return ReportConfig(**shared, out_of_distribution=(), gradient_group=None)

    def folder(self, report: ReportConfig) -> pathlib.Path:
        """Where the oracle is kept."""
        there = report.checkpoint_folder
        return self.out or there.with_name(f"{there.name}-oracle")


class OracleMade(NamedTuple):
    """A trained oracle, and where it is.

    Attributes:
      folder: what `report --oracle` takes.
      oracle: with the weights of its best epoch.
      accuracy: of the network on what the oracle learnt from.
      notes: what was found on the way, a sentence each.
    """

    folder: pathlib.Path
    oracle: oracles.TrainedOracle
    accuracy: float
    notes: tuple[str, ...]


def train_oracle(
    config: OracleTrainingConfig, *, progress: ProgressFn | None = None
) -> OracleMade:
    """Trains a network that knows when another is right, or goes on where it stopped.

    The other network is trained as `trust_report` trains it, or is loaded; what it
    makes of the records is computed once, and kept beside the oracle.

    Args:
      config: what the oracle is trained on.
      progress: hears how far each long task is.

    Returns:
      The oracle, and the folder that `trust_report` takes as `oracle`.

    Raises:
      ValueError: as `trust_report`; if the network makes no error, or only errors, on
        what the oracle learns from; if the folder holds another oracle.
      OSError: if a folder cannot be written.
    """
    report = config.report
    _dataset.require_known(report)
    learned, chosen_on, network, report = _asked(config, report, progress)
    folder = config.folder(report)
    choices = config.oracle.config(report.network, seed=config.seed)
    frozen = choices.embedding == "frozen"
    outcomes = [
        oracles.outcomes(
            network.apply_fn,
            network.params,
            dataset,
            batch_size=report.examples_at_a_time(dataset.fixed_shape),
            embedding=frozen,
            cache=folder / "outcomes",
            sharding=_network.over_all_devices(),
            progress=progress,
        )
        for dataset in (learned, chosen_on)
    ]
    of_its_own = config.oracle.model is not None
    oracle = oracles.fit(
        choices,
        learned,
        chosen_on,
        train_outcomes=outcomes[0],
        validation_outcomes=outcomes[1],
        classifier=None if of_its_own else (network.apply_fn, network.params),
        workdir=folder,
        checkpoint_every=_network.STEPS_BETWEEN_CHECKPOINTS,
        mesh=_network.mesh(choices.batch_size),
        progress=progress,
    )
    notes = (*network.notes, *learned.notes)
    accuracy = float(outcomes[0].correct.mean())
    return OracleMade(folder, oracle, accuracy, tuple(dict.fromkeys(notes)))


def _asked(
    config: OracleTrainingConfig, report: ReportConfig, progress: ProgressFn | None
) -> tuple[data.Dataset, data.Dataset, Network, ReportConfig]:
    """What the oracle learns from and is chosen on, and the network."""
    splits = (
        config.oracle.split or config.train_split,
        config.oracle.validation_split or config.validation_split,
    )
    learned, chosen_on = _dataset.load_parts(report, splits, progress)
    if not report.brings_network:
        report, _, network = _ready.ready(report, progress)
        return learned, chosen_on, network, report
    parts = Datasets(learned, None, chosen_on, {})
    report, asked, network = _ready.ready(report, progress, load=lambda: parts)
    assert asked.train is not None, "it was given"
    return asked.train, asked.test, network, report
