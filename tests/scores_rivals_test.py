"""The newer scores against pytorch-ood, on features and a last layer that it had too.

Theirs are outlier scores: the sign is the other one.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from tests import golden_numbers
from trustjax import scores


@pytest.fixture(scope="module")
def golden():
    return golden_numbers.load("pytorch_ood")


def assert_is(ours, theirs):
    np.testing.assert_allclose(ours, -theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("key", "logits", "options"),
    [
        ("gen_g0.1", "logits", {}),
        ("gen_g0.1_M100", "logits_of_200", {}),
        ("gen_g0.5_M20", "logits_of_200", {"gamma": 0.5, "top_m": 20}),
    ],
)
def test_gen(golden, key, logits, options):
    assert_is(scores.gen(jnp.asarray(golden[logits]), **options), golden[key])
