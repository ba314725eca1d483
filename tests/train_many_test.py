"""Many networks in one run are what each would be by itself."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType

from tests.train_test import IMAGE_SHAPE, stripes
from trustjax import bridge, data, models, scores, train
from trustjax.train import _many

CONFIG = train.TrainConfig(
    model="mlp", epochs=4, batch_size=8, learning_rate=0.05, schedule="cosine", seed=3
)
DATASET = stripes(48, 0, "train")
MEMBERS = np.random.default_rng(0).random((4, 48)) < 0.6
MEMBERS[3] = np.arange(48) < 9  # fewer than the steps of the others would take


def params_of(model):
    return bridge.from_nnx(model)[1]


@pytest.fixture(scope="module")
def many():
    return train.fit_many(CONFIG, DATASET, MEMBERS)


def test_each_is_the_network_that_a_loop_of_steps_makes(many):
    images, labels = data.as_arrays(DATASET)
    steps = -(-int(MEMBERS.sum(axis=1).max()) // CONFIG.batch_size)
    assert len(many) == 4
    for number in (0, 3):
        model = models.create(
            "mlp",
            num_classes=3,
            image_shape=IMAGE_SHAPE,
            rngs=nnx.Rngs(CONFIG.seed + number),
        )
        own = dataclasses.replace(CONFIG, seed=CONFIG.seed + number)
        state, step = train.make_train_step(model, own, steps_per_epoch=steps)
        for epoch in range(CONFIG.epochs):
            rows = _many._rows(CONFIG, MEMBERS, epoch, steps)[:, number]
            counted = rows[rows >= 0]
            assert sorted(counted) == np.flatnonzero(MEMBERS[number]).tolist()
            assert MEMBERS[number][np.where(rows < 0, ~rows, rows)].all()
            for row in rows:
                records = np.where(row < 0, ~row, row)
                batch = {
                    "image": images[records].astype(np.float32) / 255,
                    "label": labels[records],
                    "mask": row >= 0,
                }
                state = step(state, batch, 1.0)
        train.assign(model, state.params, state.statistics)
        chex.assert_trees_all_close(
            params_of(many.model(number)), params_of(model), rtol=1e-4, atol=1e-5
        )


def test_they_learn_and_answer_by_themselves_as_together(many):
    images, labels = data.as_arrays(stripes(30, 1, "test"))
    x = jnp.asarray(images, jnp.float32) / 255
    logits = many.logits(x)
    assert (np.mean(np.asarray(logits[:3]).argmax(-1) == labels, axis=1) > 0.9).all()
    for number in range(4):
        apply_fn, params = bridge.from_nnx(many.model(number))
        np.testing.assert_allclose(apply_fn(params, x), logits[number], atol=1e-5)


def test_a_network_does_not_depend_on_those_beside_it(many):
    heard = []
    alone = train.fit_many(
        CONFIG, DATASET, MEMBERS[:2], progress=lambda *said: heard.append(said)
    )
    chex.assert_trees_all_close(
        params_of(alone.model(1)), params_of(many.model(1)), rtol=1e-4, atol=1e-5
    )
    assert [done for _, done, _, _ in heard] == [1, 2, 3, 4]
    assert heard[-1][3]["loss"] < heard[0][3]["loss"]


@pytest.mark.exhaustive
def test_a_loss_sees_how_often_each_record_was_right_before():
    """Beside a loop that counts the answers which each step learned from."""
    weight = 2.0

    def ranking(logits, batch):
        sure = scores.max_softmax(logits)
        loss = train.correctness_ranking_loss(
            sure, batch["correctness"], mask=batch["mask"]
        )
        return weight * loss.mean()

    many = train.fit_many(CONFIG, DATASET, MEMBERS, dataset_loss_fn=ranking)
    images, labels = data.as_arrays(DATASET)
    steps = -(-int(MEMBERS.sum(axis=1).max()) // CONFIG.batch_size)
    for number in (0, 3):
        own = dataclasses.replace(CONFIG, seed=CONFIG.seed + number)
        model = models.create(
            "mlp", num_classes=3, image_shape=IMAGE_SHAPE, rngs=nnx.Rngs(own.seed)
        )
        state, step = train.make_telling_train_step(
            model, own, steps_per_epoch=steps, dataset_loss_fn=ranking
        )
        step = jax.jit(step)
        right, seen = np.zeros(48), np.zeros(48)
        for epoch in range(CONFIG.epochs):
            for row in _many._rows(CONFIG, MEMBERS, epoch, steps)[:, number]:
                records = np.where(row < 0, ~row, row)
                batch = {
                    "image": images[records].astype(np.float32) / 255,
                    "label": labels[records],
                    "mask": row >= 0,
                    "correctness": (right / np.maximum(seen, 1))[records],
                }
                batch["correctness"] = batch["correctness"].astype(np.float32)
                state, said = step(jax.random.key(own.seed), state, batch, 1.0)
                answers = np.asarray(said).argmax(-1)
                for record, answer, counts in zip(
                    records, answers, row >= 0, strict=True
                ):
                    seen[record] += counts
                    right[record] += counts and answer == labels[record]
        np.testing.assert_array_equal(many.history.seen[number], seen)
        np.testing.assert_array_equal(many.history.right[number], right)
        assert (seen == CONFIG.epochs * MEMBERS[number]).all()
        assert 0 < right.sum() < seen.sum()
        train.assign(model, state.params, state.statistics)
        chex.assert_trees_all_close(
            params_of(many.model(number)), params_of(model), rtol=1e-4, atol=1e-5
        )


def test_networks_are_dealt_to_devices(many):
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    spread = train.fit_many(CONFIG, DATASET, MEMBERS, mesh=mesh)
    assert {
        len(leaf.sharding.device_set) for leaf in jax.tree.leaves(spread.state)
    } == {4}
    chex.assert_trees_all_close(spread.state, many.state, rtol=1e-4, atol=1e-5)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["cnn", "resnet8"])
def test_convolutions_dropout_and_running_statistics(name):
    config = dataclasses.replace(CONFIG, model=name, epochs=1, learning_rate=0.01)
    images = np.random.default_rng(0).random((48, 20, 20, 1), np.float32)
    dataset = data.from_arrays("noise", images, np.arange(48) % 3, ["a", "b", "c"])
    many = train.fit_many(config, dataset, MEMBERS)
    one = train.fit_many(config, dataset, MEMBERS[:1])
    x = jnp.asarray(images[:5])
    apply_fn, params = bridge.from_nnx(many.model(0))
    np.testing.assert_allclose(apply_fn(params, x), many.logits(x)[0], atol=1e-4)
    np.testing.assert_allclose(one.logits(x)[0], many.logits(x)[0], atol=1e-3)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("change", "members", "message"),
    [
        (
            {"schedule": "plateau"},
            MEMBERS,
            "schedule must be \"cosine\".*got 'plateau'",
        ),
        ({}, MEMBERS[:, :5], r"members must have shape \[networks, 48\].*\(4, 5\)"),
        ({}, MEMBERS[:0], r"got \(0, 48\)"),
        ({}, MEMBERS & (np.arange(4) != 2)[:, None], "network 2 must have a record"),
    ],
)
def test_bad_input_is_named(change, members, message):
    with pytest.raises(ValueError, match=message):
        train.fit_many(dataclasses.replace(CONFIG, **change), DATASET, members)


def test_networks_that_devices_cannot_share_are_refused():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    with pytest.raises(ValueError, match="4 networks do not divide among 8 devices"):
        train.fit_many(CONFIG, DATASET, MEMBERS, mesh=mesh)


def test_a_network_whose_loss_is_not_finite_is_named():
    config = dataclasses.replace(CONFIG, learning_rate=1e38)
    with pytest.raises(train.NonFiniteLossError, match="of network 0 is not finite at"):
        train.fit_many(config, DATASET, MEMBERS)
