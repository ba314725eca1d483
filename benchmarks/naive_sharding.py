"""Is the obvious way to per-example gradients right under sharding, on this JAX?

Run `python -m benchmarks.naive_sharding`. For one convolution of each kind it compares
`jit(vmap(grad(loss)))` of a batch that is sharded over four CPU devices with the same
function of the same batch on one device, and prints how many examples are wrong: once
as JAX does it, once through `transforms.matmul_kernel_grads`.

Why it goes wrong: `vmap` makes the kernel gradient of a batch one convolution with a
group for each example, and XLA's partitioner splits the groups wrongly: each example
that is not on the first device gets a gradient of zeros. Biases and the sum over the
batch are computed in other ways and are right, so training never shows it.
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
    print(f"{'convolution':18} {'vmap(grad)':>12} {'matmul_kernel_grads':>22}")
    x = jax.random.normal(jax.random.key(0), (BATCH, 8, 8, 3))
    for name, (shape, options) in CASES.items():
        kernel = jax.random.normal(jax.random.key(1), shape)
        layout = ("NHWC", "HWIO", "NHWC")
        settings = {"window_strides": (1, 1), "padding": "SAME"} | options

        def loss(kernel, image, layout=layout, settings=settings):
            y = lax.conv_general_dilated(
                image[None], kernel, dimension_numbers=layout, **settings
            )
            return jnp.sin(y).sum()

        wrong = [
            wrong_examples(jax.jit(jax.vmap(jax.grad(fun), (None, 0))), kernel, x)
            for fun in (loss, matmul_kernel_grads(loss))
        ]
        print(f"{name:18} {wrong[0]:>12} {wrong[1]:>22}")


if __name__ == "__main__":
    main()
