"""Images that no network here was trained on, made on the spot."""

import itertools
import pathlib
from collections.abc import Callable

import numpy as np

from trustjax import _extras
from trustjax.data._dataset import NO_CLASS, Dataset, from_arrays

with _extras.required("data"):
    from PIL import Image, ImageDraw, ImageFont

Shape = tuple[int, ...]

_LETTERS = "ABCDEFGHIJ"
_FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "cmb10",
    "cmr10",
    "cmss10",
    "cmtt10",
)
_SIZES = (0.7, 0.85, 1.0)
_ANGLES = (-15.0, -7.5, 0.0, 7.5, 15.0)
# Drawn this much larger, then averaged down: smooth edges at every angle.
_OVERSAMPLING = 4


def uniform_noise(
    image_shape: Shape, *, num_examples: int | None = None, seed: int = 0
) -> Dataset:
    """Every value independent and uniform over the 256 levels.

    The uniform noise of Liang et al. 2018 (arXiv:1706.02690).

    Args:
      image_shape: height, width, channels, with the frames before them for video.
      num_examples: how many images; 1,000 if `None`.
      seed: of the noise.

    Returns:
      A dataset without classes, every label `NO_CLASS`.

    >>> len(uniform_noise((8, 8, 3), num_examples=5))
    5
    """
    shape = _shape_of_noise(image_shape, num_examples)
    noise = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return _without_classes("uniform_noise", noise)


def normal_noise(
    image_shape: Shape, *, num_examples: int | None = None, seed: int = 0
) -> Dataset:
    """Every value independent and normal, mean 1/2, variance 1, clipped to [0, 1].

    The Gaussian noise of Liang et al. 2018 (arXiv:1706.02690): 31 % of the values are
    black, 31 % white.

    Args:
      image_shape: height, width, channels, with the frames before them for video.
      num_examples: how many images; 1,000 if `None`.
      seed: of the noise.

    Returns:
      A dataset without classes, every label `NO_CLASS`.

    >>> normal_noise((8, 8, 1), num_examples=5).num_classes
    0
    """
    shape = _shape_of_noise(image_shape, num_examples)
    noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32) + 0.5
    levels = np.round(np.clip(noise, 0, 1) * 255).astype(np.uint8)
    return _without_classes("normal_noise", levels)


def letters(
    image_shape: Shape, *, num_examples: int | None = None, seed: int = 0
) -> Dataset:
    """The letters A to J, white on black, in the fonts that matplotlib ships.

    Fifteen fonts, three sizes, five angles up to 15 degrees: 2,250 images in the
    manner of notMNIST (Bulatov 2011), with nothing to download. Of video each is a
    clip that stands still.

    Args:
      image_shape: height, width, channels, with the frames before them for video.
      num_examples: how many images; all of them if `None`.
      seed: of their order.

    Returns:
      A dataset of ten classes, `"A"` to `"J"`.

    Raises:
      ValueError: if `num_examples` is more than there are.

    >>> letters((28, 28, 1), num_examples=20).class_names[:3]
    ('A', 'B', 'C')
    """
    kinds = list(itertools.product(_FONTS, _SIZES, _ANGLES, range(len(_LETTERS))))
    if num_examples is not None and num_examples > len(kinds):
        raise ValueError(f"there are {len(kinds)} letters, not {num_examples}")
    order = np.random.default_rng(seed).permutation(len(kinds))[:num_examples]
    *_, height, width, _ = image_shape
    images = np.zeros((len(order), *image_shape), np.uint8)
    for image, number in zip(images, order, strict=True):
        font, size, angle, letter = kinds[number]
        drawn = _draw(_LETTERS[letter], font, size, angle, (height, width))
        image[:] = drawn[..., None]
    labels = np.array([kinds[number][-1] for number in order])
    return from_arrays("letters", images, labels, _LETTERS, split="test")


SYNTHETIC: dict[str, Callable[..., Dataset]] = {
    "letters": letters,
    "normal_noise": normal_noise,
    "uniform_noise": uniform_noise,
}


def _shape_of_noise(image_shape: Shape, num_examples: int | None) -> tuple[int, ...]:
    return (1000 if num_examples is None else num_examples, *image_shape)


def _without_classes(name: str, images: np.ndarray) -> Dataset:
    labels = np.full(len(images), NO_CLASS)
    return from_arrays(name, images, labels, (), split="test")


def _draw(
    letter: str, font: str, size: float, angle: float, shape: tuple[int, int]
) -> np.ndarray:
    """One letter in the middle of a black image, `size` 1 as large as fits upright."""
    height, width = (side * _OVERSAMPLING for side in shape)
    # Capitals are about 0.73 of the font size high; a margin is left for turning.
    points = max(1, round(size * min(height, width)))
    with _extras.required("data"):
        import matplotlib
    folder = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    face = ImageFont.truetype(folder / f"{font}.ttf", points)
    canvas = Image.new("L", (width, height))
    left, top, right, bottom = face.getbbox(letter)
    corner = ((width - left - right) / 2, (height - top - bottom) / 2)
    ImageDraw.Draw(canvas).text(corner, letter, fill=255, font=face)
    turned = canvas.rotate(angle, Image.Resampling.BILINEAR)
    return np.asarray(turned.reduce(_OVERSAMPLING))
