"""What every metric must do: every one is in `METRICS`, and every property a test."""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from trustjax import metrics

CLASSES = 4
SIZE = 40
PADDED = 64


class Data(NamedTuple):
    """One test set: a score with ties and infinities, probabilities and labels."""

    scores: jax.Array
    probabilities: jax.Array
    labels: jax.Array
    features: jax.Array

    @property
    def predictions(self):
        return self.probabilities.argmax(axis=1).astype(jnp.int32)

    @property
    def confidence(self):
        return self.probabilities.max(axis=1)

    @property
    def correct(self):
        return self.predictions == self.labels

    @property
    def trust(self):
        return metrics.question_answer_trust(self.confidence, self.correct)


GRID = jnp.linspace(0.0, 1.0, 7)


def of_scores(metric, **options):
    return lambda d, weights: metric(d.scores, d.correct, weights=weights, **options)


def of_confidence(metric, **options):
    return lambda d, weights: metric(
        d.confidence, d.correct, weights=weights, **options
    )


def of_classes(metric, *extra):
    return lambda d, weights: metric(
        d.trust, *(getattr(d, name) for name in extra), CLASSES, weights=weights
    )


def of_probabilities(metric):
    return lambda d, weights: metric(d.probabilities, d.labels, weights=weights)


def of_sides(metric):
    return lambda d, weights: metric(
        d.confidence,
        d.confidence,
        positive_weights=jnp.where(d.correct, weights, 0).astype(weights.dtype),
        negative_weights=jnp.where(d.correct, 0, weights).astype(weights.dtype),
    )


METRICS = {
    "accuracy": lambda d, weights: metrics.accuracy(
        d.predictions, d.labels, weights=weights
    ),
    "auroc": of_scores(metrics.auroc),
    "aupr_success": of_scores(metrics.aupr_success),
    "aupr_error": of_scores(metrics.aupr_error),
    "fpr_at_tpr": of_scores(metrics.fpr_at_tpr),
    "tpr_at_fpr": of_scores(metrics.tpr_at_fpr, fpr=0.2),
    "tpr_tnr": of_scores(metrics.tpr_tnr),
    "detection_error": of_scores(metrics.detection_error),
    "balanced_threshold": of_scores(metrics.balanced_threshold),
    "risk_coverage_curve": of_scores(metrics.risk_coverage_curve),
    "aurc": of_scores(metrics.aurc),
    "excess_aurc": of_scores(metrics.excess_aurc),
    "augrc": of_scores(metrics.augrc),
    "coverage_at_risk": of_scores(metrics.coverage_at_risk, risk=0.3),
    "risk_at_coverage": of_scores(metrics.risk_at_coverage, coverage=0.5),
    "selection_with_guaranteed_risk": of_scores(
        metrics.selection_with_guaranteed_risk, risk=0.6
    ),
    "auac": of_scores(metrics.auac),
    "audc": of_confidence(metrics.audc, grid="range"),
    "aufc": lambda d, weights: metrics.aufc(
        d.scores, d.predictions, d.labels, num_classes=CLASSES, weights=weights
    ),
    "summary": lambda d, weights: metrics.summary(
        d.confidence, d.predictions, d.labels, num_classes=CLASSES, weights=weights
    ),
    "expected_calibration_error": of_confidence(metrics.expected_calibration_error),
    "maximum_calibration_error": of_confidence(metrics.maximum_calibration_error),
    "average_calibration_error": of_confidence(metrics.average_calibration_error),
    "adaptive_calibration_error": of_confidence(metrics.adaptive_calibration_error),
    "reliability_curve": of_confidence(metrics.reliability_curve),
    "classwise_calibration_error": of_probabilities(
        metrics.classwise_calibration_error
    ),
    "brier_score": of_probabilities(metrics.brier_score),
    "brier_decomposition": of_probabilities(metrics.brier_decomposition),
    "negative_log_likelihood": lambda d, weights: metrics.negative_log_likelihood(
        jnp.log(d.probabilities), d.labels, weights=weights
    ),
    "fit_temperature": lambda d, weights: metrics.fit_temperature(
        jnp.log(d.probabilities), d.labels, weights=weights
    ),
    # One number for each example, summed so that the order does not matter.
    "question_answer_trust": lambda d, weights: jnp.nansum(
        metrics.question_answer_trust(d.confidence, d.correct, weights=weights)
    ),
    "expected_confidence": of_confidence(metrics.expected_confidence),
    "trust_spectrum": of_classes(metrics.trust_spectrum, "labels"),
    "conditional_trust_spectra": of_classes(
        metrics.conditional_trust_spectra, "correct", "labels"
    ),
    "trust_matrix": of_classes(metrics.trust_matrix, "labels", "predictions"),
    "net_trust_score": of_classes(metrics.net_trust_score, "labels"),
    "trust_density": lambda d, weights: metrics.trust_density(
        d.trust, GRID, weights=weights
    ),
    "TrustTotals": lambda d, weights: metrics.TrustTotals.of_batch(
        confidence=d.confidence,
        predictions=d.predictions,
        labels=d.labels,
        num_classes=CLASSES,
        weights=weights,
    ).net_trust_score(),
    "CalibrationTotals": lambda d, weights: metrics.CalibrationTotals.of_batch(
        d.confidence, d.correct, weights=weights
    ).expected_calibration_error(),
    "kl_separability": of_sides(metrics.kl_separability),
    "bhattacharyya_distance": of_sides(metrics.bhattacharyya_distance),
    "singular_value_spectrum": lambda d, weights: metrics.singular_value_spectrum(
        d.features, weights=weights
    ),
    "effective_rank": lambda d, weights: metrics.effective_rank(
        d.features, weights=weights
    ),
    "smooth_auroc": of_confidence(metrics.smooth_auroc),
    "smooth_aurc": of_confidence(metrics.smooth_aurc),
}
WHOLE_WEIGHTS_ONLY = {"selection_with_guaranteed_risk"}
NOT_OF_A_DATA_SET = {
    "bootstrap",
    "calibration_error_interval",
    "compare",
    "compare_resampled",
    "corruption_error",
    "interval_of_resampled",
    "on_mesh",
    "paired_bootstrap",
    "proportion_interval",
    "relative_corruption_error",
}


def make_data(seed, size=SIZE):
    keys = jax.random.split(jax.random.key(seed), 4)
    labels = jax.random.randint(keys[0], (size,), 0, CLASSES)
    logits = jax.random.normal(keys[1], (size, CLASSES)) * 2
    logits = logits + 2.0 * jax.nn.one_hot(labels, CLASSES)
    probabilities = jax.nn.softmax(logits)
    noise = jax.random.normal(keys[2], (size,))
    scores = jnp.round(jnp.log(probabilities.max(axis=1)) + 0.3 * noise, 1)
    scores = scores.at[3].set(jnp.inf).at[7].set(-jnp.inf).at[11].set(-0.0)
    features = jax.random.normal(keys[3], (size, 6)) * jnp.arange(1.0, 7.0)[None]
    return Data(scores, probabilities, labels, features)


def all_metrics(data, weights):
    return {name: metric(data, weights) for name, metric in METRICS.items()}


def padded(data):
    """The same rows among impossible ones, and which are which."""
    where = jnp.arange(PADDED) % 8 < 5
    impossible = Data(
        jnp.full(PADDED, jnp.nan),
        jnp.full((PADDED, CLASSES), 1.5),
        jnp.full(PADDED, CLASSES + 9),
        jnp.full((PADDED, 6), jnp.nan),
    )
    rows = jnp.flatnonzero(where)
    return jax.tree.map(
        lambda bad, good: bad.at[rows].set(good), impossible, data
    ), where


@functools.cache
def expected():
    """Of the data alone, without padding."""
    return jax.jit(all_metrics)(make_data(0), jnp.ones(SIZE, bool))


@functools.cache
def compiled():
    """One program for all data of these shapes; JAX's caches may be cleared."""
    return jax.jit(all_metrics).lower(*padded(make_data(0))).compile()


@functools.cache
def computed(how):
    """Inside `jit`, with padding. Two of these are of one program."""
    data, where = padded(make_data(0))
    if how == "masked":
        return compiled()(data, where)
    if how == "permuted":
        order = jax.random.permutation(jax.random.key(5), PADDED)
        return compiled()(*jax.tree.map(lambda array: array[order], (data, where)))
    if how == "sharded":
        mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
        rows = NamedSharding(mesh, PartitionSpec("data"))
        return jax.jit(all_metrics)(*jax.device_put((data, where), rows))
    assert how == "vmapped"
    pair = jax.tree.map(
        lambda *arrays: jnp.stack(arrays), padded(make_data(1)), (data, where)
    )
    both = jax.jit(jax.vmap(all_metrics))(*pair)
    return jax.tree.map(lambda array: array[1], both)


def test_every_metric_is_in_the_battery():
    functions = {
        name
        for name, value in vars(metrics).items()
        if callable(value) and not name.startswith("_") and name.islower()
    }
    assert functions - NOT_OF_A_DATA_SET == {name for name in METRICS if name.islower()}


@pytest.mark.parametrize(
    "how",
    [
        "masked",
        "permuted",
        "sharded",
        pytest.param("vmapped", marks=pytest.mark.exhaustive),
    ],
)
@pytest.mark.parametrize("name", METRICS)
def test_same_result(name, how):
    got, wanted = computed(how)[name], expected()[name]
    if name == "risk_coverage_curve":  # the padding repeats its last point
        got = jax.tree.map(lambda curve: curve[:SIZE], got)
    chex.assert_trees_all_equal_shapes_and_dtypes(got, wanted)
    # A fitted temperature is right up to the tolerance of the search.
    rtol = 1e-3 if name == "fit_temperature" else 2e-5
    chex.assert_trees_all_close(got, wanted, rtol=rtol, atol=1e-6)


def drawn():
    """A bootstrap sample: how often each row of the padded data was drawn."""
    data, where = padded(make_data(0))
    counts = jnp.zeros(PADDED, jnp.int32)
    counts = counts.at[jnp.flatnonzero(where)].set(jnp.arange(SIZE) * 7 % 3)
    return data, counts.at[0].add(PADDED - counts.sum())


@functools.cache
def of_counts():
    return jax.jit(all_metrics)(*drawn())


@functools.cache
def of_repeated_rows():
    data, counts = drawn()
    rows = jnp.repeat(jnp.arange(PADDED), counts)
    repeated = jax.tree.map(lambda array: array[rows], data)
    return compiled()(repeated, jnp.ones(PADDED, bool))


@functools.cache
def of_equal_floats():
    data, where = padded(make_data(0))
    fractional = METRICS.keys() - WHOLE_WEIGHTS_ONLY
    compute = jax.jit(
        lambda *given: {name: METRICS[name](*given) for name in fractional}
    )
    return compute(data, jnp.where(where, 0.375, 0.0))


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", sorted(METRICS.keys() - {"question_answer_trust"}))
def test_counts_are_repeated_rows(name):
    got, wanted = of_counts()[name], of_repeated_rows()[name]
    if name == "risk_coverage_curve":
        got, wanted = (np.unique(np.stack(curve), axis=1) for curve in (got, wanted))
    rtol = 1e-3 if name == "fit_temperature" else 2e-5
    chex.assert_trees_all_close(got, wanted, rtol=rtol, atol=1e-6)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", sorted(METRICS.keys() - WHOLE_WEIGHTS_ONLY))
def test_of_floats_only_the_proportions_matter(name):
    got, wanted = of_equal_floats()[name], expected()[name]
    if name == "reliability_curve":
        got = got._replace(count=got.count / 0.375)
    if name == "risk_coverage_curve":
        got, wanted = (np.unique(np.stack(curve), axis=1) for curve in (got, wanted))
    got, wanted = (jax.tree.map(np.float32, tree) for tree in (got, wanted))
    rtol = 1e-3 if name == "fit_temperature" else 2e-5
    chex.assert_trees_all_close(got, wanted, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_impossible_weights_are_refused(name):
    data = make_data(0)
    for weight in (-1, -1.0, np.nan, np.inf):
        weights = jnp.ones(SIZE, jnp.asarray(weight).dtype).at[5].set(weight)
        if name not in WHOLE_WEIGHTS_ONLY or weights.dtype == jnp.int32:
            with pytest.raises(ValueError, match="must be finite and not negative"):
                METRICS[name](data, weights)


@pytest.mark.parametrize("name", METRICS)
def test_results_are_float32_also_for_bfloat16(name):
    data = make_data(0)
    short = data._replace(
        scores=data.scores.astype(jnp.bfloat16),
        probabilities=jnp.minimum(data.probabilities, 1).astype(jnp.bfloat16),
        features=data.features.astype(jnp.bfloat16),
    )
    shapes = jax.eval_shape(METRICS[name], short, jnp.ones(SIZE, bool))
    for leaf in jax.tree.leaves(shapes):
        assert leaf.dtype in (jnp.float32, jnp.int32, jnp.bool_)


@pytest.mark.parametrize(
    "metric", [metrics.auroc, metrics.aurc, metrics.balanced_threshold, metrics.auac]
)
def test_any_real_dtype_ranks(metric):
    correct = jnp.array([1, 0, 1, 1, 0, 1, 0, 0])
    values = jnp.array([3, -2, 2, 2, 0, 1, 1, -3])
    wanted = metric(values.astype(jnp.float32), correct)
    for dtype in (jnp.int32, jnp.int8, jnp.bfloat16, jnp.float16):
        got = metric(values.astype(dtype), correct.astype(bool))
        np.testing.assert_allclose(jax.tree.leaves(got), jax.tree.leaves(wanted))
    booleans = metric(values > 0, correct)
    np.testing.assert_allclose(
        jax.tree.leaves(booleans)[-1],
        jax.tree.leaves(metric((values > 0).astype(jnp.float32), correct))[-1],
    )
