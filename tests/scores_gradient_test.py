"""Gradient scores against loops of autodiff, the authors' numbers, and their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests import golden_numbers, problems, reference
from tests.programs import jitted
from tests.scores_samples_test import net_a
from trustjax import gradients, losses, passes, scores, targets
from trustjax.statistics import GradientStatistics

INF, NAN = np.inf, np.nan
counterfactual_ratio = scores.lookup("counterfactual_grad_trust").fn
mean_confounding_gradient = scores.lookup("purview").fn


def mlp(params, x):
    hidden = jax.nn.tanh(
        x @ params["hidden"]["kernel"] + params["hidden"]["bias"][None]
    )
    return hidden @ params["dense"]["kernel"] + params["dense"]["bias"][None]


@pytest.fixture(scope="module")
def network():
    keys = jax.random.split(jax.random.key(0), 5)
    normal = jax.random.normal
    params = {
        "hidden": {"kernel": normal(keys[0], (3, 6)), "bias": normal(keys[1], (6,))},
        "dense": {"kernel": 2 * normal(keys[2], (6, 4)), "bias": normal(keys[3], (4,))},
    }
    return params, normal(keys[4], (8, 3))


def squared_error(logits, labels):
    return losses.squared_error(logits, jax.nn.one_hot(labels, 4))


def by_loop(params, x, loss_fn, top_k, layer):
    """Variance of the gradients towards each class, one example and class at a time."""
    gradient = jax.jit(
        jax.grad(lambda p, row, k: loss_fn(mlp(p, row[None]), k[None])[0])
    )
    values = []
    for row in x:
        variance = []
        for k in range(4):
            named = jax.tree_util.tree_leaves_with_path(
                gradient(params, row, jnp.asarray(k))
            )
            chosen = [np.ravel(g) for p, g in named if layer in jax.tree_util.keystr(p)]
            variance.append(np.var(np.concatenate(chosen).astype(np.float64)))
        z = np.asarray(mlp(params, row[None])[0])
        first, *rivals = np.argsort(-z, kind="stable")
        values.append(np.mean([variance[k] for k in rivals[:top_k]]) / variance[first])
    return values


@pytest.mark.parametrize("layer", ["", "hidden"])
@pytest.mark.parametrize("top_k", [None, 2])
@pytest.mark.parametrize("loss_fn", [losses.cross_entropy, squared_error])
def test_counterfactual_grad_trust_is_a_loop_over_examples_and_classes(
    network, loss_fn, top_k, layer
):
    params, x = network
    value = jitted(
        scores.counterfactual_grad_trust,
        mlp,
        params,
        x,
        loss_fn=loss_fn,
        top_k=top_k,
        wrt=lambda path: layer in path,
    )
    expected = by_loop(params, x, loss_fn, top_k, layer)
    np.testing.assert_allclose(value, expected, rtol=1e-3)


@pytest.mark.parametrize("top_k", [None, 1])
def test_of_the_last_layer_it_is_the_closed_form(network, top_k):
    params, x = network
    value = jitted(
        scores.counterfactual_grad_trust,
        mlp,
        params,
        x,
        top_k=top_k,
        wrt=lambda path: path == "dense/kernel",
    )
    closed_form = lambda params, x: scores.grad_trust(mlp(params, x), top_k=top_k)
    np.testing.assert_allclose(value, jax.jit(closed_form)(params, x), rtol=1e-4)


def test_of_the_last_layer_it_is_the_closed_form_where_the_softmax_saturates(network):
    """1 - p is 1e-9 and less: p itself is 1 in float32."""
    params, x = network
    sure = jax.tree.map(lambda a: 8 * a, params["dense"])
    params = params | {"dense": sure}
    exact = scores.grad_trust(mlp(params, x))
    assert exact.max() > 1e20
    value = jitted(
        scores.counterfactual_grad_trust,
        mlp,
        params,
        x,
        wrt=lambda path: path == "dense/kernel",
    )
    np.testing.assert_allclose(value, exact, rtol=1e-3)


def test_the_other_direction_is_the_reciprocal(network):
    there = jitted(scores.counterfactual_grad_trust, mlp, *network)
    back = jitted(
        scores.counterfactual_grad_trust,
        mlp,
        *network,
        ratio="predicted_over_counterfactual",
    )
    np.testing.assert_allclose(there * back, np.ones(8), rtol=1e-5)


@pytest.mark.parametrize("group", ["layer", "tensor"])
def test_by_group_it_is_the_mean_variance_of_the_groups(network, group):
    params, x = network
    labels = jnp.argsort(-mlp(params, x), axis=-1)
    deviations = jitted(
        gradients.class_gradients, mlp, params, x, labels, group=group
    ).select
    variance = np.mean(
        [
            deviations(name, "standard_deviation") ** 2
            for name in (
                ("dense", "hidden")
                if group == "layer"
                else ("dense/bias", "dense/kernel", "hidden/bias", "hidden/kernel")
            )
        ],
        axis=0,
    )
    np.testing.assert_allclose(
        jitted(scores.counterfactual_grad_trust, mlp, params, x, group=group),
        variance[:, 1:].mean(1) / variance[:, 0],
        rtol=1e-4,
    )


def test_scores_of_the_gradients_towards_every_class(network):
    params, x = network
    logits = mlp(params, x)
    towards = jitted(
        gradients.class_gradients, mlp, params, x, targets.every_class(logits)
    )
    np.testing.assert_allclose(
        counterfactual_ratio(logits, towards),
        jitted(scores.counterfactual_grad_trust, mlp, params, x),
        rtol=1e-4,
    )
    np.testing.assert_allclose(
        scores.fisher_trace(logits, towards),
        -jitted(gradients.fisher_trace, mlp, params, x),
        rtol=1e-4,
    )


def test_many_classes_go_in_turn(network):
    params, x = network
    labels = jnp.broadcast_to(jnp.arange(20)[None] % 4, (8, 20))
    in_turn = jitted(gradients.class_gradients, mlp, params, x, labels).values
    assert in_turn.shape == (8, 20, 1, 2)
    np.testing.assert_allclose(
        in_turn[:, :4],
        jitted(gradients.class_gradients, mlp, params, x, labels[:, :4]).values,
        rtol=1e-4,
    )
    np.testing.assert_allclose(in_turn[:, 4:8], in_turn[:, :4], rtol=1e-5)


@pytest.mark.parametrize(
    ("params", "x", "expected"),
    [
        ([[1.0]], [2.0], INF),  # one class
        ([[1.0]], [NAN], NAN),
        ([[1.0, 2.0]], [0.0], 1.0),  # zero features: no gradient at all
        ([[900.0, 0.0]], [1.0], INF),
        ([[1.0, 2.0]], [NAN], NAN),
        ([[0.0, 0.0, 0.0]], [1.0], 1.0),
    ],
)
def test_edge_case_of_counterfactual_grad_trust(params, x, expected):
    args = (lambda p, x: x @ p, jnp.array(params), jnp.array([x]))
    value = jitted(scores.counterfactual_grad_trust, *args)
    np.testing.assert_allclose(value, [expected], rtol=1e-6)
    logits = args[0](*args[1:])
    towards = jitted(gradients.class_gradients, *args, targets.every_class(logits))
    np.testing.assert_allclose(
        counterfactual_ratio(logits, towards), [expected], rtol=1e-6
    )


def test_a_tensor_of_one_parameter_has_no_variance():
    scaled = lambda p, x: p["scale"] * x @ p["kernel"]
    params = {"scale": jnp.ones(()), "kernel": jnp.eye(2)}
    value = jitted(
        scores.counterfactual_grad_trust,
        scaled,
        params,
        jnp.ones((1, 2)),
        group="tensor",
    )
    assert np.isnan(value).all()


@pytest.mark.parametrize(
    ("params", "x", "expected"),
    [
        ([[1.0]], [2.0], 0.0),
        ([[900.0, 0.0]], [1.0], 0.0),
        ([[0.0, 0.0]], [4.0], -8.0),  # 2 halves, each of ((1/2)^2 + (1/2)^2) * 16
        ([[1.0, 2.0]], [NAN], NAN),
    ],
)
def test_edge_case_of_the_fisher_trace(params, x, expected):
    args = (lambda p, x: x @ p, jnp.array(params), jnp.array([x]))
    logits = args[0](*args[1:])
    towards = jitted(gradients.class_gradients, *args, targets.every_class(logits))
    np.testing.assert_allclose(
        scores.fisher_trace(logits, towards), [expected], rtol=1e-6
    )


SIGNED = {
    "l1_norm": lambda g: -np.abs(g).sum(),
    "l2_norm": lambda g: -np.sqrt((g**2).sum()),
    "minimum": np.min,
    "maximum": lambda g: -g.max(),
}


@pytest.mark.parametrize("group", ["tensor", "network"])
@pytest.mark.parametrize("statistic", SIGNED)
def test_gradient_statistic_is_that_of_the_whole_gradient(network, statistic, group):
    tree = jitted(gradients.per_example_gradients, mlp, *network)
    whole = np.concatenate(
        [np.reshape(g, (8, -1)) for g in jax.tree.leaves(tree)], axis=1
    )
    value = scores.gradient_statistic(
        jitted(gradients.gradient_statistics, mlp, *network, group=group),
        statistic=statistic,
    )
    np.testing.assert_allclose(value, [SIGNED[statistic](g) for g in whole], rtol=1e-4)


@pytest.mark.parametrize(
    ("statistic", "by_group", "expected"),
    [
        ("l2_norm", [3.0, 4.0], -5.0),
        ("l2_norm", [0.0, 0.0], 0.0),
        ("l2_norm", [3e30, 4e30], -5e30),
        ("l1_norm", [0.0, 0.0], 0.0),
        ("minimum", [-3.0, 4.0], -3.0),
        ("maximum", [-3.0, 4.0], -4.0),
        ("standard_deviation", [1.0, 7.0], -5.0),  # the mean of 1 and 49 is 25
        ("standard_deviation", [1.0, NAN], NAN),
        ("l2_norm", [NAN, 0.0], NAN),
    ],
)
def test_edge_case_of_gradient_statistic(statistic, by_group, expected):
    values = jnp.array(by_group)[None, :, None]
    made = GradientStatistics(values, ("a", "b"), (statistic,))
    np.testing.assert_allclose(
        scores.gradient_statistic(made, statistic=statistic), [expected]
    )


def test_purview_agrees_with_the_authors():
    """Early, theirs leaves out the third of six tensors; late is the same."""
    g = golden_numbers.load("01_gradtrust")
    params = jax.tree.map(jnp.asarray, golden_numbers.params(g))
    args = (net_a, params, jnp.asarray(g["images"]))
    norms = jitted(passes.confounding_gradients, *args, group="tensor")
    order = [
        f"{n}/{t}" for n in ("conv1", "conv2", "dense") for t in ("kernel", "bias")
    ]
    ours = np.stack([norms.select(name, "squared_norm") for name in order], axis=1)
    np.testing.assert_allclose(ours, g["f64/purview_clean/per_tensor_sumsq"], rtol=1e-5)
    late = jitted(scores.purview, *args, group="tensor", part="late")
    np.testing.assert_allclose(late, g["f64/purview_clean/final"], rtol=1e-5)
    early = jitted(scores.purview, *args, group="tensor", part="early")
    np.testing.assert_allclose(early, -ours[:, :3].mean(1), rtol=1e-5)
    np.testing.assert_allclose(
        g["f64/purview_clean/initial"], -ours[:, :2].mean(1), rtol=1e-5
    )
    # As released, GradNorm's gradients are still in place and are added.
    assert not np.allclose(g["f64/demo/purview_final"], late, rtol=1e-3)


def test_halves_follow_the_network_and_not_the_alphabet(network):
    """The tree lists dense before hidden; jit hides the program one level deeper."""
    early, late, both = (
        jitted(scores.purview, jax.jit(mlp), *network, part=part)
        for part in ("early", "late", "all")
    )
    norms = jitted(passes.confounding_gradients, mlp, *network)
    np.testing.assert_allclose(
        early, -norms.select("hidden", "squared_norm"), rtol=1e-5
    )
    np.testing.assert_allclose(late, -norms.select("dense", "squared_norm"), rtol=1e-5)
    np.testing.assert_allclose(both, (early + late) / 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("labels", "kernel", "expected"),
    [
        ("all_ones", [[0.0, 0.0]], -2.0),  # (1/2 / 2 * 4)^2, twice
        ("all_zeros", [[0.0, 0.0]], -2.0),
        ([1.0, 0.0], [[0.0, 0.0]], -2.0),
        ("all_ones", [[99.0, 99.0]], 0.0),
        ([1.0, 0.0], [[99.0, -99.0]], 0.0),
        ("all_ones", [[NAN, 0.0]], NAN),
    ],
)
def test_edge_case_of_purview(labels, kernel, expected):
    value = jitted(
        scores.purview,
        lambda p, x: x @ p["dense"],
        {"dense": jnp.array(kernel)},
        jnp.array([[4.0]]),
        labels=labels,
    )
    np.testing.assert_allclose(value, [expected], atol=1e-12)


def test_mean_confounding_gradient_of_zeros_is_zero():
    zeros = GradientStatistics(jnp.zeros((1, 3, 1)), tuple("abc"), ("squared_norm",))
    assert mean_confounding_gradient(zeros).tolist() == [0.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda p, x: jitted(scores.counterfactual_grad_trust, mlp, p, x, top_k=4),
            "top_k must be an integer >= 1 and <= 3",
        ),
        (
            lambda p, x: jitted(
                scores.counterfactual_grad_trust, mlp, p, x, ratio="up"
            ),
            "ratio must be one of counterfactual_over_predicted",
        ),
        (
            lambda p, x: scores.gradient_statistic(
                jitted(gradients.gradient_statistics, mlp, p, x), statistic="mean"
            ),
            "statistic must be one of l1_norm",
        ),
        (
            lambda p, x: counterfactual_ratio(
                mlp(p, x),
                jitted(gradients.class_gradients, mlp, p, x, jnp.zeros((8, 2), int)),
            ),
            r"batch and classes \(8, 4\) of logits, got \(8, 2, 1, 2\)",
        ),
        (
            lambda p, x: jitted(scores.purview, mlp, p, x, labels="ones"),
            "labels must be one of",
        ),
        (
            lambda p, x: jitted(scores.purview, mlp, p, x, labels=[1.0] * 3),
            "must broadcast to",
        ),
        (
            lambda p, x: jitted(scores.purview, mlp, p, x, labels=[2.0] * 4),
            r"in \[0, 1\]",
        ),
        (
            lambda p, x: jitted(scores.purview, mlp, p, x, part="half"),
            "part must be one of",
        ),
        (
            lambda p, x: jitted(
                scores.purview, mlp, p, x, group="network", part="late"
            ),
            "number of groups must be an integer >= 2",
        ),
        (
            lambda p, x: mean_confounding_gradient(
                jitted(gradients.gradient_statistics, mlp, p, x)
            ),
            "statistic must be one of",
        ),
    ],
)
def test_bad_input_is_named(network, call, message):
    with pytest.raises(ValueError, match=message):
        call(*network)


@pytest.mark.exhaustive
def test_gradient_scores_of_convolutions_are_per_example_and_sharded():
    apply_fn, params, x = problems.get("cnn")
    both = jax.jit(
        lambda x: (
            scores.counterfactual_grad_trust(apply_fn, params, x),
            scores.purview(apply_fn, params, x),
        )
    )
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    spread = NamedSharding(mesh, PartitionSpec("data"))
    sharded = both(jax.device_put(x, spread))
    for here, back, there in zip(both(x), both(x[::-1]), sharded, strict=True):
        np.testing.assert_allclose(back[::-1], here, rtol=1e-3)
        np.testing.assert_allclose(there, here, rtol=1e-3)
        assert there.sharding.is_equivalent_to(spread, 1)


@pytest.mark.parametrize("name", ["mlp", "cnn", "transformer"])
def test_gradient_direction_is_the_cosine_of_a_loop(name):
    apply_fn, params, x = problems.get(name)
    leaves = jax.tree.leaves(reference.gradients_of_problem(name))
    expected = []
    for i in range(len(leaves[0])):
        cosines = []
        for leaf in leaves:
            one, mean = leaf[i].ravel(), leaf.mean(axis=0).ravel()
            size = np.linalg.norm(one) * np.linalg.norm(mean)
            cosines.append(one @ mean / size if size else 0)
        expected.append(np.mean(cosines))
    mean = jitted(gradients.gradient_sum, apply_fn, params, x)
    ours = jitted(scores.gradient_direction, apply_fn, params, x, mean)
    np.testing.assert_allclose(ours, expected, atol=2e-6)


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_gradient_direction_of_a_sharded_batch(kind):
    apply_fn, params, x = problems.get("cnn")
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType[kind],))
    mean = jitted(gradients.gradient_sum, apply_fn, params, x)
    alone = jitted(scores.gradient_direction, apply_fn, params, x, mean)
    params, mean = jax.device_put((params, mean), NamedSharding(mesh, PartitionSpec()))
    x = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    sharded = jitted(scores.gradient_direction, apply_fn, params, x, mean)
    np.testing.assert_allclose(sharded, alone, atol=2e-6)


def test_a_tensor_without_gradient_has_no_direction():
    network = lambda params, x: x @ params["kernel"] + 0 * params["bias"].sum()
    params = {"kernel": jnp.zeros((1, 2)), "bias": jnp.ones(3)}
    x = jnp.array([[1.0], [-3.0], [0.0]])
    mean = jitted(gradients.gradient_sum, network, params, x[:1])
    ours = jitted(scores.gradient_direction, network, params, x, mean)
    np.testing.assert_allclose(ours, [0.5, -0.5, 0.0], atol=1e-6)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("mean", "came"),
    [({}, "none"), ({"kernel": np.ones((2, 2))}, r"\(2, 2\)")],
)
def test_a_mean_gradient_of_another_network_is_named(mean, came):
    network = lambda params, x: x @ params["kernel"]
    params = {"kernel": jnp.zeros((1, 2))}
    with pytest.raises(ValueError, match=rf"hold kernel of shape \(1, 2\), got {came}"):
        scores.gradient_direction(network, params, jnp.ones((1, 1)), mean)
