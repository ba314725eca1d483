"""The score table as data: what each score is, and what it is computed from."""

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from trustjax import _validate

COST_CLASSES = (
    "closed_form",
    "input_gradient",
    "backward_pass",
    "class_gradients",
    "samples",
    "neighbours",
    "other_network",
)
"""What a score takes beyond the forward pass."""


@dataclasses.dataclass(frozen=True)
class Score:
    """One row of the table of scores.

    Attributes:
      direction: which way it reads; the same for every score.
      name: how users ask for it, and the key of its results.
      fn: `(*ingredients) -> [batch]`, higher = more trust.
      needs: the ingredients, in the order of `fn`'s arguments: `"logits"`,
        `"features"`, or one that `scoring.ingredients` adds.
      title: its name in prose.
      paper: where it comes from.
      equation: its formula in one line of plain text.
      cost: what it takes beyond the forward pass, in words.
      cost_class: the same for programs, one of `COST_CLASSES`.
      provenance: where the authors' code differs, or what was decided.
      about: what it is, in one line; the first line of `fn`'s docstring if empty.
    """

    name: str
    fn: Callable[..., Any]
    needs: tuple[str, ...]
    title: str
    paper: str
    equation: str
    cost: str = "none"
    cost_class: str = "closed_form"
    provenance: str = ""
    about: str = ""
    direction: ClassVar[str] = "higher = more trust"

    def __post_init__(self):
        _validate.choice("cost_class", self.cost_class, COST_CLASSES)

    @property
    def summary(self) -> str:
        """What it is, in one line."""
        return self.about or (inspect.getdoc(self.fn) or "").partition("\n")[0]


_REGISTRY: dict[str, Score] = {}


def register(score: Score) -> Score:
    """Adds a score to the table, so that it can be asked for by its name.

    Args:
      score: the row to add; `score.fn` gets the ingredients of `score.needs`.

    Returns:
      The same score.

    Raises:
      ValueError: if another score has that name. (`Score` itself refuses a cost class
        that is not one of `COST_CLASSES`.)

    >>> import jax.numpy as jnp
    >>> row = register(Score(name="doctest_lowest_logit", title="Lowest logit",
    ...     fn=lambda logits: jnp.min(logits, -1), needs=("logits",),
    ...     paper="none", equation="min_k z_k"))
    >>> lookup("doctest_lowest_logit").needs
    ('logits',)
    >>> unregister("doctest_lowest_logit")
    """
    if score.name in _REGISTRY:
        raise ValueError(f"a score called {score.name!r} is already registered")
    _REGISTRY[score.name] = score
    return score


def unregister(name: str) -> None:
    """Takes a score out of the table.

    Raises:
      ValueError: if there is no such score, naming those that exist.

    >>> unregister("no_such_score")
    Traceback (most recent call last):
    ValueError: score must be one of ...
    """
    del _REGISTRY[lookup(name).name]


def lookup(name: str) -> Score:
    """The score of that name.

    Raises:
      ValueError: if there is none, naming those that exist.

    >>> lookup("margin").needs
    ('logits',)
    """
    _validate.choice("score", name, names())
    return _REGISTRY[name]


def names(computable_from: Iterable[str] | None = None) -> tuple[str, ...]:
    """Names of the registered scores, in the order of registration.

    Args:
      computable_from: keep only the scores that need no other ingredients.

    Returns:
      The names.

    >>> "grad_trust" in names(computable_from={"logits"})
    True
    """
    if computable_from is None:
        return tuple(_REGISTRY)
    available = set(computable_from)
    return tuple(n for n, s in _REGISTRY.items() if available.issuperset(s.needs))


def markdown_table() -> str:
    """The registered scores as a table in Markdown: the README's is this one.

    >>> print(markdown_table().splitlines()[2])
    | `max_softmax` | Max softmax | `max_k p_k` | logits | none | Hendrycks and ...
    """
    rows = [
        ("Name", "Score", "Equation", "From", "Cost beyond a forward pass", "Paper"),
        ("---",) * 6,
        *(
            (
                f"`{score.name}`",
                score.title,
                f"`{score.equation}`",
                ", ".join(score.needs).replace("_", " "),
                score.cost,
                f"{score.paper}. {score.provenance}".rstrip(". ") + ".",
            )
            for score in _REGISTRY.values()
        ),
    ]
    cells = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells) + "\n"
