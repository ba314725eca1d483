"""The networks of the studies of introspection: first stages, and what reads them."""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from trustjax import _progress, bridge, data, interventions, introspection, train
from trustjax.typing import ApplyFn, Params

FEED_FORWARD, INTROSPECTIVE = "feed-forward", "introspective"
SIGMOID = "introspective, sigmoid"
BASELINES = {
    "embedding": "H on the embedding",
    "logits": "H on the logits",
    "embedding_and_logits": "H on both",
}
METHODS = (FEED_FORWARD, INTROSPECTIVE, SIGMOID, *BASELINES.values())
STYLES = dict(
    zip(
        METHODS,
        ("#222222", "#c0392b", "#e59866", "#1f618d", "#7fb3d5", "#76b041"),
        strict=True,
    )
)
"""Their colours in figures."""


@dataclasses.dataclass(frozen=True)
class Networks:
    """What is trained.

    Attributes:
      dataset: a name that `data.load` takes.
      model: the first stage, a name of `models`.
      training: of the first stage, a name of `TRAININGS`.
      methods: which of `METHODS` are made, the feed-forward network among them.
      epochs: of its training, at most.
      second_epochs: of the training of each second stage.
      seeds: how many networks.
      train_split: what both stages learn from.
      validation_split: what the best epochs and temperatures are chosen on.
      workdir: where networks, images and answers are kept.
    """

    dataset: str = "mnist5k"
    model: str = "cnn"
    training: str = "plain"
    methods: tuple[str, ...] = METHODS
    epochs: int = 20
    second_epochs: int = 50
    seeds: int = 6
    train_split: str = "train"
    validation_split: str = "validation"
    workdir: pathlib.Path = pathlib.Path("checkpoints/introspection")

    @property
    def folder(self) -> pathlib.Path:
        """Of all that is kept of these networks."""
        return self.workdir / self.dataset / f"{self.trained}-{self.epochs}"

    @property
    def trained(self) -> str:
        """The first stage and how it was trained, as files are called after it."""
        plain = self.training == "plain"
        return self.model if plain else f"{self.model}_{self.training}"


def _attacked(
    network: Any, params: Any, images: Any, batch: Any, **options: Any
) -> jax.Array:
    return interventions.fgsm(network, params, images, batch["label"], **options)


TRAININGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "noise": {"augment_fn": train.gaussian_noise},
    "adversarial": {"adversary_fn": functools.partial(_attacked, epsilon=0.1)},
    "augmix": {"augment_fn": train.augmix_views, "loss_fn": train.augmix_loss},
}
"""How the first stage is trained: what `train.fit` is given beside its choices."""


class Made(NamedTuple):
    """The networks of one seed, each by the name of its method.

    Attributes:
      networks: `(apply_fn, params)`; each answers images in [0, 1] with logits.
      parameters: of each second stage, how many.
    """

    networks: Mapping[str, tuple[ApplyFn, Params]]
    parameters: Mapping[str, int]


def of_seed(study: Networks, seed: int) -> Made:
    """The networks of one seed, trained, gone on with, or loaded."""
    training = data.load(study.dataset, study.train_split)
    validation = data.load(study.dataset, study.validation_split)
    folder = study.folder / str(seed)
    with _progress.reporter() as progress:
        model = train.fit(
            train.config_for(study.model, epochs=study.epochs, seed=seed),
            training,
            validation,
            **TRAININGS[study.training],
            workdir=folder / "network",
            progress=progress,
        ).model
    first = bridge.from_nnx(model)
    x = jnp.zeros((1, *training.fixed_shape))
    width = introspection.features_of(*first, x).embedding.shape[1]
    configs = second_stages(study, seed, classes=training.num_classes, width=width)
    made = {
        name: introspection.fit(
            config,
            training,
            validation,
            first,
            workdir=folder / f"{name.replace(' ', '_')}-{study.second_epochs}",
        )
        for name, config in configs.items()
        if name in study.methods
    }
    return Made(
        {FEED_FORWARD: first}
        | {name: (both.apply_fn, both.params) for name, both in made.items()},
        {name: both.num_parameters for name, both in made.items()},
    )


def second_stages(
    study: Networks, seed: int, *, classes: int, width: int
) -> dict[str, introspection.IntrospectionConfig]:
    """The choices of every second stage by its name: the same but for what is named."""
    own, sigmoid = (
        introspection.config_for(preset, epochs=study.second_epochs, seed=seed)
        for preset in ("relu", "sigmoid")
    )
    others = introspection.baselines(own, classes=classes, width=width)
    return {
        INTROSPECTIVE: own,
        SIGMOID: sigmoid,
        **{BASELINES[inputs]: config for inputs, config in others.items()},
    }


def over_seeds(
    values: np.ndarray, of_images: float, groups: int, level: float
) -> dict[str, Any]:
    r"""The mean over seeds, with ends over seeds and images.

    .. math:: \hat\sigma^2 = s^2 / n + \hat\sigma^2_{\text{images}}

    :math:`s` is the deviation of the n seeds, and the second part that of their mean
    over images, which all of them share. What a seed and an image do together is in
    both. Student's quantile has the fewer degrees of freedom of the two parts, which is
    safe whatever their shares (Hajek 1962); Satterthwaite's number is not where few
    seeds agree by chance.

    Args:
      values: a number of each seed.
      of_images: the second part, from a jackknife.
      groups: of images, of the jackknife.
      level: of the interval.
    """
    mean = float(values.mean())
    variance = float(values.var(ddof=1)) / len(values) + of_images
    freedom = min(len(values), groups) - 1
    wide = float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(variance)
    return {
        "value": mean,
        "low": mean - wide,
        "high": mean + wide,
        "seeds": values.tolist(),
    }


def in_unit(ends: Mapping[str, Any]) -> dict[str, Any]:
    """The ends of a share, which is in [0, 1]."""
    return {**ends, "low": max(0.0, ends["low"]), "high": min(1.0, ends["high"])}


def percent(number: Mapping[str, float], sign: str = "") -> str:
    """A share, or with "+" a difference, and its ends; * marks a proven difference."""
    value, low, high = (100 * number[part] for part in ("value", "low", "high"))
    proven = " *" if sign and (low > 0 or high < 0) else ""
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]{proven}"
