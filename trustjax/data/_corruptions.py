"""The fifteen common corruptions of ImageNet-C, on any images."""

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from trustjax import _extras, _validate
from trustjax.data._conversion import LUMA
from trustjax.data._dataset import Dataset, MappedSource, derived_fingerprint

CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
"""The kinds of corruption, in the order of the paper."""

SEVERITIES = (1, 2, 3, 4, 5)

# Independent of one channel to the next: the grey one of three takes the first of them,
# since a mean over them would be less noisy.
_NOISE = ("gaussian_noise", "shot_noise", "impulse_noise")
# These two take a seed; all others draw from NumPy's global generator.
_OWN_GENERATOR = ("impulse_noise", "glass_blur")
_SMALLEST_SIDE = 32  # that imagecorruptions takes
_LOCK = threading.Lock()


def corrupted(
    dataset: Dataset, kind: str, *, severity: int = 3, seed: int = 0
) -> Dataset:
    """The same records with corrupted images, as in ImageNet-C.

    The corruption of a record depends on `seed` and on its number alone, so it is the
    same in every batch, order and process. Images are corrupted as they are read.

    Args:
      dataset: uint8 images, grey or RGB.
      kind: one of `CORRUPTIONS`.
      severity: 1 (mild) to 5, the paper's levels.
      seed: of what is random in the corruption.

    Returns:
      The dataset, with a fingerprint of its own.

    Raises:
      ValueError: if there is no such kind or severity.
      ModuleNotFoundError: without `pip install 'trustjax[corruptions]'`, whose opencv
        also needs the system's libGL (Debian: libgl1).

    >>> from trustjax import data
    >>> foggy = corrupted(data.load("digits"), "fog", severity=5)
    >>> foggy.image_shape
    (8, 8, 1)

    References:
      Hendrycks and Dietterich 2019 (arXiv:1903.12261), section 3, in the version that
      Michaelis et al. 2019 (arXiv:1907.07484) made for images of any size
      (imagecorruptions). The levels are those for 224x224 pixels; CIFAR-10-C uses
      milder ones.
    """
    _known(kind, severity)
    change = functools.partial(_corrupted, kind=kind, severity=severity, seed=seed)
    return dataclasses.replace(
        dataset,
        source=MappedSource(dataset.source, change),
        fingerprint=derived_fingerprint(dataset.fingerprint, kind, severity, seed),
    )


def corrupt(
    image: UInt8[np.ndarray, "height width channels"],
    kind: str,
    *,
    severity: int = 3,
    seed: int = 0,
) -> UInt8[np.ndarray, "height width channels"]:
    """One image, corrupted as in ImageNet-C.

    Args:
      image: grey (one channel) or RGB. Sides of less than 32 pixels are mirrored out
        to 32 and cut back.
      kind: one of `CORRUPTIONS`.
      severity: 1 (mild) to 5.
      seed: of what is random in the corruption; the same seed, the same image.

    Returns:
      The image, of the same shape and type.

    Raises:
      ValueError: if there is no such kind or severity, or the image is neither grey
        nor RGB, or not of bytes.
      ModuleNotFoundError: without `pip install 'trustjax[corruptions]'`.

    >>> corrupt(np.zeros((28, 28, 1), np.uint8), "brightness").mean() > 50
    np.True_
    """
    _known(kind, severity)
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise ValueError(
            f"image must have shape [height, width, 1 or 3 channels], got {image.shape}"
        )
    if image.dtype != np.uint8:
        raise ValueError(
            f"image must be uint8, got {image.dtype}: of floats in [0, 1] give "
            "np.round(255 * image).astype(np.uint8)"
        )
    height, width, channels = image.shape
    with _extras.required("corruptions"):
        import imagecorruptions
    missing = [max(0, _SMALLEST_SIDE - side) for side in (height, width)]
    padding = [(lack // 2, lack - lack // 2) for lack in missing]
    padded = np.pad(image, [*padding, (0, 0)], mode="symmetric")
    options = {"seed": seed} if kind in _OWN_GENERATOR else {}
    with _global_seed(seed):
        changed = imagecorruptions.corrupt(padded, severity, kind, **options)
    (top, _), (left, _) = padding
    changed = changed[top : top + height, left : left + width]
    if channels == 3:
        return changed
    if kind in _NOISE:
        return changed[..., :1]
    return np.round((changed @ LUMA)[..., None]).astype(np.uint8)


def _corrupted(
    image: np.ndarray, number: int, *, kind: str, severity: int, seed: int
) -> np.ndarray:
    """One record's image, with a seed of its own."""
    (own_seed,) = np.random.SeedSequence([seed, number]).generate_state(1)
    return corrupt(image, kind, severity=severity, seed=int(own_seed))


def _known(kind: str, severity: int) -> None:
    _validate.choice("kind", kind, CORRUPTIONS)
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be one of 1, 2, 3, 4, 5, got {severity!r}")


@contextlib.contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """Seeds NumPy's global generator, which imagecorruptions draws from, for a while.

    One thread at a time, and the caller's own state is put back.
    """
    with _LOCK:
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002
