"""Luo et al. 2021 on every pair of three networks, and what figures 3 and 4 leave out.

    python -m experiments.luo2021_pairs
    python -m experiments.luo2021_pairs --smoke

The rows of table 1 of seven <oracle, classifier> pairs, among them <ViT, ViT> and
<ResNet, ResNet>; risk over coverage of all of them (figure 4a, appendix E); the sweep
of alpha+ beside that of alpha- (section 5); and histograms of confidence on domains
that the oracles have not seen (appendix D). All of it at a setting that one core can
do: `SETTING` says how many images and passes, `STUDY` how many seeds. Every run is kept
under the setting's `workdir`: a run that was stopped goes on where it was. Page:
`luo2021.md`.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from experiments import luo2021, luo2021_figure3, luo2021_figure4, luo2021_table1
from experiments.shared import keep_programs, write_numbers
from trustjax import data

SETTING = luo2021.Pair(
    "fashion_mnist",
    train_split="train[:20000]",
    validation_split="train[20000:22000]",
    test_split="test[:5000]",
    oracle_split="train[:5000]",
    oracle_epochs=1,
    oracle_batch=64,
    schedule="cosine",
    workdir=pathlib.Path("checkpoints/luo2021/small"),
)
"""As the paper has it, one pass of each oracle."""


def pairs_of(
    setting: luo2021.Pair, pairs: Sequence[tuple[str, str]]
) -> tuple[luo2021.Pair, ...]:
    """The setting with each (oracle, classifier)."""
    return tuple(
        replace(setting, oracle=oracle, classifier=classifier)
        for oracle, classifier in pairs
    )


@dataclasses.dataclass(frozen=True)
class Study:
    """What is asked.

    Attributes:
      pairs: whose rows and risks.
      losses: the rows.
      alphas: the values of alpha+; alpha- stays that of the pair.
      swept: the pair of the sweep.
      corruptions: shifted domains, at severity 5.
      unknown: foreign domains, as `data.out_of_distribution` takes them.
      images: how many of each domain, the first ones.
      num_samples: bootstrap samples.
      numbers: the JSON file.
      figures: the folder of the figures.
    """

    pairs: tuple[luo2021.Pair, ...] = (
        *pairs_of(SETTING, (("vit_micro", "vit_micro"), ("cnn", "cnn"))),
        *pairs_of(
            replace(SETTING, seeds=(0,)),
            (
                ("resnet8", "resnet8"),
                ("cnn", "vit_micro"),
                ("cnn", "resnet8"),
                ("vit_micro", "cnn"),
                ("resnet8", "cnn"),
            ),
        ),
    )
    losses: tuple[str, ...] = tuple(luo2021.LOSSES)
    alphas: tuple[float, ...] = (0.5, 1.0, 2.0, 5.0)
    swept: luo2021.Pair = SETTING
    corruptions: tuple[str, ...] = ("gaussian_noise", "defocus_blur", "contrast")
    unknown: tuple[str, ...] = ("letters", "uniform_noise")
    images: int = 1000
    num_samples: int = 1000
    numbers: pathlib.Path = luo2021.NUMBERS / "luo2021_pairs.json"
    figures: pathlib.Path = luo2021.FIGURES


STUDY = Study()
_SMALLEST = luo2021.Pair(
    "digits",
    oracle="mlp",
    classifier="mlp",
    classifier_epochs=2,
    oracle_epochs=1,
    schedule="cosine",
    seeds=(0,),
    workdir=pathlib.Path("checkpoints/luo2021/smoke"),
)
SMOKE = Study(
    pairs=(_SMALLEST,),
    losses=("CE", "SS"),
    alphas=(1.0, 3.0),
    swept=_SMALLEST,
    corruptions=("contrast",),
    unknown=("letters",),
    images=100,
    num_samples=200,
    numbers=_SMALLEST.workdir / "numbers" / "luo2021_pairs.json",
    figures=_SMALLEST.workdir / "figures",
)


def main(study: Study = STUDY, smoke: bool = False) -> dict[str, Any]:
    """Makes every number and figure, and writes the JSON file."""
    study = SMOKE if smoke else study
    # Oracles of a pair differ in loss and seed; those of one loss share a program.
    keep_programs(study.swept.workdir)
    numbers = {
        "level_of_each_statement": luo2021.LEVEL_OF_EACH,
        "num_samples": study.num_samples,
        "pairs": {str(pair): rows_of(study, pair) for pair in study.pairs},
        "alpha_plus": sweep(study),
        "unseen": unseen(study),
    }
    draw_risks(study)
    write_numbers(study.numbers, numbers)
    print(f"numbers: {study.numbers}")
    return numbers


def rows_of(study: Study, pair: luo2021.Pair) -> dict[str, Any]:
    """The rows of one pair, and what is proven of steep slope beside each other row."""
    confidence, correct = luo2021.max_softmax(luo2021.dataset(pair, "test"), pair)
    runs = {loss: luo2021.outputs(pair, loss) for loss in study.losses}
    runs["MCP"] = confidence[None]
    return table(pair, runs, correct, study.num_samples)


def table(
    pair: luo2021.Pair,
    runs: Mapping[str, np.ndarray],
    correct: np.ndarray,
    num_samples: int,
    ours: str = "SS",
) -> dict[str, Any]:
    """Prints rows of table 1 of the oracles' z, and what is proven of one of them.

    The names of the runs are those of losses, or of losses and what comes after a
    space.
    """
    learnt_from = luo2021.outcomes(pair, "oracle").correct
    thresholds = {
        name: luo2021_table1.thresholds(pair, name.partition(" ")[0]) for name in runs
    }
    rows = {
        name: np.array([luo2021.row(run, correct, thresholds[name]) for run in of])
        for name, of in runs.items()
    }
    print(f"\n{pair} on {pair.dataset}: {correct.mean():.2%} right, ", end="")
    print(f"{np.sum(~correct)} errors of {len(correct)} to find, ", end="")
    print(f"{np.sum(~learnt_from)} of {len(learnt_from)} to learn from\n")
    print(luo2021.table(rows))
    # What is distrusted is below 0 then, whatever the threshold of the row.
    moved = {
        name: of - found[1] for name, of in runs.items() if (found := thresholds[name])
    }
    proven = {
        title: luo2021_table1.differences(
            ours, of, correct, metric, luo2021.LEVEL_OF_EACH, num_samples
        )
        for title, of, metric in (
            ("AUC", runs, luo2021_table1.mean_auroc),
            ("TNR", moved, luo2021_table1.mean_tnr),
        )
    }
    for title, of in proven.items():
        text = "; ".join(f"{n} {luo2021_table1.lead(*x)}" for n, x in of.items())
        print(f"\n{title} of {ours} less that of: {text}.")
    return {
        "right": float(correct.mean()),
        "errors": int(np.sum(~correct)),
        "learnt_from": {
            "errors": int(np.sum(~learnt_from)),
            "images": len(learnt_from),
        },
        "rows": {name: summary(of) for name, of in rows.items()},
        f"{ours} less": proven,
    }


def summary(rows: np.ndarray) -> dict[str, list[float | None]]:
    """Mean and deviation over the seeds of each of `luo2021.COLUMNS`."""
    known = lambda value: None if np.isnan(value) else round(float(value), 4)
    mean = rows.mean(axis=0)
    deviation = (
        rows.std(axis=0, ddof=1) if len(rows) > 1 else np.full_like(mean, np.nan)
    )
    return {
        column: [known(m), known(d)]
        for column, m, d in zip(luo2021.COLUMNS, mean, deviation, strict=True)
    }


def draw_risks(study: Study) -> None:
    """Risk over coverage, one panel for each pair (figure 4a and appendix E)."""
    columns = min(4, len(study.pairs))
    rows = -(-len(study.pairs) // columns)
    canvas, axes = plt.subplots(
        rows,
        columns,
        figsize=(3.6 * columns, 3.2 * rows),
        squeeze=False,
        sharex=True,
        layout="constrained",
    )
    for axis in axes.flat[len(study.pairs) :]:
        axis.remove()
    for axis, pair in zip(axes.flat, study.pairs, strict=False):
        for name, runs in luo2021_figure4.risks_of(pair, study.losses).items():
            style = {"color": "black", "linestyle": "--"} if name == "MCP" else {}
            axis.plot(luo2021_figure4.GRID, runs.mean(axis=0), label=name, **style)
        axis.set(title=str(pair), xlabel="coverage", ylabel="risk, %")
        axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize="small")
    luo2021.save(canvas, study.figures / f"luo2021_risks_{study.swept.dataset}.png")


def sweep(study: Study) -> dict[str, Any]:
    """AUC, TPR and TNR of steep slope oracles over alpha+, and a figure of them."""
    pair = study.swept
    _, alpha_negative = luo2021.STEEPNESS.get(pair.oracle, (2.0, 5.0))
    slopes = [(alpha, alpha_negative) for alpha in study.alphas]
    swept = luo2021_figure4.sweep(pair, slopes, ("signed_distance",))
    found = swept["signed_distance"]
    print(f"\n{pair}, steep slope with alpha- = {alpha_negative:g}\n")
    print("| alpha+ | Loss | AUC | TPR | TNR |\n|---|---|---|---|---|")
    for (alpha, _), values in found.items():
        print(f"| {alpha:g} | " + " | ".join(luo2021.cells(values)) + " |")
    runs = {
        f"{alpha:g}": luo2021.outputs(
            pair,
            "SS",
            head="signed_distance",  # as `sweep` has asked: the same oracles
            alpha_positive=alpha,
            alpha_negative=alpha_negative,
        )
        for alpha in study.alphas
    }
    correct = luo2021.outcomes(pair, "test").correct
    least = f"{study.alphas[0]:g}"
    proven = luo2021_table1.differences(
        least,
        runs,
        correct,
        luo2021_table1.mean_auroc,
        luo2021.LEVEL_OF_EACH,
        study.num_samples,
    )
    draw_sweep(study, {alpha: values for (alpha, _), values in found.items()})
    return {
        "pair": str(pair),
        "alpha_negative": alpha_negative,
        "columns": ["loss", "AUC", "TPR", "TNR"],
        "mean": {f"{a:g}": v.mean(axis=0).tolist() for (a, _), v in found.items()},
        f"AUC at {least} less": proven,
    }


def draw_sweep(study: Study, found: Mapping[float, np.ndarray]) -> None:
    """Rates and AUC over alpha+."""
    canvas, axis = plt.subplots(figsize=(5, 3.6), layout="constrained")
    means = np.array([values.mean(axis=0) for values in found.values()])
    for place, name in ((1, "AUC"), (2, "TPR"), (3, "TNR")):
        axis.plot(list(found), means[:, place], marker="o", label=name)
    axis.set(xlabel="alpha+", ylabel="%", title=f"steep slope, {study.swept}")
    axis.grid(alpha=0.3)
    axis.legend()
    name = f"luo2021_alpha_plus_{study.swept.dataset}.png"
    luo2021.save(canvas, study.figures / name)


def domains(study: Study) -> dict[str, data.Dataset]:
    """The test images as they are, shifted, and foreign ones."""
    test = data.some(luo2021.dataset(study.swept, "test"), range(study.images))
    shifted = {
        kind: data.corrupted(test, kind, severity=5) for kind in study.corruptions
    }
    foreign = {
        name: data.out_of_distribution(
            name, test.fixed_shape, num_examples=study.images, seed=0
        )
        for name in study.unknown
    }
    return {"as they are": test, **shifted, **foreign}


def unseen(study: Study) -> dict[str, Any]:
    """Histograms by domain and loss of the first seed; what is trusted, and how apart.

    Of foreign images no answer is right: the classifier has no such class.
    """
    pair = study.swept
    sets = domains(study)
    canvas, axes = plt.subplots(
        len(sets),
        len(study.losses),
        figsize=(2.6 * len(study.losses), 2.1 * len(sets)),
        squeeze=False,
        sharex=True,
        layout="constrained",
    )
    found: dict[str, Any] = {}
    print("\nTrusted (z > 0) of right and wrong answers, %\n")
    print("| Domain | Right % | " + " | ".join(study.losses) + " |")
    print("|---" * (2 + len(study.losses)) + "|")
    for row, (domain, images) in zip(axes, sets.items(), strict=True):
        _, correct = luo2021.max_softmax(images, pair)
        if domain in study.unknown:
            correct = np.zeros(len(images), bool)
        found[domain] = {"right": float(correct.mean())}
        cells = []
        for axis, loss in zip(row, study.losses, strict=True):
            first = replace(pair, seeds=pair.seeds[:1])
            z = luo2021.outputs_on(images, first, loss)[0]
            confidence = np.asarray(jax.nn.sigmoid(jnp.asarray(z)))
            luo2021_figure3.panel(axis, confidence, correct)
            trusted = [
                100 * float((z[of] > 0).mean())
                for of in (correct, ~correct)
                if of.any()
            ]
            found[domain][loss] = {"trusted": trusted}
            if correct.any():
                kl, distance = luo2021_figure3.separability(
                    confidence[correct], confidence[~correct]
                )
                found[domain][loss] |= {"kl": kl, "bhattacharyya": distance}
            cells.append(" / ".join(f"{share:.0f}" for share in trusted))
            axis.set(title=f"{loss}, {domain}", xlim=(0, 1))
            axis.title.set_fontsize("small")
        print(f"| {domain} | {correct.mean():.1%} | " + " | ".join(cells) + " |")
    axes[0, 0].legend(title="classifier is", fontsize="small", loc="upper left")
    for axis in axes[-1]:
        axis.set_xlabel("confidence")
    for axis in axes[:, 0]:
        axis.set_ylabel("% of either kind")
    luo2021.save(canvas, study.figures / f"luo2021_unseen_{pair.dataset}.png")
    return {"pair": str(pair), "images": study.images, "domains": found}


if __name__ == "__main__":
    tyro.cli(main)
