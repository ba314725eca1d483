"""What every score must do, found through the registry."""

import chex
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from trustjax import scores

EXAMPLES, CLASSES, FEATURES = 16, 7, 5
CLOSED_FORM = scores.names(computable_from={"logits", "features"})


def ingredients(needs, *, dtype=jnp.float32, examples=EXAMPLES):
    keys = jax.random.split(jax.random.key(1), 2)
    made = {
        "logits": 3 * jax.random.normal(keys[0], (examples, CLASSES), dtype),
        "features": jax.random.normal(keys[1], (examples, FEATURES), dtype),
    }
    return [made[need] for need in needs]


@pytest.fixture(params=CLOSED_FORM)
def score(request):
    return scores.lookup(request.param)


def test_shape_dtype_and_finite(score):
    value = score.fn(*ingredients(score.needs))
    chex.assert_shape(value, (EXAMPLES,))
    chex.assert_type(value, jnp.float32)
    chex.assert_tree_all_finite(value)


def test_half_precision_is_scored_in_float32(score):
    half = ingredients(score.needs, dtype=jnp.bfloat16)
    value = score.fn(*half)
    chex.assert_type(value, jnp.float32)
    np.testing.assert_array_equal(
        value, score.fn(*(a.astype(jnp.float32) for a in half))
    )


def test_jit_is_eager_and_compiles_once(score):
    args = ingredients(score.needs)
    jitted = jax.jit(chex.assert_max_traces(score.fn, n=1))
    np.testing.assert_allclose(jitted(*args), score.fn(*args), rtol=1e-5, atol=1e-6)
    jitted(*(2 * a for a in args))


def test_vmap_over_batches_is_one_batch(score):
    args = ingredients(score.needs)
    stacked = [a.reshape(4, EXAMPLES // 4, -1) for a in args]
    np.testing.assert_allclose(
        jax.vmap(score.fn)(*stacked).ravel(), score.fn(*args), rtol=1e-5, atol=1e-6
    )


def test_each_example_is_scored_by_itself(score):
    args = ingredients(score.needs)
    order = jax.random.permutation(jax.random.key(2), EXAMPLES)
    value = score.fn(*args)
    np.testing.assert_allclose(
        score.fn(*(a[order] for a in args)), value[order], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        score.fn(*(a[3:4] for a in args)), value[3:4], rtol=1e-5, atol=1e-6
    )


def test_sharded_is_unsharded_and_stays_sharded(score):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    args = ingredients(score.needs)
    value = jax.jit(score.fn)(*(jax.device_put(a, sharding) for a in args))
    assert value.sharding.is_equivalent_to(sharding, 1)
    np.testing.assert_allclose(value, score.fn(*args), rtol=1e-5, atol=1e-6)


def test_gradient_is_finite_and_right(score):
    args = ingredients(score.needs)
    total = lambda *a: jnp.sum(jnp.tanh(score.fn(*map(jnp.asarray, a))))
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(a), jnp.float64) for a in args]
        jax.test_util.check_grads(total, wide, order=1, modes=("rev",), rtol=1e-3)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4)])
def test_a_wrong_shape_is_named(score, shape):
    args = [jnp.zeros(shape) for _ in score.needs]
    with pytest.raises(ValueError, match=r"logits must have shape \[batch, classes\]"):
        jax.jit(score.fn)(*args)


@pytest.mark.usefixtures("without_type_checks")
def test_integers_are_refused(score):
    args = [jnp.zeros((2, 3), jnp.int32) for _ in score.needs]
    with pytest.raises(TypeError, match="logits must be floating point, got int32"):
        jax.jit(score.fn)(*args)
