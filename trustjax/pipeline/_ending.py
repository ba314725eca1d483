"""Which scores can be had of a network, by how it ends."""

from collections.abc import Sequence
from typing import Any

import jax

from trustjax import scores, scoring
from trustjax.ingredients import LAST_LAYER
from trustjax.typing import ApplyFn, Params


def readable(
    names: Sequence[str],
    asked: Sequence[str],
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Scores without those of a set that read a last layer that is none.

    A softmax behind it, as of a network that returns probabilities, leaves nothing to
    be read.

    Args:
      names: of scores.
      asked: those of them that were asked for by name, and others.
      apply_fn: the network.
      params: what it takes first.
      x: some inputs, of which the shape matters.

    Returns:
      The scores, and a sentence on those that are left out, if there are any.

    Raises:
      ValueError: if one that was asked for by name reads the last layer.
    """
    reading = [name for name in names if scores.lookup(name).takes(LAST_LAYER)]
    if not reading:
        return tuple(names), ()
    try:
        jax.eval_shape(
            lambda params: scoring.score_batch([LAST_LAYER], apply_fn, params, x),
            params,
        )
    except ValueError as error:
        if named := [name for name in reading if name in asked]:
            raise ValueError(
                f"the score {named[0]} reads the last layer: {error}"
            ) from error
        note = (
            f"Left out: {', '.join(reading)}, for each reads the last layer: {error}."
        )
        return tuple(name for name in names if name not in reading), (note,)
    return tuple(names), ()
