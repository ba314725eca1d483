"""The whole family of a score's metrics from one sort."""

import functools
from typing import NamedTuple

from jaxtyping import Array, Float, Integer, Shaped

from trustjax import _inputs, _validate
from trustjax.metrics import (
    _accuracy_curves,
    _detection,
    _selective,
    _thresholds,
)
from trustjax.metrics._ranking import rank, share


class Summary(NamedTuple):
    """A score as a predictor of correctness; every field `[]`, an arrow says better.

    Attributes:
      accuracy: of the network, the same for every score. Up.
      auroc: see `auroc`. Up.
      aupr_success: see `aupr_success`. Up.
      aupr_error: see `aupr_error`. Up.
      fpr_at_95_tpr: see `fpr_at_tpr`. Down.
      detection_error: see `detection_error`, at its best threshold. Down.
      aurc: see `aurc`. Down.
      excess_aurc: see `excess_aurc`. Down.
      augrc: see `augrc`. Down.
      auac: see `auac`, quantile grid. Up.
      auac_range: see `auac`, range grid: not a ranking metric. Up.
      aufc: see `aufc`, quantile grid, macro. Up.
      aufc_range: see `aufc`, range grid: not a ranking metric. Up.
    """

    accuracy: Float[Array, ""]
    auroc: Float[Array, ""]
    aupr_success: Float[Array, ""]
    aupr_error: Float[Array, ""]
    fpr_at_95_tpr: Float[Array, ""]
    detection_error: Float[Array, ""]
    aurc: Float[Array, ""]
    excess_aurc: Float[Array, ""]
    augrc: Float[Array, ""]
    auac: Float[Array, ""]
    auac_range: Float[Array, ""]
    aufc: Float[Array, ""]
    aufc_range: Float[Array, ""]


@_inputs.take_arrays
def summary(
    scores: Shaped[Array, " n"],
    predictions: Integer[Array, " n"],
    labels: Integer[Array, " n"],
    *,
    num_classes: int | None = None,
    weights: Shaped[Array, " n"] | None = None,
) -> Summary:
    r"""Every metric of a score as a predictor of correctness, from one sort.

    Args:
      scores: higher = more trust.
      predictions: the predicted classes.
      labels: the true classes.
      num_classes: how many classes there are; read off the classes if None, which under
        a transformation cannot be.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The metrics, each as its own function computes it.

    Raises:
      ValueError: if the lengths differ, a known score is NaN, a class is outside
        [0, num_classes), or the number of classes is neither given nor known.

    The edge cases are those of the metrics themselves.

    >>> import jax.numpy as jnp
    >>> scores = jnp.array([0.9, 0.8, 0.7, 0.6])
    >>> predictions, labels = jnp.array([0, 1, 1, 0]), jnp.array([0, 1, 0, 0])
    >>> result = summary(scores, predictions, labels)
    >>> print(result.accuracy, f"{result.auroc:.3f} {result.aurc:.3f}")
    0.75 0.667 0.115
    """
    _accuracy_curves.check_classes(scores, predictions, labels)
    num_classes = _accuracy_curves.known_num_classes(predictions, labels, num_classes)
    _validate.classes("predictions", predictions, num_classes, weights)
    _validate.classes("labels", labels, num_classes, weights)
    ranking = rank(scores, predictions == labels, weights)
    return _summary_of(ranking, scores, predictions, labels, weights, num_classes)


def _summary_of(ranking, scores, predictions, labels, weights, num_classes) -> Summary:
    # Each metric is one program; XLA takes half as long again over all of them in one.
    f1 = functools.partial(
        _accuracy_curves.aufc_of,
        ranking,
        scores,
        predictions,
        labels,
        weights,
        average="macro",
        num_classes=num_classes,
    )
    return Summary(
        accuracy=ranking.if_known(share(ranking.num_successes, ranking.num_examples)),
        auroc=_detection.auroc_of(ranking),
        aupr_success=_detection.aupr_success_of(ranking),
        aupr_error=_detection.aupr_error_of(ranking),
        fpr_at_95_tpr=_detection.fpr_at_tpr_of(ranking, 0.95, "none"),
        detection_error=_thresholds.detection_error_of(ranking),
        aurc=_selective.aurc_of(ranking),
        excess_aurc=_selective.excess_aurc_of(ranking),
        augrc=_selective.augrc_of(ranking),
        auac=_accuracy_curves.auac_of(ranking, "quantile"),
        auac_range=_accuracy_curves.auac_of(ranking, "range"),
        aufc=f1(grid="quantile"),
        aufc_range=f1(grid="range"),
    )
