"""The moments of many parameters' gradients, with one program for those that are alike.

A network has few shapes of parameters and many parameters of each. What a compiler has
to do grows with the number of operations, so what is done to every tensor is written
down once for all tensors of a kind, and what is done to the few numbers that are left
of each is done to all tensors at once.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import statistics
from trustjax.gradients._factors import Gradients
from trustjax.gradients._loops import over_examples
from trustjax.statistics import Moments


def moments_of(gradients: Sequence[Gradients]) -> Moments:
    """The moments of each parameter's gradient, `[batch, parameters]`.

    An outer product is not formed: its moments are made of those of its factors.
    """
    pairs = [i for i, gradient in enumerate(gradients) if gradient.rank_one]
    others = [i for i, gradient in enumerate(gradients) if not gradient.rank_one]
    left, right = (
        [Gradients((gradients[i].factors[side],), None) for i in pairs]
        for side in (0, 1)
    )
    formed = _by_kind([*left, *right, *(gradients[i] for i in others)])
    if not pairs:
        return formed
    middle, end = len(pairs), 2 * len(pairs)
    products = statistics.outer(
        _columns(formed, range(middle)), _columns(formed, range(middle, end))
    )
    rest = _columns(formed, range(end, end + len(others)))
    return _columns(_beside([products, rest]), _inverse([*pairs, *others]))


def _by_kind(gradients: Sequence[Gradients]) -> Moments:
    """The moments of each gradient, `[batch, gradients]`, none an outer product."""
    kinds = defaultdict[Hashable, list[int]](list)
    for i, gradient in enumerate(gradients):
        kinds[gradient.kind].append(i)
    rows = [_of_kind([gradients[i] for i in members]) for members in kinds.values()]
    order = [i for members in kinds.values() for i in members]
    return _columns(_beside(rows), _inverse(order))


def _of_kind(members: Sequence[Gradients]) -> Moments:
    """The moments of gradients of one kind, `[batch, members]`."""
    first = members[0]

    def of_example(factors: Sequence[tuple[jax.Array, ...]]) -> jax.Array:
        stacked = [
            jnp.stack([array.reshape(same[0].shape) for array in same])
            for same in zip(*factors, strict=True)
        ]
        if first.product is None or len(members) == 1:
            return statistics.pack(jax.vmap(first.moments)(*stacked))
        # In turn, so that no more than one gradient need exist at a time.
        return statistics.pack(jax.lax.map(lambda f: first.moments(*f), tuple(stacked)))

    packed = over_examples(of_example, ([m.factors for m in members],), first.cost)
    return statistics.unpack(packed, [first.size] * len(members))


def _beside(rows: Sequence[Moments]) -> Moments:
    """Records of some sets each as one of all."""
    packed = jnp.concatenate([statistics.pack(row) for row in rows], axis=-1)
    return statistics.unpack(packed, [n for row in rows for n in row.count])


def _columns(row: Moments, index: Sequence[int]) -> Moments:
    """Some of the sets of a record, in the order of the index."""
    start, stop = (index[0], index[0] + len(index)) if index else (0, 0)
    # What is in order needs no gather.
    in_order = list(index) == list(range(start, stop))
    columns = slice(start, stop) if in_order else np.array(index)
    packed = statistics.pack(row)[..., columns]
    return statistics.unpack(packed, [row.count[i] for i in index])


def _inverse(order: Sequence[int]) -> list[int]:
    """Where each number from 0 on stands in an order."""
    return sorted(range(len(order)), key=order.__getitem__)
