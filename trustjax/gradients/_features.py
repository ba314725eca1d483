"""Gradients with respect to the examples and to activations."""

from collections.abc import Sequence
from typing import Any

import jax

from trustjax import losses, transforms
from trustjax._meshes import in_auto_axes
from trustjax.gradients._factors import loss_of_example
from trustjax.gradients._loops import check_batch
from trustjax.typing import ApplyFn, LossFn, Params, SplitModel


def input_gradients(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    *,
    loss_fn: LossFn = losses.predicted_cross_entropy,
    loss_args: Sequence[Any] = (),
) -> Any:
    r"""The gradient of each example's loss with respect to the example itself.

    .. math:: \partial \ell(f_\theta(x_i), a_i) / \partial x_i

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: a tree of arrays.
      x: a batch of examples, an array or a tree of arrays `[batch, ...]`.
      loss_fn: `(logits, *loss_args) -> [batch]`, unreduced.
      loss_args: arrays `[batch, ...]` that the loss takes after the logits.

    Returns:
      Shape and tree of `x`.

    Raises:
      ValueError: if the lengths of `x` and `loss_args` differ.

    >>> apply_fn = lambda params, x: x @ params
    >>> eye, x = jax.numpy.eye(2), jax.numpy.array([[1.0, 1.0]])
    >>> print(input_gradients(apply_fn, eye, x))
    [[-0.5  0.5]]
    """
    check_batch(x, loss_args)
    apply_fn = transforms.gather_as_typed(apply_fn, params, x)
    # Max pooling and, on CPU, convolutions have faster rules there.
    loss = transforms.matmul_kernel_grads(loss_of_example(apply_fn, loss_fn))

    def of_batch(params: Params, x: Any, *loss_args: Any) -> Any:
        gradient = jax.grad(loss, argnums=1, has_aux=True)
        in_axes = (None, 0, *[0] * len(loss_args))
        return jax.vmap(gradient, in_axes)(params, x, *loss_args)[0]

    return in_auto_axes(of_batch, params, x, *loss_args, batch=x)


def activation_gradients(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    at: str | transforms.Cut = "feature_map",
    loss_fn: LossFn = losses.predicted_cross_entropy,
    loss_args: Sequence[Any] = (),
) -> Any:
    r"""The gradient of each example's loss with respect to its features.

    .. math:: \partial \ell(h_\theta(a_i)) / \partial a_i, \qquad a_i = \phi_\theta(x_i)

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode; or a `SplitModel`, cut at
        the activation: `features_fn` gives :math:`\phi`, `head_fn` gives :math:`h`.
      params: a tree of arrays.
      x: a batch of examples, an array or a tree of arrays `[batch, ...]`.
      at: which activation, as `transforms.split` takes it; where a `SplitModel` is cut
        is known.
      loss_fn: `(logits, *loss_args) -> [batch]`, unreduced.
      loss_args: arrays `[batch, ...]` that the loss takes after the logits.

    Returns:
      Shape of the features, `[batch, ...]`; of a feature map that is `[batch,
      *positions, channels]`.

    Raises:
      ValueError: if the lengths of `x` and `loss_args` differ, or the network cannot
        be cut there.

    >>> split = SplitModel(lambda params, x: 2 * x, lambda params, a: a @ params)
    >>> eye, x = jax.numpy.eye(2), jax.numpy.array([[1.0, 1.0]])
    >>> print(activation_gradients(split, eye, x))
    [[-0.5  0.5]]
    """
    check_batch(x, loss_args)

    def of_batch(params: Params, x: Any, *loss_args: Any) -> Any:
        split = transforms.split(apply_fn, params, x, at)
        features = split.features_fn(params, x)
        return input_gradients(
            split.head_fn, params, features, loss_fn=loss_fn, loss_args=loss_args
        )

    return in_auto_axes(of_batch, params, x, *loss_args, batch=x)
