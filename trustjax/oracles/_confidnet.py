"""ConfidNet: a head on a frozen embedding, and then an encoder of its own."""

import os
import pathlib
from typing import Any, NamedTuple

import jax

from trustjax import data
from trustjax.oracles import _network
from trustjax.oracles._config import OracleConfig, config_for
from trustjax.oracles._fit import fit
from trustjax.oracles._outcomes import Outcomes
from trustjax.oracles._trained import TrainedOracle
from trustjax.typing import ProgressFn


class ConfidNet(NamedTuple):
    """What either phase of the training has left, or the choices of either.

    Attributes:
      head: of the head on the classifier's frozen embedding.
      cloned: of that head, and a copy of the encoder trained with it.
    """

    head: Any
    cloned: Any


def confidnet_configs(model: str, **changes: Any) -> ConfidNet:
    """The choices of both phases.

    Five dense layers of 400 units on the embedding, whose output is to be the true
    class's probability; Adam in batches of 128.

    Args:
      model: the classifier's name, as `config_for` takes it.
      **changes: attributes of `OracleConfig` to set otherwise in both phases; use
        `dataclasses.replace` for one of them.

    Returns:
      An `OracleConfig` for each phase.

    >>> head, cloned = confidnet_configs("confidnet_mnist", loss="steep_slope")
    >>> head.embedding, cloned.embedding, cloned.head_layers, cloned.head
    ('frozen', 'cloned', 5, 'signed_distance')

    References:
      Corbiere et al. 2019 (arXiv:1910.04851), sections 3.2 and 4.1; Luo et al. 2021
      (arXiv:2110.00054), section 5, have the other losses on it. Layers, Adam at 1e-4,
      batches of 128 and the 500 epochs are those of the authors' code. What the second
      phase takes is in neither: ten epochs at a tenth of the rate are this library's.
    """
    shared = {
        "loss": "true_class_probability",
        "head_layers": 5,
        "head_width": 400,
        "optimizer": "adamw",  # without weight decay: Adam
        "batch_size": 128,
        **changes,
    }
    first = {"epochs": 500, "patience": 500, **_rates(1e-4), **shared}
    second = {"epochs": 10, "patience": 10, **_rates(1e-5), **shared}
    return ConfidNet(
        config_for(model, **{**first, "embedding": "frozen"}),
        config_for(model, **{**second, "embedding": "cloned"}),
    )


def _rates(rate: float) -> dict[str, float]:
    return {"learning_rate": rate, "minimum_learning_rate": rate}


def confidnet(
    configs: ConfidNet,
    train_set: data.Dataset,
    validation_set: data.Dataset,
    *,
    train_outcomes: Outcomes,
    validation_outcomes: Outcomes,
    classifier: _network.Function,
    workdir: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 500,
    mesh: jax.sharding.Mesh | None = None,
    progress: ProgressFn | None = None,
) -> ConfidNet:
    """Trains an oracle in the two phases of ConfidNet, or goes on where it stopped.

    First the head alone, on the embedding of the classifier as it is; then a copy of
    the classifier's encoder together with that head. Any loss of an oracle will do.
    The classifier itself is never changed, and is in evaluation mode in both phases:
    what it makes of an image, its embedding and the probability of the true class, is
    one value for all epochs.

    Args:
      configs: the choices of each phase, as `confidnet_configs` makes them.
      train_set: images to train on.
      validation_set: images that choose the best epoch of either phase.
      train_outcomes: as `outcomes(..., embedding=True)` returns them.
      validation_outcomes: likewise.
      classifier: `(apply_fn, params)`, in evaluation mode.
      workdir: the folder of the checkpoints, with a folder for each phase; None to
        keep none. `load(workdir / "cloned", classifier=...)` reads them.
      checkpoint_every: steps between checkpoints.
      mesh: devices to share each batch among, over its axis `data`.
      progress: called now and then, as in `train.fit`.

    Returns:
      A `TrainedOracle` of each phase, with the weights of its best epoch; the second
      starts from what the first has left, and its best may be behind that.

    Raises:
      NonFiniteLossError: as `fit`.
      ValueError: as `fit`.

    References:
      Corbiere et al. 2019 (arXiv:1910.04851), section 3.2. In the authors' code the
      classifier's dropout is active in the first phase, so that the head learns
      probabilities of another network each time, and off in the second.
    """

    def phase(name: str, config: OracleConfig, **start: Any) -> TrainedOracle:
        return fit(
            config,
            train_set,
            validation_set,
            train_outcomes=train_outcomes,
            validation_outcomes=validation_outcomes,
            classifier=classifier,
            workdir=None if workdir is None else pathlib.Path(workdir, name),
            checkpoint_every=checkpoint_every,
            mesh=mesh,
            progress=progress,
            **start,
        )

    head = phase("head", configs.head)
    return ConfidNet(head, phase("cloned", configs.cloned, start=head))
