"""Scores that ask how the training examples around an example were labelled.

Fit once on features of the training set, on the host; the state that comes back is a
tree of arrays, so the scores jit, vmap and shard over the batch.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from trustjax import _inputs, _validate
from trustjax._numerics import divide_no_nan, in_units_of_largest, safe_norm
from trustjax.ingredients import FEATURES, PREDICTIONS, Ingredient
from trustjax.scores._distance import (
    Bank,
    check_fit,
    check_queries,
    make_bank,
    nearest_distances,
)
from trustjax.scores._score import Score


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrustScoreState:
    """The dense part of each class of a training set, as `fit_trust_score` keeps it.

    Attributes:
      bank: the points kept, by class.
    """

    bank: Bank


def fit_trust_score(
    features: Float[np.ndarray | Array, "examples features"],
    labels: Int[np.ndarray | Array, " examples"],
    *,
    num_classes: int | None = None,
    alpha: float = 0.0,
    k: int = 10,
    count_self: bool = False,
) -> TrustScoreState:
    r"""Estimates the :math:`\alpha`-high-density set of each class.

    A point's radius is the distance to its `k`-th nearest neighbour of the same class.
    The fraction :math:`\alpha` of each class with the largest radii is dropped.

    Args:
      features: inputs or inner activations of the training set.
      labels: their classes.
      num_classes: classes there are; None takes the largest label.
      alpha: the fraction to drop, in [0, 1]; 0 keeps every point.
      k: the neighbour whose distance is the radius; the farthest one in a class with
        fewer.
      count_self: count a point as its own nearest neighbour, as the authors' code does.

    Returns:
      The state that `trust_score` takes.

    Raises:
      ValueError: if the shapes or lengths disagree, a feature is not finite, a label is
        out of range, or `alpha` or `k` is.

    >>> points = np.array([[0.0], [1.0], [2.0], [9.0], [20.0], [21.0]])
    >>> labels = np.array([0, 0, 0, 0, 1, 1])
    >>> fit_trust_score(points, labels, alpha=0.25, k=1).bank.num_points
    5

    References:
      Jiang, Kim, Guan and Gupta 2018 (arXiv:1805.11783), algorithm 1. Their code counts
      the point itself among its `k` neighbours; its filter by classifier uncertainty
      takes percentiles over all classes at once, repeats rows, and is left out here.
    """
    _validate.fraction("alpha", alpha)
    _validate.count("k", k)
    points, classes, num_classes = check_fit(features, labels, num_classes)
    bank = make_bank(points, classes, num_classes)
    if alpha > 0:
        kept = _is_dense(points, classes, bank, alpha, k if count_self else k + 1)
        bank = make_bank(points[kept], classes[kept], num_classes)
    return TrustScoreState(bank)


def trust_score(
    state: TrustScoreState,
    features: Float[Array, "batch features"],
    predictions: Int[Array, " batch"],
    *,
    nn_k: int = 1,
    epsilon: float = 1e-12,
) -> Float[Array, " batch"]:
    r"""Trust Score: distance to the nearest other class over that to the predicted one.

    .. math:: s(x) = \frac{\min_{c \ne \hat y} d_c(x)}{d_{\hat y}(x) + \epsilon}

    :math:`d_c` is the distance to the `nn_k`-th nearest training point kept of class
    :math:`c`. Above 1, the neighbourhood agrees with the network.

    Args:
      state: what `fit_trust_score` returned.
      features: of the same space as those of the fit.
      predictions: the classes that the network predicts.
      nn_k: which neighbour measures the distance to a class. The authors' code takes
        the second: give 2 for its numbers, or where the examples are those of the fit.
      epsilon: keeps an example on top of a training point finite.

    Returns:
      The score of each example, in [0, inf]; higher = more trust.

    Raises:
      ValueError: if a shape is wrong, or `nn_k` is not a positive integer.
      TypeError: if the features are not floating point or the predictions not integers.

    =========================================  =====
    Edge case                                  Value
    =========================================  =====
    predicted class with under `nn_k` points   0
    a prediction that is no class of the fit   0
    features whose squares overflow, or inf    0
    no other class with `nn_k` points          inf
    on a training point of the prediction      distance to the others / epsilon
    a NaN feature                              NaN
    =========================================  =====

    >>> state = fit_trust_score(np.array([[0.0], [4.0]]), np.array([0, 1]))
    >>> print(trust_score(state, jnp.array([[1.0]]), jnp.array([0])))
    [3.]

    References:
      Jiang, Kim, Guan and Gupta 2018 (arXiv:1805.11783), definition 2. Their code finds
      the other class by comparing distances as values, so that a tie hides it.
    """
    _validate.count("nn_k", nn_k)
    h = check_queries(features, state.bank.points.shape[-1])
    classes = _inputs.whole_numbers("predictions", predictions, "batch")
    _validate.same_length(features=h, predictions=classes)
    distances = nearest_distances(state.bank, h, nn_k)[..., -1]
    predicted = jax.nn.one_hot(classes, state.bank.num_classes, dtype=bool)
    own = jnp.min(distances, axis=-1, where=predicted, initial=jnp.inf)
    other = jnp.min(distances, axis=-1, where=~predicted, initial=jnp.inf)
    return jnp.where(jnp.isinf(own), 0.0, other / (own + epsilon))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NeighbourState:
    """The features of a training set, as `fit_knn` keeps them.

    Attributes:
      bank: the points, all of one class.
      normalised: whether features are brought to length 1 first; static.
    """

    bank: Bank
    normalised: bool = dataclasses.field(metadata={"static": True})


def fit_knn(
    features: Float[np.ndarray | Array, "examples features"], *, normalised: bool = True
) -> NeighbourState:
    """Keeps the features of a training set for `knn_distance`.

    Args:
      features: inner activations of the training set, usually the last.
      normalised: bring each to length 1, as Sun et al. do.

    Returns:
      The state that `knn_distance` takes.

    Raises:
      ValueError: if the shape is wrong or a feature is not finite.

    >>> fit_knn(np.eye(3)).bank.num_points
    3
    """
    points, labels, _ = check_fit(features, None, None)
    if normalised:
        points = np.asarray(to_unit_length(jnp.asarray(points)))
    return NeighbourState(make_bank(points, labels, 1), normalised)


def knn_distance(
    state: NeighbourState, features: Float[Array, "batch features"], *, k: int = 50
) -> Float[Array, " batch"]:
    r"""Negated distance to the k-th nearest training example, whatever its class.

    .. math:: s(x) = -\lVert h / |h| - h_{(k)} / |h_{(k)}| \rVert_2

    Args:
      state: what `fit_knn` returned.
      features: :math:`h`, of the same space as those of the fit.
      k: which neighbour.

    Returns:
      The score of each example, in [-2, 0] if normalised, else in (-inf, 0]; higher =
      more trust.

    Raises:
      ValueError: if a shape is wrong, or there are fewer than `k` training examples.

    =========================================  =====
    Edge case                                  Value
    =========================================  =====
    on `k` training examples                   0
    zero features, normalised                  -1: the origin is as far from all
    a NaN feature                              NaN
    =========================================  =====

    >>> state = fit_knn(np.eye(2))
    >>> print(knn_distance(state, jnp.array([[5.0, 0.0]]), k=2).round(3))
    [-1.414]

    References:
      Sun, Ming, Zhu and Li 2022 (arXiv:2204.06507), eq. 3: k = 50 for CIFAR-10, 1000
      for ImageNet.
    """
    h = check_queries(features, state.bank.points.shape[-1])
    _validate.count("k", k, at_most=state.bank.num_points)
    if state.normalised:
        h = to_unit_length(h)
    return -nearest_distances(state.bank, h, k)[:, 0, -1]


def to_unit_length(features: jax.Array) -> jax.Array:
    """Each row over its Euclidean length; a row of zeros stays."""
    # Once to a size whose square exists, then to the length.
    scaled, _ = in_units_of_largest(features)
    return divide_no_nan(scaled, safe_norm(scaled)[:, None])


def _is_dense(
    points: np.ndarray, labels: np.ndarray, bank: Bank, alpha: float, k: int
) -> np.ndarray:
    """True at points whose k-th nearest of their class, or the farthest, is near."""
    measure = jax.jit(nearest_distances, static_argnums=2)
    rows = bank.points.shape[1]
    kept = np.zeros(len(points), bool)
    for c in np.unique(labels):
        members = np.flatnonzero(labels == c)
        of_class = bank.only(int(c))
        kth = min(k, len(members))
        radius = np.zeros(len(members), np.float32)
        for start in range(0, len(members), rows):
            # Filled up with the last member, so that every piece compiles as one.
            piece = np.minimum(np.arange(start, start + rows), len(members) - 1)
            queries = jnp.asarray(points[members[piece]])
            radius[piece] = measure(of_class, queries, kth)[:, 0, -1]
        kept[members] = radius <= np.quantile(radius, 1 - alpha)
    return kept


TRUST_SCORE_STATE = Ingredient(
    "trust_score_state",
    fit=fit_trust_score,
    needs=(FEATURES,),
    cost="distances to the training features",
)
KNN_STATE = Ingredient(
    "knn_state",
    fit=lambda features, labels, **options: fit_knn(features, **options),
    needs=(FEATURES,),
    cost="distances to the training features",
)

SCORES = (
    Score(
        trust_score,
        needs=(
            TRUST_SCORE_STATE,
            FEATURES,
            PREDICTIONS,
        ),
        title="Trust Score",
        paper="Jiang et al. 2018",
        equation="min_(c != yhat) d_c / d_yhat",
        provenance="The nearest of a class; the authors' code takes the second.",
    ),
    Score(
        knn_distance,
        needs=(
            KNN_STATE,
            FEATURES,
        ),
        title="k-NN distance",
        paper="Sun et al. 2022, eq. 3",
        equation="-|h - h_(k)|_2, unit vectors",
    ),
)
