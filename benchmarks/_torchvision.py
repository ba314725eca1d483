"""torchvision's networks with random weights, beside a torch for CPUs."""

# torch is the extra `bench`, which `make lint` does not install.
# pyright: reportMissingImports=false

from typing import Any

import torch

_LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
"""What is declared in it lasts as long as it does."""


def torchvision() -> Any:
    """torchvision, whose compiled operators do not load beside a torch for CPUs.

    It then names operators that are not there, and does not import; its networks take
    none of them. So they are declared first.
    """
    boxes = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            _LIBRARY.define(name + boxes)
    import torchvision

    return torchvision


def network(name: str, **arguments: Any) -> torch.nn.Module:
    """A network in evaluation mode, with random weights of which none are constant."""
    models = torchvision().models
    torch.manual_seed(0)
    make = getattr(models, name, None) or getattr(models.video, name)
    module = make(**arguments).eval()
    for parameter in module.parameters():
        # Heads of zeros and scales of 1e-6 would hide what is before them.
        if parameter.numel() > 1 and parameter.std() == 0:
            with torch.no_grad():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return module
