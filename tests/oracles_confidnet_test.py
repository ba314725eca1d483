"""ConfidNet: a deep head on a frozen embedding, then a copy of the encoder with it."""

import dataclasses
import itertools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from tests import oracles_embedding_test as frozen
from trustjax import bridge, data, models, oracles, pipeline, scoring

SMALL: dict[str, Any] = dict(
    head_layers=3,
    head_width=8,
    epochs=4,
    batch_size=304,  # all 300: no order of examples to tell a loop of one's own
    optimizer="sgd",
    momentum=0.0,
    learning_rate=0.5,
    l2=0.0,
)
CONFIGS = oracles.confidnet_configs("mine", **SMALL)


def confidnet(configs=CONFIGS, **options):
    made = dict(
        train_outcomes=frozen.OUTCOMES["train"],
        validation_outcomes=frozen.OUTCOMES["validation"],
        classifier=frozen.network(),
    )
    return oracles.confidnet(
        configs, frozen.TRAIN, frozen.VALIDATION, **{**made, **options}
    )


@pytest.fixture(scope="module")
def trained():
    return confidnet()


def params_of(oracle):
    return bridge.from_nnx(oracle.model)[1]


def backbone_of(oracle):
    return jax.tree.map(np.asarray, oracle.model.params())


def best_epoch(oracle):
    return int(np.argmax([epoch.validation_metric for epoch in oracle.history]))


# What it computes


def reference_head(head, features):
    """ReLU layers one after the other, and a linear one."""
    for layer in head["hidden"].values():
        features = jnp.maximum(features @ layer["kernel"] + layer["bias"][None], 0)
    return (features @ head["last"]["kernel"])[:, 0] + head["last"]["bias"]


def reference_descent(weights, z_of, epochs):
    """Plain gradient descent on (sigmoid(z) - p)^2: the weights after each epoch."""
    probability = jnp.asarray(frozen.OUTCOMES["train"].probability)
    loss = lambda weights: jnp.mean((jax.nn.sigmoid(z_of(weights)) - probability) ** 2)
    step = jax.jit(
        lambda weights: jax.tree.map(
            lambda w, g: w - 0.5 * g, weights, jax.grad(loss)(weights)
        )
    )
    after = []
    for _ in range(epochs):
        weights = step(weights)
        after.append(weights)
    return after


def test_both_phases_are_descent_by_hand(trained):
    images, _ = data.as_arrays(frozen.TRAIN)
    network = frozen.network()[1]
    hidden = lambda kernel: jnp.tanh(jnp.asarray(images).reshape(300, -1) @ kernel)
    features = np.asarray(hidden(network["hidden"]))
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    standard = lambda kernel: (hidden(kernel) - mean[None]) / deviation[None]

    fresh = oracles.create(
        CONFIGS.head, frozen.IMAGE_SHAPE, classifier=(frozen.network())
    )
    first = bridge.from_nnx(fresh)[1]["dense"]["head"]
    heads = reference_descent(
        first, lambda head: reference_head(head, standard(network["hidden"])), 4
    )
    head = heads[best_epoch(trained.head)]
    chex.assert_trees_all_close(
        params_of(trained.head)["dense"]["head"], head, atol=2e-6
    )
    both = reference_descent(
        {"head": head, "hidden": network["hidden"]},
        lambda w: reference_head(w["head"], standard(w["hidden"])),
        4,
    )[best_epoch(trained.cloned)]
    found = params_of(trained.cloned)
    chex.assert_trees_all_close(found["dense"]["head"], both["head"], atol=5e-6)
    chex.assert_trees_all_close(found["backbone"]["hidden"], both["hidden"], atol=5e-6)


def test_the_head_is_five_layers_of_400_by_default():
    head, cloned = oracles.confidnet_configs("confidnet_mnist")
    assert (head.optimizer, head.learning_rate, head.batch_size) == ("adamw", 1e-4, 128)
    assert (head.weight_decay, head.l2, head.epochs) == (0.0, 0.0, 500)
    assert cloned.learning_rate < head.learning_rate
    network = models.load("confidnet_mnist", num_classes=10, image_shape=(8, 8, 1))
    oracle = oracles.create(head, (8, 8, 1), classifier=network)
    params = bridge.from_nnx(oracle)[1]["dense"]["head"]
    kernels = [layer["kernel"] for layer in params["hidden"].values()]
    kernels.append(params["last"]["kernel"])
    widths = [128, 400, 400, 400, 400, 1]
    assert [k.shape for k in kernels] == list(itertools.pairwise(widths))


@pytest.mark.parametrize("head", ["linear", "signed_distance"])
def test_a_network_of_the_library_takes_a_deep_head_too(head):
    config = oracles.OracleConfig("mlp", head=head, head_layers=3, head_width=5)
    oracle = oracles.create(config, frozen.IMAGE_SHAPE)
    assert oracle(jnp.ones((2, *frozen.IMAGE_SHAPE))).shape == (2, 1)
    last: Any = oracle.dense
    assert isinstance(last.last, oracles.SignedDistance) == (head == "signed_distance")


# What is left alone


def test_neither_phase_touches_the_classifier():
    function = frozen.network()
    before = jax.tree.map(np.array, function[1])
    logits = np.asarray(function[0](function[1], jnp.ones((3, *frozen.IMAGE_SHAPE))))
    found = confidnet(classifier=function)
    chex.assert_trees_all_equal(jax.tree.map(np.asarray, function[1]), before)
    after = function[0](function[1], jnp.ones((3, *frozen.IMAGE_SHAPE)))
    np.testing.assert_array_equal(after, logits)
    # The first phase has no other parameters than the head's; the second has both.
    chex.assert_trees_all_equal(backbone_of(found.head), before)
    assert set(params_of(found.head)) == {"dense"}
    clone = backbone_of(found.cloned)
    assert np.abs(clone["hidden"] - before["hidden"]).max() > 1e-4
    np.testing.assert_array_equal(clone["out"], before["out"])  # no part of it


def test_the_second_phase_begins_where_the_first_has_ended(trained):
    before = params_of(trained.head)
    still = dataclasses.replace(CONFIGS.cloned, learning_rate=1e-30, epochs=1)
    clone = confidnet(CONFIGS._replace(cloned=still)).cloned
    np.testing.assert_allclose(
        frozen.outputs(clone, frozen.VALIDATION),
        frozen.outputs(trained.head, frozen.VALIDATION),
        atol=1e-5,
    )
    chex.assert_trees_all_equal(params_of(trained.head), before)


# Losses, checkpoints, devices, scores


def learns(changes):
    made = {**SMALL, "batch_size": 32, "epochs": 8, "learning_rate": 0.3, **changes}
    found = confidnet(oracles.confidnet_configs("mine", **made))
    for oracle in found:
        assert max(epoch.validation_metric for epoch in oracle.history) > 0.7
    for array in jax.tree.leaves(params_of(found.cloned)):
        assert array.dtype == jnp.float32


def test_the_steep_slope_learns_in_both_phases():
    learns({"loss": "steep_slope"})


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "cross_entropy"},
        {"loss": "cross_entropy", "class_balance": 0.9},
        {"loss": "focal"},
        {"loss": "true_class_probability"},
        {"loss": "steep_slope", "precision": "bfloat16"},
    ],
)
def test_every_loss_learns_in_both_phases(changes):
    learns(changes)


@pytest.mark.parametrize("stop_at", [pytest.param(2, marks=pytest.mark.exhaustive), 6])
def test_a_stopped_run_goes_on_in_either_phase(tmp_path, trained, stop_at):
    steps = []

    def stop(task, done, total, facts):
        steps.append(done)
        if len(steps) == stop_at:  # each full step is one of them, four a phase
            raise KeyboardInterrupt

    asked: dict[str, Any] = dict(workdir=tmp_path, checkpoint_every=1)
    with pytest.raises(KeyboardInterrupt):
        confidnet(progress=stop, **asked)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == (["head"] if stop_at < 5 else ["cloned", "head"])
    resumed = confidnet(**asked)
    loaded = [
        oracles.load(tmp_path / phase, classifier=frozen.network())
        for phase in ("head", "cloned")
    ]
    for oracles_found in (resumed, loaded):
        for ours, theirs in zip(oracles_found, trained, strict=True):
            assert ours.history == theirs.history
            chex.assert_trees_all_equal(params_of(ours), params_of(theirs))
            np.testing.assert_array_equal(
                frozen.outputs(ours, frozen.VALIDATION),
                frozen.outputs(theirs, frozen.VALIDATION),
            )
    with pytest.raises(ValueError, match=r"head_width is 8 there and 9 here"):
        confidnet(
            oracles.confidnet_configs("mine", **{**SMALL, "head_width": 9}), **asked
        )


def test_eight_devices_train_like_one(trained):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharded = confidnet(mesh=mesh)
    for ours, theirs in zip(sharded, trained, strict=True):
        chex.assert_trees_all_close(
            params_of(ours), params_of(theirs), atol=1e-4, rtol=1e-4
        )


def test_each_phase_is_a_score(trained):
    for oracle, needs in ((trained.head, ["features"]), (trained.cloned, [])):
        (output,) = oracle.ingredients()
        assert [need.name for need in output.needs] == needs
        found = scoring.run(
            ["oracle", "logits"],
            *frozen.network(),
            data.batches(frozen.VALIDATION, 64),
            ingredients=oracle.ingredients(),
        )
        expected = frozen.outputs(oracle, frozen.VALIDATION)
        np.testing.assert_allclose(found.values["oracle"], expected, atol=1e-5)


# What is refused


def fit(config, **options):
    made: dict[str, Any] = dict(
        train_outcomes=frozen.OUTCOMES["train"],
        validation_outcomes=frozen.OUTCOMES["validation"],
        classifier=frozen.network(),
    )
    return oracles.fit(config, frozen.TRAIN, frozen.VALIDATION, **{**made, **options})


def test_what_a_clone_goes_on_from_is_checked(trained):
    head, clone = trained
    with pytest.raises(ValueError, match="a cloned embedding needs start="):
        fit(CONFIGS.cloned)
    with pytest.raises(ValueError, match="a frozen embedding takes no start="):
        fit(CONFIGS.head, start=head)
    with pytest.raises(ValueError, match="embedding 'frozen', got 'cloned'"):
        fit(CONFIGS.cloned, start=clone)
    with pytest.raises(ValueError, match="start must have head_layers 4, got 3"):
        fit(dataclasses.replace(CONFIGS.cloned, head_layers=4), start=head)
    with pytest.raises(ValueError, match="of another classifier, or of other weights"):
        fit(CONFIGS.cloned, start=head, classifier=frozen.network(seed=1))
    with pytest.raises(ValueError, match=r"a cloned embedding .*classifier=\("):
        fit(CONFIGS.cloned, start=head, classifier=None)
    other = dataclasses.replace(head, image_shape=(5, 5, 1))
    with pytest.raises(ValueError, match=r"\(5, 5, 1\), the classifier's are \(4, 4"):
        fit(CONFIGS.cloned, start=other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head_layers": 0}, "head_layers must be"),
        ({"head_width": 0}, "head_width must be"),
        ({"embedding": "copied"}, "embedding must be one of cloned, frozen, trained"),
    ],
)
def test_bad_choices_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        oracles.OracleConfig(**changes)


def test_a_clone_is_no_single_run_of_the_command():
    assert pipeline.OracleChoices(head_layers=5).config("cnn", seed=0).head_layers == 5
    with pytest.raises(ValueError, match="embedding must be one of frozen, trained"):
        pipeline.OracleChoices(embedding="cloned")


def test_without_embeddings_there_is_no_first_phase():
    plain = oracles.outcomes(*frozen.network(), frozen.TRAIN, batch_size=64)
    with pytest.raises(ValueError, match=r"each of the 300 records .* got none"):
        confidnet(train_outcomes=plain)
