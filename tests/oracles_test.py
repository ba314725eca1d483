import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType

from tests import golden_numbers
from tests.interruption import killed_run
from trustjax import bridge, data, losses, models, oracles, scoring, train
from trustjax.typing import SplitModel

IMAGE_SHAPE = (6, 6, 1)
CONFIG = oracles.OracleConfig(
    model="mlp", epochs=4, batch_size=16, learning_rate=0.01, class_balance=0.9
)


def stripes(count, seed):
    """Images with one bright row, and a classifier that is wrong on the third kind."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    images = rng.integers(0, 100, (count, *IMAGE_SHAPE), np.uint8)
    images[np.arange(count), 2 * labels] += 150
    outcomes = oracles.Outcomes(
        correct=labels != 2,
        probability=np.where(labels != 2, 0.75, 0.125).astype(np.float32),
    )
    return data.from_arrays("stripes", images, labels, ["a", "b", "c"]), outcomes


TRAIN, TRAIN_OUTCOMES = stripes(72, 0)  # 4 full batches and a padded one of 8
VALIDATION, VALIDATION_OUTCOMES = stripes(30, 1)


def fit(config=CONFIG, train_set=TRAIN, validation_set=VALIDATION, **options):
    defaults = dict(
        train_outcomes=TRAIN_OUTCOMES, validation_outcomes=VALIDATION_OUTCOMES
    )
    return oracles.fit(config, train_set, validation_set, **{**defaults, **options})


def params_of(trained):
    return bridge.from_nnx(trained.model)[1]


@pytest.fixture(scope="module")
def uninterrupted():
    return fit()


def test_an_oracle_learns_when_the_classifier_is_right(uninterrupted):
    assert [epoch.step for epoch in uninterrupted.history] == [5, 10, 15, 20]
    assert uninterrupted.history[-1].validation_metric == 1.0
    assert uninterrupted.history[-1].loss < 0.5 * uninterrupted.history[0].loss
    images, _ = data.as_arrays(VALIDATION)
    z = uninterrupted.model(jnp.asarray(images, jnp.float32) / 255)
    chex.assert_shape(z, (30, 1))
    trusted = np.asarray(z[:, 0]) > 0
    assert np.mean(trusted == VALIDATION_OUTCOMES.correct) > 0.9


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "cross_entropy", "head": "linear", "metric": "aupr_error"},
        {"loss": "focal", "head": "linear", "metric": "aupr_success"},
        {"loss": "true_class_probability", "schedule": "cosine"},
        {"precision": "bfloat16"},
    ],
)
def test_every_loss_head_metric_and_precision_learns(changes):
    trained = fit(dataclasses.replace(CONFIG, **changes))
    assert max(epoch.validation_metric for epoch in trained.history) > 0.9
    chex.assert_trees_all_equal_dtypes(
        params_of(trained), jax.tree.map(jnp.float32, params_of(trained))
    )


def test_the_best_epoch_is_kept_and_stagnation_ends_the_run():
    config = dataclasses.replace(
        CONFIG, epochs=9, patience=2, minimum_learning_rate=CONFIG.learning_rate
    )
    trained = fit(config)
    metric = [epoch.validation_metric for epoch in trained.history]
    best = int(np.argmax(metric))
    assert len(metric) == best + 3 < 9  # two epochs without a new best
    until_best = fit(dataclasses.replace(config, epochs=best + 1))
    chex.assert_trees_all_equal(params_of(until_best), params_of(trained))


# Checkpoints


class StopError(Exception):
    """Raised from the progress callback, to end a run between two checkpoints."""


def test_a_stopped_run_goes_on_to_the_same_end(tmp_path, uninterrupted):
    def stop(task, done, total, facts):
        if done >= 10:
            raise StopError

    with pytest.raises(StopError):
        fit(workdir=tmp_path, checkpoint_every=3, progress=stop)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [6, 9]
    resumed = fit(workdir=tmp_path, checkpoint_every=3)
    loaded = oracles.load(tmp_path)
    for result in (resumed, loaded):
        assert result.history == uninterrupted.history
        assert (result.step, result.config) == (20, CONFIG)
        assert result.image_shape == IMAGE_SHAPE
        chex.assert_trees_all_equal(params_of(result), params_of(uninterrupted))

    with pytest.raises(ValueError, match=r"alpha_negative is 3\.0 there and 5"):
        fit(dataclasses.replace(CONFIG, alpha_negative=5.0), workdir=tmp_path)
    other = TRAIN_OUTCOMES._replace(correct=~TRAIN_OUTCOMES.correct)
    with pytest.raises(ValueError, match=r"another run: .*outcomes is"):
        fit(workdir=tmp_path, train_outcomes=other)


KILLED_RUN = """
import sys
import oracles_test as t
t.fit(t.KILLED, workdir=sys.argv[1], checkpoint_every=2)
"""
KILLED = dataclasses.replace(CONFIG, epochs=12, patience=12)


@pytest.mark.exhaustive
def test_a_killed_run_goes_on_to_the_same_end(tmp_path):
    killed_run(KILLED_RUN, tmp_path)
    resumed = fit(KILLED, workdir=tmp_path, checkpoint_every=1000)
    whole = fit(KILLED)
    assert resumed.history == whole.history
    chex.assert_trees_all_equal(params_of(resumed), params_of(whole))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path):
    exploding = dataclasses.replace(CONFIG, learning_rate=1e30, schedule="cosine")
    message = r"not finite at step \d \(learning rate 1e\+30 at its peak\)"
    with pytest.raises(train.NonFiniteLossError, match=message):
        fit(exploding, workdir=tmp_path, checkpoint_every=1)
    with train.last_checkpoint(tmp_path) as (checkpoints, step):
        model = oracles.create(CONFIG, IMAGE_SHAPE)
        state, _ = oracles.make_train_step(model, CONFIG, steps_per_epoch=1)
        best = {"params": state.params, "statistics": state.statistics}
        kept, _ = checkpoints.state(step, (state, best))
    assert step >= 1
    chex.assert_tree_all_finite(kept.params)


def test_a_step_to_weights_that_are_not_finite_is_a_bad_one():
    model = oracles.create(CONFIG, IMAGE_SHAPE)
    state, step = oracles.make_train_step(model, CONFIG, steps_per_epoch=1)
    images, _ = data.as_arrays(TRAIN)
    batch = {
        "image": jnp.asarray(images[:8], jnp.float32) / 255,
        "mask": jnp.ones(8, bool),
        "correct": jnp.asarray(TRAIN_OUTCOMES.correct[:8]),
    }
    state = step(step(state, batch, 1.0), batch, jnp.inf)
    assert np.isfinite(state.loss_sum)
    assert int(state.first_bad_step) == 1


def test_a_classifiers_checkpoint_is_not_an_oracle(tmp_path):
    config = train.config_for("mlp", epochs=1, batch_size=72)
    train.fit(config, TRAIN, VALIDATION, workdir=tmp_path)
    with pytest.raises(ValueError, match="holds a classifier, not an oracle"):
        oracles.load(tmp_path)
    fit(dataclasses.replace(CONFIG, epochs=1), workdir=tmp_path / "oracle")
    with pytest.raises(ValueError, match="holds an oracle, not a classifier"):
        train.load(tmp_path / "oracle")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        oracles.load(tmp_path / "none")


# The step


def test_eight_devices_train_like_one(uninterrupted):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharded = fit(mesh=mesh)
    chex.assert_trees_all_close(
        params_of(sharded), params_of(uninterrupted), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    "name",
    [
        "cnn",
        *(
            pytest.param(n, marks=pytest.mark.exhaustive)
            for n in ("resnet8", "vit_micro")
        ),
    ],
)
def test_a_step_of_each_network_is_the_same_on_eight_devices(name):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    config = oracles.OracleConfig(model=name, optimizer="sgd", learning_rate=0.1)
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.random((16, 20, 20, 1), np.float32),
        "mask": np.arange(16) < 13,
        "correct": rng.random(16) < 0.5,
    }
    place = [
        lambda tree, spec: tree,
        lambda tree, spec: jax.device_put(tree, jax.NamedSharding(mesh, spec)),
    ]

    def after_a_step(put):
        model = oracles.create(config, (20, 20, 1))
        state, step = oracles.make_train_step(model, config, steps_per_epoch=1)
        state = step(put(state, jax.P()), put(batch, jax.P("data")), 1.0)
        return jax.device_get((state.params, state.statistics, state.loss_sum))

    one, eight = map(after_a_step, place)
    chex.assert_trees_all_close(eight, one, atol=1e-4, rtol=1e-4)


def types_multiplied(jaxpr):
    """The types of what a program's matrix products and convolutions take."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            yield from (operand.aval.dtype for operand in equation.invars)
        for inner in jax.tree.leaves(tuple(equation.params.values())):
            if hasattr(inner, "jaxpr"):
                yield from types_multiplied(inner.jaxpr)


@pytest.mark.parametrize("name", ["mlp", "resnet8"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_multiplies_in_its_precision_alone(name, precision):
    config = oracles.OracleConfig(model=name, precision=precision)
    model = oracles.create(config, (8, 8, 1))
    state, step = oracles.make_train_step(model, config, steps_per_epoch=1)
    batch = {
        "image": jnp.zeros((4, 8, 8, 1)),
        "mask": jnp.ones(4, bool),
        "correct": jnp.ones(4, bool),
    }
    program = jax.make_jaxpr(step)(state, batch, 1.0)
    assert set(types_multiplied(program.jaxpr)) == {jnp.dtype(precision)}


def test_train_step_is_sgd_on_the_balanced_steep_slope_loss():
    config = dataclasses.replace(
        CONFIG, optimizer="sgd", momentum=0.0, learning_rate=0.1, class_balance=1.0
    )
    model = oracles.create(config, IMAGE_SHAPE)
    for _, module in nnx.iter_modules(model):
        if isinstance(module, nnx.Dropout):
            module.rate = 0.0
    model.eval()
    oracle_fn, params = bridge.from_nnx(model)
    images, _ = data.as_arrays(TRAIN)
    images = jnp.asarray(images[:8], jnp.float32) / 255
    correct = jnp.asarray(TRAIN_OUTCOMES.correct[:8])
    batch = {"image": images, "mask": jnp.arange(8) < 6, "correct": correct}

    @jax.jit
    @jax.grad
    def gradient_fn(params):
        z = oracle_fn(params, images[:6])[:, 0]
        loss = losses.steep_slope_loss(
            z, correct[:6], alpha_positive=1.0, alpha_negative=3.0
        )
        # Weights of 1/1 and 1/3, made to add up to 2.
        return jnp.mean(jnp.where(correct[:6], 0.5, 1.5) * loss)

    gradient = gradient_fn(params)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
    state, train_step = oracles.make_train_step(
        model, config, steps_per_epoch=1, num_wrong=1, num_right=3
    )
    state = train_step(state, batch, 1.0)
    chex.assert_trees_all_close(state.params, expected, atol=1e-6)
    train_step(state, batch, 0.5)
    assert train_step.func._cache_size() == 1


# The network


def test_signed_distance_agrees_with_the_authors():
    golden = golden_numbers.load("03_oracle_losses")
    with jax.enable_x64(True):
        head = oracles.SignedDistance(13, rngs=nnx.Rngs(0))
        head.kernel = nnx.Param(jnp.asarray(golden["head/kernel"]))
        head.bias = nnx.Param(jnp.asarray(golden["head/bias"]))
        features = jnp.asarray(golden["head/features"])
        np.testing.assert_allclose(
            head(features), golden["head/signed_distance"], rtol=1e-7
        )
        gradient = nnx.grad(lambda head: head(features).sum())(head)
        for name in ("kernel", "bias"):
            np.testing.assert_allclose(
                gradient[name][...], golden[f"head/grad_sum_{name}"], atol=1e-6
            )


def test_signed_distance_of_zero_weights_is_finite():
    head = oracles.SignedDistance(3, rngs=nnx.Rngs(0))
    head.kernel = nnx.Param(jnp.zeros((3, 1)))
    head.bias = nnx.Param(jnp.ones(1))
    np.testing.assert_allclose(head(jnp.ones((2, 3))), 1e7, rtol=1e-6)
    gradient = nnx.grad(lambda head: head(jnp.ones((2, 3))).sum())(head)
    chex.assert_tree_all_finite(nnx.to_pure_dict(gradient))


def classifier(name="mlp", image_shape=IMAGE_SHAPE):
    return models.create(name, num_classes=3, image_shape=image_shape, rngs=nnx.Rngs(7))


def test_an_oracle_starts_from_the_classifiers_backbone():
    source = classifier()
    source.eval()
    oracle = oracles.create(CONFIG, IMAGE_SHAPE, classifier=source)
    oracle.eval()
    ours, theirs = (bridge.from_nnx(model)[1] for model in (oracle, source))
    for layer in ("hidden1", "hidden2"):
        chex.assert_trees_all_equal(ours[layer], theirs[layer])
    assert isinstance(oracle.dense, oracles.SignedDistance)
    linear = dataclasses.replace(CONFIG, head="linear")
    assert isinstance(oracles.create(linear, IMAGE_SHAPE).dense, nnx.Linear)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (classifier(image_shape=(8, 8, 1)), r"\(64, 256\) in the classifier and \(36,"),
        (classifier("cnn", (18, 18, 1)), "conv1/bias has shape .* and None in the or"),
    ],
)
def test_a_classifier_of_another_kind_or_input_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        oracles.create(CONFIG, IMAGE_SHAPE, classifier=source)


# Outcomes and the score


# Any network as the backbone


def two_layers(params, x):
    x = x.reshape(len(x), -1)
    return jax.nn.relu(x @ params["hidden"]["kernel"]) @ params["head"]["kernel"]


def two_layer_params(width=16):
    keys = jax.random.split(jax.random.key(0))
    return {
        "hidden": {"kernel": 0.2 * jax.random.normal(keys[0], (36, width))},
        "head": {"kernel": jax.random.normal(keys[1], (width, 3))},
        "steps": jnp.int32(7),  # no gradient, and no part of it either
    }


def test_an_oracle_on_any_network_learns_and_goes_on_where_it_stopped(tmp_path):
    params = two_layer_params()
    before = jax.tree.map(np.array, params)
    function = two_layers, params

    def stop(task, done, total, facts):
        if done >= 10:
            raise StopError

    with pytest.raises(StopError):
        fit(classifier=function, workdir=tmp_path, checkpoint_every=3, progress=stop)
    resumed = fit(classifier=function, workdir=tmp_path, checkpoint_every=3)
    assert max(epoch.validation_metric for epoch in resumed.history) > 0.9
    chex.assert_trees_all_equal(params, before)
    chex.assert_trees_all_equal(params_of(fit(classifier=function)), params_of(resumed))
    loaded = oracles.load(
        tmp_path, classifier=(two_layers, jax.tree.map(jnp.zeros_like, params))
    )
    chex.assert_trees_all_equal(params_of(loaded), params_of(resumed))
    backbone = params_of(resumed)["backbone"]
    assert set(backbone) == {"hidden", "head"}
    assert np.any(backbone["hidden"]["kernel"] != before["hidden"]["kernel"])
    with pytest.raises(ValueError, match=r"needs classifier=\(apply_fn, params\)"):
        oracles.load(tmp_path)
    other = two_layers, two_layer_params(width=4)
    with pytest.raises(ValueError, match=r"backbone/head/kernel has shape \[16, 3\]"):
        oracles.load(tmp_path, classifier=other)


@pytest.mark.parametrize("head", ["linear", "signed_distance"])
def test_an_oracle_on_a_function_is_that_on_the_module(head):
    config = dataclasses.replace(CONFIG, head=head)
    of_module = oracles.create(config, IMAGE_SHAPE)
    of_module.eval()
    apply_fn, params = models.load("mlp", num_classes=10, image_shape=IMAGE_SHAPE)
    of_function = oracles.create(config, IMAGE_SHAPE, classifier=(apply_fn, params))
    assert type(of_function.dense) is type(of_module.dense)
    same = bridge.from_nnx(of_module)[1]
    nnx.update(of_function, {"backbone": {**same, "dense": {}}, "dense": same["dense"]})
    x = jax.random.uniform(jax.random.key(1), (5, *IMAGE_SHAPE))
    np.testing.assert_allclose(of_function(x), of_module(x), rtol=1e-5)


def test_a_function_without_an_embedding_is_refused():
    linear = lambda params, x: x.mean((1, 2)) * params
    with pytest.raises(ValueError, match="there is no embedding"):
        oracles.create(CONFIG, IMAGE_SHAPE, classifier=(linear, jnp.ones((1, 3))))
    split = SplitModel(linear, linear)
    with pytest.raises(ValueError, match=r"or \(apply_fn, params\), got SplitModel"):
        oracles.create(CONFIG, IMAGE_SHAPE, classifier=split)


def rows(params, x):
    """A classifier: the brightness of the rows 0, 2 and 4."""
    return params * x[:, ::2].mean(axis=(2, 3))


def test_outcomes_are_computed_once(tmp_path, monkeypatch):
    found = oracles.outcomes(rows, jnp.float32(9), TRAIN, batch_size=16, cache=tmp_path)
    images, labels = data.as_arrays(TRAIN)
    logits = 9 * images[:, ::2].mean(axis=(2, 3)) / 255
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(found.correct, logits.argmax(axis=1) == labels)
    np.testing.assert_allclose(found.probability, p[np.arange(72), labels], rtol=1e-5)

    def not_again(*args, **kwargs):
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "run", not_again)
        again = oracles.outcomes(rows, jnp.float32(9), TRAIN, cache=tmp_path)
        chex.assert_trees_all_equal(again, found)
        with pytest.raises(AssertionError):
            oracles.outcomes(rows, jnp.float32(-9), TRAIN, cache=tmp_path)


def two_classes(params, x):
    return rows(params, x)[:, :2]


@pytest.mark.parametrize(
    ("apply_fn", "dataset", "message"),
    [
        (rows, stripes(0, 0)[0], "stripes has no records"),
        (two_classes, TRAIN, r"labels of stripes must be in \[0, 2\), got 2"),
        (
            rows,
            data.from_arrays(
                "unknown",
                np.zeros((2, *IMAGE_SHAPE), np.uint8),
                np.full(2, data.NO_CLASS),
                ["a", "b", "c"],
            ),
            "records of unknown have no class to be right about",
        ),
    ],
)
def test_records_without_an_outcome_are_refused(apply_fn, dataset, message):
    with pytest.raises(ValueError, match=message):
        oracles.outcomes(apply_fn, jnp.float32(9), dataset)


def test_a_trained_oracle_is_a_score(uninterrupted):
    ask = lambda batches: scoring.run(
        ["oracle", "max_softmax"],
        rows,
        jnp.float32(9),
        batches,
        ingredients=uninterrupted.ingredients(),
    )
    results = ask(data.batches(VALIDATION, 16))
    images, _ = data.as_arrays(VALIDATION)
    z = uninterrupted.model(jnp.asarray(images, jnp.float32) / 255)
    np.testing.assert_allclose(results.values["oracle"], z[:, 0], atol=1e-5)
    larger = data.convert(VALIDATION, (8, 8, 1))
    with pytest.raises(ValueError, match=r"shape \(6, 6, 1\), .* are \(8, 8, 1\)"):
        ask(data.batches(larger, 16))


def right_everywhere(outcomes):
    return outcomes._replace(correct=np.ones_like(outcomes.correct))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"train_outcomes": right_everywhere(TRAIN_OUTCOMES)},
            "the classifier makes no error on the train set",
        ),
        (
            {"validation_outcomes": right_everywhere(VALIDATION_OUTCOMES)},
            "the classifier makes no error on the validation set",
        ),
        (
            {"train_outcomes": VALIDATION_OUTCOMES},
            "train set has 72, train_outcomes.correct has 30",
        ),
        (
            {
                "train_outcomes": TRAIN_OUTCOMES._replace(
                    correct=np.zeros_like(TRAIN_OUTCOMES.correct)
                )
            },
            "the classifier makes nothing but errors on the train set",
        ),
        (
            {
                "validation_outcomes": VALIDATION_OUTCOMES._replace(
                    correct=np.ones(len(VALIDATION), int)  # 1 for True is as good
                )
            },
            "the classifier makes no error on the validation set",
        ),
        ({"train_set": stripes(0, 0)[0]}, "the train dataset has no records"),
    ],
)
def test_bad_outcomes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        fit(**options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha_positive": 0.0}, "alpha_positive must be positive, got 0.0"),
        ({"alpha_negative": -1.0}, "alpha_negative must be positive, got -1.0"),
        ({"alpha_negative": np.inf}, "alpha_negative must be at most 80, got inf"),
        ({"gamma": -1.0}, "gamma must not be negative"),
        ({"class_balance": 2.0}, r"class_balance must be in \[0, 1\]"),
        ({"loss": "hinge"}, "loss must be one of cross_entropy, focal, steep_slope"),
        ({"head": "cosine"}, "head must be one of linear, signed_distance"),
        ({"metric": "accuracy"}, "metric must be one of aupr_error"),
        ({"precision": "float8"}, "precision must be one of bfloat16, float32"),
        ({"epochs": 0}, "epochs must be an integer >= 1"),
    ],
)
def test_config_names_what_is_wrong(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **changes)
