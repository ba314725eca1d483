"""The loss of an oracle, and its training step."""

import jax
import jax.numpy as jnp

from trustjax import _numerics, losses, models, train
from trustjax.oracles._config import OracleConfig


def loss_of(config: OracleConfig, *, num_wrong: int = 1, num_right: int = 1):
    """The loss that a config names, as `train.make_train_step` takes it.

    Args:
      config: the loss, its parameters, and the class balance.
      num_wrong: wrong answers of the classifier on the training set.
      num_right: right ones.

    Returns:
      `(z [batch, 1], batch) -> [batch]`; the batch holds `correct`, and `probability`
      for the true class probability loss.
    """
    counts = jnp.array([num_wrong, num_right])
    weights = losses.class_balanced_weights(counts, beta=config.class_balance)

    def loss_fn(outputs: jax.Array, batch: train.TrainBatch) -> jax.Array:
        z, correct = _numerics.at_least_float32(outputs[:, 0]), batch["correct"]
        return weights[correct.astype(jnp.int32)] * unweighted(z, correct, batch)

    def unweighted(z, correct, batch):
        if config.loss == "cross_entropy":
            return losses.oracle_cross_entropy(z, correct)
        if config.loss == "focal":
            return losses.oracle_focal_loss(z, correct, gamma=config.gamma)
        if config.loss == "true_class_probability":
            return losses.true_class_probability_loss(z, batch["probability"])
        return losses.steep_slope_loss(
            z,
            correct,
            alpha_positive=config.alpha_positive,
            alpha_negative=config.alpha_negative,
        )

    return loss_fn


def make_train_step(
    model: models.Classifier,
    config: OracleConfig,
    *,
    steps_per_epoch: int,
    num_wrong: int = 1,
    num_right: int = 1,
) -> tuple[train.TrainState, train.TrainStep]:
    """The first state of an oracle's training, and the function that takes a step.

    Args:
      model: what `create` returned.
      config: the choices of the run.
      steps_per_epoch: for the cosine schedule.
      num_wrong: wrong answers of the classifier on the training set.
      num_right: right ones; both for the class balance.

    Returns:
      `(state, train_step)`, as `train.make_train_step`; a batch holds `image`, `mask`,
      `correct` and `probability`.
    """
    return train.make_train_step(
        model,
        config,
        steps_per_epoch=steps_per_epoch,
        loss_fn=loss_of(config, num_wrong=num_wrong, num_right=num_right),
        compute_dtype=compute_dtype(config),
    )


def compute_dtype(config: OracleConfig):
    """What the network computes in; None for the type of its weights."""
    return jnp.bfloat16 if config.precision == "bfloat16" else None
