"""Does a second stage that introspects tell unknown images from known ones?

    python -m experiments.introspection_ood
    python -m experiments.introspection_ood --smoke

Prabhushankar and AlRegib 2022 (Introspective Learning, arXiv:2209.08425; AlRegib and
Prabhushankar 2025, part 2) find unknown images by max softmax and by ODIN, of a network
and of the second stage that reads its introspective features. Here the same of the
networks of `introspection_corruption`, which has what they are, and of the same second
stage on the embedding and the logits; the unknown images are those of
`oberdiek2018_study`.

Networks and answers are kept under `checkpoints/introspection`: a run that was stopped
goes on. Page: `introspection_ood.md`.
"""

import dataclasses
import functools
import itertools
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import tyro

from experiments import introspection_networks, oberdiek2018, oberdiek2018_study
from experiments.explanations_shared import in_pieces, kept
from experiments.introspection_networks import METHODS, Networks, in_unit, over_seeds
from experiments.introspection_ood_tables import (
    ALL,
    BY_SET,
    NUMBERS,
    PAIRS,
    SCORES,
    draw,
    tables,
)
from experiments.shared import keep_programs, published
from trustjax import data, metrics, scores, scoring

LEVEL = 0.95
"""The chance that not one statement of the page is false."""

PAPER = {
    "Max softmax": {
        "Textures": [[58.74, 19.66], [18.04, 7.49], [88.56, 97.79]],
        "SVHN": [[61.41, 51.27], [16.92, 15.67], [89.39, 91.2]],
        "Places365": [[58.04, 54.43], [17.01, 15.07], [89.39, 91.3]],
        "LSUN-C": [[27.95, 27.5], [9.42, 10.29], [96.07, 95.73]],
    },
    "ODIN": {
        "Textures": [[52.3, 9.31], [22.17, 6.12], [84.91, 91.9]],
        "SVHN": [[66.81, 48.52], [23.51, 15.86], [83.52, 91.07]],
        "Places365": [[42.21, 51.87], [16.23, 15.71], [91.06, 90.95]],
        "LSUN-C": [[6.59, 23.66], [5.54, 10.2], [98.74, 95.87]],
    },
}
"""FPR95, detection error and AUROC: feed-forward, introspective."""


@dataclasses.dataclass(frozen=True)
class Study(Networks):
    """What is asked, beside the networks that are.

    Attributes:
      images: how many of the test images, the first ones.
      most: images of an unknown concept.
      groups: of images, of the jackknife.
      numbers: the folder of the JSON file.
      figures: the folder of the figure.
    """

    images: int = 1500
    most: int = 600
    groups: int = 40
    numbers: pathlib.Path = pathlib.Path("experiments/numbers")
    figures: pathlib.Path = pathlib.Path("experiments/figures")

    @property
    def unknown(self) -> oberdiek2018.Study:
        """Of whose images the unknown ones are."""
        settings = {
            "mnist5k": oberdiek2018_study.MNIST5K,
            "fashion_mnist": oberdiek2018_study.FASHION_MNIST,
        }
        if self.dataset not in settings:
            raise ValueError(
                f"unknown images are known for {', '.join(settings)}, not for "
                f"{self.dataset}"
            )
        return dataclasses.replace(settings[self.dataset], most=self.most)

    @property
    def sets(self) -> tuple[str, ...]:
        """Of images that show nothing of what the networks have learned."""
        own = self.unknown
        return tuple(name for name in own.unknowns if name not in own.known_concept)

    @property
    def name(self) -> str:
        """Of its numbers and its figure."""
        return f"introspection_ood_{self.dataset}_{self.model}"

    @property
    def statements(self) -> int:
        """How many differences the page shows the ends of."""
        of_means = len(PAIRS) * len(NUMBERS)
        return len(SCORES) * (of_means + len(BY_SET) * len(self.sets))

    @property
    def level(self) -> float:
        """Of each difference, so that all hold together."""
        return 1 - (1 - LEVEL) / self.statements


STUDY = Study()
_SMOKE = pathlib.Path("checkpoints/introspection_ood_smoke")
SMOKE = Study(
    epochs=2,
    second_epochs=2,
    seeds=2,
    train_split="train[:600]",
    images=60,
    most=40,
    groups=10,
    workdir=_SMOKE,
    numbers=_SMOKE / "numbers",
    figures=_SMOKE / "figures",
)


def asked(study: Study) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels: `known`, the test images, and each unknown set."""
    known = data.load(study.dataset, f"test[:{study.images}]")
    sets = {"known": known} | {
        name: oberdiek2018.unknown(study.unknown, name, known.fixed_shape)
        for name in study.unknown.unknowns
    }
    return {name: data.as_arrays(own) for name, own in sets.items()}


def answers(study: Study, seed: int) -> Mapping[str, np.ndarray]:
    """`method|score|set` -> the score of one seed's networks; higher = more trust."""

    def ask() -> dict[str, np.ndarray]:
        networks = introspection_networks.of_seed(study, seed).networks
        functions = {name: apply_fn for name, (apply_fn, _) in networks.items()}
        given = {name: params for name, (_, params) in networks.items()}

        # Parameters are arguments: the seeds share a program.
        @jax.jit
        def both(params: Any, images: jax.Array) -> dict[str, jax.Array]:
            found, x = {}, images / 255.0
            for name, apply_fn in functions.items():
                own = params[name]
                of_score = {
                    # In the order of max softmax, also where float32 rounds it to 1.
                    "Max softmax": scores.log_likelihood(apply_fn(own, x)),
                    "ODIN": scores.odin(apply_fn, own, x),
                }
                found |= {f"{name}|{score}": of_score[score] for score in SCORES}
            return found

        return {
            f"{key}|{name}": values
            for name, (images, _) in asked(study).items()
            for key, values in in_pieces(functools.partial(both, given), images).items()
        }

    said_of = (
        study.train_split,
        study.validation_split,
        study.second_epochs,
        study.images,
        study.most,
    )
    name = f"unknown-{scoring.fingerprint(said_of)[:12]}.npz"
    return kept(study.folder / str(seed) / name, ask)


class Parted(NamedTuple):
    """A number, and the same without each group of images of one kind after another.

    Attributes:
      value: of all images.
      known: `[groups]`, less `value`: without a group of known images.
      unknown: of each independent set of unknown images, `[groups]`, likewise.
    """

    value: float
    known: np.ndarray
    unknown: tuple[np.ndarray, ...]

    @property
    def variance(self) -> float:
        """Over images: that of either kind, which were drawn apart, added."""
        return sum(map(_jackknife, (self.known, *self.unknown)))

    def less(self, other: "Parted") -> "Parted":
        """The difference of two numbers of the same images."""
        pairs = zip(self.unknown, other.unknown, strict=True)
        return Parted(
            self.value - other.value,
            self.known - other.known,
            tuple(one - two for one, two in pairs),
        )


def _jackknife(without: np.ndarray) -> float:
    groups = len(without)
    return float((groups - 1) / groups * np.sum((without - without.mean()) ** 2))


def over_sets(numbers: Sequence[Parted]) -> Parted:
    """The mean over sets of unknown images, beside the same known ones."""
    return Parted(
        float(np.mean([of.value for of in numbers])),
        np.mean([of.known for of in numbers], axis=0),
        tuple(part / len(numbers) for of in numbers for part in of.unknown),
    )


def over(seeds: Sequence[Parted], level: float) -> dict[str, Any]:
    """The mean over seeds, with ends over seeds and images; see `over_seeds`."""
    values = np.array([of.value for of in seeds])
    parts = zip(*(of.unknown for of in seeds), strict=True)
    together = Parted(
        float(values.mean()),
        np.mean([of.known for of in seeds], axis=0),
        tuple(np.mean(own, axis=0) for own in parts),
    )
    groups = min(map(len, (together.known, *together.unknown)))
    return over_seeds(values, together.variance, groups, level)


def left_out(alike: np.ndarray, groups: int) -> np.ndarray:
    """`[groups, images]`: all but each group in turn.

    Args:
      alike: `[images]`, numbers from 0: images of one number are of one group.
      groups: at most; as many as there are numbers if these are fewer.
    """
    kinds = alike.max() + 1
    groups = min(groups, kinds)
    group = (np.random.default_rng(0).permutation(kinds) % groups)[alike]
    return group[None] != np.arange(groups)[:, None]


@jax.jit
def _numbers(
    values: jax.Array, known: jax.Array, masks: jax.Array
) -> dict[str, jax.Array]:
    def of(kept: jax.Array) -> dict[str, jax.Array]:
        found = (
            metrics.auroc(values, known, weights=kept),
            metrics.fpr_at_tpr(values, known, weights=kept),
            metrics.detection_error(values, known, weights=kept),
        )
        return dict(zip(NUMBERS, found, strict=True))

    return jax.lax.map(of, masks)


Measured = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Parted]]]]
"""Score -> method -> set -> number, of one seed."""


def measured(
    study: Study,
    found: Mapping[str, np.ndarray],
    sets: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> Measured:
    """Every number of one seed's scores."""
    count = len(sets["known"][0])
    of_known = left_out(np.arange(count), study.groups)
    made: dict[str, dict[str, dict[str, dict[str, Parted]]]] = {}
    for name in study.unknown.unknowns:
        images, labels = sets[name]
        of_unknown = left_out(oberdiek2018.classes_of(name, labels), study.groups)
        masks = np.ones(
            (1 + len(of_known) + len(of_unknown), count + len(images)), bool
        )
        masks[1 : 1 + len(of_known), :count] = of_known
        masks[1 + len(of_known) :, count:] = of_unknown
        is_known = np.arange(masks.shape[1]) < count
        for score, method in itertools.product(SCORES, METHODS):
            key = f"{method}|{score}"
            values = np.concatenate([found[f"{key}|known"], found[f"{key}|{name}"]])
            numbers = _numbers(values, is_known, masks)
            of_method = made.setdefault(score, {}).setdefault(method, {})
            of_method[name] = {
                number: _parted(np.asarray(own, np.float64), len(of_known))
                for number, own in numbers.items()
            }
    for score, method in itertools.product(SCORES, METHODS):
        own = made[score][method]
        own[ALL] = {
            number: over_sets([own[name][number] for name in study.sets])
            for number in NUMBERS
        }
    return made


def _parted(values: np.ndarray, groups: int) -> Parted:
    whole, without = values[0], values[1:] - values[0]
    return Parted(float(whole), without[:groups], (without[groups:],))


def numbers(study: Study) -> dict[str, Any]:
    """Every number of the page."""
    found = []
    for seed in range(study.seeds):
        found.append(answers(study, seed))
        spent = time.process_time()
        print(f"seed {seed}: {spent:.0f} s of processor time so far", flush=True)
    sets = asked(study)
    made = [measured(study, own, sets) for own in found]

    def of_seeds(score: str, method: str, name: str, number: str) -> list[Parted]:
        return [own[score][method][name][number] for own in made]

    def difference(score: str, pair: tuple[str, str], name: str, number: str) -> Any:
        both = zip(*(of_seeds(score, m, name, number) for m in pair), strict=True)
        return over([one.less(other) for one, other in both], study.level)

    names = (*study.unknown.unknowns, ALL)
    return {
        "paper": PAPER,
        "images": {name: len(own[0]) for name, own in sets.items()},
        "sets": list(study.sets),
        "seeds": study.seeds,
        "level_of_each_difference": study.level,
        "means": {
            score: {
                method: {
                    name: {
                        number: in_unit(
                            over(of_seeds(score, method, name, number), LEVEL)
                        )
                        for number in NUMBERS
                    }
                    for name in names
                }
                for method in METHODS
            }
            for score in SCORES
        },
        "differences": {
            score: {
                f"{pair[0]} less {pair[1]}": {
                    number: difference(score, pair, ALL, number) for number in NUMBERS
                }
                for pair in PAIRS
            }
            for score in SCORES
        },
        "by_set": {
            score: {
                f"{pair[0]} less {pair[1]}": {
                    name: difference(score, pair, name, "AUROC") for name in study.sets
                }
                for pair in BY_SET
            }
            for score in SCORES
        },
    }


def run(study: Study) -> dict[str, Any]:
    """Makes every number and the figure, and writes the JSON file."""
    return published(study, numbers(study), draw)


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
