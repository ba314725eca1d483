r"""Whether a map depends on what a network has learned."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _validate, transforms
from trustjax._meshes import in_auto_axes
from trustjax._numerics import at_least_float32, divide_no_nan
from trustjax._paths import paths_of
from trustjax.explain._target import Target, classes_of
from trustjax.typing import ApplyFn, Params

ORDERS = ("cascading", "independent")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ParameterRandomisation:
    """How like the maps of randomised networks are to those of the network.

    Attributes:
      correlation: Spearman's rank correlation with the map of the network itself, for
        each image and step, `[batch, steps]`, in [-1, 1].
      absolute: the same of the maps without their signs.
      layers: the layer that is randomised in each step; before it in the order
        cascading, those of the earlier steps are too.
    """

    correlation: Float[Array, "batch steps"]
    absolute: Float[Array, "batch steps"]
    layers: tuple[str, ...] = dataclasses.field(metadata={"static": True})


def parameter_randomisation(
    explanation: Callable[..., Any],
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    *,
    key: jax.Array,
    target: Target = None,
    order: str = "cascading",
) -> ParameterRandomisation:
    r"""How much of a map is left when the network forgets what it has learned.

    .. math:: \rho\big(E(f_\theta, x), \, E(f_{\theta_k}, x)\big), \quad k = 1, 2, \dots

    where of :math:`\theta_k` the last k layers are random. A map that stays as it was
    is one of the image, or of the architecture: it explains nothing of the network. The
    converse does not hold: a map that changes may still be wrong.

    A layer is made random by shuffling the entries of each of its arrays. So each keeps
    its mean and spread, whatever it was initialised with, and activations stay in their
    range; an array of one number, or of equal ones, stays as it is. The layers, and
    which of them is last, are read off the traced network (`transforms.order_of_use`).

    Args:
      explanation: `(apply_fn, params, x, target=...) -> map [batch, ...]`, any function
        of `explain`, with its other arguments by `functools.partial`; of a result with
        several parts, its `map` is taken. It is called steps + 1 times: jit it, as
        `jax.jit(explain.saliency, static_argnums=0)`.
      apply_fn: `(params, x) -> logits`.
      params: what it takes first, a tree of arrays. Integers are never shuffled.
      x: the images, or whatever it takes.
      key: what is shuffled how.
      target: what the maps are asked, as in `grad_cam`. None is the class that the
        network itself predicts, in all steps.
      order: `"cascading"`, the last layer, then the last two, until all are random; or
        `"independent"`, each layer alone, in the same order.

    Returns:
      `ParameterRandomisation`. With `"cascading"`, the last step is a network of which
      nothing is left.

    Raises:
      ValueError: if `order` is neither, or no floating-point parameter meets x.

    =========================================  =====================================
    Edge case                                  Value
    =========================================  =====================================
    a map that does not change                 1
    a constant map, before or after            NaN: it has no ranks
    NaN in a map                               NaN
    =========================================  =====================================

    >>> from trustjax import explain
    >>> linear = lambda params, x: x @ params["w"]
    >>> params = {"w": jax.random.normal(jax.random.key(0), (50, 2))}
    >>> found = parameter_randomisation(
    ...     explain.saliency, linear, params, jnp.ones((1, 50)), key=jax.random.key(1)
    ... )
    >>> print(found.layers, bool(abs(found.correlation[0, 0]) < 0.4))
    ('w',) True

    References:
      Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim 2018 (arXiv:1810.03292),
      section 3, which draws the weights anew from their initial distribution.
    """
    _validate.choice("order", order, ORDERS)
    steps = _layers(apply_fn, params, x)
    asked = target
    if target is None:
        predicted = lambda params, x: classes_of(None, apply_fn(params, x))
        asked = in_auto_axes(predicted, params, x, batch=x)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))

    def map_of(leaves: list[Any]) -> jax.Array:
        found = explanation(apply_fn, jax.tree.unflatten(tree, leaves), x, target=asked)
        return getattr(found, "map", found)

    clean, changed = _ranked(map_of(leaves)), list(leaves)
    columns = list[tuple[jax.Array, jax.Array]]()
    for numbers in steps.values():
        if order == "independent":
            changed = list(leaves)
        for number in numbers:
            changed[number] = _shuffled(keys[number], leaves[number])
        now = _ranked(map_of(changed))
        columns.append((_correlation(clean[0], now[0]), _correlation(clean[1], now[1])))
    signed, absolute = (jnp.stack(rows, axis=1) for rows in zip(*columns, strict=True))
    return ParameterRandomisation(signed, absolute, tuple(steps))


def _layers(apply_fn: ApplyFn, params: Params, x: Any) -> dict[str, list[int]]:
    """The numbers of the arrays of each layer, by its name, the last layer first."""
    positions = transforms.order_of_use(apply_fn, params, x)
    numbers: dict[str, list[int]] = {}
    depths: dict[str, int] = {}
    arrays = zip(paths_of(params), jax.tree.leaves(params), positions, strict=True)
    for number, (path, leaf, position) in enumerate(arrays):
        floats = jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
        if floats and position is not None:
            layer = path.name if path.layer == "/" else path.layer
            numbers.setdefault(layer, []).append(number)
            depths[layer] = max(position, depths.get(layer, position))
    if not numbers:
        raise ValueError("no floating-point parameter meets x: nothing can be random")
    return {layer: numbers[layer] for layer in sorted(depths, key=lambda l: -depths[l])}


def _shuffled(key: jax.Array, array: Any) -> jax.Array:
    array = jnp.asarray(array)
    return jax.random.permutation(key, array.reshape(-1)).reshape(array.shape)


def _ranked(maps: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The ranks of each image's numbers, `[batch, numbers]`; and without signs."""

    def of_maps(maps: jax.Array) -> tuple[jax.Array, jax.Array]:
        of_each = jax.vmap(lambda each: _ranks(each.reshape(-1)))
        return of_each(maps), of_each(jnp.abs(maps))

    return in_auto_axes(of_maps, maps, batch=maps)


def _correlation(first: jax.Array, second: jax.Array) -> jax.Array:
    """Spearman's, of the ranks of two maps for each image."""

    def of_ranks(a: jax.Array, b: jax.Array) -> jax.Array:
        spread = jnp.sqrt(jnp.sum(a * a)) * jnp.sqrt(jnp.sum(b * b))
        return jnp.where(spread > 0, divide_no_nan(jnp.sum(a * b), spread), jnp.nan)

    return in_auto_axes(jax.vmap(of_ranks), first, second, batch=first)


def _ranks(values: jax.Array) -> jax.Array:
    """Ranks about 0, in units of how many there are; equal values share the mean."""
    values = at_least_float32(values)
    ordered = jnp.sort(values)
    below = jnp.searchsorted(ordered, values, side="left")
    up_to = jnp.searchsorted(ordered, values, side="right")
    ranks = (below + up_to - values.size).astype(values.dtype) / (2 * values.size)
    return jnp.where(jnp.any(jnp.isnan(values)), jnp.nan, ranks)
