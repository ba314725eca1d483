"""What the parts of the study `explanations` share: networks, statements, files."""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from trustjax import _files, _progress, bridge, data, metrics, train

LEVEL = 0.95
"""The chance that not one of all statements of a page is false."""


@dataclasses.dataclass(frozen=True)
class Study:
    """What is asked, of which networks and how many images.

    Attributes:
      dataset: a name that `data.load` takes.
      networks: (name of `models`, epochs of training).
      train_split: what they learn from.
      test_split: what VOICE is asked on.
      images: how many of the test images, the first ones, the masks are tried on.
      masks: of RISE and SHAPE.
      noise: standard deviations of the noise, of images in [0, 1].
      num_samples: bootstrap samples.
      workdir: where networks, maps and answers are kept.
      numbers: the JSON file.
      figures: the folder of the figures.
    """

    dataset: str = "fashion_mnist"
    networks: tuple[tuple[str, int], ...] = (("cnn", 6), ("vit_micro", 3))
    train_split: str = "train"
    test_split: str = "test"
    images: int = 1000
    masks: int = 2000
    noise: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
    num_samples: int = 4000
    workdir: pathlib.Path = pathlib.Path("checkpoints/explanations")
    numbers: pathlib.Path = pathlib.Path("experiments/numbers")
    figures: pathlib.Path = pathlib.Path("experiments/figures")

    @property
    def statements(self) -> int:
        """How many families of claims the page makes, each at `level` of its own.

        Of each network: what tells right from wrong, what adds to what, noise under two
        methods, three measures of masks, and what is left of an image in two games by
        three costs; over all networks one of IoU and one of SNR.
        """
        return 13 * len(self.networks) + 2

    @property
    def level(self) -> float:
        """Of each family, so that all hold together."""
        return 1 - (1 - LEVEL) / self.statements


SMOKE = Study(
    "mnist5k",
    networks=(("cnn", 2), ("vit_micro", 1)),
    test_split="test[:120]",
    images=12,
    masks=20,
    noise=(0.0, 0.3),
    num_samples=200,
    workdir=pathlib.Path("checkpoints/explanations_smoke"),
    numbers=pathlib.Path("checkpoints/explanations_smoke/numbers"),
    figures=pathlib.Path("checkpoints/explanations_smoke/figures"),
)


class Network(NamedTuple):
    """A trained network with the images that it is asked about.

    Attributes:
      name: of `models`.
      apply_fn: `(params, x) -> logits`, compiled.
      params: what it takes first.
      x: `[images, height, width, channels]`, in [0, 1].
      labels: `[images]`.
      logits: `[images, classes]`.
      folder: where what is made of it is kept.
    """

    name: str
    apply_fn: Callable[[Any, jax.Array], jax.Array]
    params: Any
    x: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    folder: pathlib.Path

    def first(self, number: int) -> "Network":
        """The same network with the first images only."""
        rows = slice(number)
        return self._replace(
            x=self.x[rows], labels=self.labels[rows], logits=self.logits[rows]
        )

    @property
    def correct(self) -> np.ndarray:
        """Whether each answer is right."""
        return self.logits.argmax(axis=-1) == self.labels


def network(study: Study, name: str, epochs: int) -> Network:
    """A network, trained or loaded, and its answers to the test images."""
    folder = study.workdir / study.dataset / name
    with _progress.reporter() as progress:
        model = train.fit(
            train.config_for(name, epochs=epochs),
            data.load(study.dataset, study.train_split),
            data.load(study.dataset, "validation"),
            workdir=folder / "network",
            checkpoint_every=100,
            progress=progress,
        ).model
    apply_fn, params = bridge.from_nnx(model)
    apply_fn = jax.jit(apply_fn)
    batches = [
        {key: np.asarray(batch[key])[batch["mask"]] for key in ("image", "label")}
        for batch in data.batches(data.load(study.dataset, study.test_split), 500)
    ]
    x = np.concatenate([batch["image"] for batch in batches])
    labels = np.concatenate([batch["label"] for batch in batches])
    logits = in_pieces(functools.partial(apply_fn, params), x)
    return Network(name, apply_fn, params, x, labels, logits, folder)


def in_pieces(fun: Callable[..., Any], *arrays: np.ndarray, size: int = 250) -> Any:
    """`fun(*arrays)` of a batch, a piece at a time, as arrays of NumPy."""
    length = len(arrays[0])
    size = min(size, length)
    pieces = []
    for start in range(0, length, size):
        rows = np.minimum(np.arange(start, start + size), length - 1)
        piece = fun(*(jnp.asarray(array[rows]) for array in arrays))
        kept = min(size, length - start)
        pieces.append(jax.tree.map(lambda leaf, k=kept: np.asarray(leaf)[:k], piece))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)


def kept(
    path: pathlib.Path, make: Callable[[], Mapping[str, np.ndarray]]
) -> Mapping[str, np.ndarray]:
    """Arrays by name, made once and kept in a file."""
    if not path.is_file():
        start = time.process_time()
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        with _files.written_whole(path) as part:
            np.savez(part, **made)  # pyright: ignore[reportArgumentType]
        print(f"{path}: {time.process_time() - start:.0f} s", flush=True)
    with np.load(path) as arrays:
        return dict(arrays)


def mean(values: jax.Array, outcomes: jax.Array) -> jax.Array:
    """The mean, as a metric."""
    del outcomes
    return jnp.mean(values)


def compared_means(
    study: Study, columns: Mapping[str, np.ndarray], *, higher_is_better: bool = True
) -> metrics.Comparison:
    """Which mean over images is larger than which, in one statement."""
    nothing = jnp.zeros(len(next(iter(columns.values()))))
    return metrics.compare(
        {name: jnp.asarray(own, jnp.float32) for name, own in columns.items()},
        nothing,
        metric=mean,
        level=study.level,
        key=jax.random.key(0),
        num_samples=study.num_samples,
        higher_is_better=higher_is_better,
    )


def interval(study: Study, fn: Callable, *arrays: np.ndarray) -> dict[str, float]:
    """A number with an interval of its own, at 95 %."""
    found = metrics.bootstrap(
        fn,
        [jnp.asarray(array) for array in arrays],
        key=jax.random.key(0),
        num_samples=min(study.num_samples, 1000),
    )
    return {part: float(getattr(found, part)) for part in ("value", "low", "high")}


def mean_interval(study: Study, values: np.ndarray) -> dict[str, float]:
    """The mean over images with an interval of its own."""
    return interval(study, mean, values.astype(np.float32), np.zeros(len(values)))


def differences(found: metrics.Comparison, base: str) -> dict[str, dict[str, float]]:
    """Each name less another one, with the ends of the statement."""
    column = found.names.index(base)
    return {
        name: {
            "value": float(found.differences[row, column]),
            "low": float(found.low[row, column]),
            "high": float(found.high[row, column]),
        }
        for row, name in enumerate(found.names)
        if name != base
    }


def marked(found: metrics.Comparison, name: str) -> str:
    """* for the best, = for what is not told apart from it, else nothing."""
    if name == found.best:
        return " *"
    best = found.names.index(found.best)
    return "" if found.behind[found.names.index(name), best] else " ="


def cell(number: Mapping[str, float], digits: int = 3) -> str:
    """A number and its interval."""
    value, low, high = (number[part] for part in ("value", "low", "high"))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def save(canvas: Figure, study: Study, name: str) -> None:
    """Writes a figure, and forgets it."""
    study.figures.mkdir(parents=True, exist_ok=True)
    canvas.savefig(study.figures / f"explanations_{name}_{study.dataset}.png", dpi=110)
    plt.close(canvas)
