"""What a network returns, as logits: of two classes, of one head, before a softmax."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import _network_questions, _validate
from trustjax.typing import ApplyFn, Params


@dataclasses.dataclass(frozen=True)
class OneArray:
    """A network that is refused where it returns anything but an array.

    Attributes:
      network: the same without the question, for `head`.
    """

    network: Callable[..., Any]

    def __call__(self, params: Params, x: Any, /) -> jax.Array:
        """What the network returns."""
        return _network_questions.one_array(self.network(params, x))


def head(apply_fn: Callable[[Params, Any], Any], which: str | int) -> ApplyFn:
    """One output of a network that returns several, in a dict, a tuple or an object.

    Args:
      apply_fn: `(params, x) -> output`.
      which: its name, with slashes where they are nested: `"logits"`, `"0"`,
        `"heads/digit"`; or its number among them, from 0.

    Returns:
      `(params, x) -> logits`, with the others left out of the program.

    Raises:
      ValueError: at the first call, if there is no such output, listing those that are
        there with their shapes.

    >>> both = lambda params, x: {"digit": x @ params, "colour": x[:, :2]}
    >>> head(both, "colour")(jnp.eye(3), jnp.ones((1, 3)))
    Array([[1., 1.]], dtype=float32)
    >>> head(both, "shape")(jnp.eye(3), jnp.ones((1, 3)))
    Traceback (most recent call last):
    ValueError: head must be one of digit (1, 3), colour (1, 2), got 'shape'
    """
    network = apply_fn.network if isinstance(apply_fn, OneArray) else apply_fn

    def one_head(params: Params, x: Any) -> jax.Array:
        heads = _network_questions.heads(network(params, x))
        names = list(heads)
        place = int(which) if str(which).isdecimal() else -1
        if which in heads:
            return heads[str(which)]
        if 0 <= place < len(names):
            return heads[names[place]]
        listed = ", ".join(f"{name} {heads[name].shape}" for name in names)
        raise ValueError(f"head must be one of {listed or 'none'}, got {which!r}")

    return one_head


def heads(
    apply_fn: Callable[[Params, Any], Any], params: Params, x: Any
) -> dict[str, tuple[int, ...]]:
    """What a network returns, without running it: the shape of each output.

    Args:
      apply_fn: `(params, x) -> output`.
      params: what it takes first; shapes are enough.
      x: a batch, or its shapes.

    Returns:
      Name, as `head` takes it, to shape; the name is empty if there is one array and
      nothing around it.

    >>> both = lambda params, x: {"digit": x @ params, "colour": x[:, :2]}
    >>> heads(both, jnp.eye(3), jnp.ones((1, 3)))
    {'digit': (1, 3), 'colour': (1, 2)}
    """
    network = apply_fn.network if isinstance(apply_fn, OneArray) else apply_fn
    shapes: dict[str, tuple[int, ...]] = {}

    def look(params: Params, x: Any) -> None:
        found = _network_questions.heads(network(params, x))
        shapes.update({name: array.shape for name, array in found.items()})

    jax.eval_shape(look, params, x)
    return shapes


def binary(
    apply_fn: Callable[[Params, Any], Any],
    *,
    output: str = "logit",
) -> ApplyFn:
    """A network with one output for each example, as one of two classes.

    =============  ==============================  ===============================
    The output is  Logits of the classes 0 and 1   Class 1 is answered where
    =============  ==============================  ===============================
    a logit z      `[0, z]`                        `z > 0`
    probability p  `log [1 - p, p]`                `p > 1/2`
    =============  ==============================  ===============================

    Both give class 1 the probability that the output means, `sigmoid(z)` or `p`.

    Args:
      apply_fn: `(params, x) -> [batch]` or `[batch, 1]`.
      output: what that is: `"logit"`, before the sigmoid, or `"probability"`, after it.

    Returns:
      `(params, x) -> [batch, 2]`.

    Raises:
      ValueError: if `output` is neither; at the first call, if there is not one output
        for each example.

    >>> one = lambda params, x: x @ params
    >>> binary(one)(jnp.ones((1, 1)), jnp.array([[2.0], [-1.0]]))
    Array([[ 0.,  2.],
           [ 0., -1.]], dtype=float32)
    """
    _validate.choice("output", output, ("logit", "probability"))

    def two_classes(params: Params, x: Any) -> jax.Array:
        one = _network_questions.one_array(apply_fn(params, x))
        if one.ndim not in (1, 2) or one.shape[1:] not in ((), (1,)):
            raise ValueError(
                f"a binary network must return [batch] or [batch, 1], got {one.shape}"
            )
        one = one.reshape(-1)
        if output == "logit":
            return jnp.stack([jnp.zeros_like(one), one], axis=-1)
        return _logarithm(jnp.stack([1 - one, one], axis=-1))

    return two_classes


def log_probabilities(apply_fn: ApplyFn) -> ApplyFn:
    """A network that ends in a softmax, as logits: the logarithms of what it returns.

    They are the logits but for a constant of each example, which a softmax does not
    keep: scores that depend on it (`max_logit`, `energy`, ...) mean nothing then. A
    probability that float32 has rounded to 0 becomes its smallest one.

    Args:
      apply_fn: `(params, x) -> probabilities [batch, classes]`.

    Returns:
      `(params, x) -> [batch, classes]`, finite.

    >>> softmax = lambda params, x: jax.nn.softmax(x)
    >>> log_probabilities(softmax)(None, jnp.array([[0.0, 0.0], [0.0, 200.0]]))
    Array([[ -0.6931472,  -0.6931472],
           [-87.33655  ,   0.       ]], dtype=float32)
    """

    def logarithms(params: Params, x: Any) -> jax.Array:
        return _logarithm(_network_questions.one_array(apply_fn(params, x)))

    return logarithms


def _logarithm(probabilities: jax.Array) -> jax.Array:
    smallest = jnp.finfo(probabilities.dtype).tiny
    return jnp.log(jnp.maximum(probabilities, smallest))


def require_independent_rows(apply_fn: ApplyFn, params: Params, x: Any) -> None:
    """Raises where the answer to an example depends on its neighbours in the batch.

    So do networks in training mode: BatchNorm by the statistics of the batch, dropout
    with a key that is closed over. Per-example results are then of no example.
    `scoring.run` asks this of its first batch.

    Args:
      apply_fn: `(params, x) -> logits`.
      params: what it takes first.
      x: a batch; two examples that differ are enough, and more are surer.

    Raises:
      ValueError: if it does, naming a logit and what it is with and without them.

    >>> by_batch = lambda params, x: x - x.mean(axis=0, keepdims=True)
    >>> require_independent_rows(by_batch, None, np.array([[1.0, 0.0], [3.0, 4.0]]))
    Traceback (most recent call last):
    ValueError: the answer to an example depends on ... training mode ...
    """
    compiled = jax.jit(apply_fn)
    _network_questions.independent_rows(
        lambda x: np.asarray(_network_questions.one_array(compiled(params, x))),
        jax.tree.map(np.asarray, x),
    )
