"""Any dataset in the image shape of another: grey or RGB, resized."""

import dataclasses
import os

import numpy as np

from trustjax import _extras, _validate
from trustjax.data import _own, _registry
from trustjax.data._dataset import Dataset, MappedSource, derived_fingerprint
from trustjax.data._selected import Selected
from trustjax.data._synthetic import SYNTHETIC, Shape

with _extras.required("data"):
    from PIL import Image

LUMA = np.array([0.299, 0.587, 0.114])
"""What red, green and blue are of a grey: ITU-R BT.601, as in JPEG and in PIL."""


def out_of_distribution(
    name: str,
    image_shape: Shape,
    *,
    split: str = "test",
    num_examples: int | None = None,
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Images that a network has not been trained on, in the shape that it takes.

    Args:
      name: `"uniform_noise"`, `"normal_noise"` or `"letters"`, made on the spot, or any
        name that `load` takes, such as `"faces"` and `"photographs"`, whose images
        are turned grey or RGB and resized.
      image_shape: height, width, channels of the network's images, with the frames
        before them for video; a clip of a still image repeats it.
      split: the part of a loaded dataset. Of own data without such a part all are
        taken, also those of a folder without class folders.
      num_examples: the first so many records; all if `None` (of noise: 1,000).
      seed: of noise, and of the order of the letters.
      data_dir: the folder of prepared datasets; `None` for the default.

    Returns:
      The dataset. Its labels are its own, not those of the network's classes.

    Raises:
      ValueError: if there is no such dataset, or fewer examples than wanted.

    >>> out_of_distribution("digits", (28, 28, 1), num_examples=100).image_shape
    (28, 28, 1)
    """
    _shape(image_shape)
    if num_examples is not None:
        _validate.count("num_examples", num_examples)
    if make := SYNTHETIC.get(name):
        return make(image_shape, num_examples=num_examples, seed=seed)
    if _own.is_own(name):
        dataset = _own.load_images(name, split)
    else:
        dataset = _registry.load(name, split, data_dir=data_dir)
    if num_examples is not None:
        dataset = first(dataset, num_examples)
    return convert(dataset, image_shape)


def convert(dataset: Dataset, image_shape: Shape) -> Dataset:
    """The same records with images of another shape.

    RGB becomes grey by the luma of ITU-R BT.601, grey becomes RGB by repeating it, and
    sizes change by bilinear interpolation, smoothed where the image shrinks. An aspect
    ratio is not kept. Images are converted as they are read. Of a clip each frame is
    converted, and a still image becomes a clip that repeats it.

    Args:
      dataset: images of one channel or three; their sizes may vary.
      image_shape: height, width, channels, with the frames before them for video.

    Returns:
      The dataset, with a fingerprint of its own.

    Raises:
      ValueError: if either has neither one channel nor three, or a clip would need
        other frames than it has.
    """
    shape = _shape(image_shape)
    if dataset.image_shape == image_shape:
        return dataset
    *frames, _, _, channels = dataset.image_shape
    if channels not in (1, 3):
        raise ValueError(
            f"the images of {dataset.name} must have 1 or 3 channels to be converted, "
            f"got {channels}"
        )
    if frames and tuple(frames) != shape[:-3]:
        raise ValueError(
            f"the clips of {dataset.name} have {frames[0]} frames: they cannot become "
            f"images of shape {shape}"
        )
    return dataclasses.replace(
        dataset,
        source=MappedSource(dataset.source, lambda image, _: _converted(image, shape)),
        image_shape=shape,
        fingerprint=derived_fingerprint(dataset.fingerprint, "convert", *shape),
    )


def first(dataset: Dataset, num_examples: int) -> Dataset:
    """The first records of a dataset.

    Raises:
      ValueError: if it has fewer.
    """
    if num_examples > len(dataset):
        raise ValueError(
            f"{dataset.name} has {len(dataset)} records, not {num_examples}"
        )
    return dataclasses.replace(
        dataset,
        source=Selected(dataset.source, np.arange(num_examples)),
        fingerprint=derived_fingerprint(dataset.fingerprint, "first", num_examples),
    )


def _shape(image_shape: Shape) -> Shape:
    """Requires the shape of grey or RGB images, or of clips of them."""
    if len(image_shape) not in (3, 4):
        raise ValueError(
            "image_shape must be (height, width, channels), or (frames, height, width, "
            f"channels), got {image_shape}"
        )
    *size, channels = image_shape
    names = ("frames", "height", "width")[-len(size) :]
    for name, pixels in zip(names, size, strict=True):
        _validate.count(name, pixels)
    if channels not in (1, 3):
        raise ValueError(f"images must have 1 or 3 channels, got {image_shape}")
    return image_shape


def _converted(image: np.ndarray, image_shape: Shape) -> np.ndarray:
    """One image in another shape, of the same type."""
    if image.ndim == 4:
        return np.stack([_converted(frame, image_shape[1:]) for frame in image])
    *_, height, width, channels = image_shape
    values = image.astype(np.float32)
    if channels == 1 and values.shape[-1] == 3:
        values = values @ LUMA.astype(np.float32)[:, None]
    if values.shape[:2] != (height, width):
        values = np.stack(
            [_resized(c, height, width) for c in np.moveaxis(values, -1, 0)], -1
        )
    values = np.broadcast_to(values, image_shape)
    if image.dtype == np.uint8:
        return np.round(values).astype(np.uint8)
    return values.astype(image.dtype)


def _resized(channel: np.ndarray, height: int, width: int) -> np.ndarray:
    image = Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image)
