import pathlib

import jax
import numpy as np
import pytest
from flax import nnx

from trustjax import bridge, models
from trustjax.models import _layers

GOLDEN = pathlib.Path(__file__).parent / "golden"


def nested(flat, prefix):
    """{"prefix/a/b": array} as {"a": {"b": array}}."""
    tree = {}
    for name in flat.files:
        if name.startswith(prefix):
            *folders, leaf = name.removeprefix(prefix).split("/")
            node = tree
            for folder in folders:
                node = node.setdefault(folder, {})
            node[leaf] = flat[name]
    return tree


def create(name, image_shape=(28, 28, 1)):
    model = models.create(
        name, num_classes=10, image_shape=image_shape, rngs=nnx.Rngs(0)
    )
    model.eval()
    return model


def test_cnn_agrees_with_the_golden_logits():
    golden = np.load(GOLDEN / "cnn_logits.npz")
    apply_fn, params = bridge.from_nnx(create("cnn"))
    weights = nested(golden, "params/")
    assert jax.tree.map(np.shape, weights) == jax.tree.map(np.shape, params)
    logits = jax.jit(apply_fn)(weights, golden["images"])
    np.testing.assert_allclose(logits, golden["f64/logits"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 6, 6, 3), (1, 7, 5, 2)])
def test_max_pool_is_nnx_max_pool(shape):
    x = jax.random.normal(jax.random.key(0), shape)
    expected = nnx.max_pool(x, (2, 2), strides=(2, 2))
    np.testing.assert_array_equal(_layers.max_pool_2x2(x), expected)
    weights = jax.random.normal(jax.random.key(1), expected.shape)
    gradient, expected_gradient = (
        jax.grad(lambda x, pool=pool: (pool(x) * weights).sum())(x)
        for pool in (
            _layers.max_pool_2x2,
            lambda x: nnx.max_pool(x, (2, 2), strides=(2, 2)),
        )
    )
    np.testing.assert_array_equal(gradient, expected_gradient)


@pytest.mark.parametrize("name", models.names())
def test_model_is_the_composition_of_its_parts(name):
    model = create(name)
    images = jax.random.uniform(jax.random.key(0), (2, 28, 28, 1))
    apply_fn, params = bridge.from_nnx(model)
    logits = jax.jit(apply_fn)(params, images)
    assert logits.shape == (2, 10)
    for at, rank in (("feature_map", 4), ("embedding", 2)):
        split = models.split(model, at=at)
        assert split.features_fn(params, images).ndim == rank
        np.testing.assert_allclose(
            split.apply_fn(params, images), logits, rtol=1e-4, atol=1e-5
        )


def test_unknown_names_list_what_exists():
    with pytest.raises(ValueError, match=r"model must be one of .*cnn.*, got 'vgg'"):
        create("vgg")
    with pytest.raises(ValueError, match="at must be one of feature_map, embedding"):
        models.split(create("cnn"), at="logits")


def test_cnn_names_images_that_are_too_small():
    assert create("cnn", (18, 18, 1)).dense.in_features == 16
    with pytest.raises(ValueError, match="at least 18x18 pixels, got 8x8"):
        create("cnn", (8, 8, 1))
