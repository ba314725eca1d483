"""NNGuide: the energy, where the training set was as sure in the same direction."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from trustjax import _inputs, _validate
from trustjax._numerics import at_least_float32
from trustjax.ingredients import FEATURES, LOGITS, Ingredient
from trustjax.scores._confidence import energy
from trustjax.scores._distance import check_fit, check_queries
from trustjax.scores._largest import sum_of_largest
from trustjax.scores._neighbour import to_unit_length
from trustjax.scores._score import Score

_FEWEST = 1000
"""Examples that a bank has, if the training set has as many."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NnguideState:
    """What `fit_nnguide` returns.

    Attributes:
      bank: `[examples, features]`: features of length 1, times the energy of each.
    """

    bank: Any


def fit_nnguide(
    features: Float[np.ndarray | Array, "examples features"],
    logits: Float[np.ndarray | Array, "examples classes"],
    *,
    share: float = 0.01,
) -> NnguideState:
    """Keeps a share of a training set for `nnguide`: directions, and how sure it is.

    Args:
      features: what the last dense layer takes, of the training set.
      logits: what it answers.
      share: how much of the training set is kept, evenly from its beginning to its
        end; in (0, 1]. No less than 1,000 examples, or all there are.

    Returns:
      The state that `nnguide` takes.

    Raises:
      ValueError: if a shape is wrong, a feature or a logit is not finite, or `share` is
        not in (0, 1].

    >>> fit_nnguide(np.eye(3), np.zeros((3, 2))).bank.shape
    (3, 3)

    References:
      Park, Jung and Teoh 2023 (NNGuide, ICCV, arXiv:2309.14888): 1 % of
      ImageNet. Which share of a small set they do not say.
    """
    _validate.positive("share", share)
    _validate.fraction("share", share)
    h = jnp.asarray(check_fit(features, None, None)[0])
    z = at_least_float32(_inputs.logits(logits))
    _validate.same_length(features=h, logits=z)
    _validate.finite("logits", z)
    count = min(len(h), max(_FEWEST, math.ceil(share * len(h))))
    rows = np.linspace(0, len(h) - 1, count).round().astype(int)
    directions = to_unit_length(h[rows])
    bank = directions * energy(z[rows])[:, None]
    return NnguideState(bank.astype(jnp.float32))


def nnguide(
    state: NnguideState,
    features: Float[Array, "batch features"],
    logits: Float[Array, "batch classes"],
    *,
    k: int = 10,
) -> Float[Array, " batch"]:
    r"""NNGuide: the energy, times how sure the nearest of the training set were.

    .. math::
      s(x) = E(x) \cdot \operatorname{mean}_{i \in \text{top } k}
        E(x_i) \cos(h, h_i), \qquad E(x) = \log \sum_k e^{z_k}

    Args:
      state: what `fit_nnguide` returned.
      features: :math:`h`, of the same space as those of the fit.
      logits: network outputs before the softmax.
      k: how many of the training set, those of the largest product.

    Returns:
      The score of each example, unbounded; higher = more trust. Where energies are
      negative the sense is reversed, as in the paper.

    Raises:
      ValueError: if a shape is wrong, or fewer than `k` examples were kept.

    ======================================  =====
    Edge case                               Value
    ======================================  =====
    zero features                           0
    an infinite feature, or a NaN           NaN
    ======================================  =====

    >>> bank = fit_nnguide(np.eye(2), np.log(np.full((2, 2), np.exp(3) / 2)))
    >>> h, z = jnp.array([[5.0, 0.0]]), jnp.array([[2.0, -99.0]])
    >>> print(nnguide(bank, h, z, k=1).round(4), nnguide(bank, h, z, k=2).round(4))
    [6.] [3.]

    References:
      Park, Jung and Teoh 2023 (NNGuide, ICCV, arXiv:2309.14888): k = 10;
      OpenOOD takes 100.
    """
    h = check_queries(features, state.bank.shape[-1])
    z = at_least_float32(_inputs.logits(logits))
    _validate.same_length(features=h, logits=z)
    _validate.count("k", k, at_most=state.bank.shape[0])
    directions = to_unit_length(h)
    guides = jnp.matmul(directions, state.bank.T, precision=jax.lax.Precision.HIGHEST)
    unknown = ~jnp.isfinite(h).all(axis=-1)
    mean = sum_of_largest(guides, k) / k
    return jnp.where(unknown, jnp.nan, energy(z) * mean)


NNGUIDE_STATE = Ingredient(
    "nnguide_state",
    fit=lambda features, logits, labels: fit_nnguide(features, logits),
    needs=(FEATURES, LOGITS),
    cost="products with kept training features",
)

SCORES = (
    Score(
        nnguide,
        needs=(NNGUIDE_STATE, FEATURES, LOGITS),
        title="NNGuide",
        paper="Park et al. 2023",
        equation="E(x) mean_(top k) E(x_i) cos(h, h_i), E = log sum_k exp z_k",
        provenance="At least 1,000 training examples are kept, else 1 %.",
    ),
)
