"""A trained oracle as a score, and what is known of one in a folder."""

import dataclasses
from typing import NamedTuple

import jax

from trustjax import bridge, models, scores, scoring
from trustjax.ingredients import FEATURES, Ingredient
from trustjax.oracles._backbone import OnEmbedding
from trustjax.oracles._config import OracleConfig


class OracleEpoch(NamedTuple):
    """What one pass over the training set came to.

    Attributes:
      epoch: its number, from 1.
      step: steps taken by its end.
      loss: mean loss of its steps, without the L2 penalty.
      validation_metric: the config's metric at its end, in [0, 1].
      learning_rate: during it (the plateau schedule), or its peak (cosine).
    """

    epoch: int
    step: int
    loss: float
    validation_metric: float
    learning_rate: float


class KeptOracle(NamedTuple):
    """What is known of an oracle in a folder before it is loaded.

    Attributes:
      image_shape: of the images that it takes.
      needs_classifier: whether `load` takes the `(apply_fn, params)` that it was
        trained on.
    """

    image_shape: tuple[int, ...]
    needs_classifier: bool

    def require_shape(self, image_shape: tuple[int, ...]) -> None:
        """Raises a ValueError if the oracle does not take such images."""
        if image_shape != self.image_shape:
            raise ValueError(
                f"the oracle takes images of shape {self.image_shape}, the "
                f"classifier's are {image_shape}"
            )


@dataclasses.dataclass(frozen=True)
class TrainedOracle:
    """An oracle with the weights of its best epoch.

    Attributes:
      model: images to `[batch, 1]`, in evaluation mode.
      config: the choices of its training.
      history: one entry per epoch.
      step: steps taken.
      image_shape: of the images that it takes.
    """

    model: models.Classifier
    config: OracleConfig
    history: tuple[OracleEpoch, ...]
    step: int
    image_shape: tuple[int, ...]

    def require_shape(self, image_shape: tuple[int, ...]) -> None:
        """Raises a ValueError if the oracle does not take such images."""
        KeptOracle(self.image_shape, False).require_shape(image_shape)

    def ingredients(self) -> tuple[Ingredient, ...]:
        """What `scoring` takes in the place of the oracle's output that is not given.

        Computing it raises a ValueError where images are not of `image_shape`. An
        oracle on a frozen embedding takes that of the network that is scored, which
        is the one that it was trained on: it costs no forward pass of its own.
        """
        if self.config.embedding == "frozen":
            head_fn, head_params = bridge.from_nnx(OnEmbedding(self.model.dense))
            made = dataclasses.replace(
                scores.ORACLE_OUTPUT,
                compute=lambda features: head_fn(head_params, features),
                needs=(FEATURES,),
                cost="",
            )
            return (made,)
        oracle_fn, params = bridge.from_nnx(self.model)

        def ask(batch: scoring.Batch) -> jax.Array:
            self.require_shape(batch.x.shape[1:])
            return oracle_fn(params, batch.x)

        return (dataclasses.replace(scores.ORACLE_OUTPUT, ask=ask),)
