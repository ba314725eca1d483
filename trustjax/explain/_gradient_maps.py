r"""Maps made of the gradient of what is asked by the images themselves.

They need no feature map: any function of any array that can be differentiated has
them. They are signed and have the shape of x, one number for each number of x;
`over_channels` makes one for each pixel of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _validate, transforms
from trustjax._meshes import in_auto_axes
from trustjax._numerics import at_least_float32
from trustjax.explain._cam import grad_cam
from trustjax.explain._layout import layout
from trustjax.explain._target import Target, TargetFn, asked, gradients
from trustjax.explain._told import tell
from trustjax.typing import ApplyFn, Params, SplitModel

Transform = Callable[[Callable[..., Any]], Callable[..., Any]]


def saliency(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    target: Target = None,
    output: str = "logits",
) -> Any:
    r"""Saliency: the gradient of what is asked by each number of x, with its sign.

    .. math:: E = \partial t(f_\theta(x)) / \partial x

    A gradient says where a small change of x would change the answer most, which need
    not be where the evidence lies.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: what it takes first.
      x: images, clips, vectors or whatever it takes, `[batch, ...]`; or a tree of them.
      target: :math:`t`, what is asked: None is the predicted class; a class, one for
        each example, `[batch, asked]`, or a function of the logits (see `explain`).
      output: what of a class is asked: `"logits"`, `"probabilities"` or
        `"log_probabilities"`.

    Returns:
      Shape and tree of `x`, with several targets `[batch, asked, ...]`, in float32 or
      wider: positive where more of x is more of the target. The unsigned map of
      Simonyan et al., one number for each pixel, is `over_channels(saliency(...))`.

    Raises:
      TypeError: if x is not floating point.
      ValueError: as `explain` says of targets.

    ======================================  ===================================
    Edge case                               Value
    ======================================  ===================================
    NaN in the answer, however it came      NaN, and a warning outside `jit`
    a saturated softmax (`"probabilities"`) zeros
    ======================================  ===================================

    >>> linear = lambda params, x: x @ params
    >>> weights = jnp.array([[1.0, 0.0], [-2.0, 5.0]])
    >>> print(saliency(linear, weights, jnp.ones((1, 2)), target=0))
    [[ 1. -2.]]

    References:
      Simonyan, Vedaldi and Zisserman 2014 (arXiv:1312.6034), section 3.1, whose map is
      the largest absolute value over the channels. captum's default is the absolute
      value of each channel.
    """
    return _by_x("saliency", apply_fn, params, x, target, output)


def input_times_gradient(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    target: Target = None,
    output: str = "logits",
) -> Any:
    r"""The gradient times x: what each number contributes, as far as it is linear.

    .. math:: E = x \odot \partial t(f_\theta(x)) / \partial x

    Of a network of ReLUs without biases the map adds up to the logit. What is 0 in x
    contributes nothing: where that is a colour, it matters which one it is.

    Args:
      apply_fn: as in `saliency`.
      params: as in `saliency`.
      x: as in `saliency`.
      target: as in `saliency`.
      output: as in `saliency`.

    Returns:
      As `saliency`.

    Raises:
      TypeError: as `saliency`.
      ValueError: as `saliency`.

    The edge cases are those of `saliency`.

    >>> linear = lambda params, x: x @ params
    >>> weights = jnp.array([[1.0, 0.0], [-2.0, 5.0]])
    >>> print(input_times_gradient(linear, weights, jnp.array([[3.0, 1.0]]), target=0))
    [[ 3. -2.]]

    References:
      Shrikumar, Greenside, Shcherbina and Kundaje 2016 (arXiv:1605.01713), eq. 2.
    """

    def times_x(x: jax.Array, gradient: jax.Array) -> jax.Array:
        between = (1,) * (gradient.ndim - x.ndim)
        return x.reshape(x.shape[:1] + between + x.shape[1:]) * gradient

    return _by_x("input_times_gradient", apply_fn, params, x, target, output, times_x)


def guided_backprop(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    target: Target = None,
    output: str = "logits",
) -> Any:
    r"""Guided backpropagation: ReLUs pass back what is positive, where they are on.

    Its maps are sharp, and hardly depend on what is asked: it restores the image
    (`parameter_randomisation` shows it). Every ReLU of the function is reached, in
    whatever way it was written; see `transforms.guided_relu`.

    Args:
      apply_fn: as in `saliency`; its activations must be ReLUs, capped or not.
      params: as in `saliency`.
      x: as in `saliency`.
      target: as in `saliency`.
      output: as in `saliency`.

    Returns:
      As `saliency`.

    Raises:
      TypeError: as `saliency`.
      ValueError: as `saliency`; if the network has no ReLU or another activation.

    The edge cases are those of `saliency`.

    >>> network = lambda params, x: jax.nn.relu(x) @ params
    >>> weights = jnp.array([[1.0], [-2.0]])
    >>> print(guided_backprop(network, weights, jnp.ones((1, 2))))
    [[1. 0.]]

    References:
      Springenberg, Dosovitskiy, Brox and Riedmiller 2014 (arXiv:1412.6806), section
      3.4. Adebayo et al. 2018 (arXiv:1810.03292): its maps survive random parameters.
    """
    guided = transforms.guided_relu
    return _by_x(
        "guided_backprop", apply_fn, params, x, target, output, transform=guided
    )


def deconvolution(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    target: Target = None,
    output: str = "logits",
) -> Any:
    r"""A deconvolutional network: ReLUs pass back what is positive, on or not.

    Max pooling keeps its switches. See `transforms.deconvolved_relu`.

    Args:
      apply_fn: as in `guided_backprop`.
      params: as in `saliency`.
      x: as in `saliency`.
      target: as in `saliency`.
      output: as in `saliency`.

    Returns:
      As `saliency`.

    Raises:
      TypeError: as `saliency`.
      ValueError: as `guided_backprop`.

    The edge cases are those of `saliency`.

    >>> network = lambda params, x: jax.nn.relu(x) @ params
    >>> weights = jnp.array([[1.0], [2.0]])
    >>> print(deconvolution(network, weights, jnp.array([[-1.0, 1.0]])))
    [[1. 2.]]

    References:
      Zeiler and Fergus 2014 (arXiv:1311.2901), section 2.1.
    """
    deconvolved = transforms.deconvolved_relu
    return _by_x(
        "deconvolution", apply_fn, params, x, target, output, transform=deconvolved
    )


def guided_grad_cam(
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    *,
    target: Target = None,
    at: str | transforms.Cut = "feature_map",
    grid: Sequence[int] | None = None,
    class_tokens: int = 0,
) -> Float[Array, "batch ..."]:
    r"""Guided Grad-CAM: guided backpropagation where Grad-CAM says that the class is.

    .. math:: E = \text{grad\_cam} \odot \text{guided\_backprop}

    Args:
      apply_fn: as in `guided_backprop`.
      params: as in `saliency`.
      x: images or clips.
      target: as in `saliency`; of classes, their logits are asked.
      at: as in `grad_cam`.
      grid: as in `grad_cam`.
      class_tokens: as in `grad_cam`.

    Returns:
      As `saliency`.

    Raises:
      TypeError: as `saliency`.
      ValueError: as `guided_backprop` and `grad_cam`.

    The edge cases are those of `saliency` and `grad_cam`.

    >>> split = SplitModel(
    ...     lambda params, x: jax.nn.relu(x), lambda params, a: a.mean((1, 2)) @ params
    ... )
    >>> x = jnp.array([[[[1.0], [-3.0]]]])
    >>> print(guided_grad_cam(split, jnp.ones((1, 1)), x)[..., 0])
    [[[0.25 0.  ]]]

    References:
      Selvaraju et al. 2017 (arXiv:1610.02391), section 3.2, with Grad-CAM at the size
      of the image by linear interpolation; captum's default repeats pixels.
    """
    cam = grad_cam(
        apply_fn,
        params,
        x,
        target=target,
        at=at,
        grid=grid,
        class_tokens=class_tokens,
    )
    guided = guided_backprop(apply_fn, params, x, target=target)
    product = lambda cam, guided: layout(x.shape).beside(cam) * guided
    return in_auto_axes(product, cam, guided, batch=x)


def over_channels(
    maps: Float[Array, "batch ..."], *, by: str = "largest", leading: int = 1
) -> Float[Array, "batch ..."]:
    r"""One number for each pixel of a map that has the shape of x.

    .. math:: \text{largest: } \max_c |E_c| \qquad \text{sum: } \sum_c E_c

    Args:
      maps: `[batch, height, width, channels]`, clips `[batch, frames, height, width,
        channels]`; or with channels first, as images have them.
      by: `"largest"`, unsigned, the map of Simonyan et al. 2014; or `"sum"`, signed, of
        maps that add up to something, such as integrated gradients.
      leading: how many axes come before those of one map: 2 for `[batch, asked, ...]`.

    Returns:
      `[batch, height, width]`, of clips `[batch, frames, height, width]`.

    Raises:
      ValueError: if `by` is neither, or the maps are not over images or clips.

    >>> print(over_channels(jnp.array([[[[1.0, -3.0, 1.0]]]])))
    [[[3.]]]
    """
    _validate.choice("by", by, ("largest", "sum"))
    axis = layout(maps.shape[leading - 1 :]).channel_axis

    def of_maps(maps: jax.Array) -> jax.Array:
        if by == "sum":
            return jnp.sum(maps, axis=axis)
        return jnp.max(jnp.abs(maps), axis=axis)

    return in_auto_axes(of_maps, maps, batch=maps)


def whole(apply_fn: ApplyFn | SplitModel) -> ApplyFn:
    """A network in one part."""
    return apply_fn.apply_fn if isinstance(apply_fn, SplitModel) else apply_fn


def differentiated(
    apply_fn: ApplyFn | SplitModel, transform: Transform | None = None
) -> ApplyFn:
    """A network as it is differentiated by x: `(params, x) -> logits`."""
    network = whole(apply_fn)
    if transform is None:
        # Max pooling and, on CPU, convolutions have faster rules there.
        return transforms.matmul_kernel_grads(network)

    def of_x(params: Params, x: Any) -> jax.Array:
        # Of x alone: what is done with parameters is not on the way to an image.
        return transform(lambda x: network(params, x))(x)

    return transforms.matmul_kernel_grads(of_x)


def gradients_at(
    network: ApplyFn,
    params: Params,
    points: jax.Array,
    question: TargetFn,
    over_points: Callable[[jax.Array], jax.Array] = lambda each: each,
) -> jax.Array:
    """The gradients at several points for each example, from one forward pass.

    Args:
      network: `(params, x) -> logits`.
      params: what it takes first.
      points: `[batch, points, ...]`; the batch leads, for it may be sharded.
      question: `(logits) -> [batch]`, or `[batch, asked]`.
      over_points: what is made of the gradients of one question, `[batch, points, ...]`
        in float32 or wider; linear.

    Returns:
      What `over_points` returns, with an axis `asked` behind the batch if there is one.
    """
    flat = points.reshape(-1, *points.shape[2:])
    logits, pull_points = jax.vjp(lambda points: network(params, points), flat)

    def total(logits: jax.Array) -> jax.Array:
        return jnp.sum(jax.vmap(question, 1, 1)(logits), axis=1)

    def pull(cotangent: jax.Array) -> jax.Array:
        (each,) = pull_points(cotangent.reshape(logits.shape))
        return over_points(at_least_float32(each).reshape(points.shape))

    return gradients(total, logits.reshape(*points.shape[:2], -1), pull)


def check_differentiable(x: Any) -> None:
    """Requires floating-point arrays, naming the one that is not."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(x):
        _validate.floating("x" + jax.tree_util.keystr(path), jnp.asarray(leaf))


def _by_x(
    method: str,
    apply_fn: ApplyFn | SplitModel,
    params: Params,
    x: Any,
    target: Target,
    output: str,
    finish: Callable[[jax.Array, jax.Array], jax.Array] = lambda x, gradient: gradient,
    *,
    transform: Transform | None = None,
) -> Any:
    """The gradient by x, and what a method makes of it."""
    check_differentiable(x)
    network = differentiated(apply_fn, transform)

    def of_batch(params: Params, x: Any, target: Target) -> Any:
        logits, pull = jax.vjp(lambda x: network(params, x), x)
        question: TargetFn = asked(target, logits, output=output)
        found = gradients(question, logits, lambda cotangent: pull(cotangent)[0])
        return jax.tree.map(
            lambda x, gradient: at_least_float32(finish(x, gradient)), x, found
        )

    maps = in_auto_axes(of_batch, params, x, target, batch=x)
    for leaf in jax.tree.leaves(maps):
        tell(method, leaf)
    return maps
