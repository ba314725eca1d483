"""From a dataset's name to a trust report: train or load, score, assess, write."""

import dataclasses
import functools
import importlib.metadata
import itertools
import os
import pathlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from trustjax import (
    _files,
    _validate,
    assess,
    bridge,
    data,
    evaluate,
    gradients,
    models,
    oracles,
    report,
    scores,
    train,
)
from trustjax.typing import ProgressFn

_HEAT_MAP = "heat_map_statistics"
_OF_THE_LOGITS_CONSTANT = {
    "energy",
    "grad_trust_reference",
    "grad_trust_rows",
    "max_logit",
}
_SHIFT = 14  # test-time augmentation moves 28 pixels by up to 2
_STEPS_BETWEEN_CHECKPOINTS = 50  # a few seconds of the small networks on a CPU
_PACKAGES = ["flax", "grain", "jax", "numpy", "optax", "orbax-checkpoint", "trustjax"]


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
            scores.lookup(name)
            if name == "oracle":
                raise ValueError(
                    "the score oracle needs --oracle, a trained oracle's folder"
                )
            if name not in offered["all"]:
                needs = ", ".join(scores.lookup(name).needs)
                raise ValueError(
                    f"the score {name} needs {needs}, and one {self.model} alone does "
                    f"not give them; it offers {', '.join(offered['all'])}"
                )

    @property
    def offered(self) -> dict[str, tuple[str, ...]]:
        """The sets of scores that go by one name."""
        standard = {*evaluate.INGREDIENTS, *(["oracle_output"] if self.oracle else [])}
        slower = {*evaluate.FITS, "augmented_logits"}
        if models.has_dropout(self.model):
            slower.add("dropout_logits")
        return {
            "standard": scores.names(computable_from=standard),
            "all": scores.names(computable_from=standard | slower),
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


class Report(NamedTuple):
    """A finished report.

    Attributes:
      page: the path of `index.html`.
      assessment: the numbers on it.
      notes: what was taken for something else than it was called.
    """

    page: pathlib.Path
    assessment: assess.Assessment
    notes: tuple[str, ...] = ()


def trust_report(
    config: ReportConfig, *, progress: ProgressFn | None = None, command: str = ""
) -> Report:
    """Trains or loads a network, scores its test set, and writes the report.

    A run that was killed goes on where it stopped when it is started again.

    Args:
      config: what the report is about.
      progress: hears how far training and scoring are.
      command: how a reader can make the report again; written on the page.

    Returns:
      The report's page, and the numbers on it.

    Raises:
      ValueError: if a dataset, a split or a checkpoint is not what it should be.
      OSError: if a folder cannot be written, before any work is done.
    """
    _files.require_writable(config.report_folder)
    splits = (config.train_split, config.validation_split, config.test_split)
    train_set, validation_set, test_set = (
        data.load(config.dataset, split, data_dir=config.data_dir) for split in splits
    )
    images, _ = data.as_arrays(test_set)
    oracle = None if config.oracle is None else oracles.load(config.oracle)
    if oracle is not None:
        oracle.require_shape(images.shape[1:])
    others = {
        name: data.out_of_distribution(
            name, images.shape[1:], seed=config.seed, data_dir=config.data_dir
        )
        for name in config.out_of_distribution
    }
    trained = train.fit(
        _train_config(config),
        train_set,
        validation_set,
        workdir=config.checkpoint_folder,
        checkpoint_every=_STEPS_BETWEEN_CHECKPOINTS,
        progress=progress,
    )
    names = config.score_names
    of_logits = [n for n in names if scores.lookup(n).needs == ("logits",)]
    of_network = [n for n in names if n not in of_logits]
    given = _fitted(trained.model, data.batches(train_set, config.batch_size), names)
    ask = functools.partial(_scored, config, trained.model, oracle, given, progress)
    table = [_HEAT_MAP] if config.gradient_group else []

    def scored(dataset: data.Dataset) -> dict[str, np.ndarray]:
        values = ask(dataset, ["logits", *of_network]).values
        return _every_score(names, values)

    results = ask(test_set, ["logits", *table, *of_network])
    predictions = assess.Predictions(
        logits=results.values["logits"],
        labels=results.labels,
        class_names=test_set.class_names,
        scores=_every_score(names, results.values),
        score_titles=_titles(names),
        score_info=_captions(names),
        images=images,
        gradient_statistics=results.values.get(_HEAT_MAP),
        out_of_distribution={
            other: scored(dataset) for other, dataset in others.items()
        },
        run=_provenance(config, trained, oracle, test_set, command),
    )
    assessment = assess.assess(predictions, seed=config.seed)
    page = report.write(assessment, predictions, config.report_folder)
    return Report(page, assessment)


def predictions_report(
    path: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    command: str = "",
) -> Report:
    """Writes a report on predictions of any framework, with no network at all.

    The scores of the logits are added to those in the file. Probabilities do not say
    which constant the logits had, so that scores which depend on it are left out.
    Where probabilities are called logits, they are taken as probabilities, and the
    page and the result say so.

    Args:
      path: an `.npz` file, as `assess.read_predictions` reads it.
      out: the folder of the report; None for `reports/<file name>`.
      seed: of the resampling behind the intervals.
      command: how a reader can make the report again; written on the page.

    Returns:
      The report's page, and the numbers on it.

    Raises:
      ValueError: naming what is missing or wrong in the file.
      OSError: if the file cannot be read or the folder not be written.
    """
    path = pathlib.Path(path)
    folder = pathlib.Path("reports", path.stem) if out is None else pathlib.Path(out)
    given = assess.read_predictions(path)
    _files.require_writable(folder)
    names = [
        name
        for name in scores.names(computable_from={"logits"})
        if name not in given.scores
        and (given.outputs == "logits" or name not in _OF_THE_LOGITS_CONSTANT)
    ]
    together = {**_scores_of_logits(names, given.logits), **given.scores}
    known = [name for name in together if name in scores.names()]
    predictions = dataclasses.replace(
        given,
        scores=together,
        score_titles=_titles(known),
        score_info=_captions(known),
        run={
            "command": command,
            "dataset": path.name,
            "seed": seed,
            "versions": _versions("jax", "numpy", "trustjax"),
            **({"notes": list(given.notes)} if given.notes else {}),
        },
    )
    assessment = assess.assess(predictions, seed=seed)
    page = report.write(assessment, predictions, folder)
    return Report(page, assessment, given.notes)


def _every_score(
    names: Sequence[str], values: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The scores in the order of `names`: of the network, and of its logits."""
    asked = {name: values[name] for name in names if name in values}
    rest = [name for name in names if name not in asked]
    together = {**asked, **_scores_of_logits(rest, values["logits"])}
    return {name: together[name] for name in names}


def _scores_of_logits(
    names: Iterable[str], logits: np.ndarray
) -> dict[str, np.ndarray]:
    """Scores that need the logits alone, in float64.

    What float32 rounds to one and the same 1 keeps its order there, and float64 logits
    of any size are taken as they are. It costs nothing beside a network.
    """
    with jax.enable_x64(True):
        compute = jax.jit(lambda z: {name: scores.lookup(name).fn(z) for name in names})
        return jax.device_get(compute(np.asarray(logits, np.float64)))


def _titles(names: Iterable[str]) -> dict[str, str]:
    return {name: scores.lookup(name).title for name in names}


def _captions(names: Iterable[str]) -> dict[str, str]:
    return {name: _caption(scores.lookup(name)) for name in names}


def _versions(*packages: str) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in packages}


def _train_config(config: ReportConfig) -> train.Config:
    changes: dict[str, Any] = {"seed": config.seed}
    if config.epochs is not None:
        changes["epochs"] = config.epochs
    return train.config_for(config.model, **changes)


def _fitted(
    model: models.Classifier,
    training: Iterable[Mapping[str, np.ndarray]],
    names: Iterable[str],
) -> dict[str, Any]:
    """The states that `names` need, fitted on the training set."""
    needed = {need for name in names for need in scores.lookup(name).needs}
    fits = {name: fit for name, fit in evaluate.FITS.items() if name in needed}
    if not fits:
        return {}
    _, params = bridge.from_nnx(model)
    split = models.split(model, at="embedding")
    return evaluate.fit_states(split, params, training, fits=fits)


def _samples(
    config: ReportConfig, model: models.Classifier
) -> dict[str, evaluate.Ingredient]:
    """Several answers of the network to one input: by dropout masks, by shifts."""
    dropout_key, shift_key = jax.random.split(jax.random.key(config.seed))

    def shifted(images: jax.Array, key: jax.Array) -> jax.Array:
        pixels = max(1, min(images.shape[1:3]) // _SHIFT)
        return train.random_shift(images, key, pixels)

    ingredients = {
        "augmented_logits": evaluate.augmented_logits(shifted, key=shift_key)
    }
    if models.has_dropout(config.model):
        stochastic_fn, _ = bridge.stochastic_from_nnx(model)
        ingredients["dropout_logits"] = evaluate.dropout_logits(
            stochastic_fn, key=dropout_key
        )
    return ingredients


def _scored(
    config: ReportConfig,
    model: models.Classifier,
    oracle: oracles.TrainedOracle | None,
    given: Mapping[str, Any],
    progress: ProgressFn | None,
    dataset: data.Dataset,
    names: Sequence[str],
) -> evaluate.Results:
    """What `names` say of every record of a dataset."""
    _, params = bridge.from_nnx(model)
    heat_map = evaluate.Ingredient(
        lambda batch: gradients.gradient_statistics(
            batch.apply_fn,
            batch.params,
            batch.x,
            group=config.gradient_group or "layer",
        )
    )
    ingredients = {
        **evaluate.INGREDIENTS,
        **_samples(config, model),
        _HEAT_MAP: heat_map,
    }
    if oracle is not None:
        ingredients.update(oracle.ingredients())
    done = 0

    def on_batch(records: int) -> None:
        nonlocal done
        done += records
        if progress is not None:
            progress(f"scoring {dataset.name}", done, len(dataset.source), {})

    return evaluate.run(
        names,
        models.split(model, at="embedding"),
        params,
        data.batches(dataset, config.batch_size),
        ingredients=ingredients,
        given=given,
        workdir=config.checkpoint_folder / "scoring" / dataset.name.replace("/", "-"),
        on_batch=on_batch,
    )


def _caption(score: scores.Score) -> str:
    parts = (score.summary, f"{score.equation} ({score.paper}).", score.provenance)
    return " ".join(part for part in parts if part)


def _provenance(
    config: ReportConfig,
    trained: train.TrainResult,
    oracle: oracles.TrainedOracle | None,
    dataset: data.Dataset,
    command: str,
) -> dict[str, Any]:
    """What a reader needs to make the same report again."""
    chosen = {
        name: str(value) if isinstance(value, pathlib.Path) else value
        for name, value in dataclasses.asdict(config).items()
    }
    return {
        "command": command,
        "dataset": dataset.name,
        "dataset_fingerprint": dataset.fingerprint,
        "model": config.model,
        "seed": config.seed,
        "report": chosen,
        "training": dataclasses.asdict(trained.config),
        "oracle_training": oracle and dataclasses.asdict(oracle.config),
        "training_steps": trained.step,
        "training_epochs": len(trained.history),
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "python": platform.python_version(),
        "versions": _versions(*_PACKAGES),
    }
