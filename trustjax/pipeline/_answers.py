"""What a network from elsewhere returns, found on its first batch and taken as logits.

A network that was trained here returns logits of all classes. One from elsewhere may
return several outputs, one for two classes, or probabilities; each is taken for what it
is, and a sentence says so.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from trustjax import _questions, bridge
from trustjax.typing import ApplyFn, Params

_ONE_LOGIT = (
    "The network has one output z for each image, taken as the logits [0, z] of two "
    "classes: the second is answered where z > 0."
)
_ONE_CHANCE = (
    "The network has one output p for each image, in [0, 1] on the {count} looked at, "
    "taken as the probabilities [1 - p, p] of two classes: the second is "
    "answered where p > 1/2."
)
_PROBABILITIES = (
    "The network returns probabilities (on {count} images each row is in "
    "[0, 1] and sums to 1). They were taken as such: scores that depend on a constant "
    "added to the logits are left out."
)
_LOG_PROBABILITIES = (
    "The network returns logarithms of probabilities (on {count} images the "
    "exponentials of each row sum to 1): scores that depend on a constant added to the "
    "logits are left out."
)


_AT_A_TIME = 32


class Answers(NamedTuple):
    """How a network's outputs become logits.

    Attributes:
      logits: puts that behind a network: `apply_fn -> apply_fn`.
      num_classes: the columns of the logits.
      outputs: `"logits"`, or `"probabilities"` where their constant is lost.
      notes: what was taken for what, a sentence each.
    """

    logits: Callable[[ApplyFn], ApplyFn]
    num_classes: int
    outputs: str
    notes: tuple[str, ...]


def look(apply_fn: ApplyFn, params: Params, x: np.ndarray, head: str | None) -> Answers:
    """Looks at what a network says of a batch.

    Args:
      apply_fn: `(params, x) -> output`; it takes `x`.
      params: what it takes first.
      x: `[batch, ...]`, of the test set.
      head: which output is meant, where there are several.

    Raises:
      ValueError: if there are several and none is named, listing them with their
        shapes; if what is meant is no answer to each image.
    """
    heads = bridge.heads(apply_fn, params, x)
    if list(heads) == [""] and head is not None:
        raise ValueError(f"the network has one output, and no head {head!r}")
    of_head: Callable[[ApplyFn], ApplyFn] = lambda apply_fn: apply_fn
    if list(heads) != [""]:
        listed = ", ".join(f"{name} {shape}" for name, shape in heads.items())
        if head is None:
            raise ValueError(
                f"the network returns {listed or 'no array'}: say which holds the "
                "logits, as by --head "
                f"{next((n for n in heads if 'logits' in n), next(iter(heads), ''))}"
            )
        of_head = lambda apply_fn: bridge.head(apply_fn, head)
    answers = asked(jax.jit(of_head(apply_fn)), params, x)
    count = len(x)
    if answers.shape[:1] != (count,) or answers.ndim > 2 or answers.size == 0:
        raise ValueError(
            f"the network returns {answers.shape} for {count} images, and one row of "
            "logits for each is expected"
        )
    if not np.issubdtype(answers.dtype, np.floating) and answers.dtype != "bfloat16":
        raise ValueError(f"the network returns {answers.dtype}, not logits")
    if _questions.one_for_each(answers.shape):
        probable = _questions.two_classes(answers)[:, 0].any()
        output = "probability" if probable else "logit"
        return Answers(
            lambda apply_fn: bridge.binary(of_head(apply_fn), output=output),
            2,
            "probabilities" if probable else "logits",
            ((_ONE_CHANCE if probable else _ONE_LOGIT).format(count=count),),
        )
    num_classes = answers.shape[1]
    if _questions.are_probabilities(answers):
        return Answers(
            lambda apply_fn: bridge.log_probabilities(of_head(apply_fn)),
            num_classes,
            "probabilities",
            (_PROBABILITIES.format(count=count),),
        )
    if _questions.are_log_probabilities(answers):
        note = _LOG_PROBABILITIES.format(count=count)
        return Answers(of_head, num_classes, "probabilities", (note,))
    return Answers(of_head, num_classes, "logits", ())


def asked(
    compiled: Callable[[Params, Any], jax.Array], params: Params, x: np.ndarray
) -> np.ndarray:
    """What a compiled network returns, on the host, a few images at a time.

    A network of video takes gigabytes for a hundred.
    """
    # No second program for the rest: it is filled up with images from the front.
    rest = -len(x) % _AT_A_TIME if len(x) > _AT_A_TIME else 0
    filled = np.concatenate([x, x[:rest]])
    answers = [
        np.atleast_1d(np.asarray(compiled(params, filled[begin : begin + _AT_A_TIME])))
        for begin in range(0, len(filled), _AT_A_TIME)
    ]
    together = np.concatenate(answers)
    return together[: len(x)] if rest else together


def require_taken(
    apply_fn: Callable[[Params, Any], Any], params: Params, x: np.ndarray
) -> None:
    """Requires a network that can be asked about a batch at all.

    Raises:
      ValueError: saying what its own code says, and whether it takes the images with
        their channels first.
    """
    try:
        bridge.heads(apply_fn, params, x)
    except Exception as error:  # somebody's code may raise anything
        remedy = ""
        try:
            bridge.heads(apply_fn, params, np.moveaxis(x, -1, 1))
        except Exception:
            pass
        else:
            remedy = (
                ". It takes them channels first: give --preprocessing channels-first"
            )
        first = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"the network does not take images {list(x.shape[1:])}: "
            f"{type(error).__name__}: {first}{remedy}"
        ) from error
