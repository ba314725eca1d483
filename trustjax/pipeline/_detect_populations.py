"""Who is to be trusted and who not, and which of them a detector may learn from."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trustjax.pipeline._detect_columns import Known, Records

LEARNING, CHOOSING, TEST = 0, 1, 2
PARTS = ("learning", "choosing", "test")
_FEWEST = 2  # of a population, in each part
_NAMED = 5


class Populations(NamedTuple):
    """Examples of several populations, divided.

    Attributes:
      names: of the populations: right answers, wrong ones, then other datasets.
      trusted: whether each population is to be trusted.
      population: `[examples]`, which one each example is of.
      part: `[examples]`: `LEARNING`, `CHOOSING` or `TEST`.
      columns: name -> `[examples]`.
      scores: name -> `[examples]`.
      records: the name of each example.
      notes: what was left out, a sentence each.
    """

    names: tuple[str, ...]
    trusted: tuple[bool, ...]
    population: np.ndarray
    part: np.ndarray
    columns: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]
    records: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def targets(self) -> np.ndarray:
        """`[examples]`, whether each is to be trusted."""
        return np.asarray(self.trusted)[self.population]

    def counts(self) -> np.ndarray:
        """`[populations, parts]`, how many examples."""
        counts = np.zeros((len(self.names), len(PARTS)), int)
        np.add.at(counts, (self.population, self.part), 1)
        return counts


def populations(
    known: Known, *, errors: bool, fit_share: float, seed: int
) -> Populations:
    """The populations, each divided at random.

    Records of one content go into one part together: what is tested on has not been
    learned from. A record of another dataset that is a test image too is left out.

    Args:
      known: the records.
      errors: whether wrong answers are not to be trusted; else they are known inputs.
      fit_share: what share is fitted on; a third of it, to choose by.
      seed: of the division.

    Raises:
      ValueError: if a population has too few examples, or nothing but test images.
    """
    others, notes = _strangers(known)
    right = known.test.logits.argmax(axis=1) == known.test.labels
    together = [
        known.test.some(np.flatnonzero(right)),
        known.test.some(np.flatnonzero(~right)),
        *others,
    ]
    names = ("right answers", "wrong answers", *(other.name for other in others))
    trusted = (True, not errors, *(False for _ in others))
    sizes = [len(records.logits) for records in together]
    population = np.repeat(np.arange(len(together)), sizes)
    contents = np.concatenate([records.contents for records in together])
    made = Populations(
        names,
        trusted,
        population,
        _divided(population, contents, fit_share, seed),
        _joined([records.columns for records in together]),
        _joined([records.scores for records in together]),
        tuple(name for records in together for name in records.names),
        notes,
    )
    _require_enough(made, known.test.name)
    return made


def _joined(tables: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    first, *_ = tables
    return {name: np.concatenate([table[name] for table in tables]) for name in first}


def _strangers(known: Known) -> tuple[list[Records], tuple[str, ...]]:
    """The other datasets without the images of the test set.

    Raises:
      ValueError: if nothing is left of one.
    """
    found, notes = [], []
    for records in known.others:
        shared = np.isin(records.contents, known.test.contents)
        same = [records.names[row] for row in np.flatnonzero(shared).tolist()]
        listed = ", ".join(same[:_NAMED]) + (", ..." if len(same) > _NAMED else "")
        if shared.all():
            raise ValueError(
                f"all {len(shared):,} images of {records.name} are also in the test "
                f"set {known.test.name} ({listed}): nothing is unknown there"
            )
        if same:
            notes.append(
                f"Left out, for the same image is in the test set: {len(same):,} of "
                f"{len(shared):,} of {records.name} ({listed})."
            )
        found.append(records.some(np.flatnonzero(~shared)))
    return found, tuple(notes)


def _divided(
    population: np.ndarray, contents: np.ndarray, fit_share: float, seed: int
) -> np.ndarray:
    """The part of each example; of each population as large a share in each part."""
    rng = np.random.default_rng(seed)
    _, first, group = np.unique(contents, return_index=True, return_inverse=True)
    part_of = np.empty(len(first), int)
    for number in range(int(population.max(initial=0)) + 1):
        groups = rng.permutation(np.flatnonzero(population[first] == number))
        fitted = round(len(groups) * fit_share)
        chosen_on = min(max(_FEWEST, fitted // 3), fitted)
        part_of[groups[:fitted]] = LEARNING
        part_of[groups[:chosen_on]] = CHOOSING
        part_of[groups[fitted:]] = TEST
    return part_of[group]


def _require_enough(made: Populations, test_set: str) -> None:
    """Requires examples of both kinds in each part, and of each that is detected.

    Raises:
      ValueError: naming the population that has too few.
    """
    counts = made.counts()
    trusted = np.asarray(made.trusted)
    asked = [("examples to be trusted", counts[trusted].sum(axis=0))]
    asked += [(made.names[n], counts[n]) for n in np.flatnonzero(~trusted).tolist()]
    for name, of_parts in asked:
        if of_parts.min() < _FEWEST:
            total = int(of_parts.sum())
            examples = (
                f"{name} of {test_set}" if name.endswith("answers") else f"{name}"
            )
            raise ValueError(
                f"a detector takes {_FEWEST} examples at least of each population to "
                f"learn from, {_FEWEST} to choose by and {_FEWEST} to be tested on; of "
                f"{examples} there are {total:,}, divided into "
                f"{', '.join(map(str, of_parts.tolist()))}"
            )
