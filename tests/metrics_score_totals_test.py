"""Rank metrics of scores that come in batches: the bounds hold, equal where known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests import metrics_problems
from tests.sharding_test import collectives_in
from trustjax import metrics
from trustjax.metrics import ScoreTotals

exhaustive = pytest.mark.exhaustive
EDGES = np.array([-1.0, -0.0, 0.25, 0.5, 3.0], np.float32)
of_batch = jax.jit(ScoreTotals.of_batch)


def exact(scores, correct, weights=None):
    return (
        metrics.auroc(scores, correct, weights=weights),
        metrics.fpr_at_tpr(scores, correct, tpr=0.8, weights=weights),
    )


@jax.jit
def bounds(totals):
    return totals.auroc(), totals.fpr_at_tpr(tpr=0.8)


def assert_between(found, expected, rounding=1e-6):
    for (lower, upper), value in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.isnan([lower, upper]), np.isnan(value))
        if not np.isnan(value):
            assert lower - rounding <= value <= upper + rounding


@settings(max_examples=30, derandomize=True, deadline=None)
@given(metrics_problems.tied_problems())
def test_the_metric_lies_between_its_bounds(problem):
    scores, correct = problem
    assert_between(
        bounds(of_batch(scores, correct, edges=EDGES)), exact(scores, correct)
    )


@exhaustive
@settings(max_examples=30, derandomize=True, deadline=None)
@given(metrics_problems.tied_problems())
def test_bins_of_one_score_are_exact(problem):
    scores, correct = problem
    edges = np.unique(scores)
    edges = np.pad(edges, (0, len(scores) - len(edges)), constant_values=np.inf)
    found = bounds(of_batch(scores, correct, edges=edges))
    for (lower, upper), value in zip(found, exact(scores, correct), strict=True):
        assert lower == upper
        np.testing.assert_allclose(lower, value, atol=1e-6)


def problem(size=96):
    rng = np.random.default_rng(0)
    scores = np.round(rng.normal(size=size), 1).astype(np.float32)
    scores[:4] = [np.inf, -np.inf, 7, -0.0]
    return scores, rng.random(size) < 0.6, rng.random(size).astype(np.float32)


@pytest.mark.parametrize(
    "kind",
    [
        "none",
        *(pytest.param(k, marks=exhaustive) for k in ("mask", "counts", "floats")),
    ],
)
def test_batches_merge_in_any_order(kind):
    scores, correct, chances = problem()
    weights = {
        "none": None,
        "mask": chances < 0.7,
        "counts": (3 * chances).astype(np.int32),
        "floats": chances,
    }[kind]
    whole = of_batch(scores, correct, edges=EDGES, weights=weights)
    parts = [
        of_batch(
            scores[part],
            correct[part],
            edges=EDGES,
            weights=None if weights is None else weights[part],
        )
        for part in np.split(np.arange(96), 4)
    ]
    a, b, c, d = parts
    for merged in (a.merge(b, c, d), d.merge(b).merge(c.merge(a))):
        for own, one in zip(merged, whole, strict=True):
            np.testing.assert_allclose(own, one, rtol=1e-6)
    assert_between(bounds(whole), exact(scores, correct, weights))


@exhaustive
def test_quantiles_leave_little_open():
    rng = np.random.default_rng(1)
    scores = np.tanh(3 * rng.normal(size=20_000)).astype(np.float32)
    correct = rng.random(20_000) < (scores + 2) / 4
    edges = ScoreTotals.edges_of(scores[:4000], bins=1000)
    lower, upper = ScoreTotals.of_batch(scores, correct, edges=edges).auroc()
    assert lower <= metrics.auroc(scores, correct) <= upper
    assert upper - lower < 2 / 1000


@pytest.mark.parametrize("kind", ["Explicit", pytest.param("Auto", marks=exhaustive)])
def test_devices_add_up_their_shares(kind):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType[kind],))
    scores, correct, _ = problem()
    rows = NamedSharding(mesh, P("data"))
    own = functools.partial(ScoreTotals.of_batch, edges=jnp.asarray(EDGES))
    together = jax.shard_map(
        lambda *share: own(*share).over_devices("data"),
        mesh=mesh,
        in_specs=(P("data"), P("data")),
        out_specs=P(),
        check_vma=False,
    )
    given = jax.device_put((jnp.asarray(scores), jnp.asarray(correct)), rows)
    program = jax.jit(together).lower(*given).compile()
    for got, expected in zip(program(*given), own(scores, correct), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert collectives_in(program.as_text()) == {"all-gather", "all-reduce"}


def test_what_is_not_counted():
    """NaN, one kind of answers, nothing at all; and what cannot be merged."""
    scores, correct, _ = problem()
    unknown = scores.copy()
    unknown[5] = np.nan
    with pytest.raises(ValueError, match="scores must not be NaN"):
        ScoreTotals.of_batch(unknown, correct, edges=EDGES)
    traced = of_batch(unknown, correct, edges=EDGES)
    mask = np.arange(96) != 5
    masked = of_batch(unknown, correct, edges=EDGES, weights=mask)
    assert_between(bounds(masked), exact(scores[mask], correct[mask]))
    one_kind = of_batch(scores, np.ones(96, bool), edges=EDGES)
    nothing = of_batch(scores, correct, edges=EDGES, weights=np.zeros(96, bool))
    for totals in (traced, traced.merge(masked), one_kind, nothing):
        assert np.isnan(bounds(totals)).all()
    other = of_batch(scores, correct, edges=EDGES + 1)
    with pytest.raises(ValueError, match="same edges, got some that differ"):
        masked.merge(other)
    with pytest.raises(ValueError, match="same edges, got 5 and 2"):
        masked.merge(of_batch(scores, correct, edges=EDGES[:2]))
