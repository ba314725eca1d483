"""torchvision's networks through `bridge.from_torch`, against torch's own numbers.

Run `python -m benchmarks.torch_networks [NAME ...]` where the extra `torch` and
torchvision are (`make test-torch` makes `.venv-torch`). Of each network with random
weights and two inputs:

- logits: the largest difference from torch's, relative to the largest logit;
- gradients: that of the norms of each example's gradient by each parameter from a loop
  of torch's autograd in float64, relative to the parameter's largest; and the same of
  torch in float32;
- what `transforms.split` finds;
- seconds of the conversion, which compares logits, and of compiling the statistics.
"""

# torch is the extra `torch`, which `make lint` does not install.
# pyright: reportMissingImports=false

import logging
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import _torchvision
from trustjax import bridge, gradients, statistics, transforms

NETWORKS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "resnet18": ((224, 224), {}),
    "mobilenet_v3_large": ((224, 224), {}),
    "efficientnet_v2_s": ((224, 224), {}),
    "convnext_tiny": ((224, 224), {}),
    "vit_b_16": ((224, 224), {}),
    "swin_v2_t": ((256, 256), {}),
    "maxvit_t": ((224, 224), {}),
    "r3d_18": ((16, 112, 112), {}),
    "swin3d_t": ((8, 112, 112), {}),
    "mvit_v1_b": ((16, 224, 224), {}),
}


def main() -> None:
    names = sys.argv[1:] or list(NETWORKS)
    if len(names) == 1:
        print(row(names[0]), flush=True)
        return
    print("| network | logits | gradients, torch's | split at | converts | compiles |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in names:
        # One process for each: the programs of all take gigabytes.
        command = [sys.executable, "-m", "benchmarks.torch_networks", name]
        subprocess.run(command, check=True)


def row(name: str) -> str:
    logging.disable()
    size, arguments = NETWORKS[name]
    module = _torchvision.network(name, **arguments)
    x = torch.randn(2, 3, *size)
    start = time.perf_counter()
    apply_fn, params = bridge.from_torch(module, x)
    converts = time.perf_counter() - start
    images = jnp.array(x.numpy())
    with torch.no_grad():
        theirs = module(x).numpy()
    ours = np.asarray(jax.jit(apply_fn)(params, images))
    logits = np.abs(ours - theirs).max() / np.abs(theirs).max()
    start = time.perf_counter()
    norms = jax.jit(
        lambda params, x: gradients.gradient_statistics(
            apply_fn, params, x, statistics=(statistics.l2_norm,)
        )
    )
    compiled: Any = norms.lower(params, images).compile()
    compiles = time.perf_counter() - start
    found = compiled(params, images)
    of_torch = torch_norms(module, x)
    names = [group.replace("/", ".") for group in found.groups]
    ours_by_name = dict(zip(names, np.asarray(found.values[:, :, 0]).T, strict=True))
    exact = torch_norms(module.double(), x.double())
    embedding = transforms.split(apply_fn, params, images)
    width = jax.eval_shape(embedding.features_fn, params, images).shape[1:]
    maps = jax.eval_shape(
        transforms.split(apply_fn, params, images, at="feature_map").features_fn,
        params,
        images,
    ).shape[1:]
    return (
        f"| {name}, {'x'.join(map(str, size))} | {logits:.1e} | "
        f"{difference(ours_by_name, exact):.1e}, {difference(of_torch, exact):.1e} | "
        f"{width}, {maps} | {converts:.1f} s | {compiles:.1f} s |"
    )


def torch_norms(module: torch.nn.Module, x: torch.Tensor) -> dict[str, np.ndarray]:
    """The norm of each example's gradient by each parameter, one after the other."""
    names, parameters = zip(*module.named_parameters(), strict=True)
    rows = []
    for example in x:
        logits = module(example[None])
        loss = torch.nn.functional.cross_entropy(logits, logits.argmax(-1))
        found = torch.autograd.grad(loss, parameters, materialize_grads=True)
        rows.append([gradient.norm().item() for gradient in found])
    return dict(zip(names, np.transpose(rows), strict=True))


def difference(found: dict[str, np.ndarray], exact: dict[str, np.ndarray]) -> float:
    """The largest over all parameters, each relative to its largest norm."""
    return max(
        float(np.abs(found[name] - norms).max() / max(norms.max(), 1e-20))
        for name, norms in exact.items()
    )


if __name__ == "__main__":
    main()
