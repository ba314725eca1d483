"""Whether reading image files holds up the scoring of them.

Run `python -m benchmarks.decoding`. JPEG files are crops of scikit-image's photographs.
They are read alone, and scored from files and from memory: if decoding beside the
scoring were free, the last two would take the same time. Then a large folder is listed.
"""

import os
import pathlib
import resource
import sys
import tempfile
import time

import jax
import numpy as np
import skimage.data
from flax import nnx
from PIL import Image

from benchmarks._timing import interleaved
from trustjax import bridge, data, models, scores, scoring
from trustjax.ingredients import NETWORK
from trustjax.preprocessing import Preprocessing

PHOTOGRAPHS = ("astronaut", "cat", "coffee", "rocket")
LINKED = 200_000
OF_A_REPORT = scores.names(computable_from={NETWORK})
CASES = {
    # files, sides of the crops, what the network takes, its name, batch, scores
    "cnn, 32x32, two scores, of files of 40 to 80 pixels": (
        4096, (40, 80), Preprocessing(size=(32, 32)), "cnn", 256,
        ("max_softmax", "gradient_l2_norm"),
    ),
    f"cnn, 32x32, the {len(OF_A_REPORT)} scores of a report": (
        4096, (40, 80), Preprocessing(size=(32, 32)), "cnn", 256, OF_A_REPORT,
    ),
    "resnet18, 224x224, one score, of files of 250 to 300 pixels": (
        64, (250, 300), Preprocessing(size=(224, 224), resize=232), "resnet18", 16,
        ("max_softmax",),
    ),
}  # fmt: skip


def make_files(folder: str, count: int, sides: tuple[int, int]) -> None:
    """JPEG files of random crops, a folder for each photograph."""
    rng = np.random.default_rng(0)
    for name in PHOTOGRAPHS:
        photograph = getattr(skimage.data, name)()
        place = pathlib.Path(folder, name)
        place.mkdir()
        for number in range(count // len(PHOTOGRAPHS)):
            height, width = rng.integers(*sides, size=2)
            top = rng.integers(photograph.shape[0] - height + 1)
            left = rng.integers(photograph.shape[1] - width + 1)
            crop = photograph[top : top + height, left : left + width]
            Image.fromarray(crop).save(place / f"{number}.jpg", quality=90)


def from_files(folder: str, steps: Preprocessing) -> data.Dataset:
    return data.preprocessed(data.load(f"folder:{folder}", "all"), steps)


def measure(case: str) -> None:
    count, sides, steps, model, batch_size, names = CASES[case]
    with tempfile.TemporaryDirectory() as folder:
        make_files(folder, count, sides)
        files = from_files(folder, steps)
        images, labels = data.as_arrays(files)
        memory = data.from_arrays("memory", images, labels, files.class_names)
        network = models.create(
            model,
            num_classes=files.num_classes,
            image_shape=files.fixed_shape,
            rngs=nnx.Rngs(0),
        )
        network.eval()
        apply_fn, params = bridge.from_nnx(network)
        scorer = scoring.Scorer(names, apply_fn, params)

        def read() -> int:
            return sum(len(batch["mask"]) for batch in data.batches(files, batch_size))

        seconds = interleaved(
            {
                "read": read,
                "files": lambda: scorer.run(data.batches(files, batch_size)).values,
                "memory": lambda: scorer.run(data.batches(memory, batch_size)).values,
            },
            rounds=5,
        )
    best = {name: min(taken) for name, taken in seconds.items()}
    print(f"{case}: {count} images, the best of 5 rounds")
    print(f"  read alone           {count / best['read']:8.0f} images a second")
    print(f"  scored from memory   {count / best['memory']:8.0f}")
    print(f"  scored from files    {count / best['files']:8.0f}")
    print(f"  read / scored from memory  {best['memory'] / best['read']:6.2f}")
    print(f"  from files / from memory   {best['files'] / best['memory']:6.2f} x time")


def list_many() -> None:
    """Seconds and memory of opening a folder of hard links to a few hundred files."""
    with tempfile.TemporaryDirectory() as folder:
        make_files(folder, 400, (40, 80))
        sources = sorted(pathlib.Path(folder).glob("*/*.jpg"))
        many = pathlib.Path(folder, "many")
        for number in range(LINKED):
            place = many / f"n{number % 1000:08d}"
            place.mkdir(parents=True, exist_ok=True)
            os.link(sources[number % len(sources)], place / f"{number:08d}.JPEG")
        before, start = peak_megabytes(), time.perf_counter()
        marks: dict[str, float] = {}

        def progress(task: str, done: int, total: int | None, _: object, /) -> None:
            if done == total:
                marks[task.split()[0]] = time.perf_counter() - start

        dataset = data.load(f"folder:{many}", "all", progress=progress)
        taken = time.perf_counter() - start
        megabytes = peak_megabytes() - before
    print(f"a folder of {len(dataset):,} files in 1,000 folders")
    print(f"  listed after {marks['listing']:.1f} s, looked at after", end=" ")
    print(f"{marks['looking']:.1f} s, a dataset after {taken:.1f} s")
    print(f"  {megabytes:.0f} MB more than before")


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    print(f"{os.cpu_count()} cores, jax {jax.__version__}, {sys.platform}")
    list_many()
    for case in CASES:
        measure(case)


if __name__ == "__main__":
    main()
