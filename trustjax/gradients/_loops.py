"""How a batch is gone through: at once, a few examples at a time, or by the host."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from trustjax import _validate
from trustjax._meshes import in_auto_axes
from trustjax._platform import by_platform


def in_microbatches(fun: Callable[..., Any], *, size: int) -> Callable[..., Any]:
    """The same function of a large batch, computed `size` examples at a time.

    A loop on the host: what `fun` holds in memory is bounded by `size`, and the
    result does not depend on it. Jit `fun`; the last microbatch is filled up with
    copies of its last example, so that it is compiled once. On a single CPU device
    `gradient_statistics` bounds its memory by itself.

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
        check_batch(arrays)
        length = jax.tree.leaves(arrays)[0].shape[0]
        _validate.count("batch", length)
        results = []
        for start in range(0, length, size):
            rows = jnp.minimum(jnp.arange(start, start + size), length - 1)
            take = lambda *arrays, rows=rows: jax.tree.map(lambda a: a[rows], arrays)
            piece = in_auto_axes(take, *arrays, batch=arrays, length=size)
            results.append(fun(params, *piece))

        def joined(*results: Any) -> Any:
            whole = lambda *parts: jnp.concatenate(parts)[:length]
            return jax.tree.map(whole, *results)

        return in_auto_axes(joined, *results, batch=arrays, length=length)

    return in_turn


_IN_CORE = 2**18
"""Numbers that stay in the cache of a core: 1 MiB of float32."""

_IN_TILE = 2**21
"""Numbers that stay in the cache that cores share."""

_SMALLEST_TILE = 16
"""Examples that keep a convolution busy, whether or not they fit a cache."""


def over_tiles(fun: Callable[..., Any], arrays: tuple[Any, ...], cost: int) -> Any:
    """`fun(*arrays)` of a batch, on CPU a tile at a time if that is allowed.

    What `fun` works on then stays in the cache, and is allocated once.

    Args:
      fun: a function of a batch in which examples do not interact.
      arrays: trees of arrays `[batch, ...]`.
      cost: how many numbers one example needs at once.
    """
    return _in_pieces(fun, arrays, max(_SMALLEST_TILE, _IN_TILE // max(1, cost)))


def over_examples(fun: Callable[..., Any], arrays: tuple[Any, ...], cost: int) -> Any:
    """`jax.vmap(fun)(*arrays)`, on CPU as many examples at a time as fit the cache.

    At least two: XLA reduces the rows of a matrix by vectors, and a vector by numbers.

    Args:
      fun: a function of one example.
      arrays: trees of arrays `[batch, ...]`.
      cost: how many numbers one example needs at once.
    """
    return _in_pieces(jax.vmap(fun), arrays, max(2, _IN_CORE // max(1, cost)))


def _in_pieces(fun: Callable[..., Any], arrays: tuple[Any, ...], most: int) -> Any:
    """`fun(*arrays)` of a batch, in a loop over pieces of at most `most` examples.

    Pieces are of one size, so the last is filled up with copies of the last example;
    of a power of two, as batches are.
    """
    leaves = jax.tree.leaves(arrays)
    if not may_loop(leaves):
        return fun(*arrays)
    batch, most = leaves[0].shape[0], 1 << (most.bit_length() - 1)
    if batch <= most:
        return fun(*arrays)
    count = -(-batch // most)
    size = -(-batch // count)
    missing = count * size - batch

    def pieces(array: jax.Array) -> jax.Array:
        if missing:
            last = jnp.broadcast_to(array[-1:], (missing, *array.shape[1:]))
            array = jnp.concatenate([array, last])
        return array.reshape(count, size, *array.shape[1:])

    def in_turn(*arrays: Any) -> Any:
        results = jax.lax.map(lambda piece: fun(*piece), jax.tree.map(pieces, arrays))
        whole = lambda result: result.reshape(count * size, *result.shape[2:])[:batch]
        return jax.tree.map(whole, results)

    return by_platform(cpu=in_turn, other=fun)(*arrays)


def may_loop(arrays: Sequence[jax.Array]) -> bool:
    """Whether a CPU may go through the examples in a loop; others want all at once.

    Over a sharded batch a loop would gather the examples on every device, so the batch
    must be known to be local.
    """
    # The batch of a program for export may be a symbol, of which nothing is known.
    known = all(isinstance(size, int) for array in arrays for size in array.shape)
    return known and all(map(_local, arrays))


def _local(array: jax.Array) -> bool:
    """Whether an array is known to live on one device, from static facts."""
    mesh = jax.typeof(array).sharding.mesh
    if mesh.empty:
        # With several devices, `jax.jit` may still be told to shard it.
        return jax.device_count() == 1
    return mesh.size == 1 or mesh.are_all_axes_manual


def check_batch(*trees: Any) -> None:
    """Raises a ValueError that names the arrays whose leading axes differ."""
    leaves = jax.tree_util.tree_leaves_with_path(trees)
    _validate.same_length(**{jax.tree_util.keystr(path): leaf for path, leaf in leaves})
