"""Does the shape of an embedding foretell accuracy, and what does Fisher information?

    python -m experiments.representation
    python -m experiments.representation --smoke

Paper: "Inferential Machine Learning", AlRegib and Prabhushankar, WACV 2025 tutorial:
"dimensional collapse" (the singular values of a data set's embedding fall off a cliff
where a network is ill-suited to it) and "gradients as Fisher information". It gives no
numbers. On the network of Oberdiek et al. 2018:

* the spectrum of the embedding and its effective rank, of the test set, of each of 15
  corruptions at 5 severities, and of data of none of the classes;
* whether the effective rank ranks the corrupted sets by their accuracy, beside the mean
  max softmax, which asks for no embedding;
* the trace of the Fisher information of each layer: on right and on wrong answers, and
  on unknown images, and whether the layers tell them apart better than max softmax.

Every set is asked once and kept under `checkpoints/representation`: a run that was
stopped goes on where it was. Page: `representation.md`.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro
from scipy import stats

from experiments import oberdiek2018_train
from experiments.explanations_shared import kept
from experiments.shared import write_numbers
from trustjax import bridge, data, gradients, metrics, scores, scoring, train
from trustjax.ingredients import FEATURES, LOGITS, Ingredient

LEVEL = 0.95
"""The chance that not one statement of the page is false."""

STATEMENTS = 5
"""Of a data set: one correlation each of two quantities, their difference, and two
families of differences of AUROC, each under one roof."""


@dataclasses.dataclass(frozen=True)
class Study:
    """What is asked.

    Attributes:
      dataset: a name that `data.load` takes.
      training: of the network.
      images: how many of each set, the first ones.
      corruptions: kinds of corruption.
      severities: of each.
      unknown: names that `data.out_of_distribution` takes.
      num_samples: bootstrap samples.
      networks: the folder of the trained network.
      workdir: where answers are kept.
      numbers: the folder of the JSON file.
      figures: the folder of the figures.
    """

    dataset: str = "fashion_mnist"
    training: train.TrainConfig = oberdiek2018_train.CONFIG
    images: int = 1000
    corruptions: tuple[str, ...] = data.CORRUPTIONS
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    unknown: tuple[str, ...] = ("letters", "faces", "photographs", "uniform_noise")
    num_samples: int = 4000
    networks: pathlib.Path = oberdiek2018_train.WORKDIR
    workdir: pathlib.Path = pathlib.Path("checkpoints/representation")
    numbers: pathlib.Path = pathlib.Path("experiments/numbers")
    figures: pathlib.Path = pathlib.Path("experiments/figures")

    @property
    def level(self) -> float:
        """Of each statement, so that all of the two data sets hold together."""
        return 1 - (1 - LEVEL) / (2 * STATEMENTS)


STUDY = Study()
SMOKE = Study(
    "mnist5k",
    train.TrainConfig(epochs=1),
    images=60,
    corruptions=("gaussian_noise", "contrast", "pixelate"),
    severities=(1, 5),
    unknown=("letters", "uniform_noise"),
    num_samples=200,
    networks=pathlib.Path("checkpoints/representation_smoke/networks"),
    workdir=pathlib.Path("checkpoints/representation_smoke"),
    numbers=pathlib.Path("checkpoints/representation_smoke/numbers"),
    figures=pathlib.Path("checkpoints/representation_smoke/figures"),
)

FISHER = Ingredient(
    "fisher_information",
    ask=lambda batch: gradients.fisher_information(
        batch.apply_fn, batch.params, batch.x
    ),
)


def sets(study: Study, test: data.Dataset) -> Iterator[tuple[str, data.Dataset, bool]]:
    """(name, images, whether Fisher information is asked for) of all sets."""
    first = data.some(test, range(min(study.images, len(test))))
    yield "test", first, True
    for name in study.unknown:
        shape = first.fixed_shape
        others = data.out_of_distribution(name, shape, seed=0)
        yield name, data.some(others, range(min(study.images, len(others)))), True
    for kind in study.corruptions:
        for severity in study.severities:
            corrupted = data.corrupted(first, kind, severity=severity)
            yield f"{kind} {severity}", corrupted, False


def answers(
    study: Study,
    network: tuple[Any, Any],
    name: str,
    images: data.Dataset,
    fisher: bool,
) -> Mapping[str, np.ndarray]:
    """Logits, embedding, labels and, if asked for, Fisher information by layer."""

    def ask() -> Mapping[str, np.ndarray]:
        asked = [LOGITS, FEATURES, *([FISHER] if fisher else [])]
        found = scoring.run(asked, *network, data.batches(images, 250))
        arrays = {
            "logits": found.values[LOGITS.name],
            "features": found.values[FEATURES.name],
            "labels": found.labels,
        }
        if fisher:
            information = found.values[FISHER.name]
            arrays["fisher"] = information.values[..., 0]
            arrays["layers"] = np.array(information.groups)
        return arrays

    return kept(study.workdir / study.dataset / f"{name.replace(' ', '-')}.npz", ask)


def shape_of(found: Mapping[str, np.ndarray], of_classes: bool) -> dict[str, Any]:
    """What is said of the embedding of one set, and of the answers to it.

    A set of fewer images than the embedding has directions cannot reach them all.
    """
    features, logits = jnp.asarray(found["features"]), jnp.asarray(found["logits"])
    right = found["logits"].argmax(-1) == found["labels"]
    return {
        "images": len(features),
        "accuracy": float(right.mean()) if of_classes else None,
        "mean_confidence": float(scores.baseline().fn(logits).mean()),
        "effective_rank": float(metrics.effective_rank(features)),
        "spectrum": np.asarray(metrics.singular_value_spectrum(features)).tolist(),
    }


def _rank_alone(shape: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in shape.items() if name != "spectrum"}


def foretold(study: Study, shapes: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Rank correlations with the accuracy of the corrupted sets.

    Corruptions are drawn with all their severities: those of one kind are no
    independent sets.
    """
    table = np.array(
        [
            [
                [shapes[f"{kind} {severity}"][name] for name in _FORETELLING]
                for severity in study.severities
            ]
            for kind in study.corruptions
        ]
    )

    def correlations(rows: np.ndarray) -> np.ndarray:
        accuracy, *columns = rows.reshape(-1, rows.shape[-1]).T
        each = [_spearman(column, accuracy) for column in columns]
        return np.array([*each, each[0] - each[1]])

    rng = np.random.default_rng(0)
    drawn = np.array(
        [
            correlations(table[rng.integers(0, len(table), len(table))])
            for _ in range(study.num_samples)
        ]
    )
    # Where all draws of a sample are of one accuracy there is no correlation.
    tail = (1 - study.level) / 2
    ends = np.nanquantile(drawn, [tail, 1 - tail], axis=0).T
    names = (*_FORETELLING[1:], "effective_rank less mean_confidence")
    return {
        name: {"value": float(value), "low": float(low), "high": float(high)}
        for name, value, (low, high) in zip(
            names, correlations(table), ends, strict=True
        )
    }


_FORETELLING = ("accuracy", "effective_rank", "mean_confidence")


def _spearman(column: np.ndarray, accuracy: np.ndarray) -> float:
    found: Any = stats.spearmanr(column, accuracy)
    return float(found.statistic)


def told_apart(
    study: Study, trusted: np.ndarray, columns: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """AUROC of each column, and which may be the best, in one statement."""
    found = metrics.compare(
        {name: jnp.asarray(v, jnp.float32) for name, v in columns.items()},
        jnp.asarray(trusted),
        metric=metrics.auroc,
        level=study.level,
        key=jax.random.key(0),
        num_samples=study.num_samples,
    )
    return {
        "auroc": {
            name: float(metrics.auroc(jnp.asarray(v), jnp.asarray(trusted)))
            for name, v in columns.items()
        },
        "may_be_best": list(found.may_be_best),
    }


def fisher_of(
    study: Study, found: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, Any]:
    """What Fisher information by layer tells apart, beside max softmax."""

    def columns(one: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        by_layer = dict(zip(one["layers"].tolist(), -one["fisher"].T, strict=True))
        whole = {"all layers": -one["fisher"].sum(axis=1)}
        baseline = scores.baseline()
        confidence = np.asarray(baseline.fn(jnp.asarray(one["logits"])))
        return {**by_layer, **whole, baseline.title: confidence}

    test = found["test"]
    right = test["logits"].argmax(-1) == test["labels"]
    of_test = columns(test)
    others = [columns(found[name]) for name in study.unknown]
    known = np.repeat(
        [True, False], [len(right), sum(len(o["all layers"]) for o in others)]
    )
    together = {
        name: np.concatenate([own, *(other[name] for other in others)])
        for name, own in of_test.items()
    }
    medians = {
        "right": {n: float(np.median(-v[right])) for n, v in of_test.items()},
        "wrong": {n: float(np.median(-v[~right])) for n, v in of_test.items()},
        **{
            name: {n: float(np.median(-v)) for n, v in other.items()}
            for name, other in zip(study.unknown, others, strict=True)
        },
    }
    for row in medians.values():
        del row[scores.baseline().title]
    return {
        "errors": int((~right).sum()),
        "median_trace": medians,
        "right_from_wrong": told_apart(study, right, of_test),
        "known_from_unknown": told_apart(study, known, together),
    }


def draw(study: Study, shapes: Mapping[str, dict[str, Any]]) -> None:
    """Spectra on a log scale, and accuracy against effective rank."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for name in ("test", *study.unknown):
        spectrum = np.array(shapes[name]["spectrum"])
        label = f"{name.replace('_', ' ')} ({shapes[name]['effective_rank']:.0f})"
        left.semilogy(np.arange(1, len(spectrum) + 1), spectrum, label=label)
    left.set(
        xlabel="Direction of the embedding",
        ylabel="Singular value of the covariance",
        title="Spectra (effective rank)",
    )
    # What float32 leaves of the smallest is rounding.
    top = max(shapes[name]["spectrum"][0] for name in ("test", *study.unknown))
    left.set_ylim(bottom=1e-7 * top)
    left.legend(frameon=False)
    colours = plt.get_cmap("tab20")(np.linspace(0, 1, len(study.corruptions)))
    for colour, kind in zip(colours, study.corruptions, strict=True):
        points = [shapes[f"{kind} {severity}"] for severity in study.severities]
        right.plot(
            [point["effective_rank"] for point in points],
            [100 * point["accuracy"] for point in points],
            "o-",
            ms=3,
            lw=0.8,
            color=colour,
            label=kind.replace("_", " "),
        )
    test = shapes["test"]
    right.plot(test["effective_rank"], 100 * test["accuracy"], "k*", ms=12)
    right.set(
        xlabel="Effective rank of the embedding",
        ylabel="Accuracy, %",
        title="A line for each corruption; the star is the test set",
    )
    right.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    study.figures.mkdir(parents=True, exist_ok=True)
    figure.savefig(study.figures / f"representation_{study.dataset}.png", dpi=110)
    plt.close(figure)


def main(study: Study = STUDY, smoke: bool = False) -> dict[str, Any]:
    """Makes every number and figure, and writes the JSON file."""
    study = SMOKE if smoke else study
    result, test = oberdiek2018_train.trained(
        study.dataset, study.training, study.networks
    )
    network = bridge.from_nnx(result.model)
    found = {
        name: answers(study, network, name, images, fisher)
        for name, images, fisher in sets(study, test)
    }
    shapes = {
        name: shape_of(one, of_classes=name not in study.unknown)
        for name, one in found.items()
    }
    draw(study, shapes)
    drawn = ("test", *study.unknown)
    numbers = {
        "study": {
            "dataset": study.dataset,
            "images": study.images,
            "epochs": len(result.history),
            "num_samples": study.num_samples,
            "level_of_the_page": LEVEL,
            "level_of_each_statement": study.level,
        },
        "sets": {
            # Of the others the spectra are not drawn.
            name: shape if name in drawn else _rank_alone(shape)
            for name, shape in shapes.items()
        },
        "rank_correlation_with_accuracy": foretold(study, shapes),
        "fisher": fisher_of(study, found),
    }
    path = study.numbers / f"representation_{study.dataset}.json"
    write_numbers(path, numbers)
    print(json.dumps({k: v for k, v in numbers.items() if k != "sets"}, indent=1))
    print(f"numbers: {path}")
    return numbers


if __name__ == "__main__":
    tyro.cli(main)
