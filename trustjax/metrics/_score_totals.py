"""Rank metrics of more scores than are ever held at once: counts between edges."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real, Shaped

from trustjax import _inputs, _numerics, _validate
from trustjax.metrics import _weights
from trustjax.metrics._ranking import as_fraction, reaches, share


class Bounds(NamedTuple):
    """Between which numbers a metric lies, both `[]`; equal where it is known exactly.

    Attributes:
      lower: the least that it can be.
      upper: the most that it can be.
    """

    lower: Float[Array, ""]
    upper: Float[Array, ""]


class ScoreTotals(NamedTuple):
    """What rank metrics need to know of any number of batches, in bounded memory.

    Right and wrong answers are counted in bins of the score. How a bin orders its own
    is not known, unless all its scores are equal: metrics come as bounds, which differ
    by no more than the bins of several scores leave open. With edges at the quantiles
    of some scores (`edges_of`), of b bins, that is about 1 / b of an AUROC. Where all
    scores are at hand, on whatever devices, `auroc` is exact.

    Attributes:
      edges: `[bins - 1]`, rising: a score is in the bin of as many edges as are at most
        as high.
      right: `[bins]`, number of right answers, or their summed weights.
      wrong: `[bins]`, number of wrong ones.
      lowest: `[bins]`, the lowest score of each; inf if there is none.
      highest: `[bins]`, the highest; -inf if there is none.
    """

    edges: Float[Array, " edges"]
    right: Real[Array, " bins"]
    wrong: Real[Array, " bins"]
    lowest: Float[Array, " bins"]
    highest: Float[Array, " bins"]

    @staticmethod
    def edges_of(
        scores: Float[np.ndarray | Array, " n"], *, bins: int = 2**16
    ) -> np.ndarray:
        """Edges that some scores, such as those of the first batches, lie evenly among.

        >>> print(ScoreTotals.edges_of(np.arange(8.0), bins=4))
        [2. 4. 6.]
        """
        _validate.count("bins", bins, at_least=2)
        known = np.sort(np.asarray(_inputs.floats("scores", scores, "n"), np.float32))
        _validate.some_examples("scores", jnp.asarray(known))
        _validate.no_nan("scores", jnp.asarray(known))
        return np.unique(known[np.arange(1, bins) * len(known) // bins])

    @classmethod
    @_inputs.take_arrays
    def of_batch(
        cls,
        scores: Float[Array, " n"],
        correct: Shaped[Array, " n"],
        *,
        edges: Float[Array, " edges"],
        weights: Shaped[Array, " n"] | None = None,
    ) -> "ScoreTotals":
        """The totals of one batch; fewer than 2**31 examples may be counted in all.

        Args:
          scores: higher = more trust; not NaN.
          correct: whether the prediction is right: boolean, or 0 and 1.
          edges: rising, the same for all batches.
          weights: what each example counts, see `trustjax.metrics`; 1 if None.

        Returns:
          The totals; those of a NaN score, under a transformation, make metrics NaN.

        Raises:
          ValueError: if the lengths differ, or a known score or edge is NaN.

        >>> edges = jnp.array([0.5])
        >>> first = ScoreTotals.of_batch(
        ...     jnp.array([0.9, 0.2]), jnp.array([1, 0]), edges=edges)
        >>> second = ScoreTotals.of_batch(
        ...     jnp.array([0.8, 0.1]), jnp.array([1, 1]), edges=edges)
        >>> print(first.merge(second).auroc())
        Bounds(lower=Array(0.6666667, dtype=float32), upper=Array(1., dtype=float32))
        """
        _validate.scores_and_outcomes(scores, correct, weights)
        _validate.floating("scores", scores)
        _validate.rank("edges", edges, "edges")
        _validate.no_nan("edges", edges)
        scores = _numerics.at_least_float32(scores)
        edges = edges.astype(scores.dtype)
        counts = _weights.counted(weights, scores.shape[0])
        number = edges.shape[0] + 1
        place = jnp.searchsorted(edges, scores, side="right", method="scan_unrolled")

        def total(chosen: jax.Array) -> jax.Array:
            return _weights.segment_total(jnp.where(chosen, counts, 0), place, number)

        kept = counts > 0
        nowhere = jnp.where(kept, place, number)
        least = jax.ops.segment_min(scores, nowhere, number)
        most = jax.ops.segment_max(scores, nowhere, number)
        unknown = jnp.any(kept & jnp.isnan(scores))
        return cls(
            edges,
            total(correct != 0),
            total(correct == 0),
            jnp.where(unknown, jnp.nan, least),
            jnp.where(unknown, jnp.nan, most),
        )

    def merge(self, *others: "ScoreTotals") -> "ScoreTotals":
        """The totals of all batches together, in whatever order they come.

        Raises:
          ValueError: if the edges are known and differ.
        """
        whole = self
        for other in others:
            _same_edges(self.edges, other.edges)
            whole = ScoreTotals(
                self.edges,
                whole.right + other.right,
                whole.wrong + other.wrong,
                jnp.minimum(whole.lowest, other.lowest),
                jnp.maximum(whole.highest, other.highest),
            )
        return whole

    def over_devices(self, axis_name: str | tuple[str, ...]) -> "ScoreTotals":
        """The totals of the devices of an axis together, inside `jax.shard_map`."""
        lowest, highest = (
            jax.lax.all_gather(scores, axis_name)
            for scores in (self.lowest, self.highest)
        )
        return ScoreTotals(
            self.edges,
            jax.lax.psum(self.right, axis_name),
            jax.lax.psum(self.wrong, axis_name),
            jnp.min(lowest, axis=0),  # NaN stays NaN, unlike by `lax.pmin`
            jnp.max(highest, axis=0),
        )

    def auroc(self) -> Bounds:
        """Between which areas that of `metrics.auroc` lies; NaN as there."""
        below = _numerics.cumulative_sum(self.wrong) - self.wrong
        surely, at_most = self._within()
        return Bounds(*(self._area(below + won) for won in (surely, at_most)))

    def fpr_at_tpr(self, *, tpr: float = 0.95) -> Bounds:
        """Between which rates that of `metrics.fpr_at_tpr` lies; NaN as there."""
        _validate.fraction("tpr", tpr)
        right, wrong = (
            _numerics.cumulative_sum(counts[::-1])
            for counts in (self.right, self.wrong)
        )
        total = right[-1]
        enough = reaches(right, total, as_fraction(tpr)) & (right > 0)
        first = jnp.argmax(enough)
        with_bin, own = wrong[first], self.wrong[::-1][first]
        # Some right answer of the bin is needed; wrong ones may all be below it. All
        # are accepted with it where their scores are equal.
        without = jnp.where(self._tied()[::-1][first], with_bin, with_bin - own)
        ends = without, with_bin
        if tpr == 0:  # of the strictest threshold, which trusts nothing
            ends = (jnp.zeros_like(own),) * 2
        nothing_right = jnp.where(total == 0, jnp.nan, 0.0) + self._refused()
        return Bounds(*(share(count, wrong[-1]) + nothing_right for count in ends))

    def _tied(self) -> jax.Array:
        """Whether all scores of a bin are equal."""
        return self.lowest == self.highest

    def _within(self) -> tuple[jax.Array, jax.Array]:
        """How many wrong answers of its bin a right one outranks, a tie being half."""
        half = self.wrong / 2
        return (
            jnp.where(self._tied(), half, 0.0),
            jnp.where(self._tied(), half, self.wrong),
        )

    def _area(self, outranked: jax.Array) -> jax.Array:
        area = _numerics.accurate_sum(self.right * outranked)
        right, wrong = _weights.total(self.right), _weights.total(self.wrong)
        return share(share(area, right), wrong) + self._refused()

    def _refused(self) -> jax.Array:
        """NaN if a score was NaN, else 0."""
        return jnp.where(jnp.any(jnp.isnan(self.lowest)), jnp.nan, 0.0)


def _same_edges(one: jax.Array, other: jax.Array) -> None:
    if one.shape != other.shape:
        raise ValueError(
            f"totals must have the same edges, got {one.shape[0]} and {other.shape[0]}"
        )
    if (
        one is not other
        and _validate.is_known(one, other)
        and bool((one != other).any())
    ):
        raise ValueError("totals must have the same edges, got some that differ")
