"""Peak memory of a report, by the number of images that it is on.

Run `python -m benchmarks.report_memory`. Images are made when they are read, so what
grows with their number is what the report keeps of each: its answers and scores.
"""

import dataclasses
import pathlib
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import numpy as np

from trustjax import data, pipeline

COUNTS = (1_000, 10_000, 100_000)
SHAPE = (32, 32, 3)
CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Made:
    """Images of noise around a pattern for each class, made by their number."""

    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        (image,), (label,) = self.take([index])
        return {"image": image, "label": int(label)}

    def take(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The images and labels of these numbers."""
        labels = np.array(numbers, np.int32) % CLASSES
        images = np.stack([_noise(number) for number in numbers])
        images[:, ::9] = PATTERNS[labels, ::9]  # one row in nine shows the class
        return images, labels


def _noise(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, SHAPE, np.uint8)


PATTERNS = np.stack([_noise(-label % 1_000_003) for label in range(1, CLASSES + 1)])


def made(split: str, count: int) -> data.Dataset:
    names = tuple(map(str, range(CLASSES)))
    return data.Dataset("made", split, Made(count), names, SHAPE, f"{split}-{count}")


def peak_megabytes(count: int) -> float:
    """Of this process, after a report on so many images."""
    with tempfile.TemporaryDirectory() as folder:
        config = pipeline.ReportConfig(
            dataset="made",
            model="mlp",
            epochs=1,
            out=pathlib.Path(folder, "report"),
            checkpoints=pathlib.Path(folder, "network"),
        )
        datasets = pipeline.Datasets(
            made("train", 2_560), made("validation", 256), made("test", count), {}
        )
        pipeline.report_on(datasets, config)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    if len(sys.argv) > 1:
        print(peak_megabytes(int(sys.argv[1])))
        return
    print(f"{'images of 32x32x3':>20}{'peak MB':>10}{'more':>10}")
    first = None
    for count in COUNTS:
        command = [sys.executable, "-m", "benchmarks.report_memory", str(count)]
        said = subprocess.run(command, check=True, capture_output=True, text=True)
        megabytes = float(said.stdout.splitlines()[-1])
        first = first or megabytes
        print(f"{count:20,}{megabytes:10.0f}{megabytes - first:10.0f}", flush=True)


if __name__ == "__main__":
    main()
