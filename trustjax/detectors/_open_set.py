"""Recognition in an open set: one of the known classes, or none of them."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from trustjax import _inputs, _validate


@_inputs.take_arrays
def open_set_predict(
    predictions: Int[Array, " batch"],
    scores: Float[Array, " batch"],
    threshold: float,
    *,
    num_classes: int,
) -> Int[Array, " batch"]:
    r"""The predicted class, or the class after the last where the input is unknown.

    .. math:: \hat y_i = \begin{cases} \arg\max_k f_k(x_i) & s_i \ge t \\
              N & \text{else} \end{cases}

    Args:
      predictions: what the network answers, in 0, ..., N - 1.
      scores: higher = more trust that the input is of a known class.
      threshold: :math:`t`, in units of the scores. Of a detector's log odds, that of a
        probability q is log(q / (1 - q)); the paper's .95 is 2.94.
      num_classes: N, of the network.

    Returns:
      Classes in 0, ..., N.

    Raises:
      ValueError: if the shapes are not `[batch]`, or a known class is not below N.

    =================================  ==============
    Edge case                          Value
    =================================  ==============
    a score equal to the threshold     the prediction
    a NaN score                        N
    =================================  ==============

    >>> classes = open_set_predict(jnp.array([3, 5]), jnp.array([4.0, 1.0]), 2.94,
    ...                            num_classes=10)
    >>> print(classes)
    [ 3 10]

    References:
      Lee and AlRegib 2021 (arXiv:2206.08229): N+1-way prediction.
    """
    answers = _inputs.whole_numbers("predictions", predictions, "batch")
    s = _inputs.floats("scores", scores, "batch")
    _validate.same_length(predictions=answers, scores=s)
    _validate.count("num_classes", num_classes)
    _validate.classes("predictions", answers, num_classes)
    return jnp.where(s >= jnp.asarray(threshold, s.dtype), answers, num_classes)
