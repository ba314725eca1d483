"""Attacks on membership against loops in NumPy and SciPy."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from scipy import special, stats

from trustjax import interventions, losses
from trustjax.interventions import Shadows

NAN, INF = np.nan, np.inf
NETWORKS, EXAMPLES = 12, 16


@pytest.fixture
def made():
    """Members answer larger numbers, by which networks differ little."""
    rng = np.random.default_rng(0)
    members = np.stack([rng.permutation(NETWORKS) < 5 for _ in range(EXAMPLES)], axis=1)
    hardness = rng.normal(0, 3, EXAMPLES)
    values = hardness + 1.5 * members + rng.gumbel(0, 1, (NETWORKS, EXAMPLES))
    asked = hardness + rng.normal(0, 2, EXAMPLES)
    return asked, values, members


def by_loop(asked, values, members, online, fixed, released):
    middle, ddof = (np.median, 0) if released else (np.mean, 1)
    floor = (lambda s: s + 1e-30) if released else (lambda s: max(s, 1e-6))
    kinds = {}
    for kind, kept in (("in", members), ("out", ~members)):
        columns = [v[k] for v, k in zip(values.T, kept.T, strict=True)]
        if not fixed:
            deviations = [np.std(c, ddof=ddof) for c in columns]
        elif released:
            deviations = [np.std(np.concatenate(columns))] * EXAMPLES
        else:
            squares = sum(np.sum((c - c.mean()) ** 2) for c in columns)
            freedom = sum(len(c) - 1 for c in columns)
            deviations = [np.sqrt(squares / freedom)] * EXAMPLES
        kinds[kind] = [middle(c) for c in columns], [floor(s) for s in deviations]
    if released and fixed and online:
        kinds["out"] = kinds["out"][0], kinds["in"][1]
    density = {kind: stats.norm.logpdf(asked, *of) for kind, of in kinds.items()}
    if online:
        return density["in"] - density["out"]
    if released:
        return -density["out"]
    return stats.norm.cdf(asked, *kinds["out"])


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("reading", ["paper", "released"])
def test_lira_is_that_of_a_loop(made, online, fixed, reading):
    asked, values, members = made
    found = interventions.lira(
        jnp.asarray(asked),
        Shadows(jnp.asarray(values), jnp.asarray(members)),
        online=online,
        fixed_variance=fixed,
        reading=reading,
    )
    expected = by_loop(asked, values, members, online, fixed, reading == "released")
    if not online and reading == "paper":
        found = special.ndtr(np.float64(found))
    if not online and reading == "released":
        expected = expected - np.log(2 * np.pi) / 2  # a constant, which ranks nothing
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-4)


def test_lira_finds_members_that_a_threshold_does_not(made):
    _, values, members = made
    shadows = Shadows(jnp.asarray(values[1:]), jnp.asarray(members[1:]))
    found = interventions.lira(jnp.asarray(values[0]), shadows)
    by_threshold, by_lira = (
        stats.mannwhitneyu(s[members[0]], s[~members[0]]).statistic
        for s in (values[0], np.asarray(found))
    )
    assert by_lira > by_threshold


def test_a_jitted_and_sharded_lira_is_the_same(made):
    asked, values, members = (jnp.asarray(array) for array in made)
    of = lambda asked, values, members: interventions.lira(
        asked, Shadows(values, members)
    )
    alone = of(asked, values, members)
    for kind in AxisType.Auto, AxisType.Explicit:
        mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
        rows, columns = (NamedSharding(mesh, p) for p in (P("data"), P(None, "data")))
        found = jax.jit(of)(
            jax.device_put(asked, rows), *jax.device_put((values, members), columns)
        )
        assert found.sharding.is_equivalent_to(rows, 1)
        np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-5)


def test_networks_that_answer_alike_make_no_infinite_score():
    members = jnp.array([[True], [True], [False], [False]])
    shadows = Shadows(jnp.array([[1.0], [1.0], [0.0], [0.0]]), members)
    found = interventions.lira(jnp.array([1.0]), shadows)
    assert np.isfinite(found).all()
    assert found > 0


def test_under_jit_too_few_networks_give_nan(made):
    asked, values, members = made
    members = members.copy()
    members[:, 3] = False
    members[0, 3] = True
    of = jax.jit(lambda m: interventions.lira(jnp.asarray(asked), Shadows(values, m)))
    found = of(jnp.asarray(members))
    assert np.isnan(found[3])
    assert np.isfinite(np.delete(found, 3)).all()


@pytest.mark.parametrize("kind", [np.float32, jnp.bfloat16])
def test_log_odds_are_those_of_the_true_label(kind):
    rng = np.random.default_rng(1)
    z = np.asarray(jnp.asarray(rng.normal(0, 5, (20, 6)), kind), np.float64)
    labels = rng.integers(0, 6, 20)
    found = interventions.label_log_odds(jnp.asarray(z, kind), jnp.asarray(labels))
    p = special.softmax(z, axis=-1)[range(20), labels]
    np.testing.assert_allclose(found, special.logit(p), rtol=1e-4, atol=1e-5)
    loss = losses.cross_entropy(jnp.asarray(z, jnp.float32), jnp.asarray(labels))
    np.testing.assert_allclose(-np.log1p(np.exp(-np.float64(found))), -loss, rtol=1e-3)


@pytest.mark.parametrize(
    ("z", "label", "expected"),
    [
        ([500.0, 0.0, 0.0], 0, 500 - np.log(2)),
        ([0.0, 500.0], 0, -500.0),
        ([3.0], 0, INF),
        ([NAN, 0.0], 1, NAN),
    ],
)
def test_edge_case_of_log_odds(z, label, expected):
    of = interventions.label_log_odds
    np.testing.assert_allclose(of(jnp.array([z]), jnp.array([label])), [expected])


def test_columns_of_an_attack_are_those_of_a_loop():
    rng = np.random.default_rng(2)
    z, labels = rng.normal(0, 2, (9, 4)).astype(np.float32), rng.integers(0, 4, 9)
    found = interventions.attack_columns(jnp.asarray(z), jnp.asarray(labels))
    p = special.softmax(z, axis=-1)
    for rank in range(4):
        np.testing.assert_allclose(
            found[f"probability_{rank + 1}"], np.sort(p)[:, ::-1][:, rank], rtol=1e-5
        )
    own = p[range(9), labels]
    np.testing.assert_allclose(found["label_probability"], own, rtol=1e-5)
    np.testing.assert_array_equal(found["label_rank"], (p > own[:, None]).sum(1))
    np.testing.assert_allclose(found["label_log_odds"], special.logit(own), rtol=1e-4)
    compiled = jax.jit(interventions.attack_columns)(z, labels)
    chex.assert_trees_all_close(compiled, found, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reading": "mean"}, "reading must be one of paper, released, got 'mean'"),
        (
            {"members": np.ones((NETWORKS, EXAMPLES), bool)},
            "2 or more shadow networks without each example, got 0 for example 0",
        ),
        (
            {"members": np.zeros((NETWORKS, EXAMPLES), bool)},
            r"shadow networks with each example, got 0 for example 0 \(16 such\)",
        ),
        ({"members": np.ones((NETWORKS, 3), bool)}, "must have the same shape"),
        ({"asked": np.zeros(3)}, "values has 3, examples_of_shadows has 16"),
    ],
)
def test_bad_input_is_named(made, change, message):
    asked, values, members = made
    given = {"asked": asked, "members": members} | change
    attack = functools.partial(
        interventions.lira, reading=change.get("reading", "paper")
    )
    with pytest.raises(ValueError, match=message):
        attack(given["asked"], Shadows(jnp.asarray(values), given["members"]))


def test_the_fixed_rule_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    member = rng.random(200) < 0.4
    loss = rng.exponential(np.where(member, 0.2, 0.5)).astype(np.float32)
    mean = float(loss[member].mean())
    said = interventions.below_mean_loss(jnp.asarray(loss), mean)
    counted = {(a, b): 0 for a in (False, True) for b in (False, True)}
    for one, is_member in zip(loss, member, strict=True):
        counted[bool(one <= mean), bool(is_member)] += 1
    true = counted[True, True] / member.sum()
    false = counted[True, False] / (~member).sum()
    found = interventions.membership_advantage(said, jnp.asarray(member))
    np.testing.assert_allclose(
        found, (true, false, (true + 1 - false) / 2, true - false), rtol=1e-6
    )
    assert found.advantage > 0


@pytest.mark.parametrize(
    ("mean", "expected"),
    [
        (0.5, [True, True, False, False, False]),
        (NAN, [False] * 5),
        (INF, [True, True, True, True, False]),
    ],
)
def test_edges_of_the_fixed_rule(mean, expected):
    loss = jnp.array([0.0, 0.5, 0.75, INF, NAN])
    of = jax.jit(interventions.below_mean_loss)
    np.testing.assert_array_equal(of(loss, mean), expected)
    half = interventions.below_mean_loss(loss.astype(jnp.bfloat16), jnp.array(mean))
    np.testing.assert_array_equal(half, expected)


@pytest.mark.parametrize(
    ("said", "members", "expected"),
    [
        ([1, 0], [1, 1], (0.5, NAN, NAN, NAN)),
        ([1, 0], [0, 0], (NAN, 0.5, NAN, NAN)),
        ([], [], (NAN, NAN, NAN, NAN)),
        ([1, 1, 1], [1, 0, 0], (1.0, 1.0, 0.5, 0.0)),
        ([0, 1, 1], [1, 0, 0], (0.0, 1.0, 0.0, -1.0)),
    ],
)
def test_edges_of_the_advantage(said, members, expected):
    said, members = (jnp.array(of, bool) for of in (said, members))
    found = jax.jit(interventions.membership_advantage)(said, members)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.usefixtures("without_type_checks")
def test_bad_decisions_are_named():
    advantage = interventions.membership_advantage
    with pytest.raises(TypeError, match="said must be boolean or 0 and 1, got float"):
        advantage(np.array([0.5]), np.array([1]))
    with pytest.raises(ValueError, match="same shape"):
        advantage(np.array([1]), np.array([1, 0]))
    with pytest.raises(ValueError, match=r"losses must have shape \[batch\]"):
        interventions.below_mean_loss(jnp.ones((2, 2)), 0.5)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_decisions_and_masks_of_a_sharded_batch_are_the_same(kind):
    rng = np.random.default_rng(0)
    loss = jnp.asarray(rng.exponential(size=16), jnp.float32)
    maps = jnp.asarray(rng.normal(size=(16, 3, 4)), jnp.float32)

    def of(loss, maps):
        said = interventions.below_mean_loss(loss, 0.7)
        return said, interventions.highest_shares(maps, (0.25, 0.5))

    alone = jax.jit(of)(loss, maps)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    rows = NamedSharding(mesh, P("data"))
    said, masks = jax.jit(of)(*jax.device_put((loss, maps), rows))
    assert said.sharding.is_equivalent_to(rows, 1)
    np.testing.assert_array_equal(said, alone[0])
    np.testing.assert_array_equal(masks, alone[1])
    of_rows = jax.jit(jax.vmap(lambda m: interventions.highest_shares(m[None], (0.5,))))
    np.testing.assert_array_equal(of_rows(maps)[:, 0, 0], alone[1][1])
