"""What a network's outputs say of its answers, without the network."""

import dataclasses
from collections.abc import Sequence

from trustjax import assess, scores, scoring
from trustjax.ingredients import LOGITS
from trustjax.pipeline import _provenance
from trustjax.pipeline._config import ALL, STANDARD, expanded


def with_scores(
    given: assess.Predictions, asked: Sequence[str] = (STANDARD,)
) -> assess.Predictions:
    """Predictions with the scores that are asked for, beside those that they have.

    Args:
      given: what a network said.
      asked: names of scores, and of sets of them: those that the outputs determine.

    Raises:
      ValueError: if a score depends on a constant of the logits, and the outputs are
        probabilities, which do not hold it; in a set, such scores are left out.
    """
    names = [name for name in _determined(given, asked) if name not in given.scores]
    of_logits = scoring.from_arrays(names, {LOGITS.name: given.logits})
    together = {**of_logits, **given.scores}
    known = [name for name in together if name in scores.names()]
    return dataclasses.replace(
        given,
        scores=together,
        score_titles=_provenance.titles(known),
        score_info=_provenance.captions(known),
    )


def _determined(given: assess.Predictions, asked: Sequence[str]) -> tuple[str, ...]:
    everything = {LOGITS.name}
    names = expanded(asked, {STANDARD: everything, ALL: everything})
    if given.outputs == "logits":
        return names
    num_classes = given.logits.shape[1]
    lost = [n for n in names if scores.lookup(n).changes_with_constant(num_classes)]
    if named := [name for name in lost if name in asked]:
        raise ValueError(
            f"the score {named[0]} depends on a constant of the logits, which "
            "probabilities do not hold"
        )
    return tuple(name for name in names if name not in lost)
