"""What the scores say of every record of a dataset."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from trustjax import (
    bridge,
    data,
    gradients,
    models,
    oracles,
    scores,
    scoring,
    train,
)
from trustjax.pipeline._config import ReportConfig
from trustjax.typing import ProgressFn

HEAT_MAP = "heat_map_statistics"
OF_THE_LOGITS_CONSTANT = {
    "energy",
    "grad_trust_reference",
    "grad_trust_rows",
    "max_logit",
}
_SHIFT = 14  # test-time augmentation moves 28 pixels by up to 2


def every_score(
    names: Sequence[str], values: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The scores in the order of `names`: of the network, and of its logits."""
    asked = {name: values[name] for name in names if name in values}
    rest = [name for name in names if name not in asked]
    together = {**asked, **scores_of_logits(rest, values["logits"])}
    return {name: together[name] for name in names}


def scores_of_logits(names: Iterable[str], logits: np.ndarray) -> dict[str, np.ndarray]:
    """Scores that need the logits alone, in float64.

    What float32 rounds to one and the same 1 keeps its order there, and float64 logits
    of any size are taken as they are. It costs nothing beside a network.
    """
    with jax.enable_x64(True):
        compute = jax.jit(lambda z: {name: scores.lookup(name).fn(z) for name in names})
        return jax.device_get(compute(np.asarray(logits, np.float64)))


def fitted(
    model: models.Classifier,
    training: Iterable[Mapping[str, np.ndarray]],
    names: Iterable[str],
) -> dict[str, Any]:
    """The states that `names` need, fitted on the training set."""
    needed = {need for name in names for need in scores.lookup(name).needs}
    fits = {name: fit for name, fit in scoring.FITS.items() if name in needed}
    if not fits:
        return {}
    return scoring.fit_states(*bridge.from_nnx(model), training, fits=fits)


def _samples(
    config: ReportConfig, model: models.Classifier
) -> dict[str, scoring.Ingredient]:
    """Several answers of the network to one input: by dropout masks, by shifts."""
    dropout_key, shift_key = jax.random.split(jax.random.key(config.seed))

    def shifted(images: jax.Array, key: jax.Array) -> jax.Array:
        pixels = max(1, min(images.shape[1:3]) // _SHIFT)
        return train.random_shift(images, key, pixels)

    ingredients = {"augmented_logits": scoring.augmented_logits(shifted, key=shift_key)}
    if models.has_dropout(config.model):
        stochastic_fn, _ = bridge.stochastic_from_nnx(model)
        ingredients["dropout_logits"] = scoring.dropout_logits(
            stochastic_fn, key=dropout_key
        )
    return ingredients


def scored(
    config: ReportConfig,
    model: models.Classifier,
    oracle: oracles.TrainedOracle | None,
    given: Mapping[str, Any],
    progress: ProgressFn | None,
    dataset: data.Dataset,
    names: Sequence[str],
) -> scoring.Results:
    """What `names` say of every record of a dataset."""
    apply_fn, params = bridge.from_nnx(model)
    heat_map = scoring.Ingredient(
        lambda batch: gradients.gradient_statistics(
            batch.apply_fn,
            batch.params,
            batch.x,
            group=config.gradient_group or "layer",
        )
    )
    ingredients = {
        **scoring.INGREDIENTS,
        **_samples(config, model),
        HEAT_MAP: heat_map,
    }
    if oracle is not None:
        ingredients.update(oracle.ingredients())
    done = 0

    def on_batch(records: int) -> None:
        nonlocal done
        done += records
        if progress is not None:
            progress(f"scoring {dataset.name}", done, len(dataset.source), {})

    return scoring.run(
        names,
        apply_fn,
        params,
        data.batches(dataset, config.batch_size),
        ingredients=ingredients,
        given=given,
        workdir=config.checkpoint_folder / "scoring" / dataset.name.replace("/", "-"),
        on_batch=on_batch,
    )
