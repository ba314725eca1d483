"""Cutting a network in two: any function, at any place where one value is alive."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from trustjax.transforms._alive import computing
from trustjax.transforms._choice import embedding, feature_map
from trustjax.transforms._cuts import (
    Cut,
    Network,
    find_again,
    look_through,
    with_batch,
)
from trustjax.transforms._part import run_part
from trustjax.transforms._program import Program, Value, trace
from trustjax.typing import ApplyFn, Params, SplitModel

_CHOICES = {"embedding": embedding, "feature_map": feature_map}


def cuts(apply_fn: ApplyFn, params: Params, x: Any) -> tuple[Cut, ...]:
    """The places where a network can be cut, from the input to the logits.

    A cut is a place in the traced program where exactly one value that depends on x is
    alive, is floating point and has the batch as one axis. x itself, before anything
    is done with it, and the logits are no cuts. Between two cuts more is alive: the
    branches of a residual block, the queries and keys of attention.

    Args:
      apply_fn: `(params, x) -> logits`, any function of arrays in JAX.
      params: what it takes first; types of arrays (`jax.ShapeDtypeStruct`) will do.
      x: a batch, or the types of one; an array or a tree of arrays `[batch, ...]`.

    Returns:
      The cuts in order. Nothing is computed: the network is traced twice.

    Raises:
      ValueError: if `apply_fn` returns more than one array, or its program is another
        one for a batch twice as large.

    =======================================  =========================================
    Edge case                                Value
    =======================================  =========================================
    under `jax.jit`, `jax.checkpoint`        cuts inside as if they were not there
    layers under `jax.lax.scan`              cuts between the layers
    `custom_jvp`, `cond`, loops over time    cuts before and after, none inside
    wholly inside `jax.shard_map`            ()
    a mask or a skip from x to the head      no cuts where it is alive
    =======================================  =========================================

    >>> def apply_fn(params, x):
    ...     return jnp.tanh(x @ params["hidden"]) @ params["dense"]
    >>> params = {"hidden": jnp.ones((4, 3)), "dense": jnp.ones((3, 2))}
    >>> for cut in cuts(apply_fn, params, jnp.ones((8, 4))):
    ...     print(cut)
    Cut(number=0, name='dot_general', shape=(8, 3), dtype=dtype('float32'))
    Cut(number=1, name='tanh', shape=(8, 3), dtype=dtype('float32'))
    """
    network = look_through(apply_fn, params, x)
    return tuple(network.cuts.values())


def split(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    at: str | Cut = "embedding",
) -> SplitModel:
    r"""A network in two parts, :math:`f_\theta = h_\theta \circ \phi_\theta`.

    `"embedding"` is the input, one vector for each example, of the last product (dense
    layer or convolution) with weights: values that do not depend on x. A layer that
    calibrates the logits counts as the last.

    `"feature_map"` is the last cut with positions that (a) has a product or a look-up
    with parameters before it and a product with weights behind it, (b) has more than
    one position, and at least a quarter of them, still reaching the logits, and (c)
    stands before any axis of positions is summed away. For a transformer that is read
    out at its class token that is the stream of tokens before the last block.

    Args:
      apply_fn: `(params, x) -> logits`, any function of arrays in JAX.
      params: what it takes first, or types of arrays.
      x: a batch or the types of one, as in `cuts`; which one does not matter later.
      at: `"embedding"`, `"feature_map"`, or one of `cuts(apply_fn, params, x)`: itself,
        its number (`"21"`), or parts of its name, such as a layer, `"layer4"`: of
        several cuts in it the last.

    Returns:
      The two parts. Each traces `apply_fn` where it is called and runs what it needs
      of it, so both take the whole of `params`, any batch size and precision, under
      any transformation and sharding that `apply_fn` takes. Composed in one `jax.jit`
      they are the whole to the last bit, and up to rounding otherwise. The features
      are `[batch, width]` at the embedding and `[batch, *positions, channels]`
      elsewhere, whatever the order of the network's own axes.

    Raises:
      ValueError: as `cuts`; if there is no such cut, listing those there are. When
        called: if the features have another shape, or for that batch size `apply_fn`
        is another program.

    ======================================  ==========================================
    Edge case                               Value
    ======================================  ==========================================
    a batch of one                          its own program, cut at the same place
    ends in a softmax or a temperature      the embedding is before the dense layer
    last layer applied at every position    no embedding
    several heads, a skip from x to them    no embedding
    a head of distances to prototypes       no product: the layer before it is the last
    a linear function of x                  no embedding: x is none
    no positions (perceptron)               no feature map
    parameters are all closed over          count as parameters
    a `SplitModel`                          comes back as it is, wherever it was cut
    ======================================  ==========================================

    >>> def apply_fn(params, x):
    ...     return jnp.tanh(x @ params["hidden"]) @ params["dense"]
    >>> params = {"hidden": jnp.ones((4, 3)), "dense": jnp.ones((3, 2))}
    >>> parts = split(apply_fn, params, jax.ShapeDtypeStruct((1, 4), jnp.float32))
    >>> features = parts.features_fn(params, jnp.ones((8, 4)))
    >>> features.shape, parts.head_fn(params, features).shape
    ((8, 3), (8, 2))
    """
    if isinstance(apply_fn, SplitModel):
        return apply_fn
    network = look_through(apply_fn, params, x)
    if isinstance(at, Cut):
        cut = _same_cut(network, at)
    else:
        cut = _CHOICES[at](network) if at in _CHOICES else network.named(at)
    shape = (math.prod(cut.shape[1:]),) if at == "embedding" else cut.shape[1:]

    def features_fn(params: Params, x: Any) -> jax.Array:
        program, value = _located(apply_fn, network, cut, params, x)
        arguments = map(jnp.asarray, jax.tree.leaves((params, x)))
        given = dict(zip([*program.params, *program.x], arguments, strict=True))
        (array,) = run_part(program, given, [value])
        array = array.transpose(cut.axes)
        return array.reshape(array.shape[0], *shape)

    def head_fn(params: Params, features: Any) -> jax.Array:
        features = jnp.asarray(features)
        if features.shape[1:] != shape:
            raise ValueError(
                f"features must have shape {('batch', *shape)}, got {features.shape}"
            )
        x = _inputs_of(network, cut, features)
        program, value = _located(apply_fn, network, cut, params, x)
        array = features.reshape(features.shape[0], *cut.shape[1:])
        array = array.transpose(np.argsort(cut.axes)).astype(value.aval.dtype)
        arguments = map(jnp.asarray, jax.tree.leaves(params))
        given = dict(zip([*program.params, value], [*arguments, array], strict=True))
        (logits,) = run_part(program, given, program.results)
        return logits

    return SplitModel(features_fn, head_fn)


def _same_cut(network: Network, asked: Cut) -> Cut:
    """The cut of a network that a user has chosen, maybe for another batch size."""
    for cut in network.cuts.values():
        same_place = (cut.number, cut.steps) == (asked.number, asked.steps)
        if same_place and cut.shape[1:] == asked.shape[1:]:
            return cut
    raise network.refusal(f"at is no cut of this network, {asked}")


def _located(
    apply_fn: ApplyFn, network: Network, cut: Cut, params: Params, x: Any
) -> tuple[Program, Value]:
    """The program for these arguments, and the value in it that is cut at."""
    program = trace(apply_fn, params, x)
    batch = jax.tree.leaves(x)[0].shape[0]
    value = find_again(program, cut, batch, _precision(network, cut, x))
    if value is None or computing(program) != network.computing:
        before = jax.tree.leaves(network.x)[0].shape[0]
        raise ValueError(
            f"apply_fn is another program for {batch} examples than for {before}: "
            f"there is no {cut} in it"
        )
    return program, value


def _precision(network: Network, cut: Cut, x: Any) -> Any:
    """The type of the features of these inputs: that of a floating input, if it was."""
    (before, now) = (
        [a.dtype for a in jax.tree.leaves(t) if jnp.issubdtype(a.dtype, jnp.floating)]
        for t in (network.x, x)
    )
    return now[0] if before and now and cut.dtype == before[0] else cut.dtype


def _inputs_of(network: Network, cut: Cut, features: jax.Array) -> Any:
    """The types of the inputs that a batch of features is of.

    They are placed as the features are, and where these are of another precision than
    at the time of the split, so are they.
    """
    kind = jax.typeof(features)
    over = kind.sharding.spec[0]

    def typed(aval: Any) -> Any:
        floating = jnp.issubdtype(aval.dtype, jnp.floating)
        follows = floating and features.dtype != cut.dtype
        return aval.update(
            dtype=features.dtype if follows else aval.dtype,
            sharding=kind.sharding.update(spec=P(over, *[None] * (aval.ndim - 1))),
            manual_axis_type=kind.manual_axis_type,
        )

    return jax.tree.map(typed, with_batch(network.x, features.shape[0]))
