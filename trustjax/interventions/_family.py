"""Families of changed inputs, and how a network is asked about all of one."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from trustjax import _inputs, _validate
from trustjax._pieces import at_once
from trustjax.explain import filled
from trustjax.typing import ApplyFn, Params

Found = TypeVar("Found")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Family:
    """An intervention set: `count` changed versions of whatever batch it is given.

    A family of one's own is a function and how often it is asked, as dropout of tokens:

        def dropped(data, x, number):
            keep = jax.random.bernoulli(jax.random.fold_in(data, number), 0.9, x.shape)
            return jnp.where(keep, x, MASK_TOKEN)

        Family(dropped, jax.random.key(0), count=100)

    Attributes:
      change: `(data, x, number) -> x'`, of the shape of x, for the number of a member,
        a traced integer; static.
      data: the arrays that it takes.
      count: how many members there are; static.
    """

    change: Callable[[Any, Any, jax.Array], Any] = dataclasses.field(
        metadata={"static": True}
    )
    data: Any
    count: int = dataclasses.field(metadata={"static": True})

    def __call__(self, x: Any, number: int | jax.Array) -> Any:
        """One member: x, changed."""
        return self.change(self.data, x, jnp.asarray(number))


def given(inputs: Float[np.ndarray | Array, "members batch ..."]) -> Family:
    """The family of inputs that are at hand: corrupted, shifted, drawn anew.

    Args:
      inputs: `[members, batch, ...]`; a batch axis of one is the same for all examples,
        as images of which parts are taken.

    Returns:
      The family. It is of one batch.

    Raises:
      ValueError: if there is no member.

    >>> family = given(jnp.arange(6.0).reshape(3, 2, 1))
    >>> print(family.count, family(jnp.zeros((2, 1)), 2).ravel())
    3 [4. 5.]
    """
    members = _inputs.array("inputs", inputs)
    if members.ndim < 2 or not len(members):
        raise ValueError(
            "inputs must have shape [members, batch, ...] with at least one member, "
            f"got {members.shape}"
        )
    return Family(_given, members, len(members))


def _given(members: jax.Array, x: jax.Array, number: jax.Array) -> jax.Array:
    member = members[number]
    _validate.broadcasts("a member of the family", member, x.shape)
    return jnp.broadcast_to(member, x.shape).astype(x.dtype)


def masked(
    masks: Float[np.ndarray | Array, "members batch ..."],
    *,
    baseline: Any = "mean",
) -> Family:
    """The family of images of which each mask keeps a part.

    Args:
      masks: `[members, batch, *positions]`, in [0, 1], how much of each position is
        kept: maps of an explanation that are `explain.normalized`, those above a
        threshold, or `explain.random_masks(...)[:, None]`; a batch axis of one is for
        all images.
      baseline: what stands where a mask is 0, as in `explain.filled`.

    Returns:
      The family.

    Raises:
      ValueError: if there is no mask; when it is asked, as `explain.filled`.

    >>> halves = jnp.array([[[[1.0, 0.0]]], [[[0.0, 1.0]]]])
    >>> family = masked(halves, baseline="zero")
    >>> print(family.count, family(jnp.ones((1, 1, 2, 1)), 0).ravel())
    2 [1. 0.]
    """
    members = _inputs.array("masks", masks)
    if members.ndim < 2 or not len(members):
        raise ValueError(
            "masks must have shape [members, batch, *positions] with at least one "
            f"member, got {members.shape}"
        )
    if isinstance(baseline, str):
        return Family(_Masked(baseline), (members, None), len(members))
    value = _inputs.array("baseline", baseline)
    return Family(_Masked(None), (members, value), len(members))


def highest_shares(
    maps: Float[np.ndarray | Array, "batch ..."], shares: Sequence[float]
) -> Float[Array, "shares batch ..."]:
    """Masks of the positions where maps are highest, as many of them whatever the map.

    A threshold of a map's range hides much under one map and little under another; of
    a share as much is left of the image under all.

    Args:
      maps: `[batch, *positions]`.
      shares: of the positions, in [0, 1], rounded to a whole number of them.

    Returns:
      1 where a position is among the highest, else 0: one mask for each share, for
      `masked`. Of equal numbers the first are taken.

    Raises:
      ValueError: if there are no positions or shares, or a share is not in [0, 1].

    >>> print(highest_shares(jnp.array([[3.0, 1.0, 2.0, 0.0]]), (0.25, 0.5)))
    [[[1. 0. 0. 0.]]
    <BLANKLINE>
     [[1. 0. 1. 0.]]]
    """
    maps = _inputs.array("maps", maps)
    if maps.ndim < 2 or not shares:
        raise ValueError(
            "maps must have shape [batch, *positions] and there must be a share, got "
            f"{maps.shape} and {len(shares)} shares"
        )
    for share in shares:
        _validate.fraction("shares", share)
    rows = maps.reshape(len(maps), -1)
    places = jnp.argsort(jnp.argsort(-rows, axis=-1), axis=-1)
    counts = jnp.array([round(share * rows.shape[1]) for share in shares])
    shown = places[None] < counts.reshape(-1, 1, 1)
    return shown.reshape(len(shares), *maps.shape).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class _Masked:
    """Equal for equal names, so that `jax.jit` knows the function again."""

    baseline: str | None

    def __call__(self, data: Any, x: jax.Array, number: jax.Array) -> jax.Array:
        masks, value = data
        return filled(
            x, masks[number], value if self.baseline is None else self.baseline
        )


def over_members(
    family: Family,
    params: Params,
    x: Any,
    apply_fn: ApplyFn,
    of_logits: Callable[[Float[Array, "batch members classes"]], Found],
    merge: Callable[[Found, Found], Found],
    microbatch: int | None,
) -> Found:
    """What is made of the logits of all members, a few of them at a time.

    Args:
      family: the members.
      params: what `apply_fn` takes first.
      x: the batch that is changed.
      apply_fn: the network.
      of_logits: what is made of some of the members.
      merge: makes one of what is made of these and of those.
      microbatch: members at a time; None for as many as have a million numbers.

    Raises:
      ValueError: if the family is empty or changes the shape, or `microbatch` is not in
        1, ..., members.
    """
    _validate.count("the members of the family", family.count)
    _check_shape(family, x)
    many = at_once(microbatch, x, family.count)

    def piece(first: int | jax.Array, size: int) -> Found:
        numbers = first + jnp.arange(size)
        # The batch stays the outer axis, over which devices may share it.
        changed = jax.vmap(lambda n: family(x, n), out_axes=1)(numbers)
        each = changed.reshape(-1, *changed.shape[2:])
        logits = _inputs.logits(apply_fn(params, each))
        return of_logits(logits.reshape(len(x), size, -1))

    steps, rest = divmod(family.count, many)
    step = lambda number, found: merge(found, piece(number * many, many))
    found = jax.lax.fori_loop(1, steps, step, piece(0, many))
    return merge(found, piece(steps * many, rest)) if rest else found


def _check_shape(family: Family, x: jax.Array) -> None:
    changed = jax.eval_shape(family, x, 0)
    if jnp.shape(changed) != jnp.shape(x):
        raise ValueError(
            f"a member of the family must have the shape of x, {jnp.shape(x)}, got "
            f"{jnp.shape(changed)}"
        )
