r"""Norms, extremes, products and dense layers of features, from their factors.

The flattened features of an example are :math:`C D` numbers, in row-major order
:math:`r_{(c, d)} = a_c h_d`. Nothing here makes them.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _inputs, _validate
from trustjax._meshes import in_auto_axes
from trustjax._numerics import is_predicted, safe_norm
from trustjax.introspection._features import Features

_NORMS = {
    1: lambda v: jnp.sum(jnp.abs(v), axis=-1),
    2: safe_norm,
    float("inf"): lambda v: _largest(jnp.abs(v)),
}


def _largest(factor: jax.Array) -> jax.Array:
    """Over the last axis.

    The derivative of `jnp.max` looks for the largest again, and divides 0 by 0 where
    the compiler has rounded it otherwise the second time.
    """
    return jnp.sum(factor, axis=-1, where=is_predicted(factor))


def maximum(features: Features) -> jax.Array:
    r"""The largest of the features, :math:`\max_{c, d} a_c h_d`.

    Args:
      features: finite factors, as `introspection.features` gives them.

    Returns:
      `[batch]`, or `[batch, asked]`.

    >>> one = Features(jnp.array([[1.0, -2.0]]), jnp.array([[3.0, -4.0]]))
    >>> print(maximum(one), minimum(one))
    [8.] [-6.]
    """
    return functools.reduce(jnp.maximum, _corners(features))


def minimum(features: Features) -> jax.Array:
    r"""The smallest of the features, :math:`\min_{c, d} a_c h_d`; as `maximum`."""
    return functools.reduce(jnp.minimum, _corners(features))


def _corners(features: Features) -> list[jax.Array]:
    """Products of the extremes of both factors, of which one is an extreme."""
    change, embedding = _checked(features)
    ends = [(_largest(factor), -_largest(-factor)) for factor in (change, embedding)]
    asked = change.ndim - 2
    return [a * _beside(h, asked) for a in ends[0] for h in ends[1]]


def norm(features: Features, *, order: float = 2) -> jax.Array:
    r"""The norm of the flattened features, :math:`\|a h^\top\|_q = \|a\|_q \|h\|_q`.

    Args:
      features: as `introspection.features` gives them.
      order: :math:`q`, 1, 2 or `inf`.

    Returns:
      `[batch]`, or `[batch, asked]`, in [0, inf).

    Raises:
      ValueError: if `order` is another.

    >>> one = Features(jnp.array([[3.0, -4.0]]), jnp.array([[2.0, 0.0]]))
    >>> print(norm(one), norm(one, order=1), norm(one, order=jnp.inf))
    [10.] [14.] [8.]
    """
    if order not in _NORMS:
        raise ValueError(f"order must be 1, 2 or inf, got {order}")
    change, embedding = _checked(features)
    of_rows = _NORMS[order]
    return of_rows(change) * _beside(of_rows(embedding), change.ndim - 2)


def inner_products(features: Features, others: Features) -> jax.Array:
    r"""Inner products of features, :math:`\langle r, r' \rangle = (a a') (h h')`.

    Args:
      features: towards one target, `change` of shape `[batch, classes]`.
      others: features of other examples, `[others, classes]`.

    Returns:
      `[batch, others]`.

    Raises:
      ValueError: if either is towards several classes, or they are of networks of
        other classes or another width.

    >>> one = Features(jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 0.0, 1.0]]))
    >>> print(inner_products(one, one))
    [[50.]]
    """
    pair = _of_one_network(features, others)
    return in_auto_axes(_products, *pair, batch=features.change)


def squared_distances(features: Features, others: Features) -> jax.Array:
    r"""Squared distances of features, :math:`\|r - r'\|_2^2`.

    Args:
      features: as in `inner_products`.
      others: as in `inner_products`.

    Returns:
      `[batch, others]`, not negative; to about 1e-6 of the larger squared norm.

    Raises:
      ValueError: as `inner_products`.

    >>> one = Features(jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[1.0], [2.0]]))
    >>> print(squared_distances(one, one))
    [[0. 5.]
     [5. 0.]]
    """

    def by_factors(features: Features, others: Features) -> jax.Array:
        squares, theirs = norm(features) ** 2, norm(others) ** 2
        both = squares[:, None] + theirs[None]
        return jnp.maximum(both - 2 * _products(features, others), 0)

    pair = _of_one_network(features, others)
    return in_auto_axes(by_factors, *pair, batch=features.change)


def _products(features: Features, others: Features) -> jax.Array:
    of_changes, of_embeddings = (
        jnp.matmul(ours, theirs.T, precision=jax.lax.Precision.HIGHEST)
        for ours, theirs in zip(features, others, strict=True)
    )
    return of_changes * of_embeddings


def linear(
    features: Features,
    kernel: Float[Array, "classes width units"],
    bias: Float[Array, " units"] | None = None,
) -> Float[Array, "batch units"]:
    r"""A dense layer on the flattened features, from their factors.

    .. math:: y_u = \sum_{c, d} a_c h_d V_{c d u} + b_u

    Of an example at most classes x units or width x units numbers are made on the way,
    whichever are fewer.

    Args:
      features: towards one target, `change` of shape `[batch, classes]`.
      kernel: :math:`V`; `kernel.reshape(-1, units)` is that of the dense layer on the
        flattened features.
      bias: :math:`b`; None for none.

    Returns:
      The outputs of the layer.

    Raises:
      ValueError: if the features are towards several classes, or of a network of other
        classes or another width than the kernel's.

    >>> one = Features(jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 0.0, 1.0]]))
    >>> print(linear(one, jnp.ones((2, 3, 1))))
    [[12.]]
    """
    change, embedding = of_one_target("features", features)
    kernel = _inputs.floats("kernel", kernel, "classes width units")
    wanted = (change.shape[1], embedding.shape[1])
    if kernel.shape[:2] != wanted:
        raise ValueError(
            f"the features are of a network of {wanted[0]} classes and width "
            f"{wanted[1]}, the kernel is for {kernel.shape[0]} and {kernel.shape[1]}"
        )

    def by_factors(features: Features, kernel: jax.Array) -> jax.Array:
        change, embedding = features
        if embedding.shape[1] > change.shape[1]:
            left = jnp.einsum("bd,cdu->bcu", embedding, kernel)
            return jnp.einsum("bc,bcu->bu", change, left)
        left = jnp.einsum("bc,cdu->bdu", change, kernel)
        return jnp.einsum("bd,bdu->bu", embedding, left)

    outputs = in_auto_axes(
        by_factors, Features(change, embedding), kernel, batch=change
    )
    return outputs if bias is None else outputs + bias[None].astype(outputs.dtype)


def _checked(features: Features) -> Features:
    change = _inputs.array("features.change", features.change)
    if change.ndim not in (2, 3):
        raise ValueError(
            "features.change must have shape [batch, classes] or [batch, asked, "
            f"classes], got {change.shape}"
        )
    embedding = _inputs.floats("features.embedding", features.embedding, "batch width")
    _validate.floating("features.change", change)
    _validate.same_length(change=change, embedding=embedding)
    return Features(change, embedding)


def of_one_target(name: str, features: Features) -> Features:
    """The features, checked, that are towards one target: `[batch, classes]`."""
    checked = _checked(features)
    if checked.change.ndim != 2:
        raise ValueError(
            f"{name} must be towards one target, with change [batch, classes], got "
            f"{checked.change.shape}: ask for all_ones, or take features.change[:, q]"
        )
    return checked


def _of_one_network(features: Features, others: Features) -> tuple[Features, Features]:
    ours = of_one_target("features", features)
    theirs = of_one_target("others", others)
    sizes = [(one.change.shape[1], one.embedding.shape[1]) for one in (ours, theirs)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            "features and others must be of one network, got (classes, width) of "
            f"{sizes[0]} and {sizes[1]}"
        )
    return ours, theirs


def _beside(of_embedding: jax.Array, asked: int) -> jax.Array:
    """`[batch]`, with an axis more where several classes are asked about."""
    return of_embedding[:, None] if asked else of_embedding
