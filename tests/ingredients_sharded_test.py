"""What devices say to each other for each ingredient: nothing."""

import jax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks import _ingredients
from tests.sharding_test import collectives_in

SHAPE = (32, 28, 28, 1)
NOT_SPLIT_ON_CPUS = {"trust_score", "knn_distance"}
"""XLA for CPUs has the k smallest distances found by a call that it does not split."""


@pytest.mark.exhaustive
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_only_sums_over_the_batch_are_sent(axis_type):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(axis_type,))
    sharding = lambda *spec: NamedSharding(mesh, P(*spec))
    params, rows = _ingredients.of_network(
        "cnn", SHAPE[1:], 10, "mnist5k", "train[:200]"
    )
    found = {}
    for row in rows:
        given = _ingredients.arguments(row, params, SHAPE, sharding)
        with jax.set_mesh(mesh):
            compiled = jax.jit(row.fun).lower(*given).compile()
        found[row.name] = collectives_in(compiled.as_text())
    sent = {row.name: {"all-reduce"} if row.added_up else set() for row in rows}
    sent |= {name: {"all-gather"} for name in NOT_SPLIT_ON_CPUS}
    assert found == sent
