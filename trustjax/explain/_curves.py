"""What the network says while an image is shown, or hidden, pixel by pixel."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _inputs, _validate
from trustjax._meshes import in_auto_axes
from trustjax._numerics import at_least_float32
from trustjax.explain import _baseline
from trustjax.explain._layout import layout
from trustjax.explain._target import Target, asked
from trustjax.typing import ApplyFn, Params

SPACINGS = ("pixels", "steps")


class Curve(NamedTuple):
    """What is asked of the network over the share of pixels that were changed.

    Attributes:
      x: `[batch, steps + 1]`, the share of the pixels that are inserted, or deleted;
        rises from 0 to 1.
      y: `[batch, steps + 1]`, what the network says of the target then.
      area: `[batch]`, under y over x: of probabilities in [0, 1].
    """

    x: Float[Array, "batch points"]
    y: Float[Array, "batch points"]
    area: Float[Array, " batch"]


def insertion_curve(
    apply_fn: ApplyFn,
    params: Params,
    x: Float[Array, "batch ..."],
    maps: Float[Array, "batch ..."],
    *,
    target: Target = None,
    output: str = "probabilities",
    baseline: Any = "blur",
    step: int | None = None,
    spacing: str = "pixels",
    microbatch: int | None = None,
    key: jax.Array | None = None,
) -> Curve:
    r"""The answer while the pixels are put into an empty image, the largest first.

    .. math:: y_i = f_c(x \odot M_i + b \odot (1 - M_i)), \quad
              x_i = \min(i s, n) / n

    where :math:`M_i` marks the :math:`i s` pixels of :math:`n` with the largest values
    of the map, and :math:`b` is the baseline. One scan over the steps.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: what it takes first.
      x: images or clips, as everywhere in `explain`.
      maps: what says which pixels come first, one for each image: `[batch, height,
        width]`, of clips `[batch, frames, height, width]`.
      target: what is asked, one number for each image: the class that is predicted for
        the image as it is, another class, or a function, as in every explanation.
      output: what of a class is asked.
      baseline: :math:`b`: `"blur"`, `"mean"`, `"zero"`, `"impute"`, a number or an
        array, as in every explanation.
      step: :math:`s`, pixels at a time; None for one row, as the authors take. The
        last step takes what is left.
      spacing: what lies between two points of the area: `"pixels"`, their share; or
        `"steps"`, the same for all, as in the released code. They differ where the
        last step is short.
      microbatch: how many images go through the network at once; None for `batch`. A
        number above that takes several steps together.
      key: a random key, for baselines that draw.

    Returns:
      A `Curve` for each image. A higher area says that a few pixels are enough.

    Raises:
      ValueError: if the shapes do not fit, the target asks for several numbers, or
        `step`, `spacing`, `output` or `baseline` are not what they may be.

    ============================  ===================================================
    Edge case                     Value
    ============================  ===================================================
    equal values in a map         in the order of their place, row by row; the
                                  authors' sort leaves it open
    a constant map                the pixels row by row, from the top
    a map with a NaN              NaN
    a step of all pixels or more  two points: nothing, and the whole image
    ============================  ===================================================

    >>> linear = lambda params, x: x.reshape(len(x), -1) @ params
    >>> params = jnp.array([[1.0, 0.0], [2.0, 0.0]])
    >>> x, maps = jnp.ones((1, 1, 2, 1)), jnp.array([[[0.3, 0.7]]])
    >>> curve = insertion_curve(linear, params, x, maps, target=0, output="logits",
    ...                         baseline="zero", step=1)
    >>> print(curve.y, curve.area)
    [[0. 2. 3.]] [1.75]

    References:
      Petsiuk, Das and Saenko 2018 (RISE, arXiv:1806.07421), section 4.2. Their code
      divides by the number of steps (`spacing="steps"`), sorts unstably, and blurs with
      a kernel that is almost flat.
    """
    return _curve(
        apply_fn,
        params,
        x,
        maps,
        inserts=True,
        target=target,
        output=output,
        baseline=baseline,
        step=step,
        spacing=spacing,
        microbatch=microbatch,
        key=key,
    )


def deletion_curve(
    apply_fn: ApplyFn,
    params: Params,
    x: Float[Array, "batch ..."],
    maps: Float[Array, "batch ..."],
    *,
    target: Target = None,
    output: str = "probabilities",
    baseline: Any = "mean",
    step: int | None = None,
    spacing: str = "pixels",
    microbatch: int | None = None,
    key: jax.Array | None = None,
) -> Curve:
    r"""The answer while the pixels are taken from the image, the largest first.

    .. math:: y_i = f_c(x \odot (1 - M_i) + b \odot M_i), \quad x_i = \min(i s, n) / n

    Args:
      apply_fn: as in `insertion_curve`.
      params: as in `insertion_curve`.
      x: as in `insertion_curve`.
      maps: as in `insertion_curve`.
      target: as in `insertion_curve`.
      output: as in `insertion_curve`.
      baseline: as in `insertion_curve`. The authors' zero is that of standardised
        images, the mean colour of their data; of images in [0, 1] zero is black.
      step: as in `insertion_curve`.
      spacing: as in `insertion_curve`.
      microbatch: as in `insertion_curve`.
      key: as in `insertion_curve`.

    Returns:
      A `Curve` for each image. A lower area says that without a few pixels the answer
      is gone.

    Raises:
      ValueError: as `insertion_curve`.

    The edge cases are those of `insertion_curve`.

    >>> linear = lambda params, x: x.reshape(len(x), -1) @ params
    >>> params = jnp.array([[1.0, 0.0], [2.0, 0.0]])
    >>> x, maps = jnp.ones((1, 1, 2, 1)), jnp.array([[[0.3, 0.7]]])
    >>> curve = deletion_curve(linear, params, x, maps, target=0, output="logits",
    ...                        baseline="zero", step=1)
    >>> print(curve.y, curve.area)
    [[3. 1. 0.]] [1.25]

    References:
      Petsiuk, Das and Saenko 2018 (RISE, arXiv:1806.07421), section 4.2; pixel flipping
      of Samek et al. 2017 (doi:10.1109/TNNLS.2016.2599820) is the same game.
    """
    return _curve(
        apply_fn,
        params,
        x,
        maps,
        inserts=False,
        target=target,
        output=output,
        baseline=baseline,
        step=step,
        spacing=spacing,
        microbatch=microbatch,
        key=key,
    )


def _curve(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    maps: Any,
    *,
    inserts: bool,
    target: Target,
    output: str,
    baseline: Any,
    step: int | None,
    spacing: str,
    microbatch: int | None,
    key: jax.Array | None,
) -> Curve:
    x, maps = _inputs.array("x", x), _inputs.array("maps", maps)
    maps = checked_maps(maps, x)
    pixels = math.prod(maps.shape[1:])
    at_a_time = maps.shape[-1] if step is None else step
    _validate.count("step", at_a_time)
    _validate.choice("spacing", spacing, SPACINGS)
    if microbatch is not None:
        _validate.count("microbatch", microbatch)

    def of_batch(
        params: Params, x: jax.Array, maps: jax.Array, target: Any, baseline: Any
    ) -> Curve:
        answer = _in_passes(apply_fn, params, microbatch)
        question = one_number(target, answer(x), output)
        fill = _baseline.filler(x, baseline)
        place = _places_in_order(maps)

        def after(counts: jax.Array) -> tuple[jax.Array, jax.Array]:
            """Share and answer `[batch, counts]` once so many pixels are changed."""
            counts = counts.reshape(1, -1, *[1] * (place.ndim - 1))
            changed = place[:, None] < counts
            kept = (changed if inserts else ~changed).astype(maps.dtype)
            images = jax.vmap(fill, (1, None), 1)(kept, key)
            # One long batch, the images first, so that it is sharded as they are. (Of
            # `jax.vmap` over batches of one XLA fails to compile some networks.)
            logits = answer(images.reshape(-1, *x.shape[1:]))
            logits = logits.reshape(*images.shape[:2], -1)
            # Counted for each image, so that it is sharded as the images are.
            share = jnp.mean(changed, axis=range(2, changed.ndim))
            return share, jax.vmap(question, 1, 1)(logits)

        steps = -(-pixels // at_a_time)
        counts = jnp.minimum(at_a_time * jnp.arange(steps + 1), pixels)
        at_once = 1 if microbatch is None else max(1, microbatch // max(1, len(x)))
        share, y = _in_pieces(after, counts, at_once)
        y = jnp.where(_has_nan(maps)[:, None], jnp.nan, y)
        share = share.astype(y.dtype)
        return Curve(share, y, _area(share, y, spacing))

    return in_auto_axes(of_batch, params, x, maps, target, baseline, batch=x)


def checked_maps(maps: jax.Array, x: jax.Array) -> jax.Array:
    """Maps in float32 or wider, one number for each position of the images."""
    _validate.floating("maps", maps)
    expected = (x.shape[0], *layout(x.shape).size)
    if maps.shape != expected:
        raise ValueError(
            f"maps must have a number for each pixel of x, {expected}, got {maps.shape}"
        )
    return at_least_float32(maps)


def one_number(target: Target, clean: jax.Array, output: str) -> Callable:
    """The target as a function of logits that gives one number for each image."""
    question = asked(target, clean, output=output)

    def of_logits(logits: jax.Array) -> jax.Array:
        values = question(logits)
        if values.ndim != 1:
            raise ValueError(
                f"target must ask for one number for each image here, "
                f"got {values.shape}"
            )
        return values

    return of_logits


def _places_in_order(maps: jax.Array) -> jax.Array:
    """How many pixels of its map come before each: larger ones, and equal earlier."""
    flat = maps.reshape(len(maps), -1)
    order = jnp.argsort(-flat, axis=-1, stable=True)
    return jnp.argsort(order, axis=-1).reshape(maps.shape)


def _has_nan(maps: jax.Array) -> jax.Array:
    return jnp.isnan(maps).any(axis=range(1, maps.ndim))


def _in_passes(apply_fn: ApplyFn, params: Params, size: int | None) -> Callable:
    """Images to logits, at most `size` at a time.

    A pass takes every so-manieth image, so that of a batch that is sharded over
    devices each has its share of every pass.
    """

    def answer(images: jax.Array) -> jax.Array:
        batch = len(images)
        if size is None or size >= batch:
            return apply_fn(params, images)
        passes = -(-batch // size)
        missing = size * passes - batch
        widths = [(0, missing)] + [(0, 0)] * (images.ndim - 1)
        pieces = jnp.pad(images, widths, mode="edge")
        pieces = pieces.reshape(size, passes, *images.shape[1:])
        logits = jax.lax.map(lambda x: apply_fn(params, x), jnp.moveaxis(pieces, 1, 0))
        return jnp.moveaxis(logits, 0, 1).reshape(size * passes, -1)[:batch]

    return answer


def _in_pieces(fun: Callable, values: jax.Array, at_once: int) -> Any:
    """`fun` of a few values at once, in a scan; the last piece is filled up.

    From `fun`, `[at_once]` to arrays `[batch, at_once]`, to arrays `[batch, values]`.
    """
    pieces = -(-len(values) // at_once)
    filled = jnp.pad(values, (0, at_once * pieces - len(values)), mode="edge")
    results = jax.lax.map(fun, filled.reshape(pieces, at_once))

    def joined(found: jax.Array) -> jax.Array:
        return jnp.moveaxis(found, 0, 1).reshape(found.shape[1], -1)[:, : len(values)]

    return jax.tree.map(joined, results)


def _area(x: jax.Array, y: jax.Array, spacing: str) -> jax.Array:
    """The trapezoids under each row of y."""
    width = jnp.diff(x, axis=1) if spacing == "pixels" else 1 / (x.shape[1] - 1)
    return jnp.sum((y[:, 1:] + y[:, :-1]) / 2 * width, axis=1)
