"""Introspective features: against the gradient of each example, made whole."""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from tests import networks, problems, reference
from trustjax import gradients, introspection, losses, scores, statistics, targets
from trustjax.introspection import Features
from trustjax.typing import SplitModel

BATCH, CLASSES, WIDTH = 8, 5, 7
INF, NAN = np.inf, np.nan


def last_layer(seed=0, batch=BATCH):
    """Embeddings, and the kernel and bias behind them."""
    rng = np.random.default_rng(seed)
    embedding = rng.normal(size=(batch, WIDTH))
    kernel, bias = rng.normal(size=(WIDTH, CLASSES)), rng.normal(size=CLASSES)
    return tuple(map(jnp.float32, (embedding, kernel, bias)))


def logits_and_embedding(seed=0):
    embedding, kernel, bias = last_layer(seed)
    return embedding @ kernel + bias[None], embedding


def cross_entropy_of(z, t):
    return -jnp.sum(t * jax.nn.log_softmax(z))


def squared_error_of(z, t):
    return losses.squared_error(z[None], t[None])[0]


def binary_cross_entropy_of(z, t):
    terms = t * jax.nn.log_sigmoid(z) + (1 - t) * jax.nn.log_sigmoid(-z)
    return -jnp.mean(terms)


OF_LOSS = {
    "cross_entropy": cross_entropy_of,
    "squared_error": squared_error_of,
    "binary_cross_entropy": binary_cross_entropy_of,
}


@functools.cache
def gradient_of(loss):
    embedding, kernel, bias = last_layer()
    of_one = lambda kernel, h, t: OF_LOSS[loss](h @ kernel + bias, t)
    return jax.jit(lambda i, t: jax.grad(of_one)(kernel, embedding[i], t).T)


def by_loop(loss, asked):
    """The gradient in the last layer, one example and one target at a time."""
    made = gradient_of(loss)
    return np.array([[made(i, t) for t in rows] for i, rows in enumerate(asked)])


LABELS = jnp.arange(BATCH) % CLASSES
VALUES = jnp.float32(np.random.default_rng(1).uniform(size=(BATCH, CLASSES)))
ONES, EYE = jnp.ones((BATCH, 1, CLASSES)), jnp.eye(CLASSES)
ASKED: dict[str, tuple[Any, Any]] = {
    "all ones": ("all_ones", ONES),
    "each class": ("each_class", jnp.broadcast_to(EYE, (BATCH, CLASSES, CLASSES))),
    "a class": (LABELS, EYE[LABELS][:, None]),
    "values of examples": (VALUES, VALUES[:, None]),
    "values of classes": (VALUES[0], jnp.broadcast_to(VALUES[0], ONES.shape)),
}


def whole(found):
    """The outer products that the library never makes."""
    change, embedding = map(np.asarray, found)
    if change.ndim == 3:
        embedding = embedding[:, None]
    return change[..., :, None] * embedding[..., None, :]


@pytest.mark.parametrize("loss", OF_LOSS)
def test_closed_forms_are_the_gradient_of_the_last_layer(loss):
    """Towards all ones, each class, one class and values, times 1 and times 3."""
    cases = list(itertools.product(ASKED, (1.0, 3.0)))
    made = jax.jit(
        lambda z, h: [
            introspection.features(
                z, h, loss=loss, target=ASKED[asked][0], constant=constant
            )
            for asked, constant in cases
        ]
    )(*logits_and_embedding())
    for found, (asked, constant) in zip(made, cases, strict=True):
        expected = by_loop(loss, constant * ASKED[asked][1])
        if found.change.ndim == 2:
            expected = expected[:, 0]
        scale = max(1.0, abs(expected).max())
        np.testing.assert_allclose(whole(found), expected, atol=1e-6 * scale)


@pytest.mark.parametrize(
    "target", ["all_ones", pytest.param("each_class", marks=pytest.mark.exhaustive)]
)
def test_any_other_loss_is_differentiated(target):
    """By its own gradient; of one that has a closed form, to the same numbers."""
    loss_fn = lambda z, asked: jax.vmap(squared_error_of)(z, asked)
    given = logits_and_embedding()
    ours = introspection.features(*given, loss=loss_fn, target=target)
    expected = introspection.features(*given, target=target)
    np.testing.assert_allclose(ours.change, expected.change, atol=1e-6)


def test_all_ones_hold_every_class():
    """Row Q towards Q under the squared error, the sum under the cross entropy."""

    @functools.partial(jax.jit, static_argnums=(2, 3))
    def change(z, h, loss, target):
        return introspection.features(z, h, loss=loss, target=target).change

    given = logits_and_embedding()
    each = change(*given, "squared_error", "each_class")
    ones = change(*given, "squared_error", "all_ones")
    np.testing.assert_array_equal(ones, np.diagonal(each, axis1=1, axis2=2))
    each = change(*given, "cross_entropy", "each_class")
    ones = change(*given, "cross_entropy", "all_ones")
    np.testing.assert_allclose(ones, np.asarray(each).sum(axis=1), atol=1e-5)


@pytest.mark.parametrize(
    ("loss", "row", "expected"),
    [
        ("squared_error", [3.0, -INF], [4.0, 0.0]),
        ("squared_error", [-INF, -INF], [0.0, 0.0]),
        ("squared_error", [INF, 1.0], [NAN, 0.0]),
        ("squared_error", [NAN, 1.0], [NAN, 0.0]),
        ("cross_entropy", [INF, 0.0], [1.0, -1.0]),
        ("cross_entropy", [0.0, -INF], [1.0, -1.0]),
        ("cross_entropy", [NAN, 0.0], [NAN, NAN]),
        ("binary_cross_entropy", [INF, -INF], [0.0, -0.5]),
        ("binary_cross_entropy", [NAN, 0.0], [NAN, -0.25]),
    ],
)
def test_edge_case(loss, row, expected):
    found = introspection.features(jnp.array([row]), jnp.ones((1, 2)), loss=loss)
    np.testing.assert_allclose(found.change, [expected], atol=1e-6)


def test_what_saturates_keeps_its_digits():
    z, h = jnp.array([[30.0, 0.0]]), jnp.ones((1, 1))
    towards_itself = introspection.features(
        z, h, loss="cross_entropy", target=jnp.array([0])
    )
    rest = math.exp(-30.0)
    np.testing.assert_allclose(towards_itself.change, [[-rest, rest]], rtol=1e-5)
    to_ones = introspection.features(z, h, loss="binary_cross_entropy").change
    np.testing.assert_allclose(to_ones, [[-rest / 2, -0.25]], rtol=1e-5)


def test_a_class_out_of_range_is_a_target_of_zeros():
    given = logits_and_embedding()
    asked = jnp.full(BATCH, CLASSES)
    ours = introspection.features(*given, target=asked)
    zeros = introspection.features(*given, target=jnp.zeros(CLASSES))
    np.testing.assert_array_equal(ours.change, zeros.change)


def test_their_norm_is_the_score():
    z, h = logits_and_embedding()
    for loss in ("squared_error", "binary_cross_entropy"):
        ours = introspection.norm(introspection.features(z, h, loss=loss))
        expected = scores.introspective_norm(z, h, loss=loss)
        np.testing.assert_allclose(ours, expected, rtol=1e-6)


# What is made of the factors, against the outer products.


@pytest.mark.parametrize("target", ["all_ones", "each_class"])
def test_extremes_and_norms_are_of_the_whole(target):
    found = introspection.features(*logits_and_embedding(), target=target)
    flat = whole(found).reshape(*found.change.shape[:-1], -1)
    np.testing.assert_allclose(introspection.maximum(found), flat.max(-1), rtol=1e-5)
    np.testing.assert_allclose(introspection.minimum(found), flat.min(-1), rtol=1e-5)
    for order in (1, 2, INF):
        expected = np.linalg.norm(flat, ord=order, axis=-1)
        ours = introspection.norm(found, order=order)
        np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_extremes_of_factors_of_one_sign():
    of_signs = jnp.array([[1.0], [1.0], [-1.0], [-1.0]]) * jnp.array([[1.0, 2.0, 5.0]])
    found = Features(of_signs, of_signs[jnp.array([0, 2, 0, 2])])
    flat = whole(found).reshape(4, -1)
    np.testing.assert_array_equal(introspection.maximum(found), flat.max(axis=-1))
    np.testing.assert_array_equal(introspection.minimum(found), flat.min(axis=-1))


def test_products_and_distances_are_of_the_whole():
    found = introspection.features(*logits_and_embedding())
    others = introspection.features(*logits_and_embedding(1))
    ours, theirs = (whole(one).reshape(BATCH, -1) for one in (found, others))
    products = introspection.inner_products(found, others)
    np.testing.assert_allclose(products, ours @ theirs.T, rtol=1e-5, atol=1e-4)
    distances = introspection.squared_distances(found, others)
    expected = ((ours[:, None] - theirs[None]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(distances, expected, rtol=1e-4)
    to_itself = introspection.squared_distances(found, found)
    np.testing.assert_allclose(jnp.diagonal(to_itself), 0, atol=1e-3)


@pytest.mark.parametrize("width", [3, CLASSES, 9])
def test_a_dense_layer_on_the_flattened_features(width):
    """Fewer classes than features, as many, and more."""
    rng = np.random.default_rng(width)
    shapes = (BATCH, CLASSES), (BATCH, width), (CLASSES, width, 4), (4,)
    a, h, kernel, bias = (jnp.float32(rng.normal(size=shape)) for shape in shapes)
    ours = introspection.linear(Features(a, h), kernel, bias)
    flat = whole(Features(a, h)).reshape(BATCH, -1)
    expected = flat @ np.asarray(kernel).reshape(-1, 4) + np.asarray(bias)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def sizes_in(jaxpr):
    """How many numbers each value in a traced program is."""
    for equation in jaxpr.eqns:
        for inner in jaxprs_in_params(equation.params):
            yield from sizes_in(inner)
        yield from (math.prod(v.aval.shape) for v in equation.outvars)


def test_no_outer_product_is_made():
    batch, classes, width, units = 16, 50, 60, 5

    def all_of_it(z, h, kernel):
        found = introspection.features(z, h)
        return (
            introspection.maximum(found),
            introspection.norm(found, order=1),
            introspection.squared_distances(found, found),
            introspection.linear(found, kernel),
        )

    shapes = (batch, classes), (batch, width), (classes, width, units)
    given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    largest = max(sizes_in(jax.make_jaxpr(all_of_it)(*given).jaxpr))
    assert largest < batch * classes * width


# Of a network.


@pytest.mark.parametrize(
    "name",
    [
        "mlp",
        *(pytest.param(n, marks=pytest.mark.exhaustive) for n in ("cnn", "resnet")),
    ],
)
def test_features_of_a_network_are_the_gradient_of_its_last_kernel(name):
    apply_fn, params, x = problems.get(name)
    found = jax.jit(
        lambda p, x: introspection.features_of(apply_fn, p, x, loss="cross_entropy")
    )(params, x)
    loss = lambda z: cross_entropy_of(z, jnp.ones_like(z))
    by_example = reference.per_example_gradients(apply_fn, params, x, loss)
    last = max(name for name in params if name.startswith("dense"))
    expected = by_example[last]["kernel"].swapaxes(1, 2)
    scale = max(1.0, abs(expected).max())
    np.testing.assert_allclose(whole(found), expected, atol=2e-6 * scale)


@pytest.mark.exhaustive
def test_other_layers_are_those_of_class_gradients():
    """Which agree with the factors at the last one."""
    apply_fn, params, x = problems.get("cnn")
    logits = apply_fn(params, x)
    found = introspection.features_of(
        apply_fn, params, x, loss="cross_entropy", target="each_class"
    )
    by_layer = gradients.class_gradients(
        apply_fn,
        params,
        x,
        targets.every_class(logits),
        group="tensor",
        statistics=(statistics.l2_norm, statistics.maximum),
    )
    at = by_layer.groups.index("dense/kernel")
    norms, largest = by_layer.values[:, :, at, 0], by_layer.values[:, :, at, 1]
    np.testing.assert_allclose(introspection.norm(found), norms, rtol=1e-4)
    np.testing.assert_allclose(introspection.maximum(found), largest, rtol=1e-4)


@pytest.mark.exhaustive
def test_a_temperature_belongs_to_the_last_layer():
    dense, cooled = networks.get("dense"), networks.get("temperature")
    params = dense.params
    plain = introspection.features_of(dense.apply_fn, params, dense.x)
    found = introspection.features_of(cooled.apply_fn, params, dense.x)
    np.testing.assert_allclose(found.embedding, plain.embedding, rtol=1e-6)
    z = cooled.apply_fn(params, dense.x)
    np.testing.assert_allclose(found.change, 2 / networks.CLASSES * (z - 1), atol=1e-6)


@pytest.mark.parametrize("name", ["log_softmax", "conv_head_at_positions"])
def test_a_network_without_a_dense_head_is_told_what_to_do(name):
    apply_fn, params, x = networks.get(name)[:3]
    message = r"(?s)ends in none: .* SplitModel\(features_fn, head_fn\)"
    with pytest.raises(ValueError, match=message):
        introspection.features_of(apply_fn, params, x)


def test_a_split_model_is_taken_where_it_is_cut():
    embedding, kernel, bias = last_layer()
    split = SplitModel(
        lambda params, x: jnp.tanh(x), lambda params, h: h @ params + bias[None]
    )
    found = introspection.features_of(split, kernel, embedding)
    np.testing.assert_array_equal(found.embedding, jnp.tanh(embedding))
    bent = SplitModel(
        lambda params, x: x, lambda params, h: jnp.tanh(h @ params) @ params.T
    )
    with pytest.raises(ValueError, match="ends in none"):
        introspection.features_of(bent, kernel, embedding)


# The battery.


def everything(z, h):
    """All that is made of a batch, with `batch` as its first axis."""
    found = introspection.features(z, h)
    each = introspection.features(z, h, loss="cross_entropy", target="each_class")
    kernel = jnp.ones((CLASSES, WIDTH, 2)).at[0].set(-1)
    return (
        found,
        each,
        introspection.features(z, h, loss="binary_cross_entropy"),
        introspection.maximum(found),
        introspection.minimum(each),
        introspection.norm(found),
        introspection.linear(found, kernel),
    )


def assert_close(ours, expected, rtol=1e-5):
    for one, other in zip(
        jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol)


def test_jit_and_vmap_and_single_examples():
    given = logits_and_embedding()
    asked = jax.jit(everything)
    together = asked(*given)
    by_example = jax.vmap(lambda z, h: everything(z[None], h[None]))
    alone = jax.tree.map(lambda a: a[:, 0], jax.jit(by_example)(*given))
    assert_close(alone, together)
    one = asked(*(a[3:4] for a in given))
    assert_close(one, jax.tree.map(lambda a: np.asarray(a)[3:4], together))


@pytest.mark.exhaustive
def test_without_jit():
    given = logits_and_embedding()
    assert_close(everything(*given), jax.jit(everything)(*given))


@pytest.mark.parametrize(
    "kind", [pytest.param("Auto", marks=pytest.mark.exhaustive), "Explicit"]
)
def test_sharded_is_unsharded_and_stays_sharded(kind):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType[kind],))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    given = logits_and_embedding()
    placed = jax.device_put(given, sharding)
    ours = jax.jit(everything)(*placed)
    for leaf in jax.tree.leaves(ours):
        assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim)
    assert_close(ours, jax.jit(everything)(*given))
    pairs = jax.jit(
        lambda z, h: introspection.squared_distances(
            *[introspection.features(z, h)] * 2
        )
    )
    assert_close(pairs(*placed), pairs(*given), rtol=1e-4)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_a_sharded_network_is_asked_as_another(kind):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType[kind],))
    apply_fn, params, x = problems.get("mlp")
    asked = jax.jit(lambda p, x: introspection.features_of(apply_fn, p, x))
    placed = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    ours = asked(jax.device_put(params, NamedSharding(mesh, PartitionSpec())), placed)
    assert_close(ours, asked(params, x))


@pytest.mark.exhaustive
def test_bfloat16_is_widened():
    z, h = (a.astype(jnp.bfloat16) for a in logits_and_embedding())
    asked = jax.jit(everything)
    ours = asked(z, h)
    assert {leaf.dtype for leaf in jax.tree.leaves(ours)} == {jnp.dtype("float32")}
    assert_close(ours, asked(z.astype(jnp.float32), h.astype(jnp.float32)))


def test_gradients_are_finite_and_right():
    apply_fn, params, x = problems.get("mlp")

    def total(params):
        found = introspection.features_of(apply_fn, params, x, loss="cross_entropy")
        return jnp.sum(introspection.norm(found)) + jnp.sum(
            introspection.maximum(found)
        )

    for leaf in jax.tree.leaves(jax.jit(jax.grad(total))(params)):
        assert np.isfinite(leaf).all()


@pytest.mark.exhaustive
def test_gradients_are_those_of_differences():
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(a), jnp.float64) for a in logits_and_embedding()]
        total_of = lambda z, h: sum(
            jnp.sum(leaf**2) for leaf in jax.tree.leaves(everything(z, h))
        )
        check_grads(jax.jit(total_of), wide, order=1, modes=("rev",))


@pytest.mark.usefixtures("without_type_checks")
class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"logits": jnp.ones(3)}, r"logits must have shape \[batch, classes\]"),
            ({"embedding": jnp.ones(8)}, r"embedding must have shape \[batch, width\]"),
            ({"embedding": jnp.ones((3, 7))}, "logits has 8, embedding has 3"),
            ({"loss": "hinge"}, "loss must be one of .*squared_error"),
            ({"target": "ones"}, "target must be one of all_ones, each_class"),
            ({"target": jnp.zeros(3, int)}, "logits has 8, target has 3"),
            (
                {"target": jnp.zeros((8, 4))},
                r"of shape \(5,\) or \(8, 5\), got float32",
            ),
        ],
    )
    def test_of_features(self, change, message):
        z, h = logits_and_embedding()
        given: dict[str, Any] = {"logits": z, "embedding": h, **change}
        with pytest.raises(ValueError, match=message):
            introspection.features(**given)

    def test_whole_numbers_for_logits(self):
        with pytest.raises(TypeError, match="logits must be floating point"):
            introspection.features(jnp.ones((2, 3), int), jnp.ones((2, 3)))

    def test_features_of_another_network(self):
        found = introspection.features(*logits_and_embedding())
        narrow = Features(found.change, found.embedding[:, :3])
        with pytest.raises(ValueError, match=r"one network, got .*\(5, 7\) and \(5, 3"):
            introspection.inner_products(found, narrow)
        with pytest.raises(ValueError, match="5 classes and width 3, the kernel is"):
            introspection.linear(narrow, jnp.ones((CLASSES, WIDTH, 2)))

    def test_several_targets_where_one_is_meant(self):
        each = introspection.features(*logits_and_embedding(), target="each_class")
        with pytest.raises(ValueError, match="towards one target"):
            introspection.linear(each, jnp.ones((CLASSES, WIDTH, 2)))

    def test_an_unknown_norm(self):
        found = introspection.features(*logits_and_embedding())
        with pytest.raises(ValueError, match="order must be 1, 2 or inf, got 3"):
            introspection.norm(found, order=3)
