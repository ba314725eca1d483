"""GEN, the generalised entropy of the most probable classes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _validate
from trustjax._numerics import is_predicted
from trustjax.ingredients import LOGITS
from trustjax.scores._score import Score
from trustjax.scores._softmax import log_probabilities


def gen(
    logits: Float[Array, "batch classes"], *, gamma: float = 0.1, top_m: int = 100
) -> Float[Array, " batch"]:
    r"""GEN: negated generalised entropy of the most probable classes.

    .. math:: s(x) = -\sum_{j \in \text{top } M} p_j^\gamma (1 - p_j)^\gamma

    A small :math:`\gamma` makes much of small probabilities that are not quite 0, which
    the entropy hardly sees.

    Args:
      logits: network outputs before the softmax.
      gamma: :math:`\gamma`, in (0, 1].
      top_m: :math:`M`, how many of the largest probabilities to add up; all where there
        are fewer classes.

    Returns:
      The score of each example, in [-M / 4 ** gamma, 0]; higher = more trust.

    Raises:
      ValueError: if `logits` is not `[batch, classes]`, `gamma` is not in (0, 1], or
        `top_m` is not a positive integer.

    =================================  =====================================
    Edge case                          Value
    =================================  =====================================
    one class                          0
    equal logits                       -M ((C - 1) / C ** 2) ** gamma
    a class of probability 0           adds nothing
    one +inf logit                     0
    two +inf logits, or a NaN          NaN
    =================================  =====================================

    >>> print(gen(jnp.zeros((1, 2)), gamma=0.5))
    [-1.]

    References:
      Liu, Lochman and Zach 2023 (GEN, CVPR), for 1,000 classes with M = 100. In
      their code 1 - p is the difference to 1; here it is the sum of the others, which
      keeps its digits where p rounds to 1.
    """
    _validate.positive("gamma", gamma)
    _validate.fraction("gamma", gamma)
    _validate.count("top_m", top_m)
    log_p = log_probabilities(logits)
    classes = log_p.shape[-1]
    if classes == 1:
        return jnp.where(jnp.isnan(log_p[:, 0]), jnp.nan, 0.0).astype(log_p.dtype)
    predicted = is_predicted(log_p)
    log_doubt = jax.nn.logsumexp(log_p, axis=-1, where=~predicted)
    # Of those that are not predicted none is above 1/2, and 1 - p keeps its digits.
    others = jnp.where(predicted, 0.0, jnp.exp(log_p))
    log_rest = jnp.where(predicted, log_doubt[:, None], jnp.log1p(-others))
    if classes > top_m:
        # The predicted class is the first of them.
        order = jax.lax.top_k(log_p, top_m)[1]
        log_p, log_rest = (
            jnp.take_along_axis(a, order, axis=-1) for a in (log_p, log_rest)
        )
    # The power by its logarithm: its derivative at 0 would be infinite.
    some = (log_p > -jnp.inf) & (log_rest > -jnp.inf)
    log_both = jnp.where(some, log_p, 0.0) + jnp.where(some, log_rest, 0.0)
    terms = jnp.where(some, jnp.exp(gamma * log_both), 0.0)
    unknown = jnp.isnan(log_p).any(axis=-1)
    return jnp.where(unknown, jnp.nan, -jnp.sum(terms, axis=-1))


SCORES = (
    Score(
        gen,
        needs=(LOGITS,),
        title="GEN",
        paper="Liu et al. 2023",
        equation="-sum_(top M) (p_j (1 - p_j))^g",
        provenance="1 - p is the sum of the others.",
    ),
)
