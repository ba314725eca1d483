"""How often each record was classified right while a network learned, and a loss of it.

An example that is right early and stays so is easy, and one that is right now and then
is hard: how often it was right stands in for the chance of a right answer, by which
confidence can be ordered.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from trustjax import _inputs, _numerics, _validate
from trustjax._meshes import in_auto_axes


class CorrectnessHistory(NamedTuple):
    """Of each record, how often it was seen in training, and how often right.

    Attributes:
      right: times that it was classified right.
      seen: times that it was classified.
    """

    right: Int[Array, "*networks records"]
    seen: Int[Array, "*networks records"]

    @classmethod
    def empty(cls, records: int) -> "CorrectnessHistory":
        """Of records that were never seen."""
        nothing = jnp.zeros(records, jnp.int32)
        return cls(nothing, nothing)

    @property
    def correctness(self) -> Float[Array, "*networks records"]:
        """The share of the times that it was right, in [0, 1]; 0 if never seen."""
        right = self.right.astype(jnp.float32)
        return _numerics.divide_no_nan(right, self.seen.astype(jnp.float32))

    def after(
        self,
        records: Int[Array, " batch"],
        right: Bool[Array, " batch"],
        mask: Bool[Array, " batch"],
    ) -> "CorrectnessHistory":
        """The history after a batch, of which those outside the mask do not count.

        >>> batch = jnp.array([2, 0]), jnp.array([True, False]), jnp.ones(2, bool)
        >>> history = CorrectnessHistory.empty(3).after(*batch)
        >>> print(history.seen, history.correctness)
        [1 0 1] [0. 0. 1.]
        """
        return CorrectnessHistory(
            self.right.at[records].add((right & mask).astype(jnp.int32)),
            self.seen.at[records].add(mask.astype(jnp.int32)),
        )


def correctness_ranking_loss(
    confidence: Float[Array, " batch"],
    correctness: Float[Array, " batch"],
    *,
    mask: Bool[Array, " batch"] | None = None,
) -> Float[Array, " batch"]:
    r"""Correctness ranking loss: who was right more often shall be the surer one.

    .. math:: \ell_i = \max\bigl(0, -\operatorname{sign}(c_i - c_j)
              (\kappa_i - \kappa_j) + |c_i - c_j|\bigr), \qquad j = i + 1

    Each example is compared with the next, the last with the first.

    Args:
      confidence: :math:`\kappa`, such as the largest probability, in [0, 1]: it is to
        differ by as much as the correctness does.
      correctness: :math:`c`, the share of the times that the example was classified
        right so far: `batch["correctness"]` in `fit_many`.
      mask: False for padding, no pair of which counts; None if there is none.

    Returns:
      The loss of each pair, in [0, 2] for numbers in [0, 1], float32 or wider; 0 where
      one of the two is padding. Lower = better ordered.

    Raises:
      ValueError: if the lengths differ.

    ===============================  =================
    Edge case                        Value
    ===============================  =================
    equally often right              0, with gradient 0
    one example                      0
    a NaN                            NaN
    ===============================  =================

    >>> sure, right = jnp.array([0.5, 0.75, 0.5]), jnp.array([1.0, 0.25, 0.25])
    >>> print(correctness_ranking_loss(sure, right))
    [1.   0.   0.75]

    References:
      Moon et al. 2020 (ICML, arXiv:2007.01458), eq. 2 and the pairs of section 3.3.
      The authors' code spreads the correctness so that that of the record which was
      right least often is 0; here it is the share itself, as in the paper.
    """
    k = _numerics.at_least_float32(_inputs.floats("confidence", confidence, "batch"))
    c = _numerics.at_least_float32(_inputs.floats("correctness", correctness, "batch"))
    _validate.same_length(confidence=k, correctness=c)
    mask = jnp.ones(k.shape, bool) if mask is None else _inputs.array("mask", mask)
    _validate.same_length(confidence=k, mask=mask)

    def of_batch(k: jax.Array, c: jax.Array, mask: jax.Array) -> jax.Array:
        apart, more_often = (values - jnp.roll(values, -1) for values in (k, c))
        loss = jnp.maximum(0.0, jnp.abs(more_often) - jnp.sign(more_often) * apart)
        return jnp.where(mask & jnp.roll(mask, -1), loss, 0.0)

    return in_auto_axes(of_batch, k, c, mask, batch=k)
