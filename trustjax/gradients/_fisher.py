"""The Fisher information that one example carries."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from trustjax import statistics, transforms
from trustjax._meshes import in_auto_axes
from trustjax.gradients._classes import class_gradients
from trustjax.gradients._loops import check_batch
from trustjax.statistics import GradientStatistics
from trustjax.typing import ApplyFn, Params


def fisher_trace(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    *,
    wrt: Callable[[str], bool] | None = None,
) -> jax.Array:
    r"""Trace of the Fisher information that one example carries about the parameters.

    .. math:: \operatorname{tr} I_i(\theta) = \sum_k p_k(x_i)
        \lVert \partial \log p_k(x_i) / \partial \theta \rVert_2^2

    The expectation is over the network's own prediction and is exact: no label is
    sampled. It needs one backward pass for each class; the forward pass is shared.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: a tree of arrays.
      x: a batch of examples, an array or a tree of arrays `[batch, ...]`.
      wrt: keeps the parameters whose path (`"conv1/kernel"`) it says yes to.

    Returns:
      Shape `[batch]`, in [0, inf): the larger, the more the example could teach the
      network, so the less its prediction is settled.

    Raises:
      ValueError: if `wrt` keeps nothing.

    =====================  =====
    Edge case              Value
    =====================  =====
    one class              0
    a one-hot prediction   0
    =====================  =====

    >>> apply_fn = lambda params, x: x @ params
    >>> print(fisher_trace(apply_fn, jnp.zeros((2, 2)), jnp.array([[3.0, 4.0]])))
    [12.5]

    References:
      AlRegib and Prabhushankar 2025, slide "Gradients as Fisher Information":
      :math:`I(\theta) = E[U_\theta U_\theta^T]`; Martens 2020 (arXiv:1412.1193),
      section 5.
    """
    by_network = fisher_information(apply_fn, params, x, group="network", wrt=wrt)
    return by_network.values[:, 0, 0]


def fisher_information(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    *,
    group: str = "layer",
    wrt: Callable[[str], bool] | None = None,
) -> GradientStatistics:
    r"""`fisher_trace` by tensor or layer: what an example could teach each of them.

    .. math:: \operatorname{tr} I_i(\theta_l) = \sum_k p_k(x_i)
        \lVert \partial \log p_k(x_i) / \partial \theta_l \rVert_2^2

    The traces of the layers add up to that of the network.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: a tree of arrays.
      x: a batch of examples, an array or a tree of arrays `[batch, ...]`.
      group: one of `GROUPINGS`.
      wrt: keeps the parameters whose path (`"conv1/kernel"`) it says yes to.

    Returns:
      `GradientStatistics` with values `[batch, groups, 1]`, in [0, inf), and the one
      statistic `"fisher_trace"`: the larger, the less settled.

    Raises:
      ValueError: if `group` is unknown, or `wrt` keeps nothing.

    >>> apply_fn = lambda params, x: x @ params["kernel"] + params["bias"][None]
    >>> params = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}
    >>> found = fisher_information(apply_fn, params, jnp.array([[3.0, 4.0]]),
    ...                            group="tensor")
    >>> found.groups, found.values.shape
    (('bias', 'kernel'), (1, 2, 1))
    >>> with jnp.printoptions(precision=3):
    ...     print(found.select("kernel", found.statistics[0]))
    [12.5]

    References:
      As `fisher_trace`; the diagonal blocks of the Fisher information matrix.
    """
    check_batch(x)
    apply_fn = transforms.gather_as_typed(apply_fn, params, x)

    def of_batch(params: Params, x: Any) -> GradientStatistics:
        logits = apply_fn(params, x)
        towards = class_gradients(
            apply_fn,
            params,
            x,
            jnp.broadcast_to(jnp.arange(logits.shape[1]), logits.shape),
            loss_fn=_negative_log_probability,
            statistics=(statistics.l2_norm,),
            group=group,
            wrt=wrt,
        )
        squared_norms = towards.values[..., 0] ** 2  # [batch, classes, groups]
        probabilities = jax.nn.softmax(logits.astype(squared_norms.dtype))[:, :, None]
        # A class of probability 0 adds nothing, however long its gradient.
        squared_norms = jnp.where(probabilities == 0, 0.0, squared_norms)
        traces = jnp.sum(probabilities * squared_norms, axis=1)
        return GradientStatistics(traces[..., None], towards.groups, (_TRACE,))

    return in_auto_axes(of_batch, params, x, batch=x)


_TRACE = fisher_trace.__name__


def _negative_log_probability(logits: jax.Array, label: jax.Array) -> jax.Array:
    log_probabilities = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_probabilities, label[:, None], axis=-1)[:, 0]
