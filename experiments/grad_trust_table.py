"""The tutorial's table of GradTrust, on networks of this library, and its quadrants.

    python -m experiments.grad_trust_table
    python -m experiments.grad_trust_table --smoke

Paper: "Inferential Machine Learning", AlRegib and Prabhushankar, WACV 2025 tutorial,
"Quantitative Results for Image Classification": AUAC and AUFC of nine scores of 14
networks on ImageNet, "GradTrust is in Top 2 performing metrics in all but 1 network";
and the scatter of GradTrust against max softmax, with "several incorrect predictions
having low GradTrust but high softmax", and "no incorrect predictions, with low softmax
and high GradTrust".

Here: four networks on two data sets, both grids of thresholds, and AUROC, which asks
for none. A rank is a statement: how many scores are proven to be ahead of GradTrust,
and how many it is proven to be ahead of, for all networks, grids and scores together.
A quadrant is cut at the median of each score.

Networks and scores are kept under `checkpoints/grad_trust_table`: a run that was
stopped goes on where it was. Page: `grad_trust_table.md`.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from experiments.explanations_shared import kept
from experiments.shared import write_numbers
from trustjax import _progress, bridge, data, metrics, scores, scoring, train
from trustjax.ingredients import LOGITS

LEVEL = 0.95
"""The chance that not one statement of the page is false."""

SCORES: Mapping[str, str] = {
    "max_softmax": "Softmax",
    "negative_entropy": "Entropy",
    "max_logit": "NLL (max logit)",
    "margin": "Margin",
    "odin": "ODIN",
    "mc_dropout": "MC dropout",
    "grad_norm": "GradNorm",
    "purview": "Purview",
    "grad_trust": "GradTrust",
    "grad_trust_reference": "GradTrust, released code",
}
"""As the tutorial calls them; its code's NLL is the largest logit.

What its code computes under the name of GradTrust is another number than its formula.
"""

OURS, RELEASED = SCORES["grad_trust"], SCORES["grad_trust_reference"]


def auac_quantile(score: jax.Array, correct: jax.Array) -> jax.Array:
    """AUAC over percentiles of the sample."""
    return metrics.auac(score, correct)


def auac_range(score: jax.Array, correct: jax.Array) -> jax.Array:
    """AUAC over percentiles of the score's range."""
    return metrics.auac(score, correct, grid="range")


MEASURES = (metrics.auroc, auac_quantile, auac_range)
COLUMNS = {
    "auroc": "AUROC",
    "auac": "AUAC quantile",
    "aufc": "AUFC quantile",
    "auac_range": "AUAC range",
    "aufc_range": "AUFC range",
}


@dataclasses.dataclass(frozen=True)
class Study:
    """What is asked.

    Attributes:
      networks: dataset -> (name of `models`, the most epochs; None for its own).
      test_split: of each dataset.
      dropout_samples: forward passes of Monte-Carlo dropout.
      num_samples: bootstrap samples.
      workdir: where networks and scores are kept.
      numbers: the folder of the JSON file.
      figures: the folder of the figures.
    """

    networks: Mapping[str, tuple[tuple[str, int | None], ...]] = dataclasses.field(
        default_factory=lambda: {
            "mnist5k": (
                ("cnn", None),
                ("mlp", None),
                ("resnet8", 6),
                ("vit_micro", 8),
            ),
            "fashion_mnist": (
                ("cnn", 6),
                ("mlp", 4),
                ("resnet8", 2),
                ("vit_micro", 3),
            ),
        }
    )
    test_split: str = "test"
    dropout_samples: int = 10
    num_samples: int = 2000
    workdir: pathlib.Path = pathlib.Path("checkpoints/grad_trust_table")
    numbers: pathlib.Path = pathlib.Path("experiments/numbers")
    figures: pathlib.Path = pathlib.Path("experiments/figures")

    @property
    def level(self) -> float:
        """Of each family of comparisons: one for each network and measure."""
        families = len(MEASURES) * sum(map(len, self.networks.values()))
        return 1 - (1 - LEVEL) / families


STUDY = Study()
SMOKE = Study(
    networks={"mnist5k": (("cnn", 1), ("vit_micro", 1))},
    test_split="test[:200]",
    dropout_samples=2,
    num_samples=200,
    workdir=pathlib.Path("checkpoints/grad_trust_table_smoke"),
    numbers=pathlib.Path("checkpoints/grad_trust_table_smoke/numbers"),
    figures=pathlib.Path("checkpoints/grad_trust_table_smoke/figures"),
)


def answers(
    study: Study, dataset: str, name: str, epochs: int | None
) -> Mapping[str, np.ndarray]:
    """The scores, logits and labels of one network on the test set."""
    folder = study.workdir / dataset / name

    def ask() -> Mapping[str, np.ndarray]:
        changes = {} if epochs is None else {"epochs": epochs}
        with _progress.reporter() as progress:
            model = train.fit(
                train.config_for(name, **changes),
                data.load(dataset, "train"),
                data.load(dataset, "validation"),
                workdir=folder / "network",
                checkpoint_every=100,
                progress=progress,
            ).model
            dropout = bridge.has_dropout(model)
            asked = [s for s in SCORES if dropout or not _is_stochastic(s)]
            found = scoring.run(
                [LOGITS, *asked],
                *bridge.from_nnx(model),
                data.batches(data.load(dataset, study.test_split), 250),
                stochastic_apply_fn=(
                    bridge.stochastic_from_nnx(model)[0] if dropout else None
                ),
                ingredients=[
                    need.with_options(num_samples=study.dropout_samples)
                    for need in scores.lookup("mc_dropout").needs
                ],
                given={"key": jax.random.key(0)},
                workdir=folder / "scoring",
                progress=progress,
            )
        titled = {SCORES[s]: np.asarray(found.values[s]) for s in asked}
        logits = found.values[LOGITS.name]
        return {**titled, "logits": logits, "labels": found.labels}

    return kept(folder / "scores.npz", ask)


def _is_stochastic(name: str) -> bool:
    return any(need.stochastic for need in scores.lookup(name).needs)


def ranks(study: Study, found: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """How many scores are proven to be ahead of GradTrust, and behind it."""
    columns = {
        title: jnp.asarray(found[title], jnp.float32)
        for title in SCORES.values()
        if title in found
    }
    correct = jnp.asarray(found["logits"].argmax(-1) == found["labels"])
    said = {}
    for measure in MEASURES:
        compared = metrics.compare(
            columns,
            correct,
            metric=measure,
            level=study.level,
            key=jax.random.key(0),
            num_samples=study.num_samples,
        )
        values = {n: float(measure(v, correct)) for n, v in columns.items()}
        order = sorted(values, key=lambda n: -values[n])
        own = compared.names.index(OURS)
        said[measure.__name__] = {
            "place": order.index(OURS) + 1,
            "ahead": [
                n for i, n in enumerate(compared.names) if compared.behind[own, i]
            ],
            "behind": [
                n for i, n in enumerate(compared.names) if compared.behind[i, own]
            ],
            "may_be_best": list(compared.may_be_best),
        }
    return said


def areas(found: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """The columns of the table, of each score."""
    answered, labels = found["logits"].argmax(-1), found["labels"]
    table = {}
    for title in SCORES.values():
        if title in found:
            summary = metrics.summary(
                jnp.asarray(found[title]),
                jnp.asarray(answered),
                jnp.asarray(labels),
                num_classes=found["logits"].shape[1],
            )
            table[title] = {name: float(getattr(summary, name)) for name in COLUMNS}
    return table


def quadrants(found: Mapping[str, np.ndarray], title: str) -> dict[str, dict[str, Any]]:
    """Right and wrong answers by halves of max softmax and of a GradTrust."""
    wrong = found["logits"].argmax(-1) != found["labels"]
    softmax, trust = (
        found[name] > np.median(found[name]) for name in (SCORES["max_softmax"], title)
    )
    said = {}
    for high in (True, False):
        for trusted in (True, False):
            rows = (softmax == high) & (trust == trusted)
            name = f"{_half(high)} softmax, {_half(trusted)} GradTrust"
            count, errors = int(rows.sum()), int((rows & wrong).sum())
            said[name] = {"images": count, "errors": errors}
            if count:
                limits = metrics.proportion_interval(errors, count)
                said[name] |= {"low": float(limits.low), "high": float(limits.high)}
    return said


def _half(upper: bool) -> str:
    return "high" if upper else "low"


def draw(
    found: Mapping[tuple[str, str], Mapping[str, np.ndarray]],
    title: str,
    path: pathlib.Path,
) -> None:
    """A GradTrust against max softmax, each by its rank among the test images."""
    datasets = list(dict.fromkeys(dataset for dataset, _ in found))
    rows = [[key for key in found if key[0] == dataset] for dataset in datasets]
    figure, axes = plt.subplots(
        len(rows),
        max(map(len, rows)),
        figsize=(3 * max(map(len, rows)), 3.1 * len(rows)),
        squeeze=False,
        layout="constrained",
        sharex=True,
        sharey=True,
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for keys, line in zip(rows, axes, strict=True):
        for key, axis in zip(keys, line, strict=False):
            one = found[key]
            wrong = one["logits"].argmax(-1) != one["labels"]
            x, y = (
                100 * np.argsort(np.argsort(one[name])) / len(wrong)
                for name in (title, SCORES["max_softmax"])
            )
            axis.set_axis_on()
            axis.plot(x[~wrong], y[~wrong], ".", ms=1.5, color="#7aa6c2", label="right")
            axis.plot(x[wrong], y[wrong], ".", ms=2.5, color="#c0392b", label="wrong")
            axis.axvline(50, color="k", lw=0.6)
            axis.axhline(50, color="k", lw=0.6)
            axis.set_title(f"{key[1]} on {key[0]}", fontsize=9)
    for axis in axes[:, 0]:
        axis.set_ylabel("Max softmax, percentile")
    for axis in axes[-1]:
        axis.set_xlabel(f"{title}, percentile")
    axes[0, 0].legend(frameon=False, fontsize=8, markerscale=4, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def table(networks: Mapping[str, Mapping[str, Any]], column: str) -> str:
    """One measure of all networks and scores, in per cent, in Markdown.

    The two best of each network are bold.
    """
    lines = [
        f"| {COLUMNS[column]} | {' | '.join(SCORES.values())} |",
        "|---" * (1 + len(SCORES)) + "|",
    ]
    for name, said in networks.items():
        values = {title: row[column] for title, row in said["areas"].items()}
        second = sorted(values.values())[-2]
        cells = [
            "-"
            if title not in values
            else f"**{100 * values[title]:.2f}**"
            if values[title] >= second
            else f"{100 * values[title]:.2f}"
            for title in SCORES.values()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    study: tyro.conf.Suppress[Study] = STUDY, smoke: bool = False
) -> dict[str, Any]:
    """Makes every number and the figure, prints the tables, writes the JSON file."""
    study = SMOKE if smoke else study
    found = {
        (dataset, name): answers(study, dataset, name, epochs)
        for dataset, networks in study.networks.items()
        for name, epochs in networks
    }
    draw(found, OURS, study.figures / "grad_trust_quadrants.png")
    draw(found, RELEASED, study.figures / "grad_trust_quadrants_released.png")
    networks = {
        f"{name}, {dataset}": {
            "images": len(one["labels"]),
            "accuracy": float(np.mean(one["logits"].argmax(-1) == one["labels"])),
            "epochs_at_most": dict(study.networks[dataset])[name],
            "areas": areas(one),
            "grad_trust": ranks(study, one),
            "quadrants": {title: quadrants(one, title) for title in (OURS, RELEASED)},
        }
        for (dataset, name), one in found.items()
    }
    numbers = {
        "study": {
            "dropout_samples": study.dropout_samples,
            "num_samples": study.num_samples,
            "level_of_the_page": LEVEL,
            "level_of_each_family": study.level,
        },
        "networks": networks,
    }
    path = study.numbers / "grad_trust_table.json"
    write_numbers(path, numbers)
    for column in COLUMNS:
        print(table(networks, column) + "\n")
    for name, said in networks.items():
        print(name, f"{said['accuracy']:.4f}", json.dumps(said["grad_trust"]))
        print(json.dumps(said["quadrants"]))
    print(f"numbers: {path}")
    return numbers


if __name__ == "__main__":
    tyro.cli(main)
