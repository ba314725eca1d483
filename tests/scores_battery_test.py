"""What every score must do, found through the registry."""

import functools

import chex
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from trustjax import scores
from trustjax.statistics import GradientStatistics
from trustjax.typing import LastLayer

EXAMPLES, CLASSES, FEATURES = 16, 7, 5


def _fitted_states():
    """The states of the scores that are fitted, on one small training set."""
    features = jax.random.normal(jax.random.key(3), (64, FEATURES))
    labels = np.arange(64) % CLASSES
    keys = jax.random.split(jax.random.key(5))
    kernel = jax.random.normal(keys[0], (FEATURES, CLASSES))
    last_layer = LastLayer(kernel, jax.random.normal(keys[1], (CLASSES,)))
    logits = features @ kernel + last_layer.bias[None]
    return {
        "last_layer": last_layer,
        "p_norm_state": scores.PNormState(3),
        "feature_mean_state": scores.fit_feature_mean(features),
        "unit_mahalanobis_state": scores.fit_mahalanobis_plus_plus(features, labels),
        "vim_state": scores.fit_vim(features, last_layer),
        "react_state": scores.fit_react(features),
        "nnguide_state": scores.fit_nnguide(features, logits),
        "trust_score_state": scores.fit_trust_score(features, labels, alpha=0.1, k=2),
        "knn_state": scores.fit_knn(features),
        "mahalanobis_state": scores.fit_mahalanobis(features, labels),
        "centroid_state": scores.fit_centroids(features, labels),
    }


STATES = _fitted_states()


def _per_example():
    """Ingredients with one row for each example."""
    keys = jax.random.split(jax.random.key(1), 3)
    logits = 3 * jax.random.normal(keys[0], (EXAMPLES, CLASSES))
    sampled = logits[:, None] + jax.random.normal(keys[2], (EXAMPLES, 4, CLASSES))
    return {
        "logits": logits,
        "odin_logits": logits / 1000,
        "dropout_logits": sampled,
        "ensemble_logits": sampled,
        "augmented_logits": sampled,
        "features": jax.random.normal(keys[1], (EXAMPLES, FEATURES)),
        "gradient_statistics": GradientStatistics(
            sampled[:, :, :5],
            ("a", "b", "c", "d"),
            ("l1_norm", "l2_norm", "minimum", "maximum", "standard_deviation"),
        ),
        "gradient_alignments": GradientStatistics(
            jnp.tanh(sampled[:, :, :1]), ("a", "b", "c", "d"), ("cosine",)
        ),
        "confounding_gradients": GradientStatistics(
            jnp.abs(sampled[:, :, :1]), ("a", "b", "c", "d"), ("squared_norm",)
        ),
        "class_gradients": GradientStatistics(
            jnp.abs(jnp.stack([logits[:, :, None], 2 - logits[:, :, None]], axis=-1)),
            ("network",),
            ("l2_norm", "standard_deviation"),
        ),
        "predictions": jnp.argmax(logits, axis=-1),
        "oracle_output": 4 * jax.random.normal(jax.random.key(4), (EXAMPLES, 1)),
        "detector_output": 4 * jax.random.normal(jax.random.key(5), (EXAMPLES,)),
    }


class Case:
    """A score as a function of its per-example ingredients, and those."""

    def __init__(self, name):
        self.needs = [need.name for need in scores.lookup(name).needs]
        self.rows = {n: r for n, r in _per_example().items() if n in self.needs}

    def score(self, rows, fn):
        return fn(*((STATES | rows)[need] for need in self.needs))

    def of(self, change=lambda row: row):
        """The rows, each changed; predictions stay classes."""
        return {
            n: r if n == "predictions" else jax.tree.map(change, r)
            for n, r in self.rows.items()
        }


ALL = scores.names(computable_from=[*_per_example(), *STATES])


@pytest.fixture(params=ALL)
def name(request):
    return request.param


@pytest.fixture
def case(name):
    return Case(name)


@pytest.fixture
def score(name, case):
    """`rows -> [batch]`: the score of named per-example ingredients, eager."""
    return lambda rows: case.score(rows, scores.lookup(name).fn)


@functools.cache
def compiled(name):
    """The same function, compiled once for all tests."""
    fn, case = scores.lookup(name).fn, Case(name)
    return jax.jit(lambda rows: case.score(rows, fn))


def assert_same(ours, expected):
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_every_registered_score_is_here():
    assert set(scores.names()) == set(ALL)


def test_shape_dtype_and_finite(name, case):
    value = compiled(name)(case.rows)
    chex.assert_shape(value, (EXAMPLES,))
    chex.assert_type(value, jnp.float32)
    chex.assert_tree_all_finite(value)


def test_half_precision_is_scored_in_float32(name, case):
    value = compiled(name)(case.of(lambda a: a.astype(jnp.bfloat16)))
    chex.assert_type(value, jnp.float32)
    rounded = case.of(lambda a: a.astype(jnp.bfloat16).astype(jnp.float32))
    assert_same(value, compiled(name)(rounded))


def test_jit_is_eager_and_compiles_once(case, score):
    chex.clear_trace_counter()
    jitted = jax.jit(chex.assert_max_traces(score, n=1))
    assert_same(jitted(case.rows), score(case.rows))
    jitted(case.of(lambda a: 2 * a))


def test_vmap_over_batches_is_one_batch(name, case, score):
    stacked = jax.tree.map(
        lambda a: a.reshape(4, EXAMPLES // 4, *a.shape[1:]), case.rows
    )
    value = jax.jit(jax.vmap(score))(stacked).ravel()
    assert_same(value, compiled(name)(case.rows))


def test_each_example_is_scored_by_itself(name, case):
    order = jax.random.permutation(jax.random.key(2), EXAMPLES)
    value = compiled(name)(case.rows)
    for rows in (order, slice(3, 4)):
        chosen = jax.tree.map(lambda a, rows=rows: a[rows], case.rows)
        assert_same(compiled(name)(chosen), value[rows])


def test_sharded_is_unsharded_and_stays_sharded(name, case):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    value = compiled(name)(jax.device_put(case.rows, sharding))
    assert value.sharding.is_equivalent_to(sharding, 1)
    assert_same(value, compiled(name)(case.rows))


def test_gradient_is_finite_and_right(name, case, score):
    fixed = {n: r for n, r in case.rows.items() if n == "predictions"}
    size = 1 + abs(compiled(name)(case.rows))
    total = jax.jit(
        lambda rows: jnp.sum(score(jax.tree.map(jnp.asarray, rows | fixed)) / size)
    )
    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda a: jnp.asarray(np.asarray(a), jnp.float64),
            {n: r for n, r in case.rows.items() if n not in fixed},
        )
        jax.test_util.check_grads(total, (wide,), order=1, modes=("rev",), rtol=1e-3)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4, 5)])
def test_a_wrong_shape_is_named(case, score, shape):
    of_vectors = all(leaf.ndim == 1 for leaf in jax.tree.leaves(case.rows))
    shape = shape[1:] if of_vectors else shape
    rows = jax.tree.map(lambda a: jnp.zeros(shape, a.dtype), case.rows)
    with pytest.raises(ValueError, match=r"must have shape \[batch[,\]]"):
        jax.jit(score)(rows)


@pytest.mark.usefixtures("without_type_checks")
def test_integers_are_refused(case, score):
    with pytest.raises(TypeError, match="must be floating point, got int32"):
        jax.jit(score)(case.of(lambda a: a.astype(jnp.int32)))
