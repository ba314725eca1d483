"""Tables 1, 2 and 3 of Oberdiek et al. 2018, and its two claims about layers."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments import oberdiek2018_judges as judges
from experiments.oberdiek2018 import ALL, ERRORS, Study
from experiments.oberdiek2018_columns import Populations
from experiments.oberdiek2018_judges import Judgements, Meta
from experiments.oberdiek2018_resampled import Resampler

KNOWN_UNKNOWNS = (
    (),
    ("normal_noise",),
    ("uniform_noise",),
    ("uniform_noise", "photographs"),
    ("uniform_noise", "photographs", "letters"),
)
"""What the meta-classifiers of table 3 have seen, beside validation images.

Photographs stand for the paper's CIFAR-10, letters for its Omniglot.
"""


def concepts(study: Study) -> tuple[str, ...]:
    """The columns of every table."""
    return (ERRORS, *study.unknowns, ALL)


def table1(found: Sequence[Populations]) -> dict[str, Judgements]:
    """Thresholds on the softmax, its entropy and statistics of the whole gradient."""
    return {
        title: judges.single(found, column, sign)
        for title, (column, sign) in judges.TABLE1.items()
    }


def table2(study: Study, found: Sequence[Populations]) -> dict[str, Judgements]:
    """Four logistic regressions that know no unknown concept."""
    metas = [Meta(kind) for kind in ("glm", "lasso", "ridge", "elastic_net")]
    return {meta.name: judges.trained(study, found, meta) for meta in metas}


def table3(study: Study, found: Sequence[Populations]) -> dict[str, Judgements]:
    """The network and LASSO, with more and more known unknowns."""
    metas = [
        Meta(kind, known=known, seeds=study.meta_seeds if kind == "network" else 1)
        for kind in ("network", "lasso")
        for known in KNOWN_UNKNOWNS
    ]
    return {meta.name: judges.trained(study, found, meta) for meta in metas}


def early_layers(study: Study, found: Sequence[Populations]) -> dict[str, Judgements]:
    """With the statistics of the last layer, the last two, and of all."""
    metas = [
        Meta(kind, features, known)
        for kind, known in (
            ("lasso", ()),
            ("network", ()),
            ("network", ("uniform_noise",)),
        )
        for features in ("last_layer", "last_two_layers", "paper")
    ]
    return {meta.name: judges.trained(study, found, meta) for meta in metas}


def by_layer(found: Sequence[Populations]) -> dict[str, Judgements]:
    """Each statistic of each layer as a threshold."""
    return {
        f"{layer} {statistic}": judges.single(found, f"layer/{layer}/{statistic}", sign)
        for layer in judges.layers(found[0])
        for statistic, sign in judges.TRUST.items()
    }


def areas(
    resampler: Resampler, judged: Mapping[str, Judgements]
) -> dict[str, dict[str, Any]]:
    """AUROC by concept, by judge."""
    trust = {name: one.trust for name, one in judged.items()}
    return {
        concept: resampler.aurocs(trust, concept)
        for concept in concepts(resampler.study)
    }


def table(resampler: Resampler, judged: Mapping[str, Judgements]) -> dict[str, Any]:
    """Every metric of a table, by metric, by judge, by concept, for a JSON file."""
    made: dict[str, dict[str, dict[str, Any]]] = {
        metric: {name: {} for name in judged}
        for metric in ("auroc", "aupr_in", "aupr_out", "balanced_accuracy")
    }
    for concept, of_judges in areas(resampler, judged).items():
        for name, one in judged.items():
            numbers = resampler.precisions(one.trust, concept)
            numbers["auroc"] = of_judges[name]
            numbers["balanced_accuracy"] = resampler.rates(
                one.trust, one.thresholds, concept
            )
            for metric, estimate in numbers.items():
                made[metric][name][concept] = estimate.to_json()
    return made
