"""How much can we trust this prediction, and this network?

Sub-packages are imported on first use, so that `import trustjax` stays light::

    import trustjax as tj
    tj.scores.grad_trust(logits)
"""

import importlib
import importlib.metadata
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trustjax import assess as assess
    from trustjax import bridge as bridge
    from trustjax import data as data
    from trustjax import gradients as gradients
    from trustjax import ingredients as ingredients
    from trustjax import losses as losses
    from trustjax import metrics as metrics
    from trustjax import models as models
    from trustjax import oracles as oracles
    from trustjax import passes as passes
    from trustjax import pipeline as pipeline
    from trustjax import report as report
    from trustjax import scores as scores
    from trustjax import scoring as scoring
    from trustjax import statistics as statistics
    from trustjax import targets as targets
    from trustjax import train as train
    from trustjax import transforms as transforms
    from trustjax import typing as typing

__version__ = importlib.metadata.version("trustjax")

_SUBPACKAGES = (
    "assess",
    "bridge",
    "data",
    "scoring",
    "gradients",
    "ingredients",
    "losses",
    "metrics",
    "models",
    "oracles",
    "passes",
    "pipeline",
    "report",
    "scores",
    "statistics",
    "targets",
    "train",
    "transforms",
    "typing",
)


def __getattr__(name: str) -> ModuleType:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *_SUBPACKAGES]
