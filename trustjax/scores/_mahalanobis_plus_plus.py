"""Mahalanobis distances among features that all have length 1."""

import dataclasses

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from trustjax.ingredients import FEATURES, Ingredient
from trustjax.scores._centroid import (
    Gaussians,
    class_means,
    gaussians,
    nearest_squared_distance,
)
from trustjax.scores._distance import check_fit, check_queries
from trustjax.scores._neighbour import to_unit_length
from trustjax.scores._score import Score


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class UnitMahalanobisState:
    """What `fit_mahalanobis_plus_plus` returns.

    Attributes:
      by_class: the Gaussian of each class, of features of length 1.
    """

    by_class: Gaussians


def fit_mahalanobis_plus_plus(
    features: Float[np.ndarray | Array, "examples features"],
    labels: Int[np.ndarray | Array, " examples"],
    *,
    num_classes: int | None = None,
) -> UnitMahalanobisState:
    """Fits a Gaussian to each class of features of length 1, with one covariance.

    Args:
      features: inner activations of the training set, usually the last.
      labels: their classes.
      num_classes: classes there are; None takes the largest label.

    Returns:
      The state that `mahalanobis_plus_plus` takes.

    Raises:
      ValueError: as `fit_mahalanobis`.

    >>> import jax.numpy as jnp
    >>> points = np.array([[1.0, 0.0], [0.0, 3.0]])
    >>> state = fit_mahalanobis_plus_plus(points, np.array([0, 0]))
    >>> print(mahalanobis_plus_plus(state, jnp.array([[9.0, 0.0]])).round(3))
    [-1.]

    References:
      Mueller and Hein 2025 (Mahalanobis++, arXiv:2505.18032).
    """
    points, classes, num_classes = check_fit(features, labels, num_classes)
    points = points.astype(np.float64)
    length = np.linalg.norm(points, axis=1, keepdims=True)
    # What float32 counts as 0 is 0.
    there = length >= np.finfo(np.float32).tiny
    unit = np.where(there, points / np.where(there, length, 1), 0)
    means, centre = class_means(unit, classes, num_classes), unit.mean(axis=0)
    # Of length 1, float32 tells no more apart than this.
    least = float(np.finfo(np.float32).eps) ** 2
    deviations = unit - means[classes]
    return UnitMahalanobisState(gaussians(deviations, centre, means, least=least))


def mahalanobis_plus_plus(
    state: UnitMahalanobisState, features: Float[Array, "batch features"]
) -> Float[Array, " batch"]:
    r"""Mahalanobis++: squared Mahalanobis distance of features of length 1, negated.

    .. math::
      s(x) = \max_c -(v - \mu_c)^\top \Sigma^{-1} (v - \mu_c), \qquad v = h / |h|_2

    The length of features differs between classes and examples, and one covariance for
    all does not describe it; their direction it does.

    Args:
      state: what `fit_mahalanobis_plus_plus` returned.
      features: :math:`h`, of the same space as those of the fit.

    Returns:
      The score of each example, in (-inf, 0]; higher = more trust.

    Raises:
      ValueError: if a shape is wrong.

    ======================================  ====================================
    Edge case                               Value
    ======================================  ====================================
    features of 0                           that of v = 0, the origin
    at a class mean                         0
    a class without training examples       never the nearest
    training features of one direction      0
    an infinite feature, or a NaN           NaN
    ======================================  ====================================

    >>> import jax.numpy as jnp
    >>> points = np.array([[1.0, 0.0], [0.0, 3.0]])
    >>> state = fit_mahalanobis_plus_plus(points, np.array([0, 0]))
    >>> h = jnp.array([[2.0, 0.0], [20.0, 0.0]])
    >>> print(mahalanobis_plus_plus(state, h).round(3))  # the length says nothing
    [-1. -1.]

    References:
      Mueller and Hein 2025 (Mahalanobis++, arXiv:2505.18032).
    """
    h = check_queries(features, state.by_class.centre.shape[-1])
    return -nearest_squared_distance(state.by_class, to_unit_length(h))


UNIT_MAHALANOBIS_STATE = Ingredient(
    "unit_mahalanobis_state",
    fit=fit_mahalanobis_plus_plus,
    needs=(FEATURES,),
    cost="distances to the class means",
)

SCORES = (
    Score(
        mahalanobis_plus_plus,
        needs=(UNIT_MAHALANOBIS_STATE, FEATURES),
        title="Mahalanobis++",
        paper="Mueller and Hein 2025",
        equation="max_c -(v - m_c)' S^-1 (v - m_c), v = h / |h|_2",
    ),
)
