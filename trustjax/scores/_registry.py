"""The table of scores: every family's rows in the order of tables and reports."""

from collections.abc import Iterable

from trustjax import _validate
from trustjax.scores import (
    _alignment,
    _centroid,
    _class_gradients,
    _confidence,
    _detector,
    _ensemble,
    _feature_mean,
    _gen,
    _grad_trust,
    _gradient,
    _last_layer,
    _mahalanobis_plus_plus,
    _max_logit_p_norm,
    _neighbour,
    _nnguide,
    _oracle,
    _perturbation,
    _purview,
    _react,
    _shaped,
    _vim,
)
from trustjax.scores._score import Score

_FAMILIES = (
    _confidence,
    _gen,
    _max_logit_p_norm,
    _grad_trust,
    _last_layer,
    _gradient,
    _alignment,
    _purview,
    _class_gradients,
    _neighbour,
    _centroid,
    _mahalanobis_plus_plus,
    _feature_mean,
    _vim,
    _react,
    _shaped,
    _nnguide,
    _perturbation,
    _ensemble,
    _oracle,
    _detector,
)
_REGISTRY = {score.name: score for family in _FAMILIES for score in family.SCORES}


def register(score: Score) -> Score:
    """Adds a score to the table, so that it can be asked for by its name.

    Args:
      score: the row to add; `score.fn` gets the ingredients of `score.needs`.

    Returns:
      The same score.

    Raises:
      ValueError: if another score has that name.

    >>> import jax.numpy as jnp
    >>> from trustjax import ingredients
    >>> def lowest_logit_of_doctest(logits):
    ...     "The smallest logit."
    ...     return jnp.min(logits, axis=-1)
    >>> row = register(Score(lowest_logit_of_doctest, title="Lowest logit",
    ...     needs=(ingredients.LOGITS,), paper="none", equation="min_k z_k"))
    >>> lookup("lowest_logit_of_doctest").summary
    'The smallest logit.'
    >>> unregister("lowest_logit_of_doctest")
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

    >>> [need.name for need in lookup("margin").needs]
    ['logits']
    """
    _validate.choice("score", name, names())
    return _REGISTRY[name]


def names(computable_from: Iterable[str] | None = None) -> tuple[str, ...]:
    """Names of the registered scores, in the order of the table.

    Args:
      computable_from: keep only the scores that can be made from these: names of
        ingredients that are there, and `"network"`, `"stochastic network"`,
        `"training set"` for what is asked of one or fitted.

    Returns:
      The names.

    >>> "grad_trust" in names({"logits"}), "odin" in names({"logits"})
    (True, False)
    >>> "odin" in names({"network"}), "mc_dropout" in names({"network", "key"})
    (True, False)
    """
    if computable_from is None:
        return tuple(_REGISTRY)
    available = frozenset(computable_from)
    return tuple(n for n, score in _REGISTRY.items() if not score.missing(available))


def baseline() -> Score:
    """The score that the others are compared with: how sure the network itself is.

    >>> baseline().title
    'Max softmax'
    """
    (row,) = (score for score in _REGISTRY.values() if score.baseline)
    return row


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
                ", ".join(need.name for need in score.needs).replace("_", " "),
                score.cost,
                f"{score.paper}. {score.provenance}".rstrip(". ") + ".",
            )
            for score in _REGISTRY.values()
        ),
    ]
    cells = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells) + "\n"
