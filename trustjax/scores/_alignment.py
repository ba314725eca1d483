"""A score of the direction of gradients, and not of their size."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _inputs, _validate, gradients, losses
from trustjax._numerics import at_least_float32
from trustjax.gradients import GRADIENT_ALIGNMENTS
from trustjax.scores._score import Score
from trustjax.statistics import GradientStatistics
from trustjax.typing import ApplyFn, LossFn, Params


def gradient_direction(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    mean_gradient: Mapping[str, jax.Array],
    *,
    loss_fn: LossFn = losses.predicted_cross_entropy,
    wrt: Callable[[str], bool] | None = None,
) -> Float[Array, " batch"]:
    r"""Mean cosine of an example's gradient with that of the training set, by tensor.

    .. math::
      s(x) = \frac{1}{L} \sum_l
        \frac{g_l(x) \cdot \bar g_l}{|g_l(x)|_2 \, |\bar g_l|_2}, \qquad
      \bar g = \mathbb{E}_{x'} \, g(x')

    :math:`g` is the gradient of the cross entropy to the predicted class, so that no
    true label is seen.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: what `apply_fn` takes first.
      x: inputs, `[batch, ...]`.
      mean_gradient: :math:`\bar g`, arrays by path, as `gradients.gradient_sum` adds
        them up over a training set; their size does not matter.
      loss_fn: `logits -> [batch]`, unreduced; that of the mean gradient, too.
      wrt: keeps the parameters whose path (`"conv1/kernel"`) it says yes to.

    Returns:
      The score of each example, in [-1, 1]; higher = more trust.

    Raises:
      ValueError: if `mean_gradient` lacks a parameter, or has it in another shape.

    ==================================  =====
    Edge case                           Value
    ==================================  =====
    a gradient of zeros, of a tensor    0 there
    a NaN                               NaN
    ==================================  =====

    >>> network = lambda params, x: x @ params["kernel"]
    >>> params, x = {"kernel": jnp.zeros((1, 2))}, jnp.array([[1.0], [-3.0]])
    >>> mean = gradients.gradient_sum(network, params, x[:1])
    >>> print(gradient_direction(network, params, x, mean).round(3))
    [ 1. -1.]

    References:
      Kwon, Prabhushankar, Temel and AlRegib 2020 (GradCon, ECCV, arXiv:2007.09507)
      train an autoencoder whose gradients align, and add the cosine of its decoder's
      layers to the loss of an example. For a classifier as it is, by its own
      prediction, without training for it, is this library's reading; of the CNN of
      `mnist5k`, large cosines are right more often (AUROC 0.78).
    """
    return _gradient_direction(
        gradients.gradient_alignments(
            apply_fn, params, x, mean_gradient, loss_fn=loss_fn, wrt=wrt
        )
    )


def _gradient_direction(
    gradient_alignments: GradientStatistics,
) -> Float[Array, " batch"]:
    """Mean cosine of an example's gradient with the training set's, by tensor.

    Args:
      gradient_alignments: as `gradients.gradient_alignments` returned them,
        `[batch, tensors, 1]`.

    Returns:
      The score of each example, in [-1, 1]; higher = more trust.

    Raises:
      ValueError: if the statistic is not a cosine.

    >>> values = jnp.array([[[1.0], [0.5]]])
    >>> cosines = GradientStatistics(values, ("a", "b"), ("cosine",))
    >>> print(_gradient_direction(cosines))
    [0.75]

    References:
      As `gradient_direction`.
    """
    values = _inputs.floats(
        "gradient_alignments", gradient_alignments.values, "batch groups statistics"
    )
    _validate.choice("statistic", "cosine", gradient_alignments.statistics)
    _validate.count("the number of groups of gradient_alignments", values.shape[1])
    return jnp.mean(at_least_float32(values), axis=(1, 2))


SCORES = (
    Score(
        _gradient_direction,
        needs=(GRADIENT_ALIGNMENTS,),
        title="Gradient direction",
        paper="Kwon et al. 2020",
        equation="mean_l cos(grad_l, mean of the training set's grad_l)",
        provenance="This library's reading of GradCon: a classifier as it is.",
    ),
)
