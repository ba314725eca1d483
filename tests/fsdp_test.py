"""Parameters that are spread over the devices of the batch are gathered where used."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests import problems, reference
from tests.gradients_test import assert_statistics_close, assert_trees_close
from tests.sharding_test import collectives_in
from trustjax import gradients, scoring, statistics, transforms

DEVICES, LAYERS, WIDTH, BATCH = 8, 6, 128, 16
exhaustive = pytest.mark.exhaustive
GATHERED = re.compile(r"= \w+\[([\d,]*)\]\S* all-gather\(")
# As on an accelerator: XLA's default on a CPU orders a program so that much of it can
# run at once, and all gathers then come first.
FOR_MEMORY: Any = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


def mesh_of(kind):
    return jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType[kind],))


def spread(params, mesh):
    """Each array by its first axis that the devices can share, if it has one."""

    def placed(leaf):
        shared = [i for i, n in enumerate(leaf.shape) if n % DEVICES == 0]
        spec = P(*[None] * shared[0], "data") if shared else P()
        return jax.device_put(leaf, NamedSharding(mesh, spec))

    return jax.tree.map(placed, params)


def gathering(apply_fn, mesh):
    """On explicit axes the types are enough."""
    if mesh.abstract_mesh.explicit_axes:
        return apply_fn
    return transforms.gather_parameters(apply_fn, NamedSharding(mesh, P()))


def deep():
    """Layers of which one is little beside all of them."""
    keys = jax.random.split(jax.random.key(0), LAYERS + 1)
    params = [jax.random.normal(key, (WIDTH, WIDTH)) / 8 for key in keys[1:]]
    x = jax.random.normal(keys[0], (BATCH, WIDTH))

    def apply_fn(params, x):
        for kernel in params:
            x = jnp.tanh(x @ kernel)
        return x

    return apply_fn, params, x


def gathered_in(program: Any) -> list[str]:
    """The shape of what each of its gathers makes."""
    return GATHERED.findall(program.as_text())


def program_of(apply_fn, params, x, mesh):
    def values(params, x):
        return gradients.gradient_statistics(apply_fn, params, x).values

    x = jax.device_put(x, NamedSharding(mesh, P("data")))
    lowered = jax.jit(values).lower(params, x)
    return lowered.compile(FOR_MEMORY), x


def flops(program: Any) -> float:
    return program.cost_analysis()["flops"]


def bytes_on_a_device(program):
    memory = program.memory_analysis()
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
    )


@pytest.mark.parametrize("kind", ["Explicit", pytest.param("Auto", marks=exhaustive)])
def test_a_network_that_fits_no_device_runs_on_eight(kind):
    """At the work of one with parameters everywhere, gathering nothing but kernels."""
    mesh = mesh_of(kind)
    apply_fn, params, x = deep()
    of_all = sum(leaf.nbytes for leaf in params)
    limit = of_all  # of one device: nothing is left beside the parameters
    whole = jax.device_put(params, NamedSharding(mesh, P()))
    replicated, x = program_of(apply_fn, whole, x, mesh)
    assert bytes_on_a_device(replicated) > limit

    shares = spread(params, mesh)
    program, _ = program_of(gathering(apply_fn, mesh), shares, x, mesh)
    activations = bytes_on_a_device(replicated) - of_all
    few_layers = of_all / DEVICES + 2 * params[0].nbytes + activations
    assert bytes_on_a_device(program) < min(limit, few_layers)
    assert collectives_in(program.as_text()) == {"all-gather"}
    # On the way there and back again; to the input no gradient goes.
    shapes = gathered_in(program)
    assert shapes == [f"{WIDTH},{WIDTH}"] * (2 * LAYERS - 1)
    assert flops(program) / flops(replicated) < 1.2
    np.testing.assert_allclose(program(shares, x), replicated(whole, x), rtol=1e-5)


@exhaustive
@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
@pytest.mark.parametrize("name", ["cnn", "transformer", "resnet"])
def test_statistics_are_those_of_a_loop(name, kind):
    apply_fn, params, x = problems.get(name)
    mesh = mesh_of(kind)
    shares = spread(params, mesh)
    program, x = program_of(gathering(apply_fn, mesh), shares, x, mesh)
    expected, _ = reference.gradient_statistics(
        reference.gradients_of_problem(name), "tensor"
    )
    assert_statistics_close(program(shares, x), expected)
    assert collectives_in(program.as_text()) <= {"all-gather"}
    of_parameters = {leaf.size for leaf in jax.tree.leaves(params)}
    shapes = gathered_in(program)
    gathered = {np.prod([int(n) for n in shape.split(",")]) for shape in shapes}
    assert gathered <= of_parameters


@exhaustive
@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_gradients_of_examples_and_of_their_statistics(kind):
    """Each example's own, where it is; and those of the statistics, of both orders."""
    mesh = mesh_of(kind)
    apply_fn, params, x = deep()
    rows = NamedSharding(mesh, P("data"))

    def both(apply_fn):
        def norms(params, x):
            found = gradients.gradient_statistics(
                apply_fn, params, x, statistics=(statistics.l2_norm,)
            )
            return found.values.sum()

        def found(params, x):
            own = gradients.per_example_gradients(apply_fn, params, x)
            along = jax.jvp(lambda p: norms(p, x), (params,), (params,))[1]
            return own, jax.grad(norms)(params, x), along

        return found

    alone = jax.jit(both(apply_fn))(params, x)
    shares, x = spread(params, mesh), jax.device_put(x, rows)
    own, of_norms, along = jax.jit(both(gathering(apply_fn, mesh)))(shares, x)
    for leaf in own:
        assert leaf.sharding.is_equivalent_to(rows, leaf.ndim)
    assert_trees_close((own, of_norms, along), alone, 1e-4)


@exhaustive
@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_every_gradient(kind):
    mesh = mesh_of(kind)
    apply_fn, params, x = deep()
    asked = jnp.broadcast_to(jnp.arange(3), (BATCH, 3))

    def everything(apply_fn):
        return lambda params, x: {
            "input": gradients.input_gradients(apply_fn, params, x),
            "classes": gradients.class_gradients(apply_fn, params, x, asked).values,
            "fisher": gradients.fisher_information(apply_fn, params, x).values,
        }

    alone = jax.jit(everything(apply_fn))(params, x)
    x = jax.device_put(x, NamedSharding(mesh, P("data")))
    shares = spread(params, mesh)
    program = jax.jit(everything(gathering(apply_fn, mesh))).lower(shares, x).compile()
    assert_trees_close(program(shares, x), alone, 1e-4)
    assert collectives_in(program.as_text()) == {"all-gather"}
    assert set(gathered_in(program)) == {f"{WIDTH},{WIDTH}"}


@pytest.mark.parametrize("kind", ["Auto", pytest.param("Explicit", marks=exhaustive)])
def test_scoring_leaves_parameters_where_they_are(kind):
    mesh = mesh_of(kind)
    rows = NamedSharding(mesh, P("data"))
    apply_fn, params, x = deep()
    batches = scoring.batches(np.asarray(x), np.zeros(BATCH, int))
    asked = ["logits", "gradient_l2_norm", "grad_norm"]
    alone = scoring.run(asked, apply_fn, params, batches).values
    shares = spread(params, mesh)
    scorer = scoring.Scorer(asked, apply_fn, shares, sharding=rows)
    for name, values in scorer.run(batches).values.items():
        np.testing.assert_allclose(values, alone[name], rtol=1e-5, atol=1e-6)
    for own, share in zip(scorer._network.placed_params, shares, strict=True):
        assert own is share
    (program,) = scorer._programs.values()
    compiled = program._lowered.compile()
    assert collectives_in(compiled.as_text()) == {"all-gather"}
    assert set(gathered_in(compiled)) == {f"{WIDTH},{WIDTH}"}


@exhaustive
def test_axes_that_are_kept():
    """A kernel that is also divided by its outputs is gathered over the data alone."""
    kinds = (AxisType.Auto, AxisType.Auto)
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=kinds)
    params = {"w": jax.random.normal(jax.random.key(0), (8, 6))}
    x = jax.random.normal(jax.random.key(1), (8, 8))
    apply_fn = lambda params, x: x @ params["w"]
    kept = {"w": NamedSharding(mesh, P(None, "model"))}
    gathered = transforms.gather_parameters(apply_fn, kept)
    found = jax.jit(
        lambda params, x: gradients.gradient_statistics(gathered, params, x).values
    )(
        jax.device_put(params, NamedSharding(mesh, P("data", "model"))),
        jax.device_put(x, NamedSharding(mesh, P("data"))),
    )
    alone = gradients.gradient_statistics(apply_fn, params, x).values
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-5)
