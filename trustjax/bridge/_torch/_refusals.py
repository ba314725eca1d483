"""Modules that are no network of JAX, and what to do about each."""

# torch and torchax are the extra `torch`, which `make lint` does not install.
# pyright: reportMissingImports=false

from typing import Any

import torch
from torch.autograd.function import BackwardCFunction
from torch.utils import _pytree as torch_tree

from trustjax.bridge._torch._environment import leaves_of
from trustjax.bridge._torch._network import Network, arguments, outputs_of, tensors_of
from trustjax.bridge._torch._parting import relative_difference

_LISTED = 8
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")


def plain_module(module: Any) -> torch.nn.Module:
    """The module itself: not a compiled one around it, and no script of it."""
    module = getattr(module, "_orig_mod", module)
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError(
            "module must be a torch.nn.Module in Python, got TorchScript: give the "
            "module that the script was made of"
        )
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module)}")
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if torch.nn.parameter.is_lazy(tensor):
            raise ValueError(
                f"{name} has no shape yet: call the lazy {type(module).__name__} once"
            )
    return module


def require_evaluation_mode(module: torch.nn.Module) -> None:
    """Refuses a module that trains, or of which a part does."""
    kind = type(module).__name__
    training = [name or kind for name, part in module.named_modules() if part.training]
    if training:
        raise ValueError(
            f"{kind} is in training mode, give module.eval(): {listed(training)}"
        )


def require_weights_of_its_own(module: torch.nn.Module) -> None:
    """Refuses what computes a weight in a hook: it would be a constant."""
    for name, part in module.named_modules():
        for hook in part._forward_pre_hooks.values():
            kind = type(hook)
            if kind.__module__.startswith("torch.nn.utils"):
                raise ValueError(
                    f"{name or type(module).__name__} makes a weight in a hook "
                    f"({kind.__module__}.{kind.__name__}), and hooks are taken off: "
                    "take torch.nn.utils.parametrizations, or make the weight "
                    "permanent (remove_weight_norm, remove_spectral_norm, prune.remove)"
                )


def require_idle_hooks(
    module: torch.nn.Module, network: Network, x: Any, tolerance: float
) -> None:
    """Refuses hooks that change what the module returns: the copy has none."""
    if not any(vars(part)[name] for part in module.modules() for name in _HOOKS):
        return
    x = _as_the_module_takes(module, x)
    args, kwargs = arguments(torch_tree.tree_map_only(torch.Tensor, torch.clone, x))
    hooked = leaves_of(outputs_of(module(*args, **kwargs)))
    plain = leaves_of(network(tensors_of(module), x))
    if not max(map(relative_difference, plain, hooked)) <= tolerance:
        raise ValueError(
            f"hooks change what {network.kind} returns, and hooks are taken off: do in "
            "a module what they do, or remove them"
        )


def require_derivatives_of_torch(kind: str, outputs: dict[str, torch.Tensor]) -> None:
    """Refuses `autograd.Function`: JAX would differentiate its forward pass."""
    nodes: list[Any] = [output.grad_fn for output in outputs.values()]
    seen = set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, BackwardCFunction):
            name = type(node).__name__.removesuffix("Backward")
            raise ValueError(
                f"{kind} has a derivative of its own, the autograd.Function {name}, "
                "which JAX does not see: put in its place what torch differentiates"
            )
        nodes += [following for following, _ in node.next_functions]


def _as_the_module_takes(module: torch.nn.Module, x: Any) -> Any:
    """Inputs in the precision and the place of the module's parameters."""
    like = next(module.parameters(), torch.zeros(()))

    def placed(tensor: torch.Tensor) -> torch.Tensor:
        floating = tensor.is_floating_point()
        return tensor.to(like.device, like.dtype if floating else tensor.dtype)

    return torch_tree.tree_map_only(torch.Tensor, placed, x)


def listed(names: list[str]) -> str:
    """The first of some names, and how many more there are."""
    shown = ", ".join(names[:_LISTED])
    more = len(names) - _LISTED
    return f"{shown} and {more} more" if more > 0 else shown
