"""A pass over many masks, a few at a time, until there are enough."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from trustjax import _validate
from trustjax._pieces import at_once
from trustjax.explain import _baseline
from trustjax.explain._estimate import Estimate, gathered
from trustjax.explain._layout import layout
from trustjax.explain._masks import cells_along, noise_keys, random_masks
from trustjax.explain._sums import Sums
from trustjax.explain._target import TargetFn
from trustjax.typing import ApplyFn, Params

Masks = int | Float[Array | np.ndarray, "masks ..."]
"""How many to draw, or the masks themselves, `[masks, *positions]`."""

_FEWEST = 100
"""Masks before `until` may stop: of fewer the standard error is not known well."""


class Masking(NamedTuple):
    """How images are masked: the arguments of `explain.rise` of these names."""

    key: jax.Array | None
    masks: Masks
    cells: int | Sequence[int]
    p: float
    baseline: _baseline.Baseline
    microbatch: int | None
    until: float | None

    def check(self, x: jax.Array) -> None:
        """Raises what `explain.rise` says of these arguments, for images x."""
        size = layout(x.shape).size
        _validate.open_fraction("p", self.p)
        if not isinstance(self.masks, int):
            shape = jnp.shape(self.masks)
            if shape[1:] != size or shape[0] < 2:
                raise ValueError(
                    "masks must be how many to draw, or two or more of "
                    f"{list(size)}, got {shape}"
                )
        else:
            _validate.count("masks", self.masks, at_least=2)
            cells_along(size, self.cells)
        at_once(self.microbatch, x, self.count)
        if self.until is not None:
            _validate.open_fraction("until", self.until)

    @property
    def count(self) -> int:
        """The most masks that there can be."""
        return self.masks if isinstance(self.masks, int) else len(self.masks)

    def sums(
        self,
        values: Callable[[jax.Array], jax.Array],
        x: jax.Array,
        f0: jax.Array,
        estimates: Callable[[Sums], Sequence[Estimate]],
    ) -> Sums:
        """The sums over all masks, or over as many as each image needs.

        Args:
          values: what is asked of masked images: `[batch, masks, ...]` to `[batch,
            masks, asked]`.
          x: the images.
          f0: what is asked of them, `[batch, asked]`.
          estimates: what `until` looks at.
        """
        size, until = layout(x.shape).size, self.until
        many = at_once(self.microbatch, x, self.count)
        masked = self._masked(x)

        def add(sums: Sums, number: jax.Array, done: jax.Array) -> Sums:
            first = number * many
            masks = self._chosen(size, many, first)
            there = first + jnp.arange(many) < self.count
            counted = there[None] & ~done[:, None]
            found = values(masked(masks, first))
            return sums.add(found, masks.reshape(many, -1), counted)

        def all_sure(sums: Sums, until: float) -> jax.Array:
            fewest = min(_FEWEST, self.count)
            each = [
                estimate.is_sure(until, fewest=fewest, axes_of_map=1)
                for estimate in estimates(sums)
            ]
            return jnp.all(jnp.stack(each), axis=0)

        return gathered(
            add,
            Sums.of_none(self.p, f0, math.prod(size)),
            -(-self.count // many),
            jnp.zeros(x.shape[0], bool),
            None if until is None else lambda sums: all_sure(sums, until),
        )

    def _chosen(self, size: tuple[int, ...], many: int, first: jax.Array) -> jax.Array:
        """The masks of one step, `[many, *size]`; no more than `count` are meant."""
        masks, key = self.masks, self.key
        if not isinstance(masks, int):
            rows = jnp.minimum(first + jnp.arange(many), self.count - 1)
            return jnp.asarray(masks)[rows]
        if key is None:
            raise ValueError(
                "key must be given where masks are drawn, such as jax.random.key(0); "
                "or give masks of your own"
            )
        return random_masks(key, many, size, cells=self.cells, p=self.p, first=first)

    def _masked(self, x: jax.Array) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """`(masks, first) -> [batch, masks, ...]`, the images under each."""
        fill = _baseline.filler(x, self.baseline)
        imputes = isinstance(self.baseline, str) and self.baseline == "impute"

        def masked(masks: jax.Array, first: jax.Array) -> jax.Array:
            if not imputes or self.key is None:
                return under_each(fill, masks, None)
            return under_each(fill, masks, noise_keys(self.key, len(masks), first))

        return masked


def under_each(
    fill: Callable[[jax.Array, jax.Array | None], jax.Array],
    masks: jax.Array,
    keys: jax.Array | None,
) -> jax.Array:
    """The images under each of some masks, `[batch, masks, ...]`."""
    axes = (0, None if keys is None else 0)
    return jax.vmap(fill, axes, 1)(masks[:, None].astype(jnp.float32), keys)


def answers(
    apply_fn: ApplyFn, params: Params, ask: TargetFn, images: jax.Array
) -> jax.Array:
    """What is asked of `[batch, masks, ...]`, `[batch, masks, asked]`."""
    batch, masks = images.shape[:2]
    # The batch stays the outer axis, over which devices may share it.
    each = images.reshape(batch * masks, *images.shape[2:])
    logits = apply_fn(params, each).reshape(batch, masks, -1)
    return jax.vmap(ask, 1, 1)(logits).reshape(batch, masks, -1)
