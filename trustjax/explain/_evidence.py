"""What the features of a batch say of a question: the features and its gradients."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from trustjax import transforms
from trustjax._numerics import at_least_float32
from trustjax.explain._places import Places, places
from trustjax.explain._target import TargetFn, gradients
from trustjax.typing import ApplyFn, Params, SplitModel


class Cutting(NamedTuple):
    """Where a network is cut for a map, as its user said: see `places`."""

    at: str | transforms.Cut
    grid: Sequence[int] | None
    class_tokens: int
    size: Sequence[int] | None

    def places(self, apply_fn: ApplyFn | SplitModel, params: Params, x: Any) -> Places:
        """The parts of the network, and the positions."""
        if not x.shape[0]:
            raise ValueError(f"x must hold at least one example, got {x.shape}")
        return places(apply_fn, params, x, **self._asdict())


class Evidence(NamedTuple):
    """The features of a batch, and what the head makes of them.

    Attributes:
      head_fn: `(params, features) -> logits`.
      params: of the network.
      features: as the head takes them, with class tokens.
      logits: `[batch, classes]`.
      pull: from a cotangent of the logits to that of the features.
      on_grid: from anything of the shape of the features to `[batch, *grid,
        channels]`.
    """

    head_fn: Callable[[Params, jax.Array], jax.Array]
    params: Params
    features: jax.Array
    logits: jax.Array
    pull: Callable[[jax.Array], jax.Array]
    on_grid: Callable[[jax.Array], jax.Array]

    @property
    def activations(self) -> jax.Array:
        """The features at their positions, `[batch, *grid, channels]`."""
        return at_least_float32(self.on_grid(self.features))

    def gradients(self, question: TargetFn) -> jax.Array:
        """Those of a question by the features at their positions.

        Args:
          question: `(logits) -> [batch]`, or `[batch, asked]`.

        Returns:
          `[batch, *grid, channels]`, or `[batch, asked, *grid, channels]`.
        """

        def pull(cotangent: jax.Array) -> jax.Array:
            return at_least_float32(self.on_grid(self.pull(cotangent)))

        return gradients(question, self.logits, pull)


def gather(where: Places, params: Params, x: Any) -> Evidence:
    """Runs a network, up to its features and from there on."""
    features = where.split.features_fn(params, x)
    logits, pull = jax.vjp(lambda a: where.split.head_fn(params, a), features)
    return Evidence(
        where.split.head_fn,
        params,
        features,
        logits,
        lambda cotangent: pull(cotangent)[0],
        where.on_grid,
    )
