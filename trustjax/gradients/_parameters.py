"""Gradients with respect to the parameters, whole or reduced layer by layer."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from trustjax import _validate, losses, statistics, transforms
from trustjax._meshes import in_auto_axes
from trustjax.gradients._factors import Gradients, backward, forward_cost
from trustjax.gradients._loops import check_batch, over_examples, over_tiles
from trustjax.gradients._moments import moments_of
from trustjax.gradients._select import GROUPINGS, by_group, check_reducible, select
from trustjax.statistics import GradientStatistics, Statistic
from trustjax.typing import ApplyFn, LossFn, Params


def per_example_gradients(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    *,
    loss_fn: LossFn = losses.predicted_cross_entropy,
    loss_args: Sequence[Any] = (),
    wrt: Callable[[str], bool] | None = None,
) -> Any:
    r"""The gradient of each example's loss with respect to the parameters.

    .. math:: g_i = \partial \ell(f_\theta(x_i), a_i) / \partial \theta

    Memory is that of `batch` copies of the parameters: for statistics alone, ask
    `gradient_statistics`, which does not hold them all.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: a tree of arrays.
      x: a batch of examples, an array or a tree of arrays `[batch, ...]`.
      loss_fn: `(logits, *loss_args) -> [batch]`, unreduced.
      loss_args: arrays `[batch, ...]` that the loss takes after the logits, such as
        the class to ask about.
      wrt: keeps the parameters whose path (`"conv1/kernel"`) it says yes to.

    Returns:
      The tree of `params`, each array with a leading axis `batch`; arrays that `wrt`
      says no to are `None`.

    Raises:
      ValueError: if `wrt` keeps nothing, or the lengths of `x` and `loss_args` differ.
      TypeError: if `wrt` keeps a parameter that is not floating point.

    >>> apply_fn = lambda params, x: x @ params["kernel"]
    >>> x = jnp.array([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]])
    >>> gradients = per_example_gradients(apply_fn, {"kernel": jnp.zeros((2, 2))}, x)
    >>> print(gradients["kernel"][0])
    [[-0.5  0.5]
     [-1.   1. ]]
    """
    check_batch(x, loss_args)
    apply_fn = transforms.gather_as_typed(apply_fn, params, x)

    def of_batch(params: Params, x: Any, loss_args: Sequence[Any]) -> Any:
        _, selected, join = select(params, wrt)

        def whole(x: Any, loss_args: Sequence[Any]) -> list[jax.Array]:
            gradients, _ = backward(apply_fn, loss_fn, selected, join, x, loss_args)
            return [
                gradient.over_examples(gradient.whole).astype(leaf.dtype)
                for gradient, leaf in zip(gradients, selected, strict=True)
            ]

        cost = forward_cost(apply_fn, params, x)
        return join(over_tiles(whole, (x, loss_args), cost), rest=None)

    return in_auto_axes(of_batch, params, x, tuple(loss_args), batch=x)


def gradient_statistics(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    *,
    loss_fn: LossFn = losses.predicted_cross_entropy,
    loss_args: Sequence[Any] = (),
    statistics: Sequence[Statistic] = statistics.DEFAULT,
    group: str = "tensor",
    wrt: Callable[[str], bool] | None = None,
) -> GradientStatistics:
    """Statistics of each example's gradient by tensor, by layer or of the network.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: a tree of arrays.
      x: a batch of examples, an array or a tree of arrays `[batch, ...]`.
      loss_fn: `(logits, *loss_args) -> [batch]`, unreduced.
      loss_args: arrays `[batch, ...]` that the loss takes after the logits.
      statistics: functions from the gradient of one example with respect to one
        group (the tree of the group's arrays by path) to a number.
      group: `"tensor"` (each array), `"layer"` (arrays that share their path but for
        its last part, e.g. kernel and bias) or `"network"` (all pooled).
      wrt: keeps the parameters whose path (`"conv1/kernel"`) it says yes to.

    Returns:
      `[batch, groups, statistics]` with the names of groups and statistics, in the
      order of the tree and of `statistics`. The root layer is named `"/"`.

    Raises:
      ValueError: if `group` is unknown, two statistics have one name, `wrt` keeps
        nothing or a parameter without numbers, or the lengths of `x` and `loss_args`
        differ.
      TypeError: if `wrt` keeps a parameter that is not real and floating point.

    >>> apply_fn = lambda params, x: x @ params["kernel"] + params["bias"][None]
    >>> params = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}
    >>> x = jnp.array([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]])
    >>> result = gradient_statistics(apply_fn, params, x)
    >>> result.groups, result.values.shape
    (('bias', 'kernel'), (3, 2, 8))
    >>> print(result.select("kernel", "l1_norm"))
    [3. 1. 3.]

    References:
      Oberdiek, Rottmann and Gottschalk 2018 (arXiv:1805.08440), section 3: norms,
      extremes and moments by layer. The authors' package (gradient_metrics) adds 1e-16
      to the variance before the root, and has neither skewness nor kurtosis.
    """
    _, result = outputs_and_gradient_statistics(
        apply_fn,
        params,
        x,
        loss_fn=loss_fn,
        loss_args=loss_args,
        statistics=statistics,
        group=group,
        wrt=wrt,
    )
    return result


def outputs_and_gradient_statistics(
    apply_fn: Callable[..., Any],
    params: Params,
    x: Any,
    *,
    loss_fn: LossFn = losses.predicted_cross_entropy,
    loss_args: Sequence[Any] = (),
    statistics: Sequence[Statistic] = statistics.DEFAULT,
    group: str = "tensor",
    wrt: Callable[[str], bool] | None = None,
) -> tuple[Any, GradientStatistics]:
    """`gradient_statistics`, and what the network said on the way to the loss.

    As `jax.value_and_grad` saves a second forward pass for the value. Up to rounding
    the outputs are those of `apply_fn(params, x)`.

    Args:
      apply_fn: `(params, x) -> outputs`, in evaluation mode: the logits, or a tree of
        arrays `[batch, ...]` such as `(logits, features)`.
      params: as in `gradient_statistics`, and so are the others.
      x: a batch of examples.
      loss_fn: `(outputs, *loss_args) -> [batch]`, unreduced.
      loss_args: arrays `[batch, ...]` that the loss takes after the outputs.
      statistics: what is asked of the gradients.
      group: how parameters are grouped.
      wrt: keeps the parameters whose path it says yes to.

    Returns:
      `(outputs, statistics)`.

    Raises:
      ValueError: as `gradient_statistics`.

    >>> apply_fn = lambda params, x: x @ params["kernel"]
    >>> logits, result = outputs_and_gradient_statistics(
    ...     apply_fn, {"kernel": jnp.eye(2)}, jnp.array([[1.0, 2.0]]))
    >>> print(logits, result.groups)
    [[1. 2.]] ('kernel',)
    """
    outputs, grouped = outputs_and_grouped_statistics(
        apply_fn,
        params,
        x,
        groups=(group,),
        loss_fn=loss_fn,
        loss_args=loss_args,
        statistics=statistics,
        wrt=wrt,
    )
    return outputs, grouped[group]


def outputs_and_grouped_statistics(
    apply_fn: Callable[..., Any],
    params: Params,
    x: Any,
    *,
    groups: Sequence[str],
    loss_fn: LossFn = losses.predicted_cross_entropy,
    loss_args: Sequence[Any] = (),
    statistics: Sequence[Statistic] = statistics.DEFAULT,
    wrt: Callable[[str], bool] | None = None,
) -> tuple[Any, dict[str, GradientStatistics]]:
    """`outputs_and_gradient_statistics` by several groupings, of one backward pass.

    Args:
      apply_fn: as in `outputs_and_gradient_statistics`, and so are the others.
      params: a tree of arrays.
      x: a batch of examples.
      groups: how parameters are grouped, each of `GROUPINGS`.
      loss_fn: `(outputs, *loss_args) -> [batch]`, unreduced.
      loss_args: arrays `[batch, ...]` that the loss takes after the outputs.
      statistics: what is asked of the gradients.
      wrt: keeps the parameters whose path it says yes to.

    Returns:
      `(outputs, {group: statistics})`.

    Raises:
      ValueError: as `gradient_statistics`.

    >>> apply_fn = lambda params, x: x @ params["kernel"] + params["bias"][None]
    >>> params = {"kernel": jnp.eye(2), "bias": jnp.zeros(2)}
    >>> _, found = outputs_and_grouped_statistics(
    ...     apply_fn, params, jnp.ones((3, 2)), groups=("tensor", "network"))
    >>> {group: result.values.shape for group, result in found.items()}
    {'tensor': (3, 2, 8), 'network': (3, 1, 8)}
    """
    check_batch(x, loss_args)
    for group in groups:
        _validate.choice("group", group, GROUPINGS)
    names = _statistic_names(statistics)
    apply_fn = transforms.gather_as_typed(apply_fn, params, x)

    def of_batch(params: Params, x: Any, loss_args: Sequence[Any]) -> Any:
        paths, selected, join = select(params, wrt)
        check_reducible(paths, selected)
        members = {group: by_group(paths, group) for group in groups}

        def reduced(x: Any, loss_args: Sequence[Any]) -> tuple[Any, list[jax.Array]]:
            gradients, outputs = backward(
                apply_fn, loss_fn, selected, join, x, loss_args
            )
            by_path = dict(zip((path.name for path in paths), gradients, strict=True))
            grouped = [list(named.values()) for named in members.values()]
            return outputs, _values(by_path, grouped, statistics)

        cost = forward_cost(apply_fn, params, x)
        outputs, values = over_tiles(reduced, (x, loss_args), cost)
        return outputs, {
            group: GradientStatistics(of_group, tuple(named), names)
            for (group, named), of_group in zip(members.items(), values, strict=True)
        }

    return in_auto_axes(of_batch, params, x, tuple(loss_args), batch=x)


def _values(
    gradients: dict[str, Gradients],
    groupings: Sequence[Sequence[Sequence[str]]],
    chosen: Sequence[Statistic],
) -> list[jax.Array]:
    """The statistics `[batch, groups, statistics]` of each grouping of parameters."""
    own = [s for s in chosen if s not in statistics.OF_MOMENTS]
    of_tensors = (
        moments_of(list(gradients.values())) if len(own) < len(chosen) else None
    )
    return [
        _of_groups(gradients, of_tensors, groups, chosen, own) for groups in groupings
    ]


def _of_groups(
    gradients: dict[str, Gradients],
    moments: statistics.Moments | None,
    groups: Sequence[Sequence[str]],
    chosen: Sequence[Statistic],
    own: Sequence[Statistic],
) -> jax.Array:
    """The statistics of each group of parameters, `[batch, groups, statistics]`."""
    by_statistic: dict[Statistic, jax.Array] = {}
    if moments is not None:
        if any(len(members) > 1 for members in groups):
            position = {path: i for i, path in enumerate(gradients)}
            members = [[position[path] for path in paths] for paths in groups]
            moments = statistics.merge_groups(moments, members)
        by_statistic |= {s: s(moments) for s in chosen if s not in own}
    if own:
        of_groups = [
            _own_values({path: gradients[path] for path in members}, own)
            for members in groups
        ]
        by_statistic |= {
            statistic: jnp.stack(values, axis=1)
            for statistic, values in zip(own, zip(*of_groups, strict=True), strict=True)
        }
    # First along the outermost axis, which is the shortest to compile.
    stacked = jnp.stack([by_statistic[statistic] for statistic in chosen])
    return jnp.moveaxis(stacked, 0, -1)


def _own_values(
    members: dict[str, Gradients], own: Sequence[Statistic]
) -> list[jax.Array]:
    """Statistics of the gradients themselves, of one group: `[batch]` of each."""

    def values(factors: dict[str, Any]) -> list[jax.Array]:
        gradient = {path: g.whole(*factors[path]) for path, g in members.items()}
        return [statistic(gradient) for statistic in own]

    factors = {path: g.factors for path, g in members.items()}
    return over_examples(values, (factors,), sum(g.cost for g in members.values()))


def _statistic_names(chosen: Sequence[Statistic]) -> tuple[str, ...]:
    names = tuple(statistic.__name__ for statistic in chosen)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"statistics need names that differ, got {list(names)}")
    return names
