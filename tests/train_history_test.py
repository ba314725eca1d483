"""The history of right answers, and the ranking loss of Moon et al. that it serves."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

from trustjax.train import CorrectnessHistory, correctness_ranking_loss


def by_loop(confidence, correctness, mask):
    """Equation 2 of the paper, pair by pair."""
    found = []
    for i in range(len(confidence)):
        j = (i + 1) % len(confidence)
        sign = 0
        if correctness[i] != correctness[j]:
            sign = 1 if correctness[i] > correctness[j] else -1
        margin = abs(correctness[i] - correctness[j])
        loss = max(0.0, -sign * (confidence[i] - confidence[j]) + margin)
        found.append(loss if mask[i] and mask[j] else 0.0)
    return found


def problem(size=16, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    confidence = jnp.asarray(rng.uniform(size=size), dtype)
    correctness = jnp.asarray(rng.integers(0, 5, size) / 4, dtype)
    return confidence, correctness, jnp.asarray(rng.uniform(size=size) < 0.8)


@jax.jit
def loss_of(confidence, correctness, mask):
    return correctness_ranking_loss(confidence, correctness, mask=mask)


def test_it_is_equation_2_of_each_pair():
    given = problem()
    expected = by_loop(*map(np.asarray, given))
    np.testing.assert_allclose(loss_of(*given), expected, atol=1e-6)
    assert 0 < np.count_nonzero(expected) < len(expected)
    everything = loss_of(*given[:2], jnp.ones(16, bool))
    np.testing.assert_array_equal(loss_of(*given[:2], None), everything)


def test_by_hand():
    # 0.5 against 0.75 shall be 0.75 surer and is 0.25 less sure: 1. The second is 0.25
    # surer than the third, which it need not be: 0. The third shall be 0.75 less sure
    # than the first, and is as sure: 0.75.
    sure, right = jnp.array([0.5, 0.75, 0.5]), jnp.array([1.0, 0.25, 0.25])
    np.testing.assert_array_equal(correctness_ranking_loss(sure, right), [1, 0, 0.75])


def test_its_mean_is_the_margin_ranking_loss_of_the_authors():
    """max(0, -t (x1 - x2)) with x2 moved by the margin over t, and t = 0 for ties."""
    confidence, correctness, _ = problem()
    confidence, correctness = np.asarray(confidence), np.asarray(correctness)
    target = np.sign(correctness - np.roll(correctness, -1))
    margin = np.abs(correctness - np.roll(correctness, -1))
    moved = np.roll(confidence, -1) + margin / np.where(target == 0, 1, target)
    expected = np.maximum(0, -target * (confidence - moved)).mean()
    found = loss_of(jnp.asarray(confidence), jnp.asarray(correctness), None)
    np.testing.assert_allclose(np.mean(found), expected, rtol=1e-6)


def test_edge_cases():
    assert loss_of(jnp.array([0.3]), jnp.array([1.0]), None) == 0
    total = lambda sure, right: loss_of(sure, right, None).sum()
    slope = jax.jit(jax.value_and_grad(total))
    value, gradient = slope(jnp.array([0.9, 0.1, 0.4]), jnp.full(3, 0.5))
    assert value == 0
    assert not np.any(gradient)
    unknown = jnp.array([jnp.nan, 0.2, 0.1])
    found = loss_of(unknown, jnp.array([1.0, 0.0, 0.5]), None)
    assert np.isnan(found).tolist() == [True, False, True]


def test_jit_vmap_and_bfloat16():
    given = problem()
    eager = correctness_ranking_loss(*given[:2], mask=given[2])
    np.testing.assert_allclose(loss_of(*given), eager, atol=1e-6)
    rows = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[::-1]]), given)
    found = np.asarray(jax.jit(jax.vmap(loss_of))(*rows))
    for row in range(2):
        expected = loss_of(*(leaf[row] for leaf in rows))
        np.testing.assert_allclose(found[row], expected, atol=1e-6)
    small = loss_of(*problem(dtype=jnp.bfloat16))
    assert small.dtype == jnp.float32
    np.testing.assert_allclose(small, eager, atol=0.02)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_sharded_is_unsharded(axis_type):
    given = problem()
    mesh = jax.make_mesh((8,), ("data",), axis_types=(axis_type,))
    with jax.set_mesh(mesh):
        spread = jax.device_put(given, jax.NamedSharding(mesh, jax.P("data")))
        found = loss_of(*spread)
    np.testing.assert_allclose(found, loss_of(*given), atol=1e-6)


def test_its_slope_is_that_of_differences():
    confidence, correctness, mask = problem()
    total = lambda confidence: loss_of(confidence, correctness, mask).sum()
    slope = np.asarray(jax.jit(jax.grad(total))(confidence))
    for place in range(0, 16, 5):
        step = np.zeros(16, np.float32)
        step[place] = 1e-3
        rise = (total(confidence + step) - total(confidence - step)) / 2e-3
        np.testing.assert_allclose(slope[place], rise, atol=1e-2)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((jnp.zeros(3), jnp.zeros(2)), "confidence.*correctness"),
        ((jnp.zeros((3, 2)), jnp.zeros(3)), r"confidence must have shape \[batch\]"),
    ],
)
def test_bad_input_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        correctness_ranking_loss(*given)


def test_a_history_counts_each_record_that_is_no_padding():
    rng = np.random.default_rng(0)
    right, seen = np.zeros(10, int), np.zeros(10, int)
    history = CorrectnessHistory.empty(10)
    assert not history.correctness.any()
    after = jax.jit(lambda history, *batch: history.after(*batch))
    for _ in range(5):
        records = rng.permutation(10)[:4]
        outcome, mask = rng.random((2, 4)) < 0.6
        history = after(history, *map(jnp.asarray, (records, outcome, mask)))
        for record, was_right, counts in zip(records, outcome, mask, strict=True):
            seen[record] += counts
            right[record] += counts and was_right
    np.testing.assert_array_equal(history.right, right)
    np.testing.assert_array_equal(history.seen, seen)
    share = right / np.maximum(seen, 1)
    np.testing.assert_allclose(history.correctness, share, rtol=1e-6)


def test_going_down_it_puts_confidence_in_the_order_of_the_history():
    confidence = jax.nn.sigmoid
    correctness = jnp.array([1.0, 0.5, 0.0, 0.25])
    term = lambda z: correctness_ranking_loss(confidence(z), correctness).mean()
    z, optimizer = jnp.zeros(4), optax.sgd(1.0)
    state, before = optimizer.init(z), term(z)

    @jax.jit
    def step(z, state):
        updates, state = optimizer.update(jax.grad(term)(z), state)
        return optax.apply_updates(z, updates), state

    for _ in range(200):
        z, state = step(z, state)
    assert term(z) < 0.2 * before
    assert np.argsort(confidence(z)).tolist() == np.argsort(correctness).tolist()
