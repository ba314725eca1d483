"""What the features of a batch say of a question: the features and its gradients."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trustjax import transforms
from trustjax._numerics import at_least_float32
from trustjax.explain._places import Places, places
from trustjax.explain._target import TargetFn
from trustjax.typing import ApplyFn, Params, SplitModel

_QUESTIONS_AT_ONCE = 16


class Cutting(NamedTuple):
    """Where a network is cut for a map, as its user said: see `places`."""

    at: str | transforms.Cut
    grid: Sequence[int] | None
    class_tokens: int
    size: Sequence[int] | None

    def places(self, apply_fn: ApplyFn | SplitModel, params: Params, x: Any) -> Places:
        """The parts of the network, and the positions."""
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
        values, pull_question = jax.vjp(question, self.logits)

        def towards(cotangent: jax.Array) -> jax.Array:
            gradient = self.pull(pull_question(cotangent)[0])
            return at_least_float32(self.on_grid(gradient))

        if values.ndim == 1:
            found = towards(jnp.ones_like(values))
        else:
            spread = lambda row: towards(jnp.broadcast_to(row[None], values.shape))
            each = jnp.eye(values.shape[1], dtype=values.dtype)
            found = jax.lax.map(spread, each, batch_size=_QUESTIONS_AT_ONCE)
            found = jnp.moveaxis(found, 0, 1)
        # A class that does not exist has no gradient, which is not one of zero.
        known = ~jnp.isnan(values)
        known = known.reshape(known.shape + (1,) * (found.ndim - known.ndim))
        return jnp.where(known, found, jnp.nan)


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
