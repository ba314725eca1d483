r"""What a gradient is asked: the answers that a loss compares the logits with.

A gradient needs an answer to pull towards, and at test time no true label is there to
give one. Each function here makes that answer from the logits alone: the class that is
predicted, one that is not, or a value for each class that no training example had. No
choice made here is differentiated.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from trustjax import _inputs, _validate


def predicted_class(logits: Float[Array, "batch classes"]) -> Int[Array, " batch"]:
    r"""The class that the network would give.

    .. math:: \hat y = \arg\max_k z_k

    Args:
      logits: network outputs, or anything that ranks the classes as they do.

    Returns:
      A class for each example, in 0, ..., classes - 1.

    Raises:
      ValueError: if `logits` is not `[batch, classes]`.

    ==================  ==============================
    Edge case           Value
    ==================  ==============================
    equal logits        the first of them
    a NaN logit         the first NaN's class
    ==================  ==============================

    >>> print(predicted_class(jnp.array([[1.0, 3.0, 2.0], [0.0, 0.0, 0.0]])))
    [1 0]
    """
    return jnp.argmax(_inputs.logits(logits), axis=-1)


def every_class(logits: Float[Array, "batch classes"]) -> Int[Array, "batch classes"]:
    """The classes 0, ..., C - 1 for each example, for `gradients.class_gradients`.

    Args:
      logits: network outputs, of which the shape alone matters.

    Returns:
      The classes of each example.

    Raises:
      ValueError: if `logits` is not `[batch, classes]`.

    >>> print(every_class(jnp.zeros((2, 3))))
    [[0 1 2]
     [0 1 2]]
    """
    shape = _inputs.logits(logits).shape
    return jnp.broadcast_to(jnp.arange(shape[-1])[None], shape)


def top_k_counterfactuals(
    logits: Float[Array, "batch classes"], k: int
) -> Int[Array, "batch k"]:
    r"""The most probable classes other than the prediction.

    Args:
      logits: network outputs, or anything that ranks the classes as they do.
      k: how many.

    Returns:
      The classes of each example, the most probable first; no class twice, and never
      that of `predicted_class`.

    Raises:
      ValueError: if `logits` is not `[batch, classes]`, or `k` is not in
        1, ..., classes - 1.

    ==================  ==============================
    Edge case           Value
    ==================  ==============================
    equal logits        the first of them first
    a NaN logit         before all numbers
    logits of -inf      last, and still no class twice
    ==================  ==============================

    >>> print(top_k_counterfactuals(jnp.array([[1.0, 3.0, 2.0, 0.0]]), 2))
    [[2 0]]

    References:
      AlRegib and Prabhushankar 2025, slide "GradTrust": "top-k counterfactual classes".
      Their k is not given.
    """
    z = jax.lax.stop_gradient(_inputs.logits(logits))
    _validate.count("k", k, at_most=z.shape[-1] - 1)
    classes = jnp.arange(z.shape[-1])[None]

    # One maximum at a time: `jax.lax.top_k` gathers the rows of a sharded batch on
    # every device, and a whole sort takes longer.
    def next_best(left: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        most = jnp.max(z, axis=-1, keepdims=True, where=left, initial=-jnp.inf)
        best = jnp.argmax(left & ((z == most) | jnp.isnan(z)), axis=-1)
        return left & (classes != best[:, None]), best

    not_predicted = classes != predicted_class(z)[:, None]
    _, ranked = jax.lax.scan(next_best, not_predicted, length=k)
    return ranked.T


def contrast_class(
    logits: Float[Array, "batch classes"], *, rank: int = 1
) -> Int[Array, " batch"]:
    r"""The class to contrast the prediction with, as in "why P and not Q?".

    Args:
      logits: network outputs, or anything that ranks the classes as they do.
      rank: 1 for the most probable class other than the prediction, 2 for the next.

    Returns:
      A class for each example, never that of `predicted_class`.

    Raises:
      ValueError: if `logits` is not `[batch, classes]`, or `rank` is not in
        1, ..., classes - 1.

    The edge cases are those of `top_k_counterfactuals`.

    >>> print(contrast_class(jnp.array([[1.0, 3.0, 2.0, 0.0]])))
    [2]

    References:
      Prabhushankar et al. 2020 (Contrastive Explanations, arXiv:2008.00178); the
      default of the authors' code is the second of the ranked logits too.
    """
    z = _inputs.logits(logits)
    _validate.count("rank", rank, at_most=z.shape[-1] - 1)
    return top_k_counterfactuals(z, rank)[:, -1]


def one_hot(
    labels: Int[Array, " batch"], num_classes: int
) -> Float[Array, "batch {num_classes}"]:
    r"""One class for certain, and no other: the unit vector :math:`e_y`.

    Args:
      labels: the class :math:`y` of each example.
      num_classes: how many there are.

    Returns:
      1 for the class and 0 for all others, `[batch, num_classes]`.

    Raises:
      ValueError: if `labels` is not `[batch]`, or `num_classes` is not positive.

    ======================  ==================
    Edge case               Value
    ======================  ==================
    a label out of range    zeros
    ======================  ==================

    >>> print(one_hot(jnp.array([1, 0]), 3))
    [[0. 1. 0.]
     [1. 0. 0.]]
    """
    _validate.count("num_classes", num_classes)
    classes = _inputs.whole_numbers("labels", labels, "batch")
    return jax.nn.one_hot(classes, num_classes)


def uniform(logits: Float[Array, "batch classes"]) -> Float[Array, "batch classes"]:
    r"""The same probability for every class, :math:`u_k = 1 / C`.

    Args:
      logits: network outputs.

    Returns:
      Shape and dtype of `logits`.

    Raises:
      ValueError: if `logits` is not `[batch, classes]`.

    >>> print(uniform(jnp.zeros((1, 4))))
    [[0.25 0.25 0.25 0.25]]

    References:
      Huang, Geng and Li 2021 (GradNorm, arXiv:2110.00218), eq. 3.
    """
    z = _inputs.logits(logits)
    return jnp.full_like(z, 1 / z.shape[-1])


def all_ones(logits: Float[Array, "batch classes"]) -> Float[Array, "batch classes"]:
    r"""Every class at once, :math:`\mathbf 1`: an answer that no training example had.

    Args:
      logits: network outputs.

    Returns:
      Shape and dtype of `logits`.

    Raises:
      ValueError: if `logits` is not `[batch, classes]`.

    >>> print(all_ones(jnp.zeros((1, 3))))
    [[1. 1. 1.]]

    References:
      Prabhushankar and AlRegib 2022 (Introspective Learning, arXiv:2209.08425): "a
      vector of all ones".
    """
    return jnp.ones_like(_inputs.logits(logits))


def confounding_labels(
    logits: Float[Array, "batch classes"],
    labels: str | Sequence[float] | np.ndarray | Array = "all_ones",
) -> Float[Array, "batch classes"]:
    r"""A combination of several classes, or of none, the same for every example.

    Args:
      logits: network outputs.
      labels: `"all_ones"`, `"all_zeros"`, or a value in [0, 1] for each class, such as
        ones for the classes to combine and zeros for the others.

    Returns:
      Shape and dtype of `logits`.

    Raises:
      ValueError: if `logits` is not `[batch, classes]`, the name of `labels` is
        unknown, or its values are not `[classes]` or not in [0, 1].

    >>> print(confounding_labels(jnp.zeros((2, 3)), [1, 0, 1]))
    [[1. 0. 1.]
     [1. 0. 1.]]

    References:
      Lee, Prabhushankar and AlRegib 2023 (Purview, arXiv:2304.02834): "confounding
      labels".
    """
    z = _inputs.logits(logits)
    if isinstance(labels, str):
        _validate.choice("labels", labels, ("all_ones", "all_zeros"))
        return all_ones(z) if labels == "all_ones" else jnp.zeros_like(z)
    # Under `jax.jit` too the check must see the values.
    with jax.ensure_compile_time_eval():
        row = _inputs.array("labels", labels)
    _validate.rank("labels", row, "classes")
    _validate.probabilities("labels", row)
    _validate.broadcasts("labels", row, z.shape)
    if row.shape != z.shape[1:]:
        raise ValueError(
            f"labels must have one value for each class, {z.shape[1]}, got {row.shape}"
        )
    return jnp.broadcast_to(row.astype(z.dtype)[None], z.shape)
