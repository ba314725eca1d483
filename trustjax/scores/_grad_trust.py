"""GradTrust: how much would the network have to change to say something else?

The gradient of the loss towards a class says how the weights would move to predict it.
Where the moves towards the other classes are large beside the move towards the
prediction, the prediction is hard to overturn, and deserves trust.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _inputs, _validate, targets
from trustjax._numerics import (
    at_least_float32,
    divide_no_nan,
    in_units_of_largest,
    is_predicted,
)
from trustjax.ingredients import LOGITS
from trustjax.scores._score import TUTORIAL, Score
from trustjax.scores._softmax import (
    log_distance_to_prediction,
    log_probabilities,
)


def grad_trust(
    logits: Float[Array, "batch classes"], *, top_k: int | None = None
) -> Float[Array, " batch"]:
    r"""GradTrust of the last linear layer under cross entropy, in closed form.

    The gradient towards class :math:`i` is :math:`(p - e_i) h^\top`. Its entries sum to
    zero over the classes, its variance is :math:`|p - e_i|^2 |h|^2 / (C D)`, and the
    features cancel in the ratio:

    .. math::
      s(x) = \frac{\frac{1}{K} \sum_{k \in \text{top-}K} |p - e_k|^2}
                  {|p - e_{\hat y}|^2}

    The logits alone decide; no backward pass is run.

    Args:
      logits: network outputs before the softmax.
      top_k: :math:`K`, the number of counterfactual classes: the most probable ones
        other than the prediction. None takes all of them.

    Returns:
      The score of each example, in [1, inf]; higher = more trust. Unchanged by adding
      a constant to the logits.

    Raises:
      ValueError: if `logits` is not `[batch, classes]`, or `top_k` is not in
        1, ..., classes - 1.

    =================================  =====
    Edge case                          Value
    =================================  =====
    one class                          inf
    equal logits                       1
    p one-hot, or 1 - p below 5e-20    inf
    two +inf logits, or a NaN          NaN
    =================================  =====

    >>> probabilities = jnp.array([[0.8, 0.1, 0.1], [0.4, 0.3, 0.3]])
    >>> print(grad_trust(jnp.log(probabilities)).round())
    [24.  1.]

    References:
      Prabhushankar and AlRegib 2024 (arXiv:2405.13758); AlRegib and Prabhushankar 2025,
      slide "GradTrust", read so that trust grows with "how much change is required to
      predict an incorrect class". The authors' released code computes something else:
      see `grad_trust_reference`.
    """
    return jnp.exp(log_grad_trust(logits, top_k=top_k))


def log_grad_trust(
    logits: Float[Array, "batch classes"], *, top_k: int | None = None
) -> Float[Array, " batch"]:
    r"""Logarithm of `grad_trust`, which ranks the same and does not overflow.

    Args:
      logits: network outputs before the softmax.
      top_k: as in `grad_trust`.

    Returns:
      The score of each example, in [0, inf]; higher = more trust.

    Raises:
      ValueError: as `grad_trust`.

    =================================  =====
    Edge case                          Value
    =================================  =====
    one class                          inf
    equal logits                       0
    p one-hot                          inf
    two +inf logits, or a NaN          NaN
    =================================  =====

    >>> print(log_grad_trust(jnp.array([[60.0, 0.0], [0.0, 0.0]])).round(2))
    [120.   0.]

    References:
      As `grad_trust`.
    """
    log_p = log_probabilities(logits)
    if not _has_rivals(log_p.shape[-1], top_k):
        return jnp.where(jnp.isnan(log_p[:, 0]), jnp.nan, jnp.inf)
    p = jnp.exp(log_p)
    to_class = jnp.sum(p**2, axis=-1, keepdims=True) - 2 * p + 1
    counterfactual = _mean_over_rivals(to_class, log_p, top_k)
    return jnp.log(counterfactual) - log_distance_to_prediction(log_p)


def grad_trust_rows(
    logits: Float[Array, "batch classes"], *, top_k: int | None = None
) -> Float[Array, " batch"]:
    r"""The released GradTrust formula with its two slips mended.

    .. math::
      s(x) = \frac{(z_{\hat y} - 1/C)^4}
                  {\frac{1}{K} \sum_{k \in \text{top-}K} (z_k - 1/C)^4}

    The numerator belongs to the prediction, and only the most probable other classes
    are counterfactual.

    Args:
      logits: network outputs before the softmax.
      top_k: :math:`K`; None takes all classes other than the prediction.

    Returns:
      The score of each example, in [0, inf]; higher = more trust. It depends on a
      constant added to the logits, as the released formula does.

    Raises:
      ValueError: if `logits` is not `[batch, classes]`, or `top_k` is not in
        1, ..., classes - 1.

    =====================================  =====
    Edge case                              Value
    =====================================  =====
    one class                              inf
    equal rows                             1
    counterfactual rows zero               inf, and 1 if the prediction's is zero too
    a logit of -inf                        as if there were no such class
    a NaN or +inf logit, or all -inf       NaN
    =====================================  =====

    >>> print(grad_trust_rows(jnp.array([[4.5, 0.5, 2.5]])).round())
    [27.]

    References:
      olivesgatech/GradTrust, demo.py: there the numerator is the largest of all rows,
      which may be the most negative logit, and the denominator the mean of all rows.
    """
    z, changes, count = _row_changes(logits)
    if not _has_rivals(z.shape[-1], top_k):
        return jnp.where(jnp.isfinite(z[:, 0]), jnp.inf, jnp.nan)
    own = jnp.sum(changes, axis=-1, where=is_predicted(z))
    asked = z.shape[-1] - 1 if top_k is None else top_k
    # The mean is over the rivals that can be answered: the others' change is 0.
    there = jnp.clip(count - 1, 1, asked)
    mean = _mean_over_rivals(changes, z, top_k)
    others = mean * (asked / there).astype(mean.dtype)
    # Without a rival any change is infinitely more, even that of a logit of 1.
    own = jnp.where(count == 1, jnp.abs(own) + 1, own)
    # The prediction's change over nothing at all: 1 for 0 / 0, inf, and NaN for NaN.
    limit = jnp.where(own == 0, 1.0, jax.lax.stop_gradient(own) * jnp.inf)
    return divide_no_nan(own, others, otherwise=limit)


def grad_trust_reference(
    logits: Float[Array, "batch classes"],
) -> Float[Array, " batch"]:
    r"""GradTrust as the authors' released code computes it.

    .. math:: s(x) = \frac{C \max_k (z_k - 1/C)^4}{\sum_k (z_k - 1/C)^4}

    The closed form of their loop: the mean squared error between the logits and the
    constant :math:`1/C`, the variance over the features of the squared gradient of each
    row of the last layer, the largest variance over the mean variance.

    Args:
      logits: network outputs before the softmax.

    Returns:
      The score of each example, in [1, classes]; the authors read higher as more trust.

    Raises:
      ValueError: if `logits` is not `[batch, classes]`.

    =================================  ==========================
    Edge case                          Value
    =================================  ==========================
    one class                          1
    equal logits                       1
    all logits 1 / classes             1 (the authors' code: NaN)
    a logit of -inf                    as if there were no such class
    a NaN or +inf logit, or all -inf   NaN
    =================================  ==========================

    >>> print(grad_trust_reference(jnp.array([[4.5, 0.5, 2.5]])).round())
    [3.]

    References:
      olivesgatech/GradTrust, demo.py `get_grads_individual`. The numerator is often the
      most negative logit's, and not the prediction's; see `grad_trust`.
    """
    _, changes, count = _row_changes(logits)
    return divide_no_nan(
        count * jnp.max(changes, axis=-1), jnp.sum(changes, axis=-1), otherwise=1.0
    )


def _row_changes(logits: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The widened logits, (z - 1/C)^4 relative to the row's largest, and C of the row.

    A class whose logit is -inf cannot be answered: it has no change, and C is without.
    """
    z = at_least_float32(_inputs.logits(logits))
    there = ~jnp.isneginf(z)
    count = jnp.sum(there, axis=-1, keepdims=True)
    # In such units no fourth power overflows; every user takes a ratio.
    distance = jnp.where(there, z, 0) - 1 / jnp.maximum(count, 1).astype(z.dtype)
    distance, _ = in_units_of_largest(jnp.where(there, distance, 0))
    known = (jnp.isfinite(z) | ~there).all(axis=-1, keepdims=True) & (count > 0)
    return z, jnp.where(known, distance**4, jnp.nan), jnp.squeeze(count, axis=-1)


def _has_rivals(classes: int, top_k: int | None) -> bool:
    if top_k is not None:
        _validate.count("top_k", top_k, at_most=classes - 1)
    return classes > 1


def _mean_over_rivals(values: jax.Array, z: jax.Array, top_k: int | None) -> jax.Array:
    """Mean of `values` over the rivals of the prediction, or the `top_k` best."""
    if top_k is None:
        return jnp.mean(values, axis=-1, where=~is_predicted(z))
    rivals = targets.top_k_counterfactuals(z, top_k)
    return jnp.mean(jnp.take_along_axis(values, rivals, axis=-1), axis=-1)


SCORES = (
    Score(
        grad_trust,
        needs=(LOGITS,),
        title="GradTrust",
        paper=f"{TUTORIAL}, slide GradTrust",
        equation="mean_k |p - e_k|^2 / |p - e_yhat|^2",
        provenance="Last layer, cross entropy, all counterfactual classes.",
        scatter=True,
    ),
    Score(
        grad_trust_rows,
        needs=(LOGITS,),
        title="GradTrust, rows",
        paper=TUTORIAL,
        equation="(z_yhat - 1/C)^4 / mean_k (z_k - 1/C)^4",
        provenance="The released formula with its two slips mended.",
    ),
    Score(
        grad_trust_reference,
        needs=(LOGITS,),
        title="GradTrust, released code",
        paper=TUTORIAL,
        equation="C max_k (z_k - 1/C)^4 / sum_k (z_k - 1/C)^4",
        provenance="The largest row is often the most negative logit's.",
    ),
)
