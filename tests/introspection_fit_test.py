"""The second stage: against dense layers on flattened gradients, and as a network."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from trustjax import (
    bridge,
    data,
    explain,
    introspection,
    scoring,
    train,
    transforms,
    weights,
)
from trustjax.introspection import Features

IMAGE_SHAPE = (4, 4, 1)
CONFIG = introspection.IntrospectionConfig(
    epochs=15, batch_size=32, learning_rate=0.02, widths=(24, 8), schedule="cosine"
)


def first_stage(params, x):
    hidden = jnp.tanh(x.reshape(x.shape[0], -1) @ params["hidden"])
    return hidden @ params["out"]


def network(seed=0):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(16, 8))
    hidden[:, 0] = 2.0 * np.eye(16)[0]  # it sees how bright the first pixel is
    params = {"hidden": hidden, "out": rng.normal(size=(8, 3))}
    return first_stage, jax.tree.map(jnp.float32, params)


def images_of(count, seed):
    """Images whose class the network knows, unless their first pixel is bright."""
    rng = np.random.default_rng(seed)
    images = rng.random((count, *IMAGE_SHAPE), np.float32)
    labels = np.asarray(first_stage(network()[1], images).argmax(axis=-1))
    bright = images[:, 0, 0, 0] > 0.6
    labels = np.where(bright, (labels + 1) % 3, labels)
    return data.from_arrays("mine", images, labels, ["a", "b", "c"], split=str(seed))


TRAIN, VALIDATION = images_of(600, 0), images_of(100, 1)
IMAGES = jnp.asarray(data.as_arrays(VALIDATION)[0])


def fit(config=CONFIG, **options):
    return introspection.fit(config, TRAIN, VALIDATION, network(), **options)


@functools.cache
def trained():
    return fit()


def flattened(params, images):
    """The gradient of the squared error to ones by the last kernel, an image each."""

    @jax.jit
    def gradient(image):
        def loss(out):
            z = first_stage({**params, "out": out}, image[None])[0]
            return jnp.mean((z - 1) ** 2)

        return jax.grad(loss)(params["out"]).T.ravel()

    return np.stack([gradient(image) for image in images])


def close(ours, expected, tolerance=1e-4):
    for one, other in zip(
        jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


# What the features are standardised by.


def test_sums_over_batches_standardise_the_flattened_features():
    _, params = network()
    images, _ = data.as_arrays(VALIDATION)
    found = introspection.features_of(first_stage, params, images)
    padding = jnp.arange(104) < 100
    padded = jax.tree.map(
        lambda a: jnp.pad(a, ((0, 4), (0, 0)), constant_values=jnp.nan), found
    )
    sums = [
        introspection.feature_sums(
            jax.tree.map(lambda a, rows=rows: a[rows], padded), padding[rows]
        )
        for rows in (slice(0, 40), slice(40, 104))
    ]
    by_sums = introspection.standardization(jax.tree.map(np.add, *sums))
    flat = flattened(params, images)
    np.testing.assert_allclose(by_sums.mean.ravel(), flat.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(by_sums.deviation.ravel(), flat.std(axis=0), rtol=1e-4)


def test_a_feature_that_does_not_vary_counts_for_nothing():
    found = Features(
        jnp.full((50, 1), 0.1),
        jnp.full((50, 2), 0.3).at[:, 0].set(jnp.linspace(0, 1, 50)),
    )
    by_sums = introspection.standardization(introspection.feature_sums(found))
    assert by_sums.deviation[0, 0] > 0
    assert by_sums.deviation[0, 1] == 0


def test_sums_of_nothing_or_of_nan_are_refused():
    found = Features(jnp.ones((2, 1)), jnp.ones((2, 2)))
    nothing = introspection.feature_sums(found, jnp.zeros(2, bool))
    with pytest.raises(ValueError, match="one example at least"):
        introspection.standardization(nothing)
    bad = introspection.feature_sums(found._replace(change=jnp.full((2, 1), np.nan)))
    with pytest.raises(ValueError, match="must be finite"):
        introspection.standardization(bad)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_sums_of_a_sharded_batch(kind):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType[kind],))
    found = introspection.features_of(*network(), IMAGES[:64])
    placed = jax.device_put(found, NamedSharding(mesh, PartitionSpec("data")))
    ours = jax.jit(introspection.feature_sums)(placed)
    close(ours, introspection.feature_sums(found))


# Training.


def test_the_second_stage_learns_what_the_first_does_not_say():
    found = trained()
    assert found.first_stage_accuracy < 0.75
    assert found.validation_accuracy > found.first_stage_accuracy + 0.1
    images, labels = data.as_arrays(VALIDATION)
    said = found.apply_fn(found.params, images).argmax(axis=-1)
    assert np.mean(said == labels) == pytest.approx(found.validation_accuracy)
    again = first_stage(network()[1], images).argmax(axis=-1)
    assert np.mean(again == labels) == pytest.approx(found.first_stage_accuracy)
    close(found.params["first_stage"], network()[1], 0)


@pytest.mark.parametrize(
    "activation", ["relu", pytest.param("sigmoid", marks=pytest.mark.exhaustive)]
)
def test_it_is_dense_layers_on_the_flattened_gradients(activation):
    """Gradients by autodiff, flattened, into NumPy's products."""
    config = dataclasses.replace(CONFIG, activation=activation, epochs=1)
    found = trained() if activation == "relu" else fit(config)
    bend = {
        "relu": lambda y: np.maximum(y, 0),
        "sigmoid": lambda y: 1 / (1 + np.exp(-y)),
    }
    layers = jax.tree.map(np.asarray, found.params["second_stage"])
    kernel = layers["hidden1"]["kernel"]
    assert kernel.shape == (3, 8, 24)
    y = flattened(network()[1], IMAGES) @ kernel.reshape(-1, 24)
    y = bend[activation](y + layers["hidden1"]["bias"])
    y = bend[activation](y @ layers["hidden2"]["kernel"] + layers["hidden2"]["bias"])
    expected = y @ layers["dense"]["kernel"] + layers["dense"]["bias"]
    close(found.apply_fn(found.params, IMAGES), expected, 1e-3)


@pytest.mark.exhaustive
@pytest.mark.parametrize("inputs", introspection.INPUTS[1:])
def test_the_same_on_what_the_features_are_made_of(inputs):
    config = introspection.baselines(CONFIG, classes=3, width=8)[inputs]
    found = fit(dataclasses.replace(config, epochs=1))
    ours = CONFIG.num_parameters(3, 8)
    assert found.num_parameters == config.num_parameters(3, 8)
    assert abs(found.num_parameters - ours) <= max(found.num_parameters, ours) * 0.1
    first = found.params["second_stage"]["hidden1"]["kernel"]
    assert first.shape[:2] == config.input_shape(3, 8)


@pytest.mark.exhaustive
def test_what_is_kept_and_what_is_streamed_train_alike():
    config = dataclasses.replace(CONFIG, epochs=2)
    streamed = fit(dataclasses.replace(config, first_stage="streamed"))
    kept = fit(config)
    losses = [[epoch.loss for epoch in one.history] for one in (streamed, kept)]
    np.testing.assert_allclose(*losses, rtol=1e-2)


@pytest.mark.exhaustive
@pytest.mark.parametrize("way", ["kept", "streamed"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(way, tmp_path):
    config = dataclasses.replace(CONFIG, first_stage=way, epochs=3)
    seen: list[int] = []

    def stop(task, done, total, facts):
        if task == "training":
            seen.append(done)
            if done >= 30:  # the ends of epochs, 19, 38 and 57, are heard at any speed
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config, workdir=tmp_path, checkpoint_every=4, progress=stop)
    resumed = fit(config, workdir=tmp_path, checkpoint_every=4)
    whole = fit(config)
    assert seen[-1] < whole.step
    assert resumed.history == whole.history
    close(resumed.params, whole.params, 0)
    loaded = introspection.load(tmp_path, network())
    assert loaded.first_stage_accuracy == whole.first_stage_accuracy
    assert loaded.config == config
    close(loaded.params, whole.params, 0)


@pytest.mark.exhaustive
def test_features_of_another_network_are_refused(tmp_path):
    config = dataclasses.replace(CONFIG, epochs=1)
    fit(config, workdir=tmp_path)
    with pytest.raises(ValueError, match="of another first stage, or of other weights"):
        introspection.load(tmp_path, network(1))
    with pytest.raises(ValueError, match="first_stage_parameters is "):
        introspection.fit(config, TRAIN, VALIDATION, network(1), workdir=tmp_path)
    with pytest.raises(ValueError, match="holds a second stage"):
        train.load(tmp_path)


@pytest.mark.exhaustive
def test_over_a_mesh():
    devices = np.array(jax.devices()[:4])
    mesh = jax.sharding.Mesh(devices, ("data",), axis_types=(AxisType.Auto,))
    config = dataclasses.replace(CONFIG, epochs=2)
    for way in ("kept", "streamed"):
        ours = fit(dataclasses.replace(config, first_stage=way), mesh=mesh)
        assert ours.first_stage_accuracy == trained().first_stage_accuracy
    close(ours.params, fit(config).params, 1e-2)


# Both stages are a network like any other.


@pytest.mark.exhaustive
def test_every_kind_of_score_asks_both_stages():
    found = trained()
    asked = ["logits", "max_softmax", "grad_norm", "gradient_l2_norm", "scaled_energy"]
    batches = list(data.batches(VALIDATION, 50))
    values = scoring.run(asked, found.apply_fn, found.params, batches).values
    close(values["logits"], found.apply_fn(found.params, IMAGES))
    for name in asked[1:]:
        assert np.isfinite(values[name]).all()
        assert len(np.unique(values[name])) > 50


def test_it_is_cut_at_its_own_last_layer():
    found = trained()
    parts = transforms.split(found.apply_fn, found.params, IMAGES, at="embedding")
    embedding = parts.features_fn(found.params, IMAGES)
    assert embedding.shape == (100, 8)
    dense = found.params["second_stage"]["dense"]
    whole = found.apply_fn(found.params, IMAGES)
    close(embedding @ dense["kernel"] + dense["bias"][None], whole)
    assert introspection.features_of(found.apply_fn, found.params, IMAGES)


@pytest.mark.exhaustive
def test_maps_and_gradients_reach_through_both_stages():
    found = trained()
    maps = explain.saliency(found.apply_fn, found.params, IMAGES[:4])
    assert np.isfinite(maps).all()
    assert (np.asarray(maps) != 0).any(axis=(1, 2)).all()
    total = jax.jit(jax.grad(lambda p: found.apply_fn(p, IMAGES).sum()))(found.params)
    for leaf in jax.tree.leaves(total):
        assert np.isfinite(leaf).all()
        assert (np.asarray(leaf) != 0).any()


@pytest.mark.parametrize("file", ["both.safetensors", "both"])
def test_it_is_written_and_read_as_other_networks(file, tmp_path):
    found = trained()
    paths, _ = jax.tree_util.tree_flatten_with_path(found.params)
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
    weights.write(tmp_path / file, {name(p): np.asarray(a) for p, a in paths})
    fresh = jax.tree.map(jnp.zeros_like, found.params)
    read = bridge.from_object(
        (found.apply_fn, fresh), arrays=weights.read(tmp_path / file)
    )
    close(read.params, found.params, 0)


@pytest.mark.exhaustive
def test_jit_vmap_and_a_batch_of_one():
    found = trained()
    together = found.apply_fn(found.params, IMAGES)
    close(jax.jit(found.apply_fn)(found.params, IMAGES), together)
    alone = jax.vmap(lambda x: found.apply_fn(found.params, x[None])[0])(IMAGES)
    close(alone, together)
    close(found.apply_fn(found.params, IMAGES[3:4]), together[3:4])


@pytest.mark.parametrize(
    "kind", [pytest.param("Auto", marks=pytest.mark.exhaustive), "Explicit"]
)
def test_sharded_is_unsharded(kind):
    found = trained()
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType[kind],))
    over = NamedSharding(mesh, PartitionSpec("data"))
    params = jax.device_put(found.params, NamedSharding(mesh, PartitionSpec()))
    ours = jax.jit(found.apply_fn)(params, jax.device_put(IMAGES[:64], over))
    assert ours.sharding.is_equivalent_to(over, 2)
    close(ours, found.apply_fn(found.params, IMAGES[:64]))


@pytest.mark.exhaustive
def test_bfloat16():
    found = trained()
    halved = lambda tree: jax.tree.map(lambda a: a.astype(jnp.bfloat16), tree)
    ours = found.apply_fn(halved(found.params), halved(IMAGES)).astype(jnp.float32)
    whole = found.apply_fn(found.params, IMAGES)
    assert np.mean(ours.argmax(axis=-1) == whole.argmax(axis=-1)) > 0.9


# Choices.


def test_presets():
    assert introspection.config_for() == introspection.IntrospectionConfig()
    paper = introspection.config_for("sigmoid")
    sizes = (640, *paper.widths, 10)
    assert sizes == (640, 300, 100, 10)
    rows, columns = paper.input_shape(10, 64)
    assert rows * columns == 640


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": "pixels"}, "inputs must be one of introspective"),
        ({"feature_loss": "hinge"}, "feature_loss must be one of"),
        ({"activation": "gelu"}, "activation must be one of relu, sigmoid"),
        ({"first_stage": "guessed"}, "first_stage must be one of kept, streamed"),
        ({"widths": ()}, "one hidden layer at least"),
        ({"widths": (3, 0)}, "widths must be an integer >= 1"),
    ],
)
def test_a_choice_out_of_its_range(change, message):
    with pytest.raises(ValueError, match=message):
        introspection.IntrospectionConfig(**change)


@pytest.mark.usefixtures("without_type_checks")
class TestBadInput:
    def test_a_first_stage_without_a_dense_head(self):
        bent = lambda params, x: jax.nn.log_softmax(first_stage(params, x))
        with pytest.raises(ValueError, match="ends in none"):
            introspection.fit(CONFIG, TRAIN, VALIDATION, (bent, network()[1]))

    def test_a_first_stage_of_other_classes(self):
        params: Any = network()[1]
        params["out"] = jnp.ones((8, 5))
        with pytest.raises(ValueError, match="has 5 classes, mine has 3"):
            introspection.fit(CONFIG, TRAIN, VALIDATION, (first_stage, params))

    @pytest.mark.parametrize("way", ["kept", "streamed"])
    def test_a_first_stage_that_says_nan(self, way):
        params: Any = network()[1]
        params["out"] = jnp.full((8, 3), jnp.nan)
        config = dataclasses.replace(CONFIG, first_stage=way)
        with pytest.raises(ValueError, match="finite"):
            introspection.fit(config, TRAIN, VALIDATION, (first_stage, params))

    def test_a_folder_of_something_else(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            introspection.load(tmp_path, network())
