"""The last layer as scores take it: checked, widened, and asked again."""

import jax
import jax.numpy as jnp

from trustjax import _inputs
from trustjax._numerics import at_least_float32, in_units_of_largest
from trustjax.typing import LastLayer


def check_last_layer(
    last_layer: LastLayer, width: int, classes: int | None = None
) -> LastLayer:
    """The kernel and bias in float32 or wider, for so many features and classes.

    Raises:
      ValueError: if they do not fit each other, the features or the logits.
      TypeError: if they are not floating point.
    """
    kernel = _inputs.floats("last_layer.kernel", last_layer.kernel, "features classes")
    bias = _inputs.floats("last_layer.bias", last_layer.bias, "classes")
    if kernel.shape != (width, len(bias)):
        raise ValueError(
            "last_layer must hold a kernel [features, classes] and a bias [classes] "
            f"for {width} features, got {kernel.shape} and {bias.shape}"
        )
    if classes is not None and classes != len(bias):
        raise ValueError(
            f"logits must have the {len(bias)} classes of last_layer, got {classes}"
        )
    return LastLayer(at_least_float32(kernel), at_least_float32(bias))


def weights_of(classes: jax.Array, kernel: jax.Array) -> jax.Array:
    """The column of the kernel of each example's class, `[batch, features]`.

    A product with zeros and a one, and so no other number: a look-up by classes that
    are sharded would need the kernel's columns from elsewhere, to JAX's mind. Of what
    is no class, zeros.
    """
    one_hot = jax.nn.one_hot(classes, kernel.shape[1], dtype=kernel.dtype)
    return jnp.matmul(one_hot, kernel.T, precision=jax.lax.Precision.HIGHEST)


def logits_of(features: jax.Array, layer: LastLayer, *factors: jax.Array) -> jax.Array:
    """What the layer makes of other features, `[batch, classes]`.

    Args:
      features: `[batch, features]`.
      layer: as `check_last_layer` returns it.
      *factors: `[batch]`, by which the features are multiplied.
    """
    # What overflows does so at the end, to one side, and not as inf - inf on the way.
    scaled, unit = in_units_of_largest(features)
    product = jnp.matmul(scaled, layer.kernel, precision=jax.lax.Precision.HIGHEST)
    product = product * unit
    for factor in factors:
        product = product * factor[:, None]
    return product + layer.bias[None]
