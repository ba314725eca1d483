"""What the scores say of every record of a dataset."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from trustjax import (
    bridge,
    data,
    gradients,
    ingredients,
    models,
    oracles,
    scores,
    scoring,
)
from trustjax.ingredients import Ingredient
from trustjax.pipeline._config import ReportConfig
from trustjax.typing import ProgressFn

HEAT_MAP = "heat_map_statistics"


def every_score(
    names: Sequence[str], values: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The scores in the order of `names`: of the network, and of its logits."""
    asked = {name: values[name] for name in names if name in values}
    rest = [name for name in names if name not in asked]
    of_logits = scoring.from_arrays(rest, {"logits": values["logits"]})
    together = {**asked, **of_logits}
    return {name: together[name] for name in names}


def scorer(
    config: ReportConfig,
    model: models.Classifier,
    oracle: oracles.TrainedOracle | None,
) -> scoring.Scorer:
    """The one scorer of all datasets of a report."""
    apply_fn, params = bridge.from_nnx(model)
    stochastic_fn = None
    if models.has_dropout(config.model):
        stochastic_fn, _ = bridge.stochastic_from_nnx(model)
    of_logits = scores.names(computable_from={"logits"})
    of_network = [name for name in config.score_names if name not in of_logits]
    heat_map = Ingredient(
        HEAT_MAP,
        ask=lambda batch: gradients.gradient_statistics(
            batch.apply_fn,
            batch.params,
            batch.x,
            group=config.gradient_group or "layer",
        ),
    )
    table = [heat_map] if config.gradient_group else []
    return scoring.Scorer(
        [ingredients.LOGITS, *table, *of_network],
        apply_fn,
        params,
        stochastic_apply_fn=stochastic_fn,
        ingredients=() if oracle is None else oracle.ingredients(),
        given={ingredients.KEY.name: jax.random.key(config.seed)},
    )


def scored(
    config: ReportConfig,
    scorer: scoring.Scorer,
    dataset: data.Dataset,
    progress: ProgressFn | None,
) -> scoring.Results:
    """What a scorer says of every record of a dataset."""
    return scorer.run(
        data.batches(dataset, config.batch_size),
        workdir=config.checkpoint_folder / "scoring" / dataset.name.replace("/", "-"),
        progress=progress,
        task=f"scoring {dataset.name}",
        total=len(dataset),
    )


def fitted(
    config: ReportConfig,
    scorer: scoring.Scorer,
    train_set: data.Dataset,
    progress: ProgressFn | None,
) -> scoring.Scorer:
    """The scorer with all that is fitted on the training set."""
    return scorer.fit(
        data.batches(train_set, config.batch_size),
        workdir=config.checkpoint_folder / "fitting",
        progress=progress,
        task=f"fitting on {train_set.name}",
        total=len(train_set),
    )
