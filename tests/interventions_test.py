"""Uncertainty over interventions, sufficiency and necessity, against loops."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from scipy import special, stats

from tests import problems
from trustjax import explain, interventions, scores

NAN = np.nan
MEMBERS, BATCH, CLASSES = 6, 5, 4


@pytest.fixture
def probabilities():
    rng = np.random.default_rng(0)
    return rng.dirichlet(0.3 * np.ones(CLASSES), (MEMBERS, BATCH)).astype(np.float32)


def by_loop(probabilities, kind):
    """Total, between and within, of each example by itself, in 64 bits."""

    def of_one(p):
        if kind == "gini":
            return sum(p_c * (1 - p_c) for p_c in p)
        return stats.entropy(p)

    rows = []
    for example in np.moveaxis(probabilities.astype(np.float64), 1, 0):
        members = [p / p.sum() for p in example]
        mean = sum(members) / len(members)
        if kind == "gini":
            apart = [sum((p - mean) ** 2) for p in members]
        else:
            apart = [stats.entropy(p, mean) for p in members]
        within = np.mean(np.array([of_one(p) for p in members]))
        rows.append((of_one(mean), np.mean(apart), within))
    return np.transpose(rows)


@pytest.mark.parametrize("kind", ["gini", "entropy"])
def test_the_split_is_that_of_a_loop(probabilities, kind):
    found = interventions.predictive_uncertainty(probabilities, kind=kind)
    total, between, within = by_loop(probabilities, kind)
    np.testing.assert_allclose(found.total, total, rtol=1e-5)
    np.testing.assert_allclose(found.between, between, rtol=1e-5)
    np.testing.assert_allclose(found.within, within, rtol=1e-5)
    np.testing.assert_allclose(found.between + found.within, found.total, atol=1e-6)


def test_the_entropies_are_those_of_dropout(probabilities):
    found = interventions.predictive_uncertainty(probabilities, kind="entropy")
    logits = jnp.log(jnp.moveaxis(jnp.asarray(probabilities), 0, 1))
    for part, score in (
        (found.total, scores.negative_predictive_entropy),
        (found.between, scores.negative_mutual_information),
        (found.within, scores.negative_expected_entropy),
    ):
        np.testing.assert_allclose(part, -score(logits, normalised=False), rtol=1e-5)


@pytest.mark.parametrize("kind", ["gini", "entropy"])
def test_members_that_nearly_agree_and_are_nearly_sure_keep_their_digits(kind):
    small = np.array([[1e-6, 3e-6], [2e-6, 1e-6]])
    p = np.concatenate([1 - small.sum(1, keepdims=True), small], axis=1)[:, None]
    found = interventions.predictive_uncertainty(p.astype(np.float32), kind=kind)
    total, between, within = by_loop(p, kind)
    np.testing.assert_allclose(found.total, total, rtol=1e-5)
    np.testing.assert_allclose(found.between, between, rtol=1e-2, atol=1e-13)
    np.testing.assert_allclose(found.within, within, rtol=1e-5)


@pytest.mark.parametrize(
    ("members", "kind", "expected"),
    [
        ([[0.5, 0.5]], "gini", (0.5, 0.0, 0.5)),
        ([[1.0], [1.0]], "entropy", (0.0, 0.0, 0.0)),
        ([[1.0, 0.0], [0.0, 1.0]], "entropy", (np.log(2), np.log(2), 0.0)),
        ([[1.0, 0.0], [1.0, 0.0]], "gini", (0.0, 0.0, 0.0)),
        ([[NAN, 0.5], [0.5, 0.5]], "gini", (NAN, NAN, NAN)),
        ([[NAN, 0.5], [0.5, 0.5]], "entropy", (NAN, NAN, NAN)),
    ],
)
def test_edge_case(members, kind, expected):
    p = jnp.array(members)[:, None]
    of = functools.partial(interventions.predictive_uncertainty, kind=kind)
    found = jax.jit(of)(p)  # where NaN is a value, and no mistake
    parts = (found.total[0], found.between[0], found.within[0])
    np.testing.assert_allclose(parts, expected, atol=1e-7)


def test_nan_is_refused_where_it_can_be_seen():
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], got nan at index"):
        interventions.predictive_uncertainty(np.full((2, 1, 2), NAN))


@pytest.mark.parametrize("kind", ["gini", "entropy"])
def test_parts_of_a_family_merge_to_the_whole(probabilities, kind):
    of = functools.partial(interventions.predictive_uncertainty, kind=kind)
    whole = of(probabilities)
    merged = of(probabilities[:1]).merge(of(probabilities[1:3]))
    merged = merged.merge(of(probabilities[3:]))
    chex.assert_trees_all_close(merged, whole, rtol=1e-5, atol=1e-6)


def test_what_does_not_belong_together_is_not_merged(probabilities):
    gini = interventions.predictive_uncertainty(probabilities)
    entropy = interventions.predictive_uncertainty(probabilities, kind="entropy")
    with pytest.raises(ValueError, match="kinds must be the same, got gini and entr"):
        gini.merge(entropy)
    with pytest.raises(ValueError, match="must have the same shape"):
        gini.merge(interventions.predictive_uncertainty(probabilities[:, :2]))


def family_of(x):
    """Images of which seven masks each keep a part."""
    masks = explain.random_masks(jax.random.key(7), 7, x.shape[1:3], cells=3)
    return interventions.masked(masks[:, None], baseline="zero")


def mask_of(x):
    return jax.random.uniform(jax.random.key(8), x.shape[:3])


def others():
    """Four images beside each of the batch."""
    _, _, x = problems.get("cnn")
    return jnp.stack([jnp.roll(x, shift, axis=0) for shift in range(1, 5)])


def uncertainty(apply_fn, params, x, **options):
    return interventions.predictive_uncertainty_of(
        apply_fn, params, x, family_of(x), **options
    )


def sufficient(apply_fn, params, x, **options):
    family = interventions.given(others())
    return interventions.sufficiency(apply_fn, params, x, mask_of(x), family, **options)


def needed(apply_fn, params, x, **options):
    family = interventions.given(others())
    return interventions.necessity(apply_fn, params, x, mask_of(x), family, **options)


def test_the_uncertainty_of_a_network_is_that_of_a_loop_over_members():
    apply_fn, params, x = problems.get("cnn")
    family, one = family_of(x), jax.jit(apply_fn)
    each = [np.asarray(one(params, family(x, n))) for n in range(family.count)]
    logits = np.stack(each)
    expected = interventions.predictive_uncertainty(jax.nn.softmax(logits))
    for microbatch in (None, 1, 3):
        of = functools.partial(uncertainty, apply_fn, microbatch=microbatch)
        found = jax.jit(of)(params, x)
        chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("output", ["probabilities", "decisions"])
def test_effects_are_those_of_a_loop_over_members(output):
    apply_fn, params, x = problems.get("cnn")
    mask, one = np.asarray(mask_of(x))[..., None], jax.jit(apply_fn)
    target = np.asarray(one(params, x)).argmax(axis=-1)

    def answers(keep):
        for other in others():
            z = np.asarray(one(params, keep * x + (1 - keep) * other))
            if output == "decisions":
                yield z.argmax(-1) == target
            else:
                yield special.softmax(z, axis=-1)[range(len(z)), target]

    kept, lost = np.array(list(answers(mask))), 1 - np.array(list(answers(1 - mask)))
    for of, values in ((sufficient, kept), (needed, lost)):
        for microbatch in (None, 3):
            ask = functools.partial(of, output=output, microbatch=microbatch)
            found = jax.jit(functools.partial(ask, apply_fn))(params, x)
            np.testing.assert_allclose(found.value, values.mean(0), rtol=1e-4)
            np.testing.assert_allclose(
                found.standard_error, values.std(0, ddof=1) / 2, rtol=1e-4, atol=1e-6
            )


def test_an_effect_of_one_member_has_no_standard_error():
    apply_fn, params, x = problems.get("cnn")
    alone = interventions.given(x[None, :1])
    found = interventions.sufficiency(apply_fn, params, x, mask_of(x), alone)
    assert np.isfinite(found.value).all()
    assert np.isnan(found.standard_error).all()


def test_a_mask_of_all_is_sufficient_and_an_empty_one_is_not_needed():
    apply_fn, params, x = problems.get("cnn")
    family = interventions.given(others())
    sure = special.softmax(jax.jit(apply_fn)(params, x), axis=-1).max(axis=-1)
    ones = jnp.ones(x.shape[:3])
    all_kept = interventions.sufficiency(apply_fn, params, x, ones, family)
    none_lost = interventions.necessity(apply_fn, params, x, 0 * ones, family)
    np.testing.assert_allclose(all_kept.value, sure, rtol=1e-5)
    np.testing.assert_allclose(none_lost.value, 1 - sure, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(all_kept.standard_error, 0, atol=1e-6)


@pytest.mark.parametrize("of", [uncertainty, sufficient, needed])
class TestBattery:
    @pytest.mark.parametrize("kind", ["Auto", "Explicit"])
    def test_sharded_is_unsharded_and_stays_sharded(self, of, kind):
        apply_fn, params, x = problems.get("cnn")
        mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType[kind],))
        sharding = NamedSharding(mesh, P("data"))
        found = jax.jit(functools.partial(of, apply_fn))(
            jax.device_put(params, NamedSharding(mesh, P())),
            jax.device_put(x, sharding),
        )
        for leaf in jax.tree.leaves(found)[:4]:  # the fifth is how many members
            assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim)
        alone = jax.jit(functools.partial(of, apply_fn))(params, x)
        chex.assert_trees_all_close(found, alone, rtol=1e-4, atol=1e-6)

    def test_half_precision_and_derivatives(self, of):
        apply_fn, params, x = problems.get("cnn")
        halved = lambda a: a.astype(jnp.bfloat16) if a.dtype == jnp.float32 else a
        ask = functools.partial(of, apply_fn)
        half = jax.jit(ask)(*jax.tree.map(halved, (params, x)))
        whole = jax.jit(ask)(params, x)
        for ours, exact in zip(
            jax.tree.leaves(half), jax.tree.leaves(whole), strict=True
        ):
            assert ours.dtype == jnp.float32
            np.testing.assert_allclose(ours, exact, atol=0.05)
        first = lambda params: jnp.sum(jax.tree.leaves(ask(params, x))[0])
        leaves = jax.tree.leaves(jax.jit(jax.grad(first))(params))
        assert all(np.isfinite(leaf).all() for leaf in leaves)
        assert any(np.any(leaf) for leaf in leaves)


def test_a_family_of_ones_own_and_of_another_kind_of_input():
    def dropped(data, x, number):
        keep = jax.random.bernoulli(jax.random.fold_in(data, number), 0.5, x.shape)
        return jnp.where(keep, x, 0)

    family = interventions.Family(dropped, jax.random.key(0), count=9)
    tokens = jnp.arange(12).reshape(3, 4)
    network = lambda params, x: params[x].sum(1)
    table = jax.random.normal(jax.random.key(1), (12, CLASSES))
    found = interventions.predictive_uncertainty_of(network, table, tokens, family)
    z = np.array([np.asarray(network(table, family(tokens, n))) for n in range(9)])
    p = special.softmax(z, axis=-1)
    expected = interventions.predictive_uncertainty(p)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-6)


X = jnp.zeros((2, 4, 4, 1))


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: interventions.given(np.ones((0, 2, 4))), "at least one member, got"),
        (lambda: interventions.masked(np.ones((0, 2, 4, 4))), "at least one member"),
        (
            lambda: ask(interventions.Family(lambda d, x, n: x, None, 0)),
            "members of the family must be an integer >= 1, got 0",
        ),
        (
            lambda: ask(interventions.Family(lambda d, x, n: x[:, 1:], None, 3)),
            r"must have the shape of x, \(2, 4, 4, 1\), got \(2, 3, 4, 1\)",
        ),
        (
            lambda: ask(interventions.given(np.ones((3, 2, 5, 4, 1)))),
            r"must broadcast to \(2, 4, 4, 1\), got \(2, 5, 4, 1\)",
        ),
        (
            lambda: ask(interventions.masked(np.ones((3, 2, 4, 5)))),
            r"keep must have shape \[batch, ..., 4, 4\]",
        ),
        (
            lambda: ask(interventions.given(X[None]), kind="variance"),
            "kind must be one of gini, entropy, got 'variance'",
        ),
        (
            lambda: ask(interventions.given(X[None]), microbatch=2),
            "microbatch must be an integer >= 1 and <= 1, got 2",
        ),
        (
            lambda: interventions.predictive_uncertainty(np.ones((0, 2, 3))),
            "at least one member and class, got",
        ),
        (
            lambda: interventions.predictive_uncertainty(2 * np.ones((1, 2, 3))),
            r"probabilities must be in \[0, 1\], got 2.0",
        ),
        (
            lambda: interventions.sufficiency(
                sums, None, X, X[..., 0], interventions.given(X[None]), target=4
            ),
            r"target must be in \[0, 4\)",
        ),
        (
            lambda: interventions.necessity(
                sums, None, X, X[:, 1:, :, 0], interventions.given(X[None])
            ),
            r"keep must have shape \[batch, ..., 4, 4\]",
        ),
        (
            lambda: interventions.necessity(
                sums, None, X, X[..., 0], interventions.given(X[None]), output="logits"
            ),
            "output must be one of probabilities, decisions, got 'logits'",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def sums(params, x):
    return x.sum((2, 3))


def ask(family, **options):
    return interventions.predictive_uncertainty_of(sums, None, X, family, **options)
