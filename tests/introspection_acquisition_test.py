"""Which records are asked first: against loops over whole gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from trustjax import introspection, scores

POOL, CLASSES, WIDTH = 64, 4, 6
KEY = jax.random.key(0)


def pool(seed=0) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    logits, embedding = (rng.normal(size=(POOL, n)) for n in (CLASSES, WIDTH))
    return jnp.asarray(logits, jnp.float32), jnp.asarray(embedding, jnp.float32)


def by_loop(logits, embedding, budget, key, available=None):
    """k-means++ on the outer products, one draw at a time, by the same keys."""
    z, h = (np.asarray(a, np.float64) for a in (logits, embedding))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    p[np.arange(len(p)), p.argmax(axis=1)] -= 1
    whole = (p[:, :, None] * h[:, None, :]).reshape(len(p), -1)
    left = np.ones(len(p), bool) if available is None else np.array(available)
    sizes = (whole**2).sum(axis=1)
    chosen = [int(np.where(left, sizes, -1).argmax())]
    for one in jax.random.split(key, budget)[1:]:
        left[chosen] = False
        apart = whole[:, None] - whole[chosen][None]
        nearest = np.where(left, (apart**2).sum(axis=2).min(axis=1), 0)
        with np.errstate(divide="ignore"):
            draw = jax.random.categorical(one, jnp.float32(np.log(nearest)))
        chosen.append(int(draw))
    return chosen


def test_badge_is_k_means_plus_plus_on_whole_gradients():
    asked = jax.jit(
        lambda there: introspection.badge(*pool(), 9, key=KEY, available=there)
    )
    for available in (jnp.ones(POOL, bool), jnp.arange(POOL) % 3 > 0):
        ours = asked(available).tolist()
        assert ours == by_loop(*pool(), 9, KEY, available)


@pytest.mark.exhaustive
def test_badge_takes_one_of_each_kind_before_a_second():
    logits = jnp.zeros((9, 3)).at[jnp.arange(9), jnp.arange(9) % 3].set(0.1)
    embedding = jnp.ones((9, 2))
    asked = jax.jit(lambda key: introspection.badge(logits, embedding, 9, key=key))
    for seed in range(5):
        chosen = asked(jax.random.key(seed))
        assert sorted(chosen.tolist()) == list(range(9))  # duplicates come last
        assert sorted((chosen[:3] % 3).tolist()) == [0, 1, 2]


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_badge_of_a_sharded_pool(kind):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType[kind],))
    placed = jax.device_put(pool(), NamedSharding(mesh, PartitionSpec("data")))
    asked = jax.jit(lambda z, h: introspection.badge(z, h, 5, key=KEY))
    np.testing.assert_array_equal(asked(*placed), asked(*pool()))


def test_what_is_trusted_least_is_asked_first():
    logits, _ = pool()
    trust = scores.margin(logits)
    ours = introspection.least_trusted(trust, 10)
    np.testing.assert_array_equal(ours, np.argsort(trust, stable=True)[:10])
    available = jnp.arange(POOL) >= 32
    ours = introspection.least_trusted(trust, 32, available=available)
    np.testing.assert_array_equal(ours, 32 + np.argsort(trust[32:], stable=True))


def test_ties_and_unknowns_of_scores():
    trust = jnp.array([jnp.nan, 1.0, -jnp.inf, 1.0, jnp.inf])
    ours = introspection.least_trusted(trust, 5)
    np.testing.assert_array_equal(ours, [2, 1, 3, 4, 0])


def first_ones(labels, size, key):
    """The first of each class, then all others, in one random order."""
    order = np.asarray(jax.random.permutation(key, len(labels)))
    firsts, others, seen = [], [], set()
    for record in order:
        label = int(labels[record])
        (others if label in seen else firsts).append(int(record))
        seen.add(label)
    return (firsts + others)[:size]


def test_an_initial_pool_has_every_class():
    labels = jnp.asarray(
        np.random.default_rng(0).choice(4, POOL, p=[0.7, 0.2, 0.08, 0.02])
    )
    for size in (4, 9, POOL):
        drawn = jax.jit(
            lambda key, size=size: introspection.initial_pool(
                labels, size, num_classes=4, key=key
            )
        )
        for seed in range(3):
            key = jax.random.key(seed)
            ours = drawn(key).tolist()
            assert ours == first_ones(labels, size, key)
            assert set(labels[jnp.asarray(ours)].tolist()) == {0, 1, 2, 3}
    asked = jax.jit(lambda y: introspection.initial_pool(y, 3, num_classes=2, key=KEY))
    only_one = asked(jnp.zeros(POOL, int))  # not known under jit
    assert len(set(only_one.tolist())) == 3


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_an_initial_pool_of_sharded_labels(kind):
    labels = jnp.arange(POOL) % 3
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType[kind],))
    placed = jax.device_put(labels, NamedSharding(mesh, PartitionSpec("data")))
    asked = jax.jit(lambda y: introspection.initial_pool(y, 7, num_classes=3, key=KEY))
    np.testing.assert_array_equal(asked(placed), asked(labels))


@pytest.mark.usefixtures("without_type_checks")
class TestBadInput:
    def test_a_class_without_a_record(self):
        labels = jnp.arange(POOL) % 3
        draw = lambda labels, size, classes: introspection.initial_pool(
            labels, size, num_classes=classes, key=KEY
        )
        with pytest.raises(ValueError, match="class 3 of 4 has none"):
            draw(labels, 9, 4)
        with pytest.raises(ValueError, match="size must be an integer >= 3 and <= 64"):
            draw(labels, 2, 3)
        with pytest.raises(ValueError, match="size must be an integer >= 3 and <= 64"):
            draw(labels, POOL + 1, 3)
        with pytest.raises(ValueError, match=r"labels must be in \[0, 2\)"):
            draw(labels, 9, 2)
        with pytest.raises(TypeError, match="labels must be integers"):
            draw(labels * 1.0, 9, 3)

    @pytest.mark.parametrize("budget", [0, POOL + 1, 1.5])
    def test_a_budget_that_the_pool_has_not(self, budget):
        with pytest.raises(
            ValueError, match="budget must be an integer >= 1 and <= 64"
        ):
            introspection.badge(*pool(), budget, key=KEY)
        with pytest.raises(
            ValueError, match="budget must be an integer >= 1 and <= 64"
        ):
            introspection.least_trusted(jnp.ones(POOL), budget)

    def test_a_budget_that_is_not_left(self):
        few = jnp.arange(POOL) < 3
        with pytest.raises(ValueError, match="at most the 3 available, got 4"):
            introspection.badge(*pool(), 4, key=KEY, available=few)

    def test_what_is_available_of_another_pool(self):
        with pytest.raises(ValueError, match="available must be 64 booleans"):
            introspection.least_trusted(jnp.ones(POOL), 2, available=jnp.ones(3, bool))
