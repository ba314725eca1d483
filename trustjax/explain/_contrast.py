r"""Contrasts: why P, rather than Q? What if not P? Why not P for certain?

Maps of the same features as `grad_cam`, with another question: :math:`S_c` below is the
signed map of class c, and all of these are sums of such maps.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from trustjax import _validate, targets, transforms
from trustjax._meshes import in_auto_axes
from trustjax.explain._cam import METHODS, cam, signed
from trustjax.explain._evidence import Cutting, gather
from trustjax.explain._maps import normalized, resized
from trustjax.explain._target import Target, TargetFn, asked, classes_of
from trustjax.explain._told import tell
from trustjax.typing import ApplyFn, Params, SplitModel

Classes = int | Int[Array, "batch ..."] | None
"""A class, one for each example, or several for each."""

OBJECTIVES = ("cross_entropy", "logit_difference")


class CausalCam(NamedTuple):
    """What `causal_cam` takes apart.

    Attributes:
      causal: `[batch, *size]`, what speaks for P and for nothing else, in [0, 1].
      context: `[batch, *size]`, what P shares with Q, in [0, 1].
    """

    causal: Float[Array, "batch ..."]
    context: Float[Array, "batch ..."]


def counterfactual_cam(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    target: Target = None,
    method: str = "grad_cam",
    at: str | transforms.Cut = "feature_map",
    grid: Sequence[int] | None = None,
    class_tokens: int = 0,
    size: Sequence[int] | None = None,
) -> Float[Array, "batch ..."]:
    r"""What if not P? The positions that speak against the target.

    .. math:: E = \max(0, -S_P)

    Args:
      apply_fn: as in `grad_cam`.
      params: as in `grad_cam`.
      x: as in `grad_cam`.
      target: as in `grad_cam`; its gradient is negated.
      method: `"grad_cam"`, `"grad_cam_plus_plus"`, `"hires_cam"` or `"layer_cam"`.
      at: as in `grad_cam`.
      grid: as in `grad_cam`.
      class_tokens: as in `grad_cam`.
      size: as in `grad_cam`.

    Returns:
      As `grad_cam`: larger = taking this away would make the target more likely.

    Raises:
      ValueError: as `grad_cam`; if there is no such method.

    The edge cases are those of `grad_cam`.

    >>> split = SplitModel(
    ...     lambda params, x: x, lambda params, a: a.mean((1, 2)) @ params
    ... )
    >>> x = jnp.array([[[[1.0], [3.0]]]])
    >>> print(counterfactual_cam(split, jnp.array([[1.0, -2.0]]), x, target=1))
    [[[1. 3.]]]

    References:
      Selvaraju et al. 2017 (arXiv:1610.02391), sec. 3.3; AlRegib and Prabhushankar 2022
      (Explanatory Paradigms, arXiv:2202.11838), whose released code it is.
    """
    _validate.choice("method", method, METHODS)

    def negative(logits: jax.Array, target: Target) -> TargetFn:
        question = asked(target, logits)
        return lambda z: -question(z)

    return cam(
        "counterfactual_cam",
        method,
        apply_fn,
        params,
        x,
        Cutting(at, grid, class_tokens, size),
        negative,
        target,
    )


def contrast_cam(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    contrast: Classes = None,
    target: Classes = None,
    objective: str = "cross_entropy",
    method: str = "grad_cam",
    at: str | transforms.Cut = "feature_map",
    grid: Sequence[int] | None = None,
    class_tokens: int = 0,
    size: Sequence[int] | None = None,
) -> Float[Array, "batch ..."]:
    r"""Why P, rather than Q? The positions without which Q would be more likely.

    .. math::
      E = \max\Big(0, \sum_c p_c S_c - S_Q\Big) \quad \text{(cross entropy to } Q),
      \qquad E = \max(0, S_P - S_Q) \quad \text{(logit difference)}

    The gradient is that of the objective itself: what makes it larger speaks for P.

    Args:
      apply_fn: as in `grad_cam`.
      params: as in `grad_cam`.
      x: as in `grad_cam`.
      contrast: Q: a class, one for each image, or `[batch, asked]`; None is the most
        probable class other than P.
      target: P: a class, or one for each image; None is the predicted class. The cross
        entropy asks why all that is believed, rather than Q: P only chooses the
        default of Q there.
      objective: `"cross_entropy"` or `"logit_difference"`; they are the same map where
        the network is certain of P.
      method: `"grad_cam"`, `"grad_cam_plus_plus"`, `"hires_cam"` or `"layer_cam"`.
      at: as in `grad_cam`.
      grid: as in `grad_cam`.
      class_tokens: as in `grad_cam`.
      size: as in `grad_cam`.

    Returns:
      As `grad_cam`; with several contrasts for each image `[batch, asked, ...]`.

    Raises:
      ValueError: as `grad_cam`; if there is no such objective or method, or one class
        alone where a second is asked for.

    The edge cases are those of `grad_cam`, and:

    =========================================  =======================================
    Edge case                                  Value
    =========================================  =======================================
    Q is P, cross entropy                      1 - p_P times the map of
                                               `why_not_certain`: tiny where it is sure
    Q is P, logit difference                   zeros, and a warning outside `jit`
    =========================================  =======================================

    >>> split = SplitModel(
    ...     lambda params, x: x, lambda params, a: a.mean((1, 2)) @ params
    ... )
    >>> x = jnp.array([[[[1.0], [3.0]]]])
    >>> weights = jnp.array([[1.0, -1.0]])
    >>> print(contrast_cam(split, weights, x, objective="logit_difference"))
    [[[1. 3.]]]

    References:
      Prabhushankar et al. 2020 (Contrastive Explanations, arXiv:2008.00178); the
      released code is the cross entropy with the second of the ranked logits for Q.
      The course notes of the same laboratory define the logit difference.
    """
    _validate.choice("method", method, METHODS)
    _validate.choice("objective", objective, OBJECTIVES)

    def rather_than(logits: jax.Array, contrast: Classes, target: Classes) -> TargetFn:
        q = other_class(logits, target) if contrast is None else contrast
        against = asked(q, logits, output=_OUTPUT[objective])
        if objective == "cross_entropy":
            return lambda z: -against(z)
        for_p = asked(classes_of(target, logits), logits)

        def difference(z: jax.Array) -> jax.Array:
            of_q = against(z)
            of_p = for_p(z)
            return of_p.reshape(of_p.shape + (1,) * (of_q.ndim - 1)) - of_q

        return difference

    return cam(
        "contrast_cam",
        method,
        apply_fn,
        params,
        x,
        Cutting(at, grid, class_tokens, size),
        rather_than,
        contrast,
        target,
    )


_OUTPUT = {"cross_entropy": "log_probabilities", "logit_difference": "logits"}


def why_not_certain(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    target: Classes = None,
    method: str = "grad_cam",
    at: str | transforms.Cut = "feature_map",
    grid: Sequence[int] | None = None,
    class_tokens: int = 0,
    size: Sequence[int] | None = None,
) -> Float[Array, "batch ..."]:
    r"""Why not P with 100 % confidence? What speaks for all other classes together.

    .. math::
      E = \max\Big(0, \sum_{c \ne P} \pi_c S_c - S_P\Big), \qquad
      \pi_c = \frac{e^{z_c}}{\sum_{i \ne P} e^{z_i}}

    The contrast with P itself by cross entropy is :math:`1 - p_P` times this, a factor
    that says nothing about positions and rounds to zero where the network is sure.

    Args:
      apply_fn: as in `grad_cam`.
      params: as in `grad_cam`.
      x: as in `grad_cam`.
      target: P: a class, or one for each image; None is the predicted class.
      method: `"grad_cam"`, `"grad_cam_plus_plus"`, `"hires_cam"` or `"layer_cam"`.
      at: as in `grad_cam`.
      grid: as in `grad_cam`.
      class_tokens: as in `grad_cam`.
      size: as in `grad_cam`.

    Returns:
      As `grad_cam`: larger = keeps the network from being certain of P.

    Raises:
      ValueError: as `grad_cam`; if there is no such method, or one class alone.

    The edge cases are those of `grad_cam`.

    >>> split = SplitModel(
    ...     lambda params, x: x, lambda params, a: a.mean((1, 2)) @ params
    ... )
    >>> x = jnp.array([[[[1.0], [3.0]]]])
    >>> print(why_not_certain(split, jnp.array([[-1.0, 1.0]]), x, target=0))
    [[[1. 3.]]]

    References:
      AlRegib and Prabhushankar 2022 (arXiv:2202.11838): the question; no formula and no
      code. The cross entropy with Q = P is this up to its factor.
    """
    _validate.choice("method", method, METHODS)

    def others_less_it(logits: jax.Array, target: Classes) -> TargetFn:
        _two_classes(logits)
        labels = _one_each("target", classes_of(target, logits))
        return lambda z: together(z, labels) - asked(labels, z)(z)

    return cam(
        "why_not_certain",
        method,
        apply_fn,
        params,
        x,
        Cutting(at, grid, class_tokens, size),
        others_less_it,
        target,
    )


def causal_cam(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    contrast: Classes = None,
    target: Classes = None,
    method: str = "grad_cam",
    at: str | transforms.Cut = "feature_map",
    grid: Sequence[int] | None = None,
    class_tokens: int = 0,
    size: Sequence[int] | None = None,
) -> CausalCam:
    r"""CausalCAM: the map of P without its context, what P shares with other classes.

    With n(.) the positive part of a map, brought to [0, 1], and p the softmax of the
    logits of P and Q alone,

    .. math::
      U = n(p_Q S_P + p_P S_Q), \quad N = n(-p_P S_P - p_Q S_Q), \quad
      D = n(S_P - S_Q) \\
      B = \mathrm{clip}(U - N - D, 0, 1), \qquad
      C = n(\mathrm{clip}(n(S_P) - B, 0, 1))

    "why P or Q", "why neither" and "why P, not Q": minus the gradients of the cross
    entropy to the targets (1, 1), (0, 0) and (1, 0).

    Args:
      apply_fn: as in `grad_cam`.
      params: as in `grad_cam`.
      x: as in `grad_cam`.
      contrast: Q: a class, or one for each image; None is all other classes as one,
        :math:`z_Q = \log \sum_{i \ne P} e^{z_i}`.
      target: P: a class, or one for each image; None is the predicted class.
      method: `"grad_cam"`, `"grad_cam_plus_plus"`, `"hires_cam"` or `"layer_cam"`.
      at: as in `grad_cam`.
      grid: as in `grad_cam`.
      class_tokens: as in `grad_cam`.
      size: as in `grad_cam`.

    Returns:
      `CausalCam(causal, context)`.

    Raises:
      ValueError: as `grad_cam`; if there is no such method.

    ==========================================  =====================================
    Edge case                                   Value
    ==========================================  =====================================
    one class                                   the map of P; the context is zeros
    nothing speaks for P                        zeros, and a warning outside `jit`
    Q is P                                      D is zeros
    NaN in the network                          NaN, and a warning outside `jit`
    ==========================================  =====================================

    >>> features = jnp.eye(4)[None, :, None]  # for P, for Q, for both, for neither
    >>> split = SplitModel(
    ...     lambda params, x: features + 0 * x, lambda params, a: a.sum((1, 2)) @ params
    ... )
    >>> kernel = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
    >>> found = causal_cam(split, kernel, jnp.zeros((1, 4, 1, 1)), target=0)
    >>> print(found.causal.ravel(), found.context.ravel())
    [1. 0. 0. 0.] [0.  0.5 1.  0. ]

    References:
      Prabhushankar and AlRegib 2021 (Extracting Causal Visual Features for Limited
      Label Classification, arXiv:2103.12322): :math:`B = C(P, Q) - C(\bar P, \bar Q) -
      C(P, \bar P)`. The paper leaves loss, signs and normalisation open and there is
      no code: those here are ours, chosen so that what speaks for P alone remains.
    """
    _validate.choice("method", method, METHODS)
    cutting = Cutting(at, grid, class_tokens, size)
    where = cutting.places(apply_fn, params, x)

    def of_batch(
        params: Params, x: Any, contrast: Classes, target: Classes
    ) -> CausalCam:
        evidence = gather(where, params, x)
        z = evidence.logits
        labels = _one_each("target", classes_of(target, z))
        others = None if contrast is None else classes_of(contrast, z)

        def question(z: jax.Array) -> jax.Array:
            p = asked(labels, z)(z)
            if z.shape[1] == 1:
                return jnp.stack([p, jnp.zeros_like(p)], axis=1)
            if others is None:
                return jnp.stack([p, together(z, labels)], axis=1)
            return jnp.stack([p, asked(_one_each("contrast", others), z)(z)], axis=1)

        maps = signed(METHODS[method], evidence, evidence.gradients(question))
        maps = resized(maps, where.size, leading=2)
        values = question(z)
        p = jax.nn.softmax(values, axis=1).reshape(
            *values.shape, *[1] * len(where.size)
        )
        s_p, s_q = maps[:, 0], maps[:, 1]
        for_p, for_q = p[:, 0], p[:, 1]
        if z.shape[1] == 1:
            return CausalCam(_positive(s_p), jnp.zeros_like(s_p))
        either = _positive(for_q * s_p + for_p * s_q)
        neither = _positive(-(for_p * s_p + for_q * s_q))
        context = jnp.clip(either - neither - _positive(s_p - s_q), 0, 1)
        causal = normalized(jnp.clip(_positive(s_p) - context, 0, 1))
        return CausalCam(causal, context)

    found = in_auto_axes(of_batch, params, x, contrast, target, batch=x)
    tell("causal_cam", found.causal, zeros=True)
    return found


def other_class(
    logits: jax.Array, target: int | Int[Array, " batch"] | None
) -> jax.Array:
    """The most probable class other than P: the second, or the first where P is not."""
    _two_classes(logits)
    if target is None:
        return targets.contrast_class(logits)
    labels = _one_each("target", classes_of(target, logits))
    of_p = targets.one_hot(labels, logits.shape[-1]).astype(bool)
    return targets.predicted_class(jnp.where(of_p, -jnp.inf, logits))


def together(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The logit of all classes but one as one: their log-sum-exp."""
    of_one = targets.one_hot(labels, logits.shape[-1]).astype(bool)
    return jax.nn.logsumexp(jnp.where(of_one, -jnp.inf, logits), axis=-1)


def _positive(maps: jax.Array) -> jax.Array:
    return normalized(jnp.maximum(maps, 0))


def _one_each(name: str, classes: jax.Array) -> jax.Array:
    _validate.rank(name, classes, "batch")
    return classes


def _two_classes(logits: jax.Array) -> None:
    if logits.shape[-1] < 2:
        raise ValueError(
            f"a contrast needs a second class, got logits of shape {logits.shape}"
        )
