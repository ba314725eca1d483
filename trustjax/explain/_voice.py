"""VOICE: how sure an explanation is, from how much its contrasts differ."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from trustjax import _validate, targets, transforms
from trustjax._meshes import in_auto_axes
from trustjax._numerics import divide_no_nan, log_softmax
from trustjax.explain._cam import METHODS, signed
from trustjax.explain._class_maps import maps_of_classes
from trustjax.explain._contrast import OBJECTIVES
from trustjax.explain._evidence import Cutting, gather
from trustjax.explain._maps import normalized, resized
from trustjax.explain._target import asked, classes_of
from trustjax.explain._told import tell
from trustjax.explain._upsampled import in_range, sum_of_squares
from trustjax.typing import ApplyFn, Params, SplitModel


class Voice(NamedTuple):
    """An explanation, and how uncertain it is.

    Attributes:
      explanation: `[batch, *size]`, the map of P as its method gives it.
      uncertainty: `[batch, *size]`, the variance of the contrastive maps, in [0, 0.5].
      iou: `[batch]`, how much of the two lies in one place, in [0, 1]; larger = less
        sure.
      snr: `[batch]`, mean over standard deviation of the uncertainty, at least 0;
        larger = more dispersed, less sure.
    """

    explanation: Float[Array, "batch ..."]
    uncertainty: Float[Array, "batch ..."]
    iou: Float[Array, " batch"]
    snr: Float[Array, " batch"]


def voice(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    contrasts: str | int | float = "all",
    target: int | Int[Array, " batch"] | None = None,
    objective: str = "cross_entropy",
    method: str = "grad_cam",
    threshold: float = 0.1,
    at: str | transforms.Cut = "feature_map",
    grid: Sequence[int] | None = None,
    class_tokens: int = 0,
    size: Sequence[int] | None = None,
) -> Voice:
    r"""The variance of an explanation over "why P, rather than Q?" for many Q.

    .. math::
      u = \mathrm{Var}_{Q \ne P}\, n(E_{P, Q}), \qquad
      \mathrm{IoU} = \frac{|\{n(E_P) > t\} \cap \{n(u) > t\}|}
        {|\{n(E_P) > t\} \cup \{n(u) > t\}|}, \qquad
      \mathrm{SNR} = \frac{\mathrm{mean}\, n(u)}{\mathrm{std}\, n(u)}

    with n(.) a map brought to the range [0, 1] and :math:`E_{P, Q}` that of
    `contrast_cam`, all at the size of the image.

    All contrasts come from one Jacobian of the head (`class_maps`), and no map is ever
    made at the size of the image: bilinear interpolation is linear, so that the range
    of each map is that of few of its pixels, and the variance of all is made of the
    second moments of neighbouring cells. The result is that of the loop over contrasts.

    Where the head is more than a mean and dense layers, as the last block of a
    transformer, that Jacobian is a backward pass through the head for each class: ask
    for the most probable ones there.

    Between the centres of cells the variance is one of a mean of neighbours, and so
    smaller: of few, large cells the grid shows in it.

    Args:
      apply_fn: as in `grad_cam`.
      params: as in `grad_cam`.
      x: as in `grad_cam`.
      contrasts: the classes Q: `"all"` but P; an integer k for the k most probable; a
        number in [0, 1) for those with a larger probability.
      target: P: a class, or one for each image; None is the predicted class.
      objective: as in `contrast_cam`.
      method: of explanation and contrasts: `"grad_cam"`, `"grad_cam_plus_plus"`,
        `"hires_cam"` or `"layer_cam"`.
      threshold: t, from which a normalised map counts as there.
      at: as in `grad_cam`.
      grid: as in `grad_cam`.
      class_tokens: as in `grad_cam`.
      size: as in `grad_cam`.

    Returns:
      `Voice(explanation, uncertainty, iou, snr)`. The two maps are not normalised.

    Raises:
      ValueError: as `contrast_cam`; if there are not so many contrasts, or `threshold`
        is not in [0, 1].

    ======================================  ==========================================
    Edge case                               Value
    ======================================  ==========================================
    fewer than two contrasts of an image    uncertainty 0, SNR 0
    a constant contrastive map              counts as zeros
    uncertainty constant                    SNR 0
    explanation and uncertainty constant    IoU NaN: neither is anywhere
    NaN in the network                      NaN, and a warning outside `jit`
    ======================================  ==========================================

    >>> split = SplitModel(
    ...     lambda params, x: x, lambda params, a: a.mean((1, 2)) @ params
    ... )
    >>> x = jnp.array([[[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]]])
    >>> found = voice(split, jnp.eye(3), x, target=0)
    >>> print(found.uncertainty, found.iou, found.snr.round(3))
    [[[0.  0.5 0.5]]] [0.] [1.414]

    References:
      Prabhushankar and AlRegib 2024 (VOICE, arXiv:2406.00573): all Q and Grad-CAM.
      The released code takes a forward and a backward pass for each Q; there one
      constant map makes everything NaN, and 1e-6 above and below makes the IoU of
      nothing 1. Its Grad-CAM++ has another denominator than the paper's (see
      `grad_cam_plus_plus`) and the exponential of the loss as a factor.
    """
    _validate.choice("method", method, METHODS)
    _validate.choice("objective", objective, OBJECTIVES)
    _validate.fraction("threshold", threshold)
    _check_contrasts(contrasts)
    where = Cutting(at, grid, class_tokens, size).places(apply_fn, params, x)

    def of_batch(params: Params, x: Any, target: Any) -> Voice:
        evidence = gather(where, params, x)
        z = evidence.logits
        labels = classes_of(target, z)
        _validate.rank("target", labels, "batch")
        of_p = asked(labels, z)
        explained = signed(METHODS[method], evidence, evidence.gradients(of_p))
        explanation = resized(jnp.maximum(explained, 0), where.size)
        # The contrast with Q is this less the logit of Q.
        believed = jax.nn.logsumexp if objective == "cross_entropy" else None
        common = of_p if believed is None else lambda z: believed(z, axis=-1)
        classes, counts = _chosen(z, labels, contrasts)
        maps = maps_of_classes(
            evidence, METHODS[method], classes, less_than=evidence.gradients(common)
        )
        of_image = lambda maps, counts: _variance(
            in_range(jnp.maximum(maps, 0), where.size), counts, where.size
        )
        uncertainty = jax.vmap(of_image)(maps, counts)
        shown = normalized(uncertainty)
        return Voice(
            explanation,
            uncertainty,
            _overlap(normalized(explanation), shown, threshold),
            _signal_to_noise(shown),
        )

    found = in_auto_axes(of_batch, params, x, target, batch=x)
    tell("voice", found.uncertainty)
    return found


def _check_contrasts(contrasts: str | int | float) -> None:
    if isinstance(contrasts, str):
        _validate.choice("contrasts", contrasts, ("all",))
    elif isinstance(contrasts, float):
        if not 0 <= contrasts < 1:
            raise ValueError(
                f"contrasts above a probability must be in [0, 1), got {contrasts}; "
                "an integer asks for that many"
            )
    else:
        _validate.count("contrasts", contrasts)


def _chosen(
    logits: jax.Array, labels: jax.Array, contrasts: str | int | float
) -> tuple[jax.Array | None, jax.Array]:
    """The classes `[batch, asked]`, None for all; and which of them are contrasts."""
    num_classes = logits.shape[-1]
    of_p = targets.one_hot(labels, num_classes).astype(bool)
    if isinstance(contrasts, str):
        return None, ~of_p
    if isinstance(contrasts, float):
        probabilities = jnp.exp(log_softmax(jax.lax.stop_gradient(logits)))
        return None, ~of_p & (probabilities > contrasts)
    _validate.count("contrasts", contrasts, at_most=num_classes - 1)
    p_first = jnp.where(of_p, jnp.inf, logits)
    classes = targets.top_k_counterfactuals(p_first, contrasts)
    return classes, jnp.ones(classes.shape, bool)


def _variance(maps: jax.Array, counts: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Of the pixels of maps `[asked, *grid]`, over those that count; unbiased."""
    counts = counts.reshape(counts.shape + (1,) * len(size))
    number = jnp.sum(counts)
    mean = jnp.sum(maps, axis=0, where=counts) / jnp.maximum(number, 1)
    deviations = jnp.where(counts, maps - mean[None], 0)
    return sum_of_squares(deviations, size) / jnp.maximum(number - 1, 1)


def _overlap(first: jax.Array, second: jax.Array, threshold: float) -> jax.Array:
    """Intersection over union of where two batches of maps exceed a threshold."""
    in_first, in_second = (m.reshape(len(m), -1) > threshold for m in (first, second))
    both = jnp.sum(in_first & in_second, axis=-1).astype(first.dtype)
    either = jnp.sum(in_first | in_second, axis=-1).astype(first.dtype)
    return divide_no_nan(both, either, otherwise=jnp.nan)


def _signal_to_noise(maps: jax.Array) -> jax.Array:
    """Mean over standard deviation of each map, 0 of a constant one."""
    pixels = maps.reshape(len(maps), -1)
    variance = jnp.var(pixels, axis=-1)
    deviation = jnp.sqrt(jnp.where(variance == 0, 1, variance))
    return jnp.where(variance == 0, 0 * variance, jnp.mean(pixels, axis=-1) / deviation)
