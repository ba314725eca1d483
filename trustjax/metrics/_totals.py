"""Metrics that merge over batches and hosts: sums go in, ratios come out.

The fields of a total are plain sums, so `merge` adds them, `jax.lax.psum` adds them
over a mesh axis, and `jax.experimental.multihost_utils` over hosts. Rank metrics cannot
be merged so; they take all scores at once, wherever those are (`on_mesh`), or come as
bounds (`ScoreTotals`).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Real, Shaped

from trustjax import _inputs, _numerics, _validate
from trustjax.metrics import _calibration, _trust
from trustjax.metrics._ranking import share


class TrustTotals(NamedTuple):
    """What the NetTrustScore suite needs to know of any number of batches.

    Attributes:
      trust: `[classes, classes]`, summed question-answer trust by oracle answer (rows)
        and given answer (columns).
      confidence: `[classes, classes]`, summed confidence.
      count: `[classes, classes]`, number of examples, or their summed weights.
    """

    trust: Float[Array, "classes classes"]
    confidence: Float[Array, "classes classes"]
    count: Real[Array, "classes classes"]

    @classmethod
    @_inputs.take_arrays
    def of_batch(
        cls,
        *,
        confidence: Float[Array, " n"],
        predictions: Integer[Array, " n"],
        labels: Integer[Array, " n"],
        num_classes: int,
        alpha: float = 1.0,
        beta: float = 1.0,
        weights: Shaped[Array, " n"] | None = None,
    ) -> "TrustTotals":
        """The totals of one batch; see `question_answer_trust` for the exponents.

        >>> batch = {"confidence": jnp.array([0.5, 1.0]), "num_classes": 2}
        >>> batch["predictions"] = jnp.array([0, 1])
        >>> first = TrustTotals.of_batch(labels=jnp.array([0, 0]), **batch)
        >>> second = TrustTotals.of_batch(labels=jnp.array([0, 1]), **batch)
        >>> print(first.merge(second).net_trust_score())
        0.5
        """
        _validate.labels(predictions=predictions, labels=labels)
        trust = _trust.question_answer_trust(
            confidence, predictions == labels, alpha=alpha, beta=beta, weights=weights
        )
        cells = functools.partial(
            _trust.cell_totals,
            labels=labels,
            predictions=predictions,
            num_classes=num_classes,
            weights=weights,
        )
        total, count = cells(trust)
        return cls(total, cells(_numerics.at_least_float32(confidence))[0], count)

    def merge(self, *others: "TrustTotals") -> "TrustTotals":
        """The totals of all batches together."""
        return jax.tree.map(lambda *sums: sum(sums), self, *others)

    def accuracy(self) -> Float[Array, ""]:
        """Share of right answers."""
        return share(jnp.trace(self.count), jnp.sum(self.count))

    def trust_matrix(self) -> Float[Array, "classes classes"]:
        """See `metrics.trust_matrix`."""
        return share(self.trust, self.count)

    def trust_spectrum(self) -> Float[Array, " classes"]:
        """See `metrics.trust_spectrum`, by oracle answer."""
        return share(self.trust.sum(axis=1), self.count.sum(axis=1))

    def net_trust_score(
        self, *, prior: str | Float[Array, " classes"] = "empirical"
    ) -> Float[Array, ""]:
        """See `metrics.net_trust_score`."""
        return _trust.expectation_over_classes(
            self.trust.sum(axis=1), self.count.sum(axis=1), prior
        )

    def expected_confidence(self) -> _trust.ExpectedConfidence:
        """See `metrics.expected_confidence`."""
        right = share(jnp.trace(self.confidence), jnp.trace(self.count))
        off_diagonal = ~jnp.eye(self.count.shape[0], dtype=bool)
        wrong = share(
            jnp.sum(self.confidence, where=off_diagonal),
            jnp.sum(self.count, where=off_diagonal),
        )
        return _trust.ExpectedConfidence(right, wrong)


class CalibrationTotals(NamedTuple):
    """What the calibration errors need to know of any number of batches.

    Attributes:
      confidence: `[bins]`, summed confidence.
      correct: `[bins]`, number of right answers, or their summed weights.
      count: `[bins]`, number of examples, or their summed weights.
    """

    confidence: Float[Array, " bins"]
    correct: Float[Array, " bins"]
    count: Real[Array, " bins"]

    @classmethod
    @_inputs.take_arrays
    def of_batch(
        cls,
        confidence: Float[Array, " n"],
        correct: Shaped[Array, " n"],
        *,
        bins: int = 15,
        weights: Shaped[Array, " n"] | None = None,
    ) -> "CalibrationTotals":
        """The totals of one batch, over bins of equal width.

        >>> confidence = jnp.array([1.0, 0.75])
        >>> first = CalibrationTotals.of_batch(confidence, jnp.array([1, 0]))
        >>> print(first.merge(first).expected_calibration_error())
        0.375
        """
        return cls(*_calibration.bin_totals(confidence, correct, bins, weights))

    def merge(self, *others: "CalibrationTotals") -> "CalibrationTotals":
        """The totals of all batches together."""
        return jax.tree.map(lambda *sums: sum(sums), self, *others)

    def reliability_curve(self) -> _calibration.ReliabilityCurve:
        """See `metrics.reliability_curve`."""
        return _calibration.curve_of_totals(*self)

    def expected_calibration_error(self, *, norm: float = 1.0) -> Float[Array, ""]:
        """See `metrics.expected_calibration_error`."""
        return _calibration.weighted_error(*self, norm=norm)
