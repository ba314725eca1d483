"""What a frozen classifier made of a dataset: computed once, and kept."""

import os
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import _files, _validate, data, scoring
from trustjax.typing import ApplyFn, Params

_PROBED = 16


class Outcomes(NamedTuple):
    """What an oracle learns to predict of each record, in the order of the records.

    Attributes:
      correct: whether the classifier was right, `[records]`.
      probability: what it gave the true class, `[records]`, in [0, 1].
    """

    correct: np.ndarray
    probability: np.ndarray


def outcomes(
    apply_fn: ApplyFn,
    params: Params,
    dataset: data.Dataset,
    *,
    batch_size: int = 256,
    cache: str | os.PathLike[str] | None = None,
) -> Outcomes:
    """Runs a classifier over a dataset and compares with the true classes.

    Args:
      apply_fn: the classifier, in evaluation mode, which nothing here changes.
      params: what it takes first.
      dataset: labelled images.
      batch_size: images at a time.
      cache: a folder to keep the outcomes in; the same classifier and dataset are
        then not computed again. Of the classifier the cache knows the parameters and
        the logits of the first images.

    Returns:
      The outcome of every record.

    Raises:
      ValueError: if the dataset has no records, or a record has no class, or one that
        the classifier has no output for.
    """
    if len(dataset) == 0:
        raise ValueError(f"{dataset.name} has no records")
    path = None
    if cache is not None:
        first = next(iter(data.batches(dataset, min(_PROBED, len(dataset)))))
        logits = jax.jit(apply_fn)(params, first["image"])
        known = scoring.fingerprint((params, np.asarray(logits)))
        path = pathlib.Path(cache, f"{dataset.fingerprint[:16]}-{known[:16]}.npz")
        kept = _files.kept_arrays(path)
        if kept is not None:
            return Outcomes(kept["correct"], kept["probability"])
    computed = _computed(apply_fn, params, dataset, batch_size)
    if path is not None:
        with _files.written_whole(path) as temporary:
            np.savez(temporary, allow_pickle=False, **computed._asdict())
    return computed


def _computed(
    apply_fn: ApplyFn, params: Params, dataset: data.Dataset, batch_size: int
) -> Outcomes:
    results = scoring.run(
        ["logits"], apply_fn, params, data.batches(dataset, batch_size)
    )
    logits, labels = results.values["logits"], results.labels
    if (labels == data.NO_CLASS).any():
        raise ValueError(f"records of {dataset.name} have no class to be right about")
    name = f"labels of {dataset.name}"
    _validate.classes(name, jnp.asarray(labels), logits.shape[-1])
    probabilities = np.asarray(jax.nn.softmax(logits))
    return Outcomes(
        correct=logits.argmax(axis=-1) == labels,
        probability=probabilities[np.arange(len(labels)), labels],
    )
