"""The numbers of the study `adversarial_scores`, whose intervals all hold together."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from experiments import adversarial_scores_jpeg as jpeg
from trustjax import metrics, scores, scoring
from trustjax.assess import _attacks
from trustjax.ingredients import LOGITS

LEVEL = 0.95
"""The chance that not one interval of the page is false."""

PLAIN = ("FGSM", "PGD")
Number = dict[str, float | None]


def of_logits(study: Any) -> tuple[str, ...]:
    """Those of the scores that take the logits alone."""
    return tuple(n for n in study.scores if scores.lookup(n).needs == (LOGITS,))


def statements(study: Any) -> int:
    """How many intervals the page has at most."""
    of_jpeg = 5 + 2 * len(of_logits(study))  # at each radius and quality
    of_radius = 4 + 4 * len(study.scores) + 3 * len(study.attacked)
    of_radius += of_jpeg * len(study.qualities)
    radii = sum(map(len, study.datasets.values()))
    return radii * of_radius + len(study.datasets) * (1 + len(study.qualities))


def of_study(study: Any) -> dict[str, Any]:
    """What was asked."""
    return {
        "model": study.model,
        "epochs": dict(study.epochs),
        "radii": {name: list(radii) for name, radii in study.datasets.items()},
        "images": study.images,
        "steps": study.steps,
        "margin": study.margin,
        "weights": list(study.weights),
        "qualities": list(study.qualities),
        "level": LEVEL,
        "statements": statements(study),
    }


def of_dataset(
    study: Any,
    dataset: str,
    labels: np.ndarray,
    said: Mapping[str, np.ndarray],
    against: Mapping[str, Mapping[str, np.ndarray]],
    of_jpeg: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Every number of one data set; arguments as the parts of the study return them."""
    judge = Judge(statements(study))
    right = {
        version: logits.argmax(axis=1) == labels
        for version, logits in _named(said, LOGITS.name)
    }
    first = right["clean"]
    radii = study.datasets[dataset]
    attacks = [f"{kind} {radius:g}" for kind in PLAIN for radius in radii]
    found: dict[str, Any] = {
        "accuracy": {v: judge.share(own) for v, own in right.items()},
        "success": {v: judge.share(~right[v][first]) for v in attacks},
        "scores": {},
    }
    for name in study.scores:
        clean = said[f"clean|{name}"][first]
        rows: dict[str, Any] = {
            v: judge.told(clean, said[f"{v}|{name}"][first], ~right[v][first])
            for v in attacks
        }
        if name in against:
            own = against[name]
            rows["has_gradient"] = float(own["moved"])
            for place, radius in enumerate(radii):
                fooled, value = (
                    own[part][place][first] for part in ("fooled", "value")
                )
                rows[f"adaptive {radius:g}"] = {
                    **judge.told(clean, value, fooled),
                    "success": judge.share(fooled),
                }
        found["scores"][name] = rows
    found["jpeg"] = {
        str(quality): _of_quality(study, quality, radii, labels, first, of_jpeg, judge)
        for quality in study.qualities
    }
    return found


def _of_quality(
    study: Any,
    quality: int,
    radii: tuple[float, ...],
    labels: np.ndarray,
    first: np.ndarray,
    said: Mapping[str, np.ndarray],
    judge: "Judge",
) -> dict[str, Any]:
    before, behind = (
        dict(_named(_of(said, quality), where)) for where in ("before", "behind")
    )
    answers, seen = (
        {version: logits.argmax(axis=1) for version, logits in of.items()}
        for of in (before, behind)
    )
    found: dict[str, Any] = {
        "accuracy": {v: judge.share(own == labels) for v, own in seen.items()},
        "change": {},
        "scores": {},
    }
    for radius in radii:
        plain, through, both = (f"{kind} {radius:g}" for kind in jpeg.KINDS)
        for version in (plain, both):
            stays, stay = (
                (answers[v] == seen[v])[first].astype(float) for v in ("clean", version)
            )
            fooled = (answers[version] != labels)[first]
            found["change"][version] = judge.auroc(stays, stay, fooled)
        for version in (plain, through):
            fooled = (seen[version] != labels)[first]
            clean, changed = (
                scoring.from_arrays(of_logits(study), {LOGITS.name: behind[v][first]})
                for v in ("clean", version)
            )
            found["scores"][version] = {
                name: judge.auroc(clean[name], changed[name], fooled) for name in clean
            }
    return found


class Judge:
    """Numbers with intervals of a family that holds together."""

    def __init__(self, statements: int):
        self._statements = statements
        self._level = 1 - (1 - LEVEL) / statements

    def share(self, which: np.ndarray) -> Number:
        """Of images, with its exact interval."""
        found = metrics.proportion_interval(
            int(which.sum()), which.size, level=self._level
        )
        return _number(which.mean(), found.low, found.high)

    def auroc(
        self, clean: np.ndarray, changed: np.ndarray, fooled: np.ndarray
    ) -> Number:
        """Of telling images that fool the network from all as they were.

        Args:
          clean: `[images]`, a score of each.
          changed: `[images]`, that of its changed version.
          fooled: `[images]`, which of those fool the network.
        """
        found = _attacks.auroc_of_fooled(
            clean,
            changed,
            fooled,
            LEVEL,
            statements=self._statements,
            num_samples=100,
            seed=0,
        )
        return _number(*found[:3])

    def told(
        self, clean: np.ndarray, changed: np.ndarray, fooled: np.ndarray
    ) -> dict[str, Number]:
        """`auroc`, and the share of images that fool the network and are not seen.

        Not seen is what is trusted more than the twentieth part of the images as they
        were that is trusted least.
        """
        unseen = _attacks.share_unseen(clean, changed, fooled, self._level)
        return {
            "auroc": self.auroc(clean, changed, fooled),
            "unseen": _number(*unseen[:3]),
        }


def _number(value: Any, low: Any, high: Any) -> Number:
    if value is None:
        return {"value": None, "low": None, "high": None}
    return {"value": float(value), "low": float(low), "high": float(high)}


def _named(
    arrays: Mapping[str, np.ndarray], name: str
) -> Iterator[tuple[str, np.ndarray]]:
    """`(version, array)` of `version|name`."""
    for key, values in arrays.items():
        version, _, own = key.rpartition("|")
        if own == name:
            yield version, values


def _of(arrays: Mapping[str, np.ndarray], quality: int) -> dict[str, np.ndarray]:
    head = f"{quality}|"
    return {
        key.removeprefix(head): values
        for key, values in arrays.items()
        if key.startswith(head)
    }
