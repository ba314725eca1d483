r"""Gradients of each example by itself, and statistics of them.

For a network :math:`f`, a loss :math:`\ell` that sees no true label, and one example
:math:`x`, the gradient :math:`g = \partial \ell(f_\theta(x)) / \partial \theta` says
how the network would have to change to agree with its own answer. It is large where
the network has something left to learn.

Each example is differentiated as a batch of one, under `jax.vmap`: nothing of the
other examples can enter, whatever the network does. Kernels are not differentiated
at all: one backward pass gives the two factors of each kernel's gradient
(`transforms.find_products`), and what is asked of the gradient is made from them
layer by layer. On a CPU that holds the whole batch this goes example by example, so
that the gradient of one layer and one example is all that exists at a time, in the
cache; where the batch is sharded, or on an accelerator, it is one batched product.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from trustjax import _validate, losses, statistics, transforms
from trustjax.statistics import GradientStatistics, Statistic
from trustjax.typing import ApplyFn, LossFn, Params, SplitModel

GROUPINGS = ("tensor", "layer", "network")


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

    >>> apply_fn = lambda params, x: x @ params["kernel"]
    >>> x = jnp.array([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]])
    >>> gradients = per_example_gradients(apply_fn, {"kernel": jnp.zeros((2, 2))}, x)
    >>> print(gradients["kernel"][0])
    [[-0.5  0.5]
     [-1.   1. ]]
    """
    _check_batch(x, loss_args)
    _, selected, join = _select(params, wrt)
    gradients = _backward(apply_fn, loss_fn, selected, join, x, loss_args)
    whole = [
        gradient.over_examples(gradient.whole).astype(leaf.dtype)
        for gradient, leaf in zip(gradients, selected, strict=True)
    ]
    return join(whole, rest=None)


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
        nothing, or the lengths of `x` and `loss_args` differ.

    >>> apply_fn = lambda params, x: x @ params["kernel"] + params["bias"][None]
    >>> params = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}
    >>> x = jnp.array([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]])
    >>> result = gradient_statistics(apply_fn, params, x)
    >>> result.groups, result.values.shape
    (('bias', 'kernel'), (3, 2, 8))
    >>> print(result.select("kernel", "l1_norm"))
    [3. 1. 3.]

    References:
      Oberdiek, Rottmann and Gottschalk 2018, section 3: norms, extremes and moments
      by layer. The authors' package (gradient_metrics) adds 1e-16 to the variance
      before the root, and has neither skewness nor kurtosis.
    """
    _check_batch(x, loss_args)
    _validate.choice("group", group, GROUPINGS)
    names = _statistic_names(statistics)
    paths, selected, join = _select(params, wrt)
    groups = _group(paths, group)
    gradients = _backward(apply_fn, loss_fn, selected, join, x, loss_args)
    by_path = dict(zip(paths, gradients, strict=True))
    values = [
        _values_of_group({path: by_path[path] for path in members}, statistics)
        for members in groups.values()
    ]
    return GradientStatistics(jnp.stack(values, axis=1), tuple(groups), names)


def input_gradients(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    *,
    loss_fn: LossFn = losses.predicted_cross_entropy,
    loss_args: Sequence[Any] = (),
) -> Any:
    r"""The gradient of each example's loss with respect to the example itself.

    .. math:: \partial \ell(f_\theta(x_i), a_i) / \partial x_i

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: a tree of arrays.
      x: a batch of examples, an array or a tree of arrays `[batch, ...]`.
      loss_fn: `(logits, *loss_args) -> [batch]`, unreduced.
      loss_args: arrays `[batch, ...]` that the loss takes after the logits.

    Returns:
      Shape and tree of `x`.

    Raises:
      ValueError: if the lengths of `x` and `loss_args` differ.

    >>> apply_fn = lambda params, x: x @ params
    >>> print(input_gradients(apply_fn, jnp.eye(2), jnp.array([[1.0, 1.0]])))
    [[-0.5  0.5]]
    """
    _check_batch(x, loss_args)
    loss = _loss_of_example(apply_fn, loss_fn)
    return jax.vmap(
        jax.grad(loss, argnums=1), in_axes=(None, 0, *[0] * len(loss_args))
    )(params, x, *loss_args)


def activation_gradients(
    split: SplitModel,
    params: Params,
    x: Any,
    *,
    loss_fn: LossFn = losses.predicted_cross_entropy,
    loss_args: Sequence[Any] = (),
) -> Any:
    r"""The gradient of each example's loss with respect to its features.

    .. math:: \partial \ell(h_\theta(a_i)) / \partial a_i, \qquad a_i = \phi_\theta(x_i)

    Args:
      split: the network cut at the activation: `features_fn` gives :math:`\phi`,
        `head_fn` gives :math:`h`.
      params: a tree of arrays.
      x: a batch of examples, an array or a tree of arrays `[batch, ...]`.
      loss_fn: `(logits, *loss_args) -> [batch]`, unreduced.
      loss_args: arrays `[batch, ...]` that the loss takes after the logits.

    Returns:
      Shape and tree of the features, `[batch, ...]`.

    Raises:
      ValueError: if the lengths of `x` and `loss_args` differ.

    >>> split = SplitModel(lambda params, x: 2 * x, lambda params, a: a @ params)
    >>> print(activation_gradients(split, jnp.eye(2), jnp.array([[1.0, 1.0]])))
    [[-0.5  0.5]]
    """
    _check_batch(x, loss_args)
    features = split.features_fn(params, x)
    return input_gradients(
        split.head_fn, params, features, loss_fn=loss_fn, loss_args=loss_args
    )


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
      :math:`I(\theta) = E[U_\theta U_\theta^T]`; Martens 2020, section 5.
    """
    batch = jax.tree.leaves(x)[0].shape[0]
    logits = jax.eval_shape(apply_fn, params, x)

    def squared_norm(label: jax.Array) -> jax.Array:
        norm = gradient_statistics(
            apply_fn,
            params,
            x,
            loss_fn=_negative_log_probability,
            loss_args=(jnp.full((batch,), label),),
            statistics=(statistics.l2_norm,),
            group="network",
            wrt=wrt,
        )
        return norm.values[:, 0, 0] ** 2

    squared_norms = jax.vmap(squared_norm)(jnp.arange(logits.shape[1]))
    probabilities = jax.nn.softmax(apply_fn(params, x).astype(squared_norms.dtype))
    return (probabilities.T * squared_norms).sum(0)


def _negative_log_probability(logits: jax.Array, label: jax.Array) -> jax.Array:
    log_probabilities = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_probabilities, label[:, None], axis=-1)[:, 0]


def in_microbatches(fun: Callable[..., Any], *, size: int) -> Callable[..., Any]:
    """The same function of a large batch, computed `size` examples at a time.

    A loop on the host: what `fun` holds in memory is bounded by `size`, and the
    result does not depend on it. On CPU this is several times faster than a loop on
    the device (`jax.lax.map`). Jit `fun`; the last microbatch is filled up with
    copies of its last example, so that it is compiled once.

    Args:
      fun: `(params, *arrays) -> tree of [batch, ...]`, where each of `arrays` is an
        array or a tree of arrays `[batch, ...]`, and examples do not interact.
      size: examples at a time.

    Returns:
      A function of the same arguments and results.

    Raises:
      ValueError: if `size` is not a positive integer; when called, if the lengths of
        the arrays differ, or if there is no example.

    >>> double = in_microbatches(lambda params, x: params * x, size=2)
    >>> print(double(2.0, jnp.arange(5.0)))
    [0. 2. 4. 6. 8.]
    """
    _validate.count("size", size)

    def in_turn(params: Any, *arrays: Any) -> Any:
        _check_batch(arrays)
        length = jax.tree.leaves(arrays)[0].shape[0]
        _validate.count("batch", length)
        results = []
        for start in range(0, length, size):
            rows = jnp.minimum(jnp.arange(start, start + size), length - 1)
            piece = jax.tree.map(lambda a, rows=rows: a[rows], arrays)
            kept = min(size, length - start)
            result = fun(params, *piece)
            results.append(jax.tree.map(lambda a, kept=kept: a[:kept], result))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *results)

    return in_turn


@dataclasses.dataclass(frozen=True)
class _Gradients:
    """The gradients of one parameter for a batch of examples, not yet formed.

    Attributes:
      factors: what holds them, arrays `[batch, ...]`: the input and the cotangent of
        the parameter's product, or the gradients themselves.
      product: how the factors make a gradient; None if they are the gradients.
    """

    factors: tuple[jax.Array, ...]
    product: transforms.Product | None

    def whole(self, *factors: jax.Array) -> jax.Array:
        """The gradient of one example from its factors."""
        return self.product.gradient(*factors) if self.product else factors[0]

    def moments(self, *factors: jax.Array) -> statistics.Moments:
        """The moments of the gradient of one example from its factors."""
        if self.product:
            return self.product.moments(*factors)
        return statistics.moments(factors[0])

    @property
    def cost(self) -> int:
        """How many numbers one example needs at once."""
        if self.product:
            return self.product.cost
        return math.prod(self.factors[0].shape[1:])

    def over_examples(self, fun: Callable[..., Any]) -> Any:
        """A function of one example's factors, for the batch."""
        return _over_examples(fun, self.factors, self.cost)


def _backward(
    apply_fn: ApplyFn,
    loss_fn: LossFn,
    selected: list[jax.Array],
    join: Callable[..., Params],
    x: Any,
    loss_args: Sequence[Any],
) -> list[_Gradients]:
    """One backward pass: the gradients of each selected parameter, as factors."""
    loss = _loss_of_example(apply_fn, loss_fn)
    products: dict[int, transforms.Product] = {}

    def factors(x: Any, args: Sequence[Any]) -> tuple[Any, Any, Any]:
        parameters = _varying_like(selected, x)
        program = transforms.swap(
            jax.make_jaxpr(lambda *p: loss(join(p), x, *args))(*parameters)
        )
        places = transforms.find_products(program)
        products.update(places.values())
        tapped_outputs = [product.output for _, product in places.values()]
        zeros = [jnp.zeros(output.shape, output.dtype) for output in tapped_outputs]
        leaves = [leaf for leaf, _ in places.values()]
        taps = dict(zip(leaves, _varying_like(zeros, x), strict=True))
        others = {i: p for i, p in enumerate(parameters) if i not in taps}

        def tapped(taps: Any, others: Any) -> tuple[jax.Array, Any]:
            merged = [others.get(i, p) for i, p in enumerate(parameters)]
            (value,), inputs = transforms.evaluate(program, merged, places, taps)
            return value, inputs

        (cotangents, direct), inputs = jax.grad(tapped, (0, 1), has_aux=True)(
            taps, others
        )
        return inputs, cotangents, direct

    inputs, cotangents, direct = jax.vmap(factors)(x, tuple(loss_args))
    return [
        _Gradients((inputs[i], cotangents[i]), products[i])
        if i in products
        else _Gradients((direct[i],), None)
        for i in range(len(selected))
    ]


def _values_of_group(
    members: dict[str, _Gradients], chosen: Sequence[Statistic]
) -> jax.Array:
    """The statistics of one group of parameters, `[batch, statistics]`."""
    own = [s for s in chosen if s not in statistics.OF_MOMENTS]
    by_statistic: dict[Statistic, jax.Array] = {}
    if len(own) < len(chosen):
        moments = statistics.merge(
            [g.over_examples(g.moments) for g in members.values()]
        )
        by_statistic |= {s: s(moments) for s in chosen if s not in own}
    if own:

        def values(factors: dict[str, Any]) -> list[jax.Array]:
            gradient = {path: g.whole(*factors[path]) for path, g in members.items()}
            return [statistic(gradient) for statistic in own]

        factors = {path: g.factors for path, g in members.items()}
        cost = sum(g.cost for g in members.values())
        by_statistic |= zip(own, _over_examples(values, (factors,), cost), strict=True)
    return jnp.stack([by_statistic[statistic] for statistic in chosen], axis=-1)


_NUMBERS_AT_ONCE = 2**16
"""What stays in a core's cache: 256 KiB of float32."""


def _over_examples(fun: Callable[..., Any], arrays: tuple[Any, ...], cost: int) -> Any:
    """`jax.vmap(fun)(*arrays)`, on CPU a few examples at a time if that is allowed.

    A loop over examples keeps what it works on in the cache. Over a sharded batch it
    would gather the examples on every device, so the batch must be known to be local.
    """
    leaves = jax.tree.leaves(arrays)
    if jax.default_backend() != "cpu" or not all(map(_local, leaves)):
        return jax.vmap(fun)(*arrays)
    batch = len(leaves[0])
    most = max(1, _NUMBERS_AT_ONCE // cost)
    at_once = max(n for n in range(1, batch + 1) if batch % n == 0 and n <= most)
    if at_once == batch:
        return jax.vmap(fun)(*arrays)
    return jax.lax.map(lambda row: fun(*row), arrays, batch_size=at_once)


def _local(array: jax.Array) -> bool:
    """Whether an array is known to live on one device, from static facts."""
    mesh = jax.typeof(array).sharding.mesh
    if mesh.empty:
        # With several devices, `jax.jit` may still be told to shard it.
        return jax.device_count() == 1
    return mesh.size == 1 or mesh.are_all_axes_manual


def _varying_like(arrays: list[jax.Array], x: Any) -> list[jax.Array]:
    """Arrays that vary over the axes of `jax.shard_map` that the examples vary over.

    Otherwise JAX would take them for one copy, and add up the gradients of all shards.
    """
    axes = frozenset[str]()
    for leaf in jax.tree.leaves(x):
        axes |= jax.typeof(leaf).manual_axis_type.varying
    varying = []
    for array in arrays:
        missing = axes - jax.typeof(array).manual_axis_type.varying
        varying.append(jax.lax.pcast(array, tuple(sorted(missing)), to="varying"))
    return varying


def _loss_of_example(apply_fn: ApplyFn, loss_fn: LossFn) -> Callable[..., jax.Array]:
    """`(params, example, *args) -> loss`, the example taken as a batch of one."""

    def loss(params: Params, x: Any, *args: Any) -> jax.Array:
        x, args = jax.tree.map(lambda a: a[None], (x, args))
        return loss_fn(apply_fn(params, x), *args)[0]

    return loss


def _check_batch(*trees: Any) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(trees)
    _validate.same_length(**{jax.tree_util.keystr(path): leaf for path, leaf in leaves})


def _select(
    params: Params, wrt: Callable[[str], bool] | None
) -> tuple[list[str], list[jax.Array], Callable[..., Params]]:
    """The chosen parameters: their paths, the arrays, and how to put others there.

    `join(arrays)` is the tree of `params` with `arrays` in place of the chosen ones;
    `join(arrays, rest=None)` has None in place of all others.
    """
    named, tree = jax.tree_util.tree_flatten_with_path(params)
    paths = [
        jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in named
    ]
    keep = [wrt is None or wrt(path) for path in paths]
    if not any(keep):
        raise ValueError(f"wrt keeps none of the parameters {', '.join(paths)}")
    leaves = [leaf for _, leaf in named]

    def join(chosen: Sequence[Any], *, rest: Sequence[Any] | None = leaves) -> Params:
        arrays, others = iter(chosen), rest or [None] * len(leaves)
        return jax.tree.unflatten(
            tree,
            [next(arrays) if k else o for k, o in zip(keep, others, strict=True)],
        )

    return (
        [path for path, k in zip(paths, keep, strict=True) if k],
        [leaf for leaf, k in zip(leaves, keep, strict=True) if k],
        join,
    )


def _group(paths: Sequence[str], group: str) -> dict[str, list[str]]:
    """The paths of each group, by the group's name."""
    name_of = {
        "tensor": lambda path: path,
        "layer": lambda path: path.rpartition("/")[0] or "/",
        "network": lambda path: "network",
    }[group]
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(name_of(path), []).append(path)
    return groups


def _statistic_names(chosen: Sequence[Statistic]) -> tuple[str, ...]:
    names = tuple(statistic.__name__ for statistic in chosen)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"statistics need names that differ, got {list(names)}")
    return names
