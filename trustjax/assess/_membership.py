"""Training against test images: which number gives away what a network learned from.

The population attack: one network, no shadows, and one threshold for all images.
"""

import numpy as np

from trustjax import scores
from trustjax.assess import _answers, _auroc, _rates
from trustjax.assess._assessment import Curve, MemberNumbers, Membership, Quantity
from trustjax.assess._predictions import Predictions
from trustjax.assess._scores import dense_ranks

FALSE_POSITIVES = (0.01, 0.001)
_POINTS = 80


def membership(
    predictions: Predictions, *, level: float, num_samples: int, seed: int
) -> Membership | None:
    """Assesses every score and the loss as an attack; None where there are no members.

    The intervals of one number hold together over all scores and the loss.

    Args:
      predictions: what the network said, with its `members`.
      level: of each family of intervals.
      num_samples: draws behind the intervals.
      seed: of the draws.

    References:
      Yeom et al. 2018 (arXiv:1709.01604), of the loss; Carlini et al. 2022
      (arXiv:2112.03570), of rates at few false positives.
    """
    members = predictions.members
    if members is None:
        return None
    baseline = scores.baseline().name
    own = {baseline: _confidence(members.logits), **members.scores}
    others = {baseline: _confidence(predictions.logits), **predictions.scores}
    statements = len(own) + 1

    def numbers(inside: np.ndarray, outside: np.ndarray) -> MemberNumbers:
        ranks = dense_ranks(np.concatenate([inside, outside]))
        member = np.arange(len(ranks)) < len(inside)
        placed = _auroc.placements(ranks[None], member)
        (low,), (high,) = _auroc.intervals(
            placed, level, statements=statements, num_samples=num_samples, seed=seed
        )
        of_each = 1 - (1 - level) / statements
        return MemberNumbers(
            Quantity(float(placed.auroc[0]), float(low), float(high)),
            {
                fpr: _true_positives(ranks, member, fpr, of_each)
                for fpr in FALSE_POSITIVES
            },
            _roc(ranks[member], ranks[~member]),
        )

    return Membership(
        num_members=len(members.labels),
        num_others=len(predictions.labels),
        scores={name: numbers(own[name], others[name]) for name in own},
        loss=numbers(
            _log_odds(members.logits, members.labels),
            _log_odds(predictions.logits, predictions.labels),
        ),
    )


def _confidence(logits: np.ndarray) -> np.ndarray:
    """Both sides by one formula, or a last digit tells them apart."""
    return _answers.softmax(logits).max(axis=1)


def _log_odds(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of the label: ranks as minus the loss does, and does not saturate."""
    rows = np.arange(len(logits))
    rest = np.array(logits)
    rest[rows, labels] = -np.inf
    largest = rest.max(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        others = np.log(np.exp(rest - largest).sum(axis=1)) + largest[:, 0]
        odds = logits[rows, labels] - others
    return np.where(np.isnan(odds), np.inf, odds)  # no other class has a chance


def _true_positives(
    ranks: np.ndarray, member: np.ndarray, fpr: float, level: float
) -> Quantity:
    """The share of members above the threshold that so few others are above."""
    # The other way round: the share of members among the lowest that keep 1 - fpr.
    missed = _rates.fpr_at_tpr(ranks.max() - ranks, ~member, level, 1 - fpr)
    value, low, high = (1 - (end or 0.0) for end in missed[:3])
    return Quantity(value, high, low)


def _roc(members: np.ndarray, others: np.ndarray) -> Curve:
    """On logarithmic axes: from one other that is taken for a member to all."""
    falling = np.sort(others)[::-1]
    count = len(falling)
    taken = np.unique(np.geomspace(1, count, _POINTS).round().astype(int))
    # Above the k-th highest there are fewer than k: who is as high counts with it.
    thresholds = falling[taken - 1]
    false = np.array([np.mean(others >= t) for t in thresholds])
    true = np.array([np.mean(members >= t) for t in thresholds])
    return Curve(false, true)
