"""What a gradient is asked, against NumPy, and the gradients it gives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trustjax import losses, scores, targets

INF, NAN = np.inf, np.nan


def by_sorting(logits, k):
    """The classes in falling order, the prediction left out."""
    return np.argsort(-np.asarray(logits), axis=-1, kind="stable")[:, 1 : 1 + k]


def test_of_random_logits_they_are_what_sorting_gives():
    logits = jnp.round(jax.random.normal(jax.random.key(0), (200, 7)), 1)  # with ties
    np.testing.assert_array_equal(
        targets.predicted_class(logits), np.argmax(logits, axis=-1)
    )
    every = jax.jit(targets.top_k_counterfactuals, static_argnums=1)(logits, 6)
    np.testing.assert_array_equal(every, by_sorting(logits, 6))
    few = targets.top_k_counterfactuals(logits, 2)
    np.testing.assert_array_equal(few, by_sorting(logits, 2))
    for rank in (1, 2):
        contrast = targets.contrast_class(logits, rank=rank)
        np.testing.assert_array_equal(contrast, few[:, rank - 1])


@pytest.mark.parametrize(
    ("row", "predicted", "others"),
    [
        ([0.0, 0.0, 0.0], 0, [1, 2]),
        ([0.0, 1.0, 1.0], 1, [2, 0]),
        ([-INF, 0.0, -INF], 1, [0, 2]),
        ([-INF, -INF, -INF], 0, [1, 2]),
        ([INF, 0.0, INF], 0, [2, 1]),
        ([0.0, NAN, 1.0], 1, [2, 0]),
        ([0.0, NAN, NAN], 1, [2, 0]),
    ],
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_edge_case_of_the_ranked_classes(row, predicted, others, dtype):
    logits = jnp.array([row], dtype)
    assert targets.predicted_class(logits).tolist() == [predicted]
    assert targets.top_k_counterfactuals(logits, 2).tolist() == [others]
    assert targets.contrast_class(logits).tolist() == others[:1]


def test_an_empty_batch_has_no_classes():
    logits = jnp.zeros((0, 4))
    assert targets.predicted_class(logits).shape == (0,)
    assert targets.top_k_counterfactuals(logits, 3).shape == (0, 3)


def test_the_choice_is_not_differentiated():
    def loss(z):
        return losses.cross_entropy(z, targets.contrast_class(z)).sum()

    z = jnp.array([[2.0, 1.0, 0.0]])
    np.testing.assert_allclose(
        jax.grad(loss)(z), jax.nn.softmax(z) - jnp.array([[0.0, 1.0, 0.0]]), rtol=1e-6
    )


def test_one_hot_of_a_label_out_of_range_is_zeros():
    rows = targets.one_hot(jnp.array([2, 3, -1]), 3)
    np.testing.assert_array_equal(rows, [[0, 0, 1], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("labels", [[0, 1, 1], np.array([0.0, 1.0, 1.0])])
@pytest.mark.parametrize("jit", [jax.jit, lambda fun: fun])
def test_confounding_labels_are_the_same_for_every_example(labels, jit):
    logits = jnp.zeros((2, 3), jnp.bfloat16)
    of = lambda labels: jit(
        functools.partial(targets.confounding_labels, labels=labels)
    )(logits)
    for asked in (labels, jnp.asarray(labels)):
        assert of(asked).dtype == jnp.bfloat16
        np.testing.assert_array_equal(of(asked), [[0, 1, 1]] * 2)
    np.testing.assert_array_equal(of("all_ones"), targets.all_ones(logits))
    np.testing.assert_array_equal(of("all_zeros"), np.zeros((2, 3)))


def test_closed_forms_of_scores_are_gradients_towards_these_targets():
    keys = jax.random.split(jax.random.key(0), 2)
    z, h = jax.random.normal(keys[0], (3, 4)), jax.random.normal(keys[1], (3, 5))

    def last_layer(loss):
        """Gradients of a kernel that turns h into z."""
        gradient = jax.vmap(jax.grad(lambda z: loss(z[None])[0]))(z)
        return h[:, :, None] * gradient[:, None]

    to_uniform = last_layer(lambda z: losses.squared_error(z, targets.uniform(z)))
    variance = np.var(np.asarray(to_uniform) ** 2, axis=1, ddof=1)
    np.testing.assert_allclose(
        scores.grad_trust_reference(z), variance.max(1) / variance.mean(1), rtol=1e-4
    )
    to_ones = last_layer(lambda z: losses.squared_error(z, targets.all_ones(z)))
    np.testing.assert_allclose(
        scores.introspective_norm(z, h), np.linalg.norm(to_ones, axis=(1, 2)), rtol=1e-5
    )
    entropy = lambda z: -(targets.uniform(z) * jax.nn.log_softmax(z)).sum(-1)
    np.testing.assert_allclose(
        scores.grad_norm(z, h),
        4 * np.abs(last_layer(entropy)).sum((1, 2)),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: targets.predicted_class(z[0]), r"shape \[batch, classes\], got"),
        (
            lambda z: targets.top_k_counterfactuals(z, 3),
            "k must be an integer >= 1 and",
        ),
        (lambda z: targets.top_k_counterfactuals(z[0], 1), r"shape \[batch, classes\]"),
        (lambda z: targets.contrast_class(z, rank=0), "rank must be an integer >= 1"),
        (lambda z: targets.contrast_class(z[0]), r"shape \[batch, classes\]"),
        (
            lambda z: targets.one_hot(z.astype(int), 3),
            r"labels must have shape \[batch",
        ),
        (lambda z: targets.one_hot(z[0].astype(int), 0), "num_classes must be an"),
        (lambda z: targets.uniform(z[0]), r"shape \[batch, classes\], got"),
        (lambda z: targets.all_ones(z[0]), r"shape \[batch, classes\], got"),
        (lambda z: targets.confounding_labels(z[0]), r"shape \[batch, classes\], got"),
        (lambda z: targets.confounding_labels(z, "ones"), "labels must be one of all_"),
        (lambda z: targets.confounding_labels(z, [1.0, 0.0]), "must broadcast to"),
        (
            lambda z: targets.confounding_labels(z, z),
            r"labels must have shape \[classes",
        ),
        (
            lambda z: targets.confounding_labels(z, [2.0] * 3),
            r"must be in \[0, 1\], got 2",
        ),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match=message):
        jax.jit(call)(jnp.zeros((2, 3)))
