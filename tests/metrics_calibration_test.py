import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import metrics_reference as reference
from tests.metrics_problems import FAILURES, failures, golden
from trustjax import metrics


def multiclass():
    """Golden probabilities of six classes: confidence, outcome, and everything."""
    numbers = golden("04_failure_metrics")
    probabilities = jnp.asarray(numbers["mc/probs"], jnp.float32)
    labels = jnp.asarray(numbers["mc/labels"])
    return numbers, probabilities, labels


@pytest.mark.parametrize("bins", [10, 15])
@pytest.mark.parametrize("variant", FAILURES)
def test_calibration_error_agrees_with_netcal_and_torchmetrics(variant, bins):
    numbers, _, correct = failures(variant)
    confidence = jnp.asarray(numbers["confidence"], jnp.float32)
    for norm, name in [
        (1.0, f"ece_binary/netcal_{bins}"),
        (1.0, f"ece_binary/torchmetrics_{bins}_l1"),
        (2.0, f"ece_binary/torchmetrics_{bins}_l2"),
    ]:
        got = metrics.expected_calibration_error(
            confidence, correct, bins=bins, norm=norm
        )
        np.testing.assert_allclose(got, numbers[name], rtol=1e-5)
    np.testing.assert_allclose(
        metrics.expected_calibration_error(confidence, correct, bins=bins),
        reference.expected_calibration_error(
            np.asarray(confidence, np.float64), np.asarray(correct), bins
        ),
        rtol=1e-5,
    )


@pytest.mark.parametrize("bins", [10, 15])
def test_calibration_error_of_the_predicted_class(bins):
    numbers, probabilities, labels = multiclass()
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    got = metrics.expected_calibration_error(confidence, correct, bins=bins)
    np.testing.assert_allclose(got, numbers[f"mc/ece_netcal_{bins}"], rtol=1e-5)


def test_values_on_an_edge_are_in_the_lower_bin():
    confidence = jnp.array([0.0, 0.2, 0.4, 0.6, 1.0])
    curve = metrics.reliability_curve(confidence, jnp.array([0, 1, 0, 1, 1]), bins=5)
    np.testing.assert_array_equal(curve.count, [2, 1, 1, 0, 1])
    np.testing.assert_allclose(curve.accuracy, [0.5, 0, 1, np.nan, 1])
    np.testing.assert_allclose(curve.confidence, [0.1, 0.4, 0.6, np.nan, 1], rtol=1e-6)
    np.testing.assert_allclose(curve.edges, [0, 0.2, 0.4, 0.6, 0.8, 1], rtol=1e-6)


def test_calibration_error_is_differentiable():
    confidence, correct = jnp.array([0.9, 0.8, 0.3]), jnp.array([1, 0, 1])
    slope = jax.grad(lambda c: metrics.expected_calibration_error(c, correct, bins=2))(
        confidence
    )
    # Upper bin: (|.9 + .8 - 1|) / 3 rises with both; lower: |.3 - 1| / 3 falls.
    np.testing.assert_allclose(slope, [1 / 3, 1 / 3, -1 / 3], rtol=1e-6)


def test_calibration_of_nothing_is_nan():
    confidence, correct = jnp.array([0.9, 0.8]), jnp.array([1, 0])
    nothing = jnp.zeros(2, bool)
    assert jnp.isnan(
        metrics.expected_calibration_error(confidence, correct, where=nothing)
    )
    curve = metrics.reliability_curve(confidence, correct, where=nothing)
    assert jnp.isnan(curve.accuracy).all()
    with pytest.raises(ValueError, match="bins must be an integer >= 1, got 0"):
        metrics.expected_calibration_error(confidence, correct, bins=0)
    with pytest.raises(ValueError, match="norm must be positive, got 0"):
        metrics.expected_calibration_error(confidence, correct, norm=0.0)
