"""The conversion, and the comparison that it has to pass."""

# torch and torchax are the extra `torch`, which `make lint` does not install.
# pyright: reportMissingImports=false

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.utils import _pytree as torch_tree

from trustjax.bridge._outputs import OneArray
from trustjax.bridge._torch._environment import (
    Environment,
    OperatorNotFound,
    array,
    leaves_of,
)
from trustjax.bridge._torch._network import Network, tensors_of
from trustjax.bridge._torch._parting import partings, relative_difference
from trustjax.bridge._torch._refusals import (
    listed,
    plain_module,
    require_derivatives_of_torch,
    require_evaluation_mode,
    require_idle_hooks,
    require_weights_of_its_own,
)
from trustjax.typing import ApplyFn, Params

_logger = logging.getLogger("trustjax.bridge")


def convert(
    module: Any,
    example: Any,
    *,
    operators: Mapping[Any, Callable[..., Any]],
    tolerance: float,
) -> tuple[ApplyFn, Params]:
    """`from_torch`, where torch is installed."""
    module = plain_module(module)
    require_evaluation_mode(module)
    require_weights_of_its_own(module)
    network = Network(module)
    environment = Environment(operators)
    x = jax.tree.map(_tensor, example, is_leaf=lambda a: isinstance(a, torch.Tensor))
    _compare(module, network, environment, x, tolerance)
    _say_order(network.kind, x)
    # Weights that are tied have one name among them.
    parameters = {name: array(tensor) for name, tensor in module.named_parameters()}
    buffers = {name: array(tensor) for name, tensor in module.named_buffers()}

    def apply_fn(params: Params, x: Any) -> Any:
        given = dict(_by_dotted_name(params))
        if given.keys() != parameters.keys():
            differ = sorted(given.keys() ^ parameters.keys())
            raise ValueError(
                f"params must be those of {network.kind}; only these or only those "
                f"have {listed(differ)}"
            )
        tensors = jax.tree.map(jnp.asarray, given | buffers)
        x = jax.tree.map(jnp.asarray, x)
        outputs = _in_jax(network, environment, tensors, x)
        return outputs.get("", outputs)

    return OneArray(apply_fn), _nested(parameters)


def _in_jax(
    network: Network, environment: Environment, tensors: Any, x: Any
) -> dict[str, jax.Array]:
    """The network's outputs for arrays of JAX."""
    with environment.running():
        return environment.t2j_iso(network(*environment.j2t_iso((tensors, x))))


def _compare(
    module: torch.nn.Module,
    network: Network,
    environment: Environment,
    x: Any,
    tolerance: float,
) -> None:
    """Requires the module's own logits of `x`, both sides in float32.

    Raises:
      NotImplementedError: if an operator of torch is none of JAX.
      ValueError: if they differ, naming where.
    """
    tensors, single = torch_tree.tree_map_only(
        torch.Tensor, _single, (tensors_of(module), x)
    )
    arrays = torch_tree.tree_map_only(torch.Tensor, array, (tensors, single))
    for name, _ in module.named_parameters():
        if tensors[name].is_floating_point():
            tensors[name].requires_grad_()

    def in_torch() -> dict[str, torch.Tensor]:
        # Copies: an activation in place may change its input.
        return network(
            *torch_tree.tree_map_only(torch.Tensor, torch.clone, (tensors, single))
        )

    def in_jax(tensors: Any, x: Any) -> dict[str, jax.Array]:
        return _in_jax(network, environment, tensors, x)

    with torch.enable_grad():
        theirs = in_torch()
    require_derivatives_of_torch(network.kind, theirs)
    require_idle_hooks(module, network, x, tolerance)
    # Also where products of float32 are of half the digits by default.
    with jax.default_matmul_precision("highest"):
        try:
            ours = jax.jit(in_jax)(*arrays)
        except OperatorNotFound as error:
            raise NotImplementedError(_without_lowering(error, network.place)) from None
        except Exception as error:
            error.add_note(f"{network.kind} was traced by JAX, in {network.place}")
            if isinstance(error, jax.errors.JAXTypeError):
                error.add_note(
                    "What a module asks of values that depend on its input (if, "
                    ".item(), .numpy()) has no answer in a trace: let it compute both "
                    "cases, torch.where(...)"
                )
            raise
        # By name: a dict comes sorted out of `jit`.
        apart = max(
            relative_difference(np.asarray(ours[name]), *leaves_of(output))
            for name, output in theirs.items()
        )
        if apart <= tolerance:
            return
        with torch.no_grad():
            found = partings(
                network,
                in_torch,
                lambda: in_jax(*arrays),
                environment.j2t_iso,
                tolerance,
            )
    raise ValueError(
        f"{network.kind} is not the same network in JAX: what it says of the example "
        f"differs by {apart:.2g} of the largest, more than tolerance={tolerance:g}. "
        + _cause(found)
    )


def _cause(found: list[Any]) -> str:
    if not found:
        return (
            "No sub-module alone differs by as much: roundings add up. Give a larger "
            "tolerance= if that will do, or another example"
        )
    first, others = found[0], found[1:]
    also = f" ({len(others)} others part too)" if others else ""
    return (
        f"They part at {first.name} ({first.kind}), by {first.apart:.2g} from the same "
        f"input{also}: put in its place what computes the same by other operators, or "
        "give the operator at fault as operators={torch.ops.aten.<name>: a function of "
        "arrays of JAX}"
    )


def _without_lowering(error: Exception, place: str) -> str:
    name = str(error).removeprefix("Operator with name ").partition(" ")[0]
    return (
        f"{name}, in {place}, is no operator that torchax has for JAX: put in its "
        f"place what computes the same by others, or give operators="
        f"{{torch.ops.{name.replace('::', '.')}: a function of arrays of JAX}}"
    )


def _say_order(kind: str, x: Any) -> None:
    for leaf in torch_tree.tree_leaves(x):
        if leaf.ndim >= 4:
            _logger.warning(
                "%s takes images in torch's order, channels first, and so does "
                "apply_fn: %s",
                kind,
                ["batch", *leaf.shape[1:]],
            )


def _tensor(leaf: Any) -> torch.Tensor:
    if isinstance(leaf, torch.Tensor):
        return leaf.detach()
    leaf = np.asarray(leaf)
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        leaf = leaf.astype(np.float32)  # torch knows no bfloat16 of NumPy
    return torch.from_numpy(leaf.copy())


def _single(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of a tensor in the precision in which the two sides are compared."""
    tensor = tensor.detach().cpu().clone()
    return tensor.float() if tensor.is_floating_point() else tensor


def _by_dotted_name(tree: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _by_dotted_name(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """A tree from dotted names.

    >>> _nested({"conv.weight": 1, "conv.bias": 2, "scale": 3})
    {'conv': {'weight': 1, 'bias': 2}, 'scale': 3}
    """
    tree: dict[str, Any] = {}
    for name, value in arrays.items():
        *way, last = name.split(".")
        branch = tree
        for key in way:
            branch = branch.setdefault(key, {})
        branch[last] = value
    return tree
