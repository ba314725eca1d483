"""Losses of logits towards a class or a confounding label."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from trustjax import losses

LOGITS = 3 * jax.random.normal(jax.random.key(0), (6, 4))
LABELS = jnp.array([0, 1, 2, 3, 0, 1])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            losses.predicted_cross_entropy(LOGITS),
            optax.softmax_cross_entropy_with_integer_labels(
                LOGITS, jnp.argmax(LOGITS, axis=-1)
            ),
        ),
        (
            losses.cross_entropy(LOGITS, LABELS),
            optax.softmax_cross_entropy_with_integer_labels(LOGITS, LABELS),
        ),
        (
            losses.binary_cross_entropy(LOGITS, jnp.ones((6, 4)) / 3),
            optax.sigmoid_binary_cross_entropy(LOGITS, jnp.ones((6, 4)) / 3).mean(1),
        ),
        (
            losses.squared_error(LOGITS, jnp.ones((6, 4))),
            optax.squared_error(LOGITS, jnp.ones((6, 4))).mean(1),
        ),
    ],
)
def test_loss_is_that_of_optax(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("row", "label", "expected"),
    [
        ([5.0], 0, 0.0),
        ([1.0, 2.0], 7, np.nan),
        ([1.0, 2.0], -1, np.nan),
        ([np.nan, 2.0], 0, np.nan),
        ([np.inf, 2.0], 0, 0.0),
    ],
)
def test_edge_case_of_cross_entropy(row, label, expected):
    value = losses.cross_entropy(jnp.array([row]), jnp.array([label]))
    np.testing.assert_array_equal(value, [expected])


@pytest.mark.parametrize(
    "loss_fn",
    [
        losses.predicted_cross_entropy,
        lambda z: losses.cross_entropy(z, jnp.array([0])),
    ],
)
def test_the_gradient_keeps_its_digits_where_the_softmax_saturates(loss_fn):
    """1 - p = 1 / (1 + exp(40)): p itself is 1 in float32."""
    gradient = jax.grad(lambda z: loss_fn(z)[0])(jnp.array([[40.0, 0.0]]))
    rest = 1 / (1 + np.exp(40.0))
    np.testing.assert_allclose(gradient, [[-rest, rest]], rtol=1e-5)


def test_a_half_precision_loss_is_in_float32():
    value = losses.predicted_cross_entropy(LOGITS.astype(jnp.bfloat16))
    assert value.dtype == jnp.float32


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: losses.cross_entropy(z, LABELS[:2]), "logits has 6, labels has 2"),
        (
            lambda z: losses.binary_cross_entropy(z, jnp.ones(4)),
            r"logits has \(6, 4\), targets has \(4,\)",
        ),
        (
            lambda z: losses.squared_error(z, jnp.ones((6, 1))),
            r"logits has \(6, 4\), targets has \(6, 1\)",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(LOGITS)
