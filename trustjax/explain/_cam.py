r"""Class activation maps: which positions of the last feature map speak for a class.

Each weighs the channels :math:`A_k` of a feature map by the gradient :math:`g_k` of
what is asked, sums them up and keeps what is positive, at the size of the image.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import transforms
from trustjax._meshes import in_auto_axes
from trustjax._numerics import divide_no_nan
from trustjax.explain._evidence import Cutting, Evidence, gather
from trustjax.explain._maps import resized
from trustjax.explain._target import Target, TargetFn, asked
from trustjax.explain._told import tell
from trustjax.typing import ApplyFn, Params, SplitModel


class Method(NamedTuple):
    """How a feature map and gradients become a map.

    Attributes:
      signed: `(features, gradients) -> map` of one image, `[*grid, channels]` twice to
        `[*grid]`, before what is negative is taken away.
      is_linear: whether it is linear in the gradients: the map of a sum is then the
        sum of the maps.
    """

    signed: Callable[[jax.Array, jax.Array], jax.Array]
    is_linear: bool


def _grad_cam(features: jax.Array, gradients: jax.Array) -> jax.Array:
    return _over_channels(features, jnp.mean(gradients, axis=_positions(gradients)))


def _grad_cam_plus_plus(features: jax.Array, gradients: jax.Array) -> jax.Array:
    positions = _positions(features)
    total = jnp.sum(features, axis=positions, keepdims=True)
    # alpha g = g^3 / (2 g^2 + g^3 total), without powers that underflow.
    towards = jnp.maximum(gradients, 0)
    weights = divide_no_nan(towards, 2 + towards * total)
    return _over_channels(features, jnp.sum(weights, axis=positions))


def _hires_cam(features: jax.Array, gradients: jax.Array) -> jax.Array:
    return _over_channels(features, gradients)


def _layer_cam(features: jax.Array, gradients: jax.Array) -> jax.Array:
    return _over_channels(features, jnp.maximum(gradients, 0))


def _over_channels(features: jax.Array, weights: jax.Array) -> jax.Array:
    """The sum over channels, weighed alike at all positions or at each by itself."""
    weighed = "...k,k->..." if weights.ndim == 1 else "...k,...k->..."
    return jnp.einsum(weighed, features, weights, precision=jax.lax.Precision.HIGHEST)


def _positions(array: jax.Array) -> tuple[int, ...]:
    return tuple(range(array.ndim - 1))


METHODS = {
    "grad_cam": Method(_grad_cam, is_linear=True),
    "grad_cam_plus_plus": Method(_grad_cam_plus_plus, is_linear=False),
    "hires_cam": Method(_hires_cam, is_linear=True),
    "layer_cam": Method(_layer_cam, is_linear=False),
}


def grad_cam(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    target: Target = None,
    at: str | transforms.Cut = "feature_map",
    grid: Sequence[int] | None = None,
    class_tokens: int = 0,
    size: Sequence[int] | None = None,
) -> Float[Array, "batch ..."]:
    r"""Grad-CAM: channels weighed by their mean gradient over all positions.

    .. math::
      E = \max\Big(0, \sum_k \alpha_k A_k\Big), \qquad
      \alpha_k = \frac{1}{N} \sum_{p} \frac{\partial t(h(A))}{\partial A_{kp}}

    The positive part is taken of the map of the features, which is then brought to the
    size of the image.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode; or a `SplitModel`, cut
        already: `features_fn` gives :math:`A`, `head_fn` is :math:`h`.
      params: what it takes first.
      x: images `[batch, height, width, channels]`, or clips `[batch, frames, height,
        width, channels]`.
      target: :math:`t`, what is asked: None is the predicted class; a class, one for
        each image, `[batch, asked]`, or a function of the logits (see `explain`).
      at: where the network is cut, as `transforms.split` takes it.
      grid: the rows and columns of tokens `[batch, tokens, channels]`; None: a square.
      class_tokens: how many tokens come before those of the image.
      size: of the map; None: that of x.

    Returns:
      `[batch, height, width]`, of clips `[batch, frames, height, width]`; with several
      targets for each image `[batch, asked, ...]`. In float32 or wider, >= 0, larger =
      speaks more for the target; not normalised.

    Raises:
      ValueError: if the network has no such cut, its features have no positions, or
        their tokens are no such grid; as `explain` says of targets.

    ==========================================  =====================================
    Edge case                                   Value
    ==========================================  =====================================
    nothing speaks for the target               zeros, and a warning outside `jit`
    no gradient reaches the positions           zeros, and a warning outside `jit`
    NaN in the network                          NaN, and a warning outside `jit`
    parameters under `stop_gradient`            the same map
    ==========================================  =====================================

    >>> first, x = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.zeros((1, 2, 2, 1))
    >>> split = SplitModel(
    ...     lambda params, x: jnp.stack([first, 5 - first], axis=-1)[None] + x,
    ...     lambda params, a: a.mean((1, 2)) @ jnp.array([[1.0, -1.0], [0.0, 0.0]]),
    ... )
    >>> print(grad_cam(split, None, x, target=0))
    [[[0.25 0.5 ]
      [0.75 1.  ]]]

    References:
      Selvaraju et al. 2017 (arXiv:1610.02391), eqs. 1 and 2. The raw map of
      pytorch-grad-cam 1.5.7 is this before the positive part and without a size.
    """
    cutting = Cutting(at, grid, class_tokens, size)
    return cam("grad_cam", "grad_cam", apply_fn, params, x, cutting, _of_target, target)


def grad_cam_plus_plus(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    target: Target = None,
    at: str | transforms.Cut = "feature_map",
    grid: Sequence[int] | None = None,
    class_tokens: int = 0,
    size: Sequence[int] | None = None,
) -> Float[Array, "batch ..."]:
    r"""Grad-CAM++: positions weighed too, so that several objects of a class all show.

    .. math::
      E = \max\Big(0, \sum_k A_k \sum_{p} \alpha_{kp} \max(0, g_{kp})\Big), \qquad
      \alpha_{kp} = \frac{g_{kp}^2}{2 g_{kp}^2 + g_{kp}^3 \sum_{q} A_{kq}}

    where :math:`g` is the gradient of the target by the features.

    Args:
      apply_fn: as in `grad_cam`.
      params: as in `grad_cam`.
      x: as in `grad_cam`.
      target: as in `grad_cam`.
      at: as in `grad_cam`.
      grid: as in `grad_cam`.
      class_tokens: as in `grad_cam`.
      size: as in `grad_cam`.

    Returns:
      As `grad_cam`.

    Raises:
      ValueError: as `grad_cam`.

    The edge cases are those of `grad_cam`, and:

    ===============================================  ===========================
    Edge case                                        Value
    ===============================================  ===========================
    a gradient of 0, or a denominator of 0           adds nothing
    a negative sum of features (GELU)                a denominator may be < 0
    ===============================================  ===========================

    >>> split = SplitModel(
    ...     lambda params, x: x, lambda params, a: a.mean((1, 2)) @ jnp.ones((1, 2))
    ... )
    >>> print(grad_cam_plus_plus(split, None, jnp.array([[[[1.0], [3.0]]]])))
    [[[0.25 0.75]]]

    References:
      Chattopadhay et al. 2018 (arXiv:1710.11063), eqs. 10 and 19, of the logit: its
      exponential is in the gradient. pytorch-grad-cam 1.5.7 adds 1e-6 to the
      denominator, beside which a squared gradient can be small, the released code of
      VOICE 1e-7; and there the denominator is :math:`2 g^2 + \sum_q A_q g_q^3`, another
      quantity wherever gradients differ between positions.
    """
    cutting = Cutting(at, grid, class_tokens, size)
    return cam(
        "grad_cam_plus_plus",
        "grad_cam_plus_plus",
        apply_fn,
        params,
        x,
        cutting,
        _of_target,
        target,
    )


def hires_cam(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    target: Target = None,
    at: str | transforms.Cut = "feature_map",
    grid: Sequence[int] | None = None,
    class_tokens: int = 0,
    size: Sequence[int] | None = None,
) -> Float[Array, "batch ..."]:
    r"""HiResCAM: each position weighed by its own gradient.

    .. math:: E = \max\Big(0, \sum_k g_k A_k\Big)

    For a head that is affine in the features, the values before the positive part add
    up to the logit, less its bias; for a mean over positions before one dense layer it
    is `grad_cam`.

    Args:
      apply_fn: as in `grad_cam`.
      params: as in `grad_cam`.
      x: as in `grad_cam`.
      target: as in `grad_cam`.
      at: as in `grad_cam`.
      grid: as in `grad_cam`.
      class_tokens: as in `grad_cam`.
      size: as in `grad_cam`.

    Returns:
      As `grad_cam`.

    Raises:
      ValueError: as `grad_cam`.

    The edge cases are those of `grad_cam`, and:

    =================================================  =============================
    Edge case                                          Value
    =================================================  =============================
    features read behind a layer norm alone, as the    zeros, up to rounding: their
    patches are where a class token is read out        scale changes nothing
    =================================================  =============================

    >>> split = SplitModel(
    ...     lambda params, x: x, lambda params, a: a.reshape(1, 2) @ jnp.eye(2)
    ... )
    >>> print(hires_cam(split, None, jnp.array([[[[1.0], [3.0]]]])))
    [[[0. 3.]]]

    References:
      Draelos and Carin 2020 (arXiv:2011.08891), eq. 7.
    """
    cutting = Cutting(at, grid, class_tokens, size)
    return cam(
        "hires_cam", "hires_cam", apply_fn, params, x, cutting, _of_target, target
    )


def layer_cam(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    target: Target = None,
    at: str | transforms.Cut = "feature_map",
    grid: Sequence[int] | None = None,
    class_tokens: int = 0,
    size: Sequence[int] | None = None,
) -> Float[Array, "batch ..."]:
    r"""LayerCAM: each position weighed by its own gradient where that is positive.

    .. math:: E = \max\Big(0, \sum_k \max(0, g_k) A_k\Big)

    Made for cuts at earlier, finer layers as well as for the last one.

    Args:
      apply_fn: as in `grad_cam`.
      params: as in `grad_cam`.
      x: as in `grad_cam`.
      target: as in `grad_cam`.
      at: as in `grad_cam`.
      grid: as in `grad_cam`.
      class_tokens: as in `grad_cam`.
      size: as in `grad_cam`.

    Returns:
      As `grad_cam`.

    Raises:
      ValueError: as `grad_cam`.

    The edge cases are those of `grad_cam`.

    >>> split = SplitModel(
    ...     lambda params, x: x, lambda params, a: a.reshape(1, 2) @ jnp.eye(2)
    ... )
    >>> print(layer_cam(split, None, jnp.array([[[[1.0], [3.0]]]]), target=0))
    [[[1. 0.]]]

    References:
      Jiang et al. 2021 (LayerCAM, IEEE TIP 30), eqs. 5 to 7.
    """
    cutting = Cutting(at, grid, class_tokens, size)
    return cam(
        "layer_cam", "layer_cam", apply_fn, params, x, cutting, _of_target, target
    )


def cam(
    name: str,
    method: str,
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    cutting: Cutting,
    ask: Callable[..., TargetFn],
    *given: Any,
) -> jax.Array:
    """The map of a method, at the size of the image.

    Args:
      name: what warnings call the map.
      method: a name of `METHODS`.
      apply_fn: as in `grad_cam`.
      params: as in `grad_cam`.
      x: as in `grad_cam`.
      cutting: where, and what the positions are.
      ask: `(logits, *given) -> target`: the question, which may depend on the logits.
      *given: what it takes after them, such as classes.
    """
    where = cutting.places(apply_fn, params, x)

    def of_batch(params: Params, x: Any, *given: Any) -> tuple[jax.Array, jax.Array]:
        evidence = gather(where, params, x)
        question = ask(evidence.logits, *given)
        gradients = evidence.gradients(question)
        maps = jnp.maximum(signed(METHODS[method], evidence, gradients), 0)
        leading = maps.ndim - len(where.grid)
        of_logits = jax.grad(lambda z: jnp.sum(question(z)))(evidence.logits)
        reached = _any(gradients) | ~_any(of_logits)
        return resized(maps, where.size, leading=leading), reached

    maps, reached = in_auto_axes(of_batch, params, x, *given, batch=x)
    tell(name, maps, reached=reached, zeros=True)
    return maps


def _any(array: jax.Array) -> jax.Array:
    """Whether there is anything but zeros, for each image."""
    return jnp.any(array.reshape(len(array), -1) != 0, axis=-1)


def _of_target(logits: jax.Array, target: Target) -> TargetFn:
    return asked(target, logits)


def signed(method: Method, evidence: Evidence, gradients: jax.Array) -> jax.Array:
    """Maps `[batch, *grid]`, or `[batch, asked, *grid]`, with what is negative."""
    of_image = method.signed
    if gradients.ndim > evidence.activations.ndim:
        of_image = jax.vmap(of_image, (None, 0))
    return jax.vmap(of_image)(evidence.activations, gradients)
