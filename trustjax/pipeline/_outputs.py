"""What a network's outputs say of its answers, without the network."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import assess, scores, scoring
from trustjax.ingredients import (
    KEY,
    LOGITS,
    NETWORK,
    STOCHASTIC_NETWORK,
    TRAINING_SET,
)
from trustjax.pipeline import _provenance
from trustjax.pipeline._config import ALL, STANDARD, expanded


def with_scores(
    given: assess.Predictions, asked: Sequence[str] = (STANDARD,)
) -> assess.Predictions:
    """Predictions with the scores that are asked for, beside those that they have.

    Those of out-of-distribution rows come with them.

    Args:
      given: what a network said.
      asked: names of scores, and of sets of them: those that the outputs determine.

    Raises:
      ValueError: if a score depends on a constant of the logits, and the outputs are
        probabilities, which do not hold it; in a set, such scores are left out.
    """
    names = [name for name in _determined(given, asked) if name not in given.scores]

    def of_logits(logits: np.ndarray) -> dict[str, np.ndarray]:
        return scoring.from_arrays(names, {LOGITS.name: logits})

    together = {**of_logits(given.logits), **given.scores}
    others = {
        dataset: {**of_logits(logits), **given.out_of_distribution.get(dataset, {})}
        for dataset, logits in given.out_of_distribution_logits.items()
    }
    known = [name for name in together if name in scores.names()]
    return dataclasses.replace(
        given,
        scores=together,
        out_of_distribution={**given.out_of_distribution, **others},
        score_titles=_provenance.titles(known),
        score_info=_provenance.captions(known),
    )


def _determined(given: assess.Predictions, asked: Sequence[str]) -> tuple[str, ...]:
    everything = {LOGITS.name}
    names = expanded(asked, {STANDARD: everything, ALL: everything})
    if given.outputs == "logits":
        return names
    return without_constant(names, asked, given.logits.shape[1])


def without_constant(
    names: Sequence[str], asked: Sequence[str], num_classes: int
) -> tuple[str, ...]:
    """The scores that probabilities determine, which do not hold a constant.

    Args:
      names: of scores.
      asked: those of them that were asked for by name, and others.
      num_classes: the columns of the probabilities.

    Raises:
      ValueError: if one that is asked for by name depends on the constant.
    """
    lost = _changing_with_constant(names, num_classes)
    if named := [name for name in lost if name in asked]:
        raise ValueError(
            f"the score {named[0]} depends on a constant of the logits, which "
            "probabilities do not hold"
        )
    return tuple(name for name in names if name not in lost)


def _changing_with_constant(names: Sequence[str], num_classes: int) -> list[str]:
    """The scores that would tell two networks apart that answer the same.

    Scores of the logits are asked themselves; the others are asked of a small network,
    and of the same one with a constant added to its logits.
    """
    lookup = scores.lookup
    of_logits = [name for name in names if lookup(name).needs == (LOGITS,)]
    changing = [n for n in of_logits if lookup(n).changes_with_constant(num_classes)]
    # Of what is no network here: an oracle, which sees the image alone.
    small = {NETWORK, STOCHASTIC_NETWORK, TRAINING_SET, KEY.name}
    others = [
        name
        for name in scores.names(computable_from=small)
        if name in names and name not in of_logits
    ]
    if others:
        here, there = (_asked_of_small(others, constant) for constant in (0.0, 1.0))
        changing += [
            name
            for name in others
            if not np.allclose(here[name], there[name], rtol=1e-3, atol=1e-5)
        ]
    return changing


def _asked_of_small(names: Sequence[str], constant: float) -> dict[str, Any]:
    """What scores say of a network of one layer, on images of noise."""

    def apply_fn(params: Any, x: Any) -> Any:
        return jnp.tanh(x).reshape(len(x), -1) @ params + constant

    def stochastic_apply_fn(params: Any, x: Any, key: jax.Array) -> Any:
        kept = jax.random.bernoulli(key, 0.5, x.shape)
        return apply_fn(params, x * kept)

    rng = np.random.default_rng(0)
    x = rng.uniform(size=(64, 4, 4, 1)).astype(np.float32)
    batches = scoring.batches(x, np.arange(64) % 3)
    scorer = scoring.Scorer(
        names,
        apply_fn,
        rng.normal(size=(16, 3)).astype(np.float32),
        stochastic_apply_fn=stochastic_apply_fn,
        given={KEY.name: jax.random.key(0)},
    )
    return scorer.fit(batches).run(batches).values
