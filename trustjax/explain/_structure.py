"""How right the network stays while an image is taken away by its structure."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from trustjax import _inputs, _validate
from trustjax.explain import _baseline
from trustjax.explain._bits import COSTS, CostFn
from trustjax.explain._curves import checked_maps
from trustjax.explain._layout import layout
from trustjax.explain._maps import normalized
from trustjax.explain._target import classes_of
from trustjax.typing import ApplyFn, Params

THRESHOLDS = tuple(step / 10 for step in range(11))
"""The grid of the tutorial, and 0."""


class StructureCurve(NamedTuple):
    """How right the network is over what is left of the images; arrays of NumPy.

    The points are in the order of x, and so are the columns of all arrays.

    Attributes:
      x: `[points]`, the mean over images of what is left.
      y: `[points]`, the share of right answers then.
      area: `[]`, under y, over the range of x and divided by it: in [0, 1], higher is
        better.
      thresholds: `[points]`, of the map in [0, 1].
      left: `[batch, points]`, what is left of each image.
      correct: `[batch, points]`, whether it is right then.
    """

    x: np.ndarray
    y: np.ndarray
    area: float
    thresholds: np.ndarray
    left: np.ndarray
    correct: np.ndarray

    def at(self, x: float) -> float:
        """Y at one x, linear between the points; NaN outside of them.

        >>> left, right = np.array([[0.25, 1.0]]), np.array([[False, True]])
        >>> structure_curve_of(left, right, (1.0, 0.0)).at(0.625)
        0.5
        """
        return float(np.interp(x, self.x, self.y, left=np.nan, right=np.nan))

    def needed(self, y: float) -> float:
        """The smallest x with which at least y is reached; NaN if none is.

        >>> left, right = np.array([[0.5, 1.0]]), np.array([[False, True]])
        >>> structure_curve_of(left, right, (1.0, 0.0)).needed(0.5)
        0.75
        """
        enough = self.y >= y
        if not enough.any():
            return float("nan")
        first = int(np.argmax(enough))
        if first == 0:
            return float(self.x[0])
        between = slice(first - 1, first + 1)
        return float(np.interp(y, self.y[between], self.x[between]))


def structure_curve(
    apply_fn: ApplyFn,
    params: Params,
    x: Float[Array, "batch ..."],
    maps: Float[Array, "batch ..."],
    *,
    labels: Int[Array, " batch"] | None,
    cost: str | CostFn = "huffman",
    thresholds: Sequence[float] = THRESHOLDS,
    baseline: Any = "zero",
    to_bytes: Callable[[np.ndarray], np.ndarray] | None = None,
    key: jax.Array | None = None,
) -> StructureCurve:
    r"""Structure-wise deletion and insertion: right answers over the bits left.

    .. math:: x_t = \text{mean}_i\, \frac{\text{bits}(x_i \odot M_{i,t} + b \odot
                (1 - M_{i,t}))}{\text{bits}(x_i)}, \quad M_{i,t} = [E_i \ge t]

    with the maps :math:`E_i` in [0, 1] (`normalized`), and :math:`y_t` the share of
    images on which the network is still right. With `baseline="zero"`, black, it is
    the deletion of the tutorial, where t rises and more is taken away; with
    `baseline="mean"` its insertion, where t falls and more is put into the mean image.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode; jit it, for it is called
        once for each threshold.
      params: what it takes first.
      x: images `[batch, height, width, channels]`.
      maps: one map for each image, `[batch, height, width]`, raw.
      labels: the right classes; None for those that are predicted for the images as
        they are.
      cost: what is left of an image: `"huffman"`, the bits of its bytes in their own
        Huffman code over those of the original, without the table of the code, the
        channels pooled; `"png"` or `"jpeg"`, bytes of the file likewise; `"ssim"`, its
        structural similarity to the original; `"saliency"`, the share of the map's
        values that is kept; or a function `(original, masked) -> number` of two images
        in bytes.
      thresholds: of the map in [0, 1].
      baseline: as in every explanation.
      to_bytes: x in the 256 values of a file, `uint8`; None for bytes as they are, and
        images in [0, 1] times 255.
      key: a random key, for baselines that draw.

    Returns:
      A `StructureCurve`. Bits and images are NumPy's, so it is not for use inside
      `jit`.

    Raises:
      ValueError: if the shapes do not fit, `cost` or `baseline` is unknown, a
        threshold is not in [0, 1] or there is none, images are not in [0, 1] and
        `to_bytes` is None, or a map or what is left is NaN.
      TypeError: if values are traced, or `to_bytes` does not give bytes.

    ===========================  ===================================================
    Edge case                    Value
    ===========================  ===================================================
    an image of one colour       one bit for each byte, so that x does not reach 0
    masks with more structure    x above 1: it is not clipped
    a constant map               nothing is kept above threshold 0; its saliency is
                                 the share of pixels
    all points at one x          the area is the mean of y
    ===========================  ===================================================

    >>> linear = lambda params, x: x.reshape(len(x), -1) @ params
    >>> x, maps = jnp.array([[[[1.0], [0.5]]]]), jnp.array([[[0.0, 1.0]]])
    >>> curve = structure_curve(linear, jnp.eye(2), x, maps, labels=jnp.array([0]),
    ...                         cost="saliency", thresholds=(0.0, 0.5))
    >>> print(curve.left, curve.y)
    [[1. 1.]] [1. 0.]

    References:
      AlRegib and Prabhushankar 2025, slides "Structure-wise deletion" and
      "insertion"; Prabhushankar and AlRegib 2021 (CausalCAM, arXiv:2103.12322). No
      code of theirs is public: bytes, pooled channels and the missing table are ours.
    """
    _validate.known(x=x, maps=maps, labels=labels)
    x, maps = _inputs.array("x", x), _inputs.array("maps", maps)
    maps = checked_maps(maps, x)
    _validate.no_nan("maps", maps)
    if labels is not None:
        labels = _inputs.whole_numbers("labels", labels, "batch")
        _validate.same_length(labels=labels, x=x)
    if not callable(cost):
        _validate.choice("cost", cost, [*COSTS, "saliency"])
    if not thresholds:
        raise ValueError("thresholds must hold at least one number, got none")
    for threshold in thresholds:
        _validate.fraction("a threshold", threshold)

    def pictures_of(images: jax.Array) -> np.ndarray:
        pixels = (_to_bytes if to_bytes is None else to_bytes)(np.asarray(images))
        return _checked_bytes(pixels, x.shape)

    scaled = normalized(maps)
    originals = pictures_of(x)
    right = np.asarray(classes_of(labels, apply_fn(params, x)))
    left, correct = [], []
    for threshold in thresholds:
        kept = scaled >= threshold
        masked = _baseline.filled(x, kept.astype(scaled.dtype), baseline, key=key)
        correct.append(np.asarray(jnp.argmax(apply_fn(params, masked), -1)) == right)
        if cost == "saliency":
            left.append(_saliency_kept(np.asarray(scaled), np.asarray(kept)))
            continue
        measure = cost if callable(cost) else COSTS[cost]
        pairs = zip(originals, pictures_of(masked), strict=True)
        left.append([measure(*pair) for pair in pairs])
    return structure_curve_of(
        np.stack(left, axis=1), np.stack(correct, axis=1), thresholds
    )


def structure_curve_of(
    left: np.ndarray, correct: np.ndarray, thresholds: Sequence[float] | np.ndarray
) -> StructureCurve:
    """The curve of some images: of a sample of those that another curve has.

    Args:
      left: `[batch, points]`, what is left of each image at each threshold.
      correct: `[batch, points]`, whether the network is right then.
      thresholds: `[points]`.

    Returns:
      The curve, its points in the order of their mean x.

    Raises:
      ValueError: if the shapes do not fit, there is no image, or a number is NaN.

    >>> left = np.array([[0.25, 1.0], [0.75, 1.0]])
    >>> curve = structure_curve_of(left, np.array([[0, 1], [1, 1]]), (1.0, 0.0))
    >>> print(curve.x, curve.y, curve.area)
    [0.5 1. ] [0.5 1. ] 0.75
    """
    left, correct = np.asarray(left, np.float64), np.asarray(correct, bool)
    expected = (len(left), len(thresholds))
    if left.shape != expected or correct.shape != expected or not len(left):
        raise ValueError(
            f"left and correct must be [batch, {len(thresholds)}] of one batch that "
            f"is not empty, got {left.shape} and {correct.shape}"
        )
    if np.isnan(left).any():
        raise ValueError("left must not be NaN: what is left of an image has no number")
    x, y = left.mean(axis=0), correct.mean(axis=0)
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    span = x[-1] - x[0]
    area = np.trapezoid(y, x) / span if span > 0 else y.mean()
    return StructureCurve(
        x,
        y,
        float(area),
        np.asarray(thresholds, np.float64)[order],
        left[:, order],
        correct[:, order],
    )


def _saliency_kept(maps: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The share of each map in the pixels that are kept; of zeros, that of pixels."""
    axes = tuple(range(1, maps.ndim))
    weights = np.where(maps.any(axis=axes, keepdims=True), maps, 1).astype(np.float64)
    return np.sum(weights * kept, axis=axes) / np.sum(weights, axis=axes)


def _to_bytes(images: np.ndarray) -> np.ndarray:
    if images.dtype == np.uint8:
        return images
    if not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(
            "x must be in [0, 1] or bytes where to_bytes is None, got values from "
            f"{images.min()} to {images.max()}"
        )
    return np.round(images.astype(np.float64) * 255).astype(np.uint8)


def _checked_bytes(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bytes of images of this shape, their channels last."""
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8:
        raise TypeError(f"to_bytes must return uint8, got {pixels.dtype}")
    if pixels.shape != shape or pixels.ndim != 4:
        raise ValueError(
            f"images in bytes must have the shape of x, {shape}, and no frames, "
            f"got {pixels.shape}"
        )
    return np.moveaxis(pixels, layout(shape).channel_axis, -1)
