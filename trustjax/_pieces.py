"""How many changed copies of a batch a network is asked at once."""

import jax

from trustjax import _validate

_AT_ONCE = 2**20
"""Numbers in the changed inputs of one step where `microbatch` is not said."""


def at_once(microbatch: int | None, x: jax.Array, count: int) -> int:
    """Copies of x in one step of `count`.

    Raises:
      ValueError: if they are said to be none, or more than there are.
    """
    if microbatch is None:
        return max(1, min(count, _AT_ONCE // max(1, x.size)))
    _validate.count("microbatch", microbatch, at_most=count)
    return microbatch
