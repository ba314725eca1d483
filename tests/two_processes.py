"""One of two processes that share a batch.

`python -m tests.two_processes PORT RANK OUT` writes the gradient statistics of the
examples that its own devices hold, what scoring with a collective gave where one
process had finished more batches than the other, how scoring of unequal numbers of
batches and training without a mesh were refused, and what they trained together.
"""

import contextlib
import pathlib
import sys
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests import problems
from trustjax import bridge, data, gradients, scoring, train
from trustjax.ingredients import LAST_LAYER, LOGITS, Ingredient
from trustjax.scoring._parts import Parts

DEVICES_EACH = 2
RECORDS, PER_BATCH = 24, 8


def statistics(params, x):
    apply_fn = problems.get("cnn").apply_fn
    return gradients.gradient_statistics(apply_fn, params, x).values


def centred_logits(batches, **options):
    """An ingredient with a collective: it compares each example with all its batch."""
    centred = Ingredient(
        "centred",
        compute=lambda logits: logits - jnp.mean(logits, axis=0, keepdims=True),
        needs=(LOGITS,),
    )
    return scoring.run(
        [centred],
        lambda params, x: x @ params,
        np.eye(4, 3, dtype=np.float32),
        batches,
        **options,
    ).values["centred"]


def batches_of(rank, processes):
    """The rows of each batch that one of several processes reads."""
    images = np.random.default_rng(0).normal(size=(RECORDS, 4)).astype(np.float32)
    for start in range(0, RECORDS, PER_BATCH):
        index = np.split(np.arange(start, start + PER_BATCH), processes)[rank]
        yield {
            "image": images[index],
            "label": np.zeros(len(index), np.int32),
            "index": index.astype(np.int32),
            "mask": np.ones(len(index), bool),
        }


def of_all_examples(batches, **options):
    """The sum of all gradients, and the last layer: no rows of examples."""

    def network(params, x):
        return params["scale"] * jnp.tanh(x @ params["hidden"]) @ params["dense"]

    rng = np.random.default_rng(0)
    params = {
        "hidden": rng.normal(size=(4, 5)).astype(np.float32),
        "dense": rng.normal(size=(5, 3)).astype(np.float32),
        "scale": np.float32(2),
    }
    asked = [gradients.GRADIENT_SUM, LAST_LAYER, LOGITS]
    found = scoring.run(asked, network, params, batches, **options).values
    return {
        "logits": found["logits"],
        "kernel": found["last_layer"].kernel,
        **found["gradient_sum"],
    }


def stopping_after(batches):
    """Progress that stops a run after so many batches."""
    heard = []

    def progress(task, done, total, facts):
        del task, total, facts
        heard.append(done)
        if len(heard) == batches:
            raise InterruptedError

    return progress


def wait(name):
    multihost_utils.sync_global_devices(name)


def taken_up(folder, rank, processes, **options):
    """Scores that go on with two batches of three, and how many were computed."""

    def score(**more):
        return scoring.run(
            ["max_logit", LAST_LAYER],
            lambda params, x: jnp.tanh(x) @ params,
            np.eye(4, 3, dtype=np.float32),
            batches_of(rank, processes),
            workdir=folder,
            **options,
            **more,
        )

    if not folder.exists():
        with contextlib.suppress(InterruptedError):
            score(progress=stopping_after(2))
        return None
    with mock.patch.object(Parts, "write", autospec=True) as write:
        found = score().values
    return found["max_logit"], found["last_layer"].kernel, write.call_count


def refusals_of_other_networks(mesh):
    """What is said where one process has other parameters."""
    for doubled in (1, jax.process_index() + 1):
        try:
            scoring.run(
                ["max_logit"],
                lambda params, x: x @ params,
                doubled * np.eye(4, 3, dtype=np.float32),
                batches_of(jax.process_index(), 2),
                sharding=NamedSharding(mesh, P("data")),
            )
        except ValueError as error:
            yield str(error)


KERNEL = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)


def of_spread_parameters(mesh, rank):
    """Scores of a network that no process has whole, and the fingerprint of it."""
    rows = NamedSharding(mesh, P("data"))
    params = jax.make_array_from_callback(KERNEL.shape, rows, lambda i: KERNEL[i])
    found = scoring.run(
        ["logits", "gradient_l2_norm"],
        lambda params, x: x @ params,
        params,
        batches_of(rank, 2),
        sharding=rows,
    )
    return {
        "spread_logits": found.values["logits"],
        "spread_norms": found.values["gradient_l2_norm"],
        "spread_fingerprint": scoring.fingerprint(params),
    }


def resumed_scores(mesh, out):
    """Scores after a stop that left one process with a batch less than the other."""
    rank = jax.process_index()
    workdir = pathlib.Path(out).parent / "scoring"

    def score(progress=None):
        return centred_logits(
            batches_of(rank, 2),
            sharding=NamedSharding(mesh, P("data")),
            workdir=workdir,
            progress=progress,
        )

    with contextlib.suppress(InterruptedError):
        score(progress=stopping_after(2))
    wait("both have stopped")
    parts = sorted(workdir.rglob("part-*.npz"))
    assert [part.name for part in parts] == [
        f"part-{first:09d}-{first + 3:09d}.npz" for first in (0, 4, 8, 12)
    ]
    wait("both have seen that")
    if rank == 1:
        parts[3].unlink()
    return score()


def refusals_of_unequal_batches(mesh):
    """What is said where processes give batches of other numbers and sizes."""
    rank = jax.process_index()
    batches = list(batches_of(rank, 2))
    smaller = {name: array[: 4 - 2 * rank] for name, array in batches[2].items()}
    for given in (batches[: 3 - rank], [*batches[:2], smaller]):
        try:
            centred_logits(given, sharding=NamedSharding(mesh, P("data")))
        except ValueError as error:
            yield str(error)


def refusal_of_training_without_a_mesh():
    black = np.zeros((4, 2, 2, 1), np.uint8)
    images = data.from_arrays("black", black, np.arange(4) % 2, ("a", "b"))
    try:
        train.fit(train.config_for("mlp", batch_size=4), images, images)
    except ValueError as error:
        return str(error)
    return "trained"


TRAINED = train.config_for(
    "cnn", epochs=25, batch_size=8, max_shift=1, learning_rate=0.01, schedule="cosine"
)
"""With dropout and shifts, which are drawn for each row of a batch."""


def refusal_of_other_data(mesh):
    """What is said where each process has images of its own."""
    try:
        trained(mesh, seed=jax.process_index())
    except ValueError as error:
        return str(error)
    return "trained"


def trained(mesh=None, seed=0):
    """The weights after a hundred steps, of batches of which the last are not full."""
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 256, (26, 18, 18, 1), np.uint8), np.arange(26) % 3
    made = data.from_arrays("noise", images, labels, ("a", "b", "c"))
    result = train.fit(TRAINED, made, made, mesh=mesh)
    assert result.history[-1].step == 100
    leaves = jax.tree.leaves(bridge.from_nnx(result.model)[1])
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


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
    folder, shared = pathlib.Path(out).parent, {"sharding": batch.sharding}
    taken_up(folder / "of two", int(rank), 2, **shared)
    found = taken_up(folder / "of one", int(rank), 2, **shared)
    assert found is not None
    highest, kernel, computed = found
    np.savez(
        out,
        highest=highest,
        last_kernel=kernel,
        computed=computed,
        other_networks=list(refusals_of_other_networks(mesh)),
        statistics=np.concatenate([rows[start] for start in sorted(rows)]),
        resumed=resumed_scores(mesh, out),
        **of_all_examples(batches_of(int(rank), 2), sharding=batch.sharding),
        unequal=list(refusals_of_unequal_batches(mesh)),
        refusal=refusal_of_training_without_a_mesh(),
        other_data=refusal_of_other_data(mesh),
        trained=trained(mesh),
        **of_spread_parameters(mesh, int(rank)),
    )
    jax.distributed.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
