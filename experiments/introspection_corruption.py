"""Does a second stage that introspects withstand corruption?

    python -m experiments.introspection_corruption
    python -m experiments.introspection_corruption --smoke

Prabhushankar and AlRegib 2022 (Introspective Learning, arXiv:2209.08425): a perceptron
H on introspective features is 4 % more accurate under corruption than the feed-forward
network it reads, and has 42 % less calibration error. The features are a function of
the embedding, so that the same H, as large and trained alike, on the embedding, on the
logits or on both shows what is due to introspection and what to a second stage.

Networks are trained anew for each seed, and each second stage with them. Networks,
corrupted images and answers are kept under `checkpoints/introspection`: a run that was
stopped goes on. Page: `introspection_corruption.md`.
"""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments import (
    introspection_networks,
    introspection_reliability,
    shifts_numbers,
)
from experiments.explanations_shared import in_pieces, kept
from experiments.introspection_corruption_tables import (
    ALL,
    CLEAN,
    NUMBERS,
    PAIRS,
    draw,
    tables,
)
from experiments.introspection_networks import (
    BASELINES,
    FEED_FORWARD,
    INTROSPECTIVE,
    SIGMOID,
    Networks,
    in_unit,
    over_seeds,
)
from experiments.shared import keep_programs, published
from experiments.shifts_numbers import Estimate
from trustjax import data, metrics, scoring

LEVEL = 0.95
"""The chance that not one statement of the page is false."""

PAPER = {"accuracy": "+4 %", "calibration error": "-42 %"}


@dataclasses.dataclass(frozen=True)
class Study(Networks):
    """What is asked, beside the networks that are.

    Attributes:
      images: how many of the test images, the first ones.
      kinds: of corruption.
      severities: of each.
      groups: of images, of the jackknife.
      families: of networks that share a page: the ends of all hold together.
      numbers: the folder of the JSON file.
      figures: the folder of the figure.
    """

    images: int = 1000
    kinds: tuple[str, ...] = data.CORRUPTIONS
    severities: tuple[int, ...] = (1, 3, 5)
    groups: int = 40
    families: int = 1
    numbers: pathlib.Path = pathlib.Path("experiments/numbers")
    figures: pathlib.Path = pathlib.Path("experiments/figures")

    @property
    def name(self) -> str:
        """Of its numbers and its figure."""
        return f"introspection_corruption_{self.dataset}_{self.trained}"

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """What is compared, of the methods that are made."""
        return tuple(pair for pair in PAIRS if set(pair) <= set(self.methods))

    @property
    def reliability(self) -> tuple[str, ...]:
        """Of which methods diagrams are drawn."""
        drawn = (FEED_FORWARD, INTROSPECTIVE, SIGMOID, BASELINES["embedding"])
        return tuple(method for method in drawn if method in self.methods)

    @property
    def statements(self) -> int:
        """How many differences the page shows the ends of."""
        own = len(self.pairs) * len(NUMBERS) * (len(self.severities) + 1)
        return own * self.families

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

    folder = study.workdir / study.dataset / f"images_{study.images}"
    found = kept(folder / f"{key}.npz", make)
    return found["images"], found["labels"]


def answers(study: Study, seed: int) -> Mapping[str, np.ndarray]:
    """`method|version` -> logits of one seed's networks; and their sizes.

    The versions are those of the test images, and `validation`, with its labels.
    """

    def ask() -> dict[str, np.ndarray]:
        made = introspection_networks.of_seed(study, seed)
        validation = data.load(study.dataset, study.validation_split)
        x, labels = data.as_arrays(validation)
        given = {name: params for name, (_, params) in made.networks.items()}

        # Parameters are arguments: the seeds share a program.
        @jax.jit
        def logits(params: Any, images: jax.Array) -> dict[str, jax.Array]:
            return {
                name: apply_fn(params[name], images / 255.0)
                for name, (apply_fn, _) in made.networks.items()
            }

        found = {
            f"{name}|parameters": np.array(count)
            for name, count in made.parameters.items()
        }
        found["labels|validation"] = labels
        for key in ("validation", *versions(study)):
            asked = x if key == "validation" else images(study, key)[0]
            said = in_pieces(functools.partial(logits, given), asked)
            found |= {f"{method}|{key}": own for method, own in said.items()}
        return found

    said_of = (
        study.train_split,
        study.validation_split,
        study.second_epochs,
        study.images,
        list(versions(study)),
        study.methods,
    )
    name = f"answers-{scoring.fingerprint(said_of)[:12]}.npz"
    return kept(study.folder / str(seed) / name, ask)


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
    for method in study.methods:
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
    """The mean over seeds, with ends over seeds and images; see `over_seeds`."""
    values = np.array([of.value for of in seeds])
    without = np.mean([of.without for of in seeds], axis=0)
    together = Estimate(float(values.mean()), without)
    return over_seeds(values, together.error**2, len(without), level)


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
    versions_of = {CLEAN: [CLEAN]} | seeds.keys
    means = {
        severity: {
            method: {
                name: in_unit(over(seeds.mean(method, name, keys), LEVEL))
                for name in NUMBERS
            }
            for method in study.methods
        }
        for severity, keys in versions_of.items()
    }
    differences = {
        severity: {
            f"{one} less {other}": {
                name: over(seeds.less(one, other, name, keys), study.level)
                for name in NUMBERS
            }
            for one, other in study.pairs
        }
        for severity, keys in seeds.keys.items()
    }
    of_kinds = {
        kind: {
            method: {
                name: over(seeds.mean(method, name, keys), LEVEL)["value"]
                for name in NUMBERS
            }
            for method in study.methods
        }
        for kind in study.kinds
        for keys in [[f"{kind}-{severity}" for severity in study.severities]]
    }
    temperatures = {
        method: [own[method] for _, own in made] for method in study.methods
    }
    return {
        "paper": PAPER,
        "images": study.images,
        "seeds": study.seeds,
        "level_of_each_difference": study.level,
        "parameters": {
            method: int(asked[0][f"{method}|parameters"])
            for method in study.methods[1:]
        },
        "temperatures": temperatures,
        "means": means,
        "differences": differences,
        "kinds": of_kinds,
        "reliability": introspection_reliability.curves(
            asked,
            {method: temperatures[method] for method in study.reliability},
            images(study, CLEAN)[1],
            {key: keys for key, keys in versions_of.items() if key != ALL},
        ),
    }


def run(study: Study) -> dict[str, Any]:
    """Makes every number and the figure, and writes the JSON file."""
    said = published(study, numbers(study), draw)
    introspection_reliability.draw(
        said["reliability"], study.figures / f"{study.name}_reliability.png"
    )
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
