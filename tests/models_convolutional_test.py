"""The convolutional families, in small: gradients, sharding, scores, cuts, folding."""

import jax
import numpy as np
import pytest
from flax import nnx

from tests import small_networks
from trustjax import bridge, models

SMALL = small_networks.names(small_networks.CONVOLUTIONAL)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", SMALL)
def test_statistics_of_a_sharded_batch_are_those_of_a_loop(name):
    small_networks.check_statistics(name)


@pytest.mark.parametrize("name", SMALL)
def test_the_parts_are_the_whole(name):
    small_networks.check_parts(name)


WITHOUT_CHANCE = {"mobilenet_v1", "resnext", "shufflenet"}
"""Networks that have no dropout, and leave no block out."""


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "name", [known for known in SMALL if known.values[0] not in WITHOUT_CHANCE]
)
def test_training_is_random_and_evaluation_is_not(name):
    small_networks.check_modes(name)


FOLDED = {
    "confidnet_mnist": (0, 0),
    # Behind a ReLU: none can be.
    "confidnet_vgg": (3, 0),
    # Only where a layer's second norm stands between its convolutions, and in the stem.
    "densenet": (9, 4),
    "efficientnet_lite": (13, 13),
    "mobilenet_v2": (10, 10),
    "resnext": (9, 9),
}
"""How many norms a network has, and how many are folded."""


@pytest.mark.parametrize(
    "name",
    [
        name
        if name in ("confidnet_vgg", "resnext")
        else pytest.param(name, marks=pytest.mark.exhaustive)
        for name in FOLDED
    ],
)
def test_folded_norms_leave_the_logits_as_they_are(name):
    model = small_networks.filled(small_networks.CONVOLUTIONAL[name])
    norms = [m for _, m in nnx.iter_modules(model) if isinstance(m, nnx.BatchNorm)]
    biased = sum(
        m.use_bias for _, m in nnx.iter_modules(model) if isinstance(m, nnx.Conv)
    )
    apply_fn, params, x = small_networks.network(name)
    folded_fn, folded = models.fold_batch_norm(model, x[:2])
    expected, logits = jax.jit(lambda x: (apply_fn(params, x), folded_fn(folded, x)))(
        x[:2]
    )
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    # Scale and bias of a norm go, and the convolution has a bias where it had none.
    number = FOLDED[name][1]
    leaves = len(jax.tree.leaves(params)) - 2 * number + (0 if biased else number)
    assert (len(norms), len(jax.tree.leaves(folded))) == (FOLDED[name][0], leaves)
    _, untouched = bridge.from_nnx(model)
    jax.tree.map(np.testing.assert_array_equal, untouched, params)


class Twice(nnx.Module):
    """A convolution whose output is read by a norm and by another layer."""

    def __init__(self):
        self.conv = nnx.Conv(1, 2, (3,), rngs=nnx.Rngs(0))
        self.norm = nnx.BatchNorm(2, use_running_average=True, rngs=nnx.Rngs(0))

    def __call__(self, x):
        y = self.conv(x)
        return (self.norm(y) + y).mean(1)


def test_a_convolution_that_others_read_keeps_its_norm():
    model = Twice()
    x = np.ones((2, 5, 1), np.float32)
    _, params = models.fold_batch_norm(model, x)
    _, expected = bridge.from_nnx(model)
    assert jax.tree.structure(params) == jax.tree.structure(expected)
