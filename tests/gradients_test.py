"""Per-example gradients and their statistics, against loops and golden numbers."""

import functools
import pathlib

import jax
import jax.export
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from tests import problems, reference
from tests.programs import jitted
from trustjax import gradients, losses, statistics, transforms
from trustjax.gradients import _loops
from trustjax.gradients._moments import row_widths
from trustjax.transforms import _convolution
from trustjax.typing import SplitModel

GOLDEN = pathlib.Path(__file__).parent / "golden" / "gradient_metrics.npz"


def assert_trees_close(actual, expected, rtol=1e-5, atol=1e-6):
    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, rtol, atol * np.abs(e).max()),
        actual,
        expected,
    )


@pytest.fixture
def loops(monkeypatch):
    """One device, and caches so small that few examples are taken at a time."""
    for name, value in {"_IN_CORE": 1, "_IN_TILE": 1, "_SMALLEST_TILE": 4}.items():
        monkeypatch.setattr(_loops, name, value)
    auto = (jax.sharding.AxisType.Auto,)
    with jax.set_mesh(jax.make_mesh((1,), ("data",), auto, devices=jax.devices()[:1])):
        yield


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("name", problems.light_or_exhaustive())
def test_tiles_of_a_batch_are_a_loop_over_examples(name):
    apply_fn, params, x = problems.get(name)
    # Seven are two tiles of four, of which the last example is a copy.
    check_against_loop(apply_fn, params, jax.tree.map(lambda a: a[:7], x))


def test_a_batch_at_once_is_a_loop_over_examples():
    check_against_loop(*problems.get("cnn"))


@pytest.mark.parametrize("window", [(5, 5), (7, 7)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_convolution_without_output_has_gradients_of_zero(window, channels):
    def apply_fn(params, x):
        y = jax.lax.conv_general_dilated(
            x,
            params["kernel"],
            (1, 1),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y.sum((1, 2)) + x.mean((1, 2, 3))[:, None] * params["slope"][None]

    params = {"kernel": jnp.ones((*window, channels, 4)), "slope": jnp.arange(4.0)}
    x = jax.random.normal(jax.random.key(0), (4, 4, 4, channels))
    gradient = jitted(gradients.per_example_gradients, apply_fn, params, x)
    loop = reference.per_example_gradients(apply_fn, params, x)
    assert_trees_close(gradient, loop)
    assert not gradient["kernel"].any()
    result = jitted(
        gradients.gradient_statistics,
        apply_fn,
        params,
        x,
        statistics=statistics.DEFAULT[:6],
    )
    expected, _ = reference.gradient_statistics(loop, "tensor")
    np.testing.assert_allclose(result.values, expected[..., :6], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("params", "names"),
    [
        (lambda w, v: {"a": {"b": w}, "a/b": v}, ("['a']['b']", "['a/b']")),
        (lambda w, v: {"l": [w], "l/0": v}, ("['l'][0]", "['l/0']")),
    ],
)
def test_tensors_whose_joined_paths_are_one_are_kept_apart(params, names):
    w, v = (jax.random.normal(jax.random.key(i), (4, 3)) for i in range(2))
    x = jax.random.normal(jax.random.key(2), (2, 4))
    params = params(w, v)

    def apply_fn(params, x):
        one, two = jax.tree.leaves(params)
        return x @ one + 2 * (x @ two)

    norm_of_all = lambda gradient: statistics.l2_norm(list(gradient.values()))
    seen = {
        group: jitted(
            gradients.gradient_statistics,
            apply_fn,
            params,
            x,
            group=group,
            statistics=(statistics.l2_norm, norm_of_all),
        )
        for group in gradients.GROUPINGS
    }
    assert seen["tensor"].groups == names
    for result in seen.values():
        by_statistic = np.moveaxis(result.values, -1, 0)
        np.testing.assert_allclose(*by_statistic, rtol=1e-5)
        whole = np.linalg.norm(by_statistic[0], axis=-1)
        np.testing.assert_allclose(whole, [0.012099, 1.852169], rtol=1e-4)
    kept = jitted(
        gradients.per_example_gradients,
        apply_fn,
        params,
        x,
        wrt=lambda name: name == names[1],
    )
    assert len(jax.tree.leaves(kept)) == 1
    ((path, gradient),) = jax.tree_util.tree_leaves_with_path(kept)
    assert jax.tree_util.keystr(path) == names[1]
    whole = jitted(gradients.per_example_gradients, apply_fn, params, x)
    np.testing.assert_allclose(gradient, jax.tree.leaves(whole)[1], rtol=1e-6)


def test_names_that_are_one_even_so_are_refused():
    params = {"a": {"b": 1.0}, "a/b": 1.0, "['a/b']": 1.0}
    with pytest.raises(ValueError, match=r"names that differ, \['a/b'\] is two"):
        gradients.gradient_statistics(lambda p, x: x, params, jnp.ones((1, 2)))


@pytest.mark.parametrize(
    ("name", "way"), [("mlp", "at_once"), ("mlp", "loops"), ("cnn", "loops")]
)
@pytest.mark.exhaustive
def test_exported_with_a_symbolic_batch(name, way, request):
    """One program for every batch, as `vmap(grad)` gives: what serving needs."""
    if way == "loops":
        request.getfixturevalue("loops")
    apply_fn, params, x = problems.get(name)

    @jax.jit
    def fun(params, x):
        result = gradients.gradient_statistics(apply_fn, params, x)
        return result.values, gradients.per_example_gradients(apply_fn, params, x)

    (batch,) = jax.export.symbolic_shape("batch")
    of_any_size = jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype)
    exported = jax.export.export(fun)(params, of_any_size)
    loop = reference.gradients_of_problem(name)
    expected, _ = reference.gradient_statistics(loop, "tensor")
    for number in (2, 7):
        values, gradient = exported.call(params, x[:number])
        assert_statistics_close(values, expected[:number])
        first = jax.tree.map(lambda a, n=number: a[:n], loop)
        assert_trees_close(gradient, first)


@pytest.mark.parametrize(
    "other", [jnp.ones((3, 3), jnp.int8), jax.random.key(0), np.ones(1, bool), 3]
)
def test_what_is_not_differentiable_is_refused_or_left_out(other):
    params = {"w": jnp.eye(3), "other": other}
    x = jnp.arange(6.0).reshape(2, 3)

    def apply_fn(params, x):
        assert params["other"] is other
        return jnp.sin(x @ params["w"])

    for fun in (gradients.per_example_gradients, gradients.gradient_statistics):
        with pytest.raises(TypeError, match=r"got other of .*; wrt can leave it out"):
            fun(apply_fn, params, x)
    only_w = lambda path: path == "w"
    gradient, result = jax.jit(
        lambda x: [
            fun(apply_fn, params, x, wrt=only_w)
            for fun in (gradients.per_example_gradients, gradients.gradient_statistics)
        ]
    )(x)
    alone = lambda w, x: apply_fn({"w": w, "other": other}, x)
    loop = reference.per_example_gradients(alone, params["w"], x)
    assert gradient["other"] is None
    assert_trees_close(gradient["w"], loop)
    expected, _ = reference.gradient_statistics({"w": loop}, "tensor")
    assert_statistics_close(result.values, expected)


def test_statistics_of_complex_gradients_are_refused():
    params = {"w": jnp.ones((4, 3)) + 0.5j}
    x = jax.random.normal(jax.random.key(2), (2, 4))
    apply_fn = lambda params, x: jnp.abs(x @ params["w"]) ** 2 * jnp.arange(3.0)[None]
    with pytest.raises(TypeError, match="real, got the parameter w of complex64"):
        gradients.gradient_statistics(apply_fn, params, x)
    loop = reference.per_example_gradients(apply_fn, params, x)
    gradient = jitted(gradients.per_example_gradients, apply_fn, params, x)
    assert_trees_close(gradient, loop)


@pytest.mark.parametrize("way", ["at_once", "loops"])
def test_no_examples_and_parameters_without_numbers(way, request):
    if way == "loops":
        request.getfixturevalue("loops")
    params = {"w": jnp.eye(3), "none": jnp.zeros((0, 3))}
    apply_fn = lambda params, x: x @ params["w"] + params["none"].sum()
    x = jnp.ones((5, 3))
    gradient = jitted(gradients.per_example_gradients, apply_fn, params, x)
    assert_trees_close(
        gradient["w"],
        reference.per_example_gradients(lambda w, x: x @ w, params["w"], x),
    )
    assert gradient["none"].shape == (5, 0, 3)
    with pytest.raises(ValueError, match=r"not be empty, got the parameter none of"):
        gradients.gradient_statistics(apply_fn, params, x)
    only_w = lambda path: path == "w"
    empty = jitted(gradients.gradient_statistics, apply_fn, params, x[:0], wrt=only_w)
    assert empty.values.shape == (0, 1, 8)
    gradient = jitted(gradients.per_example_gradients, apply_fn, params, x[:0])
    assert jax.tree.map(jnp.shape, gradient) == {"w": (0, 3, 3), "none": (0, 0, 3)}


@pytest.mark.parametrize("scale", [2.0, np.float64(2.0), np.full((), 2.0)])
def test_python_numbers_are_parameters(scale):
    params = {"w": jnp.eye(3), "scale": scale}
    x = jax.random.normal(jax.random.key(0), (4, 3))
    apply_fn = lambda params, x: x @ params["w"] * params["scale"]
    loop = reference.per_example_gradients(apply_fn, params, x)
    # The number is no argument, of which `jit` would make an array.
    gradient, result = jax.jit(
        lambda x: (
            gradients.per_example_gradients(apply_fn, params, x),
            gradients.gradient_statistics(
                apply_fn, params, x, statistics=(statistics.l2_norm,)
            ),
        )
    )(x)
    assert_trees_close(gradient, loop)
    np.testing.assert_allclose(
        result.select("scale", "l2_norm"), np.abs(loop["scale"]), rtol=1e-5
    )


def check_against_loop(apply_fn, params, x):
    loop = reference.per_example_gradients(apply_fn, params, x)

    @jax.jit
    def everything(params, x):
        _, by_group = gradients.outputs_and_grouped_statistics(
            apply_fn, params, x, groups=gradients.GROUPINGS
        )
        return gradients.per_example_gradients(apply_fn, params, x), by_group

    gradient, by_group = everything(params, x)
    assert_trees_close(gradient, loop)
    for group, result in by_group.items():
        expected, groups = reference.gradient_statistics(loop, group)
        assert result.groups == groups
        assert_statistics_close(result.values, expected)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("number", [3, 7])
def test_outputs_are_those_of_the_network(number):
    network, params, x = problems.get("cnn")
    x = x[:number]
    apply_fn = lambda params, x: {"logits": network(params, x), "twice": 2 * x}
    outputs, result = jitted(
        gradients.outputs_and_gradient_statistics,
        apply_fn,
        params,
        x,
        loss_fn=lambda outputs: losses.predicted_cross_entropy(outputs["logits"]),
    )
    assert_trees_close(outputs, jax.jit(apply_fn)(params, x))
    expected = jitted(gradients.gradient_statistics, network, params, x)
    assert result.groups == expected.groups
    np.testing.assert_array_equal(result.values, expected.values)


@pytest.mark.exhaustive
@pytest.mark.usefixtures("loops")
def test_statistics_are_differentiable_through_the_loops():
    apply_fn, params, x = problems.get("cnn")

    @jax.jit
    def total(params, x):
        result = gradients.gradient_statistics(
            apply_fn,
            params,
            x[:5],
            loss_fn=smooth,
            statistics=(statistics.l2_norm, statistics.skewness),
            group="network",
        )
        return jnp.tanh(result.values).sum()

    jax.test_util.check_grads(total, (params, x), 1, modes=("rev",), rtol=2e-2)


SCALES = (1e-37, 1e-30, 1e-20, 1e-10, 1.0, 1e10, 1e20, 1e30, 1e37)


@pytest.mark.parametrize(
    ("dtype", "rtol"),
    [
        ("float32", 1e-5),
        pytest.param("bfloat16", 2e-2, marks=pytest.mark.exhaustive),
        pytest.param("float64", 1e-9, marks=pytest.mark.exhaustive),
    ],
)
def test_statistics_hold_wherever_those_of_a_loop_do(dtype, rtol):
    """Of vectors, of dense and convolutional kernels, and of layers of them."""
    with jax.enable_x64(dtype == "float64"):
        check_at_every_scale(jnp.dtype(dtype), rtol)


def check_at_every_scale(dtype, rtol):
    def network(params, x):
        conv, dense = params["conv"], params["dense"]
        y = jax.lax.conv_general_dilated(
            x[:, :, None],
            conv["kernel"],
            (1,),
            "SAME",
            dimension_numbers=("NHC", "HIO", "NHC"),
        )
        y = (y + conv["bias"].reshape(1, 1, -1)).reshape(len(x), -1)
        return y, x @ dense["kernel"] + dense["bias"][None]

    def loss(outputs, weights):
        y, z = outputs
        return (y * weights).sum(-1) + (z * weights[:, : z.shape[1]]).sum(-1)

    # Every size of the input with every size of what comes back from the loss.
    sizes = np.array([(a, b) for a in SCALES for b in SCALES if a * b <= 1e37])
    left, right = np.random.default_rng(0).gamma(2.0, size=(2, 10)) / 5 - 0.2
    params = {
        "conv": {"bias": jnp.ones(2, dtype), "kernel": jnp.ones((3, 1, 2), dtype)},
        "dense": {"bias": jnp.ones(3, dtype), "kernel": jnp.ones((5, 3), dtype)},
    }
    x, weights = jnp.array(sizes[:, :1] * left[:5]), jnp.array(sizes[:, 1:] * right)
    x, weights = x.astype(dtype), weights.astype(dtype)

    @jax.jit
    def everything(x, weights):
        _, by_group = gradients.outputs_and_grouped_statistics(
            network,
            params,
            x,
            groups=gradients.GROUPINGS,
            loss_fn=loss,
            loss_args=(weights,),
        )
        return [by_group[group].values for group in gradients.GROUPINGS]

    @jax.jit
    @jax.vmap
    def loop(x, weights):
        exact = jnp.promote_types(dtype, jnp.float32)
        one, two, own = jax.tree.map(
            lambda array: array.astype(exact), (x[None], weights[None], params)
        )
        return jax.grad(lambda params: loss(network(params, one), two)[0])(own)

    loop = jax.tree.map(np.asarray, loop(x, weights))
    results, pull = jax.vjp(everything, x, weights)
    tiny = float(jnp.finfo(dtype).tiny)
    for group, result in zip(gradients.GROUPINGS, results, strict=True):
        expected, _ = reference.gradient_statistics(loop, group)
        assert np.isfinite(expected[..., :6]).all()
        expected[abs(expected) > float(jnp.finfo(result.dtype).max)] *= np.inf
        result, spread = np.asarray(result), abs(expected[..., 2:4]).max(-1)
        np.testing.assert_allclose(result[..., :4], expected[..., :4], rtol, 40 * tiny)
        assert (abs(result - expected)[..., 4] <= rtol * spread + tiny).all()
        assert (abs(result - expected)[..., 5] <= rtol * spread + tiny).all()
        shaped = spread > 1e6 * tiny
        np.testing.assert_allclose(
            result[shaped, 6:], expected[shaped, 6:], 10 * rtol, 10 * rtol
        )
    linear = [jnp.zeros_like(r).at[..., :6].set(1.0) for r in results]
    for derivative in pull(linear):
        assert np.isfinite(derivative).all()


def test_a_shape_that_is_undefined_does_not_spoil_a_derivative():
    # The second image is black, so that its gradient is zero.
    x = jnp.array([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]])

    def norms(x):
        result = gradients.gradient_statistics(
            lambda params, x: x @ params["w"],
            {"w": jnp.ones((3, 2))},
            x,
            loss_fn=lambda z: z.sum(-1),
        )
        assert result.statistics == tuple(s.__name__ for s in statistics.DEFAULT)
        return result.select("w", "l2_norm").sum()

    # The norm is that of x times the root of two outputs.
    np.testing.assert_allclose(
        jax.jit(jax.grad(norms))(x),
        2**0.5 * jnp.array([[0.6, 0.8, 0.0], [0.0] * 3]),
        1e-6,
        1e-6,
    )


def smooth(logits):
    """A loss whose derivatives do not jump where the prediction changes."""
    return -jax.nn.log_softmax(logits).mean(-1)


@pytest.mark.parametrize("channels", [1, 2])
def test_the_fast_form_of_a_convolution_has_its_values(channels):
    x = jax.random.normal(jax.random.key(0), (2, channels, 9, 8))
    kernel = jax.random.normal(jax.random.key(1), (3, 2, channels, 5))

    def convolution(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(2, 1),
            padding=((2, -1), (0, 2)),
            lhs_dilation=(1, 2),
            rhs_dilation=(2, 1),
            dimension_numbers=("NCHW", "HWIO", "CNHW"),
        )

    program = jax.make_jaxpr(convolution)(x, kernel)
    (equation,) = transforms.swap(program).eqns
    fast = lambda x, kernel: _convolution.bind_fast(equation, x, kernel)[0]
    np.testing.assert_allclose(
        fast(x, kernel), convolution(x, kernel), rtol=1e-5, atol=1e-5
    )
    traced = jax.jit(fast).trace(x, kernel)
    for platform in ("cpu", "tpu"):
        lowered = traced.lower(lowering_platforms=(platform,)).as_text()
        is_sum = platform == "cpu" and channels == 1
        assert ("stablehlo.convolution" not in lowered) == is_sum


def assert_statistics_close(values, expected, rtol=1e-5):
    """Means may cancel, and moments of few numbers are ill-conditioned."""
    values, expected = np.asarray(values), np.asarray(expected)
    spread = np.abs(expected[..., 2:4]).max(-1)
    np.testing.assert_allclose(values[..., :4], expected[..., :4], rtol=rtol)
    assert (np.abs(values - expected)[..., 4] <= rtol * spread).all()
    np.testing.assert_allclose(values[..., 5], expected[..., 5], rtol=1e-4)
    np.testing.assert_allclose(values[..., 6:], expected[..., 6:], rtol=2e-3, atol=2e-3)


def net_b():
    """The network of the golden file, from its own parameters."""
    golden = np.load(GOLDEN)
    params = {}
    for path in [key for key in golden if key.startswith("params/")]:
        _, layer, leaf = path.split("/")
        params.setdefault(layer, {})[leaf] = jnp.asarray(golden[path])

    def conv(layer, x):
        y = jax.lax.conv_general_dilated(
            x,
            layer["kernel"],
            (1, 1),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return jax.nn.leaky_relu(y + layer["bias"].reshape(1, 1, 1, -1), 0.1)

    def pool(x):
        return jax.lax.reduce_window(
            x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
        )

    def apply_fn(params, x):
        x = pool(conv(params["conv1"], x))
        x = conv(params["conv3"], pool(conv(params["conv2"], x)))
        dense = params["dense"]
        return x.reshape(x.shape[0], -1) @ dense["kernel"] + dense["bias"][None]

    return apply_fn, params, jnp.asarray(golden["images"]), golden


PUBLISHED = (
    statistics.l1_norm,
    statistics.l2_norm,
    statistics.maximum,
    statistics.minimum,
    statistics.mean,
    statistics.standard_deviation,
)
MOMENTS = (statistics.skewness, statistics.kurtosis)


@pytest.mark.parametrize(
    ("sizes", "programs"),
    [([7], 1), ([10, 32, 128, 1024, 4096], 3), ([64] * 9 + [65], 1), ([1, 10**6], 2)],
)
def test_rows_of_one_width_take_at_most_a_quarter_more_memory(sizes, programs):
    widths = row_widths(sizes)
    assert len(set(widths.values())) == programs
    assert all(widths[size] >= size for size in sizes)
    assert sum(widths[size] for size in sizes) <= 1.25 * sum(sizes)


@functools.cache
def published_statistics():
    """All that the golden file has, by every grouping, of one program."""
    apply_fn, params, x, _ = net_b()
    return jitted(
        gradients.outputs_and_grouped_statistics,
        apply_fn,
        params,
        x,
        groups=gradients.GROUPINGS,
        statistics=PUBLISHED + MOMENTS,
    )[1]


@pytest.mark.parametrize(
    ("group", "published", "moments"),
    [
        ("tensor", "per_tensor", "moments_per_tensor"),
        ("layer", "per_layer", "moments_per_layer"),
        ("network", "global", "moments_global"),
    ],
)
def test_statistics_of_the_authors_package(group, published, moments):
    _, _, x, golden = net_b()
    result = published_statistics()[group]
    names = {
        "tensor": list(golden["tensor_names"]),
        "layer": list(golden["layer_names"]),
        "network": ["network"],
    }[group]
    order = [result.groups.index(name) for name in names]
    values = np.asarray(result.values)[:, order]
    expected = golden[f"f64/{published}"].reshape(len(x), len(order), 6)
    np.testing.assert_allclose(
        values[..., [0, 1, 2, 3, 5]], expected[..., [0, 1, 2, 3, 5]], rtol=1e-5
    )
    # A mean cancels: it is judged by the size of what was added up. That of the
    # dense layer is zero in exact arithmetic.
    np.testing.assert_array_less(
        np.abs(values[..., 4] - expected[..., 4]), 1e-6 * expected[..., 1]
    )
    # Skewness and kurtosis cancel too where they cross zero.
    np.testing.assert_allclose(
        values[..., 6:],
        golden[f"f64/{moments}"][..., :2].reshape(len(x), len(order), 2),
        rtol=1e-3,
        atol=2e-5,
    )


def test_gradients_of_the_authors_package():
    apply_fn, params, x, golden = net_b()
    result = jitted(gradients.per_example_gradients, apply_fn, params, x[:2])
    for layer, tensors in result.items():
        for leaf, gradient in tensors.items():
            for i in range(2):
                expected = golden[f"f64/grads/sample{i}/{layer}/{leaf}"]
                np.testing.assert_allclose(
                    gradient[i], expected, rtol=1e-5, atol=2e-6 * np.abs(expected).max()
                )


@pytest.mark.parametrize("target", ["uniform", "true_label"])
def test_any_loss(target):
    apply_fn, params, x, golden = net_b()
    loss_fn, loss_args = {
        "uniform": (lambda logits: -jax.nn.log_softmax(logits).mean(-1), ()),
        "true_label": (
            lambda logits, labels: (
                -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)[
                    :, 0
                ]
            ),
            (jnp.asarray(golden["labels"]),),
        ),
    }[target]
    result = jitted(
        gradients.gradient_statistics,
        apply_fn,
        params,
        x,
        loss_fn=loss_fn,
        loss_args=loss_args,
        statistics=(statistics.l1_norm,),
        group="layer",
    )
    np.testing.assert_allclose(
        result.values[..., 0], golden[f"f64/per_layer_l1_{target}"], rtol=1e-5
    )


def test_subset_of_the_parameters():
    apply_fn, params, x = problems.get("cnn")
    everything = jitted(gradients.gradient_statistics, apply_fn, params, x)
    kernels = jitted(
        gradients.gradient_statistics,
        apply_fn,
        params,
        x,
        wrt=lambda path: path.endswith("kernel"),
    )
    assert kernels.groups == ("conv1/kernel", "conv2/kernel", "dense/kernel")
    np.testing.assert_allclose(
        kernels.values, everything.values[:, 1::2], rtol=1e-4, atol=1e-5
    )
    dense = jitted(
        gradients.per_example_gradients,
        apply_fn,
        params,
        x,
        wrt=lambda path: path.startswith("dense"),
    )
    assert dense["conv1"] == {"kernel": None, "bias": None}
    assert dense["dense"]["kernel"].shape == (problems.BATCH, 20, 3)


def test_own_statistic_sees_the_tree_of_its_group():
    apply_fn, params, x = problems.get("cnn")

    def kernel_over_bias(gradient):
        return jnp.linalg.norm(gradient["conv1/kernel"].ravel()) / jnp.linalg.norm(
            gradient["conv1/bias"]
        )

    result = jitted(
        gradients.gradient_statistics,
        apply_fn,
        params,
        x,
        statistics=(statistics.l2_norm, kernel_over_bias),
        group="layer",
        wrt=lambda path: path.startswith("conv1"),
    )
    assert result.statistics == ("l2_norm", "kernel_over_bias")
    gradient = reference.per_example_gradients(apply_fn, params, x)["conv1"]
    expected = [
        np.linalg.norm(kernel) / np.linalg.norm(bias)
        for kernel, bias in zip(gradient["kernel"], gradient["bias"], strict=True)
    ]
    np.testing.assert_allclose(
        result.select("conv1", "kernel_over_bias"), expected, rtol=1e-5
    )


def test_input_and_activation_gradients():
    apply_fn, params, x = problems.get("cnn")
    slope = jax.jit(
        jax.grad(
            lambda x: reference.predicted_cross_entropy(apply_fn(params, x[None])[0])
        )
    )
    expected = [slope(example) for example in np.asarray(x)]
    result = jitted(gradients.input_gradients, apply_fn, params, x)
    np.testing.assert_allclose(result, np.stack(expected), rtol=1e-4, atol=1e-7)
    # Cut at the input, the features are the input.
    split = SplitModel(lambda params, x: x, apply_fn)
    np.testing.assert_allclose(
        jitted(gradients.activation_gradients, split, params, x), result, rtol=1e-6
    )


def test_activation_gradients_of_a_network_in_one_piece_are_at_its_feature_map():
    apply_fn, params, x = problems.get("cnn")
    result = jitted(gradients.activation_gradients, apply_fn, params, x)

    @jax.jit
    def behind_the_map(params, x):
        """Nothing but the dense layer."""
        logits = apply_fn(params, x)
        answers = jax.nn.one_hot(logits.argmax(-1), problems.CLASSES)
        return (jax.nn.softmax(logits) - answers) @ params["dense"]["kernel"].T

    expected = behind_the_map(params, x).reshape(result.shape)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-6)
    at_embedding = jitted(
        gradients.activation_gradients, apply_fn, params, x, at="embedding"
    )
    assert at_embedding.shape == (problems.BATCH, 20)
    assert result.shape == (problems.BATCH, 2, 2, 5)


@pytest.mark.parametrize(
    "way", [pytest.param("at_once", marks=pytest.mark.exhaustive), "loops"]
)
def test_fisher_trace_is_the_expected_squared_norm(way, request):
    if way == "loops":
        request.getfixturevalue("loops")
    apply_fn, params, x = problems.get("cnn")
    probabilities = np.asarray(
        jax.jit(lambda p: jax.nn.softmax(apply_fn(p, x)))(params)
    )
    by_tensor = {}
    for label in range(problems.CLASSES):
        gradient = reference.per_example_gradients(
            apply_fn, params, x, lambda z, label=label: -jax.nn.log_softmax(z)[label]
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            squares = probabilities[:, label] * (
                leaf.reshape(problems.BATCH, -1) ** 2
            ).sum(1)
            by_tensor[name] = by_tensor.get(name, 0) + squares

    @jax.jit
    def found(params, x):
        by_group = {
            group: gradients.fisher_information(apply_fn, params, x, group=group)
            for group in ("tensor", "layer")
        }
        return gradients.fisher_trace(apply_fn, params, x), by_group

    trace, by_group = found(params, x)
    np.testing.assert_allclose(trace, sum(by_tensor.values()), rtol=1e-5)
    for group, result in by_group.items():
        for name in result.groups:
            members = [
                v for n, v in by_tensor.items() if f"{n}/".startswith(f"{name}/")
            ]
            np.testing.assert_allclose(
                result.select(name, "fisher_trace"), sum(members), rtol=1e-5
            )
        assert len(result.groups) == len(gradients.groups(params, group))


def test_fisher_trace_of_a_settled_prediction_is_zero_however_long_the_gradients():
    args = lambda p, x: x @ p, jnp.array([[1.0, 0.0]]), jnp.array([[1e20]])
    result = jitted(gradients.fisher_trace, *args)
    np.testing.assert_array_equal(result, [0.0])


@pytest.mark.parametrize("logits", [[[2.0]], [[0.0, 300.0, 0.0]]])
def test_fisher_trace_of_a_settled_prediction_is_zero(logits):
    # One class; a one-hot prediction.
    args = lambda p, x: p * x, jnp.ones(()), jnp.array(logits)
    result = jitted(gradients.fisher_trace, *args)
    np.testing.assert_array_equal(result, [0.0])


@pytest.mark.parametrize(
    "size", [*(pytest.param(n, marks=pytest.mark.exhaustive) for n in (1, 8)), 3, 100]
)
def test_microbatches_do_not_change_the_result(size):
    apply_fn, params, x = problems.get("several_inputs")
    lengths = []

    @jax.jit
    def fun(params, x):
        lengths.append(len(x["words"]))
        return gradients.gradient_statistics(apply_fn, params, x)

    result = gradients.in_microbatches(fun, size=size)(params, x)
    assert lengths == [size]  # compiled once
    expected = fun(params, x)
    assert result.groups == expected.groups
    np.testing.assert_allclose(result.values, expected.values, rtol=1e-4, atol=1e-5)


def test_errors_say_what_was_expected():
    apply_fn, params, x = problems.get("mlp")

    def call(**options):
        gradients.gradient_statistics(apply_fn, params, x, **options)

    with pytest.raises(ValueError, match="group must be one of tensor, layer, network"):
        call(group="module")
    with pytest.raises(ValueError, match="wrt keeps none of the parameters dense1/"):
        call(wrt=lambda path: False)
    with pytest.raises(ValueError, match="statistics need names that differ"):
        call(statistics=(statistics.mean, statistics.mean))
    with pytest.raises(ValueError, match="arrays must have the same length"):
        call(loss_args=(jnp.zeros(3),), loss_fn=lambda logits, target: logits[:, 0])
    with pytest.raises(ValueError, match="size must be an integer >= 1"):
        gradients.in_microbatches(apply_fn, size=0)
