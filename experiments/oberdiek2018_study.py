"""The whole study of Oberdiek et al. 2018, from images to tables and figures.

Paper: "Classification Uncertainty of Deep Neural Networks Based on Gradient
Information", arXiv:1805.08440.

    python -m experiments.oberdiek2018_study --setting small
    python -m experiments.oberdiek2018_study --setting whole
    python -m experiments.oberdiek2018_study --setting smoke

`small` is the paper's protocol on `mnist5k` (10 re-splits, 5 meta-classifiers) and 3
re-splits of `fashion_mnist` with a quarter of the training images and 15 epochs;
`whole` is the protocol on both; `smoke` goes through all of it on little. Networks,
columns and meta-classifiers are kept under `checkpoints/`: a run that was stopped goes
on where it was. Numbers go to `experiments/numbers`, and `python -m
experiments.oberdiek2018_page` writes the tables of oberdiek2018.md from them.

`--setting emnist` is the paper's own data, and `--setting cifar10` colour photographs
with Textures, SVHN, Places365 and LSUN as unknown concepts, by the same code, for
whoever can download them; notMNIST and LSUN are folders of images under `data/`.
Neither has been run here.
"""

import dataclasses
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import tyro

from experiments import oberdiek2018_beyond as beyond
from experiments import oberdiek2018_columns as columns
from experiments import oberdiek2018_figures as figures
from experiments import oberdiek2018_tables as tables
from experiments.oberdiek2018 import Study
from experiments.oberdiek2018_resampled import Resampler
from experiments.shared import keep_programs, write_numbers

LEVEL = 0.95
"""The chance that not one of the statements of a page is false."""

HERE = ("letters", "digits", "faces", "photographs", "normal_noise", "uniform_noise")
"""Unknown concepts that need no download, beside each other's known ones."""


def _here(other: str) -> dict[str, str]:
    return {other: "test", **dict.fromkeys(HERE, "test"), "digits": "all"}


MNIST5K = Study(
    "mnist5k",
    ("train", "validation", "test"),
    (1500, 1500, 2000),
    _here("fashion_mnist"),
    known_concept=("digits",),
)
FASHION_MNIST = Study(
    "fashion_mnist",
    ("train+validation", "test"),
    (40_000, 10_000, 20_000),
    _here("mnist5k") | {"mnist5k": "all"},
    neighbours=10_000,
    most=2000,
)
FEWER = dataclasses.replace(
    FASHION_MNIST,
    sizes=(10_000, 5000, 10_000),
    epochs=15,
    meta_seeds=2,
    resplits=3,
    neighbours=1000,
    most=1000,
    workdir=pathlib.Path("checkpoints/oberdiek2018-small"),
)
_SMOKE = pathlib.Path("checkpoints/oberdiek2018-smoke")
SMOKE = dataclasses.replace(
    MNIST5K,
    sizes=(500, 250, 250),
    # Those that meta-classifiers may know, and one that is a shift.
    unknowns={
        name: split
        for name, split in MNIST5K.unknowns.items()
        if name not in ("fashion_mnist", "faces")
    },
    most=100,
    without=("counterfactual_grad_trust", "fisher_trace"),
    resplits=1,
    meta_seeds=1,
    known_unknowns=40,
    features=("paper", "everything"),
    epochs=3,
    batch_size=50,
    num_samples=100,
    workdir=_SMOKE,
    numbers=_SMOKE / "numbers",
    figures=_SMOKE / "figures",
)
EMNIST = Study(
    "emnist/digits",
    ("train", "test"),
    (60_000, 20_000, 200_000),
    {
        "emnist/letters": "test",
        "cifar10": "test",
        "omniglot": "test",
        "folder:data/notMNIST_small": "all",
        "dtd": "test",
        "svhn_cropped": "test",
        "places365_small": "validation",
        "folder:data/LSUN": "all",
        **dict.fromkeys(HERE, "test"),
    },
    known_concept=("digits", "svhn_cropped"),
    most=20_000,
)
CIFAR10 = Study(
    "cifar10",
    ("train", "test"),
    (40_000, 10_000, 10_000),
    {
        "dtd": "test",
        "svhn_cropped": "test",
        "places365_small": "validation",
        "folder:data/LSUN": "all",
        **dict.fromkeys(HERE, "test"),
    },
    most=10_000,
)
SETTINGS: Mapping[str, Sequence[Study]] = {
    "smoke": (SMOKE,),
    "small": (MNIST5K, FEWER),
    "whole": (MNIST5K, FASHION_MNIST),
    "emnist": (EMNIST,),
    "cifar10": (CIFAR10,),
}
"""What `--setting` takes."""


def main(setting: str = "small", only: str | None = None) -> list[dict[str, Any]]:
    """Makes the numbers and figures of a setting.

    Args:
      setting: one of `SETTINGS`.
      only: the known concept of one of its studies.
    """
    studies = [s for s in SETTINGS[setting] if only in (None, s.known)]
    # The networks of a study differ in nothing but their weights.
    keep_programs(studies[0].workdir)
    # One more of each, so that the page may say something else, too.
    families = sum(len(tables.concepts(s)) + 1 for s in SETTINGS[setting])
    return [run(study, 1 - (1 - LEVEL) / families) for study in studies]


def run(study: Study, level: float) -> dict[str, Any]:
    """Every number of a study, and its JSON file and figures.

    Args:
      study: the settings.
      level: of each family of statements.
    """
    start = time.process_time()
    found = [columns.populations(study, number) for number in range(study.resplits)]
    resampler = Resampler(study, found)
    say = _stopwatch(study, start)
    say("columns")
    paper = {
        "table1": tables.table1(found),
        "table2": tables.table2(study, found),
        "table3": tables.table3(study, found),
    }
    say("meta-classifiers of the paper")
    more = {
        "scores": beyond.scores(found),
        "layers": tables.by_layer(found),
        "early_layers": tables.early_layers(study, found),
        "combinations": beyond.combinations(study, found),
        "artificial": beyond.artificial(study, found),
    }
    left_out = beyond.leave_one_out(study, found)
    say("meta-classifiers beyond it")
    # Those of the paper's tables last: they are the means of several trainings.
    everything = {}
    for part in (*more.values(), *paper.values()):
        everything |= part
    areas = tables.areas(resampler, everything)
    for name, estimate in beyond.areas_left_out(resampler, left_out).items():
        areas[name] = {**areas[name], "all other unknowns": estimate}
    say("areas")
    singles = (*more["scores"], *paper["table1"], *more["layers"])
    made = {
        "study": _described(study, found, level),
        **{name: tables.table(resampler, judged) for name, judged in paper.items()},
        "areas": {
            concept: {name: one.to_json() for name, one in of_judges.items()}
            for concept, of_judges in areas.items()
        },
        "judges": {name: list(judged) for name, judged in {**paper, **more}.items()},
        "statements": beyond.statements(resampler, areas, singles, level),
    }
    figures.concepts(study, found)
    figures.violins(study, found[0])
    _write(study, made)
    say("tables, statements and figures")
    return made


def _write(study: Study, made: dict[str, Any]) -> None:
    path = study.numbers / f"oberdiek2018_{study.short_name}.json"
    write_numbers(path, rounded(made))


def _stopwatch(study: Study, start: float):
    def say(what: str) -> None:
        took = time.process_time() - start
        print(f"{study.known}, {took:.0f} s of processor time: {what}", flush=True)

    return say


def _described(
    study: Study, found: Sequence[columns.Populations], level: float
) -> dict[str, Any]:
    settings = {
        name: value
        for name, value in dataclasses.asdict(study).items()
        if name not in ("batch_size", "features", "workdir", "numbers", "figures")
    }
    accuracy = [float(one.correct["test"].mean()) for one in found]
    return {
        **settings,
        "accuracy": accuracy,
        "errors": {
            part: [int((~one.correct[part]).sum()) for one in found]
            for part in ("validation", "test")
        },
        "judging": {
            name: int((found[0].roles[name] == 0).sum()) for name in study.unknowns
        },
        "level_of_each_statement": level,
    }


def rounded(tree: Any) -> Any:
    """A JSON tree with six digits of each number."""
    if isinstance(tree, dict):
        return {name: rounded(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [rounded(value) for value in tree]
    return float(f"{tree:.6g}") if isinstance(tree, float) else tree


if __name__ == "__main__":
    tyro.cli(main)
