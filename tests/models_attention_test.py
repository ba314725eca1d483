"""ConvNeXt and the transformers, in small: gradients, sharding, scores, cuts, modes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests import small_networks
from trustjax.models import _window_attention as window_attention

SMALL = small_networks.names(small_networks.ATTENTION)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", SMALL)
def test_statistics_of_a_sharded_batch_are_those_of_a_loop(name):
    small_networks.check_statistics(name)


@pytest.mark.parametrize("name", SMALL)
def test_the_parts_are_the_whole(name):
    small_networks.check_parts(name)


@pytest.mark.parametrize("name", SMALL)
def test_training_is_random_and_evaluation_is_not(name):
    small_networks.check_modes(name)


def test_relative_positions_are_numbers_of_offsets():
    """Tokens that lie alike to each other have one number, others another."""
    window = (2, 3)
    places = [(row, column) for row in range(2) for column in range(3)]
    index = window_attention.relative_positions(window)
    offsets = {}
    for i, one in enumerate(places):
        for j, other in enumerate(places):
            offset = (one[0] - other[0], one[1] - other[1])
            assert offsets.setdefault(offset, index[i, j]) == index[i, j]
    assert sorted(offsets.values()) == list(range(3 * 5))


def test_log_offsets_are_in_the_order_of_the_numbers():
    offsets = window_attention.log_offsets((3, 2))
    index = window_attention.relative_positions((3, 2))
    # From the last token (2, 1) to the second (0, 1): all the way down, no column.
    np.testing.assert_allclose(offsets[index[5, 1]], [np.log2(9) / 3, 0], rtol=1e-6)
    # From the first token to the fourth (1, 1): half the way up, all to the left.
    np.testing.assert_allclose(
        offsets[index[0, 3]], [-np.log2(5) / 3, -np.log2(9) / 3], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("size", "window", "shift"),
    [
        ((6, 4), (3, 2), (1, 1)),
        ((5, 7), (3, 3), (1, 1)),
        ((5, 2), (2, 3), (1, 1)),
        ((4, 4), (2, 2), (0, 0)),
        ((3, 4, 5), (2, 4, 2), (1, 2, 1)),
    ],
)
def test_tokens_see_their_neighbours_in_shifted_windows(size, window, shift):
    """Against the definition: the cells of a grid that lies `shift` further."""
    tokens = int(np.prod(size))

    def evenly(x, mask):
        """Attention to all that may be seen."""
        weights = jax.nn.softmax(jnp.zeros((1, x.shape[1], 1, *[x.shape[2]] * 2)))
        if mask is not None:
            weights = jax.nn.softmax(jnp.broadcast_to(mask, weights.shape))
        return weights[:, :, 0] @ x

    read = jax.jit(
        lambda x: window_attention.in_shifted_windows(evenly, x, window, shift)
    )(jnp.eye(tokens).reshape(1, *size, tokens))
    sees = np.asarray(read).reshape(tokens, tokens) > 0

    places = np.indices(size).reshape(len(size), -1)
    same_cell = np.ones((tokens, tokens), bool)
    for place, n, w, s in zip(places, size, window, shift, strict=True):
        cell = (place - (s if n > w else 0)) // w
        same_cell &= cell[:, None] == cell[None, :]
    np.testing.assert_array_equal(sees, same_cell)


@pytest.mark.parametrize("size", [(6, 4), (4, 2, 6)])
def test_windows_are_put_together_again(size):
    window = (2,) * len(size)
    x = jax.random.normal(jax.random.key(0), (2, *size, 3))
    windows = window_attention.split_windows(x, window)
    assert windows.shape == (2, int(np.prod(size)) // 2 ** len(size), 2 ** len(size), 3)
    np.testing.assert_array_equal(
        window_attention.join_windows(windows, window, size), x
    )


def test_cosines_of_a_zero_vector_have_a_finite_derivative():
    attention = window_attention.CosineAttention(4, 2, (1, 2), rngs=nnx.Rngs(0))
    slope = jax.jit(jax.grad(lambda x: (attention(x) ** 2).sum()))
    assert np.isfinite(slope(jnp.zeros((1, 1, 2, 4)))).all()
