"""The common corruptions of ImageNet-C, on any images.

Where in the pipeline images are corrupted decides how much of it the network sees:
noise that a resize averages away is hardly noise. As in ImageNet-C, it is to be done in
the size that the network takes, after every resize and crop, and before the numbers are
normalised: `corrupted(convert(dataset, shape), kind)`, not the other way about.
"""

import contextlib
import dataclasses
import functools
import threading
import types
from collections.abc import Iterator, Sequence

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

VALIDATION_CORRUPTIONS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""Four more, to choose by: what was tuned on these has not seen the fifteen."""

_SETS = {
    "common": CORRUPTIONS,
    "validation": VALIDATION_CORRUPTIONS,
    "all": CORRUPTIONS + VALIDATION_CORRUPTIONS,
}
_KINDS = _SETS["all"]

SEVERITIES = (1, 2, 3, 4, 5)

# Independent of one channel to the next: the grey one of three takes the first of them,
# since a mean over them would be less noisy.
_NOISE = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise")
# These two take a seed; all others draw from NumPy's global generator.
_OWN_GENERATOR = ("impulse_noise", "glass_blur")
_SMALLEST_SIDE = 32  # that imagecorruptions takes
_LOCK = threading.Lock()


def corrupted(
    dataset: Dataset, kind: str, *, severity: int = 3, seed: int = 0
) -> Dataset:
    """The same records with corrupted images, as in ImageNet-C.

    The corruption of a record depends on `seed` and on its number alone, so it is the
    same in every batch, order and process. Images are corrupted as they are read, at
    half a millisecond to several each (frost, which cuts from a photograph, the most).

    `convert` first, corrupt then. Gaussian noise of severity 3 changes grey images of
    32 pixels by 37 on average; put on at 128 pixels and averaged down with them, by 6.

    Args:
      dataset: uint8 images, grey or RGB, in the size that a network takes.
      kind: one of `CORRUPTIONS` or `VALIDATION_CORRUPTIONS`.
      severity: 1 (mild) to 5, the paper's levels.
      seed: of what is random in the corruption.

    Returns:
      The dataset, with a fingerprint of its own.

    Raises:
      ValueError: if there is no such kind or severity, or the images are neither grey
        nor RGB.
      ModuleNotFoundError: without `pip install 'trustjax[corruptions]'`, whose opencv
        also needs the system's libGL (Debian: libgl1).

    ==============================  ================================================
    Edge case                       Value
    ==============================  ================================================
    saturate, severity 1 to 3, of   as they are: they have no colour to take or give
    grey images                     (4 and 5 tint, and so darken, them)
    spatter, severity 1 to 3, where the image as it is: the smaller, the more often
    no drop falls
    ==============================  ================================================

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
    if len(dataset.image_shape) != 3 or dataset.image_shape[-1] not in (1, 3):
        raise ValueError(
            "corruptions are of images [height, width, 1 or 3 channels], and those of "
            f"{dataset.name} have shape {dataset.image_shape}"
        )
    _library()  # missed before an image is read
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
      kind: one of `CORRUPTIONS` or `VALIDATION_CORRUPTIONS`.
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
    library = _library()
    missing = [max(0, _SMALLEST_SIDE - side) for side in (height, width)]
    padding = [(lack // 2, lack - lack // 2) for lack in missing]
    padded = np.pad(image, [*padding, (0, 0)], mode="symmetric")
    options = {"seed": seed} if kind in _OWN_GENERATOR else {}
    with _global_seed(seed), np.errstate(invalid="raise"):
        try:
            changed = library.corrupt(padded, severity, kind, **options)
        except FloatingPointError:
            if kind != "spatter":
                raise
            return image.copy()  # it divides by its brightest drop, and none has fallen
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


def corruptions_named(names: Sequence[str]) -> tuple[str, ...]:
    """The kinds of corruption that are asked for, each once.

    Args:
      names: of kinds, and of sets of them: `common`, the fifteen `CORRUPTIONS`;
        `validation`, the four `VALIDATION_CORRUPTIONS`; `all`, both.

    Raises:
      ValueError: if there is no such kind, naming all that there are.

    >>> corruptions_named(["fog", "validation", "fog"])
    ('fog', 'speckle_noise', 'gaussian_blur', 'spatter', 'saturate')
    """
    for name in names:
        _validate.choice("corruption", name, (*_SETS, *_KINDS))
    asked = (kind for name in names for kind in _SETS.get(name, (name,)))
    return tuple(dict.fromkeys(asked))


def _library() -> types.ModuleType:
    with _extras.required("corruptions"):
        import imagecorruptions
    return imagecorruptions


def _known(kind: str, severity: int) -> None:
    _validate.choice("kind", kind, _KINDS)
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
