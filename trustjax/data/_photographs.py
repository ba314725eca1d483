"""Faces and pieces of photographs that scikit-image's wheel carries."""

import importlib.util
import os
import pathlib
from collections.abc import Callable

import numpy as np

from trustjax import _extras
from trustjax.data._dataset import Dataset, from_arrays

with _extras.required("data"):
    from PIL import Image

# Of the photographs in the wheel, those of things and surfaces as an eye sees them: no
# drawing, no page, nothing seen through a microscope or a telescope.
_PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "motorcycle_left.png",
    "rocket.jpg",
)
_SIDE = 64
_FACES = 100


def faces() -> Dataset:
    """The faces among the patches of scikit-image's `lfw_subset`, 25x25 and grey.

    Labeled Faces in the Wild (Huang et al. 2007). The other half of the file, pieces of
    the same photographs without a face, is left out.

    Returns:
      100 images of one class, in an order that is shuffled once for all.

    >>> len(faces()), faces().image_shape
    (100, (25, 25, 1))
    """
    patches = np.load(_folder() / "lfw_subset.npy")[:_FACES]
    images = np.round(255 * patches).astype(np.uint8)[..., None]
    return _shuffled("faces", images, np.zeros(len(images), int), ("face",))


def photographs() -> Dataset:
    """Squares of 64 pixels, cut edge to edge from ten photographs of scikit-image.

    None overlaps another, but those of one photograph are alike: `labels` says which
    it is, for whoever divides them or resamples.

    Returns:
      563 images in RGB, in an order that is shuffled once for all. The classes are
      the photographs.

    >>> len(photographs()), photographs().class_names[:3]
    (563, ('astronaut', 'brick', 'camera'))
    """
    tiles = [_tiles(_folder() / name) for name in _PHOTOGRAPHS]
    labels = np.repeat(np.arange(len(tiles)), [len(own) for own in tiles])
    names = tuple(pathlib.Path(name).stem for name in _PHOTOGRAPHS)
    return _shuffled("photographs", np.concatenate(tiles), labels, names)


PHOTOGRAPHED: dict[str, Callable[[], Dataset]] = {
    "faces": faces,
    "photographs": photographs,
}


def _shuffled(
    name: str, images: np.ndarray, labels: np.ndarray, names: tuple[str, ...]
) -> Dataset:
    """So that the first records of a set are like the whole of it."""
    order = np.random.default_rng(0).permutation(len(images))
    return from_arrays(name, images[order], labels[order], names, split="test")


def _folder() -> pathlib.Path:
    """Where the wheel has its files; its own functions would import half of SciPy."""
    with _extras.required("data"):
        package = importlib.util.find_spec("skimage")
        if package is None or package.origin is None:
            raise ModuleNotFoundError("scikit-image", name="skimage")
    return pathlib.Path(os.path.dirname(package.origin)) / "data"


def _tiles(path: pathlib.Path) -> np.ndarray:
    """Whole squares of one photograph, row by row from its upper left corner."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    down, across = (size // _SIDE for size in pixels.shape[:2])
    whole = pixels[: down * _SIDE, : across * _SIDE]
    cut = whole.reshape(down, _SIDE, across, _SIDE, 3).swapaxes(1, 2)
    return cut.reshape(-1, _SIDE, _SIDE, 3)
