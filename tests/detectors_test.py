"""Detectors against loops, scikit-learn and each other; on meshes; on bad input."""

import dataclasses
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from sklearn import linear_model, metrics

from tests import problems
from tests.programs import jitted
from trustjax import detectors, gradients, ingredients, passes, scores, scoring

EXAMPLES = 400
LINEAR = ("threshold", "glm", "lasso", "ridge", "elastic_net")


def populations(seed=0, examples=EXAMPLES):
    """Two populations: three columns that tell them apart by themselves, two not.

    `product` and `other` tell them apart together: their signs agree where trusted.
    """
    rng = np.random.default_rng(seed)
    trusted = rng.random(examples) < 0.7
    sign = np.where(trusted, 1.0, -1.0) * rng.choice([-1, 1], examples)
    product = rng.choice([-1.0, 1.0], examples)
    columns = {
        "margin": trusted + rng.normal(size=examples),
        "layer/conv1/l2_norm": np.exp(3 * rng.normal(size=examples) - 2 * trusted),
        "tensor/conv1/kernel/maximum": 1e-6 * (rng.normal(size=examples) - trusted),
        "product": product * np.abs(rng.normal(size=examples)) * 5,
        "other": product * np.where(trusted, 1, -1) + 0.1 * sign,
    }
    return columns, trusted


def options(kind) -> dict[str, Any]:
    return {"epochs": 30} if kind in ("network", "purview") else {}


def columns_for(kind, seed=0):
    columns, trusted = populations(seed)
    if kind == "purview":
        columns = {f"confounding/{name}/squared_norm": v for name, v in columns.items()}
    return columns, trusted


@pytest.fixture(scope="module", params=detectors.KINDS)
def fitted(request):
    columns, trusted = columns_for(request.param)
    return detectors.fit(request.param, columns, trusted, **options(request.param))


def loop(detector, columns):
    """The score of each example by its definition, in float64."""
    found = []
    for i in range(len(columns[detector.names[0]])):
        v = np.array([columns[name][i] for name in detector.names], np.float64)
        if detector.transform == "signed_log":
            v = np.sign(v) * np.log(1 + np.abs(v) / detector.unit)
        u = (v - detector.centre) / detector.scale
        for number, (kernel, bias) in enumerate(detector.layers):
            u = np.asarray(kernel, np.float64).T @ u + bias
            if number < len(detector.layers) - 1:
                u = np.maximum(u, 0)
        found.append(u[0])
    return np.array(found)


def test_the_score_is_that_of_a_loop(fitted):
    columns, trusted = columns_for(fitted.kind, seed=1)
    s = np.asarray(detectors.score(fitted, columns))
    np.testing.assert_allclose(s, loop(fitted, columns), rtol=1e-4, atol=1e-5)
    assert metrics.roc_auc_score(trusted, s) > 0.65
    np.testing.assert_array_equal(
        detectors.is_trusted(fitted, columns), s >= np.float32(fitted.threshold)
    )


def test_the_battery(fitted):
    """Under jit and vmap, of any rows, differentiated; extra columns do not matter."""
    columns, _ = columns_for(fitted.kind, seed=1)
    s = detectors.score(fitted, columns)
    columns = {name: jnp.asarray(column) for name, column in columns.items()}
    np.testing.assert_allclose(
        jax.jit(detectors.score)(fitted, columns), s, rtol=1e-5, atol=1e-6
    )
    rows = {name: column[3:4] for name, column in columns.items()}
    np.testing.assert_allclose(
        detectors.score(fitted, {**rows, "more": jnp.zeros(7)}),
        s[3:4],
        rtol=1e-5,
        atol=1e-6,
    )
    halves = {name: column.reshape(2, -1) for name, column in columns.items()}
    by_half = jax.jit(jax.vmap(detectors.score, in_axes=(None, 0)))(fitted, halves)
    np.testing.assert_allclose(by_half.reshape(-1), s, rtol=1e-5, atol=1e-6)
    total = lambda columns: detectors.score(fitted, columns).sum()
    slopes = jax.jit(jax.grad(total))(columns)
    for name in fitted.names:
        assert np.isfinite(slopes[name]).all()
        assert np.any(slopes[name] != 0)
    low = {name: column.astype(jnp.bfloat16) for name, column in columns.items()}
    assert detectors.score(fitted, low).dtype == jnp.float32


@pytest.mark.parametrize("axes", ["Auto", "Explicit"])
def test_sharded_is_unsharded(fitted, axes):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType[axes],))
    columns, _ = columns_for(fitted.kind, seed=1)
    columns = {n: jnp.asarray(c, jnp.float32) for n, c in columns.items()}
    placed = jax.device_put(columns, NamedSharding(mesh, P("data")))
    detector = jax.device_put(fitted, NamedSharding(mesh, P()))
    s = jax.jit(detectors.score)(detector, placed)
    assert s.sharding.is_equivalent_to(NamedSharding(mesh, P("data")), 1)
    np.testing.assert_allclose(
        s, detectors.score(fitted, columns), rtol=1e-5, atol=1e-6
    )


def test_a_file_gives_the_same_detector(fitted, tmp_path):
    path = tmp_path / "folder" / "detector.npz"
    detectors.save(fitted, path)
    loaded = detectors.load(path)
    assert (loaded.kind, loaded.names) == (fitted.kind, fitted.names)
    assert loaded.transform == fitted.transform
    for kept, given in zip(
        jax.tree.leaves(loaded), jax.tree.leaves(fitted), strict=True
    ):
        np.testing.assert_array_equal(kept, given)


def test_a_regression_without_penalty_is_that_of_scikit_learn():
    columns, trusted = populations()
    detector = detectors.fit("glm", columns, trusted)
    values = np.stack(list(columns.values()), axis=-1)
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    regression = linear_model.LogisticRegression(C=np.inf, tol=1e-8).fit(
        values, trusted
    )
    np.testing.assert_allclose(
        detectors.score(detector, columns),
        regression.decision_function(values),
        rtol=2e-3,
        atol=2e-3,
    )
    # At its maximum the mean probability is the share of the trusted.
    s = np.asarray(detectors.score(detector, columns), np.float64)
    assert np.mean(1 / (1 + np.exp(-s))) == pytest.approx(trusted.mean(), abs=1e-3)


@pytest.mark.parametrize("kind", ["lasso", "elastic_net", "ridge"])
def test_the_strength_is_the_one_that_ranks_the_validation_part_best(kind):
    columns, trusted = populations()
    validation = populations(seed=5)
    strengths = (0.1, 0.01, 0.001)
    chosen = detectors.fit(
        kind, columns, trusted, validation=validation, strengths=strengths
    )

    def auroc(detector):
        s = np.asarray(detectors.score(detector, validation[0]))
        return metrics.roc_auc_score(validation[1], s)

    each = [
        detectors.fit(
            kind, columns, trusted, validation=validation, strengths=(strength,)
        )
        for strength in strengths
    ]
    assert auroc(chosen) == pytest.approx(max(map(auroc, each)), abs=1e-6)
    sizes = [
        sum(abs(c) for c in detectors.coefficients(detector).values())
        for detector in each
    ]
    assert sizes == sorted(sizes)  # a stronger penalty leaves less


def test_a_strong_lasso_keeps_few_columns():
    columns, trusted = populations()
    few = detectors.fit("lasso", columns, trusted, strengths=(0.1,))
    many = detectors.fit("lasso", columns, trusted, strengths=(1e-4,))
    assert set(few.names) < set(many.names)
    assert set(detectors.coefficients(few)) == set(few.names)
    assert detectors.coefficients(few)["margin"] > 0


def test_a_threshold_takes_the_best_column_in_its_direction():
    columns, trusted = populations()
    validation = populations(seed=2)
    detector = detectors.fit("threshold", columns, trusted, validation=validation)
    (name,) = detector.names

    def balanced(name):
        """By its definition, over every threshold in both directions."""
        sign = 1 if metrics.roc_auc_score(trusted, columns[name]) >= 0.5 else -1
        v, right = sign * validation[0][name], validation[1]
        return max(((v[right] >= t).mean() + (v[~right] < t).mean()) / 2 for t in v)

    assert balanced(name) == pytest.approx(max(map(balanced, columns)))
    sign = np.sign(detectors.coefficients(detector)[name])
    assert (metrics.roc_auc_score(trusted, columns[name]) > 0.5) == (sign > 0)
    s, t = np.asarray(detectors.score(detector, columns)), float(detector.threshold)
    best = max(((s[trusted] >= at).mean() + (s[~trusted] < at).mean()) / 2 for at in s)
    reached = ((s[trusted] >= t).mean() + (s[~trusted] < t).mean()) / 2
    assert reached == pytest.approx(best)


def test_a_network_sees_what_no_regression_can():
    columns, trusted = populations(examples=1000)
    pair = {name: columns[name] for name in ("product", "other")}
    fresh, right = populations(seed=3, examples=1000)

    def auroc(kind, **options):
        detector = detectors.fit(kind, pair, trusted, **options)
        return metrics.roc_auc_score(right, detectors.score(detector, fresh))

    assert auroc("glm") < 0.65
    assert auroc("network", epochs=60) > 0.95


def test_a_network_keeps_its_best_epoch_and_the_seed_decides():
    columns, trusted = populations()
    validation = populations(seed=4)

    def loss(detector):
        s = np.asarray(detectors.score(detector, validation[0]), np.float64)
        return np.mean(np.log1p(np.exp(np.where(validation[1], -s, s))))

    fit = lambda **options: detectors.fit(
        "network", columns, trusted, validation=validation, **options
    )
    losses = [loss(fit(epochs=epochs)) for epochs in (1, 3, 10, 30)]
    assert losses == sorted(losses, reverse=True)
    same, other = fit(epochs=3), fit(epochs=3, seed=1)
    assert loss(same) == losses[1]
    assert loss(other) != losses[1]


def test_what_is_chosen_is_not_chosen_on_what_it_is_fitted_on():
    """Labels of the validation part alone decide between two columns."""
    rng = np.random.default_rng(0)
    trusted = rng.random(200) < 0.5
    columns = {"a": trusted + rng.normal(size=200), "b": trusted + rng.normal(size=200)}
    for better, worse in (("a", "b"), ("b", "a")):
        validation = ({better: trusted + 0.0, worse: rng.normal(size=200)}, trusted)
        detector = detectors.fit("threshold", columns, trusted, validation=validation)
        assert detector.names == (better,)


def network():
    apply_fn, params, x = problems.get("cnn")
    return apply_fn, params, x


NAMES = ("max_softmax", "grad_norm")


@pytest.mark.exhaustive
def test_columns_of_a_network_are_its_scores_and_statistics():
    apply_fn, params, x = network()
    names = detectors.names_for(
        params, scores=NAMES, kinds=("tensor", "layer", "network", "confounding")
    )
    labels = np.zeros(len(x), int)
    found = scoring.run(
        [detectors.features(names), *NAMES],
        apply_fn,
        params,
        scoring.batches(np.asarray(x), labels),
    ).values
    columns = found["columns"]
    assert set(columns) == set(names)
    for name in NAMES:
        np.testing.assert_array_equal(columns[name], found[name])
    _, by_group = jitted(
        gradients.outputs_and_grouped_statistics,
        apply_fn,
        params,
        x,
        groups=gradients.GROUPINGS,
    )
    for group, expected in by_group.items():
        assert gradients.groups(params, group) == expected.groups
        assert not any(n.startswith(group) and n.endswith("/mean") for n in names)
        for name, column in detectors.columns_of(expected, group).items():
            if name in names:
                np.testing.assert_allclose(
                    columns[name], column, rtol=1e-4, atol=1e-6, err_msg=name
                )
    norms = jitted(passes.confounding_gradients, apply_fn, params, x, group="tensor")
    for name, column in detectors.columns_of(norms, "confounding").items():
        np.testing.assert_allclose(columns[name], column, rtol=1e-4, err_msg=name)


def test_a_detector_is_a_score_like_any_other():
    apply_fn, params, x = network()
    names = detectors.names_for(params, scores=NAMES)
    rng = np.random.default_rng(0)
    detector = detectors.fit(
        "ridge",
        {name: rng.normal(size=50) for name in names},
        np.arange(50) % 2 == 0,
    )
    found = scoring.run(
        ["detector", detectors.features(detector.names), "logits"],
        apply_fn,
        params,
        scoring.batches(np.asarray(x), np.zeros(len(x), int)),
        ingredients=detector.ingredients(),
    ).values
    np.testing.assert_allclose(
        found["detector"],
        detectors.score(detector, found["columns"]),
        rtol=1e-4,
        atol=1e-5,
    )
    with pytest.raises(ValueError, match="detector needs 'detector_output'"):
        scoring.plan(["detector"])
    assert ingredients.missing(scores.lookup("detector"), {"network"})


def test_a_detector_of_another_network_is_refused():
    apply_fn, params, x = network()
    columns, trusted = populations()
    named = {"layer/conv9/l2_norm": columns["margin"], "max_softmax": columns["other"]}
    detector = detectors.fit("glm", named, trusted)
    with pytest.raises(ValueError, match=r"takes the columns layer/conv9/l2_norm, wh"):
        scoring.run(
            ["detector"],
            apply_fn,
            params,
            scoring.batches(np.asarray(x), np.zeros(len(x), int)),
            ingredients=detector.ingredients(),
        )


BAD = {
    "no such kind": (dict(kind="svm"), "kind must be one of"),
    "no columns": (dict(columns={}), "no columns"),
    "one population": (
        dict(targets=np.ones(EXAMPLES, bool)),
        r"two examples not to be trusted or more, got 0 of 400",
    ),
    "one of a population": (
        dict(targets=np.arange(EXAMPLES) == 0),
        r"two examples to be trusted or more, got 1 of 400",
    ),
    "targets": (dict(targets=np.full(EXAMPLES, 2)), "boolean, or 0 and 1.*got 2"),
    "lengths": (dict(targets=np.arange(3) > 1), r"margin.*\(3,\), got \(400,\)"),
    "option": (dict(strengths=(1,)), "'glm' takes no options, got strengths"),
    "option of a network": (
        dict(kind="network", width=3),
        "takes hidden, l2, .*got width",
    ),
    "strength": (dict(kind="lasso", strengths=(0.0,)), "strengths must be positive"),
    "too strong": (dict(kind="lasso", strengths=(1e3,)), "gives no column a weight"),
    "l1_ratio": (dict(kind="elastic_net", l1_ratio=2.0), "l1_ratio"),
    "transform": (dict(transform="log"), "transform must be one of"),
    "purview of scores": (dict(kind="purview"), "alone, got the column margin"),
    "validation": (
        dict(validation=({"margin": np.ones(4)}, np.arange(4) > 1)),
        "takes the columns layer/conv1/l2_norm.*which are not among margin",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    changes, message = BAD[name]
    columns, trusted = populations()
    given = {"kind": "glm", "columns": columns, "targets": trusted} | changes
    with pytest.raises(ValueError, match=message):
        detectors.fit(**given)


@pytest.mark.parametrize(
    ("column", "message", "note"),
    [
        (np.full(EXAMPLES, 3.0), "constant: bad, also", "is constant"),
        (
            np.r_[np.nan, np.ones(EXAMPLES - 1)],
            "infinities: bad, also",
            "is NaN or inf",
        ),
        (
            np.r_[np.inf, np.ones(EXAMPLES - 1)],
            "infinities: bad, also",
            "is NaN or inf",
        ),
    ],
)
def test_columns_that_are_no_features_are_named(column, message, note):
    columns, trusted = populations()
    bad = {**columns, "bad": column, "also": column}
    with pytest.raises(ValueError, match=message):
        detectors.fit("glm", bad, trusted)
    usable = detectors.usable({**columns, "bad": column})
    assert usable.columns.keys() == columns.keys()
    assert note in usable.notes[0]
    detectors.fit("glm", usable.columns, trusted)


def test_columns_at_scoring():
    columns, trusted = populations()
    detector = detectors.fit("glm", columns, trusted)
    with pytest.raises(ValueError, match="takes the columns margin, which are not"):
        detectors.score(detector, {n: v for n, v in columns.items() if n != "margin"})
    with pytest.raises(ValueError, match="margin"):
        detectors.score(detector, {**columns, "margin": columns["margin"][:3]})
    odd = {**columns, "margin": np.r_[np.nan, columns["margin"][1:]]}
    s = np.asarray(detectors.score(detector, odd))
    assert np.isnan(s[0])
    assert np.isfinite(s[1:]).all()


def test_coefficients_are_of_linear_detectors(fitted):
    if fitted.kind not in LINEAR:
        with pytest.raises(ValueError, match="has no coefficients"):
            detectors.coefficients(fitted)
        return
    found = detectors.coefficients(fitted)
    columns, _ = columns_for(fitted.kind)
    moved = {n: v + found[n] * 0 for n, v in columns.items() if n in found}
    base = np.asarray(detectors.score(fitted, moved), np.float64)
    for number, name in enumerate(fitted.names):
        raised = {**moved, name: moved[name] + fitted.scale[number]}
        change = np.asarray(detectors.score(fitted, raised), np.float64) - base
        np.testing.assert_allclose(change, found[name], rtol=1e-2, atol=1e-3)


def test_files_that_are_no_detectors(tmp_path):
    columns, trusted = populations()
    detector = detectors.fit("glm", columns, trusted)
    path = tmp_path / "detector.npz"
    with pytest.raises(ValueError, match=r"written as \.npz"):
        detectors.save(detector, tmp_path / "detector.pkl")
    with pytest.raises(FileNotFoundError):
        detectors.load(path)
    np.savez(path, labels=np.zeros(3))
    with pytest.raises(ValueError, match="holds no detector"):
        detectors.load(path)
    detectors.save(detector, path)
    good = dict(np.load(path))

    def refused(message, **changes):
        np.savez(path, **{n: v for n, v in (good | changes).items() if v is not None})
        with pytest.raises(ValueError, match=message):
            detectors.load(path)

    refused("another version of detector", format=np.array("trustjax detector 9"))
    refused("without scale", scale=None)
    refused("without bias_0", bias_0=None)
    refused("kind must be one of", kind=np.array("svm"))
    refused(r"centre must be \(5,\), got \(3,\)", centre=np.zeros(3))
    refused("kernel_0 must hold finite", kernel_0=np.full((5, 1), np.nan))
    refused("Python objects", names=np.array(["a", None], object))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="damaged"):
        detectors.load(path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    columns, trusted = populations()
    detector = detectors.fit("glm", columns, trusted)
    path = pathlib.Path(tmp_path, "detector.npz")
    detectors.save(detector, path)
    before = path.read_bytes()

    def fails(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", fails)
    other = dataclasses.replace(detector, kind="ridge")
    with pytest.raises(OSError, match="no space left"):
        detectors.save(other, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["detector.npz"]


def test_names_of_columns():
    assert detectors.statistic_of("layer///l2_norm") == ("layer", "/", "l2_norm")
    assert detectors.statistic_of("tensor/a/b/c/mean") == ("tensor", "a/b/c", "mean")
    for name in ("layers/conv1/mean", "layer/mean", "layer//mean"):
        with pytest.raises(ValueError, match="a column is a score, or kind/place"):
            detectors.statistic_of(name)
    with pytest.raises(ValueError, match="score must be one of"):
        detectors.features(("no_such_score",))
    with pytest.raises(ValueError, match="group must be one of"):
        detectors.names_for({"a": jnp.ones(3)}, kinds=["channel"])


def test_predictions_in_an_open_set():
    answers, s = np.array([0, 4, 2, 1]), np.array([3.0, 2.0, np.nan, 2.94])
    found = detectors.open_set_predict(answers, s, 2.94, num_classes=5)
    np.testing.assert_array_equal(found, [0, 5, 5, 1])
    with pytest.raises(ValueError, match="predictions"):
        detectors.open_set_predict(answers, s, 0.0, num_classes=3)


@pytest.mark.usefixtures("without_type_checks")
def test_as_many_scores_as_predictions():
    with pytest.raises(ValueError, match="the same length"):
        detectors.open_set_predict(np.arange(4), np.ones(2), 0.0, num_classes=5)


@pytest.mark.parametrize("kind", ["glm", "lasso", "ridge", "elastic_net"])
def test_a_missing_scikit_learn_is_named_with_its_command(kind, monkeypatch):
    columns, trusted = populations()
    for name in [n for n in sys.modules if n.partition(".")[0] == "sklearn"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'trustjax\[detect\]'"):
        detectors.fit(kind, columns, trusted)
