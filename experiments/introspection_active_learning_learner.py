"""What the study `introspection_active_learning` asks, and the networks that it trains.

A network f and the second stage H that reads it, trained anew on whatever is labelled,
by programs that are compiled once; and what is asked for next by what either says.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.explanations_shared import in_pieces
from experiments.introspection_active_learning_tables import (
    ASKED,
    FEED_FORWARD,
    INTROSPECTIVE,
    PAIRS,
    RANDOM,
    TESTS,
)
from trustjax import (
    bridge,
    data,
    introspection,
    models,
    passes,
    scores,
    scoring,
    train,
    transforms,
)

LEVEL = 0.95
"""The chance that not one statement of the page is false."""


@dataclasses.dataclass(frozen=True)
class Study:
    """What is asked.

    Attributes:
      dataset: a name that `data.load` takes.
      pool: the split of it whose labels can be asked for.
      model: a name of `models`, of a network with dropout and without BatchNorm.
      images: how many of the test images, the first ones.
      noise: the corruption of the noisy test images.
      severity: of it.
      initial: records with a label before the first round.
      query: records that are asked for in a round.
      rounds: how many.
      steps: of training the network, after each round from its first weights.
      second_steps: of training the second stage.
      batch: records in a step.
      masks: of dropout, for BALD.
      seeds: of weights, of the initial records and of all draws.
      workdir: where rounds are kept.
      numbers: the folder of the JSON file.
      figures: the folder of the figure.
    """

    dataset: str = "mnist5k"
    pool: str = "train[:2000]"
    model: str = "cnn"
    images: int = 1000
    noise: str = "gaussian_noise"
    severity: int = 5
    initial: int = 40
    query: int = 50
    rounds: int = 5
    steps: int = 100
    second_steps: int = 100
    batch: int = 32
    masks: int = 10
    seeds: int = 6
    workdir: pathlib.Path = pathlib.Path("checkpoints/introspection_active_learning")
    numbers: pathlib.Path = pathlib.Path("experiments/numbers")
    figures: pathlib.Path = pathlib.Path("experiments/figures")

    @property
    def labelled(self) -> int:
        """Records with a label after the last round."""
        return self.initial + self.rounds * self.query

    @property
    def name(self) -> str:
        """Of its numbers and its figure."""
        return f"introspection_active_learning_{self.dataset}_{self.model}"

    @property
    def folder(self) -> pathlib.Path:
        """Of its rounds: another for each choice that they depend on."""
        apart = ("seeds", "rounds", "workdir", "numbers", "figures")
        choices = dataclasses.asdict(self)
        chosen = {key: value for key, value in choices.items() if key not in apart}
        known = scoring.fingerprint(sorted(chosen.items()))
        return self.workdir / f"{self.dataset}-{self.model}-{known[:12]}"

    @property
    def level(self) -> float:
        """Of each difference, so that all hold together."""
        return 1 - (1 - LEVEL) / (len(PAIRS) * len(TESTS))


class Said(NamedTuple):
    """What one of the two networks says of images.

    Attributes:
      logits: `[images, classes]`.
      embedding: what its last layer takes, `[images, width]`.
    """

    logits: Any
    embedding: Any


class Stages(NamedTuple):
    """Both networks as they were trained: f, and the second stage H that reads it."""

    first: train.TrainState
    second: train.TrainState


class Learner:
    """Trains both networks on records of the pool, and asks them.

    Every training takes as many steps, of as many records: whatever is labelled, there
    is one program.

    Args:
      study: whose pool and test images they are.

    Raises:
      ValueError: if the rounds ask for more records than the pool has, or the network
        has no dropout, or BatchNorm.
    """

    def __init__(self, study: Study):
        self.study = study
        pool = data.load(study.dataset, study.pool)
        if study.labelled > len(pool):
            raise ValueError(
                f"the pool has {len(pool)} records; {study.initial} at first and "
                f"{study.rounds} rounds of {study.query} are {study.labelled}"
            )
        test = data.load(study.dataset, f"test[:{study.images}]")
        noisy = data.corrupted(test, study.noise, severity=study.severity)
        self.images, labels = data.as_arrays(pool)
        self.labels = jnp.asarray(labels)
        self.classes, self.image_shape = pool.num_classes, pool.fixed_shape
        self.test_labels = data.as_arrays(test)[1]
        self.tests = {
            name: data.as_arrays(own)[0]
            for name, own in zip(TESTS, (test, noisy), strict=True)
        }
        self._on_device = jnp.asarray(self.images)
        model = self._network(0)
        self._apply_fn, params = bridge.from_nnx(model)
        self._stochastic_apply_fn, _ = bridge.stochastic_from_nnx(model)
        first, step = train.make_seeded_train_step(
            model, self._first_config(0), steps_per_epoch=self._warm_up(study.steps)
        )
        if jax.tree.leaves(first.statistics):
            raise ValueError(f"{study.model} has BatchNorm: take a network without")
        one = jax.eval_shape(self._joined, params, self._on_device[:2])
        self.width = one.shape[-1] - self.classes
        second = self._second_network(0)
        self._second_outputs = train.make_outputs(second)
        _, second_step = train.make_seeded_train_step(
            second,
            self._second_config(0),
            steps_per_epoch=self._warm_up(study.second_steps),
        )
        everything = jnp.ones(study.batch, bool)

        # A step at a time: in a loop of XLA convolutions take eight times as long.
        @functools.partial(jax.jit, donate_argnums=1)
        def first_step(key: Any, state: Any, images: Any, labels: Any) -> Any:
            batch = {"image": images / 255.0, "label": labels, "mask": everything}
            return step(key, state, batch, 1.0)

        @jax.jit
        def second_fit(key: Any, state: Any, said: Any, labels: Any, rows: Any) -> Any:
            def take(state: Any, records: Any) -> tuple[Any, None]:
                batch = {"image": said[records], "label": labels[records]}
                return second_step(key, state, {**batch, "mask": everything}, 1.0), None

            return jax.lax.scan(take, state, rows)[0]

        self._first_step, self._second_fit = first_step, second_fit
        self._last: tuple[Any, Stages] | None = None

    def trained(self, seed: int, labelled: np.ndarray) -> Stages:
        """Both networks, from the first weights of a seed, on the labelled records."""
        known = (seed, labelled.tobytes())
        if self._last is None or self._last[0] != known:
            self._last = (known, self._trained(seed, labelled))
        return self._last[1]

    def _trained(self, seed: int, labelled: np.ndarray) -> Stages:
        study, key = self.study, jax.random.key(seed)
        first, _ = train.make_seeded_train_step(
            self._network(seed),
            self._first_config(seed),
            steps_per_epoch=self._warm_up(study.steps),
        )
        for records in self._rows(seed, labelled, study.steps):
            first = self._first_step(
                key, first, self._on_device[records], self.labels[records]
            )
        second, _ = train.make_seeded_train_step(
            self._second_network(seed),
            self._second_config(seed),
            steps_per_epoch=self._warm_up(study.second_steps),
        )
        first = _finite(first)
        # As many as there are in the end, so that there is one program.
        filled = np.resize(labelled, study.labelled)
        said = self._joined(first.params, self._on_device[filled])
        mask = jnp.arange(study.labelled) < len(labelled)
        mean, deviation = self._standardization(said, mask)
        second = second._replace(
            statistics={"first": {"mean": mean, "deviation": deviation}}
        )
        rows = self._rows(seed, np.arange(len(labelled)), study.second_steps)
        second = self._second_fit(
            key, second, said, self.labels[filled], jnp.asarray(rows)
        )
        return Stages(first, _finite(second))

    def accuracy(self, stages: Stages) -> np.ndarray:
        """Of each network on each set of test images, `[networks, tests]`."""
        found = [
            [
                (own.logits.argmax(axis=-1) == self.test_labels).mean()
                for own in self.asked(stages, images).values()
            ]
            for images in self.tests.values()
        ]
        return np.array(found).T

    def asked(self, stages: Stages, images: np.ndarray) -> Mapping[str, Said]:
        """What both networks say of images of bytes."""
        return in_pieces(functools.partial(self._asked, stages), images)

    def chosen(
        self, arm: str, stages: Stages, labelled: np.ndarray, key: jax.Array
    ) -> np.ndarray:
        """The records that a way of choosing asks for next."""
        available = jnp.ones(len(self.labels), bool).at[labelled].set(False)
        least = functools.partial(
            introspection.least_trusted, budget=self.study.query, available=available
        )
        if arm == RANDOM:
            return np.asarray(least(jax.random.uniform(key, self.labels.shape)))
        strategy, by = ASKED[arm]
        if strategy == "BALD":
            return np.asarray(least(self._agreement(stages, by, key)))
        said = Said(*map(jnp.asarray, self.asked(stages, self.images)[by]))
        if strategy == "BADGE":
            found = introspection.badge(
                *said, self.study.query, key=key, available=available
            )
            return np.asarray(found)
        return np.asarray(least(_OF_LOGITS[strategy](said.logits)))

    def _agreement(self, stages: Stages, by: str, key: jax.Array) -> jax.Array:
        """Minus the mutual information of answer and dropout mask, of the pool."""
        ask = functools.partial(self._agreement_of, by, stages, key)
        numbers = np.arange(len(self.images))
        return jnp.asarray(in_pieces(ask, self.images, numbers))

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def _agreement_of(
        self, by: str, stages: Stages, key: Any, images: Any, numbers: Any
    ) -> jax.Array:
        def noisy(stages: Stages, x: Any, key: Any) -> jax.Array:
            answer = lambda params, x: self._stochastic_apply_fn(params, x, key)
            if by == FEED_FORWARD:
                return answer(stages.first.params, x)
            said = _joined(answer, stages.first.params, x)
            return self._second_outputs(stages.second, said)

        samples = passes.dropout_logits(
            noisy,
            stages,
            images / 255.0,
            key=key,
            num_samples=self.study.masks,
            index=numbers,
        )
        return scores.negative_mutual_information(samples)

    @functools.partial(jax.jit, static_argnums=0)
    def _asked(self, stages: Stages, images: Any) -> dict[str, Said]:
        said = self._joined(stages.first.params, images)
        z, h = said[:, 0, 0, : self.classes], said[:, 0, 0, self.classes :]
        parts = transforms.split(
            self._second_outputs, stages.second, said, at="embedding"
        )
        theirs = parts.features_fn(stages.second, said)
        of_second = Said(parts.head_fn(stages.second, theirs), theirs)
        return {FEED_FORWARD: Said(z, h), INTROSPECTIVE: of_second}

    @functools.partial(jax.jit, static_argnums=0)
    def _joined(self, params: Any, images: Any) -> jax.Array:
        return _joined(self._apply_fn, params, images / 255.0)

    @functools.partial(jax.jit, static_argnums=0)
    def _sums(self, said: Any, mask: Any) -> introspection.FeatureSums:
        z, h = said[:, 0, 0, : self.classes], said[:, 0, 0, self.classes :]
        config = self._second_config(0)
        found = introspection.features(
            z, h, loss=config.feature_loss, constant=config.constant
        )
        return introspection.feature_sums(found, mask)

    def _standardization(self, said: Any, mask: Any) -> list[jax.Array]:
        """Mean and deviation of the features of the labelled records."""
        found = introspection.standardization(jax.device_get(self._sums(said, mask)))
        return [jnp.float32(part) for part in found]

    def _rows(self, seed: int, labelled: np.ndarray, steps: int) -> np.ndarray:
        """Records of each step, `[steps, batch]`: one order of all after the other."""
        rng = np.random.default_rng((seed, len(labelled)))
        length = steps * self.study.batch
        times = -(-length // len(labelled))
        orders = [rng.permutation(labelled) for _ in range(times)]
        return np.concatenate(orders)[:length].reshape(steps, -1)

    def _network(self, seed: int) -> models.Classifier:
        """In evaluation mode; a training step sets its own."""
        model = models.create(
            self.study.model,
            num_classes=self.classes,
            image_shape=self.image_shape,
            rngs=nnx.Rngs(seed),
        )
        model.eval()
        return model

    def _second_network(self, seed: int) -> introspection.SecondStage:
        return introspection.SecondStage(
            self._second_config(seed), self.classes, self.width
        )

    def _first_config(self, seed: int) -> train.TrainConfig:
        return train.config_for(
            self.study.model,
            batch_size=self.study.batch,
            epochs=_WARM_UPS,
            learning_rate=0.05,
            schedule="cosine",
            seed=seed,
        )

    def _second_config(self, seed: int) -> introspection.IntrospectionConfig:
        return introspection.config_for(
            batch_size=self.study.batch, epochs=_WARM_UPS, schedule="cosine", seed=seed
        )

    def _warm_up(self, steps: int) -> int:
        """What the schedule takes for an epoch: it warms up so long."""
        return max(1, steps // _WARM_UPS)


_WARM_UPS = 10
"""As long as the warm-up of the learning rate is a training, so many times."""

_OF_LOGITS = {
    "entropy": scores.negative_entropy,
    "least confidence": scores.max_softmax,
    "margin": scores.margin,
}


def _finite(state: train.TrainState) -> train.TrainState:
    if (bad := int(state.first_bad_step)) >= 0:
        raise train.NonFiniteLossError(
            f"the training loss, or a weight, is not finite at step {bad}"
        )
    return state


def _joined(apply_fn: Any, params: Any, x: Any) -> jax.Array:
    """The logits of a network and what its last layer takes, as H reads them."""
    parts = transforms.split(apply_fn, params, x, at="embedding")
    h = parts.features_fn(params, x)
    return jnp.concatenate([parts.head_fn(params, h), h], axis=1)[:, None, None]
