"""What Oberdiek et al. 2018 could not ask: every score and layer, other negatives."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import oberdiek2018_judges as judges
from experiments import oberdiek2018_tables as tables
from experiments.oberdiek2018 import ARTIFICIAL, ERRORS, Study
from experiments.oberdiek2018_columns import SCORES, Populations
from experiments.oberdiek2018_judges import Judgements, Meta
from experiments.oberdiek2018_resampled import Estimate, Resampler, groups
from trustjax import metrics

FREE = ("uniform_noise", "letters")
"""Unknown images that everybody has: noise, and letters in the fonts at hand."""
CLAIMS = {
    "the last layer's norm, less the first's": ("dense l2_norm", "conv1 l2_norm"),
    "Euclidean norm, less entropy": ("Euclidean norm", "Entropy"),
    "LASSO, less GLM": ("lasso paper none", "glm paper none"),
    "LASSO, less entropy": ("lasso paper none", "Entropy"),
    "network, less entropy": ("network paper none", "Entropy"),
    "network that knows uniform noise, less one that knows nothing": (
        "network paper uniform_noise",
        "network paper none",
    ),
    "normal noise, less uniform noise, as what is known": (
        "network paper normal_noise",
        "network paper uniform_noise",
    ),
    "network that knows noise, photographs and letters, less entropy": (
        "network paper uniform_noise+photographs+letters",
        "Entropy",
    ),
    "LASSO with all layers, less with the last alone": (
        "lasso paper none",
        "lasso last_layer none",
    ),
    "network with all layers, less with the last alone": (
        "network paper none",
        "network last_layer none",
    ),
    "the same where both know uniform noise": (
        "network paper uniform_noise",
        "network last_layer uniform_noise",
    ),
    "network of logarithms, less network of columns as they are": (
        "network_signed_log paper none",
        "network paper none",
    ),
    "the same where both know uniform noise and letters": (
        "network_signed_log paper uniform_noise+letters",
        "network paper uniform_noise+letters",
    ),
    "network of logarithms, less entropy": (
        "network_signed_log paper none",
        "Entropy",
    ),
    "network that knows artificial wrong answers, less uniform noise": (
        "network paper mixed+shuffled+inverted",
        "network paper uniform_noise",
    ),
}
"""Statements of the paper and of its outlook, as differences of two judges."""


def scores(found: Sequence[Populations]) -> dict[str, Judgements]:
    """Every score by itself."""
    return {
        name: judges.single(found, name, 1.0)
        for name in SCORES
        if all(name in one.names for one in found)
    }


def combinations(study: Study, found: Sequence[Populations]) -> dict[str, Judgements]:
    """Meta-classifiers of more and more columns, that know nothing or what is free."""
    metas = [
        Meta("network", features, of)
        for features in study.features
        for of in ((), FREE)
    ]
    # LASSO takes minutes where a hundred columns say nearly the same.
    few = ("paper", "scores", "scores+gradients")
    metas += [
        Meta("lasso", features, FREE) for features in few if features in study.features
    ]
    # Norms of gradients span decades, and those of unknown images go beyond what is
    # seen in training: a logarithm keeps a network within what it knows.
    metas += [
        Meta("network", features, of, transform="signed_log")
        for features in ("paper", "scores+gradients", "everything")
        if features in study.features
        for of in ((), FREE)
    ]
    return {meta.name: judges.trained(study, found, meta) for meta in metas}


def artificial(study: Study, found: Sequence[Populations]) -> dict[str, Judgements]:
    """Meta-classifiers that know wrong answers made of validation images."""
    known = [(kind,) for kind in ARTIFICIAL]
    known += [ARTIFICIAL, (*ARTIFICIAL, "uniform_noise")]
    metas = [Meta("network", known=of) for of in known]
    return {meta.name: judges.trained(study, found, meta) for meta in metas}


def leave_one_out(
    study: Study, found: Sequence[Populations], kind: str = "network"
) -> dict[str, Judgements]:
    """For each unknown concept a meta-classifier that knows all of the others."""
    may_be_known = [n for n in study.unknowns if n not in study.known_concept]
    made = {}
    for name in may_be_known:
        others = tuple(other for other in may_be_known if other != name)
        made[name] = judges.trained(study, found, Meta(kind, known=others))
    return made


def statements(
    resampler: Resampler,
    areas: Mapping[str, Mapping[str, Estimate]],
    singles: Sequence[str],
    level: float,
) -> dict[str, Any]:
    """Of each concept, which judges may be the best, in one statement about all pairs.

    Args:
      resampler: which images there are.
      areas: by concept, by judge: AUROC.
      singles: the judges that are one score each.
      level: of each concept's statement.

    Returns:
      By concept: the best of the single scores and of the combinations, the difference
      of the two with its ends, and what is proven to be better than what.
    """
    return {
        concept: _statement(resampler, concept, of_judges, singles, level)
        for concept, of_judges in areas.items()
    }


def _statement(
    resampler: Resampler,
    concept: str,
    of_judges: Mapping[str, Estimate],
    singles: Sequence[str],
    level: float,
) -> dict[str, Any]:
    found = metrics.compare_resampled(
        {name: one.value for name, one in of_judges.items()},
        np.stack([one.samples for one in of_judges.values()], axis=1),
        _independent(resampler, concept),
        level=level,
    )
    row = {name: number for number, name in enumerate(found.names)}
    behind = np.asarray(found.behind)
    values = {name: one.value for name, one in of_judges.items()}
    single = max(singles, key=values.__getitem__)
    combined = max(set(values) - set(singles), key=values.__getitem__)
    of_singles = [row[name] for name in singles]

    def difference(one: str, other: str) -> dict[str, float]:
        at = row[one], row[other]
        return {
            end: float(np.asarray(getattr(found, part))[at])
            for end, part in (
                ("value", "differences"),
                ("low", "low"),
                ("high", "high"),
            )
        }

    return {
        "single": single,
        "combined": combined,
        "combined_less_single": difference(combined, single),
        "combined_is_better_than_every_single": bool(
            behind[of_singles, row[combined]].all()
        ),
        "single_may_be_best": [n for n in singles if not behind[row[n]].any()],
        "may_be_best": list(found.may_be_best),
        "less_softmax": {name: difference(name, "max_softmax") for name in found.names},
        "claims": {claim: difference(*pair) for claim, pair in CLAIMS.items()},
        "reason": found.reason,
    }


def _independent(resampler: Resampler, concept: str) -> np.ndarray:
    """Outcomes of what counts as one image each: classes where those are alike."""
    found = resampler.found[0]
    whom = groups(resampler.study, found, concept)
    if concept == ERRORS:
        return np.arange(len(found.correct["test"])) < len(whom.right)
    number = resampler.independent(whom)
    return np.arange(len(whom.right) + number) < len(whom.right)


def areas_left_out(
    resampler: Resampler, judged: Mapping[str, Judgements]
) -> dict[str, Estimate]:
    """AUROC of each meta-classifier on the concept that it does not know."""
    return {
        name: resampler.aurocs({name: one.trust}, name)[name]
        for name, one in judged.items()
    }


def layers(resampler: Resampler, found: Sequence[Populations]) -> dict[str, Any]:
    """AUROC of each statistic of each layer by concept, for a JSON file."""
    of_layers = tables.areas(resampler, tables.by_layer(found))
    return {
        concept: {name: one.to_json() for name, one in of_judges.items()}
        for concept, of_judges in of_layers.items()
    }
