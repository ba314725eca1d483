"""How far the gradient of an example points where those of a training set do."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from trustjax import losses, transforms
from trustjax._meshes import in_auto_axes
from trustjax._numerics import divide_no_nan, in_units_of_largest, safe_norm
from trustjax.gradients._parameters import gradient_statistics
from trustjax.gradients._select import select
from trustjax.statistics import GradientStatistics
from trustjax.typing import ApplyFn, LossFn, Params


def gradient_sum(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    *,
    loss_fn: LossFn = losses.predicted_cross_entropy,
    mask: jax.Array | None = None,
    wrt: Callable[[str], bool] | None = None,
) -> dict[str, jax.Array]:
    r"""The sum of the gradients of a batch, :math:`\sum_i g_i`, one backward pass.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: a tree of arrays.
      x: a batch of examples, an array or a tree of arrays `[batch, ...]`.
      loss_fn: `logits -> [batch]`, unreduced.
      mask: `[batch]`, False for what does not count; None for all.
      wrt: keeps the parameters whose path (`"conv1/kernel"`) it says yes to.

    Returns:
      The arrays by path.

    Raises:
      ValueError: if `wrt` keeps nothing.
      TypeError: if `wrt` keeps a parameter that is not floating point.

    >>> apply_fn = lambda params, x: x @ params["kernel"]
    >>> x = jnp.array([[1.0], [3.0]])
    >>> print(gradient_sum(apply_fn, {"kernel": jnp.zeros((1, 2))}, x)["kernel"])
    [[-2.  2.]]
    """

    def of_batch(params: Params, x: Any, mask: jax.Array | None) -> Any:
        paths, selected, join = select(params, wrt)

        def total(selected: list[jax.Array]) -> jax.Array:
            loss = loss_fn(apply_fn(join(selected), x))
            return jnp.sum(loss if mask is None else jnp.where(mask, loss, 0))

        names = [path.name for path in paths]
        return dict(zip(names, jax.grad(total)(selected), strict=True))

    return in_auto_axes(of_batch, params, x, mask, batch=None)


def gradient_alignments(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    mean_gradient: Mapping[str, jax.Array],
    *,
    loss_fn: LossFn = losses.predicted_cross_entropy,
    group: str = "tensor",
    wrt: Callable[[str], bool] | None = None,
) -> GradientStatistics:
    r"""The cosine of each example's gradient with a mean gradient, group by group.

    .. math:: \cos_l(x) = \frac{g_l(x) \cdot \bar g_l}{|g_l(x)|_2 \, |\bar g_l|_2}

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: a tree of arrays.
      x: a batch of examples, an array or a tree of arrays `[batch, ...]`.
      mean_gradient: :math:`\bar g`, arrays by path, as `gradient_sum` has them; their
        size does not matter.
      loss_fn: `logits -> [batch]`, unreduced.
      group: as in `gradient_statistics`.
      wrt: keeps the parameters whose path it says yes to.

    Returns:
      `[batch, groups, 1]` in [-1, 1], the statistic `"cosine"`; 0 where either gradient
      is.

    Raises:
      ValueError: as `gradient_statistics`; if `mean_gradient` lacks a parameter, or has
        it in another shape.

    >>> apply_fn = lambda params, x: x @ params["kernel"]
    >>> params, x = {"kernel": jnp.zeros((1, 2))}, jnp.array([[1.0], [-3.0]])
    >>> mean = gradient_sum(apply_fn, params, x[:1])
    >>> print(gradient_alignments(apply_fn, params, x, mean).values[:, 0, 0].round(3))
    [ 1. -1.]
    """
    paths, selected, _ = select(params, wrt)
    for path, leaf in zip(paths, selected, strict=True):
        there = path.name in mean_gradient
        shape = jnp.shape(mean_gradient[path.name]) if there else "none"
        if shape != leaf.shape:
            raise ValueError(
                f"mean_gradient must hold {path.name} of shape {leaf.shape}, got "
                f"{shape}"
            )

    apply_fn = transforms.gather_as_typed(apply_fn, params, x)

    def of_batch(params: Params, x: Any, mean: dict[str, jax.Array]) -> Any:
        def cosine(gradient: dict[str, jax.Array]) -> jax.Array:
            one, other = (
                _direction(jnp.concatenate([arrays[path].ravel() for path in gradient]))
                for arrays in (gradient, mean)
            )
            return jnp.clip(jnp.sum(one * other.astype(one.dtype)), -1, 1)

        return gradient_statistics(
            apply_fn,
            params,
            x,
            loss_fn=loss_fn,
            statistics=(cosine,),
            group=group,
            wrt=wrt,
        )

    return in_auto_axes(of_batch, params, x, dict(mean_gradient), batch=x)


def _direction(vector: jax.Array) -> jax.Array:
    """Of length 1, or 0."""
    scaled, _ = in_units_of_largest(vector)
    return divide_no_nan(scaled, safe_norm(scaled))
