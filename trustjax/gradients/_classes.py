"""Gradients towards classes other than the prediction."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from trustjax import _validate, losses, statistics, transforms
from trustjax._meshes import in_auto_axes
from trustjax._platform import by_platform
from trustjax.gradients._loops import may_loop
from trustjax.gradients._parameters import gradient_statistics
from trustjax.statistics import GradientStatistics, Statistic
from trustjax.typing import ApplyFn, LossFn, Params

_CLASSES_AT_ONCE = 16


def class_gradients(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    labels: Int[Array, "batch asked"],
    *,
    loss_fn: LossFn = losses.cross_entropy,
    wrt: Callable[[str], bool] | None = None,
    group: str = "network",
    statistics: Sequence[Statistic] = (
        statistics.l2_norm,
        statistics.standard_deviation,
    ),
) -> GradientStatistics:
    r"""Statistics of the gradients towards several classes, the forward pass shared.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: a tree of arrays.
      x: inputs, `[batch, ...]`.
      labels: the classes to ask each example about.
      loss_fn: `(logits, labels) -> [batch]`.
      wrt: as in `gradient_statistics`.
      group: as in `gradient_statistics`.
      statistics: as in `gradient_statistics`.

    Returns:
      `GradientStatistics` with values `[batch, asked, groups, statistics]`.

    Raises:
      ValueError: as `gradient_statistics`.

    >>> linear = lambda params, x: x @ params
    >>> labels = jnp.array([[0, 1, 2]])
    >>> class_gradients(linear, jnp.eye(3), jnp.ones((1, 3)), labels).values.shape
    (1, 3, 1, 2)
    """
    _validate.rank("labels", labels, "batch asked")
    apply_fn = transforms.gather_as_typed(apply_fn, params, x)

    def of_batch(params: Params, x: Any, labels: jax.Array) -> GradientStatistics:
        def towards(label: jax.Array) -> GradientStatistics:
            return gradient_statistics(
                apply_fn,
                params,
                x,
                loss_fn=loss_fn,
                loss_args=(label,),
                statistics=statistics,
                group=group,
                wrt=wrt,
            )

        if labels.shape[1] <= _CLASSES_AT_ONCE:
            return jax.vmap(towards, in_axes=1, out_axes=1)(labels)
        in_turn = jax.lax.map(towards, labels.T, batch_size=_CLASSES_AT_ONCE)
        return jax.tree.map(lambda values: jnp.moveaxis(values, 0, 1), in_turn)

    def each_by_itself(params: Params, x: Any, labels: jax.Array) -> GradientStatistics:
        def of_example(x: Any, labels: jax.Array) -> GradientStatistics:
            x, labels = jax.tree.map(lambda a: a[None], (x, labels))
            return jax.tree.map(lambda values: values[0], of_batch(params, x, labels))

        # A batch that may be sharded goes outermost: inside the axis of the classes,
        # the partitioner would gather every cotangent on every device.
        return jax.vmap(of_example)(x, labels)

    def by_batch(params: Params, x: Any, labels: jax.Array) -> GradientStatistics:
        form = each_by_itself
        if may_loop(jax.tree.leaves(x)):
            form = by_platform(cpu=of_batch, other=form)
        return form(params, x, labels)

    return in_auto_axes(by_batch, params, x, labels, batch=x)
