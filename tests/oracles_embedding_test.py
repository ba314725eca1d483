"""Oracles on an embedding that stays as it is, and the choices that suit a network."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trustjax import bridge, data, oracles, scoring, transforms

IMAGE_SHAPE = (4, 4, 1)
CONFIG = oracles.OracleConfig(
    model="mine",
    embedding="frozen",
    epochs=10,
    batch_size=32,
    learning_rate=0.3,
    schedule="cosine",
    class_balance=1.0,
)


def apply_fn(params, x):
    hidden = jnp.tanh(x.reshape(x.shape[0], -1) @ params["hidden"])
    return hidden @ params["out"]


def network(seed=0):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(16, 8))
    hidden[:, 0] = 2.0 * np.eye(16)[0]  # it sees how bright the first pixel is
    params = {"hidden": hidden, "out": rng.normal(size=(8, 3))}
    return apply_fn, jax.tree.map(jnp.float32, params)


def images_of(count, seed):
    """Images whose class the network knows, unless their first pixel is bright."""
    rng = np.random.default_rng(seed)
    images = rng.random((count, *IMAGE_SHAPE), np.float32)
    labels = np.asarray(apply_fn(network()[1], images).argmax(axis=-1))
    bright = images[:, 0, 0, 0] > 0.6
    labels = np.where(bright, (labels + 1) % 3, labels)
    return data.from_arrays("mine", images, labels, ["a", "b", "c"], split=str(seed))


TRAIN, VALIDATION = images_of(300, 0), images_of(100, 1)
ASKED: dict[str, Any] = dict(batch_size=64, embedding=True)


OUTCOMES = {
    name: oracles.outcomes(*network(), dataset, **ASKED)
    for name, dataset in (("train", TRAIN), ("validation", VALIDATION))
}


def fit(config=CONFIG, **options):
    made = dict(
        train_outcomes=OUTCOMES["train"],
        validation_outcomes=OUTCOMES["validation"],
        classifier=network(),
    )
    return oracles.fit(config, TRAIN, VALIDATION, **{**made, **options})


@pytest.fixture(scope="module")
def trained():
    return fit()


def outputs(oracle, dataset):
    images, _ = data.as_arrays(dataset)
    return np.asarray(oracle.model(jnp.asarray(images))[:, 0])


def test_outcomes_keep_the_embedding_of_the_same_pass():
    outcomes = OUTCOMES["train"]
    images, labels = data.as_arrays(TRAIN)
    split = transforms.split(*network(), jnp.asarray(images), at="embedding")
    expected = split.features_fn(network()[1], jnp.asarray(images))
    assert outcomes.embedding is not None
    np.testing.assert_allclose(outcomes.embedding, expected, atol=1e-6)
    predicted = apply_fn(network()[1], images).argmax(axis=-1)
    np.testing.assert_array_equal(outcomes.correct, predicted == labels)
    assert oracles.outcomes(*network(), TRAIN, batch_size=64).embedding is None


def test_a_kept_embedding_is_not_computed_again(tmp_path):
    asked = []
    oracles.outcomes(*network(), TRAIN, **ASKED, cache=tmp_path)
    again = oracles.outcomes(
        *network(),
        TRAIN,
        **ASKED,
        cache=tmp_path,
        progress=lambda *_: asked.append(1),
    )
    chex.assert_trees_all_equal(again, OUTCOMES["train"])
    assert asked == []
    without = oracles.outcomes(*network(), TRAIN, batch_size=64, cache=tmp_path)
    assert without.embedding is None
    assert len(list(tmp_path.iterdir())) == 2


def test_a_pass_that_was_stopped_goes_on(tmp_path):
    def stop(task, done, total, facts):
        seen.append(done)
        if done > 100:
            raise KeyboardInterrupt

    seen: list[int] = []
    asked = dict(ASKED, cache=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        oracles.outcomes(*network(), TRAIN, **asked, progress=stop)
    parts = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(parts) == 2  # two batches of 64 are done
    found = oracles.outcomes(*network(), TRAIN, **asked)
    chex.assert_trees_all_equal(found, OUTCOMES["train"])


def test_the_head_alone_learns_when_the_network_is_right(trained):
    assert max(epoch.validation_metric for epoch in trained.history) > 0.7
    images, _ = data.as_arrays(VALIDATION)
    split = transforms.split(*network(), jnp.asarray(images), at="embedding")
    features = np.asarray(split.features_fn(network()[1], jnp.asarray(images)))
    embedding: Any = OUTCOMES["train"].embedding
    features = (features - embedding.mean(axis=0)) / embedding.std(axis=0)
    head = trained.model.dense.head
    kernel, bias = np.asarray(head.kernel[...]), np.asarray(head.bias[...])
    by_hand = (features @ kernel + bias)[:, 0] / (np.linalg.norm(kernel) + 1e-7)
    np.testing.assert_allclose(outputs(trained, VALIDATION), by_hand, atol=1e-5)
    _, params = bridge.from_nnx(trained.model)
    assert sorted(params) == ["dense"]  # and is no parameter


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("loss", "head"), [("focal", "linear"), ("true_class_probability", "linear")]
)
def test_other_losses_and_heads(loss, head):
    oracle = fit(dataclasses.replace(CONFIG, epochs=5, loss=loss, head=head))
    assert max(epoch.validation_metric for epoch in oracle.history) > 0.7


def test_scoring_takes_the_features_of_its_own_pass(trained):
    (output,) = trained.ingredients()
    assert [need.name for need in output.needs] == ["features"]
    assert output.ask is None
    results = scoring.run(
        ["oracle", "logits"],
        *network(),
        data.batches(VALIDATION, 64),
        ingredients=trained.ingredients(),
    )
    expected = outputs(trained, VALIDATION)
    np.testing.assert_allclose(results.values["oracle"], expected, atol=1e-5)


def test_a_stopped_run_goes_on_and_is_loaded(tmp_path, trained):
    def stop(task, done, total, facts):
        if done >= 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(workdir=tmp_path, checkpoint_every=20, progress=stop)
    resumed = fit(workdir=tmp_path, checkpoint_every=1000)
    assert resumed.history == trained.history
    assert oracles.kept(tmp_path) == (IMAGE_SHAPE, True)
    loaded = oracles.load(tmp_path, classifier=network())
    assert loaded.image_shape == IMAGE_SHAPE
    for oracle in (resumed, loaded):
        np.testing.assert_array_equal(
            outputs(oracle, VALIDATION), outputs(trained, VALIDATION)
        )
    with pytest.raises(ValueError, match="of another classifier, or of other weights"):
        oracles.load(tmp_path, classifier=network(seed=1))
    with pytest.raises(ValueError, match="needs classifier="):
        oracles.load(tmp_path)
    with pytest.raises(ValueError, match=r"frozen_classifier is .* there and"):
        fit(workdir=tmp_path, classifier=network(seed=1))


def test_what_a_frozen_embedding_needs_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"give|classifier=\(apply_fn, params\)"):
        fit(classifier=None)
    plain = oracles.outcomes(*network(), TRAIN, batch_size=64)
    with pytest.raises(ValueError, match=r"each of the 300 records .* got none"):
        fit(train_outcomes=plain)
    with pytest.raises(
        ValueError, match="embedding must be one of cloned, frozen, trained"
    ):
        dataclasses.replace(CONFIG, embedding="fresh")


def test_clips_of_video_are_taken_like_images():
    def middle_fn(params, x):
        return apply_fn(params, x[:, 1])

    rng = np.random.default_rng(0)
    clips = rng.random((40, 3, *IMAGE_SHAPE), np.float32)
    clips_set = data.from_arrays("clips", clips, rng.integers(0, 3, 40), list("abc"))
    classifier = (middle_fn, network()[1])
    outcomes = oracles.outcomes(*classifier, clips_set, **ASKED)
    oracle = oracles.fit(
        dataclasses.replace(CONFIG, epochs=1),
        clips_set,
        clips_set,
        train_outcomes=outcomes,
        validation_outcomes=outcomes,
        classifier=classifier,
    )
    assert oracle.image_shape == (3, *IMAGE_SHAPE)
    assert oracle.model(jnp.asarray(clips)).shape == (40, 1)


@pytest.mark.parametrize(
    ("model", "changes", "expected"),
    [
        ("vit_micro", {}, {"alpha_positive": 1.0, "alpha_negative": 3.0}),
        ("cnn", {}, {"alpha_negative": 5.0, "embedding": "trained"}),
        ("cnn", {"loss": "cross_entropy"}, {"head": "linear"}),
        ("cnn", {"loss": "focal", "head": "signed_distance"}, {"loss": "focal"}),
        ("resnet18", {}, {"embedding": "frozen", "optimizer": "adamw", "epochs": 30}),
        (
            "resnet18",
            {"embedding": "trained"},
            {"optimizer": "sgd", "learning_rate": 1e-5, "batch_size": 40, "epochs": 1},
        ),
        ("mine", {"seed": 3}, {"embedding": "frozen", "seed": 3, "model": "mine"}),
    ],
)
def test_the_choices_that_suit_a_network(model, changes, expected):
    config = oracles.config_for(model, **changes)
    assert {name: getattr(config, name) for name in expected} == expected
