"""What a frozen classifier made of a dataset: computed once, and kept."""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import _files, _processes, _validate, data, scoring
from trustjax.ingredients import FEATURES, LOGITS
from trustjax.typing import ApplyFn, Params, ProgressFn

_PROBED = 16


class Outcomes(NamedTuple):
    """What an oracle learns to predict of each record, in the order of the records.

    Attributes:
      correct: whether the classifier was right, `[records]`.
      probability: what it gave the true class, `[records]`, in [0, 1].
      embedding: what its last dense layer took, `[records, width]`; None if it was not
        asked for.
    """

    correct: np.ndarray
    probability: np.ndarray
    embedding: np.ndarray | None = None


def outcomes(
    apply_fn: ApplyFn,
    params: Params,
    dataset: data.Dataset,
    *,
    batch_size: int = 256,
    embedding: bool = False,
    cache: str | os.PathLike[str] | None = None,
    sharding: jax.sharding.NamedSharding | None = None,
    progress: ProgressFn | None = None,
) -> Outcomes:
    """Runs a classifier over a dataset and compares with the true classes.

    Args:
      apply_fn: the classifier, in evaluation mode, which nothing here changes.
      params: what it takes first.
      dataset: labelled images.
      batch_size: images at a time, of all processes together.
      embedding: whether the embeddings are kept, for oracles that stand on them as
        they are. They are of the same forward pass.
      cache: a folder to keep the outcomes in; the same classifier and dataset are
        then not computed again, and a run that was killed goes on where it stopped. Of
        the classifier the cache knows the parameters and the logits of the first
        images.
      sharding: of a batch over devices, as `scoring.run` takes it.
      progress: hears how many records are done.

    Returns:
      The outcome of every record.

    Raises:
      ValueError: if the dataset has no records, or a record has no class, or one that
        the classifier has no output for; if an embedding is asked for and there is
        none (`transforms.split`).
    """
    if len(dataset) == 0:
        raise ValueError(f"{dataset.name} has no records")
    path = None
    if cache is not None:
        first = next(iter(data.batches(dataset, min(_PROBED, len(dataset)))))
        logits = jax.jit(apply_fn)(params, first["image"])
        known = scoring.fingerprint((params, np.asarray(logits)))
        name = f"{dataset.fingerprint[:16]}-{known[:16]}"
        path = pathlib.Path(cache, f"{name}{'-embedded' if embedding else ''}.npz")
        kept = _files.kept_arrays(path)
        if _processes.all_have(kept is not None) and kept is not None:
            return Outcomes(**kept)
    results = scoring.run(
        [LOGITS, FEATURES] if embedding else [LOGITS],
        apply_fn,
        params,
        data.batches(dataset, batch_size, of_all=True),
        sharding=sharding,
        workdir=None if path is None else path.with_suffix(""),
        progress=progress,
        task=f"asking about {dataset.name} {dataset.split}",
        total=len(dataset),
    )
    found = _outcomes(results, dataset)
    if path is not None and _processes.is_first():
        there = {name: a for name, a in found._asdict().items() if a is not None}
        with _files.written_whole(path) as temporary:
            np.savez(temporary, allow_pickle=False, **there)
        shutil.rmtree(path.with_suffix(""), ignore_errors=True)  # empty by now
    _processes.wait_for_all("the outcomes are kept")
    return found


def _outcomes(results: scoring.Results, dataset: data.Dataset) -> Outcomes:
    logits, labels = results.values[LOGITS.name], results.labels
    if (labels == data.NO_CLASS).any():
        raise ValueError(f"records of {dataset.name} have no class to be right about")
    name = f"labels of {dataset.name}"
    _validate.classes(name, jnp.asarray(labels), logits.shape[-1])
    probabilities = np.asarray(jax.nn.softmax(logits))
    features = results.values.get(FEATURES.name)
    return Outcomes(
        correct=logits.argmax(axis=-1) == labels,
        probability=probabilities[np.arange(len(labels)), labels],
        embedding=None if features is None else features.reshape(len(labels), -1),
    )


@dataclasses.dataclass(frozen=True)
class _Embeddings:
    """Records whose image is an embedding; their labels are not asked for."""

    images: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self.images[index], "label": data.NO_CLASS}

    def take(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The embeddings of these records."""
        return self.images[numbers], np.full(len(numbers), data.NO_CLASS, np.int32)


def embedded(dataset: data.Dataset, outcomes: Outcomes) -> data.Dataset:
    """The dataset with the embedding of each record in the place of its image."""
    embedding = outcomes.embedding
    if embedding is None or len(embedding) != len(dataset):
        got = "none" if embedding is None else f"{len(embedding)}"
        raise ValueError(
            f"a frozen embedding needs that of each of the {len(dataset)} records of "
            f"{dataset.name}, got {got}: oracles.outcomes(..., embedding=True)"
        )
    images = np.asarray(embedding, np.float32)[:, None, None, :]
    return dataclasses.replace(
        dataset,
        source=_Embeddings(images),
        image_shape=images.shape[1:],
    )
