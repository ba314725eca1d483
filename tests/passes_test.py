"""What is asked of a network: moved, changed and dropped-out answers, and their limits.

The scores made of them are in `scores_samples_test` and `scores_gradient_test`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trustjax import passes

KEY = jax.random.key(0)


def linear(params, x):
    return x @ params


@pytest.mark.parametrize(
    ("params", "epsilon"), [(np.zeros((3, 2)), 0.5), (np.eye(3, 2), 0.0)]
)
def test_an_input_without_influence_or_step_is_not_moved(params, epsilon):
    x = jax.random.normal(KEY, (4, 3))
    moved = passes.odin_input(linear, jnp.asarray(params, x.dtype), x, epsilon=epsilon)
    np.testing.assert_array_equal(moved, x)


def test_the_moved_input_is_one_step_towards_the_prediction():
    x = jnp.array([[2.0, 0.0, 0.0], [0.0, 1.0, 5.0]])
    scale = np.array([1.0, 2.0, 4.0], np.float32)
    moved = passes.odin_input(linear, jnp.eye(3, 2), x, epsilon=0.1, scale=scale)
    # Away from the class that is not predicted; the third has no influence.
    steps = np.array([[0.1, -0.05, 0.0], [-0.1, 0.05, 0.0]])
    np.testing.assert_allclose(moved, x + steps, rtol=1e-6)
    answer = passes.odin_logits(
        linear, jnp.eye(3, 2), x, temperature=10.0, epsilon=0.1, scale=scale
    )
    np.testing.assert_allclose(answer, moved[:, :2] / 10, rtol=1e-6)


def test_every_sample_of_a_network_without_dropout_is_its_answer():
    x = jax.random.normal(KEY, (4, 3))
    samples = passes.dropout_logits(lambda p, x, key: x, None, x, key=KEY)
    np.testing.assert_array_equal(samples, np.repeat(x[:, None], 50, axis=1))


def test_every_sample_of_inputs_that_stay_is_the_answer():
    x = jax.random.normal(KEY, (4, 3))
    samples = passes.augmented_logits(
        linear, jnp.eye(3), x, augment_fn=lambda x, key: x, key=KEY
    )
    np.testing.assert_array_equal(samples, np.repeat(x[:, None], 10, axis=1))


def test_random_shift_moves_each_image_by_itself():
    images = jnp.zeros((64, 5, 5, 1)).at[:, 2, 2].set(1.0)
    shifted = np.asarray(passes.random_shift(images, KEY, 1))
    assert shifted.shape == images.shape
    places = {tuple(np.argwhere(image[..., 0])[0].tolist()) for image in shifted}
    assert places == {(row, column) for row in (1, 2, 3) for column in (1, 2, 3)}


@pytest.mark.parametrize(("side", "most"), [(5, 1), (28, 2)])
def test_random_shift_goes_by_the_size_of_the_images(side, most):
    middle = side // 2
    images = jnp.zeros((200, side, side, 1)).at[:, middle, middle].set(1.0)
    shifted = np.asarray(passes.random_shift(images, KEY))
    furthest = abs(np.argwhere(shifted[..., 0])[:, 1:] - middle).max()
    assert furthest == most


def test_a_negative_shift_is_refused():
    with pytest.raises(ValueError, match="max_shift must be an integer >= 0"):
        passes.random_shift(jnp.ones((1, 4, 4, 1)), KEY, -1)
