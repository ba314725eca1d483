"""Rank metrics of examples that are spread over a mesh, against those of one device."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests.sharding_test import collectives_in
from trustjax import metrics
from trustjax.metrics import _detection, _merge_sort, _ranking, _selective, _shards
from trustjax.metrics import _thresholds as thresholds

SIZE = 64
exhaustive = pytest.mark.exhaustive
WEIGHTS = {
    "no weights": lambda rng: None,
    "mask": lambda rng: rng.random(SIZE) < 0.7,
    "counts": lambda rng: rng.integers(0, 3, SIZE).astype(np.int32),
    "floats": lambda rng: (rng.random(SIZE) * (rng.random(SIZE) < 0.8)).astype("f4"),
}
PUBLIC = {
    "auroc": (metrics.auroc, {}),
    "aupr_success": (metrics.aupr_success, {}),
    "aupr_error": (metrics.aupr_error, {}),
    "fpr_at_tpr": (metrics.fpr_at_tpr, {"interpolation": "linear"}),
    "tpr_at_fpr": (metrics.tpr_at_fpr, {"fpr": 0.1}),
    "detection_error": (metrics.detection_error, {}),
    "balanced_threshold": (metrics.balanced_threshold, {}),
    "aurc": (metrics.aurc, {"convention": "mean"}),
    "excess_aurc": (metrics.excess_aurc, {}),
    "augrc": (metrics.augrc, {}),
    "coverage_at_risk": (metrics.coverage_at_risk, {"risk": 0.3}),
    "risk_at_coverage": (metrics.risk_at_coverage, {"coverage": 0.4}),
}


@pytest.fixture(
    scope="module", params=[pytest.param("Auto", marks=exhaustive), "Explicit"]
)
def sharding(request):
    return on_eight(request.param)


def on_eight(kind):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType[kind],))
    return NamedSharding(mesh, P("data"))


def everything(ranking):
    """All rank metrics of one ranking: one sort, and one program, for all of them."""
    areas = {c: _selective.aurc_of(ranking, c) for c in _selective.CONVENTIONS}
    return areas | {
        "auroc": _detection.auroc_of(ranking),
        "aupr_success": _detection.aupr_success_of(ranking),
        "aupr_error": _detection.aupr_error_of(ranking),
        "fpr_at_tpr": _detection.fpr_at_tpr_of(ranking, 0.95, "none"),
        "fpr_at_all": _detection.fpr_at_tpr_of(ranking, 1.0, "none"),
        "on the line": _detection.fpr_at_tpr_of(ranking, 0.6, "linear"),
        "tpr_at_fpr": _detection.tpr_at_fpr_of(ranking, 0.1),
        "detection_error": thresholds.detection_error_of(ranking),
        "at 0.95": thresholds.detection_error_of(ranking, 0.95),
        "balanced": thresholds._balanced_threshold_of(ranking),
        "augrc": _selective.augrc_of(ranking),
        "excess": _selective.excess_aurc_of(ranking),
        "coverage_at_risk": _selective.coverage_at_risk_of(ranking, 0.3),
        "risk_at_coverage": _selective.risk_at_coverage_of(ranking, 0.4),
    }


@jax.jit
def alone(scores, correct, weights=None):
    return everything(_ranking.rank(scores, correct, weights))


def problems():
    """Scores with ties within devices and across them, and their outcomes."""
    rng = np.random.default_rng(0)
    outcomes = rng.random(SIZE) < 0.6
    scores = rng.normal(size=SIZE).astype(np.float32)
    extreme = np.where(rng.random(SIZE) < 0.3, np.inf, np.where(scores > 0, -0.0, 0.0))
    # More different values than a packed word can tell apart, but not than floats.
    everywhere = scores * np.float32(3e37)
    everywhere[:9] = [-3e38, 3e38, 2e-38, -2e-38, np.inf, -np.inf, 0, -0.0, 1]
    return {
        "ties": (np.round(scores, 1), outcomes),
        "no ties": (scores, outcomes),
        "a few values": (np.round(scores), outcomes),
        "all equal": (np.full(SIZE, -2.5, np.float32), outcomes),
        "extreme": (extreme.astype(np.float32), outcomes),
        "every magnitude": (everywhere, outcomes),
        "all right": (np.round(scores, 1), np.ones(SIZE, bool)),
        "all wrong": (np.round(scores, 1), np.zeros(SIZE, bool)),
    }


@pytest.mark.parametrize(
    "weights",
    [w if w == "no weights" else pytest.param(w, marks=exhaustive) for w in WEIGHTS],
)
def test_every_metric_is_that_of_one_device(weights, sharding):
    rng = np.random.default_rng(1)
    for name, (scores, correct) in problems().items():
        given = [scores, correct, WEIGHTS[weights](rng)]
        given = [jnp.asarray(array) for array in given if array is not None]
        scores, correct, *some = jax.device_put(given, sharding)
        of_shards = _shards.measure(
            everything, scores, correct, some[0] if some else None
        )
        expected = alone(*given)
        for (path, own), (_, one) in zip(
            jax.tree.leaves_with_path(of_shards),
            jax.tree.leaves_with_path(expected),
            strict=True,
        ):
            np.testing.assert_allclose(
                own, one, rtol=1e-6, atol=1e-7, err_msg=f"{name}, {path}"
            )


@exhaustive
@pytest.mark.parametrize("name", PUBLIC)
def test_public_metrics_gather_nothing(name):
    """Inside `jit`, on axes of either type."""
    metric, options = PUBLIC[name]
    scores, correct = problems()["ties"]
    expected = metric(scores, correct, **options)
    for kind in ("Auto", "Explicit"):
        sharding = on_eight(kind)
        spread = jax.device_put((scores, correct), sharding)
        fun = metrics.on_mesh(metric, sharding) if kind == "Auto" else metric
        jitted = jax.jit(lambda s, c, fun=fun: fun(s, c, **options))
        program = jitted.lower(*spread).compile()
        jax.tree.map(
            lambda own, one: np.testing.assert_allclose(own, one, rtol=1e-6),
            program(*spread),
            expected,
        )
        assert_gathers_nothing(program.as_text())


def assert_gathers_nothing(program):
    """What is moved are shares, from one device to one; what is added up, numbers."""
    assert collectives_in(program) == {"all-reduce", "collective-permute"}
    summed = re.findall(r"= (.*?) all-reduce(?:-start)?\(", program)
    assert summed
    lengths = [int(n) for n in re.findall(r"\[(\d+)\]", " ".join(summed))]
    assert max(lengths) == 8
    moved = re.findall(r"= \w+\[(\d+)\]\S* collective-permute\(", program)
    assert {int(n) for n in moved} == {SIZE // 8}


def test_the_type_of_scores_says_inside_jit_that_they_are_spread():
    sharding = on_eight("Explicit")
    scores, correct = problems()["ties"]
    spread = jax.device_put((jnp.asarray(scores), jnp.asarray(correct)), sharding)
    program = jax.jit(metrics.auroc).lower(*spread).compile()
    assert float(program(*spread)) == float(metrics.auroc(scores, correct))
    assert_gathers_nothing(program.as_text())


@exhaustive
def test_random_bits_as_scores():
    """Floats of every magnitude and sign, and no order between them that helps."""
    sharding = on_eight("Auto")
    rng = np.random.default_rng(2)
    for _ in range(50):
        scores = rng.integers(0, 2**32, SIZE, dtype=np.uint32).view(np.float32)
        scores = np.where(np.isnan(scores), 0, scores).astype(np.float32)
        scores = scores[rng.integers(0, SIZE, SIZE)]
        correct = rng.random(SIZE) < rng.random()
        given = jnp.asarray(scores), jnp.asarray(correct)
        shared, outcomes = jax.device_put(given, sharding)
        jax.tree.map(
            lambda own, one: np.testing.assert_allclose(own, one, rtol=1e-6, atol=1e-7),
            _shards.measure(everything, shared, outcomes, None),
            alone(scores, correct),
        )


@exhaustive
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.int32, jnp.bool_])
def test_scores_of_other_types(dtype):
    sharding = on_eight("Auto")
    scores, correct = problems()["a few values"]
    scores = jnp.asarray(scores).astype(dtype)
    spread = jax.device_put((scores, jnp.asarray(correct)), sharding)
    expected = metrics.auroc(scores, correct)
    np.testing.assert_allclose(metrics.auroc(*spread), expected, rtol=1e-6)


@exhaustive
def test_axes_of_a_mesh_that_are_not_those_of_the_examples():
    mesh = jax.make_mesh((2, 2, 2), ("a", "model", "b"), (AxisType.Auto,) * 3)
    scores, correct = problems()["ties"]
    expected = metrics.auroc(scores, correct)
    for spec in (P(("a", "b")), P("b"), P(("b", "a"))):
        spread = jax.device_put(jnp.asarray(scores), NamedSharding(mesh, spec))
        np.testing.assert_allclose(metrics.auroc(spread, correct), expected, rtol=1e-6)
    three = jax.make_mesh((3,), ("data",), (AxisType.Auto,), devices=jax.devices()[:3])
    given = jnp.asarray(scores[:63]), jnp.asarray(correct[:63])
    spread = jax.device_put(given, NamedSharding(three, P("data")))
    np.testing.assert_allclose(metrics.auroc(*spread), metrics.auroc(*given), rtol=1e-6)


@exhaustive
def test_what_is_refused():
    sharding = on_eight("Auto")
    scores, correct = problems()["ties"]
    spread = lambda array: jax.device_put(jnp.asarray(array), sharding)
    unknown = scores.copy()
    unknown[3] = np.nan
    with pytest.raises(ValueError, match="scores must not be NaN, got nan at index 3"):
        metrics.auroc(spread(unknown), spread(correct))
    mask = np.arange(SIZE) != 3
    left_out = metrics.auroc(spread(unknown), spread(correct), weights=spread(mask))
    expected = metrics.auroc(scores[mask], correct[mask])
    np.testing.assert_allclose(left_out, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="correct must be 0 or 1, got 2 at index 0"):
        metrics.auroc(spread(scores), spread(np.full(SIZE, 2)))
    with pytest.raises(ValueError, match="same length: scores has 64, correct has 8"):
        _shards.measure(_detection.auroc_of, spread(scores), spread(correct[:8]), None)
    with pytest.raises(TypeError, match="smooth_auroc"):
        jax.grad(metrics.auroc)(spread(scores), spread(correct))
    with pytest.raises(ValueError, match=r"one that gathers nothing.*auac"):
        metrics.on_mesh(metrics.auac, sharding)(scores, correct)
    whole = NamedSharding(sharding.mesh, P())
    with pytest.raises(ValueError, match="must spread the examples over axes"):
        metrics.on_mesh(metrics.auroc, whole)
    traced = jax.jit(metrics.on_mesh(metrics.auroc, sharding))
    assert np.isnan(traced(spread(unknown), spread(correct)))


def test_the_network_of_comparators_sorts():
    """Zeros and ones in every order, which is enough for all values (Knuth 5.3.4)."""
    for size in (1, 2, 3, 5, 8, 12):
        given = np.array(list(itertools.product([0, 1], repeat=size)))
        for pairs in _merge_sort.exchanges(size):
            assert len({i for pair in pairs for i in pair}) == 2 * len(pairs)
            for low, high in pairs:
                both = given[:, [low, high]]
                given[:, low], given[:, high] = both.min(axis=1), both.max(axis=1)
        assert (np.diff(given, axis=1) >= 0).all()
