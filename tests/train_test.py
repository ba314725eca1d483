import concurrent.futures
import dataclasses
import functools
import logging
import threading
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType

from tests.interruption import killed_run
from trustjax import (
    bridge,
    data,
    gradients,
    interventions,
    losses,
    metrics,
    models,
    scores,
    statistics,
    train,
)
from trustjax.train._position import Plateau

IMAGE_SHAPE = (6, 6, 1)
CONFIG = train.TrainConfig(
    model="mlp", epochs=4, batch_size=16, learning_rate=0.05, l2=1e-4
)


def stripes(count, seed, split):
    """Images with one bright row; the row is the class. Learnt in a few steps."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    images = rng.integers(0, 100, (count, *IMAGE_SHAPE), np.uint8)
    images[np.arange(count), 2 * labels] += 150
    return data.from_arrays("stripes", images, labels, ["a", "b", "c"], split=split)


TRAIN = stripes(72, 0, "train")  # 4 full batches and a padded one of 8
VALIDATION = stripes(30, 1, "validation")


def params_of(result):
    return bridge.from_nnx(result.model)[1]


@pytest.fixture(scope="module")
def uninterrupted():
    return train.fit(CONFIG, TRAIN, VALIDATION)


def test_fit_learns(uninterrupted):
    assert [epoch.epoch for epoch in uninterrupted.history] == [1, 2, 3, 4]
    assert [epoch.step for epoch in uninterrupted.history] == [5, 10, 15, 20]
    assert uninterrupted.step == 20
    assert uninterrupted.history[-1].validation_accuracy == 1.0
    assert uninterrupted.history[-1].loss < 0.5 * uninterrupted.history[0].loss
    assert uninterrupted.class_names == ("a", "b", "c")
    apply_fn, params = bridge.from_nnx(uninterrupted.model)
    images, labels = data.as_arrays(VALIDATION)
    logits = apply_fn(params, jnp.asarray(images, jnp.float32) / 255)
    np.testing.assert_array_equal(logits.argmax(-1), labels)


def test_the_seed_is_the_run(uninterrupted):
    chex.assert_trees_all_equal(
        params_of(train.fit(CONFIG, TRAIN, VALIDATION)), params_of(uninterrupted)
    )
    other = train.fit(dataclasses.replace(CONFIG, seed=1), TRAIN, VALIDATION)
    assert other.history != uninterrupted.history


class StopError(Exception):
    """Raised from the progress callback, to end a run between two checkpoints."""


@pytest.mark.parametrize(
    "last_step", [pytest.param(5, marks=pytest.mark.exhaustive), 10]
)
def test_a_stopped_run_goes_on_to_the_same_end(tmp_path, uninterrupted, last_step):
    def stop(task, done, total, facts):
        assert (task, total) == ("training", 20)
        if done >= last_step:
            raise StopError

    with pytest.raises(StopError):
        train.fit(
            CONFIG,
            TRAIN,
            VALIDATION,
            workdir=tmp_path,
            checkpoint_every=3,
            progress=stop,
        )
    saved = sorted(int(path.name) for path in tmp_path.iterdir())
    assert saved == {5: [3], 10: [6, 9]}[last_step]
    resumed = train.fit(CONFIG, TRAIN, VALIDATION, workdir=tmp_path, checkpoint_every=3)
    assert resumed.history == uninterrupted.history
    chex.assert_trees_all_equal(params_of(resumed), params_of(uninterrupted))

    # Now the run is finished: fit and load both give it without a step.
    again = train.fit(CONFIG, TRAIN, VALIDATION, workdir=tmp_path)
    loaded = train.load(tmp_path)
    for result in (again, loaded):
        assert result.history == uninterrupted.history
        assert (result.step, result.config) == (20, CONFIG)
        chex.assert_trees_all_equal(params_of(result), params_of(uninterrupted))
    assert isinstance(loaded.model, models.MLP)
    assert loaded.model.dropout1.deterministic


def test_a_run_beside_another_waits_and_finds_it_done(tmp_path):
    began, waits, steps = threading.Event(), threading.Event(), []

    def first(task, done, total, facts):
        began.set()
        assert waits.wait(timeout=120)

    handler = logging.Handler()
    handler.emit = lambda record: waits.set()
    logger = logging.getLogger("trustjax.train")
    logger.addHandler(handler)
    here: dict[str, Any] = {"workdir": tmp_path, "checkpoint_every": 100}
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            one = pool.submit(
                train.fit, CONFIG, TRAIN, VALIDATION, progress=first, **here
            )
            assert began.wait(timeout=120)
            hear = lambda *said: steps.append(said)
            other = train.fit(CONFIG, TRAIN, VALIDATION, progress=hear, **here)
    finally:
        logger.removeHandler(handler)
    assert waits.is_set()
    assert steps == []
    chex.assert_trees_all_equal(params_of(other), params_of(one.result()))


KILLED_RUN = """
import sys
import train_test as t
t.train.fit(t.KILLED, t.TRAIN, t.VALIDATION, workdir=sys.argv[1], checkpoint_every=2)
"""
KILLED = dataclasses.replace(CONFIG, epochs=60, patience=60)


@pytest.mark.exhaustive
def test_a_killed_run_goes_on_to_the_same_end(tmp_path):
    killed_run(KILLED_RUN, tmp_path)
    resumed = train.fit(
        KILLED, TRAIN, VALIDATION, workdir=tmp_path, checkpoint_every=1000
    )
    uninterrupted = train.fit(KILLED, TRAIN, VALIDATION)
    assert resumed.history == uninterrupted.history
    chex.assert_trees_all_equal(params_of(resumed), params_of(uninterrupted))


@pytest.mark.parametrize(
    ("changes", "train_set", "message"),
    [
        ({"model": "cnn"}, TRAIN, "model is 'mlp' there and 'cnn' here"),
        ({"seed": 7, "l2": 0.5}, TRAIN, "l2 is 0.0001 there and 0.5 here; seed is 0"),
        ({}, stripes(72, 5, "train"), "train is '.*' there and '.*' here"),
        ({}, None, r"image_shape is \[6, 6, 1\] there and \[20, 20, 1\] here"),
    ],
)
def test_another_runs_checkpoint_is_refused(tmp_path, changes, train_set, message):
    short = dataclasses.replace(CONFIG, epochs=1, batch_size=72)
    train.fit(short, TRAIN, VALIDATION, workdir=tmp_path)
    validation = VALIDATION
    if train_set is None or changes.get("model") == "cnn":
        train_set, validation = larger(TRAIN), larger(VALIDATION)
    with pytest.raises(ValueError, match=f"checkpoints of another run: .*{message}"):
        train.fit(
            dataclasses.replace(short, **changes),
            train_set,
            validation,
            workdir=tmp_path,
        )


def larger(dataset):
    """The images with a black edge, 20x20."""
    images, labels = data.as_arrays(dataset)
    images = np.pad(images, ((0, 0), (7, 7), (7, 7), (0, 0)))
    return data.from_arrays(dataset.name, images, labels, dataset.class_names)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path):
    exploding = dataclasses.replace(CONFIG, learning_rate=1e18)
    with pytest.raises(train.NonFiniteLossError, match=r"at step [123] .*rate 1e"):
        train.fit(exploding, TRAIN, VALIDATION, workdir=tmp_path, checkpoint_every=1)
    kept = train.load(tmp_path)
    assert kept.step >= 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params_of(kept)))


def test_a_folder_without_checkpoints_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        train.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="there is no checkpoint in"):
        train.load(tmp_path)


def test_eight_devices_train_like_one(uninterrupted):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharded = train.fit(CONFIG, TRAIN, VALIDATION, mesh=mesh)
    chex.assert_trees_all_close(
        params_of(sharded), params_of(uninterrupted), atol=1e-4, rtol=1e-4
    )
    assert sharded.model.dense.kernel[...].sharding.num_devices == 1
    with pytest.raises(
        ValueError, match="divide among 8 devices of the axis data, got"
    ):
        train.fit(
            dataclasses.replace(CONFIG, batch_size=12), TRAIN, VALIDATION, mesh=mesh
        )


@pytest.mark.parametrize(
    ("train_set", "validation", "message"),
    [
        (stripes(0, 0, "train"), VALIDATION, "the train dataset has no records"),
        (TRAIN, stripes(0, 0, "v"), "the validation dataset has no records"),
        (TRAIN, larger(VALIDATION), "must have the same image_shape, got"),
    ],
)
def test_datasets_that_do_not_fit(train_set, validation, message):
    with pytest.raises(ValueError, match=message):
        train.fit(CONFIG, train_set, validation)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "lion"}, "optimizer must be one of adamw, sgd, got 'lion'"),
        ({"schedule": "linear"}, "schedule must be one of cosine, plateau"),
        ({"epochs": 0}, "epochs must be an integer >= 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"l2": -1.0}, "l2 must not be negative"),
        ({"max_shift": -1}, "max_shift must be an integer >= 0"),
    ],
)
def test_config_names_what_is_wrong(changes, message):
    with pytest.raises(ValueError, match=message):
        train.TrainConfig(**changes)


def test_unknown_model_lists_what_exists():
    with pytest.raises(ValueError, match=r"model must be one of .*, cnn, .*got 'vgg'"):
        train.fit(train.config_for("vgg"), TRAIN, VALIDATION)


def linear_problem():
    """A model without dropout, a state, and a batch with two padded rows."""
    model = models.MLP(
        num_classes=3, image_shape=IMAGE_SHAPE, rngs=nnx.Rngs(0), dropout_rate=0.0
    )
    model.eval()
    images, labels = data.as_arrays(TRAIN)
    batch = {
        "image": jnp.asarray(images[:8], jnp.float32) / 255,
        "label": jnp.asarray(labels[:8]),
        "mask": jnp.arange(8) < 6,
    }
    return model, batch


def test_train_step_is_sgd_with_momentum_and_l2_on_real_examples_only():
    model, batch = linear_problem()
    config = train.TrainConfig(model="mlp", learning_rate=0.1, momentum=0.9, l2=0.01)
    state, train_step = train.make_train_step(model, config, steps_per_epoch=1)
    apply_fn, params = bridge.from_nnx(model)

    def loss_fn(params):
        total = 0.0
        for row in range(6):
            log_p = jax.nn.log_softmax(apply_fn(params, batch["image"][row : row + 1]))
            total -= log_p[0, batch["label"][row]] / 6
        return total + 0.01 / 2 * sum((p["kernel"] ** 2).sum() for p in params.values())

    velocity = jax.tree.map(jnp.zeros_like, params)
    for _ in range(2):
        gradient = jax.jit(jax.grad(loss_fn))(params)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradient)
        params = jax.tree.map(lambda p, v: p - 0.5 * 0.1 * v, params, velocity)
        state = train_step(state, batch, 0.5)
    chex.assert_trees_all_close(state.params, params, atol=1e-6)
    assert (int(state.step), int(state.first_bad_step)) == (2, -1)
    assert np.isfinite(apply_fn(bridge.from_nnx(model)[1], batch["image"])).all()


def risk_of_the_order(logits, batch):
    """What no example has by itself; of a batch that is all right it is 0."""
    correct = jnp.argmax(logits, axis=-1) == batch["label"]
    sure = scores.max_softmax(logits)
    return 3 * metrics.smooth_aurc(sure, correct, weights=batch["mask"])


@pytest.mark.parametrize("devices", [1, 8])
def test_a_step_goes_down_a_loss_of_the_batch_as_a_whole(devices):
    model, batch = linear_problem()
    config = train.TrainConfig(model="mlp", learning_rate=0.1, momentum=0.0, l2=0.0)
    state, train_step = train.make_train_step(
        model, config, steps_per_epoch=1, dataset_loss_fn=risk_of_the_order
    )
    apply_fn, params = bridge.from_nnx(model)

    def loss_fn(params):
        logits, labels = apply_fn(params, batch["image"])[:6], batch["label"][:6]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        sure = jnp.max(jax.nn.softmax(logits), axis=-1)
        correct = jnp.argmax(logits, axis=-1) == labels
        return losses.mean() + 3 * metrics.smooth_aurc(sure, correct)

    value, gradient = jax.jit(jax.value_and_grad(loss_fn))(params)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
    mesh = jax.make_mesh(
        (devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
    )
    state = jax.device_put(state, jax.NamedSharding(mesh, jax.P()))
    state = train_step(
        state, jax.device_put(batch, jax.NamedSharding(mesh, jax.P("data"))), 1.0
    )
    chex.assert_trees_all_close(state.params, expected, atol=1e-6)
    np.testing.assert_allclose(state.loss_sum, value, rtol=1e-5)


def squared_gradients(apply_fn, params, images, batch):
    """What a network's outputs do not show: how it would have to change."""
    found = gradients.gradient_statistics(
        apply_fn,
        params,
        images,
        loss_fn=losses.cross_entropy,
        loss_args=(batch["label"],),
        statistics=(statistics.l2_norm,),
        group="network",
    )
    return jnp.mean(found.values[:, 0, 0] ** 2, where=batch["mask"])


@pytest.mark.parametrize("devices", [1, pytest.param(8, marks=pytest.mark.exhaustive)])
def test_a_step_goes_down_a_loss_of_the_network_itself(devices):
    """Beside `jax.grad` of each example, whose gradients are squared and added up."""
    model, batch = linear_problem()
    config = train.TrainConfig(model="mlp", learning_rate=0.1, momentum=0.0, l2=0.0)
    state, train_step = train.make_train_step(
        model, config, steps_per_epoch=1, network_loss_fn=squared_gradients
    )
    apply_fn, params = bridge.from_nnx(model)

    def of_example(params, image, label):
        return -jax.nn.log_softmax(apply_fn(params, image[None])[0])[label]

    def loss_fn(params):
        given = params, batch["image"][:6], batch["label"][:6]
        losses = jax.vmap(of_example, (None, 0, 0))(*given)
        gradients = jax.vmap(jax.grad(of_example), (None, 0, 0))(*given)
        squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradients))
        return losses.mean() + squares / 6

    value, gradient = jax.jit(jax.value_and_grad(loss_fn))(params)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
    mesh = jax.make_mesh(
        (devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
    )
    state = jax.device_put(state, jax.NamedSharding(mesh, jax.P()))
    state = train_step(
        state, jax.device_put(batch, jax.NamedSharding(mesh, jax.P("data"))), 1.0
    )
    chex.assert_trees_all_close(state.params, expected, atol=1e-5)
    np.testing.assert_allclose(state.loss_sum, value, rtol=1e-5)


def test_train_step_with_adamw_and_cosine_is_optax():
    model, batch = linear_problem()
    config = train.config_for("mlp", epochs=4, learning_rate=0.01, weight_decay=0.1)
    state, train_step = train.make_train_step(model, config, steps_per_epoch=2)
    _, params = bridge.from_nnx(model)
    kernels = {layer: {"kernel": True, "bias": False} for layer in params}
    schedule = optax.warmup_cosine_decay_schedule(0.0, 0.01, 2, 8)
    optimizer = optax.adamw(schedule, weight_decay=0.1, mask=kernels)
    optimizer_state = optimizer.init(params)
    apply_fn, _ = bridge.from_nnx(model)

    @jax.jit
    @jax.grad
    def gradient_fn(params):
        losses = optax.softmax_cross_entropy_with_integer_labels(
            apply_fn(params, batch["image"][:6]), batch["label"][:6]
        )
        return losses.mean()

    for _ in range(3):
        updates, optimizer_state = optimizer.update(
            gradient_fn(params), optimizer_state, params
        )
        params = optax.apply_updates(params, updates)
        state = train_step(state, batch, 1.0)
    chex.assert_trees_all_close(state.params, params, atol=1e-5)


def test_a_step_learns_from_images_that_were_augmented_and_then_attacked():
    model, batch = linear_problem()
    config = train.TrainConfig(model="mlp", learning_rate=0.1, l2=0.0)
    apply_fn, params = bridge.from_nnx(model)
    darker = lambda images, key: 0.5 * images + 0.1 * jax.random.uniform(key)

    def attack(network, params, images, batch):
        return interventions.fgsm(
            network, params, images, batch["label"], epsilon=0.1, bounds=(-9.0, 9.0)
        )

    steps = {
        name: train.make_train_step(model, config, steps_per_epoch=1, **options)
        for name, options in {
            "plain": {},
            "both": {"augment_fn": darker, "adversary_fn": attack},
        }.items()
    }
    key = jax.random.fold_in(
        jax.random.split(jax.random.fold_in(jax.random.key(config.seed), 0))[1], 1
    )
    darkened = darker(batch["image"], key)
    by_hand = {**batch, "image": attack(apply_fn, params, darkened, batch)}
    assert np.abs(by_hand["image"] - darkened).max() > 0.09
    (plain, step), (both, other) = steps["plain"], steps["both"]
    chex.assert_trees_all_close(
        other(both, batch, 1.0).params, step(plain, by_hand, 1.0).params, atol=1e-6
    )


def inverted(images, key, *, whole=1.0):
    return whole - images


def towards_black(network, params, images, batch):
    return 0.5 * images


def doubled(outputs, batch):
    return 2 * train.cross_entropy(outputs, batch)


def test_fit_trains_on_what_its_functions_make(tmp_path):
    """Inverted by a function, or in the data set; and checkpoints know the function."""
    images, labels = data.as_arrays(TRAIN)
    given = data.from_arrays("i", 255 - images, labels, ["a", "b", "c"], split="train")
    wanted = train.fit(CONFIG, given, VALIDATION)

    def by_functions(**functions: Any) -> train.TrainResult:
        return train.fit(CONFIG, TRAIN, VALIDATION, workdir=tmp_path, **functions)

    found = by_functions(augment_fn=inverted)
    chex.assert_trees_all_close(params_of(found), params_of(wanted), atol=1e-5)
    again = by_functions(augment_fn=inverted)
    chex.assert_trees_all_equal(params_of(again), params_of(found))
    chex.assert_trees_all_equal(params_of(train.load(tmp_path)), params_of(found))
    for other, message in (
        ({}, "augment_fn is 'tests.train_test.inverted' there and None here"),
        (
            {"augment_fn": functools.partial(inverted, whole=2.0)},
            r"\(whole=2.0\)' here",
        ),
        (
            {"augment_fn": inverted, "adversary_fn": towards_black},
            "towards_black' here",
        ),
        ({"augment_fn": inverted, "loss_fn": doubled}, "loss_fn is None there and 'te"),
        (
            {"augment_fn": inverted, "dataset_loss_fn": risk_of_the_order},
            "dataset_loss_fn is None there and 'te",
        ),
        (
            {"augment_fn": inverted, "network_loss_fn": squared_gradients},
            "network_loss_fn is None there and 'te",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            by_functions(**other)


def test_train_step_updates_batchnorm_and_does_not_recompile():
    model = models.ResNet(
        models.ResNetConfig((1,), widths=(4,), stem="3x3", shortcut="padding"),
        num_classes=3,
        image_shape=IMAGE_SHAPE,
        rngs=nnx.Rngs(0),
    )
    _, batch = linear_problem()
    config = train.config_for("resnet20")
    state, train_step = train.make_train_step(model, config, steps_per_epoch=1)
    before = jax.tree.map(np.asarray, state.statistics)
    for scale in (1.0, 0.1):
        state = train_step(state, batch, scale)
    assert train_step.func._cache_size() == 1
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, state.statistics)
    assert all(jax.tree.leaves(moved))


def test_max_shift_is_part_of_the_run(uninterrupted):
    shifted = train.fit(dataclasses.replace(CONFIG, max_shift=1), TRAIN, VALIDATION)
    assert shifted.history[0].loss != uninterrupted.history[0].loss


def test_plateau_goes_down_to_the_minimum_and_ends():
    config = train.TrainConfig(patience=1, minimum_learning_rate=0.005)
    plateau, rates = Plateau(0.1), []
    while not plateau.over(config):
        rates.append(plateau.learning_rate)
        plateau = plateau.after(0.5, config)
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.01, 0.005])
