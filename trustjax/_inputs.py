"""What came, as an array of JAX: a list, an array of NumPy, or one already.

JAX converts without a word: where x64 is off, a NumPy float64 of 1e300 becomes inf and
an int64 of 2**32 becomes 0. Here either is an error that names the argument. Inside
`jax.jit` JAX has converted before the library is called.
"""

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from trustjax import _validate


def array(name: str, value: object) -> jax.Array:
    """The same numbers as an array of JAX.

    Args:
      name: what errors call the argument.
      value: an array of JAX or NumPy, a number, or nested lists of those.

    Returns:
      An array of the dtype that JAX gives `value`: float64 is rounded to float32 where
      x64 is off.

    Raises:
      TypeError: if `value` does not hold numbers or booleans.
      ValueError: if its rows differ in length, or JAX's dtype cannot hold a number.

    >>> print(array("logits", [[1.0, 2.0]]))
    [[1. 2.]]
    >>> array("labels", np.array([2**32]))
    Traceback (most recent call last):
    ValueError: labels must fit int32, got 4294967296 at index 0 (1 of 1 values)
    """
    if isinstance(value, jax.Array):
        return value
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)):
        return jnp.asarray(value)
    host = _on_host(name, value)
    with np.errstate(over="ignore"):
        converted = jnp.asarray(host)
    _validate.fits(name, host, converted)
    return converted


def floats(name: str, value: object, axes: str) -> jax.Array:
    """A floating-point array of one axis for each word of `axes`.

    >>> print(floats("features", [[0.5]], "batch features"))
    [[0.5]]
    """
    checked = array(name, value)
    _validate.rank(name, checked, axes)
    _validate.floating(name, checked)
    return checked


def logits(value: object) -> jax.Array:
    """Floating-point `[batch, classes]`, with at least one class.

    >>> print(logits([[0.5, 0.0]]))
    [[0.5 0. ]]
    """
    checked = array("logits", value)
    _validate.logits(checked)
    return checked


def whole_numbers(name: str, value: object, axes: str) -> jax.Array:
    """Integers, of one axis for each word of `axes`.

    >>> print(whole_numbers("labels", [0, 2], "batch"))
    [0 2]
    """
    checked = array(name, value)
    _validate.rank(name, checked, axes)
    _validate.integers(name, checked)
    return checked


def _on_host(name: str, value: object) -> np.ndarray:
    try:
        host = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must have rows of one length: {error}") from None
    if not (jnp.issubdtype(host.dtype, jnp.number) or host.dtype == np.bool_):
        raise TypeError(
            f"{name} must be an array of numbers, got {type(value).__name__} of "
            f"{host.dtype}"
        )
    # JAX has no longer one.
    return host.astype(np.float64) if host.dtype == np.longdouble else host
