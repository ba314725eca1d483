"""The numbers of `train_for_trust.py`, and what is proven of them."""

import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared import t_interval
from experiments.train_for_trust_terms import DECAY, PLAIN, SCORES
from trustjax import metrics

SCALED = "temperature scaling"
SHARPENED = "temperature for NetTrustScore"
TEMPERATURES = jnp.geomspace(1 / 8, 8, 49)
"""Those that the second is chosen from."""

METRICS = {
    "accuracy": "accuracy",
    "nts": "NetTrustScore",
    "aurc": "AURC",
    "auroc": "AUROC",
    "ece": "ECE",
}
OF_EACH = 0.95
"""The level of an interval that is no difference: it holds by itself."""

LOWER_IS_BETTER = ("aurc", "ece")
FIRST_LOOK = tuple(
    f"{term} of max softmax"
    for term in ("NetTrustScore", "smooth AUROC", "smooth AURC")
)
"""The terms of which every weight is asked on test images."""

Rows = dict[str, dict[str, np.ndarray]]
"""`[seeds]` by row and metric."""


@functools.partial(jax.jit, static_argnames="score")
def measured(
    logits: jax.Array, labels: jax.Array, *, score: str = "max softmax"
) -> dict[str, jax.Array]:
    """The numbers of each network, `[seeds]`; AURC and AUROC by a score."""

    def of_one(logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
        sure = SCORES["max softmax"][0](logits)
        right = jnp.argmax(logits, axis=-1) == labels
        order = jax.lax.stop_gradient(SCORES[score][0](logits))
        trust = metrics.question_answer_trust(sure, right)
        return {
            "accuracy": jnp.mean(right),
            "nts": metrics.net_trust_score(trust, labels, logits.shape[-1]),
            "aurc": metrics.aurc(order, right),
            "auroc": metrics.auroc(order, right),
            "ece": metrics.expected_calibration_error(sure, right),
        }

    return jax.vmap(of_one)(logits, labels)


@jax.jit
def likely_temperature(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The temperature of each network under which the labels are likeliest."""
    return jax.vmap(metrics.fit_temperature)(logits, labels)


@jax.jit
def trusted_temperature(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The temperature of each network under which its NetTrustScore is largest."""
    at = lambda temperature: measured(logits / temperature, labels)["nts"]
    return TEMPERATURES[jnp.argmax(jax.lax.map(at, TEMPERATURES), axis=0)]


def _of(said: Mapping[str, np.ndarray], part: str, **given: Any) -> dict[str, Any]:
    return _of_logits(said[f"{part}_logits"], said[f"{part}_labels"], **given)


def _of_logits(logits: Any, labels: Any, **given: Any) -> dict[str, np.ndarray]:
    found = measured(logits, labels, **given)
    return {name: np.asarray(own, np.float64) for name, own in found.items()}


def _rescaled(
    said: Mapping[str, np.ndarray], temperature: Callable[..., jax.Array]
) -> tuple[dict[str, np.ndarray], float]:
    """The numbers on test images under a temperature of validation data, and it."""
    found = temperature(said["validation_logits"], said["validation_labels"])
    logits = said["test_logits"] / found[:, None, None]
    return _of_logits(logits, said["test_labels"]), float(found.mean())


class Statements:
    """Differences that are said at once, each by the level of all."""

    def __init__(self) -> None:
        self.places: list[tuple[dict[str, Any], str, np.ndarray]] = []

    def of_rows(
        self,
        rows: Rows,
        names: Collection[str],
        baseline: Mapping[str, np.ndarray],
        only: Collection[str] = tuple(METRICS),
    ) -> dict[str, Any]:
        """`{row: {metric: difference to the baseline}}`, to be filled in."""
        found: dict[str, Any] = {}
        for name in names:
            for metric in only:
                difference = rows[name][metric] - baseline[metric]
                if difference.any():  # a temperature changes no answer
                    found.setdefault(name, {})[metric] = None
                    self.places.append((found[name], metric, difference))
        return found

    def say(self, level: float) -> int:
        """Fills all in, and returns how many they are."""
        each = 1 - (1 - level) / len(self.places)
        for place, metric, difference in self.places:
            place[metric] = t_interval(difference, each)
        return len(self.places)


def compared(asked: Mapping[str, Any], chosen_by: str, level: float) -> dict[str, Any]:
    """All numbers, and paired differences whose intervals hold together.

    Args:
      asked: answers by data set, method and weight.
      chosen_by: the validation number whose least mean chooses the weight.
      level: of all statements.
    """
    statements = Statements()
    said = {
        name: _of_dataset(own, chosen_by, statements) for name, own in asked.items()
    }
    count = statements.say(level)
    return {"level": level, "statements": count, "datasets": said}


def _of_dataset(
    asked: Mapping[str, Mapping[float, Any]], chosen_by: str, statements: Statements
) -> dict[str, Any]:
    validation = {
        method: {weight: _of(one, "validation") for weight, one in own.items()}
        for method, own in asked.items()
    }
    mean = lambda method, weight: validation[method][weight][chosen_by].mean()
    chosen = {
        method: min(own, key=functools.partial(mean, method))
        for method, own in asked.items()
    }
    taken = {method: asked[method][weight] for method, weight in chosen.items()}
    rows: Rows = {method: _of(one, "test") for method, one in taken.items()}
    scaled, temperatures = {}, {}
    for method, one in taken.items():
        scaled[method], temperatures[method] = _rescaled(one, likely_temperature)
    rows[SCALED] = scaled[PLAIN]
    rows[SHARPENED], sharpened = _rescaled(taken[PLAIN], trusted_temperature)
    terms = [method for method in asked if method not in (PLAIN, DECAY)]
    trained = [DECAY, *terms]
    return {
        "chosen": chosen,
        "validation": _means(validation),
        "temperatures": {**temperatures, SHARPENED: sharpened},
        "numbers": {
            name: {metric: t_interval(own[metric], OF_EACH) for metric in METRICS}
            for name, own in rows.items()
        },
        "less": {
            PLAIN: statements.of_rows(rows, [*trained, SCALED, SHARPENED], rows[PLAIN]),
            DECAY: statements.of_rows(rows, terms, rows[DECAY]),
            SCALED: statements.of_rows(rows, trained, rows[SCALED]),
            SHARPENED: statements.of_rows(
                rows, trained, rows[SHARPENED], only=("nts",)
            ),
        },
        "scaled_less_scaled": statements.of_rows(
            scaled, trained, rows[SCALED], only=("nts", "aurc", "auroc", "ece")
        ),
        "by_own_score": _by_own_score(taken, terms, statements),
        "every_weight": {
            method: {
                str(weight): statements.of_rows(
                    {method: _of(one, "test")}, [method], rows[PLAIN]
                ).get(method, {})
                for weight, one in asked[method].items()
            }
            for method in FIRST_LOOK
        },
    }


def _means(validation: Mapping[str, Any]) -> dict[str, Any]:
    return {
        method: {
            str(weight): {name: float(v.mean()) for name, v in numbers.items()}
            for weight, numbers in own.items()
        }
        for method, own in validation.items()
    }


def _by_own_score(
    taken: Mapping[str, Any], terms: list[str], statements: Statements
) -> dict[str, Any]:
    """Terms of another score than max softmax, asked by it as plain networks are."""
    found = {}
    for score in ("margin", "GradTrust"):
        plain = _of(taken[PLAIN], "test", score=score)
        own = {
            term: _of(taken[term], "test", score=score)
            for term in terms
            if term.endswith(f" of {score}")
        }
        found |= statements.of_rows(own, own, plain, only=("aurc", "auroc"))
    return found
