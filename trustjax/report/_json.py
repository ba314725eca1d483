"""The assessment as strict JSON: what is not defined is null, with a reason."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trustjax import metrics
from trustjax.assess import (
    Assessment,
    Attacks,
    Interventions,
    MemberNumbers,
    Membership,
    NetworkComparison,
    Quantity,
    ShiftNumbers,
)
from trustjax.report._explained import Explanations, Map

MOST_ANSWERS = 10  # of an image: its file has them all
MOST_CLASSES = 100  # a matrix of more classes is left to scores.npz


def to_text(content: Mapping[str, Any]) -> str:
    """Strict JSON, without the extensions NaN and Infinity."""
    return json.dumps(_plain(content), indent=2, allow_nan=False) + "\n"


def of_assessment(assessed: Assessment) -> dict[str, Any]:
    """Every number of an assessment."""
    calibration = assessed.reliability
    matrices = {}
    if len(assessed.classes) <= MOST_CLASSES:
        matrices = {
            "trust_matrix": assessed.trust_matrix,
            "confusion": assessed.confusion,
        }
    return {
        "num_examples": assessed.num_examples,
        "num_errors": assessed.num_errors,
        "confidence_level": assessed.confidence_level,
        "num_samples": assessed.num_samples,
        "alpha": assessed.alpha,
        "beta": assessed.beta,
        "headline": assessed.headline,
        "other_class_order": None
        if assessed.other_class_order is None
        else assessed.other_class_order._asdict(),
        "best_score": assessed.best,
        "comparison": of_statement("auroc", assessed.comparison),
        "scores": {
            score.name: {
                **score.numbers,
                "auroc_behind_best": score.behind_best,
                "may_be_best": score.may_be_best,
                "risk_at_80_coverage": score.selective_risk,
                "num_infinite": score.num_infinite,
            }
            for score in assessed.scores
        },
        "classes": [
            {
                "name": c.name,
                "count": c.count,
                "accuracy": c.accuracy,
                "trust": c.trust,
                "below_average": c.below_average,
            }
            for c in assessed.classes
        ],
        "calibration": {
            "expected_calibration_error": calibration.expected_calibration_error,
            "error_without_chance": calibration.error_without_chance,
            "confidence": calibration.confidence,
            "accuracy": calibration.accuracy,
            "count": calibration.count,
        },
        "mistakes": [
            {
                "label": assessed.classes[mistake.label].name,
                "answer": assessed.classes[mistake.answer].name,
                "count": mistake.count,
                "confidence": mistake.confidence,
            }
            for mistake in assessed.mistakes[:MOST_CLASSES]
        ],
        **matrices,
        "gradients": None
        if assessed.gradients is None
        else {
            "groups": assessed.gradients.groups,
            "statistics": assessed.gradients.statistics,
            "auroc": assessed.gradients.auroc,
            "low": assessed.gradients.low,
            "high": assessed.gradients.high,
        },
        "out_of_distribution": assessed.out_of_distribution,
        "shifts": None
        if assessed.shifts is None
        else {
            "means": _of_severities(assessed.shifts.means),
            "by_kind": {
                kind: _of_severities(numbers)
                for kind, numbers in assessed.shifts.by_kind.items()
            },
        },
        **of_attacks(assessed.attacks),
        **of_interventions(assessed.interventions),
        **of_membership(assessed.membership),
        "run": assessed.run,
    }


def of_attacks(attacks: Attacks | None) -> dict[str, Any]:
    """Every number of the attacks; nothing where there are none."""
    if attacks is None:
        return {}
    numbers = {radius: of._asdict() for radius, of in attacks.by_radius.items()}
    found = {"num_examples": attacks.num_examples, "unchanged": attacks.unchanged}
    return {"attacks": {**found, "by_radius": numbers}}


def of_interventions(found: Interventions | None) -> dict[str, Any]:
    """Every number of the interventions; nothing where there are none."""
    if found is None:
        return {}
    methods = {method: of._asdict() for method, of in found.methods.items()}
    return {"interventions": {"num_examples": found.num_examples, "methods": methods}}


def of_membership(found: Membership | None) -> dict[str, Any]:
    """Every number of membership but the curves; nothing where it was not asked."""
    if found is None:
        return {}

    def numbers(of: MemberNumbers) -> dict[str, Any]:
        return {"auroc": of.auroc, "true_positive_rates": of.true_positive_rates}

    counts = {"num_members": found.num_members, "num_others": found.num_others}
    scores = {name: numbers(of) for name, of in found.scores.items()}
    return {"membership": {**counts, "scores": scores, "loss": numbers(found.loss)}}


def _of_severities(numbers: Mapping[int, ShiftNumbers]) -> dict[int, dict[str, Any]]:
    return {severity: dict(found._asdict()) for severity, found in numbers.items()}


def of_networks(compared: NetworkComparison) -> dict[str, Any]:
    """Every number of a comparison of networks."""
    return {
        "num_examples": compared.num_examples,
        "num_all_wrong": compared.num_all_wrong,
        "confidence_level": compared.confidence_level,
        "num_samples": compared.num_samples,
        "networks": {
            one.name: {
                **one.numbers,
                "expected_calibration_error": (
                    one.assessment.reliability.expected_calibration_error
                ),
                "best_score": one.assessment.best,
                "num_parameters": one.num_parameters,
                "num_errors": one.assessment.num_errors,
                "classes": {
                    c.name: {"trust": c.trust, "below_average": c.below_average}
                    for c in one.classes
                },
                "run": one.assessment.run,
            }
            for one in compared.networks
        },
        "comparisons": {
            number: of_statement(number, statement)
            for number, statement in compared.statements.items()
        },
        "classes": [
            {
                "name": c.name,
                "count": c.count,
                "distrusted_by_all": c.distrusted,
                "differs": c.differs,
                "differences": c.differences,
                "low": c.low,
                "high": c.high,
            }
            for c in compared.classes
        ],
    }


def of_explanations(explained: Explanations) -> dict[str, Any]:
    """What the network says of each image, and the numbers of its maps."""
    names = explained.class_names
    return {
        "images": [
            {
                "name": image.name,
                "answer": names[image.answer],
                "label": None if image.label is None else names[image.label],
                "target": names[image.target],
                "probabilities": {
                    names[c]: image.probabilities[c]
                    for c in np.argsort(-image.probabilities)[:MOST_ANSWERS].tolist()
                },
                "maps": [_of_map(shown, names) for shown in image.maps],
                "notes": image.notes,
            }
            for image in explained.images
        ],
        "run": explained.run,
    }


def _of_map(shown: Map, names: Sequence[str]) -> dict[str, Any]:
    error = shown.standard_error
    return {
        "method": shown.method,
        "contrast": None if shown.contrast is None else names[shown.contrast],
        "low": shown.values.min(),
        "high": shown.values.max(),
        "largest_standard_error": None if error is None else error.max(),
        **{
            f"{name}_area": curve.area
            for name in ("insertion", "deletion")
            if (curve := getattr(shown, name)) is not None
        },
        **shown.facts,
    }


def of_statement(metric: str, comparison: metrics.Comparison) -> dict[str, Any]:
    """Differences, rows less columns, whose intervals hold together."""
    return {
        "metric": metric,
        "level": comparison.level,
        "may_be_best": comparison.may_be_best,
        "no_statement_because": comparison.reason or None,
        "names": comparison.names,
        "differences": np.asarray(comparison.differences),
        "low": np.asarray(comparison.low),
        "high": np.asarray(comparison.high),
    }


def _plain(value: Any) -> Any:
    """Only what JSON knows: NaN and infinity become null."""
    if isinstance(value, Quantity):
        return _plain_quantity(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def _plain_quantity(quantity: Quantity) -> dict[str, Any]:
    if quantity.value is None:
        return {"value": None, "not_defined": quantity.not_defined}
    if quantity.low is None:
        return {"value": _plain(quantity.value)}
    return {
        "value": _plain(quantity.value),
        "low": _plain(quantity.low),
        "high": _plain(quantity.high),
    }
