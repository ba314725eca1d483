"""What the network says of an image that is seen through its own map."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from trustjax import _inputs, _validate
from trustjax._meshes import in_auto_axes
from trustjax._numerics import divide_no_nan
from trustjax.explain import _baseline
from trustjax.explain._curves import checked_maps, one_number
from trustjax.explain._maps import normalized
from trustjax.explain._target import classes_of
from trustjax.typing import ApplyFn, Params


class MaskingAccuracy(NamedTuple):
    """Whether the answer is right on what a map lets through, and how much that is.

    Attributes:
      correct: `[batch]`, 1 or 0: the mean over images is the masking accuracy. Higher
        is better, at equal complexity.
      complexity: `[batch]`, in [0, 1]: the mean of the mask. A map of ones is always
        as right as the network is.
    """

    correct: Float[Array, " batch"]
    complexity: Float[Array, " batch"]


def masking_accuracy(
    apply_fn: ApplyFn,
    params: Params,
    x: Float[Array, "batch ..."],
    maps: Float[Array, "batch ..."],
    *,
    labels: Int[Array, " batch"] | None,
    threshold: float | None = None,
    baseline: Any = "mean",
    key: jax.Array | None = None,
) -> MaskingAccuracy:
    r"""Whether the network is right on the image as the map lets it through.

    .. math:: [\arg\max_k f_k(E \odot x + (1 - E) \odot b) = y]

    with the map :math:`E` in [0, 1] (`normalized`) and the baseline :math:`b`.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: what it takes first.
      x: images or clips.
      maps: one map for each image, `[batch, height, width]`, raw.
      labels: the right classes; None for those that are predicted for the images as
        they are, which asks whether the answer is kept.
      threshold: t makes a mask of zeros and ones, :math:`[E \ge t]`; None takes the
        map as it is.
      baseline: :math:`b`, as in every explanation. In the tutorial it is 0 of
        standardised images: "gray, not black".
      key: a random key, for baselines that draw.

    Returns:
      A `MaskingAccuracy` for each image. Large maps are rewarded: compare two methods
      at equal complexity only.

    Raises:
      ValueError: if the shapes do not fit, a known label does not exist, or
        `threshold` is not in [0, 1].
      TypeError: if labels are not integers.

    ====================  ========================================
    Edge case             Value
    ====================  ========================================
    a constant map        nothing is let through; complexity 0
    threshold 0           everything is; complexity 1
    a map with a NaN      NaN
    ====================  ========================================

    >>> linear = lambda params, x: x.reshape(len(x), -1) @ params
    >>> x, maps = jnp.array([[[[3.0], [1.0]]]]), jnp.array([[[0.0, 1.0]]])
    >>> found = masking_accuracy(linear, jnp.eye(2), x, maps, labels=None,
    ...                          baseline="zero")
    >>> print(found.correct, found.complexity)
    [0.] [0.5]

    References:
      AlRegib and Prabhushankar 2025, slides "Explanation evaluation via masking":
      :math:`E(Y|S_x)`, and that it "encourages larger explanations".
    """
    x, maps = _inputs.array("x", x), _inputs.array("maps", maps)
    maps = checked_maps(maps, x)
    if labels is not None:
        labels = _inputs.whole_numbers("labels", labels, "batch")
        _validate.same_length(labels=labels, x=x)
    if threshold is not None:
        _validate.fraction("threshold", threshold)

    def of_batch(
        params: Params, x: Any, maps: Any, labels: Any, baseline: Any
    ) -> MaskingAccuracy:
        mask = normalized(maps)
        if threshold is not None:
            mask = jnp.where(jnp.isnan(mask), mask, mask >= threshold)
        seen = apply_fn(params, _baseline.filled(x, mask, baseline, key=key))
        right = classes_of(labels, apply_fn(params, x) if labels is None else seen)
        complexity = jnp.mean(mask, axis=range(1, mask.ndim))
        correct = (jnp.argmax(seen, axis=-1) == right).astype(mask.dtype)
        return MaskingAccuracy(
            jnp.where(jnp.isnan(complexity), jnp.nan, correct), complexity
        )

    return in_auto_axes(of_batch, params, x, maps, labels, baseline, batch=x)


class AverageDrop(NamedTuple):
    """What the confidence loses, or gains, where only the map's part is seen.

    The means over images are the numbers of the papers, there in per cent.

    Attributes:
      drop: `[batch]`, in [0, 1], lower is better.
      increase: `[batch]`, 1 where the confidence has risen, else 0; higher is better.
      gain: `[batch]`, in [0, 1], higher is better.
    """

    drop: Float[Array, " batch"]
    increase: Float[Array, " batch"]
    gain: Float[Array, " batch"]


def average_drop(
    apply_fn: ApplyFn,
    params: Params,
    x: Float[Array, "batch ..."],
    maps: Float[Array, "batch ..."],
    *,
    target: int | Int[Array, " batch"] | None = None,
    baseline: Any = "mean",
    key: jax.Array | None = None,
) -> AverageDrop:
    r"""How the probability of a class changes where only the map's part is seen.

    .. math:: \text{drop} = \max(0, Y - O) / Y, \quad \text{increase} = [O > Y], \quad
              \text{gain} = \max(0, O - Y) / (1 - Y)

    with the probability :math:`Y` of the class for x, and :math:`O` for
    :math:`E \odot x + (1 - E) \odot b`, with the map :math:`E` in [0, 1].

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: what it takes first.
      x: images or clips.
      maps: one map for each image, `[batch, height, width]`, raw.
      target: the class: None for the one that is predicted for x, an integer, or one
        for each image.
      baseline: :math:`b`, as in every explanation.
      key: a random key, for baselines that draw.

    Returns:
      An `AverageDrop` for each image. Large maps are rewarded, as by
      `masking_accuracy`.

    Raises:
      ValueError: if the shapes do not fit, or a known class does not exist.
      TypeError: if the target is a function.

    ====================  =====================
    Edge case             Value
    ====================  =====================
    probability Y is 0    the drop is 0
    probability Y is 1    the gain is 0
    a map with a NaN      NaN
    ====================  =====================

    >>> logits = lambda params, x: jnp.log(x.reshape(len(x), -1))
    >>> x, maps = jnp.array([[[[3.0], [1.0]]]]), jnp.array([[[0.0, 1.0]]])
    >>> print(average_drop(logits, None, x, maps, baseline=1.0).drop.round(3))
    [0.333]

    References:
      Chattopadhyay et al. 2018 (Grad-CAM++, arXiv:1710.11063), section 4.1; the gain:
      Zhang et al. 2024 (Opti-CAM, arXiv:2301.07002). pytorch-grad-cam's
      `DropInConfidence` is not divided by Y.
    """
    x, maps = _inputs.array("x", x), _inputs.array("maps", maps)
    maps = checked_maps(maps, x)
    if callable(target):
        raise TypeError(f"target must be a class, or one for each image, got {target}")

    def of_batch(
        params: Params, x: Any, maps: Any, target: Any, baseline: Any
    ) -> AverageDrop:
        clean = apply_fn(params, x)
        confidence = one_number(target, clean, "probabilities")
        mask = normalized(maps)
        seen = apply_fn(params, _baseline.filled(x, mask, baseline, key=key))
        before, after = confidence(clean), confidence(seen)
        fallen = divide_no_nan(jnp.maximum(before - after, 0), before)
        risen = divide_no_nan(jnp.maximum(after - before, 0), 1 - before)
        unknown = jnp.isnan(maps).any(axis=range(1, maps.ndim))
        unknown |= jnp.isnan(before) | jnp.isnan(after)
        known = lambda values: jnp.where(unknown, jnp.nan, values)
        return AverageDrop(
            known(fallen), known((after > before).astype(before.dtype)), known(risen)
        )

    return in_auto_axes(of_batch, params, x, maps, target, baseline, batch=x)
