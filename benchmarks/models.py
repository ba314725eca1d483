"""The networks of `models` against torchvision's in PyTorch, on this CPU.

Run `python -m benchmarks.models --networks resnet18 vit_b_16 ...`. Both have the same
weights and see the same noise, in one process, in turns, with as many threads: PyTorch
in evaluation and inference mode with channels last. Each network is a process of its
own. The columns are ratios of the fastest turns, PyTorch's time over ours: above 1 we
are faster.

- forward: one forward pass;
- statistics: the eight statistics of each parameter of each example, against one
  backward pass an example in PyTorch and the same statistics;
- compile: processor seconds until `gradient_statistics` is ready over those until
  `vmap(grad)` is, for the larger batch.
"""

# The rivals are the extra `bench`, which `make lint` does not install.
# pyright: reportMissingImports=false

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import _torchvision
from benchmarks._timing import interleaved
from benchmarks.compile import compilation, plain, reduced
from benchmarks.gradients import torch_statistics
from trustjax import models

PARTS = ("forward", "statistics", "compile")
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
"""On a machine busy with other work the seconds of the processor say more; give
`OMP_WAIT_POLICY=passive` then, or PyTorch's threads spend them waiting."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=of_torchvision())
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["forward"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--seconds", type=float, default=10, help="of turns, each cell")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    arguments = parser.parse_args()
    if len(arguments.networks) == 1:
        print(row(arguments.networks[0], arguments), flush=True)
        return
    columns = [f"{part}, {n}" for part in PARTS[:2] for n in arguments.batches]
    wanted = [c for c in columns if c.partition(",")[0] in arguments.parts]
    wanted += [part for part in ("compile",) if part in arguments.parts]
    rule = "---|" * (len(wanted) + 1)
    print(f"| network | {' | '.join(wanted)} |\n|{rule}", flush=True)
    options = sys.argv[1:]
    if "--networks" in options:
        first = options.index("--networks")
        del options[first : first + len(arguments.networks) + 1]
    for name in arguments.networks:
        command = [sys.executable, "-m", "benchmarks.models", *options]
        subprocess.run([*command, "--networks", name], check=True)


def of_torchvision() -> list[str]:
    """The networks that torchvision has under the same name, of images."""
    twins = vars(_torchvision.torchvision().models)
    return [
        name
        for name in models.names()
        if callable(twins.get(name)) and models.known(name).image_shape[0] > 32
    ]


def row(name: str, arguments: argparse.Namespace) -> str:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    module = _torchvision.network(name)
    weights = {key: value.numpy() for key, value in module.state_dict().items()}
    image_shape = (arguments.side, arguments.side, 3)
    apply_fn, params = models.load(name, weights, image_shape=image_shape)
    module = module.to(memory_format=torch.channels_last)
    cells = []
    for part, rivals in (("forward", forward), ("statistics", per_example)):
        for batch in arguments.batches:
            if part in arguments.parts:
                x = np.random.default_rng(0).normal(size=(batch, *image_shape))
                ours, theirs = rivals(apply_fn, params, module, x.astype(np.float32))
                cells.append(cell(ours, theirs, arguments))
    if "compile" in arguments.parts:
        x = jnp.zeros((max(arguments.batches), *image_shape))
        made = [compilation(make, apply_fn, params, x) for make in (reduced, plain)]
        cells.append(f"{made[0] / made[1]:.2f} ({made[0]:.1f} s)")
    return f"| {name} | {' | '.join(cells)} |"


Rivals = tuple[Callable[[], Any], Callable[[], Any]]


def forward(apply_fn: Any, params: Any, module: torch.nn.Module, x: Any) -> Rivals:
    images = jnp.array(x)
    channels_last = torch.from_numpy(x).movedim(-1, 1)
    compiled = jax.jit(apply_fn)

    def in_torch() -> torch.Tensor:
        with torch.inference_mode():
            return module(channels_last)

    expected = in_torch().numpy()
    apart = np.abs(compiled(params, images) - expected).max() / np.abs(expected).max()
    if apart > 1e-4:
        raise ValueError(f"{type(module).__name__} is another network: {apart:.1e}")
    return lambda: compiled(params, images), in_torch


def per_example(apply_fn: Any, params: Any, module: torch.nn.Module, x: Any) -> Rivals:
    images = jnp.array(x)
    channels_last = torch.from_numpy(x).movedim(-1, 1)
    compiled = jax.jit(reduced(apply_fn))
    parameters = list(module.parameters())

    def in_torch() -> torch.Tensor:
        rows = []
        for image in channels_last:
            logits = module(image[None])
            loss = torch.nn.functional.cross_entropy(logits, logits.argmax(-1))
            gradient = torch.autograd.grad(loss, parameters)
            rows.append(torch.stack([torch_statistics(g.flatten()) for g in gradient]))
        return torch.stack(rows)

    return lambda: compiled(params, images), in_torch


def cell(ours: Callable[[], Any], theirs: Callable[[], Any], arguments: Any) -> str:
    """PyTorch's fastest turn over ours, and ours in milliseconds."""
    for run in (ours, theirs):  # compiles, and finds the buffers
        jax.block_until_ready(run())
    start = time.perf_counter()
    jax.block_until_ready((ours(), theirs()))
    rounds = max(3, min(60, int(arguments.seconds / (time.perf_counter() - start))))
    # A rest lets the threads of the rival before, which spin for work, fall asleep.
    rivals = {"ours": ours, "theirs": theirs}
    clock = CLOCKS[arguments.clock]
    taken = interleaved(rivals, rounds, pause=0.02, clock=clock)
    best = {name: min(times) for name, times in taken.items()}
    return f"{best['theirs'] / best['ours']:.2f} ({1e3 * best['ours']:.1f} ms)"


if __name__ == "__main__":
    main()
