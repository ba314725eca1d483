"""One of two processes that share a batch.

`python -m tests.two_processes PORT RANK OUT` writes the gradient statistics of the
examples that its own devices hold.
"""

import sys

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests import problems
from trustjax import gradients

DEVICES_EACH = 2


def statistics(params, x):
    apply_fn = problems.get("cnn").apply_fn
    return gradients.gradient_statistics(apply_fn, params, x).values


def main(port: str, rank: str, out: str) -> None:
    jax.config.update("jax_num_cpu_devices", DEVICES_EACH)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", 2, int(rank))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    _, params, x = problems.get("cnn")
    mine = np.split(np.asarray(x), 2)[jax.process_index()]
    batch = jax.make_array_from_process_local_data(
        NamedSharding(mesh, P("data")), mine, x.shape
    )
    params = jax.device_put(jax.device_get(params), NamedSharding(mesh, P()))
    values = jax.jit(statistics)(params, batch)
    assert values.sharding.is_equivalent_to(batch.sharding, values.ndim)
    rows = {shard.index[0].start: shard.data for shard in values.addressable_shards}
    np.save(out, np.concatenate([rows[start] for start in sorted(rows)]))
    jax.distributed.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
