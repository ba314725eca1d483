"""A network is cut at the right place, and its two parts are the whole."""

import functools
import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests import networks
from trustjax import bridge, models, transforms
from trustjax.typing import SplitModel

PLACES = ("embedding", "feature_map")
CUT = [
    (name, at)
    for name in networks.ALL
    for at in PLACES
    if getattr(networks.get(name), at) is not None
]
UNCUT = [
    (name, at)
    for name in networks.ALL
    for at in PLACES
    if getattr(networks.get(name), at) is None
]


@functools.cache
def split_of(name: str, at: str) -> SplitModel:
    network = networks.get(name)
    return transforms.split(network.apply_fn, network.params, network.x, at)


@functools.cache
def asked(name: str) -> dict[str, Any]:
    """Everything that tests ask of a network, from one program."""
    network = networks.get(name)
    splits = {at: split_of(name, at) for n, at in CUT if n == name}

    @jax.jit
    def run(params, x):
        logits = network.apply_fn(params, x)
        mixed = jnp.cos(jnp.arange(logits.size, dtype=logits.dtype))
        answers: dict[str, Any] = {"logits": logits}
        for at, split in splits.items():
            features = split.features_fn(params, x)
            objective = lambda params, features, split=split: (
                split.head_fn(params, features).ravel() * mixed
            ).sum()
            answers[at] = {
                "features": features,
                "composed": split.head_fn(params, features),
                "gradients": jax.grad(objective, (0, 1))(params, features),
            }
        return answers

    return run(network.params, network.x)


def layers_read(gradients: Any) -> frozenset[str]:
    """The parameters that a gradient is not zero for: `dense`, `blocks/2`."""
    read = set()
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        names = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
        if names[0] == "blocks" and names[1].isdigit():
            layers = {f"blocks/{names[1]}": leaf}
        elif names[0] == "blocks":
            layers = {f"blocks/{number}": layer for number, layer in enumerate(leaf)}
        else:
            layers = {names[0]: leaf}
        read |= {name for name, layer in layers.items() if np.any(layer)}
    return frozenset(read)


@pytest.mark.parametrize(("name", "at"), CUT)
def test_parts_composed_are_the_whole_to_the_last_bit(name, at):
    answers = asked(name)
    np.testing.assert_array_equal(answers[at]["composed"], answers["logits"])


@pytest.mark.parametrize(("name", "at"), CUT)
def test_the_cut_is_the_right_one(name, at):
    """By what the head reads, and by the gradient that reaches the features."""
    network, answers = networks.get(name), asked(name)[at]
    of_params, of_features = answers["gradients"]
    assert answers["features"].shape == (networks.BATCH, *getattr(network, at))
    expected = {"embedding": network.reads_embedding, "feature_map": network.reads_map}
    assert layers_read(of_params) == expected[at]
    if at == "feature_map":
        moving = np.any(of_features, axis=(0, -1))
        # Of windows that are pooled by their maximum, the largest alone moves it.
        assert moving.all() or (name == "largest_of_windows" and moving.mean() > 0.25)


def test_behind_the_last_block_a_class_token_alone_moves_the_logits():
    """Why the feature map of a class-token transformer is the stream before it."""
    network = networks.get("class_token")
    apply_fn, params, x = network[:3]
    *_, last = (c for c in transforms.cuts(apply_fn, params, x) if len(c.shape) == 3)
    split = transforms.split(apply_fn, params, x, last)
    logits_of = lambda features: split.head_fn(params, features).sum()
    features = split.features_fn(params, x)
    moving = np.any(jax.jit(jax.grad(logits_of))(features), axis=(0, -1))
    np.testing.assert_array_equal(moving, np.arange(moving.size) == 0)


@pytest.mark.parametrize("name", ["class_token", "channels_first", "recurrent_last"])
def test_every_cut_gives_the_whole(name):
    apply_fn, params, x = networks.get(name)[:3]
    cuts = transforms.cuts(apply_fn, params, jax.eval_shape(lambda: x))
    splits = [transforms.split(apply_fn, params, x, cut) for cut in cuts]

    @jax.jit
    def run(params, x):
        features = [split.features_fn(params, x) for split in splits]
        pairs = zip(splits, features, strict=True)
        logits = [split.head_fn(params, f) for split, f in pairs]
        return apply_fn(params, x), features, logits

    whole, features, logits = run(params, x)
    assert [cut.number for cut in cuts] == list(range(len(cuts))) != []
    for cut, array, composed in zip(cuts, features, logits, strict=True):
        assert (cut.shape, cut.dtype) == (array.shape, array.dtype)
        np.testing.assert_array_equal(composed, whole)


@pytest.mark.parametrize(("name", "at"), CUT)
def test_a_batch_of_one_goes_through(name, at):
    """Its program has other axes; by shapes, in all networks."""
    network, split = networks.get(name), split_of(name, at)
    x = jax.tree.map(lambda a: a[:1], network.x)
    features = jax.eval_shape(split.features_fn, network.params, x)
    assert features.shape == (1, *getattr(network, at))
    logits = jax.eval_shape(split.head_fn, network.params, features)
    assert logits.shape == (1, networks.CLASSES)


several = pytest.mark.parametrize(
    "name", ["channels_first", "mean_of_tokens_in_a_scan"]
)


@several
@pytest.mark.parametrize("size", [1, 3])
def test_a_batch_of_any_size_goes_through(name, size):
    _, params, x = networks.get(name)[:3]
    splits = [split_of(name, at) for at in PLACES]
    run = jax.jit(lambda params, x: [split.apply_fn(params, x) for split in splits])
    expected = asked(name)["logits"][:size]
    for logits in run(params, x[:size]):
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


@several
@pytest.mark.parametrize("at", PLACES)
def test_vmap_over_examples_is_the_batch(name, at):
    _, params, x = networks.get(name)[:3]
    split = split_of(name, at)
    of_one = lambda x: split.apply_fn(params, x[None])[0]
    logits = jax.jit(jax.vmap(of_one))(x)
    np.testing.assert_allclose(logits, asked(name)["logits"], rtol=1e-4, atol=1e-5)


@several
@pytest.mark.parametrize("at", PLACES)
def test_derivatives_are_those_of_the_whole(name, at):
    apply_fn, params, x = networks.get(name)[:3]
    split = split_of(name, at)

    @jax.jit
    def derivatives(params, x):
        tangents = jax.tree.map(jnp.ones_like, (params, x))

        def of(fun):
            loss = lambda params, x: jnp.sin(fun(params, x)).sum()
            return jax.grad(loss, (0, 1))(params, x), jax.jvp(
                loss, (params, x), tangents
            )

        return of(split.apply_fn), of(apply_fn)

    parts, whole = derivatives(params, x)
    chex.assert_trees_all_close(parts, whole, rtol=1e-4, atol=1e-5)


@several
@pytest.mark.parametrize("at", PLACES)
def test_bfloat16(name, at):
    """Given in bfloat16 to a network that was split in float32."""
    apply_fn, *arguments = networks.get(name)[:3]
    halved = lambda a: a.astype(jnp.bfloat16) if a.dtype == np.float32 else a
    split = split_of(name, at)

    @jax.jit
    def run(params, x):
        features = split.features_fn(params, x)
        return apply_fn(params, x), features, split.head_fn(params, features)

    whole, features, composed = run(*jax.tree.map(halved, arguments))
    assert features.dtype == whole.dtype == jnp.bfloat16
    np.testing.assert_array_equal(composed, whole)


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
@pytest.mark.parametrize("at", PLACES)
@several
def test_sharded_batch(name, at, kind):
    apply_fn, params, x = networks.get(name)[:3]
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType[kind],))
    over_data = NamedSharding(mesh, P("data"))
    x = jax.device_put(x, over_data)
    params = jax.device_put(params, NamedSharding(mesh, P()))
    # Split from what was sharded, and from what was not.
    for split in (split_of(name, at), transforms.split(apply_fn, params, x, at)):
        features, logits = jax.jit(
            lambda params, x, split=split: (
                (features := split.features_fn(params, x)),
                split.head_fn(params, features),
            )
        )(params, x)
        for array in (features, logits):
            assert array.sharding.is_equivalent_to(over_data, array.ndim)
        expected = asked(name)["logits"]
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("at", PLACES)
@several
def test_inside_shard_map(name, at, check_vma):
    apply_fn, params, x = networks.get(name)[:3]
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))

    def of_shard(params, x):
        here = transforms.split(apply_fn, params, x, at)
        before = split_of(name, at)
        return [split.apply_fn(params, x) for split in (here, before)]

    sharded = jax.shard_map(
        of_shard,
        mesh=mesh,
        in_specs=(P(), P("data")),
        out_specs=P("data"),
        check_vma=check_vma,
    )
    for logits in jax.jit(sharded)(params, x):
        expected = asked(name)["logits"]
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


OF_MODELS = {
    "cnn": ((28, 28, 1), (144,), (3, 3, 16)),
    "mlp": ((8, 8, 1), (256,), None),
    "resnet18": ((64, 64, 3), (512,), (2, 2, 512)),
    "resnet18_cifar": ((16, 16, 3), (512,), (2, 2, 512)),
    "resnet20": ((8, 8, 1), (64,), (2, 2, 64)),
    "resnet8": ((8, 8, 1), (64,), (2, 2, 64)),
    "vit_micro": ((8, 8, 1), (64,), (4, 4, 64)),
    "vit_tiny": ((8, 8, 3), (192,), (2, 2, 192)),
}
"""Image shape, embedding and feature map of the small networks of the library."""


@pytest.mark.parametrize("name", OF_MODELS)
def test_networks_of_the_library(name):
    """By shapes: no network is compiled."""
    image_shape = OF_MODELS[name][0]
    apply_fn, params = models.load(name, num_classes=10, image_shape=image_shape)
    x = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    for at, shape in zip(PLACES, OF_MODELS[name][1:], strict=True):
        if shape is None:
            with pytest.raises(ValueError, match="there is no feature map"):
                transforms.split(apply_fn, params, x, at)
            continue
        split = transforms.split(apply_fn, params, x, at)
        features = jax.eval_shape(split.features_fn, params, x)
        assert features.shape == (2, *shape)
        assert jax.eval_shape(split.head_fn, params, features).shape == (2, 10)


OF_FULL_MODELS = {
    "alexnet": ((4096,), (6, 6, 256)),
    "confidnet_mnist": ((128,), (12, 12, 64)),
    "confidnet_vgg16": ((512,), (2, 2, 512)),
    "convnext_tiny": ((768,), (7, 7, 768)),
    "densenet121": ((1024,), (7, 7, 1024)),
    "efficientnet_lite0": ((1280,), (7, 7, 1280)),
    "efficientnet_lite1": ((1280,), (8, 8, 1280)),
    "efficientnet_lite2": ((1280,), (9, 9, 1280)),
    "efficientnet_v2_s": ((1280,), (12, 12, 1280)),
    "maxvit_t": ((512,), (7, 7, 512)),
    "mc3_18": ((512,), (16, 7, 7, 512)),
    "mobilenet_v2": ((1280,), (7, 7, 1280)),
    # A hidden layer stands behind the mean.
    "mobilenet_v3_large": ((1280,), (7, 7, 960)),
    "mobilenet_v3_small": ((1024,), (7, 7, 576)),
    "mobilenetv1_100": ((1024,), (7, 7, 1024)),
    "r2plus1d_18": ((512,), (2, 7, 7, 512)),
    "r3d_18": ((512,), (2, 7, 7, 512)),
    "resnet101": ((2048,), (7, 7, 2048)),
    "resnet18": ((512,), (7, 7, 512)),
    "resnet34": ((512,), (7, 7, 512)),
    "resnet50": ((2048,), (7, 7, 2048)),
    "resnext101_64x4d": ((2048,), (7, 7, 2048)),
    "resnext50_32x4d": ((2048,), (7, 7, 2048)),
    "shufflenet_v2_x1_0": ((1024,), (7, 7, 1024)),
    "swin3d_t": ((768,), (8, 7, 7, 768)),
    "swin_b": ((1024,), (7, 7, 1024)),
    "swin_v2_t": ((768,), (8, 8, 768)),
    "vgg11": ((4096,), (7, 7, 512)),
    "vgg16": ((4096,), (7, 7, 512)),
    "vit_b_16": ((768,), (197, 768)),
    "vit_b_32": ((768,), (50, 768)),
    "wide_resnet50_2": ((2048,), (7, 7, 2048)),
}
"""Embedding and feature map of large networks, for the images they are known for."""


@pytest.mark.parametrize("name", OF_FULL_MODELS)
def test_the_class_tokens_of_a_network_are_known(name):
    """Without them its feature map is a grid, as high as it is wide."""
    _, (*positions, _) = OF_FULL_MODELS[name]
    class_tokens = models.known(name).class_tokens
    assert class_tokens == (1 if name.startswith("vit_b") else 0)
    if len(positions) == 1:
        patches = positions[0] - class_tokens
        assert math.isqrt(patches) ** 2 == patches


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", OF_FULL_MODELS)
def test_full_networks_of_the_library(name):
    """By shapes, without their weights."""
    row, model = models.known(name), models.outlined(name)
    for _, variable in nnx.to_flat_state(nnx.state(model, nnx.Not(nnx.Param))):
        random = jnp.issubdtype(variable.dtype, jax.dtypes.prng_key)
        zeros = jnp.zeros(variable.shape, None if random else variable.dtype)
        variable.set_value(jax.random.key(0) if random else zeros)
    model.eval()
    apply_fn, params = bridge.from_nnx(model)
    x = jax.ShapeDtypeStruct((2, *row.image_shape), jnp.float32)
    for at, shape in zip(PLACES, OF_FULL_MODELS[name], strict=True):
        split = transforms.split(apply_fn, params, x, at)
        features = jax.eval_shape(split.features_fn, params, x)
        assert features.shape == (2, *shape)
        logits = jax.eval_shape(split.head_fn, params, features)
        assert logits.shape == (2, row.num_classes)


@pytest.mark.parametrize("name", ["cnn", "resnet8", "vit_micro"])
def test_networks_of_the_library_are_their_parts(name):
    image_shape = OF_MODELS[name][0]
    apply_fn, params = models.load(name, image_shape=image_shape)
    x = jax.random.normal(jax.random.key(0), (3, *image_shape))
    splits = [transforms.split(apply_fn, params, x, at) for at in PLACES[:2]]

    @jax.jit
    def run(params, x):
        return apply_fn(params, x), [split.apply_fn(params, x) for split in splits]

    whole, parts = run(params, x)
    for logits in parts:
        np.testing.assert_array_equal(logits, whole)


def operations_in(fun, *args):
    return {e.primitive.name for e in jax.make_jaxpr(fun)(*args).eqns}


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("class_token_in_a_scan", "scan"),
        ("class_token_rematerialised", "remat2"),
        ("jitted", "jit"),
    ],
)
def test_a_call_that_is_not_cut_stays_whole(name, operation):
    network, split = networks.get(name), split_of(name, "embedding")
    arguments = network.params, network.x
    assert operation in operations_in(split.features_fn, *arguments)


@pytest.mark.parametrize(("name", "at"), UNCUT)
def test_a_network_that_cannot_be_cut_says_where_it_can(name, at):
    network = networks.get(name)
    named = at.replace("_", " ")
    with pytest.raises(ValueError, match=f"there is no {named}") as caught:
        transforms.split(network.apply_fn, network.params, network.x, at)
    message = str(caught.value)
    cuts = transforms.cuts(network.apply_fn, network.params, network.x)
    for cut in cuts[-3:]:
        assert f"  {cut.number}: {cut.name} {cut.dtype}{list(cut.shape)}" in message
    assert cuts or "There is no cut at all" in message


def test_several_outputs_are_refused():
    apply_fn, params, x = networks.get("perceptron")[:3]
    two: Any = lambda params, x: (apply_fn(params, x), x)
    with pytest.raises(ValueError, match=r"must return one array .*, got 2"):
        transforms.cuts(two, params, x)


def test_a_program_that_is_another_one_for_another_batch_is_refused():
    apply_fn, params, x = networks.get("perceptron")[:3]
    other = lambda params, x: apply_fn(params, jnp.sin(x) if len(x) > 6 else x)
    with pytest.raises(ValueError, match="for 4 and for 8 examples"):
        transforms.cuts(other, params, x)
    split = transforms.split(other, params, x[:2])
    with pytest.raises(ValueError, match="another program for 8 examples than for 2"):
        split.features_fn(params, np.concatenate([x, x]))


def test_a_network_inside_shard_map_is_one_operation():
    apply_fn, params, x = networks.get("perceptron")[:3]
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    sharded = jax.shard_map(
        apply_fn, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data")
    )
    assert transforms.cuts(sharded, params, x) == ()
    with pytest.raises(ValueError, match="nothing but one shard_map"):
        transforms.split(sharded, params, x)


def test_a_split_model_comes_back_as_it_is():
    network, split = networks.get("perceptron"), split_of("perceptron", "embedding")
    assert transforms.split(split, network.params, network.x, "feature_map") is split


@pytest.mark.parametrize(
    ("name", "number"),
    [("BatchNorm_0", 4), ("_Convolutional/Conv_1", 7), ("Conv_1/add", 7), ("3", 3)],
)
def test_a_cut_by_its_name_or_its_number(name, number):
    """A layer is its last cut, whatever its network calls what is around it."""
    network = networks.get("of_linen")[:3]
    cut = transforms.cuts(*network)[number]
    by_name, by_cut = (transforms.split(*network, at) for at in (name, cut))
    params, x = network[1:]
    found, expected = (s.features_fn(params, x) for s in (by_name, by_cut))
    np.testing.assert_array_equal(found, expected)


def test_bad_arguments_are_named():
    apply_fn, params, x = networks.get("perceptron")[:3]
    with pytest.raises(ValueError, match="at must be one of embedding, feature_map"):
        transforms.split(apply_fn, params, x, "logits")
    linen = networks.get("of_linen")[:3]
    with pytest.raises(ValueError, match=r"got 'BatchNorm_2'.*first, BatchNorm_[01], "):
        transforms.split(*linen, "BatchNorm_2")
    (cut, *_) = transforms.cuts(*networks.get("dense")[:3])
    with pytest.raises(ValueError, match="at is no cut of this network"):
        transforms.split(apply_fn, params, x, cut)
    split = split_of("perceptron", "embedding")
    with pytest.raises(ValueError, match=r"must have shape \('batch', 8\), got \(2, 3"):
        split.head_fn(params, np.zeros((2, 3)))
