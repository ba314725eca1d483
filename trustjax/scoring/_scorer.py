"""The one loop: batches -> scores -> results, sharded and resumable."""

import copy
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from trustjax import _network_questions, _processes
from trustjax._fingerprint import fingerprint
from trustjax.ingredients import Ingredient
from trustjax.scoring import _devices
from trustjax.scoring._parts import Parts
from trustjax.scoring._plan import NOTHING, Asked, make_plan
from trustjax.typing import (
    ApplyFn,
    Params,
    ProgressFn,
    SplitModel,
    StochasticApplyFn,
)


class Results(NamedTuple):
    """What was asked of a data set, on the host, in the order of its records.

    Attributes:
      values: name -> array or tree of `[records, ...]`: the scores and ingredients.
        Those of the network itself, such as `last_layer`, are there as they are, and
        what is added up over the examples as one sum.
      labels: true classes, `[records]`; no score has seen them.
      index: record numbers, `[records]`, ascending.
    """

    values: dict[str, Any]
    labels: np.ndarray
    index: np.ndarray


class Scorer:
    """Scores of a network: compiled once, for as many data sets as there are.

    Args:
      asked: scores, or ingredients for their own values; or the names of either.
      model: `apply_fn(params, x) -> logits`, or a `SplitModel`.
      params: what the model takes first.
      stochastic_apply_fn: `(params, x, key) -> logits`, the network with dropout on,
        for scores that ask one.
      ingredients: taken in the place of those of the same name.
      given: what is not computed from a batch, as in `score_batch`.
      sharding: of the batch axis over devices; None computes on the default device.

    Raises:
      ValueError: as `plan`, except for what `fit` can fit; if the processes of a run
        differ in versions, parameters or what is given, saying who in what.

    >>> batch = dict(image=np.eye(2, dtype=np.float32), label=np.array([0, 1]),
    ...              index=np.array([0, 1]), mask=np.array([True, True]))
    >>> split = SplitModel(lambda params, x: x @ params, lambda params, h: h)
    >>> scorer = Scorer(["centroid_kernel"], split, np.eye(2, dtype=np.float32))
    >>> [ingredient.name for ingredient in scorer.to_fit]
    ['centroid_state']
    >>> scorer.fit([batch]).run([batch]).values["centroid_kernel"]
    array([1., 1.], dtype=float32)
    """

    def __init__(
        self,
        asked: Iterable[Asked],
        model: ApplyFn | SplitModel,
        params: Params,
        *,
        stochastic_apply_fn: StochasticApplyFn | None = None,
        ingredients: Iterable[Ingredient] = (),
        given: Mapping[str, Any] = NOTHING,
        sharding: jax.sharding.NamedSharding | None = None,
    ):
        _devices.require_same("the parameters", params)
        self._network = _Network(model, params, stochastic_apply_fn, sharding)
        self._ingredients = tuple(ingredients)
        self._prepare(asked, given)

    def _prepare(self, asked: Iterable[Asked], given: Mapping[str, Any]) -> None:
        network, self._asked, self._given = self._network, tuple(asked), dict(given)
        self._plan = plan = make_plan(self._asked, self._ingredients, self._given)
        plan.require_network(network.stochastic_apply_fn)
        _devices.require_same("what is given", self._given)
        self._placed_given = _devices.replicated(self._given, network.sharding)
        self._programs: dict[Any, _Program] = {}
        self._texts: dict[int, str] = {}

        def computed(
            params: Params,
            given: dict[str, Any],
            x: Any,
            index: jax.Array,
            mask: jax.Array,
        ) -> dict[str, Any]:
            batch = plan.batch(
                network.model, params, x, index, network.stochastic_apply_fn, mask
            )
            return plan.values(batch, given)

        @jax.jit
        def step(*arguments: Any):
            values = computed(*arguments)
            for name in (*plan.of_network, *plan.added_up):
                values[name] = _devices.everywhere(values[name], network.sharding)
            return values

        self._computed, self._step = computed, step

    def _with(self, asked: Iterable[Asked], given: Mapping[str, Any]) -> "Scorer":
        """Another scorer of the same network."""
        other = copy.copy(self)
        other._prepare(asked, given)
        return other

    @property
    def to_fit(self) -> tuple[Ingredient, ...]:
        """The ingredients that are fitted on a training set, and not given yet."""
        return self._plan.to_fit

    @property
    def given(self) -> Mapping[str, Any]:
        """What is given, with the states that `fit` has fitted."""
        return dict(self._given)

    def fit(
        self,
        batches: Iterable[Mapping[str, Any]],
        *,
        workdir: str | os.PathLike[str] | None = None,
        progress: ProgressFn | None = None,
        task: str = "fitting",
        total: int | None = None,
    ) -> "Scorer":
        """Fits what has to be fitted, on the features of a training set.

        The one place where a score learns from labels: those of the training set.

        Args:
          batches: the training set, as `run` takes it; gone through once, and again
            for each state that is fitted on others.
          workdir: as in `run`.
          progress: as in `run`.
          task: as in `run`.
          total: as in `run`.

        Returns:
          A scorer to which the states are given; the same one if there are none.

        Raises:
          ValueError: as `run`, or if a fit refuses what it is given.
        """
        given = dict(self._given)
        while to_fit := make_plan(self._asked, self._ingredients, given).to_fit:
            # What is fitted on other states waits until those are there.
            ready = [
                state
                for state in to_fit
                if not make_plan(state.needs, self._ingredients, given).to_fit
            ]
            # A pass that adds up cannot go on where it stopped: it is one of its own.
            of_rows = [s for s in ready if not any(need.added_up for need in s.needs)]
            ready = of_rows or ready
            needs = dict.fromkeys(need for state in ready for need in state.needs)
            results = self._with(needs, given).run(
                batches, workdir=workdir, progress=progress, task=task, total=total
            )
            for state in ready:
                needed = (results.values[need.name] for need in state.needs)
                assert state.fit, "plan says so"
                given[state.name] = state.fit(*needed, results.labels)
        return self._with(self._asked, given) if self.to_fit else self

    def run(
        self,
        batches: Iterable[Mapping[str, Any]],
        *,
        workdir: str | os.PathLike[str] | None = None,
        progress: ProgressFn | None = None,
        task: str = "scoring",
        total: int | None = None,
    ) -> Results:
        """Scores a data set in one jitted pass per batch.

        With several processes, each gives the batches that it read (`data.batches`
        deals them out evenly), and all of them return the results of the whole data
        set. Before each batch they tell each other what they have, and all of them
        compute it or none: what is on the disk is no common ground, for each process
        may have a disk of its own, and a file that one of them finds damaged is whole
        for the others.

        What is finished is kept by record: a run is taken up by any number of
        processes, and where the program is the same its results are bit for bit those
        of a run that nobody stopped. It is the same where as many devices share a batch
        as before. Several devices take up what any other several have finished, whose
        last digits may differ; a single one computes by another program (`gradients`),
        and several do not take up what that has finished, nor it theirs.

        Of the first batch the network's answers are looked at, once for all data sets:
        those of a network in training mode, or after a softmax, would make every score
        wrong without a word.

        Args:
          batches: dicts of `image`, `label`, `index` and `mask`, all of one size; rows
            whose mask is False are padding and reach no result. Where devices share a
            batch that they cannot divide, more padding is put behind it.
          workdir: a folder for finished batches, so that a killed run goes on where it
            stopped; it is emptied at the end. None keeps nothing. Nor is anything kept
            of a run that adds up (`Ingredient.added_up`): its sums may be as large as
            the network for every batch.
          progress: hears how many records are done, after each batch.
          task: what the records are done for, in the words of `progress`.
          total: how many records there are, if that is known.

        Returns:
          The results, without padding, in the order of the records.

        Raises:
          ValueError: as `score_batch`, or if there are no batches, or processes give
            different numbers of them, or are not asked the same, saying who differs in
            what; if the answer to an example depends on its neighbours, as in training
            mode; if the answers are probabilities.
          TypeError: as `score_batch`.
        """
        self._plan.require_fitted()
        network, parts, meaning = self._network, None, ""
        if workdir is not None and not self._plan.added_up:
            parts = Parts(os.path.join(workdir, "parts"))
        rows: list[Any] = []
        of_network: dict[str, Any] = {}
        sums: dict[str, Any] = {}
        done = 0
        for batch, count in _devices.together(batches):
            batch = _devices.padded(batch, network.sharding)
            x, index, mask = (
                _devices.placed(batch[name], network.sharding)
                for name in ("image", "index", "mask")
            )
            program = self._program(x, index, mask)
            if not rows:
                self._require_same(program)
            leaves, origin, finished = None, "", False
            real = np.flatnonzero(batch["mask"])
            if parts:
                meaning = meaning or self._meaning(program, batch, count)
                origin = fingerprint((meaning, _devices.records(batch)))
                leaves = parts.read(batch["index"][real], origin, program.of_rows)
                # Who has padding alone misses nothing, unless it is of the network.
                there = leaves is not None or not (real.size or self._plan.of_network)
                finished = _processes.all_have(there)
            if finished:
                network.looked = True  # before this part was written
                leaves = program.among_padding(leaves, real, len(batch["mask"]))
            else:
                if any(step.ask for step in self._plan.steps):
                    network.look_at_answers(batch)
                values = program(
                    network.placed_params, self._placed_given, x, index, mask
                )
                leaves = [_devices.local_rows(leaf) for leaf in jax.tree.leaves(values)]
                if parts:
                    parts.write(batch["index"][real], origin, program.of(leaves, real))
            values = jax.tree.unflatten(program.structure, leaves)
            of_network = {name: values.pop(name) for name in self._plan.of_network}
            of_batch = {name: values.pop(name) for name in self._plan.added_up}
            of_batch = jax.tree.map(lambda leaf: leaf.astype(np.float64), of_batch)
            sums = jax.tree.map(np.add, sums, of_batch) if sums else of_batch
            rows.append((values, batch["label"], batch["index"], batch["mask"]))
            done += count
            if progress:
                progress(task, done, total, {})
        if not rows:
            raise ValueError("there are no batches to score")
        if progress and total != done:
            progress(task, done, done, {})

        everything = jax.tree.map(lambda *leaves: np.concatenate(leaves), *rows)
        everything = _processes.gathered(everything)
        *_, index, mask = everything
        kept = np.flatnonzero(mask)[np.argsort(index[mask])]
        values, labels, index, _ = jax.tree.map(lambda leaf: leaf[kept], everything)
        if parts:
            parts.remove()
        return Results(values | of_network | sums, labels, index)

    def _program(self, x: Any, index: jax.Array, mask: jax.Array) -> "_Program":
        """The compiled step for batches of one shape."""
        shape = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves((x, index)))
        if shape not in self._programs:
            network, given = self._network, self._placed_given
            arguments = (network.placed_params, given, x, index, mask)
            lowered = self._step.lower(*arguments)
            self._programs[shape] = _Program(lowered, self._plan.of_network)
        return self._programs[shape]

    def _meaning(
        self, program: "_Program", batch: Mapping[str, Any], count: int
    ) -> str:
        """A digest of what is computed, however many devices divide it.

        Args:
          program: as these devices compute it.
          batch: the first one.
          count: of its records, in all processes.
        """
        text = program.text
        if jax.device_count() > 1:
            # Without a word about devices, nor about the padding that they need.
            x, index, mask = (
                jax.tree.map(
                    lambda leaf: jax.ShapeDtypeStruct(
                        (count, *np.shape(leaf)[1:]),
                        jax.dtypes.canonicalize_dtype(np.asarray(leaf).dtype),
                    ),
                    batch[name],
                )
                for name in ("image", "index", "mask")
            )
            params, given = self._network.params, self._given
            text = self._texts.get(count)
            if text is None:
                lowered = jax.jit(self._computed).lower(params, given, x, index, mask)
                text = self._texts[count] = fingerprint(lowered.as_text())
        return fingerprint((text, self._network.params, self._given))

    def _require_same(self, program: "_Program") -> None:
        """Requires that all processes compute the same."""
        if jax.process_count() > 1:
            asked = ", ".join(node.name for node in self._plan.asked)
            _processes.require_same(
                {
                    "what is asked": asked,
                    "the fingerprint of the program": program.text[:12],
                }
            )


class _Network:
    """What is asked, on its devices, its answers looked at once."""

    def __init__(
        self,
        model: ApplyFn | SplitModel,
        params: Params,
        stochastic_apply_fn: StochasticApplyFn | None,
        sharding: jax.sharding.NamedSharding | None,
    ):
        self.params = params
        self.placed_params = _devices.resident(params, sharding)
        self.model = _devices.gathering(model, self.placed_params, sharding)
        self.stochastic_apply_fn = stochastic_apply_fn
        self.sharding = sharding
        self.looked = False

    def look_at_answers(self, batch: Mapping[str, Any]) -> None:
        """Requires logits of a network in evaluation mode."""
        if self.looked:
            return
        model = self.model
        apply_fn = model.apply_fn if isinstance(model, SplitModel) else model
        compiled = jax.jit(lambda p, x: _network_questions.logits(apply_fn(p, x)))

        def answer(x: Any) -> np.ndarray:
            rows = len(jax.tree.leaves(x)[0])
            whole = _devices.padded({"image": x, "mask": np.ones(rows)}, self.sharding)
            x = _devices.placed(whole["image"], self.sharding)
            return _devices.local_rows(compiled(self.placed_params, x))[:rows]

        answers = _network_questions.independent_rows(answer, batch["image"])
        if batch["mask"].any():
            _network_questions.not_probabilities(answers[batch["mask"]])
        self.looked = True


class _Program:
    """A step for batches of one shape, compiled when it first runs."""

    def __init__(self, lowered: jax.stages.Lowered, of_network: Collection[str]):
        self._lowered = lowered
        self._compiled: jax.stages.Compiled | None = None
        self._text = ""
        self.structure = jax.tree.structure(lowered.out_info)
        self.of_rows = [
            name not in of_network
            for name, values in sorted(lowered.out_info.items())
            for _ in jax.tree.leaves(values)
        ]
        self._kinds = jax.tree.leaves(lowered.out_info)

    def of(self, leaves: Sequence[np.ndarray], real: np.ndarray) -> list[np.ndarray]:
        """The arrays without padding.

        Args:
          leaves: of a batch, as this process holds it.
          real: which of its rows are of records.
        """
        pairs = zip(leaves, self.of_rows, strict=True)
        return [leaf[real] if rows else leaf for leaf, rows in pairs]

    def among_padding(
        self, leaves: Sequence[np.ndarray] | None, real: np.ndarray, length: int
    ) -> list[np.ndarray]:
        """The arrays of a batch, `length` rows: the other way round than `of`.

        Args:
          leaves: as `of` gives them; None for padding alone.
          real: which of the rows are of records.
          length: of the batch, as this process holds it.
        """
        if leaves is None:
            return [np.zeros((length, *k.shape[1:]), k.dtype) for k in self._kinds]

        def padded(leaf: np.ndarray, kind: Any, rows: bool) -> np.ndarray:
            # A file knows the types of NumPy alone, and bfloat16 as two bytes.
            leaf = leaf if leaf.dtype == kind.dtype else leaf.view(kind.dtype)
            if not rows:
                return leaf
            whole = np.zeros((length, *kind.shape[1:]), kind.dtype)
            whole[real] = leaf
            return whole

        return list(map(padded, leaves, self._kinds, self.of_rows))

    def __call__(self, *arguments: Any) -> Any:
        """Runs it."""
        if self._compiled is None:
            self._compiled = self._lowered.compile()
        return self._compiled(*arguments)

    @property
    def text(self) -> str:
        """What the arguments do not hold: model, options and constants, as a digest."""
        self._text = self._text or fingerprint(self._lowered.as_text())
        return self._text


def run(
    asked: Iterable[Asked],
    model: ApplyFn | SplitModel,
    params: Params,
    batches: Iterable[Mapping[str, Any]],
    *,
    stochastic_apply_fn: StochasticApplyFn | None = None,
    ingredients: Iterable[Ingredient] = (),
    given: Mapping[str, Any] = NOTHING,
    sharding: jax.sharding.NamedSharding | None = None,
    workdir: str | os.PathLike[str] | None = None,
    progress: ProgressFn | None = None,
    task: str = "scoring",
    total: int | None = None,
) -> Results:
    """Scores one data set: a `Scorer` that is run once.

    Args:
      asked: as in `Scorer`.
      model: as in `Scorer`.
      params: as in `Scorer`.
      batches: as in `Scorer.run`.
      stochastic_apply_fn: as in `Scorer`.
      ingredients: as in `Scorer`.
      given: as in `Scorer`.
      sharding: as in `Scorer`.
      workdir: as in `Scorer.run`.
      progress: as in `Scorer.run`.
      task: as in `Scorer.run`.
      total: as in `Scorer.run`.

    Returns:
      The results, without padding, in the order of the records.

    Raises:
      ValueError: as `Scorer` and `Scorer.run`.
      TypeError: as `Scorer.run`.

    >>> batch = dict(image=np.eye(2, dtype=np.float32), label=np.array([0, 0]),
    ...              index=np.array([0, 1]), mask=np.array([True, False]))
    >>> linear = lambda params, x: x @ params
    >>> run(["max_logit"], linear, np.eye(2, dtype=np.float32), [batch]).values
    {'max_logit': array([1.], dtype=float32)}
    """
    scorer = Scorer(
        asked,
        model,
        params,
        stochastic_apply_fn=stochastic_apply_fn,
        ingredients=ingredients,
        given=given,
        sharding=sharding,
    )
    return scorer.run(
        batches, workdir=workdir, progress=progress, task=task, total=total
    )
