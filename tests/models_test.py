import json
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models_zoo_test import torch_fill
from trustjax import bridge, models, transforms
from trustjax.models import _layers, _weights

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


@pytest.fixture(scope="module")
def resnet18():
    """(torchvision state dict, images, golden logits)."""
    golden = np.load(GOLDEN / "resnet18_logits.npz")
    state_dict = {
        name: torch_fill(name, shape) if dtype == "float32" else np.zeros(shape, int)
        for name, shape, dtype in json.loads(bytes(golden["spec_json"]))
    }
    images = np.random.default_rng(100).standard_normal((2, 7, 7, 3))
    images = images.repeat(32, axis=1).repeat(32, axis=2).astype(np.float32)
    return state_dict, images, golden["logits_f64"]


def test_resnet18_agrees_with_the_golden_logits(resnet18):
    state_dict, images, expected = resnet18
    apply_fn, params = models.from_state_dict("resnet18", state_dict)
    logits = jax.jit(apply_fn)(params, images)
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "x",
    [
        pytest.param(jax.random.normal(jax.random.key(0), (2, 6, 6, 3)), id="even"),
        pytest.param(jax.random.normal(jax.random.key(0), (1, 7, 5, 2)), id="odd"),
        pytest.param(
            jnp.array([[3.0, 1, 2, 2], [3, 3, 2, 2]])[None, ..., None], id="ties"
        ),
    ],
)
def test_max_pool_is_nnx_max_pool(x):
    expected_pool = lambda x: nnx.max_pool(x, (2, 2), strides=(2, 2))
    expected = expected_pool(x)
    np.testing.assert_array_equal(_layers.max_pool_2x2(x), expected)
    weights = jax.random.normal(jax.random.key(1), expected.shape)
    gradient, expected_gradient = (
        jax.grad(lambda x, pool=pool: (pool(x) * weights).sum())(x)
        for pool in (_layers.max_pool_2x2, expected_pool)
    )
    np.testing.assert_array_equal(gradient, expected_gradient)


def lightly(name):
    """The outline of a large network takes seconds."""
    large = max(models.known(name).image_shape) > 64
    return pytest.param(name, marks=pytest.mark.exhaustive if large else [])


@pytest.mark.parametrize("name", [lightly(name) for name in models.names()])
def test_networks_give_one_row_of_logits_for_each_image(name):
    known = models.known(name)
    images = jax.ShapeDtypeStruct((2, *known.image_shape), jnp.float32)
    model = models.outlined(name)
    logits = nnx.eval_shape(lambda model, images: model(images), model, images)
    assert logits.shape == (2, known.num_classes)


def test_unknown_names_list_what_exists():
    with pytest.raises(ValueError, match=r"model must be one of .*cnn.*, got 'vgg'"):
        create("vgg")


def test_cnn_names_images_that_are_too_small():
    assert create("cnn", (18, 18, 1)).dense.in_features == 16
    with pytest.raises(ValueError, match="at least 18x18 pixels, got 8x8"):
        create("cnn", (8, 8, 1))


def test_from_state_dict_names_what_differs(resnet18):
    state_dict, _, _ = resnet18
    with pytest.raises(ValueError, match=r"must be one of .*, resnet18, "):
        models.from_state_dict("cnn", state_dict)
    with pytest.raises(ValueError, match=r"(?s)another network.*missing, 102 of 102"):
        models.from_state_dict("resnet18", {})
    other = dict(state_dict)
    other["layer9.bn1.bias"] = other.pop("layer1.0.bn1.bias")
    with pytest.raises(ValueError, match=r"(?s)layer1.0.bn1.bias.*layer9.bn1.bias"):
        models.from_state_dict("resnet18", other)
    other = {**state_dict, "bn1.bias": np.zeros(3)}
    with pytest.raises(ValueError, match=r"bn1.bias must be \(64,\), got"):
        models.from_state_dict("resnet18", other)


def test_state_dicts_of_wrapped_models_and_checkpoints_are_the_plain_one(resnet18):
    state_dict, _, _ = resnet18
    wrapped = {f"module.{name}": array for name, array in state_dict.items()}
    checkpoint = {"epoch": 3, "state_dict": wrapped, "optimizer": {"lr": 0.1}}
    _, params = models.from_state_dict("resnet18", checkpoint)
    _, plain = models.from_state_dict("resnet18", state_dict)
    jax.tree.map(np.testing.assert_array_equal, params, plain)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.module.", ""])
def test_one_prefix_of_all_names_is_left_out(prefix):
    names = {f"{prefix}conv1.weight": np.ones(1), f"{prefix}fc.weight": np.ones(2)}
    assert list(_weights.plain(names)) == ["conv1.weight", "fc.weight"]


def test_a_checkpoint_that_may_be_read_in_two_ways_is_named():
    one = {"a": np.ones(1)}
    with pytest.raises(ValueError, match="the weights may be any of"):
        _weights.plain({"model_state_dict": one, "state_dict": one, "epoch": 1})
    mixed = {"module.a": np.ones(1), "b": np.ones(1)}
    assert _weights.plain(mixed) == mixed


def test_load_takes_the_names_of_a_twin(resnet18):
    state_dict, _, _ = resnet18
    _, params = models.load("resnet18", state_dict)
    _, expected = models.from_state_dict("resnet18", state_dict)
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    with pytest.raises(ValueError, match=r"(?s)conv1/kernel.*unexpected.*conv1.weight"):
        models.load("cnn", {"conv1.weight": np.ones(1), "fc.weight": np.ones(2)})


def test_saved_weights_load_again(tmp_path):
    model = models.create(
        "resnet20", num_classes=4, image_shape=(12, 12, 1), rngs=nnx.Rngs(1)
    )
    images = jax.random.uniform(jax.random.key(0), (2, 12, 12, 1))
    model(images)  # moves the running statistics: they are saved too
    models.save(tmp_path / "weights.npz", model)
    cnn = create("cnn")
    models.save(tmp_path / "cnn.npz", cnn)
    apply_fn, params = models.load(
        "resnet20", tmp_path / "weights.npz", num_classes=4, image_shape=(12, 12, 1)
    )
    model.eval()
    np.testing.assert_allclose(apply_fn(params, images), model(images), atol=1e-5)
    # The classes and the channels are those of the weights, if nothing else is said.
    _, params = models.load("resnet20", tmp_path / "weights.npz")
    assert params["dense"]["bias"].shape == (4,)
    with pytest.raises(ValueError, match=r"dense/bias must be \(10,\), got \(4,\)"):
        models.load("resnet20", tmp_path / "weights.npz", num_classes=10)
    with pytest.raises(ValueError, match=r"(?s)of another network.*missing"):
        models.load("cnn", tmp_path / "weights.npz")
    given = models.load("cnn", dict(np.load(tmp_path / "cnn.npz")))[1]
    np.testing.assert_array_equal(given["dense"]["kernel"], cnn.dense.kernel[...])


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("cnn", 6250),
        ("confidnet_mnist", 1_199_882),
        ("confidnet_vgg16", 14_990_922),
        ("efficientnet_lite0", 4_652_008),
        ("mobilenetv1_100", 4_231_976),
        ("resnet8", 75_290),
        ("vit_micro", 204_938),
        ("resnet20", 269_722),
        ("resnet18", 11_689_512),
        ("resnet18_cifar", 11_173_962),
    ],
)
def test_parameter_counts(name, count):
    leaves = jax.tree.leaves(nnx.state(models.outlined(name), nnx.Param))
    assert sum(leaf.size for leaf in leaves) == count


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("mobilenetv1_100", 3.26),
        ("shufflenet_v2_x1_0", 1.32),
        ("mobilenet_v2", 2.29),
        ("resnet50", 23.65),
    ],
)
def test_parameter_counts_of_wong_et_al_2020(name, millions):
    """Table 1 counts running statistics too, and a last layer of some 30 classes.

    With 30, MobileNet-V1 has 3.26 million; the ResNet-50 of Keras, whose convolutions
    have biases, 23.65.
    """
    variables = _weights.variables(models.outlined(name))
    sizes = {path: math.prod(variable.shape) for path, variable in variables.items()}
    dense = sizes["dense/kernel"] + sizes["dense/bias"]
    with_30_classes = sum(sizes.values()) - dense + 30 * dense // 1000
    assert with_30_classes / 1e6 == pytest.approx(millions, rel=0.016)


@pytest.mark.parametrize("name", ["vit_micro", "vit_tiny"])
def test_vit_names_images_that_do_not_divide(name):
    with pytest.raises(ValueError, match=f"{name} .* divide by 4, got 30x28"):
        create(name, (30, 28, 1))


@pytest.mark.parametrize("side", [8, 28, 32])
def test_vit_micro_cuts_every_image_into_sixteen_patches(side):
    apply_fn, params = models.load("vit_micro", image_shape=(side, side, 1))
    images = jax.ShapeDtypeStruct((2, side, side, 1), jnp.float32)
    split = transforms.split(apply_fn, params, images, at="feature_map")
    features = jax.eval_shape(split.features_fn, params, images)
    assert features.shape == (2, 4, 4, 64)
