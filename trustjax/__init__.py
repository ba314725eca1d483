"""How much can we trust this prediction, and this network?

A network is any function `(params, x) -> logits` in evaluation mode::

    >>> import jax.numpy as jnp, numpy as np, tempfile
    >>> import trustjax as tj
    >>> def apply_fn(params, x):
    ...     return jnp.tanh(x @ params["hidden"]) @ params["out"]
    >>> params = {"hidden": jnp.eye(4), "out": jnp.eye(4)[:, :3]}

`scoring` asks it about your arrays: one forward and at most one backward pass (by
`gradients` and `passes`) for all `scores`, which are one number per example, higher =
more trust. None sees a label::

    >>> x = np.random.default_rng(0).normal(size=(100, 4))
    >>> labels = x[:, :3].argmax(axis=1) % 2
    >>> asked = ["logits", "grad_trust", "gradient_l2_norm", "grad_norm"]
    >>> found = tj.scoring.run(asked, apply_fn, params, tj.scoring.batches(x, labels))
    >>> logits, *scores = (found.values[name] for name in asked)

`metrics` say which score to believe: a whole dataset in, one number out. `assess` makes
every number of a page, with intervals that hold together, and `report` draws it::

    >>> auroc = tj.metrics.auroc(scores[0], logits.argmax(axis=1) == labels)
    >>> named = dict(zip(asked[1:], scores, strict=True))
    >>> predictions = tj.assess.Predictions(logits, labels, scores=named)
    >>> assessment = tj.assess.assess(predictions)
    >>> tj.report.write(assessment, predictions, tempfile.mkdtemp()).name
    'index.html'

`data`, `models` and `train` bring networks to ask, `bridge` those of Flax, `weights`
the arrays of files of any framework; `oracles` are networks trained to know when
another is right, `detectors` models fitted on scores and statistics of gradients,
`introspection` what the last layer would have to change for every other answer;
`explain` says where in an image an answer comes from, `interventions` what becomes of
it where the input is changed. `pipeline` goes the whole way from a name to a page:
`trustjax report`. Sub-packages are imported on first use.
"""

import importlib
import importlib.metadata
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trustjax import assess as assess
    from trustjax import bridge as bridge
    from trustjax import data as data
    from trustjax import detectors as detectors
    from trustjax import explain as explain
    from trustjax import gradients as gradients
    from trustjax import ingredients as ingredients
    from trustjax import interventions as interventions
    from trustjax import introspection as introspection
    from trustjax import losses as losses
    from trustjax import metrics as metrics
    from trustjax import models as models
    from trustjax import oracles as oracles
    from trustjax import passes as passes
    from trustjax import pipeline as pipeline
    from trustjax import preprocessing as preprocessing
    from trustjax import report as report
    from trustjax import scores as scores
    from trustjax import scoring as scoring
    from trustjax import statistics as statistics
    from trustjax import targets as targets
    from trustjax import train as train
    from trustjax import transforms as transforms
    from trustjax import typing as typing
    from trustjax import weights as weights

__version__ = importlib.metadata.version("trustjax")

_SUBPACKAGES = (
    "assess",
    "bridge",
    "data",
    "detectors",
    "explain",
    "gradients",
    "ingredients",
    "interventions",
    "introspection",
    "losses",
    "metrics",
    "models",
    "oracles",
    "passes",
    "pipeline",
    "preprocessing",
    "report",
    "scores",
    "scoring",
    "statistics",
    "targets",
    "train",
    "transforms",
    "typing",
    "weights",
)


def __getattr__(name: str) -> ModuleType:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *_SUBPACKAGES]
