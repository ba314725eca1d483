"""The function transformation: the same values, per-example gradients as products."""

import re

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from tests import problems, reference
from tests.gradients_test import assert_trees_close
from trustjax import bridge
from trustjax.transforms import cpu_convolution, matmul_kernel_grads

OWN_GROUPS = {"conv_variants": {2, 4}}
"""The group counts that a network asks for itself."""


def loss_of(apply_fn):
    """The loss of one example, taken as a batch of one."""

    def loss(params, example):
        one = jax.tree.map(lambda a: a[None], example)
        return reference.predicted_cross_entropy(apply_fn(params, one)[0])

    return loss


def run_per_example(fun, params, x):
    """Its gradient for each example, and the program before and after XLA."""
    lowered = jax.jit(jax.vmap(jax.grad(fun), (None, 0))).lower(params, x)
    compiled = lowered.compile()
    return compiled(params, x), lowered.as_text(), compiled.as_text()


def group_counts(program):
    """The group counts over 1 of the convolutions in a compiled program."""
    found = re.findall(r"(?:feature|batch)_group_count=(\d+)", program)
    return {int(count) for count in found} - {1}


@pytest.mark.parametrize("name", problems.ALL)
def test_a_network_keeps_its_values_and_gets_the_gradients_of_a_loop(name):
    apply_fn, params, x = problems.get(name)
    forward = [
        jax.jit(fun)(params, x) for fun in (matmul_kernel_grads(apply_fn), apply_fn)
    ]
    np.testing.assert_array_equal(*forward)
    gradient, lowered, compiled = run_per_example(
        matmul_kernel_grads(loss_of(apply_fn)), params, x
    )
    assert_trees_close(gradient, reference.gradients_of_problem(name))
    assert "select_and_scatter" not in lowered
    assert group_counts(compiled) <= OWN_GROUPS.get(name, set())


def test_what_the_test_above_looks_for_is_there_without_the_transformation():
    apply_fn, params, x = problems.get("cnn")
    _, lowered, compiled = run_per_example(loss_of(apply_fn), params, x)
    assert "select_and_scatter" in lowered
    assert group_counts(compiled)


@pytest.mark.parametrize("name", ["cnn", "overlapping_pools"])
def test_values_are_the_same_bit_for_bit_without_jit(name):
    apply_fn, params, x = problems.get(name)
    np.testing.assert_array_equal(
        matmul_kernel_grads(apply_fn)(params, x), apply_fn(params, x)
    )


@pytest.mark.parametrize(
    "name",
    [
        "cnn",
        *(
            pytest.param(n, marks=pytest.mark.exhaustive)
            for n in ("conv_variants", "scanned")
        ),
    ],
)
def test_higher_derivatives_are_those_of_the_network(name):
    """Forward, reverse over reverse, forward over reverse and reverse over forward."""
    apply_fn, params, x = problems.get(name)
    direction = jax.tree.map(jnp.cos, params)

    def derivatives(transform):
        def loss(params):
            one = loss_of(apply_fn)
            return jax.vmap(transform(one), (None, 0))(params, x).mean()

        def slope(params):
            return jax.jvp(loss, (params,), (direction,))[1]

        def along(params):
            gradient = jax.grad(loss)(params)
            return sum(
                jnp.vdot(g, d)
                for g, d in zip(
                    jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True
                )
            )

        return (
            slope(params),
            jax.grad(along)(params),
            jax.jvp(jax.grad(loss), (params,), (direction,))[1],
            jax.grad(slope)(params),
        )

    ours, plain = jax.jit(
        lambda: (derivatives(matmul_kernel_grads), derivatives(lambda fun: fun))
    )()
    assert_trees_close(ours, plain, rtol=1e-4, atol=1e-5)


def test_per_example_hessian_vector_products():
    """`vmap` outside of two differentiations: both operands of a rule are mapped."""
    apply_fn, params, x = problems.get("cnn")

    def product(fun):
        gradient = jax.grad(fun)
        return lambda params, example: jax.jvp(
            lambda params: gradient(params, example), (params,), (params,)
        )[1]

    loss = loss_of(apply_fn)
    ours = jax.jit(jax.vmap(product(matmul_kernel_grads(loss)), (None, 0)))
    one = jax.jit(product(loss))
    loop = [one(params, example) for example in x]
    assert_trees_close(
        ours(params, x), jax.tree.map(lambda *rows: np.stack(rows), *loop), rtol=1e-4
    )


def test_bfloat16():
    apply_fn, params, x = problems.get("cnn")
    exact = reference.gradients_of_problem("cnn")
    params, x = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (params, x))
    gradient, *_ = run_per_example(matmul_kernel_grads(loss_of(apply_fn)), params, x)
    for ours, expected in zip(
        jax.tree.leaves(gradient), jax.tree.leaves(exact), strict=True
    ):
        assert ours.dtype == jnp.bfloat16
        error = np.linalg.norm(ours.astype(np.float32) - expected)
        assert error < 0.05 * np.linalg.norm(expected)


def test_arguments_of_every_kind():
    """Keywords, trees, None, strings and numbers reach the function as they were."""
    apply_fn, params, x = problems.get("cnn")

    @matmul_kernel_grads
    def fun(params, x, *, scale, mode, mask=None, flag=False):
        """Has a docstring."""
        assert mode == "train"
        assert mask is None
        assert isinstance(scale, float)
        return {"logits": scale * apply_fn(params, x["image"]), "flag": flag}

    assert fun.__name__ == "fun"
    assert fun.__doc__ == "Has a docstring."
    out = fun(params, {"image": x}, scale=2.0, mode="train", flag=True)
    assert out["flag"] is True
    np.testing.assert_array_equal(out["logits"], 2.0 * apply_fn(params, x))


class LinenNetwork(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), strides=2)(x))
        x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = nn.ConvTranspose(3, (2, 2), strides=(2, 2))(x)
        return nn.Dense(3)(x.reshape(x.shape[0], -1))


class NnxNetwork(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(1, 4, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.depthwise = nnx.Conv(4, 4, (3, 3), feature_group_count=4, rngs=rngs)
        self.dense = nnx.Linear(16, 3, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.conv(x)))
        x = nnx.max_pool(self.depthwise(x), (2, 2), strides=(2, 2))
        return self.dense(x.reshape(x.shape[0], -1))


def linen_network(x):
    module = LinenNetwork()
    return bridge.from_linen(module, jax.jit(module.init)(jax.random.key(0), x))


def nnx_network(x):
    model = NnxNetwork()
    model.eval()
    return bridge.from_nnx(model)


@pytest.mark.parametrize("make", [linen_network, nnx_network])
def test_flax_networks(make):
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
    apply_fn, params = make(x)
    gradient, lowered, compiled = run_per_example(
        matmul_kernel_grads(loss_of(apply_fn)), params, x
    )
    assert_trees_close(gradient, reference.per_example_gradients(apply_fn, params, x))
    assert "select_and_scatter" not in lowered
    assert group_counts(compiled) <= {4}


def test_an_empty_batch():
    apply_fn, params, x = problems.get("cnn")
    loss = matmul_kernel_grads(loss_of(apply_fn))
    gradient, *_ = run_per_example(loss, params, x[:0])
    shapes = jax.tree.map(jnp.shape, gradient)
    assert shapes == jax.tree.map(lambda a: (0, *a.shape), params)


def convolve(x, kernel, **options):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=layout, **options
    )


def pooled(x, computation, start, *, stride=2):
    strides = (1, stride, stride, 1)
    return lax.reduce_window(x, start, computation, (1, 2, 2, 1), strides, "SAME")


@pytest.mark.parametrize(
    "fun",
    [
        lambda kernel, x: convolve(x, kernel, batch_group_count=2),
        lambda kernel, x: convolve(x, kernel, preferred_element_type=jnp.float32),
        lambda kernel, x: convolve(x, kernel, precision="highest"),
        # The kernel as the image, and the image as the kernel.
        lambda kernel, x: convolve(kernel.transpose(2, 0, 1, 3), x[:, :, :, :4]),
        lambda kernel, x: pooled(convolve(x, kernel), lax.min, jnp.inf),
        lambda kernel, x: pooled(convolve(x, kernel), lax.add, 0.0),
        lambda kernel, x: lax.cumsum(convolve(x, kernel), axis=1),
        lambda kernel, x: jnp.abs(jnp.fft.fft2(convolve(x, kernel))),
        lambda kernel, x: convolve(x + 0j, kernel + 0j).real,
        # No convolution at all.
        lambda kernel, x: jnp.sin(x[..., :1] * kernel.sum()),
        lambda kernel, x: (
            lax.while_loop(
                lambda carry: carry[0] < 2,
                lambda carry: (
                    carry[0] + 1,
                    pooled(carry[1], lax.max, -jnp.inf, stride=1),
                ),
                (0, lax.stop_gradient(x)),
            )[1]
            * kernel.mean()
        ),
    ],
)
def test_what_is_special_or_not_rewritten_is_right(fun):
    kernel = jax.random.normal(jax.random.key(0), (4, 4, 4, 4))
    x = jax.random.normal(jax.random.key(1), (3, 4, 4, 4, 4))
    loss = lambda kernel, x: jnp.sum(jnp.sin(fun(kernel, x)))
    one = jax.jit(jax.value_and_grad(loss))
    value, gradient = jax.jit(
        jax.vmap(jax.value_and_grad(matmul_kernel_grads(loss)), (None, 0))
    )(kernel, x)
    for row, example in enumerate(x):
        assert_trees_close((value[row], gradient[row]), one(kernel, example), 1e-4)


@pytest.mark.parametrize(
    ("size", "window", "strides", "dilations", "channels"),
    [
        ((9,), (3,), (2,), (1,), 64),
        ((9, 7), (4, 3), (2, 1), (1, 2), 2),
        ((4, 3, 5), (2, 1, 3), (1, 1, 2), (2, 1, 1), 64),
    ],
)
def test_patches_of_many_offsets_or_channels_are_right(
    size, window, strides, dilations, channels
):
    kernel = jax.random.normal(jax.random.key(0), (*window, channels, 2)) / 8
    x = jax.random.normal(jax.random.key(1), (3, 2, *size, channels))
    rank = len(size) + 2
    image, filters = (0, rank - 1, *range(1, rank - 1)), (rank - 1, rank - 2)
    layout = lax.ConvDimensionNumbers(image, (*filters, *range(rank - 2)), image)

    def loss(kernel, x):
        y = lax.conv_general_dilated(
            x,
            kernel,
            strides,
            "SAME",
            rhs_dilation=dilations,
            dimension_numbers=layout,
        )
        return jnp.sin(y).sum()

    def penalty(loss):
        return lambda kernel, x: (jax.grad(loss)(kernel, x) ** 2).sum()

    def curvature(loss):
        along = lambda kernel, x: jax.grad(loss)(kernel, x)
        return lambda kernel, x: jax.jvp(along, (kernel, x), (kernel, x))[1]

    per_example = lambda fun: jax.jit(jax.vmap(fun, (None, 0)))
    fast = matmul_kernel_grads(loss)
    for asked in (jax.grad, lambda loss: jax.grad(penalty(loss), (0, 1)), curvature):
        ours = per_example(asked(fast))(kernel, x)
        one = jax.jit(asked(loss))
        expected = [one(kernel, example) for example in x]
        stacked = jax.tree.map(lambda *rows: jnp.stack(rows), *expected)
        assert_trees_close(ours, stacked, 1e-4)
    assert per_example(jax.grad(fast))(kernel, x[:0]).shape == (0, *kernel.shape)


@pytest.mark.parametrize(
    ("window", "channels", "options"),
    [
        ((5, 5), 4, {}),
        ((7, 3), 4, {}),  # larger by more than the offsets reach, along one axis
        ((7, 7), 1, {"feature_group_count": 4}),
        ((5, 5), 2, {"feature_group_count": 2, "rhs_dilation": (2, 1)}),
        ((5, 5), 4, {"batch_group_count": 2}),
        ((3, 3), 4, {"rhs_dilation": (4, 4)}),
    ],
)
def test_a_window_that_does_not_fit_gives_nothing(window, channels, options):
    kernel = jax.random.normal(jax.random.key(0), (*window, channels, 4))
    x = jax.random.normal(jax.random.key(1), (3, 2, 4, 4, 4))

    def loss(kernel, x):
        layout = ("NHWC", "HWIO", "NHWC")
        y = lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=layout, **options
        )
        assert y.size == 0
        pools = lax.reduce_window(
            x, -jnp.inf, lax.max, (1, 7, 2, 1), (1, 2, 2, 1), "VALID"
        )
        return jnp.sin(x).sum() * (1 + y.sum() + pools.sum())

    for argument in (0, 1):
        ours = jax.vmap(jax.grad(matmul_kernel_grads(loss), argument), (None, 0))
        expected = [jax.grad(loss, argument)(kernel, example) for example in x]
        np.testing.assert_array_equal(ours(kernel, x), np.stack(expected))


def convolution_of(batch, side, channels, window=(3, 3)):
    """Images and a kernel, and the layout channels last."""
    x = jax.random.normal(jax.random.key(0), (batch, side + 1, side, channels))
    kernel = jax.random.normal(jax.random.key(1), (*window, channels, 4))
    layout = ("NHWC", "HWIO", "NHWC")
    return x, kernel, lax.conv_dimension_numbers(x.shape, kernel.shape, layout)


def value_and_gradients(conv, x, kernel, *args, **options):
    """Of a loss that is curved in what the convolution returns."""
    loss = lambda x, kernel: jnp.sin(conv(x, kernel, *args, **options)).sum()
    return jax.jit(jax.value_and_grad(loss, (0, 1)))(x, kernel)


@pytest.mark.parametrize(
    ("batch", "side", "channels", "strides", "padding", "dilation"),
    [
        (2, 8, 1, (1, 1), "VALID", (1, 1)),  # a stencil
        (2, 8, 1, (2, 1), ((1, 1), (0, 2)), (1, 1)),
        (2, 8, 1, (2, 2), "SAME", (1, 1)),
        (2, 8, 1, (1, 1), "VALID", (2, 2)),
        (2, 8, 3, (1, 1), "VALID", (1, 1)),  # left to JAX
        (3, 16, 3, (1, 1), "SAME", (1, 1)),  # the gradient of the kernel in one tile
        (7, 41, 32, (1, 1), "SAME", (1, 1)),  # in four, the last not full
        (7, 90, 32, (2, 2), "VALID", (2, 1)),
    ],
)
def test_the_convolution_for_cpus_is_the_convolution(
    batch, side, channels, strides, padding, dilation
):
    x, kernel, layout = convolution_of(batch, side, channels)
    ours, jaxs = (
        value_and_gradients(
            conv,
            x,
            kernel,
            strides,
            padding,
            rhs_dilation=dilation,
            dimension_numbers=layout,
        )
        for conv in (cpu_convolution, lax.conv_general_dilated)
    )
    assert_trees_close(ours, jaxs)


def test_the_convolution_for_cpus_learns_nothing_from_no_images():
    x, kernel, layout = convolution_of(0, 16, 3)
    _, (_, gradient) = value_and_gradients(
        cpu_convolution, x, kernel, (1, 1), "SAME", dimension_numbers=layout
    )
    np.testing.assert_array_equal(gradient, np.zeros(kernel.shape))


def test_the_convolution_for_cpus_is_exported_with_a_symbolic_batch():
    x, kernel, layout = convolution_of(5, 16, 3)
    gradient = jax.jit(
        jax.grad(
            lambda kernel, x: jnp.sin(
                cpu_convolution(x, kernel, (1, 1), "SAME", dimension_numbers=layout)
            ).sum()
        )
    )
    (batch,) = jax.export.symbolic_shape("batch")
    of_any_size = jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype)
    exported = jax.export.export(gradient)(kernel, of_any_size)
    for number in (2, 5):
        ours = exported.call(kernel, x[:number])
        np.testing.assert_allclose(ours, gradient(kernel, x[:number]), 1e-4, 1e-4)


@pytest.mark.parametrize(
    ("dtype", "channels"), [(jnp.bfloat16, 1), (jnp.bfloat16, 2), (jnp.float32, 2)]
)
def test_the_convolution_for_cpus_leaves_other_types_and_groups_to_jax(dtype, channels):
    x, kernel, layout = convolution_of(2, 16, 4)
    x, kernel = x.astype(dtype), kernel[..., :channels, :].astype(dtype)
    options = {"dimension_numbers": layout, "feature_group_count": 4 // channels}
    ours, jaxs = (
        jax.make_jaxpr(lambda x, k, f=f: f(x, k, (1, 1), "SAME", **options))(x, kernel)
        for f in (cpu_convolution, lax.conv_general_dilated)
    )
    assert str(ours) == str(jaxs)


def test_parameters_may_be_numpy_arrays():
    kernel = np.ones((3, 3, 1, 2), np.float32)
    ours, jaxs = (
        jax.grad(lambda x, f=f: f(x, kernel).sum())(jnp.ones((2, 4, 4, 1)))
        for f in (matmul_kernel_grads(convolve), convolve)
    )
    np.testing.assert_array_equal(ours, jaxs)


def test_integers_are_convolved_as_ever():
    x = jnp.arange(32, dtype=jnp.int32).reshape(2, 4, 4, 1)
    kernel = jnp.ones((3, 3, 1, 1), jnp.int32)
    np.testing.assert_array_equal(
        matmul_kernel_grads(convolve)(x, kernel), convolve(x, kernel)
    )


@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [
        ((3, 3), (2, 2), ((1, 1), (1, 1))),
        ((3, 2), (2, 2), ((0, 0), (0, 1))),
        ((2, 5), (1, 2), ((1, 0), (2, 2))),
        ((3, 3), (1, 1), ((1, 1), (1, 1))),
        ((2, 2), (3, 3), ((0, 0), (0, 0))),
    ],
)
def test_max_pooling_has_the_derivatives_of_jax(window, strides, padding):
    x = jax.random.normal(jax.random.key(0), (2, 9, 11, 3))
    whole = lambda sizes: (1, *sizes, 1)

    def loss(x):
        y = lax.reduce_window(
            x,
            -jnp.inf,
            lax.max,
            whole(window),
            whole(strides),
            ((0, 0), *padding, (0, 0)),
        )
        return (y * jnp.sin(jnp.arange(y.size)).reshape(y.shape)).sum()

    ours, jaxs = (jax.jit(jax.grad(f))(x) for f in (matmul_kernel_grads(loss), loss))
    np.testing.assert_allclose(ours, jaxs, atol=1e-5)
    ours, jaxs = (
        jax.jvp(f, (x,), (jnp.cos(x),)) for f in (matmul_kernel_grads(loss), loss)
    )
    np.testing.assert_allclose(ours, jaxs, rtol=1e-4)


def test_max_pooling_with_gaps_inside_the_window_has_a_gradient():
    x = jax.random.normal(jax.random.key(0), (2, 9, 5))
    weights = jax.random.normal(jax.random.key(1), (2, 7, 5))

    def loss(x):
        y = lax.reduce_window(
            x,
            -jnp.inf,
            lax.max,
            (1, 2, 1),
            (1, 1, 1),
            "VALID",
            window_dilation=(1, 2, 1),
        )
        return (y * weights).sum()

    ours = jax.grad(matmul_kernel_grads(loss))(x)  # JAX itself has none
    expected = jax.grad(lambda x: (jnp.maximum(x[:, :-2], x[:, 2:]) * weights).sum())
    np.testing.assert_allclose(ours, expected(x), atol=1e-6)


@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [
        ((7, 7), (2, 2), ((3, 3), (3, 3))),
        ((3, 3), (2, 2), ((1, 1), (1, 1))),
        ((3, 3), (2, 1), ((0, 1), (0, 0))),
        ((2, 5), (3, 2), ((0, 0), (0, 4))),
        ((1, 1), (2, 2), ((0, 0), (0, 0))),
        ((1, 1), (3, 1), ((1, 0), (0, 2))),
        ((2, 2), (3, 3), ((-1, -1), (0, -2))),  # a gap, and images that are cropped
    ],
)
@pytest.mark.parametrize("fast", [matmul_kernel_grads, lambda _: cpu_convolution])
def test_strided_convolutions_have_the_gradients_of_jax(window, strides, padding, fast):
    x, kernel, layout = convolution_of(2, 12, 3, window)
    plain = lax.conv_general_dilated
    ours, jaxs = (
        value_and_gradients(conv, x, kernel, strides, padding, dimension_numbers=layout)
        for conv in (fast(plain), plain)
    )
    assert_trees_close(ours, jaxs)


@pytest.mark.parametrize(
    ("channels", "platform", "zeros_between"),
    [(3, "cpu", False), (8, "cpu", True), (3, "tpu", True)],
)
def test_the_stem_has_an_input_gradient_without_zeros(
    channels, platform, zeros_between
):
    """On a CPU: XLA would multiply the zeros between the positions."""
    x, kernel, layout = convolution_of(2, 12, channels, (7, 7))
    pads = ((3, 3), (3, 3))

    def loss(x):
        y = lax.conv_general_dilated(x, kernel, (2, 2), pads, dimension_numbers=layout)
        return jnp.sum(y**2)

    ours = jax.vmap(jax.grad(lambda x: matmul_kernel_grads(loss)(x[None])))
    lowered = jax.jit(ours).trace(x).lower(lowering_platforms=(platform,))
    assert ("lhs_dilate = [2, 2]" in lowered.as_text()) == zeros_between
    assert_trees_close(ours(x), jax.grad(loss)(x))


def test_ties_and_nan_in_max_pooling_go_where_jax_sends_them():
    x = jnp.array([[1.0, 1.0, 2.0, 0.0], [1.0, 1.0, 2.0, jnp.nan]]).reshape(1, 2, 4, 1)
    loss = lambda x: (
        pooled(x, lax.max, -jnp.inf) * jnp.array([3.0, 5.0]).reshape(1, 1, 2, 1)
    ).sum()
    ours = jax.grad(matmul_kernel_grads(loss))(x)
    np.testing.assert_array_equal(ours[..., :2, 0], jax.grad(loss)(x)[..., :2, 0])
    # Of a window with NaN the maximum is NaN, and so the gradient is that one's.
    np.testing.assert_array_equal(ours[0, :, 2:, 0], [[0, 0], [0, 5]])
