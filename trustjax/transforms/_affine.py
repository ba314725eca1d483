"""Whether a function is affine in its input, and how far a network is."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from trustjax.transforms._cuts import types_of
from trustjax.transforms._program import trace
from trustjax.transforms._split import cuts, split
from trustjax.typing import ApplyFn, LastLayer, Params, SplitModel


def is_affine(fun: Callable[[Any, jax.Array], jax.Array], params: Any, x: Any) -> bool:
    r"""Whether :math:`\partial f_\theta(x) / \partial x` can be had without x.

    It is read off the traced derivative: no operation in it takes x. Most networks end
    so, in a mean over positions and a dense layer, and all their class gradients by the
    features are then one matrix, whatever the image.

    Args:
      fun: `(params, x) -> array`.
      params: what it takes first, or types of arrays.
      x: one floating-point array, or its type.

    Returns:
      True only if it is. False where its program does not show it, as of a function
      that multiplies by x and divides by it again.

    >>> import jax.numpy as jnp
    >>> w, x = jnp.ones((4, 2)), jnp.ones((3, 4))
    >>> is_affine(lambda w, x: x @ w + 1, w, x)
    True
    >>> is_affine(lambda w, x: jax.nn.relu(x) @ w, w, x)
    False
    """
    params, x = types_of(params), types_of(x)

    def derivative(given: tuple[Any, jax.Array], x: jax.Array) -> jax.Array:
        params, cotangent = given
        return jax.vjp(lambda x: fun(params, x), x)[1](cotangent)[0]

    program = trace(derivative, (params, jax.eval_shape(fun, params, x)), x)
    return program.of_x.isdisjoint(program.results)


def last_layer(head_fn: ApplyFn, params: Params, features: Any) -> LastLayer:
    r"""The affine map that a head is, :math:`h \mapsto h W + b`, as its two arrays.

    All of the head counts: of a dense layer and a temperature behind it, both arrays
    are divided. :math:`W` is the derivative, which of an affine map is the same
    everywhere; it takes one product with the features or the classes, whichever are
    fewer, as many rows of a batch.

    Args:
      head_fn: `(params, features) -> logits`, as `split(..., "embedding")` gives it.
      params: what it takes first; they may be sharded.
      features: `[batch, features]`, or their type: their numbers do not matter.

    Returns:
      The kernel `[features, classes]` and the bias `[classes]`, in the dtype of the
      features.

    Raises:
      ValueError: if the features are not one vector for each example, or the head is
        not affine in them.

    =======================================  =========================================
    Edge case                                Value
    =======================================  =========================================
    no bias                                  zeros
    a log-softmax, two layers                refused: not affine
    =======================================  =========================================

    >>> import jax.numpy as jnp
    >>> head = lambda w, h: (h @ w + 1) / 2
    >>> print(last_layer(head, 4 * jnp.eye(2), jnp.ones((3, 2))))
    LastLayer(kernel=Array([[2., 0.],
           [0., 2.]], dtype=float32), bias=Array([0.5, 0.5], dtype=float32))
    """
    kind = types_of(features)
    if kind.ndim != 2:
        raise ValueError(
            f"features must have shape [batch, features], got {kind.shape}"
        )
    if not is_affine(head_fn, params, kind):
        raise ValueError(
            "the network must end in an affine map of its features, [batch, "
            f"{kind.shape[1]}], such as a dense layer: what follows them bends "
            "(a log-softmax, a second layer)"
        )
    logits = jax.eval_shape(head_fn, params, kind)
    width, classes = kind.shape[1], logits.shape[1]
    head = lambda h: head_fn(params, h)
    # A batch of one may be another program (`split`).
    rows = max(2, min(width, classes))
    zeros = jnp.zeros((rows, width), kind.dtype)
    if width <= classes:
        one_hot = jnp.eye(rows, width, dtype=kind.dtype)
        bias, kernel = jax.jvp(head, (zeros,), (one_hot,))
        kernel = kernel[:width]
    else:
        bias, backward = jax.vjp(head, zeros)
        # Placed as the logits are.
        one_hot = jnp.zeros_like(bias) + jnp.eye(rows, classes, dtype=logits.dtype)
        (kernel,) = backward(one_hot)
        kernel = kernel[:classes].T
    return LastLayer(kernel.astype(kind.dtype), bias[0].astype(kind.dtype))


_BENDS = frozenset(
    {
        *("abs", "clamp", "custom_jvp_call", "erf", "erfc", "exp", "integer_pow"),
        *("logistic", "max", "min", "pow", "reduce_max", "reduce_window_max", "rsqrt"),
        *("select_n", "sqrt", "square", "tanh"),
    }
)
"""Operations behind which a network need not be asked whether it is still affine."""


def affine_start(apply_fn: ApplyFn, params: Params, x: Any) -> SplitModel:
    """A network cut where its first operation bends what it is given.

    Up to there one forward and one backward pass serve all points on a line, and all
    sums of gradients. The stem of a convolutional network, its norm included, is such a
    part.

    Args:
      apply_fn: `(params, x) -> logits`.
      params: what it takes first; types of arrays will do.
      x: one array `[batch, ...]`, or its type.

    Returns:
      The two parts. Where no affine part is found, the first is the identity.

    >>> import jax.numpy as jnp
    >>> network = lambda w, x: jnp.tanh(2 * x @ w + 1) @ w
    >>> start = affine_start(network, jnp.ones((3, 3)), jnp.ones((2, 3)))
    >>> print(start.features_fn(jnp.ones((3, 3)), jnp.ones((1, 3))))
    [[7. 7. 7.]]
    """
    whole = SplitModel(lambda params, x: x, apply_fn)
    straight = itertools.takewhile(
        lambda cut: cut.name.rpartition("/")[2] not in _BENDS,
        cuts(apply_fn, params, x),
    )
    *_, last = (None, *straight)
    if last is None:
        return whole
    parts = split(apply_fn, params, x, last)
    return parts if is_affine(parts.features_fn, params, x) else whole
