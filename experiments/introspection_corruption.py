"""Does a second stage that introspects withstand corruption?

    python -m experiments.introspection_corruption
    python -m experiments.introspection_corruption --smoke

Prabhushankar and AlRegib 2022 (Introspective Learning, arXiv:2209.08425): a perceptron
H on introspective features is 4 % more accurate under corruption than the feed-forward
network it reads, and has 42 % less calibration error. The features are a function of
the embedding, so that the same H, as large and trained alike, on the embedding, on the
logits or on both shows what is due to introspection and what to a second stage.

Networks are trained anew for each seed, and each second stage with them. Networks,
corrupted images and answers are kept under `checkpoints/introspection_corruption`: a
run that was stopped goes on. Page: `introspection_corruption.md`.
"""

import dataclasses
import math
import pathlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from scipy import stats

from experiments import shifts_numbers
from experiments.explanations_shared import in_pieces, kept
from experiments.introspection_corruption_tables import (
    ALL,
    BASELINES,
    CLEAN,
    FEED_FORWARD,
    INTROSPECTIVE,
    METHODS,
    NUMBERS,
    PAIRS,
    SIGMOID,
    draw,
    tables,
)
from experiments.shared import keep_programs, write_numbers
from experiments.shifts_numbers import Estimate
from trustjax import (
    _progress,
    bridge,
    data,
    introspection,
    metrics,
    scoring,
    train,
)

LEVEL = 0.95
"""The chance that not one statement of the page is false."""

PAPER = {"accuracy": "+4 %", "calibration error": "-42 %"}


@dataclasses.dataclass(frozen=True)
class Study:
    """What is asked.

    Attributes:
      dataset: a name that `data.load` takes.
      model: the first stage, a name of `models`.
      epochs: of its training, at most.
      second_epochs: of the training of each second stage.
      seeds: how many networks.
      train_split: what both stages learn from.
      images: how many of the test images, the first ones.
      kinds: of corruption.
      severities: of each.
      groups: of images, of the jackknife.
      workdir: where networks, images and answers are kept.
      numbers: the folder of the JSON file.
      figures: the folder of the figure.
    """

    dataset: str = "mnist5k"
    model: str = "cnn"
    epochs: int = 20
    second_epochs: int = 50
    seeds: int = 6
    train_split: str = "train"
    images: int = 1000
    kinds: tuple[str, ...] = data.CORRUPTIONS
    severities: tuple[int, ...] = (1, 3, 5)
    groups: int = 40
    workdir: pathlib.Path = pathlib.Path("checkpoints/introspection_corruption")
    numbers: pathlib.Path = pathlib.Path("experiments/numbers")
    figures: pathlib.Path = pathlib.Path("experiments/figures")

    @property
    def name(self) -> str:
        """Of its numbers and its figure."""
        return f"introspection_corruption_{self.dataset}_{self.model}"

    @property
    def folder(self) -> pathlib.Path:
        """Of its images and networks."""
        return self.workdir / self.dataset

    @property
    def statements(self) -> int:
        """How many differences the page shows the ends of."""
        return len(PAIRS) * len(NUMBERS) * (len(self.severities) + 1)

    @property
    def level(self) -> float:
        """Of each difference, so that all hold together."""
        return 1 - (1 - LEVEL) / self.statements


STUDY = Study()
_SMOKE = pathlib.Path("checkpoints/introspection_corruption_smoke")
SMOKE = Study(
    epochs=2,
    second_epochs=2,
    seeds=2,
    train_split="train[:600]",
    images=60,
    kinds=("gaussian_noise", "contrast"),
    severities=(1, 5),
    groups=10,
    workdir=_SMOKE,
    numbers=_SMOKE / "numbers",
    figures=_SMOKE / "figures",
)


def versions(study: Study) -> dict[str, tuple[str, int] | None]:
    """Key -> kind and severity of each version of the test images; None of neither."""
    return {CLEAN: None} | {
        f"{kind}-{severity}": (kind, severity)
        for severity in study.severities
        for kind in study.kinds
    }


def images(study: Study, key: str) -> tuple[np.ndarray, np.ndarray]:
    """The first test images in a version, of bytes, and their labels."""
    test = data.load(study.dataset, f"test[:{study.images}]")
    change = versions(study)[key]
    if change is not None:
        test = data.corrupted(test, change[0], severity=change[1])

    def make() -> dict[str, np.ndarray]:
        x, labels = data.as_arrays(test)
        return {"images": x, "labels": labels}

    found = kept(study.folder / f"images_{study.images}" / f"{key}.npz", make)
    return found["images"], found["labels"]


def second_stages(
    study: Study, seed: int, *, classes: int, width: int
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


def answers(study: Study, seed: int) -> Mapping[str, np.ndarray]:
    """`method|version` -> logits of one seed's networks; and their sizes.

    The versions are those of the test images, and `validation`, with its labels.
    """
    folder = study.folder / f"{study.model}-{study.epochs}" / str(seed)

    def ask() -> dict[str, np.ndarray]:
        training = data.load(study.dataset, study.train_split)
        validation = data.load(study.dataset, "validation")
        with _progress.reporter() as progress:
            config = train.config_for(study.model, epochs=study.epochs, seed=seed)
            model = train.fit(
                config,
                training,
                validation,
                workdir=folder / "network",
                checkpoint_every=500,
                progress=progress,
            ).model
        apply_fn, params = bridge.from_nnx(model)
        x, labels = data.as_arrays(validation)
        width = introspection.features_of(
            apply_fn, params, jnp.float32(x[:1])
        ).embedding.shape[1]
        configs = second_stages(study, seed, classes=training.num_classes, width=width)
        made = {
            name: introspection.fit(config, training, validation, (apply_fn, params))
            for name, config in configs.items()
        }

        @jax.jit
        def logits(images: jax.Array) -> dict[str, jax.Array]:
            images = images / 255.0
            return {FEED_FORWARD: apply_fn(params, images)} | {
                name: both.apply_fn(both.params, images) for name, both in made.items()
            }

        found = {
            f"{name}|parameters": np.array(m.num_parameters) for name, m in made.items()
        }
        found["labels|validation"] = labels
        for key in ("validation", *versions(study)):
            asked = x if key == "validation" else images(study, key)[0]
            said = in_pieces(logits, asked)
            found |= {f"{method}|{key}": own for method, own in said.items()}
        return found

    said_of = (
        study.train_split,
        study.second_epochs,
        study.images,
        list(versions(study)),
    )
    return kept(folder / f"answers-{scoring.fingerprint(said_of)[:12]}.npz", ask)


@jax.jit
def _measured(
    logits: jax.Array, labels: jax.Array, temperature: jax.Array, masks: jax.Array
) -> dict[str, jax.Array]:
    """Every number of all images, and of all but each group."""
    correct = jnp.argmax(logits, axis=-1) == labels
    sure, scaled = (
        jnp.max(jax.nn.softmax(z, axis=-1), axis=-1)
        for z in (logits, logits / temperature)
    )

    def of(kept: jax.Array) -> dict[str, jax.Array]:
        error = metrics.expected_calibration_error
        return dict(
            zip(
                NUMBERS,
                (
                    jnp.sum(correct * kept) / jnp.sum(kept),
                    error(sure, correct, weights=kept),
                    error(scaled, correct, weights=kept),
                ),
                strict=True,
            )
        )

    return jax.lax.map(of, masks)


Measured = Mapping[str, Mapping[str, Mapping[str, Estimate]]]
"""Method -> version -> number, of one seed."""


def measured(study: Study, found: Mapping[str, np.ndarray]) -> tuple[Measured, Any]:
    """Every number of one seed's answers, and the temperature of each method."""
    masks = jnp.asarray(shifts_numbers.masks(study.images, study.groups))
    labels = jnp.asarray(images(study, CLEAN)[1])
    numbers: dict[str, dict[str, dict[str, Estimate]]] = {}
    temperatures = {}
    for method in METHODS:
        temperature = metrics.fit_temperature(
            jnp.asarray(found[f"{method}|validation"]),
            jnp.asarray(found["labels|validation"]),
        )
        temperatures[method] = float(temperature)
        numbers[method] = {}
        for key in versions(study):
            logits = jnp.asarray(found[f"{method}|{key}"])
            own = _measured(logits, labels, temperature, masks)
            numbers[method][key] = {
                name: Estimate(float(values[0]), np.asarray(values[1:], np.float64))
                for name, values in own.items()
            }
    return numbers, temperatures


def over(seeds: Sequence[Estimate], level: float) -> dict[str, Any]:
    r"""The mean over seeds, with ends over seeds and images.

    .. math:: \hat\sigma^2 = s^2 / n + \hat\sigma^2_{\text{images}}

    :math:`s` is the deviation of the n seeds, and the second part the jackknife of
    their mean over groups of images, which all of them share. What a seed and an image
    do together is in both. Student's quantile has the fewer degrees of freedom of the
    two parts, which is safe whatever their shares (Hajek 1962); Satterthwaite's number
    is not where few seeds agree by chance.
    """
    values = np.array([of.value for of in seeds])
    together = Estimate(
        float(values.mean()), np.mean([of.without for of in seeds], axis=0)
    )
    variance = float(values.var(ddof=1)) / len(values) + together.error**2
    freedom = min(len(values), len(together.without)) - 1
    wide = float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(variance)
    return {
        "value": together.value,
        "low": together.value - wide,
        "high": together.value + wide,
        "seeds": values.tolist(),
    }


class Seeds:
    """What was measured of each seed, and means of it over versions.

    Args:
      study: whose versions they are.
      of_each: what `measured` made of each seed.
    """

    def __init__(self, study: Study, of_each: Sequence[Measured]):
        self._of_each = of_each
        self.keys = {
            str(severity): [f"{kind}-{severity}" for kind in study.kinds]
            for severity in study.severities
        }
        self.keys[ALL] = [key for keys in self.keys.values() for key in keys]

    def mean(self, method: str, name: str, keys: Iterable[str]) -> list[Estimate]:
        """Of a number over versions, for each seed."""
        return [
            shifts_numbers.mean([own[method][key][name] for key in keys])
            for own in self._of_each
        ]

    def less(
        self, one: str, other: str, name: str, keys: Sequence[str]
    ) -> list[Estimate]:
        """One method's mean less another's, of the same seed and images."""
        return [
            Estimate(a.value - b.value, a.without - b.without)
            for a, b in zip(
                self.mean(one, name, keys), self.mean(other, name, keys), strict=True
            )
        ]


def numbers(study: Study) -> dict[str, Any]:
    """Every number of the page."""
    asked = []
    for seed in range(study.seeds):
        asked.append(answers(study, seed))
        spent = time.process_time()
        print(f"seed {seed}: {spent:.0f} s of processor time so far", flush=True)
    made = [measured(study, found) for found in asked]
    seeds = Seeds(study, [own for own, _ in made])
    means = {
        severity: {
            method: {
                name: over(seeds.mean(method, name, keys), LEVEL) for name in NUMBERS
            }
            for method in METHODS
        }
        for severity, keys in ({CLEAN: [CLEAN]} | seeds.keys).items()
    }
    differences = {
        severity: {
            f"{one} less {other}": {
                name: over(seeds.less(one, other, name, keys), study.level)
                for name in NUMBERS
            }
            for one, other in PAIRS
        }
        for severity, keys in seeds.keys.items()
    }
    of_kinds = {
        kind: {
            method: {
                name: over(seeds.mean(method, name, keys), LEVEL)["value"]
                for name in NUMBERS
            }
            for method in METHODS
        }
        for kind in study.kinds
        for keys in [[f"{kind}-{severity}" for severity in study.severities]]
    }
    return {
        "paper": PAPER,
        "images": study.images,
        "seeds": study.seeds,
        "level_of_each_difference": study.level,
        "parameters": {
            method: int(asked[0][f"{method}|parameters"]) for method in METHODS[1:]
        },
        "temperatures": {
            method: [own[method] for _, own in made] for method in METHODS
        },
        "means": means,
        "differences": differences,
        "kinds": of_kinds,
    }


def run(study: Study) -> dict[str, Any]:
    """Makes every number and the figure, and writes the JSON file."""
    said = numbers(study)
    draw(said, study.figures / f"{study.name}.png")
    path = study.numbers / f"{study.name}.json"
    write_numbers(path, said)
    print(f"numbers: {path}")
    return said


def main(study: Study = STUDY, smoke: bool = False) -> dict[str, Any]:
    """Makes every number and prints the tables."""
    study = SMOKE if smoke else study
    # Networks of the seeds differ in nothing but their weights.
    keep_programs(study.workdir)
    said = run(study)
    print(tables(said))
    return said


if __name__ == "__main__":
    tyro.cli(main)
