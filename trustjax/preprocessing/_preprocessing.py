"""Geometry on the host, and numbers in front of the network."""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import _extras, _validate
from trustjax.typing import ApplyFn

INTERPOLATIONS = ("bilinear", "bicubic")
_MOST_PIXELS = 2**26
"""Of an image before its crop: more is an image 300 times as long as it is wide."""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How images come to a network.

    The network sees `low + (high - low) * (x - mean) / std` of images `x` in [0, 1].

    Attributes:
      size: (height, width) that the network takes; None leaves images as they are.
      resize: the short side before the centre crop to `size`, as torchvision and timm
        do it; None goes straight to `size`, whatever the aspect ratio.
      interpolation: `"bilinear"` or `"bicubic"`, smoothed where an image shrinks.
      mean: one number for all channels, or one for each, in units of [0, 1].
      std: likewise; what is left is divided by it.
      range: (low, high), what the numbers 0 and 1 are to the network after that:
        (0, 255) for one that takes bytes.
      bgr: whether the network takes blue first; `mean` and `std` stay red first.
      channels_first: whether the network takes `[batch, channels, ...]`.

    Raises:
      ValueError: if a number is out of its range, or the crop is larger than the
        resized image; what was expected, and what came.

    >>> imagenet = PRESETS["imagenet"]
    >>> dataclasses.replace(imagenet, size=(224, 224), resize=256).mean
    (0.485, 0.456, 0.406)
    """

    size: tuple[int, int] | None = None
    resize: int | None = None
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    range: tuple[float, float] = (0.0, 1.0)
    bgr: bool = False
    channels_first: bool = False

    def __post_init__(self):
        if self.size is not None:
            if len(self.size) != 2:
                raise ValueError(f"size must be (height, width), got {self.size}")
            for name, side in zip(("height", "width"), self.size, strict=True):
                _validate.count(name, side)
        if self.resize is not None:
            if self.size is None:
                raise ValueError("resize is what comes before a crop: give size too")
            # A crop that leaves the image would put black at its edges.
            _validate.count("resize", self.resize, at_least=max(self.size))
        _validate.choice("interpolation", self.interpolation, INTERPOLATIONS)
        for name in ("mean", "std", "range"):
            values = getattr(self, name)
            if not values or not all(map(math.isfinite, values)):
                raise ValueError(f"{name} must be finite numbers, got {values}")
        if not all(value > 0 for value in self.std):
            raise ValueError(f"std must be positive, got {self.std}")
        if len(self.range) != 2 or not self.range[0] < self.range[1]:
            raise ValueError(f"range must be (low, high), got {self.range}")
        if len({len(self.mean), len(self.std)} - {1}) > 1:
            raise ValueError(
                f"mean and std must be of the same channels, got {len(self.mean)} and "
                f"{len(self.std)}"
            )
        of_numbers = max(len(self.mean), len(self.std))
        if self.bgr and of_numbers not in (1, 3):
            raise ValueError(f"bgr has three channels, mean and std {of_numbers}")

    @property
    def channels(self) -> int | None:
        """The channels that the network takes, where the numbers say so."""
        most = max(len(self.mean), len(self.std), 3 if self.bgr else 1)
        return None if most == 1 else most

    def on_host(self, image: np.ndarray) -> np.ndarray:
        """One image in the size that the network takes.

        Args:
          image: `[height, width, channels]`, uint8, or floating in [0, 1]; of video
            `[frames, height, width, channels]`.

        Returns:
          `[size[0], size[1], channels]` of the same type, with the frames before them
          for video; grey is repeated where the network takes three channels.

        Raises:
          ValueError: if it is not such an image, or 300 times as long as it is wide.

        >>> half = Preprocessing(size=(2, 2))
        >>> half.on_host(np.full((4, 6, 1), 7, np.uint8))[..., 0].tolist()
        [[7, 7], [7, 7]]
        """
        if image.ndim == 4 and len(image):
            return np.stack([self.on_host(frame) for frame in image])
        if image.ndim != 3 or 0 in image.shape:
            raise ValueError(
                f"an image must have shape [height, width, channels], got {image.shape}"
            )
        if image.dtype != np.uint8 and image.dtype.kind != "f":
            raise ValueError(f"an image must be uint8 or floating, got {image.dtype}")
        if self.size is not None:
            image = self._in_size(image, self.size)
        if self.channels == 3 and image.shape[2] == 1:
            image = np.repeat(image, 3, axis=2)
        return image

    def _in_size(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        height, width = image.shape[:2]
        wanted = size
        if self.resize is not None:
            # The long side is cut, not rounded: so do torchvision and timm.
            longer = int(self.resize * max(height, width) / min(height, width))
            wanted = (self.resize, longer) if height <= width else (longer, self.resize)
        if wanted[0] * wanted[1] > max(_MOST_PIXELS, size[0] * size[1]):
            raise ValueError(
                f"an image of {height}x{width} pixels would become {wanted[0]}x"
                f"{wanted[1]} before its crop: leave it out, or crop it first"
            )
        if wanted != (height, width):
            image = _resized(image, wanted, self.interpolation)
        # Half a pixel goes to the even side, as in torchvision.
        top, left = (
            round((there - here) / 2) for there, here in zip(wanted, size, strict=True)
        )
        return image[top : top + size[0], left : left + size[1]]

    def numbers(self, x: jax.Array | np.ndarray) -> jax.Array:
        """What the network sees of images: the same, in the numbers of its training.

        Args:
          x: `[batch, height, width, channels]`, or `[batch, frames, height, width,
            channels]`; floating, in [0, 1].

        Returns:
          The same shape, or `[batch, channels, ...]` where the channels come first.

        Raises:
          ValueError: if `x` has another size, or other channels.
          TypeError: if it is not floating.

        >>> bytes_in_bgr = Preprocessing(range=(0, 255), bgr=True)
        >>> bytes_in_bgr.numbers(jnp.array([0.0, 0.2, 1.0]).reshape(1, 1, 1, 3)).ravel()
        Array([255.,  51.,   0.], dtype=float32)
        """
        x = jnp.asarray(x)
        _validate.floating("images", x)
        if x.ndim not in (4, 5):
            raise ValueError(
                "images must have shape [batch, height, width, channels], or [batch, "
                f"frames, height, width, channels], got {x.shape}"
            )
        if self.size is not None and x.shape[-3:-1] != self.size:
            raise ValueError(
                f"the network takes images of {self.size[0]}x{self.size[1]} pixels, "
                f"got {x.shape[-3]}x{x.shape[-2]}"
            )
        if self.channels not in (None, x.shape[-1]):
            raise ValueError(
                f"the network takes {self.channels} channels, got {x.shape[-1]}"
            )
        low, high = self.range
        mean, std = (
            jnp.broadcast_to(jnp.asarray(values, x.dtype), (x.shape[-1],))
            for values in (self.mean, self.std)
        )
        y = (x - jnp.expand_dims(mean, range(x.ndim - 1))) / jnp.expand_dims(
            std, range(x.ndim - 1)
        )
        if self.range != (0.0, 1.0):
            y = low + (high - low) * y
        if self.bgr:
            y = y[..., ::-1]
        return jnp.moveaxis(y, -1, 1) if self.channels_first else y

    def normalized(self, apply_fn: ApplyFn) -> ApplyFn:
        """The network with these numbers before it, so that it takes [0, 1].

        Gradients to the input are then those to an image as a person sees it.

        Args:
          apply_fn: `(params, x) -> logits`, `x` as the weights were trained.

        Returns:
          `(params, x) -> logits`, `x` as in `numbers`.

        >>> sums = lambda params, x: x.sum(axis=(1, 2))
        >>> PRESETS["half"].normalized(sums)(None, jnp.ones((1, 2, 2, 3)))
        Array([[4., 4., 4.]], dtype=float32)
        """
        return lambda params, x: apply_fn(params, self.numbers(x))

    def __str__(self) -> str:
        """The line of text that `parse` takes."""
        named = next((n for n, p in PRESETS.items() if _same_numbers(p, self)), "unit")
        parts = [named] if named != "unit" else []
        if self.size is not None:
            if self.resize is not None:
                parts.append(f"resize={self.resize}")
            height, width = self.size
            side = f"{height}" if height == width else f"{height}x{width}"
            parts += [f"{'size' if self.resize is None else 'crop'}={side}"]
            parts += [self.interpolation]
        parts += [
            f"{name}={','.join(map(_written, getattr(self, name)))}"
            for name in ("mean", "std", "range")
            if getattr(self, name) != getattr(PRESETS[named], name)
        ]
        parts += [word for word, name in WORDS.items() if getattr(self, name) is True]
        return " ".join(parts) or "unit"


WORDS = {"bgr": "bgr", "channels-first": "channels_first"}
"""What a line of text says by a word alone, and the attribute that is then True."""

PRESETS: Mapping[str, Preprocessing] = {
    "unit": Preprocessing(),
    "half": Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    "imagenet": Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "lite": Preprocessing(mean=(127 / 255,) * 3, std=(128 / 255,) * 3),
}
"""Numbers by name: [0, 1] as they are; [-1, 1]; torchvision's; EfficientNet-Lite's."""


def _written(number: float) -> str:
    return repr(float(number)).removesuffix(".0")


def _same_numbers(one: Preprocessing, other: Preprocessing) -> bool:
    return (one.mean, one.std) == (other.mean, other.std)


def _resized(
    image: np.ndarray, size: tuple[int, int], interpolation: str
) -> np.ndarray:
    """Height and width changed, each channel for itself."""
    # Here, so that `models`, which only hold such values, need no Pillow.
    with _extras.required("data"):
        from PIL import Image

    method = Image.Resampling[interpolation.upper()]
    if image.dtype == np.uint8 and image.shape[2] == 3:
        # At once, which gives the same numbers in half the time.
        return np.asarray(Image.fromarray(image).resize((size[1], size[0]), method))
    kept = image if image.dtype == np.uint8 else image.astype(np.float32)
    channels = [
        np.asarray(Image.fromarray(channel).resize((size[1], size[0]), method))
        for channel in np.moveaxis(kept, -1, 0)
    ]
    resized = np.stack(channels, axis=-1)
    if image.dtype != np.uint8:
        # As of bytes: bicubic leaves [0, 1] at sharp edges.
        resized = np.clip(resized, 0, 1).astype(image.dtype)
    return resized
