"""What scores are made of: named quantities, each a value that says how it is had.

The part of the library that can make a quantity offers it as an `Ingredient`; a row of
`scores` names the ingredients that its function takes; `scoring` puts them in order and
computes each once per batch. What a score costs, what it needs of a network, what has
to be fitted: all of it is read off these values.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp

NETWORK = "network"
STOCHASTIC_NETWORK = "stochastic network"
TRAINING_SET = "training set"


@runtime_checkable
class Node(Protocol):
    """What can be asked for by name: an ingredient or a score."""

    @property
    def name(self) -> str:
        """The key of its results."""
        ...

    @property
    def needs(self) -> "tuple[Ingredient, ...]":
        """The ingredients that it is made from."""
        ...

    @property
    def source(self) -> str:
        """What it takes beyond `needs`; empty if nothing."""
        ...


@dataclasses.dataclass(frozen=True)
class Ingredient:
    """A quantity that scores are made of; at most one of three functions makes it.

    Attributes:
      name: the key of its value; two ingredients of one name are never taken together.
      ask: `(batch, *needed) -> value`: asks the network of a `scoring.Batch`, its
        `apply_fn`, `params`, `x` and more; a tree of `[batch, ...]` arrays.
      compute: `(*needed) -> value`: the same from arrays alone.
      fit: `(*needed, labels) -> value`: once, on the records of a training set.
      needs: other ingredients, in the order of the function's arguments.
      stochastic: whether `ask` takes `batch.stochastic_apply_fn`.
      cost: what it takes beyond a forward pass, in words; empty if nothing.
      for_each_class: whether that is so much for each class of the network.
      of_network: whether `ask` gives one tree of arrays for the network, the same for
        every batch, and not rows for its examples: results hold it once.
      added_up: whether `ask` gives the sum over the examples of a batch that are not
        padding (`scoring.Batch.mask`), a tree of arrays: results hold the sum over
        all batches.

    Without any function its value has to be given.

    Raises:
      ValueError: if there are two functions.

    >>> doubled = Ingredient("doubled", compute=lambda z: 2 * z, needs=(LOGITS,))
    >>> doubled.source, LOGITS.source, KEY.source
    ('', 'network', 'key')
    """

    name: str
    _: dataclasses.KW_ONLY
    ask: Callable[..., Any] | None = None
    compute: Callable[..., Any] | None = None
    fit: Callable[..., Any] | None = None
    needs: "tuple[Ingredient, ...]" = ()
    stochastic: bool = False
    cost: str = ""
    for_each_class: bool = False
    of_network: bool = False
    added_up: bool = False

    def __post_init__(self):
        made = [how for how in ("ask", "compute", "fit") if getattr(self, how)]
        if len(made) > 1:
            raise ValueError(
                f"the ingredient {self.name!r} must be made in one way, got "
                f"{' and '.join(made)}"
            )

    @property
    def source(self) -> str:
        """Where it comes from, beside `needs`; its own name if it has to be given."""
        if self.ask:
            return STOCHASTIC_NETWORK if self.stochastic else NETWORK
        if self.fit:
            return TRAINING_SET
        return "" if self.compute else self.name

    def with_options(self, **options: Any) -> "Ingredient":
        """The same ingredient, its function called with these options.

        >>> third = Ingredient("nth", compute=lambda z, n=0: z[:, n], needs=(LOGITS,))
        >>> print(third.with_options(n=2).compute(jnp.eye(3)))
        [0. 0. 1.]
        """
        how = next(h for h in ("ask", "compute", "fit") if getattr(self, h))
        bound = functools.partial(getattr(self, how), **options)
        return dataclasses.replace(self, **{how: bound})


def missing(node: Node, available: Iterable[str]) -> tuple[str, ...]:
    """What is not there of what an ingredient or a score is made from.

    Args:
      node: the ingredient or score.
      available: names of ingredients that are there, and of sources: `"network"`,
        `"stochastic network"`, `"training set"`.

    Returns:
      Names of sources, and of ingredients that have to be given; each once.

    >>> missing(PREDICTIONS, {"logits"}), missing(PREDICTIONS, {"key"})
    ((), ('network',))
    """
    there = frozenset(available)
    found: dict[str, None] = {}

    def look(at: Node) -> None:
        if at.name in there:
            return
        if at.source and at.source not in there:
            found[at.source] = None
        for need in at.needs:
            look(need)

    look(node)
    return tuple(found)


LOGITS = Ingredient("logits", ask=lambda batch: batch.logits)
"""What the network answers, `[batch, classes]`."""

FEATURES = Ingredient("features", ask=lambda batch: batch.features)
"""What the last dense layer takes, `[batch, features]`."""

LAST_LAYER = Ingredient(
    "last_layer",
    ask=lambda batch: batch.last_layer,
    of_network=True,
    cost="a product with the last layer",
)
"""The affine map behind the features, a `typing.LastLayer`, whatever the batch.

It is read off the network's program and its parameters inside the jit of each batch,
with one product that takes as many rows as there are features or classes, whichever are
fewer: of the features of a batch and their logits, less than an image more.
"""

PREDICTIONS = Ingredient(
    "predictions", compute=lambda logits: jnp.argmax(logits, axis=-1), needs=(LOGITS,)
)
"""The class of the largest logit, `[batch]`."""

KEY = Ingredient("key")
"""A random key, which has to be given: what is sampled needs it."""
