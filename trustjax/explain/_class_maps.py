"""Maps of many classes at once, signed and in the resolution of the features."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from trustjax import _validate, transforms
from trustjax._meshes import in_auto_axes
from trustjax._numerics import at_least_float32
from trustjax.explain._cam import METHODS, Method
from trustjax.explain._evidence import Cutting, Evidence, gather
from trustjax.explain._target import classes_of
from trustjax.explain._told import tell
from trustjax.typing import ApplyFn, Params, SplitModel

_NUMBERS_AT_ONCE = 2**22
"""Gradients are held for as many classes at a time as are so many numbers."""


def class_maps(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    target: Int[Array, "batch asked"] | None = None,
    method: str = "grad_cam",
    at: str | transforms.Cut = "feature_map",
    grid: Sequence[int] | None = None,
    class_tokens: int = 0,
    size: Sequence[int] | None = None,
) -> Float[Array, "batch asked ..."]:
    r"""The signed map of every class, from one Jacobian of the head.

    .. math:: S_c = \sum_k \alpha_{ck} A_k

    with the weights of `method`, before the positive part and not resized. Maps of all
    contrasts are sums of these, where the method is linear in the gradients
    (`"grad_cam"`, `"hires_cam"`). Of a head that is affine in the features, such as a
    mean over positions and a dense layer, one Jacobian serves all images.

    Args:
      apply_fn: as in `grad_cam`.
      params: as in `grad_cam`.
      x: as in `grad_cam`.
      target: the classes of each image; None here means all of them.
      method: `"grad_cam"`, `"grad_cam_plus_plus"`, `"hires_cam"` or `"layer_cam"`.
      at: as in `grad_cam`.
      grid: as in `grad_cam`.
      class_tokens: as in `grad_cam`.
      size: of the image, where the shape of x does not say it.

    Returns:
      `[batch, classes, *grid]`, or `[batch, asked, *grid]`, in float32 or wider; larger
      = speaks more for the class, below 0 against it. `resized` and `normalized` take
      them with `leading=2`.

    Raises:
      ValueError: as `grad_cam`; if there is no such method.

    ==========================================  =====================================
    Edge case                                   Value
    ==========================================  =====================================
    NaN in the network                          NaN, and a warning outside `jit`
    ==========================================  =====================================

    >>> split = SplitModel(
    ...     lambda params, x: x, lambda params, a: a.mean((1, 2)) @ params
    ... )
    >>> x = jnp.array([[[[1.0], [3.0]]]])
    >>> print(class_maps(split, jnp.array([[1.0, -2.0]]), x))
    [[[[ 0.5  1.5]]
    <BLANKLINE>
      [[-1.  -3. ]]]]

    References:
      Prabhushankar and AlRegib 2024 (VOICE) take a backward pass for each contrast; the
      weights of all are linear in these.
    """
    _validate.choice("method", method, METHODS)
    where = Cutting(at, grid, class_tokens, size).places(apply_fn, params, x)

    def of_batch(params: Params, x: Any, target: jax.Array | None) -> jax.Array:
        evidence = gather(where, params, x)
        classes = None if target is None else classes_of(target, evidence.logits)
        if classes is not None:
            _validate.rank("target", classes, "batch asked")
        return maps_of_classes(evidence, METHODS[method], classes)

    maps = in_auto_axes(of_batch, params, x, target, batch=x)
    tell("class_maps", maps)
    return maps


def maps_of_classes(
    evidence: Evidence,
    method: Method,
    classes: jax.Array | None,
    *,
    less_than: jax.Array | None = None,
) -> jax.Array:
    """Signed maps `[batch, asked, *grid]`, as many gradients at a time as have room.

    Args:
      evidence: of the batch.
      method: how features and gradients become a map.
      classes: `[batch, asked]`; None for all.
      less_than: gradients `[batch, *grid, channels]` from which those of each class are
        taken first: what is asked then is a contrast.
    """
    if less_than is None:
        return _maps(evidence, method.signed, classes, None)
    if method.is_linear:
        against = jax.vmap(method.signed)(evidence.activations, less_than)
        return against[:, None] - _maps(evidence, method.signed, classes, None)
    return _maps(evidence, method.signed, classes, less_than)


def _maps(
    evidence: Evidence,
    signed: Callable[[jax.Array, jax.Array], jax.Array],
    classes: jax.Array | None,
    less_than: jax.Array | None,
) -> jax.Array:
    batch, *shape = evidence.features.shape
    num_classes = evidence.logits.shape[1]
    activations = evidence.activations

    def gradients_of(a: jax.Array) -> Callable[[jax.Array], jax.Array]:
        """From a class to the gradient of its logit for one image, on the grid."""
        head = lambda a: evidence.head_fn(evidence.params, a[None])[0]
        logits, pull = jax.vjp(head, a)

        def gradient(label: jax.Array) -> jax.Array:
            (found,) = pull(jax.nn.one_hot(label, num_classes, dtype=logits.dtype))
            return at_least_float32(evidence.on_grid(found[None])[0])

        return gradient

    def contrasted(gradient: jax.Array, less_than: jax.Array | None) -> jax.Array:
        return gradient if less_than is None else less_than - gradient

    if classes is None and transforms.is_affine(
        evidence.head_fn, evidence.params, evidence.features
    ):
        gradient_of = gradients_of(jnp.zeros(shape, evidence.features.dtype))

        def of_class(label: jax.Array) -> jax.Array:
            gradient = gradient_of(label)
            of_image = lambda a, less: signed(a, contrasted(gradient, less))
            return jax.vmap(of_image)(activations, less_than)

        labels = jnp.arange(num_classes)
        at_once = _at_once(shape if less_than is None else evidence.features.shape)
        return jnp.moveaxis(jax.lax.map(of_class, labels, batch_size=at_once), 0, 1)

    if classes is None:
        classes = jnp.broadcast_to(jnp.arange(num_classes)[None], (batch, num_classes))

    # A batch that may be sharded goes outermost, as in `gradients.class_gradients`.
    def of_image(
        a: jax.Array, on_grid: jax.Array, less: jax.Array | None, labels: jax.Array
    ) -> jax.Array:
        gradient_of = gradients_of(a)
        of_label = lambda label: signed(on_grid, contrasted(gradient_of(label), less))
        at_once = _at_once(evidence.features.shape)
        return jax.lax.map(of_label, labels, batch_size=at_once)

    return jax.vmap(of_image)(evidence.features, activations, less_than, classes)


def _at_once(shape: Sequence[int]) -> int:
    """For how many classes gradients of this shape are held together."""
    return max(1, _NUMBERS_AT_ONCE // max(1, math.prod(shape)))
