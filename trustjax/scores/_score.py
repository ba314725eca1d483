"""A row of the table of scores: what a score is, and what it is computed from."""

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import ingredients
from trustjax.ingredients import Ingredient

TUTORIAL = "AlRegib and Prabhushankar 2025"


@dataclasses.dataclass(frozen=True)
class Score:
    """One row of the table of scores; higher = more trust, for every one of them.

    Attributes:
      fn: `(*needed) -> [batch]`. Its name, without a leading underscore, is what users
        ask for, and the key of its results; the first line of its docstring says what
        the score is.
      needs: the ingredients, in the order of `fn`'s arguments.
      title: its name in prose.
      paper: where it comes from.
      equation: its formula in one line of plain text.
      provenance: where the authors' code differs, or what was decided.
      baseline: whether it is what the others are compared with; one score is.
      scatter: whether a page draws it against the baseline, example by example; its
        values are positive.

    Raises:
      ValueError: if `fn` has no name of its own, as a lambda.
    """

    fn: Callable[..., Any]
    _: dataclasses.KW_ONLY
    needs: tuple[Ingredient, ...]
    title: str
    paper: str
    equation: str
    provenance: str = ""
    baseline: bool = False
    scatter: bool = False

    def __post_init__(self):
        name = getattr(self.fn, "__name__", repr(self.fn))
        if not name.isidentifier():
            raise ValueError(
                "a score is called by its function's name, which a word must be, and "
                f"{name} is not: write it with def"
            )

    source = ""  # beyond its ingredients, a score takes nothing

    @property
    def name(self) -> str:
        """How users ask for it."""
        return self.fn.__name__.removeprefix("_")

    @property
    def summary(self) -> str:
        """What it is, in one line."""
        return (inspect.getdoc(self.fn) or "").partition("\n")[0]

    @property
    def cost(self) -> str:
        """What its ingredients take beyond a forward pass."""
        costs = (need.cost for need in _with_theirs(self.needs) if need.cost)
        return ", ".join(dict.fromkeys(costs)) or "none"

    @property
    def for_each_class(self) -> bool:
        """Whether an ingredient costs so much for each class of the network."""
        return any(need.for_each_class for need in _with_theirs(self.needs))

    def takes(self, ingredient: Ingredient) -> bool:
        """Whether an ingredient is among those that it is made from, at any remove."""
        return any(need.name == ingredient.name for need in _with_theirs(self.needs))

    def missing(self, available: Iterable[str]) -> tuple[str, ...]:
        """What is not there of what it is made from, as `ingredients.missing`."""
        return ingredients.missing(self, available)

    def changes_with_constant(self, num_classes: int = 10) -> bool:
        """Whether a constant added to all logits changes a score of logits alone.

        Probabilities do not say which constant their logits had, so that such a score
        cannot be had from them. The function itself is asked.

        >>> import jax.numpy as jnp
        >>> def sum_of_logits(logits):
        ...     return jnp.sum(logits, axis=-1)
        >>> Score(sum_of_logits, needs=(ingredients.LOGITS,), title="Sum",
        ...       paper="none", equation="sum_k z_k").changes_with_constant()
        True
        """
        with jax.enable_x64(True):
            z = np.random.default_rng(0).normal(size=(8, num_classes))
            here, there = (self.fn(jnp.asarray(logits)) for logits in (z, z + 1))
        return not np.allclose(here, there, rtol=1e-6, atol=1e-9)


def _with_theirs(needs: tuple[Ingredient, ...]) -> Iterator[Ingredient]:
    """Ingredients, each after those that it is made of."""
    for need in needs:
        yield from _with_theirs(need.needs)
        yield need
