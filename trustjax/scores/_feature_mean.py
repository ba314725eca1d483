"""Scores by how far the features are from the mean of the training set's.

In a network that has learned its training set, the features of a class lie in the
direction of its own weights, seen from the mean of all features; those of what the
network has not learned lie near that mean.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from trustjax import _inputs, _validate
from trustjax._numerics import (
    at_least_float32,
    divide_no_nan,
    in_range,
    in_units_of_largest,
    safe_norm,
    safe_sqrt,
)
from trustjax.ingredients import (
    FEATURES,
    LAST_LAYER,
    LOGITS,
    PREDICTIONS,
    Ingredient,
)
from trustjax.scores._distance import check_fit, check_queries
from trustjax.scores._head import check_last_layer, weights_of
from trustjax.scores._score import Score
from trustjax.typing import LastLayer


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FeatureMeanState:
    """What `fit_feature_mean` returns.

    Attributes:
      mean: `[features]`.
    """

    mean: Any


def fit_feature_mean(
    features: Float[np.ndarray | Array, "examples features"],
) -> FeatureMeanState:
    """The mean of the features of a training set, for `fdbd` and `nci`.

    Args:
      features: what the last dense layer takes, of the training set.

    Returns:
      The state that `fdbd` and `nci` take.

    Raises:
      ValueError: if the shape is wrong or a feature is not finite.

    >>> print(fit_feature_mean(np.array([[0.0, 1.0], [2.0, 1.0]])).mean)
    [1. 1.]
    """
    points, _, _ = check_fit(features, None, None)
    return FeatureMeanState(jnp.asarray(points.mean(axis=0, dtype=np.float64), "f4"))


def fdbd(
    state: FeatureMeanState,
    features: Float[Array, "batch features"],
    logits: Float[Array, "batch classes"],
    last_layer: LastLayer,
) -> Float[Array, " batch"]:
    r"""fDBD: mean distance to the decision boundaries, by that to the features' mean.

    .. math::
      s(x) = \frac{1}{\lVert h - \mu \rVert_2} \, \operatorname{mean}_{c \ne \hat y}
        \frac{z_{\hat y} - z_c}{\lVert w_{\hat y} - w_c \rVert_2}

    Each quotient is how far :math:`h` has to move before class :math:`c` is predicted.

    Args:
      state: what `fit_feature_mean` returned.
      features: :math:`h`, what the last dense layer takes.
      logits: :math:`z = h W + b`.
      last_layer: :math:`W` and :math:`b`.

    Returns:
      The score of each example, in [0, inf]; higher = more trust.

    Raises:
      ValueError: if a shape is wrong.

    ======================================  ==================================
    Edge case                               Value
    ======================================  ==================================
    one class, or all of equal weights      0
    a class of weights as the prediction's  left out of the mean
    features at the mean                    inf; 0 where all logits are equal
    one +inf logit                          inf
    two +inf logits, or a NaN               NaN
    ======================================  ==================================

    >>> state = fit_feature_mean(np.array([[-1.0, 0.0], [1.0, 0.0]]))
    >>> h, layer = jnp.array([[2.0, 0.0]]), LastLayer(jnp.eye(2), jnp.zeros(2))
    >>> print(fdbd(state, h, h, layer).round(4))  # 2 / sqrt(2), by 2
    [0.7071]

    References:
      Liu and Qin 2024 (fDBD, ICML, arXiv:2312.11536). Their code adds up where
      the paper takes the mean, which ranks alike.
    """
    h = check_queries(features, state.mean.shape[-1])
    z = at_least_float32(_inputs.logits(logits))
    _validate.same_length(features=h, logits=z)
    layer = check_last_layer(last_layer, h.shape[1], z.shape[1])
    predicted = jnp.argmax(z, axis=-1)
    lead = jnp.max(z, axis=-1, keepdims=True) - z
    others = jnp.arange(z.shape[1])[None] != predicted[:, None]
    # By differences, and not by products: equal weights are no distance apart.
    weights, unit = in_units_of_largest(layer.kernel.T.ravel())
    rows = weights.reshape(layer.kernel.shape[1], -1)
    apart = weights_of(predicted, rows.T)[:, None] - rows[None]
    distance = safe_sqrt(jnp.sum(apart**2, axis=-1)) * unit[0]
    counted = others & (distance > 0)
    quotients = jnp.where(counted, divide_no_nan(lead, distance), 0.0)
    count = jnp.sum(counted, axis=-1)
    mean = jnp.sum(quotients, axis=-1) / jnp.maximum(count, 1)
    away = safe_norm(h - state.mean[None])
    unknown = jnp.isnan(z).any(axis=-1) | jnp.isnan(away)
    at_mean = jnp.where(mean == 0, 0.0, jnp.inf)
    score = divide_no_nan(mean, away, otherwise=at_mean)
    return jnp.where(unknown, jnp.nan, score)


def nci(
    state: FeatureMeanState,
    features: Float[Array, "batch features"],
    predictions: Int[Array, " batch"],
    last_layer: LastLayer,
    *,
    alpha: float = 1e-4,
) -> Float[Array, " batch"]:
    r"""NCI: how far features point along the predicted weights, and their strength.

    .. math::
      s(x) = w_{\hat y} \cdot \frac{h - \mu}{\lVert h - \mu \rVert_2}
             + \alpha \lVert h \rVert_1

    Args:
      state: what `fit_feature_mean` returned.
      features: :math:`h`, what the last dense layer takes.
      predictions: the classes that the network predicts.
      last_layer: its :math:`W` holds :math:`w_c`, one column for each class.
      alpha: :math:`\alpha`; 0 leaves the strength out.

    Returns:
      The score of each example, unbounded; higher = more trust.

    Raises:
      ValueError: if a shape is wrong, or `alpha` is negative.

    ======================================  ====================================
    Edge case                               Value
    ======================================  ====================================
    features at the mean                    alpha times their L1 norm
    a prediction that is no class           NaN
    an infinite feature, or a NaN           NaN
    ======================================  ====================================

    >>> state = fit_feature_mean(np.zeros((1, 2)))
    >>> layer = LastLayer(jnp.array([[0.0, 3.0], [1.0, 4.0]]), jnp.zeros(2))
    >>> h = jnp.array([[0.0, 2.0]])
    >>> print(nci(state, h, jnp.array([1]), layer, alpha=0.5))
    [5.]

    References:
      Liu and Qin 2025 (NCI, CVPR, arXiv:2311.01479). The paper chooses
      alpha by validation data; OpenOOD looks from 1e-4 to 0.1.
    """
    _validate.not_negative("alpha", alpha)
    h = check_queries(features, state.mean.shape[-1])
    classes = _inputs.whole_numbers("predictions", predictions, "batch")
    _validate.same_length(features=h, predictions=classes)
    layer = check_last_layer(last_layer, h.shape[1])
    centred, _ = in_units_of_largest(h - state.mean[None])
    direction = divide_no_nan(centred, safe_norm(centred)[:, None])
    known = in_range(classes, layer.kernel.shape[1])
    along = jnp.sum(direction * weights_of(classes, layer.kernel), axis=-1)
    along = jnp.where(known, along, jnp.nan)
    return along + jnp.sum(alpha * jnp.abs(h), axis=-1)


FEATURE_MEAN_STATE = Ingredient(
    "feature_mean_state",
    fit=lambda features, labels: fit_feature_mean(features),
    needs=(FEATURES,),
)

SCORES = (
    Score(
        fdbd,
        needs=(FEATURE_MEAN_STATE, FEATURES, LOGITS, LAST_LAYER),
        title="fDBD",
        paper="Liu and Qin 2024",
        equation="mean_(c != yhat) (z_yhat - z_c) / |w_yhat - w_c|_2 / |h - m|_2",
        provenance="The authors' code has the sum, which ranks alike.",
    ),
    Score(
        nci,
        needs=(FEATURE_MEAN_STATE, FEATURES, PREDICTIONS, LAST_LAYER),
        title="NCI",
        paper="Liu and Qin 2025",
        equation="w_yhat . (h - m) / |h - m|_2 + a |h|_1",
        provenance="a = 1e-4, which the paper chooses by validation data.",
    ),
)
