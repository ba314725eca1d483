"""The numbers of the study `shifts`, and their intervals over images and kinds.

Every number is computed of all images, and again without each of some groups of them:
the delete-a-group jackknife (Kott 2001), whose groups are the same under every
corruption, so that what an image is hard for counts once in a mean over the kinds. The
interval over the kinds is Student's, of kinds as if they had been drawn.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from trustjax import metrics

LEVEL = 0.95
TUTORIAL = ("max_softmax", "max_logit", "margin", "odin", "grad_trust")
"""The scores of the tutorial's table; its "NLL" is the largest logit."""
OF_NETWORK = ("accuracy", "net_trust_score", "calibration_error")
RANKED = ("auroc", "auac_quantile", "aufc_quantile")
"""What orders alone decide. The range grid hangs on two images, the ends of the score,
and its intervals cannot be trusted: nothing is named the best on it."""
OF_SCORE = (*RANKED, "auac_range", "aufc_range")


class Said(NamedTuple):
    """What a network and its scores said of some images.

    Attributes:
      logits: `[images, classes]`.
      labels: `[images]`.
      scores: name -> `[images]`.
    """

    logits: np.ndarray
    labels: np.ndarray
    scores: Mapping[str, np.ndarray]

    @property
    def predicted(self) -> np.ndarray:
        """`[images]`."""
        return self.logits.argmax(axis=-1)

    @property
    def confidence(self) -> np.ndarray:
        """`[images]`, max softmax."""
        return np.asarray(jax.nn.softmax(jnp.asarray(self.logits))).max(axis=-1)


class Estimate(NamedTuple):
    """A number, and the same without each group of images.

    Attributes:
      value: of all images; NaN where it is not defined.
      without: `[groups]`.
    """

    value: float
    without: np.ndarray

    @property
    def error(self) -> float:
        """The standard error over images; NaN where the number is not defined."""
        groups = len(self.without)
        spread = np.sum((self.without - self.without.mean()) ** 2)
        return float(np.sqrt((groups - 1) / groups * spread))

    def interval(self, level: float = LEVEL) -> dict[str, float | None]:
        """Value and ends, over images, of a share."""
        own = _interval(self.value, self.error, len(self.without), level)
        return _in_unit(own)

    def behind(self, other: "Estimate", level: float) -> bool:
        """Whether this is proven to be less than the other."""
        gap = Estimate(other.value - self.value, other.without - self.without)
        ends = _interval(gap.value, gap.error, len(gap.without), level)
        return (ends["low"] or 0.0) > 0


def _interval(
    value: float, error: float, size: int, level: float
) -> dict[str, float | None]:
    if np.isnan(value):
        return {"value": None, "low": None, "high": None}
    wide = float(stats.t.ppf((1 + level) / 2, size - 1)) * error
    return {"value": value, "low": value - wide, "high": value + wide}


def _in_unit(ends: dict[str, float | None]) -> dict[str, float | None]:
    """The ends of a share, which is in [0, 1]."""
    return {
        part: None if end is None else float(np.clip(end, 0, 1))
        for part, end in ends.items()
    }


def masks(count: int, groups: int, seed: int = 0) -> np.ndarray:
    """`[groups + 1, count]`: all images, then all but each group in turn."""
    group = np.random.default_rng(seed).permutation(count) % groups
    kept = group[None] != np.arange(groups)[:, None]
    return np.concatenate([np.ones((1, count), bool), kept])


def of_version(
    said: Said, weights: np.ndarray
) -> dict[str, dict[str, Estimate] | Estimate]:
    """Every number of one version of the images.

    Args:
      said: what was said of it.
      weights: `masks`.
    """
    confidence, labels = said.confidence, said.labels.astype(np.int32)
    found: dict[str, Any] = _network(
        confidence, said.predicted.astype(np.int32), labels, weights
    )
    found = {name: _estimate(values) for name, values in found.items()}
    for name, values in said.scores.items():
        numbers = _score(
            *_ranked_and_along(values),
            said.predicted.astype(np.int32),
            labels,
            weights,
            num_classes=said.logits.shape[1],
        )
        found[name] = {number: _estimate(of) for number, of in numbers.items()}
    return found


def _estimate(values: jax.Array) -> Estimate:
    whole, *without = np.asarray(values, np.float64)
    return Estimate(float(whole), np.array(without))


def _ranked_and_along(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order of a score in float32, and its values from 0 to 1 along their range.

    Neither loses digits to float32; with infinite values there is no range.
    """
    values = np.asarray(values, np.float64)
    ranks = np.unique(values, return_inverse=True)[1].astype(np.float32)
    low, high = values.min(), values.max()
    if np.isfinite([low, high]).all() and high > low:
        values = (values - low) / (high - low)
    return ranks, values.astype(np.float32)


@jax.jit
def _network(
    confidence: jax.Array, predicted: jax.Array, labels: jax.Array, weights: jax.Array
) -> dict[str, jax.Array]:
    correct = predicted == labels

    def numbers(kept: jax.Array) -> dict[str, jax.Array]:
        counts = kept.astype(jnp.float32)
        trust = metrics.question_answer_trust(confidence, correct)
        return {
            "accuracy": metrics.accuracy(predicted, labels, weights=kept),
            "net_trust_score": jnp.sum(trust * counts) / jnp.sum(counts),
            "calibration_error": metrics.expected_calibration_error(
                confidence, correct, weights=kept
            ),
        }

    return jax.lax.map(numbers, weights)


@functools.partial(jax.jit, static_argnames="num_classes")
def _score(
    ranks: jax.Array,
    along: jax.Array,
    predicted: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    *,
    num_classes: int,
) -> dict[str, jax.Array]:
    correct = predicted == labels

    def numbers(kept: jax.Array) -> dict[str, jax.Array]:
        found = {"auroc": metrics.auroc(ranks, correct, weights=kept)}
        for grid, values in (("quantile", ranks), ("range", along)):
            found[f"auac_{grid}"] = metrics.auac(
                values, correct, grid=grid, weights=kept
            )
            found[f"aufc_{grid}"] = metrics.aufc(
                values,
                predicted,
                labels,
                grid=grid,
                num_classes=num_classes,
                weights=kept,
            )
        return found

    return jax.lax.map(numbers, weights)


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """The mean over kinds, of those in which the number is defined."""
    known = [of for of in estimates if np.isfinite([of.value, *of.without]).all()]
    if not known:
        return Estimate(np.nan, np.full_like(estimates[0].without, np.nan))
    return Estimate(
        float(np.mean([of.value for of in known])),
        np.mean([of.without for of in known], axis=0),
    )


def difference(one: Estimate, other: Estimate) -> dict[str, float | None]:
    """One less the other, and its ends, over images."""
    gap = Estimate(one.value - other.value, one.without - other.without)
    return _interval(gap.value, gap.error, len(gap.without), LEVEL)


def over_kinds(estimates: Sequence[Estimate]) -> dict[str, float | None]:
    """The mean over kinds and its ends, as if the kinds had been drawn."""
    values = np.array([of.value for of in estimates], np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return {"value": None, "low": None, "high": None}
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return _in_unit(_interval(float(values.mean()), error, len(values), LEVEL))


def best(columns: Mapping[str, Estimate], level: float) -> dict[str, Any]:
    """Which is the largest, and which are not proven to be less, in one statement.

    Args:
      columns: name -> the same number of each; those that are not defined lose.
      level: the chance that no pair of them is put in a false order.
    """
    known = {name: of for name, of in columns.items() if np.isfinite(of.error)}
    if not known:
        return {"largest": None, "may_be": []}
    pairs = max(len(known) * (len(known) - 1) // 2, 1)
    of_each = 1 - (1 - level) / pairs
    return {
        "largest": max(known, key=lambda name: known[name].value),
        "may_be": [
            name
            for name, own in known.items()
            if not any(
                own.behind(other, of_each)
                for rival, other in known.items()
                if rival != name
            )
        ],
    }


def detection(
    scores: Mapping[str, np.ndarray], adversaries: np.ndarray, groups: int
) -> dict[str, dict[str, Estimate]]:
    """How well scores tell natural adversaries from other images: AUDC and AUROC.

    The others are weighted so that they are as many as the adversaries, which is what
    a random draw of as many would give on average.

    Args:
      scores: name -> `[images]`.
      adversaries: `[images]`, which of them are.
      groups: of the jackknife.
    """
    weights = masks(len(adversaries), groups).astype(np.float32)
    share = (weights * adversaries).sum(1) / (weights * ~adversaries).sum(1)
    weights = np.where(adversaries, weights, weights * share[:, None])
    return {
        name: {
            number: _estimate(of)
            for number, of in _detection(
                *_ranked_and_along(values), ~adversaries, weights.astype(np.float32)
            ).items()
        }
        for name, values in scores.items()
    }


@jax.jit
def _detection(
    ranks: jax.Array, along: jax.Array, ordinary: jax.Array, weights: jax.Array
) -> dict[str, jax.Array]:
    def numbers(kept: jax.Array) -> dict[str, jax.Array]:
        return {
            "audc_quantile": metrics.audc(ranks, ordinary, weights=kept),
            "audc_range": metrics.audc(along, ordinary, grid="range", weights=kept),
            "auroc": metrics.auroc(ranks, ordinary, weights=kept),
        }

    return jax.lax.map(numbers, weights)
