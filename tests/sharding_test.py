"""A batch that is sharded over devices gives what one device gives, and no traffic."""

import contextlib
import os
import pathlib
import re
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks._collectives import COLLECTIVE
from tests import problems, reference, two_processes
from tests.gradients_test import assert_statistics_close, assert_trees_close
from trustjax import bridge, gradients, models, scores, scoring, statistics, transforms
from trustjax.ingredients import LAST_LAYER
from trustjax.typing import SplitModel

OF_THE_NETWORK = {
    # How often its loop runs depends on all examples.
    "branching": {"all-reduce"},
    # XLA's partitioner does not split a convolution with several channels in a group.
    "conv_variants": {"all-gather"},
}
"""Networks whose forward pass alone needs collectives, outside of `shard_map`."""


@pytest.fixture(scope="module", params=["Auto", "Explicit"])
def mesh(request):
    """Of both kinds; `jax.make_mesh` makes explicit axes by default."""
    return jax.make_mesh((8,), ("data",), axis_types=(AxisType[request.param],))


@pytest.fixture(scope="module")
def auto_mesh():
    return jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))


exhaustive = pytest.mark.exhaustive
# Of the two kinds, the one that a user gets is enough for `make test`.
explicit = pytest.mark.parametrize(
    "mesh",
    ["Explicit", pytest.param("Auto", marks=exhaustive)],
    indirect=True,
)


def collectives_in(program):
    return set(COLLECTIVE.findall(program))


def x_sharding(mesh):
    return NamedSharding(mesh, P("data"))


def run_sharded(fun, mesh, params, x):
    """What a compiled function gives for a sharded batch, and its collectives."""
    x = jax.device_put(x, x_sharding(mesh))
    params = jax.device_put(params, NamedSharding(mesh, P()))
    compiled = jax.jit(fun).lower(params, x).compile()
    results = compiled(params, x)
    for leaf in jax.tree.leaves(results):
        assert leaf.sharding.is_equivalent_to(x_sharding(mesh), leaf.ndim)
    return results, collectives_in(compiled.as_text())


def assert_statistics_are_of_a_loop(result, name):
    expected, groups = reference.gradient_statistics(
        reference.gradients_of_problem(name), "tensor"
    )
    assert result.groups == groups
    assert_statistics_close(result.values, expected)


@pytest.mark.parametrize("name", problems.light_or_exhaustive())
def test_statistics(name, mesh):
    apply_fn, params, x = problems.get(name)
    result, collectives = run_sharded(
        lambda params, x: gradients.gradient_statistics(apply_fn, params, x),
        mesh,
        params,
        x,
    )
    assert_statistics_are_of_a_loop(result, name)
    assert collectives == OF_THE_NETWORK.get(name, set())


@pytest.mark.parametrize(
    "name",
    [
        "cnn",
        *(pytest.param(n, marks=exhaustive) for n in ("several_inputs", "transformer")),
    ],
)
def test_gradients_in_bfloat16(name, mesh):
    apply_fn, params, x = problems.get(name)
    halved = lambda a: a.astype(jnp.bfloat16) if a.dtype == jnp.float32 else a
    gradient, collectives = run_sharded(
        lambda params, x: gradients.per_example_gradients(apply_fn, params, x),
        mesh,
        *jax.tree.map(halved, (params, x)),
    )
    exact = reference.gradients_of_problem(name)
    for ours, expected in zip(
        jax.tree.leaves(gradient), jax.tree.leaves(exact), strict=True
    ):
        assert ours.dtype == jnp.bfloat16
        error = np.linalg.norm(ours.astype(np.float32) - expected)
        assert error < 0.05 * np.linalg.norm(expected)
    assert not collectives


@explicit
def test_statistics_in_float64(mesh):
    """To the last digits, of an embedding and a convolution."""
    apply_fn, params, x = problems.get("several_inputs")
    with jax.enable_x64(True):
        doubled = lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a
        params, x = jax.tree.map(doubled, (params, x))
        result, _ = run_sharded(
            lambda params, x: gradients.gradient_statistics(apply_fn, params, x),
            mesh,
            params,
            x,
        )
        loop = reference.per_example_gradients(apply_fn, params, x)
    assert result.values.dtype == jnp.float64
    expected, _ = reference.gradient_statistics(loop, "tensor")
    np.testing.assert_allclose(result.values, expected, rtol=1e-7, atol=1e-12)


@explicit
def test_what_is_no_row_of_an_example_is_whole_everywhere(mesh):
    """Of a network that pools, with ten classes, which eight devices do not divide."""
    model = models.create(
        "cnn", num_classes=10, image_shape=(18, 18, 1), rngs=nnx.Rngs(0)
    )
    model.eval()
    apply_fn, params = bridge.from_nnx(model)
    x = jax.random.normal(jax.random.key(0), (16, 18, 18, 1))

    def of_batch(params, x):
        asked = scoring.score_batch([LAST_LAYER], apply_fn, params, x)
        return gradients.gradient_sum(apply_fn, params, x), asked

    placed = jax.device_put(x, x_sharding(mesh))
    everywhere = jax.device_put(params, NamedSharding(mesh, P()))
    whole = jax.jit(of_batch)(everywhere, placed)
    for leaf in jax.tree.leaves(whole):
        assert leaf.sharding.is_fully_replicated
    alone = jax.jit(of_batch)(params, x)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        jax.tree.map(np.asarray, whole),
        jax.tree.map(np.asarray, alone),
    )
    summed = jax.jit(jax.grad(lambda params, x: apply_fn(params, x).sum()))
    assert_trees_close(summed(everywhere, placed), summed(params, x))


def dense():
    """A layer, its parameters and eight examples."""
    params = {"w": jax.random.normal(jax.random.key(0), (4, 3))}
    x = jax.random.normal(jax.random.key(1), (8, 4))
    return lambda params, x: jnp.tanh(x @ params["w"]), params, x


@explicit
def test_every_gradient(mesh):
    apply_fn, params, x = dense()
    split = SplitModel(lambda params, x: 2 * x, apply_fn)

    def everything(params, x):
        asked = jnp.broadcast_to(jnp.arange(3), (8, 3))
        return {
            "input": gradients.input_gradients(apply_fn, params, x),
            "activation": gradients.activation_gradients(split, params, x),
            "classes": gradients.class_gradients(apply_fn, params, x, asked).values,
            "fisher": gradients.fisher_information(apply_fn, params, x).values,
        }

    result, collectives = run_sharded(everything, mesh, params, x)
    assert_trees_close(result, jax.jit(everything)(params, x))
    assert not collectives


@pytest.mark.parametrize("placed", [True, False])
@pytest.mark.exhaustive
def test_without_jit_on_explicit_axes(placed):
    """Also of parameters that were never put on the mesh; and by microbatches."""
    apply_fn, params, x = dense()
    norms = lambda params, x: (
        gradients.gradient_statistics(
            apply_fn, params, x, statistics=(statistics.l2_norm,)
        ).values
    )
    alone = norms(params, x)
    mesh = jax.make_mesh((8,), ("data",))
    x = jax.device_put(x, x_sharding(mesh))
    if placed:
        params = jax.device_put(params, NamedSharding(mesh, P()))
    uneven = gradients.in_microbatches(jax.jit(norms), size=3)
    for result in (norms(params, x), uneven(params, x)):
        np.testing.assert_allclose(result, alone, rtol=1e-5)
        assert result.sharding.is_equivalent_to(x_sharding(mesh), result.ndim)


@pytest.mark.parametrize("name", OF_THE_NETWORK)
def test_the_collectives_are_those_of_the_forward_pass(name, auto_mesh):
    apply_fn, params, x = problems.get(name)
    _, collectives = run_sharded(apply_fn, auto_mesh, params, x)
    assert collectives == OF_THE_NETWORK[name]


@pytest.mark.parametrize(
    "name", ["cnn", *(pytest.param(n, marks=exhaustive) for n in OF_THE_NETWORK)]
)
def test_inside_shard_map(name, mesh):
    """With `check_vma`, as is the default: each device has examples of its own."""
    apply_fn, params, x = problems.get(name)
    local = jax.shard_map(
        lambda params, x: gradients.gradient_statistics(apply_fn, params, x),
        mesh=mesh,
        in_specs=(P(), P("data")),
        out_specs=P("data"),
    )
    result, collectives = run_sharded(local, mesh, params, x)
    assert_statistics_are_of_a_loop(result, name)
    assert not collectives


@explicit
@pytest.mark.exhaustive
def test_scores_of_gradients(mesh):
    """Each from gradients towards one class, every class, or all classes at once."""
    apply_fn, params, x = problems.get("cnn")

    def all_scores(params, x):
        return {
            "counterfactual": scores.counterfactual_grad_trust(apply_fn, params, x),
            "closed form": scores.grad_trust(apply_fn(params, x), top_k=1),
            "purview": scores.purview(apply_fn, params, x),
            "fisher": gradients.fisher_trace(apply_fn, params, x),
        }

    sharded, collectives = run_sharded(all_scores, mesh, params, x)
    alone = jax.jit(all_scores)(params, x)
    for name, score in alone.items():
        np.testing.assert_allclose(sharded[name], score, rtol=1e-5, err_msg=name)
    assert not collectives


@pytest.mark.parametrize("name", ["cnn", pytest.param("resnet", marks=exhaustive)])
def test_gradients_and_vmap_of_grad_of_the_transformed_loss(name, mesh):
    apply_fn, params, x = problems.get(name)

    @transforms.matmul_kernel_grads
    def loss(params, example):
        return reference.predicted_cross_entropy(apply_fn(params, example[None])[0])

    transformed = jax.vmap(jax.grad(loss), (None, 0))
    if mesh.abstract_mesh.explicit_axes:
        # Where JAX refuses `vmap(grad)`; `per_example_gradients` does this by itself.
        in_auto = jax.sharding.auto_axes(out_sharding=x_sharding(mesh))
        transformed = in_auto(transformed)

    by_both, collectives = run_sharded(
        lambda params, x: (
            transformed(params, x),
            gradients.per_example_gradients(apply_fn, params, x),
        ),
        mesh,
        params,
        x,
    )
    for gradient in by_both:
        assert_trees_close(gradient, reference.gradients_of_problem(name))
    assert not collectives


@pytest.fixture(scope="module")
def of_two_and_then_one(tmp_path_factory):
    """What each of two processes, of two devices each, wrote."""
    folder = tmp_path_factory.mktemp("processes")
    two_processes.taken_up(folder / "of one", 0, 1, sharding=over_eight())
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    root = pathlib.Path(__file__).parents[1]
    # Each has devices of its own, and not the eight of this process.
    flags = re.sub(r"\S+_device_count=8", "", os.environ["XLA_FLAGS"])
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(root)}
    with contextlib.ExitStack() as stack:
        workers = []
        for rank in "01":
            command = [sys.executable, "-m", "tests.two_processes", port, rank]
            worker = subprocess.Popen(
                [*command, str(folder / rank)],
                env=environment,
                cwd=root,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            stack.callback(worker.wait)
            stack.callback(worker.kill)
            workers.append(worker)
        for worker in workers:
            said, _ = worker.communicate(timeout=120)
            assert worker.returncode == 0, said
    assert not list((folder / "of one").iterdir())
    alone = two_processes.taken_up(folder / "of two", 0, 1, sharding=over_eight())
    return [*(dict(np.load(folder / f"{rank}.npz")) for rank in "01"), alone]


def over_eight():
    return x_sharding(jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,)))


@pytest.fixture
def of_two_processes(of_two_and_then_one):
    return of_two_and_then_one[:2]


def test_any_number_of_processes_takes_up_what_others_have_finished(
    of_two_and_then_one,
):
    *of_two, of_one = of_two_and_then_one
    rows = [batch["image"] for batch in two_processes.batches_of(0, 1)]
    highest = np.tanh(np.concatenate(rows)[:, :3]).max(axis=1)
    for found in (*of_two, dict(zip(("highest", "last_kernel"), of_one, strict=False))):
        np.testing.assert_allclose(found["highest"], highest, rtol=1e-6)
        np.testing.assert_array_equal(found["last_kernel"], np.eye(4, 3))
    # One batch of three was left.
    assert [int(found["computed"]) for found in of_two] == [1, 1]
    assert of_one[2] == 1


def test_processes_with_other_parameters_are_refused_in_each_of_them(of_two_processes):
    for found in of_two_processes:
        (said,) = found["other_networks"]
        assert "the fingerprint of the parameters is" in said
        assert " in process 0 and " in said


def test_two_processes_share_a_batch(of_two_processes):
    rows = [found["statistics"] for found in of_two_processes]
    assert [len(part) for part in rows] == [problems.BATCH // 2] * 2
    _, params, x = problems.get("cnn")
    alone = jax.jit(two_processes.statistics)(params, x)
    assert_statistics_close(np.concatenate(rows), alone)


def test_a_shared_batch_is_finished_where_every_process_finished_it(of_two_processes):
    alone = two_processes.centred_logits(two_processes.batches_of(0, 1))
    for found in of_two_processes:
        np.testing.assert_allclose(found["resumed"], alone, atol=1e-6)


def test_what_is_of_all_examples_is_the_same_in_every_process(of_two_processes):
    alone = two_processes.of_all_examples(two_processes.batches_of(0, 1))
    for found in of_two_processes:
        for name, value in alone.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5)


def test_parameters_that_no_process_has_whole(of_two_processes):
    alone = scoring.run(
        ["logits", "gradient_l2_norm"],
        lambda params, x: x @ params,
        two_processes.KERNEL,
        two_processes.batches_of(0, 1),
    ).values
    for found in of_two_processes:
        np.testing.assert_allclose(found["spread_logits"], alone["logits"], rtol=1e-5)
        norms = alone["gradient_l2_norm"]
        np.testing.assert_allclose(found["spread_norms"], norms, rtol=1e-5)
        assert found["spread_fingerprint"] == scoring.fingerprint(two_processes.KERNEL)


def test_processes_with_unequal_batches_are_refused_in_each_of_them(of_two_processes):
    for found in of_two_processes:
        number, size = found["unequal"]
        assert "the same number of batches" in number
        assert "batch 3 has 4, 0 rows in the processes 0 to 1" in number
        assert "batch 3 has 4, 2 rows in the processes 0 to 1" in size


def test_several_processes_do_not_train_without_a_mesh(of_two_processes):
    for found in of_two_processes:
        assert str(found["refusal"]) == (
            "training in 2 processes needs a mesh with devices of all of them, got no "
            "mesh"
        )


def test_processes_with_other_data_do_not_train(of_two_processes):
    for found in of_two_processes:
        said = str(found["other_data"])
        assert "the processes of a run must agree, and differ: train is " in said


def test_two_processes_train_the_network_that_one_trains(of_two_processes):
    alone = two_processes.trained()
    for found in of_two_processes:
        np.testing.assert_allclose(found["trained"], alone, atol=1e-5)


def test_the_convolution_for_cpus_learns_from_each_share_where_it_is(auto_mesh):
    x = jax.random.normal(jax.random.key(0), (64, 40, 40, 8))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 8, 4))
    layout = lax.conv_dimension_numbers(x.shape, kernel.shape, ("NHWC", "HWIO", "NHWC"))

    def loss(kernel, x):
        y = transforms.cpu_convolution(
            x, kernel, (1, 1), "SAME", dimension_numbers=layout
        )
        return jnp.sin(y).sum()

    gradient = jax.jit(jax.grad(loss))
    shared = jax.device_put(x, x_sharding(auto_mesh))
    compiled = gradient.lower(kernel, shared).compile()
    assert collectives_in(compiled.as_text()) == {"all-reduce"}
    assert_trees_close(compiled(kernel, shared), gradient(kernel, x), 1e-4)
