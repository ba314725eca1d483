"""Neighbour scores against scikit-learn, the authors' numbers, and their limits."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.covariance
import sklearn.neighbors
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests import golden_numbers
from trustjax import scores
from trustjax.scores import _distance

INF, NAN = np.inf, np.nan


@pytest.fixture
def training():
    """Three classes of 30, 9 and 1 examples in 8 dimensions, far from the origin."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [30, 9, 1])
    features = rng.standard_normal((40, 8)) + 3 * labels[:, None] + 100
    return features.astype(np.float32), labels


@pytest.fixture
def queries():
    rng = np.random.default_rng(1)
    return (rng.standard_normal((20, 8)) * 4 + 102).astype(np.float32)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 4 rows, so that classes take several, the last one padded."""
    monkeypatch.setattr(_distance, "_ROWS", 4)


CONFIGURATIONS = [
    ("alpha0", {}),
    ("density_a0.1_k10", {"alpha": 0.1, "k": 10}),
    ("density_a0.3_k5", {"alpha": 0.3, "k": 5}),
]


@pytest.mark.parametrize(("key", "options"), CONFIGURATIONS)
def test_trust_score_agrees_with_the_authors(key, options):
    g = golden_numbers.load("trust_score")
    state = scores.fit_trust_score(
        g["train_x"], g["train_y"], count_self=True, **options
    )
    kept = np.bincount(
        np.repeat(state.bank.classes, state.bank.occupied.sum(axis=1)), minlength=10
    )
    np.testing.assert_array_equal(kept, g[f"{key}/kept_per_class"])
    x, predictions = jnp.asarray(g["test_x"]), jnp.asarray(g["pred"])
    np.testing.assert_allclose(
        scores.trust_score(state, x, predictions, nn_k=2), g[f"{key}/score"], rtol=1e-5
    )
    np.testing.assert_allclose(
        scores.trust_score(state, x, predictions),
        g[f"{key}/score_nn1_indexmask"],
        rtol=1e-5,
    )


def test_the_radius_without_the_point_itself_is_that_of_one_neighbour_more():
    g = golden_numbers.load("trust_score")
    own, others = (
        scores.fit_trust_score(
            g["train_x"], g["train_y"], alpha=0.3, k=k, count_self=count_self
        )
        for k, count_self in ((6, True), (5, False))
    )
    chex.assert_trees_all_equal(own, others)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("k", [1, 3])
def test_distances_are_those_of_scikit_learn(training, queries, k):
    features, labels = training
    bank = _distance.make_bank(features, labels, 3)
    ours = np.asarray(_distance.nearest_distances(bank, jnp.asarray(queries), k))
    for c in range(3):
        members = features[labels == c].astype(np.float64)
        known = min(k, len(members))
        tree = sklearn.neighbors.NearestNeighbors(n_neighbors=known).fit(members)
        expected, _ = tree.kneighbors(queries.astype(np.float64))
        np.testing.assert_allclose(ours[:, c, :known], expected, rtol=1e-5)
        assert np.isinf(ours[:, c, known:]).all()


def test_tiny_distances_keep_their_digits():
    """1e-3 apart at 100 from the origin: |a|^2 - 2ab + |b|^2 alone gives noise."""
    points = np.array([[100.0], [100.5], [-100.0]])
    bank = _distance.make_bank(points.astype(np.float32), np.zeros(3, int), 1)
    query = jnp.float32(100.001) * jnp.ones((1, 1))
    np.testing.assert_allclose(
        _distance.nearest_distances(bank, query, 1)[0, 0],
        [float(query[0, 0]) - 100.0],
        rtol=1e-2,
    )


def test_many_points_that_lie_close_together_are_told_apart():
    """All five squared distances are 0 in |a|^2 - 2ab + |b|^2; the last point is it."""
    near = np.array([8193.0, 8193.125, 8193.25, 8193.375, 8192.0])
    points = np.concatenate([near, -near])[:, None]
    state = scores.fit_knn(points, normalised=False)
    value = scores.knn_distance(state, jnp.array([[8192.0]]), k=1)
    np.testing.assert_array_equal(value, [0.0])


@pytest.mark.parametrize("score", ["centroid_kernel", "mahalanobis"])
def test_a_class_without_examples_leaves_the_gradient_finite(score):
    points, labels = np.array([[0.0], [1.0], [4.0], [5.0]]), np.array([0, 0, 1, 1])
    fit = {"mahalanobis": scores.fit_mahalanobis}.get(score, scores.fit_centroids)
    of = lambda state, h: getattr(scores, score)(state, h)[0]
    with_and_without = [
        jax.grad(of, 1)(fit(points, labels, num_classes=n), jnp.array([[0.7]]))
        for n in (3, 2)
    ]
    np.testing.assert_array_equal(*with_and_without)
    assert np.isfinite(with_and_without[0]).all()


def test_a_product_that_overflows_both_ways_is_infinitely_far():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40, 2)) @ np.array([[1.0, 0.9], [0.0, 0.1]])
    state = scores.fit_mahalanobis(points, np.arange(40) % 2)
    value = scores.mahalanobis(state, jnp.array([[3e38, 3e38], [3e38, -3e38]]))
    np.testing.assert_array_equal(value, [-np.inf, -np.inf])


def test_no_matrix_of_queries_by_points_is_held():
    points = np.zeros((20 * _distance._ROWS, 2), np.float32)
    bank = _distance.make_bank(points, np.zeros(len(points), int), 1)
    queries = jnp.zeros((128, 2))
    compiled = jax.jit(_distance.nearest_distances, static_argnums=2).lower(
        bank, queries, 1
    )
    memory = compiled.compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 128 * len(points)  # a byte a pair


@pytest.mark.parametrize("normalised", [True, False])
def test_knn_distance_is_that_of_scikit_learn(training, queries, normalised):
    features, x = training[0].astype(np.float64), queries.astype(np.float64)
    if normalised:
        features, x = (
            a / np.linalg.norm(a, axis=1, keepdims=True) for a in (features, x)
        )
    tree = sklearn.neighbors.NearestNeighbors(n_neighbors=5).fit(features)
    state = scores.fit_knn(training[0], normalised=normalised)
    np.testing.assert_allclose(
        scores.knn_distance(state, jnp.asarray(queries), k=5),
        -tree.kneighbors(x)[0][:, -1],
        rtol=1e-4,
    )


def by_scikit_learn(means, deviations, x):
    """Smallest squared Mahalanobis distance, with scikit-learn's precision."""
    covariance = sklearn.covariance.EmpiricalCovariance(assume_centered=True)
    precision = covariance.fit(deviations).precision_
    return np.min([((x - m) @ precision * (x - m)).sum(1) for m in means], axis=0)


def test_mahalanobis_is_that_of_scikit_learn(training, queries):
    features, labels = training[0].astype(np.float64), training[1]
    x = queries.astype(np.float64)
    means = np.stack([features[labels == c].mean(0) for c in range(3)])
    within = by_scikit_learn(means, features - means[labels], x)
    centre = features.mean(0)
    of_all = by_scikit_learn([centre], features - centre, x)
    state = scores.fit_mahalanobis(*training)
    np.testing.assert_allclose(
        scores.mahalanobis(state, jnp.asarray(queries)), -within, rtol=1e-4
    )
    np.testing.assert_allclose(
        scores.relative_mahalanobis(state, jnp.asarray(queries)),
        of_all - within,
        rtol=1e-4,
    )


def test_mahalanobis_leaves_out_directions_without_variance(training):
    features, labels = training
    doubled = np.concatenate([features, features[:, :3]], axis=1)
    state, of_doubled = (scores.fit_mahalanobis(f, labels) for f in (features, doubled))
    np.testing.assert_allclose(
        scores.mahalanobis(of_doubled, jnp.asarray(doubled[:5])),
        scores.mahalanobis(state, jnp.asarray(features[:5])),
        rtol=1e-3,
    )


def test_shrinkage_to_the_end_is_the_euclidean_distance(training, queries):
    features, labels = training
    means = np.stack([features[labels == c].mean(0) for c in range(3)])
    variance = np.mean((features - means[labels]) ** 2)
    distances = ((queries[:, None] - means) ** 2).sum(-1).min(1)
    state = scores.fit_mahalanobis(features, labels, shrinkage=1.0)
    np.testing.assert_allclose(
        scores.mahalanobis(state, jnp.asarray(queries)),
        -distances / variance,
        rtol=1e-4,
    )


def test_centroid_kernel_is_its_definition(training, queries):
    features, labels = training
    means = np.stack([features[labels == c].mean(0) for c in range(3)])
    scale = np.sqrt(np.mean((features - means[labels]) ** 2))
    distances = ((queries[:, None] - means) ** 2).mean(-1).min(1)
    state = scores.fit_centroids(features, labels)
    np.testing.assert_allclose(
        scores.centroid_kernel(state, jnp.asarray(queries)),
        np.exp(-distances / (2 * scale**2)),
        rtol=1e-4,
    )
    wide = scores.fit_centroids(features, labels, length_scale=10.0)
    assert float(wide.length_scale) == 10.0


ON_A_LINE = (np.array([[0.0], [1.0], [4.0]]), np.array([0, 0, 1]))


@pytest.mark.parametrize(
    ("x", "prediction", "nn_k", "expected"),
    [
        (3.0, 1, 1, 2.0),
        (3.0, 1, 2, 0.0),  # class 1 has one point
        (3.0, 0, 2, INF),  # no other class has two
        (4.0, 1, 1, 3e12),
        (2.5, 0, 1, 1.0),  # a tie
        (3.0, 2, 1, 0.0),  # class 2 has no point
        (3.0, 7, 1, 0.0),  # no such class
        (1e30, 0, 1, 0.0),
        (NAN, 0, 1, NAN),
    ],
)
def test_edge_case_of_trust_score(x, prediction, nn_k, expected):
    state = scores.fit_trust_score(*ON_A_LINE, num_classes=3)
    value = scores.trust_score(
        state, jnp.array([[x]]), jnp.array([prediction]), nn_k=nn_k
    )
    np.testing.assert_allclose(value, [expected], rtol=1e-5)


def test_trust_score_of_one_class_is_infinite():
    state = scores.fit_trust_score(np.eye(2), np.zeros(2, int))
    assert scores.trust_score(state, jnp.eye(2) / 2, jnp.zeros(2, int)).tolist() == [
        INF,
        INF,
    ]


def test_a_class_smaller_than_k_is_measured_to_its_farthest_point():
    features, labels = ON_A_LINE
    state = scores.fit_trust_score(features, labels, alpha=0.5, k=10)
    assert state.bank.num_points == 3  # radii 1, 1 and 0: none above the median


@pytest.mark.parametrize("name", ["knn_distance", "trust_score"])
def test_a_batch_on_a_mesh_of_explicit_axes_stays_divided(name, training, queries):
    features, labels = training
    classes = jnp.arange(16) % 3
    if name == "knn_distance":
        of = functools.partial(scores.knn_distance, scores.fit_knn(features), k=5)
        rows = (jnp.asarray(queries[:16]),)
    else:
        of = functools.partial(
            scores.trust_score, scores.fit_trust_score(features, labels)
        )
        rows = (jnp.asarray(queries[:16]), classes)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    value = jax.jit(of)(*jax.device_put(rows, sharding))
    assert value.sharding.is_equivalent_to(sharding, 1)
    np.testing.assert_allclose(value, of(*rows), rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "k", "expected"),
    [
        ([1.0, 0.0], 1, 0.0),
        ([0.0, 0.0], 2, -1.0),
        ([1e30, 0.0], 1, 0.0),
        ([1e-30, 0.0], 1, 0.0),
        ([NAN, 0.0], 1, NAN),
    ],
)
def test_edge_case_of_knn_distance(x, k, expected):
    value = scores.knn_distance(scores.fit_knn(np.eye(2)), jnp.array([x]), k=k)
    np.testing.assert_allclose(value, [expected], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("mahalanobis", 0.5, 0.0),
        ("mahalanobis", 1e30, -INF),
        ("mahalanobis", NAN, NAN),
        ("relative_mahalanobis", 1e30, NAN),
        ("relative_mahalanobis", NAN, NAN),
        ("centroid_kernel", 0.5, 1.0),
        ("centroid_kernel", 99.0, 0.0),
        ("centroid_kernel", 1e30, 0.0),
        ("centroid_kernel", NAN, NAN),
    ],
)
def test_edge_case_of_class_means(name, x, expected):
    fit = scores.fit_centroids if name == "centroid_kernel" else scores.fit_mahalanobis
    state = fit(*ON_A_LINE, num_classes=3)  # the third class has no examples
    value = getattr(scores, name)(state, jnp.array([[x]]))
    np.testing.assert_allclose(value, [expected], atol=1e-6)


@pytest.mark.parametrize("name", ["mahalanobis", "relative_mahalanobis"])
def test_training_features_that_do_not_vary_tell_nothing(name):
    state = scores.fit_mahalanobis(np.ones((4, 2)), np.array([0, 0, 1, 1]))
    assert getattr(scores, name)(state, 5 * jnp.ones((1, 2))).tolist() == [0.0]


def test_relative_mahalanobis_of_one_class_is_zero(training):
    state = scores.fit_mahalanobis(training[0], np.zeros(40, int))
    value = scores.relative_mahalanobis(state, jnp.asarray(training[0][:3]))
    np.testing.assert_allclose(value, np.zeros(3), atol=1e-4)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, y: scores.fit_trust_score(f, y, alpha=1.5), "alpha must be in"),
        (lambda f, y: scores.fit_trust_score(f, y, k=0), "k must be an integer >= 1"),
        (
            lambda f, y: scores.fit_trust_score(f, y[:3]),
            "features has 40, labels has 3",
        ),
        (lambda f, y: scores.fit_trust_score(f, y, num_classes=2), "labels must be in"),
        (lambda f, y: scores.fit_mahalanobis(f, y - 1), "labels must be in"),
        (lambda f, y: scores.fit_mahalanobis(f, y, shrinkage=-1), "shrinkage must be"),
        (
            lambda f, y: scores.fit_centroids(f, y, length_scale=0.0),
            "length_scale must",
        ),
        (lambda f, y: scores.fit_centroids(f / 0, y), "features must be finite"),
        (
            lambda f, y: scores.fit_knn(f[0]),
            r"shape \[examples, features\], got \(8,\)",
        ),
        (lambda f, y: scores.fit_knn(f[:0]), "at least one example"),
        (
            lambda f, y: scores.knn_distance(scores.fit_knn(f), jnp.ones((2, 8)), k=41),
            "k must be an integer >= 1 and <= 40",
        ),
        (
            lambda f, y: scores.knn_distance(scores.fit_knn(f), jnp.ones((2, 7))),
            "the fit saw 8 features, got 7",
        ),
        (
            lambda f, y: scores.mahalanobis(
                scores.fit_mahalanobis(f, y), jnp.ones((2, 7))
            ),
            "the fit saw 8 features, got 7",
        ),
    ],
)
def test_bad_input_is_named(training, call, message):
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match=message):
        call(*training)
