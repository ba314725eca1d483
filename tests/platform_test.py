"""Which form is taken is decided by the platform that a program is lowered for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests import problems
from trustjax import gradients
from trustjax._platform import by_platform, copies

sine_or_cosine = by_platform(jnp.sin, jnp.cos)


def lowered_for(platform, fun, *arguments):
    traced = jax.jit(fun).trace(*arguments)
    return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize(("platform", "name"), [("cpu", "sine"), ("tpu", "cosine")])
@pytest.mark.parametrize(
    "change", [lambda f: f, jax.vmap, lambda f: lambda x: jax.jvp(f, (x,), (x,))[0]]
)
def test_one_of_two_forms_is_lowered(change, platform, name):
    text = lowered_for(platform, change(sine_or_cosine), jnp.ones(3))
    assert {each for each in ("sine", "cosine") if f"stablehlo.{each}" in text} == {
        name
    }


def test_what_is_computed_here_is_the_form_for_cpus():
    x = jnp.arange(3.0)
    for fun in (sine_or_cosine, jax.jit(sine_or_cosine), jax.vmap(sine_or_cosine)):
        np.testing.assert_allclose(fun(x), jnp.sin(x))
    np.testing.assert_allclose(jax.grad(sine_or_cosine)(1.0), jnp.cos(1.0))


def test_inside_of_a_form_nothing_is_asked_again():
    """Not even by a function that was compiled outside of it, where it asks."""
    inner = jax.jit(by_platform(lambda x: x + 1, lambda x: x + 2))
    outer = by_platform(lambda x: inner(x) * 10, lambda x: inner(x) * 100)
    assert inner(0.0) == 1
    assert jax.jit(outer)(0.0) == 10
    assert str(jax.make_jaxpr(outer)(0.0)).count("platform_index") == 1
    assert str(jax.make_jaxpr(inner)(0.0)).count("platform_index") == 1


def test_copies_are_one_array_elsewhere():
    square = lambda x: functools.reduce(jnp.multiply, copies(x, 2))
    assert "optimization_barrier" in lowered_for("cpu", square, jnp.ones(3))
    assert "optimization_barrier" not in lowered_for("tpu", square, jnp.ones(3))


def test_copies_have_derivatives_and_batches():
    cube = lambda x: functools.reduce(jnp.multiply, copies(x, 3)).sum()
    first_alone = lambda x: copies(x, 3)[0].sum()
    x = jnp.array([[1.0, 2.0], [-3.0, 0.5]])
    for form in (lambda f: f, jax.jit):
        np.testing.assert_allclose(form(jax.grad(cube))(x), 3 * x**2, rtol=1e-6)
        np.testing.assert_allclose(form(jax.grad(first_alone))(x), jnp.ones((2, 2)))
        np.testing.assert_allclose(
            form(jax.vmap(cube, in_axes=1))(x), (x**3).sum(0), rtol=1e-6
        )
        _, slope = jax.jvp(form(cube), (x,), (x,))
        np.testing.assert_allclose(slope, 3 * (x**3).sum(), rtol=1e-6)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_copies_stay_on_their_devices(axis_type):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(axis_type,))
    x = jax.device_put(jnp.arange(16.0), NamedSharding(mesh, P("data")))
    one, other = jax.jit(lambda x: copies(x, 2))(x)
    assert one.sharding.is_equivalent_to(x.sharding, 1)
    np.testing.assert_array_equal(one + other, 2 * np.arange(16.0))


def test_a_cpu_lowers_statistics_for_accelerators_in_their_form():
    problem = problems.get("cnn")
    x = jnp.zeros((4096, *problem.x.shape[1:]))
    fun = lambda params, x: gradients.gradient_statistics(problem.apply_fn, params, x)
    # With one device, as most have that compile for others, the batch may be local.
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    on_one = jax.shard_map(
        lambda params, x: fun(params, x).values,
        mesh=mesh,
        in_specs=(P(), P("data")),
        out_specs=P("data"),
        check_vma=False,
    )
    for_cpu, for_tpu = (
        lowered_for(platform, on_one, problem.params, x) for platform in ("cpu", "tpu")
    )
    for form in ("stablehlo.while", "optimization_barrier"):
        assert form in for_cpu
        assert form not in for_tpu
