"""The same test images, attacked: what is left of accuracy, and which score sees it."""

import numpy as np

from trustjax import metrics, scores
from trustjax.assess import _auroc, _rates
from trustjax.assess._assessment import AttackNumbers, Attacks, Quantity
from trustjax.assess._predictions import Predictions
from trustjax.assess._scores import dense_ranks

FEWEST = 10
"""Of fewer images that fool the network no AUROC is given."""

_TOO_FEW = "fewer than 10 images fool the network"
_NOBODY = "no image was right without an attack"


def attacks(
    predictions: Predictions, *, level: float, num_samples: int, seed: int
) -> Attacks | None:
    """Assesses every attack; None where there are none.

    The intervals of one number hold together over all radii, those of scores over all
    scores as well. An image stands among the attacked and the others, and counts once.

    Args:
      predictions: what the network said, with its `attacked`.
      level: of each family of intervals.
      num_samples: draws behind the intervals.
      seed: of the draws.
    """
    attacked = predictions.attacked
    if attacked is None:
        return None
    rows, radii = attacked.examples, tuple(attacked.versions)
    labels, right = predictions.labels[rows], predictions.correct[rows]
    # With the max softmax probability, as everywhere.
    baseline = scores.baseline().name
    unchanged = {baseline: predictions.confidence, **predictions.scores}
    names = tuple(dict.fromkeys((baseline, *attacked.versions[radii[0]].scores)))
    statements = len(radii)
    of_each = 1 - (1 - level) / statements

    def of_radius(radius: float) -> AttackNumbers:
        said = attacked.versions[radius]
        changed = {baseline: said.confidence, **said.scores}
        fooled = (said.predicted != labels)[right]
        auroc, unseen = {}, {}
        for name in names:
            clean, own = unchanged[name][rows][right], changed[name][right]
            auroc[name] = auroc_of_fooled(
                clean,
                own,
                fooled,
                level,
                statements=statements * len(names),
                num_samples=num_samples,
                seed=seed,
            )
            unseen[name] = share_unseen(
                clean, own, fooled, 1 - (1 - level) / (statements * len(names))
            )
        return AttackNumbers(
            accuracy=_share(said.predicted == labels, of_each),
            success=_share(fooled, of_each),
            auroc=auroc,
            unseen=unseen,
        )

    return Attacks(
        num_examples=len(rows),
        unchanged=_share(right, level),
        by_radius={radius: of_radius(radius) for radius in radii},
    )


def _share(which: np.ndarray, level: float) -> Quantity:
    if not which.size:
        return Quantity(None, not_defined=_NOBODY)
    ends = metrics.proportion_interval(int(which.sum()), which.size, level=level)
    return Quantity(float(which.mean()), float(ends.low), float(ends.high))


def auroc_of_fooled(
    clean: np.ndarray,
    changed: np.ndarray,
    fooled: np.ndarray,
    level: float,
    *,
    statements: int,
    num_samples: int,
    seed: int,
) -> Quantity:
    """AUROC of telling images that fool the network from all as they were.

    Args:
      clean: `[images]`, a score of those that were right.
      changed: `[images]`, that of their changed versions.
      fooled: `[images]`, which of those are answered wrongly.
      level: of the family that the interval is of.
      statements: how many that has.
      num_samples: draws behind it.
      seed: of the draws.
    """
    if fooled.sum() < FEWEST:
        return Quantity(None, not_defined=_TOO_FEW)
    ranks = dense_ranks(np.concatenate([clean, changed[fooled]]))
    known = np.arange(len(ranks)) < len(clean)
    placed = _auroc.placements(ranks[None], known)
    (low,), (high,) = _auroc.paired_intervals(
        placed,
        known,
        np.concatenate([np.arange(len(clean)), np.flatnonzero(fooled)]),
        level,
        statements=statements,
        num_samples=num_samples,
        seed=seed,
    )
    return Quantity(float(placed.auroc[0]), float(low), float(high))


def share_unseen(
    clean: np.ndarray, changed: np.ndarray, fooled: np.ndarray, level: float
) -> Quantity:
    """The share of images that fool the network and pass where 95 % of them did.

    Args:
      clean: as in `auroc_of_fooled`.
      changed: as in `auroc_of_fooled`.
      fooled: as in `auroc_of_fooled`.
      level: of the interval.
    """
    if not fooled.size:
        return Quantity(None, not_defined=_NOBODY)
    # Who fools nobody is none of these, whatever its score: below all.
    ranks = dense_ranks(np.concatenate([clean, changed])) + 1
    known = np.arange(len(ranks)) < len(clean)
    ranks[~known] *= fooled
    return _rates.fpr_at_tpr(ranks, known, level)
