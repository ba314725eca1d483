"""Scores that ask how far an example is from where its class usually lies.

Fit once on features of the training set, on the host in double precision; the state
that comes back is a tree of arrays.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from trustjax import _validate
from trustjax.ingredients import FEATURES, Ingredient
from trustjax.scores._distance import check_fit, check_queries
from trustjax.scores._score import Score


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gaussians:
    r"""One Gaussian for each class, all of one covariance.

    Attributes:
      whitening: `[features, directions]`, :math:`W` with
        :math:`W W^\top = \Sigma^{-1}`; one column for each direction in which the
        features vary at all.
      centre: `[features]`, subtracted before whitening, so that no digits are lost.
      means: `[classes, directions]`, whitened; NaN for a class without examples.
    """

    whitening: Any
    centre: Any
    means: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MahalanobisState:
    """What `fit_mahalanobis` returns.

    Attributes:
      by_class: the Gaussian of each class, with the covariance within classes.
      of_all: one Gaussian of all classes together.
    """

    by_class: Gaussians
    of_all: Gaussians


def fit_mahalanobis(
    features: Float[np.ndarray | Array, "examples features"],
    labels: Int[np.ndarray | Array, " examples"],
    *,
    num_classes: int | None = None,
    shrinkage: float = 0.0,
) -> MahalanobisState:
    r"""Fits a Gaussian to each class, with one covariance for all.

    .. math:: \Sigma = \frac{1}{N} \sum_i (h_i - \mu_{y_i})(h_i - \mu_{y_i})^\top

    Directions in which the training set does not vary have no precision; they are left
    out (the pseudo-inverse).

    Args:
      features: inner activations of the training set, usually the last.
      labels: their classes.
      num_classes: classes there are; None takes the largest label.
      shrinkage: in [0, 1]; the covariance becomes :math:`(1 - \lambda) \Sigma +
        \lambda \frac{\mathrm{tr} \Sigma}{D} I`.

    Returns:
      The state that `mahalanobis` and `relative_mahalanobis` take.

    Raises:
      ValueError: if the shapes or lengths disagree, a feature is not finite, a label is
        out of range, or `shrinkage` is.

    >>> points = np.array([[0.0], [2.0], [10.0], [12.0]])
    >>> state = fit_mahalanobis(points, np.array([0, 0, 1, 1]))
    >>> print(mahalanobis(state, jnp.array([[3.0]])))
    [-4.]

    References:
      Lee, Lee, Lee and Shin 2018 (arXiv:1807.03888), eq. 1.
    """
    _validate.fraction("shrinkage", shrinkage)
    points, labels, num_classes = check_fit(features, labels, num_classes)
    points = points.astype(np.float64)
    means = class_means(points, labels, num_classes)
    centre = points.mean(axis=0)
    return MahalanobisState(
        by_class=gaussians(points - means[labels], centre, means, shrinkage),
        of_all=gaussians(points - centre, centre, centre[None], shrinkage),
    )


def mahalanobis(
    state: MahalanobisState, features: Float[Array, "batch features"]
) -> Float[Array, " batch"]:
    r"""Negated squared Mahalanobis distance to the nearest class mean.

    .. math:: s(x) = \max_c -(h - \mu_c)^\top \Sigma^{-1} (h - \mu_c)

    Args:
      state: what `fit_mahalanobis` returned.
      features: :math:`h`, of the same space as those of the fit.

    Returns:
      The score of each example, in (-inf, 0]; higher = more trust.

    Raises:
      ValueError: if a shape is wrong.

    ======================================  =====
    Edge case                               Value
    ======================================  =====
    at a class mean                         0
    a class without training examples       never the nearest
    training features that do not vary      0
    infinite, or of squares that overflow   -inf
    a NaN feature                           NaN
    ======================================  =====

    >>> state = fit_mahalanobis(np.array([[-1.0], [1.0]]), np.array([0, 0]))
    >>> print(mahalanobis(state, jnp.array([[3.0]])))
    [-9.]

    References:
      Lee, Lee, Lee and Shin 2018 (arXiv:1807.03888), eq. 2, for one layer. Their code
      adds input perturbation and a logistic regression over layers.
    """
    return -nearest_squared_distance(state.by_class, features)


def relative_mahalanobis(
    state: MahalanobisState, features: Float[Array, "batch features"]
) -> Float[Array, " batch"]:
    r"""Mahalanobis score relative to one Gaussian of all classes.

    .. math::
      s(x) = \max_c -(h - \mu_c)^\top \Sigma^{-1} (h - \mu_c)
             + (h - \mu_0)^\top \Sigma_0^{-1} (h - \mu_0)

    What is unusual in a direction that tells no classes apart cancels.

    Args:
      state: what `fit_mahalanobis` returned.
      features: :math:`h`, of the same space as those of the fit.

    Returns:
      The score of each example, unbounded; higher = more trust.

    Raises:
      ValueError: if a shape is wrong.

    ======================================  =====
    Edge case                               Value
    ======================================  =====
    one class                               0
    training features that do not vary      0
    infinite, or of squares that overflow   NaN
    a NaN feature                           NaN
    ======================================  =====

    >>> points = np.array([[-1.0], [1.0], [3.0], [5.0]])
    >>> state = fit_mahalanobis(points, np.array([0, 0, 1, 1]))
    >>> print(relative_mahalanobis(state, jnp.array([[0.0]])).round(3))
    [0.8]

    References:
      Ren, Fort, Liu et al. 2021 (arXiv:2106.09022), eq. 3.
    """
    return nearest_squared_distance(state.of_all, features) - (
        nearest_squared_distance(state.by_class, features)
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CentroidState:
    """What `fit_centroids` returns.

    Attributes:
      centroids: `[classes, features]`; NaN for a class without examples.
      length_scale: `[]`, the kernel's width.
    """

    centroids: Any
    length_scale: Any


def fit_centroids(
    features: Float[np.ndarray | Array, "examples features"],
    labels: Int[np.ndarray | Array, " examples"],
    *,
    num_classes: int | None = None,
    length_scale: float | None = None,
) -> CentroidState:
    r"""The centroid of each class, for `centroid_kernel`.

    Args:
      features: inner activations of the training set, usually the last.
      labels: their classes.
      num_classes: classes there are; None takes the largest label.
      length_scale: :math:`\sigma` of the kernel; None takes the root mean square of
        :math:`h - \mu_y` over training set and features.

    Returns:
      The state that `centroid_kernel` takes.

    Raises:
      ValueError: if the shapes or lengths disagree, a feature is not finite, a label is
        out of range, or `length_scale` is not positive.

    >>> state = fit_centroids(np.array([[0.0], [2.0], [9.0]]), np.array([0, 0, 1]))
    >>> print(state.centroids.ravel())
    [1. 9.]

    References:
      van Amersfoort, Smith, Teh and Gal 2020 (arXiv:2003.02037): there centroids are
      running means that the network is trained with, and :math:`\sigma` is tuned.
    """
    points, labels, num_classes = check_fit(features, labels, num_classes)
    centroids = class_means(points.astype(np.float64), labels, num_classes)
    if length_scale is None:
        spread = float(np.sqrt(np.mean((points - centroids[labels]) ** 2)))
        length_scale = spread if spread > 0 else 1.0
    _validate.positive("length_scale", length_scale)
    return CentroidState(
        jnp.asarray(centroids, jnp.float32), jnp.asarray(length_scale, jnp.float32)
    )


def centroid_kernel(
    state: CentroidState, features: Float[Array, "batch features"]
) -> Float[Array, " batch"]:
    r"""Kernel distance to the nearest class centroid, in a single pass.

    .. math:: s(x) = \max_c \exp\Big(-\frac{|h - \mu_c|^2}{2 \sigma^2 D}\Big)

    Args:
      state: what `fit_centroids` returned.
      features: :math:`h`, of the same space as those of the fit.

    Returns:
      The score of each example, in [0, 1]; higher = more trust.

    Raises:
      ValueError: if a shape is wrong.

    ======================================  =====
    Edge case                               Value
    ======================================  =====
    at a centroid                           1
    a class without training examples       never the nearest
    further than about 14 length scales     0
    a NaN feature                           NaN
    ======================================  =====

    >>> state = fit_centroids(np.array([[-1.0], [1.0]]), np.array([0, 0]))
    >>> print(centroid_kernel(state, jnp.array([[0.0], [99.0]])))
    [1. 0.]

    References:
      van Amersfoort, Smith, Teh and Gal 2020 (DUQ, arXiv:2003.02037), eq. 1, without
      the weight matrix of each class that they train: any network will do.
    """
    h = check_queries(features, state.centroids.shape[-1])
    distance = _smallest_squared(h, state.centroids)
    width = 2 * state.length_scale**2 * h.shape[1]
    return jnp.exp(-distance / width)


def gaussians(
    deviations: np.ndarray,
    centre: np.ndarray,
    means: np.ndarray,
    shrinkage: float = 0.0,
    least: float = 0.0,
) -> Gaussians:
    """The whitening of a set of deviations, and the means in that space.

    Directions of a variance that is rounding, or no more than `least`, are left out.
    """
    covariance = deviations.T @ deviations / len(deviations)
    features = len(covariance)
    uniform = np.trace(covariance) / features * np.eye(features)
    variances, directions = np.linalg.eigh(
        (1 - shrinkage) * covariance + shrinkage * uniform
    )
    rounding = features * np.finfo(np.float64).eps * max(variances[-1], 0)
    varies = variances > max(rounding, least)
    whitening = directions[:, varies] / np.sqrt(variances[varies])
    return Gaussians(
        whitening=jnp.asarray(whitening, jnp.float32),
        centre=jnp.asarray(centre, jnp.float32),
        means=jnp.asarray((means - centre) @ whitening, jnp.float32),
    )


def class_means(points: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """`[classes, features]`, NaN for a class without examples."""
    means = np.full((num_classes, points.shape[1]), math.nan)
    for c in np.unique(labels):
        means[c] = points[labels == c].mean(axis=0)
    return means


def nearest_squared_distance(fitted: Gaussians, features: jax.Array) -> jax.Array:
    """Squared Mahalanobis distance to the nearest mean, `[batch]`."""
    h = check_queries(features, fitted.whitening.shape[0])
    whitened = jnp.matmul(
        h - fitted.centre[None],
        fitted.whitening,
        precision=jax.lax.Precision.HIGHEST,
    )
    squares = _smallest_squared(whitened, fitted.means)
    # Of inf - inf in the product: farther away than can be counted.
    overflows = jnp.isnan(squares) & ~jnp.isnan(h).any(axis=-1)
    return jnp.where(overflows, jnp.inf, squares)


def _smallest_squared(points: jax.Array, centroids: jax.Array) -> jax.Array:
    """Squared distance of each point to the nearest centroid that is there."""
    missing = jnp.any(jnp.isnan(centroids), axis=-1)
    # Put somewhere, for a NaN that is not selected still has a derivative of NaN.
    centroids = jnp.where(missing[:, None], 0.0, centroids)
    distances = jnp.sum((points[:, None] - centroids[None]) ** 2, axis=-1)
    return jnp.min(jnp.where(missing[None], jnp.inf, distances), axis=-1)


MAHALANOBIS_STATE = Ingredient(
    "mahalanobis_state",
    fit=fit_mahalanobis,
    needs=(FEATURES,),
    cost="distances to the class means",
)
CENTROID_STATE = Ingredient(
    "centroid_state",
    fit=fit_centroids,
    needs=(FEATURES,),
    cost="distances to the class means",
)

SCORES = (
    Score(
        mahalanobis,
        needs=(
            MAHALANOBIS_STATE,
            FEATURES,
        ),
        title="Mahalanobis",
        paper="Lee et al. 2018, eq. 2",
        equation="max_c -(h - m_c)' S^-1 (h - m_c)",
        provenance="One layer, without input perturbation.",
    ),
    Score(
        relative_mahalanobis,
        needs=(
            MAHALANOBIS_STATE,
            FEATURES,
        ),
        title="Relative Mahalanobis",
        paper="Ren et al. 2021, eq. 3",
        equation="Mahalanobis less that of all classes together",
    ),
    Score(
        centroid_kernel,
        needs=(
            CENTROID_STATE,
            FEATURES,
        ),
        title="Centroid kernel",
        paper="van Amersfoort et al. 2020, eq. 1",
        equation="max_c exp(-|h - m_c|^2 / (2 s^2 D))",
        provenance="On the features of any network, without trained weight matrices.",
    ),
)
