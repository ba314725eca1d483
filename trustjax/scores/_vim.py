"""ViM: a further logit for what the features have beside the training set's space."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from trustjax import _inputs, _validate
from trustjax._numerics import at_least_float32, in_units_of_largest, safe_norm
from trustjax.ingredients import FEATURES, LAST_LAYER, LOGITS, Ingredient
from trustjax.scores._confidence import energy
from trustjax.scores._distance import check_fit, check_queries
from trustjax.scores._head import check_last_layer
from trustjax.scores._score import Score
from trustjax.typing import LastLayer


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VimState:
    r"""What `fit_vim` returns.

    Attributes:
      origin: `[features]`, :math:`o`, which the last layer sends nearest to 0.
      residual: `[features, features - D]`, :math:`R`, orthonormal: the directions in
        which the training set lies closest to the origin.
      alpha: `[]`, :math:`\alpha`, which brings lengths to the size of logits.
    """

    origin: Any
    residual: Any
    alpha: Any


def fit_vim(
    features: Float[np.ndarray | Array, "examples features"],
    last_layer: LastLayer,
    *,
    dimensions: int | None = None,
) -> VimState:
    r"""Finds the space in which the features of a training set lie.

    .. math::
      o = -W^{+\top} b, \qquad R = \text{eigenvectors of } \mathbb{E}[(h-o)(h-o)^\top]
      \text{ past the first } D, \qquad
      \alpha = \frac{\mathbb{E} \max_k z_k}{\mathbb{E} \lVert R^\top (h - o) \rVert_2}

    Args:
      features: :math:`h`, what the last dense layer takes, of the training set.
      last_layer: :math:`W` and :math:`b`, of which the logits are made.
      dimensions: :math:`D` of the principal space, fewer than there are features; None
        takes 1000 of 2048 features and more, 512 of 768 and more, else half of them.

    Returns:
      The state that `vim` takes. Where the principal space holds the training set up
      to rounding, alpha is 0: nothing says how large a residual is.

    Raises:
      ValueError: if a shape is wrong, a feature is not finite, or there are no such
        dimensions.

    >>> points = np.array([[4.0, 1.0], [-4.0, 1.0]])
    >>> state = fit_vim(points, LastLayer(np.eye(2), np.zeros(2)))
    >>> print(np.abs(state.residual).ravel(), state.alpha)
    [0. 1.] 2.5

    References:
      Wang, Li, Feng and Zhang 2022 (ViM, CVPR, arXiv:2203.10807). The
      dimensions are those of their code.
    """
    points, _, _ = check_fit(features, None, None)
    layer = check_last_layer(last_layer, points.shape[1])
    _validate.known(last_layer=layer.kernel)
    width = points.shape[1]
    principal = usual_dimensions(width) if dimensions is None else dimensions
    _validate.count("dimensions", principal, at_least=0, at_most=width - 1)
    kernel, bias = (np.asarray(a, np.float64) for a in layer)
    origin = -np.linalg.pinv(kernel.T) @ bias
    centred = points.astype(np.float64) - origin
    # In ascending order of how far the training set reaches.
    _, directions = np.linalg.eigh(centred.T @ centred / len(centred))
    residual = directions[:, : width - principal]
    length = np.linalg.norm(centred @ residual, axis=1).mean()
    whole = np.linalg.norm(centred, axis=1).mean()
    largest = (points @ kernel + bias).max(axis=1).mean()
    there = length > np.finfo(np.float32).eps * whole
    return VimState(
        origin=jnp.asarray(origin, jnp.float32),
        residual=jnp.asarray(residual, jnp.float32),
        alpha=jnp.asarray(largest / length if there else 0.0, jnp.float32),
    )


def vim(
    state: VimState,
    features: Float[Array, "batch features"],
    logits: Float[Array, "batch classes"],
) -> Float[Array, " batch"]:
    r"""ViM: the energy of the logits less a virtual logit of what they do not see.

    .. math::
      s(x) = \log \sum_k e^{z_k} - \alpha \, \lVert R^\top (h - o) \rVert_2

    Args:
      state: what `fit_vim` returned.
      features: :math:`h`, of the same space as those of the fit.
      logits: network outputs before the softmax.

    Returns:
      The score of each example, unbounded; higher = more trust.

    Raises:
      ValueError: if a shape is wrong.

    ======================================  ====================
    Edge case                               Value
    ======================================  ====================
    in the principal space                  the energy
    one +inf logit, or more                 inf
    an infinite feature, or a NaN           NaN
    ======================================  ====================

    >>> points = np.array([[4.0, 1.0], [-4.0, 1.0]])
    >>> state = fit_vim(points, LastLayer(np.eye(2), np.zeros(2)))
    >>> h = jnp.array([[40.0, 0.0], [40.0, 2.0]])
    >>> print(vim(state, h, h))
    [40. 35.]

    References:
      Wang, Li, Feng and Zhang 2022 (ViM, CVPR, arXiv:2203.10807): their
      score is the probability of the virtual logit, of which this is a monotone
      function.
    """
    h = check_queries(features, state.origin.shape[-1])
    z = at_least_float32(_inputs.logits(logits))
    _validate.same_length(features=h, logits=z)
    centred, unit = in_units_of_largest(h - state.origin[None])
    projected = jnp.matmul(centred, state.residual, precision=jax.lax.Precision.HIGHEST)
    length = safe_norm(projected) * unit[:, 0]
    unknown = ~jnp.isfinite(h).all(axis=-1)
    return jnp.where(unknown, jnp.nan, energy(z) - state.alpha * length)


def usual_dimensions(width: int) -> int:
    """Of the principal space of so many features, as the authors' code has them."""
    return 1000 if width >= 2048 else 512 if width >= 768 else width // 2


VIM_STATE = Ingredient(
    "vim_state",
    fit=lambda features, layer, labels: fit_vim(features, layer),
    needs=(FEATURES, LAST_LAYER),
    cost="a product of the features with their residual space",
)

SCORES = (
    Score(
        vim,
        needs=(VIM_STATE, FEATURES, LOGITS),
        title="ViM",
        paper="Wang et al. 2022",
        equation="log sum_k exp z_k - a |R' (h - o)|_2",
        provenance="A monotone function of their probability of the virtual logit.",
    ),
)
