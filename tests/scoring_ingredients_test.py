"""Every registered score from the one plan, and what users add to it."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.programs import jitted
from tests.scoring_test import CLASSES, INPUTS, SPLIT, made_batches
from tests.scoring_test import params as params  # a fixture
from trustjax import gradients, passes, scores, scoring
from trustjax.ingredients import FEATURES, LAST_LAYER, LOGITS, Ingredient

KEY = jax.random.key(0)


def noisy(params, x, key):
    return SPLIT.apply_fn(params, x) + jax.random.normal(key, (len(x), CLASSES))


def flipped(x, key):
    return jnp.where(jax.random.bernoulli(key), x, -x)


EVERYTHING = (
    passes.DROPOUT_LOGITS.with_options(num_samples=3),
    passes.AUGMENTED_LOGITS.with_options(num_samples=3, augment_fn=flipped),
    Ingredient("oracle_output", compute=lambda z: z[:, :1], needs=(LOGITS,)),
    Ingredient("detector_output", compute=lambda z: z[:, 0], needs=(LOGITS,)),
    scores.KNN_STATE.with_options(normalised=False),
)


@pytest.fixture
def scorer(params):
    """Of all scores, those that are fitted on a training set among them."""
    members = jax.tree.map(lambda a: jnp.stack([a, -a]), params)
    scorer = scoring.Scorer(
        scores.names(),
        SPLIT,
        params,
        stochastic_apply_fn=noisy,
        ingredients=EVERYTHING,
        given={"ensemble_params": members, "key": KEY},
    )
    return scorer.fit(made_batches(records=60)[1])


@pytest.fixture
def given(scorer):
    return scorer.given


@pytest.mark.exhaustive
def test_every_score_comes_from_one_plan_and_is_its_function(params, scorer, given):
    images, batches = made_batches()
    results = scorer.run(batches)
    assert set(results.values) == set(scores.names())
    chex.assert_tree_all_finite(results.values["trust_score"])
    x = jnp.asarray(images)
    logits, features = SPLIT.apply_fn(params, x), SPLIT.features_fn(params, x)
    of_network = lambda fn, *args: jitted(fn, SPLIT.apply_fn, *args)
    expected = {
        "grad_norm": scores.grad_norm(logits, features),
        "trust_score": scores.trust_score(
            given["trust_score_state"], features, jnp.argmax(logits, axis=-1)
        ),
        "knn_distance": scores.knn_distance(given["knn_state"], features),
        "odin": of_network(scores.odin, params, x),
        "deep_ensemble": of_network(scores.deep_ensemble, given["ensemble_params"], x),
        "fisher_trace": -of_network(gradients.fisher_trace, params, x),
        "purview": of_network(scores.purview, params, x),
        "counterfactual_grad_trust": of_network(
            scores.counterfactual_grad_trust, params, x
        ),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(
            results.values[name], value, rtol=1e-3, atol=1e-5, err_msg=name
        )


def test_what_no_score_asks_for_is_not_computed(params):
    def forbidden(batch):
        raise AssertionError("computed")

    ingredients = [Ingredient("gradient_statistics", ask=forbidden)]
    out = scoring.score_batch(
        ["margin", "grad_norm"],
        SPLIT,
        params,
        jnp.ones((2, INPUTS)),
        ingredients=ingredients,
    )
    assert set(out) == {"margin", "grad_norm"}


def test_a_score_of_ones_own_with_an_ingredient_of_ones_own(params):
    lowest = Ingredient("lowest", compute=lambda h: h.min(axis=-1), needs=(FEATURES,))

    def lowest_feature(lowest, threshold):
        return lowest - threshold

    score = scores.Score(
        lowest_feature,
        needs=(lowest, Ingredient("threshold")),
        title="Lowest feature",
        paper="none",
        equation="min_j h_j - t",
    )
    x = jnp.asarray(made_batches()[0])
    scores.register(score)
    try:
        out = scoring.score_batch(
            ["lowest_feature"],
            SPLIT,
            params,
            x,
            given={"threshold": jnp.float32(2.0)},
        )
    finally:
        scores.unregister("lowest_feature")
    np.testing.assert_allclose(
        out["lowest_feature"], SPLIT.features_fn(params, x).min(axis=1) - 2, rtol=1e-6
    )


def test_a_state_that_is_not_given_is_named():
    with pytest.raises(
        ValueError, match="knn_distance needs 'knn_state', which is neither given nor"
    ):
        scoring.plan(["knn_distance"])


def test_parts_of_a_run_with_other_states_are_not_taken(params, given, tmp_path):
    """A killed run with other given values leaves parts that are not this run's."""
    _, batches = made_batches()
    other = scores.fit_knn(np.eye(5), normalised=False)
    fitted = {"knn_state": given["knn_state"]}
    ask = lambda given, **more: scoring.run(
        ["knn_distance_of_one"], SPLIT, params, batches, given=given, **more
    )

    def knn_distance_of_one(state, features):
        return scores.knn_distance(state, features, k=1)

    row = scores.lookup("knn_distance")
    scores.register(dataclasses.replace(row, fn=knn_distance_of_one))
    try:
        stop = iter([None])
        with pytest.raises(StopIteration):
            ask(
                {"knn_state": other},
                workdir=tmp_path,
                progress=lambda *heard: next(stop),
            )
        chex.assert_trees_all_equal(ask(fitted, workdir=tmp_path), ask(fitted))
    finally:
        scores.unregister("knn_distance_of_one")


def test_a_state_that_is_fitted_on_another_waits_for_it(params):
    _, batches = made_batches()
    mean = Ingredient("mean", fit=lambda h, labels: h.mean(0), needs=(FEATURES,))
    centred = Ingredient(
        "centred", compute=lambda h, m: h - m[None], needs=(FEATURES, mean)
    )
    spread = Ingredient("spread", fit=lambda h, labels: h.std(0), needs=(centred,))
    scorer = scoring.Scorer([spread], SPLIT, params)
    assert scorer.to_fit == (mean, spread)
    fitted = scorer.fit(batches)
    assert not fitted.to_fit
    assert fitted.fit(batches) is fitted
    features = scoring.run([FEATURES], SPLIT, params, batches).values["features"]
    np.testing.assert_allclose(fitted.given["spread"], features.std(0), rtol=1e-5)


LOOP = Ingredient("loop", compute=lambda z: z, needs=(Ingredient("loop"),))


@pytest.mark.parametrize(
    ("asked", "options", "message"),
    [
        (["mc_dropout"], {"given": {"key": KEY}}, "dropout_logits asks a network with"),
        (["test_time_augmentation"], {}, "augmented_logits needs 'key', which is nei"),
        (["deep_ensemble"], {}, "ensemble_logits needs 'ensemble_params', which is"),
        (["oracle"], {}, "oracle needs 'oracle_output', which is neither given"),
        (["margin", Ingredient("logits", ask=abs)], {}, "two ingredients are called"),
        ([LOOP], {"ingredients": [LOOP]}, "'loop' is made from itself"),
    ],
)
def test_what_cannot_be_planned_is_named(params, asked, options, message):
    with pytest.raises(ValueError, match=message):
        scoring.Scorer(asked, SPLIT, params, **options)


def test_scores_of_arrays_are_in_double_and_ask_no_network():
    logits = np.array([[60.0, 1.0, 0.0], [80.0, 2.0, 0.0]])
    found = scoring.from_arrays(["margin", "log_likelihood"], {"logits": logits})
    assert found["log_likelihood"][0] < found["log_likelihood"][1] < 0
    assert found["margin"].dtype == np.float64
    with pytest.raises(ValueError, match=r"features must be asked of a network, or gi"):
        scoring.from_arrays(["grad_norm"], {"logits": logits})
    with pytest.raises(ValueError, match=r"knn_distance needs 'knn_state'"):
        scoring.from_arrays(["knn_distance"], {"features": logits})


@pytest.mark.parametrize("devices", [1, 8])
def test_what_is_of_the_network_is_there_once(params, devices, tmp_path):
    """Whatever the batches, also of those that were kept on disk."""
    mesh = jax.make_mesh(
        (devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
    )
    sharding = jax.sharding.NamedSharding(mesh, jax.P("data"))
    scorer = scoring.Scorer([LAST_LAYER, LOGITS], SPLIT, params, sharding=sharding)

    def stop(task, done, total, facts):
        if done > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scorer.run(made_batches()[1], workdir=tmp_path, progress=stop)
    found = scorer.run(made_batches()[1], workdir=tmp_path).values
    np.testing.assert_array_equal(found["last_layer"].kernel, params["dense"]["kernel"])
    np.testing.assert_array_equal(found["last_layer"].bias, np.zeros(CLASSES))
    assert found["logits"].shape == (21, CLASSES)


def test_a_fit_takes_what_is_of_the_network(params):
    def fitted(layer, features, labels):
        return {"logits": features @ layer.kernel, "labels": labels}

    state = Ingredient("fitted", fit=fitted, needs=(LAST_LAYER, FEATURES))
    scorer = scoring.Scorer([state, LOGITS], SPLIT, params)
    batches = made_batches()[1]
    found = scorer.fit(batches).given["fitted"]
    logits = scorer.fit(batches).run(batches).values["logits"]
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-5)


@pytest.mark.parametrize("devices", [1, 8])
def test_what_is_added_up_leaves_out_padding(params, devices, tmp_path):
    mesh = jax.make_mesh(
        (devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
    )
    sharding = jax.sharding.NamedSharding(mesh, jax.P("data"))
    asked = [scores.lookup("gradient_direction"), scores.lookup("knn_distance")]
    neighbours = scores.KNN_STATE.with_options(normalised=False)
    scorer = scoring.Scorer(
        asked, SPLIT, params, sharding=sharding, ingredients=[neighbours]
    )
    images, batches = made_batches(records=61)
    found = scorer.fit(batches, workdir=tmp_path).given["mean_gradient"]
    each = jitted(
        gradients.per_example_gradients, SPLIT.apply_fn, params, jnp.asarray(images)
    )
    for layer in ("hidden", "dense"):
        mean = np.mean(each[layer]["kernel"], axis=0)
        np.testing.assert_allclose(found[f"{layer}/kernel"], mean, atol=1e-6)
    assert not list(tmp_path.iterdir())
