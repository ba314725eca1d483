"""The feature map of a network, and where in the image each of its vectors is."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from trustjax import _validate, transforms
from trustjax.explain._layout import layout
from trustjax.typing import ApplyFn, Params, SplitModel

_NEED_NONE = "explain.saliency and the other maps of gradients by x need no feature map"


class Places(NamedTuple):
    """A network cut at a feature map.

    Attributes:
      split: its two parts.
      on_grid: from the features, or anything of their shape, such as their gradients,
        to `[batch, *grid, channels]`.
      grid: how many positions there are in each direction.
      size: how many the image has, for `resized`.
    """

    split: SplitModel
    on_grid: Callable[[jax.Array], jax.Array]
    grid: tuple[int, ...]
    size: tuple[int, ...]


def places(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    at: str | transforms.Cut = "feature_map",
    grid: Sequence[int] | None = None,
    class_tokens: int = 0,
    size: Sequence[int] | None = None,
) -> Places:
    """Cuts a network where its features have positions, and says where these are.

    Args:
      apply_fn: `(params, x) -> logits`, or a `SplitModel` that is cut already.
      params: what it takes first.
      x: images or clips; shapes are enough.
      at: where to cut, as `transforms.split` takes it.
      grid: the rows and columns of tokens, `[batch, tokens, channels]`; None: as many
        rows as columns. Of a clip, frames before them.
      class_tokens: how many tokens come before those of the image, and are no part of
        it: a class token, registers.
      size: the positions of the image, if the shape of x does not say them.

    Raises:
      ValueError: if there is no such cut, the features have no positions, or their
        tokens are no such grid.
    """
    _validate.count("class_tokens", class_tokens, at_least=0)
    x = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), x)
    size = layout(x.shape).size if size is None else tuple(size)
    try:
        split = transforms.split(apply_fn, params, x, at)
    except ValueError as error:
        if at != "feature_map":
            raise
        raise ValueError(f"{error}\n{_NEED_NONE}") from None
    shape = jax.eval_shape(split.features_fn, params, x).shape
    if len(shape) < 3:
        raise ValueError(
            f"there is nothing to map: the features, {shape}, have no positions. "
            f"{_NEED_NONE}"
        )
    if len(shape) == len(size) + 2 and not class_tokens:
        found = shape[1:-1]
        if grid is not None and tuple(grid) != found:
            raise ValueError(f"grid must be that of the features, {found}, got {grid}")
        return Places(split, lambda array: array, found, size)
    if len(shape) != 3:
        raise ValueError(
            f"features must have as many axes of positions as the image, {size}, or be "
            f"tokens [batch, tokens, channels], got {shape}"
        )
    found = _grid(shape[1], len(size), grid, class_tokens)

    def on_grid(array: jax.Array) -> jax.Array:
        tokens = array[:, class_tokens:]
        return tokens.reshape(len(tokens), *found, tokens.shape[-1])

    return Places(split, on_grid, found, size)


def _grid(
    tokens: int, axes: int, grid: Sequence[int] | None, class_tokens: int
) -> tuple[int, ...]:
    """The rows and columns of tokens, found only where there is one way to do it."""
    count = tokens - class_tokens
    if grid is not None:
        grid = tuple(grid)
        if len(grid) != axes or math.prod(grid) != count:
            raise ValueError(
                f"grid must have {axes} numbers whose product is {count} "
                f"({tokens} tokens, {class_tokens} of them class tokens), got {grid}"
            )
        return grid
    side = math.isqrt(count) if count > 0 else 0
    if axes == 2 and count and side**2 == count:
        return side, side
    said = f"{tokens} tokens are no square"
    if class_tokens:
        said = f"{tokens} tokens without {class_tokens} class tokens are no square"
    elif math.isqrt(tokens - 1) ** 2 == tokens - 1 and axes == 2:
        side = math.isqrt(tokens - 1)
        said += (
            f": with class_tokens=1 the others are {side}x{side}, if the first is one"
        )
    if axes != 2:
        said = f"{tokens} tokens over {axes} axes can be many grids"
    raise ValueError(f"{said}. Say grid=, the positions in each direction")
