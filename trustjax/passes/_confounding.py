"""Gradients towards a confounding label: what would make it every class at once?"""

from collections.abc import Callable
from typing import Any

import jax

from trustjax import gradients, losses, statistics, targets
from trustjax.ingredients import Ingredient
from trustjax.statistics import GradientStatistics
from trustjax.typing import ApplyFn, Params


def confounding_gradients(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    *,
    labels: Any = "all_ones",
    group: str = "layer",
    wrt: Callable[[str], bool] | None = None,
) -> GradientStatistics:
    r"""Purview as a vector: the squared gradient norm of each layer.

    .. math:: v_l = \lVert \nabla_{\theta_l} \ell(f(x), t) \rVert_2^2

    with the binary cross entropy :math:`\ell` to the confounding label :math:`t`, a
    combination of classes that no training example had.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: a tree of arrays.
      x: inputs, `[batch, ...]`.
      labels: :math:`t`, as `targets.confounding_labels` takes it: `"all_ones"`,
        `"all_zeros"`, or a value in [0, 1] for each class.
      group: what a layer is: `"layer"`, `"tensor"`, or `"network"` for all at once.
      wrt: keeps the parameters whose path (`"conv1/kernel"`) it says yes to.

    Returns:
      `GradientStatistics` with values `[batch, groups, 1]` and the one statistic
      `"squared_norm"`: features for a detector.

    Raises:
      ValueError: if an option is unknown, or a label is not in [0, 1] or not
        `[classes]`.

    >>> import jax.numpy as jnp
    >>> linear = lambda params, x: x @ params["dense"]
    >>> params = {"dense": jnp.zeros((1, 2))}
    >>> print(confounding_gradients(linear, params, jnp.array([[4.0]])).values.round(3))
    [[[2.]]]

    References:
      Lee, Prabhushankar and AlRegib 2023 (arXiv:2304.02834).
    """

    def loss_fn(logits: jax.Array) -> jax.Array:
        target = targets.confounding_labels(logits, labels)
        return losses.binary_cross_entropy(logits, target)

    norms = gradients.gradient_statistics(
        apply_fn,
        params,
        x,
        loss_fn=loss_fn,
        statistics=(statistics.l2_norm,),
        group=group,
        wrt=wrt,
    )
    return GradientStatistics(norms.values**2, norms.groups, ("squared_norm",))


def _confounding(batch: Any, **options: Any) -> GradientStatistics:
    return confounding_gradients(
        batch.apply_fn, batch.params, batch.x, wrt=batch.wrt, **options
    )


CONFOUNDING_GRADIENTS = Ingredient(
    "confounding_gradients",
    ask=_confounding,
    cost="a backward pass to the parameters",
)
"""`confounding_gradients`, with its options `labels` and `group`."""
