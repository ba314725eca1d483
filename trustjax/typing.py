"""The types that every part of the library shares."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float

Params = Any
"""A tree of arrays: whatever `apply_fn` takes first."""


@runtime_checkable
class ApplyFn(Protocol):
    """A network in evaluation mode: pure, one row of logits per example."""

    def __call__(self, params: Any, x: Any, /) -> Float[Array, "batch classes"]:
        """The logits of each example."""
        ...


StochasticApplyFn = Callable[[Params, Any, jax.Array], Any]
"""A network with dropout on: `(params, x, key) -> logits`."""


@runtime_checkable
class LossFn(Protocol):
    """An unreduced loss of the logits: one number per example, no true label.

    Called as `loss_fn(logits, *loss_args)`: `logits` is `[batch, classes]`, and each of
    `loss_args` is an array `[batch, ...]`, such as the class to ask about.
    """

    # The signature that type checkers take as "any arguments".
    def __call__(self, *args: Any, **kwargs: Any) -> Float[Array, " batch"]:
        """The loss of each example."""
        ...


@runtime_checkable
class ProgressFn(Protocol):
    """Hears how far a long task is; the library itself prints nothing."""

    def __call__(
        self, task: str, done: int, total: int | None, facts: Mapping[str, float], /
    ) -> None:
        """`done` of at most `total` pieces of `task`; `facts` are worth showing.

        `total` is None while it is not known; a task has ended when all are done.
        """
        ...


class SplitModel(NamedTuple):
    """A network cut at one activation: `apply_fn = head_fn . features_fn`.

    Attributes:
      features_fn: `(params, x) -> features`, shape `[batch, ...]`.
      head_fn: `(params, features) -> logits`, shape `[batch, classes]`.
    """

    features_fn: Any
    head_fn: Any

    def apply_fn(self, params: Any, x: jax.Array) -> jax.Array:
        """The whole network: the head applied to the features."""
        return self.head_fn(params, self.features_fn(params, x))


class LastLayer(NamedTuple):
    r"""The affine map that a network ends in, :math:`z = h W + b`.

    Attributes:
      kernel: :math:`W`, `[features, classes]`.
      bias: :math:`b`, `[classes]`.
    """

    kernel: Any
    bias: Any
