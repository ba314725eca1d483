"""What a map cannot show of itself, said where its values are known.

Inside `jax.jit` nothing is known while the program is made, and nothing is said: there
a map that is NaN, or zero, is that and no more, as each method documents.
"""

import sys
import types
import warnings
from typing import Any

import jax
import numpy as np

from trustjax import _validate

_BETWEEN = {"trustjax", "jax", "jaxtyping", "beartype"}
"""Packages whose frames may lie between a map and the line that asked for it."""


def tell(
    method: str,
    maps: jax.Array,
    *,
    reached: jax.Array | None = None,
    zeros: bool = False,
) -> None:
    """Warns of maps that say nothing, naming the method and the images.

    Args:
      method: what warnings call it.
      maps: `[batch, ...]`.
      reached: `[batch]`: whether a gradient reaches the positions of an image at all.
      zeros: whether to say it of a map that is zero everywhere, too.
    """
    if not _validate.is_known(maps, reached):
        return
    each = np.asarray(maps, np.float64).reshape(len(maps), -1)
    if _said(
        np.any(np.isnan(each), axis=1), method, "is NaN: so is the network's answer"
    ):
        return
    if reached is not None and not np.asarray(reached).any() and len(maps):
        _warn(
            f"{method}: no gradient reaches the positions here, so that every map is "
            "zero. Where a network reads out a class token, cut it before the last "
            "attention: transforms.cuts(apply_fn, params, x) lists the cuts"
        )
    elif zeros:
        nothing = "is zero everywhere: nothing in its features speaks for what is asked"
        _said(np.all(each == 0, axis=1), method, nothing)


def _said(which: Any, method: str, what: str) -> bool:
    """Says it of the first of these images, and how many there are."""
    found = np.flatnonzero(which)
    if len(found):
        _warn(
            f"{method}: the map of image {found[0]} {what} "
            f"({len(found)} of {len(which)} images)"
        )
    return len(found) > 0


def _package(frame: types.FrameType) -> str:
    return frame.f_globals.get("__name__", "").partition(".")[0]


def _warn(message: str) -> None:
    """A warning at the line that called this library."""
    level = 2
    while _package(sys._getframe(level - 1)) in _BETWEEN:
        level += 1
    warnings.warn(message, stacklevel=level)
