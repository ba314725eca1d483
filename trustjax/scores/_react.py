"""ReAct: the energy of features that are cut off near the training set's largest."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from trustjax import _inputs, _validate
from trustjax._numerics import at_least_float32
from trustjax.ingredients import FEATURES, LAST_LAYER, Ingredient
from trustjax.scores._confidence import energy
from trustjax.scores._distance import check_fit
from trustjax.scores._head import check_last_layer, logits_of
from trustjax.scores._score import Score
from trustjax.typing import LastLayer


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ReactState:
    """What `fit_react` returns.

    Attributes:
      limit: `[]`, where features are cut off.
    """

    limit: Any


def fit_react(
    features: Float[np.ndarray | Array, "examples features"], *, quantile: float = 0.9
) -> ReactState:
    """Finds where features are cut off: at a quantile of all of them together.

    Args:
      features: what the last dense layer takes, of the training set.
      quantile: the share of all features of all examples that stays as it is.

    Returns:
      The state that `react` takes.

    Raises:
      ValueError: if the shape is wrong, a feature is not finite, or `quantile` is not
        in [0, 1].

    >>> print(fit_react(np.arange(12.0).reshape(4, 3), quantile=0.5).limit)
    5.5

    References:
      Sun, Guo and Li 2021 (ReAct, NeurIPS, arXiv:2111.12797): the 90th
      percentile. Their code has that of validation data, 1.0 for its ResNet-50.
    """
    _validate.fraction("quantile", quantile)
    points, _, _ = check_fit(features, None, None)
    return ReactState(jnp.asarray(np.quantile(points, quantile), jnp.float32))


def react(
    state: ReactState,
    features: Float[Array, "batch features"],
    last_layer: LastLayer,
) -> Float[Array, " batch"]:
    r"""ReAct: the energy that the last layer gives to features that are cut off.

    .. math:: s(x) = \log \sum_k \exp\big(\min(h, c) \, W + b\big)_k

    What a network has not learned often excites few features by much.

    Args:
      state: what `fit_react` returned; it holds :math:`c`.
      features: :math:`h`, what the last dense layer takes.
      last_layer: :math:`W` and :math:`b`.

    Returns:
      The score of each example, unbounded; higher = more trust.

    Raises:
      ValueError: if a shape is wrong.

    ======================================  ========================
    Edge case                               Value
    ======================================  ========================
    no feature above the limit              the energy of the logits
    a +inf feature                          as one at the limit
    a NaN feature                           NaN
    ======================================  ========================

    >>> layer = LastLayer(jnp.array([[1.0, -9.0], [0.0, -9.0]]), jnp.zeros(2))
    >>> state = ReactState(jnp.asarray(4.0))
    >>> print(react(state, jnp.array([[9.0, 2.0]]), layer))
    [4.]

    References:
      Sun, Guo and Li 2021 (ReAct, NeurIPS, arXiv:2111.12797), with the
      energy of Liu et al. 2020.
    """
    h = at_least_float32(_inputs.floats("features", features, "batch features"))
    layer = check_last_layer(last_layer, h.shape[1])
    return energy(logits_of(jnp.minimum(h, state.limit), layer))


REACT_STATE = Ingredient(
    "react_state",
    fit=lambda features, labels: fit_react(features),
    needs=(FEATURES,),
)

SCORES = (
    Score(
        react,
        needs=(REACT_STATE, FEATURES, LAST_LAYER),
        title="ReAct",
        paper="Sun et al. 2021",
        equation="log sum_k exp (W min(h, c) + b)_k",
        provenance="c is a percentile of the training set, theirs of validation data.",
    ),
)
