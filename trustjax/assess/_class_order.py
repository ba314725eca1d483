"""Are the outputs in the order of the labels? A network that learnt says so itself."""

import numpy as np

from trustjax import metrics
from trustjax.assess._assessment import ClassOrder

CHANCE = 1e-3  # of a hint where there is nothing to see


def other(
    labels: np.ndarray, predicted: np.ndarray, num_classes: int
) -> ClassOrder | None:
    """Another order of the classes in which far more answers would be right.

    A label and an answer belong together if each is the other's most frequent one. The
    order is found on every other example of each label and tried on the rest, and the
    other way round, so that no order is proposed that fits noise.

    Args:
      labels: `[examples]`.
      predicted: `[examples]`, the classes answered.
      num_classes: how many there are.

    Returns:
      The order; None unless it turns more answers right than wrong by more than chance,
      and most of those to the labels that it moves.
    """
    gained, lost, moved, moved_right = np.zeros(4, int)
    half, classes = _halves(labels), np.arange(num_classes)
    for part in (False, True):
        found = _matched(labels[half == part], predicted[half == part], num_classes)
        truth, answer = labels[half != part], predicted[half != part]
        renamed = found[answer]
        gained += np.sum((renamed == truth) & (answer != truth))
        lost += np.sum((renamed != truth) & (answer == truth))
        elsewhere = np.isin(truth, found[(found >= 0) & (found != classes)])
        moved += elsewhere.sum()
        moved_right += (renamed == truth)[elsewhere].sum()
    if not gained or 2 * moved_right <= moved:
        return None
    chance = metrics.proportion_interval(
        int(gained), int(gained + lost), level=1 - 2 * CHANCE
    )
    if float(chance.low) <= 0.5:
        return None
    order = _matched(labels, predicted, num_classes)
    return ClassOrder(float(np.mean(order[predicted] == labels)), tuple(order.tolist()))


def _halves(labels: np.ndarray) -> np.ndarray:
    """Deals the examples of each label into two halves, by turns."""
    order = np.argsort(labels, kind="stable")
    half = np.empty(len(labels), bool)
    half[order] = np.arange(len(labels)) % 2 == 1
    return half


def _matched(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """`[classes]`: the label that each answer stands for, -1 where it is not known."""
    counts = np.zeros((num_classes, num_classes), int)
    np.add.at(counts, (labels, predicted), 1)
    answers, classes = counts.argmax(axis=1), np.arange(num_classes)
    labels_of = counts.argmax(axis=0)
    mutual = (answers[labels_of] == classes) & counts.any(axis=0)
    found = np.where(mutual, labels_of, -1)
    # A class of which nothing is known stays where it is, if its place is free.
    free = ~mutual & ~np.isin(classes, found)
    return np.where(free, classes, found)
