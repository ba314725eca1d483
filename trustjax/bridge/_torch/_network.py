"""A copy of a module that is called with tensors of one's choice."""

# torch and torchax are the extra `torch`, which `make lint` does not install.
# pyright: reportMissingImports=false

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import torch

from trustjax import _network_questions


class Network:
    """A module without its weights and hooks, as a function of its tensors.

    It is a copy, so that a trace touches nothing of the module: not the weights, which
    are replaced by tracers while it runs, nor hooks, which would see these. What the
    copy keeps of a call in its attributes is forgotten after it.

    Attributes:
      kind: the name of the module's class.
      place: the sub-module that a call which raised was in.
    """

    def __init__(self, module: torch.nn.Module):
        self.kind = type(module).__name__
        self.place = ""
        self._copy = _without_weights(module)
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def listening(self, hear: Callable[[str, str, Any], Any]) -> Iterator[None]:
        """In the block each sub-module that ends is heard: name, class, output.

        What `hear` returns takes the place of the output, if it is not None.
        """

        def hook(name: str) -> Callable[..., Any]:
            return lambda module, _, output: hear(name, type(module).__name__, output)

        handles = [m.register_forward_hook(hook(name)) for name, m in self.submodules()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def submodules(self) -> Iterator[tuple[str, torch.nn.Module]]:
        """The modules of the copy by their dotted names, the whole by its class's."""
        for name, module in self._copy.named_modules():
            yield name or self.kind, module

    def __call__(
        self, tensors: Mapping[str, torch.Tensor], x: Any
    ) -> dict[str, torch.Tensor]:
        """The outputs by their names, for other tensors than the module's own."""
        args, kwargs = arguments(x)
        with self._lock, _as_it_was(self._copy), self._scopes():
            output = torch.func.functional_call(
                self._copy, dict(tensors), args, kwargs, strict=True
            )
            return outputs_of(output)

    @contextlib.contextmanager
    def _scopes(self) -> Iterator[None]:
        """Names each operation by the sub-modules that it stands in."""
        entered: list[tuple[str, Any]] = []

        def enter(name: str, module: torch.nn.Module) -> None:
            scope = jax.named_scope(name.rpartition(".")[2])
            scope.__enter__()
            entered.append((f"{name} ({type(module).__name__})", scope))

        def leave() -> None:
            entered.pop()[1].__exit__(None, None, None)

        for name, part in self.submodules():
            part.register_forward_pre_hook(
                lambda part, _, name=name: enter(name, part), prepend=True
            )
            part.register_forward_hook(lambda *_: leave())
        try:
            yield
        except Exception:
            self.place = entered[-1][0] if entered else self.kind
            raise
        finally:
            while entered:
                leave()


def tensors_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The parameters and buffers by their dotted names, tied ones once."""
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor.detach() for name, tensor in named}


def arguments(x: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a module is called with: one tensor, several, or several by name."""
    if isinstance(x, Mapping):
        return (), dict(x)
    return (tuple(x) if isinstance(x, tuple | list) else (x,)), {}


def outputs_of(output: Any) -> dict[str, torch.Tensor]:
    """The tensors that a module returned, by their names: one alone has none."""
    found = _network_questions.heads(output)
    if not found:
        raise TypeError(
            "a module must return a tensor [batch, classes], or several in a dict, a "
            f"tuple or an object of fields, got {type(output).__name__}"
        )
    return found


def _without_weights(module: torch.nn.Module) -> torch.nn.Module:
    """A copy whose parameters and buffers have shapes alone, and that has no hooks."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        for name, value in vars(part).items():
            if name.endswith("_hooks") and isinstance(value, dict):
                # Not copied: a hook may hold anything, the module itself too.
                memo[id(value)] = type(value)()
            elif isinstance(value, torch.Tensor):
                memo[id(value)] = value.detach().clone()
        for tensor in part._parameters.values():
            if tensor is not None:
                shape = torch.empty_like(tensor.detach(), device="meta")
                memo[id(tensor)] = torch.nn.Parameter(shape, requires_grad=False)
        for tensor in part._buffers.values():
            if tensor is not None:
                memo[id(tensor)] = torch.empty_like(tensor.detach(), device="meta")
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:
        raise ValueError(
            f"{type(module).__name__} cannot be copied (copy.deepcopy: {error}), and a "
            "trace must not touch the module itself"
        ) from error


@contextlib.contextmanager
def _as_it_was(module: torch.nn.Module) -> Iterator[None]:
    """Forgets what the block leaves in a module: hooks, and masks that it caches."""
    before = [(part, dict(vars(part))) for part in module.modules()]
    for part, attributes in before:
        for name, value in attributes.items():
            if isinstance(value, dict | list | set):
                vars(part)[name] = copy.copy(value)
    try:
        yield
    finally:
        for part, attributes in before:
            vars(part).clear()
            vars(part).update(attributes)
