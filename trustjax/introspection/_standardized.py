r"""Features without mean and of unit deviation, from sums over a training set.

Mean and deviation of :math:`r = a h^\top` are those of products of the factors:
:math:`\sum_i r_i = A^\top H`, and of the squares :math:`(A \circ A)^\top (H \circ H)`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from trustjax import _inputs, _validate
from trustjax._meshes import in_auto_axes
from trustjax.introspection._algebra import of_one_target
from trustjax.introspection._features import Features

_ROUNDING = 1e-5
"""Variances of less than so much of the mean square are none: sums are in float32."""


class FeatureSums(NamedTuple):
    """Sums over examples, which add up over batches and processes.

    Attributes:
      count: of examples.
      total: of the features, `[classes, width]`.
      squares: of their squares, `[classes, width]`.
    """

    count: Array | np.ndarray
    total: Array | np.ndarray
    squares: Array | np.ndarray


class Standardization(NamedTuple):
    """What features are standardised by.

    Attributes:
      mean: `[classes, width]`.
      deviation: `[classes, width]`; 0 of a feature that is the same for all examples,
        which then counts for nothing. So is one whose deviation is less than 0.3 % of
        its size: sums in float32 do not tell.
    """

    mean: np.ndarray
    deviation: np.ndarray


def feature_sums(
    features: Features, mask: Bool[Array, " batch"] | None = None
) -> FeatureSums:
    """The sums over a batch; add those of several with `jax.tree.map(np.add, ...)`.

    Args:
      features: towards one target, `change` of shape `[batch, classes]`.
      mask: False for what does not count; None for all.

    Returns:
      The sums, in the dtype of the features: add them up in float64.

    Raises:
      ValueError: if the features are towards several classes, or the lengths differ.

    >>> one = Features(jnp.array([[1.0, 2.0]]), jnp.array([[3.0]]))
    >>> print(feature_sums(one).squares)
    [[ 9.]
     [36.]]
    """
    found = of_one_target("features", features)
    rows = jnp.ones(found.change.shape[:1], bool) if mask is None else mask
    counted = _inputs.array("mask", rows)
    _validate.same_length(features=found.change, mask=counted)

    def summed(features: Features, mask: jax.Array) -> FeatureSums:
        # What is masked may be anything, NaN too.
        a, h = (jnp.where(mask[:, None], factor, 0) for factor in features)
        exactly = jax.lax.Precision.HIGHEST
        return FeatureSums(
            jnp.sum(mask),
            jnp.matmul(a.T, h, precision=exactly),
            jnp.matmul((a**2).T, h**2, precision=exactly),
        )

    return in_auto_axes(summed, found, counted, batch=())


def standardization(sums: FeatureSums) -> Standardization:
    """Mean and deviation of features from their sums.

    Raises:
      ValueError: if the sums are of no example, or not finite.

    >>> two = Features(jnp.array([[1.0], [3.0]]), jnp.array([[1.0, 0.0], [1.0, 0.0]]))
    >>> print(standardization(feature_sums(two)))
    Standardization(mean=array([[2., 0.]]), deviation=array([[1., 0.]]))
    """
    count, total, squares = (np.asarray(part, np.float64) for part in sums)
    if not count > 0:
        raise ValueError("features must be of one example at least, got none")
    if not (np.isfinite(total).all() and np.isfinite(squares).all()):
        raise ValueError(
            "the features must be finite, got sums that are not: the first stage says "
            "NaN or infinite logits about some of the training set"
        )
    mean, mean_square = total / count, squares / count
    variance = mean_square - mean**2
    varies = variance > _ROUNDING * mean_square
    return Standardization(mean, np.sqrt(np.where(varies, variance, 0)))
