r"""What stands in the place of a pixel that is masked.

Every masked image is a blend,

.. math:: \tilde x = k \odot x + (1 - k) \odot b,

of an image and its baseline :math:`b`, where :math:`k` in [0, 1] says how much of each
position is kept. Zero is only grey where the network's preparation made it so; of
numbers in [0, 1] it is black, an object that a network may know.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from trustjax import _inputs, _validate
from trustjax.explain import _imputation
from trustjax.explain._layout import layout

Baseline = str | float | Float[Array | np.ndarray, "..."]
"""A name, one number, or an array that broadcasts to the images, such as
`[channels]`."""

NAMES = ("mean", "zero", "blur", "impute")

Images = Float[Array, "batch ..."]

_BLUR_RADIUS = 5
_BLUR_SIGMA = 5.0
_NOISE = 0.01  # of the deviation of the numbers of an image


def substrate(x: Images, baseline: Baseline = "mean") -> Images:
    r"""What an image becomes where all of it is masked, :math:`b`.

    Args:
      x: images `[batch, height, width, channels]`, or clips with frames before them;
        with channels first, as `_layout` finds them.
      baseline: `"mean"`, the mean colour of each image or clip itself; `"zero"`;
        `"blur"`, the image (each frame of a clip) under a Gaussian of 11x11 pixels and
        sigma 5, mirrored at its edges; a number; or an array that broadcasts to `x`,
        such as the mean of a dataset, `[channels]`.

    Returns:
      Shape and dtype of `x`.

    Raises:
      ValueError: if `x` is not images or clips, the name is unknown, an array does not
        broadcast to `x` or is not finite, or `baseline` is `"impute"`: that depends on
        what is masked, and only `filled` has it.
      TypeError: if `x` or the array is not floating point.

    >>> print(substrate(jnp.array([[[[0.0], [1.0]]]])))
    [[[[0.5]
       [0.5]]]]

    References:
      Petsiuk, Das and Saenko 2018 (RISE, arXiv:1806.07421) blur for insertion and take
      zero, which is their data's mean colour, for deletion. Their 11x11 kernel is no
      Gaussian: a Gaussian filter is mirrored at its edges until it is almost flat.
    """
    _images(x)
    if not isinstance(baseline, str):
        return jnp.broadcast_to(_given(x, baseline), x.shape)
    _validate.choice("baseline", baseline, NAMES)
    if baseline == "impute":
        raise ValueError(
            'baseline "impute" depends on what is masked: it has no image without a '
            f"mask; take one of {', '.join(NAMES[:-1])}, a number or an array"
        )
    if baseline == "zero":
        return jnp.zeros_like(x)
    if baseline == "blur":
        return _blurred(x)
    channel = layout(x.shape).channel_axis % x.ndim
    positions = tuple(axis for axis in range(1, x.ndim) if axis != channel)
    return jnp.broadcast_to(x.mean(positions, keepdims=True), x.shape)


def filled(
    x: Images,
    keep: Float[Array, "..."],
    baseline: Baseline = "mean",
    *,
    key: jax.Array | None = None,
) -> Float[Array, "batch ..."]:
    r"""Images of which a mask keeps a part, and the baseline takes the rest.

    Args:
      x: as in `substrate`.
      keep: :math:`k`, in [0, 1], `[batch, *more, *positions]`: how much of each
        position is kept. Several masks of one image stand on the axes `more`; a first
        axis of length one is for all images.
      baseline: as in `substrate`, or `"impute"`: noisy linear imputation. There a
        position is, as far as it is not kept, the weighted mean of its eight neighbours
        in its frame (next to it 1/6, across 1/12), all masked ones at the same time.
      key: where the noise of `"impute"` comes from; None for no noise. It is
        the same for all images; the other baselines have none.

    Returns:
      Images of the dtype of `x`, of its shape with the axes `more` behind the batch.

    Raises:
      ValueError: as `substrate`; if `keep` has other positions than `x`, or masks for
        another number of images.
      TypeError: as `substrate`.

    =================================  ==========================================
    Edge case                          Value
    =================================  ==========================================
    all is kept                        the image
    nothing is kept, `"impute"`        the mean colour of each frame
    NaN or inf in a pixel not kept     NaN there; of `"impute"` without noise,
                                       what its neighbours say
    =================================  ==========================================

    >>> x = jnp.array([[[[1.0], [3.0]]]])
    >>> print(filled(x, jnp.array([[[1.0, 0.0]]]), "zero")[..., 0])
    [[[1. 0.]]]

    References:
      Rong, Leemann, Borisov, Kasneci and Kasneci 2022 (ROAD, arXiv:2202.00449), section
      4.2, whose masks are zeros and ones; a mask between them is this library's
      reading. Their noise has a deviation of .01 in the units of their images; here it
      is .01 times the deviation of each image's numbers.
    """
    return filler(x, baseline)(keep, key)


def filler(
    x: Images, baseline: Baseline = "mean"
) -> Callable[[jax.Array, jax.Array | None], jax.Array]:
    """`filled` of one batch as a function `(keep, key)`, for many masks in turn.

    What does not depend on the mask is made once, before a loop over masks.

    >>> fill = filler(jnp.ones((1, 2, 2, 1)), 0.0)
    >>> print(fill(jnp.eye(2)[None], None)[0, ..., 0])
    [[1. 0.]
     [0. 1.]]
    """
    if isinstance(baseline, str) and baseline == "impute":
        _images(x)
        return functools.partial(_impute, x)
    return functools.partial(_blend, x, substrate(x, baseline))


def _blend(
    x: jax.Array, instead: jax.Array, keep: jax.Array, key: jax.Array | None
) -> jax.Array:
    del key  # nothing is drawn
    images, keep = _beside(x, keep)
    kept = keep * images + (1 - keep) * instead.reshape(images.shape)
    return kept.astype(x.dtype)


def _impute(x: jax.Array, keep: jax.Array, key: jax.Array | None) -> jax.Array:
    images, keep = _beside(x, keep)
    channel = layout(x.shape).channel_axis
    last = lambda a: jnp.moveaxis(a, channel, -1)
    imputed = jnp.moveaxis(_imputation.imputed(last(images), last(keep)), -1, channel)
    if key is not None:
        spread = x.std(tuple(range(1, x.ndim)))
        spread = spread.reshape(x.shape[0], *[1] * (imputed.ndim - 1))
        # The same for all images: an image's must not depend on the batch around it.
        noise = jax.random.normal(key, (1, *imputed.shape[1:]), imputed.dtype)
        imputed += (1 - keep) * _NOISE * spread * noise
    return imputed.astype(x.dtype)


def _beside(x: jax.Array, keep: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Images and masks with axes for one another: the masks' `more`, and channels."""
    size = layout(x.shape).size
    more = keep.ndim - len(size) - 1
    if more < 0 or keep.shape[more + 1 :] != size:
        raise ValueError(
            f"keep must have shape [batch, ..., {', '.join(map(str, size))}] for x of "
            f"{x.shape}, got {keep.shape}"
        )
    if keep.shape[0] not in (1, x.shape[0]):
        raise ValueError(
            f"keep must have masks for 1 or {x.shape[0]} images, got {keep.shape}"
        )
    images = x.reshape(x.shape[0], *[1] * more, *x.shape[1:])
    return images, layout(x.shape).beside(keep)


def _images(x: jax.Array) -> None:
    layout(x.shape)
    _validate.floating("x", x)


def _given(x: jax.Array, baseline: float | jax.Array | np.ndarray) -> jax.Array:
    value = _inputs.array("baseline", baseline)
    _validate.broadcasts("baseline", value, x.shape)
    _validate.finite("baseline", value)
    return value.astype(x.dtype)


def _blurred(x: jax.Array) -> jax.Array:
    """Along height and width, the mirrored neighbours weighed by a Gaussian."""
    offsets = range(-_BLUR_RADIUS, _BLUR_RADIUS + 1)
    weights = [math.exp(-((offset / _BLUR_SIGMA) ** 2) / 2) for offset in offsets]
    total = sum(weights)
    last = -2 if layout(x.shape).channel_axis == -1 else -1
    for axis in (x.ndim + last - 1, x.ndim + last):
        pads = [(0, 0)] * x.ndim
        pads[axis] = (_BLUR_RADIUS, _BLUR_RADIUS)
        padded, size = jnp.pad(x, pads, mode="reflect"), x.shape[axis]
        shifted = (
            weight
            / total
            * jax.lax.slice_in_dim(padded, start, start + size, axis=axis)
            for start, weight in enumerate(weights)
        )
        x = functools.reduce(jnp.add, shifted)
    return x
