"""The newer scores against pytorch-ood, on features and a last layer that it had too.

Theirs are outlier scores: the sign is the other one.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from tests import golden_numbers
from trustjax import scores
from trustjax.typing import LastLayer


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


@pytest.fixture(scope="module")
def last_layer(golden):
    return LastLayer(jnp.asarray(golden["kernel"]), jnp.asarray(golden["bias"]))


@pytest.fixture(scope="module")
def queries(golden):
    return jnp.asarray(golden["queries"])


def test_fdbd(golden, queries, last_layer):
    state = scores.fit_feature_mean(golden["features"])
    logits = jnp.asarray(golden["logits"])
    assert_is(scores.fdbd(state, queries, logits, last_layer), golden["fdbd"])


@pytest.mark.parametrize("alpha", [0.0, 1e-4, 0.1])
def test_nci(golden, queries, last_layer, alpha):
    state = scores.fit_feature_mean(golden["features"])
    predictions = jnp.argmax(golden["logits"], axis=1)
    ours = scores.nci(state, queries, predictions, last_layer, alpha=alpha)
    assert_is(ours, golden[f"nci_a{alpha:g}"])


@pytest.mark.parametrize("dimensions", [None, 12, 5])
def test_vim(golden, queries, last_layer, dimensions):
    state = scores.fit_vim(golden["features"], last_layer, dimensions=dimensions)
    ours = scores.vim(state, queries, jnp.asarray(golden["logits"]))
    assert_is(ours, golden[f"vim_d{dimensions or 12}"])


@pytest.mark.parametrize("quantile", [0.9, 0.85])
def test_react(golden, queries, last_layer, quantile):
    state = scores.fit_react(golden["features"], quantile=quantile)
    assert_is(scores.react(state, queries, last_layer), golden[f"react_p{quantile}"])


@pytest.mark.parametrize("variant", ["S", "B", "P"])
@pytest.mark.parametrize("percentile", [0.9, 0.65])
def test_ash(golden, queries, last_layer, variant, percentile):
    ours = scores.ash(queries, last_layer, variant=variant, percentile=percentile)
    assert_is(ours, golden[f"ash_{variant.lower()}_p{percentile}"])


@pytest.mark.parametrize("percentile", [0.85, 0.65])
def test_scale(golden, queries, last_layer, percentile):
    ours = scores.scaled_energy(queries, last_layer, percentile=percentile)
    assert_is(ours, golden[f"scale_p{percentile}"])


@pytest.mark.parametrize("k", [10, 3])
def test_nnguide(golden, queries, last_layer, k):
    logits = golden["features"] @ golden["kernel"] + golden["bias"]
    state = scores.fit_nnguide(golden["features"], logits)
    ours = scores.nnguide(state, queries, jnp.asarray(golden["logits"]), k=k)
    assert_is(ours, golden[f"nnguide_k{k}"])
