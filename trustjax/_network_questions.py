"""What is asked of a network from elsewhere, each question in one place.

As in `_questions`: what is not taken is refused with what to do about it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import _questions

# Neighbours may change how the answer to an example is rounded, and nothing else.
_RELATIVE_TOLERANCE = 1e-3


def one_array(output: Any) -> Any:
    """The output of a network, if it is an array and nothing around one.

    Raises:
      TypeError: naming what it is, the arrays in it, and how to get at its logits.

    >>> one_array({"logits": np.zeros((2, 3)), "hidden": np.zeros((2, 8))})
    Traceback (most recent call last):
    TypeError: a network must return an array [batch, classes], got dict of logits \
(2, 3), hidden (2, 8): give bridge.head(apply_fn, 'logits')
    """
    if _is_array(output):
        return output
    found = heads(output)
    kind = type(output).__name__
    if not found:
        raise TypeError(
            f"a network must return an array [batch, classes], got {kind} without an "
            "array in it"
        )
    listed = ", ".join(f"{name} {array.shape}" for name, array in found.items())
    likely = [name for name, array in found.items() if array.ndim == 2]
    meant = next(
        (name for name in found if name.rpartition("/")[2] == "logits"),
        (likely or list(found))[0],
    )
    raise TypeError(
        f"a network must return an array [batch, classes], got {kind} of {listed}: "
        f"give bridge.head(apply_fn, {meant!r})"
    )


def heads(output: Any) -> dict[str, Any]:
    """Every array that a network returns, by its name: keys, fields and numbers.

    >>> list(heads({"a": np.ones(2), "b": (np.ones(2), None, {"c": np.ones(2)})}))
    ['a', 'b/0', 'b/2/c']
    """
    if _is_array(output):
        return {"": output}
    return {
        f"{name}/{inner}" if inner else name: array
        for name, part in _parts(output).items()
        for inner, array in heads(part).items()
    }


def _is_array(output: Any) -> bool:
    return hasattr(output, "ndim") and hasattr(output, "dtype")


def _parts(output: Any) -> dict[str, Any]:
    """What an output is made of, where its kind is known."""
    if isinstance(output, Mapping):
        return {str(name): part for name, part in output.items()}
    if dataclasses.is_dataclass(output):
        return {f.name: getattr(output, f.name) for f in dataclasses.fields(output)}
    if isinstance(output, tuple | list):
        names = getattr(output, "_fields", map(str, range(len(output))))
        return dict(zip(names, output, strict=True))
    logits = getattr(output, "logits", None)
    return {} if logits is None else {"logits": logits}


def logits(output: Any) -> Any:
    """The output of a network, if it has the shape of logits.

    Raises:
      TypeError: if it is no array.
      ValueError: if it is not `[batch, classes]` with two classes or more.
    """
    array = one_array(output)
    if _questions.one_for_each(array.shape):
        raise ValueError(
            "a network must return logits [batch, classes] with two classes or more, "
            f"got {array.shape}: one output z stands for two classes, give [0, z], as "
            "by bridge.binary(apply_fn)"
        )
    if array.ndim != 2:
        raise ValueError(
            f"a network must return logits [batch, classes], got {array.shape}"
        )
    return array


def not_probabilities(answers: np.ndarray) -> None:
    """Refuses answers that are a softmax: every score would take it twice.

    >>> not_probabilities(np.array([[0.5, 0.5]]))
    Traceback (most recent call last):
    ValueError: the network returns probabilities (each row is in [0, 1] and sums ...
    """
    if _questions.are_probabilities(answers):
        raise ValueError(
            "the network returns probabilities (each row is in [0, 1] and sums to 1): "
            "give what it has before the softmax, or their logarithms, "
            "bridge.log_probabilities(apply_fn)"
        )


def independent_rows(answer: Callable[[Any], np.ndarray], x: Any) -> np.ndarray:
    """Requires that the answer to an example does not depend on its neighbours.

    The first example is asked about in its batch, and among copies of itself: that
    takes two batches of one program. BatchNorm by the statistics of the batch differs
    between the two, dropout by one key between the copies.

    Args:
      answer: `x -> logits`, on the host.
      x: a batch, an array or a tree of arrays of NumPy.

    Returns:
      The answers to `x`.

    Raises:
      ValueError: if it does.

    >>> x = np.array([[1.0, 0.0], [3.0, 4.0]])
    >>> independent_rows(lambda x: x - x.mean(0), x)
    Traceback (most recent call last):
    ValueError: the answer to an example depends on ... training mode ...
    """
    leaves = jax.tree.leaves(x)
    answers = answer(x)
    if len(leaves[0]) == 1:
        # Alone in its batch: a neighbour of zeros is as good as any.
        others = jax.tree.map(lambda a: np.concatenate([a, np.zeros_like(a)]), x)
    elif all((leaf == leaf[:1]).all() for leaf in leaves):
        others = jax.tree.map(_among_zeros, x)
    else:
        others = jax.tree.map(lambda a: np.repeat(a[:1], len(a), axis=0), x)
        copies = answer(others)
        _same(copies[0], copies[-1], "at the end of a batch of copies of itself")
        _same(answers[0], copies[0], "among copies of itself")
        return answers
    _same(answers[0], answer(others)[0], "beside an example of zeros")
    return answers


def _among_zeros(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array[:1], np.zeros_like(array[1:])])


def _same(here: np.ndarray, there: np.ndarray, where: str) -> None:
    tolerance = max(_RELATIVE_TOLERANCE, 4 * float(jnp.finfo(here.dtype).eps))
    here, there = (np.asarray(row, np.float64) for row in (here, there))
    known = np.isfinite(here) & np.isfinite(there)
    scale = np.max(np.abs([here[known], there[known]]), initial=0.0)
    apart = np.zeros_like(here)
    apart[known] = np.abs(here[known] - there[known])
    differs = np.where(
        known,
        apart > tolerance * scale,
        ~((here == there) | (np.isnan(here) & np.isnan(there))),
    )
    if differs.any():
        k = int(np.argmax(differs))
        raise ValueError(
            f"the answer to an example depends on its neighbours: its logit {k} is "
            f"{here[k]:.4g}, and {there[k]:.4g} {where}. The network seems to be in "
            "training mode (statistics of the batch, or dropout): give it in "
            "evaluation mode, as by bridge.from_nnx(model, train=False) or "
            "module.apply(variables, x, train=False)"
        )


def trainable_alone(params: Any) -> None:
    """Refuses all variables of a Linen network where its parameters are asked for.

    >>> trainable_alone({"params": {}, "batch_stats": {}})
    Traceback (most recent call last):
    ValueError: params holds the collections params, batch_stats: ...
    """
    if isinstance(params, Mapping) and "params" in params and len(params) > 1:
        raise ValueError(
            f"params holds the collections {', '.join(map(str, params))}: gradients "
            "are of params alone. Give what bridge.from_linen(module, variables, ...) "
            "returns, or wrt=lambda path: path.startswith('params/')"
        )


def not_floating(params: Any) -> frozenset[str]:
    """The paths of leaves that have no gradient: counts, keys, quantised kernels.

    >>> sorted(not_floating({"w": np.ones(2), "steps": np.int32(3)}))
    ['steps']
    """
    return frozenset(
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
    )
