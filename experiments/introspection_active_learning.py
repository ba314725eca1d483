"""Does a second stage that introspects choose better what to learn from?

    python -m experiments.introspection_active_learning
    python -m experiments.introspection_active_learning --smoke

Prabhushankar and AlRegib 2022 (Introspective Learning, arXiv:2209.08425; table 2 of the
tutorial): in active learning each way of choosing records is a little better when it
asks the introspective network H instead of the network f that H reads. Here f and H are
trained anew on all labels after each round, the next records are chosen by what one of
them says of the pool, and the accuracy of both is measured.

All ways of one seed start from the same records and the same weights. Rounds are kept
under `checkpoints/introspection_active_learning`: a run that was stopped goes on after
the last of them. Page: `introspection_active_learning.md`.
"""

import functools
import pathlib
import time
from typing import Any

import jax
import numpy as np
import tyro

from experiments.explanations_shared import kept
from experiments.introspection_active_learning_learner import LEVEL, Learner, Study
from experiments.introspection_active_learning_tables import (
    ALL,
    ARMS,
    FEED_FORWARD,
    INTROSPECTIVE,
    NETWORKS,
    PAIRS,
    PAPER,
    STRATEGIES,
    TESTS,
    draw,
    tables,
)
from experiments.shared import keep_programs, published, t_interval
from trustjax import introspection

STUDY = Study()
_SMOKE = pathlib.Path("checkpoints/introspection_active_learning_smoke")
SMOKE = Study(
    pool="train[:200]",
    images=60,
    initial=20,
    query=10,
    rounds=2,
    steps=12,
    second_steps=8,
    masks=2,
    seeds=2,
    workdir=_SMOKE,
    numbers=_SMOKE / "numbers",
    figures=_SMOKE / "figures",
)


def rounds(study: Study, learner: Learner, seed: int) -> list[dict[str, np.ndarray]]:
    """What each round of a seed found, of each way of choosing: kept one by one.

    Returns:
      For each round `arm|accuracy`, `[networks, tests]`, `arm|labelled`, the records
      that the networks learned from, and `arm|chosen`, the next.
    """
    key = jax.random.key(seed)
    initial = functools.partial(
        introspection.initial_pool,
        learner.labels,
        study.initial,
        num_classes=learner.classes,
        key=key,
    )
    found: list[dict[str, np.ndarray]] = []
    for number in range(study.rounds + 1):

        def make(number: int = number) -> dict[str, np.ndarray]:
            made = {}
            for arm in ARMS:
                labelled = np.asarray(initial())
                if number:
                    before = found[-1]
                    own = before[f"{arm}|labelled"], before[f"{arm}|chosen"]
                    labelled = np.concatenate(own)
                stages = learner.trained(seed, labelled)
                made[f"{arm}|accuracy"] = learner.accuracy(stages)
                made[f"{arm}|labelled"] = labelled
                if number < study.rounds:
                    draws = jax.random.fold_in(key, number)
                    made[f"{arm}|chosen"] = learner.chosen(arm, stages, labelled, draws)
            return made

        # The last round asks for nothing: it is another file than one in the middle.
        last = "last" if number == study.rounds else "round"
        found.append(
            dict(kept(study.folder / str(seed) / f"{last}-{number}.npz", make))
        )
    return found


def numbers(study: Study) -> dict[str, Any]:
    """Every number of the page."""
    learner = Learner(study)
    made = []
    for seed in range(study.seeds):
        made.append(rounds(study, learner, seed))
        spent = time.process_time()
        print(f"seed {seed}: {spent:.0f} s of processor time so far", flush=True)
    # [seeds, rounds, networks, tests], of each way
    curves = {
        arm: np.array([[one[f"{arm}|accuracy"] for one in own] for own in made])
        for arm in ARMS
    }
    # What was learned before anything was chosen is the same for all.
    means = {arm: own[:, 1:].mean(axis=1) for arm, own in curves.items()}
    for by in (FEED_FORWARD, INTROSPECTIVE):
        own = [means[f"{strategy}, {by}"] for strategy in STRATEGIES]
        means[f"{ALL}, {by}"] = np.mean(own, axis=0)
    return {
        "paper": PAPER,
        "seeds": study.seeds,
        "labelled": [study.initial + n * study.query for n in range(study.rounds + 1)],
        "level_of_each_difference": study.level,
        "curves": {
            arm: {
                f"{network}|{test}": own[:, :, i, j].mean(axis=0).tolist()
                for i, network in enumerate(NETWORKS)
                for j, test in enumerate(TESTS)
            }
            for arm, own in curves.items()
        },
        "means": {
            arm: {
                f"{network}|{test}": t_interval(own[:, i, j], LEVEL)
                | {"seeds": own[:, i, j].tolist()}
                for i, network in enumerate(NETWORKS)
                for j, test in enumerate(TESTS)
            }
            for arm, own in means.items()
        },
        "differences": {
            f"{one} less {other}|{network}|{test}": t_interval(
                (means[one] - means[other])[:, NETWORKS.index(network), j], study.level
            )
            for one, other, network in PAIRS
            for j, test in enumerate(TESTS)
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
