"""The features of a network at hand: cut at its embedding, one forward pass."""

from typing import Any

import jax

from trustjax import _network_questions, transforms
from trustjax.introspection._features import Features, Loss, Target, features
from trustjax.typing import ApplyFn, Params, SplitModel


def features_of(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    loss: Loss = "squared_error",
    target: Target = "all_ones",
    constant: float = 1.0,
) -> Features:
    """The introspective features of a batch: a forward pass and no backward pass.

    The last layer is the whole of what follows the embedding: of a dense layer and a
    temperature behind it, the kernel divided by the temperature.

    For other layers, `gradients.class_gradients` has the statistics of each, towards
    any classes and by any loss.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode, that ends in a dense layer;
        or a `SplitModel` that is cut before one.
      params: a tree of arrays.
      x: a batch of examples, an array or a tree of arrays `[batch, ...]`.
      loss: as in `features`.
      target: as in `features`.
      constant: as in `features`.

    Returns:
      The factors of each example.

    Raises:
      ValueError: if the network does not end in a dense layer, saying what to do; or as
        `features`.

    >>> import jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     return jnp.tanh(x @ params["hidden"]) @ params["dense"]
    >>> params = {"hidden": jnp.ones((4, 3)), "dense": jnp.ones((3, 2))}
    >>> found = features_of(apply_fn, params, jnp.zeros((5, 4)))
    >>> found.change.shape, found.embedding.shape
    ((5, 2), (5, 3))
    """
    logits, embedding = logits_and_embedding(apply_fn, params, x)
    return features(logits, embedding, loss=loss, target=target, constant=constant)


def logits_and_embedding(
    apply_fn: ApplyFn | SplitModel, params: Params, x: Any
) -> tuple[jax.Array, jax.Array]:
    """What the last dense layer of a network gives and takes, of one forward pass.

    Raises:
      ValueError: if the network does not end in one, saying what to do.
    """
    try:
        parts = transforms.split(apply_fn, params, x, at="embedding")
    except ValueError as error:
        raise _no_dense_head(error) from error
    embedding = parts.features_fn(params, x)
    head_fn = lambda params, h: _network_questions.logits(parts.head_fn(params, h))
    if embedding.ndim != 2 or not transforms.is_affine(head_fn, params, embedding):
        raise _no_dense_head(
            f"what follows the embedding, {embedding.shape}, is no affine map of one "
            "vector for each example"
        )
    return head_fn(params, embedding), embedding


def _no_dense_head(why: object) -> ValueError:
    return ValueError(
        "introspective features are the gradient in the last dense layer, and this "
        f"network ends in none: {why}. Give the network as it is before what bends its "
        "logits (a log-softmax, a second layer), or where it is cut by hand, as "
        "SplitModel(features_fn, head_fn), features_fn giving [batch, width] and "
        "head_fn a dense layer"
    )
