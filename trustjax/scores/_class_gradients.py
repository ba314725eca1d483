r"""Scores of the gradients of each example towards every class in turn.

What would the network have to change to give another answer? `class_gradients`
asks that of all classes, with one forward pass.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _inputs, _validate, gradients, losses, statistics, targets
from trustjax._numerics import (
    at_least_float32,
    divide_no_nan,
    in_units_of_largest,
    is_predicted,
    safe_norm,
)
from trustjax.gradients import CLASS_GRADIENTS
from trustjax.ingredients import LOGITS
from trustjax.scores._gradient import root_mean_square, select
from trustjax.scores._score import TUTORIAL, Score
from trustjax.scores._softmax import log_probabilities
from trustjax.statistics import GradientStatistics
from trustjax.typing import ApplyFn, LossFn, Params


def counterfactual_grad_trust(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    *,
    loss_fn: LossFn = losses.cross_entropy,
    top_k: int | None = None,
    wrt: Callable[[str], bool] | None = None,
    group: str = "network",
    ratio: str = "counterfactual_over_predicted",
) -> Float[Array, " batch"]:
    r"""GradTrust by its definition: any layers, any loss, by backward passes.

    With :math:`g_k` the gradient of the loss towards class :math:`k`,

    .. math::
      s(x) = \frac{\frac{1}{K} \sum_{k \in \text{top-}K} \mathrm{Var}(g_k)}
                  {\mathrm{Var}(g_{\hat y})}

    Of the kernel of the last layer under cross entropy it is `grad_trust`, which costs
    no backward pass. The forward pass is shared by all classes.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: a tree of arrays.
      x: inputs, `[batch, ...]`.
      loss_fn: `(logits, labels) -> [batch]`, the loss towards the classes `labels`.
      top_k: :math:`K`, the number of counterfactual classes: the most probable ones
        other than the prediction. None takes all of them.
      wrt: keeps the parameters whose path (`"dense/kernel"`) it says yes to.
      group: what the variance is over: all chosen parameters (`"network"`), or those of
        one `"layer"` or `"tensor"`, and then the mean over those.
      ratio: `"counterfactual_over_predicted"`, or `"predicted_over_counterfactual"` for
        the slide's fraction read literally, in which trust falls with confidence.

    Returns:
      The score of each example, in [0, inf]; higher = more trust, unless `ratio` is
      turned around.

    Raises:
      ValueError: if `top_k` is not in 1, ..., classes - 1, or `group` or `ratio` is
        unknown.

    =========================================  ===============================
    Edge case                                  Value
    =========================================  ===============================
    one class                                  inf
    no variance towards the prediction         inf, and 1 if none at all
    a layer or tensor of one parameter         NaN: it has no variance
    a NaN logit                                NaN
    =========================================  ===============================

    >>> linear = lambda params, x: x @ params
    >>> x = jnp.log(jnp.array([[0.8, 0.1, 0.1]]))
    >>> print(counterfactual_grad_trust(linear, jnp.eye(3), x).round())
    [24.]

    References:
      Prabhushankar and AlRegib 2024 (arXiv:2405.13758); AlRegib and Prabhushankar 2025,
      slide "GradTrust". The authors' released code computes something else: see
      `grad_trust_reference`.
    """
    logits = apply_fn(params, x)
    _validate.logits(logits)
    if top_k is None:
        labels, predicted = targets.every_class(logits), is_predicted(logits)
    else:
        _validate.count("top_k", top_k, at_most=logits.shape[-1] - 1)
        rivals = targets.top_k_counterfactuals(logits, top_k)
        labels = jnp.insert(rivals, 0, targets.predicted_class(logits), axis=1)
        predicted = jnp.arange(1 + top_k)[None] == 0
    by_class = gradients.class_gradients(
        apply_fn,
        params,
        x,
        labels,
        loss_fn=loss_fn,
        wrt=wrt,
        group=group,
        statistics=(statistics.standard_deviation,),
    )
    score = _variance_ratio(
        select("class_gradients", by_class, "standard_deviation", "batch classes"),
        predicted,
        ratio,
    )
    return jnp.where(jnp.isnan(logits).any(axis=-1), jnp.nan, score)


def _counterfactual_grad_trust(
    logits: Float[Array, "batch classes"], class_gradients: GradientStatistics
) -> Float[Array, " batch"]:
    r"""Counterfactual GradTrust from gradients towards every class.

    `counterfactual_grad_trust` with all counterfactual classes.

    Args:
      logits: network outputs, which say what is predicted.
      class_gradients: what `gradients.class_gradients` returned for the classes
        0, ..., C - 1, with the statistic `"standard_deviation"`.

    Returns:
      The score of each example, in [0, inf]; higher = more trust.

    Raises:
      ValueError: if the shapes disagree or the statistic is not there.

    =========================================  ===============================
    Edge case                                  Value
    =========================================  ===============================
    one class                                  inf
    no variance towards the prediction         inf, and 1 if none at all
    a NaN logit                                NaN
    =========================================  ===============================

    >>> deviations = jnp.array([1.0, 4.0, 4.0]).reshape(1, 3, 1, 1)
    >>> of_class = GradientStatistics(deviations, ("network",), ("standard_deviation",))
    >>> print(_counterfactual_grad_trust(jnp.array([[2.0, 1.0, 0.0]]), of_class))
    [16.]

    References:
      As `counterfactual_grad_trust`.
    """
    z = at_least_float32(_inputs.logits(logits))
    deviations = _of_every_class(z, class_gradients, "standard_deviation")
    score = _variance_ratio(
        deviations, is_predicted(z), "counterfactual_over_predicted"
    )
    return jnp.where(jnp.isnan(z).any(axis=-1), jnp.nan, score)


def fisher_trace(
    logits: Float[Array, "batch classes"], class_gradients: GradientStatistics
) -> Float[Array, " batch"]:
    r"""Negated trace of the Fisher information that the example carries.

    .. math:: s(x) = -\sum_k p_k \lVert \nabla_\theta \log p_k \rVert_2^2

    Args:
      logits: network outputs before the softmax.
      class_gradients: what `gradients.class_gradients` returned for the classes
        0, ..., C - 1 under `losses.cross_entropy`, with the statistic `"l2_norm"`.

    Returns:
      The score of each example, in (-inf, 0]; higher = more trust: the network has
      little left to learn from the example.

    Raises:
      ValueError: if the shapes disagree or the statistic is not there.

    =================================  =====
    Edge case                          Value
    =================================  =====
    one class                          0
    a one-hot prediction               0
    a NaN logit                        NaN
    =================================  =====

    >>> of_class = GradientStatistics(
    ...     jnp.full((1, 2, 1, 1), 3.0), ("network",), ("l2_norm",))
    >>> print(fisher_trace(jnp.zeros((1, 2)), of_class))
    [-9.]

    References:
      AlRegib and Prabhushankar 2025, slide "Gradients as Fisher Information"; equals
      `-gradients.fisher_trace`.
    """
    p = jnp.exp(log_probabilities(logits))
    norms = safe_norm(_of_every_class(p, class_gradients, "l2_norm"))
    # A class of probability 0 may have an infinite gradient.
    terms = jnp.where(p > 0, p * norms**2, p)
    return -jnp.sum(terms, axis=-1)


def _of_every_class(
    logits: jax.Array, by_class: GradientStatistics, statistic: str
) -> jax.Array:
    """One statistic, `[batch, classes, groups]`, checked against the logits."""
    values = select("class_gradients", by_class, statistic, "batch classes")
    if values.shape[:2] != logits.shape:
        raise ValueError(
            f"class_gradients must have shape [batch, classes, groups, statistics] "
            f"with the batch and classes {logits.shape} of logits, got "
            f"{(*values.shape, len(by_class.statistics))}"
        )
    return values


def _variance_ratio(
    deviations: jax.Array, predicted: jax.Array, ratio: str
) -> jax.Array:
    """Mean variance of the classes not predicted over that of the predicted one."""
    choices = ("counterfactual_over_predicted", "predicted_over_counterfactual")
    _validate.choice("ratio", ratio, choices)
    if deviations.shape[1] == 1:
        score = jnp.full(len(deviations), jnp.inf, deviations.dtype)
        return score if ratio == choices[0] else 1 / score
    spread, _ = in_units_of_largest(root_mean_square(deviations))
    variance = spread**2
    own = jnp.sum(variance, axis=-1, where=predicted)
    others = jnp.sum(variance, axis=-1, where=~predicted) / (variance.shape[1] - 1)
    over, under = (others, own) if ratio == choices[0] else (own, others)
    limit = jnp.where(over == 0, 1.0, jax.lax.stop_gradient(over) * jnp.inf)
    return divide_no_nan(over, under, otherwise=limit)


SCORES = (
    Score(
        _counterfactual_grad_trust,
        needs=(
            LOGITS,
            CLASS_GRADIENTS,
        ),
        title="GradTrust, all layers",
        paper=f"{TUTORIAL}, slide GradTrust",
        equation="mean_k Var(g_k) / Var(g_yhat)",
        provenance="By autodiff, over all parameters together.",
    ),
    Score(
        fisher_trace,
        needs=(
            LOGITS,
            CLASS_GRADIENTS,
        ),
        title="Fisher trace",
        paper=f"{TUTORIAL}, slide Fisher Information",
        equation="-sum_k p_k |grad log p_k|_2^2",
    ),
)
