"""Is the obvious way to per-example gradients right under sharding, on this JAX?

Run `python -m benchmarks.naive_sharding`. For one convolution of each kind it compares
`jit(vmap(grad(loss)))` of a batch that is sharded over four CPU devices with the same
function of the same batch on one device, and prints how many examples are wrong: as
JAX does it, with the kernel in Flax's order (HWIO) and in PyTorch's (OIHW), and through
`transforms.matmul_kernel_grads`, of both orders.

Why it goes wrong: `vmap` makes the kernel gradient of a batch one convolution with a
group for each example, and for kernels in Flax's order XLA's partitioner splits the
groups wrongly: each example that is not on the first device gets a gradient of zeros.
Kernels in PyTorch's order come out right, and so do grouped ones: a test on a network
from PyTorch would not show it. Nor does training, for biases and the sum over the batch
are computed in other ways and are right.
"""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
)

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from trustjax.transforms import matmul_kernel_grads

BATCH = 8
ORDERS = {"HWIO": "NHWC", "OIHW": "NCHW"}
"""The order of the kernel's axes, and that of the images, by library."""
CASES = {
    "1x1": ((1, 1, 3, 4), {}),
    "3x3": ((3, 3, 3, 4), {}),
    "3x3, stride 2": ((3, 3, 3, 4), {"window_strides": (2, 2)}),
    "3x3, dilation 2": ((3, 3, 3, 4), {"rhs_dilation": (2, 2)}),
    "patches of 4x4": ((4, 4, 3, 4), {"window_strides": (4, 4)}),
    "depthwise": ((3, 3, 1, 3), {"feature_group_count": 3}),
}


def wrong_examples(gradient, kernel, x) -> int:
    """How many gradients change when the batch is sharded."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    sharded = jax.device_put(x, NamedSharding(mesh, P("data")))
    expected, actual = gradient(kernel, x), gradient(kernel, sharded)
    error = jnp.abs(jnp.asarray(actual) - expected).reshape(BATCH, -1).max(1)
    return int((error > 1e-4 * jnp.abs(expected).max()).sum())


def main() -> None:
    print(f"jax {jax.__version__}: wrong gradients of {BATCH} on 4 devices")
    columns = [f"vmap(grad), {order}" for order in ORDERS]
    print(f"{'convolution':18} {columns[0]:>18} {columns[1]:>18} matmul_kernel_grads")
    for name, (shape, options) in CASES.items():
        plain, ours = zip(
            *(wrong_of(order, shape, options) for order in ORDERS), strict=True
        )
        print(f"{name:18} {plain[0]:>18} {plain[1]:>18} {max(ours):>19}")


def wrong_of(order, shape, options) -> tuple[int, int]:
    """Wrong examples of a convolution, as JAX does it and with our kernel gradient."""
    images = ORDERS[order]
    from_flax = lambda array, source, target: array.transpose(map(source.index, target))
    x = jax.random.normal(jax.random.key(0), (BATCH, 8, 8, 3))
    x = from_flax(x, "NHWC", images)
    kernel = from_flax(jax.random.normal(jax.random.key(1), shape), "HWIO", order)
    settings = {"window_strides": (1, 1), "padding": "SAME"} | options

    def loss(kernel, image):
        y = lax.conv_general_dilated(
            image[None], kernel, dimension_numbers=(images, order, images), **settings
        )
        return jnp.sin(y).sum()

    per_example = (
        jax.vmap(jax.grad(f), (None, 0)) for f in (loss, matmul_kernel_grads(loss))
    )
    plain, ours = (wrong_examples(jax.jit(fun), kernel, x) for fun in per_example)
    return plain, ours


if __name__ == "__main__":
    main()
