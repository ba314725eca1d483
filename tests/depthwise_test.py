"""Depthwise convolutions as sums are those of JAX, in every derivative."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from trustjax import _depthwise, transforms

LAYOUTS = {
    "NHWC": ("NHWC", "HWIO", "NHWC"),
    "NCHW": ("NCHW", "OIHW", "NCHW"),
    "NWC": ("NWC", "WIO", "NWC"),
    "NDHWC": ("NDHWC", "DHWIO", "NDHWC"),
}
CASES = {
    "same": {},
    "strided": {"window_strides": 2, "padding": "VALID"},
    "uneven": {"padding": (2, 0), "window_strides": 3},
    "dilated": {"rhs_dilation": 2, "padding": (1, 3)},
    "cropped": {"padding": (-1, 2)},
    "spread": {"lhs_dilation": 2, "padding": (1, 1)},
    "even": {"size": 2, "window_strides": 2, "padding": "VALID"},
    "large": {"size": 5, "window_strides": 2, "rhs_dilation": 2, "padding": (4, 3)},
    "too small": {"size": 9, "padding": "VALID"},
}
CHANNELS = 4


def problem(layout, *, size=3, window_strides=1, padding="SAME", **dilations):
    names = LAYOUTS[layout]
    axes = [name for name in names[0] if name not in "NC"]
    sizes = {"N": 2, "C": CHANNELS, "I": 1, "O": CHANNELS, "D": 7, "H": 8, "W": 9}
    image = tuple(sizes[name] for name in names[0])
    kernel = tuple(sizes[name] if name in "IO" else size for name in names[1])
    keys = jax.random.split(jax.random.key(0))
    options = {
        "window_strides": (window_strides,) * len(axes),
        "padding": padding if isinstance(padding, str) else [padding] * len(axes),
        "dimension_numbers": names,
        "feature_group_count": CHANNELS,
        **{name: (value,) * len(axes) for name, value in dilations.items()},
    }
    return *map(jax.random.normal, keys, (image, kernel)), options


def of_ours(x, kernel, *, window_strides, padding, **options):
    return _depthwise.depthwise_convolution(
        x, kernel, window_strides, padding, **options
    )


@pytest.mark.parametrize(
    ("layout", "case"),
    [
        *(("NHWC", case) for case in CASES),
        *(
            (layout, case)
            for layout in ("NCHW", "NWC", "NDHWC")
            for case in ("uneven", "large")
        ),
    ],
)
def test_values_and_derivatives_are_those_of_jax(layout, case):
    x, kernel, options = problem(layout, **CASES[case])

    def both(convolution):
        value = convolution(x, kernel, **options)
        loss = lambda x, kernel: jnp.sum(jnp.sin(convolution(x, kernel, **options)))
        return value, jax.grad(loss, (0, 1))(x, kernel)

    expected = both(lax.conv_general_dilated)
    found = jax.jit(lambda: both(of_ours))()
    for ours, theirs in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", ["grouped", "multiplied", "one channel", "bfloat16"])
def test_other_convolutions_are_left_to_jax(case):
    x, kernel, options = problem("NHWC")
    if case == "grouped":
        options["feature_group_count"] = 2
        kernel = jnp.concatenate([kernel, kernel], axis=2)
    if case == "multiplied":
        kernel = jnp.concatenate([kernel, kernel], axis=3)
    if case == "one channel":
        x, kernel, options["feature_group_count"] = x[..., :1], kernel[..., :1], 1
    if case == "bfloat16":
        x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    text = str(jax.make_jaxpr(lambda *a: of_ours(*a, **options))(x, kernel))
    assert "conv_general_dilated" in text
    assert "cond" not in text


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_the_form_is_that_of_the_device(platform):
    x, kernel, options = problem("NHWC")
    traced = jax.jit(lambda *a: of_ours(*a, **options)).trace(x, kernel)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.convolution" in text) == (platform == "tpu")


@pytest.mark.parametrize("axes", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("case", ["strided", "large"])
def test_each_device_sums_its_own_images(case, axes):
    x, kernel, options = problem("NHWC", **CASES[case])
    x = jnp.concatenate([x] * 4)
    expected = lax.conv_general_dilated(x, kernel, **options)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(axes,))
    placed = [
        jax.device_put(array, NamedSharding(mesh, spec))
        for array, spec in ((x, P("data")), (kernel, P()))
    ]
    ours = lambda *arrays: of_ours(*arrays, **options)
    local = jax.shard_map(
        ours, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data")
    )
    for convolution in (ours, local):
        found = jax.jit(convolution)(*placed)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        assert len(found.sharding.device_set) == 8


def test_training_takes_the_same():
    x, kernel, options = problem("NHWC")
    strides, padding = options.pop("window_strides"), options.pop("padding")
    convolution = functools.partial(
        transforms.cpu_convolution, strides=strides, padding=padding, **options
    )
    traced = jax.jit(convolution).trace(x, kernel)
    text = traced.lower(lowering_platforms=("cpu",)).as_text()
    assert "stablehlo.convolution" not in text
