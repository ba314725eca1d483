"""What came, as an array of JAX: a list, an array of NumPy, or one already.

JAX converts without a word: where x64 is off, a NumPy float64 of 1e300 becomes inf and
an int64 of 2**32 becomes 0. Here either is an error that names the argument. Inside
`jax.jit` JAX has converted before the library is called.
"""

import functools
import inspect
from collections.abc import Callable
from typing import TypeVar

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
    if _is_traced(value):
        return jnp.asarray(value)
    host = _on_host(name, value)
    converted = _as_jax_has_it(host)
    _validate.fits(name, host, converted)
    return jnp.asarray(converted)


R = TypeVar("R")


def take_arrays(fn: Callable[..., R]) -> Callable[..., R]:
    """Lets a function take lists and NumPy wherever it is annotated to take arrays.

    `scores` of 64 bits, which the 32 bits of JAX would round, are ranked by all their
    digits: the function then runs under x64, and its result comes back in the dtypes
    that JAX has. So do NumPy constants inside `jax.jit`; but beside a traced array JAX
    has its own dtypes, and scores of which two would become equal are refused.

    >>> import jaxtyping
    >>> @take_arrays
    ... def twice(x: jaxtyping.Float[jaxtyping.Array, " n"]):
    ...     return 2 * x
    >>> print(twice([1.0, 2.0]))
    [2. 4.]
    """
    signature = inspect.signature(fn)
    names = [
        name for name, p in signature.parameters.items() if "Array" in str(p.annotation)
    ]

    @functools.wraps(fn)
    def taking(*args: object, **kwargs: object) -> R:
        bound = signature.bind(*args, **kwargs)
        given = {
            name: bound.arguments[name]
            for name in names
            if bound.arguments.get(name) is not None
            and not isinstance(bound.arguments[name], jax.Array | str)
        }
        if not given:
            return fn(*args, **kwargs)

        def call() -> R:
            bound.arguments.update({n: array(n, value) for n, value in given.items()})
            return fn(*bound.args, **bound.kwargs)

        scores = given.get("scores")
        if scores is None or _is_traced(scores) or _fits_exactly("scores", scores):
            return call()
        if _is_traced(bound.arguments):
            kept = array("scores", scores)
            _validate.stays_apart("scores", _on_host("scores", scores), kept.dtype)
            return call()
        with jax.ensure_compile_time_eval(), jax.enable_x64(True):
            result = call()
        return jax.tree.map(lambda leaf: array("scores", np.asarray(leaf)), result)

    return taking


def _is_traced(value: object) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def _fits_exactly(name: str, value: object) -> bool:
    """Whether the dtype that JAX gives the numbers holds each of them."""
    host = _on_host(name, value)
    return bool((_as_jax_has_it(host) == host).all())


def _as_jax_has_it(host: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return host.astype(jax.dtypes.canonicalize_dtype(host.dtype), copy=False)


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
