"""What the scores say of every record of the datasets."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from trustjax import assess, data, gradients, scores, scoring
from trustjax.ingredients import KEY, LOGITS, Ingredient
from trustjax.pipeline import _attacks, _members, _network, _shifts
from trustjax.pipeline._config import ReportConfig
from trustjax.pipeline._dataset import Datasets
from trustjax.pipeline._network import Network
from trustjax.statistics import GradientStatistics
from trustjax.typing import ProgressFn


class Scored(NamedTuple):
    """What is known of every record.

    Attributes:
      logits: `[records, classes]` of the test set.
      labels: `[records]`, its true classes.
      index: `[records]`, its record numbers.
      scores: name -> `[records]`.
      gradient_statistics: of the test set; None if they are left out.
      others: name of another dataset -> name of a score -> `[its records]`.
      others_logits: name of another dataset -> `[its records, classes]`.
      shifts: kind of corruption -> severity -> what was said of the test set under it.
      attacked: what was said of attacked test images; None where none were.
      members: what was said of training images; None where they were not asked about.
    """

    logits: np.ndarray
    labels: np.ndarray
    index: np.ndarray
    scores: dict[str, np.ndarray]
    gradient_statistics: GradientStatistics | None
    others: dict[str, dict[str, np.ndarray]]
    others_logits: dict[str, np.ndarray]
    shifts: dict[str, dict[int, assess.Shifted]]
    attacked: assess.Attacked | None
    members: assess.Members | None


def scored(
    config: ReportConfig,
    network: Network,
    datasets: Datasets,
    progress: ProgressFn | None,
) -> Scored:
    """Asks one compiled scorer about the test set and the other datasets.

    The statistics of gradients are of the test set as it is alone: another scorer, of
    the same fitted states, is asked about corrupted images.
    """
    names = network.scores
    batch_size = config.examples_at_a_time(datasets.test.fixed_shape)
    folder = config.checkpoint_folder / "scoring"
    scorer = _scorer(config, network, names)
    if datasets.train is not None:
        scorer = scorer.fit(
            data.batches(datasets.train, batch_size, of_all=True),
            workdir=folder / "fitting",
            progress=progress,
            total=len(datasets.train),
        )

    def ask(dataset: data.Dataset) -> scoring.Results:
        return scorer.run(
            data.batches(dataset, batch_size, of_all=True),
            workdir=folder / data.short_name(dataset.name),
            progress=progress,
            task=f"scoring {dataset.name}",
            total=len(dataset),
        )

    results, heat_map = ask(datasets.test), _heat_map(config)
    others = {name: ask(dataset).values for name, dataset in datasets.others.items()}
    of_test = _shifts.Answers(
        results.values[LOGITS.name], _every_score(names, results.values)
    )
    without_heat_map = dataclasses.replace(config, gradient_group=None)
    other = _scorer(without_heat_map, network, names, scorer.given)

    def ask_shifted(
        dataset: data.Dataset, progress: ProgressFn | None
    ) -> _shifts.Answers:
        values = other.run(
            data.batches(dataset, batch_size, of_all=True),
            workdir=folder / "corrupted",
            progress=progress,
            total=len(dataset),
        ).values
        return _shifts.Answers(values[LOGITS.name], _every_score(names, values))

    def ask_attacked(images: np.ndarray, labels: np.ndarray) -> _shifts.Answers:
        # By the program of the test set: a last digit would tell the two apart.
        batches = scoring.batches(images, labels, batch_size=batch_size)
        values = scorer.run(scoring.dealt(batches)).values
        return _shifts.Answers(values[LOGITS.name], _every_score(names, values))

    def ask_members(dataset: data.Dataset) -> tuple[_shifts.Answers, scoring.Results]:
        found = ask(dataset)
        said = _every_score(names, found.values)
        return _shifts.Answers(found.values[LOGITS.name], said), found

    return Scored(
        of_test.logits,
        results.labels,
        results.index,
        dict(of_test.scores),
        None if heat_map is None else results.values[heat_map.name],
        {name: _every_score(names, values) for name, values in others.items()},
        {name: values[LOGITS.name] for name, values in others.items()},
        _shifts.scored(
            config,
            datasets.test,
            ask_shifted,
            unchanged=of_test,
            folder=folder / "corruptions",
            progress=progress,
        ),
        _attacks.scored(
            config.attacks,
            datasets.test,
            (network.apply_fn, network.params),
            ask_attacked,
            unchanged=of_test,
            batch_size=batch_size,
            folder=folder / "attacks",
            progress=progress,
        ),
        _members.scored(config, datasets, ask_members),
    )


def _scorer(
    config: ReportConfig,
    network: Network,
    names: Sequence[str],
    given: Mapping[str, Any] | None = None,
) -> scoring.Scorer:
    of_network = [name for name in names if not _of_the_logits(name)]
    heat_map = _heat_map(config)
    return scoring.Scorer(
        [LOGITS, *([heat_map] if heat_map else []), *of_network],
        network.apply_fn,
        network.params,
        stochastic_apply_fn=network.stochastic_apply_fn,
        ingredients=network.brought,
        given=given or {KEY.name: jax.random.key(config.seed)},
        sharding=_network.over_all_devices(),
    )


def _heat_map(config: ReportConfig) -> Ingredient | None:
    """The statistics of the page's heat map, which a detector may take as well."""
    group = config.gradient_group
    return None if group is None else gradients.statistics_by(group)


def _of_the_logits(name: str) -> bool:
    return scores.lookup(name).needs == (LOGITS,)


def _every_score(
    names: Sequence[str], values: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The scores in the order of `names`: of the network, and of its logits.

    Those of the logits are in float64: what float32 rounds to one and the same 1
    keeps its order there. It costs nothing beside a network.
    """
    rest = [name for name in names if name not in values]
    of_logits = scoring.from_arrays(rest, {LOGITS.name: values[LOGITS.name]})
    together = {**values, **of_logits}
    return {name: together[name] for name in names}
