"""The energy of features that are pruned or scaled by how few of them hold their sum.

Both are for features that are not negative, as behind a ReLU: their sum is then shared
out among them, and the largest hold at most all of it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _inputs, _validate
from trustjax._numerics import at_least_float32, in_units_of_largest
from trustjax.ingredients import FEATURES, LAST_LAYER
from trustjax.scores._confidence import energy
from trustjax.scores._head import check_last_layer, logits_of
from trustjax.scores._largest import kth_largest, sum_of_largest
from trustjax.scores._score import Score
from trustjax.typing import LastLayer


def ash(
    features: Float[Array, "batch features"],
    last_layer: LastLayer,
    *,
    variant: str = "S",
    percentile: float = 0.9,
) -> Float[Array, " batch"]:
    r"""ASH: the energy that the last layer gives to the few largest features.

    .. math::
      s(x) = \log \sum_k \exp(\tilde h W + b)_k, \qquad
      \tilde h = \begin{cases}
        e^{s_1 / s_2} \, h \odot m & \text{S} \\
        (s_1 / n) \, m & \text{B} \\
        h \odot m & \text{P} \end{cases}

    :math:`m` marks the :math:`n` largest features; :math:`s_1` and :math:`s_2` are
    the sums of all, and of those.

    Args:
      features: :math:`h`, what the last dense layer takes; not negative.
      last_layer: :math:`W` and :math:`b`.
      variant: `"S"` scales what is left, `"B"` makes it all alike, `"P"` only prunes.
      percentile: the share of the features that is pruned, in [0, 1); one is always
        left.

    Returns:
      The score of each example, unbounded; higher = more trust.

    Raises:
      ValueError: if a shape is wrong, `variant` is unknown, or `percentile` is not in
        [0, 1).

    ======================================  =====================================
    Edge case                               Value
    ======================================  =====================================
    zero features                           the energy of the bias
    the largest sum to 0 or less (S)        a factor of 1
    equal features at the last place        those that come first are left
    an infinite feature, or a NaN           NaN
    ======================================  =====================================

    >>> layer = LastLayer(jnp.array([[1.0, -9.0], [1.0, -9.0]]), jnp.zeros(2))
    >>> h = jnp.array([[6.0, 2.0]])
    >>> print([ash(h, layer, variant=v, percentile=0.5).item() for v in "BP"])
    [8.0, 6.0]

    References:
      Djurisic, Bozanic, Ashok and Liu 2023 (ASH, ICLR, arXiv:2209.09858), at the last
      layer's features. Their share is 0.9 for ImageNet, 0.95 for CIFAR-10.
    """
    _validate.choice("variant", variant, ("S", "B", "P"))
    h, unit = _in_own_unit(features)
    left = _left(percentile, h.shape[1])
    layer = check_last_layer(last_layer, h.shape[1])
    least = kth_largest(h, left)
    above, tied = h > least, h == least
    room = left - jnp.sum(above, axis=-1, keepdims=True)
    kept = above | (tied & (jnp.cumsum(tied, axis=-1) <= room)) | jnp.isnan(h)
    pruned = jnp.where(kept, h, 0.0)
    factor = jnp.ones_like(unit)
    if variant == "S":
        factor = _factor(h, jnp.sum(pruned, axis=-1))
    if variant == "B":
        pruned = jnp.where(kept, jnp.sum(h, axis=-1, keepdims=True) / left, 0.0)
    return energy(logits_of(pruned, layer, unit, factor))


def scaled_energy(
    features: Float[Array, "batch features"],
    last_layer: LastLayer,
    *,
    percentile: float = 0.85,
) -> Float[Array, " batch"]:
    r"""SCALE: the energy that the last layer gives to features that are scaled.

    .. math::
      s(x) = \log \sum_k \exp\big(e^{s_1 / s_2} \, h W + b\big)_k

    :math:`s_1` is the sum of all features, :math:`s_2` that of the largest; none is
    pruned.

    Args:
      features: :math:`h`, what the last dense layer takes; not negative.
      last_layer: :math:`W` and :math:`b`.
      percentile: the share of the features that are not among the largest, in [0, 1);
        one always is.

    Returns:
      The score of each example, unbounded; higher = more trust.

    Raises:
      ValueError: if a shape is wrong or `percentile` is not in [0, 1).

    ======================================  =====================================
    Edge case                               Value
    ======================================  =====================================
    zero features                           the energy of the bias
    the largest sum to 0 or less            a factor of 1
    an infinite feature, or a NaN           NaN
    ======================================  =====================================

    >>> layer = LastLayer(jnp.array([[1.0, -9.0], [0.0, -9.0]]), jnp.zeros(2))
    >>> value = scaled_energy(jnp.array([[2.0, 0.0]]), layer)
    >>> print(f"{value.item():.4f}")  # 2 e
    5.4366

    References:
      Xu, Chen, Franchi and Yao 2024 (SCALE, ICLR, arXiv:2310.00227).
    """
    h, unit = _in_own_unit(features)
    left = _left(percentile, h.shape[1])
    layer = check_last_layer(last_layer, h.shape[1])
    of_largest = sum_of_largest(h, left)
    return energy(logits_of(h, layer, unit, _factor(h, of_largest)))


def _in_own_unit(features: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Features in a unit of each example's own, NaN if one is not finite; the unit."""
    h = at_least_float32(_inputs.floats("features", features, "batch features"))
    _validate.count("the number of features", h.shape[1])
    finite = jnp.isfinite(h).all(axis=-1, keepdims=True)
    h, unit = in_units_of_largest(jnp.where(finite, h, jnp.nan))
    return h, unit[:, 0]


def _left(percentile: float, width: int) -> int:
    """How many features are the largest."""
    if not 0 <= percentile < 1:
        raise ValueError(f"percentile must be in [0, 1), got {percentile}")
    return max(1, width - round(width * percentile))


def _factor(h: jax.Array, of_largest: jax.Array) -> jax.Array:
    """The exponential of the sum of all over the sum of the largest."""
    sensible = ~(of_largest <= 0)
    ratio = jnp.sum(h, axis=-1) / jnp.where(sensible, of_largest, 1.0)
    return jnp.where(sensible, jnp.exp(ratio), 1.0)


SCORES = (
    Score(
        ash,
        needs=(FEATURES, LAST_LAYER),
        title="ASH-S",
        paper="Djurisic et al. 2023",
        equation="log sum_k exp (W h m exp(s_1 / s_2) + b)_k",
        provenance="m: the largest tenth; for features that are not negative.",
    ),
    Score(
        scaled_energy,
        needs=(FEATURES, LAST_LAYER),
        title="SCALE",
        paper="Xu et al. 2024",
        equation="log sum_k exp (W h exp(s_1 / s_2) + b)_k",
        provenance="For features that are not negative.",
    ),
)
