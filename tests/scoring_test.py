"""One plan for many scores, and the loop that runs it over a data set."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests.programs import jitted
from trustjax import gradients, passes, scores, scoring
from trustjax.ingredients import FEATURES, KEY, LOGITS, Ingredient
from trustjax.typing import SplitModel

NAMES = ("max_softmax", "grad_trust", "gradient_statistics", "logits")
INPUTS, WIDTH, CLASSES = 6, 5, 3


def features_fn(params, x):
    return jnp.tanh(x @ params["hidden"]["kernel"])


def head_fn(params, features):
    return features @ params["dense"]["kernel"]


SPLIT = SplitModel(features_fn, head_fn)


@pytest.fixture
def params():
    keys = jax.random.split(jax.random.key(0))
    return {
        "hidden": {"kernel": jax.random.normal(keys[0], (INPUTS, WIDTH))},
        "dense": {"kernel": jax.random.normal(keys[1], (WIDTH, CLASSES))},
    }


def made_batches(records=21, batch_size=8):
    """Padded batches in a shuffled order, as `data.batches` makes them."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(records, INPUTS)).astype(np.float32)
    order = rng.permutation(records)
    batches = []
    for start in range(0, records, batch_size):
        index = order[start : start + batch_size]
        padding = batch_size - len(index)
        padded = np.pad(index, (0, padding))
        batches.append(
            {
                "image": images[padded],
                "label": (padded % CLASSES).astype(np.int32),
                "index": padded.astype(np.int32),
                "mask": np.arange(batch_size) < len(index),
            }
        )
    return images, batches


def test_plan_lists_each_ingredient_once_in_a_computable_order():
    doubled = Ingredient("doubled", compute=lambda z: 2 * z, needs=(LOGITS,))
    asked = [doubled, "margin", "logits", "energy"]
    assert scoring.plan(asked) == (LOGITS, doubled)
    by_name = ["doubled", "margin", "logits", "energy"]
    assert scoring.plan(by_name, ingredients=[doubled]) == (LOGITS, doubled)


def test_the_network_runs_once_however_many_scores_ask(params):
    calls = chex.assert_max_traces(features_fn, n=1)
    split = SplitModel(calls, head_fn)
    asked = [*scores.names(computable_from={"logits"}), "features", "logits"]

    def ask(x):
        out = scoring.score_batch(asked, split, params, x)
        assert list(out) == asked
        return out

    jax.eval_shape(ask, jnp.ones((4, INPUTS)))


def products_of(names, params, **options):
    """How many products of matrices the plan of some names takes."""
    plan = lambda x: scoring.score_batch(names, SPLIT, params, x, **options)
    return str(jax.make_jaxpr(plan)(jnp.ones((4, INPUTS)))).count("dot_general[")


def test_one_forward_pass_gives_logits_features_and_gradients(params):
    gradient = products_of(["gradient_statistics"], params)
    assert gradient > products_of(["logits"], params) > 0
    everything = ["logits", "max_softmax", "features", "gradient_statistics"]
    assert products_of(everything, params) == gradient


def test_statistics_by_every_grouping_are_of_one_backward_pass(params):
    every = [gradients.statistics_by(group) for group in gradients.GROUPINGS]
    one = products_of(["gradient_statistics"], params)
    assert products_of([*every, "logits"], params) == one
    x = jnp.asarray(made_batches()[0])
    out = jax.jit(lambda x: scoring.score_batch(every, SPLIT, params, x))(x)
    for group, ingredient in zip(gradients.GROUPINGS, every, strict=True):
        expected = jitted(
            gradients.gradient_statistics, SPLIT.apply_fn, params, x, group=group
        )
        assert out[ingredient.name].groups == expected.groups
        chex.assert_trees_all_close(
            out[ingredient.name], expected, rtol=1e-4, atol=1e-6
        )


def test_gradient_statistics_of_ones_own_do_not_run_the_engine(params):
    own = Ingredient("gradient_statistics", compute=lambda z: 2 * z, needs=(LOGITS,))
    names = ["logits", "gradient_statistics"]
    asked = products_of(names, params, ingredients=[own])
    assert asked == products_of(["logits"], params)


def test_scores_are_those_of_the_functions(params):
    x = jnp.asarray(made_batches()[0])
    out = jax.jit(lambda x: scoring.score_batch(NAMES, SPLIT, params, x))(x)
    logits = SPLIT.apply_fn(params, x)
    for name in ("max_softmax", "grad_trust"):
        expected = jax.jit(getattr(scores, name))(logits)
        np.testing.assert_allclose(out[name], expected, rtol=1e-5)
    np.testing.assert_allclose(out["logits"], logits, rtol=1e-6)
    assert out["gradient_statistics"].groups == ("dense/kernel", "hidden/kernel")


def test_results_are_in_record_order_without_padding(params):
    images, batches = made_batches()
    results = scoring.run(NAMES, SPLIT, params, batches)
    np.testing.assert_array_equal(results.index, np.arange(len(images)))
    np.testing.assert_array_equal(results.labels, np.arange(len(images)) % CLASSES)
    score = jax.jit(lambda x: scoring.score_batch(NAMES, SPLIT, params, x))
    expected = score(jnp.asarray(images))
    chex.assert_trees_all_close(results.values, expected, rtol=1e-5, atol=1e-6)


def test_sharded_results_are_the_unsharded_ones(params):
    _, batches = made_batches()
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    chex.assert_trees_all_close(
        scoring.run(NAMES, SPLIT, params, batches, sharding=sharding),
        scoring.run(NAMES, SPLIT, params, batches),
        rtol=1e-5,
        atol=1e-6,
    )


def noise(x, key):
    return x + jax.random.normal(key, x.shape)


@pytest.mark.parametrize(
    "batch_size", [1, pytest.param(6, marks=pytest.mark.exhaustive), 11]
)
def test_a_batch_that_devices_cannot_divide_is_padded(params, batch_size):
    _, batches = made_batches(batch_size=batch_size)
    mesh = jax.make_mesh((4, 2), ("data", "other"), axis_types=(AxisType.Auto,) * 2)
    ask = lambda sharding: scoring.run(
        [*NAMES, "test_time_augmentation"],
        SPLIT,
        params,
        batches,
        sharding=sharding,
        ingredients=[passes.AUGMENTED_LOGITS.with_options(augment_fn=noise)],
        given={"key": jax.random.key(0)},
    )
    of_four = NamedSharding(mesh, PartitionSpec("data"))
    chex.assert_trees_all_close(ask(of_four), ask(None), rtol=1e-5, atol=1e-6)


@pytest.fixture
def compiled():
    """The names of the functions that XLA has compiled, as it compiles them."""
    names = []

    def listener(event, duration_secs, **facts):
        del duration_secs
        if event.endswith("backend_compile_duration"):
            names.append(facts["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listener)
    yield names
    jax.monitoring.unregister_event_duration_listener(listener)


def test_one_program_scores_a_test_set_and_two_others(params, compiled, tmp_path):
    scorer = scoring.Scorer(["grad_norm", "knn_distance"], SPLIT, params)
    scorer = scorer.fit(made_batches(records=60)[1])
    before = len(compiled)
    of_fit = [name for name in compiled if "step" in name]
    first = scorer.run(made_batches()[1], workdir=tmp_path / "test")
    more = compiled[before:]
    assert (len(of_fit), sum("step" in name for name in more)) == (1, 1)
    # The network was looked at before the fit.
    assert more == [name for name in more if "step" in name]
    again = scorer.run(made_batches(records=9)[1], workdir=tmp_path / "other")
    scorer.run(made_batches(records=40)[1])
    assert compiled[before:] == more
    assert (len(first.index), len(again.index)) == (21, 9)


def test_progress_says_how_many_records_are_done(params):
    heard = []
    progress = lambda *facts: heard.append(facts)
    scorer = scoring.Scorer(["knn_distance"], SPLIT, params)
    scorer = scorer.fit(made_batches(records=60)[1], progress=progress, total=60)
    assert heard[0] == ("fitting", 8, 60, {})
    assert heard[-1] == ("fitting", 60, 60, {})
    heard.clear()
    scorer.run(made_batches()[1], progress=progress, task="scoring mine")
    assert [done for _, done, _, _ in heard] == [8, 16, 21, 21]
    assert heard[-2:] == [
        ("scoring mine", 21, None, {}),
        ("scoring mine", 21, 21, {}),
    ]


def test_a_fit_goes_on_where_it_stopped_and_is_the_same_sharded(params, tmp_path):
    batches = made_batches(records=60)[1]
    apply_fn, computed = counted(SPLIT.features_fn)
    split = SplitModel(apply_fn, SPLIT.head_fn)
    scorer = scoring.Scorer(["mahalanobis"], split, params)
    with pytest.raises(KilledError):
        scorer.fit(batches, workdir=tmp_path, progress=killed_after(5))
    jax.effects_barrier()
    before = len(computed)
    state = scorer.fit(batches, workdir=tmp_path).given["mahalanobis_state"]
    jax.effects_barrier()
    assert len(computed) - before == len(batches) - 5
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    sharded = scoring.Scorer(["mahalanobis"], SPLIT, params, sharding=sharding)
    other = sharded.fit(batches).given["mahalanobis_state"]
    chex.assert_trees_all_close(state, other, rtol=1e-3, atol=1e-4)


class KilledError(Exception):
    """Stands for the end of the process: nothing after it runs."""


def killed_after(batches):
    """Progress that ends the run after so many batches."""

    def progress(task, done, total, facts):
        del task, done, total, facts
        nonlocal batches
        batches -= 1
        if not batches:
            raise KilledError

    return progress


def counted(model):
    """The model, and a list that grows by one for each batch that is computed."""
    computed = []

    def apply_fn(params, x):
        jax.debug.callback(lambda: computed.append(1))
        return model(params, x)

    return apply_fn, computed


def test_a_killed_run_goes_on_where_it_stopped(params, tmp_path):
    _, batches = made_batches()
    expected = scoring.run(["energy"], SPLIT, params, batches)
    apply_fn, computed = counted(SPLIT.apply_fn)
    run = lambda **more: scoring.run(
        ["energy"], apply_fn, params, batches, workdir=tmp_path, **more
    )
    with pytest.raises(KilledError):
        run(progress=killed_after(2))
    jax.effects_barrier()
    looks = 2  # at the first batch, before it is scored
    assert len(computed) == looks + 2
    results = run()
    jax.effects_barrier()
    assert len(computed) == looks + 3
    chex.assert_trees_all_equal(results, expected)
    assert not list(tmp_path.rglob("*.npz"))


@pytest.fixture
def stopped(params, tmp_path):
    """A run that stopped after two of three batches: starts it again."""
    _, batches = made_batches()
    run = lambda **more: scoring.run(
        ["energy"], SPLIT, params, batches, workdir=tmp_path, **more
    )
    with pytest.raises(KilledError):
        run(progress=killed_after(2))
    return run


@pytest.mark.parametrize("size", [0, 100, -9])
def test_a_damaged_part_is_computed_again(stopped, params, tmp_path, size):
    first, second = sorted(tmp_path.rglob("part-*.npz"))
    second.write_bytes(second.read_bytes()[:size])
    (first.parent / ".part-000000001-000000002-killed.npz").touch()
    expected = scoring.run(["energy"], SPLIT, params, made_batches()[1])
    chex.assert_trees_all_equal(stopped(), expected)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_part_stays_and_is_named(stopped, tmp_path):
    theirs = max(tmp_path.rglob("part-*.npz"))
    np.savez(theirs, mine=np.arange(3))
    with pytest.raises(ValueError, match=r"part-\d+-\d+\.npz is no part of a run"):
        stopped()
    assert theirs.exists()


def test_parts_of_other_parameters_or_data_are_not_taken(params, tmp_path):
    _, batches = made_batches()
    with pytest.raises(KilledError):
        scoring.run(
            ["energy"], SPLIT, params, batches, workdir=tmp_path,
            progress=killed_after(2),
        )  # fmt: skip
    others = jax.tree.map(lambda leaf: 2 * leaf, params)
    chex.assert_trees_all_equal(
        scoring.run(["energy"], SPLIT, others, batches, workdir=tmp_path),
        scoring.run(["energy"], SPLIT, others, batches),
    )


def test_parts_of_other_options_and_constants_are_not_taken(params, tmp_path):
    _, batches = made_batches()

    def run(offset, factor, **more):
        constant = jnp.full(7, offset)
        own = Ingredient(
            "own",
            compute=lambda logits: factor * logits + constant.sum(),
            needs=(LOGITS,),
        )
        return scoring.run([own], SPLIT, params, batches, **more)

    for others in ((2.0, 1.0), (1.0, 3.0)):
        with pytest.raises(KilledError):
            run(1.0, 1.0, workdir=tmp_path, progress=killed_after(2))
        chex.assert_trees_all_equal(run(*others, workdir=tmp_path), run(*others))


def test_a_key_may_be_given(params):
    _, batches = made_batches()
    noise = Ingredient(
        "noise",
        compute=lambda logits, key: logits + jax.random.normal(key, logits.shape),
        needs=(LOGITS, KEY),
    )
    asked = lambda key: scoring.run(
        [noise], SPLIT, params, batches, given={"key": key}
    ).values["noise"]
    assert np.isfinite(asked(jax.random.key(0))).all()
    assert scoring.fingerprint(jax.random.key(0)) != (
        scoring.fingerprint(jax.random.key(1))
    )


def test_dropout_does_not_depend_on_the_batches(params):
    noisy = lambda params, x, key: x + jax.random.normal(key, x.shape)
    by_threes, by_fours = (
        scoring.run(
            ["mc_dropout"],
            SPLIT,
            params,
            made_batches(batch_size=size)[1],
            stochastic_apply_fn=noisy,
            given={"key": jax.random.key(0)},
        ).values["mc_dropout"]
        for size in (3, 4)
    )
    np.testing.assert_allclose(by_threes, by_fours, rtol=1e-5)


def test_one_example_is_enough(params):
    _, batches = made_batches(records=1)
    assert scoring.run(["margin"], SPLIT, params, batches).labels.shape == (1,)


def test_no_batches_are_an_error(params):
    with pytest.raises(ValueError, match="there are no batches to score"):
        scoring.run(["margin"], SPLIT, params, [])


def test_an_unknown_name_says_what_exists(params):
    with pytest.raises(ValueError, match=r"must be one of max_softmax.*got 'maxsoft'"):
        scoring.run(["maxsoft"], SPLIT, params, [])


@pytest.mark.parametrize("names", [["features"], ["features", "gradient_statistics"]])
def test_a_network_in_one_piece_is_cut_before_its_last_layer(params, names):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, INPUTS)))
    whole, parts = (
        jax.jit(lambda x, m=m: scoring.score_batch([*names, "logits"], m, params, x))(x)
        for m in (SPLIT.apply_fn, SPLIT)
    )
    chex.assert_trees_all_close(whole, parts, rtol=1e-6)


def test_features_of_a_network_that_has_none_are_an_error(params):
    linear = lambda params, x: x @ params
    with pytest.raises(ValueError, match=r"takes x\. There is no cut at all"):
        scoring.score_batch(["features"], linear, jnp.eye(2), jnp.eye(2))


def test_a_score_of_ones_own(params):
    def own_feature_norm(features):
        return jnp.linalg.norm(features, axis=-1)

    own = scores.Score(
        own_feature_norm,
        needs=(FEATURES,),
        title="Feature norm",
        paper="none",
        equation="|h|_2",
    )
    scores.register(own)
    try:
        out = scoring.score_batch([own.name], SPLIT, params, jnp.ones((2, INPUTS)))
    finally:
        scores.unregister(own.name)
    features = features_fn(params, jnp.ones((2, INPUTS)))
    np.testing.assert_allclose(out[own.name], jnp.linalg.norm(features, axis=1))


def in_training_mode(params, x):
    """BatchNorm by the statistics of the batch, before a dense layer."""
    normal = (x - x.mean(0, keepdims=True)) / (x.std(0, keepdims=True) + 1e-5)
    return normal @ params["dense"]["kernel"]


DENSE = {"dense": {"kernel": jax.random.normal(jax.random.key(1), (INPUTS, CLASSES))}}


def with_dropout(params, x):
    kept = jax.random.bernoulli(jax.random.key(0), 0.5, x.shape)
    return jnp.where(kept, x, 0) @ params["dense"]["kernel"]


@pytest.mark.parametrize("model", [in_training_mode, with_dropout])
@pytest.mark.parametrize("names", [["max_softmax"], ["gradient_l2_norm"]])
def test_a_network_in_training_mode_is_refused(model, names):
    with pytest.raises(ValueError, match=r"depends on its neighbours.*training mode"):
        scoring.run(names, model, DENSE, made_batches()[1])


@pytest.mark.parametrize("rows", ["one", "all alike"])
def test_training_mode_shows_in_batches_of_one_and_of_copies(rows):
    batch = made_batches()[1][0]
    if rows == "one":
        batch = {name: array[:1] for name, array in batch.items()}
    else:
        batch["image"] = np.repeat(batch["image"][:1], 8, axis=0)
    with pytest.raises(ValueError, match="training mode"):
        scoring.run(["max_softmax"], in_training_mode, DENSE, [batch])
    scoring.run(["max_softmax"], lambda p, x: x @ p["dense"]["kernel"], DENSE, [batch])


def test_gradient_scores_beside_a_score_of_logits_do_not_change_it(params):
    batches = made_batches()[1]
    alone = scoring.run(["max_softmax"], SPLIT, params, batches)
    beside = scoring.run(["max_softmax", "gradient_l2_norm"], SPLIT, params, batches)
    np.testing.assert_allclose(
        beside.values["max_softmax"], alone.values["max_softmax"], rtol=1e-5
    )


def test_a_network_that_ends_in_a_softmax_is_refused(params):
    softmax = lambda params, x: jax.nn.softmax(SPLIT.apply_fn(params, x))
    with pytest.raises(ValueError, match=r"returns probabilities.*before the softmax"):
        scoring.run(["max_softmax"], softmax, params, made_batches()[1])


def test_one_output_is_refused_with_the_remedy():
    one = lambda params, x: x @ params
    x = jnp.array([[2.0], [-1.0]])
    for names in (["max_softmax", "grad_trust"], ["gradient_l2_norm"]):
        with pytest.raises(ValueError, match=r"two classes.*give \[0, z\]"):
            scoring.score_batch(names, one, jnp.ones((1, 1)), x)
    both = lambda params, x: jnp.pad(one(params, x), ((0, 0), (1, 0)))
    asked = ["max_softmax", "predictions"]
    out = scoring.score_batch(asked, both, jnp.ones((1, 1)), x)
    np.testing.assert_allclose(out["max_softmax"], [0.880797, 0.731059], rtol=1e-5)
    np.testing.assert_array_equal(out["predictions"], [1, 0])


@dataclasses.dataclass
class Output:
    logits: jax.Array


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (
            lambda z: Output(logits=z),
            r"\[batch, classes\], got Output of.*head\(apply_fn, 'logits'\)",
        ),
        (
            lambda z: (z, {"aux": z}),
            r"got tuple of 0 .*, 1/aux .*head\(apply_fn, '0'\)",
        ),
        (lambda z: {"logits": z}, r"got dict of logits .*head\(apply_fn, 'logits'\)"),
    ],
)
@pytest.mark.parametrize("names", [["max_softmax"], ["gradient_l2_norm"], ["purview"]])
def test_an_output_that_is_no_array_is_named(params, wrap, message, names):
    wrapped = lambda params, x: wrap(SPLIT.apply_fn(params, x))
    with pytest.raises(TypeError, match=message):
        scoring.score_batch(names, wrapped, params, jnp.ones((2, INPUTS)))


@pytest.mark.exhaustive
def test_parameters_without_a_gradient_are_left_out_of_gradient_scores(params):
    more = {**params, "steps": jnp.int32(3), "key": jax.random.key(0)}
    model = lambda p, x: SPLIT.apply_fn(p, x) + 0 * p["steps"]
    names = [
        "max_softmax",
        "gradient_l2_norm",
        "purview",
        "counterfactual_grad_trust",
        "odin",
        "gradient_statistics",
    ]
    x = jnp.asarray(made_batches()[0])
    got, expected = (
        jax.jit(lambda p, x, m=m: scoring.score_batch(names, m, p, x))(p, x)
        for m, p in ((model, more), (SPLIT.apply_fn, params))
    )
    chex.assert_trees_all_close(got, expected, rtol=1e-4)


def test_all_variables_of_a_linen_network_are_refused_for_gradients(params):
    whole = {"params": params, "batch_stats": {"mean": jnp.zeros(INPUTS)}}
    model = lambda v, x: SPLIT.apply_fn(v["params"], x - v["batch_stats"]["mean"][None])
    x = jnp.ones((2, INPUTS))
    scoring.score_batch(["max_softmax"], model, whole, x)
    with pytest.raises(ValueError, match=r"collections params, batch_stats.*from_lin"):
        scoring.score_batch(["gradient_l2_norm"], model, whole, x)


def test_arrays_at_hand_are_batches_whose_results_are_those_of_the_whole(params):
    x = {"a": np.arange(14.0).reshape(7, 2).astype(np.float32), "b": np.ones((7, 1))}
    network = lambda params, x: x["a"] * x["b"] + jnp.array([[0.0, 1.0]])
    batches = scoring.batches(x, np.arange(7), batch_size=3)
    assert [batch["mask"].sum() for batch in batches] == [3, 3, 1]
    assert {len(batch["image"]["a"]) for batch in batches} == {3}
    found = scoring.run(["logits"], network, params, batches)
    np.testing.assert_array_equal(found.values["logits"], network(params, x))
    assert found.labels.tolist() == found.index.tolist() == list(range(7))


@pytest.mark.parametrize(
    ("x", "labels", "got"), [(np.ones((3, 2)), np.ones(4, int), "3, 4"), ([], [], "0")]
)
def test_arrays_of_unlike_length_or_none_are_refused(x, labels, got):
    with pytest.raises(ValueError, match=f"one or more; got {got}"):
        scoring.batches(x, labels)
