"""The one loop: batches -> scores -> results, sharded and resumable."""

import os
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from trustjax import _network_questions
from trustjax._fingerprint import fingerprint
from trustjax.scoring._ingredients import INGREDIENTS, Ingredient, plan, score_batch
from trustjax.scoring._parts import Parts
from trustjax.typing import ApplyFn, Params, SplitModel


class Results(NamedTuple):
    """What was asked of a data set, on the host, in the order of its records.

    Attributes:
      values: name -> array or tree of `[records, ...]`: the scores and ingredients.
      labels: true classes, `[records]`; no score has seen them.
      index: record numbers, `[records]`, ascending.
    """

    values: dict[str, Any]
    labels: np.ndarray
    index: np.ndarray


def run(
    names: Iterable[str],
    model: ApplyFn | SplitModel,
    params: Params,
    batches: Iterable[Mapping[str, np.ndarray]],
    *,
    ingredients: Mapping[str, Ingredient] = INGREDIENTS,
    given: Mapping[str, Any] = types.MappingProxyType({}),
    sharding: jax.sharding.NamedSharding | None = None,
    workdir: str | os.PathLike[str] | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> Results:
    """Scores a data set in one jitted pass per batch.

    With several processes, each gives the batches that it read (`data.batches` deals
    them out evenly), and all of them return the results of the whole data set. A batch
    that they share counts as finished where every one of them has finished it.

    Args:
      names: registered scores and ingredients, as `score_batch` takes them.
      model: `apply_fn(params, x) -> logits`, or a `SplitModel`.
      params: what the model takes first.
      batches: dicts of `image`, `label`, `index` and `mask`, all of one size; rows
        whose mask is False are padding and reach no result.
      ingredients: what scores may be computed from.
      given: what they need that is not computed from a batch, as in `score_batch`.
      sharding: of the batch axis over devices; None computes on the default device.
      workdir: a folder for finished batches, so that a killed run goes on where it
        stopped; it is emptied at the end. None keeps nothing.
      on_batch: called after each batch with the number of its records.

    Returns:
      The results, without padding, in the order of the records.

    Of the first batch the network's answers are looked at: those of a network in
    training mode, or after a softmax, would make every score wrong without a word.

    Raises:
      ValueError: as `score_batch`, or if there are no batches; if the answer to an
        example depends on its neighbours, as in training mode; if the answers are
        probabilities.
      TypeError: as `score_batch`.

    >>> batch = dict(image=np.eye(2, dtype=np.float32), label=np.array([0, 0]),
    ...              index=np.array([0, 1]), mask=np.array([True, False]))
    >>> linear = lambda params, x: x @ params
    >>> run(["max_logit"], linear, np.eye(2, dtype=np.float32), [batch]).values
    {'max_logit': array([1.], dtype=float32)}
    """
    names = tuple(names)
    # An unknown name fails before any work.
    planned = plan(names, ingredients=ingredients, given=given)
    asks_network = any(ingredients[n] is INGREDIENTS.get(n) for n in planned)
    fixed = (params, dict(given))
    parts = None if workdir is None else Parts(_process_folder(workdir))
    origin = fingerprint(fixed) if parts else ""
    fixed = _replicated(fixed, sharding)

    @jax.jit
    def step(
        fixed: tuple[Params, dict[str, Any]], x: jax.Array, index: jax.Array
    ) -> dict[str, Any]:
        params, given = fixed
        return score_batch(
            names, model, params, x, index=index, ingredients=ingredients, given=given
        )

    rows: list[Any] = []
    structure = program = None
    for number, batch in enumerate(batches):
        x, index = (_placed(batch[name], sharding) for name in ("image", "index"))
        leaves, computed_from = None, ""
        if parts:
            # The program holds what the arguments do not: the model, the options and
            # constants of the ingredients.
            program = program or step.lower(fixed, x, index).as_text()
            computed_from = fingerprint((program, origin, batch))
            leaves = parts.read(number, computed_from)
            if sharding is not None and not _all_have(leaves):
                leaves = None
        if leaves is None:
            if asks_network and number == 0:
                _look_at_answers(model, fixed[0], batch, sharding)
            values = step(fixed, x, index)
            leaves = [_local_rows(leaf) for leaf in jax.tree.leaves(values)]
            if parts:
                parts.write(number, computed_from, leaves)
        if structure is None:
            structure = jax.tree.structure(jax.eval_shape(step, fixed, x, index))
        values = jax.tree.unflatten(structure, leaves)
        rows.append((values, batch["label"], batch["index"], batch["mask"]))
        if on_batch:
            on_batch(int(batch["mask"].sum()))
    if not rows:
        raise ValueError("there are no batches to score")

    gathered = jax.tree.map(lambda *leaves: np.concatenate(leaves), *rows)
    if jax.process_count() > 1:
        gathered = multihost_utils.process_allgather(gathered, tiled=True)
    *_, index, mask = gathered
    kept = np.flatnonzero(mask)[np.argsort(index[mask])]
    values, labels, index, _ = jax.tree.map(lambda leaf: leaf[kept], gathered)
    if parts:
        parts.remove()
    return Results(values, labels, index)


def _look_at_answers(
    model: ApplyFn | SplitModel,
    params: Params,
    batch: Mapping[str, np.ndarray],
    sharding: jax.sharding.NamedSharding | None,
) -> None:
    """Requires logits of a network in evaluation mode."""
    apply_fn = model.apply_fn if isinstance(model, SplitModel) else model
    compiled = jax.jit(lambda params, x: _network_questions.logits(apply_fn(params, x)))

    def answer(x: np.ndarray) -> np.ndarray:
        return _local_rows(compiled(params, _placed(x, sharding)))

    answers = _network_questions.independent_rows(answer, batch["image"])
    if batch["mask"].any():
        _network_questions.not_probabilities(answers[batch["mask"]])


def _all_have(leaves: list[np.ndarray] | None) -> bool:
    """Whether every process has its part of a batch: what they share, all compute.

    One that took up its part alone would meet the others in the collectives of two
    different batches.
    """
    if jax.process_count() == 1:
        return leaves is not None
    return bool(multihost_utils.process_allgather(np.array(leaves is not None)).all())


def _process_folder(workdir: str | os.PathLike[str]) -> str:
    return os.path.join(workdir, f"scoring-{jax.process_index()}")


def _replicated(tree: Any, sharding: jax.sharding.NamedSharding | None) -> Any:
    if sharding is None:
        return tree
    everywhere = jax.sharding.PartitionSpec()
    return jax.device_put(tree, jax.sharding.NamedSharding(sharding.mesh, everywhere))


def _placed(x: np.ndarray, sharding: jax.sharding.NamedSharding | None) -> jax.Array:
    if sharding is None:
        return jax.device_put(x)
    return jax.make_array_from_process_local_data(sharding, x)


def _local_rows(leaf: jax.Array) -> np.ndarray:
    """The rows that this process holds, in order."""
    if leaf.is_fully_addressable:
        return np.asarray(leaf)
    shards = sorted(leaf.addressable_shards, key=lambda shard: shard.index[0].start)
    return np.concatenate([np.asarray(shard.data) for shard in shards])
