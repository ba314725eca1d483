"""Where in an array of images the positions are, and where the channels."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

_CHANNELS = (1, 3)
"""How many channels say by themselves that they are channels."""


class Layout(NamedTuple):
    """The axes of a batch of images or clips.

    Attributes:
      size: the positions: `(height, width)`, for clips `(frames, height, width)`.
      channel_axis: counted from the end, so that axes may be put before the batch.
    """

    size: tuple[int, ...]
    channel_axis: int

    def beside(self, maps: jax.Array) -> jax.Array:
        """Maps `[..., *size]` with an axis of one where the images have channels."""
        return jnp.expand_dims(maps, self.channel_axis)


def layout(shape: Sequence[int]) -> Layout:
    """The axes of images of this shape.

    Channels come last. They come first behind the batch, as in PyTorch, where there
    are 1 or 3 there, and neither 1 nor 3 at the end.

    Raises:
      ValueError: if it is the shape neither of images nor of clips.

    >>> layout((8, 28, 32, 1))
    Layout(size=(28, 32), channel_axis=-1)
    >>> layout((8, 3, 224, 224))
    Layout(size=(224, 224), channel_axis=-3)
    """
    if len(shape) not in (4, 5):
        raise ValueError(
            "x must be images [batch, height, width, channels] or clips [batch, "
            "frames, height, width, channels] for a map over their positions, got "
            f"{tuple(shape)}: explain.saliency and its kin take any shape"
        )
    first = shape[1] in _CHANNELS and shape[-1] not in _CHANNELS
    size = shape[2:] if first else shape[1:-1]
    return Layout(tuple(size), -len(size) - 1 if first else -1)
