"""Layers that more than one network shares."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from trustjax import _windows
from trustjax._depthwise import depthwise_convolution

leaky_relu = functools.partial(nnx.leaky_relu, negative_slope=0.1)

Activation = Callable[[Array], Array]


def identity(x: Array) -> Array:
    """What it is given."""
    return x


# He et al. 2015 (arXiv:1502.01852), section 2.2, by the outputs of a layer.
_he_normal = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")


def conv(
    width_in: int,
    width: int,
    kernel: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    padding: str = "SYMMETRIC",
    use_bias: bool = False,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """A convolution with a square kernel of odd size.

    Args:
      width_in: channels of the input.
      width: channels of the output.
      kernel: height and width of the kernel.
      stride: in both directions.
      groups: of the channels; `width_in` for a depthwise convolution.
      padding: `"SYMMETRIC"`, half a kernel at each side, as PyTorch networks have it;
        or `"SAME"`, TensorFlow's, which pads an even size less before than behind
        where the stride is 2.
      use_bias: whether a bias is added.
      rngs: where the weights come from.
    """
    half = kernel // 2
    return nnx.Conv(
        width_in,
        width,
        (kernel, kernel),
        strides=stride,
        padding=((half, half), (half, half)) if padding == "SYMMETRIC" else padding,
        feature_group_count=groups,
        use_bias=use_bias,
        kernel_init=_he_normal,
        conv_general_dilated=depthwise_convolution,
        rngs=rngs,
    )


class ConvNorm(nnx.Module):
    """A convolution without bias, BatchNorm and an activation."""

    def __init__(
        self,
        width_in: int,
        width: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        activation: Activation = nnx.relu,
        groups: int = 1,
        padding: str = "SYMMETRIC",
        epsilon: float = 1e-5,
        momentum: float = 0.9,
        rngs: nnx.Rngs,
    ):
        self.conv = conv(
            width_in,
            width,
            kernel,
            stride,
            groups=groups,
            padding=padding,
            rngs=rngs,
        )
        self.norm = nnx.BatchNorm(width, momentum=momentum, epsilon=epsilon, rngs=rngs)
        self.activation = activation

    def __call__(self, x: Array) -> Array:
        return self.activation(self.norm(self.conv(x)))


class SqueezeExcitation(nnx.Module):
    """Scales each channel by what a perceptron makes of the means of all.

    References:
      Hu, Shen and Sun 2018 (arXiv:1709.01507), eqs. 2 to 4.
    """

    def __init__(
        self,
        width: int,
        squeezed: int,
        *,
        activation: Activation = nnx.relu,
        gate: Activation = nnx.sigmoid,
        rngs: nnx.Rngs,
    ):
        self.reduce = conv(width, squeezed, use_bias=True, rngs=rngs)
        self.expand = conv(squeezed, width, use_bias=True, rngs=rngs)
        self.activation = activation
        self.gate = gate

    def __call__(self, x: Array) -> Array:
        mean = jnp.mean(x, axis=(1, 2), keepdims=True)
        return x * self.gate(self.expand(self.activation(self.reduce(mean))))


class StochasticDepth(nnx.Module):
    """In training, leaves out the branch of a block for each example by chance.

    No `nnx.Dropout`: Monte-Carlo dropout samples units, and this removes layers.

    References:
      Huang et al. 2016 (arXiv:1603.09382), eq. 2; what is kept is scaled by
      `1 / (1 - rate)`, as torchvision does, in place of scaling in evaluation.
    """

    def __init__(self, rate: float, *, rngs: nnx.Rngs):
        self.rate = rate
        self.deterministic = False
        self.rngs = rngs.dropout.fork()

    def __call__(self, x: Array) -> Array:
        if self.deterministic or self.rate == 0:
            return x
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        kept = jax.random.bernoulli(self.rngs(), 1 - self.rate, shape)
        return jnp.where(kept, x / (1 - self.rate), 0)


def divisible(width: float, by: int = 8) -> int:
    """The nearest multiple of `by`, at least 90 % of `width` and at least `by`.

    How the MobileNets and EfficientNets round their widths.

    >>> divisible(32 * 0.75), divisible(18.0), divisible(3.0), divisible(11.9)
    (24, 24, 8, 16)
    """
    rounded = max(by, int(width + by / 2) // by * by)
    return rounded if rounded >= 0.9 * width else rounded + by


def max_pool(
    x: Float[Array, "batch height width channels"], kernel: int, stride: int
) -> Float[Array, "batch _ _ channels"]:
    """Largest value of each window, with nothing around the image."""
    return nnx.max_pool(x, (kernel, kernel), strides=(stride, stride))


def max_pool_3x3(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch _ _ channels"]:
    """Largest value around every second pixel: the pooling behind a 7x7 stem."""
    return nnx.max_pool(
        x,
        (3, 3),
        strides=(2, 2),
        padding=((1, 1), (1, 1)),  # pyright: ignore[reportArgumentType]
    )


def adaptive_average_pool(
    x: Float[Array, "batch height width channels"], size: int
) -> Float[Array, "batch {size} {size} channels"]:
    """Means of `size` by `size` windows that cover the image.

    Window i of n pixels begins at `floor(i n / size)` and ends before
    `ceil((i + 1) n / size)`, so that a smaller image is repeated.

    >>> adaptive_average_pool(jnp.arange(5.0).reshape(1, 1, 5, 1), 2)[0, 0, :, 0]
    Array([1., 3.], dtype=float32)
    """
    for axis in (1, 2):
        n = x.shape[axis]
        if n == size:
            continue
        windows = [
            jax.lax.slice_in_dim(x, i * n // size, -(-(i + 1) * n // size), axis=axis)
            for i in range(size)
        ]
        means = [jnp.mean(window, axis=axis, keepdims=True) for window in windows]
        x = jnp.concatenate(means, axis=axis)
    return x


@jax.custom_jvp
def max_pool_2x2(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch _ _ channels"]:
    """Largest value of each 2x2 block; a last odd row or column is left out.

    Equal in value and gradient to `nnx.max_pool(x, (2, 2), strides=(2, 2))`, whose
    gradient is the slowest part of a small network on CPU.

    >>> max_pool_2x2(jnp.arange(15.0).reshape(1, 3, 5, 1))[0, ..., 0]
    Array([[6., 8.]], dtype=float32)
    """
    return functools.reduce(jnp.maximum, _quarters(x))


@max_pool_2x2.defjvp
def _max_pool_2x2_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    place = _windows.place_of_maximum(_quarters(x))
    selected = _windows.select_from_tiles(tangent, place, (1, 2, 2, 1))
    return max_pool_2x2(x), selected


def _quarters(x: Array) -> list[Array]:
    """For each offset in a 2x2 block, what lies there."""
    _, height, width, _ = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]


def global_average_pool(
    x: Float[Array, "batch *size channels"],
) -> Float[Array, "batch channels"]:
    """Mean over the positions, of images or of video."""
    return jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))
