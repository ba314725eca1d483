"""Occlusion: what a network loses where a window hides the image."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from trustjax import _inputs, _validate
from trustjax._meshes import in_auto_axes
from trustjax._pieces import at_once
from trustjax.explain import _baseline
from trustjax.explain._layout import layout
from trustjax.explain._masking import answers, under_each
from trustjax.explain._target import Target, asked
from trustjax.typing import ApplyFn, Params


def occlusion(
    apply_fn: ApplyFn,
    params: Params,
    x: Float[Array, "batch ..."],
    *,
    window: int | Sequence[int] = 8,
    stride: int | Sequence[int] = 4,
    target: Target = None,
    output: str = "probabilities",
    baseline: _baseline.Baseline = "mean",
    microbatch: int | None = None,
    key: jax.Array | None = None,
) -> Float[Array, "batch ..."]:
    r"""What is lost, on average over the windows that hide a pixel.

    .. math::
      E(l) = \frac{1}{|\{w \ni l\}|} \sum_{w \ni l} \big(t(f(x)) - t(f(x_w))\big)

    where in :math:`x_w` all channels of the window w are those of the baseline.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: what it takes first.
      x: images `[batch, height, width, channels]`, or clips `[batch, frames, height,
        width, channels]`.
      window: pixels of a window along height and width, and frames of a clip, or all of
        them where there are fewer; a sequence says it for each axis.
      stride: from one window to the next; likewise. The last windows go over the edge,
        where they are cut.
      target: :math:`t`, what is asked, as in `rise`.
      output: what of a class is asked: `"probabilities"`, `"logits"` or
        `"log_probabilities"`.
      baseline: what stands in a window, as in `rise`.
      microbatch: windows at a time: `microbatch * batch` images are asked at once.
        None: so many that their images have a million numbers.
      key: where the noise of `baseline="impute"` comes from; None for no noise.

    Returns:
      `[batch, *positions]`, with several targets `[batch, asked, *positions]`, in
      float32 or wider; larger = more of what is asked is lost without the pixel. Of
      probabilities it is in [-1, 1].

    Raises:
      ValueError: if a window or a stride is not a positive number, a window is larger
        than the image, a stride larger than its window, which would leave pixels out,
        or `microbatch` is not in 1, ..., the number of windows; as `explain` says of
        targets and baselines.
      TypeError: if `x` is not floating point.

    =====================================  ===========================================
    Edge case                              Value
    =====================================  ===========================================
    what is asked does not depend on x     zeros
    a window as large as the image         one number all over: what the whole is worth
    NaN in the network for some window     NaN all over the map of that image
    =====================================  ===========================================

    >>> linear = lambda params, x: x.reshape(len(x), -1) @ params
    >>> params = jnp.array([[1.0], [2.0], [4.0]])
    >>> x = jnp.ones((1, 1, 3, 1))
    >>> print(occlusion(linear, params, x, window=(1, 2), stride=1, target=0,
    ...     output="logits", baseline="zero"))
    [[[3.        4.5       6.       ]]]

    References:
      Zeiler and Fergus 2014 (arXiv:1311.2901), section 4.2. Overlapping windows are
      averaged, and cut at the edge, as captum 0.9 does.
    """
    x = _inputs.array("x", x)
    _validate.floating("x", x)
    size = layout(x.shape).size
    windows = _along("window", window, size, size)
    strides = _along("stride", stride, size, windows)
    hidden = [_hidden(*axis) for axis in zip(size, windows, strides, strict=True)]
    counts = tuple(len(along) for along in hidden)
    count = int(np.prod(counts))
    many = at_once(microbatch, x, count)

    def of_images(
        params: Params, x: jax.Array, target: Any, baseline: Any, key: Any
    ) -> jax.Array:
        clean = apply_fn(params, x)
        ask = asked(target, clean, output=output)
        whole = ask(clean)
        f0 = whole.reshape(len(x), 1, -1)
        fill = _baseline.filler(x, baseline)

        def step(number: jax.Array, lost: jax.Array) -> jax.Array:
            of_step = number * many + jnp.arange(many)
            places = jnp.unravel_index(jnp.minimum(of_step, count - 1), counts)
            along = (jnp.asarray(h)[i] for h, i in zip(hidden, places, strict=True))
            windows = functools.reduce(lambda a, b: a[..., None] * _beside(a, b), along)
            keys = None
            if key is not None:
                keys = jax.vmap(jax.random.fold_in, (None, 0))(key, of_step)
            images = under_each(fill, 1 - windows, keys)
            less = f0 - answers(apply_fn, params, ask, images)
            less = jnp.where((of_step < count)[None, :, None], less, 0)
            return lost + jnp.einsum(
                "bma,m...->ba...", less, windows, precision=jax.lax.Precision.HIGHEST
            )

        nothing = jnp.zeros((len(x), f0.shape[-1], *size), f0.dtype)
        lost = jax.lax.fori_loop(0, -(-count // many), step, nothing)
        often = functools.reduce(np.multiply.outer, [h.sum(0) for h in hidden])
        mean = lost / jnp.asarray(often, lost.dtype)[None, None]
        return mean.reshape(*whole.shape, *size)

    return in_auto_axes(of_images, params, x, target, baseline, key, batch=x)


def _along(
    name: str, value: int | Sequence[int], size: tuple[int, ...], most: Sequence[int]
) -> tuple[int, ...]:
    """A number for each axis; one that is said for all fits into the frames."""
    if isinstance(value, int):
        of_frames = (min(value, n) for n in most[:-2])
        value = (*of_frames, value, value)
    numbers = tuple(value)
    if len(numbers) != len(size):
        raise ValueError(
            f"{name} must be one number, or one for each axis of {size}, got {numbers}"
        )
    for number, largest in zip(numbers, most, strict=True):
        _validate.count(name, number, at_most=largest)
    return numbers


def _hidden(size: int, window: int, stride: int) -> np.ndarray:
    """Which pixels each window hides along one axis, `[windows, size]`."""
    starts = stride * np.arange(-(-(size - window) // stride) + 1)[:, None]
    pixels = np.arange(size)[None]
    return ((starts <= pixels) & (pixels < starts + window)).astype(np.float32)


def _beside(a: jax.Array, b: jax.Array) -> jax.Array:
    """`[windows, n]` with axes before n for those of a."""
    return b.reshape(len(b), *[1] * (a.ndim - 1), -1)
