"""How much can we trust this prediction, and this network?

Sub-packages are imported on first use, so that `import trustjax` stays light::

    import trustjax as tj
    tj.scores.grad_trust(logits)
"""

import importlib
import importlib.metadata
from types import ModuleType

__version__ = importlib.metadata.version("trustjax")

_SUBPACKAGES = (
    "assess",
    "bridge",
    "data",
    "evaluate",
    "gradients",
    "losses",
    "metrics",
    "models",
    "oracles",
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
