r"""RISE and SHAPE: what a network says of images of which random parts are masked.

With :math:`f_n` what is asked of the image under mask :math:`M_n`, and :math:`f_0` of
the image itself, the two maps are the averages of

.. math:: \frac{f_n M_n}{p} \qquad\text{and}\qquad \frac{(f_0 - f_n)(1 - M_n)}{1 - p}.

Both are made of the same few sums over masks. In expectation they rank pixels alike,

.. math:: (1 - p) E[\text{SHAPE}] = p E[\text{RISE}] - E f_n + (1 - p) f_0.

What differs is how the noise of the mean mask :math:`m` enters an estimate: as
:math:`\bar f m / p` in one, as :math:`-(f_0 - \bar f) m / (1 - p)` in the other. The
centred estimates have no such term, and rank pixels alike for any masks.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float

from trustjax import _inputs, _validate
from trustjax._meshes import in_auto_axes
from trustjax.explain._baseline import Baseline
from trustjax.explain._estimate import Estimate
from trustjax.explain._layout import layout
from trustjax.explain._masking import Masking, Masks, answers
from trustjax.explain._sums import Sums
from trustjax.explain._target import Target, asked
from trustjax.typing import ApplyFn, Params


class RiseAndShape(NamedTuple):
    """Two maps made of the same forward passes.

    Attributes:
      rise: as `explain.rise` gives it.
      shape: as `explain.shape` gives it.
    """

    rise: Estimate
    shape: Estimate


def rise(
    apply_fn: ApplyFn,
    params: Params,
    x: Float[Array, "batch ..."],
    *,
    key: jax.Array | None = None,
    masks: Masks = 6000,
    cells: int | Sequence[int] = 8,
    p: float = 0.5,
    target: Target = None,
    output: str = "probabilities",
    baseline: Baseline = "mean",
    centred: bool = False,
    microbatch: int | None = None,
    until: float | None = None,
) -> Estimate:
    r"""RISE: the mean of random masks, weighed by what is left of the prediction.

    .. math::
      E = \frac{1}{N p} \sum_n f_n M_n \qquad
      f_n = t(f(M_n \odot x + (1 - M_n) \odot b))

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: what it takes first.
      x: images `[batch, height, width, channels]`, or clips `[batch, frames, height,
        width, channels]`.
      key: where the masks come from, the same for all images; and the noise of
        `baseline="impute"`.
      masks: :math:`N`, how many `random_masks` are drawn; or masks of your own,
        `[masks, *positions]`, in [0, 1], independent draws of which p is the mean.
      cells: how coarse the masks are: see `random_masks`.
      p: :math:`p`, the mean of a mask.
      target: :math:`t`, what is asked: None is the predicted class; a class, one for
        each image, `[batch, asked]`, or a function of the logits (see `explain`).
      output: what of a class is asked: `"probabilities"`, `"logits"` or
        `"log_probabilities"`.
      baseline: :math:`b`, what stands where a mask is 0: `"mean"`, the mean colour of
        each image; `"zero"`, `"blur"`, `"impute"`, a number, or an array such as the
        mean of the data, `[channels]`.
      centred: takes the covariance of :math:`f_n` and :math:`M_n` in the place of the
        mean of their product, which takes away the noise of the mean mask:
        :math:`\frac{1}{p} \operatorname{Cov}(f_n, M_n) + \bar f`.
      microbatch: masks at a time: `microbatch * batch` images are asked at once, which
        bounds the memory. The map does not depend on it but by rounding. None: so many
        that their images have a million numbers.
      until: stops when, for every map of an image, the root mean square of the standard
        error over all positions is at most this fraction of the standard deviation of
        the map over them. It is looked at after each microbatch, from 100 masks on, and
        each image stops by itself; `masks` stays the most there can be. Reverse-mode
        derivatives are for None alone.

    Returns:
      `Estimate(map, standard_error, samples)`: the map `[batch, *positions]`, with
      several targets `[batch, asked, *positions]`, in float32 or wider; larger = more
      of what is asked is left where the pixel is. Of probabilities it is in [0, 1 / p].

    Raises:
      ValueError: if there are fewer than two masks, they have other positions than `x`,
        `key` is missing, `microbatch` is not in 1, ..., masks, `until` or `p` is not in
        (0, 1); as `random_masks`, and as `explain` says of targets and baselines.
      TypeError: if `x` is not floating point.

    =====================================  ============================================
    Edge case                              Value
    =====================================  ============================================
    what is asked does not depend on x     its value times the mean mask over p;
                                           centred: its value, standard error 0
    NaN in the network for some mask       NaN all over the map of that image
    `until` never reached                  all masks; `samples` and `standard_error` say
    =====================================  ============================================

    >>> rows = lambda params, x: x.sum((2, 3))  # a class for each row
    >>> corner = jax.numpy.array([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [1.0, 1.0]]])
    >>> found = rise(rows, None, jax.numpy.ones((1, 2, 2, 1)), masks=corner, target=0,
    ...     output="logits", baseline="zero")
    >>> print(found.map, found.samples)
    [[[1. 1.]
      [1. 1.]]] [2]

    References:
      Petsiuk, Das and Saenko 2018 (RISE, arXiv:1806.07421), eq. 6. Their class for
      several images at a time leaves out the division by N p. 6,000 masks are those of
      AlRegib and Prabhushankar 2025 and of their notebook, which has p = .1.
    """
    masking = Masking(key, masks, cells, p, baseline, microbatch, until)
    return _asked_of(apply_fn, params, x, target, output, masking, centred, "rise")[0]


def shape(
    apply_fn: ApplyFn,
    params: Params,
    x: Float[Array, "batch ..."],
    *,
    key: jax.Array | None = None,
    masks: Masks = 6000,
    cells: int | Sequence[int] = 8,
    p: float = 0.5,
    target: Target = None,
    output: str = "probabilities",
    baseline: Baseline = "mean",
    centred: bool = False,
    microbatch: int | None = None,
    until: float | None = None,
) -> Estimate:
    r"""SHAPE: the mean of what random masks hide, weighed by what is lost with it.

    .. math:: E = \frac{1}{N (1 - p)} \sum_n (f_0 - f_n) (1 - M_n)

    Args:
      apply_fn: as in `rise`.
      params: as in `rise`.
      x: as in `rise`.
      key: as in `rise`.
      masks: as in `rise`.
      cells: as in `rise`.
      p: as in `rise`.
      target: as in `rise`.
      output: as in `rise`.
      baseline: as in `rise`.
      centred: as in `rise`: :math:`\frac{1}{1 - p} \operatorname{Cov}(f_n, M_n) + f_0 -
        \bar f`, which ranks pixels as the centred RISE does.
      microbatch: as in `rise`.
      until: as in `rise`.

    Returns:
      As `rise`; larger = more of what is asked is lost without the pixel.

    Raises:
      ValueError: as `rise`.
      TypeError: as `rise`.

    =====================================  ============================================
    Edge case                              Value
    =====================================  ============================================
    what is asked does not depend on x     zeros, standard error 0
    NaN in the network for some mask       NaN all over the map of that image
    =====================================  ============================================

    >>> rows = lambda params, x: x.sum((2, 3))  # a class for each row
    >>> halves = jax.numpy.array([[[1.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]])
    >>> found = shape(rows, None, jax.numpy.ones((1, 2, 2, 1)), masks=halves, target=0,
    ...     output="logits", baseline="zero")
    >>> print(found.map)
    [[[2. 2.]
      [0. 0.]]]

    References:
      olivesgatech/SHAPE, the code of the explanation that AlRegib and Prabhushankar
      2025 compare with RISE; it feeds logits (`output="logits"`) where RISE has
      probabilities.
    """
    masking = Masking(key, masks, cells, p, baseline, microbatch, until)
    return _asked_of(apply_fn, params, x, target, output, masking, centred, "shape")[0]


def rise_and_shape(
    apply_fn: ApplyFn,
    params: Params,
    x: Float[Array, "batch ..."],
    *,
    key: jax.Array | None = None,
    masks: Masks = 6000,
    cells: int | Sequence[int] = 8,
    p: float = 0.5,
    target: Target = None,
    output: str = "probabilities",
    baseline: Baseline = "mean",
    centred: bool = False,
    microbatch: int | None = None,
    until: float | None = None,
) -> RiseAndShape:
    r"""`rise` and `shape` of the same masks, for the forward passes of one.

    Args:
      apply_fn: as in `rise`.
      params: as in `rise`.
      x: as in `rise`.
      key: as in `rise`.
      masks: as in `rise`.
      cells: as in `rise`.
      p: as in `rise`.
      target: as in `rise`.
      output: as in `rise`.
      baseline: as in `rise`.
      centred: as in `rise`.
      microbatch: as in `rise`.
      until: as in `rise`; an image goes on until both maps are sure enough.

    Returns:
      Both maps. With m the mean of the masks, :math:`\text{SHAPE} = (p \,\text{RISE} +
      f_0 (1 - m) - \bar f) / (1 - p)` holds for any masks.

    Raises:
      ValueError: as `rise`.
      TypeError: as `rise`.

    >>> rows = lambda params, x: x.sum((2, 3))
    >>> halves = jax.numpy.array([[[1.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]])
    >>> found = rise_and_shape(rows, None, jax.numpy.ones((1, 2, 2, 1)), masks=halves,
    ...     target=1, output="logits", baseline="zero")
    >>> print(found.rise.map[0, :, 0], found.shape.map[0, :, 0])
    [0. 2.] [0. 2.]
    """
    masking = Masking(key, masks, cells, p, baseline, microbatch, until)
    maps = ("rise", "shape")
    found = _asked_of(apply_fn, params, x, target, output, masking, centred, *maps)
    return RiseAndShape(*found)


def _asked_of(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    target: Target,
    output: str,
    masking: Masking,
    centred: bool,
    *maps: str,
) -> tuple[Estimate, ...]:
    """The estimates of these maps, from one set of forward passes."""
    x = _inputs.array("x", x)
    _validate.floating("x", x)
    size = layout(x.shape).size
    masking.check(x)

    def of_images(
        params: Params, x: jax.Array, target: Any, masking: Masking
    ) -> tuple[Estimate, ...]:
        clean = apply_fn(params, x)
        ask = asked(target, clean, output=output)
        whole = ask(clean)
        f0 = whole.reshape(len(whole), -1)

        def estimates(sums: Sums) -> tuple[Estimate, ...]:
            return tuple(
                _ESTIMATES[name](sums, f0, masking.p, centred) for name in maps
            )

        def values(images: jax.Array) -> jax.Array:
            return answers(apply_fn, params, ask, images)

        found = estimates(masking.sums(values, x, f0, estimates))
        shape = (*whole.shape, *size)
        return tuple(
            Estimate(e.map.reshape(shape), e.standard_error.reshape(shape), e.samples)
            for e in found
        )

    return in_auto_axes(of_images, params, x, target, masking, batch=x)


def _rise(sums: Sums, f0: jax.Array, p: float, centred: bool) -> Estimate:
    if not centred:
        mean, error = sums.product(0, 0)
        return sums.estimate(mean / p, error / p)
    covariance, _ = sums.product(sums.mean_value, sums.mean_mask)
    # How far one mask moves the estimate: what the variance is of.
    _, error = sums.product(sums.mean_value, sums.mean_mask - p)
    return sums.estimate(sums.unbiased(covariance) / p + sums.mean_value, error / p)


def _shape(sums: Sums, f0: jax.Array, p: float, centred: bool) -> Estimate:
    if not centred:
        mean, error = sums.product(f0[..., None], 1)
        return sums.estimate(mean / (1 - p), error / (1 - p))
    covariance, _ = sums.product(sums.mean_value, sums.mean_mask)
    _, error = sums.product(sums.mean_value, sums.mean_mask + (1 - p))
    lost = f0[..., None] - sums.mean_value
    return sums.estimate(sums.unbiased(covariance) / (1 - p) + lost, error / (1 - p))


_ESTIMATES = {"rise": _rise, "shape": _shape}
