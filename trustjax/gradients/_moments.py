"""The moments of many parameters' gradients, with one program for those that are alike.

A network has few shapes of parameters and many parameters of each. What a compiler has
to do grows with the number of operations, so what is done to every tensor is written
down once for all tensors of a kind (those of unlike sizes padded to one, where that is
little), and what is done to the few numbers that are left of each is done to all
tensors at once.
"""

import itertools
from collections import Counter, defaultdict
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
    widths = row_widths([g.size for g in gradients if not g.product])
    kinds = defaultdict[tuple[int | None, Hashable], list[int]](list)
    for i, gradient in enumerate(gradients):
        width = None if gradient.product else widths[gradient.size]
        kinds[width, gradient.kind].append(i)
    rows = [
        _of_kind([gradients[i] for i in members], width)
        for (width, _), members in kinds.items()
    ]
    order = [i for members in kinds.values() for i in members]
    return _columns(_beside(rows), _inverse(order))


def row_widths(sizes: Sequence[int]) -> dict[int, int]:
    """How long the rows are in which gradients of each size lie side by side.

    A width is a program, so there are few; padding is at most a quarter of the rest.
    """
    many, spare = Counter(sizes), sum(sizes) // 4
    classes = [[size] for size in sorted(many)]
    while len(classes) > 1:
        padding = [
            sum(many[size] for size in lower) * (upper[-1] - lower[-1])
            for lower, upper in itertools.pairwise(classes)
        ]
        least = min(padding)
        if least > spare:
            break
        spare -= least
        i = padding.index(least)
        classes[i : i + 2] = [classes[i] + classes[i + 1]]
    return {size: sizes[-1] for sizes in classes for size in sizes}


def _of_kind(members: Sequence[Gradients], width: int | None) -> Moments:
    """The moments of gradients of one kind, `[batch, members]`."""
    first, sizes = members[0], [member.size for member in members]

    def of_example(factors: Sequence[tuple[jax.Array, ...]]) -> jax.Array:
        if width is not None:
            return statistics.pack(_of_rows([array for (array,) in factors], width))
        stacked = [jnp.stack(same) for same in zip(*factors, strict=True)]
        if len(members) == 1:
            return statistics.pack(jax.vmap(first.moments)(*stacked))
        # In turn, so that no more than one gradient need exist at a time.
        return statistics.pack(jax.lax.map(lambda f: first.moments(*f), tuple(stacked)))

    cost = width or first.cost
    packed = over_examples(of_example, ([m.factors for m in members],), cost)
    return statistics.unpack(packed, sizes)


def _of_rows(arrays: Sequence[jax.Array], width: int) -> Moments:
    """The moments of arrays of at most `width` numbers."""
    sizes = [array.size for array in arrays]
    if min(sizes) == width:
        alike = [array.reshape(arrays[0].shape) for array in arrays]
        return jax.vmap(statistics.moments)(jnp.stack(alike))
    rows = jnp.stack([jnp.pad(a.reshape(-1), (0, width - a.size)) for a in arrays])
    of_row = lambda row, count: statistics.moments(row, count=count)
    return jax.vmap(of_row)(rows, jnp.array(sizes))


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
