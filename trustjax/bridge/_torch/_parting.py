"""Whether a converted network says what the module says, and where the two part."""

# torch and torchax are the extra `torch`, which `make lint` does not install.
# pyright: reportMissingImports=false

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import torch
from torch.utils import _pytree as torch_tree

from trustjax.bridge._torch._environment import leaves_of
from trustjax.bridge._torch._network import Network


class Parting(NamedTuple):
    """A sub-module whose output differs, given the same input.

    Attributes:
      name: its dotted name.
      kind: its class.
      apart: by how much, relative to the largest number of torch's output.
    """

    name: str
    kind: str
    apart: float


def relative_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference over the largest finite magnitude of `theirs`.

    Numbers that are not finite differ by infinity from all but themselves.
    """
    if ours.shape != theirs.shape:
        return np.inf
    ours, theirs = ours.astype(np.complex128), theirs.astype(np.complex128)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    if same.all():
        return 0.0
    difference = np.abs(ours[~same] - theirs[~same]).max()
    scale = np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0)
    return float(difference / scale) if scale > 0 and difference < np.inf else np.inf


def partings(
    network: Network,
    in_torch: Callable[[], Any],
    in_jax: Callable[[], Any],
    to_torch: Callable[[Any], Any],
    tolerance: float,
) -> list[Parting]:
    """The sub-modules that differ, in the order in which they end.

    Each is looked at alone: where one of JAX ends, the rest of the network goes on
    with what torch has there. So the first that differs is the cause, and a module
    around it differs only by what it does between its sub-modules.

    Args:
      network: called once by each of the next two.
      in_torch: runs it with tensors of torch.
      in_jax: runs it with arrays of JAX, one operation after the other.
      to_torch: a tensor that stands for an array of JAX.
      tolerance: relative difference that is none.
    """
    theirs: list[list[np.ndarray]] = []
    with network.listening(lambda name, kind, output: theirs.append(leaves_of(output))):
        in_torch()

    found: list[Parting] = []
    outputs = iter(theirs)

    def compare(name: str, kind: str, output: Any) -> Any:
        expected = next(outputs)
        apart = max(map(relative_difference, leaves_of(output), expected), default=0.0)
        if not apart <= tolerance:
            found.append(Parting(name, kind, apart))
        others = iter(expected)
        return torch_tree.tree_map_only(
            torch.Tensor, lambda _: to_torch(jnp.array(next(others))), output
        )

    with network.listening(compare):
        in_jax()
    return found
