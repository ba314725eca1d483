"""Networks of video, in small: gradients, sharding, scores, cuts, modes."""

import pytest

from tests import small_networks

SMALL = small_networks.names(small_networks.VIDEO)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", SMALL)
def test_statistics_of_a_sharded_batch_are_those_of_a_loop(name):
    small_networks.check_statistics(name)


@pytest.mark.parametrize("name", SMALL)
def test_the_parts_are_the_whole(name):
    small_networks.check_parts(name)


@pytest.mark.exhaustive
def test_training_is_random_and_evaluation_is_not():
    small_networks.check_modes("swin3d")
