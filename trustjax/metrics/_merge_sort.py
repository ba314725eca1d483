"""Sorting what is spread over devices, without any of them holding more than its share.

Each device sorts its own entries. Then pairs of devices exchange theirs, one of a pair
keeping the lower half of both and the other the upper, as a network of comparators
sorts single numbers (Knuth, The Art of Computer Programming 3, 5.3.4, exercise 38).
What is sent and held is the same for all values: many equal ones crowd no device, as
they would where each had a range of values.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from trustjax.metrics import _across


def sort(operands: tuple[jax.Array, ...], axes: _across.Axes) -> tuple[jax.Array, ...]:
    """Sorts by the first of some arrays, inside `jax.shard_map`.

    Args:
      operands: each `[n]`, as long on every device; the first holds the keys.
      axes: of the mesh, that the entries are spread over.

    Returns:
      The arrays, their keys rising on every device and from device to device.
    """
    devices, own = lax.axis_size(axes), lax.axis_index(axes)
    operands = tuple(lax.sort(operands, num_keys=1))
    for pairs in exchanges(devices):
        is_lower, is_upper = np.zeros((2, devices), bool)
        for lower, upper in pairs:
            is_lower[lower], is_upper[upper] = True, True
        both_ways = [*pairs, *((upper, lower) for lower, upper in pairs)]
        # Mine rise where theirs fall: one of each two is among the lower half of all.
        theirs = [lax.ppermute(array, axes, both_ways)[::-1] for array in operands]
        lower = (operands[0] > theirs[0]) & jnp.asarray(is_lower)[own]
        upper = (operands[0] < theirs[0]) & jnp.asarray(is_upper)[own]
        kept = [
            jnp.where(lower | upper, other, mine)
            for mine, other in zip(operands, theirs, strict=True)
        ]
        operands = tuple(lax.sort(kept, num_keys=1))
    return operands


def exchanges(devices: int) -> Iterator[list[tuple[int, int]]]:
    """Which pairs of devices exchange at once, lower first: Batcher's merge exchange.

    Rounds grow as the squared logarithm of the number: 6 for 8 devices, 36 for 256. It
    need not be a power of two (Knuth 5.2.2, algorithm M).

    >>> list(exchanges(4))
    [[(0, 2), (1, 3)], [(0, 1), (2, 3)], [(1, 2)]]
    """
    highest = 1 << max((devices - 1).bit_length() - 1, 0)
    step = highest if devices > 1 else 0
    while step:
        stride, bits, apart = highest, 0, step
        while True:
            yield [(i, i + apart) for i in range(devices - apart) if i & step == bits]
            if stride == step:
                break
            apart, stride, bits = stride - step, stride // 2, step
        step //= 2
